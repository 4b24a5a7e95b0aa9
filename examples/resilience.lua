-- A bad day on purpose: a server that refuses every third call and then goes away, and what a client makes of it.
-- Usage: lua5.4 examples/resilience.lua (it starts a server of its own, to break it)
local arvak = require "arvak"
local devserver = require "arvak.devserver"

local JOBS = 50
local server = devserver.start { seed = 1, faults = { { status = "UNAVAILABLE", rate = 0.3 } } }
local client <close> = arvak.connect(server.address, {
  retry = { max_attempts = 10, initial_backoff = 0.02 },
  limiter = { rate = 90, burst = 10 },   -- the server takes 100 jobs a second
  breaker = {
    failure_threshold = 12, timeout = 0.2,   -- three calls in ten fail: twelve in a row is something else
    on_state_change = function(old, new) print(("the breaker is %s, was %s"):format(new, old)) end,
  },
})

local circuits = {}
for i = 1, JOBS do circuits[i] = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];" end

-- Every third call fails, and nobody notices.
local done = 0
for _, outcome in ipairs(arvak.run(arvak.map, circuits, function(qasm)
  return client:execute(qasm, "simulator", 10)
end)) do
  if outcome.ok then done = done + 1 else print(outcome.err) end
end
assert(done == JOBS, "not all jobs were done")
local stats = client:stats()
print(("%d jobs in %d calls and %d attempts; a submit takes %.0f ms, one in a hundred %.0f"):format(done, stats.calls,
  stats.attempts, stats.latency.SubmitJob.p50 * 1e3, stats.latency.SubmitJob.p99 * 1e3))

-- Now it is gone. When that is plain, calls are refused at once, and nothing is sent any more.
server:stop()
local err
repeat
  err = select(2, client:submit_qasm(circuits[1], "simulator"))
until err.kind == "circuit_open"
print(("%s; worth asking again in %.2f s"):format(err.message, err.retry_after))

-- It comes back at the same address, as soon as nobody else has the port, and two probes close the breaker.
local address = server.address
repeat server = devserver.start { address = address } until server or not arvak.sleep(0.1)
while client:breaker():state() ~= "closed" do
  local _, refused = client:list_backends()
  if refused then arvak.sleep(refused.retry_after or 0) end
end
assert(client:execute(circuits[1], "simulator", 10))
print("and all is well again")
client:close()
server:stop()
