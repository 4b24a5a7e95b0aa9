-- What became due while nobody looked, or was done half by a step of the core inside another function, is neither lost
-- nor late: whoever waits on the descriptor is told, and a blocking wait does not sleep past it.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local loops = require "spec.support.loops"
local system = require "system"

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local server, client
local open, close = helper.fixture(function() return server, client end, function(s, c) server, client = s, c end)

local PAUSE = 0.03   -- of a call between its attempts

local function open_with(options)
  open({ faults = {
    { rpc = "CancelJob", status = "UNAVAILABLE", count = 1 }, { rpc = "ListBackends", hang = true },
  } }, options)
end

-- Functions that give headers, so that a second attempt asks for them; a breaker.
local function retrying()
  return {
    metadata = function() return { ["x-t"] = "1" } end,
    retry = { max_attempts = 2, initial_backoff = PAUSE, jitter = false, budget = false },
    breaker = { failure_threshold = 1000 },
  }
end

-- Each prepares something, and gives a function that makes the core step, or not, once the pause is over.
local wakers = {
  ["a call is canceled"] = function()
    local other = client.async:list_backends()
    return function() assert(other:cancel()) end
  end,
  ["another client is closed"] = function()
    local another = arvak.connect(server.address)
    another.async:list_backends()
    return function() another:close() end
  end,
  ["a call is started"] = function()
    return function() client.async:get_job_status "none" end
  end,
  ["nothing happens"] = function() return function() end end,
  ["the breaker opens"] = function()
    return function() client:breaker():force_open() end
  end,
}

-- Lets the host compute until the pause of a call is over. step: drives a little; finish(f): drives f to its end.
local function become_due(prepare, step, finish)
  local wake, calls = prepare(), server:stats().calls.CancelJob or 0
  local f = client.async:cancel_job "none"
  while (server:stats().calls.CancelJob or 0) == calls do step() end
  for _ = 1, 5 do step() end
  system.sleep(PAUSE + 0.02)
  wake()
  local started = system.monotime()
  finish(f)
  return system.monotime() - started
end

-- Several times, since a wake that was meant for something else may come in between.
local function assert_soon(...)
  for _ = 1, 3 do
    client:breaker():reset()
    server:clear_faults()
    server:fault { rpc = "CancelJob", status = "UNAVAILABLE", count = 1 }
    server:fault { rpc = "ListBackends", hang = true }
    local seconds = become_due(...)
    assert.is_true(seconds < TEST_TIMEOUT / 4, ("it took %.3f s"):format(seconds))
  end
end

for what, prepare in pairs(wakers) do
  describe("a call whose pause is over when " .. what, function()
    before_each(function() open_with(retrying()) end)
    after_each(close)

    it("goes on in a blocking wait", function()
      assert_soon(prepare, function() arvak.poll(0.002) end, function(f) f:wait(TEST_TIMEOUT) end)
    end)

    it("goes on for who waits on a pollable", function()
      local cqueues = require "cqueues"
      local p <close> = arvak.pollable()
      local function turn(longest)
        cqueues.poll({ pollfd = p:pollfd(), events = "r" }, math.min(p:timeout() or longest, longest))
        p:step()
      end
      assert_soon(prepare, function() turn(0.002) end, function(f)
        while not f:done() do turn(TEST_TIMEOUT / 2) end
      end)
    end)

    for _, kind in ipairs(loops.all) do
      it("goes on in a " .. kind.name .. " loop", function()
        local loop = kind.open()
        local attachment <close> = loop.attach()
        local ok, err = false, nil
        loop.spawn(function()
          ok, err = xpcall(assert_soon, debug.traceback, prepare, function() loop.sleep(0.002) end,
            function(f) f:wait(TEST_TIMEOUT) end)
        end)
        assert.is_true(loop.run(2 * TEST_TIMEOUT), "the loop does not end")
        assert(ok, err)
        assert(attachment)
      end)
    end
  end)
end

describe("a blocking wait", function()
  before_each(function() open_with(retrying()) end)
  after_each(close)

  -- It comes up for air every tenth of a second; of five, one at least is not held up by the machine.
  it("does not sleep past a call that asks for its headers", function()
    local least = math.huge
    for _ = 1, 5 do
      server:clear_faults()
      server:fault { rpc = "CancelJob", status = "UNAVAILABLE", count = 1 }
      server:fault { rpc = "ListBackends", hang = true }
      local calls = server:stats().calls.CancelJob or 0
      local other, f = client.async:list_backends(), client.async:cancel_job "none"
      while (server:stats().calls.CancelJob or 0) == calls do arvak.poll(0.002) end
      arvak.poll(0.002)
      system.sleep(PAUSE + 0.02)
      other:cancel()
      local started = system.monotime()
      f:wait(TEST_TIMEOUT)
      least = math.min(least, system.monotime() - started)
    end
    assert.is_true(least < 0.08, ("each took %.3f s or more"):format(least))
  end)
end)

describe("a second user of the descriptor", function()
  before_each(function() open() end)
  after_each(close)

  it("looks again when the first closes, who had taken what it said", function()
    local cqueues = require "cqueues"
    local first, second = arvak.pollable(), arvak.pollable()
    second:step()
    assert.is_nil(second:timeout())
    for _ = 1, 5 do first:step() end   -- it says nothing any more
    arvak.spawn(arvak.sleep, 0.001)
    first:step()
    first:step()
    first:close()
    assert(cqueues.poll({ pollfd = second:pollfd(), events = "r" }, TEST_TIMEOUT))
    while second:step() do
      cqueues.poll({ pollfd = second:pollfd(), events = "r" }, second:timeout() or TEST_TIMEOUT)
    end
    second:close()
  end)
end)
