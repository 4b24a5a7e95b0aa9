-- Inside other people's event loops, in the less usual orders: whoever waits goes on, whoever else steps the loop,
-- detaches, closes or lets go of what; and nothing is left when all have gone.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local loops = require "spec.support.loops"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client, loop, attachment

local function open(kind)
  server = helper.start()
  client = arvak.connect(server.address)
  loop = kind.open()
  attachment = loop.attach()
end

local function close()
  attachment:detach()
  client:close()
  server:stop()
  loop.run(1)
  server, client, loop, attachment = nil, nil, nil, nil
  helper.assert_clean()
end

local function run() assert.is_true(loop.run(TEST_TIMEOUT), "the loop does not end") end

local function threads()
  for line in io.lines("/proc/self/status") do
    local count = line:match("^Threads:%s*(%d+)")
    if count then return tonumber(count) end
  end
end

-- The bridge's thread is gone: one that is started now adds one, and no other user holds it.
local function assert_no_bridge()
  local before = threads()
  local pollable <close> = arvak.pollable() -- luacheck: ignore
  assert.equal(before + 1, threads())
end

for _, kind in ipairs(loops.all) do
  describe("in a " .. kind.name .. " loop,", function()
    before_each(function() open(kind) end)
    after_each(close)

    it("a coroutine that is suspended without anything in flight goes on after a detach", function()
      local f, resolve = arvak.future()
      local got
      loop.spawn(function() got = f:result() end)
      loop.run(0.05)
      attachment:detach()
      resolve("value")
      loop.run(0.5)
      assert.equal("value", got)
      assert_no_bridge()
    end)

    it("a task that sleeps goes on after somebody else has stepped the loop", function()
      local done = 0
      arvak.spawn(function() arvak.sleep(0.02) done = done + 1 end)
      assert(client:list_backends())
      run()
      assert.equal(1, done)
      arvak.spawn(function() arvak.sleep(0.02) done = done + 1 end)
      arvak.poll(0)
      run()
      assert.equal(2, done)
      arvak.spawn(function() arvak.sleep(0.02) done = done + 1 end)
      arvak.run(function() end)
      run()
      assert.equal(3, done)
      local pollable <close> = arvak.pollable()
      arvak.spawn(function() arvak.sleep(0.02) done = done + 1 end)
      pollable:step()
      run()
      assert.equal(4, done)
    end)

    it("a wait that ends while somebody blocks is told", function()
      server:fault { rpc = "GetJobStatus", latency = 0.02, count = 1 }
      server:fault { rpc = "GetBackendInfo", hang = true }
      local err
      loop.spawn(function() err = select(2, client:get_job_status("x")) end)
      loop.spawn(function() client:get_backend_info("simulator", { timeout = 1 }) end)
      loop.run(0.01)
      server:fault { rpc = "ListBackends", latency = 0.1, count = 1 }
      assert(client:list_backends())
      loop.run(0.2)
      assert.equal("job_not_found", err.kind)
      run()
    end)

    it("a client that is closed right after a task was started ends the waits on it", function()
      server:fault { rpc = "GetJobStatus", hang = true }
      local err
      loop.spawn(function() err = select(2, client:get_job_status("x")) end)
      loop.run(0.05)
      arvak.spawn(function() end)
      client:close()
      run()
      assert.equal("closed", err.kind)
    end)

    it("what was in flight before keeps it going", function()
      attachment:detach()
      local done
      client.async:list_backends():add_done_callback(function() done = true end)
      attachment = loop.attach()
      run()
      assert.is_true(done)
    end)

    it("another attachment can follow in a callback of the first", function()
      local done
      client.async:list_backends():add_done_callback(function()
        attachment:detach()
        attachment = loop.attach()
        client.async:list_backends():add_done_callback(function() done = true end)
      end)
      run()
      assert.is_true(done)
    end)

    it("waiters of two attachments go on, one after the other", function()
      local order = {}
      loop.spawn(function() arvak.sleep(0.05) order[#order + 1] = "first" end)
      loop.run(0.01)
      attachment:detach()
      attachment = loop.attach()
      loop.spawn(function() arvak.sleep(0.15) order[#order + 1] = "second" end)
      run()
      assert.same({ "first", "second" }, order)
      attachment:detach()
      assert_no_bridge()
    end)

    it("streams, groups and deadlines take turns with its own timers", function()
      local sum = 0
      for i = 1, 20 do
        loop.spawn(function()
          local outcomes = arvak.map({ 1, 2, 3 }, function(n) return client:execute(bell, "simulator", n) end)
          assert(outcomes[3].value)
          local _, err = arvak.with_timeout(0.01, function() return arvak.sleep(5) end)
          assert.equal("timeout", err.kind)
          for _, event in client:submit_batch_stream({ { bell, 1 }, { bell, i } }, "simulator") do
            assert(event)
            sum = sum + 1
          end
        end)
      end
      run()
      assert.same({}, loop.errors)
      assert.equal(20 * 4, sum)
    end)
  end)
end

describe("in a cqueues loop,", function()
  before_each(function() open(loops.all[1]) end)
  after_each(close)

  it("methods block in a controller that is another", function()
    local other = require("cqueues").new()
    local got
    other:wrap(function() got = client:list_backends() end)
    assert(other:loop(1))
    assert.equal(1, #got)
  end)

  it("a pollable can be polled beside it", function()
    local cqueues = require "cqueues"
    local pollable <close> = arvak.pollable()
    local steps, done = 0, false
    loop.spawn(function()
      while not done do
        cqueues.poll(pollable)
        pollable:step()
        steps = steps + 1
      end
    end)
    loop.spawn(function()
      for _ = 1, 10 do
        assert(client:execute(bell, "simulator", 10))
        arvak.sleep(0.01)
      end
      done = true
      pollable:step()
      arvak.spawn(function() end)
    end)
    run()
    assert.is_true(done)
    assert.is_true(steps < 1000)
  end)
end)

describe("in a luv loop,", function()
  before_each(function() open(loops.all[2]) end)
  after_each(close)

  it("a coroutine that is closed and collected while its call goes on leaves no thread behind", function()
    server:fault { rpc = "GetJobStatus", hang = true }
    local co = coroutine.create(function() client:get_job_status("x", { timeout = 0.3 }) end)
    assert(coroutine.resume(co))
    assert(coroutine.close(co))
    co = nil   -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    run()
    assert.equal(0, arvak._counts().waits)
    attachment:detach()
    assert_no_bridge()
  end)

  it("a stray resume changes nothing, also between the end of a wait and the news of it", function()
    local f, resolve = arvak.future()
    local got
    local co = coroutine.create(function() got = f:result() end)
    assert(coroutine.resume(co))
    assert(coroutine.resume(co))
    resolve("value")
    assert(coroutine.resume(co))
    collectgarbage()
    run()
    assert.equal("value", got)
    assert.same({ calls = 0, tasks = 0, waits = 0, clients = 1 }, arvak._counts())
  end)
end)

describe("a loop that has been told to come at once", function()
  after_each(helper.assert_clean)

  it("is told again of what comes after somebody else has done that step", function()
    local socket = require "socket"
    local nothing = function() end
    local fd, pump
    local given <close> = arvak.attach { running = nothing, suspend = nothing, resume = nothing,
      timer = function() return nothing end, watch_fd = function(descriptor, fn)
        fd, pump = descriptor, fn
        return nothing
      end }
    local watched = { getfd = function() return fd end, dirty = function() return false end }
    local function is_readable(seconds) return socket.select({ watched }, nil, seconds)[1] ~= nil end
    local f, resolve = arvak.future()
    local is_over = false
    local other = arvak.spawn(function() arvak.sleep(60) end)   -- the loop has something to wait for
    local task = arvak.spawn(function()
      coroutine.yield()   -- the next turn is due at once
      f:wait()
      is_over = true
    end)
    assert.is_true(is_readable(TEST_TIMEOUT))
    pump()
    assert.is_false(task:done())
    arvak.poll(0)   -- this is that turn, and takes what the descriptor says
    arvak.poll(0.01)
    resolve(true)
    assert.is_true(is_readable(TEST_TIMEOUT))
    while is_readable(0) do pump() end
    assert.is_true(is_over)
    other:cancel()
    pump()
    assert(given)
  end)
end)

describe("a driver whose watch_fd fails", function()
  after_each(helper.assert_clean)

  it("hinders no cancel: the task that is canceled ends", function()
    local nothing = function() end
    local f = arvak.spawn(function() return arvak.future():wait() end)
    arvak.poll(0)
    local given = arvak.attach { running = nothing, suspend = nothing, resume = nothing,
      timer = function() return nothing end, watch_fd = function() return false end }
    local ok, err = pcall(f.cancel, f)
    assert.is_false(ok)
    assert.is_truthy(err:find("the result of watch_fd: got false, expected a function", 1, true))
    given:detach()
    arvak.poll(0)
    assert.is_true(f:canceled())
  end)
end)
