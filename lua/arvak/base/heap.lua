-- What is due when: a heap of items by time. Invariant: an item is handed out once for each time it was added, never
-- before that time; whether it still matters is for the taker to know.
-- SPDX-License-Identifier: Apache-2.0
local Agenda = {}
Agenda.__index = Agenda

local M = {}

function M.new() return setmetatable({ count = 0, times = {}, items = {} }, Agenda) end

function Agenda:add(time, item)
  local times, items = self.times, self.items
  local i = self.count + 1
  self.count = i
  while i > 1 and times[i // 2] > time do
    times[i], items[i] = times[i // 2], items[i // 2]
    i = i // 2
  end
  times[i], items[i] = time, item
end

-- The time of the next item, or nil.
function Agenda:next_time() return self.times[1] end

-- Moves the last item down from the top to where it belongs.
local function sink(self, time, item)
  local times, items, count = self.times, self.items, self.count
  local i = 1
  while true do
    local child = 2 * i
    if child > count then break end
    if child < count and times[child + 1] < times[child] then child = child + 1 end
    if times[child] >= time then break end
    times[i], items[i] = times[child], items[child]
    i = child
  end
  times[i], items[i] = time, item
end

-- The next item whose time has come by now, or nil.
function Agenda:take(now)
  local times, items, count = self.times, self.items, self.count
  if count == 0 or times[1] > now then return nil end
  local item = items[1]
  local time, last = times[count], items[count]
  times[count], items[count] = nil, nil
  self.count = count - 1
  if count > 1 then sink(self, time, last) end
  return item
end

return M
