-- The commonest statements, by patterns: gates and measurements on single qubits of registers, one statement on a line.
-- What exporters write is little else, and this is five times as fast as statements as trees.
-- Invariant: what is taken here is what the trees would have come to. Whatever is not certain (a name that is not known, a
-- register as operand, an index out of range, an argument with names in it) is left to them, and so is every refusal.
-- SPDX-License-Identifier: Apache-2.0
local applications = require "arvak.circuit.read.applications"
local evaluate = require "arvak.circuit.read.evaluate"
local expressions = require "arvak.circuit.read.expressions"
local fault = require "arvak.circuit.read.fault"
local form = require "arvak.circuit.form"
local scanner = require "arvak.circuit.read.scanner"
local statements = require "arvak.circuit.read.statements"

local M = {}
local find, sub, byte, match = string.find, string.sub, string.byte, string.match

local MOST_KEPT = 20000   -- statements whose operations are remembered

-- What is remembered of a text: operations and what else its statements and their parts came to, by their text.
local function new_memory(env)
  return { generation = env.generation, count = 0, ops = {}, owners = {}, operands = {}, angles = {} }
end

-- ---- parts

-- The binding of a register and the index of one of its members, or nil.
local function member(env, text)
  local name, index = match(text, "^[ \t]*([%a_][%w_]*)[ \t]*%[[ \t]*(%d+)[ \t]*%][ \t\r]*$")
  local binding = name and #index < 10 and env.globals.names[name]
  if not binding then return nil end
  return binding, math.tointeger(tonumber(index))
end

local function physical(env, text, at)
  local number = match(text, "^[ \t]*%$(%d+)[ \t\r]*$")
  if number and #number < 7 and tonumber(number) < 1000000 then
    return env:physical_qubit(math.tointeger(tonumber(number)), at)
  end
end

-- The number of the qubit that an operand names, or nil.
local function qubit_of(env, memory, text, at)
  local known = memory.operands[text]
  if known then return known end
  local binding, index = member(env, text)
  local qubit
  if not binding then
    qubit = physical(env, text, at)
  elseif binding.kind == "qubits" and not binding.scalar then
    qubit = binding.list[index + 1]
  end
  memory.operands[text] = qubit
  return qubit
end

local function compute(env, text)
  local words = scanner.new(text, 0)
  words.version = env.version
  local node = expressions.parse(words)
  if words.kind ~= "end" then return nil end
  return evaluate.angle(env, node)
end

-- The number that an argument is: one without names but pi; or nil.
local function angle_of(env, memory, text)
  local known = memory.angles[text]
  if known then return known end
  local number
  if find(text, "^[ \t]*%-?%d+%.?%d*[ \t]*$") and #text < 60 then
    number = tonumber(text) + 0.0
    if find(text, "^[ \t]*%-0") and number == 0 then number = nil end
  end
  if not number then
    if env.globals.names.pi or find(text:gsub("pi", ""), "[^%d%.%+%-%*/ \teE]") or #text > 60 then return nil end
    local ok, value = pcall(compute, env, text)
    if not ok and not fault.is(value) then error(value, 0) end
    number = ok and value or nil
  end
  memory.angles[text] = number
  return number
end

-- ---- statements

local function is_distinct(op, first)
  for i = first, #op do
    for j = i + 1, #op do
      if op[i] == op[j] then return false end
    end
  end
  return true
end

local function add_operands(env, memory, op, text, at)
  for operand in text:gmatch "[^,]+" do
    local qubit = qubit_of(env, memory, operand, at)
    if not qubit then return nil end
    op[#op + 1] = qubit
  end
  local _, commas = text:gsub(",", "")
  local gate = op[1]
  if commas + 1 ~= gate.qubits or #op ~= 1 + gate.params + gate.qubits then return nil end
  if gate.qubits > 1 and not is_distinct(op, 2 + gate.params) then return nil end
  return op
end

local function gate_of(env, name)
  if statements.is_word(env.version, name) or env.subroutines[name] then return nil end
  local gate = applications.find(env, name)
  if gate and not gate.opaque and gate.qubits > 0 and gate.qubits < 20 then return gate end
end

local function plain_gate(env, memory, text, at)
  local name, operands = match(text, "^([%a_][%w_]*)[ \t]+([^()=>]+)$")
  local gate = name and gate_of(env, name)
  if not gate or gate.params ~= 0 then return nil end
  return add_operands(env, memory, { gate }, operands, at)
end

local function gate_with_angles(env, memory, text, at)
  local name, arguments, operands = match(text, "^([%a_][%w_]*)[ \t]*%(([^()]+)%)[ \t]*([^()=>]+)$")
  local gate = name and gate_of(env, name)
  if not gate then return nil end
  local op, count = { gate }, 0
  for argument in arguments:gmatch "[^,]+" do
    local angle = angle_of(env, memory, argument)
    if not angle then return nil end
    count = count + 1
    op[count + 1] = angle
  end
  local _, commas = arguments:gsub(",", "")
  if count ~= gate.params or commas + 1 ~= count then return nil end
  return add_operands(env, memory, op, operands, at)
end

local function measurement(env, memory, text, at)
  local qubit, bit = match(text, "^measure[ \t]+(%S+)[ \t]*%->[ \t]*(%S+)[ \t\r]*$")
  if not qubit then
    bit, qubit = match(text, "^(%S+)[ \t]*=[ \t]*measure[ \t]+(%S+)[ \t\r]*$")
    if not qubit or env.version == 2 then return nil end
  end
  local number = qubit_of(env, memory, qubit, at)
  local binding, index = member(env, bit)
  if not number or not binding or not binding.first or binding.type.kind ~= "bits" or index >= binding.type.n then
    return nil
  end
  local op = { form.MEASURE, number, binding.first + index }
  memory.owners[op] = { binding, index }
  return op
end

-- The operation of a statement, or nil.
local function read(env, memory, text, at)
  local op = gate_with_angles(env, memory, text, at) or plain_gate(env, memory, text, at)
    or measurement(env, memory, text, at)
  if op then
    memory.count = memory.count + 1
    memory.ops[text] = op
  end
  return op
end

local function memory_of(env)
  local memory = env.memory
  if not memory or memory.generation ~= env.generation or memory.count > MOST_KEPT then
    memory = new_memory(env)
    env.memory = memory
  end
  return memory
end

-- The place of the next statement: behind blanks, ends of lines and comments that go to the end of a line. lines counts.
local function skip(body, pos, lines)
  while true do
    local char = byte(body, pos)
    if char == 10 then
      lines.line, lines.from = lines.line + 1, pos + 1
      pos = pos + 1
    elseif char == 32 or char == 9 or char == 13 then
      pos = pos + 1
    elseif char == 47 and byte(body, pos + 1) == 47 then
      pos = find(body, "\n", pos, true) or #body + 1
    else
      return pos
    end
  end
end

-- Takes statements from where the scanner is, as long as they are of these kinds.
function M.run(env, words)
  local body, base, outer = words.body, words.base, words.outer
  words:locate(words.at)
  local lines, pos, block = { line = words.line, from = words.line_at }, words.at, env.block
  local at, start, memory = block.at, words.at, memory_of(env)
  while env.operations < env.most_operations do
    pos = skip(body, pos, lines)
    local _, stop = find(body, "^[%a_][^;\n{\"@]*;", pos)
    if not stop or stop - pos > 1000 then break end
    local text = sub(body, pos, stop - 1)
    local op = memory.ops[text] or read(env, memory, text, base + pos)
    if not op then break end
    local n = block.n + 1
    local column = pos - lines.from + 1
    block[n], at[n], block.n = op, outer or lines.line * 4096 + (column < 4095 and column or 4095), n
    env.operations = env.operations + 1
    if op[1] == "measure" then
      local owner = memory.owners[op]
      env:set(owner[1], owner[2], env:bit_node(op[3]))
    end
    if memory.count > MOST_KEPT then memory = memory_of(env) end
    pos = stop + 1
  end
  if pos > start then words:seek(pos) end
end

return M
