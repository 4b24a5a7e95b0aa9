-- Following a job to its end by polling. Invariant: the first terminal state seen is final, since the reference
-- server can move a job on after one (contract 2.9, item 12).
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local records = require "arvak.results.records"
local strays = require "arvak.async.strays"
local task = require "arvak.async.task"

local M = {}

local JITTER = 0.2   -- share of a delay
M.FIRST_DELAY, M.GROWTH, M.POLL_INTERVAL = 0.002, 1.5, 1.0   -- seconds, factor, seconds

-- A delay made a little shorter or longer, so that many waits do not fall into step.
function M.jittered(delay)
  return delay * (1 + JITTER * (2 * math.random() - 1))
end

-- An error after which looking again may help.
function M.is_transient(err)
  return err.retryable or err.kind == "unavailable" or err.kind == "timeout"
end

M.option_names = check.pick_call_options(check.call_options, {
  max_wait = true, poll_interval = true, on_progress = true, strategy = true,
})

-- Checks the options of a wait: a table of its own.
function M.check_options(options, method)
  check.options(options, method, M.option_names)
  options = options or {}
  check.seconds(options.max_wait, "max_wait", true)
  check.seconds(options.poll_interval, "poll_interval", true)
  check.seconds(options.timeout, "timeout", true)
  check.seconds(options.attempt_timeout, "attempt_timeout", true)
  check.seconds(options.queue_timeout, "queue_timeout", true)
  if options.on_progress ~= nil then check.callable(options.on_progress, "on_progress") end
  local strategy = options.strategy
  if strategy ~= nil and strategy ~= "poll" then
    check.misuse('strategy: got %s, expected "poll"', core.describe(strategy))
  end
end

-- wait: has job_id, max_wait, target and started_at.
function M.timeout_error(wait, state)
  return errors.new("timeout", ("job %s has not ended within max_wait = %g s (last seen %s); it goes on")
    :format(wait.job_id, wait.max_wait, state or "never"),
    { scope = "wait", job_id = wait.job_id, target = wait.target, elapsed = core.now() - wait.started_at })
end

-- What a job that ended without a result comes to.
local function end_error(job, target)
  local fields = { job_id = job.job_id, target = target }
  if job.state == "FAILED" then return errors.new("job_failed", job.error_message or "the job failed", fields) end
  if job.state == "CANCELED" then return errors.new("job_canceled", "the job was canceled", fields) end
  return errors.new("result_expired", "the job succeeded, but its result has expired", fields)
end

M.end_error = end_error

function M.report_progress(wait, job)
  if not wait.on_progress then return end
  local ok, err = core.hook(wait.on_progress, job)
  if not ok then strays.add(err) end
end

local function remaining(wait)
  return wait.ends_at and wait.ends_at - core.now() or math.huge
end

-- Sleeps a jittered delay, cut off at the end of the wait: the next delay, or nil and an error.
local function pause(wait, delay)
  local length = M.jittered(math.min(delay, wait.poll_interval))
  local slept, err = task.sleep(math.max(0, math.min(length, remaining(wait))))
  if not slept then return nil, err end
  return math.min(delay * M.GROWTH, wait.poll_interval)
end

-- The options of one call within the wait: its timeout never reaches past the end of the wait.
function M.call_options(wait)
  local timeout, left = wait.timeout, math.max(remaining(wait), 0.001)
  local queue_timeout = wait.queue_timeout
  if left < math.huge then
    timeout, queue_timeout = math.min(timeout or left, left), math.min(queue_timeout or left, left)
  end
  local options = check.pick_call_options(wait)
  options.timeout, options.queue_timeout = timeout, queue_timeout
  return options
end

-- One call within the wait.
local function try(wait, method)
  return core.try[method](wait.client, wait.job_id, M.call_options(wait))
end

-- Transient errors are tolerated within max_wait, or until the server has failed without a break for one timeout.
local function is_final(wait, err)
  if not M.is_transient(err) then return true end
  wait.failing_since = wait.failing_since or core.now() - (err.elapsed or 0)
  return not wait.ends_at and core.now() - wait.failing_since >= wait.timeout
end

-- Calls method again and again until accept(value) gives true. The value, or nil and an error.
local function poll(wait, method, accept)
  local delay, state = M.FIRST_DELAY, nil
  while true do
    local value, err = try(wait, method)
    if value then
      wait.failing_since = nil
      if accept(value) then return value end
      state = value.state
    elseif is_final(wait, err) then
      return nil, err
    end
    if remaining(wait) <= 0 then return nil, M.timeout_error(wait, state) end
    delay, err = pause(wait, delay)
    if not delay then return nil, err end
  end
end

local function new_wait(client, target, timeout, job_id, options)
  local started_at = core.now()
  local wait = check.pick_call_options(options, {
    client = client, job_id = job_id, target = target, started_at = started_at,
    max_wait = options.max_wait, ends_at = options.max_wait and started_at + options.max_wait,
    poll_interval = options.poll_interval or M.POLL_INTERVAL, on_progress = options.on_progress,
  })
  wait.timeout = options.timeout or timeout
  return wait
end

local function follow(wait)
  local _, err = pause(wait, M.FIRST_DELAY)
  if err then return nil, err end
  local job
  job, err = poll(wait, "get_job_status", function(seen)
    M.report_progress(wait, seen)
    return records.is_terminal[seen.state]
  end)
  if not job then return nil, err end
  if job.state ~= "COMPLETED" then return nil, end_error(job, wait.target) end
  return poll(wait, "get_job_result", function() return true end)
end

-- Waits for a job and fetches its result: result, or nil and an error, which names the job whatever it is. target and
-- timeout are those of the client, which may have been closed meanwhile: that is an outcome here, and no misuse.
function M.wait_for_job(client, target, timeout, job_id, options)
  local result, err = follow(new_wait(client, target, timeout, job_id, options or {}))
  if result then return result end
  err.job_id = err.job_id or job_id
  err.target = err.target or target
  return nil, err
end

return M
