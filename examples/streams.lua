-- Streams: jobs pushed through one call, a job watched to its end, a result fetched in chunks.
-- Usage: lua5.4 examples/streams.lua [address]
local arvak = require "arvak"

local client <close> = arvak.connect(arg and arg[1] or os.getenv "ARVAK_ADDRESS" or "embedded")
local COUNT = 1000

-- The circuits are made when the stream is ready for them, and each answer comes when its job has ended.
local made = 0
local function next_circuit()
  made = made + 1
  if made <= COUNT then return { qasm = "OPENQASM 3.0; qubit[3] q; h q;", shots = made } end
end

local tally, last = { submitted = 0, completed = 0, error = 0 }, nil
for kind, index, job_id, data in client:submit_batch_stream(next_circuit, "simulator") do
  tally[kind] = tally[kind] + 1
  if kind == "completed" then
    assert(data.shots == index)
    last = job_id
  end
end
print(("%d submitted, %d completed, %d failed"):format(tally.submitted, tally.completed, tally.error))
assert(tally.completed == COUNT)

for state, timestamp in client:watch_job(last) do
  print(("job %s is %s (%d)"):format(last, state, timestamp))
end

local wide = assert(client:submit_qasm("OPENQASM 3.0; qubit[12] q; h q;", "simulator", 100000))
assert(client:wait_for_job(wide))
local outcomes, shots = 0, 0
for counts, is_final, index, total in client:stream_results(wide, 1000) do
  for _, count in pairs(counts) do
    outcomes, shots = outcomes + 1, shots + count
  end
  if is_final then print(("%d outcomes in %d chunks, %d shots"):format(outcomes, index + 1, shots)) end
  assert(index < total)
end
