-- Other people's event loops. Invariant: whoever is suspended in one stands in tokens until its loop has been told to
-- go on, or it has died; and nothing of ours stays in the loop while nothing is in flight, so that the loop can end.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local strays = require "arvak.async.strays"

local M = {}

local Attachment = core.metatables["arvak.attachment"]
local attachment = {}
Attachment.__index = attachment

local current = nil              -- the attachment, until it is detached
local lingering = {}             -- those that were detached while coroutines of their loops wait
local watcher = nil              -- the one in whose loop the descriptor is watched
-- Of each who waits, by the place in his ticket: the ticket, the token and the attachment; the first two are false when
-- he is gone. Places are used again, unlike tickets, so the tables do not have to be built anew all the time.
local tickets, tokens, owners = {}, {}, {}
local pump

local function note_attached()
  core.set_attached(current ~= nil, current ~= nil or next(lingering) ~= nil)
end

-- The loop's own timer for the next step, unless one is set that comes early enough.
local function arm(self, seconds)
  local due = core.now() + seconds
  if self.armed_for and self.armed_for <= due then return end
  if self.cancel_timer then self.cancel_timer() end
  self.armed_for, self.cancel_timer = nil, nil
  self.cancel_timer = self.driver.timer(seconds, function()
    self.armed_for, self.cancel_timer = nil, nil
    pump(self)
  end)
  self.armed_for = due
end

local function stop_being_watcher(self)
  if watcher ~= self then return end
  core.set_watched(false)   -- first: there may be no memory for the call
  watcher = nil
end

local function stop_watching(self)
  if self.cancel_timer then self.cancel_timer() end
  if self.stop_watch then self.stop_watch() end
  self.armed_for, self.cancel_timer, self.stop_watch = nil, nil, nil
  stop_being_watcher(self)
end

local function finish(self)
  stop_watching(self)
  lingering[self] = nil
  note_attached()
  core.close_fd(self.user)
end

-- After a step: when the next one is to come.
local function plan(self)
  if not core.fd_of(self.user) then return core.hand_over() end
  local due = core.due(self.user)
  if due == 0 then
    core.kick(self.user)
  elseif due then
    arm(self, due)
  elseif core.is_idle() then
    stop_watching(self)
  end
end

-- The attachment of who waited, and his token, who have it no longer. Calls nothing: there may be no memory for a call,
-- and who has been taken from the list of the woken would never be told.
local function forget(ticket)
  local place = (ticket & 0xffffffff) + 1
  if tickets[place] ~= ticket then return nil end
  local owner, token = owners[place], tokens[place]
  tickets[place], tokens[place] = false, false
  if not token then return nil end
  owner.waiting = owner.waiting - 1
  return owner, token
end

local function finish_if_left(self)
  if self.is_detached and self.waiting == 0 then finish(self) end
end

-- Tells the loop of the first who waited, unless he is gone.
local function resume_first()
  local ticket = core.next_woken()
  if not ticket then return end
  local owner, token = forget(ticket)
  if not owner then return end   -- he has not come to suspend himself
  local ok, err = pcall(owner.driver.resume, token)
  finish_if_left(owner)
  if not ok then strays.add(err) end
end

-- Tells the loops of those whose waits are over. Who is resumed may end others' waits; these go on in the next turn.
function M.resume_woken()
  for _ = 1, core.woken_count() do
    resume_first()
  end
end

local function turn(self)
  core.pump(self.user)
  M.resume_woken()
end

-- One turn, called by the loop. Whatever fails in it, another follows.
function pump(self)
  if self.is_pumping or not core.fd_of(self.user) then return end
  self.is_pumping = true
  local ok, err = pcall(turn, self)
  self.is_pumping = false
  local is_planned, reason = pcall(plan, self)
  if not is_planned then core.kick(self.user) end
  if not (ok and is_planned) then error(not ok and err or reason, 0) end
  strays.raise()
end

core.set_upcall("running", function()
  return current.driver.running()
end)

core.set_upcall("suspend", function(ticket)
  local place = (ticket & 0xffffffff) + 1
  local is_known = tickets[place] == ticket
  if not is_known or not tokens[place] then
    local owner = is_known and owners[place] or current
      or check.misuse("the loop was detached while its coroutine made a call")
    local token = owner.driver.running()
    -- There may be no memory for any of them: a token alone would keep a coroutine that has died.
    owners[place], tokens[place] = owner, false
    tickets[place] = ticket
    tokens[place] = token or false
    if token then owner.waiting = owner.waiting + 1 end
  end
  owners[place].driver.suspend(tokens[place] or nil)
end)

-- The coroutine that waited was closed or collected, maybe with its whole loop. It may happen in any finalizer.
core.set_upcall("gone", function(ticket)
  local owner = forget(ticket)
  if owner then finish_if_left(owner) end
end)

-- The driver's watch_fd may detach the loop, and attach another.
core.set_upcall("busy", function()
  local self = current or next(lingering)
  local stop = self.stop_watch or check.callable(
    self.driver.watch_fd(core.fd_of(self.user), function() pump(self) end), "attach: the result of watch_fd")
  if core.fd_of(self.user) then self.stop_watch, watcher = stop, self else stop() end
  return watcher ~= nil
end)

local names = { running = true, suspend = true, resume = true, watch_fd = true, timer = true }

-- Lets client methods suspend the coroutines of another event loop instead of blocking it, until a:detach(). The
-- driver's functions:
--   running()            a token for the running coroutine of the loop; nil outside the loop (methods block there);
--                        false inside it where the coroutine cannot be suspended (methods raise)
--   suspend(token)       suspends that coroutine until resume(token); may return earlier
--   resume(token)        lets it go on, now or soon
--   watch_fd(fd, fn)     calls fn() whenever fd is readable, until the function that it returns is called
--   timer(seconds, fn)   calls fn() once, unless the function that it returns is called before
function M.attach(driver)
  if type(driver) ~= "table" then
    check.misuse("attach: got %s, expected a table of functions", core.describe(driver))
  end
  check.options(driver, "attach", names)
  for _, name in ipairs { "running", "suspend", "resume", "watch_fd", "timer" } do
    check.callable(driver[name], "attach: " .. name)
  end
  if current then   -- a loop that was dropped is detached when it is collected
    collectgarbage()
    collectgarbage()
  end
  if current then check.misuse("attach: a loop is attached already; detach it first") end
  local self = setmetatable({ driver = driver, user = core.open_fd(), waiting = 0, is_detached = false }, Attachment)
  if watcher then stop_being_watcher(watcher) end   -- one that lingers, or could not stop for want of memory
  current = self
  note_attached()
  local ok, err = pcall(core.hand_over)   -- it watches from now on if something is in flight
  if ok then return self end
  self:detach()
  error(err, 0)
end

-- From now on methods block again. Who is suspended already goes on as its call ends. Idempotent.
function attachment:detach()
  if self.is_detached then return end
  self.is_detached, current = true, nil   -- before anything that there may be no memory for
  if self.waiting > 0 then lingering[self] = true end
  stop_being_watcher(self)
  note_attached()
  finish_if_left(self)
  core.hand_over()
end

Attachment.__close = attachment.detach

return M
