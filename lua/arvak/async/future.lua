-- Futures: the end of something that goes on, for any number of readers. A callback is a task of the scope in which it
-- was added.
-- Invariant: a future leaves "pending" exactly once, in settle, and from then on nothing about it changes.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local scopes = require "arvak.async.scopes"
local strays = require "arvak.async.strays"

local M = {}
local Future = core.metatables["arvak.future"]
local methods = {}
Future.__index = methods
Future.methods = methods

function Future.__tostring(self)
  return string.format("arvak.future (%s)", self._state)
end

-- A pending future. cancel: what its cancel does while it is pending; returns true, or nil and an error.
function M.new(cancel)
  return setmetatable({ _state = "pending", _cancel = cancel }, Future)
end

-- One that has failed with this error from the start.
function M.failed(err)
  local f = M.new()
  M.fail(f, err)
  return f
end

function M.is_future(value)
  return core.metatable_of(value) == Future
end

local function is_cancellation(err) return errors.is_error(err) and err.kind == "canceled" end

-- Failed means: first value nil and second an arvak.error. A canceled error makes it canceled.
local function state_for(value, err)
  if value ~= nil or not errors.is_error(err) then return "done" end
  return is_cancellation(err) and "canceled" or "failed"
end

-- ---- callbacks

-- The owner of a task that runs a callback. Nobody reads what becomes of it, so its error goes to whoever drives the
-- loop, with its traceback.
local function on_callback_end(callback, _, ok, _, err, traceback)
  if ok or callback.is_noted then return end
  err = scopes.error_of(err, traceback)
  if is_cancellation(err) then return end
  strays.add(type(err) == "string" and traceback and err .. "\n" .. traceback or err)
  callback.is_noted = true
end

local function run_callback(fn, f) fn(f) end

-- callback: fn and scope, that of who added it, which may be over by now. start: as of scopes.spawn.
local function start_callback(callback, f, start)
  local scope = scopes.living(callback.scope)
  scopes.spawn({ is_noted = false }, scope, on_callback_end, start, run_callback, callback.fn, f)
end

-- ---- the end

-- What follows from the end, in order: callbacks start, then observers are told and those who wait go on. Raises when
-- there is no memory for a callback; then it can be called again, and goes on where it was.
local function complete(self)
  local callbacks = self._callbacks
  while callbacks and callbacks[callbacks.next] do
    start_callback(callbacks[callbacks.next], self, core.queue_task)
    callbacks.next = callbacks.next + 1
  end
  self._callbacks = nil
  for observer in pairs(self._observers or {}) do observer:note(self) end
  self._observers = nil
  for ticket in pairs(self._tickets or {}) do core.unpark(ticket) end
  self._tickets = nil
end

local function finish(self, state, ...)
  if self._state == "pending" then
    self._values = table.pack(...)
    self._state, self._cancel = state, nil
  end
  complete(self)
end

-- observer:note(future) is called, from within the loop and once, when the future has ended; now if it has.
function M.observe(self, observer)
  if self._state ~= "pending" then return observer:note(self) end
  self._observers = self._observers or {}
  self._observers[observer] = true
end

function M.unobserve(self, observer)
  if self._observers then self._observers[observer] = nil end
end

-- Ends the wait of whoever holds these tickets.
function M.wake(tickets)
  for ticket in pairs(tickets) do core.unpark(ticket) end
end

-- Waits for a wake of these tickets: true, false when timeout is over, nil and an error when the task was canceled.
function M.park(tickets, method, timeout)
  local woken, ticket_or_err, ticket = core.park(method, timeout, tickets)
  tickets[ticket or ticket_or_err] = nil
  if woken == nil then return nil, ticket_or_err end
  return woken
end

-- Settles with what a method or task returned.
function M.settle(self, ...)
  return finish(self, state_for(...), ...)
end

-- Settles with an error that was raised, which may be any value.
function M.fail(self, err, traceback)
  self.traceback = traceback
  return finish(self, is_cancellation(err) and "canceled" or "failed", nil, err)
end

local function check_self(self, method)
  if core.metatable_of(self) ~= Future then
    check.misuse("%s: got %s as the future, expected future:%s(...)", method, core.describe(self), method)
  end
end

-- True when it has ended, however.
function methods:done() return self._state ~= "pending" end

-- True while it has not.
function methods:running() return self._state == "pending" end

-- True when it ended by cancellation.
function methods:canceled() return self._state == "canceled" end

-- Ends it as canceled: true, or nil and an error when it cannot.
function methods:cancel()
  check_self(self, "cancel")
  if self._state == "canceled" then return true end
  if self._state ~= "pending" then return nil, errors.new("not_cancelable", "the future has ended already") end
  if not self._cancel then return nil, errors.new("not_cancelable", "nobody can cancel this future") end
  return self:_cancel()
end

-- Waits until it has ended, for timeout seconds at most (nil: without bound). True, or false when the time is over;
-- nil and an error when the waiting task was canceled.
function methods:wait(timeout)
  check_self(self, "wait")
  check.seconds(timeout, "timeout")
  local ends_at = timeout and core.now() + timeout
  while self._state == "pending" do
    self._tickets = self._tickets or {}
    local woken, err = M.park(self._tickets, "wait", timeout)
    if woken == nil then return nil, err end
    if not woken then return self._state ~= "pending" end
    timeout = ends_at and math.max(0, ends_at - core.now())
  end
  return true
end

local function await(self, timeout)
  local ended, err = self:wait(timeout)
  if ended then
    self._is_read = true
    return true
  end
  if ended == nil then return false, err end
  return false, errors.new("timeout", string.format("the future has not ended within %s s", errors.seconds(timeout)),
    { scope = "wait" })
end

-- Its values, or nil and the error it failed with; nil and a timeout error when timeout seconds are over first (the
-- future goes on).
function methods:result(timeout)
  check_self(self, "result")
  local ended, err = await(self, timeout)
  if not ended then return nil, err end
  return table.unpack(self._values, 1, self._values.n)
end

-- The error it failed with, or nil when it succeeded. A timeout gives the timeout error.
function methods:exception(timeout)
  check_self(self, "exception")
  local ended, err = await(self, timeout)
  if not ended then return err end
  if self._state == "done" then return nil end
  return self._values[2]
end

-- Runs fn(future) as a task once it has ended. When it has already, the task has run to its first wait before this
-- returns. Callbacks start in the order they were added.
function methods:add_done_callback(fn)
  check_self(self, "add_done_callback")
  check.callable(fn, "add_done_callback")
  local callback = { fn = fn, scope = scopes.current() }
  if self._state ~= "pending" then
    start_callback(callback, self, core.run_task)
  else
    self._callbacks = self._callbacks or { next = 1 }
    self._callbacks[#self._callbacks + 1] = callback
  end
end

-- The id of the job of a job future, once the server has answered: id, or nil and an error (a timeout when timeout
-- seconds are over first).
function methods:submitted(timeout)
  check_self(self, "submitted")
  if not self._job then
    check.misuse("submitted: this future is not a job's; submit_qasm_future makes those")
  end
  return self._job.submitted(self, timeout)
end

return M
