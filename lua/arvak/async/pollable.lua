-- Steps of the loop that a program takes itself, outside of any task: arvak.poll, and pollables for a loop that waits
-- on descriptors. Invariant: after a step, whoever waited in an attached loop is told first; then an error without a
-- reader is raised.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local attached = require "arvak.async.attached"
local check = require "arvak.base.check"
local strays = require "arvak.async.strays"

local M = {}

-- One step of the loop from outside any task: runs what is ready, waits timeout seconds at most (default 0: not at
-- all). True while anything is in flight. Raises the errors that nobody has read.
function M.poll(timeout)
  check.seconds(timeout, "timeout")
  if core.in_task() then check.misuse("poll: cannot step the loop inside a task") end
  core.step(math.min(timeout or 0, 1e9))
  attached.resume_woken()
  strays.raise()
  return not core.is_idle()
end

-- ---- a descriptor to wait on

local Pollable = core.metatables["arvak.pollable"]
local pollable = {}
Pollable.__index = pollable

-- The user of the descriptor, and the descriptor.
local function check_open(self, method)
  if core.metatable_of(self) ~= Pollable then
    check.misuse("%s: got %s as the pollable, expected pollable:%s(...)", method, core.describe(self), method)
  end
  local fd = core.fd_of(self._user)
  if not fd then check.misuse("%s: the pollable is closed", method) end
  return self._user, fd
end

-- What an event loop needs to drive this library: a descriptor, the events to wait for, and how long at most. Opening
-- it starts a thread that waits inside gRPC; closing the last one, or its collection, ends the thread.
function M.pollable()
  return setmetatable({ _user = core.open_fd() }, Pollable)
end

-- The descriptor, only to be polled; it stays the same.
function pollable:pollfd()
  local _, fd = check_open(self, "pollfd")
  return fd
end

-- The same, under the name that socket.select looks for.
function pollable:getfd() return self:pollfd() end

-- The events to wait for: "r".
function pollable:events()
  check_open(self, "events")
  return "r"
end

-- Seconds after which step has to be called though the descriptor is silent, or nil. To be called before each wait.
function pollable:timeout()
  return core.due(check_open(self, "timeout"))
end

-- Runs what is ready; waits timeout seconds at most for it (default 0: not at all). True while anything is in flight.
-- Raises the errors that nobody has read, one a call.
function pollable:step(timeout)
  local user = check_open(self, "step")
  check.seconds(timeout, "timeout")
  if core.in_task() then check.misuse("step: cannot step the loop inside a task") end
  if timeout and timeout > 0 then
    core.step(math.min(timeout, 1e9))
  else
    core.pump(user)
  end
  attached.resume_woken()
  strays.raise()
  return not core.is_idle()
end

-- Idempotent.
function pollable:close()
  if core.fd_of(self._user) then core.close_fd(self._user) end
end

Pollable.__close = pollable.close

return M
