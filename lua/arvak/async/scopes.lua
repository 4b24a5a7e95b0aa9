-- Which tasks a run waits for: each task is in one scope, that of its run, from its start until its end was told.
-- A task has an owner, the future of its results or a callback, to whom its end is told.
-- Invariant: scope, owner and what is called at the end belong to the task, where no program can reach them; on_end has
-- returned once before a task leaves its scope, and is called again when it raised for want of memory.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local strays = require "arvak.async.strays"

local M = {}

-- unread: futures that have failed and whose error nobody has read.
function M.new()
  return { open = 0, unread = {}, is_canceled = false, is_over = false, ends_at = false }
end

M.root = M.new()       -- of tasks that were spawned outside any run
M.detached = M.new()   -- of futures that happen to be tasks: no run waits for them

-- That of the task that is running; outside any task the root.
function M.current()
  return core.current_scope() or M.root
end

-- A run that is over waits for nothing any more, and of what it cannot wait for the root takes care.
function M.living(scope)
  return (scope.is_over or scope == M.detached) and M.root or scope
end

-- The field is there: a task that could not be noted for want of memory would stay for ever.
local function make_task(owner, scope, on_end, fn, ...)
  owner._task = core.new_task(scope, owner, on_end, fn, ...)
end

-- Runs fn(...) as a task. on_end(owner, scope, ok, is_canceled, ...) is told its results, or the error and a traceback.
-- start: core.queue_task (from the next turn of the loop on) or core.run_task (at once).
function M.spawn(owner, scope, on_end, start, fn, ...)
  owner._task = false
  local ok, err = pcall(make_task, owner, scope, on_end, fn, ...)
  local task = owner._task
  if not ok then
    if task then core.cancel_task(task) end
    error(err, 0)
  end
  scope.open = scope.open + 1
  start(task)
end

-- A task whose end cannot be told is told to have failed for that reason. What needs no memory comes last.
local function tell(task, ok, ...)
  local on_end, owner, scope = core.task_owner(task)
  if not on_end then return end
  local is_told, reason = core.protect(on_end, owner, scope, ok, ...)
  if not is_told then
    if ok then error(reason, 0) end
    strays.add(reason)
  end
  core.set_told(task)
  scope.open = scope.open - 1
end

core.set_upcall("task_end", tell)

-- Cancels an owner's task: its waits end as canceled. A task that has not started has ended when this returns.
function M.cancel(owner)
  local task = owner._task
  if core.cancel_task(task) then tell(task, true, true) end
end

-- What a task raised, as its owner keeps it: never nil, and with the traceback where the error has a place for it.
function M.error_of(err, traceback)
  if err == nil then return "nil (raised as an error)" end
  if type(err) == "table" and rawget(err, "traceback") == nil then rawset(err, "traceback", traceback) end
  return err
end

return M
