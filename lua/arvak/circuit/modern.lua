-- A program of version 2 in the gates of version 3: two names mean other phases there.
-- Invariant: u2 and u3 of version 2 are written with U, which means the same in both.
-- SPDX-License-Identifier: Apache-2.0
local form = require "arvak.circuit.form"

local M = {}

local U = form.gate "U"
local HALF_PI = math.pi / 2

-- How many angles come before those of the gate in its new form; nil: it stays.
local function added_angles(gate)
  local base = gate.base or gate
  if not base.library then return nil end
  if base.name == "u3" then return 0 end
  if base.name == "u2" then return 1 end
end

local convert_block

local function convert_gate(gate, known)
  if known[gate] then return known[gate] end
  local new = gate
  if gate.base then
    local base = convert_gate(gate.base, known)
    if base ~= gate.base then new = form.modify(base, gate.modifiers) end
  elseif gate.library then
    new = added_angles(gate) and U or gate
  elseif gate.body then
    local body = convert_block(gate.body, known)
    if body ~= gate.body then new = form.define(gate.name, gate.argument, gate.qubits, body) end
  end
  known[gate] = new
  return new
end

local function convert_op(op, known)
  local gate = op[1]
  if gate == form.IF then
    return { form.IF, op[2], convert_block(op[3], known), op[4] and convert_block(op[4], known) }
  end
  if type(gate) ~= "table" then return op end
  local new = convert_gate(gate, known)
  if new == gate then return op end
  local copy, added = { new }, added_angles(gate) or 0
  if added == 1 then copy[2] = HALF_PI end
  return table.move(op, 2, #op, 2 + added, copy)
end

function convert_block(block, known)
  local copy, is_changed = { n = block.n, at = block.at }, false
  for i = 1, block.n do
    copy[i] = convert_op(block[i], known)
    is_changed = is_changed or copy[i] ~= block[i]
  end
  return is_changed and copy or block
end

-- The form in version 3: itself, or a new one.
function M.form(known)
  if known.version == 3 then return known end
  local copy = {}
  for name, value in pairs(known) do copy[name] = value end
  copy.version, copy.block = 3, convert_block(known.block, {})
  return copy
end

return M
