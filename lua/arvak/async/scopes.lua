-- Which tasks a run waits for: each task is in one scope, that of its run, from its start until its end was told.
-- A task has an owner, the future of its results or a callback, and tells it when it ends.
-- Invariant: owner:_on_task_end(ok, is_canceled, ...) has returned once before a task leaves its scope; it is called
-- again when it raised for want of memory.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local M = {}

-- tasks: owner → task, of those that are open. unread: futures that have failed and whose error nobody has read.
function M.new()
  return { open = 0, tasks = {}, unread = {}, is_canceled = false, is_over = false, ends_at = false }
end

M.root = M.new()       -- of tasks that were spawned outside any run
M.detached = M.new()   -- of futures that happen to be tasks: no run waits for them or reads their errors

local owners = {}      -- task → owner, until the task has ended

-- That of the task that is running; outside any task the root.
function M.current()
  local task = core.current_task()
  local owner = task and owners[task]
  return owner and owner._scope or M.root
end

-- The place for the task comes first: a task that could not be noted for want of memory would stay for ever.
local function make_task(owner, scope, fn, ...)
  local tasks = scope.tasks
  tasks[owner] = false
  tasks[owner] = core.new_task(fn, ...)
  owners[tasks[owner]] = owner
end

-- Runs fn(...) as a task. start: core.queue_task (from the next turn of the loop on) or core.run_task (at once).
function M.spawn(owner, scope, start, fn, ...)
  owner._scope = scope
  local ok, err = pcall(make_task, owner, scope, fn, ...)
  local task = scope.tasks[owner]
  if not ok then
    if task then core.cancel_task(task) end
    scope.tasks[owner] = nil
    error(err, 0)
  end
  scope.open = scope.open + 1
  start(task)
end

-- The task of an owner, until it has ended.
function M.task_of(owner) return owner._scope.tasks[owner] end

-- Called by the core when a task has ended: (task, true, is_canceled, values…) or (task, false, is_canceled, err,
-- traceback); again when it raised for want of memory. What needs no memory comes last.
local function on_task_end(task, ...)
  local owner = owners[task]
  if not owner then return end
  owner:_on_task_end(...)
  local scope = owner._scope
  owners[task] = nil
  scope.open = scope.open - 1
  scope.tasks[owner] = nil
end

core.set_upcall("task_end", on_task_end)

-- Cancels an owner's task: its waits end as canceled. A task that has not started has ended when this returns.
function M.cancel(owner)
  local task = M.task_of(owner)
  if core.cancel_task(task) then on_task_end(task, true, true) end
end

-- What a task raised, as its owner keeps it: never nil, and with the traceback where the error has a place for it.
function M.error_of(err, traceback)
  if err == nil then return "nil (raised as an error)" end
  if type(err) == "table" and rawget(err, "traceback") == nil then rawset(err, "traceback", traceback) end
  return err
end

return M
