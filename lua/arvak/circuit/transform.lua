-- Circuits made of circuits: one behind another, the inverse, controlled, powers.
-- Invariant: append changes its circuit, as a builder's method does; the others give a new one and leave theirs alone.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local build = require "arvak.circuit.build"
local figures = require "arvak.circuit.figures"
local form = require "arvak.circuit.form"
local modern = require "arvak.circuit.modern"
local names = require "arvak.circuit.names"
local object = require "arvak.circuit.object"
local rewrite = require "arvak.circuit.rewrite"

local M = {}
local methods = {}
M.methods = methods

local MAX_OPERATIONS = 1000000   -- that what is made here comes to: no more are lowered
local MAX_CONTROLS = 10000000    -- of all operations together

local function check_integer(value, name, least, most)
  local integer = math.type(value) and math.tointeger(value)
  if not integer or integer < least or integer > most then
    check.misuse("%s: got %s, expected an integer from %d to %d", name, core.describe(value), least, most)
  end
  return integer
end

-- A circuit that begins as another one is.
local function copy_of(from)
  local circuit = object.of_snapshot { form = from }
  return circuit, object.edit(circuit)
end

-- ---- append

-- How many qubits or bits, from 0 on, include all that a circuit uses. kind: "qubit_count" or "bit_count".
local function count_used(known, kind)
  local first = kind == "bit_count" and known.qubit_count or 0
  local count = 0
  figures.each_wire(known, function(wire)
    local place = wire - first
    if place >= count and place < known[kind] then count = place + 1 end
  end)
  return count
end

-- Old → new for the qubits or bits of another circuit: those of the list, or the same ones, as far as it uses them.
local function check_places(list, from, into, kind, name, each)
  local count, most = from[kind], into[kind]
  if list == nil then
    if count > most then count = count_used(from, kind) end
    if count > most then
      check.misuse("%s: got none for a circuit that uses %d, expected a list, since this one has %d", name, count, most)
    end
    list = {}
    for i = 1, count do list[i] = i - 1 end
  end
  local plain, size = check.list(list, name, name, each)
  if size ~= count then check.misuse("%s: got %d, expected %d: one for each %s", name, size, count, each) end
  local map, seen = {}, {}
  for i = 1, count do
    local place = check_integer(plain[i], string.format("%s[%d]", name, i), 0, most - 1)
    if seen[place] then check.misuse("%s[%d]: got %d for the second time", name, i, place) end
    seen[place] = true
    map[i - 1] = place
  end
  return map
end

-- Adds the operations of a form to another one, with variables of their own, since each variable is assigned once.
local function add_block(into, from, map)
  map.variables = #into.variables
  local is_shared = map.is_same and #from.variables == 0
  for i = 1, from.block.n do
    local op = from.block[i]
    form.add(into.block, is_shared and op or rewrite.op(op, map))
  end
  for _, variable in ipairs(from.variables) do
    form.declare_variable(into, variable.name, variable.type, variable.width)
  end
end

-- Adds the operations of another circuit. qubits, bits: which of this circuit's each of the other's is; by default the
-- same ones.
function methods.append(circuit, other, qubits, bits)
  object.check(other, "append")
  local from, into = object.complete(other, "append"), object.edit(circuit)
  if into.block.n + from.block.n > MAX_OPERATIONS then
    check.misuse("append: got %d operations for a circuit of %d, expected at most %d in all", from.block.n,
      into.block.n, MAX_OPERATIONS)
  end
  local map = {
    qubits = check_places(qubits, from, into, "qubit_count", "append: qubits", "qubit"),
    bits = check_places(bits, from, into, "bit_count", "append: bits", "bit"),
    qubit_count = from.qubit_count, is_whole = from.qubit_count == into.qubit_count,
    is_same = qubits == nil and bits == nil and from.qubit_count == into.qubit_count,
  }
  if from.version ~= into.version then
    from = modern.form(from)
    if into.version ~= 3 then into.block, into.version = modern.form(into).block, 3 end
  end
  add_block(into, from, map)
  for _, name in ipairs(from.parameters) do build.note_parameters(into, { "name", name }) end
  return circuit
end

-- ---- what only gates have

local words = {
  [form.MEASURE] = "a measurement", [form.RESET] = "a reset", [form.IF] = "a condition",
  [form.ASSIGN] = "an assignment",
}

-- The form of a circuit of gates and barriers, or misuse.
local function gates_of(circuit, method)
  local known = object.complete(circuit, method)
  for i = 1, known.block.n do
    local word = words[known.block[i][1]]
    if word then check.misuse("%s: operation %d is %s, expected gates and barriers alone", method, i, word) end
  end
  return known
end

local own_inverse = {}
for name in string.gmatch("id x y z h cx CX cy cz ch swap ccx ccz cswap c3x c4x ecr rccx", "%S+") do
  own_inverse[name] = true
end
local partner = { s = "sdg", t = "tdg", sx = "sxdg", cs = "csdg" }
for name, other in pairs { s = "sdg", t = "tdg", sx = "sxdg", cs = "csdg" } do partner[other] = name end
local negated = {}
for name in string.gmatch("p phase u1 rx ry rz cp cphase cu1 crx cry crz rxx ryy rzz rzx gphase", "%S+") do
  negated[name] = true
end

local function negative(angle)
  if type(angle) == "number" then return -angle end
  if angle[1] == "neg" then return angle[2] end
  return { "neg", angle }
end

-- The inverse of a gate's operation, by a gate of the library where there is one.
local function inverse_of(op)
  local gate = op[1]
  if not gate.library then
    return table.move(op, 2, #op, 2, { form.modify(gate, { { "inv" } }) })
  end
  if own_inverse[gate.name] then return op end
  local copy = table.move(op, 1, #op, 1, {})
  if partner[gate.name] then
    copy[1] = form.gate(partner[gate.name])
  elseif negated[gate.name] then
    copy[2] = negative(op[2])
  else
    copy[1] = form.modify(gate, { { "inv" } })
  end
  return copy
end

-- A new circuit that undoes this one.
function methods.inverse(circuit)
  local known = gates_of(circuit, "inverse")
  local block = form.block()
  for i = known.block.n, 1, -1 do
    local op = known.block[i]
    form.add(block, op[1] == form.BARRIER and op or inverse_of(op))
  end
  local inverse, into = copy_of(known)
  into.block = block
  return inverse
end

-- The library's gate with one control before it.
local controlled = {
  x = "cx", y = "cy", z = "cz", h = "ch", s = "cs", sdg = "csdg", sx = "csx", p = "cp", phase = "cp", u1 = "cp",
  rx = "crx", ry = "cry", rz = "crz", swap = "cswap", cx = "ccx", CX = "ccx", cz = "ccz", ccx = "c3x", c3x = "c4x",
  gphase = "p",
}

local function control(gate, count)
  while count > 0 and gate.library and controlled[gate.name] do
    gate, count = form.gate(controlled[gate.name]), count - 1
  end
  return count > 0 and form.modify(gate, { { "ctrl", count } }) or gate
end

-- The register before all others, whose places move up.
local function registers_with_controls(known, count)
  local taken, list = {}, {}
  for _, register in ipairs(known.qubits) do taken[register.name] = true end
  for _, register in ipairs(known.bits) do taken[register.name] = true end
  list[1] = { name = names.unique("control", taken), first = 0, size = count, scalar = false }
  for i, register in ipairs(known.qubits) do
    local first = register.first + count
    list[i + 1] = { name = register.name, first = first, size = register.size, scalar = register.scalar }
  end
  return list
end

-- A new circuit with count more qubits, the first ones, all of which have to be 1 for this one to happen.
function methods.controlled(circuit, count)
  count = check_integer(count == nil and 1 or count, "controlled: count", 1, 1000)
  local known = gates_of(circuit, "controlled")
  if known.block.n * count > MAX_CONTROLS then
    check.misuse("controlled: got %d for %d operations, expected at most %d controls in all", count, known.block.n,
      MAX_CONTROLS)
  end
  local made, into = copy_of(known)
  into.qubits, into.qubit_count = registers_with_controls(known, count), known.qubit_count + count
  local map = { qubits = {}, bits = {}, variables = 0, qubit_count = known.qubit_count }
  for i = 0, known.qubit_count - 1 do map.qubits[i] = i + count end
  into.block = form.block()
  for i = 1, known.block.n do
    local op = rewrite.op(known.block[i], map)
    local gate = op[1]
    if gate ~= form.BARRIER then
      local more = { control(gate, count) }
      table.move(op, 2, gate.params + 1, 2, more)
      for q = 0, count - 1 do more[#more + 1] = q end
      op = table.move(op, gate.params + 2, #op, #more + 1, more)
    end
    form.add(into.block, op)
  end
  return made
end

-- Each bit and qubit as itself.
local function same_places(known)
  local map = { qubits = {}, bits = {}, qubit_count = known.qubit_count, is_whole = true, is_same = true }
  for i = 0, known.qubit_count - 1 do map.qubits[i] = i end
  for i = 0, known.bit_count - 1 do map.bits[i] = i end
  return map
end

local function repeat_form(known, count, method)
  if known.block.n == 0 then count = 0 end
  if count > 1 and count > MAX_OPERATIONS // known.block.n then
    check.misuse("%s: got %d, expected at most %d operations in all", method, count, MAX_OPERATIONS)
  end
  local made, into = copy_of(known)
  into.block, into.variables = form.block(), {}
  for _ = 1, count do add_block(into, known, same_places(known)) end
  return made
end

-- A new circuit: this one count times.
function methods.repeated(circuit, count)
  count = check_integer(count, "repeated: count", 0, MAX_OPERATIONS)
  return repeat_form(object.complete(circuit, "repeated"), count, "repeated")
end

-- A power that is no integer, of a circuit of one gate.
local function root_of(known, exponent)
  local op = known.block[1]
  if known.block.n ~= 1 or op[1] == form.BARRIER then
    check.misuse("power: got %s for %d operations, expected an integer, or a circuit of one gate",
      core.describe(exponent), known.block.n)
  end
  local made, into = copy_of(known)
  into.block = form.block()
  form.add(into.block, table.move(op, 2, #op, 2, { form.modify(op[1], { { "pow", exponent } }) }))
  return made
end

-- A new circuit: this one to a power; below 0 that of the inverse. What is no integer is the principal root, which only
-- a single gate has.
function methods.power(circuit, exponent)
  local known = gates_of(circuit, "power")
  local integer = math.type(exponent) and math.tointeger(exponent)
  if integer and integer >= 0 then return repeat_form(known, integer, "power") end
  if integer and integer > math.mininteger then
    return repeat_form(object.form_of(methods.inverse(circuit)), -integer, "power")
  end
  if type(exponent) ~= "number" or exponent ~= exponent or math.abs(exponent) == math.huge or integer then
    check.misuse("power: got %s, expected a finite number", core.describe(exponent))
  end
  return root_of(known, exponent)
end

return M
