-- Tasks and the loop that runs them. Invariant: an error that nobody has read is raised by whoever drives the loop,
-- or given to warn when the state closes; it is never lost.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"

local M = {}

-- A scope counts the tasks that a run waits for. Tasks spawned outside any run belong to the root.
-- A scope's futures are those of its open tasks, each with its task.
local function new_scope()
  return { open = 0, futures = {}, unread = {}, is_canceled = false, is_over = false, ends_at = false }
end
local root = new_scope()
local detached = new_scope()   -- of futures that happen to be tasks: no run waits for them or reads their errors
local futures = {}    -- task → future, until the task has ended
local strays = {}     -- errors without a reader, in order

-- ---- errors without a reader

setmetatable(strays, {
  __gc = function(list)
    for _, err in ipairs(list) do
      if warn then warn("arvak: an error that nobody read: ", tostring(err)) end
    end
  end,
})

local function add_stray(err) strays[#strays + 1] = err end

local function raise_stray()
  if #strays > 0 then error(table.remove(strays, 1), 0) end
end

M.add_stray, M.raise_stray = add_stray, raise_stray

function M.has_stray() return #strays > 0 end

-- Set by arvak.attach, which stands on this module: tells coroutines of other loops that their waits are over.
M.resume_woken = nil

-- Outside a run nobody looks for unread errors at the end; the collector does.
local function watch_unread(f)
  f._sentinel = setmetatable({}, {
    __gc = function()
      if not f._is_read then add_stray(f._values[2]) end
    end,
  })
end

-- ---- spawning

local function current_scope()
  local task = core.current_task()
  local f = task and futures[task]
  return f and f._scope or root
end

local function cancel_task(f)
  if core.cancel_task(f._task) then M.task_end(f._task, true, true) end
  return true
end

local function note(f, task, scope)
  f._task, f._scope, f._has_raised = task, scope, false
  futures[task] = f
  scope.futures[f] = task
end

-- start: core.queue_task or core.run_task.
local function spawn_in(scope, start, fn, ...)
  local f = future.new(cancel_task)
  local task = core.new_task(fn, ...)
  local ok, err = pcall(note, f, task, scope)
  if not ok then
    futures[task] = nil
    core.cancel_task(task)
    error(err, 0)
  end
  scope.open = scope.open + 1
  start(task)
  return f
end

local function settle_task(f, ok, is_canceled, ...)
  if ok and is_canceled and (...) == nil and select(2, ...) == nil then
    future.settle(f, nil, errors.new("canceled", "the task was canceled"))
  elseif ok then
    future.settle(f, ...)
  else
    local err, traceback = ...
    if err == nil then err = "nil (raised as an error)" end
    if type(err) == "table" and rawget(err, "traceback") == nil then rawset(err, "traceback", traceback) end
    f._has_raised = true
    future.fail(f, err, traceback)
  end
end

-- Nobody holds the future of a callback: its error goes straight to whoever drives the loop, with its traceback.
local function callback_error(f)
  local err = f._values[2]
  if type(err) == "string" and f.traceback then return err .. "\n" .. f.traceback end
  return err
end

local function note_failure(f, scope)
  if f._state ~= "failed" or f._is_read or f._is_noted or scope == detached then return end
  if f._is_callback then
    add_stray(callback_error(f))
  elseif scope == root then
    watch_unread(f)
  else
    scope.unread[#scope.unread + 1] = f
  end
  f._is_noted = true
end

-- Called by the core when a task has ended: (task, true, is_canceled, values…) or (task, false, is_canceled, err,
-- traceback); again when it raised for want of memory. What needs no memory comes last.
function M.task_end(task, ...)
  local f = futures[task]
  if not f then return end
  local scope = f._scope
  settle_task(f, ...)
  note_failure(f, scope)
  futures[task] = nil
  scope.open = scope.open - 1
  scope.futures[f] = nil
  f._task = nil
end

core.set_upcall("task_end", M.task_end)

-- Runs fn(...) as a task from the next turn of the loop on: the Future of its results.
function M.spawn(fn, ...)
  check.callable(fn, "spawn")
  return spawn_in(current_scope(), core.queue_task, fn, ...)
end

function M.spawn_detached(fn, ...)
  return spawn_in(detached, core.queue_task, fn, ...)
end

local function run_callback(fn, f)
  futures[core.current_task()]._is_callback = true
  fn(f)
end

-- A callback is a task whose errors have no reader but the driver of the loop. start: core.queue_task or core.run_task.
function future.start_callback(callback, f, start)
  local scope = callback.scope.is_over and root or callback.scope
  spawn_in(scope, start, run_callback, callback.fn, f)
end

future.current_scope = current_scope

-- ---- driving

local GRACE = 2.0   -- seconds that canceled tasks may take to end before a run leaves them behind

local function drive(scope, main)
  while scope.open > 0 and not (scope.ends_at and core.now() > scope.ends_at) do
    if core.is_idle() then
      core.cancel_tasks(scope.futures)
      if core.is_idle() then break end
      if not scope.is_canceled then
        scope.deadlock = "deadlock: every task waits for something that nothing in flight can bring"
      end
      scope.is_canceled = true
    end
    core.drive()
    if main._has_raised and not scope.is_canceled then
      scope.is_canceled, scope.ends_at = true, core.now() + GRACE
      core.cancel_tasks(scope.futures)
    end
  end
end

-- When driving itself is interrupted (Ctrl-C, no memory), the tasks are canceled and their ends awaited.
local function drive_to_end(scope, main)
  local ok, err = pcall(drive, scope, main)
  if ok then return core.rouse(0) end
  scope.is_canceled, scope.ends_at = true, core.now() + GRACE
  core.cancel_tasks(scope.futures)
  pcall(drive, scope, main)
  pcall(core.rouse, 0)
  error(err, 0)
end

local function raise_unread(scope)
  for _, f in ipairs(scope.unread) do
    if not f._is_read then
      f._is_read = true
      add_stray(f._values[2])
    end
  end
  raise_stray()
end

-- Runs fn(...) as a task and drives the loop until it and the tasks spawned in it have ended: its results. An error
-- is raised as the same object; then the other tasks are canceled, and given two seconds to end. An unread error of a
-- spawned task is raised too.
function M.run(fn, ...)
  check.callable(fn, "run")
  if core.current_task() then check.misuse("run: already inside a task; call the function, or spawn it") end
  if core.is_foreign("run") then
    check.misuse("run: inside a coroutine of the attached loop; call the function, or spawn it")
  end
  local scope = new_scope()
  local main = spawn_in(scope, core.queue_task, fn, ...)
  main._is_read = true
  drive_to_end(scope, main)
  scope.is_over = true
  if main._has_raised then error(main._values[2], 0) end
  if scope.deadlock then error(scope.deadlock, 0) end
  raise_unread(scope)
  return table.unpack(main._values, 1, main._values.n)
end

-- One step of the loop from outside any task: runs what is ready, waits timeout seconds at most (default 0: not at
-- all). True while anything is in flight. Raises the errors that nobody has read.
function M.poll(timeout)
  check.seconds(timeout, "timeout")
  if core.current_task() then check.misuse("poll: cannot step the loop inside a task") end
  core.step(math.min(timeout or 0, 1e9))
  M.resume_woken()
  core.rouse(0)
  raise_stray()
  return not core.is_idle()
end

-- Waits for this many seconds: true, or nil and an error when the task is canceled.
function M.sleep(seconds)
  if seconds == nil then check.misuse("sleep: got nil, expected a number of seconds from 0 on") end
  check.seconds(seconds, "sleep")
  local woken, err = core.park("sleep", seconds)
  if woken == nil then return nil, err end
  return true
end

-- True inside a task.
function M.in_task()
  return core.current_task() ~= nil
end

-- A coroutine.wrap whose function may wait: inside a task its waits are the task's.
M.wrap = core.wrap

return M
