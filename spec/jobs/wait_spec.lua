-- Waiting for jobs: the schedule of polls, its bounds, what is tolerated and what ends a wait.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function submit()
  return assert(client:submit_qasm(bell, "simulator", 10))
end

-- How many status polls the schedule allows in seconds: at once, then after 1.1 ms times 1.3 up to the interval, within
-- 20 %.
local function most_polls(seconds, interval)
  local polls, at, delay = 1, 0, 0.0011
  while at <= seconds do
    at = at + 0.8 * math.min(delay, interval)
    delay = math.min(1.3 * delay, interval)
    polls = polls + 1
  end
  return polls
end

describe("client:wait_for_job", function()
  after_each(close)

  it("finds a short job soon after it has ended: at the polls of the schedule", function()
    open { job_latency = 0.005 }
    assert(client:list_backends())
    local late = {}
    for i = 1, 21 do
      local job_id = submit()
      local submitted_at = monotime()
      assert.is_truthy(client:wait_for_job(job_id))
      late[i] = monotime() - submitted_at - 0.005
    end
    local calls = server:stats().calls
    -- at once, and 1.1, 2.8 and 5.2 ms after that: the fifth always finds it, unless this process was not run meanwhile
    assert.is_true(calls.GetJobStatus >= 21)
    assert.is_true(calls.GetJobStatus <= 21 * 5, calls.GetJobStatus .. " polls")
    assert.equal(21, calls.GetJobResult)
    table.sort(late)
    assert.is_true(late[11] < TEST_TIMEOUT)
  end)

  it("polls less and less often, up to poll_interval", function()
    open { job_latency = 60 }
    local job_id = submit()
    local value, err = client:wait_for_job(job_id, { max_wait = 0.3, poll_interval = 0.05 })
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    local polls = server:stats().calls.GetJobStatus
    assert.is_true(polls >= 3 and polls <= most_polls(0.3, 0.05) + 1, polls .. " polls")
    assert(client:cancel_job(job_id))
  end)

  it("polls again and again at poll_interval when that is below the schedule's first delay", function()
    open { job_latency = 60 }
    local job_id = submit()
    client:wait_for_job(job_id, { max_wait = 0.05, poll_interval = 0.0005 })
    local polls = server:stats().calls.GetJobStatus
    assert.is_true(polls <= most_polls(0.05, 0.0005) + 1, polls .. " polls")
    assert(client:cancel_job(job_id))
  end)

  it("ends with a timeout at max_wait, neither before nor one interval later, and the job goes on", function()
    open { job_latency = 60 }
    local job_id = submit()
    local started_at = monotime()
    local value, err = client:wait_for_job(job_id, { max_wait = 0.05, poll_interval = TEST_TIMEOUT * 10 })
    local elapsed = monotime() - started_at
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
    assert.equal(job_id, err.job_id)
    assert.is_false(err.maybe_executed)
    assert.is_true(elapsed >= 0.05 and elapsed < TEST_TIMEOUT)
    assert.is_true(err.elapsed >= 0.05)
    assert.matches("RUNNING", err.message)
    assert.equal("RUNNING", client:get_job_status(job_id).state)
    assert(client:cancel_job(job_id))
  end)

  it("ends at max_wait when the server hangs too", function()
    open()
    local job_id = submit()
    server:fault { rpc = "GetJobStatus", hang = true }
    local value, err = client:wait_for_job(job_id, { max_wait = 0.05 })
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
  end)

  it("ends at max_wait when only the result hangs", function()
    open()
    local job_id = submit()
    server:fault { rpc = "GetJobResult", hang = true }
    local value, err = client:wait_for_job(job_id, { max_wait = 0.1 })
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
  end)

  for _, fault in ipairs {
    { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 3 },
    { rpc = "GetJobStatus", status = "INTERNAL", tag = "transient", count = 3 },
    { rpc = "GetJobStatus", status = "RESOURCE_EXHAUSTED", count = 3 },
    { rpc = "GetJobStatus", drop = true, count = 2 },
    { rpc = "GetJobResult", status = "UNAVAILABLE", count = 3 },
    { rpc = "GetJobResult", drop = "after", count = 1 },
  } do
    it(("tolerates %s at %s"):format(fault.status or "a cut connection", fault.rpc), function()
      open()
      local job_id = submit()
      server:fault(fault)
      local result, err = client:wait_for_job(job_id, { max_wait = TEST_TIMEOUT })
      assert.is_nil(err)
      assert.equal(10, result.shots)
      assert.equal(fault.count, server:stats().faults_fired)
    end)
  end

  it("tolerates a call that hangs, by asking again after timeout", function()
    open()
    local job_id = submit()
    server:fault { rpc = "GetJobStatus", hang = true, count = 2 }
    assert.equal(10, client:wait_for_job(job_id, { timeout = 0.3, max_wait = TEST_TIMEOUT }).shots)
  end)

  it("without max_wait gives up when the server has failed without a break for one timeout", function()
    open()
    local job_id = submit()
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", message = "gone" }
    local value, err = client:wait_for_job(job_id, { timeout = 0.5, poll_interval = 0.01 })
    assert.is_nil(value)
    assert.equal("unavailable", err.kind)
    assert.equal("the server has failed for 0.5 s without a break: gone", err.message)
    assert.is_true(server:stats().calls.GetJobStatus > 2)
  end)

  it("stops at once at an error that repeating cannot mend", function()
    open()
    for _, status in ipairs { "NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "INVALID_ARGUMENT" } do
      local job_id = submit()
      local before = server:stats().calls.GetJobStatus
      server:fault { rpc = "GetJobStatus", status = status }
      local value, err = client:wait_for_job(job_id)
      assert.is_nil(value)
      assert.equal(status, err.name)
      assert.equal(job_id, err.job_id)
      assert.equal(before + 1, server:stats().calls.GetJobStatus)
      server:clear_faults()
    end
  end)

  it("says job_not_found for a job that has vanished", function()
    open { job_latency = 60 }
    local job_id, err = submit(), nil
    arvak.run(function()
      local f = arvak.spawn(client.wait_for_job, client, job_id)
      arvak.sleep(0.01)
      assert.is_true(server:evict(job_id))
      err = select(2, f:result())
    end)
    assert.equal("job_not_found", err.kind)
  end)

  it("gives job_failed with the server's message", function()
    open()
    server:fault { job = "fail" }
    local job_id = submit()
    local value, err = client:wait_for_job(job_id)
    assert.is_nil(value)
    assert.equal("job_failed", err.kind)
    assert.equal(job_id, err.job_id)
    assert.equal(client:get_job_status(job_id).error_message, err.message)
    assert.equal(0, server:stats().calls.GetJobResult)
  end)

  it("gives job_canceled and result_expired for jobs that ended so, whoever did it", function()
    open { job_latency = 60 }
    for state, kind in pairs { CANCELED = "job_canceled", RESULT_EXPIRED = "result_expired" } do
      local job_id, err = submit(), nil
      arvak.run(function()
        local f = arvak.spawn(client.wait_for_job, client, job_id)
        arvak.sleep(0.005)
        assert.is_true(server:set_job_state(job_id, state))
        err = select(2, f:result())
      end)
      assert.equal(kind, err.kind)
      assert.equal(job_id, err.job_id)
    end
  end)

  it("takes the first terminal state it sees as final", function()
    open { job_latency = 60 }
    local job_id, err = submit(), nil
    arvak.run(function()
      local f = arvak.spawn(client.wait_for_job, client, job_id, {
        on_progress = function(job)
          if job.state == "CANCELED" then server:set_job_state(job_id, "RUNNING") end
        end,
      })
      arvak.sleep(0.005)
      server:set_job_state(job_id, "CANCELED")
      err = select(2, f:result())
    end)
    assert.equal("job_canceled", err.kind)
    server:set_job_state(job_id, "CANCELED")
  end)

  it("ends as closed when the client is closed meanwhile", function()
    open { job_latency = 60 }
    local job_id, is_between_polls, err = submit(), false, nil
    arvak.run(function()
      local function note() is_between_polls = true end
      local f = arvak.spawn(client.wait_for_job, client, job_id, { on_progress = note })
      while not is_between_polls do coroutine.yield() end
      client:close()
      err = f:exception()
    end)
    assert.is_true(arvak.is_error(err), tostring(err))
    assert.equal("closed", err.kind)
    assert.equal(job_id, err.job_id)
  end)

  it("waits for many jobs at once in tasks", function()
    open { job_latency = 0.02 }
    local shots = 0
    arvak.run(function()
      for _ = 1, 100 do
        arvak.spawn(function()
          local result = client:wait_for_job(submit())
          shots = shots + result.shots
        end)
      end
    end)
    assert.equal(1000, shots)
  end)
end)

describe("on_progress", function()
  after_each(close)

  it("is called with the job at every poll, last with the state it ended in", function()
    open { job_latency = 0.3 }
    local states = {}
    assert.is_truthy(client:wait_for_job(submit(), { on_progress = function(job)
      assert.equal("job", arvak.type(job))
      states[#states + 1] = job.state
    end }))
    assert.equal(server:stats().calls.GetJobStatus, #states)
    assert.equal("RUNNING", states[1])
    assert.equal("COMPLETED", states[#states])
  end)

  it("must not wait", function()
    open()
    local messages = {}
    assert.is_truthy(client:wait_for_job(submit(), { on_progress = function()
      messages[1] = select(2, pcall(function() local _ = client:list_backends() end))
      messages[2] = select(2, pcall(function() local _ = arvak.sleep(0) end))
    end }))
    assert.matches("^spec/jobs/wait_spec%.lua:%d+: list_backends: a hook must not wait", messages[1])
    assert.matches("^spec/jobs/wait_spec%.lua:%d+: sleep: a hook must not wait", messages[2])
  end)

  it("that raises does not end the wait; its error is raised by the next run or poll", function()
    open()
    local object = {}
    local function fail() error(object) end
    assert.equal(10, client:wait_for_job(submit(), { on_progress = fail }).shots)
    local ok, err = pcall(arvak.poll, 0)
    assert.is_false(ok)
    assert.equal(object, err)
    while not pcall(arvak.poll, 0) do assert.is_false(ok) end
  end)
end)

describe("the error of an on_progress", function()
  after_each(close)

  it("carries its traceback", function()
    open()
    local object = {}
    client:wait_for_job(submit(), { on_progress = function(job)
      if job.state == "COMPLETED" then error(object) end
    end })
    assert.is_false((pcall(arvak.poll, 0)))
    assert.matches("stack traceback", object.traceback)
  end)
end)

describe("client:execute", function()
  after_each(close)

  it("bounds the wait alone by max_wait, and tells the job's id", function()
    open { job_latency = 60 }
    local value, err = client:execute(bell, "simulator", { max_wait = 0.05 })
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    assert.equal("RUNNING", client:get_job_status(err.job_id).state)
    assert(client:cancel_job(err.job_id))
  end)

  it("returns the error of the submit as it is", function()
    open()
    local value, err = client:execute(bell, "nowhere")
    assert.is_nil(value)
    assert.equal("backend_not_found", err.kind)
    assert.equal("SubmitJob", err.rpc)
    assert.equal(0, server:stats().calls.GetJobStatus)
  end)
end)
