-- Calls and timers that nobody is suspended on: their ends come as functions of a future.
-- Invariant: a future is in pending, and so held, from the start of its call or timer until its end is told. Places are
-- used again, unlike tickets, so the tables do not have to be built anew all the time.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local future = require "arvak.async.future"
local strays = require "arvak.async.strays"

local M = {}

-- By the place in a ticket: the future, whose _on_end(future, …) is told, or false; and the ticket.
local pending, tickets = {}, {}

local function place_of(ticket) return (ticket & 0xffffffff) + 1 end

local function note(f, ticket)
  local place = place_of(ticket)
  pending[place] = f
  tickets[place] = ticket
end

local function is_pending(f, ticket)
  local place = ticket and place_of(ticket)
  return place ~= nil and tickets[place] == ticket and pending[place] == f
end

-- A next step that raises (a function given as api_key, say) is the end of its future, and of nobody else's. Only what
-- failed for want of memory is told again.
local function tell(f, ...)
  if not f._on_end then return future.settle(f, ...) end
  local ok, err = core.protect(f._on_end, f, ...)
  if not ok then future.fail(f, err) end
end

core.set_upcall("call_end", function(ticket, value, err)
  local place = place_of(ticket)
  local f = tickets[place] == ticket and pending[place]
  if not f then return end   -- there was no memory to note it, and that was raised then
  if err and errors.is_error(err) then err.job_id = err.job_id or f._job_id or f.job_id end
  if f._timer == ticket then f._timer = nil end
  local ok, reason
  if err == nil then
    ok, reason = core.protect(tell, f, value)   -- and no nil after it
  else
    ok, reason = core.protect(tell, f, value, err)
  end
  if tickets[place] == ticket then pending[place] = false end
  if not ok then strays.add(reason) end   -- somebody wrote into the future
end)

-- Starts a call of the core for f: on_end(f, value | nil, err) is told of its end; nil: f settles with it.
function M.start(f, on_end, method, client, ...)
  f._on_end = on_end
  local ticket, err = core.start[method](client, ...)
  if ticket then
    f._ticket = ticket
    note(f, ticket)
  elseif on_end then
    on_end(f, nil, err)
  else
    future.settle(f, nil, err)
  end
end

-- The same from within an on_end, where nobody is there to raise to: what api_key or metadata give may be no header.
function M.go_on(f, on_end, ...)
  local ok, err = core.protect(M.start, f, on_end, ...)   -- Lua's lack of memory is raised, and this is told again
  if ok then return end
  on_end(f, nil, errors.new("unauthenticated", tostring(err), { cause = err, attempts = 0 }))
end

-- on_end(f) is told when seconds are over.
function M.start_timer(f, seconds, on_end)
  f._on_end = on_end
  local ticket = core.start_timer(seconds)
  f._timer = ticket
  note(f, ticket)
end

-- on_end(f) is told once the bell rings.
function M.await_bell(f, bell, on_end)
  f._on_end = on_end
  note(f, core.await_bell(bell))
end

-- What runs on f's timer is told in the next turn of the loop.
function M.stop_timer(f)
  if is_pending(f, f._timer) then core.stop_timer(f._timer) end
end

-- Cancels f's call, whose end has been told when this returns, but for a busy connection.
function M.cancel_call(f)
  if is_pending(f, f._ticket) then core.cancel_call(f._ticket) end
end

-- Whether f's call is with gRPC, or has ended.
function M.is_sent(f)
  return not is_pending(f, f._ticket) or core.is_sent(f._ticket)
end

-- How many futures wait here. A canceled future has ended, although its timer may still be pending.
function M.count()
  local futures, count = {}, 0
  for _, f in pairs(pending) do
    if future.is_future(f) and not f:done() and not futures[f] then futures[f], count = true, count + 1 end
  end
  return count
end

-- Those that wait for a timer do not wait to learn that their client was closed.
function M.stop_timers_of(client)
  for place, f in pairs(pending) do
    if f and f._timer == tickets[place] and f._client == client then core.stop_timer(f._timer) end
  end
end

return M
