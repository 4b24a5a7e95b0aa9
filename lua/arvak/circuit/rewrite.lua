-- Copies of operations on other qubits, bits and variables, and with other angles.
-- Invariant: what is given is not changed; what needs no change is shared.
-- SPDX-License-Identifier: Apache-2.0
local form = require "arvak.circuit.form"
local parameters = require "arvak.circuit.parameters"

local M = {}

-- ---- values that were measured

-- The unsigned integer of bits that lie at other places now; one register where they are still side by side.
local function moved_register(bits, first, size)
  local start, is_run = bits[first], true
  for i = 1, size - 1 do is_run = is_run and bits[first + i] == start + i end
  if is_run then return { "reg", start, size } end
  local sum
  for i = 0, size - 1 do
    local part = { "<<", { "cast", { "bit", bits[first + i] }, "uint", size }, i }
    sum = sum and { "|", sum, part } or part
  end
  return sum
end

-- An expression of measured values. map: { bits = old → new, variables = how much is added to their indices }.
local function value(expr, map)
  if type(expr) ~= "table" then return expr end
  local operator = expr[1]
  if operator == "bit" then return { "bit", map.bits[expr[2]] } end
  if operator == "var" then return { "var", expr[2] + map.variables } end
  if operator == "reg" then return moved_register(map.bits, expr[2], expr[3]) end
  local copy = { operator }
  for i = 2, #expr do copy[i] = value(expr[i], map) end
  return copy
end

local function target(to, map)
  if to == nil then return nil end
  if type(to) == "number" then return map.bits[to] end
  if to.bit then return { bit = map.bits[to.bit] } end
  return { var = to.var + map.variables }
end

-- ---- operations

local rewriters = {}

rewriters[form.MEASURE] = function(op, map) return { form.MEASURE, map.qubits[op[2]], target(op[3], map) } end
rewriters[form.RESET] = function(op, map) return { form.RESET, map.qubits[op[2]] } end
rewriters[form.ASSIGN] = function(op, map) return { form.ASSIGN, target(op[2], map), value(op[3], map) } end

rewriters[form.IF] = function(op, map)
  return { form.IF, value(op[2], map), M.block(op[3], map), op[4] and M.block(op[4], map) }
end

-- Without qubits a barrier means all: those of the circuit that it was written for.
rewriters[form.BARRIER] = function(op, map)
  local copy = { form.BARRIER }
  if #op == 1 and not map.is_whole then
    for i = 0, map.qubit_count - 1 do copy[i + 2] = map.qubits[i] end
  end
  for i = 2, #op do copy[i] = map.qubits[op[i]] end
  return copy
end

local function rewrite_gate(op, map)
  local gate = op[1]
  local copy = { map.gate and map.gate(gate) or gate }
  for i = 2, gate.params + 1 do copy[i] = op[i] end
  for i = gate.params + 2, gate.params + gate.qubits + 1 do copy[i] = map.qubits[op[i]] end
  return copy
end

function M.op(op, map)
  local rewriter = rewriters[op[1]]
  if rewriter then return rewriter(op, map) end
  return rewrite_gate(op, map)
end

-- map: { qubits = old → new, qubit_count = how many old ones, is_whole = whether they are all that there will be,
-- bits = old → new, variables = what is added to a variable's index, gate = function or nil }.
function M.block(block, map)
  local copy = form.block()
  for i = 1, block.n do form.add(copy, M.op(block[i], map), block.at[i]) end
  return copy
end

-- ---- angles

local function bound_op(op, values)
  local gate = op[1]
  if op[1] == form.IF then
    local body, other = M.bind(op[3], values), op[4] and M.bind(op[4], values)
    return (body ~= op[3] or other ~= op[4]) and { form.IF, op[2], body, other } or op
  end
  if type(gate) ~= "table" then return op end
  local copy
  for i = 2, gate.params + 1 do
    local angle = op[i]
    if type(angle) ~= "number" then
      copy = copy or table.move(op, 1, #op, 1, {})
      copy[i] = parameters.substitute(angle, values)
    end
  end
  return copy or op
end

-- A block with parameters replaced by values; the same block where it has none.
function M.bind(block, values)
  local copy
  for i = 1, block.n do
    local op = bound_op(block[i], values)
    if op ~= block[i] then
      if not copy then
        copy = { n = block.n, at = block.at }
        table.move(block, 1, block.n, 1, copy)
      end
      copy[i] = op
    end
  end
  return copy or block
end

return M
