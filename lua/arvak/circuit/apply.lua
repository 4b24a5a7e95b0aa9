-- One operation of the program on its qubits: modifiers, bodies of gates and definitions of the library, unfolded down
-- to records under controls.
-- Invariant: a modified gate is controls around a power of a power … of a gate. Controls pass every power and root, so
-- they are gathered outside, and the powers inside, the innermost first.
-- SPDX-License-Identifier: Apache-2.0
local controls = require "arvak.circuit.controls"
local form = require "arvak.circuit.form"
local gates = require "arvak.circuit.gates"
local matrix = require "arvak.circuit.matrix"
local refuse = require "arvak.circuit.refuse"
local wires = require "arvak.circuit.wires"

local M = {}

local MAX_DEPTH = 500
local NONE = {}

-- ---- modifiers

local function add_powers(list, modifier)
  local exponent = modifier[1] == "inv" and -1 or modifier[2]
  if exponent ~= exponent or math.abs(exponent) >= 2.0 ^ 63 and not math.tointeger(exponent) then
    refuse("pow(%g): expected a number between -2^63 and 2^63", exponent)
  end
  table.insert(list, 1, math.tointeger(exponent) or exponent)
end

-- A gate's base, the values that its controls must have, and its powers, the innermost first.
local function unmodified(state, gate)
  local known = state.unmodified[gate]
  if known then return known end
  known = { base = gate.base or gate, controls = {}, powers = {} }
  for _, modifier in ipairs(gate.modifiers or NONE) do
    local kind = modifier[1]
    if kind == "ctrl" or kind == "negctrl" then
      for _ = 1, modifier[2] do known.controls[#known.controls + 1] = kind == "ctrl" and 1 or 0 end
    else
      add_powers(known.powers, modifier)
    end
  end
  state.unmodified[gate] = known
  return known
end

-- The product of powers that are all integers; nil when one is not.
local function whole_power(powers)
  local product, size = 1, 1.0
  for _, exponent in ipairs(powers) do
    if math.type(exponent) ~= "integer" then return nil end
    product, size = product * exponent, size * exponent
  end
  if math.abs(size) > 2.0 ^ 53 then refuse("a gate to the power of %g", size) end
  return product
end

local function joined(inner, outer)
  if #inner == 0 then return outer elseif #outer == 0 then return inner end
  return table.move(outer, 1, #outer, #inner + 1, table.move(inner, 1, #inner, 1, {}))
end

-- ---- records

local function record_of(definition, angles, powers)
  local record = definition.record(angles)
  for _, exponent in ipairs(powers) do record = gates.power(record, exponent) end
  return record
end

-- A record on a target (nil: none) under quantum controls and the condition of the block.
local function write_record(state, record, quantum, target)
  local function write(list)
    wires.signed(state, list, function(c) controls.apply(state, record, c, #c, target, #quantum) end)
  end
  local branches = wires.branches(state)
  if not branches then return write(quantum) end
  for _, branch in ipairs(branches) do
    local list = wires.merged(quantum, branch)
    if list then write(list) end
  end
end

-- ---- bodies

local apply_definition

-- A whole power of what is between the outer operations of a body.
local function write_inner(state, definition, powers, write)
  local power = whole_power(powers) or refuse("pow of %s: expected a whole number; other powers are those of gates on "
    .. "one qubit, their controlled forms and swap", definition.name)
  if definition.involution then power = power % 2 end
  local first, last = definition.outer + 1, #definition.body
  for _ = 1, math.abs(power) do
    state:step()
    for i = first, last do
      write(definition.body[power < 0 and first + last - i or i], power < 0 and { -1 } or NONE)
    end
  end
end

-- The operations of a library gate's body. Those between the outer ones have its controls, powers and condition.
local function write_body(state, definition, angles, powers, quantum, targets)
  local condition = state.condition
  local function write(operation, inner_powers, inner_controls)
    local gate, map = operation[1], {}
    for i = 1, gate.qubits do map[i] = targets[operation[1 + gate.params + i] + 1] end
    local inner_angles = gates.angles(operation, gate.params, nil, angles)
    apply_definition(state, gates.definition(gate.name, 2), inner_angles, inner_powers, inner_controls, map)
  end
  local body, outer = definition.body, definition.outer
  state.condition = nil
  for i = 1, outer do write(body[i], NONE, NONE) end
  state.condition = condition
  if definition.rooted then
    write(body[outer + 1], powers, quantum)
  else
    write_inner(state, definition, powers, function(operation, inner) write(operation, inner, quantum) end)
  end
  state.condition = nil
  for i = outer, 1, -1 do write(body[i], { -1 }, NONE) end
  state.condition = condition
end

local function write_named(state, name, quantum, targets)
  local all = {}
  for i, control in ipairs(quantum) do all[i] = control >> 1 end
  table.move(targets, 1, #targets, #all + 1, all)
  if #all == 2 then return state.writer:two(name, all[1], all[2]) end
  state.writer:three(name, all[1], all[2], all[3])
end

-- A gate that the service knows, or a body that will do where nobody sees the phase; whether there is one.
local function write_simply(state, definition, powers, quantum, targets)
  if state.condition or not (definition.named or definition.simple) then return false end
  local power = whole_power(powers)
  if definition.involution and power then power = power % 2 end
  if power ~= 1 then return false end
  local name = definition.named and definition.named[#quantum]
  for _, control in ipairs(quantum) do
    if control & 1 == 0 then return false end
  end
  if name then
    write_named(state, name, quantum, targets)
  elseif definition.simple and #quantum == 0 then
    write_body(state, { body = definition.simple, outer = 0 }, NONE, NONE, NONE, targets)
  else
    return false
  end
  return true
end

-- A definition of the library on wires: first its own controls, then its targets. quantum: controls around it.
function apply_definition(state, definition, angles, powers, quantum, operands)
  state:step()
  local own, targets = definition.controls, operands
  if own > 0 then
    quantum = table.move(quantum, 1, #quantum, 1, {})
    for i = 1, own do quantum[#quantum + 1] = operands[i] << 1 | 1 end
    targets = table.move(operands, own + 1, #operands, 1, {})
  end
  if definition.record then
    return write_record(state, record_of(definition, angles, powers), quantum, targets[1])
  end
  if write_simply(state, definition, powers, quantum, targets) then return end
  write_body(state, definition, angles, powers, quantum, targets)
end

-- Copies the outcomes that an operation would destroy, or that its condition needs.
local function flush_targets(state, definition, operands)
  if state.pins == 0 then return end
  for i = definition.controls + 1, #operands do
    if not definition.diagonal then wires.flush(state, operands[i]) end
    wires.flush_condition(state, operands[i])
  end
end

-- ---- gates of the program's own

local apply_gate

local matrix_of_gate

local MOST_MATRICES = 10000   -- that are remembered

-- The matrix that is remembered for a gate with these angles, { m, steps }, or nil; and where it belongs.
local function known_matrix(state, gate, angles)
  local known = state.matrices[gate]
  if not known then
    known = {}
    state.matrices[gate] = known
  end
  local key = #angles < MAX_DEPTH and string.pack(string.rep("d", #angles), table.unpack(angles))
  return known[key], known, key
end

-- The matrix of what a body does to its only qubit. Its angles have to be known.
local function matrix_of_body(state, gate, angles, depth)
  if depth > MAX_DEPTH then refuse("gates nested in more than %d gates", MAX_DEPTH) end
  local found, known, key = known_matrix(state, gate, angles)
  if found then   -- as many steps as without: rounding is that of all products
    state.steps = state.steps + found.steps
    state:step()
    return found.m
  end
  local m, since = matrix.of_angles(0, 0, 0), state.steps
  for i = 1, gate.body.n do
    state:step()
    local operation = gate.body[i]
    local inner = operation[1]
    if inner == form.RESET then refuse("reset in a gate under modifiers") end
    if inner ~= form.BARRIER then
      local inner_angles = gates.angles(operation, inner.params, state.given, angles)
      m = matrix.product(matrix_of_gate(state, unmodified(state, inner), inner_angles, depth + 1), m)
    end
  end
  if key and state.matrix_count < MOST_MATRICES then
    known[key], state.matrix_count = { m = m, steps = state.steps - since }, state.matrix_count + 1
  end
  return m
end

-- gphase on no qubit is a factor, and under its only possible control a phase of one of the two values.
local function matrix_of_factor(known, angle)
  local zero, one = angle, angle
  if known.controls[1] == 0 then one = 0 elseif known.controls[1] == 1 then zero = 0 end
  return { math.cos(zero), math.sin(zero), 0, 0, 0, 0, math.cos(one), math.sin(one) }
end

function matrix_of_gate(state, known, angles, depth)
  local base = known.base
  local definition = base.library and gates.definition(base.name, state.version)
  local record = definition and definition.record and record_of(definition, angles, known.powers)
  if record and record.kind == "global" then return matrix_of_factor(known, gates.known_angle(record.angle)) end
  if record then return gates.matrix(record) end
  if definition then return matrix.of_angles(0, 0, 0) end   -- id
  local m = matrix_of_body(state, base, angles, depth)
  for _, exponent in ipairs(known.powers) do m = matrix.power(m, exponent) end
  return m
end

-- The only operation of a body, or nil.
local function only_operation(body)
  local found
  for i = 1, body.n do
    if body[i][1] ~= form.BARRIER then
      if found then return nil end
      found = body[i]
    end
  end
  return found
end

local function apply_inner(state, operation, angles, powers, quantum, qubits, depth)
  local kind = operation[1]
  if kind == form.BARRIER then return end
  if kind == form.RESET then
    if #powers > 0 or #quantum > 0 then refuse("reset in a gate under modifiers") end
    return state:reset(qubits[operation[2] + 1])
  end
  local map, from = {}, kind.params + 1
  for i = 1, kind.qubits do map[i] = qubits[operation[from + i] + 1] end
  apply_gate(state, kind, gates.angles(operation, kind.params, state.given, angles), powers, quantum, map, depth)
end

local function apply_repeated(state, gate, angles, power, quantum, qubits, depth)
  local body, powers = gate.body, power < 0 and { -1 } or NONE
  for _ = 1, math.abs(power) do
    state:step()
    for i = 1, body.n do
      apply_inner(state, body[power < 0 and body.n + 1 - i or i], angles, powers, quantum, qubits, depth + 1)
    end
  end
end

-- How many operations a gate is written with, at least.
local function least_operations(state, gate, depth)
  if gate.library then return gate.params == 0 and gate.name ~= "id" and 1 or 0 end
  if not gate.body or depth > MAX_DEPTH then return 0 end
  local known = state.sizes[gate]
  if known then return known end
  local size = 0
  for i = 1, gate.body.n do
    local inner = gate.body[i][1]
    if type(inner) == "table" then size = size + least_operations(state, inner, depth + 1) end
  end
  state.sizes[gate] = size
  return size
end

local function apply_own(state, gate, angles, powers, quantum, qubits, depth)
  if depth > MAX_DEPTH then refuse("gates nested in more than %d gates", MAX_DEPTH) end
  if not state.condition and #powers == 0 then state:expect(least_operations(state, gate, 0)) end
  local only = #powers > 0 and only_operation(gate.body)
  if only then return apply_inner(state, only, angles, powers, quantum, qubits, depth + 1) end
  local power = whole_power(powers)
  if gate.qubits == 1 and power ~= 1 and power ~= -1 then
    local m = matrix_of_gate(state, { base = gate, powers = powers }, angles, depth)
    local wire = wires.wire(state, qubits[1])
    flush_targets(state, { controls = 0 }, { wire })
    return write_record(state, gates.of_matrix(m), quantum, wire)
  end
  if not power then
    refuse("pow of %s: expected a whole number; other powers are those of gates on one qubit, their controlled forms "
      .. "and swap", gate.name)
  end
  apply_repeated(state, gate, angles, power, quantum, qubits, depth)
end

-- A gate on qubits of the program. powers, quantum: what modifiers around it have gathered.
function apply_gate(state, gate, angles, powers, quantum, qubits, depth)
  state:step()
  local known = unmodified(state, gate)
  local own = #known.controls
  if own > 0 then
    quantum = table.move(quantum, 1, #quantum, 1, {})
    for i = 1, own do quantum[#quantum + 1] = wires.wire(state, qubits[i]) << 1 | known.controls[i] end
    qubits = table.move(qubits, own + 1, #qubits, 1, {})
  end
  powers = joined(known.powers, powers)
  if not known.base.library then return apply_own(state, known.base, angles, powers, quantum, qubits, depth) end
  local definition, operands = gates.definition(known.base.name, state.version), {}
  for i = 1, #qubits do operands[i] = wires.wire(state, qubits[i]) end
  flush_targets(state, definition, operands)
  apply_definition(state, definition, angles, powers, quantum, operands)
end

-- An operation of the form that is a gate.
function M.gate(state, operation)
  local gate = operation[1]
  local params = gate.params
  apply_gate(state, gate, gates.angles(operation, params, state.given), NONE, NONE,
    table.move(operation, params + 2, params + 1 + gate.qubits, 1, {}), 0)
end

-- Exchanges a wire's content with that of another where the block's condition holds.
function M.exchange(state, a, b)
  apply_definition(state, gates.definition("swap", 2), NONE, NONE, NONE, { a, b })
end

return M
