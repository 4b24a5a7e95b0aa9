-- What the reference Python client gets wrong about retries and breakers (docs/internals/reference-defects.md; the
-- numbers are its rows), done right.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell

describe("retry and breaker:", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  local fast = { initial_backoff = 0.001, max_backoff = 0.002 }
  local function submit(options) return client:submit_qasm(bell, "simulator", options) end
  local function unavailable(count) server:fault { status = "UNAVAILABLE", count = count } end

  it("a retry happens and the breaker records, since both are below the making of errors (25)", function()
    open()
    local resilient <close> = arvak.resilient(client, { retry = fast, breaker = { failure_threshold = 4 } })
    unavailable(2)
    assert.is_string((resilient:submit_qasm(bell, "simulator")))
    assert.equal(2, client:stats().retries.UNAVAILABLE) -- the same pool, the same figures
    unavailable()
    resilient:list_backends()
    resilient:list_backends()
    assert.equal("open", resilient:breaker():state())
    local fn = arvak.retry_policy(fast):wrap(function() return client:list_backends() end)
    local attempts = client:stats().attempts
    assert.equal("unavailable", select(2, fn()).kind)
    assert.equal(attempts + 3, client:stats().attempts)
  end)

  it("a submit whose outcome is unknown is not repeated (26)", function()
    open(nil, { retry = fast, attempt_timeout = 0.5 })
    local late = { status = "DEADLINE_EXCEEDED", when = "after" }
    for _, fault in ipairs { { drop = "after" }, { hang = "after" }, late } do
      fault.rpc, fault.count = "SubmitJob", 1
      local before = server:stats().accepted
      server:fault(fault)
      local job_id, err = submit()
      assert.is_nil(job_id)
      assert.is_true(err.maybe_executed)
      assert.equal(1, err.attempts)
      assert.equal(before + 1, server:stats().accepted)
    end
  end)

  it("a failed job and an answer over our own limit are not repeated (27)", function()
    open(nil, { retry = fast, channel_args = { ["grpc.max_receive_message_length"] = 10 } })
    server:fault { rpc = "GetJobResult", status = "ABORTED", tag = "permanent", message = "the job failed" }
    local _, failed = client:get_job_result("x")
    assert.equal("job_failed", failed.kind)
    assert.equal(1, failed.attempts)
    local _, large = client:list_backends()
    assert.equal("RESOURCE_EXHAUSTED", large.name)
    assert.equal(1, large.attempts)
  end)

  it("max_attempts counts the first one, and 0 is refused (28)", function()
    open()
    unavailable()
    for n = 1, 4 do
      local _, err = submit { retry = { max_attempts = n, initial_backoff = 0.001 } }
      assert.equal(n, err.attempts)
    end
    assert.error_matches(function() submit { retry = { max_attempts = 0 } } end,
      "retry.max_attempts: got 0, expected an integer from 1 to 1000")
    local policy = arvak.retry_policy { max_attempts = 3 }
    local _, err = submit()
    assert.same({ true, true, false }, { policy:should_retry(err, 1), policy:should_retry(err, 2),
      policy:should_retry(err, 3) })
  end)

  it("jitter never exceeds max_backoff, and there is a deadline over all (29)", function()
    local policy = arvak.retry_policy { initial_backoff = 1, max_backoff = 2 }
    for attempt = 1, 20 do
      for _ = 1, 200 do assert.is_true(policy:backoff(attempt) <= 2) end
    end
    open(nil, { timeout = 0.2, retry = { max_attempts = 1000, initial_backoff = 0.01, jitter = false } })
    unavailable()
    local _, err = submit()
    assert.equal("unavailable", err.kind)
    assert.is_true(err.elapsed < 2)
  end)

  it("streams, futures, tasks and iterators are retried as what they are (30)", function()
    open(nil, { retry = fast })
    local job_id = assert(submit())
    assert(client:wait_for_job(job_id))
    local function each(call)
      unavailable(2)
      call()
      server:clear_faults()
    end
    each(function() assert.is_table((client:stream_results(job_id):next())) end)
    each(function() assert.equal("COMPLETED", (client:watch_job(job_id):next())) end)
    each(function() assert.is_truthy(client:submit_qasm_future(bell, "simulator"):result()) end)
    each(function() assert.is_truthy(client.async:list_backends():result()) end)
    each(function() assert.is_truthy(arvak.run(client.execute, client, bell, "simulator")) end)
    local closed = arvak.resilient(client, {})
    closed:close()
    assert.is_table(client:list_backends())
  end)

  for _, success_threshold in ipairs { 1, 3 } do
    it(("half open admits one probe at a time, %d in all; each gives its place back (31)"):format(success_threshold),
      function()
        open(nil, { breaker = { failure_threshold = 1, timeout = 0.02, success_threshold = success_threshold } })
        unavailable(1)
        submit()
        arvak.sleep(0.03)
        server:fault { rpc = "SubmitJob", latency = 0.05 }
        local first, second = client.async:submit_qasm(bell, "simulator"), client.async:submit_qasm(bell, "simulator")
        assert.is_string(first:result())
        assert.equal("circuit_open", select(2, second:result()).kind)
        for _ = 2, success_threshold do assert.is_string(submit()) end
        assert.equal("closed", client:breaker():state())
      end)
  end

  it("a probe that ends without an outcome leaves nothing stuck (31)", function()
    open(nil, { breaker = { failure_threshold = 1, timeout = 0.02 } })
    unavailable(1)
    submit()
    arvak.sleep(0.03)
    local fn = client:breaker():wrap(function() coroutine.yield() end)
    local co = coroutine.create(fn)
    coroutine.resume(co)
    assert.equal("circuit_open", select(2, submit()).kind)
    coroutine.close(co)
    assert.is_string(submit())
  end)

  it("asking changes nothing, and the state is the true one (32)", function()
    local told = 0
    local breaker = arvak.circuit_breaker { failure_threshold = 1, timeout = 0.02,
      on_state_change = function() told = told + 1 end }
    breaker:record_failure()
    arvak.sleep(0.03)
    for _ = 1, 10 do
      assert.equal("half_open", breaker:state())
      assert.is_true(breaker:can_proceed())
    end
    assert.equal(1, told)
  end)

  it("half of all calls failing opens it by rate, and a success starts a row anew (33)", function()
    local by_rate = arvak.circuit_breaker { failure_rate = 0.5, minimum_calls = 10 }
    local by_row = arvak.circuit_breaker { failure_threshold = 3 }
    for _ = 1, 20 do
      for _, breaker in ipairs { by_rate, by_row } do
        breaker:record_success()
        breaker:record_failure()
      end
    end
    assert.equal("open", by_rate:state())
    assert.equal("closed", by_row:state())
    for _ = 1, 2 do by_row:record_failure() end
    assert.equal("open", by_row:state())
  end)

  it("late failures neither prolong the open time nor pass for probes (34)", function()
    open(nil, { breaker = { failure_threshold = 2, timeout = 1, success_threshold = 1 } })
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", latency = 0.1 }
    local late = {}
    for i = 1, 5 do late[i] = client.async:get_job_status("x") end
    arvak.poll(0.01)
    server:fault { rpc = "ListBackends", status = "UNAVAILABLE", count = 2 }
    client:list_backends()
    client:list_backends()
    assert.equal("open", client:breaker():state())
    local _, before = client:breaker():can_proceed()
    for _, f in ipairs(late) do f:wait() end
    local _, after = client:breaker():can_proceed()
    assert.is_true(after < before)
    arvak.sleep(after + 0.01)
    assert.is_table(client:list_backends())
    assert.equal("closed", client:breaker():state())
  end)

  it("the mistakes of a caller are not outages (35)", function()
    open(nil, { breaker = { failure_threshold = 1 } })
    for _, call in ipairs {
      function() return client:submit_qasm("OPENQASM 3.0; qubit q; hh q;", "simulator") end,
      function() return client:submit_qasm(bell, "toaster") end, function() return client:get_job_status("x") end,
      function() return client:get_job_result("x") end,
    } do
      assert.is_nil((call()))
      assert.equal("closed", client:breaker():state())
      local breaker = arvak.circuit_breaker { failure_threshold = 1 }
      breaker:wrap(call)()
      assert.equal("closed", breaker:state())
    end
  end)
end)
