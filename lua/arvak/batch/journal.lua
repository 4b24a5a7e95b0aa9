-- The journal of a batch: what is known of each input, in a database, so that a batch can go on after a crash.
-- Invariant: what commit has said true to is on the disk; after the first failure nothing is written any more.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local dialect = require "arvak.batch.journal_dialect"
local errors = require "arvak.base.errors"
local json = require "arvak.base.json"
local records = require "arvak.results.records"

local M = {}
local NO_SUCH_FILE = 2   -- ENOENT

-- ---- the database

local function load_driver(database)
  local ok, dbi = pcall(function()
    require(database.module)
    return require("DBI")
  end)
  if ok then return dbi end
  return nil, errors.new("rpc", ("a journal needs LuaDBI with %s (Debian: %s), which is not to be found here")
    :format(database.name, database.package))
end

-- Values of a 32-bit integer's size go as they are; nil is NULL.
local function big(number) return number and ("%d"):format(number) or nil end
local function now() return big(os.time()) end

-- The next row, nil after the last; nil and the database's message.
local function fetch(statement)
  local ok, row = pcall(statement.fetch, statement, true)
  if ok then return row end
  return nil, row
end

-- Executes a text: its first row (an empty table when it has none), or nil and the database's message.
local function query(connection, sql, ...)
  local statement, message = connection:prepare(sql)
  if not statement then return nil, message end
  local ok
  ok, message = statement:execute(...)
  local row
  if ok and statement:columns() then row, message = fetch(statement) end
  statement:close()
  if not ok or message then return nil, message end
  return row or {}
end

-- What may only be read is an I/O error to SQLite. The file is opened only then, as that lets go of locks (see exists):
-- who meets an I/O error has not met a lock.
local function explain_io_error(path, message)
  if not message:find("disk I/O error", 1, true) then return message end
  local file, reason = io.open(path, "r+b")
  if not file then return reason end
  file:close()
  return message
end

local function failure(path, what, message)
  message = explain_io_error(path, message or "the database does not say why (is the disk full?)")
  local explanation = dialect.sqlite.explain(message)
  if explanation then message = explanation .. " (" .. message .. ")" end
  return errors.new("rpc", ("the journal %s %s: %s"):format(path, what, message))
end

local function connect(path, prepare, what)
  local database = dialect.sqlite
  local dbi, err = load_driver(database)
  if not dbi then return nil, err end
  local has_json
  has_json, err = json.decode("{}")
  if not has_json then return nil, err end
  local name = path:find("^:") and "./" .. path or path   -- ":memory:" is no file to SQLite
  local ok, connection, message = pcall(dbi.Connect, database.driver, name)
  if not ok then connection, message = nil, tostring(connection) end
  if not connection then return nil, failure(path, what, message) end
  ok, message = prepare(connection, query)
  if ok then return connection end
  connection:close()
  return nil, failure(path, what, message)
end

-- Whether there is a file: to open one and close it again would let go of this process's locks on it (POSIX), also of
-- those that another Lua state holds.
local function exists(path)
  local ok, message, code = os.rename(path, path)
  if ok or code ~= NO_SUCH_FILE then return true end
  return false, message
end

-- Why no database can be here, or nil. LuaDBI loses the memory of those that cannot be opened.
local function find_obstacle(path)
  local is_there = exists(path)
  local file, message = io.open(is_there and path .. "/." or path, is_there and "rb" or "ab")
  if file then file:close() end
  if is_there then return file and "it is a directory" or nil end
  return not file and message or nil
end

-- ---- what a row says

local error_names = { "kind", "message", "code", "name", "rpc", "job_id", "target", "attempts", "scope",
  "maybe_executed", "retryable" }

local function encode_error(err)
  local parts = {}
  for _, name in ipairs(error_names) do
    if err[name] ~= nil then parts[#parts + 1] = json.string(name) .. ":" .. json.scalar(err[name]) end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function decode_error(text)
  local fields = json.decode(text or "{}")
  if type(fields) ~= "table" then fields = {} end
  return errors.new(fields.kind or "rpc", fields.message or "", fields)
end

-- With all their digits, which lua-cjson would cut. nil when it is not what json.counts writes.
local function decode_counts(text)
  local counts = {}
  local rest = text:gsub('"([^"\\]*)":(%-?%d+)', function(bits, count)
    counts[bits] = math.tointeger(tonumber(count))
    return ""
  end)
  return rest:find("^{,*}$") and counts
end

local function decode_result(row)
  local counts, shots = decode_counts(row.counts or ""), math.tointeger(tonumber(row.shots))
  if not counts or not shots then return nil end
  return records.new_result {
    job_id = row.job_id, counts = counts, shots = shots,
    execution_time_ms = math.tointeger(tonumber(row.execution_time_ms)), metadata_json = row.metadata_json or "",
  }
end

-- A row as an item: index, id, state, circuit_hash, attempts, job_id, result or err, sent_at, ended_at.
local function item_of(row)
  local item = {
    index = math.tointeger(tonumber(row.slot)), id = row.circuit_id, state = row.state, circuit_hash = row.circuit_hash,
    attempts = math.tointeger(tonumber(row.attempts)), job_id = row.job_id,
    sent_at = math.tointeger(tonumber(row.sent_at)), ended_at = math.tointeger(tonumber(row.ended_at)),
  }
  if row.state == "completed" then
    item.result = decode_result(row)
    item.err = not item.result and errors.new("rpc", "the counts in the journal cannot be read") or nil
  elseif row.error or row.state == "failed" then
    item.err = decode_error(row.error)
  end
  return item
end

-- ---- fingerprints

-- What tells one circuit from another: everything that is sent of it.
function M.hash(input)
  local circuit = input.circuit
  return core.sha256(string.pack("<s8s8I4I4", input.backend_id, circuit.qasm, circuit.shots,
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

-- Only the format is looked at: in another one the rest may be missing.
local function check_format(connection)
  local row, message = query(connection, dialect.statements.read_format)
  if not row then return nil, message end
  if not row.format or tonumber(row.format) == dialect.FORMAT then return true end
  return nil, ("its format is %s, this library writes %d"):format(row.format, dialect.FORMAT)
end

local function adopt_batch(self, identity)
  local connection = self.connection
  for _, sql in ipairs(dialect.schema) do
    local ok, message = query(connection, sql)
    if not ok then return nil, failure(self.path, "cannot be opened", message) end
  end
  local ok, message = check_format(connection)
  if not ok then return nil, failure(self.path, "is refused", message) end
  local row
  row, message = query(connection, dialect.statements.read_batch)
  if not row then return nil, failure(self.path, "cannot be opened", message) end
  if row.fingerprint and row.fingerprint ~= identity.fingerprint then
    return nil, failure(self.path, "is refused", "it belongs to another batch (other circuits, shots or backend)")
  end
  if row.fingerprint then
    ok, message = query(connection, dialect.statements.open_batch, now())
  else
    ok, message = query(connection, dialect.statements.insert_batch, dialect.FORMAT, identity.fingerprint,
      identity.backend_id, big(identity.total), now(), now())
  end
  if not ok then return nil, failure(self.path, "cannot be opened", message) end
  if not connection:commit() then return nil, failure(self.path, "cannot be opened") end
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
-- it belongs to another batch, is in use or cannot be written.
function M.open(path, identity)
  local obstacle = find_obstacle(path)
  if obstacle then return nil, failure(path, "cannot be opened", obstacle) end
  local connection, err = connect(path, dialect.sqlite.prepare, "cannot be opened")
  if not connection then return nil, err end
  local self = setmetatable({ path = path, connection = connection, dirty = {}, dirty_count = 0 }, Journal)
  local ok
  ok, err = adopt_batch(self, identity)
  if ok then ok, err = prepare_statements(self) end
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
  return row and item_of(row)
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

-- The values that an insert and an update have in common, in the order of the columns.
local function values_of(change)
  local input, state = change.input, change.state
  local result, has_ended = input.result, state ~= "intent" and state ~= "submitted"
  if state == "completed" then
    return state, input.attempts, input.job_id, json.counts(result), big(result.shots), big(result.execution_time_ms),
      result.metadata_json, nil, input.sent_time, now(), input.index
  end
  local err = has_ended and input.err and encode_error(input.err) or nil
  return state, input.attempts, input.job_id, nil, nil, nil, nil, err, input.sent_time, has_ended and now() or nil,
    input.index
end

local function write(self, change)
  local input = change.input
  if change.state == "intent" then input.sent_time = now() end
  if not change.is_new then return self.update_item:execute(values_of(change)) end
  return self.insert_item:execute(input.id and tostring(input.id), change.hash, values_of(change))
end

local function break_off(self, message)
  self.err = failure(self.path, "cannot be written", message)
  self.connection:rollback()
  return nil, self.err
end

-- Writes all that was noted: true when it is on the disk, nil and an error from the first failure on.
function Journal:commit()
  if self.err then return nil, self.err end
  if self.dirty_count == 0 then return true end
  for _, change in pairs(self.dirty) do
    local ok, message = write(self, change)
    if not ok then return break_off(self, message) end
  end
  -- On a full disk execute says true, commit a bare false, and later commits true again (seen).
  if not self.connection:commit() then return break_off(self) end
  self.dirty, self.dirty_count = {}, 0
  return true
end

-- How many inputs an iterator had.
function Journal:set_total(total)
  if self.err then return end
  local ok, message = query(self.connection, dialect.statements.set_total, big(total))
  if not ok or not self.connection:commit() then break_off(self, message) end
end

function Journal:close()
  if not self.connection then return end
  for _, name in ipairs { "insert_item", "update_item", "read_item" } do
    if self[name] then self[name]:close() end
  end
  self.connection:close()
  self.connection = nil
end

-- ---- a journal that is read

local Reader = core.metatables["arvak.journal"]
local methods = {}
Reader.__index, Reader.methods = methods, methods

function Reader.__tostring(self)
  return ("arvak.journal %s%s"):format(self.path, self._connection and "" or " (closed)")
end

-- Opens a journal for looking: its path, fingerprint, backend_id, total (nil when not known) and created_at. nil and an
-- error when there is none, or a batch is using it.
function M.journal(path)
  check.path(path, "path")
  local is_there, message = exists(path)   -- connecting would make one
  if not is_there then return nil, failure(path, "cannot be read", message) end
  local connection, err = connect(path, dialect.sqlite.prepare_reader, "cannot be read")
  if not connection then return nil, err end
  local ok, row
  ok, message = check_format(connection)
  if ok then row, message = query(connection, dialect.statements.read_batch) end
  if row and row.fingerprint then
    return setmetatable({
      path = path, fingerprint = row.fingerprint, backend_id = row.backend_id,
      total = math.tointeger(tonumber(row.total)), created_at = math.tointeger(tonumber(row.created_at)),
      _connection = connection, _statements = setmetatable({}, { __mode = "k" }),
    }, Reader)
  end
  connection:close()
  return nil, failure(path, "cannot be read", message or "it holds no batch")
end

local function check_reader(self, method)
  if core.metatable_of(self) ~= Reader then
    check.misuse("%s: got %s, expected a journal", method, core.describe(self))
  end
  if not self._connection then check.misuse("%s: the journal was closed", method) end
end

local states = { intent = true, submitted = true, completed = true, failed = true, unknown = true }

-- An iterator over the rows of a statement. What the database says instead is raised, as an error object.
local function rows_of(self, sql, ...)
  local statement, message = self._connection:prepare(sql)
  local function finish(failed)
    if statement then
      statement:close()
      self._statements[statement] = nil
    end
    statement = nil
    if failed then error(failure(self.path, "cannot be read", failed), 0) end
  end
  if not statement then finish(message) end
  self._statements[statement] = true
  local ok
  ok, message = statement:execute(...)
  if not ok then finish(message) end
  return function()
    if not statement or not self._connection then return nil end
    local row, failed = fetch(statement)
    if row then return row end
    finish(failed)
  end
end

-- An iterator over the items of a state, or of all: index, id, state, attempts, job_id, result or err, circuit_hash,
-- sent_at, ended_at. A journal that is damaged raises an error object.
function methods:items(state)
  check_reader(self, "items")
  if state ~= nil and not states[state] then
    check.misuse('items: got %s, expected "intent", "submitted", "completed", "failed" or "unknown"',
      core.describe(state))
  end
  local statements, next_row = dialect.statements
  if state then
    next_row = rows_of(self, statements.read_items_in, state)
  else
    next_row = rows_of(self, statements.read_items)
  end
  return function()
    local row = next_row()
    return row and item_of(row)
  end
end

-- How many items are in each state. A journal that is damaged raises an error object.
function methods:counts()
  check_reader(self, "counts")
  local counts = {}
  for state in pairs(states) do counts[state] = 0 end
  for row in rows_of(self, dialect.statements.count_states) do
    if states[row.state] then counts[row.state] = math.tointeger(tonumber(row.count)) end
  end
  return counts
end

-- Idempotent.
function methods:close()
  if not self._connection then return end
  for statement in pairs(self._statements) do statement:close() end   -- else the connection would stay open
  self._connection:close()
  self._connection = nil
end

Reader.__close, Reader.__gc = methods.close, methods.close

return M
