-- Policies around any function. The core's retry and breaker decide.
-- Invariant: each call that a breaker lets through gives it a verdict, also when the function raises or its coroutine
-- is closed.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local strays = require "arvak.async.strays"
local task = require "arvak.async.task"

local M = {}

local Policy = core.metatables["arvak.retry_policy"].__index
local Breaker = core.metatables["arvak.breaker"].__index

-- A hook's error goes to whoever drives the loop.
core.set_upcall("policy_event", function(fn, ...)
  local ok, err = core.hook(fn, ...)
  if not ok then strays.add(err) end
end)

-- Failed means: raised, or first value nil and second an arvak.error. The error, or nil.
local function failure_of(ok, value, err)
  if not ok then return value end
  return value == nil and errors.is_error(err) and err or nil
end

-- ---- retry

local is_submit = { SubmitJob = true, SubmitBatch = true, SubmitBatchStream = true }
local is_ours = { circuit_open = true, canceled = true, closed = true, forked = true }

-- What a policy sees of an error. Who refused an UNAVAILABLE submit is not known here: it may have been a proxy.
local function failure_for_core(err)
  local is_queue = err.kind == "timeout" and err.scope ~= nil and err.scope ~= "call"
  return {
    code = math.type(err.code) == "integer" and err.code or nil,
    is_submit = is_submit[err.rpc], is_ours = is_ours[err.kind] or is_queue,
    maybe_executed = err.maybe_executed, by_table = err.retryable,
    as_read = err.retryable or err.kind == "unavailable" or err.kind == "timeout",
  }
end

local function check_attempt(attempt)
  if math.type(attempt) ~= "integer" or attempt < 1 then
    check.misuse("attempt: got %s, expected an integer from 1 on", core.describe(attempt))
  end
end

-- Whether err, of attempt number attempt (from 1), is worth another one. An error that is not ours is when its field
-- retryable says so.
function Policy.should_retry(policy, err, attempt)
  local max_attempts = core.retry_limits(policy, "should_retry")
  check_attempt(attempt)
  if attempt >= max_attempts or type(err) ~= "table" then return false end
  if not errors.is_error(err) then return err.retryable == true end
  return core.retry_is_worth(policy, failure_for_core(err))
end

-- The pause in seconds after attempt number attempt, with its jitter.
function Policy.backoff(policy, attempt)
  check_attempt(attempt)
  return core.retry_delay(policy, attempt, math.random())
end

-- The pause before the next attempt; nil: the server requests a longer one than the policy has patience for.
local function delay_of(policy, err, attempt)
  local requested = errors.is_error(err) and err.retry_after
  if not requested then return Policy.backoff(policy, attempt) end
  return core.retry_obeys(policy, requested) and requested or nil
end

local attempt_from

local function give_up(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

local function after_attempt(policy, fn, arguments, attempt, ok, ...)
  local err = failure_of(ok, ...)
  if err == nil then
    if ok then core.retry_earn(policy) end
  elseif Policy.should_retry(policy, err, attempt) and core.retry_spend(policy) then
    local delay = delay_of(policy, err, attempt)
    if not delay then return give_up(ok, ...) end
    core.retry_tell(policy, { rpc = err.rpc, attempt = attempt, delay = delay, err = err })
    local slept, canceled = task.pause(delay)
    if not slept then return nil, canceled end
    return attempt_from(policy, fn, arguments, attempt + 1)
  end
  return give_up(ok, ...)
end

function attempt_from(policy, fn, arguments, attempt)
  return after_attempt(policy, fn, arguments, attempt, pcall(fn, table.unpack(arguments, 1, arguments.n)))
end

-- fn, called again as the policy says; its last outcome. In a task its pauses suspend, elsewhere they block.
function Policy.wrap(policy, fn)
  core.retry_limits(policy, "wrap")
  check.callable(fn, "wrap")
  return function(...)
    core.check_wait("wrap")
    return attempt_from(policy, fn, table.pack(...), 1)
  end
end

-- ---- breaker

-- Only what speaks of the service's health counts. An error that is not ours was raised, and nothing is known of it.
local function verdict_of(err)
  if err == nil then return "success" end
  if not errors.is_error(err) then return "failure" end
  if is_ours[err.kind] then return "neutral" end
  if err.kind == "timeout" then return err.scope == "call" and "failure" or "neutral" end
  return math.type(err.code) == "integer" and core.verdict_of(err.code, err.message) or "success"
end

local function leave(pass, ok, ...)
  core.pass_leave(pass, verdict_of(failure_of(ok, ...)))
  if not ok then error((...), 0) end
  return ...
end

-- fn behind the breaker: nil and an error of kind circuit_open while it refuses.
function Breaker.wrap(breaker, fn)
  check.callable(fn, "wrap")
  return function(...)
    local entered, retry_after = core.breaker_enter(breaker)
    if not entered then
      local state = retry_after and "open" or "forced open until it is reset"
      return nil, errors.new("circuit_open", string.format("the circuit breaker is %s, nothing was called", state),
        { retry_after = retry_after, attempts = 0, retryable = retry_after ~= nil })
    end
    local pass <close> = entered
    return leave(pass, pcall(fn, ...))
  end
end

-- ---- made from outside

-- A retry policy by itself: options as for connect's retry.
function M.retry_policy(options)
  return core.retry_new(options)
end

-- A circuit breaker by itself: options as for connect's breaker.
function M.circuit_breaker(options)
  return core.breaker_new(options)
end

return M
