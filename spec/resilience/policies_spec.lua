-- Retry policies and circuit breakers by themselves, around any function, in tasks and outside.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local fast = { initial_backoff = 0.001, max_backoff = 0.002 }

-- Real errors of a real client.
local function errors_of_a_client()
  local server <close> = helper.start()
  local client <close> = arvak.connect(server.address)
  local errors = {}
  local function ask(name, status, call)
    server:fault { status = status, count = 1 }
    errors[name] = select(2, call())
  end
  local function look() return client:get_job_status("x") end
  local function submit() return client:submit_qasm(helper.bell, "simulator") end
  ask("unavailable", "UNAVAILABLE", look)
  ask("aborted", "ABORTED", look)
  ask("not_found", "NOT_FOUND", look)
  ask("invalid", "INVALID_ARGUMENT", submit)
  ask("exhausted", "RESOURCE_EXHAUSTED", look)
  server:fault { drop = "after", count = 1 }
  errors.broken_submit = select(2, submit())
  return errors
end

describe("a retry policy", function()
  after_each(helper.assert_clean)

  local errors = errors_of_a_client()

  it("waits as long as a server requests, up to a minute, and gives the error back at once beyond", function()
    local server <close> = helper.start()
    local client <close> = arvak.connect(server.address)
    local policy = arvak.retry_policy { max_attempts = 3, initial_backoff = 30, max_backoff = 40 }
    local calls = 0
    local look = policy:wrap(function()
      calls = calls + 1
      return client:list_backends()
    end)
    server:fault { rpc = "ListBackends", status = "UNAVAILABLE", count = 1, pushback_ms = 3600000 }
    local _, err = look()
    assert.equal(3600, err.retry_after)
    assert.equal(1, calls)
    server:fault { rpc = "ListBackends", status = "UNAVAILABLE", count = 1, pushback_ms = 20 }
    assert.is_table(look())
    assert.equal(3, calls)
  end)

  it("says what is worth another attempt", function()
    local policy = arvak.retry_policy { max_attempts = 3 }
    assert.is_true(policy:should_retry(errors.unavailable, 1))
    assert.is_true(policy:should_retry(errors.unavailable, 2))
    assert.is_false(policy:should_retry(errors.unavailable, 3))
    assert.is_true(policy:should_retry(errors.exhausted, 1))
    for _, name in ipairs { "aborted", "not_found", "invalid", "broken_submit" } do
      assert.is_false(policy:should_retry(errors[name], 1), name)
    end
    assert.is_true(arvak.retry_policy { assume_idempotent = true }:should_retry(errors.broken_submit, 1))
    assert.is_true(arvak.retry_policy { codes = { "ABORTED" } }:should_retry(errors.aborted, 1))
    assert.is_false(arvak.retry_policy { codes = { "ABORTED" } }:should_retry(errors.unavailable, 1))
    assert.is_false(policy:should_retry("boom", 1))
    assert.is_false(policy:should_retry(nil, 1))
    assert.is_true(policy:should_retry({ retryable = true }, 1))
    assert.is_false(policy:should_retry({}, 1))
  end)

  it("says how long to pause", function()
    local exact = arvak.retry_policy { jitter = false, initial_backoff = 0.1, max_backoff = 0.5 }
    assert.same({ 0.1, 0.2, 0.4, 0.5, 0.5 },
      { exact:backoff(1), exact:backoff(2), exact:backoff(3), exact:backoff(4), exact:backoff(1000) })
    local jittered = arvak.retry_policy { initial_backoff = 1, max_backoff = 1 }
    local low, high = 1, 0
    for _ = 1, 1000 do
      local delay = jittered:backoff(5)
      low, high = math.min(low, delay), math.max(high, delay)
    end
    assert.is_true(low >= 0 and low < 0.1)
    assert.is_true(high > 0.9 and high <= 1)
  end)

  it("wraps a function that returns nil and an error, or raises one", function()
    for _, fails in ipairs {
      function() return nil, errors.unavailable end, function() error(errors.unavailable) end,
      function() error({ retryable = true }) end,
    } do
      local calls, told = 0, {}
      local function tell(e) told[#told + 1] = e.attempt end
      local policy = arvak.retry_policy { initial_backoff = 0.001, on_retry = tell }
      local fn = policy:wrap(function(a, b, c)
        calls = calls + 1
        if calls < 3 then return fails() end
        return a, b, c
      end)
      assert.same({ 1, nil, 3 }, { fn(1, nil, 3) })
      assert.equal(3, calls)
      assert.same({ 1, 2 }, told)
    end
  end)

  it("gives the last outcome when attempts are used up, as it was", function()
    local policy = arvak.retry_policy(fast)
    local calls = 0
    local value, err = policy:wrap(function()
      calls = calls + 1
      return nil, errors.unavailable
    end)()
    assert.is_nil(value)
    assert.equal(errors.unavailable, err)
    assert.equal(3, calls)
    local ok, raised = pcall(policy:wrap(function() error(errors.unavailable) end))
    assert.is_false(ok)
    assert.equal(errors.unavailable, raised)
  end)

  it("repeats no bugs, and no values that only look like failures", function()
    local calls = 0
    local function count(...)
      calls = calls + 1
      return ...
    end
    local policy = arvak.retry_policy(fast)
    assert.error_matches(policy:wrap(function() error("bug" .. count("")) end), "bug")
    assert.same({ nil, "closed" }, { policy:wrap(function() return count(nil, "closed") end)() })
    assert.is_false((policy:wrap(function() return count(false) end)()))
    assert.equal(0, select("#", policy:wrap(function() count() end)()))
    assert.equal(4, calls)
  end)

  it("suspends a task for its pauses, and ends with it", function()
    local order = {}
    arvak.run(function()
      local policy = arvak.retry_policy { initial_backoff = 0.02, jitter = false }
      local f = arvak.spawn(policy:wrap(function()
        order[#order + 1] = "try"
        arvak.sleep(0)
        return nil, errors.unavailable
      end))
      arvak.sleep(0.01)
      order[#order + 1] = "other"
      f:wait()
      assert.equal(errors.unavailable, f:exception())
      local long = arvak.spawn(arvak.retry_policy { initial_backoff = 50, jitter = false }:wrap(function()
        return nil, errors.unavailable
      end))
      arvak.sleep(0.005)
      long:cancel()
      assert.equal("canceled", select(2, long:result()).kind)
    end)
    assert.equal("other", order[2])
    assert.equal(4, #order)
  end)

  it("waits as long as an error asks for", function()
    local e = setmetatable({}, debug.getmetatable(errors.unavailable))
    for k, v in pairs(errors.unavailable) do e[k] = v end
    e.retry_after = 0.001
    local policy = arvak.retry_policy { initial_backoff = 50, jitter = false }
    assert.equal(e, select(2, policy:wrap(function() return nil, e end)()))
  end)

  it("has a budget of its own", function()
    local calls = 0
    local policy = arvak.retry_policy { max_attempts = 99, initial_backoff = 0.001, max_backoff = 0.001, budget = true }
    local fn = policy:wrap(function()
      calls = calls + 1
      return nil, errors.unavailable
    end)
    fn()
    assert.equal(5, calls)
    fn()
    assert.equal(6, calls)
  end)

  it("is checked", function()
    local policy = arvak.retry_policy()
    assert.equal("retry_policy", arvak.type(policy))
    assert.error_matches(function() arvak.retry_policy(5) end, "retry_policy: got 5, expected a table of options")
    assert.error_matches(function() arvak.retry_policy { max_attempts = 0 } end, "retry_policy.max_attempts: got 0")
    assert.error_matches(function() policy:backoff(0) end, "attempt: got 0, expected an integer from 1 on")
    assert.error_matches(function() policy:should_retry({}, "1") end, 'attempt: got "1", expected')
    assert.error_matches(function() policy:wrap(5) end, "wrap: got 5, expected a function")
    assert.error_matches(function() policy.wrap(5, print) end, "wrap: got 5 as the policy, expected policy:wrap")
    assert.error_matches(function() policy.should_retry(nil, {}, 1) end, "got nil as the policy")
    assert.error_matches(function() policy.backoff({}, 1) end, "got a table as the policy")
  end)
end)

describe("a circuit breaker", function()
  after_each(helper.assert_clean)

  local errors = errors_of_a_client()

  it("by hand: counts results, tells changes, refuses", function()
    local told = {}
    local breaker = arvak.circuit_breaker {
      failure_threshold = 2, success_threshold = 2, timeout = 0.3,
      on_state_change = function(old, new) told[#told + 1] = old .. " " .. new end,
    }
    breaker:record_failure()
    breaker:record_success()
    breaker:record_failure()
    assert.is_true(breaker:can_proceed())
    breaker:record_failure()
    local ok, retry_after = breaker:can_proceed()
    assert.is_false(ok)
    assert.is_true(retry_after > 0 and retry_after <= 0.3)
    breaker:record_failure() -- late: does not prolong the time
    breaker:record_success()
    assert.equal("open", breaker:state())
    arvak.sleep(0.31)
    assert.equal("half_open", breaker:state())
    assert.same({ "closed open" }, told)
    breaker:record_success()
    breaker:record_success()
    assert.equal("closed", breaker:state())
    assert.same({ "closed open", "open half_open", "half_open closed" }, told)
  end)

  it("around a function: opens on what speaks of the service's health", function()
    local rows = {
      { function() return nil, errors.unavailable end, "open" }, { function() error("connection refused") end, "open" },
      { function() error(errors.unavailable) end, "open" }, { function() return nil, errors.invalid end, "closed" },
      { function() return nil, errors.not_found end, "closed" },
      { function() return nil, errors.aborted end, "closed" },
      { function() return nil, errors.exhausted end, "closed" }, { function() return nil, "text" end, "closed" },
      { function() return false end, "closed" },
    }
    for i, row in ipairs(rows) do
      local breaker = arvak.circuit_breaker { failure_threshold = 2 }
      local fn = breaker:wrap(row[1])
      for _ = 1, 3 do pcall(fn) end
      assert.equal(row[2], breaker:state(), i)
    end
  end)

  it("around a function: refuses as circuit_open without calling it, and passes values on", function()
    local breaker = arvak.circuit_breaker { failure_threshold = 1, timeout = 30 }
    local calls, result = 0, { nil, errors.unavailable }
    local fn = breaker:wrap(function(...)
      calls = calls + 1
      if result then return table.unpack(result, 1, 2) end
      return ...
    end)
    fn()
    local value, err = fn()
    assert.is_nil(value)
    assert.equal("circuit_open", err.kind)
    assert.is_true(err.retry_after > 29)
    assert.equal(1, calls)
    breaker:reset()
    result = nil
    assert.same({ 1, nil, 3 }, { fn(1, nil, 3) })
  end)

  it("around a function: counts probes in tasks, and gives their places back in every case", function()
    local breaker = arvak.circuit_breaker { failure_threshold = 1, timeout = 0.01, success_threshold = 3 }
    arvak.run(function()
      local slow = breaker:wrap(function() return arvak.sleep(0.02) end)
      breaker:record_failure()
      arvak.sleep(0.02)
      local first, second = arvak.spawn(slow), arvak.spawn(slow)
      assert.is_true(first:result())
      assert.equal("circuit_open", select(2, second:result()).kind)
      local canceled = arvak.spawn(slow)
      arvak.sleep(0.001)
      assert.is_false((breaker:can_proceed()))
      canceled:cancel()
      canceled:wait()
      assert.is_true(breaker:can_proceed())
    end)
    assert.equal("half_open", breaker:state())
    -- a coroutine that is closed, or forgotten, in the middle of a probe
    local held = breaker:wrap(function() coroutine.yield() end)
    local co = coroutine.create(held)
    coroutine.resume(co)
    assert.is_false((breaker:can_proceed()))
    coroutine.close(co)
    assert.is_true(breaker:can_proceed())
    coroutine.wrap(held)()
    collectgarbage()
    collectgarbage()
    assert.is_true(breaker:can_proceed())
  end)

  it("lets others in when nobody resumes a probe", function()
    local breaker = arvak.circuit_breaker { failure_threshold = 1, timeout = 0.01, success_threshold = 2 }
    breaker:record_failure()
    helper.eventually(function() return breaker:state() == "half_open" end)
    local held = coroutine.create(breaker:wrap(function() return coroutine.yield() end))
    coroutine.resume(held)
    local fn = breaker:wrap(function() return true end)
    assert.equal("circuit_open", select(2, fn()).kind)
    assert.is_true(helper.eventually(fn))
    assert.equal("half_open", breaker:state())
    coroutine.resume(held, nil, errors.unavailable)   -- too late to count
    assert.equal("half_open", breaker:state())
    assert.is_true(fn())
    assert.equal("closed", breaker:state())
  end)

  it("says while it is forced open that no waiting will help", function()
    local breaker = arvak.circuit_breaker { timeout = 0.01 }
    breaker:force_open()
    arvak.sleep(0.02)
    assert.same({ false, nil, n = 2 }, table.pack(breaker:can_proceed()))
    local called = false
    local _, err = breaker:wrap(function() called = true end)()
    assert.equal("circuit_open", err.kind)
    assert.matches("forced open", err.message)
    assert.is_nil(err.retry_after)
    assert.is_false(err.retryable)
    assert.is_false(called)
  end)

  it("goes with a retry policy around it", function()
    local calls = 0
    local breaker = arvak.circuit_breaker { failure_threshold = 2 }
    local fn = arvak.retry_policy { max_attempts = 10, initial_backoff = 0.001 }:wrap(breaker:wrap(function()
      calls = calls + 1
      return nil, errors.unavailable
    end))
    assert.equal("circuit_open", select(2, fn()).kind)
    assert.equal(2, calls)
  end)

  it("keeps an error of its hook for whoever drives the loop", function()
    local breaker = arvak.circuit_breaker { on_state_change = function() error("my hook", 0) end }
    breaker:force_open()
    assert.equal("open", breaker:state())
    local ok, err = pcall(arvak.poll)
    assert.is_false(ok)
    assert.matches("^my hook", err)
  end)

  it("can be moved by its own hook", function()
    local told, breaker = {}, nil
    breaker = arvak.circuit_breaker {
      failure_threshold = 1,
      on_state_change = function(_, new)
        told[#told + 1] = new
        if new == "open" then breaker:reset() end
      end,
    }
    breaker:record_failure()
    assert.same({ "open", "closed" }, told)
  end)

  it("is collected with its hook", function()
    local weak = setmetatable({}, { __mode = "k" })
    for _ = 1, 10 do
      local key = {}
      weak[key] = true
      local breaker = arvak.circuit_breaker { on_state_change = function() return key end }
      breaker:force_open()
    end
    collectgarbage()
    collectgarbage()
    arvak.poll()
    collectgarbage()
    assert.is_nil(next(weak))
  end)

  it("that refers to its client goes with it when it is closed", function()
    for _ = 1, 3 do
      local client
      client = arvak.connect("127.0.0.1:1", {
        retry = { on_retry = function() return client end },
        breaker = { on_state_change = function() return client end },
      })
      client:close()
    end
    helper.assert_clean()
  end)

  it("is checked", function()
    local breaker = arvak.circuit_breaker()
    assert.error_matches(function() arvak.circuit_breaker(5) end, "circuit_breaker: got 5, expected a table of options")
    assert.error_matches(function() arvak.circuit_breaker { timeout = 0 } end, "circuit_breaker.timeout: got 0")
    assert.error_matches(function() breaker:wrap() end, "wrap: got nil, expected a function")
    assert.error_matches(function() breaker.state(5) end, "state: got 5 as the breaker, expected breaker:state")
    assert.error_matches(function() breaker.wrap({}, print)() end, "got a table as the breaker")
  end)
end)
