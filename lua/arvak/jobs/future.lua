-- Futures of jobs, without a coroutine: submit, look, fetch, each step started by the end of the last.
-- Invariant: a future whose job was canceled on the server settles as canceled, and nothing overwrites that.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local poll = require "arvak.jobs.poll"
local records = require "arvak.results.records"

local M = {}

-- ---- the steps

local look, fetch

local function settle(f, ...)
  if f:done() then return end
  future.settle(f, ...)
  detached.stop_timer(f)
  f._options, f._client, f._ticket = nil, nil, nil
end

local function fail(f, err)
  err.job_id = err.job_id or f.job_id
  settle(f, nil, err)
end

local function closed_error(f)
  return errors.new("closed", "the client was closed; the job goes on", { job_id = f.job_id, target = f._target })
end

-- Tells step when a jittered delay is over, or at the end of the wait, which comes first.
local function go_on_later(f, step)
  local options = f._options
  local ends_at = options and options.ends_at
  if not ends_at then return detached.start_timer(f, poll.jittered(f._delay), step) end
  local left = ends_at - core.now()
  if left <= 0 then return fail(f, poll.timeout_error(options, options.last_state)) end
  detached.start_timer(f, math.min(poll.jittered(f._delay), left), step)
end

-- The pause before the next look grows as in wait_for_job.
local function look_later(f)
  local interval = f._options and f._options.poll_interval or poll.POLL_INTERVAL
  f._delay = math.min(f._delay and f._delay * poll.GROWTH or poll.FIRST_DELAY, interval)
  go_on_later(f, look)
end

-- A transient error is tolerated within max_wait, or until the server has failed without a break for one timeout.
local function tolerate(f, err, again)
  if f:done() then return end
  if not poll.is_transient(err) then return fail(f, err) end
  f._failing_since = f._failing_since or core.now() - (err.elapsed or 0)
  local options = f._options
  if not (options and options.ends_at) and core.now() - f._failing_since >= f._timeout then return fail(f, err) end
  f._delay = math.min(f._delay * poll.GROWTH, options and options.poll_interval or poll.POLL_INTERVAL)
  go_on_later(f, again)
end

local function on_result(f, result, err)
  if result then return settle(f, result) end
  tolerate(f, err, fetch)
end

local function on_status(f, job, err)
  if f:done() then return end
  if not job then return tolerate(f, err, look) end
  f._failing_since = nil
  if f._options then
    f._options.last_state = job.state
    poll.report_progress(f._options, job)
  end
  if not records.is_terminal[job.state] then return look_later(f) end
  if job.state == "COMPLETED" then return fetch(f) end
  err = poll.end_error(job, f._target)
  if f._is_cancel_wanted and job.state == "CANCELED" then err.kind = "canceled" end
  settle(f, nil, err)
end

local function start(f, method, on_end)
  if f:done() then return end
  if core.is_closed(f._client) then return fail(f, closed_error(f)) end
  detached.go_on(f, on_end, method, f._client, f.job_id, f._options and poll.call_options(f._options))
end

function look(f) start(f, "get_job_status", on_status) end
function fetch(f) start(f, "get_job_result", on_result) end

-- ---- canceling on the server

-- A cancellation under way is a table of its own, since the future's looks go on beside it. Whoever waits for it may
-- be canceled; it goes on all the same.
local function on_cancel(canceling, ok, err)
  local f = canceling.future
  f._canceling = nil
  canceling.is_over, canceling.err = true, err
  if ok then
    settle(f, nil, errors.new("canceled", "the job was canceled", { job_id = f.job_id, target = f._target }))
  elseif not err.maybe_executed then
    f._is_cancel_wanted = nil
  end
  future.wake(canceling.tickets)
end

local function send_cancel(canceling)
  local f = canceling.future
  if core.is_closed(f._client) then return on_cancel(canceling, nil, closed_error(f)) end
  local options = f._options
  canceling.job_id = f.job_id
  detached.go_on(canceling, on_cancel, "cancel_job", f._client, f.job_id,
    options and check.pick_call_options(options))
end

-- Starts a cancellation, which waits for the answer to the submit when that is under way; it may be over at once.
local function start_canceling(f)
  local canceling = f._canceling
  if canceling then return canceling end
  canceling = { future = f, tickets = {} }
  f._canceling, f._is_cancel_wanted = canceling, true
  if f.job_id or core.is_closed(f._client) then
    send_cancel(canceling)
  elseif not detached.is_sent(f) then
    detached.cancel_call(f)
  end
  return canceling
end

-- A submit that has not left our queue is taken back; one in flight is waited for, since the server may have the job.
local function cancel(f)
  core.check_wait("cancel")
  local canceling = start_canceling(f)
  while not canceling.is_over and not f:done() do
    local woken, err = future.park(canceling.tickets, "cancel")
    if woken == nil then return nil, err end
  end
  if f:canceled() then return true end
  return nil, canceling.err or errors.new("not_cancelable", "the job has ended already", { job_id = f.job_id })
end

-- ---- submitting

local function on_submit(f, job_id, err)
  f._ticket = nil
  f.job_id = job_id
  local canceling = f._canceling
  if job_id then
    local options = f._options
    if options then
      options.job_id, options.started_at = job_id, core.now()
      options.ends_at = options.max_wait and options.started_at + options.max_wait
    end
    look_later(f)
    if canceling then send_cancel(canceling) end
  elseif canceling then
    settle(f, nil, errors.new("canceled", "canceled before the server had answered the submit",
      { cause = err, rpc = err.rpc, target = err.target, maybe_executed = err.maybe_executed }))
    on_cancel(canceling, true)
  else
    settle(f, nil, err)
  end
  if f._submit_tickets then future.wake(f._submit_tickets) end
  f._submit_tickets = nil
end

-- What future:submitted does, of any future with job_id and _submit_tickets.
function M.submitted(f, timeout)
  check.seconds(timeout, "timeout")
  if not f.job_id and not f:done() then
    f._submit_tickets = f._submit_tickets or {}
    local woken, err = future.park(f._submit_tickets, "submitted", timeout)
    if woken == nil then return nil, err end
  end
  if f.job_id then return f.job_id end
  if f:done() then return nil, f:exception() end
  return nil, errors.new("timeout", ("the server has not answered the submit within %g s"):format(timeout),
    { scope = "wait" })
end

-- ---- made from outside

-- The future of a job that is submitted now. options: as of execute.
function M.submit(client, qasm, backend_id, submit_options, wait_options)
  local target, timeout = core.check_client(client, "submit_qasm_future")
  local f = future.new(cancel)
  f._client, f._target, f._timeout, f._await_submit = client, target, timeout, M.submitted
  f._cancel_soon = start_canceling
  if wait_options then
    f._timeout = wait_options.timeout or timeout
    f._options = { target = target }
    for name, value in pairs(wait_options) do f._options[name] = value end
  end
  detached.start(f, on_submit, "submit_qasm", client, qasm, backend_id, submit_options)
  return f
end

return M
