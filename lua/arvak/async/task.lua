-- Tasks, and the loop that runs them. Invariant: the error of a user's task is read from its future, or raised by the
-- run around the task, or goes to the strays; so it is never lost. A run raises one error, the others go to the strays.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local scopes = require "arvak.async.scopes"
local strays = require "arvak.async.strays"

local M = {}

-- ---- the end of a task

local function settle(f, ok, is_canceled, ...)
  if ok and is_canceled and (...) == nil and select(2, ...) == nil then
    future.settle(f, nil, errors.new("canceled", "the task was canceled"))
  elseif ok then
    future.settle(f, ...)
  else
    local err, traceback = ...
    err = scopes.error_of(err, traceback)
    f._has_raised = true
    future.fail(f, err, traceback)
  end
end

-- Outside a run nobody looks for unread errors at the end; the collector does.
local function watch_unread(f)
  f._sentinel = setmetatable({}, {
    __gc = function()
      if not f._is_read then strays.add(f._values[2]) end
    end,
  })
end

-- A future that no run waits for has its reader; only what a task raised may surprise him.
local function is_watched(f, scope)
  return f._state == "failed" and not f._is_read and not f._is_noted
    and (scope ~= scopes.detached or f._has_raised)
end

local function note_failure(f, scope)
  if not is_watched(f, scope) then return end
  local living = scopes.living(scope)
  if living == scopes.root then
    watch_unread(f)
  else
    living.unread[#living.unread + 1] = f
  end
  f._is_noted = true
end

local function on_task_end(f, scope, ...)
  settle(f, ...)
  note_failure(f, scope)
end

-- ---- spawning

local function cancel(f)
  scopes.cancel(f)
  return true
end

local function spawn_in(scope, fn, ...)
  local f = future.new(cancel)
  f._has_raised = false
  scopes.spawn(f, scope, on_task_end, core.queue_task, fn, ...)
  return f
end

local function too_many()
  return errors.new("resource_exhausted", "as many of this plugin's tasks are under way as the host allows",
    { scope = "plugin", attempts = 0 })
end

-- Runs fn(...) as a task from the next turn of the loop on: the Future of its results.
function M.spawn(fn, ...)
  check.callable(fn, "spawn")
  if not core.has_room() then return future.failed(too_many()) end
  return spawn_in(scopes.current(), fn, ...)
end

-- The same for the library's own tasks: no run waits for them.
function M.spawn_detached(fn, ...)
  return spawn_in(scopes.detached, fn, ...)
end

-- ---- driving

local GRACE = 2.0    -- seconds that canceled tasks may take to end before a run leaves them behind
local LINGER = 0.5   -- seconds, after an interrupt, in which what they have asked of the server can leave

local function drive(scope, main)
  while scope.open > 0 and not (scope.ends_at and core.now() > scope.ends_at) do
    if core.is_idle() then
      core.cancel_tasks(scope)
      if core.is_idle() then break end
      if not scope.is_canceled then
        scope.deadlock = "deadlock: every task waits for something that nothing in flight can bring"
      end
      scope.is_canceled = true
    end
    core.drive()
    if main._has_raised and not scope.is_canceled then
      scope.is_canceled, scope.ends_at = true, core.now() + GRACE
      core.cancel_tasks(scope)
    end
  end
end

-- A batch whose task was canceled has its jobs canceled, and cannot wait for it.
local function linger()
  local ends_at = core.now() + LINGER
  while core.now() < ends_at and not core.is_idle() do core.drive() end
end

-- When driving itself is interrupted (Ctrl-C, no memory), the tasks are canceled and their ends awaited.
local function drive_to_end(scope, main)
  local ok, err = pcall(drive, scope, main)
  if ok then return core.hand_over() end
  scope.is_canceled, scope.ends_at = true, core.now() + GRACE
  core.cancel_tasks(scope)
  pcall(drive, scope, main)
  pcall(linger)
  pcall(core.hand_over)
  error(err, 0)
end

-- From now on nobody reads an error in it.
local function leave(scope)
  scope.is_over = true
  for _, f in ipairs(scope.unread) do
    if not f._is_read then
      f._is_read = true
      strays.add(f._values[2])
    end
  end
end

-- Runs fn(...) as a task and drives the loop until it and the tasks spawned in it have ended: its results. An error
-- is raised as the same object; then the other tasks are canceled, and given two seconds to end. An unread error of a
-- spawned task is raised too; of several errors one is raised, that of fn first, and the others by whoever drives next.
function M.run(fn, ...)
  check.callable(fn, "run")
  if core.in_task() then check.misuse("run: already inside a task; call the function, or spawn it") end
  if core.is_foreign("run") then
    check.misuse("run: inside a coroutine of the attached loop; call the function, or spawn it")
  end
  local scope = scopes.new()
  local main = spawn_in(scope, fn, ...)
  main._is_read = true
  local ok, err = pcall(drive_to_end, scope, main)
  leave(scope)
  if not ok then error(err, 0) end
  if main._has_raised then error(main._values[2], 0) end
  if scope.deadlock then error(scope.deadlock, 0) end
  strays.raise()
  return table.unpack(main._values, 1, main._values.n)
end

-- Waits for this many seconds: true, or nil and an error when the task is canceled.
function M.sleep(seconds)
  if seconds == nil then check.misuse("sleep: got nil, expected a number of seconds from 0 on") end
  check.seconds(seconds, "sleep")
  core.limit_sleep(seconds)
  return M.pause(seconds)
end

-- The same for the library's own pauses, which the host's limit is not about.
function M.pause(seconds)
  local woken, err = core.park("sleep", seconds)
  if woken == nil then return nil, err end
  return true
end

-- True inside a task.
function M.in_task()
  return core.in_task()
end

-- A coroutine.wrap whose function may wait: inside a task its waits are the task's.
M.wrap = core.wrap

return M
