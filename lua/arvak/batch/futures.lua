-- A batch as futures, and groups of futures as a batch: submit_many, wait_all, as_completed, map of a manager.
-- Invariant: each future of submit_many is settled once, by the end of its input or by its own cancellation.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local backends = require "arvak.jobs.backends"
local cancellation = require "arvak.jobs.cancellation"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local groups = require "arvak.async.groups"
local job_future = require "arvak.jobs.future"
local progress = require "arvak.batch.progress"
local result = require "arvak.batch.result"
local task = require "arvak.async.task"

local M = {}

-- ---- submit_many

-- What was not sent ends at once; a submit under way is waited for, since the server may have the job.
local function undo_submit(f)
  local err = errors.new("canceled", "canceled before it was submitted")
  if f._job.run:withdraw(f._index, err) then cancellation.note_not_submitted(f, err) end
end

local function end_canceled(f, err)
  f._job.run:end_canceled(f._index, err)
  job_future.finish(f, nil, err)
end

local function finish(f, result_of_job, err)
  if err and not f.job_id and cancellation.note_not_submitted(f, err) then return end
  job_future.finish(f, result_of_job, err)
end

local function on_end(f, item)
  if item.result or f:done() or f._canceling then return finish(f, item.result, item.err) end
  backends.explain_later(f, f._client, item.err, finish)
end

local function drive(batch, list)
  local ok, err = pcall(batch.execute, batch)
  if ok then return end
  for _, f in ipairs(list) do job_future.fail(f, err) end
  error(err, 0)
end

-- A future for each of count circuits, in their order. make_run { sink =, on_submitted = }: the run that will settle
-- them.
function M.submit_many(client, count, make_run)
  local list = {}
  local batch = make_run {
    sink = function(item) on_end(list[item.index], item) end,
    on_submitted = function(input) job_future.note_submitted(list[input.index], input.job_id) end,
  }
  local job = job_future.job { run = batch, target = batch.target, undo_submit = undo_submit,
    end_canceled = end_canceled }
  for i = 1, count do
    list[i] = job_future.new(client, job)
    list[i]._index = i
  end
  batch:turn()   -- so that work is under way when this returns
  task.spawn_detached(drive, batch, list)
  core.flush(client)
  return list
end

-- ---- wait_all

-- How far a group is, told at most every progress.INTERVAL but for the last time.
local function report(group, callback, is_last)
  local now = core.now()
  if not callback or (now < group.next_report and not is_last) then return end
  callback(progress.of { total = group.count, drawn = group.count, completed = group.completed, failed = group.failed,
    running = group.open, started_at = group.started_at })
  group.next_report = core.now() + progress.INTERVAL
end

-- Waits until all have ended: nil, or the error that says why not.
local function wait(group, options)
  while group.open > 0 do
    if options.fail_fast and group.first_failure then
      return errors.new("canceled", "a future failed, and fail_fast is set",
        { cause = group.first_failure._values[2] })
    end
    if group.ends_at and core.now() >= group.ends_at then
      return errors.new("timeout", string.format("not done within timeout = %s s", errors.seconds(options.timeout)),
        { scope = "batch" })
    end
    report(group, options.progress_callback)
    local woken, err = group:wait(options.progress_callback and group.next_report)
    if woken == nil then return err end
  end
end

-- Cancels all that are open; each in a task, since the server has to answer. Nobody waits for them.
local function cancel_open(group)
  for f in pairs(group.places) do
    if not f:done() then task.spawn_detached(f.cancel, f) end
  end
end

local function item_of(f, index, stopped_by)
  local item = { index = index, job_id = f.job_id }
  if not f:done() then
    item.err = errors.new(stopped_by.kind, stopped_by.message, { cause = stopped_by, scope = stopped_by.scope,
      job_id = f.job_id, maybe_executed = f.job_id == nil })
    return item
  end
  local outcome = groups.outcome_of(f)
  if not outcome.ok then
    item.err = outcome.err or string.format("%s (raised as an error)", outcome.err)
  elseif outcome.value == nil then
    item.result = true
  else
    item.result = outcome.value
  end
  return item
end

local function refuse_retry()
  check.misuse("retry_failed: a batch_result of wait_all has no circuits; execute_batch keeps them")
end

-- Waits for all: a batch_result of them, and what stopped it before their end, if anything did; then those that are
-- open are canceled.
function M.wait_all(list, options)
  local group <close> = groups.watch(list, "wait_all", options.timeout)
  group.next_report = 0
  local err = wait(group, options)
  local collector = result.collector(true)
  for i, f in ipairs(group.futures) do collector:add(item_of(f, i, err)) end
  group:close()
  if err then cancel_open(group) end
  group.completed, group.failed, group.open = collector.success_count, collector.failure_count, 0
  report(group, options.progress_callback, true)
  local r = result.finish(collector, core.now() - group.started_at, err, refuse_retry)
  return r, r.err
end

-- ---- as_completed, map

-- For a generic for: future, index in the order in which they end; raises the timeout error object, and is closed, as
-- arvak.as_completed.
function M.as_completed(list, options)
  local step, _, _, group = groups.in_order(list, options.timeout, "as_completed")
  local counts = { total = group.count, drawn = group.count, completed = 0, failed = 0, running = group.count,
    started_at = group.started_at }
  return function()
    local f, index = step()
    if not f then return nil end
    local name = f._state == "done" and "completed" or "failed"
    counts[name], counts.running = counts[name] + 1, counts.running - 1
    if options.progress_callback then options.progress_callback(progress.of(counts)) end
    return f, index
  end, nil, nil, group
end

local function is_timeout(err)
  return errors.is_error(err) and err.kind == "timeout" and err.scope == "wait"
end

-- fn(result, index) of each future that succeeds, as they end: a list of { ok = true, value = v } or { ok = false,
-- err = e }, in the order of the list. What fn raises is raised. Those that have not ended in time get a timeout error
-- and go on.
function M.map(fn, list, options)
  check.callable(fn, "map")
  local outcomes = {}
  local step, _, _, group = groups.in_order(list, options.timeout, "map")
  local closing <close> = group
  while true do
    local ok, f, index = pcall(step)
    if not ok and not is_timeout(f) then error(f, 0) end
    if not ok then
      for i = 1, closing.count do outcomes[i] = outcomes[i] or { ok = false, err = f } end
      break
    end
    if not f then break end
    local outcome = groups.outcome_of(f)
    if outcome.ok then
      local value = outcome.value
      if value == nil then value = true end
      outcome.value = fn(value, index)
    end
    outcomes[index] = outcome
  end
  return outcomes
end

return M
