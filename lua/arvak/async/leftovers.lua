-- What a program leaves undone when it ends: tasks that it spawned and futures that it got, but never waited for. They
-- end with it, and without a word one would take the program for finished.
-- Invariant: said once, when the Lua state closes, and nothing is said of a program that has waited for all of it.
-- SPDX-License-Identifier: Apache-2.0
local detached = require "arvak.async.detached"
local scopes = require "arvak.async.scopes"
local strays = require "arvak.async.strays"

local function counted(count, word) return string.format("%d %s%s", count, word, count == 1 and "" or "s") end

-- Of tasks those that no run waits for; futures that tasks wait for are theirs, and so are counted without tasks alone.
local function describe()
  if scopes.root.open > 0 then return counted(scopes.root.open, "spawned task") end
  local futures = detached.count() + scopes.detached.open
  return futures > 0 and counted(futures, "future")
end

local M = {}

M.sentinel = setmetatable({}, {
  __gc = function()
    local what = describe()
    if not what then return end
    strays.say(string.format("the program ended before %s did: wait with future:result() or arvak.wait, or spawn "
      .. "inside arvak.run", what))
  end,
})

return M
