-- The places of a manager: how many inputs all its batches may have open together. Pure.
-- Invariant: no more are taken than there are; whoever stands in line has something to send, and is served in turn.
-- SPDX-License-Identifier: Apache-2.0
local queue = require "arvak.base.queue"

local M = {}

local Places = {}
Places.__index = Places

function M.new(limit)
  return setmetatable({ limit = limit, taken = 0, held = {}, lent = {}, runs = 0, line = queue.new(),
    is_in_line = {} }, Places)
end

-- The first in line, or nil.
local function first(self)
  while true do
    local run = self.line:peek()
    if not run or self.is_in_line[run] then return run end
    self.line:pop()
  end
end

-- Wakes the first in line, if there is a place.
local function serve(self)
  local run = first(self)
  if run and self.taken < self.limit then run:wake() end
end

-- A batch begins. Its run:wake() is called when it stands in line and it is its turn.
function Places:enter(run)
  self.runs, self.held[run] = self.runs + 1, 0
end

-- How many a batch may take now; where others stand in line, one at most, when it is its turn.
function Places:free(run)
  local free, head = math.max(0, self.limit - self.taken), first(self)
  if not head then return free end
  return head == run and math.min(1, free) or 0
end

-- Whether other batches of the manager run.
function Places:are_shared() return self.runs > 1 end

-- Takes one of those that are free.
function Places:take(run)
  self.taken, self.held[run] = self.taken + 1, self.held[run] + 1
  self:step_out(run)
end

function Places:give_back(run)
  if not self.held[run] then return end   -- it has left
  self.held[run] = self.held[run] - 1
  if self.lent[run] then return end   -- others have it already
  self.taken = self.taken - 1
  serve(self)
end

-- Waits for a place, behind those who wait already.
function Places:stand_in_line(run)
  if self.is_in_line[run] then return end
  self.line:push(run)
  self.is_in_line[run] = true
end

-- Waits no longer.
function Places:step_out(run)
  if self.is_in_line[run] then
    self.is_in_line[run] = nil
    if self.line:peek() == run then self.line:pop() end
  end
  serve(self)
end

-- A batch that is inside a function of the user's does not see its jobs end. Meanwhile others may have its places, as
-- that function may wait for one of them.
function Places:lend(run)
  self.taken, self.lent[run] = self.taken - (self.held[run] or 0), true
  serve(self)
end

function Places:take_home(run) self.taken, self.lent[run] = self.taken + (self.held[run] or 0), nil end

-- A batch is over, with whatever it holds.
function Places:leave(run)
  if not self.held[run] then return end
  if not self.lent[run] then self.taken = self.taken - self.held[run] end
  self.runs, self.held[run], self.lent[run] = self.runs - 1, nil, nil
  self:step_out(run)
end

return M
