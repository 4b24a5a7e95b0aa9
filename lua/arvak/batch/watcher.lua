-- What became of submitted jobs that say nothing by themselves: GetJobStatus, and GetJobResult when they completed.
-- Invariant: of each input at most one such call is in flight, and none once the input has ended.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local heap = require "arvak.base.heap"
local poll = require "arvak.jobs.poll"
local records = require "arvak.results.records"

local M = {}

local SAMPLES, RECOUNT = 64, 16   -- durations remembered; how many new ones change the median
local LEAST_SILENCE = 0.05        -- seconds after which a silent job on a stream is looked at
local LAST_DELAY = 1.0            -- seconds between two looks at most

local Watcher = {}
Watcher.__index = Watcher

-- run: finish(input, result, err), note_answer(), note_failure(err), wake(), client, target, open.
function M.new(run)
  return setmetatable({ run = run, heap = heap.new(), durations = {}, count = 0 }, Watcher)
end

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

local function look_at(self, input, time)
  input.look_at = time
  self.heap:add(time, input)
end

-- A job of which a stream should tell: only its silence makes it of interest.
function Watcher:expect(input, now)
  input.delay = math.max(LEAST_SILENCE, 4 * (self.median or 0))
  input.growth = poll.GROWTH
  look_at(self, input, now + input.delay)
end

-- A job of which nobody tells. Once it is known how long jobs take, the looks are close around that time.
function Watcher:follow(input, now)
  local median = self.median
  local first = poll.FIRST_DELAY
  input.delay, input.growth = first, poll.GROWTH
  if median and median > 4 * first then
    first = 0.75 * median
    input.delay, input.growth = math.max(poll.FIRST_DELAY, median / 16), 1.1
  end
  look_at(self, input, now + math.min(poll.jittered(first), LAST_DELAY))
end

-- Looks as soon as the loop turns: its stream has ended, or a cancellation came too late.
function Watcher:look_now(input, now)
  input.delay, input.growth = poll.FIRST_DELAY, poll.GROWTH
  look_at(self, input, now)
end

local function look_again(self, input, retry_after)
  local delay = math.max(math.min(input.delay, LAST_DELAY), retry_after or 0)
  input.delay = math.min(input.delay * input.growth, LAST_DELAY)
  look_at(self, input, core.now() + poll.jittered(delay))
end

-- ---- looking

local on_status, on_result

local function request(self, input, method, on_end)
  local run = self.run
  if core.is_closed(run.client) then
    return run:stop(errors.new("closed", "the client was closed", { target = run.target }))
  end
  input.is_requested = true
  detached.go_on({ watcher = self, input = input, job_id = input.job_id }, on_end, method, run.client, input.job_id)
end

-- An answer about an input that has ended meanwhile is of no interest.
local function take_answer(call)
  local self, input = call.watcher, call.input
  input.is_requested = false
  self.run:wake()
  return self, input, self.run.open[input.index] == input
end

local function on_error(self, input, err)
  if not M.is_passing(err) then return self.run:finish(input, nil, err) end
  self.run:note_failure(err)
  look_again(self, input, err.retry_after)
end

-- An error that may be gone at the next try.
function M.is_passing(err)
  return poll.is_transient(err) or err.kind == "resource_exhausted" or err.kind == "circuit_open"
end

function on_status(call, job, err)
  local self, input, is_open = take_answer(call)
  if not is_open then return end
  if not job then return on_error(self, input, err) end
  self.run:note_answer()
  if job.state == "COMPLETED" then
    input.has_completed = true
    return request(self, input, "get_job_result", on_result)
  end
  if not records.is_terminal[job.state] then return look_again(self, input) end
  if input.was_stopped and job.state == "CANCELED" then return self.run:submit_anew(input) end
  self.run:finish(input, nil, poll.end_error(job, self.run.target))
end

function on_result(call, result, err)
  local self, input, is_open = take_answer(call)
  if not is_open then return end
  if not result then return on_error(self, input, err) end
  self.run:note_answer()
  self.run:finish(input, result)
end

-- Looks at every job whose time has come.
function Watcher:look(now)
  local open = self.run.open
  while true do
    local input = self.heap:take(now)
    if not input then return end
    if open[input.index] == input and input.look_at <= now and not input.is_requested and input.job_id then
      if input.has_completed then
        request(self, input, "get_job_result", on_result)
      else
        request(self, input, "get_job_status", on_status)
      end
    end
  end
end

function Watcher:next_time() return self.heap:next_time() end

return M
