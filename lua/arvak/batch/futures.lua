-- A batch as futures, and groups of futures as a batch: submit_many, wait_all, as_completed, map of a manager.
-- Invariant: each future of submit_many is settled once, by the end of its input or by its own cancellation.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local futures = require "arvak.async.groups"
local job_future = require "arvak.jobs.future"
local progress = require "arvak.batch.progress"
local result = require "arvak.batch.result"
local task = require "arvak.async.task"

local M = {}

-- ---- submit_many

local function settle(f, ...)
  if f:done() then return end
  future.settle(f, ...)
  future.wake(f._submit_tickets)
end

local function cancel_job(f, input)
  local ok, err = core.try.cancel_job(f._run.client, input.job_id)
  if not ok then return nil, err end
  err = errors.new("canceled", "the job was canceled", { job_id = input.job_id, target = f._run.target })
  f._run:end_canceled(input.index, err)
  settle(f, nil, err)
  return true
end

-- What was not sent ends at once; a submit under way is waited for, since the server may have the job.
local function cancel(f)
  core.check_wait("cancel")
  while not f:done() do
    local input = f._run.inputs:get(f._index)
    if input and input.job_id then
      local ok, err = cancel_job(f, input)
      if not ok then return nil, err end
    elseif input and input.state == "sending" then
      f._is_unwanted = true
      local woken, err = future.park(f._submit_tickets, "cancel")
      if woken == nil then return nil, err end
    else
      local err = errors.new("canceled", "canceled before it was submitted")
      f._run:withdraw(f._index, err)
      settle(f, nil, err)
    end
  end
  if f:canceled() then return true end
  return nil, errors.new("not_cancelable", "the job has ended already", { job_id = f.job_id })
end

local function drive(batch, list)
  local ok, err = pcall(batch.execute, batch)
  if ok then return end
  for _, f in ipairs(list) do
    if not f:done() then future.fail(f, err) end
  end
  error(err, 0)
end

-- A future for each of count circuits, in their order. make_run { sink =, on_submitted =, on_submit_failed = }: the run
-- that will settle them.
function M.submit_many(client, count, make_run)
  local list = {}
  local batch = make_run {
    sink = function(item) settle(list[item.index], item.result, item.err) end,
    on_submitted = function(input)
      list[input.index].job_id = input.job_id
      future.wake(list[input.index]._submit_tickets)
    end,
    on_submit_failed = function(input) return list[input.index]._is_unwanted end,
  }
  for i = 1, count do
    local f = future.new(cancel)
    f._run, f._index, f._submit_tickets, f._job = batch, i, {}, job_future.job {}
    list[i] = f
  end
  batch:turn()   -- so that work is under way when this returns
  task.spawn_detached(drive, batch, list)
  core.flush(client)
  return list
end

-- ---- wait_all

local function check_futures(list, method)
  if type(list) ~= "table" or future.is_future(list) then
    check.misuse("%s: got %s, expected a list of futures", method, core.describe(list))
  end
  for i = 1, #list do
    if not future.is_future(list[i]) then
      check.misuse("%s: futures[%d]: got %s, expected a future", method, i, core.describe(list[i]))
    end
  end
end

local Group = {}
Group.__index = Group

-- Watches a list of futures, in which one may stand twice.
local function watch(list, options)
  local group = setmetatable({ places = {}, open = 0, completed = 0, failed = 0, total = #list, tickets = {},
    started_at = core.now(), next_report = 0, options = options, is_open = {} }, Group)
  for _, f in ipairs(list) do
    group.places[f] = (group.places[f] or 0) + 1
    group.is_open[f] = true
  end
  for _, places in pairs(group.places) do group.open = group.open + places end
  for f in pairs(group.places) do future.observe(f, group) end
  return group
end

function Group:note(f)
  local places = self.places[f]
  self.is_open[f] = nil
  self.open = self.open - places
  if f._state == "done" then
    self.completed = self.completed + places
  else
    self.failed = self.failed + places
    self.first_failure = self.first_failure or f
  end
  future.wake(self.tickets)
end

function Group:report(is_last)
  local callback, now = self.options.progress_callback, core.now()
  if not callback or (now < self.next_report and not is_last) then return end
  callback(progress.of { total = self.total, drawn = self.total, completed = self.completed, failed = self.failed,
    running = self.open, started_at = self.started_at })
  self.next_report = core.now() + progress.INTERVAL
end

-- Waits until all have ended: nil, or the error that says why not.
function Group:wait()
  local ends_at = self.options.timeout and self.started_at + self.options.timeout
  while self.open > 0 do
    if self.options.fail_fast and self.first_failure then
      return errors.new("canceled", "a future failed, and fail_fast is set",
        { cause = self.first_failure._values[2] })
    end
    local now = core.now()
    if ends_at and now >= ends_at then
      return errors.new("timeout", ("not done within timeout = %g s"):format(self.options.timeout),
        { scope = "batch" })
    end
    self:report()
    local until_time = math.min(ends_at or math.huge, self.options.progress_callback and self.next_report or math.huge)
    local woken, err = future.park(self.tickets, "wait_all", until_time < math.huge and math.max(0, until_time - now)
      or nil)
    if woken == nil then return err end
  end
end

-- Cancels all that are open; each in a task, since the server has to answer. Nobody waits for them.
function Group:cancel()
  for f in pairs(self.is_open) do
    future.unobserve(f, self)
    task.spawn_detached(f.cancel, f)
  end
end

local function item_of(f, index, stopped_by)
  local item = { index = index, job_id = f.job_id }
  if not f:done() then
    item.err = errors.new(stopped_by.kind, stopped_by.message, { cause = stopped_by, scope = stopped_by.scope,
      job_id = f.job_id, maybe_executed = f.job_id == nil })
    return item
  end
  f._is_read = true
  if f._state == "done" then
    item.result = f._values[1]
    if item.result == nil then item.result = true end
  else
    item.err = f._values[2]
  end
  return item
end

local function refuse_retry()
  check.misuse("retry_failed: a batch_result of wait_all has no circuits; execute_batch keeps them")
end

-- Waits for all: a batch_result of them, and what stopped it before their end, if anything did; then those that are
-- open are canceled.
function M.wait_all(list, options)
  check_futures(list, "wait_all")
  local group = watch(list, options)
  local err = group:wait()
  local collector = result.collector(true)
  for i, f in ipairs(list) do collector:add(item_of(f, i, err)) end
  if err then group:cancel() end
  group.completed, group.failed, group.open = collector.success_count, collector.failure_count, 0
  group:report(true)
  local r = result.finish(collector, core.now() - group.started_at, err, refuse_retry)
  return r, r.err
end

-- ---- as_completed, map

-- An iterator of future, index in the order in which they end; raises the timeout error object, as arvak.as_completed.
function M.as_completed(list, options)
  check_futures(list, "as_completed")
  local step = futures.as_completed(list, options.timeout)
  local counts = { total = #list, drawn = #list, completed = 0, failed = 0, running = #list,
    started_at = core.now() }
  return function()
    local f, index = step()
    if not f then return nil end
    local name = f._state == "done" and "completed" or "failed"
    counts[name], counts.running = counts[name] + 1, counts.running - 1
    if options.progress_callback then options.progress_callback(progress.of(counts)) end
    return f, index
  end
end

local function is_timeout(err)
  return errors.is_error(err) and err.kind == "timeout" and err.scope == "wait"
end

-- fn(result, index) of each future that succeeds, as they end: a list of { ok = true, value = v } or { ok = false,
-- err = e }, in the order of the list. What fn raises is raised. Those that have not ended in time get a timeout error
-- and go on.
function M.map(fn, list, options)
  check.callable(fn, "map")
  check_futures(list, "map")
  local outcomes = {}
  local step = futures.as_completed(list, options.timeout)
  while true do
    local ok, f, index = pcall(step)
    if not ok and not is_timeout(f) then error(f, 0) end
    if not ok then
      for i = 1, #list do outcomes[i] = outcomes[i] or { ok = false, err = f } end
      break
    end
    if not f then break end
    local item = item_of(f, index)
    if item.err == nil then
      outcomes[index] = { ok = true, value = fn(item.result, index) }
    else
      outcomes[index] = { ok = false, err = item.err }
    end
  end
  return outcomes
end

return M
