-- Futures of jobs, without a coroutine: submit, look, fetch, each step started by the end of the last.
-- Invariant: a future whose job was canceled on the server settles as canceled, and nothing overwrites that.
-- SPDX-License-Identifier: Apache-2.0
local core, import = ...
local calls = import "arvak.calls"
local check = import "arvak.check"
local errors = import "arvak.errors"
local future = import "arvak.future"
local records = import "arvak.records"
local wait = import "arvak.wait"

local M = {}

-- ---- the steps

local look, fetch

local function settle(f, ...)
  future.settle(f, ...)
  f._options, f._client, f._ticket = nil, nil, nil
end

local function fail(f, err)
  err.job_id = err.job_id or f.job_id
  settle(f, nil, err)
end

-- The pause before the next look grows as in wait_for_job.
local function look_later(f)
  local interval = f._options and f._options.poll_interval or wait.POLL_INTERVAL
  f._delay = f._delay and math.min(f._delay * wait.GROWTH, interval) or wait.FIRST_DELAY
  calls.start_timer(f, wait.jittered(f._delay), look)
end

-- A transient error is tolerated until the server has failed without a break for one timeout.
local function tolerate(f, err, again)
  if wait.is_transient(err) then
    f._failing_since = f._failing_since or core.now() - (err.elapsed or 0)
    if core.now() - f._failing_since < f._timeout then
      f._delay = math.max(f._delay or 0, wait.FIRST_DELAY)
      f._delay = math.min(f._delay * wait.GROWTH, wait.POLL_INTERVAL)
      return calls.start_timer(f, wait.jittered(f._delay), again)
    end
  end
  fail(f, err)
end

local function on_result(f, result, err)
  if result then return settle(f, result) end
  tolerate(f, err, fetch)
end

local function on_status(f, job, err)
  if not job then return tolerate(f, err, look) end
  f._failing_since = nil
  if not records.is_terminal[job.state] then return look_later(f) end
  if job.state == "COMPLETED" then return fetch(f) end
  err = wait.end_error(job, f._target)
  if f._is_cancel_wanted and job.state == "CANCELED" then err.kind = "canceled" end
  settle(f, nil, err)
end

local function start(f, method, on_end)
  if f:done() then return end
  if core.is_closed(f._client) then
    return fail(f, errors.new("closed", "the client was closed; the job goes on", { target = f._target }))
  end
  calls.start(f, on_end, method, f._client, f.job_id, f._options and f._options.call)
end

function look(f) start(f, "get_job_status", on_status) end
function fetch(f) start(f, "get_job_result", on_result) end

-- ---- submitting

local function on_submit(f, job_id, err)
  f._ticket = nil
  f._is_submitted = true
  f.job_id = job_id
  if job_id then
    if not f._is_cancel_wanted then look_later(f) end
  elseif f._is_cancel_wanted then
    settle(f, nil, errors.new("canceled", "canceled before the server had answered the submit",
      { cause = err, rpc = err.rpc, target = err.target, maybe_executed = err.maybe_executed }))
  else
    settle(f, nil, err)
  end
  if f._submit_tickets then future.wake(f._submit_tickets) end
  f._submit_tickets = nil
end

-- Waits for the submit to end: true, false when timeout is over, or nil and an error.
local function await_submit(f, timeout)
  if f._is_submitted or f:done() then return true end
  f._submit_tickets = f._submit_tickets or {}
  local woken, err = future.park(f._submit_tickets, "submitted", timeout)
  if woken == nil then return nil, err end
  return f._is_submitted or f:done()
end

local function submitted(f, timeout)
  check.seconds(timeout, "timeout")
  local ended, err = await_submit(f, timeout)
  if ended == nil then return nil, err end
  if f.job_id then return f.job_id end
  if f:done() then return nil, f:exception() end
  return nil, errors.new("timeout", ("the server has not answered the submit within %g s"):format(timeout),
    { scope = "wait" })
end

-- ---- canceling

local function cancel_on_server(f)
  local ok, err = core.call.cancel_job(f._client, f.job_id, f._options and f._options.call)
  if f:canceled() then return true end
  if not ok then
    if not f:done() and f._is_looking_paused then look_later(f) end
    f._is_looking_paused = nil
    if f:done() then return nil, errors.new("not_cancelable", "the job has ended already", { job_id = f.job_id }) end
    return nil, err
  end
  settle(f, nil, errors.new("canceled", "the job was canceled", { job_id = f.job_id, target = f._target }))
  if f:canceled() then return true end
  return nil, errors.new("not_cancelable", "the job has ended already", { job_id = f.job_id })
end

-- A submit that has not left our queue is taken back; one in flight is waited for, since the server may have the job.
local function cancel(f)
  if not f._is_submitted and f._ticket and not core.is_sent(f._ticket) then
    f._is_cancel_wanted = true
    core.cancel_call(f._ticket)
    if f:canceled() then return true end
  end
  core.check_wait("cancel")
  if not f._is_submitted then
    f._is_cancel_wanted, f._is_looking_paused = true, true
    local ended, err = await_submit(f)
    if not ended then return nil, err end
    if f:canceled() then return true end
    if f:done() then return nil, errors.new("not_cancelable", "the submit has failed") end
  end
  f._is_cancel_wanted = true
  return cancel_on_server(f)
end

-- ---- made from outside

-- The future of a job that is submitted now. options: as of execute.
function M.submit(client, qasm, backend_id, submit_options, wait_options)
  local target, timeout = core.check_client(client, "submit_qasm_future")
  local f = future.new(cancel)
  f._client, f._target, f._timeout, f._await_submit = client, target, timeout, submitted
  if wait_options then
    f._options = {
      poll_interval = wait_options.poll_interval,
      call = { timeout = wait_options.timeout, metadata = wait_options.metadata },
    }
  end
  calls.start(f, on_submit, "submit_qasm", client, qasm, backend_id, submit_options)
  return f
end

return M
