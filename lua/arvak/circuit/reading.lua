-- The way from the counts over the wires of a written circuit to counts over the program's bits. It is a plain table,
-- so that a journal can keep it for a job that is found again.
-- Invariant: keys of any other width than the circuit's are refused, never guessed at.
--
-- reading = { version = 1, wires, padded, bits, nodes, registers }
--   bits: for each bit, from bit 0 on, what it is: 0 and 1 are constants, n > 1 is nodes[n - 1]
--   nodes: { wire, value where the wire is 0, value where it is 1 }, values as in bits
--   padded: the width to which the service may widen keys, by zeros on the left; nil: it does not
--   registers: { name, size } in the order of their declaration; nil: the answer is over qubits
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"

local M = {}

local VERSION = 1
local DEVICE = 20   -- how many qubits the service widens a circuit to, when nobody says

-- ---- making

-- Lists a function's nodes, each after those that it refers to; its number in the list.
local function add_function(state, f, nodes, known)
  if f < 2 then return f end
  if known[f] then return known[f] end
  local store = state.store
  local low = add_function(state, store.low[f], nodes, known)
  local high = add_function(state, store.high[f], nodes, known)
  nodes[#nodes + 1] = { state.home[store.variable[f]], low, high }
  known[f] = #nodes + 1
  return known[f]
end

local function add_wire(wire, nodes)
  if not wire then return 0 end
  nodes[#nodes + 1] = { wire, 0, 1 }
  return #nodes + 1
end

-- The reading of a circuit that was lowered.
function M.of(state)
  local form, nodes, known, bits = state.form, {}, {}, {}
  local made = { version = VERSION, wires = state.wires, bits = bits, nodes = nodes }
  if state.level > 0 then made.padded = math.max(state.limit or DEVICE, state.wires) end
  if not state.measured or form.bit_count == 0 then
    for qubit = 0, form.qubit_count - 1 do bits[qubit + 1] = add_wire(state.wire_of[qubit], nodes) end
    if #bits == 0 then bits[1] = 0 end   -- the service, too, says 0 of no qubits
    return made
  end
  for bit = 0, form.bit_count - 1 do
    bits[bit + 1] = add_function(state, state.bits[bit] or 0, nodes, known)
  end
  made.registers = {}
  for i, register in ipairs(form.bits) do made.registers[i] = { register.name, register.size } end
  return made
end

-- ---- reading

local function is_identity(reading)
  if #reading.bits ~= reading.wires then return false end
  for i, ref in ipairs(reading.bits) do
    local node = reading.nodes[ref - 1]
    if not node or node[1] ~= i - 1 or node[2] ~= 0 or node[3] ~= 1 then return false end
  end
  return true
end

local ONE = string.byte("1")

local function is_within(value, most)
  return math.type(value) and value >= 0 and value <= most and value == math.floor(value)
end

local function is_node(node, before, wires)
  return type(node) == "table" and is_within(node[1], wires - 1) and is_within(node[2], before)
    and is_within(node[3], before)
end

-- Whether it is a way of reading at all, whose nodes refer to nodes before them and to wires that there are: a journal
-- may hold anything.
local function is_sound(reading)
  local nodes, bits, wires = reading.nodes, reading.bits, reading.wires
  if type(nodes) ~= "table" or type(bits) ~= "table" or not is_within(wires, 1 << 32) then return false end
  for i, node in ipairs(nodes) do
    if not is_node(node, i, wires) then return false end
  end
  for _, ref in ipairs(bits) do
    if not is_within(ref, #nodes + 1) then return false end
  end
  return true
end

local ZERO = string.byte("0")

-- The character of a key over the wires that a bit is, or nil when it is a function of several.
local function place_of(reading, ref)
  local node = reading.nodes[ref - 1]
  if node and node[2] == 0 and node[3] == 1 then return math.tointeger(reading.wires - node[1]) end
end

-- A function that makes the program's key of one over the wires.
local function translator(reading)
  local bits, nodes, wires, count = reading.bits, reading.nodes, reading.wires, #reading.bits
  local key, direct, places = {}, {}, {}
  for i, node in ipairs(nodes) do places[i] = math.tointeger(wires - node[1]) end
  for i, ref in ipairs(bits) do direct[count + 1 - i] = place_of(reading, ref) or 0 end
  return function(raw)
    local bytes = { string.byte(raw, 1, wires) }
    for i = 1, count do
      local ref = direct[i] == 0 and bits[count + 1 - i]
      while ref and ref > 1 do
        ref = nodes[ref - 1][bytes[places[ref - 1]] == ONE and 3 or 2]
      end
      key[i] = not ref and bytes[direct[i]] or ref == 1 and ONE or ZERO   -- JSON may have made a float of ref
    end
    return string.char(table.unpack(key, 1, count))
  end
end

local function wrong_key(raw, reading)
  return nil, errors.new("rpc", string.format("the counts have the key %q, expected %d characters 0 and 1, "
    .. "one for each qubit of the circuit that was sent", raw, reading.wires))
end

-- A key without the zeros that the service has put on the left; nil when it is none of this circuit.
local function trimmed(raw, reading)
  local width, wires = #raw, reading.wires
  if string.find(raw, "[^01]") then return nil end
  if width == wires then return raw end
  local first = string.find(raw, "1", 1, true)
  if width ~= reading.padded or first and first <= width - wires then return nil end
  return string.sub(raw, width - wires + 1)
end

-- Counts (a table of bitstrings) over the bits of the program, or nil and an error.
function M.read(reading, counts)
  if type(reading) ~= "table" or reading.version ~= VERSION then
    return nil, errors.new("rpc", string.format("a way of reading of version %s, expected %d: "
      .. "it was written by another release",
      tostring(type(reading) == "table" and reading.version), VERSION))
  end
  if not is_sound(reading) then return nil, errors.new("rpc", "a way of reading that is damaged") end
  local translate = not is_identity(reading) and translator(reading)
  local read = {}
  for raw, count in pairs(counts) do
    local key = type(raw) == "string" and trimmed(raw, reading)
    if not key then return wrong_key(tostring(raw), reading) end
    if translate then key = translate(key) end
    read[key] = (read[key] or 0) + count
  end
  return read
end

return M
