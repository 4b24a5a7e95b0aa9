-- What is due when: a heap of values by time. Invariant: a value is handed out once for each time it was added, never
-- before that time; whether it still matters is for the taker to know.
-- SPDX-License-Identifier: Apache-2.0
local Heap = {}
Heap.__index = Heap

local M = {}

function M.new() return setmetatable({ count = 0, times = {}, values = {} }, Heap) end

function Heap:add(time, value)
  local times, values = self.times, self.values
  local i = self.count + 1
  self.count = i
  while i > 1 and times[i // 2] > time do
    times[i], values[i] = times[i // 2], values[i // 2]
    i = i // 2
  end
  times[i], values[i] = time, value
end

-- The time of the next value, or nil.
function Heap:next_time() return self.times[1] end

-- Moves the last value down from the top to where it belongs.
local function sink(self, time, value)
  local times, values, count = self.times, self.values, self.count
  local i = 1
  while true do
    local child = 2 * i
    if child > count then break end
    if child < count and times[child + 1] < times[child] then child = child + 1 end
    if times[child] >= time then break end
    times[i], values[i] = times[child], values[child]
    i = child
  end
  times[i], values[i] = time, value
end

-- The next value whose time has come by now, or nil.
function Heap:take(now)
  local times, values, count = self.times, self.values, self.count
  if count == 0 or times[1] > now then return nil end
  local value = values[1]
  local time, last = times[count], values[count]
  times[count], values[count] = nil, nil
  self.count = count - 1
  if count > 1 then sink(self, time, last) end
  return value
end

return M
