-- A connection to a database whose thread does the work (docs/internals/store.md): transactions go there, and their
-- outcomes come in a step of the loop, to whoever waits or as calls of functions.
-- Invariant: while an outcome is awaited the bell is awaited too, so the loop counts it as work under way; an idle
-- connection counts as nothing.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local modules = require "arvak.base.modules"
local future = require "arvak.async.future"
local strays = require "arvak.async.strays"

local M = {}
local Connection = {}
Connection.__index = Connection

local CONNECT_TIMEOUT = 10.0   -- seconds, as the modules have it
local CLOSE_TIMEOUT = 5.0      -- seconds in which a store ends what it has been given
local GRACE = 1.0              -- seconds that a thread may be late

-- The kinds of databases: the module, its database, and the Debian packages with which the module is built and runs.
M.kinds = {
  sqlite = { module = "arvak.store.sqlite", name = "SQLite", package = "libsqlite3-dev", library = "libsqlite3-0" },
  postgres = { module = "arvak.store.postgres", name = "PostgreSQL", package = "libpq-dev", library = "libpq5" },
}

-- ---- outcomes

local function closed(id)
  return { id = id, ok = false, what = "closed", code = 0, message = "the store was closed" }
end

-- Whoever gets the outcome runs last: it may start and close whatever it likes, and its error is its own. What failed
-- for want of memory is raised, and told again in the next step.
local function tell(self, id, outcome)
  local on_end = self._pending[id]
  if not on_end then return end
  local ok, err = core.protect(on_end, outcome)
  self._pending[id] = nil
  if not ok then strays.add(err) end
end

-- Beats that fail are told to whoever wanted beats, any number of times.
local function tell_beat(self, outcome)
  if not self._on_beat then return end
  local ok, err = core.protect(self._on_beat, outcome)
  if not ok then strays.add(err) end
end

local function tell_all_closed(self)
  for id = self._told + 1, self._awaited do
    tell(self, id, closed(id))
    self._told = id
  end
  tell(self, "closed", closed("closed"))
end

local function deliver(self, outcome)
  if outcome.id == "beat" then return tell_beat(self, outcome) end
  tell(self, outcome.id, outcome)
  if outcome.id ~= "closed" then self._told = outcome.id end
end

local function is_waiting(self)
  return self._told < self._awaited or self._pending.closed or self._store and self._on_beat
end

local on_bell
function on_bell(self)
  self._is_armed = false
  while self._store do
    self._outcome = self._outcome or self._store:take()
    if not self._outcome then break end
    deliver(self, self._outcome)
    self._outcome = false
  end
  self._outcome = false
  if not self._store then tell_all_closed(self) end
  if self._is_armed or not is_waiting(self) then return end
  detached.await_bell(self, self._bell, on_bell)
  self._is_armed = true
end

-- Before something is handed to the store: the bell is awaited from now on. It rings once for nothing, so that it is
-- not awaited for ever if what follows raises.
local function arm(self)
  if self._is_armed then return end
  core.ring_bell(self._bell)
  detached.await_bell(self, self._bell, on_bell)
  self._is_armed = true
end

-- ---- opening

-- Why a module could not be loaded, and what to do. reason: as of modules.load.
local function find_remedy(about, reason)
  if not reason then
    return string.format("which was not built or is not on package.cpath: install the Debian package %s, build arvak "
      .. "once more and install it", about.package)
  end
  if string.find(reason, "this Lua state has no require", 1, true) then
    return string.format("which the host has not opened (arvak_store.h); it is built where the Debian package %s is "
      .. "installed", about.package)
  end
  local library = string.match(reason, "([^%s:]+): cannot open shared object file: No such file")
  if library then
    return string.format("which needs the library %s: install the Debian package %s", library, about.library)
  end
  return string.format("which cannot be loaded: %s", reason)
end

-- The module of a kind; nil and an error. purpose: "a journal", for the message.
local function load_module(kind, purpose)
  local about = M.kinds[kind]
  local module, reason = modules.load(about.module)
  if module then return module end
  return nil, errors.new("rpc", string.format("%s in %s needs the module %s, %s", purpose, about.name, about.module,
    find_remedy(about, reason)))
end

-- Whether there is the module of a kind: true, or nil and an error. For those who make files before they open one.
function M.check(kind, purpose)
  local module, err = load_module(kind, purpose)
  return module and true, err
end

local function failure(outcome)
  return errors.new("rpc", outcome.message, { what = outcome.what, database_code = outcome.code })
end

-- The options of the module alone.
local function module_options(options)
  local picked = {}
  for name, value in pairs(options or {}) do
    if name ~= "purpose" then picked[name] = value end
  end
  return picked
end

-- Every field is there from the beginning, so that none needs memory when an outcome has just left the store.
local function new(module)
  return setmetatable({
    name = module.name, _bell = core.new_bell(), _store = false, _pending = {}, _last = 0, _awaited = -1, _told = -1,
    _outcome = false, _is_armed = false, _leavers = {}, _on_beat = false, _on_end = false,
  }, Connection)
end

-- Begins to open a database: the connection at once; then on_end(connection), or on_end(nil, err), in a step of the
-- loop. nil and an error when its module is missing. kind: of M.kinds; where: a file's name or a connection string;
-- options: the module's, and purpose, with which the error about a missing module begins.
function M.start(kind, where, options, on_end)
  local module, err = load_module(kind, options and options.purpose or "a store")
  if not module then return nil, err end
  local self, own_options = new(module), module_options(options)
  arm(self)
  self._pending[0] = function(outcome)
    if outcome.ok then return on_end(self) end
    self:abandon()
    return on_end(nil, failure(outcome))
  end
  self._store = module.open(self._bell, where, own_options)
  self._awaited = 0
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
    string.format("the database was not opened within %s s", errors.seconds(patience)), { scope = "call" })
end

-- ---- transactions

function Connection:transaction() return self._store:transaction() end

-- Hands a transaction over, which is used up, also where this raises: what is made as a Lua state closes is never
-- finalized.
-- on_end(outcome) is called in a step of the loop. mode: "write", "read", "raw", or "blind": a write whose outcome has
-- no results. is_beat: its first statement is a sign of life as well (see beat).
function Connection:start(tx, mode, on_end, is_beat)
  local _ <close> = tx
  if not self._store then error("the connection was closed", 2) end
  arm(self)
  self._pending[self._last + 1] = on_end
  self._last = self._store:submit(tx, mode, is_beat)
  self._awaited = self._last
end

-- The same, of whose outcome nobody will hear.
function Connection:hand_over(tx, mode)
  local _ <close> = tx
  if not self._store then return end
  self._pending[self._last + 1] = nil   -- of a start that has failed
  self._last = self._store:submit(tx, mode)
  if not self._is_armed then repeat until not self._store:take() end
end

-- Nothing more will be handed over: what was has up to 50 ms when the Lua state closes. For finalizers, too.
function Connection:finish()
  if self._store then self._store:close() end
end

-- The same as start, and waits for its outcome; nil and an error when the waiting task was canceled: the transaction
-- goes on.
function Connection:run(tx, mode)
  core.check_wait("run")
  local ended = future.new()
  self:start(tx, mode, function(outcome) future.settle(ended, outcome) end)
  local is_over, err = ended:wait()
  if not is_over then return nil, err end
  return ended:result()
end

-- ---- beats

-- From now on the store's thread carries out this transaction every so many seconds, and at once for the first time:
-- a sign of life that needs no turn of the loop. nil: no more. quiet_after: after so many seconds without a turn the
-- beats pause, until the next one; turn: the number of a value of the first statement, in whose place the age of the
-- last turn is sent, in seconds. on_beat(outcome) is called in a step for each that has failed: what is "fenced" where
-- its first statement has changed no row. After "fenced", "closed" and "lost" there are no more.
function Connection:beat(tx, every, quiet_after, turn, on_beat)
  if not self._store then error("the connection was closed", 2) end
  if on_beat then arm(self) end
  self._store:beat(tx, every, quiet_after, turn)
  self._on_beat = tx and on_beat or false
end

-- The loop has had a turn, as it has with each transaction that is handed over and each outcome that is told.
function Connection:touch()
  if self._store then self._store:touch() end
end

-- When the last beat that has changed a row was sent, or nil, and what the time is: seconds of CLOCK_BOOTTIME.
function Connection:last_beat()
  if not self._store then error("the connection was closed", 2) end
  return self._store:last_beat()
end

-- ---- the end

local function end_leaving(self, outcome)
  self:abandon()
  for _, on_closed in ipairs(self._leavers) do
    local ok, err = core.protect(on_closed, outcome)
    if not ok then strays.add(err) end
  end
end

-- Has it end after what is under way, and never waits: on_closed(outcome) is called in a later step, when the database
-- is closed; after 5 s at the latest, unless the disk does not answer. Where there are no steps any more, in a
-- finalizer as the Lua state closes and in a child process, it is abandoned, and nobody is told.
function Connection:leave(on_closed)
  self._leavers[#self._leavers + 1] = on_closed
  if self._pending.closed then return end
  if not core.protect(arm, self) then return self:abandon() end
  self._pending.closed = function(outcome) end_leaving(self, outcome) end
  if self._store then self._store:close() end
end

-- The same, and waits for it, for 5 s, and then abandons it. True when all that was under way has ended; false when it
-- was abandoned, at once where nobody may wait; nil and an error when the waiting task was canceled: it ends by itself.
function Connection:close()
  if not self._store then return true end
  local ended = future.new()
  if core.protect(core.check_wait, "close") then
    self:leave(function(outcome) future.settle(ended, outcome.ok) end)
  else
    self:abandon()
  end
  if not self._store then return false end
  local ok, is_over, err = core.protect(ended.wait, ended, CLOSE_TIMEOUT + GRACE)   -- raises in a child process
  if ok and is_over == nil then return nil, err end
  self:abandon()
  return ok and is_over
end

-- Ends it at once, within 50 ms; whoever waits for an outcome is told "closed" in the next step.
function Connection:abandon()
  local store = self._store
  self._store = false
  if not store then return end
  store:abandon()
  core.ring_bell(self._bell)
end

return M
