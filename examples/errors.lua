-- What can go wrong, and what the program is told.
-- Usage: lua5.4 examples/errors.lua [address]
local arvak = require "arvak"

local client <close> = arvak.connect(arg and arg[1] or os.getenv "ARVAK_ADDRESS" or "embedded")

-- Outcomes of the world come as nil and an error object: a word to decide by, and all that is known about it.
local function show(what, value, err)
  if value then
    print(("%-22s %s"):format(what, tostring(value)))
  else
    print(("%-22s %s: %s"):format(what, err.kind, err))
  end
end

show("a typing mistake", client:submit_qasm("OPENQASM 3.0; qubit q; hh q;", "simulator"))
show("no such backend", client:submit_qasm("OPENQASM 3.0; qubit q;", "toaster"))
show("no such job", client:get_job_status("no-such-job"))
show("a job that fails", client:execute("OPENQASM 3.0; qubit[21] q; x q;", "simulator", 10))

local job_id = assert(client:submit_qasm("OPENQASM 3.0; qubit q; x q;", "simulator", 10))
assert(client:wait_for_job(job_id))
show("canceled too late", client:cancel_job(job_id))

-- A server that is not there is unavailable; the error says whether anything may have happened.
local nobody <close> = arvak.connect("127.0.0.1:1", { timeout = 2 })
local _, err = nobody:submit_qasm("OPENQASM 3.0; qubit q;", "simulator")
print(("%-22s %s, may have run: %s, worth a retry: %s"):format("nobody listens", err.kind, err.maybe_executed,
  err.retryable))

-- Misuse is raised where it was written.
print(("%-22s %s"):format("misuse", select(2, pcall(function()
  client:submit_qasm("OPENQASM 3.0; qubit q;", "simulator", { shot = 5 })
end))))
