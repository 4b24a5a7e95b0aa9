-- How long work lies ready before it runs, for longer and with the real bound: 5 ms beyond the noise of the machine.
-- Usage: lua5.4 spec/long/waking.lua [SEED [SECONDS [DRIVER]]], with the library in LUA_CPATH_5_4 and LUA_PATH_5_4.
-- Prints the figures; the exit status is 1 when something hung or lay too long.
-- SPDX-License-Identifier: Apache-2.0
package.path = "./?.lua;" .. package.path
local waking = require "spec.support.waking"

local BOUND = 0.005
local seed, seconds = tonumber(arg[1]) or os.time(), tonumber(arg[2]) or 60
local is_well = true

print(("seed %d, %g s for each driver"):format(seed, seconds))
for _, driver in ipairs(arg[3] and { arg[3] } or waking.drivers) do
  local result = waking.run(driver, seed, seconds)
  local worst, kind, noise = waking.figures(result)
  local excess, excess_kind = waking.excess(result)
  local is_late = excess > BOUND
  print(("%-9s %7.1f ms at worst (%s), noise %.1f ms%s"):format(driver, worst * 1e3, kind, noise * 1e3,
    is_late and (": %s is too late by %.1f ms"):format(excess_kind, (excess - BOUND) * 1e3) or ""))
  if #result.hung > 0 then print("          never ran: " .. table.concat(result.hung, ", ")) end
  is_well = is_well and not is_late and #result.hung == 0
end
os.exit(is_well, true)
