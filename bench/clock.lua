-- The clock and the memory of this process, from /proc: Lua has neither.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- Seconds of uptime, to a hundredth: runs are long enough for that.
function M.wall()
  local file = assert(io.open("/proc/uptime"))
  local seconds = file:read("n")
  file:close()
  return seconds
end

-- Peak resident memory in MB.
function M.peak_rss()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmHWM:%s+(%d+)")
    if kb then return tonumber(kb) / 1024 end
  end
end

return M
