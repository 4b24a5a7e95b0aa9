-- Where the next entry of a batch comes from: a list, or an iterator function of the user's.
-- Invariant: what was drawn from an iterator is handed on once, also when the batch has stopped meanwhile.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local future = require "arvak.async.future"
local raised = require "arvak.base.raised"
local task = require "arvak.async.task"

local M = {}

-- ---- from a list

local List = {}
List.__index = List

-- Draws from a list; total is known. indexes: only these places, in this order.
function M.from_list(entries, indexes)
  return setmetatable({ entries = entries, indexes = indexes, next = 1, total = indexes and #indexes or #entries,
    drawn = 0 }, List)
end

function List.want() end
function List.stop() end

-- The next index and entry, or nil.
function List:take()
  if self.next > self.total then return nil end
  local index = self.indexes and self.indexes[self.next] or self.next
  self.next, self.drawn = self.next + 1, self.drawn + 1
  return index, self.entries[index]
end

function List:is_exhausted() return self.next > self.total end

-- ---- from an iterator

local Iterator = {}
Iterator.__index = Iterator

-- Draws from an iterator function in a task of its own, so that an iterator that waits, for a result of this very batch
-- even, holds up nothing. wake() is called when something has come. total is false until the iterator has ended.
function M.from_iterator(draw, wake)
  return setmetatable({ draw = draw, wake = wake, queue = {}, first = 1, last = 0, wanted = 0, drawn = 0, tickets = {},
    is_over = false, is_stopped = false, has_started = false, has_let_go = false, raised = false,
    total = false,
    future = false,   -- of its task; a place for it, since there may be no memory for one later
  }, Iterator)
end

local function draw_wanted(self)
  while not self.is_stopped do
    if self.wanted > 0 then
      local entry = self.draw()
      if entry == nil then return end
      self.wanted = self.wanted - 1
      self.last = self.last + 1
      self.queue[self.last] = entry
      self.wake()
    elseif future.park(self.tickets, "the iterator of a batch") == nil then
      return
    end
  end
end

local function run_iterator(self)
  self.has_started = true
  local ok, caught = xpcall(draw_wanted, raised.note, self)
  self.is_over = true
  if not ok then self.raised = caught end
  self.wake()
end

-- Draws until count entries are there to be taken.
function Iterator:want(count)
  local wanted = count - (self.last - self.first + 1)
  if wanted <= 0 or self.is_over or self.is_stopped or wanted == self.wanted then return end
  self.wanted = wanted
  if not self.future then self.future = task.spawn_detached(run_iterator, self) end
  future.wake(self.tickets)
end

-- The next index and entry that has been drawn, or nil.
function Iterator:take()
  local entry = self.queue[self.first]
  if entry == nil then return nil end
  self.queue[self.first] = nil
  self.first, self.drawn = self.first + 1, self.drawn + 1
  return self.drawn, entry
end

-- Whether an entry has been drawn that was not taken.
function Iterator:has_next() return self.queue[self.first] ~= nil end

function Iterator:is_exhausted()
  if not self.is_over or self.first <= self.last then return false end
  if not self.is_stopped and not self.raised then self.total = self.drawn end
  return true
end

-- Draws no further. What waits in the iterator is canceled. Allocates nothing.
function Iterator:stop()
  self.is_stopped = true
  if self.has_let_go then return end   -- of the task; not before all of it was done: there may be no memory for a call
  if self.future and not self.is_over then core.cancel_task(self.future._task) end
  if not self.has_started then self.is_over = true end
  self.has_let_go = true
end

return M
