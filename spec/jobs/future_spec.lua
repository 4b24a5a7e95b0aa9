-- Futures of jobs: submitted, waited for, canceled on the server, and closed under.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local start, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function open(...)
  start(...)
  assert(client:wait_for_ready(TEST_TIMEOUT))
end

local function submit(options) return client:submit_qasm_future(bell, "simulator", options or 10) end

local function kind_at_end(f)
  local value, err = f:result(TEST_TIMEOUT)
  assert.is_nil(value)
  return err.kind
end

local function state_of(job_id) return assert(client:get_job_status(job_id)).state end

describe("a job future", function()
  after_each(close)

  it("is the twin of execute: it resolves to the result", function()
    open()
    local f = submit()
    assert.equal("future", arvak.type(f))
    assert.is_true(f:running())
    local result = assert(f:result(TEST_TIMEOUT))
    assert.equal("result", arvak.type(result))
    assert.equal(10, result.shots)
    assert.equal(f.job_id, result.job_id)
    assert.is_true(f:done())
    assert.is_false(f:running())
    assert.is_false(f:canceled())
    assert.is_nil(f:exception())
    assert.equal(result, f:result(0))
  end)

  it("has no job_id until the server has answered, and submitted waits for it", function()
    open { job_latency = 60 }
    server:fault { rpc = "SubmitJob", latency = 0.5 }
    local f = submit()
    assert.is_nil(f.job_id)
    local id, err = f:submitted(0.001)
    assert.is_nil(id)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
    assert.equal("string", type(f:submitted(TEST_TIMEOUT)))
    assert.equal(f.job_id, f:submitted(0))
    assert.is_true(f:running())
    assert.is_true(f:cancel())
    assert.equal(f.job_id, f:submitted())
  end)

  it("wakes everyone who waits for its submit, in tasks and outside", function()
    open()
    server:fault { rpc = "SubmitJob", latency = 0.01 }
    local f, ids = submit(), {}
    arvak.run(function()
      for i = 1, 3 do arvak.spawn(function() ids[i] = f:submitted() end) end
    end)
    assert.same({ f.job_id, f.job_id, f.job_id }, ids)
    f:wait(TEST_TIMEOUT)
  end)

  it("fails with the error of its submit, which submitted gives too", function()
    open()
    local f = client:submit_qasm_future(bell, "nowhere")
    local id, err = f:submitted(TEST_TIMEOUT)
    assert.is_nil(id)
    assert.equal("backend_not_found", err.kind)
    assert.equal(err, f:exception(0))
    assert.is_nil(f.job_id)
  end)

  it("fails as the job does, and names it", function()
    open()
    server:fault { job = "fail", message = "the cryostat is warm" }
    local f = submit()
    local err = f:exception(TEST_TIMEOUT)
    assert.equal("job_failed", err.kind)
    assert.matches("the cryostat is warm", err.message)
    assert.equal(f.job_id, err.job_id)
  end)

  it("of a job that somebody else has canceled fails as job_canceled, and is not canceled itself", function()
    open { job_latency = 60 }
    local f = submit()
    assert(client:cancel_job(assert(f:submitted(TEST_TIMEOUT))))
    assert.equal("job_canceled", kind_at_end(f))
    assert.is_false(f:canceled())
  end)

  it("tolerates transient errors of its looks and of the result", function()
    open()
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 3 }
    server:fault { rpc = "GetJobResult", status = "UNAVAILABLE", count = 3 }
    assert.equal(10, assert(submit():result(TEST_TIMEOUT)).shots)
  end)

  it("gives up when the server has failed without a break for one timeout, its own or the client's", function()
    open(nil, { timeout = 0.5 })   -- a look of its own takes less, on a busy machine too
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE" }
    local f = submit()
    assert.equal("unavailable", kind_at_end(f))
    assert.equal(f.job_id, f:exception().job_id)
    local longer = submit { timeout = TEST_TIMEOUT }
    assert.is_false(longer:wait(1.0))
    server:clear_faults()
    assert.is_truthy(longer:result(TEST_TIMEOUT))
  end)

  it("ends with a timeout at max_wait, as execute does, and the job goes on", function()
    open { job_latency = 60 }
    local f = submit { max_wait = 0.03 }
    local err = f:exception(TEST_TIMEOUT)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
    assert.equal(f.job_id, err.job_id)
    assert.is_true(err.elapsed >= 0.03 and err.elapsed < 1)
    assert.equal("RUNNING", state_of(f.job_id))
    assert(client:cancel_job(f.job_id))
  end)

  it("ends at max_wait when the server hangs too", function()
    open()
    server:fault { rpc = "GetJobStatus", hang = true }
    assert.equal("timeout", kind_at_end(submit { max_wait = 0.03 }))
  end)

  it("looks less and less often, and poll_interval bounds that", function()
    open { job_latency = 0.6 }
    assert.is_truthy(submit():result(TEST_TIMEOUT))
    local before = server:stats().calls.GetJobStatus
    assert.is_true(before <= 26)
    assert.is_truthy(submit { poll_interval = 0.002 }:result(TEST_TIMEOUT))
    assert.is_true(server:stats().calls.GetJobStatus - before > before)
  end)

  it("tells on_progress of each look, last of the end; its error goes to who drives the loop", function()
    open { job_latency = 0.3 }
    local states, object = {}, {}
    assert.is_truthy(submit { on_progress = function(job) states[#states + 1] = job.state end }:result(TEST_TIMEOUT))
    assert.equal("RUNNING", states[1])
    assert.equal("COMPLETED", states[#states])
    assert.equal(server:stats().calls.GetJobStatus, #states)
    assert.is_truthy(submit { on_progress = function(job)
      if job.state == "COMPLETED" then error(object) end
    end }:result(TEST_TIMEOUT))
    local ok, err = pcall(arvak.poll, 0)
    assert.is_false(ok)
    assert.equal(object, err)
  end)

  it("on_progress must neither wait nor cancel", function()
    open()
    server:fault { rpc = "ListBackends", hang = true }
    local other, messages = client.async:list_backends(), {}
    local f
    f = submit { on_progress = function()
      messages[1] = select(2, pcall(function() local _ = other:cancel() end))
      messages[2] = select(2, pcall(function() local _ = f:cancel() end))
      messages[3] = select(2, pcall(function() local _ = client:list_backends() end))
    end }
    assert.is_truthy(f:result(TEST_TIMEOUT))
    assert.is_true(other:cancel())
    for i = 1, 3 do assert.matches("^spec/jobs/future_spec%.lua:%d+: %w+_?%w*: a hook must not wait", messages[i]) end
  end)

  it("completes its job though nobody holds it, and is let go of then", function()
    open { job_latency = 0.01 }
    local weak = setmetatable({}, { __mode = "k" })
    weak[submit()] = true
    collectgarbage()
    collectgarbage()
    helper.eventually(function() return server:stats().calls.GetJobResult == 1 and not arvak.poll(0) end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("is not collected, nor the task that waits on it", function()
    open { job_latency = 0.02 }
    local shots
    arvak.spawn(function() shots = submit():result().shots end)
    helper.eventually(function()
      collectgarbage()
      return shots
    end)
    assert.equal(10, shots)
  end)

  it("fails when the headers of its looks cannot be had, and the loop goes on", function()
    local key = "key"
    open({ job_latency = 60 }, { api_key = function() return key end })
    local f = submit()
    assert(f:submitted(TEST_TIMEOUT))
    key = {}
    assert.equal("unauthenticated", kind_at_end(f))
    assert.matches("api_key: the function gave a table", f:exception().message)
    assert.equal(f.job_id, f:exception().job_id)
    key = "key"
    assert.is_truthy(client:list_backends())
    assert(client:cancel_job(f.job_id))
  end)

  it("raises at the caller for misuse, and nothing is sent", function()
    open()
    local function message(fn) return select(2, pcall(fn)) end
    local here = "^spec/jobs/future_spec%.lua:%d+: "
    assert.matches(here .. "qasm: ", message(function() local _ = client:submit_qasm_future(5, "simulator") end))
    assert.matches(here .. "submit_qasm_future: unknown option \"shot\"",
      message(function() local _ = submit { shot = 1 } end))
    assert.matches(here .. "max_wait: ", message(function() local _ = submit { max_wait = -1 } end))
    assert.matches(here .. "circuits%[2%]",
      message(function() local _ = client:submit_batch_future({ { bell }, { 5 } }, "simulator") end))
    local f = client.async:list_backends()
    assert.matches(here .. "submitted: this future is not a job's", message(function() local _ = f:submitted() end))
    f:wait()
    client:close()
    assert.matches(here .. "submit_qasm_future: the client is closed", message(function() local _ = submit() end))
    assert.equal(0, server:stats().calls.SubmitJob)
  end)
end)

describe("client:submit_batch_future", function()
  after_each(close)

  it("gives a future for each circuit, in their order, with the options of each before those of all", function()
    open()
    local fs = client:submit_batch_future({ { bell, 1 }, { qasm = bell, shots = 2 }, { bell } }, "simulator", 3)
    for i = 1, 3 do assert.equal(i, assert(fs[i]:result(TEST_TIMEOUT)).shots) end
    assert.equal(3, #fs)
    assert.equal(3, server:stats().calls.SubmitJob)
    assert.same({}, client:submit_batch_future({}, "simulator"))
  end)

  it("leaves a bad circuit to its own future", function()
    open()
    local fs = client:submit_batch_future({ { bell }, { "\0" }, { "no qasm" }, { bell } }, "simulator", 10)
    assert.is_truthy(fs[1]:result(TEST_TIMEOUT))
    assert.equal("invalid_circuit", fs[2]:exception(TEST_TIMEOUT).kind)
    assert.equal("invalid_circuit", fs[3]:exception(TEST_TIMEOUT).kind)
    assert.is_truthy(fs[4]:result(TEST_TIMEOUT))
    assert.equal(3, server:stats().calls.SubmitJob)
  end)
end)

describe("cancel of a job future", function()
  after_each(close)

  it("cancels the job on the server, and settles once, as canceled", function()
    open { job_latency = 60 }
    local f, ends = submit(), 0
    f:add_done_callback(function() ends = ends + 1 end)
    assert(f:submitted(TEST_TIMEOUT))
    assert.is_true(f:cancel())
    assert.is_true(f:done() and f:canceled())
    assert.equal("canceled", kind_at_end(f))
    assert.equal(f.job_id, f:exception().job_id)
    assert.equal("CANCELED", state_of(f.job_id))
    assert.is_true(f:cancel())
    helper.eventually(function() return not arvak.poll(0) end)
    assert.equal(1, ends)
    assert.equal(1, server:stats().calls.CancelJob)
  end)

  it("before the submit has left our queue settles at once, and no job is made", function()
    open(nil, { max_concurrent_rpcs = 1 })
    server:fault { rpc = "ListBackends", hang = true }
    local blocker = client.async:list_backends()
    local f = submit()
    assert.is_true(f:cancel())
    assert.is_true(f:canceled())
    assert.is_false(f:exception().maybe_executed)
    assert.same({ nil, f:exception() }, { f:submitted() })
    blocker:cancel()
    helper.eventually(function() return not arvak.poll(0) end)
    assert.equal(0, server:stats().calls.SubmitJob)
  end)

  it("while the submit is in flight waits for the id, and then cancels the job", function()
    open { job_latency = 60 }
    server:fault { rpc = "SubmitJob", latency = 0.03 }
    local f = submit()
    assert.is_true(f:cancel())
    assert.is_true(f:canceled())
    assert.is_string(f.job_id)
    assert.equal("CANCELED", state_of(f.job_id))
    assert.equal(1, server:stats().accepted)
  end)

  it("of a submit that ends maybe executed settles as canceled and maybe executed", function()
    open()
    server:fault { rpc = "SubmitJob", drop = "after", latency = 0.02 }
    local f = submit()
    assert.is_true(f:cancel())
    assert.equal("canceled", kind_at_end(f))
    assert.is_true(f:exception().maybe_executed)
    assert.equal("SubmitJob", f:exception().rpc)
    assert.is_true(arvak.is_error(f:exception().cause))
  end)

  it("asked for by many at once sends one CancelJob, and gives true to all", function()
    open { job_latency = 60 }
    server:fault { rpc = "SubmitJob", latency = 0.02 }
    local f, answers = submit(), {}
    arvak.run(function()
      for i = 1, 5 do arvak.spawn(function() answers[i] = f:cancel() end) end
    end)
    assert.same({ true, true, true, true, true }, answers)
    assert.equal(1, server:stats().calls.CancelJob)
  end)

  it("goes on when the task that asked for it is canceled meanwhile", function()
    open { job_latency = 60 }
    server:fault { rpc = "SubmitJob", latency = 0.03 }
    local f = submit()
    local ok, err = arvak.with_timeout(0.005, function() return f:cancel() end)
    assert.is_nil(ok)
    assert.equal("timeout", err.kind)
    assert.is_true(f:running())
    assert.equal("canceled", kind_at_end(f))
    assert.equal("CANCELED", state_of(f.job_id))
  end)

  it("that the server refuses gives nil and not_cancelable, and the future runs on to its result", function()
    open { job_latency = 0.1 }
    server:fault { rpc = "GetJobStatus", latency = 0.05 }   -- the end is seen late
    local f = submit()
    assert(f:submitted(TEST_TIMEOUT))
    helper.eventually(function() return server:stats().jobs.COMPLETED == 1 end)
    assert.is_true(f:running())
    local ok, err = f:cancel()
    assert.is_nil(ok)
    assert.equal("not_cancelable", err.kind)
    assert.equal(f.job_id, err.job_id)
    assert.is_false(f:canceled())
    assert.equal(10, assert(f:result(TEST_TIMEOUT)).shots)
  end)

  it("that fails on its way gives that error, and the future runs on", function()
    open { job_latency = 0.05 }
    server:fault { rpc = "CancelJob", status = "UNAVAILABLE" }
    local f = submit()
    local ok, err = f:cancel()
    assert.is_nil(ok)
    assert.equal("unavailable", err.kind)
    assert.is_false(f:done())
    assert.is_truthy(f:result(TEST_TIMEOUT))
  end)

  it("whose answer is lost settles as canceled, when a look finds the job canceled", function()
    open({ job_latency = 60 }, { timeout = 0.5 })
    server:fault { rpc = "CancelJob", hang = "after" }
    local f = submit()
    f:cancel()
    assert.equal("canceled", kind_at_end(f))
    assert.is_true(f:canceled())
  end)

  it("is not overwritten by a result that is on its way", function()
    open { job_latency = 60 }
    server:fault { rpc = "GetJobStatus", latency = 0.03 }
    local f, ends = submit(), 0
    f:add_done_callback(function() ends = ends + 1 end)
    helper.eventually(function() return server:stats().calls.GetJobStatus > 0 end)
    assert.is_true(f:cancel())
    assert.is_true(server:set_job_state(f.job_id, "COMPLETED"))
    helper.eventually(function() return not arvak.poll(0) end)
    assert.is_true(f:canceled())
    assert.is_nil((f:result(0)))
    assert.equal(1, ends)
  end)

  it("after its end gives nil and not_cancelable, without an RPC", function()
    open()
    local f = submit()
    f:wait(TEST_TIMEOUT)
    assert.equal("not_cancelable", select(2, f:cancel()).kind)
    assert.equal(0, server:stats().calls.CancelJob)
  end)
end)

describe("closing the client", function()
  after_each(close)

  it("ends job futures as closed at once, each with its job_id, whatever they wait for", function()
    open({ job_latency = 60 }, { max_concurrent_rpcs = 4 })
    local fs = client:submit_batch_future({ { bell }, { bell }, { bell } }, "simulator", { poll_interval = 60 })
    for _, f in ipairs(fs) do assert(f:submitted(TEST_TIMEOUT)) end
    helper.eventually(function() return client:stats().in_flight == 0 end)
    server:fault { rpc = "SubmitJob", hang = "after" }
    for i = 4, 9 do fs[i] = submit() end
    client:close()
    local since = monotime()
    for i, f in ipairs(fs) do
      assert.equal("closed", kind_at_end(f))
      assert.equal(f.job_id, f:exception().job_id)
      if i <= 3 then assert.is_string(f.job_id) end
    end
    assert.is_true(monotime() - since < 1)
    helper.eventually(function() return not arvak.poll(0) end)
    assert.is_true(monotime() - since < 1)
  end)

  it("does not let a future sleep on until its next look", function()
    open { job_latency = 60 }
    local f = submit()
    helper.eventually(function()   -- that the next look is 0.2 s away
      return server:stats().calls.GetJobStatus >= 13 and client:stats().in_flight == 0
    end)
    client:close()
    for _ = 1, 3 do arvak.poll(0) end
    assert.is_true(f:done())
    assert.equal("closed", f:exception().kind)
    assert.is_false(arvak.poll(0))
  end)

  it("makes cancel give nil and closed, not raise", function()
    open { job_latency = 60 }
    local f = submit()
    local job_id = assert(f:submitted(TEST_TIMEOUT))
    client:close()
    local ok, err = f:cancel()
    assert.is_nil(ok)
    assert.equal("closed", err.kind)
    assert.equal(job_id, err.job_id)
    assert.equal("closed", kind_at_end(f))
  end)

  it("ends futures whose cancellation is under way, as canceled or closed", function()
    open { job_latency = 60 }
    for _, latency in ipairs { 0.0001, 0.02 } do
      server:clear_faults()
      server:fault { rpc = "SubmitJob", latency = latency }
      for _, is_answered in ipairs { false, true } do
        local f, answer = submit(), nil
        arvak.run(function()
          arvak.spawn(function() answer = table.pack(f:cancel()) end)
          if is_answered then f:submitted() end
          client:close()
        end)
        assert.is_true(f:wait(TEST_TIMEOUT))
        -- A look that was under way may find the job canceled after cancel has said that its own answer was lost.
        assert.is_true(f:canceled() or not answer[1])
        assert.is_true(f:canceled() or f:exception().kind == "closed")
        client = arvak.connect(server.address)
        assert(client:wait_for_ready(TEST_TIMEOUT))
      end
    end
  end)

  it("in the moment in which the submit has been answered does not stop the loop", function()
    open { job_latency = 60 }
    local f = submit()
    helper.eventually(function() return server:stats().accepted == 1 end)
    arvak.run(function()
      arvak.spawn(function() f:cancel() end)
      coroutine.yield()
      client:close()
    end)
    assert.is_true(f:wait(TEST_TIMEOUT))
  end)

  it("leaves the job to whoever attaches to it again by its id", function()
    open { job_latency = 0.05 }
    local f = submit()
    assert(f:submitted(TEST_TIMEOUT))
    client:close()
    client = arvak.connect(server.address)
    assert.equal("closed", kind_at_end(f))
    assert.equal(f.job_id, assert(client.async:wait_for_job(f:exception().job_id):result(TEST_TIMEOUT)).job_id)
  end)
end)
