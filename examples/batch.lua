-- A sweep of 2,000 circuits as one batch: two of them are wrong, none is lost, and the rest is analyzed and exported.
-- Usage: lua5.4 examples/batch.lua [address] [out.csv]
local arvak = require "arvak"

local COUNT, SHOTS = 2000, 100

-- A Bell pair whose second qubit is turned by angle: <ZZ> is the cosine of it.
local function circuit(angle)
  return ("OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1]; rx(%.17g) q[1];"):format(angle)
end

local client <close> = arvak.connect(arg and arg[1] or os.getenv "ARVAK_ADDRESS" or "embedded")
local manager <close> = arvak.batch_manager(client, { max_workers = 64 })

local circuits = {}
for i = 1, COUNT do
  circuits[i] = { qasm = circuit(2 * math.pi * i / COUNT), shots = SHOTS, id = ("angle %d"):format(i) }
end
circuits[17].qasm = "OPENQASM 3.0; qubit[2] q; hadamard q[0];"   -- refused when it is submitted
circuits[18].qasm = "OPENQASM 3.0; qubit[2] q; rzz(1) q[0], q[1];"   -- accepted, and fails when it runs

local r = assert(manager:execute_batch(circuits, "simulator", { progress_callback = arvak.print_progress_bar }))
print(("%s: %d succeeded, %d failed, %.0f jobs/s"):format(r.status, r.success_count, r.failure_count, r.throughput))
for _, failure in ipairs(r.failures) do
  print(("  number %d (%s): %s: %s"):format(failure.index, failure.id, failure.err.kind, failure.err.message))
end
assert(r.success_count == COUNT - 2 and r.status == "partial")

-- Results come in the order of the inputs, each with its index.
local worst = 0
for _, result in ipairs(r.results) do
  local expected = math.cos(2 * math.pi * result.index / COUNT)
  worst = math.max(worst, math.abs(result:expectation { 0, 1 } - expected))
end
print(("largest difference of <ZZ> from its value: %.2f"):format(worst))
io.write(arvak.results.merge(r.results):histogram())

-- What failed, once more, with what was wrong put right.
circuits[17].qasm, circuits[18].qasm = circuit(17), circuit(18)
r = assert(r:retry_failed())
print(("after the correction: %s, %d of %d"):format(r.status, r.success_count, r.total_count))

if arg and arg[2] then assert(r:to_csv(arg[2])) end
