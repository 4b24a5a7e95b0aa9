-- How large a circuit is, as it was written: a gate of the program's own is one operation.
-- Invariant: what stands under a condition counts as if it happened; a condition by itself is no operation.
-- SPDX-License-Identifier: Apache-2.0
local expressions = require "arvak.circuit.expressions"
local form = require "arvak.circuit.form"

local M = {}

-- "inv @ ctrl(2) @ rx".
function M.gate_name(gate)
  if not gate.base then return gate.name end
  local parts = {}
  for i, modifier in ipairs(gate.modifiers) do
    local value = modifier[2]
    local is_plain = value == nil or (value == 1 and modifier[1] ~= "pow")
    parts[i] = is_plain and modifier[1] or string.format("%s(%s)", modifier[1], value)
  end
  parts[#parts + 1] = gate.base.name
  return table.concat(parts, " @ ")
end

-- Calls visit(op) for each operation, in the bodies of conditions too.
local function each(block, visit)
  for i = 1, block.n do
    local op = block[i]
    if op[1] == form.IF then
      each(op[3], visit)
      if op[4] then each(op[4], visit) end
    else
      visit(op)
    end
  end
end

-- Name → how many, barriers too.
function M.count_ops(known)
  local by_gate, counts = {}, {}
  each(known.block, function(op) by_gate[op[1]] = (by_gate[op[1]] or 0) + 1 end)
  for gate, count in pairs(by_gate) do
    local name = type(gate) == "table" and M.gate_name(gate) or gate
    if gate ~= form.ASSIGN then counts[name] = (counts[name] or 0) + count end
  end
  return counts
end

-- How many gates, measurements and resets.
function M.size(known)
  local size = 0
  each(known.block, function(op)
    if op[1] ~= form.BARRIER and op[1] ~= form.ASSIGN then size = size + 1 end
  end)
  return size
end

-- ---- depth

-- Wires are qubits from 0, bits behind them and variables behind those.
local function add_target(wires, target, known)
  if type(target) == "table" then
    local first = known.qubit_count
    wires[#wires + 1] = target.var and first + known.bit_count + target.var or first + target.bit
  elseif target then
    wires[#wires + 1] = known.qubit_count + target
  end
end

local function add_expression(wires, expr, known)
  expressions.visit(expr, function(b) wires[#wires + 1] = known.qubit_count + b end,
    function(j) wires[#wires + 1] = known.qubit_count + known.bit_count + j end)
end

-- The wires of an operation that is no condition.
function M.wires_of(op, known)
  local kind, wires = op[1], {}
  if kind == form.MEASURE then
    wires[1] = op[2]
    add_target(wires, op[3], known)
  elseif kind == form.ASSIGN then
    add_target(wires, op[2], known)
    add_expression(wires, op[3], known)
  elseif kind == form.BARRIER and #op == 1 then
    for q = 0, known.qubit_count - 1 do wires[q + 1] = q end
  else
    table.move(op, type(kind) == "table" and kind.params + 2 or 2, #op, 1, wires)
  end
  return wires
end

-- Calls visit(wire) for each wire that any operation or condition uses; some more than once.
function M.each_wire(known, visit)
  local function visit_block(block)
    for i = 1, block.n do
      local op, wires = block[i], {}
      if op[1] == form.IF then
        add_expression(wires, op[2], known)
        visit_block(op[3])
        if op[4] then visit_block(op[4]) end
      else
        wires = M.wires_of(op, known)
      end
      for _, wire in ipairs(wires) do visit(wire) end
    end
  end
  visit_block(known.block)
end

local walk

local function walk_condition(op, levels, known, outer)
  local wires = table.move(outer, 1, #outer, 1, {})
  add_expression(wires, op[2], known)
  local other = op[4] and table.move(levels, 0, #levels, 0, {})
  walk(op[3], levels, known, wires)
  if not op[4] then return end
  walk(op[4], other, known, wires)
  for wire = 0, #levels do levels[wire] = math.max(levels[wire], other[wire]) end
end

-- conditions: wires that every operation waits for.
function walk(block, levels, known, conditions)
  for i = 1, block.n do
    local op = block[i]
    if op[1] == form.IF then
      walk_condition(op, levels, known, conditions)
    else
      local wires, level = M.wires_of(op, known), 0
      for _, wire in ipairs(wires) do level = math.max(level, levels[wire]) end
      for _, wire in ipairs(conditions) do level = math.max(level, levels[wire]) end
      if op[1] ~= form.BARRIER and op[1] ~= form.ASSIGN then level = level + 1 end
      for _, wire in ipairs(wires) do levels[wire] = level end
    end
  end
end

-- The longest chain of operations that wait for each other's qubits or bits. Barriers and assignments add nothing to
-- it, but what comes behind them waits for what comes before.
function M.depth(known)
  local levels, deepest = {}, 0
  for wire = 0, known.qubit_count + known.bit_count + #known.variables do levels[wire] = 0 end
  walk(known.block, levels, known, {})
  for wire = 0, #levels do deepest = math.max(deepest, levels[wire]) end
  return deepest
end

return M
