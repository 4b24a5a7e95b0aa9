-- arvak inside a libuv loop (luv): client methods suspend the coroutine that calls them, and the loop goes on.
-- Invariant: our two handles keep uv.run() going only while something is in flight.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local uv = require "luv"

local M = {}

-- Any coroutine in luv belongs to the loop; outside of coroutines there is nothing that could be suspended.
local function running()
  local co, is_main = coroutine.running()
  return not is_main and co or nil
end

local function resume(co)
  if coroutine.status(co) ~= "suspended" then return end   -- closed by somebody meanwhile
  local ok, err = coroutine.resume(co)
  if not ok then error(type(err) == "string" and debug.traceback(co, err) or err, 0) end
end

-- Both handles are made once, at first need, and unreferenced while unused.
local function new_handles()
  local poll, timer
  local handles = {}

  function handles.watch_fd(fd, fn)
    if not poll then
      poll = assert(uv.new_poll(fd))
    end
    assert(poll:start("r", fn))
    poll:ref()
    return function()
      poll:stop()
      poll:unref()
    end
  end

  function handles.timer(seconds, fn)
    timer = timer or assert(uv.new_timer())
    assert(timer:start(math.ceil(seconds * 1000), 0, fn))
    return function() timer:stop() end
  end

  function handles.close()
    if poll then poll:close() end
    if timer then timer:close() end
  end

  return handles
end

-- Attaches to luv's loop until a:detach() or the end of `local a <close>`.
function M.attach()
  local handles = new_handles()
  return arvak.attach {
    running = running, suspend = function() coroutine.yield() end, resume = resume,
    watch_fd = handles.watch_fd, timer = handles.timer, close = handles.close,
  }
end

return M
