-- Futures of jobs, without a coroutine: submit, look, fetch, each step started by the end of the last. What is next is
-- decided in jobs/poll.lua, the cancellation in jobs/cancellation.lua.
-- Invariant: a future whose job was canceled on the server settles as canceled, and nothing overwrites that.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local backends = require "arvak.jobs.backends"
local cancellation = require "arvak.jobs.cancellation"
local check = require "arvak.base.check"
local chunks = require "arvak.jobs.chunks"
local detached = require "arvak.async.detached"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local poll = require "arvak.jobs.poll"
local program = require "arvak.results.program"
local wait = require "arvak.jobs.wait"

local M = {}

-- ---- what every future of a job can do

-- What future:submitted does, of any future with job_id and _submit_tickets.
local function submitted(f, timeout)
  check.seconds(timeout, "timeout")
  if not f.job_id and not f:done() then
    f._submit_tickets = f._submit_tickets or {}
    local woken, err = future.park(f._submit_tickets, "submitted", timeout)
    if woken == nil then return nil, err end
  end
  if f.job_id then return f.job_id end
  if f:done() then return nil, f:exception() end
  return nil, errors.new("timeout",
    string.format("the server has not answered the submit within %s s", errors.seconds(timeout)),
    { scope = "wait" })
end

local Job = { submitted = submitted, start_canceling = cancellation.start }
Job.__index = Job

-- What many futures of jobs share: undo_submit(f) and end_canceled(f, err), as of jobs/cancellation.lua; target; calls,
-- the options of CancelJob.
function M.job(fields) return setmetatable(fields, Job) end

-- A pending future of a job.
function M.new(client, job)
  local f = future.new(cancellation.cancel)
  f._client, f._job = client, job
  return f
end

local function wake_submitted(f)
  if f._submit_tickets then future.wake(f._submit_tickets) end
  f._submit_tickets = nil
end

-- The server has answered its submit.
function M.note_submitted(f, job_id)
  f.job_id = job_id
  cancellation.note_submitted(f)
  wake_submitted(f)
end

-- Settles one with settle(f, …), unless it has ended, and lets go of what it held.
local function finish(f, settle, ...)
  if f:done() then return end
  f._client, f._job, f._ticket, f._way = nil, Job, nil, nil
  settle(f, ...)
  detached.stop_timer(f)
  wake_submitted(f)
  cancellation.note_end(f)
end

-- Ends one with a result, or nil and an error.
function M.finish(f, result, err)
  if result then result, err = program.read(result, f._way) end
  if result then return finish(f, future.settle, result) end
  if err.kind == "job_canceled" and cancellation.is_wanted(f) then err.kind = "canceled" end
  err.job_id = err.job_id or f.job_id
  finish(f, future.settle, nil, err)
end

-- Ends one with what was raised.
function M.fail(f, err) finish(f, future.fail, err) end

-- ---- the steps

local steps = {}

local function run_step(f)
  if f:done() then return end
  if core.is_closed(f._client) then
    return M.finish(f, nil, errors.new("closed", "the client was closed; the job goes on", { target = f._job.target }))
  end
  steps[f._step](f)
end

local function go_on(f, event, value)
  if f:done() then return end
  local action, at_or_result, err = poll.decide(f, f._job, core.now(), event, value)
  if action == "end" then return M.finish(f, at_or_result, err) end
  local pause = at_or_result - core.now()
  if pause <= 0 or core.is_closed(f._client) then return run_step(f) end
  detached.start_timer(f, pause, run_step)
end

local function on_status(f, job, err)
  if f:done() then return end
  if not job then return go_on(f, "error", err) end
  wait.report_progress(f._job, job)
  go_on(f, "status", job)
end

local function on_result(f, result, err)
  if not result then return go_on(f, "error", err) end
  go_on(f, "result", result)
end

local function request(f, method, on_end)
  detached.go_on(f, on_end, method, f._client, f.job_id, wait.call_options(f._job, f._ends_at))
end

function steps.look(f) request(f, "get_job_status", on_status) end
function steps.fetch(f) request(f, "get_job_result", on_result) end

function steps.chunks(f)
  chunks.start(function(...) on_result(f, ...) end, f._client, f._job, f.job_id, wait.call_options(f._job, f._ends_at))
end

function steps.rest(f) go_on(f, "rested") end

-- ---- submitting

local function undo_submit(f)
  if core.is_closed(f._client) or detached.is_sent(f) then return end
  detached.cancel_call(f)
end

local function on_refused(f, _, err)
  f._ticket = nil
  if not f:done() and not cancellation.note_not_submitted(f, err) then M.finish(f, nil, err) end
end

local function on_submit(f, job_id, err)
  f._ticket = nil
  if job_id then
    local now = core.now()
    f.job_id, f._since, f._ends_at = job_id, now, wait.end_time(f._job, now)
    poll.start(f, f._job, now)
    M.note_submitted(f, job_id)
    run_step(f)
  elseif f._canceling then
    on_refused(f, nil, err)
  else
    backends.explain_later(f, f._client, err, on_refused)
  end
end

local function end_canceled(f, err) M.finish(f, nil, err) end

-- What job futures with these options of a wait share.
function M.rules(client, method, wait_options)
  local target, timeout = core.check_client(client, method)
  local job = M.job(wait.rules(client, target, timeout, wait_options))
  job.undo_submit, job.end_canceled = undo_submit, end_canceled
  return job
end

-- The future of a job that is submitted now. job: of M.rules. source: a text or a circuit.
function M.submit(client, job, source, backend_id, submit_options)
  local f = M.new(client, job)
  if program.is_circuit(source) then
    core.check.submit_qasm(client, "", backend_id, submit_options)   -- misuse is raised, whatever the circuit is
    source, f._way = program.text_of(source, submit_options, backend_id)
    if not source then
      on_submit(f, nil, f._way)
      return f
    end
  end
  detached.start(f, on_submit, "submit_qasm", client, source, backend_id, submit_options)
  return f
end

return M
