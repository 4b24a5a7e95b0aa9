-- arvak inside a cqueues loop: client methods suspend the coroutine that calls them, and the loop goes on.
-- Invariant: one coroutine of the library polls for all; each coroutine that waits has a condition of its own.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local condition = require "cqueues.condition"
local cqueues = require "cqueues"

local M = {}

local conditions = setmetatable({}, { __mode = "k" })   -- coroutine → what it waits on

-- A reference that does not keep a controller, whose coroutines end when the program drops it.
local function new_reference(controller)
  return setmetatable({ controller }, { __mode = "v" })
end

-- The token of a coroutine is its condition, which does not keep the coroutine either. A controller that is not the
-- attached one may run while that does not, and so is outside.
local function new_running(attached)
  return function()
    local controller, is_direct = cqueues.running()
    if not controller or controller ~= attached[1] then return nil end
    if not is_direct then return false end
    local co = coroutine.running()
    conditions[co] = conditions[co] or condition.new()
    return conditions[co]
  end
end

local function suspend(own) own:wait() end

local function resume(own) own:signal() end

-- An error of fn's is the loop's to report, and does not end the watching.
local function call(attached, fn)
  local ok, err = pcall(fn)
  if not ok then attached[1]:wrap(error, err, 0) end
end

-- The pump: waits for the descriptor and for the timer in one place.
local function new_pump(attached)
  local changed = condition.new()
  local due, on_due
  local pump = {}

  function pump.timer(seconds, fn)
    due, on_due = cqueues.monotime() + seconds, fn
    changed:signal()
    return function() due, on_due = nil, nil end
  end

  local function wait(source)
    local left = due and math.max(0, due - cqueues.monotime())
    cqueues.poll(source, changed, left)
    if not due or cqueues.monotime() < due then return nil end
    local fn = on_due
    due, on_due = nil, nil
    return fn
  end

  function pump.watch_fd(fd, fn)
    local is_watching, source = attached[1] ~= nil, { pollfd = fd, events = "r" }
    if not is_watching then return function() end end   -- the controller is being collected
    attached[1]:wrap(function()
      while is_watching do
        local timer = wait(source)
        if is_watching then call(attached, timer or fn) end
      end
    end)
    return function()
      is_watching = false
      changed:signal()
    end
  end

  return pump
end

-- Whoever is attached to a controller that was closed, or is collected, is detached.
local last = { attached = {}, attachment = false }
local sentinels = setmetatable({}, { __mode = "k" })   -- controller → what is collected with it

local function is_closed(controller)
  return not pcall(controller.count, controller)
end

local function detach_with(controller, attachment)
  sentinels[controller] = setmetatable({}, { __gc = function() attachment:detach() end })
end

-- Attaches to a controller (default: the one that is running) until a:detach(), the end of `local a <close>`, or the
-- end of the controller.
function M.attach(controller)
  controller = controller or cqueues.running()
  if cqueues.type(controller) ~= "controller" then
    error("attach: got " .. tostring(controller) .. ", expected a cqueues controller, or a call inside one", 2)
  end
  if last.attached[1] and is_closed(last.attached[1]) then last.attachment:detach() end
  local attached = new_reference(controller)
  local pump = new_pump(attached)
  local attachment = arvak.attach {
    running = new_running(attached), suspend = suspend, resume = resume, watch_fd = pump.watch_fd,
    timer = pump.timer,
  }
  detach_with(controller, attachment)
  last = { attached = attached, attachment = attachment }
  return attachment
end

return M
