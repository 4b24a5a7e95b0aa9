-- A process that runs a batch with a journal, for specs that kill it, or give it a disk that is full.
-- Usage: lua journal_batch.lua ADDRESS JOURNAL COUNT MAX_WORKERS TRANSPORT ON_UNKNOWN
-- Prints "status successes failures unknown", then what stopped the batch, if anything did. Circuit i has i shots.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

local address, path, count, workers, transport, on_unknown = table.unpack(arg)
local client <close> = arvak.connect(address)
local manager <close> = arvak.batch_manager(client, { max_workers = math.tointeger(workers) })
local circuits = {}
for i = 1, math.tointeger(count) do circuits[i] = { "OPENQASM 3.0; qubit q; x q;", i } end
local r, err = manager:execute_batch(circuits, "simulator",
  { journal = path, transport = transport, on_unknown = on_unknown })
if not r then
  print("refused", err)
  os.exit(1, true)
end
local unknown = 0
for i, result, failure in r:each() do
  if result then
    assert(result.shots == i and result.counts["1"] == i, "the result of another circuit")
  elseif failure.maybe_executed then
    unknown = unknown + 1
  end
end
print(r.status, r.success_count, r.failure_count, unknown)
if err then print(err) end
