-- The canonical text of a form, which a journal hashes: equal for texts and builders that make the same operations.
-- Invariant: it depends on what the program does and on the bits that it answers with, not on how lowering writes it,
-- so the hash of a circuit stays the same when a later release lowers better.
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"
local form = require "arvak.circuit.form"
local text = require "arvak.base.text"

local M = {}

local VERSION = "circuit 1"

-- ---- values

local function number(known, value)
  local written = known.numbers[value]
  if not written then
    written = text.format_number("%.17g", value)
    known.numbers[value] = written
  end
  return written
end

-- A number, a name or an expression.
local function value_text(known, value)
  local kind = type(value)
  if kind == "number" then return number(known, value) end
  if kind ~= "table" then return tostring(value) end
  if value[1] == "name" then known.open = known.open or value[2] end
  local parts = {}
  for i = 1, #value do parts[i] = value_text(known, value[i]) end
  return "(" .. table.concat(parts, " ") .. ")"
end

-- ---- operations

local block_text

-- The number of a gate. What it is goes to the list of definitions, where it is used first.
local function gate_number(known, gate)
  local id = known.gates[gate]
  if id then return id end
  local definition
  if gate.library then
    definition = gate.name
  elseif gate.base then
    local parts = { gate_number(known, gate.base) }
    for _, modifier in ipairs(gate.modifiers) do
      parts[#parts + 1] = modifier[1] .. (modifier[2] and " " .. number(known, modifier[2]) or "")
    end
    definition = table.concat(parts, " @ ")
  else
    definition = string.format("body %d %d {%s}", gate.params, gate.qubits, block_text(known, gate.body))
  end
  known.definitions[#known.definitions + 1] = definition
  id = "g" .. #known.definitions
  known.gates[gate] = id
  return id
end

local function target_text(target)
  if math.type(target) then return "c" .. target end
  if not target then return "-" end
  return target.bit and "c" .. target.bit or "v" .. target.var
end

local others = {
  [form.MEASURE] = function(_, op) return "measure " .. op[2] .. " " .. target_text(op[3]) end,
  [form.ASSIGN] = function(known, op) return target_text(op[2]) .. " = " .. value_text(known, op[3]) end,
  [form.IF] = function(known, op)
    local other = op[4] and " else {" .. block_text(known, op[4]) .. "}" or ""
    return "if " .. value_text(known, op[2]) .. " {" .. block_text(known, op[3]) .. "}" .. other
  end,
}

local function operation_text(known, op)
  local kind = op[1]
  local other = others[kind]
  if other then return other(known, op) end
  local parts, count = { type(kind) == "table" and gate_number(known, kind) or kind }, #op
  for i = 2, count do
    local value = op[i]
    parts[i] = math.type(value) == "integer" and value or value_text(known, value)
  end
  return table.concat(parts, " ", 1, count)
end

function block_text(known, block)
  local lines = {}
  for i = 1, block.n do lines[i] = operation_text(known, block[i]) end
  return table.concat(lines, "\n", 1, block.n)
end

-- ---- the whole

-- The canonical text, or nil and an error when parameters have no value.
function M.of(source)
  if source.pending then return nil, source.pending.err end
  local known = { gates = {}, numbers = {}, definitions = {} }
  local body = block_text(known, source.block)
  if known.open then
    return nil, errors.new("invalid_circuit", "the parameter " .. text.printable(known.open) .. " has no value",
      { source = source.source })
  end
  local registers = {}
  for i, register in ipairs(source.bits) do registers[i] = register.name .. " " .. register.size end
  return table.concat({
    VERSION, "version " .. source.version, "qubits " .. source.qubit_count, table.concat(registers, "\n"),
    table.concat(known.definitions, "\n"), body,
  }, "\n\n")
end

return M
