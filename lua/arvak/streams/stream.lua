-- Streams as for-loops and as objects. Invariant: a stream reads one message ahead at most, so that a slow consumer
-- holds the server back; leaving the loop by whatever way cancels the call.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local ready = require "arvak.async.ready"
local task = require "arvak.async.task"

local M = {}
local Stream = core.metatables["arvak.stream"]
local methods = {}
Stream.__index = methods
Stream.methods = methods

function Stream.__tostring(self)
  return string.format("arvak.stream %s (%s)", self._method, self._is_over and "ended" or "open")
end

-- Marks a step while it lasts, also when it raises.
local Step = { __close = function(step) step._is_running = false end }

-- A stream of a client's method. advance(self) waits for what comes next: its values, nil at the end, or nil and an
-- error. Nothing is sent before the first step.
function M.new(client, method, advance, fields)
  fields._client, fields._method, fields._advance = client, method, advance
  fields._step = setmetatable({ _is_running = false }, Step)
  return setmetatable(fields, Stream)
end

-- What a method that makes a stream returns, so that a generic for closes it.
function M.for_loop(stream)
  return stream, nil, nil, stream
end

function M.close_rpc(self)
  if self._raw then core.stream_cancel(self._raw) end
  self._raw = nil
end

local function finish(self)
  self._is_over = true
  M.close_rpc(self)   -- first: the call ends, whatever a program has written into the other fields
  if self._source then self._source:stop() end
  for ticket in pairs(self._tickets or {}) do core.unpark(ticket) end
end

-- What came too late for a stream that another task has canceled is dropped.
local function keep_end(self, value, ...)
  if self._is_over then return nil, self._error end
  if value == nil then
    finish(self)
    self._error = (...)
  end
  return value, ...
end

-- The next values; nil at the end, nil and an error when it has failed.
function methods:next(_)   -- what a generic for hands to its iterator
  if self._is_over then return nil, self._error end
  core.check_wait(self._method)
  if self._step._is_running then check.misuse("%s: another task waits on this stream", self._method) end
  local step <close> = self._step
  step._is_running = true
  return keep_end(self, self:_advance())
end

-- Ends it at once; later steps give nil and a canceled error. Idempotent.
function methods:cancel()
  if self._is_over then return end
  finish(self)
  self._error = errors.new("canceled", "the stream was canceled")
end

Stream.__close = methods.cancel

-- A stream that is dropped unread: the RPC goes with its own userdata, a task that draws entries is ended here.
function Stream.__gc(self)
  if self._source then self._source:stop() end
end

local function raise_end(value, ...)
  if value == nil and (...) ~= nil then error((...), 0) end
  return value, ...
end

-- In a for loop an error is raised, as the error object.
function Stream.__call(self)
  return raise_end(self:next())
end

-- ---- one RPC under it

local PROBE_WAIT = 1.0   -- seconds, as for a call

-- What a breaker lets through on trial would else fail for one of gRPC's pauses between its attempts to connect.
local function await_connection(self)
  core.hurry(self._client)
  local _, err = ready.until_ready(self._client, self._target, PROBE_WAIT)
  return err == nil, err
end

local function would_be_probe(self)
  local breaker = self._options.breaker
  if breaker == nil then breaker = core.breaker(self._client) end
  return breaker and breaker:state() == "half_open" and breaker:can_proceed()
end

-- Opens the RPC if it is not open: true, or nil and an error. was_not_sent: that is why the one before failed.
function M.open(self, job_id, was_not_sent)
  if self._raw then return true end
  if not self._is_over and not core.is_closed(self._client) and (was_not_sent or would_be_probe(self)) then
    local ok, err = await_connection(self)
    if not ok then return nil, err end
  end
  if self._is_over then return nil, self._error end   -- canceled by another task, while this one waited
  if core.is_closed(self._client) then return nil, errors.new("closed", "the client was closed") end
  local raw, err = core.stream_open(self._client, self._method, job_id, self._options)
  if not raw then return nil, err end
  self._raw = raw
  return true
end

-- Waits for a change of the RPC: true, or nil and an error; a timeout when nothing has come for idle_timeout.
-- With self._tickets it may be woken otherwise. is_patient: without idle_timeout.
function M.wait_change(self, is_patient)
  local idle = not is_patient and self._options.idle_timeout or nil
  local tickets = self._tickets
  local woken, err, ticket = core.stream_wait(self._raw, self._method, idle, tickets)
  ticket = ticket or err   -- none, when it had changed already
  if tickets and ticket then tickets[ticket] = nil end
  if woken == nil then return nil, err end
  if woken then return true end
  return nil, errors.new("timeout", string.format("no message within idle_timeout = %s s", errors.seconds(idle)),
    { scope = "call", rpc = self._rpc, target = self._target, job_id = self._job_id })
end

-- Waits for a message: "message" and its values, "end" and the status's error or nil, or nil and an error of the wait.
local function receive(self, what, ...)
  if what then return what, ... end
  local ok, err = M.wait_change(self)
  if not ok then return nil, err end
  if self._is_over then return nil, self._error end
  return receive(self, core.stream_take(self._raw))
end

function M.receive(self)
  core.stream_read(self._raw)
  return receive(self, core.stream_take(self._raw))
end

-- After the RPC has failed with err before it brought anything: true when it was opened again, as the client's retry
-- policy says; or false and the error that the stream ends with.
function M.retry(self, job_id, err)
  self._attempts = self._attempts or 1
  err.attempts = self._attempts - 1 + (err.attempts or 1)   -- this one may not have left
  local delay = self._raw and core.stream_plan_retry(self._raw, self._attempts)
  if not delay then return false, err end
  M.close_rpc(self)
  local slept, canceled = task.pause(delay)
  if not slept then return false, canceled end
  self._attempts = self._attempts + 1
  local ok, failure = M.open(self, job_id, err.kind == "unavailable" and not err.maybe_executed)
  if ok then return true end
  return false, failure.kind == "circuit_open" and err or failure
end

local option_names = { chunk_size = true, every_tick = true, label = true }

-- The names of the options of a stream. extra: a further one that this one takes, or nil.
function M.names_with(extra)
  local names = { timeout = true, idle_timeout = true, metadata = true, retry = true, breaker = true }
  if extra then names[extra] = option_names[extra] end
  return names
end

-- Options of a stream: checked, and a table of their own. extra: as of names_with.
function M.options(options, method, extra)
  options = check.options(options, method, M.names_with(extra))
  core.check_policies(options)
  check.seconds(options.timeout, "timeout", true)
  check.seconds(options.idle_timeout, "idle_timeout", true)
  if options.metadata ~= nil and type(options.metadata) ~= "table" then
    check.misuse("metadata: got a %s, expected a table of strings", type(options.metadata))
  end
  return options
end

check.seal(methods, Stream)

return M
