-- The form of a circuit between its readers (texts, the builder) and its takers (lowering, drawing, the source writer):
-- a plain table of registers and a block of operations on numbered qubits and bits.
-- Invariant: operations and gates are never changed after they were made, and may be shared: one operation may stand at
-- several places of several blocks. Whoever changes a circuit makes new ones.
--
-- form  = { version, source, qubits, qubit_count, bits, bit_count, variables, parameters, block, inputs, pending,
--           reread }
--   qubits, bits: lists of { name, first, size, scalar }; variables: list of { name, type, width }
--   parameters: names that are not bound, in order of first use
--   pending: { name, line, column, err }, when the operations depend on the value of the input `name` (a bound of
--     a loop, say) and it was not given. The block then ends before that place. reread(values) gives the form for
--     those values, or nil and an error; it is there for every form with inputs.
-- block = { op, …, n, at }; at[i] is the position of op i (0 when built in Lua)
-- op    = { gate, angle…, qubit… } | { MEASURE, qubit, target } | { RESET, qubit } | { BARRIER, qubit… }
--       | { ASSIGN, target, value } | { IF, test, block, other block or nil }
--   target: a bit's number, or { var = index in variables }; of ASSIGN { bit = number } | { var = index }
-- gate  = { name, params, qubits, library = true } | { name, params, qubits, body, argument = { names } }
--       | { name, params, qubits, base, modifiers = { { "ctrl", n } | { "negctrl", n } | { "inv" } | { "pow", x } … } }
-- SPDX-License-Identifier: Apache-2.0
local library = require "arvak.circuit.library"

local M = {
  MEASURE = "measure", RESET = "reset", BARRIER = "barrier", ASSIGN = "assign", IF = "if",
}

-- ---- blocks

function M.block() return { n = 0, at = {} } end

-- Adds an operation at the end. position: where it stands in the text, or nil.
function M.add(block, op, position)
  local n = block.n + 1
  block[n], block.at[n], block.n = op, position or 0, n
end

-- A form without registers and operations.
function M.new(version, source)
  return {
    version = version, source = source, qubits = {}, qubit_count = 0, bits = {}, bit_count = 0, variables = {},
    parameters = {}, inputs = {}, block = M.block(),
  }
end

local function declare(registers, count, name, size)
  local register = { name = name, first = count, size = size or 1, scalar = size == nil }
  registers[#registers + 1] = register
  return register, count + register.size
end

-- Declares a register of qubits; size nil: a single one. Returns the register.
function M.declare_qubits(form, name, size)
  local register
  register, form.qubit_count = declare(form.qubits, form.qubit_count, name, size)
  return register
end

-- Declares a register of bits; size nil: a single one. Returns the register.
function M.declare_bits(form, name, size)
  local register
  register, form.bit_count = declare(form.bits, form.bit_count, name, size)
  return register
end

-- Declares a classical variable, and returns its index.
function M.declare_variable(form, name, type, width)
  local index = #form.variables + 1
  form.variables[index] = { name = name, type = type, width = width }
  return index
end

-- ---- positions

local COLUMNS = 4096

function M.position(line, column)
  return line * COLUMNS + (column < COLUMNS and column or COLUMNS - 1)
end

-- Line and column of a position, or nil where there is none.
function M.place(position)
  if not position or position == 0 then return nil end
  return position // COLUMNS, position % COLUMNS
end

-- ---- gates

local standard = {}
for name, shape in pairs(library) do
  standard[name] = { name = name, params = shape[1], qubits = shape[2], library = true }
end

-- The library's gate of this name, or nil. One object for each name.
function M.gate(name) return standard[name] end

-- A gate of the program's own. argument: names of its parameters; body: a block over its qubits.
function M.define(name, argument, qubit_count, body)
  return { name = name, params = #argument, qubits = qubit_count, argument = argument, body = body }
end

-- Modified gates by their base and their modifiers, as long as anybody has them.
local modified = setmetatable({}, { __mode = "k" })

local function key_of(modifiers)
  local parts = {}
  for i, modifier in ipairs(modifiers) do
    local value = modifier[2]
    parts[i] = modifier[1] .. (value and (math.type(value) == "integer" and "i" .. value
      or string.pack("d", value)) or "")
  end
  return table.concat(parts, "\0")
end

-- A gate under modifiers, outermost first: one object for equal ones.
function M.modify(base, modifiers)
  if base.base then
    local all = table.move(modifiers, 1, #modifiers, 1, {})
    modifiers, base = table.move(base.modifiers, 1, #base.modifiers, #all + 1, all), base.base
  end
  local known = modified[base]
  if not known then
    known = setmetatable({}, { __mode = "v" })
    modified[base] = known
  end
  local key = key_of(modifiers)
  local gate = known[key]
  if gate then return gate end
  local qubits = base.qubits
  for _, modifier in ipairs(modifiers) do
    if modifier[1] == "ctrl" or modifier[1] == "negctrl" then qubits = qubits + modifier[2] end
  end
  gate = { name = base.name, params = base.params, qubits = qubits, base = base, modifiers = modifiers }
  known[key] = gate
  return gate
end

return M
