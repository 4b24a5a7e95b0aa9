-- Processes that share a batch and are killed again and again (SIGKILL), and started anew: every circuit ends once,
-- none runs twice, and each process that ends tells the same.
-- Usage: lua spec/long/shared_kill.lua [SEED] [KILLS] [JOBS] [PROCESSES], by default 100 kills, 2,000 jobs, 4
-- processes.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local machines = require "spec.support.shared_machines"

local seed, kills = machines.number(1, os.time()), machines.number(2, 100)
local jobs, count = machines.number(3, 2000), machines.number(4, 4)

math.randomseed(seed)
print(("seed %d"):format(seed))
local all = machines.start { jobs = jobs, job_latency = 0.3, arguments = "workers=8 lease=1 iterator=1" }
all:make_database()
local living = {}
for i = 1, count do living[i] = all:spawn() end
local killed, since = 0, os.time()
while killed < kills do
  arvak.sleep(0.3 * math.random())
  local place = math.random(count)
  assert(not machines.has_ended(living[place]), "the batch has ended before the last kill: give it more jobs")
  machines.signal(living[place], "KILL")
  machines.wait(living[place])
  killed = killed + 1
  living[place] = all:spawn()
end
machines.assert_alike(living)
local unknown, run_unknown = all:check()
print(("%d kills of %d processes, %d jobs in %d s: every slot ended, none ran twice, %d unknown (%d of them ran)")
  :format(killed, count, jobs, os.time() - since, unknown, run_unknown))
all:stop()
