-- The values of expressions, the types that a text names, and what indices select.
-- Invariant: evaluating changes nothing but the counts of the bounds (and what a subroutine that is called does).
-- SPDX-License-Identifier: Apache-2.0
local expressions = require "arvak.circuit.read.expressions"
local fault = require "arvak.circuit.read.fault"
local functions = require "arvak.circuit.read.functions"
local operators = require "arvak.circuit.read.operators"
local values = require "arvak.circuit.read.values"

local M = {}
local INT, FLOAT, BOOL, BIT = values.INT, values.FLOAT, values.BOOL, values.BIT

local KINDS = {}   -- of nodes

local function evaluate(env, node)
  local steps = env.steps + 1
  env.steps = steps
  if steps > env.most_steps then env:charge(node.at) end
  return KINDS[node[1]](env, node)
end
M.evaluate = evaluate

-- Refuses a literal that is too large for what it becomes.
function M.check_literal(node, target)
  if node[1] == "number" and node[3] == "large" and target.kind == "int" then
    local tens = (node[2] >> 1) // 5
    fault.raise(node.at, "the number %d%d, expected one below 2^63 for %s", tens, node[2] - tens * 10, target.name)
  end
end

-- An integer that is known before the shots begin.
function M.integer(env, node, what)
  local value, kind = evaluate(env, node)
  value, kind = values.integer(value, kind, node.at)
  if type(value) == "table" then
    fault.unknown(node.at, "%s depends on measured values, expected a constant", what or "this value")
  end
  values.check_size(value, kind, node.at)
  return value
end

function M.boolean(env, node)
  local value, kind = evaluate(env, node)
  return values.boolean(value, kind, node.at)
end

-- A gate's parameter: a number, or an expression over parameters.
function M.angle(env, node)
  local value, kind = evaluate(env, node)
  value = values.real(value, kind, node.at)
  if type(value) ~= "number" then return value end
  value = value + 0.0
  if value ~= value or value == math.huge or value == -math.huge then
    fault.raise(node.at, "this value is not a finite number")
  end
  return value
end

-- ---- literals and names

local NUMBERS = { integer = INT, large = values.UINT, real = FLOAT, time = values.DURATION }

function KINDS.number(env, node)
  local value, kind = node[2], NUMBERS[node[3]]
  if kind == INT and math.type(value) ~= "integer" then kind = FLOAT end
  if env.version == 2 then return values.real(value, kind, node.at) + 0.0, FLOAT end
  return value, kind
end

-- What a register of bits is compared with in version 2.
function KINDS.whole(_, node)
  return node[2], math.type(node[2]) == "integer" and NUMBERS[node[3]] or FLOAT
end

function KINDS.string(_, node) return values.literal_bits(node[2], node.at) end

local CONSTANTS = {
  pi = math.pi, ["π"] = math.pi, tau = 2 * math.pi, ["τ"] = 2 * math.pi, euler = math.exp(1), ["ℇ"] = math.exp(1),
}

local function constant(env, name)
  if env.version == 2 and name ~= "pi" then return nil end
  if CONSTANTS[name] then return CONSTANTS[name], FLOAT end
  if name == "true" or name == "false" then return name == "true", BOOL end
  if name == "im" then return nil end
end

local function use_parameter(env, value)
  if type(value) == "table" and value[1] == "name" and not env.used[value[2]] then
    env.used[value[2]] = true
    local list = env.form.parameters
    list[#list + 1] = value[2]
  end
end

local function undeclared(env, node)
  local name = node[2]
  if env.gates[name] then fault.raise(node.at, "%s is a gate, expected a value", name) end
  if expressions.TYPES[name] and env.version == 3 then
    fault.raise(node.at, "got the type %s, expected a value", name)
  end
  fault.raise(node.at, "%s is not declared", name)
end

-- The bit that one of an alias's parts stands for.
local function alias_bit(ref)
  local owner = ref[1]
  if ref[2] then return owner.value[ref[2]] end
  return owner.value
end

-- The bits that an alias stands for.
local function alias_value(env, binding, at)
  local bits = { n = #binding.refs }
  env:charge(at, bits.n // 16)
  for i, ref in ipairs(binding.refs) do bits[i - 1] = alias_bit(ref) end
  if binding.scalar then return bits[0], BIT end
  return bits, values.bits(bits.n)
end

function KINDS.name(env, node)
  local binding = env:lookup(node[2])
  if not binding then
    local value, kind = constant(env, node[2])
    if value == nil then undeclared(env, node) end
    return value, kind
  end
  if binding.kind == "alias" then return alias_value(env, binding, node.at) end
  if binding.kind ~= "value" then fault.raise(node.at, "%s is a qubit, expected a value", node[2]) end
  if env.gate and binding.gate ~= env.gate and not binding.const then
    fault.raise(node.at, "the variable %s in a gate, expected parameters and constants", node[2])
  end
  local value, kind = binding.value, binding.type
  if type(value) == "table" then
    use_parameter(env, value)
    if kind.kind == "bits" then
      env:charge(node.at, kind.n // 16)
    else
      kind = values.kept_type(value, kind)
    end
  end
  return value, kind
end

function KINDS.physical(_, node) fault.raise(node.at, "a physical qubit, expected a value") end

function KINDS.unreadable(_, node) error(node[2], 0) end

function KINDS.measure(_, node) fault.raise(node.at, "a measurement, expected a value") end

-- ---- operators

local COMPARISON = { ["=="] = true, ["!="] = true, ["<"] = true, ["<="] = true, [">"] = true, [">="] = true }

local SHORT = 64   -- bits that are worked on as fast as one

local function logic(env, node)
  local first, kind = evaluate(env, node[2])
  local value = values.boolean(first, kind, node[2].at)
  for i = 3, #node, 2 do
    local op = node[i]
    if value == (op == "||") and type(value) == "boolean" then
      for k = i + 1, #node, 2 do env.rehearse.expression(env, node[k]) end
      return value, BOOL
    end
    value = operators.both(op, value, M.boolean(env, node[i + 1]), node.places[i])
  end
  return value, BOOL
end

-- Operators of one rank, from left to right.
function KINDS.chain(env, node)
  local op = node[3]
  if op == "&&" or op == "||" then return logic(env, node) end
  local value, kind = evaluate(env, node[2])
  for i = 3, #node, 2 do
    op = node[i]
    local at = node.places[i]
    local right, right_kind = evaluate(env, node[i + 1])
    local size = (kind.n or 0) + (right_kind.n or 0)
    if size > SHORT then env:charge(at, size // 8) end
    if COMPARISON[op] then
      value, kind = operators.compare(op, value, kind, right, right_kind, at)
    elseif op == "/" and env.divides_exactly then
      value, kind = operators.divide(value, kind, right, right_kind, at)
    else
      value, kind = operators.arithmetic(op, value, kind, right, right_kind, at)
    end
  end
  return value, kind
end

function KINDS.power(env, node)
  local a, ta = evaluate(env, node[2])
  local b, tb = evaluate(env, node[3])
  return operators.power(a, ta, b, tb, node.at)
end

function KINDS.neg(env, node)
  local a, ta = evaluate(env, node[2])
  return operators.minus(a, ta, node.at)
end

KINDS["not"] = function(env, node)
  return operators.negate(M.boolean(env, node[2]), node.at), BOOL
end

function KINDS.invert(env, node)
  local a, ta = evaluate(env, node[2])
  env:charge(node.at, (ta.n or 0) // 8)
  return operators.invert(a, ta, node.at)
end

function KINDS.cast(env, node)
  local target = M.type(env, node[2])
  local value, kind = evaluate(env, node[3])
  value = values.convert(value, kind, target, node.at)
  return value, values.kept_type(value, target)
end

function KINDS.call(env, node)
  local name = node[2]
  local subroutine = env.subroutines[name]
  if subroutine then
    local value, kind = env.call_subroutine(env, subroutine, node[3], node)
    if value == nil then fault.raise(node.at, "the subroutine %s returns nothing, expected a value", name) end
    return value, kind
  end
  if not functions.exists(name, env.version) then fault.raise(node.at, "there is no function %s", name) end
  local arguments, kinds = {}, {}
  for i, argument in ipairs(node[3]) do arguments[i], kinds[i] = evaluate(env, argument) end
  return functions.call(name, arguments, kinds, node.at)
end

function KINDS.concat(env, node)
  local bits, n = {}, 0
  for _, part in ipairs(node[2]) do
    local value, kind = evaluate(env, part)
    if kind.kind == "bit" then value = { n = 1, [0] = value }
    elseif kind.kind ~= "bits" then fault.raise(part.at, "++ of %s, expected bits", kind.name) end
    for i = 0, value.n - 1 do bits[n + i] = value[i] end
    n = n + value.n
  end
  bits.n = n
  return bits, values.bits(n)
end

-- ---- indices

-- An index from 0 on of a list of this length. Negative ones count from its end.
local function place_of(index, length, at)
  local place = index < 0 and index + length or index
  if place < 0 or place >= length then
    fault.raise(at, "the index %d, expected one from 0 to %d", index, length - 1)
  end
  return place
end

local function step_of(env, node)
  local step = node[3] and M.integer(env, node[3], "the step of a range") or 1
  if step == 0 then fault.raise(node.at, "a range with step 0") end
  return step
end

-- First, last and step of a range of integers. length: of what it selects from, or nil.
function M.range(env, node, length)
  local step = step_of(env, node)
  local first = node[2] and M.integer(env, node[2], "the first of a range")
  local last = node[4] and M.integer(env, node[4], "the last of a range")
  if not length then
    if not (first and last) then fault.raise(node.at, "a range without its ends, expected first:last") end
    return first, last, step
  end
  first = first or (step > 0 and 0 or length - 1)
  last = last or (step > 0 and length - 1 or 0)
  if first < 0 then first = first + length end
  if last < 0 then last = last + length end
  return first, last, step
end

-- The places, from 0 on, that an index selects of a list of this length, and whether it is a single one.
function M.select(env, item, length)
  if item[1] == "range" then
    local first, last, step = M.range(env, item, length)
    local places = {}
    for index = first, last, step do
      places[#places + 1] = place_of(index, length, item.at)
    end
    env:charge(item.at, #places // 4)
    return places, false
  end
  if item[1] == "set" then
    local places = {}
    for i, member in ipairs(item[2]) do places[i] = place_of(M.integer(env, member), length, member.at) end
    return places, false
  end
  return { place_of(M.integer(env, item, "an index"), length, item.at) }, true
end

local function index_bits(env, bits, item)
  local places, is_single = M.select(env, item, bits.n)
  if is_single then return bits[places[1]], BIT end
  if #places == 0 then fault.raise(item.at, "a range that selects no bit") end
  local selected = { n = #places }
  for i, place in ipairs(places) do selected[i - 1] = bits[place] end
  return selected, values.bits(#places)
end

-- A part of an array: an element, or a smaller array.
local function index_array(env, list, kind, item)
  local dims = kind.dims
  local places, is_single = M.select(env, item, dims[1])
  local size = #list // dims[1]
  if is_single and #dims == 1 then return list[places[1] + 1], kind.base end
  local part = {}
  for _, place in ipairs(places) do
    table.move(list, place * size + 1, (place + 1) * size, #part + 1, part)
  end
  env:charge(item.at, #part)
  if is_single then return part, values.array(kind.base, table.move(dims, 2, #dims, 1, {})) end
  if #places == 0 then fault.raise(item.at, "a range that selects no element") end
  local part_dims = table.move(dims, 1, #dims, 1, {})
  part_dims[1] = #places
  return part, values.array(kind.base, part_dims)
end

local function index_integer(env, value, kind, item)
  if value == values.MIXED then values.refuse_measured(item.at) end
  local bits = values.integer_to_bits(value, kind.width or 64, item.at)
  return index_bits(env, bits, item)
end

-- What is indexed. Of a register only the bits are looked at that the index selects, however long it is.
local function indexed(env, node)
  local binding = node[1] == "name" and not env.gate and env:lookup(node[2])
  if binding and binding.kind == "value" and binding.type.kind == "bits" then return binding.value, binding.type end
  if not binding or binding.kind ~= "alias" or binding.scalar then return evaluate(env, node) end
  local refs = binding.refs
  local function bit_at(_, i) return refs[i + 1] and alias_bit(refs[i + 1]) end
  return setmetatable({ n = #refs }, { __index = bit_at }), values.bits(#refs)
end

-- Indices one after the other; several in one pair of brackets select in as many dimensions.
function KINDS.index(env, node)
  local value, kind = indexed(env, node[2])
  for i, item in ipairs(node[3]) do
    if value == values.MIXED then values.refuse_measured(item.at) end
    if node[3][i + 1] and (item[1] == "range" or item[1] == "set") then
      fault.raise(item.at, "a range before another index, expected it last")
    end
    if kind.kind == "bits" then
      value, kind = index_bits(env, value, item)
    elseif kind.kind == "array" then
      value, kind = index_array(env, value, kind, item)
    elseif kind.kind == "int" or kind.kind == "uint" or kind.kind == "angle" and kind.width then
      value, kind = index_integer(env, value, kind, item)
    elseif kind == values.WHOLE_SYMBOL then
      values.need(node.at, value)
    else
      fault.raise(node.at, "an index of a value of type %s, expected a register or an array", kind.name)
    end
    if type(value) == "table" then
      use_parameter(env, value)
      kind = values.kept_type(value, kind)
    end
  end
  return value, kind
end

-- ---- types

local MOST_WIDTH = { int = 64, uint = 64, angle = 64, float = 128 }

local function check_width(kind, width, at)
  if width < 1 or width > (MOST_WIDTH[kind] or 1000000) then
    fault.raise(at, "a %s of %d bits, expected 1 to %d", kind, width, MOST_WIDTH[kind] or 1000000)
  end
end

local function array_type(env, node)
  local base = M.type(env, node[2])
  if base.kind == "array" then
    fault.raise(node.at, "an array of arrays, expected its sizes in one pair of brackets")
  end
  local dims, count = {}, 1
  for i, size in ipairs(node[3]) do
    dims[i] = M.integer(env, size, "the size of an array")
    if dims[i] < 1 then fault.raise(size.at, "an array of size %d, expected 1 at least", dims[i]) end
    count = count * dims[i]
    env:charge(size.at, math.min(count, 1 << 40))
  end
  return values.array(base, dims)
end

-- The type that a node names.
function M.type(env, node)
  local name = node[1]
  if name == "array" then return array_type(env, node) end
  if name == "stretch" then return values.DURATION end
  if not node[2] then return values.type(name) end
  local width = M.integer(env, node[2], "the size of a type")
  check_width(name, width, node.at)
  if name == "bit" then
    env:charge(node.at, width)
    return values.bits(width)
  end
  if name == "float" then return FLOAT end
  if name == "bool" or name == "duration" then fault.raise(node.at, "%s has no size", name) end
  return values.type(name, width)
end

return M
