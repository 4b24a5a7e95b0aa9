-- Time and memory of this process: clock.c, and what /proc tells.
-- SPDX-License-Identifier: Apache-2.0
local M = assert(package.loadlib((os.getenv("ARVAK_BUILD") or "build") .. "/bench/clock.so", "luaopen_clock"))()

local function status(name)
  for line in io.lines("/proc/self/status") do
    local value = line:match("^" .. name .. ":%s+(%d+)")
    if value then return tonumber(value) end
  end
end

-- Resident memory in KB.
function M.rss() return status("VmRSS") end

function M.threads() return status("Threads") end

-- Open file descriptors, without the one it takes to look.
function M.descriptors()
  local pipe = assert(io.popen("ls /proc/$PPID/fd"))
  local count = select(2, pipe:read("a"):gsub("\n", "\n"))
  pipe:close()
  return count - 1
end

return M
