-- Each error reaches somebody, and once: who reads the future, the run around it, whoever drives next, or warn.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local server, client
local open, close = helper.fixture(function() return server, client end, function(s, c) server, client = s, c end)

-- The texts of all errors that whoever drives next is given, in order.
local function errors_left()
  local texts = {}
  for _ = 1, 20 do
    collectgarbage()
    local ok, err = pcall(arvak.poll, 0)
    if not ok then texts[#texts + 1] = tostring(err):match "^[^\n]*" end
  end
  return texts
end

describe("the error of a spawned task", function()
  after_each(helper.assert_clean)

  it("is raised by whoever drives next when the run's own function has raised", function()
    local ok, err = pcall(arvak.run, function()
      arvak.spawn(error, "first", 0)
      arvak.spawn(error, "second", 0)
      arvak.sleep(0.002)
      error("main", 0)
    end)
    assert.is_false(ok)
    assert.equal("main", err)
    assert.same({ "first", "second" }, errors_left())
  end)

  it("is raised by whoever drives next when the run has come to a deadlock", function()
    local ok, err = pcall(arvak.run, function()
      arvak.spawn(error, "of a task", 0)
      arvak.sleep(0.002)
      arvak.future():result()
    end)
    assert.is_false(ok)
    assert.matches("^deadlock", err)
    assert.same({ "of a task" }, errors_left())
  end)

  it("is raised by whoever drives next when the run is interrupted", function()
    local runner
    runner = coroutine.create(function()
      return pcall(arvak.run, function()
        arvak.spawn(error, "of a task", 0)
        arvak.sleep(0.002)
        debug.sethook(runner, function()
          debug.sethook(runner)
          error("interrupted", 0)
        end, "", 1)
        arvak.sleep(TEST_TIMEOUT)
      end)
    end)
    local _, ok, err = assert(coroutine.resume(runner))
    assert.is_false(ok)
    assert.equal("interrupted", err)
    assert.same({ "of a task" }, errors_left())
  end)

  it("is raised later when its task ends after the run has left it behind", function()
    local ends_at = monotime() + 2.2   -- a run waits for two seconds
    local ok, err = pcall(arvak.run, function()
      arvak.spawn(function()
        repeat pcall(arvak.sleep, 0.01) until monotime() > ends_at
        error("stubborn", 0)
      end)
      arvak.sleep(0.002)
      error("main", 0)
    end)
    assert.is_false(ok)
    assert.equal("main", err)
    while arvak._counts().tasks > 0 do assert(pcall(arvak.poll, 0.01)) end
    assert.same({ "stubborn" }, errors_left())
  end)

  it("is not raised again where somebody has read it", function()
    local f
    pcall(arvak.run, function()
      f = arvak.spawn(error, "read", 0)
      arvak.sleep(0.002)
      assert(select(2, f:result()) == "read")
      error("main", 0)
    end)
    assert.same({}, errors_left())
  end)
end)

describe("the errors of what a map runs", function()
  after_each(helper.assert_clean)

  -- Two items are run, and at the third the iterator waits and raises.
  local function failing_source()
    local count = 0
    return function()
      count = count + 1
      if count < 3 then return count end
      arvak.sleep(0.005)
      error("of the iterator", 0)
    end
  end

  it("go to whoever drives next when the iterator has raised after them", function()
    local ok, err = pcall(arvak.run, function()
      return arvak.map(failing_source(), function(i) error("of item " .. i, 0) end)
    end)
    assert.is_false(ok)
    assert.equal("of the iterator", err)
    assert.same({ "of item 1", "of item 2" }, errors_left())
  end)

  it("go to whoever drives next when they are raised after the iterator's", function()
    local ok, err = pcall(arvak.run, function()
      return arvak.map(failing_source(), function(i)
        arvak.sleep(TEST_TIMEOUT)
        error("of item " .. i, 0)
      end)
    end)
    assert.is_false(ok)
    assert.equal("of the iterator", err)
    local texts = errors_left()
    table.sort(texts)
    assert.same({ "of item 1", "of item 2" }, texts)
  end)

  it("go to whoever drives next when the caller is canceled", function()
    local f = arvak.spawn(arvak.map, { 1, 2 }, function(i)
      if i == 1 then error("of item 1", 0) end
      return arvak.sleep(TEST_TIMEOUT)
    end)
    assert.same({}, errors_left())
    f:cancel()
    assert.same({ "of item 1" }, errors_left())
    assert.is_true(f:canceled())
  end)

  it("are in the outcomes, and nowhere else, when it has run to its end", function()
    local outcomes = arvak.run(arvak.map, { 1, 2 }, function(i) error("of item " .. i, 0) end)
    assert.equal("of item 2", outcomes[2].err)
    assert.same({}, errors_left())
  end)
end)

describe("the error of a callback", function()
  before_each(function() open() end)
  after_each(close)

  -- Adds callbacks where the library's own task runs a method for client.async.
  local function add_inside_detached(fn)
    local ended = client.async:list_backends()
    ended:result()
    local f = client.async:wait_for_job(client:submit_qasm(helper.bell, "simulator"),
      { on_progress = function() ended:add_done_callback(fn) end })
    assert(f:result(TEST_TIMEOUT))
  end

  it("goes to whoever drives when it was added inside a task that no run waits for", function()
    local calls = 0
    add_inside_detached(function()
      calls = calls + 1
      error("of a callback " .. calls, 0)
    end)
    assert.same("of a callback 1", errors_left()[1])
    assert.is_true(calls >= 1)
  end)

  it("goes to whoever drives from each of several, and none is called again", function()
    local calls = { 0, 0, 0 }
    local f, resolve = arvak.future()
    for i = 1, 3 do
      f:add_done_callback(function()
        calls[i] = calls[i] + 1
        error("callback " .. i, 0)
      end)
    end
    resolve()
    assert.same({ "callback 1", "callback 2", "callback 3" }, errors_left())
    assert.same({ 1, 1, 1 }, calls)
  end)

  it("is raised at once by whoever drives next, however long he would wait", function()
    local p <close> = arvak.pollable()
    for _, drive in ipairs { arvak.poll, function(timeout) return p:step(timeout) end } do
      local f, resolve = arvak.future()
      for i = 1, 3 do f:add_done_callback(function() error("error " .. i, 0) end) end
      resolve(true)
      for i = 1, 3 do
        local started_at = monotime()
        local _, err = pcall(drive, 30)
        assert.equal("error " .. i, tostring(err):match "^[^\n]*")
        assert.is_true(monotime() - started_at < 15)
      end
      assert.is_false(drive(0))
    end
  end)

  it("keeps a pollable's user looking until all are raised", function()
    local p <close> = arvak.pollable()
    local f, resolve = arvak.future()
    for i = 1, 3 do f:add_done_callback(function() error("callback " .. i, 0) end) end
    resolve()
    local texts = {}
    for _ = 1, 10 do
      if p:timeout() ~= 0 then break end
      local ok, err = pcall(p.step, p)
      if not ok then texts[#texts + 1] = err:match "^[^\n]*" end
    end
    assert.same({ "callback 1", "callback 2", "callback 3" }, texts)
    assert.is_nil(p:timeout())
  end)

  it("is raised after the results of a blocking call of somebody else's", function()
    local f, resolve = arvak.future()
    f:add_done_callback(function() error("of a callback", 0) end)
    resolve()
    assert(client:list_backends())
    assert.same({ "of a callback" }, errors_left())
  end)
end)
