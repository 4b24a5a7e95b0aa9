-- Ledgers as specs use them: a folder, a client that notes its jobs, and what another process would read.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local M = {}

-- Waits until a client has no note left that could be written: its figures.
function M.settle(client)
  return helper.eventually(function()
    local stats = client:stats().ledger
    return stats.waiting == 0 and stats.noted + stats.lost > 0 and stats
  end, 60)
end

-- Waits until nothing of a closed client is under way.
function M.rest()
  helper.eventually(function() return not arvak.poll(0.01) end, 60)
end

-- Everything in a ledger, the newest first.
function M.items(name, filter)
  local ledger <close> = assert(arvak.ledger(name))
  local list = {}
  for item in ledger:items(filter) do list[#list + 1] = item end
  return list
end

-- The same by their labels; more than one with a label is an error.
function M.by_label(name)
  local found = {}
  for _, item in ipairs(M.items(name)) do
    assert(item.label and not found[item.label], item.label)
    found[item.label] = item
  end
  return found
end

-- Runs a program in a Lua of its own: { code, out, err }. Its environment is that of the tests, and more.
function M.run(program, more)
  local command = require "spec.support.command"
  local path = os.tmpname()
  command.write_file(path, program)
  local result = command.shell(("%s '%s' %s"):format(more or "", os.getenv "LUA" or "lua5.4", path))
  os.remove(path)
  return result
end

return M
