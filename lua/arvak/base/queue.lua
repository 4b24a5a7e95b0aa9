-- A queue that can be pushed to at both ends. Invariant: what is in it lies dense from first to last.
-- SPDX-License-Identifier: Apache-2.0
local Queue = {}
Queue.__index = Queue

local M = {}

function M.new() return setmetatable({ first = 1, last = 0 }, Queue) end

-- Both write the value first, for which there may be no memory.
function Queue:push(value)
  local last = self.last + 1
  self[last] = value
  self.last = last
end

function Queue:push_front(value)
  local first = self.first - 1
  self[first] = value
  self.first = first
end

-- The first value, or nil.
function Queue:peek() return self[self.first] end

-- Takes the first value, or nil.
function Queue:pop()
  local first = self.first
  if first > self.last then return nil end
  local value = self[first]
  self[first] = nil
  self.first = first + 1
  return value
end

-- Takes all values of another queue, behind its own.
function Queue:take_over(other)
  local last = self.last
  for i = other.first, other.last do
    last = last + 1
    self[last], other[i] = other[i], nil
  end
  self.last, other.first = last, other.last + 1
end

function Queue:is_empty() return self.first > self.last end

function Queue:count() return self.last - self.first + 1 end

return M
