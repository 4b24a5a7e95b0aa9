-- Stores as specs use them: the modules themselves, and the layer between them and the library's loop.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

local M = {}

-- The require of the embedded sources, an upvalue of the one loader that the library gives to programs.
local _, inner_require = debug.getupvalue(package.preload["arvak.circuit"], 1)
M.require = inner_require

local core = M.require "arvak.core"
M.connection = M.require "arvak.store.connection"

-- Opens a store of a kind, "sqlite" or "postgres", and waits for the outcome of that: the store, and the outcome.
function M.open(kind, where, options)
  local store = require("arvak.store." .. kind).open(core.new_bell(), where, options)
  return store, M.next(store)
end

-- The next outcome of a store.
function M.next(store)
  return helper.eventually(function() return store:take() end, 60)
end

-- Hands over statements, each a table of its text and its values, as one transaction.
function M.submit(store, mode, statements)
  local tx = store:transaction()
  for _, s in ipairs(statements) do tx:add(table.unpack(s, 1, s.n or #s)) end
  return store:submit(tx, mode)
end

-- The same, and waits: its outcome.
function M.run(store, mode, statements)
  local id = M.submit(store, mode, statements)
  local outcome = M.next(store)
  assert(outcome.id == id, "the outcome of something else")
  return outcome
end

return M
