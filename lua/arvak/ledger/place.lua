-- Where a ledger is: a file of SQLite, or a database of PostgreSQL by its name.
-- Invariant: shown and what hide() gives have no password in them.
-- SPDX-License-Identifier: Apache-2.0
local check = require "arvak.base.check"
local dialect = require "arvak.ledger.dialect"
local dsn = require "arvak.base.dsn"

local M = {}

local CONNECT_TIMEOUT = 10.0   -- seconds

local function keep(text) return text end

-- The place of this name: kind, where, dialect, shown (for messages), hide(message) and the options of its connection.
-- Raises when the name is none; what: of the argument.
function M.of(name, what)
  check.path(name, what)
  if not dsn.is_name(name) then
    return { kind = "sqlite", where = name, dialect = dialect.sqlite, shown = name, hide = keep,
      options = { purpose = "a ledger" } }
  end
  local parsed, problem = dsn.parse(name)
  if not parsed then check.misuse("%s: got a name of a database that cannot be read: %s", what, problem) end
  if parsed.batch then check.misuse("%s: got batch=%s, but a ledger knows no batches", what, parsed.batch) end
  return { kind = "postgres", where = parsed.conninfo, dialect = dialect.postgres, shown = parsed.shown,
    hide = function(message) return parsed:hide(message) end,
    options = { purpose = "a ledger", connect_timeout = CONNECT_TIMEOUT } }
end

return M
