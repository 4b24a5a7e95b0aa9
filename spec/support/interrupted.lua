-- Runs the command as its launcher does, and sends it the SIGINT of a Ctrl-C at a line of the library. Its words are
-- PREFIX MOMENT WORDS...; MOMENT: the how-manieth of the lines that are run in the files about futures of jobs.
-- SPDX-License-Identifier: Apache-2.0
local prefix, moment = arg[1], tonumber(arg[2])
package.path = prefix .. "/share/lua/5.4/?.lua;" .. package.path
package.cpath = prefix .. "/lib/lua/5.4/?.so;" .. package.cpath

local count = 0

local function count_line()
  local source = debug.getinfo(2, "S").source
  if not source:find "async/detached%.lua$" and not source:find "jobs/future%.lua$" then return end
  count = count + 1
  if count ~= moment then return end
  debug.sethook()
  io.popen "kill -INT $PPID":close()
end

-- Hooks are of a coroutine each.
local create = coroutine.create
function coroutine.create(f)   -- luacheck: ignore
  local co = create(f)
  if count < moment then debug.sethook(co, count_line, "l") end
  return co
end

debug.sethook(count_line, "l")
require "arvak.command.main"(table.move(arg, 3, #arg, 1, {}), "1")
