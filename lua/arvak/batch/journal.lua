-- The journal of a batch: what is known of each input, in a database, so that a batch can go on after a crash.
-- Invariant: what commit has said true to is on the disk, in the file that has the journal's name; after the first
-- failure nothing is written any more.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local database = require "arvak.batch.journal_database"
local dialect = require "arvak.batch.journal_dialect"
local json = require "arvak.base.json"
local place = require "arvak.batch.journal_place"
local program = require "arvak.results.program"
local rows = require "arvak.batch.journal_rows"

local M = {}

local CHECKPOINT_EVERY = 1.0   -- seconds between two checkpoints at least,
local CHECKPOINT_SHARE = 20    -- and as many times as long as the last one took

local failure, fetch, query = database.failure, database.fetch, database.query

-- Values of a 32-bit integer's size go as they are; nil is NULL.
local function big(number) return number and string.format("%d", number) or nil end
local function now() return big(os.time()) end

-- ---- fingerprints

local CIRCUIT = "arvak.circuit 1"   -- begins what stands for a circuit in place of its text: of what kind, which format

-- What stands for a program: its text, or what a circuit is, whatever text is made of it. Of a circuit that cannot be
-- lowered, which is never sent, nothing is known.
local function identity_of(input)
  if not input.source then return input.circuit.qasm end
  return CIRCUIT .. "\0" .. (program.canonical(input.source) or "")
end

-- What tells one circuit from another: everything that is sent of it.
function M.hash(input)
  local circuit = input.circuit
  return core.sha256(string.pack("<s8s8I4I4", input.backend_id, identity_of(input), circuit.shots,
    circuit.optimization_level))
end

-- Of a whole list: the hashes of its circuits, in order. Of an iterator, of which nothing is known: its backend.
function M.fingerprint(backend_id, hashes)
  local print = core.sha256(string.pack("<s8s8", hashes and "list" or "iterator", backend_id or ""))
  for hash in hashes or function() end do print = core.sha256(print .. hash) end
  return print
end

-- ---- a journal that is written

local Journal = {}
Journal.__index = Journal

-- The tables, the mark in the file's header, and what says that the log is about to begin.
local function make_tables(connection)
  for _, sql in ipairs(dialect.schema) do
    local ok, message = query(connection, sql)
    if not ok then return nil, message end
  end
  return dialect.sqlite.stamp(connection, query)
end

-- A journal of an early version gets the columns that it lacks: true, or nil and a message.
local function add_columns(connection)
  local is_early, message = dialect.sqlite.is_early(connection, query)
  if is_early == nil then return nil, message end
  for _, sql in ipairs(is_early and dialect.later_columns or {}) do
    local ok
    ok, message = query(connection, sql)
    if not ok then return nil, message end
  end
  return true
end

-- nil and a message when the file has announced a log that never began, and there is none.
local function check_log(self, is_loss_accepted)
  local log, message = query(self.connection, dialect.statements.read_log)
  if not log then return nil, message end
  if not log.announced then return query(self.connection, dialect.statements.insert_log) end
  if log.announced == log.begun or self.place.had_log or is_loss_accepted then return true end
  return nil, string.format("its log %s-wal is missing, and with it what the last run has submitted and received: "
    .. "the two files belong together. Bring it back, or let on_unknown = \"resubmit\" submit again what the "
    .. "journal does not know",
    self.place.path)
end

local function adopt_batch(self, identity)
  local connection = self.connection
  local row, message = query(connection, dialect.statements.read_batch)
  if not row then return nil, "cannot be opened", message end
  if row.fingerprint and row.fingerprint ~= identity.fingerprint then
    return nil, "is refused", "it belongs to another batch (other circuits, shots or backend)"
  end
  local ok
  if row.fingerprint then
    ok, message = query(connection, dialect.statements.open_batch, now())
  else
    ok, message = query(connection, dialect.statements.insert_batch, dialect.FORMAT, identity.fingerprint,
      identity.backend_id, big(identity.total), now(), now())
  end
  if not ok then return nil, "cannot be opened", message end
  return true
end

-- Part of the transaction before a checkpoint.
local function announce_log(self)
  self.place:announce_log()
  return query(self.connection, dialect.statements.announce_log)
end

-- Brings everything into the file itself, which has announced that a log follows.
local function checkpoint(self)
  local since = core.now()
  local ok, message = dialect.sqlite.checkpoint(self.connection, query)
  local ended = core.now()
  self.checkpoint_at = ended + math.max(CHECKPOINT_EVERY, CHECKPOINT_SHARE * (ended - since))
  if ok then self.place:begin_log() end
  return ok, message
end

-- The first transaction: true, or nil, what is the matter ("is refused") and a message.
local function begin(self, identity, is_loss_accepted)
  local connection = self.connection
  local ok, message = make_tables(connection)
  if ok then ok, message = database.check_format(connection) end
  if ok then ok, message = add_columns(connection) end
  if not ok then return nil, "is refused", message end
  local what
  ok, what, message = adopt_batch(self, identity)
  if not ok then return nil, what, message end
  ok, message = check_log(self, is_loss_accepted)
  if not ok then return nil, "is refused", message end
  ok, message = announce_log(self)
  if not ok or not connection:commit() then return nil, "cannot be opened", message end
  ok, message = checkpoint(self)
  if not ok then return nil, "cannot be opened", message end
  return true
end

local function prepare_statements(self)
  local last, message = query(self.connection, dialect.statements.last_slot)
  if not last then return nil, failure(self.path, "cannot be read", message) end
  self.last_index = tonumber(last.slot) or 0
  for _, name in ipairs { "insert_item", "update_item", "read_item" } do
    self[name], message = self.connection:prepare(dialect.statements[name])
    if not self[name] then return nil, failure(self.path, "cannot be opened", message) end
  end
  return true
end

-- Opens the journal of the batch of this identity (fingerprint, backend_id, total), or makes it. nil and an error when
-- it belongs to another batch, is in use or cannot be written, or when its log is missing and is_loss_accepted is not
-- set.
function M.open(path, identity, is_loss_accepted)
  local dbi, err = database.load_driver()
  if not dbi then return nil, err end
  local taken, message = place.take(path)
  if not taken then return nil, failure(path, "cannot be opened", message) end
  local self = setmetatable({ path = path, place = taken, dirty = {}, dirty_count = 0 }, Journal)
  self.connection, message = database.connect(dbi, taken.path, dialect.sqlite.prepare)
  if not self.connection then
    taken:leave()
    return nil, failure(path, "cannot be opened", message)
  end
  local ok, what
  ok, what, message = begin(self, identity, is_loss_accepted)
  if ok then ok, err = prepare_statements(self) else err = failure(path, what, message) end
  if ok then return self end
  self:close()
  return nil, err
end

-- What an earlier run has written of an input: an item, or nil; nil and an error when it cannot be read.
function Journal:read(index)
  if index > self.last_index then return nil end
  local ok, message = self.read_item:execute(index)
  if not ok then return nil, failure(self.path, "cannot be read", message) end
  local row
  row, message = fetch(self.read_item)
  while row and fetch(self.read_item) do end   -- the statement is free only after its last row
  if message then return nil, failure(self.path, "cannot be read", message) end
  return row and rows.item_of(row)
end

-- From the next commit on this is what the journal knows of the input. is_new: whether it has no row yet.
function Journal:note(input, state, hash, is_new)
  local change = self.dirty[input.index]
  if not change then
    change = { is_new = is_new }
    self.dirty[input.index] = change
    self.dirty_count = self.dirty_count + 1
  end
  change.input, change.state, change.hash = input, state, hash or change.hash
end

-- How the answer of a circuit is read, as JSON; nil for a text.
local function reading_of(input)
  local way = input.way
  if way and input.written_way ~= way then input.written_way, input.reading_json = way, json.encode(way) end
  return way and input.reading_json or nil
end

local function raw_counts_of(result)
  local raw = rawget(result, "raw_counts")
  return raw and json.encode(raw) or nil
end

-- The values that an insert and an update have in common, in the order of the columns.
local function values_of(change)
  local input, state = change.input, change.state
  local result, has_ended = input.result, state ~= "intent" and state ~= "submitted"
  if state == "completed" then
    return state, input.attempts, input.job_id, json.counts(result), big(result.shots), big(result.execution_time_ms),
      result.metadata_json, nil, input.sent_time, now(), reading_of(input), raw_counts_of(result), input.index
  end
  local err = has_ended and input.err and rows.encode_error(input.err) or nil
  return state, input.attempts, input.job_id, nil, nil, nil, nil, err, input.sent_time, has_ended and now() or nil,
    reading_of(input), nil, input.index
end

local function write(self, change)
  local input = change.input
  if change.state == "intent" then input.sent_time = now() end
  if not change.is_new then return self.update_item:execute(values_of(change)) end
  return self.insert_item:execute(input.id and tostring(input.id), change.hash, values_of(change))
end

local function break_off(self, what, message)
  self.err = failure(self.path, what, message)
  self.connection:rollback()
  return nil, self.err
end

local function write_all(self)
  for _, change in pairs(self.dirty) do
    local ok, message = write(self, change)
    if not ok then return nil, message end
  end
  return true
end

-- Commits what was executed; before it, now and then, the announcement that a log follows the checkpoint after it.
-- nil, what is the matter and a message. What is committed is there only if the file still has its name.
local function commit(self)
  local is_due, ok, message = core.now() >= self.checkpoint_at, true, nil
  if is_due then ok, message = announce_log(self) end
  -- On a full disk execute says true, commit a bare false, and later commits true again (seen).
  if not ok or not self.connection:commit() then return nil, "cannot be written", message end
  message = self.place:check()
  if message then return nil, "is lost", message end
  if not is_due then return true end
  ok, message = checkpoint(self)
  return ok, "cannot be written", message
end

-- Whether the journal is still where it was: true, or nil and an error from then on.
function Journal:check()
  if self.err then return nil, self.err end
  local message = self.place:check()
  if message then return break_off(self, "is lost", message) end
  return true
end

-- Writes all that was noted: true when it is on the disk, nil and an error from the first failure on.
function Journal:commit()
  if self.dirty_count == 0 and not self.err then return true end
  local ok, message = self:check()   -- so that no intent is written that will not be acted on
  if not ok then return nil, message end
  ok, message = write_all(self)
  if not ok then return break_off(self, "cannot be written", message) end
  local what
  ok, what, message = commit(self)
  if not ok then return break_off(self, what, message) end
  self.dirty, self.dirty_count = {}, 0
  return true
end

-- How many inputs an iterator had.
function Journal:set_total(total)
  if self.err then return end
  local ok, message = query(self.connection, dialect.statements.set_total, big(total))
  if not ok or not self.connection:commit() then break_off(self, "cannot be written", message) end
end

-- The lock goes last: who takes it finds a file that is whole, and no log.
function Journal:close()
  if not self.connection then return end
  for _, name in ipairs { "insert_item", "update_item", "read_item" } do
    if self[name] then self[name]:close() end
  end
  self.connection:close()
  self.connection = nil
  self.place:leave()
end

return M
