-- The inputs of a batch: each circuit from being drawn to its end. An input has one state; tell changes it, on events,
-- and nobody else does. Pure: time is passed in, nothing is called; what is to be done now is returned as an effect.
-- Invariant: an input ends once; one that may have run is not ready again, unless the options want that.
--
--   state      what is known                        event → state (effect)
--   drawn      nothing is decided                   intend → intended, release → ready (queue),
--                                                   attach → running (look), keep, recall → ended
--   intended   its intent is not on the disk yet    release → ready (queue), recall → ended
--   ready      it may be sent                       send → sending, recall → ended,
--                                                   accept → running (follow): a lost submit has made a job after all
--   sending    the server may have it               accept → running (follow), unsend → ready (requeue),
--                                                   lose → ready (requeue) or ended, recall → recalled
--   recalled   the same, and nobody wants it        accept → canceling (cancel), unsend, lose → ended
--   running    the server has its job               see → fetching, drawn (again) or ended, complete → ended,
--                                                   recall → canceling (cancel)
--   fetching   its job has completed                complete → ended
--   canceling  its job is to be canceled            see → fetching or ended, refuse_cancel → canceling (look) or ended,
--                                                   cancel, complete → ended
--   ended      it has a result or an error
--
-- All but the last go to ended with fail and expire, too; → ended always has the effect "end", but for part: the input
-- is another program's now. From running on, accept
-- with another job than the input's own is about one that nobody waits for (cancel_stray). An event that a state does
-- not name is late or doubled, and changes nothing.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local MAX_ATTEMPTS = 5   -- submits of one input, where the options want repetitions

M.states = { "drawn", "intended", "ready", "sending", "recalled", "running", "fetching", "canceling", "ended" }

local Inputs = {}
Inputs.__index = Inputs

-- resubmits: whether a submit that may have made a job is made again.
function M.new(resubmits)
  local counts = {}
  for _, state in ipairs(M.states) do counts[state] = 0 end
  return setmetatable({ open = {}, open_count = 0, counts = counts, completed = 0, failed = 0, kept = 0,
    resubmits = resubmits, is_stopped = false }, Inputs)
end

-- ---- what others may know

-- A table for an input, with room for most of its fields. Lua copies a table each time that it outgrows its room.
function M.blank(index)
  return { index = index, circuit = nil, backend_id = nil, state = nil, attempts = nil, sent_at = nil, job_id = nil,
    accepted_at = nil, result = nil, hash = nil, sent_time = nil, has_row = nil, owes_id = nil }
end

-- Takes an input in: a table with an index; what else is in it is the caller's.
function Inputs:draw(input)
  input.state, input.attempts = "drawn", 0
  self.open[input.index] = input
  self.open_count = self.open_count + 1
  self.counts.drawn = self.counts.drawn + 1
  return input
end

function Inputs:get(index) return self.open[index] end

-- A list of those that have not ended.
function Inputs:list()
  local list = {}
  for _, input in pairs(self.open) do list[#list + 1] = input end
  return list
end

-- Those that wait to be sent, and those whose jobs the server has and has not finished, as far as is known.
function Inputs:waiting() return self.counts.drawn + self.counts.intended + self.counts.ready end
function Inputs:unfinished() return self.counts.running + self.counts.fetching + self.counts.canceling end

local has_job = { running = true, fetching = true, canceling = true }
local is_unsent = { drawn = true, intended = true, ready = true }

function M.is_open(input) return input.state ~= "ended" end
function M.is_ready(input) return input.state == "ready" end
function M.is_canceling(input) return input.state == "canceling" end

-- Whether the server has its job, and its end is not known.
function M.has_job(input) return has_job[input.state] == true end

-- Whether surely no job was made for it.
function M.is_unsent(input) return is_unsent[input.state] == true and not input.may_have_run end

-- From now on no submit is repeated.
function Inputs:stop() self.is_stopped = true end

-- ---- the changes

local function move(self, input, state)
  local counts = self.counts
  counts[input.state] = counts[input.state] - 1
  counts[state] = counts[state] + 1
  input.state = state
end

local function finish(self, input, result, err)
  move(self, input, "ended")
  self.open[input.index] = nil
  self.open_count = self.open_count - 1
  input.result, input.err = result, err
  if result ~= nil then
    self.completed = self.completed + 1
  else
    self.failed = self.failed + 1
    if input.job_id then err.job_id = err.job_id or input.job_id end
  end
  return "end"
end

local function fail(self, input, err) return finish(self, input, nil, err) end
local function give_up(self, input) return finish(self, input, nil, input.err) end

local function release(self, input)
  move(self, input, "ready")
  return "queue"
end

-- Surely no job was made.
local function unsend(self, input)
  move(self, input, "ready")
  return "requeue"
end

local drawn, ready, sending, recalled, running, canceling = {}, {}, {}, {}, {}, {}

function drawn.intend(self, input) move(self, input, "intended") end

-- was_stopped: whether its batch may have canceled it.
function drawn.attach(self, input, job_id, was_stopped)
  input.job_id, input.was_stopped = job_id, was_stopped
  move(self, input, "running")
  return "look"
end

-- What an earlier run has tried; may_have_run: a submit of which nobody knows.
function drawn.restore(_, input, attempts, may_have_run)
  input.attempts, input.may_have_run = attempts, may_have_run
end

-- What an earlier run has left.
function drawn.keep(self, input, result, err, job_id)
  self.kept, input.is_kept, input.job_id = self.kept + 1, true, job_id
  return finish(self, input, result, err)
end

function ready.send(self, input, now)
  input.attempts, input.sent_at = input.attempts + 1, now
  move(self, input, "sending")
end

local function accept(self, input, job_id)
  input.job_id, input.may_have_run = job_id, nil
  move(self, input, "running")
  return "follow"
end

function sending.lose(self, input, err)
  if not self.resubmits or self.is_stopped or input.attempts >= MAX_ATTEMPTS then return fail(self, input, err) end
  input.may_have_run = true
  return unsend(self, input)
end

-- What it ends with when no job of it is left.
function sending.recall(self, input, err)
  input.err = err
  move(self, input, "recalled")
end

function running.recall(self, input, err)
  input.err = err
  move(self, input, "canceling")
  return "cancel"
end

function recalled.accept(self, input, job_id)
  input.job_id, input.may_have_run, input.err.maybe_executed = job_id, nil, false
  move(self, input, "canceling")
  return "cancel"
end

function recalled.unsend(self, input)
  if not input.may_have_run then input.err.maybe_executed, input.err.attempts = false, 0 end
  return give_up(self, input)
end

-- state: that of its job, a terminal one; err: what it comes to when that is not COMPLETED.
function running.see(self, input, state, err)
  if state == "COMPLETED" then return move(self, input, "fetching") end
  if state ~= "CANCELED" or not input.was_stopped then return fail(self, input, err) end
  input.job_id, input.was_stopped = nil, nil
  move(self, input, "drawn")
  return "again"
end

function canceling.see(self, input, state, err)
  if state == "COMPLETED" then return move(self, input, "fetching") end
  return fail(self, input, state == "CANCELED" and input.err or err)
end

-- The job has ended before: how? Or the answer was lost (err.maybe_executed): has it been canceled?
function canceling.refuse_cancel(self, input, err)
  if err.kind == "not_cancelable" or err.maybe_executed then return "look" end
  return give_up(self, input)
end

-- A job beside that of the input, or after its end.
local function accept_other(_, input, job_id)
  return not input.is_parted and input.job_id ~= job_id and "cancel_stray" or nil
end

local function add(changes, more)
  for event, change in pairs(more) do changes[event] = change end
  return changes
end

-- Another program goes on with it: whatever comes of it is told there.
local function part(self, input)
  move(self, input, "ended")
  self.open[input.index] = nil
  self.open_count = self.open_count - 1
  input.is_parted = true
  return "part"
end

local moves = {
  drawn = add(drawn, { release = release, recall = fail, fail = fail, expire = fail }),
  intended = { release = release, recall = fail, fail = fail, expire = fail },
  ready = add(ready, { accept = accept, recall = fail, fail = fail, expire = fail }),
  sending = add(sending, { accept = accept, unsend = unsend, fail = fail, expire = fail }),
  recalled = add(recalled, { lose = give_up, fail = fail, expire = give_up }),
  running = add(running, { accept = accept_other, complete = finish, fail = fail, expire = fail }),
  fetching = { accept = accept_other, complete = finish, fail = fail, expire = fail },
  canceling = add(canceling, { accept = accept_other, cancel = give_up, complete = finish, fail = fail,
    expire = give_up }),
  ended = { accept = accept_other },
}

for state, events in pairs(moves) do
  if state ~= "ended" then events.part = part end
end

-- An input that another program has ended: its result or err.
function Inputs:note_other(input)
  if input.result ~= nil then self.completed = self.completed + 1 else self.failed = self.failed + 1 end
end

-- Tells an input of an event: the effect, or nil.
function Inputs:tell(input, event, ...)
  local change = moves[input.state][event]
  return change and change(self, input, ...)
end

-- ---- what an earlier run has left

-- Only these say how a job ended; any other failure is of the batch or the way to the server, and the job is looked at.
local ends = { job_failed = true, job_canceled = true, result_expired = true, job_not_found = true }

-- With these a submit that surely made no job is made again, and one that was never made, whatever stopped the batch.
local passing = { unavailable = true, circuit_open = true, resource_exhausted = true, timeout = true, canceled = true,
  closed = true, forked = true, unauthenticated = true }

local function is_submitted_again(err)
  return passing[err.kind] or (err.attempts == 0 and err.kind ~= "invalid_circuit")
end

-- Whether a later run goes on with an input that has failed so.
function M.is_passing(err, job_id)
  if job_id then return not ends[err.kind] end
  return is_submitted_again(err)
end

-- What becomes of an input of which an earlier run has left this: "keep" it, "attach" to its job, submit it as "new" or
-- "again" (it may have run), or "unknown". item: state (of the journal), job_id, result, err. is_retry: failures
-- are run once more.
function M.plan(item, resubmits, is_retry)
  local has_failed = item.state == "failed"
  if item.state == "completed" and item.result then return "keep" end
  if item.job_id and not (has_failed and ends[item.err.kind]) then return "attach" end
  if has_failed then
    return (is_retry or (not item.job_id and is_submitted_again(item.err))) and "new" or "keep"
  end
  if resubmits then return "again" end
  return item.state == "unknown" and item.err and "keep" or "unknown"
end

-- The state in which the journal keeps an input that has ended, or whose job is to be canceled.
function M.journal_state(input)
  if input.result ~= nil then return "completed" end
  return input.err.maybe_executed and "unknown" or "failed"
end

return M
