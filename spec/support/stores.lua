-- Stores as specs use them: the modules themselves, without the layer between them and the library's loop, and that layer.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local M = {}

-- The `require` of the embedded sources, which every function of theirs that loads something late has.
local function find_require(value, seen)
  if type(value) ~= "function" or seen[value] then return nil end
  seen[value] = true
  local inner
  for i = 1, 255 do
    local name, upvalue = debug.getupvalue(value, i)
    if not name then return nil end
    if name == "require" then return upvalue end
    inner = find_require(upvalue, seen)
    if type(upvalue) == "table" and not seen[upvalue] then
      seen[upvalue] = true
      for _, field in pairs(upvalue) do inner = inner or find_require(field, seen) end
    end
    if inner then return inner end
  end
end

local function inner_require()
  local seen = {}
  for _, value in pairs(arvak) do
    local inner = find_require(value, seen)
    if inner then return inner end
  end
  error("no function of the library has its require")
end

M.require = inner_require()
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
