-- A process that runs a shared batch, for specs that start several, kill them, stop them or cut them off.
-- Usage: lua shared_batch.lua ADDRESS JOURNAL COUNT [KEY=VALUE ...]: workers (8), lease (1), reconnect (60),
-- on_unknown, share, iterator (1: an iterator with on_result), other (a slot whose circuit is another), extend,
-- transport, timeout, compute (seconds that the loop does nothing else, once). Prints "status successes failures
-- unknown missing others peak" (the slots that were not told of; what ended otherwise than completed; KiB), then what
-- stopped the batch, if anything did. Circuit i has i shots.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

local given = { workers = "8", lease = "1", reconnect = "60" }
for i = 4, #arg do
  local key, value = arg[i]:match("^(%w+)=(.*)$")
  given[key] = value
end

local address, journal, count = arg[1], arg[2], math.tointeger(arg[3])
local client <close> = arvak.connect(address)
local manager <close> = arvak.batch_manager(client, { max_workers = math.tointeger(given.workers) })

local function circuit(i)
  local gate = tostring(i) == given.other and "x q; x q;" or "x q;"
  return { ("OPENQASM 3.0; qubit q; %s"):format(gate), i }
end

local circuits, drawn = {}, 0
if given.iterator then
  function circuits()
    drawn = drawn + 1
    return drawn <= count and circuit(drawn) or nil
  end
else
  for i = 1, count do circuits[i] = circuit(i) end
end

local ends, successes, failures, unknown, twice = {}, 0, 0, 0, 0
local function note(i, result, err)
  if given.compute then
    local ends_at = os.time() + math.tointeger(given.compute)
    given.compute = nil
    while os.time() < ends_at do end
  end
  if ends[i] then twice = twice + 1 end
  if result then
    assert(result.shots == i and result.counts["1"] == i, "the result of another circuit")
    successes = successes + 1
    ends[i] = "c"
  else
    failures = failures + 1
    if err.maybe_executed then unknown = unknown + 1 end
    ends[i] = err.maybe_executed and "u" or "f"
  end
end

local options = { journal = journal, lease = tonumber(given.lease), reconnect = tonumber(given.reconnect),
  on_unknown = given.on_unknown, share = given.share, transport = given.transport, timeout = tonumber(given.timeout),
  extend = given.extend and true or nil, on_result = note, collect = false }
if given.progress then
  function options.progress_callback(p)
    io.stderr:write(("%d %d %s %s\n"):format(p.completed, p.failed, p.workers, p.mine))
  end
end
local r, err = manager:execute_batch(circuits, "simulator", options)
if not r then
  print("refused", err)
  os.exit(1, true)
end
assert(twice == 0, "an end was told twice")
assert(r.success_count == successes and r.failure_count == failures)
local others, missing = {}, 0   -- what has not completed
for i = 1, count do
  if not ends[i] then missing = missing + 1 end
  if ends[i] ~= "c" then others[#others + 1] = (ends[i] or "-") .. i end
end
local peak_kib = io.open("/proc/self/status"):read("a"):match "VmHWM:%s*(%d+)"
print(r.status, successes, failures, unknown, missing, "." .. table.concat(others, "."), peak_kib)
if err then print(err) end
