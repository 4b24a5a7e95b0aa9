-- What became of submitted jobs that say nothing by themselves: the calls that jobs/poll.lua asks for.
-- Invariant: of each input at most one such call is in flight, and none is started once the input has ended.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local chunks = require "arvak.jobs.chunks"
local shared_durations = require "arvak.jobs.durations"
local detached = require "arvak.async.detached"
local heap = require "arvak.base.heap"
local inputs = require "arvak.batch.inputs"
local poll = require "arvak.jobs.poll"
local records = require "arvak.results.records"

local M = {}

local SAMPLES, RECOUNT = 64, 16   -- durations remembered; how many new ones change the median
local LEAST_SILENCE = 0.05        -- seconds after which a silent job on a stream is looked at
local LAST_DELAY = 1.0            -- seconds between two looks at most

local Watcher = {}
Watcher.__index = Watcher

-- ---- how long jobs take

-- Remembers how long a job took from its submission until its end was known.
function Watcher:note_duration(seconds)
  local durations, count = self.durations, self.count
  durations[count % SAMPLES + 1] = seconds
  self.count = count + 1
  if count < 8 or count % RECOUNT == 0 then
    local sorted = table.move(durations, 1, #durations, 1, {})
    table.sort(sorted)
    self.median = sorted[#sorted // 2 + 1]
  end
end

-- ---- when to look

local function look_at(self, followed, time)
  followed.at = time
  self.heap:add(time, followed)
end

-- first, delay: as of poll.start.
local function begin(self, input, now, first, delay)
  local followed = self.followed[input]
  if followed and followed.is_requested then return end   -- its answer will tell
  local max_wait = self.rules.max_wait
  input.ends_at = input.ends_at or max_wait and now + max_wait or nil   -- however often its stream breaks
  followed = { input = input, job_id = input.job_id, watcher = self, is_requested = false, _ends_at = input.ends_at }
  self.followed[input] = followed
  look_at(self, followed, poll.start(followed, self.rules, now, first, delay))
end

-- A job of which a stream should tell: only its silence makes it of interest.
function Watcher:expect(input, now)
  local silence = math.max(LEAST_SILENCE, 4 * (self.median or 0))
  begin(self, input, now, silence, silence)
end

-- A job of which nobody tells.
function Watcher:follow(input, now)
  begin(self, input, now)
  self.followed[input]._since = now
end

-- Looks as soon as the loop turns: its stream has ended, or a cancellation came too late.
function Watcher:look_now(input, now) begin(self, input, now, 0, poll.FIRST_DELAY) end

-- The input has ended, or has no job any more.
function Watcher:forget(input) self.followed[input], input.ends_at = nil, nil end

-- ---- looking

-- What follows from an answer. state: the job's, when that was the answer.
local function go_on(followed, event, value)
  local self, input = followed.watcher, followed.input
  local action, at_or_result, err = poll.decide(followed, self.rules, core.now(), event, value)
  if action ~= "end" and action ~= "over" then look_at(self, followed, at_or_result) end
  if action == "fetch" and event == "status" then self.run:tell(input, "see", value.state) end
  if action ~= "end" then return end
  if at_or_result ~= nil then return self.run:complete(input, at_or_result) end
  if event == "status" and records.is_terminal[value.state] then
    self.run:tell(input, "see", value.state, err)
  else
    self.run:tell(input, "fail", err)
  end
end

-- An answer about an input that has ended meanwhile, or runs once more, is of no interest.
local function on_answer(followed, event, value, err)
  local self = followed.watcher
  followed.is_requested = false
  self.run:wake()
  if self.followed[followed.input] ~= followed then return end
  if value == nil then
    if poll.is_transient(err) then self.run:note_failure(err) end
    return go_on(followed, "error", err)
  end
  self.run:note_answer()
  go_on(followed, event, value)
end

local steps = {}

function steps.look(self, followed)
  detached.go_on(followed, self.on_status, "get_job_status", self.run.client, followed.job_id)
end

function steps.fetch(self, followed)
  detached.go_on(followed, self.on_result, "get_job_result", self.run.client, followed.job_id)
end

function steps.chunks(self, followed)
  chunks.start(function(...) self.on_result(followed, ...) end, self.run.client, self.rules, followed.job_id)
end

function steps.rest(_, followed)
  followed.is_requested = false
  go_on(followed, "rested")
end

-- Looks at every job whose time has come.
function Watcher:look(now)
  while true do
    local followed = self.heap:take(now)
    if not followed then return end
    local is_due = self.followed[followed.input] == followed and followed.at <= now and not followed.is_requested
    if is_due and inputs.has_job(followed.input) then
      if core.is_closed(self.run.client) then return self.run:stop(self.run:closed_error()) end
      followed.is_requested = true
      steps[followed._step](self, followed)
    end
  end
end

function Watcher:next_time() return self.heap:next_time() end

-- run: tell, note_answer, note_failure, stop, wake, answer, client, target, patience, options (max_wait).
function M.new(run)
  local max_wait = core.limit_wait(run.client, run.options.max_wait)
  return setmetatable({
    run = run, heap = heap.new(), followed = {}, durations = {}, count = 0,
    rules = { interval = LAST_DELAY, patience = run.patience, target = run.target,
      max_wait = max_wait ~= math.huge and max_wait or nil, durations = shared_durations.of(run.client) },
    on_status = run:answer(function(followed, job, err) on_answer(followed, "status", job, err) end),
    on_result = run:answer(function(followed, result, err) on_answer(followed, "result", result, err) end),
  }, Watcher)
end

return M
