-- Several futures at once. Invariant: a group notes each of its futures once, when that has ended; who waits for the
-- group waits for these notes only, and closing the group takes it out of its futures.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local strays = require "arvak.async.strays"
local task = require "arvak.async.task"

local M = {}

-- ---- a group of futures

-- futures: what is watched, a copy of the list. count. places: future → its places in the list, where it may stand
-- twice. ended: those that have ended, in that order, each once. open, completed, failed: how many places. Closed by
-- leaving its block.
local Group = {}
Group.__index = Group

-- Called by a future that has ended: remembers the order, and the first that came to nothing.
function Group:note(f)
  local places = #self.places[f]
  self.ended[#self.ended + 1] = f
  self.open = self.open - places
  if f._state == "done" then
    self.completed = self.completed + places
  else
    self.failed = self.failed + places
    self.first_failure = self.first_failure or f
  end
  if f._state == "failed" then self.has_exception = true end
  future.wake(self.tickets)
end

-- Takes the group out of its futures.
function Group:close()
  for f in pairs(self.places) do future.unobserve(f, self) end
end

Group.__close = Group.close

-- A list of futures, copied, and how many there are.
function M.check_futures(futures, method)
  if future.is_future(futures) then
    check.misuse("%s: got %s, expected a list of futures", method, core.describe(futures))
  end
  local copy, count = check.list(futures, method, method .. ": futures", "future")
  for i, f in ipairs(copy) do
    if not future.is_future(f) then
      check.misuse("%s: futures[%d]: got %s, expected a future", method, i, core.describe(f))
    end
  end
  return copy, count
end

local function find_places(futures)
  local places = {}
  for i, f in ipairs(futures) do
    local list = places[f]
    if not list then
      list = {}
      places[f] = list
    end
    list[#list + 1] = i
  end
  return places
end

-- Watches a list of futures. timeout: seconds that its waits may take together, or nil.
function M.watch(futures, method, timeout)
  check.seconds(timeout, "timeout")
  local copy, count = M.check_futures(futures, method)
  local group = setmetatable({ futures = copy, count = count, places = find_places(copy), ended = {}, open = count,
    completed = 0, failed = 0, tickets = {}, method = method, started_at = core.now(), timeout = timeout }, Group)
  group.ends_at = timeout and group.started_at + timeout
  for f in pairs(group.places) do
    if not f:done() then future.observe(f, group) end
  end
  -- Those that have ended already come first, in the order of the list.
  for i, f in ipairs(copy) do
    if f:done() and group.places[f][1] == i then group:note(f) end
  end
  return group
end

-- Waits for the next end, or until a time: true, false when it is over, nil and an error when the task was canceled.
function Group:wait(until_time)
  local time = math.min(until_time or math.huge, self.ends_at or math.huge)
  return future.park(self.tickets, self.method, time < math.huge and math.max(0, time - core.now()) or nil)
end

-- Waits until enough(group) or the time is over: true or false, nil and an error.
function Group:wait_until(enough)
  while not enough(self) do
    local woken, err = self:wait()
    if woken == nil then return nil, err end
    if not woken and not enough(self) then return false end
  end
  return true
end

local function all_ended(group) return group.open == 0 end

-- ---- as_completed

-- The next future and place in the order of the ends, or nil; raises when there is none in time.
local function step_of(group)
  local next_end, next_place = 1, 1
  local function has_next() return next_end <= #group.ended or all_ended(group) end
  return function()
    local ok, err = group:wait_until(has_next)
    if not ok then
      group:close()
      error(err or errors.new("timeout", string.format("%d of %d futures have not ended within %s s",
        group.open, group.count, errors.seconds(group.timeout)), { scope = "wait" }), 0)
    end
    local f = group.ended[next_end]
    if not f then return nil end
    local places = group.places[f]
    local place = places[next_place]
    next_place = next_place + 1
    if next_place > #places then next_end, next_place = next_end + 1, 1 end
    return f, place
  end
end

-- What as_completed gives. method: who says so in messages.
function M.in_order(futures, timeout, method)
  local group = M.watch(futures, method, timeout)
  return step_of(group), nil, nil, group
end

-- For a generic for: future and index (its place in the list) in the order in which they end. Raises the timeout error
-- object when timeout seconds are over first, and the canceled one when the task is canceled. Leaving the loop lets go
-- of the futures: the fourth value, which the loop closes.
function M.as_completed(futures, timeout) return M.in_order(futures, timeout, "as_completed") end

-- ---- wait

local conditions = {
  ALL_COMPLETED = all_ended,
  FIRST_COMPLETED = function(group) return #group.ended > 0 or all_ended(group) end,
  FIRST_EXCEPTION = function(group) return group.has_exception or all_ended(group) end,
}

-- Waits for all, the first end, or the first failure (a cancellation is none): the lists of those that have ended and
-- of those that have not, in the order of the list. A timeout is no error here. nil and an error when canceled.
function M.wait(futures, options)
  options = check.options(options, "wait", { timeout = true, return_when = true })
  local return_when = options.return_when or "ALL_COMPLETED"
  local enough = conditions[return_when]
  if not enough then
    check.misuse('return_when: got %s, expected "ALL_COMPLETED", "FIRST_COMPLETED" or "FIRST_EXCEPTION"',
      core.describe(return_when))
  end
  local group <close> = M.watch(futures, "wait", options.timeout)
  local ok, err = group:wait_until(enough)
  if ok == nil then return nil, err end
  local done, not_done = {}, {}
  for _, f in ipairs(group.futures) do
    local list = f:done() and done or not_done
    list[#list + 1] = f
  end
  return done, not_done
end

-- ---- gather, all

-- What a future that has ended came to, as one value.
function M.outcome_of(f)
  f._is_read = true
  if f._state == "done" then return { ok = true, value = f._values[1] } end
  return { ok = false, err = f._values[2] }
end

-- Waits for all: a list of { ok = true, value = v } or { ok = false, err = e }, in the order of the list. nil and an
-- error when the task was canceled.
function M.gather(futures)
  local group <close> = M.watch(futures, "gather")
  local ok, err = group:wait_until(all_ended)
  if not ok then return nil, err end
  local outcomes = {}
  for i, f in ipairs(group.futures) do outcomes[i] = M.outcome_of(f) end
  return outcomes
end

-- Cancels all that have not ended. Those of jobs need the server for it; a task sees to that, so that the run around
-- goes on until then.
local function cancel_rest(futures)
  local waiting = {}
  for _, f in ipairs(futures) do
    if f:done() then goto continue end
    if not f._job then
      f:cancel()
    elseif f._job.start_canceling(f).step ~= "over" then
      waiting[#waiting + 1] = f
    end
    ::continue::
  end
  if #waiting == 0 then return end
  task.spawn(function()
    for _, f in ipairs(waiting) do f:cancel() end
  end)
end

-- Waits for all to succeed: the list of their values; or nil, the error and its place in the list as soon as one
-- fails, and then the others are canceled.
function M.all(futures)
  local group <close> = M.watch(futures, "all")
  local ok, err = group:wait_until(function() return all_ended(group) or group.first_failure end)
  if not ok then return nil, err end
  local failed = group.first_failure
  if failed then
    group:close()
    cancel_rest(group.futures)
    return nil, M.outcome_of(failed).err, group.places[failed][1]
  end
  local values = {}
  for i, f in ipairs(group.futures) do values[i] = M.outcome_of(f).value end
  return values
end

-- ---- map

-- Draws from a list, as it is now, or from an iterator function. A table that can be called and holds nothing is one.
local function drawer(source)
  if check.is_callable(source) and (type(source) ~= "table" or next(source) == nil) then return source end
  if type(source) ~= "table" then
    check.misuse("map: got %s, expected a list or a function", core.describe(source))
  end
  local items, i = check.list(source, "map", "map: items", "value"), 0
  return function()
    i = i + 1
    return items[i]
  end
end

-- The tasks of one map: how many run, what those that have ended came to, and what they raised.
local Crew = {}
Crew.__index = Crew

-- After the map has given up nobody reads an outcome, so that what a task raises is for the run around it.
function Crew:note(f)
  local index = self.running[f]
  self.running[f] = nil
  self.count = self.count - 1
  if self.has_given_up then return end
  local outcome = M.outcome_of(f)
  self.outcomes[index] = outcome
  if f._has_raised and f._state == "failed" then self.raised[#self.raised + 1] = outcome.err end
  future.wake(self.tickets)
end

function Crew:start(index, fn, item)
  local f = task.spawn(fn, item, index)
  self.running[f] = index
  self.count = self.count + 1
  future.observe(f, self)
end

-- Waits until at most count run: true, or nil and an error when the task was canceled.
function Crew:wait_below(count)
  while self.count > count do
    local woken, err = future.park(self.tickets, "map")
    if woken == nil then return nil, err end
  end
  return true
end

-- Cancels what runs. The outcomes reach nobody now; what was raised still does.
function Crew:give_up()
  self.has_given_up = true
  for _, err in ipairs(self.raised) do strays.add(err) end
  local rest = {}
  for f in pairs(self.running) do rest[#rest + 1] = f end
  for _, f in ipairs(rest) do f:cancel() end
end

local function start_each(crew, draw, fn, concurrency)
  local index = 0
  while true do
    local ok, err = crew:wait_below(concurrency - 1)
    if not ok then return nil, err end
    local item = draw()
    if item == nil then return crew:wait_below(0) end
    index = index + 1
    crew:start(index, fn, item)
  end
end

-- Runs fn(item, index) on each item of a list or iterator, concurrency at a time (default 32): outcomes as gather's,
-- in the order of the items. The iterator runs in the caller, and may wait. When it raises, or the caller is canceled
-- (nil and an error), the tasks that run are canceled.
function M.map(source, fn, options)
  check.callable(fn, "map")
  options = check.options(options, "map", { concurrency = true })
  local concurrency = options.concurrency or 32
  if math.type(concurrency) ~= "integer" or concurrency < 1 then
    check.misuse("concurrency: got %s, expected an integer from 1 on", core.describe(concurrency))
  end
  core.check_wait("map")
  local draw = drawer(source)
  local crew = setmetatable({ outcomes = {}, raised = {}, running = {}, count = 0, tickets = {} }, Crew)
  local has_run, ok, err = pcall(start_each, crew, draw, fn, concurrency)
  if has_run and ok then return crew.outcomes end
  crew:give_up()
  if not has_run then error(ok, 0) end
  return nil, err
end

-- ---- made by hand

-- A future, and the functions that settle it: resolve(...) with values, reject(err) with an error. The first one counts
-- and gives true.
function M.future()
  local f = future.new()
  local function settle_once(settle, ...)
    if f:done() then return false end
    settle(f, ...)
    return true
  end
  f._cancel = function()
    return settle_once(future.settle, nil, errors.new("canceled", "the future was canceled"))
  end
  return f, function(...) return settle_once(future.settle, ...) end,
    function(err)
      if err == nil then check.misuse("reject: got nil, expected an error") end
      return settle_once(future.fail, err)
    end
end

-- What the call that was cut short says of itself is kept, above all that it may have been executed.
local function timeout_error(seconds, cause)
  cause = cause or {}
  return errors.new("timeout", string.format("not done within %s s", errors.seconds(seconds)), {
    scope = "wait", cause = cause, rpc = cause.rpc, target = cause.target, job_id = cause.job_id,
    maybe_executed = cause.maybe_executed,
  })
end

local GRACE = 2.0   -- seconds that a canceled task may take to end before it is left behind

-- When a future has ended.
local Clock = {}
Clock.__index = Clock

function Clock:note() self.time = core.now() end

-- Runs fn(...) as a task that is canceled when seconds are over: its values, or nil and a timeout error, also when it
-- ends later than that with values.
function M.with_timeout(seconds, fn, ...)
  if seconds == nil then check.misuse("with_timeout: got nil, expected a number of seconds") end
  check.seconds(seconds, "with_timeout")
  check.callable(fn, "with_timeout")
  core.check_wait("with_timeout")
  local ends_at, ending = core.now() + seconds, setmetatable({ time = math.huge }, Clock)
  local f = task.spawn(fn, ...)
  future.observe(f, ending)
  local ended, err = f:wait(seconds)
  if ended == false then
    f:cancel()
    ended, err = f:wait(GRACE)
  end
  if not ended then
    f:cancel()
    return nil, err or timeout_error(seconds)
  end
  f._is_read = true
  if f._has_raised then error(f._values[2], 0) end
  if ending.time > ends_at then
    local cause = f._values[2]
    return nil, timeout_error(seconds, errors.is_error(cause) and cause or nil)
  end
  return table.unpack(f._values, 1, f._values.n)
end

return M
