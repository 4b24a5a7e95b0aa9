-- The database of a journal: the file, opened through the store, and what its failures mean.
-- Invariant: a problem is a message, an outcome of the store that failed, or an error object; failure makes one error
-- of it that names the journal.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local connection = require "arvak.store.connection"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local json = require "arvak.base.json"
local place = require "arvak.batch.journal.place"

local M = {}

local LONGEST = 5.0   -- seconds that a database may take to close

-- ---- errors

local meanings = {
  busy = "another process is using it", readonly = "it cannot be written (read-only)",
  not_a_database = "it is no SQLite file", full = "the disk is full",
}

-- The error that something went wrong with this journal. What may only be read is an I/O error to SQLite.
function M.failure(path, what, problem)
  if errors.is_error(problem) and not problem.what then return problem end   -- a missing module, a canceled task
  local message, code = problem, nil
  if type(problem) ~= "string" and problem then message, code = problem.message, problem.what end
  message = message or "the database does not say why"
  if code == "io" then message = place.find_missing_right(path) or message end
  if meanings[code] then message = string.format("%s (%s)", meanings[code], message) end
  local kind = (code == "busy" or message == place.IN_USE) and "in_use" or "rpc"
  return errors.new(kind, string.format("the journal %s %s: %s", path, what, message))
end

-- ---- requests

local function fill(transaction, statements)
  for _, statement in ipairs(statements) do
    if type(statement) == "string" then
      transaction:add(statement)
    else
      transaction:add(table.unpack(statement, 1, statement.n))
    end
  end
end

-- Waits for statements, each a text or a table.pack of one and its values: the rows of each, or nil and a problem.
function M.ask(opened, mode, statements)
  local transaction = opened:transaction()
  fill(transaction, statements)
  local outcome, err = opened:run(transaction, mode)
  if not outcome then return nil, err end
  if not outcome.ok then return nil, outcome end
  return outcome
end

-- ---- opening and closing

-- By path: how many databases this state has let go of that are not closed yet, and the tickets of who waits for them.
local leaving = {}

-- Waits until they are closed: true, or nil and an error when nobody may wait.
local function await_leaving(path)
  local ends_at = core.now() + LONGEST
  while leaving[path] do
    local left = ends_at - core.now()
    if left <= 0 then return true end   -- the lock will say that it is in use
    local woken, err = future.park(leaving[path].tickets, "journal", left)
    if woken == nil then return nil, err end
  end
  return true
end

-- Waits until nothing of this Lua state's own keeps others out of this file.
function M.await(path)
  local real = core.real_path(core.full_path(path) or path)
  return not real or await_leaving(real)
end

local PURPOSE = "a journal"

-- What a journal needs is looked for before any file is: true, or nil and an error.
function M.check()
  if not (os and os.time) then return nil, errors.new("rpc", "a journal needs os.time, which this Lua state lacks") end
  local has_json, err = json.decode("{}")
  if not has_json then return nil, err end
  return connection.check("sqlite", PURPOSE)
end

-- A connection to the database in this file, which exists; nil and a problem.
function M.open(file)
  return connection.open("sqlite", file, { must_exist = true, purpose = PURPOSE, busy_timeout = 0 })
end

-- Connections of batches, by themselves: a batch whose coroutine is collected still has something to write, and its
-- finalizer could come after those of its connection.
local held = {}   -- luacheck: ignore 241

-- Keeps a connection until it is closed.
function M.hold(opened) held[opened] = true end

-- Closes it, and then calls on_closed(), if there is one. waits: for up to five seconds.
function M.close(opened, file, waits, on_closed)
  local line = leaving[file] or { count = 0, tickets = {} }
  line.count, leaving[file] = line.count + 1, line
  opened:leave(function()
    held[opened] = nil
    line.count = line.count - 1
    if line.count == 0 then leaving[file] = nil end
    if on_closed then on_closed() end
    future.wake(line.tickets)
  end)
  if waits then await_leaving(file) end
end

return M
