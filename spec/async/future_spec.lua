-- Futures of single RPCs and of tasks: states, waiting with and without a bound, cancellation, callbacks.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- A future that stays pending until its test cancels it.
local function hanging_call()
  server:fault { rpc = "GetJobStatus", hang = true }
  return client.async:get_job_status("j")
end

describe("a future", function()
  before_each(open)
  after_each(close)

  it("is running until it has ended, and then done", function()
    local f = client.async:list_backends()
    assert.equal("future", arvak.type(f))
    assert.is_true(f:running())
    assert.is_false(f:done())
    assert.is_false(f:canceled())
    assert.is_true(f:wait(TEST_TIMEOUT))
    assert.is_false(f:running())
    assert.is_true(f:done())
    assert.is_false(f:canceled())
  end)

  it("gives its values again and again", function()
    local f = client.async:list_backends()
    local backends = f:result(TEST_TIMEOUT)
    assert.same({ n = 1, backends }, table.pack(f:result()))
    assert.equal(backends, f:result(0))
    assert.is_nil(f:exception())
    local task = arvak.spawn(function() return 1, nil, 3 end)
    assert.same(table.pack(1, nil, 3), table.pack(task:result(TEST_TIMEOUT)))
    assert.is_nil(task:exception())
  end)

  it("gives nil and the error, and the error alone by exception", function()
    local f = client.async:get_job_status("j")
    local value, err = f:result(TEST_TIMEOUT)
    assert.is_nil(value)
    assert.equal("job_not_found", err.kind)
    assert.equal(err, f:exception())
    assert.is_false(f:canceled())
  end)

  it("gives any value that was raised, with the traceback", function()
    local f = arvak.spawn(error, "text")
    assert.same({ nil, "text" }, { f:result(TEST_TIMEOUT) })
    assert.matches("stack traceback", f.traceback)
    assert.equal("text", f:exception())
  end)

  it("works on while Lua does something else, and is answered by driving the loop", function()
    assert(client:list_backends())
    local f = client.async:submit_qasm(bell, "simulator")
    helper.eventually(function() return f:done() end)
    assert.is_string(f:result(0))
  end)

  it("says what it is", function()
    local f = client.async:list_backends()
    assert.equal("arvak.future (pending)", tostring(f))
    f:wait(TEST_TIMEOUT)
    assert.equal("arvak.future (done)", tostring(f))
  end)
end)

describe("future:result and future:wait with a bound", function()
  before_each(open)
  after_each(close)

  for _, manner in ipairs { "outside a task", "inside a task" } do
    local around = manner == "inside a task" and arvak.run or function(fn) return fn() end

    it("give a timeout error and false " .. manner .. ", and the future goes on", function()
      around(function()
        local f = hanging_call()
        local value, err = f:result(0.01)
        assert.is_nil(value)
        assert.equal("timeout", err.kind)
        assert.equal("wait", err.scope)
        assert.is_false(err.maybe_executed)
        assert.equal("timeout", f:exception(0.001).kind)
        assert.is_false(f:wait(0.001))
        assert.is_false(f:wait(0))
        assert.is_true(f:running())
        assert.is_true(f:cancel())
      end)
    end)
  end

  it("raise at the caller for what is no time", function()
    local f = arvak.spawn(arvak.sleep, 0)
    for _, method in ipairs { "wait", "result", "exception" } do
      local ok, err = pcall(function() local _ = f[method](f, -1) end)
      assert.is_false(ok)
      assert.matches("^spec/async/future_spec%.lua:%d+: timeout: got %-1, expected a number of seconds", err)
    end
    f:wait()
  end)

  it("wake every waiter", function()
    local woken = {}
    arvak.run(function()
      local f = arvak.spawn(function()
        arvak.sleep(0.005)
        return "value"
      end)
      for i = 1, 5 do arvak.spawn(function() woken[i] = f:result() end) end
    end)
    assert.same({ "value", "value", "value", "value", "value" }, woken)
  end)

  it("give the value even with a bound of zero once it is there", function()
    local f = client.async:list_backends()
    f:wait(TEST_TIMEOUT)
    assert.equal(1, #f:result(0))
  end)

  it("outside a task do not raise the errors of other tasks", function()
    local other = arvak.spawn(error, "theirs")
    local f = client.async:list_backends()
    assert.equal(1, #f:result(TEST_TIMEOUT))
    assert.equal("theirs", other:exception(TEST_TIMEOUT))
  end)
end)

describe("future:cancel", function()
  after_each(close)

  it("of a call in flight gives true and ends it at once as canceled, and the server may have executed it", function()
    open()
    local f = hanging_call()
    arvak.sleep(0.01)
    assert.is_true(f:cancel())
    assert.is_true(f:done())
    assert.is_true(f:canceled())
    local value, err = f:result(0)
    assert.is_nil(value)
    assert.equal("canceled", err.kind)
    assert.is_true(err.maybe_executed)
    assert.equal("canceled", f:exception(0).kind)
    helper.eventually(function() return client:stats().in_flight == 0 end)
  end)

  it("of a call in flight names the RPC and the address, as other errors do", function()
    open()
    local f = hanging_call()
    f:cancel()
    local _, err = f:result(0)
    assert.equal("GetJobStatus", err.rpc)
    assert.equal(server.address, err.target)
    assert.equal("j", err.job_id)
  end)

  it("of a call in our own queue says that nothing was executed", function()
    open(nil, { max_concurrent_rpcs = 1 })
    local blocker = hanging_call()
    local f = client.async:submit_qasm(bell, "simulator")
    assert.equal(1, client:stats().queued)
    assert.is_true(f:cancel())
    assert.is_false(select(2, f:result(0)).maybe_executed)
    blocker:cancel()
    helper.eventually(function() return arvak._counts().calls == 0 end)
    assert.equal(0, server:stats().calls.SubmitJob)
  end)

  it("twice gives true both times", function()
    open()
    local f = hanging_call()
    assert.is_true(f:cancel())
    assert.is_true(f:cancel())
  end)

  it("of what has ended gives nil and not_cancelable, and changes nothing", function()
    open()
    local f = client.async:list_backends()
    f:wait(TEST_TIMEOUT)
    local value, err = f:cancel()
    assert.is_nil(value)
    assert.equal("not_cancelable", err.kind)
    assert.is_false(f:canceled())
    assert.equal(1, #f:result(0))
  end)

  it("leaves an end that comes later without effect", function()
    open()
    server:fault { rpc = "ListBackends", latency = 0.01 }
    local f = client.async:list_backends()
    f:cancel()
    helper.eventually(function() return arvak._counts().calls == 0 end)
    assert.is_true(f:canceled())
    assert.is_nil((f:result(0)))
  end)

  it("wakes who waits on it", function()
    open()
    local f = hanging_call()
    local err
    arvak.run(function()
      arvak.spawn(function() err = f:exception() end)
      arvak.sleep(0.002)
      f:cancel()
    end)
    assert.equal("canceled", err.kind)
  end)

  it("is no error that run would raise", function()
    open()
    assert.equal("fine", arvak.run(function()
      hanging_call():cancel()
      arvak.spawn(arvak.sleep, TEST_TIMEOUT):cancel()
      return "fine"
    end))
  end)
end)

describe("future:add_done_callback", function()
  before_each(open)
  after_each(close)

  it("runs the callback with the future once it has ended", function()
    local got
    local f = client.async:list_backends()
    f:add_done_callback(function(future) got = future end)
    assert.is_nil(got)
    f:wait(TEST_TIMEOUT)
    helper.eventually(function() return got end)
    assert.equal(f, got)
  end)

  it("runs callbacks once each, in the order they were added, before who waits goes on", function()
    local order = {}
    arvak.run(function()
      local f = client.async:list_backends()
      for i = 1, 3 do f:add_done_callback(function() order[#order + 1] = i end) end
      f:wait()
      order[#order + 1] = "waiter"
    end)
    assert.same({ 1, 2, 3, "waiter" }, order)
  end)

  it("runs it of a future that has ended already", function()
    local f = client.async:list_backends()
    f:wait(TEST_TIMEOUT)
    local count = 0
    f:add_done_callback(function() count = count + 1 end)
    helper.eventually(function() return count > 0 end)
    arvak.poll(0)
    assert.equal(1, count)
  end)

  it("runs it once when the future is canceled, though the call's own end comes later", function()
    local count = 0
    local f = hanging_call()
    f:add_done_callback(function() count = count + 1 end)
    f:cancel()
    helper.eventually(function() return arvak._counts().calls == 0 end)
    arvak.poll(0)
    assert.equal(1, count)
  end)

  it("lets the callback wait, ask for the result, add callbacks and cancel", function()
    local seen = {}
    local f = client.async:list_backends()
    f:add_done_callback(function(future)
      assert.is_true(arvak.in_task())
      seen.backends = #future:result()
      seen.canceled = select(2, future:cancel()).kind
      future:add_done_callback(function() seen.nested = true end)
      seen.job = client:execute(bell, "simulator", 5).shots
    end)
    helper.eventually(function() return seen.job and seen.nested end)
    assert.same({ backends = 1, canceled = "not_cancelable", nested = true, job = 5 }, seen)
  end)

  it("has its error raised by the run around it, once, and goes on with the other callbacks", function()
    local others, object = 0, {}
    local ok, err = pcall(arvak.run, function()
      local f = client.async:list_backends()
      f:add_done_callback(function() error(object) end)
      f:add_done_callback(function() others = others + 1 end)
      f:result()
    end)
    assert.is_false(ok)
    assert.equal(object, err)
    assert.matches("stack traceback", err.traceback)
    assert.equal(1, others)
    collectgarbage()
    assert.is_true((pcall(arvak.poll, 0)))
  end)

  it("has its error raised by poll outside a run, at once and without help of the collector", function()
    collectgarbage("stop")
    local f = client.async:list_backends()
    f:add_done_callback(function() error("boom", 0) end)
    local ended = f:wait(TEST_TIMEOUT)
    local ok, err = true, nil
    for _ = 1, 20 do
      ok, err = pcall(arvak.poll, 0)
      if not ok then break end
    end
    collectgarbage("restart")
    assert.is_true(ended)
    assert.is_false(ok)
    assert.matches("^boom\nstack traceback:", err)
  end)

  it("raises at the caller for what cannot be called", function()
    local f = client.async:list_backends()
    local ok, err = pcall(function() local _ = f:add_done_callback(5) end)
    assert.is_false(ok)
    assert.matches("^spec/async/future_spec%.lua:%d+: add_done_callback: got 5, expected a function", err)
    f:wait(TEST_TIMEOUT)
  end)
end)

describe("client.async", function()
  before_each(open)
  after_each(close)

  it("has a twin of every method that waits, and each gives a future at once", function()
    server:fault { latency = 0.05 }
    local arguments = {
      submit_qasm = { bell, "simulator" }, submit_batch = { { { bell } }, "simulator" }, list_backends = {},
      submit_circuit_json = { "{}", "simulator" }, execute = { bell, "simulator" }, get_job_status = { "j" },
      get_job_result = { "j" }, cancel_job = { "j" }, wait_for_job = { "j" }, get_backend_info = { "simulator" },
      wait_for_ready = {},
    }
    local started_at, futures = monotime(), {}
    for name, list in pairs(arguments) do futures[name] = client.async[name](client.async, table.unpack(list)) end
    for name, f in pairs(futures) do assert.equal("future", arvak.type(f), name) end
    assert.is_true(futures.list_backends:running())
    assert.is_true(monotime() - started_at < TEST_TIMEOUT)
    local kinds = {}
    for name, f in pairs(futures) do
      local value, err = f:result(TEST_TIMEOUT)
      kinds[name] = err and err.kind or type(value)
    end
    assert.same({ submit_qasm = "string", submit_batch = "table", list_backends = "table", execute = "table",
      submit_circuit_json = "invalid_circuit", get_job_status = "job_not_found", get_job_result = "job_not_found",
      cancel_job = "job_not_found", wait_for_job = "job_not_found", get_backend_info = "table",
      wait_for_ready = "boolean",
    }, kinds)
  end)

  it("keeps the client alive until the call has ended", function()
    server:fault { rpc = "ListBackends", latency = 0.02 }
    local f = client.async:list_backends()
    client = nil
    collectgarbage()
    collectgarbage()
    assert.equal(1, #f:result(TEST_TIMEOUT))
  end)

  it("executes a call whose future nobody keeps", function()
    client.async:submit_qasm(bell, "simulator")
    collectgarbage()
    helper.eventually(function() return arvak._counts().calls == 0 end)
    assert.equal(1, server:stats().accepted)
  end)

  it("lets many calls be in flight at once", function()
    server:fault { rpc = "ListBackends", latency = 0.05 }
    local futures = {}
    for i = 1, 100 do futures[i] = client.async:list_backends() end
    assert.equal(100, client:stats().in_flight)
    for _, f in ipairs(futures) do assert.equal(1, #f:result(TEST_TIMEOUT)) end
  end)
end)
