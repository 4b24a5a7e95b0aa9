-- The event loops of others, each behind the same few functions, so that one spec can be about all of them.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local cqueues_loop = { name = "cqueues" }

function cqueues_loop.open()
  local cqueues = require "cqueues"
  local controller = cqueues.new()
  local loop = { errors = {} }
  function loop.attach() return require("arvak.cqueues").attach(controller) end
  function loop.spawn(fn) controller:wrap(fn) end
  function loop.sleep(seconds) cqueues.sleep(seconds) end
  -- Until nothing is left in it, or seconds are over: true, or false.
  function loop.run(seconds)
    local deadline = cqueues.monotime() + seconds
    while not controller:empty() do
      local left = deadline - cqueues.monotime()
      if left <= 0 then return false end
      local ok, err = controller:step(left)
      if not ok then loop.errors[#loop.errors + 1] = err end
    end
    return true
  end
  -- Echoes what a client sends, and gives the function that asks.
  function loop.echo()
    local socket = require "cqueues.socket"
    local server = socket.listen { host = "127.0.0.1", port = 0 }
    assert(server:listen())
    local _, _, port = server:localname()
    controller:wrap(function()
      local peer = server:accept()
      for line in peer:lines("*L") do peer:write(line) peer:flush() end
      peer:close()
      server:close()
    end)
    local peer = socket.connect("127.0.0.1", port)
    return function(text)
      peer:write(text, "\n")
      peer:flush()
      return peer:read("*l")
    end, function() peer:close() end
  end
  return loop
end

local luv_loop = { name = "luv" }

-- A connection to a server that says again what it hears: a function that sends a line and gives the answer, and one
-- that closes.
local function luv_echo(uv)
  local server = uv.new_tcp()
  server:bind("127.0.0.1", 0)
  server:listen(16, function()
    local peer = uv.new_tcp()
    server:accept(peer)
    peer:read_start(function(_, data)
      if data then return peer:write(data) end
      peer:close()
      server:close()
    end)
  end)
  local peer, co = uv.new_tcp(), coroutine.running()
  peer:connect("127.0.0.1", server:getsockname().port, function() coroutine.resume(co) end)
  coroutine.yield()
  local waiting
  peer:read_start(function(_, data)
    if data then coroutine.resume(waiting, data) end
  end)
  return function(text)
    waiting = coroutine.running()
    peer:write(text .. "\n")
    return (coroutine.yield():gsub("\n$", ""))
  end, function() peer:close() end
end

function luv_loop.open()
  local uv = require "luv"
  local loop = { errors = {} }
  function loop.attach() return require("arvak.luv").attach() end
  function loop.spawn(fn)
    local co = coroutine.create(fn)
    local start = uv.new_timer()
    start:start(0, 0, function()
      start:close()
      local ok, err = coroutine.resume(co)
      if not ok then loop.errors[#loop.errors + 1] = err end
    end)
    return co
  end
  function loop.sleep(seconds)
    local co, timer = coroutine.running(), uv.new_timer()
    timer:start(math.ceil(seconds * 1000), 0, function()
      timer:close()
      assert(coroutine.resume(co))
    end)
    coroutine.yield()
  end
  function loop.run(seconds)
    local is_late, guard = false, uv.new_timer()
    guard:start(math.ceil(seconds * 1000), 0, function()
      is_late = true
      uv.stop()
    end)
    guard:unref()
    uv.run()
    guard:close()
    uv.run("nowait")
    return not is_late
  end
  function loop.echo() return luv_echo(uv) end
  return loop
end

M.all = { cqueues_loop, luv_loop }

return M
