-- Job futures: submitted now, awaited later. Nothing here is a task, and nothing waits in a thread of its own.
-- Usage: lua5.4 examples/futures.lua [address]
local arvak = require "arvak"

local client <close> = arvak.connect(arg and arg[1] or os.getenv "ARVAK_ADDRESS" or "embedded")

-- A chain of n entangled qubits: all zeros or all ones.
local function chain(n)
  local lines = { "OPENQASM 3.0;", ("qubit[%d] q;"):format(n), "h q[0];" }
  for i = 1, n - 1 do lines[#lines + 1] = ("cx q[%d], q[%d];"):format(i - 1, i) end
  return table.concat(lines, "\n")
end

local circuits = {}
for n = 2, 10 do circuits[#circuits + 1] = { chain(n), 500 } end

local futures = client:submit_batch_future(circuits, "simulator")
print(("%d jobs on their way; the first is %s"):format(#futures, assert(futures[1]:submitted())))

for future, index in arvak.as_completed(futures, 30) do
  local result = assert(future:result())
  local outcomes = {}
  for bits in result:pairs() do outcomes[#outcomes + 1] = bits end
  print(("%2d qubits: %s"):format(index + 1, table.concat(outcomes, " or ")))
  assert(#outcomes == 2 and result.shots == 500)
end

-- A job that is no longer wanted: canceling its future cancels it on the server.
local unwanted = client:submit_qasm_future(chain(10), "simulator", 100000)
local ok, err = unwanted:cancel()
print(ok and "canceled" or "it was too late to cancel: " .. err.kind)
