-- arvak inside a cqueues loop: client methods suspend the coroutine that calls them, and the loop goes on.
-- Invariant: one coroutine of ours polls for all who wait, each of whom has a condition of its own.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local condition = require "cqueues.condition"
local cqueues = require "cqueues"

local M = {}

local conditions = setmetatable({}, { __mode = "k" })   -- coroutine → what it waits on

-- A controller that is not the attached one may run while that does not, and so is outside.
local function new_running(attached)
  return function()
    local controller, is_direct = cqueues.running()
    if controller ~= attached then return nil end
    return is_direct and coroutine.running()
  end
end

local function suspend(co)
  local own = conditions[co]
  if not own then
    own = condition.new()
    conditions[co] = own
  end
  own:wait()
end

local function resume(co)
  local own = conditions[co]
  if own then own:signal() end   -- none: suspending it failed
end

-- An error of fn's is the loop's to report, and does not end the watching.
local function call(controller, fn)
  local ok, err = pcall(fn)
  if not ok then controller:wrap(error, err, 0) end
end

-- The pump: waits for the descriptor and for the timer in one place.
local function new_pump(controller)
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
    local is_watching, source = true, { pollfd = fd, events = "r" }
    controller:wrap(function()
      while is_watching do
        local timer = wait(source)
        if is_watching then call(controller, timer or fn) end
      end
    end)
    return function()
      is_watching = false
      changed:signal()
    end
  end

  return pump
end

-- Attaches to a controller (default: the one that is running) until a:detach() or the end of `local a <close>`.
function M.attach(controller)
  controller = controller or cqueues.running()
  if cqueues.type(controller) ~= "controller" then
    error("attach: got " .. tostring(controller) .. ", expected a cqueues controller, or a call inside one", 2)
  end
  local pump = new_pump(controller)
  return arvak.attach {
    running = new_running(controller), suspend = suspend, resume = resume, watch_fd = pump.watch_fd,
    timer = pump.timer,
  }
end

return M
