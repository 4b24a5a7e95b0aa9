-- The commits of a run that shares its batch with other programs, through PostgreSQL: what is claimed, written and read
-- when, and what follows from it. docs/internals/shared-batches.md has the protocol.
-- Invariant: an input is sent only after its intent was committed under this worker's name, and its end told only after
-- that was, here or by whoever ended it.
--
--   state    what becomes of ends and intents                       event → state
--   open     they wait for the database                             let_go → leaving, lost → failed,
--                                                                   close → closed
--   leaving  nobody can wait: ends are told at once and noted       the same but let_go
--   failed   the database takes nothing: ends are told at once      close → closed
--   closed   the worker has left
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local commits = require "arvak.batch.commits"
local dsn = require "arvak.base.dsn"
local entries = require "arvak.streams.entries"
local identities = require "arvak.batch.journal.identity"
local inputs = require "arvak.batch.inputs"
local join = require "arvak.batch.shared.join"
local link = require "arvak.batch.shared.link"
local queue = require "arvak.base.queue"
local reading = require "arvak.batch.shared.reading"
local rows = require "arvak.batch.journal.rows"
local shared_rows = require "arvak.batch.shared.rows"
local sql = require "arvak.batch.shared.sql"
local strays = require "arvak.async.strays"

local M = {}

M.LEASE, M.RECONNECT = 30.0, 300.0

local LINGER = 0.002       -- seconds that an intent may wait for more, so that one turn carries many, or as long as
local LONGEST = 0.01       -- the last turn took, but not longer than this
local LATER = 0.02         -- seconds for what nobody waits to send: ids of jobs, and ends
local GROUP = 3 / 8        -- of max_workers: with as many free places a turn is worth it
local MOST_ENDS = 3        -- times max_workers: ends that wait for the database, beside those of open inputs,
local MOST_BYTES = 64 << 20   -- or their bytes; beyond that nothing is drawn
local NOTICE = 2.0         -- seconds that the database is away, after which it is said
local ENTRY_BYTES = 256    -- of memory for an end, beside its counts
local LONGEST_END = 5.0    -- seconds that the end of a batch waits for the database

local Shared = { messages_a_place = 2 }   -- as of commits.lua
Shared.__index = Shared

-- What goes with one turn: inputs that have changed, by index; of them those whose intents, ends, or reasons to be
-- canceled are in it, and how many bytes the ends have.
local function new_group()
  return { changes = {}, bytes = 0, intended = queue.new(), ended = queue.new(), reasons = queue.new() }
end

-- name: of the database; source: a shared_source.
function M.new(run, name, source, backend_id)
  local options = run.options
  local parsed = assert(dsn.parse(name))
  local self = setmetatable({
    run = run, state = "open", is_retry = source.is_again, keeps_jobs = true, source = source, backend_id = backend_id,
    claims = source.claims, filling = new_group(), on_its_way = nil, workers = 1, mine = 0, others = 0,
    group = math.max(1, math.ceil(GROUP * run.max_workers)), counted = {}, stop_state = "none",
    linger = LINGER,
  }, Shared)
  self.link = link.new {
    name = parsed, batch_name = parsed.batch or "default", lease = options.lease or M.LEASE,
    reconnect = options.reconnect or M.RECONNECT, worker_name = join.worker_name(), wake = function() run:wake() end,
    on = {
      parted = function() self:note_parted() end, joined = function(state) self.reading:note_state(state) end,
      held = function(held) self.reading:note_held(held) end,
      lost = function(err) self:fail(err) end, changed = function() self.reading:find_change() end,
    },
  }
  self.reading = reading.new(self)
  return self
end

-- Waits until the worker has joined: true, or nil and an error.
function Shared:open()
  local options = self.run.options
  local ok, err, is_refused = join.open(self.link, self.claims, { backend_id = self.backend_id,
    extend = options.extend == true, is_again = self.source.is_again, on_unknown = options.on_unknown or "fail" })
  if ok then return true end
  self.run.is_refused = is_refused
  self.state = "failed"
  return nil, err
end

-- ---- what happens to inputs

local INTENT, SUBMITTED, UNSENT = { kind = "intent" }, { kind = "submitted" }, { kind = "released", state = "claimed" }

-- What is written of an input with the next turn is its last change: input.noted.
local function note(self, input, change)
  local state = self.state
  if state == "failed" or state == "closed" then return end
  self.filling.changes[input.index], input.noted = input, change
  if not self.due_at then self.due_at = core.now() + LATER end
end

-- The first intent of a turn hastens it.
local function note_intent(self, input)
  note(self, input, INTENT)
  local intended = self.filling.intended
  if intended:is_empty() and self.due_at then self.due_at = math.min(self.due_at, core.now() + self.linger) end
  intended:push(input)
end

-- An input that is to be sent, unless the batch has stopped.
function Shared:intend(input)
  if self.run.stopped_by or not self.run:prepare(input) then return end
  self.run:tell(input, "intend")
  note_intent(self, input)
end

-- An input that has just been drawn, and was claimed: it is to be sent, or goes on where its last owner has left it.
function Shared:admit(input)
  local row = self.source:take_row(input.index)
  input.hash = input.hash or identities.hash(input)
  if not row or row.state == "claimed" then return self:intend(input) end
  local item = rows.item_of(row)
  if row.state == "submitted" and row.error then   -- its job was canceled with its program's batch
    item.state, item.err = "failed", rows.item_of({ slot = row.slot, state = "failed", error = row.error }).err
  end
  commits.resume(self, input, item)
end

function Shared:note_submitted(input) note(self, input, SUBMITTED) end

-- An input whose job is to be canceled, and why: whoever goes on with it knows from it that this was no failure.
function Shared:note_canceling(input)
  note(self, input, { kind = "submitted", err = input.err })
  self.filling.reasons:push(input)
end

-- An input whose batch is broken off before it was sent.
function Shared:note_unsent(input) note(self, input, UNSENT) end

-- Whether an input has ended with its program, and not by itself.
local function is_of_stop(self, input)
  local by = self.run.stopped_by
  return by ~= nil and input.err ~= nil and input.err.cause == by
end

-- What others find of an input that has ended with its program.
local function release(self, input)
  local state = input.job_id and "submitted" or input.err.maybe_executed and "intent" or "claimed"
  local is_canceled = state == "submitted" and not self.run.keeps_jobs
  note(self, input, { kind = "released", state = state, err = is_canceled and input.err or nil })
end

local function tell(self, input)
  self.mine = self.mine + 1
  self.run.ended:push(input)
end

-- What is written of an end, which may be told, and its result let go, before it is written.
local function change_of_end(input)
  local state, result = inputs.journal_state(input), input.result
  if state == "completed" then
    local counts, raw_counts = rows.encode_result(result)
    return { kind = "ended", state = state, counts = counts, raw_counts = raw_counts, shots = result.shots,
      execution_time_ms = result.execution_time_ms, metadata_json = result.metadata_json }
  end
  return { kind = "ended", state = state, err = input.err,
    is_passing = state == "failed" and inputs.is_passing(input.err, input.job_id) or nil }
end

-- An input that has ended.
function Shared:note_end(input)
  if is_of_stop(self, input) then
    release(self, input)
    return tell(self, input)
  end
  local change = change_of_end(input)
  note(self, input, change)
  self.filling.bytes = self.filling.bytes + ENTRY_BYTES + (change.counts and #change.counts or 0)
  if self.state == "open" then self.filling.ended:push(input) else tell(self, input) end
end

-- ---- turns

local function tell_group(self, group)
  local ended = group.ended
  self.mine = self.mine + ended:count()
  self.run.ended:take_over(ended)
end

-- What was not written goes with the next turn.
local function take_back(self, group)
  local filling = self.filling
  for index, input in pairs(group.changes) do filling.changes[index] = filling.changes[index] or input end
  filling.bytes = filling.bytes + group.bytes
  for _, name in ipairs { "intended", "ended", "reasons" } do filling[name]:take_over(group[name]) end
  if next(filling.changes) ~= nil then self.due_at = self.due_at or core.now() end
end

local function on_turn(self, group, fate)
  self.on_its_way = nil
  if fate == "parted" then
    self.parted_group = group
  elseif fate == "refused" then
    take_back(self, group)
  else
    tell_group(self, group)
    self.run.cancels:take_over(group.reasons)
    local run, intended = self.run, group.intended
    for i = intended.first, intended.last do run:tell(intended[i], "release") end
  end
end

-- The batch has ended before this program, which is refused: what it had beyond was deleted.
local function forget_beyond(self, group)
  for index in pairs(group.changes) do
    if index > self.claims.total then group.changes[index] = nil end
  end
end

-- Whether something of what is noted, or on its way, is let go beyond this program's own end: not any more. It may be
-- gone, where others have ended the batch before it and moved its end since; what is left is free when this worker
-- leaves.
function Shared:forget_unwanted()
  local last, has_some = self.claims.own_total or math.maxinteger, false
  for _, group in ipairs { self.filling, self.on_its_way } do
    for index, input in pairs(group.changes) do
      if input.noted.kind == "released" and index > last then
        group.changes[index], has_some = nil, true
      end
    end
  end
  if next(self.filling.changes) == nil then self.due_at = nil end
  return has_some
end

-- Adds what has been noted to a transaction, after the fence: the group.
local function fill(self, transaction, seq)
  local worker, batch, group = self.link.member, self.link.batch, self.filling
  self.filling, self.due_at = new_group(), nil
  if self.claims.mismatch and self.claims.total then forget_beyond(self, group) end
  self.link:add_fence(transaction, seq, group.ended:count())
  shared_rows.add_changes(transaction, group.changes, batch, worker.worker, worker.epoch)
  return group
end

local function commit(self, now)
  local group
  self.link:write("turn", false, function(transaction, seq) group = fill(self, transaction, seq) end, function(fate)
    self.linger = math.max(LINGER, math.min(core.now() - now, LONGEST))
    on_turn(self, group, fate)
  end)
  self.on_its_way = group
end

-- Whether what has been noted is to be written now: enough has come together, it has waited long enough, or nothing
-- more can come.
local function is_due(self, now)
  local filling = self.filling
  if next(filling.changes) == nil then return false end
  local waiting = filling.intended:count()
  return waiting >= self.group or now >= (self.due_at or 0) or self.run.inputs.open_count <= waiting
    or not filling.reasons:is_empty() or filling.ended:count() >= self.run.max_workers
end

-- Another program has all that was this worker's: its inputs are the other's, and their ends are read.
function Shared:note_parted()
  local run = self.run
  for _, group in ipairs { self.filling, self.parted_group or new_group() } do
    while not group.ended:is_empty() do
      local input = group.ended:pop()
      self.counted[input.index] = true
      self.claims:give_back(input.index, entries.entry_of(input))
    end
  end
  self.filling, self.parted_group, self.on_its_way = new_group(), nil, nil
  for _, input in ipairs(run.inputs:list()) do
    self.claims:give_back(input.index, entries.entry_of(input))
    run:tell(input, "part")
  end
  self.claims:part()
  run:wake()
end

-- The database is lost, or these are other circuits: what is known is told, and the batch stops.
function Shared:fail(err)
  if self.state == "failed" or self.state == "closed" then return end
  self.state = "failed"
  for _, group in ipairs { self.on_its_way or new_group(), self.filling } do tell_group(self, group) end
  self.run.keeps_jobs = true   -- for others, who will find them
  self.run:stop(err)
end

-- When the ends of a batch that was stopped have waited for the database long enough, or nil.
local function tells_at(self)
  return self.state == "open" and self.run.stopped_by and not self:is_empty() and self.run.stops_at + LONGEST_END or nil
end

-- Says once that the database is away, when that has lasted: whoever looks at the program would see it hang.
local function note_trouble(self, now)
  local since = self.link.member.away_since
  if not since then self.has_noticed = false end
  if not since or self.has_noticed or now - since < NOTICE then return end
  self.has_noticed = true
  strays.say(tostring(self.link:failure("is away", self.link.last_problem)))
end

-- What this program has claimed and does not go on with is for others, as it was.
local function release_unwanted(self)
  for _, one in ipairs(self.claims:take_unwanted()) do
    local row = one.row or { state = "claimed" }
    note(self, { index = one.slot, job_id = row.job_id }, { kind = "released", state = row.state,
      err = row.error and rows.item_of(row).err })
  end
end

-- Does what follows from what has come, and hands over what is due.
function Shared:turn(now)
  if self.state == "closed" or self.state == "failed" then return end
  if now >= (tells_at(self) or math.huge) then
    return self:fail(self.link:failure("cannot be written", self.link.last_problem))
  end
  local err = self.link:turn(now)
  if err then return self:fail(err) end
  note_trouble(self, now)
  self.source:pull()
  release_unwanted(self)
  self.reading:turn(now)
  if self.claims.mismatch and not self.run.stopped_by then return self.reading:refuse() end
  if not self.link:is_free(now) then return end
  if is_due(self, now) then
    commit(self, now)
  elseif not self.run.stopped_by then
    self.reading:claim()
  end
end

-- ---- what the run asks

-- Whether nothing is to be drawn now.
function Shared:holds(room, now)
  if not self.link:is_up() or self.filling.bytes >= MOST_BYTES then return true end
  local waiting = self.filling.ended:count() + (self.on_its_way and self.on_its_way.ended:count() or 0)
  if waiting >= MOST_ENDS * self.run.max_workers then return true end
  local ready = self.claims.ready:count()
  if room >= self.group or self.run.inputs.open_count == 0 or ready < room then
    self.held_since = nil
    return false
  end
  self.held_since = self.held_since or now
  if now - self.held_since < self.linger then return true end
  self.held_since = nil
  return false
end

-- Looked at before each circuit is sent: this program may have been stopped for a while, and be taken for dead.
function Shared:may_send() return self.state == "open" and self.link:may_send() end

function Shared:is_empty()
  return self.filling.ended:is_empty() and (not self.on_its_way or self.on_its_way.ended:is_empty())
end

local function earliest(time, other)
  if not time or (other and other < time) then return other end
  return time
end

function Shared:next_time()
  if self.state == "failed" or self.state == "closed" then return nil end
  local time = earliest(self.link:next_time(), self.reading:next_time())
  time = earliest(time, tells_at(self))
  if self.due_at and self.link:may_begin() and not self.claims.mismatch then
    time = earliest(time, math.max(self.due_at, self.link.not_before))
  end
  return earliest(time, self.held_since and self.held_since + self.linger)
end

-- How many living workers there are, and how many ends are this program's.
function Shared:progress() return self.workers, self.mine end

-- Another's input has ended: its row.
function Shared:note_other(row)
  if not self.source:is_of(row) then return self.reading:refuse_row(row.slot) end
  local entry = self.claims:note_end(row.slot)
  if entry == nil or not self.source.follows then return end
  local item = rows.item_of(row)
  local input = { index = row.slot, id = item.id, job_id = item.job_id, result = item.result, err = item.err,
    attempts = item.attempts, entry = entry }
  if type(entry) == "table" and entry.id ~= nil then input.id = entry.id end
  if not self.counted[row.slot] then self.run.inputs:note_other(input) end
  self.counted[row.slot] = nil
  self.run.ended:push(input)
  self.run:wake()
end

-- ---- the end

-- A run that stops asks whether its jobs are to be canceled: only the last living worker cancels. True once that is
-- known.
function Shared:may_recall(now)
  local run = self.run
  if self.stop_state == "none" and not run.keeps_jobs then
    self.stop_state = "asking"
    if not self.link:is_up() then
      run.keeps_jobs, self.stop_state = true, "known"
    else
      self.link:query("raw", { { sql.say_leaving, self.link.member.worker, self.link.member.epoch },
        { sql.count_others, self.link.batch, self.link.member.worker } }, function(outcome)
        self.stop_state = "known"
        if outcome[2][1].others > 0 then run.keeps_jobs = true end
      end, function() self.stop_state, run.keeps_jobs = "known", true end)
    end
  end
  if self.stop_state == "asking" and now >= run.stops_at then self.stop_state, run.keeps_jobs = "known", true end
  return self.stop_state == "known" or run.keeps_jobs
end

-- The run can wait for nothing any more.
function Shared:let_go()
  if self.state ~= "open" then return end
  self.state = "leaving"
  for _, group in ipairs { self.on_its_way or new_group(), self.filling } do tell_group(self, group) end
end

-- The last transaction: what is known, then all that is still this worker's is free, and it has left. Returns what was
-- noted in it.
local function fill_goodbye(self, transaction, seq)
  local worker = self.link.member
  local group = fill(self, transaction, seq)
  transaction:add(sql.free_own, self.link.batch, worker.worker, worker.epoch)
  transaction:add(sql.leave, worker.worker)
  return group
end

-- Of who cannot wait.
local function leave_at_once(self)
  if not self.link:is_up() then return end
  self.link:write_last(function(transaction, seq) fill_goodbye(self, transaction, seq) end)
end

-- Of who can: again where it was rolled back, within its time.
local function finish(self)
  local ends_at, tickets = core.now() + LONGEST_END, self.run.tickets
  while self.link:wait_until_free(tickets, ends_at) do
    local fate, group
    self.link:write("leave", false, function(transaction, seq) group = fill_goodbye(self, transaction, seq) end,
      function(became)
        fate = became
        if fate == "refused" then take_back(self, group) end
      end)
    self.link:wait_until_free(tickets, ends_at, function() return fate ~= nil end)
    if fate ~= "refused" then return end
  end
  leave_at_once(self)
end

-- Leaves the batch. waits: until the database knows, for some seconds at most. Idempotent.
function Shared:close(waits)
  if self.state == "closed" then return end
  local was_failed = self.state == "failed"
  if waits and not was_failed then
    finish(self)
  elseif not was_failed then
    leave_at_once(self)
  end
  self.state = "closed"
  self.link:close(waits and not was_failed)
end

return M
