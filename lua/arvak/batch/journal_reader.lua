-- A journal that is read: what arvak.journal gives.
-- Invariant: reading leaves the journal as it is, and one that a batch is using is not opened.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local database = require "arvak.batch.journal_database"
local dialect = require "arvak.batch.journal_dialect"
local place = require "arvak.batch.journal_place"
local rows = require "arvak.batch.journal_rows"

local M = {}

local failure, fetch, query = database.failure, database.fetch, database.query

local Reader = core.metatables["arvak.journal"]
local methods = {}
Reader.__index, Reader.methods = methods, methods

function Reader.__tostring(self)
  return string.format("arvak.journal %s%s", self.path, self._connection and "" or " (closed)")
end

-- Opens a journal for looking: its path, fingerprint, backend_id, total (nil when not known) and created_at. nil and an
-- error when there is none, or a batch is using it.
function M.journal(path)
  check.path(path, "path")
  local dbi, err = database.load_driver()
  if not dbi then return nil, err end
  local obstacle = place.find_obstacle_to_read(path)   -- connecting would make a file
  if obstacle then return nil, failure(path, "cannot be read", obstacle) end
  local connection, message = database.connect(dbi, path, dialect.sqlite.prepare_reader)
  if not connection then return nil, failure(path, "cannot be read", message) end
  local ok, row, is_early
  ok, message = database.check_format(connection)
  if ok then is_early, message = dialect.sqlite.is_early(connection, query) end
  if is_early ~= nil then row, message = query(connection, dialect.statements.read_batch) end
  if row and row.fingerprint then
    return setmetatable({
      path = path, fingerprint = row.fingerprint, backend_id = row.backend_id,
      total = math.tointeger(tonumber(row.total)), created_at = math.tointeger(tonumber(row.created_at)),
      _connection = connection, _is_early = is_early, _statements = setmetatable({}, { __mode = "k" }),
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
  local statements, next_row = self._is_early and dialect.early_statements or dialect.statements
  if state then
    next_row = rows_of(self, statements.read_items_in, state)
  else
    next_row = rows_of(self, statements.read_items)
  end
  return function()
    local row = next_row()
    local item = row and rows.item_of(row)
    if item then item.way, item.has_lost_way = nil, nil end
    return item
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
