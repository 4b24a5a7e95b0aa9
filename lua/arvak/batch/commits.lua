-- The commits of a run, between it and its journal: what an earlier run has left, what is written when, and what waits
-- for the disk.
-- Invariant: an input is sent only after its intent was committed, its job canceled only after the reason was, and its
-- end told only after that was.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local inputs = require "arvak.batch.inputs"
local journal = require "arvak.batch.journal"
local queue = require "arvak.base.queue"

local M = {}

local LINGER = 0.002     -- seconds that what has happened may wait for more, so that one commit carries many,
local LONGEST = 0.05     -- or as long as the last commit took, where the disk is slow, but not longer than this
local GROUP = 3 / 8      -- of max_workers: with as many free places a commit is worth it

-- ---- what an earlier run has left

local function unknown_error(run)
  return errors.new("rpc", "an earlier run ended after it had noted that it would submit this circuit, and before it "
    .. "knew the job's id: it may have been executed", { target = run.target, maybe_executed = true })
end

local function unreadable_error(run, job_id)
  return errors.new("rpc", "the journal holds the job, but how its answer is read cannot be read",
    { target = run.target, job_id = job_id })
end

-- Goes on with the job that an earlier run has left. A circuit's job is read as that run would have read it.
local function attach(run, input, item)
  if item.has_lost_way then return run:tell(input, "keep", nil, unreadable_error(run, item.job_id), item.job_id) end
  input.way = item.way
  if input.source and not input.way and not run:lower(input) then return end
  run:tell(input, "attach", item.job_id, item.state == "failed")
end

-- Tells a drawn input what an earlier run has left of it: an item, as of inputs.plan.
local function resume(self, input, item)
  local run = self.run
  local plan = inputs.plan(item, run.options.on_unknown == "resubmit", self.is_retry)
  run:tell(input, "restore", item.attempts, plan == "again")
  if plan == "keep" then
    run:tell(input, "keep", item.result, item.err, item.job_id)
  elseif plan == "attach" then
    attach(run, input, item)
  elseif plan == "unknown" then
    run:tell(input, "fail", unknown_error(run))
  else
    self:intend(input)
  end
end

-- ---- without a journal: nothing waits

local Direct = {}
Direct.__index = Direct

-- earlier: the items of an earlier run whose failures are run once more, by index; or nil.
function M.direct(run, earlier) return setmetatable({ run = run, earlier = earlier or {}, is_retry = true }, Direct) end

function Direct:admit(input)
  local item = self.earlier[input.index]
  if not item then return self:intend(input) end
  local state = item.err.maybe_executed and not item.job_id and "unknown" or "failed"
  resume(self, input, { state = state, attempts = 0, job_id = item.job_id, err = item.err })
end

function Direct.holds() return false end
function Direct:intend(input)
  if not self.run.stopped_by and self.run:prepare(input) then self.run:tell(input, "release") end
end

function Direct.note_submitted() end
function Direct.note_canceling() end
function Direct:note_end(input) self.run.ended:push(input) end
function Direct.turn() end
function Direct.flush() end
function Direct.next_time() return nil end
function Direct.is_empty() return true end
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
  if room >= self.group or self.run.inputs.open_count == 0 then
    self.held_since = nil
    return false
  end
  self.held_since = self.held_since or now
  if now - self.held_since < self.linger then return true end
  self.held_since = nil
  return false
end

-- An input that is to be sent, unless the batch has stopped.
function Commits:intend(input)
  if self.run.stopped_by or not self.run:prepare(input) then return end
  self.run:tell(input, "intend")
  note(self, input, "intent", input.hash, not input.has_row)
  input.has_row = true
  self.intended:push(input)
end

function Commits:note_submitted(input) note(self, input, "submitted") end

-- An input whose job is to be canceled, and why: a later run knows from it that this was no failure of the job.
function Commits:note_canceling(input)
  if not self.journal.err then note(self, input, inputs.journal_state(input)) end
end

-- An input that has ended. What comes from the journal, or never had a circuit, is not written.
function Commits:note_end(input)
  local is_written = input.has_row or (input.hash and input.attempts > 0)
  if input.is_kept or not is_written or self.journal.err then return self.run.ended:push(input) end
  note(self, input, inputs.journal_state(input), input.hash, not input.has_row)
  input.has_row = true
  self.unwritten:push(input)
end

-- The journal knows another circuit in this place: it belongs to another batch.
local function refuse(self, input)
  local err = errors.new("rpc", string.format("the journal %s is refused: its circuit %d is not the one that was drawn",
    self.journal.path, input.index))
  self.run.is_refused = true
  self.run:stop(err)
  self.run:tell(input, "keep", nil, err)
end

-- An input that has just been drawn: it is to be sent, or goes on where an earlier run has left it.
function Commits:admit(input)
  input.hash = journal.hash(input)
  local item, err = self.journal:read(input.index)
  if err then return self.run:stop(err) end
  if not item then return self:intend(input) end
  if item.circuit_hash ~= input.hash then return refuse(self, input) end
  input.has_row = true
  input.sent_time = item.sent_at and string.format("%d", item.sent_at)
  resume(self, input, item)
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
    self.run:tell(input, "release")
  end
end

-- Commits what there is, at once.
function Commits:flush()
  if self.journal.dirty_count > 0 and not self.journal.err then commit(self) end
end

-- Commits when enough has come together, when it has waited long enough, or when nothing more can come.
function Commits:turn(now)
  if self.journal.dirty_count == 0 or self.journal.err then return end
  local is_all = self.run.inputs.open_count <= self.intended:count()
  if self.intended:count() >= self.group or now >= self.due_at or is_all then
    commit(self)
  end
end

function Commits:next_time()
  local held_until = self.held_since and self.held_since + self.linger
  if not held_until or (self.due_at and self.due_at < held_until) then return self.due_at end
  return held_until
end

function Commits:is_empty() return self.unwritten:is_empty() end

-- The last words: what is known is written once more, as far as the disk takes it.
function Commits:close()
  if self.journal.dirty_count > 0 then commit(self) end
  if self.notes_total and self.run.source.total then self.journal:set_total(self.run.source.total) end
  local ok, err = self.journal:check()
  if not ok then self.run:stop(err) end
  self.journal:close()
end

return M
