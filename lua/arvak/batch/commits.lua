-- The commits of a run, between it and its journal: what an earlier run has left, what is written when, and what waits
-- for the disk. Nothing here waits for it but open and close: while one commit is on its way, the next one fills.
-- Invariant: an input is sent only after its intent was committed, its job canceled only after the reason was, and its
-- end told only after that was, as long as the state is "open".
--
--   state    what becomes of ends, intents and reasons            event → state
--   open     they wait for the disk                               let_go → leaving, a commit fails → failed,
--                                                                 close → closed
--   leaving  nobody can wait: ends are told at once and noted     the same but let_go
--   failed   the journal takes nothing: ends are told at once,    close → closed
--            and nothing is sent or canceled any more
--   closed   the journal was told to close
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local identities = require "arvak.batch.journal.identity"
local inputs = require "arvak.batch.inputs"
local journal = require "arvak.batch.journal"
local queue = require "arvak.base.queue"

local M = {}

local LINGER = 0.002       -- seconds that what has happened may wait for more, so that one commit carries many
local GROUP = 3 / 8        -- of max_workers: with as many free places a commit is worth it
local MOST_ENDS = 3        -- times max_workers: ends that wait for the disk, beside those of open inputs,
local MOST_BYTES = 64 << 20   -- or their bytes; beyond that nothing is drawn
local LONGEST_END = 5.0    -- seconds that the end of a batch waits for the disk

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

-- Tells a drawn input what an earlier run has left of it: an item, as of inputs.plan. commits: run, is_retry, intend.
function M.resume(self, input, item)
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

local Direct = { messages_a_place = 1 }   -- of a stream, between two turns
Direct.__index = Direct

-- earlier: the items of an earlier run whose failures are run once more, by index; or nil.
function M.direct(run, earlier) return setmetatable({ run = run, earlier = earlier or {}, is_retry = true }, Direct) end

function Direct:admit(input)
  local item = self.earlier[input.index]
  if not item then return self:intend(input) end
  local state = item.err.maybe_executed and not item.job_id and "unknown" or "failed"
  M.resume(self, input, { state = state, attempts = 0, job_id = item.job_id, err = item.err })
end

function Direct.open() return true end
function Direct.holds() return false end
function Direct:intend(input)
  if not self.run.stopped_by and self.run:prepare(input) then self.run:tell(input, "release") end
end

function Direct.note_submitted() end
function Direct:note_canceling(input) self.run.cancels:push(input) end
function Direct.note_unsent() end
function Direct:note_end(input) self.run.ended:push(input) end
function Direct.turn() end
function Direct.next_time() return nil end
function Direct.is_empty() return true end
function Direct.may_send() return true end
function Direct.may_recall() return true end
function Direct.progress() end
function Direct.let_go() end
function Direct.close() end

-- ---- with one

local Commits = { messages_a_place = 2 }
Commits.__index = Commits

-- Takes the notes of a journal that writes nothing any more.
local nobody = { note_intent = function() end, note_submitted = function() end, note_end = function() end,
  note_unsent = function() end }

-- What goes with one commit: inputs whose intents, ends, or reasons to be canceled are in it.
local function new_group() return { intended = queue.new(), ended = queue.new(), reasons = queue.new() } end

-- options: path and identity of the journal; is_retry, failures of earlier runs are submitted again; notes_total, how
-- many inputs there are is not known before the end.
function M.new(run, options)
  local written = journal.new(options.path, function() run:wake() end)
  return setmetatable({
    run = run, state = "open", is_retry = options.is_retry, notes_total = options.notes_total, keeps_jobs = true,
    identity = options.identity, journal = written, notes = written, filling = new_group(), on_its_way = new_group(),
    unread = queue.new(), group = math.max(1, math.ceil(GROUP * run.max_workers)),
  }, Commits)
end

-- Waits until the journal is open: true, or nil and an error.
function Commits:open()
  local options = self.run.options
  return self.journal:open(self.identity, { extend = options.extend and not self.is_retry,
    is_loss_accepted = options.on_unknown == "resubmit" })
end

-- ---- drawing

-- Whether so much waits for the disk that no more may come.
local function is_full(self)
  return self.filling.ended:count() + self.on_its_way.ended:count() >= MOST_ENDS * self.run.max_workers
    or self.journal:waiting_bytes() >= MOST_BYTES
end

-- Whether inputs are left undrawn: until what has come is read or written, or for a moment, so that several go into one
-- commit.
function Commits:holds(room, now)
  if not self.unread:is_empty() or is_full(self) then
    self.held_since = nil
    return true
  end
  if room >= self.group or self.run.inputs.open_count == 0 then
    self.held_since = nil
    return false
  end
  self.held_since = self.held_since or now
  if now - self.held_since < LINGER then return true end
  self.held_since = nil
  return false
end

-- An input that is to be sent, unless the batch has stopped.
function Commits:intend(input)
  if self.run.stopped_by or not self.run:prepare(input) then return end
  self.run:tell(input, "intend")
  self.notes:note_intent(input)
  self.filling.intended:push(input)
end

-- The journal is of another batch, as this place shows.
local function refuse(self, index, why)
  self.run.is_refused = true
  local err = errors.new("rpc", string.format("the journal %s is refused: its circuit %d is not the one that was "
    .. "drawn: %s", self.journal.path, index, why))
  self.run:stop(err)
  return err
end

-- How many inputs an earlier run of the iterator had, where no more may come; or nil.
local function most_inputs(self)
  return self.notes_total and not self.run.options.extend and self.journal.total or nil
end

-- item: what an earlier run has left, or false.
local function admit(self, input, item)
  if item and item.circuit_hash ~= input.hash then
    local err = refuse(self, input.index, identities.ANOTHER_CIRCUIT)
    return self.run:tell(input, "keep", nil, err)
  end
  if item then
    input.has_row, input.sent_time = true, item.sent_at
    return M.resume(self, input, item)
  end
  local most = most_inputs(self)
  if most and input.index > most then
    return self.run:tell(input, "keep", nil, refuse(self, input.index, identities.is_longer(most)))
  end
  self:intend(input)
end

-- Inputs that were drawn before their rows were there.
local function admit_unread(self)
  while not self.unread:is_empty() do
    local input = self.unread:peek()
    local item = self.journal:look_up(input.index)
    if item == nil then return end
    self.unread:pop()
    if inputs.is_open(input) then admit(self, input, item) end
  end
end

-- An input that has just been drawn: it is to be sent, or goes on where an earlier run has left it, as soon as that is
-- known.
function Commits:admit(input)
  input.hash = input.hash or identities.hash(input)
  if self.unread:is_empty() then
    local item = self.journal:look_up(input.index)
    if item ~= nil then return admit(self, input, item) end
  end
  self.unread:push(input)
end

-- ---- what happens

function Commits:note_submitted(input) self.notes:note_submitted(input) end

-- An input whose job is to be canceled, and why: a later run knows from it that this was no failure of the job.
function Commits:note_canceling(input)
  self.notes:note_end(input, inputs.journal_state(input))
  self.filling.reasons:push(input)
end

-- An input whose batch is broken off before it was sent: its intent is taken back.
function Commits:note_unsent(input)
  if input.has_row and input.state ~= "drawn" then self.notes:note_unsent(input) end
end

-- An input that has ended. What comes from the journal, or never had a circuit, is not written.
function Commits:note_end(input)
  local has_begun = input.has_row or (input.hash and input.attempts > 0)
  local is_written = has_begun and not input.is_kept
  if is_written then self.notes:note_end(input, inputs.journal_state(input)) end
  local waits = is_written and self.state == "open"
  local line = waits and self.filling.ended or self.run.ended
  line:push(input)
end

-- ---- commits

local function tell_ends(self)
  self.run.ended:take_over(self.on_its_way.ended)
  self.run.ended:take_over(self.filling.ended)
end

local function fail(self, err)
  self.state, self.notes = "failed", nobody
  tell_ends(self)   -- what is not written is true all the same
  self.run.keeps_jobs = true   -- as far as the journal knows they run, and a later run looks at them
  self.run:stop(err)
end

-- What follows from the end of a commit.
local function settle(self)
  local outcome, group = self.journal:take_outcome(), self.on_its_way
  if self.state == "failed" or self.state == "closed" then return end
  if self.journal.err then return fail(self, self.journal.err) end   -- of a page, too
  if not outcome then return end
  self.run.ended:take_over(group.ended)
  self.run.cancels:take_over(group.reasons)
  local intended = group.intended
  for input in intended.pop, intended do self.run:tell(input, "release") end
end

-- Whether what has been noted is to be written now: enough has come together, it has waited long enough, or nothing
-- more can come.
local function is_due(self, now)
  local filling = self.filling
  if not self.journal:has_notes() then return false end
  self.due_at = self.due_at or now + LINGER
  if not self.journal:is_idle() then return false end
  local waiting = filling.intended:count()
  return waiting >= self.group or now >= self.due_at or self.run.inputs.open_count <= waiting
    or not filling.reasons:is_empty()
end

local function commit(self)
  self.on_its_way, self.filling, self.due_at = self.filling, self.on_its_way, nil
  self.journal:commit()
end

-- Does what follows from what has come, and hands over the next commit, if one is due.
function Commits:turn(now)
  settle(self)
  admit_unread(self)
  if is_due(self, now) then commit(self) end
end

function Commits:next_time()
  local due_at = self.journal:is_idle() and self.due_at or nil   -- otherwise its end wakes us
  local held_until = self.held_since and self.held_since + LINGER
  if not held_until or (due_at and due_at < held_until) then return due_at end
  return held_until
end

function Commits.may_send() return true end
function Commits.may_recall() return true end
function Commits.progress() end

function Commits:is_empty() return self.filling.ended:is_empty() and self.on_its_way.ended:is_empty() end

-- ---- the end

-- The run can wait for nothing any more.
function Commits:let_go()
  if self.state ~= "open" then return end
  self.state = "leaving"
  tell_ends(self)
end

-- Waits until nothing is under way: whether that is so.
local function wait_until_idle(self, ends_at)
  while true do
    settle(self)
    if self.state == "failed" or self.journal:is_idle() then return true end
    local left = ends_at - core.now()
    if left <= 0 then
      self.run:stop(errors.new("timeout", string.format("the journal %s has not been written within %d s: does the "
        .. "disk answer?", self.journal.path, LONGEST_END)))
      return false
    end
    if future.park(self.run.tickets, "execute_batch", left) == nil then return false end
  end
end

-- An iterator has ended before the place where it ended for an earlier run.
local function check_total(self, total)
  local earlier = self.journal.total
  if earlier and total < earlier then refuse(self, total + 1, identities.ends_early(total)) end
end

-- The last words: what is known is written once more, and the journal is looked at.
local function finish(self)
  local ends_at = core.now() + LONGEST_END
  if not wait_until_idle(self, ends_at) then return end
  local total = self.notes_total and self.run.source.total
  if total then check_total(self, total) end
  if total and not self.run.is_refused then self.journal:note_total(total) end
  if self.journal:has_notes() and self.state == "open" then
    commit(self)
    if not wait_until_idle(self, ends_at) then return end
  end
  local err = self.state == "open" and self.journal:check()
  if err then self.run:stop(err) end
end

-- Lets go of the journal. waits: until all is written and others may have it, for some seconds at most; otherwise what
-- was handed over may be written or not. Idempotent.
function Commits:close(waits)
  if self.state == "closed" then return end
  if waits and self.state ~= "leaving" then finish(self) end
  self.state, self.notes = "closed", nobody
  self.journal:close(waits)
end

return M
