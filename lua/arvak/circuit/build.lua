-- Building circuits: a method for each gate of the library, measuring, resetting, conditions. Qubits and bits are
-- numbered from 0 over all registers, as the form numbers them.
-- Invariant: a method either adds its whole operation or raises at its caller's line and adds nothing.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local form = require "arvak.circuit.form"
local library = require "arvak.circuit.library"
local names = require "arvak.circuit.names"
local object = require "arvak.circuit.object"
local parameters = require "arvak.circuit.parameters"

local M = {}

local MAX_SIZE = 1000000   -- qubits, and bits, of a circuit

-- ---- registers

local function check_size(value, name, least)
  local size = math.type(value) and math.tointeger(value)
  if not size or size < least or size > MAX_SIZE then
    check.misuse("%s: got %s, expected an integer from %d to %d", name, core.describe(value), least, MAX_SIZE)
  end
  return size
end

local function check_register(entry, name, seen)
  if type(entry) ~= "table" then
    check.misuse('%s: got %s, expected a name and a size, such as { "q", 3 }', name, core.describe(entry))
  end
  local word, size = entry[1], check_size(entry[2], name .. "[2]", 1)
  if not names.is_name(word) or names.is_keyword(word) then
    check.misuse("%s[1]: got %s, expected a name of OpenQASM that is none of its own words", name, core.describe(word))
  end
  if seen[word] then check.misuse("%s[1]: got %s for the second time", name, core.describe(word)) end
  seen[word] = true
  return word, size
end

-- Declares what an option lists; an integer stands for one register of that size.
local function declare_all(into, value, option, default_name, declare, seen)
  if math.type(value) then
    local size = check_size(value, option, option == "bits" and 0 or 1)
    seen[default_name] = true
    if size > 0 then declare(into, default_name, size) end
    return
  end
  for i, entry in ipairs((check.list(value, option, option, "register"))) do
    declare(into, check_register(entry, string.format("%s[%d]", option, i), seen))
  end
end

-- A circuit without operations. value: how many qubits, with as many bits; or { qubits =, bits = }, each a number or a
-- list of { name, size }.
function M.new(value)
  if type(value) ~= "table" then value = { qubits = check_size(value, "circuit.new", 1) } end
  local options = check.options(value, "circuit.new", { qubits = true, bits = true })
  local made, seen = form.new(3), {}
  declare_all(made, options.qubits == nil and check_size(nil, "qubits", 1) or options.qubits, "qubits", "q",
    form.declare_qubits, seen)
  local bits = options.bits == nil and made.qubit_count or options.bits
  declare_all(made, bits, "bits", "c", form.declare_bits, seen)
  check_size(made.qubit_count, "qubits in all", 1)
  check_size(made.bit_count, "bits in all", 0)
  return object.new(made)
end

-- ---- arguments

local function check_index(value, count, place)
  local index = math.type(value) and math.tointeger(value)
  if index and index >= 0 and index < count then return index end
  if count == 0 then check.misuse("%s: got %s, but the circuit has none", place, core.describe(value)) end
  return check.misuse("%s: got %s, expected an integer from 0 to %d", place, core.describe(value), count - 1)
end

-- Checks the qubits at places first to last of a list, and puts the integers there.
local function check_qubits(list, first, last, count, method)
  for i = first, last do
    local place = last > first and string.format("%s: qubit %d", method, i - first + 1) or method .. ": qubit"
    list[i] = check_index(list[i], count, place)
    for j = first, i - 1 do
      if list[j] == list[i] then
        check.misuse("%s: got %d for the second time, expected different qubits", place, list[i])
      end
    end
  end
end

local function plural(count, word) return count == 1 and "1 " .. word or count .. " " .. word .. "s" end

local function shape_of(gate)
  local parts = {}
  if gate.params > 0 then parts[1] = plural(gate.params, "angle") end
  if gate.qubits > 0 then parts[#parts + 1] = plural(gate.qubits, "qubit") end
  return table.concat(parts, ", then ")
end

-- Adds the names in an angle to the form's parameters.
function M.note_parameters(into, angle)
  parameters.each_name(angle, function(name)
    for _, known in ipairs(into.parameters) do
      if known == name then return end
    end
    into.parameters[#into.parameters + 1] = name
  end)
end

-- Adds a gate. op: the gate, then its angles and qubits as they were given, count of them.
local function add_gate(circuit, gate, op, count, method)
  local params, qubits = gate.params, gate.qubits
  if count ~= params + qubits then
    check.misuse("%s: got %s, expected %d: %s", method, plural(count, "argument"), params + qubits, shape_of(gate))
  end
  local into = object.edit(circuit)
  for i = 2, params + 1 do
    local place = params > 1 and string.format("%s: angle %d", method, i - 1) or method .. ": angle"
    op[i] = parameters.angle(op[i], place)
  end
  check_qubits(op, params + 2, params + qubits + 1, into.qubit_count, method)
  for i = 2, params + 1 do
    if type(op[i]) ~= "number" then M.note_parameters(into, op[i]) end
  end
  form.add(into.block, op)
  return circuit
end

-- ---- methods

local methods = {}
M.methods = methods

for name in pairs(library) do
  local gate = form.gate(name)
  methods[name] = function(circuit, ...)
    return add_gate(circuit, gate, { gate, ... }, select("#", ...), name)
  end
end

-- A gate by its name. angles: a list, or nil; then the qubits.
function methods.gate(circuit, name, angles, ...)
  local gate = type(name) == "string" and form.gate(name)
  if not gate then
    check.misuse("gate: got %s as the name, expected a gate of the library, such as \"cx\"", core.describe(name))
  end
  local list, count = {}, 0
  if angles ~= nil then list, count = check.list(angles, "gate: angles", "gate: angles", "number or parameter") end
  if count ~= gate.params then
    check.misuse("gate: angles: got %d, expected %d for %s", count, gate.params, name)
  end
  local given = select("#", ...)
  if given ~= gate.qubits then
    check.misuse("gate: got %s, expected %d for %s", plural(given, "qubit"), gate.qubits, name)
  end
  local op = table.move(list, 1, count, 2, { gate })
  table.move({ ... }, 1, given, count + 2, op)
  return add_gate(circuit, gate, op, count + given, name)
end

-- Measures a qubit into a bit.
function methods.measure(circuit, qubit, bit)
  local into = object.edit(circuit)
  qubit = check_index(qubit, into.qubit_count, "measure: qubit")
  form.add(into.block, { form.MEASURE, qubit, check_index(bit, into.bit_count, "measure: bit") })
  return circuit
end

-- Measures each qubit into the bit of the same number.
function methods.measure_all(circuit)
  local into = object.edit(circuit)
  if into.bit_count < into.qubit_count then
    check.misuse("measure_all: the circuit has %s and %s, expected a bit for each qubit",
      plural(into.qubit_count, "qubit"), plural(into.bit_count, "bit"))
  end
  for i = 0, into.qubit_count - 1 do form.add(into.block, { form.MEASURE, i, i }) end
  return circuit
end

-- Puts qubits back to 0.
function methods.reset(circuit, ...)
  local into, qubits, count = object.edit(circuit), { ... }, select("#", ...)
  if count == 0 then check.misuse("reset: got no argument, expected at least 1 qubit") end
  check_qubits(qubits, 1, count, into.qubit_count, "reset")
  for i = 1, count do form.add(into.block, { form.RESET, qubits[i] }) end
  return circuit
end

-- A barrier over these qubits, or over all.
function methods.barrier(circuit, ...)
  local into, op, count = object.edit(circuit), { form.BARRIER, ... }, select("#", ...)
  check_qubits(op, 2, count + 1, into.qubit_count, "barrier")
  form.add(into.block, op)
  return circuit
end

-- ---- conditions

local function find_register(into, name)
  local known = {}
  for i, register in ipairs(into.bits) do
    if register.name == name then return register end
    known[i] = register.name
  end
  check.misuse("when: got %s, expected a register of bits (%s) or the number of a bit", core.describe(name),
    #known > 0 and table.concat(known, ", ") or "the circuit has none")
end

-- The condition that a register, or a bit, has a value.
local function test_of(into, what, value)
  local first, size
  if type(what) == "string" then
    local register = find_register(into, what)
    first, size = register.first, register.size
  else
    first, size = check_index(what, into.bit_count, "when: bit"), 1
  end
  local most = size < 63 and (1 << size) - 1 or math.maxinteger
  local wanted = math.type(value) and math.tointeger(value)
  if not wanted or wanted < 0 or wanted > most then
    check.misuse("when: value: got %s, expected an integer from 0 to %d", core.describe(value), most)
  end
  return { "==", { "reg", first, size }, wanted }
end

-- Adds what fn adds to the circuit that it gets, under the condition that a register of bits, or one bit, has this
-- value.
function methods.when(circuit, what, value, fn)
  local into = object.edit(circuit)
  local test, size = test_of(into, what, value), into.block.n
  check.callable(fn, "when: body")
  local lent = object.new(object.like(into))
  fn(lent)
  local body = object.take(lent)
  into = object.edit(circuit)
  if into.block.n ~= size then
    check.misuse("when: the function changed the circuit outside, expected changes of the one that it is given")
  end
  if body.block.n == 0 then return circuit end
  for _, name in ipairs(body.parameters) do M.note_parameters(into, { "name", name }) end
  into.variables = body.variables
  form.add(into.block, { form.IF, test, body.block })
  return circuit
end

return M
