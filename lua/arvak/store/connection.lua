-- A connection to a database whose thread does the work (docs/internals/store.md): transactions go there, and their
-- outcomes come in a step of the loop, to whoever waits or as calls of functions.
-- Invariant: while an outcome is awaited the bell is awaited too, so the loop counts it as work under way; an idle
-- connection counts as nothing. An outcome is taken from the store only where its place in pending is ready for it.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local strays = require "arvak.async.strays"

local M = {}
local Connection = {}
Connection.__index = Connection

local CONNECT_TIMEOUT = 10.0   -- seconds, as the modules have it
local CLOSE_TIMEOUT = 5.0      -- seconds in which a store ends what it has been given
local GRACE = 1.0              -- seconds that a thread may be late

-- The kinds of databases: the module, its database, and the Debian package with which the module is built.
M.kinds = {
  sqlite = { module = "arvak.store.sqlite", name = "SQLite", package = "libsqlite3-dev" },
  postgres = { module = "arvak.store.postgres", name = "PostgreSQL", package = "libpq-dev" },
}

-- ---- outcomes

local function closed(id, message)
  return { id = id, ok = false, what = "closed", code = 0, message = message or "the store was closed" }
end

-- Whoever gets the outcome runs last: it may start and close whatever it likes, and its error is its own.
local function tell(self, id, outcome)
  local entry = self._pending[id]
  if not entry then return end
  self._pending[id] = nil
  self._count = self._count - 1
  local ok, err = core.protect(entry, outcome)
  if not ok then strays.add(err) end
end

local function tell_all_closed(self, message)
  local ids = {}
  for id in pairs(self._pending) do ids[#ids + 1] = id end
  table.sort(ids, function(a, b) return a ~= "closed" and (b == "closed" or a < b) end)
  for _, id in ipairs(ids) do tell(self, id, closed(id, message)) end
end

local on_bell

-- From now on the bell's ring is told. In a child process nothing can be waited for.
local function arm(self)
  if self._is_armed then return end
  detached.await_bell(self, self._bell, on_bell)
  self._is_armed = true
end

function on_bell(self)
  self._is_armed = false
  while self._store and self._count > 0 do
    local outcome = self._store:take()
    if not outcome then return arm(self) end
    tell(self, outcome.id, outcome)
  end
  if not self._store then tell_all_closed(self) end
end

-- on_end(outcome) is called with the outcome of this id. submit() hands something to the store.
local function expect(self, id, on_end, submit)
  self._pending[id] = on_end
  self._count = self._count + 1
  local ok, err = core.protect(function()
    arm(self)
    submit()
  end)
  if ok then return end
  self._pending[id] = nil
  self._count = self._count - 1
  core.ring_bell(self._bell)   -- if it is armed for nothing
  error(err, 0)
end

-- ---- opening

-- The module of a kind; nil and an error. needed_by: "a journal", for the message.
local function load_module(kind, needed_by)
  local about = M.kinds[kind]
  local ok, module = core.protect(require, about.module)
  if ok then return module end
  local reason = tostring(module)
  if reason:find("not found", 1, true) then
    reason = ("which is not here: it is built where the Debian package %s is installed"):format(about.package)
  end
  return nil, errors.new("rpc",
    ("%s in %s needs the module %s, %s"):format(needed_by, about.name, about.module, reason))
end

local function failure(outcome)
  return errors.new("rpc", outcome.message, { what = outcome.what, database_code = outcome.code })
end

-- The options of the module alone.
local function module_options(options)
  local picked = {}
  for name, value in pairs(options or {}) do
    if name ~= "needed_by" then picked[name] = value end
  end
  return picked
end

-- Begins to open a database: the connection at once; then on_end(connection), or on_end(nil, err), in a step of the
-- loop. nil and an error when its module is missing. kind: of M.kinds; where: a file's name or a connection string;
-- options: the module's, and needed_by, with which the error about a missing module begins.
function M.start(kind, where, options, on_end)
  local module, err = load_module(kind, options and options.needed_by or "a store")
  if not module then return nil, err end
  local self = setmetatable({ name = module.name, _bell = core.new_bell(), _pending = {}, _count = 0, _last = 0 },
    Connection)
  expect(self, 0, function(outcome)
    if outcome.ok then return on_end(self) end
    self:abandon()
    return on_end(nil, failure(outcome))
  end, function() self._store = module.open(self._bell, where, module_options(options)) end)
  return self
end

-- Opens a database, and waits for that: the connection, or nil and an error; err.what is the failure's kind.
function M.open(kind, where, options)
  core.check_wait("open")
  local opened = future.new()
  local self, err = M.start(kind, where, options, function(...) future.settle(opened, ...) end)
  if not self then return nil, err end
  local patience = (options and options.connect_timeout or CONNECT_TIMEOUT) + GRACE
  local ended, canceled = opened:wait(patience)
  if ended then return opened:result() end
  self:abandon()
  return nil, canceled or errors.new("timeout",
    ("the database was not opened within %s s"):format(errors.seconds(patience)), { scope = "call" })
end

-- ---- transactions

function Connection:transaction() return self._store:transaction() end

-- Hands a transaction over, which is used up; on_end(outcome) is called in a step of the loop. mode: "write", "read" or
-- "raw".
function Connection:start(tx, mode, on_end)
  local id = self._last + 1
  if not self._store then error("the connection was closed", 2) end
  expect(self, id, on_end, function() self._store:submit(tx, mode) end)
  self._last = id
end

-- The same, and waits for its outcome; nil and an error when the waiting task was canceled: the transaction goes on.
function Connection:run(tx, mode)
  core.check_wait("run")
  local ended = future.new()
  self:start(tx, mode, function(outcome) future.settle(ended, outcome) end)
  local is_over, err = ended:wait()
  if not is_over then return nil, err end
  return ended:result()
end

-- ---- the end

-- Ends it after what is under way: on_end(outcome) is called in a step of the loop, after 5 s at the latest unless the
-- disk does not answer.
function Connection:start_close(on_end)
  if not self._store or self._is_closing then return end
  self._is_closing = true
  expect(self, "closed", function(outcome)
    self:abandon()
    if on_end then on_end(outcome) end
  end, function() self._store:close() end)
end

-- The same, and waits for it, for 5 s; then leaves it. True when all that was under way has ended, false when it was
-- left; nil and an error when the waiting task was canceled: then it ends by itself.
function Connection:close()
  if not self._store then return true end
  core.check_wait("close")
  local ended = future.new()
  self:start_close(function(outcome) future.settle(ended, outcome.ok) end)
  local is_over, err = ended:wait(CLOSE_TIMEOUT + GRACE)
  if is_over == nil then return nil, err end
  self:abandon()
  return is_over
end

-- Ends it at once, within 50 ms; whoever waits for an outcome is told "closed" in the next step.
function Connection:abandon()
  local store = self._store
  self._store = nil
  if not store then return end
  store:abandon()
  core.ring_bell(self._bell)
end

return M
