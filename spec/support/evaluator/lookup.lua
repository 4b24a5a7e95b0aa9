-- The slow evaluator's names: scopes, declarations, reading and storing. Methods of a run.
-- An entry of a scope: { kind = "qubits", ids, scalar }, { kind = "bits", cells (slots), scalar },
-- { kind = "value", slot, type, width, is_const } or { kind = "parameter", get }.
-- SPDX-License-Identifier: Apache-2.0
local values = require "spec.support.evaluator.values"

local M = {}

local fail = values.fail

function M.scope_in(_, scope) return { names = {}, parent = scope } end

local function find(run, scope, name)
  while scope do
    local entry = scope.names[name]
    if entry then return entry end
    scope = scope.parent
  end
  local number = run.version == 3 and name:match("^%$(%d+)$")
  if number then
    number = math.tointeger(tonumber(number))
    if run.qubit_count > 0 then run.refuse_mixture() end
    if number > 40 then fail("%s: too many qubits", name) end
    run.physical = math.max(run.physical, number + 1)
    return { kind = "qubits", ids = { number }, scalar = true }
  end
end

function M:find_gate(name) return self.gates[name] end
function M:is_def(name) return self.defs[name] ~= nil end

-- One name, one declaration in a scope; worlds that come here again share the entry.
function M.define(_, scope, name, node, entry)
  local old = scope.names[name]
  if old and old.node ~= node then fail("%s is declared twice", name) end
  if old and old.kind ~= "alias" and entry.kind ~= "alias" then return old end
  entry.node = node
  scope.names[name] = entry
  return entry
end

function M:new_slot()
  self.slots = self.slots + 1
  return self.slots
end

function M.refuse_mixture()
  error({ evaluator = "qubits of the machine beside declared ones", is_limit = true }, 0)
end

-- ---- declarations

function M:declare_qubits(node, world, scope)
  if scope ~= self.global then fail("%s: qubits are global", node.name) end
  local n = node.size and values.whole(self:eval(node.size, world, scope)) or 1
  if n < 1 then fail("%s: %d qubits", node.name, n) end
  if self.physical > 0 then self.refuse_mixture() end
  if scope.names[node.name] then return self:define(scope, node.name, node, {}) end
  local ids = {}
  if self.qubit_count + n > 40 then error({ evaluator = "too many qubits", is_limit = true }, 0) end
  for i = 1, n do ids[i] = self.qubit_count + i - 1 end
  self.qubit_count = self.qubit_count + n
  self:define(scope, node.name, node, { kind = "qubits", ids = ids, scalar = not node.size })
end

function M:declare_bits(node, n, scalar, world, scope)
  if n < 1 then fail("%s: %d bits", node.name, n) end
  if n > 4096 then error({ evaluator = "too many bits", is_limit = true }, 0) end
  local entry = scope.names[node.name]
  if not entry then
    entry = { kind = "bits", cells = {}, scalar = scalar }
    for i = 1, n do entry.cells[i] = self:new_slot() end
    if scope == self.global then self.registers[#self.registers + 1] = { name = node.name, cells = entry.cells } end
  end
  entry = self:define(scope, node.name, node.node or node, entry)
  for _, slot in ipairs(entry.cells) do world.v[slot] = 0 end
  return entry
end

function M:width_of(type, world, scope)
  if type.base == "float" or not type.width then return nil end
  local n = values.whole(self:eval(type.width, world, scope))
  if n < 1 then fail("a width of %d", n) end
  return n
end

local function array_of(value, element, width)
  if not values.is_list(value) then return values.convert(value, element.base, width) end
  local r = {}
  for i, inner in ipairs(value) do r[i] = array_of(inner, element, width) end
  return r
end

-- What a variable of this type holds of a value (nil: none yet).
function M:held(type, value, world, scope)
  if type.base == "array" then
    if value == nil then fail("an array without values") end
    return array_of(value, type.element, self:width_of(type.element, world, scope))
  end
  if value == nil then value = type.base == "bool" and false or 0 end
  if type.base == "stretch" or type.base == "duration" then return values.number(value) + 0.0 end
  return values.convert(value, type.base, self:width_of(type, world, scope))
end

function M:declare(node, value, world, scope)
  local type = node.type
  if type.base == "bit" then
    local n = self:width_of(type, world, scope)
    local held = value ~= nil and values.convert(value, "bit", n) or nil
    local entry = self:declare_bits(node, n or 1, not n, world, scope)
    if held then
      for i, slot in ipairs(entry.cells) do world.v[slot] = held[i] end
    end
    return
  end
  local held = self:held(type, value, world, scope)
  local entry = self:define(scope, node.name, node.node or node, scope.names[node.name]
    or { kind = "value", slot = self:new_slot(), type = type, is_const = node.is_const })
  world.v[entry.slot] = held
  -- What a gate's body sees: inputs are known before the first shot, too.
  if (node.is_const or node.is_input) and scope == self.global then self.constants[entry.slot] = held end
end

function M:input(name)
  local value = self.inputs[name]
  if value == nil then fail("the input %s has no value", name) end
  return value
end

function M:bind_argument(argument, node, world, scope, inner)
  if argument.qubits then
    local operand = self:qubits_of(node, world, scope)
    local n = argument.size and values.integer(self:eval(argument.size, world, inner))
    if #operand.ids ~= (n or 1) then fail("%s: %d qubits", argument.name, #operand.ids) end
    inner.names[argument.name] = { kind = "qubits", ids = operand.ids, scalar = not n }
  elseif argument.type.base == "array" then
    local entry = self:reference(node, world, scope)
    if entry.kind ~= "value" then fail("%s: no array", argument.name) end
    inner.names[argument.name] = { kind = "value", slot = entry.slot, type = entry.type,
      is_const = not argument.mutable }
  else
    self:declare({ name = argument.name, type = argument.type, node = argument }, self:eval(node, world, scope), world,
      inner)
  end
end

-- ---- indices

local function position(i, n)
  local at = i < 0 and i + n or i
  if at < 0 or at >= n then fail("index %d of %d", i, n) end
  return at + 1
end

-- The numbers of a range or a set, or nil for a single index.
local function numbers_of(run, node, n, world, scope)
  if node.kind == "set" then
    local r = {}
    for i, item in ipairs(node.items) do r[i] = values.whole(run:eval(item, world, scope)) end
    return r
  elseif node.kind ~= "range" then
    return nil
  end
  local function bound(inner, standard)
    return inner and values.whole(run:eval(inner, world, scope)) or standard
  end
  local step = bound(node.step, 1)
  if step == 0 then fail("a step of 0") end
  local first = bound(node.first, n and (step > 0 and 0 or n - 1))
  local last = bound(node.last, n and (step > 0 and n - 1 or 0))
  if not first or not last then fail("a range without end") end
  if n and first < 0 then first = first + n end
  if n and last < 0 then last = last + n end
  local r = {}
  for i = first, last, step do
    r[#r + 1] = i
    if #r > 100000 then error({ evaluator = "a long range", is_limit = true }, 0) end
  end
  return r
end

local function picked(run, list, node, world, scope)
  local numbers = numbers_of(run, node, #list, world, scope)
  if not numbers then return { list[position(values.whole(run:eval(node, world, scope)), #list)] }, true end
  local r = {}
  for i, number in ipairs(numbers) do r[i] = list[position(number, #list)] end
  return r, false
end

function M:loop_values(node, world, scope)
  if node.kind == "range" or node.kind == "set" then
    if node.kind == "range" then return numbers_of(self, node, nil, world, scope) end
    local r = {}
    for i, item in ipairs(node.items) do r[i] = self:eval(item, world, scope) end
    return r
  end
  local value = self:eval(node, world, scope)
  if values.is_bits(value) then
    local r = {}
    for i = 1, value.n do r[i] = value[i] end
    return r
  end
  if not values.is_list(value) then fail("a loop over a single value") end
  return value
end

-- ---- references: what a name, an index of one or a concatenation stands for, as an entry

local function joined(all)
  local first = all[1] or fail("an empty set")
  local key = first.kind == "qubits" and "ids" or "cells"
  local r = { kind = first.kind, [key] = {} }
  for _, entry in ipairs(all) do
    if entry.kind ~= first.kind or not entry[key] then fail("a concatenation of unlike things") end
    table.move(entry[key], 1, #entry[key], #r[key] + 1, r[key])
  end
  return r
end

function M:reference(node, world, scope)
  if node.kind == "name" then
    return find(self, scope, node.name) or fail("%s is not declared", node.name)
  elseif node.kind == "binary" and node.sign == "++" then
    return joined { self:reference(node.left, world, scope), self:reference(node.right, world, scope) }
  elseif node.kind == "set" then
    local all = {}
    for i, item in ipairs(node.items) do all[i] = self:reference(item, world, scope) end
    return joined(all)
  elseif node.kind ~= "index" then
    fail("a %s names nothing", node.kind)
  end
  local of = self:reference(node.of, world, scope)
  local key = of.kind == "qubits" and "ids" or of.kind == "bits" and "cells" or nil
  if not key then return { kind = "element", of = of, index = node.index } end
  if of.scalar then fail("an index of something single") end
  local list, scalar = picked(self, of[key], node.index, world, scope)
  return { kind = of.kind, [key] = list, scalar = scalar }
end

function M:qubits_of(node, world, scope)
  local entry = self:reference(node, world, scope)
  if entry.kind ~= "qubits" then fail("no qubits where qubits are expected") end
  return entry
end

-- ---- storing

-- An integer or an angle with other bits at an index.
local function with_bits(run, old, node, value, world, scope)
  local width = type(old) == "table" and old.width or 64
  local bits = values.bits(values.is_angle(old) and old.turns or values.integer(old), width)
  local numbers = numbers_of(run, node, width, world, scope)
  if not numbers then
    bits[position(values.whole(run:eval(node, world, scope)), width)] = values.integer(value) & 1
  else
    local list = values.convert(value, "bit", #numbers)
    for i, number in ipairs(numbers) do bits[position(number, width)] = list[i] end
  end
  if values.is_angle(old) then return values.convert(bits, "angle", width) end
  local whole = 0
  for i = 1, width do whole = whole | bits[i] << (i - 1) end
  return values.is_sized(old) and values.convert(whole, old.base, width) or whole
end

local function store_element(run, entry, value, world, scope)
  local path, of = { entry.index }, entry.of
  while of.kind == "element" do
    table.insert(path, 1, of.index)
    of = of.of
  end
  if of.kind ~= "value" then fail("an element of nothing") end
  if of.is_const then fail("a constant is assigned") end
  local function replaced(old, depth)
    if not path[depth] then
      return values.is_list(old) and value or values.convert(value, of.type.element.base,
        run:width_of(of.type.element, world, scope))
    end
    if not values.is_list(old) then return with_bits(run, old, path[depth], value, world, scope) end
    local at = values.whole(run:eval(path[depth], world, scope))
    local r = table.move(old, 1, #old, 1, {})
    r[position(at, #old)] = replaced(old[position(at, #old)], depth + 1)
    return r
  end
  world.v[of.slot] = replaced(world.v[of.slot], 1)
end

function M:store(target, value, world, scope)
  local entry = self:reference(target, world, scope)
  if entry.kind == "element" then return store_element(self, entry, value, world, scope) end
  if entry.kind == "bits" then
    local bits = values.convert(value, "bit", #entry.cells)
    for i, slot in ipairs(entry.cells) do world.v[slot] = bits[i] end
    return
  end
  if entry.kind ~= "value" then fail("an assignment to something else than a variable") end
  if entry.is_const then fail("a constant is assigned") end
  world.v[entry.slot] = self:held(entry.type, value, world, self.global)
end

-- ---- reading

local evals = {}

function M:eval(node, world, scope)
  local kept = world.temp[node]
  if kept ~= nil then return kept end
  return (evals[node.kind] or fail("a %s has no value", node.kind))(self, node, world, scope)
end

function evals.literal(run, node) return run.version == 2 and values.number(node.value) + 0.0 or node.value end
function evals.bits(_, node) return values.parse_bits(node.text) end

local function read(entry, world, name)
  if entry.kind == "parameter" then return entry.get() end
  if entry.kind == "qubits" then fail("%s is no value", name) end
  if entry.kind == "bits" then
    local r = { n = #entry.cells }
    for i, slot in ipairs(entry.cells) do r[i] = world.v[slot] end
    return r
  end
  local value = world.v[entry.slot]
  if value == nil then fail("%s has no value", name) end
  return value
end

function evals.name(run, node, world, scope)
  local entry = find(run, scope, node.name)
  if entry then return read(entry, world, node.name) end
  local constant = values.constants[node.name]
  if constant == nil or (run.version == 2 and node.name ~= "pi") then fail("%s is not declared", node.name) end
  return constant
end

function evals.index(run, node, world, scope)
  local of = run:eval(node.of, world, scope)
  if values.is_angle(of) then of = values.bits(of.turns, of.width) end
  if values.is_sized(of) then of = values.bits(of.whole, of.width) end
  if math.type(of) == "integer" then
    return of >> position(values.whole(run:eval(node.index, world, scope)), 64) - 1 & 1
  end
  if type(of) ~= "table" then fail("an index of something single") end
  if values.is_bits(of) and node.of.kind == "name" and run:reference(node.of, world, scope).scalar then
    fail("an index of a single bit")
  end
  local list, scalar = picked(run, of, node.index, world, scope)
  if values.is_bits(of) then list.n = #list end
  return scalar and not of.n and list[1] or list
end

function evals.set(run, node, world, scope)
  local r = {}
  for i, item in ipairs(node.items) do r[i] = run:eval(item, world, scope) end
  return r
end

function evals.cast(run, node, world, scope)
  local value = run:eval(node.of, world, scope)
  local width = run:width_of(node.type, world, scope)
  if node.type.base == "bit" and not width and values.is_bits(value) then return value end
  return values.convert(value, node.type.base, width)
end

function evals.unary(run, node, world, scope)
  return values.unary[node.sign](run:eval(node.of, world, scope))
end

function evals.binary(run, node, world, scope)
  local left = run:eval(node.left, world, scope)
  if node.sign == "&&" then return values.truth(left) and values.truth(run:eval(node.right, world, scope)) end
  if node.sign == "||" then return values.truth(left) or values.truth(run:eval(node.right, world, scope)) end
  local right = run:eval(node.right, world, scope)
  if node.sign == "++" then
    if values.is_sized(left) or values.is_sized(right) then fail("a concatenation of integers") end
    if type(left) ~= "table" or type(right) ~= "table" then fail("a concatenation of single values") end
    local r = table.move(left, 1, #left, 1, {})
    table.move(right, 1, #right, #r + 1, r)
    if left.n then r.n = #r end
    return r
  end
  if node.sign == "/" and run.divides_exactly then left = values.number(left) + 0.0 end
  return values.binary[node.sign](left, right)
end

function evals.call(run, node, world, scope)
  if node.name == "sizeof" or node.name == "durationof" then
    local of = run:eval(node.arguments[1], world, scope)
    return node.name == "sizeof" and #of or 0.0
  end
  local f = values.functions[node.name] or fail("%s: no such function", node.name)
  local all = {}
  for i, argument in ipairs(node.arguments) do all[i] = run:eval(argument, world, scope) end
  return f(table.unpack(all))
end

return M
