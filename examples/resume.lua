-- A batch that can be killed. Press Ctrl-C, or kill it, and run it again: it goes on where it was.
-- Usage: lua5.4 examples/resume.lua [journal.db] [jobs] [address]
--   The address is of a server that lives on meanwhile, by default $ARVAK_ADDRESS: build/bin/arvak-devserver, say.
local arvak = require "arvak"

local path, count = arg and arg[1] or os.tmpname(), tonumber(arg and arg[2]) or 500
local address = arg and arg[3] or os.getenv "ARVAK_ADDRESS" or "embedded"

-- The same circuits each time: a journal belongs to its batch.
local circuits = {}
for i = 1, count do
  circuits[i] = { ("OPENQASM 3.0; qubit[2] q; ry(%.17g) q[0]; cx q[0], q[1];"):format(math.pi * i / count), 100 }
end

local client <close> = arvak.connect(address)
local manager <close> = arvak.batch_manager(client, { max_workers = 16 })

-- What is done is in the journal, whatever ended the batch.
local function show_journal()
  local journal <close>, err = arvak.journal(path)
  if not journal then return print(err) end   -- interrupted before there was one, perhaps
  local counts = journal:counts()
  print(("%d of %d completed, %d failed, %d unknown, %d under way"):format(counts.completed or 0, count,
    counts.failed or 0, counts.unknown or 0, (counts.submitted or 0) + (counts.intent or 0)))
end

-- Ctrl-C raises in the call that waits. Jobs that run are left running: the next run looks at them. One that was just
-- being submitted is unknown: it may have run, so it is not submitted again (unless on_unknown = "resubmit").
local ok, r, err = pcall(manager.execute_batch, manager, circuits, "simulator",
  { journal = path, progress_callback = arvak.print_progress_bar })
manager:close()

if not ok or not r then
  io.stderr:write("\n", tostring(ok and err or r), "\n")
  if ok then os.exit(1, true) end   -- refused: the journal of another batch, say
  show_journal()
  print(("go on with: lua5.4 examples/resume.lua %s %d %s"):format(path, count, address))
  os.exit(130, true)
end

show_journal()
print(("%s in %.2f s"):format(r.status, r.total_time))
for _, failure in ipairs(r.failures) do print(failure.index, failure.err) end
if not (arg and arg[1]) then os.remove(path) end
os.exit(r.ok, true)
