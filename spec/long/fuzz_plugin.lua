-- The plugin of fuzz_host.c: calls everything with the values of fuzz_values.lua, and knows the private names. The host
-- gives it clients with limits, and interrupts it anywhere, so each call of a function below may be broken off.
-- Arguments: the address of the server, the seed, the number of the round; globals `adopt` and `note` are the host's.
-- SPDX-License-Identifier: Apache-2.0
local address, seed, round = ...
local adopt, note = adopt, note   -- luacheck: globals adopt note

package.path = "./?.lua;" .. package.path
local arvak = require "arvak"
local actions = require "spec.long.fuzz_actions"
local values = require "spec.long.fuzz_values"

-- Loaded while the state closes, they would leave their buffers behind.
pcall(require, "cjson")
pcall(require, "cjson.safe")

actions.start(function(...) return ... end, note)
values.start(seed, round)
if values.chance(0.7) then values.know_private_names() end
values.open(address, actions.act, adopt)
local action = 0

local M = {}

-- Some actions; what was broken off is not gone on with.
function M.play(count)
  actions.reset()
  for _ = 1, count do
    action = action + 1
    values.action = action
    if values.chance(0.05) then pcall(values.forge) end
    if values.chance(0.02) then
      note "looking for what is not there"
      assert(not pcall(require, "arvak.core") and package.loaded["arvak.core"] == nil)
    end
    actions.act(false)
    if action % 10 == 0 then pcall(arvak.poll, 0.01) end
  end
end

-- Drops everything, as a plugin would at its end.
function M.finish()
  note "the end of the round"
  values.close(function(...) return ... end)
  for _ = 1, 5 do pcall(arvak.poll, 0.01) end
  collectgarbage()
end

return M
