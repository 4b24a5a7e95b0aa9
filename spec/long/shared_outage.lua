-- Processes that share a batch while their database is restarted, and while the connections of half of them are cut in
-- the middle of commits and stall without a word: every circuit ends once, none runs twice, all tell the same.
-- Usage: lua spec/long/shared_outage.lua [SEED] [RESTARTS] [JOBS] [PROCESSES], by default 5 restarts, 2,000 jobs, 4
-- processes.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local machines = require "spec.support.shared_machines"
local proxy = require "spec.support.proxy"

local seed, restarts = machines.number(1, os.time()), machines.number(2, 5)
local jobs, count = machines.number(3, 2000), machines.number(4, 4)

math.randomseed(seed)
print(("seed %d"):format(seed))
local all = machines.start { jobs = jobs, job_latency = 0.4, arguments = "workers=8 lease=2 reconnect=120 iterator=1",
  fsync = true }
all:make_database()
local between = proxy.start(all.cluster)
local living = {}
for i = 1, count do
  all.name = i % 2 == 0 and between:name "lab" or all.cluster:name "lab"
  living[i] = all:spawn()
end

local words = { "COMMIT", "SET state = 'intent'", "ended = ended +", "SET owner = NULL", "generate_series" }
local actions = { "cut", "reset", "part", "stall" }
local counts = { cut = 0, reset = 0, part = 0, stall = 0 }

local function trouble()
  local action, word = actions[math.random(#actions)], words[math.random(#words)]
  between:arm("request", math.random(0, 60), action, word)
  arvak.sleep(0.5)
  if between:is_armed() then return end
  counts[action] = counts[action] + 1
  arvak.sleep(math.random())
  between:deliver()
  if action == "stall" then between:resume() end
end

for i = 1, restarts do
  for _ = 1, 3 do trouble() end
  all.cluster:restart(i % 2 == 0 and "immediate" or "fast")
  arvak.sleep(0.5)
end
between:resume()
assert(not machines.has_ended(living[1]), "the batch ended before the last restart: give it more jobs")
machines.assert_alike(living)
local unknown, run_unknown = all:check()
print(("%d restarts, %d cuts, %d resets, %d commits that came late, %d stalls: every slot ended, none ran twice, "
  .. "%d unknown (%d of them ran)"):format(restarts, counts.cut, counts.reset, counts.part, counts.stall, unknown,
  run_unknown))
between:stop()
all:stop()
