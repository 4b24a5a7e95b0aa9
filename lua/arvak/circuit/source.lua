-- The source of a circuit as OpenQASM 3, for other tools: registers, gates, measurements and conditions as they were
-- written, not as they are sent.
-- Invariant: what is written means the same circuit to whoever reads it with stdgates.inc; a name that the language or
-- its library has taken gets another one.
-- SPDX-License-Identifier: Apache-2.0
local expressions = require "arvak.circuit.expressions"
local form = require "arvak.circuit.form"
local modern = require "arvak.circuit.modern"
local names = require "arvak.circuit.names"
local parameters = require "arvak.circuit.parameters"

local M = {}

-- Gates that stdgates.inc lacks, by those that it has: under modifiers,
local as_modified = {
  u = "U", sxdg = "inv @ sx", cs = "ctrl @ s", csdg = "ctrl @ sdg", csx = "ctrl @ sx", cu1 = "cp", cu3 = "ctrl @ U",
  ccz = "ctrl(2) @ z", c3x = "ctrl(3) @ x", c4x = "ctrl(4) @ x", c3sx = "ctrl(3) @ sx", c3sqrtx = "ctrl(3) @ sx",
}

-- or as definitions of the program's own.
local function call(name, ...) return { form.gate(name), ... } end

local theta, phi = { "param", 1 }, { "param", 2 }
local QUARTER, EIGHTH = math.pi / 2, math.pi / 4

local definitions = {
  r = { { "theta", "phi" }, 1, call("U", theta, { "-", phi, QUARTER }, { "-", QUARTER, phi }, 0) },
  u0 = { { "gamma" }, 1, call("id", 0) },
  iswap = { {}, 2, call("s", 0), call("s", 1), call("h", 0), call("cx", 0, 1), call("cx", 1, 0), call("h", 1) },
  dcx = { {}, 2, call("cx", 0, 1), call("cx", 1, 0) },
  ecr = { {}, 2, call("h", 1), call("cx", 0, 1), call("rz", EIGHTH, 1), call("cx", 0, 1), call("h", 1), call("x", 0),
    call("h", 1), call("cx", 0, 1), call("rz", -EIGHTH, 1), call("cx", 0, 1), call("h", 1) },
  rxx = { { "theta" }, 2, call("h", 0), call("h", 1), call("cx", 0, 1), call("rz", theta, 1), call("cx", 0, 1),
    call("h", 0), call("h", 1) },
  ryy = { { "theta" }, 2, call("rx", QUARTER, 0), call("rx", QUARTER, 1), call("cx", 0, 1), call("rz", theta, 1),
    call("cx", 0, 1), call("rx", -QUARTER, 0), call("rx", -QUARTER, 1) },
  rzz = { { "theta" }, 2, call("cx", 0, 1), call("rz", theta, 1), call("cx", 0, 1) },
  rzx = { { "theta" }, 2, call("h", 1), call("cx", 0, 1), call("rz", theta, 1), call("cx", 0, 1), call("h", 1) },
  rccx = { {}, 3, call("h", 2), call("t", 2), call("cx", 1, 2), call("tdg", 2), call("cx", 0, 2), call("t", 2),
    call("cx", 1, 2), call("tdg", 2), call("h", 2) },
  rc3x = { {}, 4, call("h", 3), call("t", 3), call("cx", 2, 3), call("tdg", 3), call("h", 3), call("cx", 0, 3),
    call("t", 3), call("cx", 1, 3), call("tdg", 3), call("cx", 0, 3), call("t", 3), call("cx", 1, 3), call("tdg", 3),
    call("h", 3), call("t", 3), call("cx", 2, 3), call("tdg", 3), call("h", 3) },
}
definitions.rcccx = definitions.rc3x

-- A gate of the library as one that a program defines.
local function defined(name)
  local known = definitions[name]
  local body = form.block()
  for i = 3, #known do form.add(body, known[i]) end
  return form.define(name, known[1], known[2], body)
end

-- ---- names

local Writer = {}
Writer.__index = Writer

local function is_physical(register) return string.find(register.name, "^%$") ~= nil end

-- Names for registers, variables, parameters and, when they are met, gates.
local function new_writer(known)
  local writer = setmetatable({
    form = known, taken = {}, rename = {}, parameters = {}, gates = {}, heads = {},
  }, Writer)
  for _, list in ipairs { known.qubits, known.bits, known.variables } do
    for _, entry in ipairs(list) do
      writer.rename[entry] = is_physical(entry) and entry.name or names.unique(entry.name, writer.taken)
    end
  end
  for _, name in ipairs(known.parameters) do writer.parameters[name] = names.unique(name, writer.taken) end
  return writer
end

local function indexed(register, name, index, form_has_index)
  if register.scalar or not form_has_index then return name end
  return string.format("%s[%d]", name, index)
end

function Writer:qubit(q)
  if not self.qubit_names then
    self.qubit_names = {}
    for _, register in ipairs(self.form.qubits) do
      for i = 0, register.size - 1 do
        self.qubit_names[register.first + i] = is_physical(register) and register.size > 1 and "$" .. i
          or indexed(register, self.rename[register], i, not is_physical(register))
      end
    end
  end
  return self.qubit_names[q]
end

function Writer:bit(b) return expressions.bit_name(self.form, b, self.rename) end

function Writer:target(target)
  if type(target) == "table" and target.var then return self.rename[self.form.variables[target.var]] end
  return self:bit(type(target) == "table" and target.bit or target)
end

function Writer:angle(angle, arguments)
  return parameters.source(angle, function(name) return self.parameters[name] or name end,
    function(i) return arguments[i] end)
end

-- ---- gates

local write_block

-- Writes the definition of a gate, and before it those that it needs. Returns the name.
function Writer:define(gate)
  if self.gates[gate] then return self.gates[gate] end
  local qubits, arguments, taken = {}, {}, {}
  for i = 1, gate.params do
    arguments[i] = names.unique(gate.argument and gate.argument[i] or "p" .. i, taken)
  end
  for i = 0, gate.qubits - 1 do qubits[i] = names.unique("q" .. i, taken) end
  local scope = { arguments = arguments, qubit = function(q) return qubits[q] end, indent = "  " }
  local body = {}
  write_block(self, gate.body, scope, body)
  local name = names.unique(gate.name, self.taken)
  self.gates[gate] = name
  local list = table.concat(qubits, ", ", 0, gate.qubits - 1)
  self.heads[#self.heads + 1] = string.format("gate %s%s %s {\n%s%s}", name,
    gate.params > 0 and "(" .. table.concat(arguments, ", ") .. ")" or "", list, table.concat(body, "\n"),
    #body > 0 and "\n" or "")
  return name
end

-- The name of a gate without modifiers, as it is called.
function Writer:base_name(gate)
  if not gate.library then return self:define(gate) end
  if names.is_standard_gate(gate.name) then return gate.name end
  if as_modified[gate.name] then return as_modified[gate.name] end
  if not self.gates[gate] then self.gates[gate] = self:define(defined(gate.name)) end
  return self.gates[gate]
end

local function write_modifier(modifier)
  local kind, value = modifier[1], modifier[2]
  if kind == "inv" then return "inv @ " end
  if kind ~= "pow" and value == 1 then return kind .. " @ " end
  return string.format("%s(%s) @ ", kind, math.type(value) == "integer" and value or parameters.source(value))
end

function Writer:gate_name(gate)
  local parts = {}
  for i, modifier in ipairs(gate.modifiers or {}) do parts[i] = write_modifier(modifier) end
  return table.concat(parts) .. self:base_name(gate.base or gate)
end

function Writer:gate(op, scope)
  local gate, angles, qubits = op[1], {}, {}
  for i = 2, gate.params + 1 do angles[#angles + 1] = self:angle(op[i], scope.arguments) end
  for i = gate.params + 2, gate.params + gate.qubits + 1 do qubits[#qubits + 1] = scope.qubit(op[i]) end
  local list = #angles > 0 and "(" .. table.concat(angles, ", ") .. ")" or ""
  local space = #qubits > 0 and " " or ""
  return self:gate_name(gate) .. list .. space .. table.concat(qubits, ", ") .. ";"
end

-- ---- other operations

local writers = {}

writers[form.MEASURE] = function(writer, op, scope)
  local target = op[3] ~= nil and writer:target(op[3]) .. " = " or ""
  return target .. "measure " .. scope.qubit(op[2]) .. ";"
end

writers[form.RESET] = function(_, op, scope) return "reset " .. scope.qubit(op[2]) .. ";" end

writers[form.BARRIER] = function(_, op, scope)
  local qubits = {}
  for i = 2, #op do qubits[i - 1] = scope.qubit(op[i]) end
  return "barrier" .. (#qubits > 0 and " " .. table.concat(qubits, ", ") or "") .. ";"
end

writers[form.ASSIGN] = function(writer, op)
  return string.format("%s = %s;", writer:target(op[2]), expressions.assigned(op[2], op[3], writer.form, writer.rename))
end

local function write_if(writer, op, scope, lines)
  local indent = scope.indent
  lines[#lines + 1] = string.format("%sif (%s) {", indent, expressions.source(op[2], writer.form, writer.rename))
  scope.indent = indent .. "  "
  write_block(writer, op[3], scope, lines)
  if op[4] and op[4].n > 0 then
    lines[#lines + 1] = indent .. "} else {"
    write_block(writer, op[4], scope, lines)
  end
  scope.indent = indent
  lines[#lines + 1] = indent .. "}"
end

function write_block(writer, block, scope, lines)
  for i = 1, block.n do
    local op = block[i]
    if op[1] == form.IF then
      write_if(writer, op, scope, lines)
    else
      local write = writers[op[1]] or Writer.gate
      lines[#lines + 1] = scope.indent .. write(writer, op, scope)
    end
  end
end

-- ---- the program

local function declare(lines, writer, word, register)
  if is_physical(register) then return end
  local size = register.scalar and "" or string.format("[%d]", register.size)
  lines[#lines + 1] = string.format("%s%s %s;", word, size, writer.rename[register])
end

-- A bit that is declared here would be reported; a variable that holds one is not.
local function declare_variable(lines, writer, variable)
  local type, width = variable.type, variable.width
  if type == "bit" then type = (width or 1) == 1 and "bool" or "uint" end
  local size = type ~= "bool" and width and string.format("[%d]", width) or ""
  lines[#lines + 1] = string.format("%s%s %s;", type, size, writer.rename[variable])
end

local function declarations(writer)
  local known, lines = writer.form, {}
  for _, name in ipairs(known.parameters) do
    lines[#lines + 1] = string.format("input float[64] %s;", writer.parameters[name])
  end
  for _, register in ipairs(known.qubits) do declare(lines, writer, "qubit", register) end
  for _, register in ipairs(known.bits) do declare(lines, writer, "bit", register) end
  for _, variable in ipairs(known.variables) do declare_variable(lines, writer, variable) end
  return lines
end

-- The text.
function M.write(known)
  local writer, body = new_writer(modern.form(known)), {}
  local scope = { qubit = function(q) return writer:qubit(q) end, indent = "", arguments = {} }
  write_block(writer, writer.form.block, scope, body)
  local lines = { "OPENQASM 3.0;", 'include "stdgates.inc";' }
  for _, list in ipairs { writer.heads, declarations(writer), body } do
    table.move(list, 1, #list, #lines + 1, lines)
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
