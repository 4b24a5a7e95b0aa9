-- Figures of several rounds: their median and their spread.
-- SPDX-License-Identifier: Apache-2.0
local Sample = {}
Sample.__index = Sample

local M = {}

function M.new() return setmetatable({}, Sample) end

function Sample:add(value) self[#self + 1] = value end

-- Median, smallest, largest.
function Sample:summary()
  local sorted = table.move(self, 1, #self, 1, {})
  table.sort(sorted)
  local middle = #sorted // 2 + 1
  local median = #sorted % 2 == 1 and sorted[middle] or (sorted[middle - 1] + sorted[middle]) / 2
  return median, sorted[1], sorted[#sorted]
end

function Sample:median() return (self:summary()) end

-- "median (smallest..largest)", each in the given format.
function Sample:text(format)
  local median, low, high = self:summary()
  return (format .. " (" .. format .. ".." .. format .. ")"):format(median, low, high)
end

-- The output of a command, or an error that names it.
function M.output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("a")
  if not pipe:close() then error("failed: " .. command, 0) end
  return text
end

return M
