-- Many circuits from iterators over several processes: memory stays flat, and every program is told of every end.
-- Usage: lua spec/long/shared_many.lua [JOBS] [PROCESSES], by default 100,000 over 4; a tenth of them goes first.
-- SPDX-License-Identifier: Apache-2.0
local machines = require "spec.support.shared_machines"

local most, count = math.tointeger(tonumber(arg[1] or 100000)), math.tointeger(tonumber(arg[2] or 4))

-- The peak of each process, in MiB.
local function run(jobs)
  local all = machines.start { jobs = jobs, job_latency = 0, arguments = "workers=32 lease=10 iterator=1" }
  all:make_database()
  local since, processes, peak = os.time(), {}, 0
  for i = 1, count do processes[i] = all:spawn() end
  for _, process in ipairs(processes) do
    local r = machines.parse(machines.wait(process, 1800))
    assert(r.successes == jobs and r.missing == 0, ("%d of %d succeeded, %d are missing"):format(r.successes, jobs,
      r.missing))
    peak = math.max(peak, r.memory_kib / 1024)
  end
  local rows = all.cluster:sql("SELECT count(*), count(*) FILTER (WHERE state = 'completed') FROM arvak_item", "lab")
  assert(rows == ("%d|%d"):format(jobs, jobs), rows)
  print(("%d circuits over %d processes in %d s: each was told of all, peak RSS %.1f MiB at most"):format(jobs, count,
    os.time() - since, peak))
  all:stop()
  return peak
end

local small = run(most // 10)
local large = run(most)
print(("%.1f MiB more for ten times as many"):format(large - small))
