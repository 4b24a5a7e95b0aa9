-- Retries: what is repeated, when, how often, and what the error of the last attempt says.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell

describe("retry", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  local function submit(options) return client:submit_qasm(bell, "simulator", options) end

  local fast = { initial_backoff = 0.002, max_backoff = 0.01 }

  local function with(options)
    local all = {}
    for name, value in pairs(fast) do all[name] = value end
    for name, value in pairs(options or {}) do all[name] = value end
    return all
  end

  it("repeats what may be repeated until it succeeds, and counts", function()
    open(nil, { retry = with { max_attempts = 4 } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 3 }
    assert.is_string(submit())
    local stats = client:stats()
    assert.equal(1, stats.calls)
    assert.equal(0, stats.failures)
    assert.equal(4, stats.attempts)
    assert.same({ UNAVAILABLE = 3 }, stats.retries)
    assert.equal(1, server:stats().accepted)
  end)

  it("gives the last real error, with its attempts and the time of them all", function()
    open(nil, { retry = { max_attempts = 3, initial_backoff = 0.05, strategy = "constant", jitter = false } })
    server:fault { rpc = "GetJobStatus", status = "RESOURCE_EXHAUSTED", message = "first", count = 2 }
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", message = "last" }
    local job, err = client:get_job_status("x")
    assert.is_nil(job)
    assert.equal("unavailable", err.kind)
    assert.equal("last", err.message)
    assert.equal(3, err.attempts)
    assert.is_true(err.elapsed >= 0.1)
    assert.matches("3 attempts", tostring(err))
  end)

  it("is off unless asked for, and may be switched off for one call", function()
    open()
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 2 }
    assert.equal(1, select(2, submit()).attempts)
    client:configure { retry = fast }
    assert.equal(1, select(2, submit { retry = false }).attempts)
    assert.is_string(submit())
  end)

  it("may be asked for by one call", function()
    open()
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    assert.is_string(submit { retry = with { max_attempts = 2 } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    assert.is_string(submit { retry = arvak.retry_policy(fast) })
  end)

  -- contract 2.10: status, tag, and whether reads, SubmitJob and SubmitBatch are repeated
  local rows = {
    { "UNAVAILABLE", nil, true, true, false }, { "RESOURCE_EXHAUSTED", nil, true, true, false },
    { "DEADLINE_EXCEEDED", nil, true, false, false }, { "INTERNAL", "transient", true, false, false },
    { "INTERNAL", "permanent", false, false, false }, { "INTERNAL", nil, false, false, false },
    { "ABORTED", nil, false, false, false }, { "FAILED_PRECONDITION", "transient", false, false, false },
    { "INVALID_ARGUMENT", nil, false, false, false }, { "NOT_FOUND", nil, false, false, false },
    { "UNKNOWN", nil, false, false, false }, { "DATA_LOSS", nil, false, false, false },
    { "UNIMPLEMENTED", nil, false, false, false }, { "UNAUTHENTICATED", nil, false, false, false },
  }

  for _, row in ipairs(rows) do
    local status, tag, read, single, batch = table.unpack(row, 1, 5)
    it(("follows the table for %s %s"):format(status, tag or ""), function()
      open(nil, { retry = with { max_attempts = 2 }, limiter = false })
      server:fault { status = status, tag = tag, message = "as told" }
      local function attempts(_, err) return err.attempts end
      assert.equal(read and 2 or 1, attempts(client:get_job_status("x")))
      assert.equal(read and 2 or 1, attempts(client:get_job_result("x")))
      assert.equal(read and 2 or 1, attempts(client:cancel_job("x")))
      assert.equal(read and 2 or 1, attempts(client:list_backends()))
      assert.equal(single and 2 or 1, attempts(submit()))
      assert.equal(batch and 2 or 1, attempts(client:submit_batch({ { bell, 1 }, { bell, 1 } }, "simulator")))
    end)
  end

  it("takes codes in the place of the table, which do not make a submit idempotent", function()
    open(nil, { retry = with { max_attempts = 2, codes = { "INTERNAL", "DEADLINE_EXCEEDED" } } })
    server:fault { rpc = "SubmitJob", status = "INTERNAL", count = 2 }
    assert.equal(2, select(2, submit()).attempts)
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    assert.equal(1, select(2, submit()).attempts)
    server:fault { rpc = "SubmitJob", status = "DEADLINE_EXCEEDED", count = 1 }
    local _, err = submit()
    assert.equal(1, err.attempts)
    assert.is_true(err.maybe_executed)
  end)

  it("repeats a submit of unknown outcome only when told that jobs may be done twice", function()
    open(nil, { retry = fast })
    server:fault { rpc = "SubmitJob", drop = "after", count = 1 }
    local job_id, err = submit()
    assert.is_nil(job_id)
    assert.equal(1, err.attempts)
    assert.is_true(err.maybe_executed)
    assert.equal(1, server:stats().accepted)
    client:configure { retry = with { assume_idempotent = true } }
    server:fault { rpc = "SubmitJob", drop = "after", count = 1 }
    assert.is_string(submit())
    assert.equal(3, server:stats().accepted)
  end)

  it("says that any attempt may have been executed, not only the last", function()
    open(nil, { retry = with { assume_idempotent = true, max_attempts = 2 } })
    server:fault { rpc = "SubmitJob", drop = "after", count = 1 }
    server:fault { rpc = "SubmitJob", status = "NOT_FOUND" }
    local _, err = submit()
    assert.equal("backend_not_found", err.kind)
    assert.equal(2, err.attempts)
    assert.is_true(err.maybe_executed)
  end)

  it("can be told to distrust an UNAVAILABLE that was answered", function()
    open(nil, { retry = with { answered_unavailable = false } })
    server:fault { status = "UNAVAILABLE" }
    assert.equal(1, select(2, submit()).attempts)
    assert.equal(3, select(2, client:get_job_status("x")).attempts)
  end)

  it("waits as long as the server asks for, and gives up when it says so", function()
    open(nil, { retry = { max_attempts = 3, initial_backoff = 30, jitter = false } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", pushback_ms = 60, count = 1 }
    assert.is_string(submit())
    local p50 = client:stats().latency.SubmitJob.p50
    assert.is_true(p50 >= 0.06 and p50 < 5)
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", pushback_ms = -1, count = 1 }
    local _, err = submit()
    assert.equal(1, err.attempts)
    assert.is_false(err.retryable)
    assert.is_nil(err.retry_after)
  end)

  it("does not wait for an hour because the server asks for it", function()
    open(nil, { timeout = 1e9, retry = { max_attempts = 3, initial_backoff = 0.001 } })
    server:fault { status = "UNAVAILABLE", pushback_ms = 3600000 }
    for _, call in ipairs { submit, function() return client:get_job_status("x") end } do
      local _, err = call()
      assert.equal("unavailable", err.kind)
      assert.equal(1, err.attempts)
      assert.equal(3600, err.retry_after)
    end
    local _, err = client:stream_results("x"):next()
    assert.equal("unavailable", err.kind)
    assert.equal(3600, err.retry_after)
  end)

  it("tells what the server asked for in the error", function()
    open()
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", pushback_ms = 250, count = 1 }
    assert.equal(0.25, select(2, submit()).retry_after)
  end)

  it("returns the error now when the next pause does not fit in the timeout", function()
    open(nil, { timeout = 5, retry = { max_attempts = 3, initial_backoff = 20, jitter = "equal" } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE" }
    local _, err = submit()
    assert.equal("unavailable", err.kind)
    assert.equal(1, err.attempts)
    assert.is_true(err.elapsed < 4)
  end)

  it("gives all attempts together the timeout, and each attempt its own", function()
    open(nil, { timeout = 0.5, attempt_timeout = 0.1, retry = with { max_attempts = 100 } })
    server:fault { rpc = "GetJobStatus", hang = "before" }
    local _, err = client:get_job_status("x")
    assert.equal("timeout", err.kind)
    assert.equal("call", err.scope)
    assert.is_true(err.attempts >= 3 and err.attempts <= 5, err.attempts)
    assert.is_true(err.elapsed < 2)
    server:clear_faults()
    server:fault { rpc = "GetJobStatus", hang = "before", count = 2 }
    local _, missing = client:get_job_status("x")
    assert.equal("job_not_found", missing.kind)
    assert.equal(3, missing.attempts)
  end)

  it("does not repeat a submit whose attempt ran out of time", function()
    open(nil, { attempt_timeout = 0.05, retry = fast })
    server:fault { rpc = "SubmitJob", hang = "after" }
    local _, err = submit()
    assert.equal("timeout", err.kind)
    assert.equal(1, err.attempts)
    assert.is_true(err.maybe_executed)
    assert.equal("no answer within attempt_timeout", err.message)
  end)

  it("tells on_retry before each pause, with the error so far", function()
    local told = {}
    open(nil, { retry = { initial_backoff = 0.01, jitter = "equal", on_retry = function(e) told[#told + 1] = e end } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 2, message = "busy" }
    assert.is_string(submit())
    assert.equal(2, #told)
    for i, e in ipairs(told) do
      assert.equal("SubmitJob", e.rpc)
      assert.equal(i, e.attempt)
      assert.is_true(e.delay >= 0.005 * i and e.delay <= 0.01 * i)
      assert.is_true(arvak.is_error(e.err))
      assert.equal("busy", e.err.message)
      assert.equal(i, e.err.attempts)
    end
  end)

  it("keeps an error of on_retry for whoever drives the loop, and goes on", function()
    open(nil, { retry = with { on_retry = function() error("my hook", 0) end } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    assert.is_string(submit())
    local ok, err = pcall(arvak.poll)
    assert.is_false(ok)
    assert.matches("^my hook\nstack traceback", err)
  end)

  it("forbids on_retry to wait", function()
    open(nil, { retry = with { on_retry = function() client:list_backends() end } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    assert.is_string(submit())
    assert.error_matches(function() arvak.poll() end, "a hook must not wait")
  end)

  it("asks functions for api_key and metadata before each attempt", function()
    local keys, tags = 0, 0
    open({ api_key = "key 3" }, {
      retry = fast,
      api_key = function()
        keys = keys + 1
        return "key " .. keys
      end,
      metadata = function()
        tags = tags + 1
        return { ["x-tag"] = tostring(tags) }
      end,
    })
    client:configure { retry = with { codes = { "UNAUTHENTICATED" } } }
    assert.is_string(submit())
    assert.equal(3, keys)
    assert.equal(3, tags)
    assert.equal(3, client:stats().attempts)
  end)

  it("ends a call whose api_key function raises before a later attempt", function()
    local asked = 0
    open(nil, {
      retry = fast,
      api_key = function()
        asked = asked + 1
        if asked == 2 then error({ reason = "expired" }) end
        return "k"
      end,
    })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    local _, err = submit()
    assert.equal("unauthenticated", err.kind)
    assert.equal("expired", err.cause.reason)
    assert.equal(1, err.attempts)
    assert.is_string(submit())
  end)

  it("goes on with its own metadata in every attempt", function()
    local codes = { "UNAUTHENTICATED" }
    open({ api_key = "right" }, { retry = with { codes = codes }, api_key = function() return "no" end })
    assert.equal(3, select(2, submit()).attempts)
    local seen = 0
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 2 }
    client:configure { retry = with { max_attempts = 3, on_retry = function() seen = seen + 1 end } }
    assert.is_string(submit { metadata = { ["x-api-key"] = "right" } })
    assert.equal(2, seen)
  end)

  it("can be canceled between two attempts", function()
    open(nil, { retry = { initial_backoff = 30, jitter = false } , timeout = 100 })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE" }
    local f = client.async:submit_qasm(bell, "simulator")
    helper.eventually(function() return client:stats().retries.UNAVAILABLE end)
    assert.is_true(f:cancel())
    local _, err = f:result()
    assert.equal("canceled", err.kind)
    assert.is_false(err.maybe_executed)
    assert.equal(1, err.attempts)
  end)

  it("ends with its client while it sleeps", function()
    open(nil, { retry = { initial_backoff = 30, jitter = false }, timeout = 100 })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE" }
    local f = client:submit_qasm_future(bell, "simulator")
    helper.eventually(function() return client:stats().retries.UNAVAILABLE end)
    client:close()
    assert.equal("closed", select(2, f:result()).kind)
  end)

  it("holds no slot while it sleeps", function()
    open(nil, { max_concurrent_rpcs = 1, timeout = 100, retry = { initial_backoff = 30, jitter = false } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE" }
    local f = client.async:submit_qasm(bell, "simulator")
    helper.eventually(function() return client:stats().retries.UNAVAILABLE end)
    assert.is_table(client:list_backends())
    assert.is_true(f:cancel())
  end)

  it("reaches every way to submit and to wait", function()
    open(nil, { retry = with { max_attempts = 50, max_backoff = 0.002 } })
    server:fault { status = "UNAVAILABLE", rate = 0.5 }
    assert.is_truthy(client:execute(bell, "simulator", 10))
    assert.is_truthy(client:submit_qasm_future(bell, "simulator", 10):result())
    for _, f in ipairs(client:submit_batch_future({ { bell, 1 }, { bell, 1 } }, "simulator")) do
      assert.is_truthy(f:result())
    end
    arvak.run(function()
      local outcomes = arvak.map({ 1, 2, 3, 4, 5 }, function() return client:execute(bell, "simulator", 10) end)
      for _, outcome in ipairs(outcomes) do assert.is_true(outcome.ok) end
    end)
    assert.is_truthy(client:wait_for_job(submit()))
  end)

  it("hands a per-call policy to all calls of execute and wait_for_job", function()
    open()
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    server:fault { rpc = "GetJobResult", status = "UNAVAILABLE", count = 1 }
    assert.is_truthy(client:execute(bell, "simulator", { retry = fast }))
    assert.same({ UNAVAILABLE = 2 }, client:stats().retries)
  end)

  it("keeps the amplification under the bound of its budget", function()
    open(nil, { retry = with { max_attempts = 5, budget = true } })
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", rate = 0.3 }
    local calls, successes = 3000, 0
    for _ = 1, calls do
      local _, err = client:get_job_status("x")
      if err.kind == "job_not_found" then successes = successes + 1 end
    end
    local stats = client:stats()
    local retries = stats.attempts - calls
    -- an answer NOT_FOUND is no success of an RPC and earns nothing, so half of the tokens are all there is
    assert.equal(4, retries)
    assert.is_true(successes > 0)
    assert.is_true(stats.tokens <= 5)
  end)

  it("earns retries by successes", function()
    open(nil, { retry = with { max_attempts = 5, budget = { max_tokens = 10, token_ratio = 0.1 } } })
    for _, rate in ipairs { 0.05, 0.3 } do
      server:clear_faults()
      server:fault { rpc = "ListBackends", status = "UNAVAILABLE", rate = rate }
      local calls, successes, before = 3000, 0, client:stats().attempts
      for _ = 1, calls do
        if client:list_backends() then successes = successes + 1 end
      end
      local retries = client:stats().attempts - before - calls
      assert.is_true(retries <= 5 + 0.1 * successes, retries)
      -- what fails seldom is nearly always retried, since successes earn more than it costs
      if rate == 0.05 then assert.is_true(successes > 0.98 * calls) else assert.is_true(successes < 0.8 * calls) end
    end
  end)

  it("shares the budget of a target among clients", function()
    open(nil, { retry = with { budget = true } })
    local other <close> = arvak.connect(server.address, { retry = with { budget = { max_tokens = 100 } } })
    server:fault { rpc = "ListBackends", status = "UNAVAILABLE" }
    client:list_backends()
    assert.equal(7, client:stats().tokens)
    assert.equal(70, other:stats().tokens)
    assert.is_nil(arvak.resilient(other, { retry = fast }):stats().tokens)
  end)

  it("is checked, key by key", function()
    open()
    local function refuses(pattern, retry)
      assert.error_matches(function() client:configure { retry = retry } end, pattern)
    end
    refuses("retry: got 5, expected a table of options, true or false", 5)
    refuses('retry: unknown option "max_retries", expected one of max_attempts', { max_retries = 1 })
    refuses("retry.max_attempts: got 0, expected an integer from 1 to 1000", { max_attempts = 0 })
    refuses("retry.max_attempts: got 1.5, expected an integer", { max_attempts = 1.5 })
    refuses("retry.initial_backoff: got %-1, expected a number of seconds above 0", { initial_backoff = -1 })
    refuses("retry.max_backoff: got \"1\", expected a number of seconds", { max_backoff = "1" })
    refuses("retry.backoff_multiplier: got 0.5, expected a number from 1 to 1000", { backoff_multiplier = 0.5 })
    refuses("retry.backoff_multiplier: got %-?nan, expected a number from 1 to 1000", { backoff_multiplier = 0 / 0 })
    refuses('retry.strategy: got "fast", expected "exponential", "linear" or "constant"', { strategy = "fast" })
    refuses('retry.jitter: got "half", expected true, "full", "equal" or false', { jitter = "half" })
    refuses("retry.codes: got a table, expected a list of at least one status", { codes = {} })
    refuses('retry.codes: got "BUSY", expected a status of gRPC such as "UNAVAILABLE"', { codes = { "BUSY" } })
    refuses('retry.codes: got "OK", expected', { codes = { "OK" } })
    refuses("retry.codes: got 14, expected", { codes = { 14 } })
    refuses("retry.assume_idempotent: got 1, expected true or false", { assume_idempotent = 1 })
    refuses("retry.answered_unavailable: got 0, expected true or false", { answered_unavailable = 0 })
    refuses("retry.budget: got 10, expected true, false or a table", { budget = 10 })
    refuses('retry.budget: unknown option "tokens"', { budget = { tokens = 1 } })
    refuses("retry.budget.max_tokens: got 0, expected a number from 1 to 1000", { budget = { max_tokens = 0 } })
    refuses("retry.budget.token_ratio: got 0, expected a number from 0.001 to 1000", { budget = { token_ratio = 0 } })
    refuses("retry.on_retry: got 3, expected a function", { on_retry = 3 })
    assert.error_matches(function() submit { retry = { max_attempts = 0 } } end, "retry.max_attempts: got 0")
    assert.error_matches(function() submit { attempt_timeout = 0 } end, "attempt_timeout: got 0, expected")
    local function connect(options)
      return function() arvak.connect(server.address, options) end
    end
    assert.error_matches(connect { retry = { jitter = 3 } }, "retry.jitter: got 3")
    assert.error_matches(connect { attempt_timeout = -1 }, "attempt_timeout: got")
    assert.is_string(submit()) -- and nothing has changed
  end)
end)
