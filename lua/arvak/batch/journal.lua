-- The journal of a batch while it is written: what is known of each input, in an SQLite file, so that a batch can go
-- on after a crash. It waits in open and close only; whoever has asked for something is woken and looks.
-- Invariant: one operation is under way at a time; a commit that has ended well is on the disk, in the file that has
-- the journal's name; after the first failure nothing is written any more.
--
--   state          what is under way                          event → state
--   new            nothing is opened yet                      open → opening, close → closed
--   opening        the first transactions                     they end → idle; close → closing
--   idle           nothing                                    commit → committing or failed, close → closing
--   committing     a transaction                              it ends → idle, or checkpointing where that is due, or
--                                                             failed; close → closing
--   checkpointing  the log is taken into the file             it ends → idle or failed; close → closing
--   failed         nothing, and nothing will be               close → closing
--   closing        the database writes what it was given,     it ends → closed
--                  and is closed; nobody is told of the former
--   closed         others may have the file
--
-- Rows of an earlier run are read beside all that: a page is asked for, and is there some turns later.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local database = require "arvak.batch.journal.database"
local dialect = require "arvak.batch.journal.dialect"
local identities = require "arvak.batch.journal.identity"
local place = require "arvak.batch.journal.place"
local rows = require "arvak.batch.journal.rows"

local M = {}

local CHECKPOINT_EVERY = 1.0   -- seconds between two checkpoints at least,
local CHECKPOINT_SHARE = 20    -- and as many times as long as the last one took
local PAGE = 64                -- rows that are read together

local ask, statements = database.ask, dialect.statements

local Journal = {}
Journal.__index = Journal

local function now() return os.time() end

-- wake(): called when an operation has ended, or a page has come.
function M.new(path, wake)
  return setmetatable({ path = path, wake = wake, state = "new", filling = false, submitted = {}, submitted_count = 0,
    bytes_away = 0, pages = {}, is_reading = false, outcome = false }, Journal)
end

function Journal:is_idle() return self.state == "idle" end
function Journal:is_closed() return self.state == "closed" end

local function fail(self, what, problem)
  self.err = database.failure(self.path, what, problem)
  if self.state ~= "closing" and self.state ~= "closed" then self.state = "failed" end
  return self.err
end

-- Whether the file still has its name: nil, or the error from now on. Only while nothing is under way: checkpoints
-- change the file.
function Journal:check()
  if self.err then return self.err end
  local message = self.place:check()
  return message and fail(self, "is lost", message) or nil
end

-- ---- opening

-- Slots and hashes of all rows, in order, for who may wait. The problem, if there is one, is left in failed.
local function hashes_in(connection, failed)
  local page, i, last = {}, 0, 0
  return function()
    i = i + 1
    if not page[i] then
      local found
      found, failed.problem = ask(connection, "raw", { table.pack(statements.read_hashes, last, PAGE) })
      failed.problem = failed.problem or rows.find_disorder(found[1], last)
      page, i = not failed.problem and found[1] or {}, 1
    end
    local row = page[i]
    if not row then return nil end
    last = row.slot
    return row.slot, row.circuit_hash
  end
end

-- What the file is, as of dialect.identify; nil and a problem. Nothing has been written to it.
local function look_around(self)
  local list = { dialect.lock_writer, table.unpack(dialect.look_around) }
  local found, problem = ask(self.connection, "raw", list)
  if not found then return nil, problem end
  return dialect.identify({ found[2], found[3], found[4] })
end

-- What stands in it: batch (nil in a new journal), log and last_index; nil, what is the matter and a problem.
local function read_head(self, kind)
  local connection = self.connection
  local ok, problem = ask(connection, "raw", dialect.prepare_writer)
  if not ok then return nil, "cannot be opened", problem end
  if ok[1][1].journal_mode ~= "wal" then return nil, "cannot be opened", "there can be no write-ahead log" end
  if not kind.has_batch then return { last_index = 0 } end
  local found
  found, problem = ask(connection, "raw", { statements.read_format })
  if not found then return nil, "cannot be read", problem end
  local row = found[1][1]
  if not row then return { last_index = 0 } end
  local refusal = dialect.refuse_format(row.format)
  if refusal then return nil, "is refused", refusal end
  found, problem = ask(connection, "raw", { statements.read_batch, statements.last_slot,
    kind.has_log and statements.read_log or nil })
  if not found then return nil, "cannot be read", problem end
  return { batch = found[1][1], last_index = found[2][1].slot or 0, log = found[3] and found[3][1] }
end

-- Whether it is of this batch: true, or nil, what is the matter and a problem.
local function check_batch(self, head, identity, is_extended)
  if not head.batch then return true end
  local failed = {}
  local relation, why, index = identities.compare(identity, head.batch, hashes_in(self.connection, failed))
  if failed.problem then return nil, "cannot be read", failed.problem end
  if relation == "same" or (relation == "prefix" and is_extended) then return true end
  if relation == "prefix" then index, why = head.batch.total + 1, identities.is_longer(head.batch.total) end
  return nil, "is refused", identities.refusal(why, index)
end

-- A file that has announced a log that never began, and has none beside it, has lost it.
local function check_log(self, head, is_loss_accepted)
  local log = head.log
  if not log or log.announced == log.begun or self.place.had_log or is_loss_accepted then return true end
  return nil, "is refused", place.lost_log(self.place.path)
end

-- The statements of the first transaction: it makes the tables or raises the format, notes that the batch was opened,
-- and announces a log.
local function first_statements(kind, head, identity)
  local list = table.move(dialect.schema, 1, #dialect.schema, 1, {})
  for _, sql in ipairs(kind.is_early and dialect.later_columns or {}) do list[#list + 1] = sql end
  local batch = head.batch
  if not batch then
    list[#list + 1] = table.pack(statements.insert_batch, dialect.FORMAT, identity.fingerprint, identity.backend_id,
      identity.total, now(), now())
  else
    list[#list + 1] = table.pack(statements.open_batch, dialect.FORMAT, identity.fingerprint,
      identity.total or batch.total, now())
  end
  list[#list + 1] = statements.announce_log
  return list
end

-- true, or nil, what is the matter and a problem.
local function begin(self, identity, options)
  local kind, problem = look_around(self)
  if not kind then return nil, "cannot be opened", problem end
  local head, what
  head, what, problem = read_head(self, kind)
  if not head then return nil, what, problem end
  local ok
  ok, what, problem = check_batch(self, head, identity, options.extend)
  if ok then ok, what, problem = check_log(self, head, options.is_loss_accepted) end
  if not ok then return nil, what, problem end
  self.place:announce_log()
  ok, problem = ask(self.connection, "write", first_statements(kind, head, identity))
  if not ok then return nil, "cannot be opened", problem end
  ask(self.connection, "raw", { dialect.checkpoint })   -- its failure is none of the journal's: the log has everything
  ok, problem = ask(self.connection, "write", { statements.begin_log })
  if not ok then return nil, "cannot be opened", problem end
  self.place:begin_log()
  self.checkpoint_at, self.last_index = core.now() + CHECKPOINT_EVERY, head.last_index
  self.total = head.batch and identities.total_of(head.batch.total, head.last_index)
  return true
end

-- Opens the journal of the batch of this identity, or makes it, and waits for it: true; nil and an error when it
-- belongs to another batch, is in use or cannot be written, or when its log is missing. options: is_loss_accepted, of
-- the log; extend, it may have been made for the first circuits only.
function Journal:open(identity, options)
  local ok, problem = database.check()
  if ok then ok, problem = database.await(self.path) end
  if not ok then return nil, problem end
  self.place, problem = place.take(self.path)
  if not self.place then return nil, database.failure(self.path, "cannot be opened", problem) end
  self.state = "opening"
  self.connection, problem = database.open(self.place.path)
  local what = "cannot be opened"
  if self.connection then database.hold(self.connection) end
  if self.connection then ok, what, problem = begin(self, identity, options) else ok = nil end
  if self.state ~= "opening" then return nil, database.failure(self.path, what, "it was closed") end
  if ok then
    self.state = "idle"
    return true
  end
  local err = fail(self, what, problem)
  self:close(true)
  return nil, err
end

-- ---- what an earlier run has left

local function ask_for_page(self, from)
  if self.is_reading or self.err or self.state == "closing" or self.state == "closed" then return end
  self.is_reading = true
  local transaction = self.connection:transaction()
  transaction:add(dialect.pages.all, from - 1, PAGE)
  self.connection:start(transaction, "read", function(outcome)
    self.is_reading = false
    local problem = not outcome.ok and outcome or rows.find_disorder(outcome[1], from - 1)
    if problem then
      fail(self, "cannot be read", problem)
    else
      local list, page = outcome[1], { from = from }
      for _, row in ipairs(list) do page[row.slot] = row end
      page.to = #list == PAGE and list[PAGE].slot or self.last_index
      self.pages = { self.pages[#self.pages], page }   -- the last one that was there, and this one
    end
    self.wake()
  end)
end

-- What an earlier run has left of an input: an item, or false; nil while that is being read. Inputs come in ascending
-- order. The next page is asked for before it is needed.
function Journal:look_up(index)
  if index > self.last_index then return false end
  local last = self.pages[#self.pages]
  if last and last.to < self.last_index and index > (last.from + last.to) // 2 and index <= last.to then
    ask_for_page(self, last.to + 1)
  end
  for _, page in ipairs(self.pages) do
    if index >= page.from and index <= page.to then return page[index] and rows.item_of(page[index]) or false end
  end
  ask_for_page(self, index)
  return nil
end

-- ---- writing

-- What is noted is written with the next commit, in the order in which it was noted.
local function filling(self)
  local transaction = self.filling
  if transaction then return transaction end
  self.filling = self.connection:transaction()
  return self.filling
end

-- Inserts or updates the row of an input, in a state that is no intent of a first submit.
local function write_row(self, input, state, counts, raw_counts)
  input.owes_id = nil
  if input.has_row then
    return filling(self):add(statements.update_item, rows.values_of(input, state, now(), counts, raw_counts))
  end
  filling(self):add(statements.insert_item, input.id and tostring(input.id), input.hash,
    rows.values_of(input, state, now(), counts, raw_counts))
  input.has_row = true
end

-- An input will be submitted. From now on has_row says that a row of it is there or on its way.
function Journal:note_intent(input)
  input.sent_time = now()
  if input.has_row then return write_row(self, input, "intent") end
  filling(self):add(statements.insert_intent, input.id and tostring(input.id), input.hash, input.attempts,
    input.sent_time, rows.reading_of(input), input.index)
  input.has_row = true
end

-- Its job has an id. That waits until the transaction is handed over: a job that ends before has it in its end.
function Journal:note_submitted(input)
  local count = self.submitted_count + 1
  self.submitted[count] = input
  self.submitted_count, input.owes_id = count, true
end

-- It has ended, or its job is to be canceled. state: as of inputs.journal_state.
function Journal:note_end(input, state)
  local counts, raw_counts
  if state == "completed" then counts, raw_counts = rows.encode_result(input.result) end
  write_row(self, input, state, counts, raw_counts)
end

-- It was never submitted: no row of it is left.
function Journal:note_unsent(input)
  filling(self):add(statements.delete_item, input.index)
  input.has_row = nil
end

-- With the next commit it knows how many inputs an iterator had.
function Journal:note_total(total) filling(self):add(statements.set_total, total) end

-- Whether there is something to commit.
function Journal:has_notes() return self.filling ~= false or self.submitted_count > 0 end

-- How many bytes wait to be written, about.
function Journal:waiting_bytes() return self.bytes_away + (self.filling and self.filling:bytes() or 0) end

local function add_ids(self)
  local list = self.submitted
  for i = 1, self.submitted_count do
    local input = list[i]
    list[i] = nil
    if input.owes_id then
      filling(self):add(statements.note_submitted, input.attempts, input.job_id, input.index)
      input.owes_id = nil
    end
  end
  self.submitted_count = 0
end

-- All that was noted, as a transaction.
local function take_notes(self)
  add_ids(self)
  local transaction = filling(self)
  self.bytes_away, self.filling = transaction:bytes(), false
  return transaction
end

local function end_commit(self, state)
  if self.state ~= "failed" then self.state = state end
  self.bytes_away, self.outcome = 0, { err = self.err }
  self.wake()
end

local function on_begun(self, since, outcome)
  if self.state ~= "checkpointing" then return end
  local ended = core.now()
  self.checkpoint_at = ended + math.max(CHECKPOINT_EVERY, CHECKPOINT_SHARE * (ended - since))
  if outcome.ok then
    self.place:begin_log()
    self.state = "idle"
  else
    fail(self, "cannot be written", outcome)
    self.outcome = { err = self.err }
  end
  self.wake()
end

-- Brings what is in the log into the file itself. What comes after is in the log alone, so the file has announced a
-- log before, and the log says now that it has begun: a file without its log, copied or left alone, is known by that.
local function checkpoint(self)
  local connection, since = self.connection, core.now()
  local first, second = connection:transaction(), connection:transaction()
  first:add(dialect.checkpoint)
  second:add(statements.begin_log)
  connection:start(first, "raw", function() end)   -- its failure is none of the journal's: the log has everything
  connection:start(second, "write", function(outcome) on_begun(self, since, outcome) end)
end

local function on_committed(self, is_due, outcome)
  if self.state ~= "committing" then return end
  if outcome.ok then self:check() else fail(self, "cannot be written", outcome) end
  end_commit(self, is_due and "checkpointing" or "idle")
  if self.state == "checkpointing" then checkpoint(self) end
end

-- Hands over what was noted; how that ended is told by take_outcome, after a wake. Only when it is idle.
function Journal:commit()
  if self:check() then return end_commit(self, "failed") end   -- so that no intent is written that nobody will act on
  local is_due = core.now() >= self.checkpoint_at
  if is_due then self.place:announce_log() end
  local transaction = take_notes(self)
  if is_due then transaction:add(statements.announce_log) end
  self.state = "committing"
  self.connection:start(transaction, "blind", function(outcome) on_committed(self, is_due, outcome) end)
end

-- What has come of the last commit, once: a table whose err is nil when it is on the disk; nil when nothing new is
-- known.
function Journal:take_outcome()
  local outcome = self.outcome
  self.outcome = false
  return outcome or nil
end

-- ---- the end

-- What is still noted; and a log that was announced begins now at the latest.
local function write_rest(self)
  local is_beginning = self.place.is_beginning
  if not self:has_notes() and not is_beginning then return end
  local transaction <close> = filling(self)   -- as the Lua state closes nobody else frees it
  take_notes(self)
  if is_beginning then transaction:add(statements.begin_log) end
  self.connection:start(transaction, "write", function(outcome)
    if outcome.ok and is_beginning then self.place:begin_log() end
  end)
end

-- What a journal that has failed will never write.
local function forget_notes(self)
  local _ <close> = self.filling or nil
  self.filling = false
end

-- Hands over what is still noted and closes it. The lock goes last: who takes it finds a file that is whole, and no
-- log. waits: until it is closed, for five seconds at most. Idempotent.
function Journal:close(waits)
  local state = self.state
  if state == "closing" or state == "closed" then return end
  self.state = "closing"
  local function leave()
    self.state = "closed"
    if self.place then self.place:leave() end
    self.wake()
  end
  if not self.connection then return leave() end
  if not self.err and state ~= "opening" then write_rest(self) end
  forget_notes(self)
  database.close(self.connection, self.place.path, waits, leave)
end

return M
