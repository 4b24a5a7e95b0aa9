-- Whatever ends a coroutine ends what it waited for: one inside arvak.wrap, one of an attached loop, a whole loop.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local loops = require "spec.support.loops"

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local server, client
local fixture, close = helper.fixture(function() return server, client end, function(s, c) server, client = s, c end)

local function open()
  fixture { faults = { { rpc = "ListBackends", hang = true } } }
end

-- ---- inside arvak.wrap

-- What becomes of a task that waits in a generator which somebody closes meanwhile; wait: what it waits for in there.
local function close_generator(wait)
  local inner
  return arvak.run(function()
    arvak.spawn(function()
      arvak.sleep(0.002)
      assert(coroutine.close(inner))
    end)
    local generator = arvak.wrap(function()
      inner = coroutine.running()
      wait()
    end)
    local ok, err = pcall(generator)
    coroutine.yield()            -- the task goes on,
    assert(arvak.sleep(0.001))   -- and can wait
    return ok, err
  end)
end

describe("a generator of arvak.wrap that is closed while it waits", function()
  before_each(open)
  after_each(close)

  local waits = {
    ["a sleep"] = function() arvak.sleep(1000) end,
    ["a call"] = function() client:list_backends() end,
    ["what never ends"] = function() arvak.future():result() end,
  }
  for name, wait in pairs(waits) do
    it("raises at once in its task, which goes on, when it waits for " .. name, function()
      local ok, err = close_generator(wait)
      assert.is_false(ok)
      assert.matches("^[^:]*closed_spec.lua:%d+: cannot resume dead coroutine$", err)
      assert.equal(0, arvak._counts().waits)
    end)
  end

  it("raises in the task also when it stands around the one that waits", function()
    local middle
    local f, resolve = arvak.future()
    local ok, err = arvak.run(function()
      arvak.spawn(function()
        arvak.sleep(0.002)
        assert(coroutine.close(middle))
        resolve()
      end)
      local ok, err = pcall(arvak.wrap(function()
        middle = coroutine.running()
        arvak.wrap(function() f:result() end)()
      end))
      assert(arvak.sleep(0.001))
      return ok, err
    end)
    assert.is_false(ok)
    assert.matches("cannot resume dead coroutine", err)
    assert.equal(0, arvak._counts().waits)
  end)

  it("can be closed by what its own task spawned and then canceled", function()
    local inner
    local ok = pcall(arvak.run, function()
      local f = arvak.spawn(function()
        arvak.wrap(function()
          inner = coroutine.running()
          arvak.sleep(TEST_TIMEOUT)
        end)()
      end)
      arvak.sleep(0.002)
      f:cancel()
      coroutine.close(inner)
      return f:result()
    end)
    assert.is_true(ok)
  end)

  it("gives nothing to a stray resume between the end of the wait and the task's turn", function()
    local inner, got
    arvak.run(function()
      local f, resolve = arvak.future()
      arvak.spawn(function()
        arvak.sleep(0.002)
        resolve "value"
        assert(coroutine.resume(inner))
        assert.is_nil(got)
      end)
      arvak.wrap(function()
        inner = coroutine.running()
        got = f:result()
      end)()
    end)
    assert.equal("value", got)
  end)
end)

-- ---- in an attached loop

describe("in a luv loop, a coroutine that is closed while it waits", function()
  local loop, attachment
  before_each(function()
    open()
    loop = loops.all[2].open()
    attachment = loop.attach()
  end)
  after_each(function()
    attachment:detach()
    loop.run(1)
    close()
  end)

  local waits = {
    ["a call that hangs"] = function() client:list_backends() end,
    ["a sleep"] = function() arvak.sleep(3 * TEST_TIMEOUT) end,
    ["what never ends"] = function() arvak.future():result() end,
    ["a stream"] = function() for _ in client:watch_job(client:submit_qasm(helper.bell, "simulator")) do end end,
  }
  for name, wait in pairs(waits) do
    it("lets the loop end, when it waits for " .. name, function()
      server:fault { rpc = "SubmitJob", job = "hang" }
      local co = loop.spawn(wait)
      loop.spawn(function()
        loop.sleep(0.05)
        assert(coroutine.close(co))
      end)
      assert.is_true(loop.run(TEST_TIMEOUT), "the loop does not end")
      assert.equal(0, arvak._counts().waits)
    end)
  end

  it("lets the loop end also after a detach", function()
    local co = loop.spawn(waits["a call that hangs"])
    loop.spawn(function()
      loop.sleep(0.01)
      attachment:detach()
      loop.sleep(0.01)
      assert(coroutine.close(co))
    end)
    assert.is_true(loop.run(TEST_TIMEOUT), "the loop does not end")
    assert.equal(0, arvak._counts().waits)
  end)
end)

describe("a cqueues controller", function()
  local cqueues = require "cqueues"
  before_each(open)
  after_each(close)

  -- A controller in which several coroutines wait, attached from the inside by one that never detaches.
  local function new_busy()
    local controller = cqueues.new()
    controller:wrap(function()
      require("arvak.cqueues").attach()
      controller:wrap(function() client:list_backends() end)
      controller:wrap(function() arvak.sleep(2 * TEST_TIMEOUT) end)
      controller:wrap(function() arvak.future():result() end)
      cqueues.sleep(2 * TEST_TIMEOUT)
    end)
    for _ = 1, 3 do controller:step(0.01) end
    assert.equal(3, arvak._counts().waits)
    return controller
  end

  -- Another loop can be attached, and serves.
  local function assert_free(kind)
    local loop = kind.open()
    local attachment <close> = loop.attach()
    local state
    loop.spawn(function() state = select(2, client:get_job_status "none").kind end)
    assert.is_true(loop.run(TEST_TIMEOUT))
    assert.equal("job_not_found", state)
    assert(attachment)
  end

  for _, kind in ipairs(loops.all) do
    it("that is dropped leaves its place to a " .. kind.name .. " loop, and no wait behind", function()
      new_busy()
      assert_free(kind)
      assert.equal(0, arvak._counts().waits)
    end)
  end

  it("that is closed leaves its place to the next", function()
    local controller = new_busy()
    controller:close()
    collectgarbage()   -- the coroutines, which keep what is in flight for them
    assert_free(loops.all[1])
    assert.equal(0, arvak._counts().waits)
  end)

  it("that was dropped after a detach leaves no thread behind, though coroutines waited in it", function()
    local controller = cqueues.new()
    controller:wrap(function()
      local attachment = require("arvak.cqueues").attach()
      controller:wrap(function() client:list_backends() end)
      cqueues.sleep(0.01)
      attachment:detach()
      cqueues.sleep(2 * TEST_TIMEOUT)
    end)
    for _ = 1, 10 do controller:step(0.005) end
    controller = nil   -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal(0, arvak._counts().waits)
    assert_free(loops.all[2])
  end)
end)

-- A loop of the program's own, of coroutines that are resumed at once; watch: what its watch_fd does besides.
local function driver(watch)
  local watches = { begun = 0, stopped = 0 }
  return {
    running = function()
      local co, is_main = coroutine.running()
      return not is_main and co or nil
    end,
    suspend = function() coroutine.yield() end,
    resume = coroutine.resume,
    timer = function() return function() end end,
    watch_fd = function()
      watches.begun = watches.begun + 1
      watch()
      return function() watches.stopped = watches.stopped + 1 end
    end,
  }, watches
end

describe("a loop that is detached while a coroutine of it makes a call", function()
  before_each(open)
  after_each(close)

  -- The call cannot be waited for any more; nothing of it is left.
  local function assert_refused(call)
    local co = coroutine.create(function() return pcall(call) end)
    local _, ok, err = assert(coroutine.resume(co))
    assert.is_false(ok)
    assert.matches("^[^:]*closed_spec.lua:%d+: the loop was detached while its coroutine made a call$", err)
    assert.equal("dead", coroutine.status(co))
    while arvak.poll(0.01) do assert.equal(0, arvak._counts().waits) end
  end

  it("by a function for headers refuses the call", function()
    local attachment
    local with_key <close> = arvak.connect(server.address, { api_key = function()
      attachment:detach()
      return "key"
    end })
    attachment = arvak.attach((driver(function() end)))
    assert_refused(function() with_key:list_backends() end)
  end)

  it("by its own watch_fd refuses the call, and watches nothing", function()
    local attachment
    local functions, watches = driver(function() attachment:detach() end)
    attachment = arvak.attach(functions)
    assert_refused(function() client:list_backends() end)
    assert.same({ begun = 1, stopped = 1 }, watches)
    local next_functions, next_watches = driver(function() end)
    local other <close> = arvak.attach(next_functions)
    local future = client.async:list_backends()
    assert.same({ begun = 1, stopped = 0 }, next_watches)
    future:cancel()
    assert(other)
  end)
end)
