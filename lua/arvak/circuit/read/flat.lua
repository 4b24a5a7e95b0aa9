-- The commonest statements, by patterns: gates and measurements on single qubits of registers, one statement on a line.
-- What exporters write is little else, and this is five times as fast as statements as trees.
-- Invariant: what is taken here is what the trees would have come to. Whatever is not certain (a name that is not
-- known, a register as operand, an index out of range, an argument with names in it) is left to them, and so is every
-- refusal.
-- SPDX-License-Identifier: Apache-2.0
local applications = require "arvak.circuit.read.applications"
local evaluate = require "arvak.circuit.read.evaluate"
local expressions = require "arvak.circuit.read.expressions"
local fault = require "arvak.circuit.read.fault"
local form = require "arvak.circuit.form"
local scanner = require "arvak.circuit.read.scanner"
local statements = require "arvak.circuit.read.statements"

local M = {}
local find, sub, byte, match, unpack = string.find, string.sub, string.byte, string.match, table.unpack

local MOST_KEPT = 20000    -- texts of statements and their parts
local MOST_OPERANDS = 20
local LONGEST = 1000       -- of a statement, in characters

-- What is remembered of a text: operations of whole statements, and what their parts came to, by their text.
local function new_memory(env)
  return { generation = env.generation, count = 0, ops = {}, owners = {}, gates = {}, operands = {}, angles = {} }
end

local function keep(memory, list, text, value)
  if value ~= nil then
    list[text] = value
    memory.count = memory.count + 1
  end
  return value
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
local function qubit_of(env, text, at)
  local binding, index = member(env, text)
  if not binding then return physical(env, text, at) end
  if binding.kind == "qubits" and not binding.scalar then return binding.list[index + 1] end
end

local function is_distinct(list)
  for i = 1, #list do
    for j = i + 1, #list do
      if list[i] == list[j] then return false end
    end
  end
  return true
end

-- The qubits of operands that are separated by commas: a list without the same one twice, or nil.
local function read_operands(env, text, at)
  local list, from = {}, 1
  while true do
    local comma = find(text, ",", from, true)
    local qubit = qubit_of(env, sub(text, from, comma and comma - 1), at)
    if not qubit or #list == MOST_OPERANDS then return nil end
    list[#list + 1] = qubit
    if not comma then break end
    from = comma + 1
  end
  return is_distinct(list) and list or nil
end

local function operands_of(env, memory, text, at)
  return memory.operands[text] or keep(memory, memory.operands, text, read_operands(env, text, at))
end

local function compute(env, text)
  local words = scanner.new(text, 0)
  words.version = env.version
  local node = expressions.parse(words)
  if words.kind ~= "end" then return nil end
  return evaluate.angle(env, node)
end

-- The number that an argument without names, but for pi, comes to; or nil.
local function read_angle(env, text)
  if env.globals.names.pi or #text > 60 or find(text, "/[/*]") then return nil end
  if find(string.gsub(text, "pi", ""), "[^%d%.%+%-%*/ \teE]") then return nil end
  local ok, value = pcall(compute, env, text)
  if not ok and not fault.is(value) then error(value, 0) end
  return ok and value or nil
end

local function angle_of(env, memory, text)
  if find(text, "^%-?%d+%.%d+$") and #text < 60 then return tonumber(text) end
  return memory.angles[text] or keep(memory, memory.angles, text, read_angle(env, text))
end

-- All angles of an application: a list, or nil.
local function angles_of(env, memory, text)
  local list, from = {}, 1
  while true do
    local comma = find(text, ",", from, true)
    local angle = angle_of(env, memory, sub(text, from, comma and comma - 1))
    if not angle then return nil end
    list[#list + 1] = angle
    if not comma then return list end
    from = comma + 1
  end
end

local function read_gate(env, name)
  if statements.is_word(env.version, name) or env.subroutines[name] then return nil end
  local gate = applications.find(env, name)
  if gate and not gate.opaque and gate.qubits > 0 then return gate end
end

local function gate_of(env, memory, name)
  return memory.gates[name] or keep(memory, memory.gates, name, read_gate(env, name))
end

-- ---- statements

local function plain_gate(env, memory, text, at)
  local name, operands = match(text, "^([%a_][%w_]*)[ \t]+([^ \t()=>][^()=>]*)$")
  local gate = name and gate_of(env, memory, name)
  if not gate or gate.params ~= 0 then return nil end
  local list = operands_of(env, memory, operands, at)
  if not list or #list ~= gate.qubits then return nil end
  return keep(memory, memory.ops, text, { gate, unpack(list) })
end

local function gate_with_angles(env, memory, name, arguments, operands, at)
  local gate = gate_of(env, memory, name)
  local list = gate and operands_of(env, memory, operands, at)
  if not list or #list ~= gate.qubits then return nil end
  if gate.params == 1 then
    local angle = angle_of(env, memory, arguments)
    if not angle then return nil end
    if gate.qubits == 1 then return { gate, angle, list[1] } end
    return { gate, angle, unpack(list) }
  end
  local angles = angles_of(env, memory, arguments)
  if not angles or #angles ~= gate.params then return nil end
  return { gate, unpack(table.move(list, 1, #list, #angles + 1, angles)) }
end

local function measurement(env, memory, text, at)
  local qubit, bit = match(text, "^measure[ \t]+(%S+)[ \t]*%->[ \t]*(%S+)[ \t\r]*$")
  if not qubit then
    bit, qubit = match(text, "^(%S+)[ \t]*=[ \t]*measure[ \t]+(%S+)[ \t\r]*$")
    if not qubit or env.version == 2 then return nil end
  end
  local number = qubit_of(env, qubit, at)
  local binding, index = member(env, bit)
  if not number or not binding or not binding.first or binding.const then return nil end
  if binding.type.kind ~= "bits" or index >= binding.type.n then return nil end
  local op = { form.MEASURE, number, binding.first + index }
  memory.owners[op] = { binding, index }
  return keep(memory, memory.ops, text, op)
end

-- The operation of the statement at a place and the place behind it, or nil.
local function read(env, memory, body, pos, base)
  local name, arguments, operands, after =
    match(body, "^([%a_][%w_]*)[ \t]*%(([^()\n;]+)%)[ \t]*([^ \t;()=>\n{\"@][^;()=>\n{\"@]*);()", pos)
  if name then return gate_with_angles(env, memory, name, arguments, operands, base + pos), after end
  local text, stop = match(body, "^([%a_][^;(\n{\"@]*);()", pos)
  if not text then return nil end
  local op = memory.ops[text]
  if not op and #text < LONGEST then
    op = plain_gate(env, memory, text, base + pos) or measurement(env, memory, text, base + pos)
  end
  return op, stop
end

local function memory_of(env)
  local memory = env.memory
  if not memory or memory.generation ~= env.generation or memory.count > MOST_KEPT then
    memory = new_memory(env)
    env.memory = memory
  end
  return memory
end

-- The place of the next statement: behind blanks, ends of lines and comments that go to the end of a line.
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
    local op, after = read(env, memory, body, pos, base)
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
    pos = after
  end
  if pos > start then words:seek(pos) end
end

return M
