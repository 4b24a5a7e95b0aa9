-- What became of submitted jobs that say nothing by themselves: GetJobStatus, and GetJobResult when they completed.
-- Invariant: of each slot at most one such call is in flight, and none once the slot has ended.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local agenda = require "arvak.base.heap"
local calls = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local records = require "arvak.results.records"
local wait = require "arvak.jobs.poll"

local M = {}

local SAMPLES, RECOUNT = 64, 16   -- durations remembered; how many new ones change the median
local LEAST_SILENCE = 0.05        -- seconds after which a silent job on a stream is looked at
local LAST_DELAY = 1.0            -- seconds between two looks at most

local Settle = {}
Settle.__index = Settle

-- run: finish(slot, result, err), note_answer(), note_failure(err), wake(), client, target, open.
function M.new(run)
  return setmetatable({ run = run, agenda = agenda.new(), durations = {}, count = 0 }, Settle)
end

-- ---- how long jobs take

-- Remembers how long a job took from its submission until its end was known.
function Settle:note_duration(seconds)
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

local function look_at(self, slot, time)
  slot.look_at = time
  self.agenda:add(time, slot)
end

-- A job of which a stream should tell: only its silence makes it of interest.
function Settle:expect(slot, now)
  slot.delay = math.max(LEAST_SILENCE, 4 * (self.median or 0))
  slot.growth = wait.GROWTH
  look_at(self, slot, now + slot.delay)
end

-- A job of which nobody tells. Once it is known how long jobs take, the looks are close around that time.
function Settle:follow(slot, now)
  local median = self.median
  local first = wait.FIRST_DELAY
  slot.delay, slot.growth = first, wait.GROWTH
  if median and median > 4 * first then
    first = 0.75 * median
    slot.delay, slot.growth = math.max(wait.FIRST_DELAY, median / 16), 1.1
  end
  look_at(self, slot, now + math.min(wait.jittered(first), LAST_DELAY))
end

-- Looks as soon as the loop turns: its stream has ended, or a cancellation came too late.
function Settle:look_now(slot, now)
  slot.delay, slot.growth = wait.FIRST_DELAY, wait.GROWTH
  look_at(self, slot, now)
end

local function look_again(self, slot, retry_after)
  local delay = math.max(math.min(slot.delay, LAST_DELAY), retry_after or 0)
  slot.delay = math.min(slot.delay * slot.growth, LAST_DELAY)
  look_at(self, slot, core.now() + wait.jittered(delay))
end

-- ---- looking

local on_status, on_result

local function ask(self, slot, method, on_end)
  local run = self.run
  if core.is_closed(run.client) then
    return run:stop(errors.new("closed", "the client was closed", { target = run.target }))
  end
  slot.is_asked = true
  calls.go_on({ settle = self, slot = slot, job_id = slot.job_id }, on_end, method, run.client, slot.job_id)
end

-- An answer about a slot that has ended meanwhile is of no interest.
local function take_answer(call)
  local self, slot = call.settle, call.slot
  slot.is_asked = false
  self.run:wake()
  return self, slot, self.run.open[slot.index] == slot
end

local function on_error(self, slot, err)
  if not M.is_passing(err) then return self.run:finish(slot, nil, err) end
  self.run:note_failure(err)
  look_again(self, slot, err.retry_after)
end

-- An error that may be gone at the next try.
function M.is_passing(err)
  return wait.is_transient(err) or err.kind == "resource_exhausted" or err.kind == "circuit_open"
end

function on_status(call, job, err)
  local self, slot, is_open = take_answer(call)
  if not is_open then return end
  if not job then return on_error(self, slot, err) end
  self.run:note_answer()
  if job.state == "COMPLETED" then
    slot.has_completed = true
    return ask(self, slot, "get_job_result", on_result)
  end
  if not records.is_terminal[job.state] then return look_again(self, slot) end
  if slot.was_stopped and job.state == "CANCELED" then return self.run:submit_anew(slot) end
  self.run:finish(slot, nil, wait.end_error(job, self.run.target))
end

function on_result(call, result, err)
  local self, slot, is_open = take_answer(call)
  if not is_open then return end
  if not result then return on_error(self, slot, err) end
  self.run:note_answer()
  self.run:finish(slot, result)
end

-- Looks at every job whose time has come.
function Settle:look(now)
  local open = self.run.open
  while true do
    local slot = self.agenda:take(now)
    if not slot then return end
    if open[slot.index] == slot and slot.look_at <= now and not slot.is_asked and slot.job_id then
      if slot.has_completed then
        ask(self, slot, "get_job_result", on_result)
      else
        ask(self, slot, "get_job_status", on_status)
      end
    end
  end
end

function Settle:next_time() return self.agenda:next_time() end

return M
