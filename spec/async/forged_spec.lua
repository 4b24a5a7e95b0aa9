-- Fields of futures, pollables and attachments are open to a program. What it writes there may harm those objects, and
-- nobody else: C follows nothing that Lua can write.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local server, client
local open, close = helper.fixture(function() return server, client end, function(s, c) server, client = s, c end)

local forgeries = { false, true, 42, -1, 1 << 32, 0x7fffffffffffffff, "text", {}, { 1, 2 }, type, io.stdout }

-- Every field that a future has, and those it had or might have.
local function fields_of(f)
  local names = { "_ticket", "_tickets", "_timer", "_scope", "_task", "_observers", "_callbacks", "_values", "_cancel",
    "_on_end", "_on_task_end", "_client", "_sentinel", "_is_noted", "_submit_tickets" }
  for name in pairs(f) do names[#names + 1] = name end
  return names
end

-- Drives until nothing is left, whatever is raised by what was written.
local function settle_down()
  for _ = 1, 1000 do
    local ok, is_more = pcall(arvak.poll, 0.01)
    if ok and not is_more then return end
  end
  error "something is in flight for ever"
end

describe("a forged ticket", function()
  before_each(function() open() end)
  after_each(close)

  it("ends no call of another", function()
    server:fault { rpc = "GetBackendInfo", latency = 0.02 }
    local f, resolve = arvak.future()
    local g = client.async:get_backend_info "simulator"
    f._tickets = { [g._ticket] = true }
    resolve(1)
    assert.equal("simulator", assert(g:result(TEST_TIMEOUT)).backend_id)
  end)

  it("ends no sleep and no wait of another", function()
    local ended_early = false
    local f, resolve = arvak.future()
    local promise, keep = arvak.future()
    local tickets = {}
    for index = 0, 63 do
      for generation = 1, 199, 2 do tickets[generation << 32 | index] = true end
    end
    arvak.run(function()
      arvak.spawn(function()
        arvak.sleep(0.02)
        if not resolve(0) then return end
        ended_early = true
      end)
      arvak.spawn(function() assert(promise:wait(TEST_TIMEOUT) and promise:result() == "value") end)
      arvak.spawn(function()
        local slept = arvak.sleep(0.01)
        assert(slept and f:done())
        keep "value"
      end)
      arvak.sleep(0.002)
      f._tickets = tickets
      resolve(1)
    end)
    assert.is_false(ended_early)
  end)

  it("cancels no call of another", function()
    server:fault { rpc = "GetBackendInfo", latency = 0.02 }
    local mine, other = client.async:list_backends(), client.async:get_backend_info "simulator"
    assert(mine:result(TEST_TIMEOUT))
    local canceled = client.async:list_backends()
    canceled._ticket = other._ticket
    pcall(canceled.cancel, canceled)
    assert.equal("simulator", assert(other:result(TEST_TIMEOUT)).backend_id)
  end)
end)

describe("a forged field", function()
  before_each(function() open() end)
  after_each(close)

  local makers = {
    ["a call's future"] = function() return client.async:list_backends() end,
    ["a task's future"] = function() return arvak.spawn(arvak.sleep, 0.001) end,
    ["a future made by hand"] = function() return (arvak.future()) end,
    ["a job's future"] = function() return client:submit_qasm_future(helper.bell, "simulator", 5) end,
  }
  for what, make in pairs(makers) do
    it("of " .. what .. " harms nobody else", function()
      for _, name in ipairs(fields_of(make())) do
        for _, value in ipairs(forgeries) do
          local f = make()
          arvak.spawn(function() pcall(f.wait, f, 0.001) end)
          pcall(arvak.poll, 0)
          f[name] = value
          pcall(f.cancel, f)
          pcall(f.result, f, 0)
          pcall(f.add_done_callback, f, function() end)
        end
        settle_down()
      end
      assert.equal(1, #assert(client:list_backends()))
      assert.equal("fine", arvak.run(function() return "fine" end))
    end)
  end

  local streams = {
    ["a watch"] = function(id) return client:watch_job(id) end,
    ["a stream of counts"] = function(id) return client:stream_results(id) end,
    ["a stream of a batch"] = function() return client:submit_batch_stream({ { helper.bell, 5 } }, "simulator") end,
  }
  for what, make in pairs(streams) do
    it("of " .. what .. " harms nobody else", function()
      local id = assert(client:submit_qasm(helper.bell, "simulator", 5))
      assert(client:wait_for_job(id, { max_wait = TEST_TIMEOUT }))
      for name in pairs(make(id)) do
        for _, value in ipairs(forgeries) do
          local stream = make(id)
          stream[name] = value
          local f = arvak.spawn(function() pcall(stream.next, stream) end)
          pcall(arvak.poll, 0.002)
          f:cancel()
          pcall(stream.cancel, stream)
          pcall(tostring, stream)
        end
        settle_down()
      end
      assert.equal(1, #assert(client:list_backends()))
    end)
  end

  it("is no way to a run's other tasks", function()
    local ok, err = pcall(arvak.run, function()
      local f = arvak.spawn(arvak.sleep, 0.2)
      f._scope = { tasks = { [{}] = 42 }, futures = { [{}] = 42 }, open = 7 }
      f._task = 42
      error("the run cancels its tasks", 0)
    end)
    assert.is_false(ok)
    assert.equal("the run cancels its tasks", err)
    assert.equal(0, arvak._counts().tasks)
  end)

  it("of a pollable closes no descriptor of another", function()
    local cqueues = require "cqueues"
    local host <close> = arvak.pollable()
    local mine = arvak.pollable()
    mine:close()
    for _, value in ipairs(forgeries) do
      mine._user, mine._fd = value, value
      mine:close()
      assert.is_false((pcall(mine.step, mine)))
      assert.is_false((pcall(mine.timeout, mine)))
    end
    local f = client.async:list_backends()
    while not f:done() do
      assert(cqueues.poll({ pollfd = host:pollfd(), events = "r" }, host:timeout() or TEST_TIMEOUT))
      host:step()
    end
  end)
end)
