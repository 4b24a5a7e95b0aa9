-- Futures of a batch: their cancellation is that of every job future, and is asked for once.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client, manager

local start, close_both = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function open(options, client_options, workers)
  start(options, client_options)
  manager = arvak.batch_manager(client, { max_workers = workers or 8 })
end

local function close()
  if manager then manager:close() end
  manager = nil
  close_both()
end

local function circuits(count)
  local list = {}
  for i = 1, count do list[i] = { bell, 10 } end
  return list
end

local function calls(name) return server:stats().calls[name] end

-- A future of each kind, in the order: of a batch by stream, of a batch by unary calls, of a single submit.
local kinds = {
  ["of a batch by stream"] = function()
    return manager:submit_many(circuits(1), "simulator", { transport = "stream" })[1]
  end,
  ["of a batch by unary calls"] = function()
    return manager:submit_many(circuits(1), "simulator", { transport = "unary" })[1]
  end,
  ["of a single submit"] = function() return client:submit_qasm_future(bell, "simulator", 10) end,
}

for name, make in pairs(kinds) do
  describe("the cancellation of a future " .. name, function()
    after_each(close)

    it("asked for by many at once sends one CancelJob, and gives true to all", function()
      open { job_latency = 60 }
      server:fault { rpc = "CancelJob", latency = 0.02 }
      local f, answers = make(), {}
      assert(f:submitted(TEST_TIMEOUT))
      arvak.run(function()
        for i = 1, 5 do arvak.spawn(function() answers[i] = f:cancel() end) end
      end)
      assert.same({ true, true, true, true, true }, answers)
      assert.is_true(f:canceled())
      assert.is_true(f:cancel())
      assert.equal(1, calls "CancelJob")
      assert.equal("canceled", f:exception(0).kind)
      assert.equal(f.job_id, f:exception(0).job_id)
    end)

    it("gives the same error to all who asked for it at once, and may be asked for again", function()
      open { job_latency = 60 }
      server:fault { rpc = "CancelJob", status = "PERMISSION_DENIED", count = 1, latency = 0.02 }
      local f, errors = make(), {}
      assert(f:submitted(TEST_TIMEOUT))
      arvak.run(function()
        for i = 1, 3 do arvak.spawn(function() errors[i] = select(2, f:cancel()) end) end
      end)
      assert.equal("PERMISSION_DENIED", errors[1].name)
      assert.equal(errors[1], errors[2])
      assert.equal(errors[1], errors[3])
      assert.is_true(f:running())
      assert.is_true(f:cancel())
      assert.equal(2, calls "CancelJob")
    end)

    it("ends as canceled when a look finds the job canceled before the answer to the cancel has come", function()
      open({ job_latency = 60 }, { timeout = 2 })
      server:fault { rpc = "CancelJob", hang = "after" }
      local f = make()
      assert(f:submitted(TEST_TIMEOUT))
      local ok = f:cancel()
      assert.is_truthy(ok == true or not f:canceled())
      assert.equal("canceled", f:exception(TEST_TIMEOUT).kind)
      assert.is_true(f:canceled())
    end)

    it("gives not_cancelable to all where the job has ended", function()
      open()
      local f = make()
      assert.is_truthy(f:result(TEST_TIMEOUT))
      for _ = 1, 2 do
        local ok, err = f:cancel()
        assert.is_nil(ok)
        assert.equal("not_cancelable", err.kind)
      end
      assert.equal(0, calls "CancelJob")
    end)

    it("goes on when one of those who asked for it is canceled", function()
      open { job_latency = 60 }
      server:fault { rpc = "CancelJob", latency = 0.05 }
      local f = make()
      assert(f:submitted(TEST_TIMEOUT))
      arvak.run(function()
        local first, second = arvak.spawn(f.cancel, f), arvak.spawn(f.cancel, f)
        arvak.sleep(0.001)
        first:cancel()
        assert.is_true(second:result(TEST_TIMEOUT))
      end)
      assert.equal(1, calls "CancelJob")
    end)

    it("after the client was closed gives nil and an error, and raises nothing", function()
      open { job_latency = 60 }
      local f = make()
      assert(f:submitted(TEST_TIMEOUT))
      client:close()
      local ok, err = f:cancel()
      assert.is_nil(ok)
      assert.is_true(err.kind == "closed" or err.kind == "not_cancelable", err.kind)
      assert.equal("closed", f:exception(TEST_TIMEOUT).kind)
    end)
  end)
end

describe("the futures of a batch", function()
  after_each(close)

  it("that were not sent yet are canceled at once, without a job, and for all who ask", function()
    open({ job_latency = 60 }, nil, 1)
    local fs, answers = manager:submit_many(circuits(3), "simulator", { transport = "unary" }), {}
    assert(fs[1]:submitted(TEST_TIMEOUT))
    arvak.run(function()
      for i = 1, 3 do arvak.spawn(function() answers[i] = fs[3]:cancel() end) end
    end)
    assert.same({ true, true, true }, answers)
    assert.is_false(fs[3]:exception(0).maybe_executed)
    assert.is_true(fs[1]:cancel())
    assert(fs[2]:submitted(TEST_TIMEOUT))
    assert.is_true(fs[2]:cancel())
    assert.equal(2, server:stats().accepted)
  end)

  it("that are on their way are canceled when their jobs are known", function()
    open { job_latency = 60 }
    server:fault { rpc = "SubmitJob", latency = 0.05 }
    local f = manager:submit_many(circuits(1), "simulator", { transport = "unary" })[1]
    assert.is_true(f:cancel())
    assert.is_string(f.job_id)
    assert.equal("CANCELED", client:get_job_status(f.job_id).state)
  end)

  it("whose submit is lost are canceled, and maybe executed", function()
    open()
    server:fault { rpc = "SubmitJob", drop = "after", latency = 0.05 }
    local f = manager:submit_many(circuits(1), "simulator", { transport = "unary" })[1]
    assert.is_true(f:cancel())
    assert.is_true(f:exception(0).maybe_executed)
  end)

  it("that were canceled at random end once each, whatever happens beside it", function()
    open { job_latency = 0.02 }
    for _, transport in ipairs { "stream", "unary" } do
      local fs, ends = manager:submit_many(circuits(60), "simulator", { transport = transport }), {}
      for i, f in ipairs(fs) do f:add_done_callback(function() ends[i] = (ends[i] or 0) + 1 end) end
      arvak.run(function()
        for _ = 1, 60 do
          arvak.spawn(function()
            arvak.sleep(math.random() * 0.05)
            local f = fs[math.random(#fs)]
            local ok, err = f:cancel()
            assert.is_true(ok or err.kind == "not_cancelable", err and tostring(err))
            assert.equal(ok == true, f:canceled())
          end)
        end
      end)
      local r = manager:wait_all(fs)
      assert.equal(60, r.total_count)
      for _, failure in ipairs(r.failures) do assert.equal("canceled", failure.err.kind) end
      helper.eventually(function() return not arvak.poll(0) end)
      for i = 1, 60 do assert.equal(1, ends[i]) end
    end
  end)
end)

describe("groups of a manager", function()
  after_each(close)

  it("take a future that failed with false for a failure", function()
    open()
    local rejected, _, reject = arvak.future()
    reject(false)
    local raised = arvak.spawn(function() error(false, 0) end)
    raised:wait(TEST_TIMEOUT)
    for _, f in ipairs { rejected, raised } do
      local outcomes = manager:map(function() error("is not called") end, { f })
      assert.same({ { ok = false, err = false } }, outcomes)
      local r = manager:wait_all { f }
      assert.equal(1, r.failure_count)
      assert.equal("failed", r.status)
      assert.is_truthy(r.items[1].err)
    end
  end)

  it("leave no trace in the futures of a loop that was left, by whatever way", function()
    open()
    local pending = arvak.future()
    local ended, resolve = arvak.future()
    resolve(1)
    -- Leaves a loop after its first step.
    local function break_out(...)
      for f in ... do
        if f then break end
      end
    end
    local function leave(kind)
      if kind == "break" then
        break_out(arvak.as_completed { ended, pending })
        break_out(manager:as_completed { ended, pending })
      elseif kind == "error" then
        pcall(function()
          for f in arvak.as_completed { ended, pending } do error(f) end
        end)
        pcall(manager.map, manager, function() error("out") end, { ended, pending })
      elseif kind == "timeout" then
        pcall(break_out, arvak.as_completed({ pending }, 0))
      else
        pcall(manager.wait_all, manager, { ended, pending }, { progress_callback = function() error("out") end })
      end
    end
    local function count_bytes()
      collectgarbage()
      collectgarbage()
      return collectgarbage("count") * 1024
    end
    for _, kind in ipairs { "break", "error", "timeout", "callback" } do
      leave(kind)
      local before = count_bytes()
      for _ = 1, 500 do leave(kind) end
      assert.is_true(count_bytes() - before < 500 * 100, kind)   -- a trace takes 700 bytes
    end
    pending:cancel()
  end)

  it("walk through many that have ended in no time that grows with their square", function()
    open()
    local fs = {}
    local f, resolve = arvak.future()
    fs[1] = f
    for i = 2, 100000 do fs[i] = f end
    resolve(1)
    local since, count, in_order = os.clock(), 0, true
    for _, i in arvak.as_completed(fs) do
      count = count + 1
      in_order = in_order and i == count
    end
    assert.is_true(in_order)
    assert.equal(100000, count)
    assert.is_true(os.clock() - since < TEST_TIMEOUT)   -- 0.1 s, and minutes where each step moves all that are left
  end)
end)
