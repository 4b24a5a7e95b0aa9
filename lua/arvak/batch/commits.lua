-- The commits of a run, between it and its journal: what an earlier run has left, what is written when, and what waits
-- for the disk.
-- Invariant: an input is sent only after its intent was committed, and told of only after its end was.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local journal = require "arvak.batch.journal"
local queue = require "arvak.base.queue"

local M = {}

local LINGER = 0.002     -- seconds that what has happened may wait for more, so that one commit carries many,
local LONGEST = 0.05     -- or as long as the last commit took, where the disk is slow, but not longer than this
local GROUP = 3 / 8      -- of max_workers: with as many free places a commit is worth it

-- ---- without a journal: nothing waits

local Direct = {}
Direct.__index = Direct

function M.direct(run) return setmetatable({ run = run }, Direct) end

function Direct.holds() return false end
function Direct:intend(input) self.run.ready:push(input) end
function Direct.admit() return "new" end
function Direct.note_submitted() end
function Direct:note_end(input) self.run.ended:push(input) end
function Direct.turn() end
function Direct.next_time() return nil end
function Direct.is_empty() return true end
function Direct.waiting() return 0 end
function Direct.take_intended() return nil end
function Direct.close() end

-- ---- with one

local Commits = {}
Commits.__index = Commits

-- options: is_retry, failures of earlier runs are submitted again; notes_total, how many inputs there are is not known
-- before the end.
function M.new(run, opened, options)
  return setmetatable({
    run = run, journal = opened, is_retry = options.is_retry, notes_total = options.notes_total, keeps_jobs = true,
    intended = queue.new(), unwritten = queue.new(), linger = LINGER,
    group = math.max(1, math.ceil(GROUP * run.max_workers)),
  }, Commits)
end

local function note(self, input, state, hash, is_new)
  self.journal:note(input, state, hash, is_new)
  self.due_at = self.due_at or core.now() + self.linger
end

-- Whether inputs are left undrawn for a moment, so that several go into one transaction.
function Commits:holds(room, now)
  if room >= self.group or self.run.open_count == 0 then
    self.held_since = nil
    return false
  end
  self.held_since = self.held_since or now
  if now - self.held_since < self.linger then return true end
  self.held_since = nil
  return false
end

-- An input that is to be sent.
function Commits:intend(input)
  note(self, input, "intent", input.hash, not input.has_row)
  input.has_row = true
  self.intended:push(input)
end

function Commits:note_submitted(input) note(self, input, "submitted") end

local function state_of(input)
  if input.result then return "completed" end
  return input.err.maybe_executed and "unknown" or "failed"
end

-- An input that has ended. What comes from the journal, or never had a circuit, is not written.
function Commits:note_end(input)
  local is_written = input.has_row or (input.hash and input.attempts > 0)
  if input.is_kept or not is_written or self.journal.err then return self.run.ended:push(input) end
  note(self, input, state_of(input), input.hash, not input.has_row)
  input.has_row = true
  self.unwritten:push(input)
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

local function plan_for(self, item)
  local has_failed = item.state == "failed"
  if item.state == "completed" and item.result then return "keep" end
  if item.job_id and not (has_failed and ends[item.err.kind]) then return "attach" end
  if has_failed then
    return (self.is_retry or (not item.job_id and is_submitted_again(item.err))) and "new" or "keep"
  end
  if self.run.options.on_unknown == "resubmit" then return "new" end
  return item.state == "unknown" and item.err and "keep" or "unknown"
end

local function unknown_error(self)
  return errors.new("rpc", "an earlier run ended after it had noted that it would submit this circuit, and before it "
    .. "knew the job's id: it may have been executed", { target = self.run.target, maybe_executed = true })
end

-- An input that has just been opened: "new" when it is to be sent, "attached" when its job is looked at, "kept" when it
-- has ended, "refused" when the journal knows another circuit in its place.
function Commits:admit(input)
  input.hash = journal.hash(input)
  local item, err = self.journal:read(input.index)
  if err then
    self.run:stop(err)
    return "new"
  end
  if not item then return "new" end
  if item.circuit_hash ~= input.hash then
    input.is_kept = true
    return "refused"
  end
  input.has_row, input.attempts, input.state = true, item.attempts, item.state
  input.sent_time = item.sent_at and ("%d"):format(item.sent_at)
  local plan = plan_for(self, item)
  if plan == "new" then return "new" end
  if plan == "attach" then
    input.was_stopped = item.state == "failed"
    self.run:attach(input, item.job_id)
    return "attached"
  end
  input.job_id, input.is_kept = item.job_id, plan == "keep"
  if input.is_kept then
    self.run:finish(input, item.result, item.err)
  else
    self.run:finish(input, nil, unknown_error(self))
  end
  return "kept"
end

-- What ends a batch that admit refuses.
function Commits:refusal(input)
  return errors.new("rpc", ("the journal %s is refused: its circuit %d is not the one that was drawn")
    :format(self.journal.path, input.index))
end

-- ---- commits

local function commit(self)
  local since = core.now()
  local ok, err = self.journal:commit()
  self.linger, self.due_at = math.max(LINGER, math.min(core.now() - since, LONGEST)), nil
  while true do   -- when it is not written it is true all the same, and told
    local input = self.unwritten:pop()
    if not input then break end
    self.run.ended:push(input)
  end
  if not ok then
    self.run.keeps_jobs = true   -- as far as the journal knows they run, and a later run looks at them
    return self.run:stop(err)
  end
  while true do
    local input = self.intended:pop()
    if not input then break end
    self.run.ready:push(input)
  end
end

-- Commits when enough has come together, when it has waited long enough, or when nothing more can come.
function Commits:turn(now)
  if self.journal.dirty_count == 0 or self.journal.err then return end
  if self.intended:count() >= self.group or now >= self.due_at or self.run.open_count <= self.intended:count() then
    commit(self)
  end
end

function Commits:next_time()
  local held_until = self.held_since and self.held_since + self.linger
  if not held_until or (self.due_at and self.due_at < held_until) then return self.due_at end
  return held_until
end

function Commits:is_empty() return self.unwritten:is_empty() end

-- How many inputs wait for their intent to be on the disk.
function Commits:waiting() return self.intended:count() end

-- The next input that waits to be sent, of a batch that has stopped.
function Commits:take_intended() return self.intended:pop() end

-- The last words: what is known is written once more, as far as the disk takes it.
function Commits:close()
  if self.journal.dirty_count > 0 then commit(self) end
  if self.notes_total and self.run.source.total then self.journal:set_total(self.run.source.total) end
  local ok, err = self.journal:check()
  if not ok then self.run:stop(err) end
  self.journal:close()
end

return M
