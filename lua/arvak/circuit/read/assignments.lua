-- Declarations, assignments and measurements.
-- Invariant: all right sides are evaluated before anything is written, and a variable holds the value that was
-- assigned, whatever happens afterwards to the bits that it came from.
-- SPDX-License-Identifier: Apache-2.0
local evaluate = require "arvak.circuit.read.evaluate"
local fault = require "arvak.circuit.read.fault"
local form = require "arvak.circuit.form"
local operands = require "arvak.circuit.read.operands"
local operators = require "arvak.circuit.read.operators"
local values = require "arvak.circuit.read.values"

local M = {}
local BIT = values.BIT

-- ---- what is kept

-- A value that a binding may keep: measured ones in variables of their own.
local function keep(env, value, kind, name, node)
  if kind.kind == "bits" then
    local bits = { n = value.n }
    env:charge(node.at, value.n // 4)
    for i = 0, value.n - 1 do bits[i] = env:freeze(value[i], BIT, name, node) end
    return bits
  end
  if kind.kind == "array" then
    local list = {}
    env:charge(node.at, #value // 4)
    for i = 1, #value do list[i] = env:freeze(value[i], kind.base, name, node) end
    return list
  end
  return env:freeze(value, kind, name, node)
end
M.keep = keep

-- ---- bits

-- Whether an expression reads one of the bits that are written, other than the one it is written to.
local function reads(value, written, own)
  if type(value) ~= "table" then return false end
  local op = value[1]
  if op == "bit" then return written[value[2]] and value[2] ~= own end
  if op == "reg" then
    for bit = value[2], value[2] + value[3] - 1 do
      if written[bit] and bit ~= own then return true end
    end
    return false
  end
  if op == "var" or op == "name" or op == "param" then return false end
  return reads(value[2], written, own) or reads(value[3], written, own)
end

local function needs_copies(refs, list)
  if #refs == 1 then return false end
  local written = {}
  for _, ref in ipairs(refs) do
    local bit = operands.reported(ref)
    if bit then written[bit] = true end
  end
  for i, ref in ipairs(refs) do
    if reads(list[i - 1], written, operands.reported(ref)) then return true end
  end
  return false
end

local function write_bit(env, ref, value, node)
  local bit = operands.reported(ref)
  if not bit then
    return env:set(ref[1], ref[2], env:freeze(value, BIT, ref[1].name, node))
  end
  if type(value) ~= "table" or value[1] ~= "bit" or value[2] ~= bit then
    env:emit({ form.ASSIGN, { bit = bit }, value }, node)
  end
  if type(value) == "table" then value = env:bit_node(bit) end
  env:set(ref[1], ref[2], value)
end

-- Writes a list of bits, of which all are known before the first is written.
local function write_bits(env, refs, list, node)
  if needs_copies(refs, list) then list = keep(env, list, { kind = "bits" }, refs[1][1].name, node) end
  for i, ref in ipairs(refs) do write_bit(env, ref, list[i - 1], node) end
end

-- ---- measurements

-- Measures a qubit into a bit.
local function measure_into(env, qubit, ref, node)
  local bit = operands.reported(ref)
  if bit then
    env:emit({ form.MEASURE, qubit, bit }, node)
    return env:set(ref[1], ref[2], env:bit_node(bit))
  end
  local target = env:variable(ref[1].name, BIT)
  env:emit({ form.MEASURE, qubit, target }, node)
  env:set(ref[1], ref[2], { "var", target.var })
end

local function check_measurable(env, node)
  if env.gate then fault.raise(node.at, "a measurement in a gate, expected gates only") end
end

local function check_distinct(qubits, at)
  local seen = {}
  for _, qubit in ipairs(qubits) do
    if seen[qubit] then fault.raise(at, "the same qubit twice in a measurement") end
    seen[qubit] = true
  end
end

-- Measures qubits into the bits that a target names.
local function measure_to(env, source, target, node)
  local qubits = operands.qubits(env, source)
  local refs = operands.bits(env, target)
  if not refs then fault.raise(target.at, "expected a bit or a register of bits to measure into") end
  if #qubits ~= #refs then
    fault.raise(node.at, "%d qubits are measured into %d bits, expected as many", #qubits, #refs)
  end
  if #qubits > 1 then check_distinct(qubits, node.at) end
  for _, ref in ipairs(refs) do operands.check_writable(ref[1], target.at) end
  for i, ref in ipairs(refs) do measure_into(env, qubits[i], ref, node) end
end

-- measure q; measure q -> c;
function M.measure(env, node)
  check_measurable(env, node)
  local source = node[2][2]
  if node[3] then return measure_to(env, source, node[3], node) end
  local qubits = operands.qubits(env, source)
  for _, qubit in ipairs(qubits) do env:emit({ form.MEASURE, qubit }, node) end
end

-- The value of a measurement: each outcome in a variable of its own.
local function measured(env, source, node)
  check_measurable(env, node)
  local qubits, is_single = operands.qubits(env, source[2])
  if #qubits > 1 then check_distinct(qubits, node.at) end
  local bits = { n = #qubits }
  for i, qubit in ipairs(qubits) do
    local target = env:variable("outcome", BIT)
    env:emit({ form.MEASURE, qubit, target }, node)
    bits[i - 1] = { "var", target.var }
  end
  if is_single then return bits[0], BIT end
  return bits, values.bits(bits.n)
end

-- ---- values

local function array_literal(env, set, target, node, dimension, list)
  local size = target.dims[dimension]
  if #set[2] ~= size then fault.raise(set.at, "%d values, expected %d", #set[2], size) end
  for _, member in ipairs(set[2]) do
    if dimension < #target.dims then
      if member[1] ~= "set" then fault.raise(member.at, "expected the values of a dimension in braces") end
      array_literal(env, member, target, node, dimension + 1, list)
    else
      evaluate.check_literal(member, target.base)
      local value, kind = evaluate.evaluate(env, member)
      list[#list + 1] = values.convert(value, kind, target.base, member.at)
    end
  end
  return list
end

-- The value of a right side, as one of the target's type. Returns nil for what has no value.
function M.value(env, node, target, statement)
  if node[1] == "set" then
    if target.kind ~= "array" then
      fault.raise(node.at, "values in braces, expected a value of type %s", target.name)
    end
    return array_literal(env, node, target, statement, 1, {})
  end
  evaluate.check_literal(node, target)
  local value, kind
  if node[1] == "measure" then
    value, kind = measured(env, node, statement)
  else
    value, kind = evaluate.evaluate(env, node)
  end
  if kind.kind == "bits" and target.kind == "bits" and kind.n ~= target.n then
    fault.raise(node.at, "%d bits, expected %d", kind.n, target.n)
  end
  return values.convert(value, kind, target, node.at)
end

-- ---- declarations

local function initialize_bits(env, node, kind, binding)
  local init = node[4]
  if init[1] == "measure" then return measure_to(env, init[2], { "name", node[3], at = node.name_at }, node) end
  local value = M.value(env, init, kind, node)
  if kind.kind == "bit" then value = { n = 1, [0] = value } end
  local refs = {}
  for i = 0, value.n - 1 do refs[i + 1] = { binding, kind.kind == "bits" and i or nil } end
  write_bits(env, refs, value, node)
end

local function declare_global_bits(env, node, kind)
  local binding = env:declare_bits(node[3], kind.kind == "bits" and kind.n or nil, node.name_at)
  if node[4] then initialize_bits(env, node, kind, binding) end
  binding.const = node.role == "const" or nil
end

local function check_input(kind, value, at, name)
  local got = type(value)
  if kind.kind == "bool" and (got == "boolean" or value == 0 or value == 1) then return value == true or value == 1 end
  if kind.kind == "bits" and got == "string" then
    local bits, bits_kind = values.literal_bits(value, at)
    return values.convert(bits, bits_kind, kind, at)
  end
  if got ~= "number" then fault.raise(at, "the input %s: got a %s, expected a %s", name, got, kind.name) end
  if kind.kind == "float" or kind.kind == "angle" or kind.kind == "duration" then
    return values.convert(value + 0.0, kind.kind == "duration" and kind or values.FLOAT, kind, at)
  end
  local whole = math.tointeger(value)
  if not whole then fault.raise(at, "the input %s: got %s, expected an integer", name, value) end
  local fits = kind.kind == "bits" and whole >> math.min(kind.n, 63) == 0 or kind.kind == "bit" and whole >> 1 == 0
    or kind.kind == "int" and values.wrap(whole, kind, at) == whole
    or kind.kind == "uint" and whole >= 0 and values.wrap(whole, kind, at) == whole
  if not fits then fault.raise(at, "the input %s: %d is out of range for %s", name, whole, kind.name) end
  return values.convert(whole, values.INT, kind, at)
end

local WHOLE = { int = true, uint = true, bool = true, bit = true, bits = true }

local function declare_input(env, node, kind)
  local name = node[3]
  if kind.kind == "array" then fault.raise(node.at, "an array as input, expected a number") end
  if not env:is_global() then fault.raise(node.at, "input inside of a block, expected it outside") end
  local inputs = env.form.inputs
  inputs[#inputs + 1] = { name = name, type = kind.kind, width = kind.width or kind.n }
  local value = env.inputs[name]
  local binding = { kind = "value", type = kind, const = true }
  if value ~= nil then
    binding.value = check_input(kind, value, node.name_at, name)
  else
    binding.value = { "name", name }
    if WHOLE[kind.kind] or kind.width and kind.kind == "angle" then
      binding.type = kind.kind == "angle" and values.SYMBOL or values.WHOLE_SYMBOL
    end
  end
  env:bind(name, binding, node.name_at)
end

-- [const | input | output] type name [= value];
function M.declare(env, node)
  local kind = evaluate.type(env, node[2])
  if node.role == "input" then return declare_input(env, node, kind) end
  local is_bits = kind.kind == "bit" or kind.kind == "bits"
  if is_bits and env:is_global() then return declare_global_bits(env, node, kind) end
  local value
  if node[4] then
    value = M.value(env, node[4], kind, node)
    value = keep(env, value, kind, node[3], node)
  else
    value = values.zero(kind)
  end
  local is_const = node.role == "const"
  value = values.copy(value, kind.kind)
  local binding = { kind = "value", type = kind, value = value, const = is_const, writable = not is_const }
  env:bind(node[3], binding, node.name_at)
end

-- qreg q[2]; qubit[2] q;
function M.declare_qubits(env, node)
  if not env:is_global() then fault.raise(node.at, "qubits are declared outside of blocks and subroutines") end
  local size = node[3] and evaluate.integer(env, node[3], "the size of a register")
  env:declare_qubits(node[2], size, node.at)
end

-- creg c[2];
function M.declare_bits(env, node)
  if not env:is_global() then fault.raise(node.at, "registers are declared outside of blocks and subroutines") end
  local size = node[3] and evaluate.integer(env, node[3], "the size of a register")
  env:declare_bits(node[2], size, node.at)
end

-- ---- assignments

-- The value of target op right, as for +=.
local function combined(env, node, target)
  local left, left_kind = evaluate.evaluate(env, target)
  local right, right_kind = evaluate.evaluate(env, node[4])
  local op = node[3]
  if op == "**" then return operators.power(left, left_kind, right, right_kind, node.at) end
  if op == "~" then
    local inverted, kind = operators.invert(right, right_kind, node.at)
    return inverted, kind
  end
  return operators.arithmetic(op, left, left_kind, right, right_kind, node.at)
end

-- The value that is assigned, as one of the type of what it is assigned to.
local function right_side(env, node, kind)
  if not node[3] then return M.value(env, node[4], kind, node) end
  local value, value_kind = combined(env, node, node[2])
  return values.convert(value, value_kind, kind, node.at)
end

local function assign_bits(env, node, refs, is_single)
  for _, ref in ipairs(refs) do operands.check_writable(ref[1], node[2].at) end
  if #refs == 0 then fault.raise(node.at, "an assignment to no bit") end
  if is_single then
    local value = right_side(env, node, BIT)
    return write_bits(env, refs, { n = 1, [0] = value }, node)
  end
  write_bits(env, refs, right_side(env, node, values.bits(#refs)), node)
end

-- The indices of a target, outermost first.
local function indices_of(target)
  local items = {}
  while target[1] == "index" do
    table.move(items, 1, #items, #target[3] + 1, items)
    table.move(target[3], 1, #target[3], 1, items)
    target = target[2]
  end
  return items
end

-- Where indices lead to in an array: the places of the parts' first elements, how many elements a part has, and the
-- type of all of them together.
local function array_parts(env, binding, target)
  local items, kind = indices_of(target), binding.type
  local dims, size, firsts = kind.dims, #binding.value, { 1 }
  for i, item in ipairs(items) do
    if not dims[i] then fault.raise(item.at, "more indices than dimensions") end
    local places, is_single = evaluate.select(env, item, dims[i])
    size = size // dims[i]
    local first = firsts[1]
    for k, place in ipairs(places) do firsts[k] = first + place * size end
    if not is_single then
      if items[i + 1] then fault.raise(item.at, "a range before another index, expected it last") end
      if #places == 0 then fault.raise(item.at, "a range that selects no element") end
      return firsts, size, values.array(kind.base, { #places, table.unpack(dims, i + 1) })
    end
  end
  if #items == #dims then return firsts, 1, kind.base end
  return firsts, size, values.array(kind.base, table.move(dims, #items + 1, #dims, 1, {}))
end

local function assign_array(env, node, binding)
  local firsts, size, kind = array_parts(env, binding, node[2])
  local value = keep(env, right_side(env, node, kind), kind, binding.name, node)
  if kind.kind ~= "array" then return env:set(binding, firsts[1], value) end
  env:charge(node.at, #value)
  for k, first in ipairs(firsts) do
    for i = 0, size - 1 do env:set(binding, first + i, value[(k - 1) * size + i + 1]) end
  end
end

-- One bit of an integer or an angle, or several.
local function assign_integer_bits(env, node, binding)
  local kind = binding.type
  local width = kind.width or 64
  local target = node[2]
  if target[2][1] ~= "name" or #target[3] ~= 1 then fault.raise(node.at, "expected one index") end
  local places, is_single = evaluate.select(env, target[3][1], width)
  local bits = values.integer_to_bits(binding.value, width, node.at)
  local value = right_side(env, node, is_single and BIT or values.bits(#places))
  for i, place in ipairs(places) do bits[place] = is_single and value or value[i - 1] end
  local whole = values.bits_to_integer(bits, node.at)
  if kind.kind == "angle" and type(whole) == "table" then values.refuse_measured(node.at) end
  whole = values.as(whole, values.type("uint", width), kind, node.at)
  env:set(binding, nil, keep(env, whole, kind, binding.name, node))
end

local function root_of(env, target)
  while target[1] == "index" do target = target[2] end
  local binding = env:lookup(target[2])
  if not binding then fault.raise(target.at, "%s is not declared", target[2]) end
  if binding.kind == "qubits" then fault.raise(target.at, "%s is a qubit, expected a variable", target[2]) end
  return binding
end

-- c = measure q; x += 1; a[2] = 0.5;
function M.assign(env, node)
  local target = node[2]
  local binding = root_of(env, target)
  local refs, is_single = operands.bits(env, target)
  if refs then
    if not node[3] and node[4][1] == "measure" then
      check_measurable(env, node)
      return measure_to(env, node[4][2], target, node)
    end
    return assign_bits(env, node, refs, is_single)
  end
  operands.check_writable(binding, target.at)
  local kind = binding.type
  if kind.kind == "array" then return assign_array(env, node, binding) end
  if target[1] == "index" then
    local has_bits = kind.kind == "int" or kind.kind == "uint" or kind.kind == "angle" and kind.width
    if not has_bits then fault.raise(node.at, "an index of a value of type %s", kind.name) end
    return assign_integer_bits(env, node, binding)
  end
  env:set(binding, nil, keep(env, right_side(env, node, kind), kind, binding.name, node))
end

return M
