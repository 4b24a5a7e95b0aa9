-- arvak inside a libuv loop (luv): client methods suspend the coroutine that calls them, and the loop goes on.
-- Invariant: the library's two handles keep uv.run() going only while something is in flight, and a host's interrupt is
-- never raised in a callback of libuv's, since luv makes an error in a callback the end of the process.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local uv = require "luv"

local M = {}

-- Any coroutine in luv belongs to the loop; outside of coroutines there is nothing that could be suspended.
local function running()
  local co, is_main = coroutine.running()
  return not is_main and co or nil
end

-- After an interrupt uv.run() comes back, and the program that has called it raises.
local function resume(co)
  if coroutine.status(co) ~= "suspended" then return end   -- closed by somebody meanwhile
  local ok, err = coroutine.resume(co)
  if ok then return end
  if arvak.is_error(err) and err.kind == "interrupted" then uv.stop() return end
  error(type(err) == "string" and debug.traceback(co, err) or err, 0)
end

-- Made at first need and never closed: luv 1.44 crashes when the state ends while a handle is being closed; and one
-- that is stopped holds up nothing.
local poll, timer
local on_readable, on_due   -- whose they are: of several attachments that follow each other, the last one's

local function watch_fd(fd, fn)
  poll = poll or assert(uv.new_poll(fd))   -- the descriptor of a Lua state stays the same
  assert(poll:start("r", fn))
  on_readable = fn
  return function()
    if on_readable == fn then poll:stop() end
  end
end

local function set_timer(seconds, fn)
  timer = timer or assert(uv.new_timer())
  assert(timer:start(math.ceil(seconds * 1000), 0, fn))
  on_due = fn
  return function()
    if on_due == fn then timer:stop() end
  end
end

-- Attaches to luv's loop until a:detach() or the end of `local a <close>`.
function M.attach()
  return arvak.attach {
    running = running, suspend = function() coroutine.yield() end, resume = resume, watch_fd = watch_fd,
    timer = set_timer,
  }
end

return M
