-- A worker of a shared batch that is disturbed at each statement in turn: stopped with SIGSTOP for longer than its
-- lease and continued, or its connection cut, before the statement's answer and in its middle.
-- Usage: lua spec/long/shared_stop.lua [WORD]: only statements whose name has this word.
-- SPDX-License-Identifier: Apache-2.0
local trials = require "spec.support.shared_trials"

local JOBS = 60

local function check(all, name, first, second)
  assert(first.missing == 0 and second.missing == 0, name .. ": a slot was not told of")
  assert(first.ends == second.ends, ("%s: two processes tell different ends: %s and %s"):format(name, first.ends,
    second.ends))
  local unknown, run_unknown = all:check()
  print(("  %-60s %d unknown, %d of them ran"):format(name, unknown, run_unknown))
end

local all = trials.start { jobs = JOBS, job_latency = 0.02, arguments = "workers=4 lease=1 iterator=1" }
for _, statement in ipairs(trials.statements) do
  local name, words = table.unpack(statement)
  if not arg[1] or name:find(arg[1], 1, true) then
    print(name)
    check(all, "stopped while it is sent", trials.stop_at(all, "request", words))
    check(all, "cut while it is sent", trials.cut_at(all, "request", 0, "cut", words))
    check(all, "cut while it is sent, the rest comes late", trials.cut_at(all, "request", 0, "part", words))
    check(all, "cut after it was sent", trials.cut_at(all, "request", 60, "cut", words))
  end
end
print "the answer to COMMIT"
check(all, "stopped", trials.stop_at(all, "answer", "COMMIT"))
check(all, "cut before it", trials.cut_at(all, "answer", 0, "cut", "UPDATE"))
check(all, "cut after it", trials.cut_at(all, "answer", 0, "cut", "COMMIT"))
all:stop()
