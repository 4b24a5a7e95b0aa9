-- The connections to stores, which are the library's own: no program can require them. A file for each, and its end.
-- SPDX-License-Identifier: Apache-2.0
local stores = require "spec.support.stores"

local M = {}

M.connection = stores.connection

-- Seconds, of a clock that nobody sets.
M.now = stores.require("arvak.core").now

local opened, files = {}, {}

-- The name of a file that does not exist.
function M.new_file()
  local name = os.tmpname()
  os.remove(name)
  files[#files + 1] = name
  return name
end

-- An open connection to SQLite in this file, or in memory.
function M.open(where, options)
  local c = assert(M.connection.open("sqlite", where or ":memory:", options))
  opened[#opened + 1] = c
  return c
end

-- A transaction of these texts, each with its values in a table: { sql, values… }, or a text.
function M.transaction(c, ...)
  local tx = c:transaction()
  for _, statement in ipairs { ... } do
    if type(statement) == "string" then statement = { statement } end
    tx:add(table.unpack(statement, 1, statement.n or #statement))
  end
  return tx
end

-- Runs them in one transaction that writes: its outcome, which must be well.
function M.write(c, ...)
  local outcome = assert(c:run(M.transaction(c, ...), "write"))
  if not outcome.ok then error(outcome.message, 2) end
  return outcome
end

-- The value in the first column named value of the first row.
function M.read(c, sql, ...)
  local outcome = assert(c:run(c:transaction():add(sql, ...), "read"))
  if not outcome.ok then error(outcome.message, 2) end
  return outcome[1][1].value
end

-- Ends all that a test has opened, and removes its files.
function M.clean()
  for _, c in ipairs(opened) do c:abandon() end
  for _, name in ipairs(files) do
    for _, ending in ipairs { "", "-wal", "-shm", "-journal" } do os.remove(name .. ending) end
  end
  opened, files = {}, {}
end

return M
