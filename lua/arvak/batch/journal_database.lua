-- The database of a journal, through LuaDBI, which is loaded when a journal is first asked for.
-- Invariant: whatever the database says becomes nil and its message, or an error object that names the journal.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local dialect = require "arvak.batch.journal_dialect"
local errors = require "arvak.base.errors"
local json = require "arvak.base.json"
local place = require "arvak.batch.journal_place"

local M = {}

-- LuaDBI, or nil and an error.
function M.load_driver()
  local database = dialect.sqlite
  if not (os and os.time) then return nil, errors.new("rpc", "a journal needs os.time, which this Lua state lacks") end
  local ok, dbi = core.protect(function()
    require(database.module)
    return require("DBI")
  end)
  if not ok then
    return nil, errors.new("rpc", string.format("a journal needs LuaDBI with %s (Debian: %s), "
      .. "which is not to be found here", database.name, database.package))
  end
  local has_json, err = json.decode("{}")
  if not has_json then return nil, err end
  return dbi
end

-- The next row, nil after the last; nil and the database's message.
function M.fetch(statement)
  local ok, row = pcall(statement.fetch, statement, true)
  if ok then return row end
  return nil, row
end

-- Executes a text: its first row (an empty table when it has none), or nil and the database's message.
function M.query(connection, sql, ...)
  local statement, message = connection:prepare(sql)
  if not statement then return nil, message end
  local ok
  ok, message = statement:execute(...)
  local row
  if ok and statement:columns() then row, message = M.fetch(statement) end
  statement:close()
  if not ok or message then return nil, message end
  return row or {}
end

-- The error that something went wrong with this journal. What may only be read is an I/O error to SQLite.
function M.failure(path, what, message)
  message = message or "the database does not say why (is the disk full?)"
  if string.find(message, "disk I/O error", 1, true) then message = place.find_missing_right(path) or message end
  local explanation = dialect.sqlite.explain(message)
  if explanation then message = explanation .. " (" .. message .. ")" end
  local kind = message == place.IN_USE and "in_use" or "rpc"
  return errors.new(kind, string.format("the journal %s %s: %s", path, what, message))
end

-- A connection to the database in this file, made ready by prepare(connection, query); nil and a message.
function M.connect(dbi, file, prepare)
  local name = string.find(file, "^:") and "./" .. file or file   -- ":memory:" is no file to SQLite
  local ok, connection, message = core.protect(dbi.Connect, dialect.sqlite.driver, name)
  if not ok then connection, message = nil, tostring(connection) end
  if not connection then return nil, message end
  ok, message = prepare(connection, M.query)
  if ok then return connection end
  connection:close()
  return nil, message or "the database does not say why"
end

-- Only the format is looked at: in another one the rest may be missing. nil and a message.
function M.check_format(connection)
  local row, message = M.query(connection, dialect.statements.read_format)
  if not row then return nil, message end
  if not row.format or tonumber(row.format) == dialect.FORMAT then return true end
  return nil, string.format("its format is %s, this library writes %d", row.format, dialect.FORMAT)
end

return M
