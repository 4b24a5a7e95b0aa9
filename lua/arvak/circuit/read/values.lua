-- Types of the language, their values, and how one becomes another. An int or a uint without a size has 64 bits. A
-- known uint of 2^63 or more is the Lua integer that has its bits, which is negative.
-- A value is known before the shots begin (a number, a boolean), an angle expression over parameters (type SYMBOL), or
-- an expression of measured values (a table, of types int, uint, bool and bit). Registers of bits are
-- { n = how many, [0] = the first, … }.
-- Invariant: a value that is converted keeps its meaning, or is refused; nothing is cut off in silence but what the
-- language wraps.
-- SPDX-License-Identifier: Apache-2.0
local fault = require "arvak.circuit.read.fault"

local M = {}

-- ---- types

local known = {}

-- The type of this kind and width: one object for each.
function M.type(kind, width)
  local key = kind .. (width or "")
  local found = known[key]
  if not found then
    found = { kind = kind, width = width, name = width and string.format("%s[%d]", kind, width) or kind }
    known[key] = found
  end
  return found
end

M.INT, M.UINT, M.FLOAT, M.BOOL, M.BIT = M.type "int", M.type "uint", M.type "float", M.type "bool", M.type "bit"
M.ANGLE, M.DURATION, M.SYMBOL = M.type "angle", M.type "duration", M.type "symbol"
-- An integer input without a value: as SYMBOL, but its division truncates.
M.WHOLE_SYMBOL = { kind = "symbol", whole = true, name = "int" }
local INT, BIT, SYMBOL = M.INT, M.BIT, M.SYMBOL

function M.bits(n) return { kind = "bits", n = n, name = string.format("bit[%d]", n) } end

-- dims: the sizes, outermost first.
function M.array(base, dims)
  local name = string.format("array[%s, %s]", base.name, table.concat(dims, ", "))
  return { kind = "array", base = base, dims = dims, name = name }
end

-- What a variable holds when it was given different values, of a type that cannot be measured, under conditions.
M.MIXED = { "mixed" }

local LARGEST = 2000   -- of an expression that is kept, in operators and operands

-- The number of nodes of an expression that was made by M.node.
local sizes = setmetatable({}, { __mode = "k" })

-- An expression that is evaluated later.
function M.node(at, op, a, b, c)
  if a == M.MIXED or b == M.MIXED then M.refuse_measured(at) end
  local size = 1 + (sizes[a] or 1) + (b ~= nil and (sizes[b] or 1) or 0)
  if size > LARGEST then fault.unknown(at, "an expression of more than %d parts", LARGEST) end
  local node = { op, a, b, c }
  sizes[node] = size
  return node
end
local make = M.node

function M.refuse_measured(at)
  fault.unknown(at, "this value depends on measured values, expected one that is known before the shots begin")
end

-- Raises because a value is needed that only a parameter's binding gives.
function M.need(at, value, what)
  local name = value
  while type(name) == "table" and name[1] ~= "name" do
    if name[1] == "param" then
      fault.raise(at, "%s depends on a parameter of the gate, expected a constant", what or "this value")
    end
    name = type(name[2]) == "table" and name[2] or name[3]
  end
  if type(name) ~= "table" then M.refuse_measured(at) end
  fault.need(at, name[2], "the value of the input %s is needed here, expected it to be bound", name[2])
end

-- ---- bits

local function is_register(bits)
  local low = bits[0]
  if type(low) ~= "table" or low[1] ~= "bit" then return false end
  for i = 1, bits.n - 1 do
    local bit = bits[i]
    if type(bit) ~= "table" or bit[1] ~= "bit" or bit[2] ~= low[2] + i then return false end
  end
  return true
end

-- The unsigned integer of bits, 64 at most: a number where all are known.
function M.bits_to_integer(bits, at)
  if bits.n == 1 then return bits[0] end
  if bits.n > 64 then fault.raise(at, "an integer of %d bits, expected 64 at most", bits.n) end
  local number, is_known = 0, true
  for i = 0, bits.n - 1 do
    if type(bits[i]) == "table" then
      is_known = false
      break
    end
    number = number | bits[i] << i
  end
  if is_known then return number end
  if is_register(bits) then return { "reg", bits[0][2], bits.n } end
  local value
  for i = 0, bits.n - 1 do
    local bit = bits[i]
    if bit ~= 0 then
      local part = type(bit) == "number" and bit << i or i == 0 and bit or make(at, "<<", bit, i)
      value = value and make(at, "|", value, part) or part
    end
  end
  if bits.n == 64 then return make(at, "cast", value, "uint", 64) end
  return value or 0
end

-- The n low bits of an integer.
function M.integer_to_bits(value, n, at)
  local bits = { n = n }
  for i = 0, n - 1 do
    if type(value) == "number" then
      bits[i] = i < 64 and value >> i & 1 or 0
    else
      bits[i] = make(at, "index", value, i)
    end
  end
  return bits
end

-- The bits of a literal as "0110", least significant right.
function M.literal_bits(literal, at)
  local digits = string.gsub(literal, "_", "")
  if digits == "" or string.find(digits, "[^01]") then
    fault.raise(at, "the string \"%s\", expected a bit string of 0 and 1", literal)
  end
  local bits, n = {}, #digits
  bits.n = n
  for i = 0, n - 1 do bits[i] = string.byte(digits, n - i) - 48 end
  return bits, M.bits(n)
end

-- A copy of a list of bits or of an array's elements; other values as they are.
function M.copy(value, kind)
  if kind ~= "bits" and kind ~= "array" or value == M.MIXED then return value end
  local copy = table.move(value, 1, #value, 1, {})
  copy[0], copy.n = value[0], value.n
  return copy
end

-- ---- conversions

local function wrap_integer(value, kind, width)
  if not width or width >= 64 then return value end
  value = value & (1 << width) - 1
  if kind == "int" and value >> (width - 1) == 1 then value = value - (1 << width) end
  return value
end

-- The number of bits of an integer's type.
function M.width(kind) return kind.width or 64 end
local width_of = M.width

-- An integer as it is in this type. Those of 64 bits with a sign are what operations on measured values come to.
function M.wrap(value, target, at)
  local width = width_of(target)
  if type(value) == "number" then return wrap_integer(value, target.kind, width) end
  if target.kind == "int" and width == 64 then return value end
  return make(at, "cast", value, target.kind, width)
end

-- Whether an integer type holds all values of another type.
function M.holds(target, kind)
  local width = width_of(target)
  if kind.kind == "uint" then return width_of(kind) < width or kind.kind == target.kind and width_of(kind) == width end
  if kind.kind == "int" then return target.kind == "int" and width_of(kind) <= width end
  local n = kind.kind == "bits" and kind.n or (kind.kind == "bit" or kind.kind == "bool") and 1
  return n and (target.kind == "uint" and n <= width or n < width)
end

-- An integer of one type as it is in another.
function M.as(value, kind, target, at)
  if type(value) == "table" and width_of(target) == 64 and M.holds(target, kind) then return value end
  if type(value) == "number" or target.kind == "uint" or width_of(target) < 64 then return M.wrap(value, target, at) end
  return make(at, "cast", value, "int", 64)
end

-- Whether a known integer is a uint of 2^63 or more.
function M.is_large(value, kind) return kind.kind == "uint" and type(value) == "number" and value < 0 end

-- A known integer as an expression of measured values holds it.
function M.exact(value, kind, at)
  if not M.is_large(value, kind) then return value end
  return make(at, "cast", value, "uint", 64)
end

-- A real number as an integer, and the integer's type; nil for what is none below 2^64.
function M.whole(number)
  local whole = math.tointeger(number)
  if whole then return whole, INT end
  if number >= 2.0 ^ 63 and number < 2.0 ^ 64 then return math.tointeger(number - 2.0 ^ 64), M.UINT end
end

function M.refuse(at, value_type, target)
  fault.raise(at, "got a value of type %s, expected %s", value_type.name, target.name)
end

-- Refuses a large uint as an index, a size or a count.
function M.check_size(value, kind, at)
  if M.is_large(value, kind) then
    fault.raise(at, "got a uint of 2^63 or more, expected a smaller one")
  end
end

-- A number or an expression that stands for an integer; bits become unsigned. Returns value and type.
function M.integer(value, kind, at)
  local name = kind.kind
  if value == M.MIXED then M.refuse_measured(at) end
  if name == "int" or name == "uint" then return value, kind end
  if name == "bool" then
    if type(value) == "boolean" then value = value and 1 or 0 end
    return value, INT
  end
  if name == "bit" then return value, INT end
  if name == "bits" then return M.bits_to_integer(value, at), kind.n == 64 and M.UINT or INT end
  if name == "symbol" then M.need(at, value) end
  if name == "float" then
    local whole, whole_kind = M.whole(value)
    if whole then return whole, whole_kind end
    if math.abs(value) >= 2.0 ^ 63 then
      fault.raise(at, "the number %.17g, expected an integer from -2^63 to 2^64 - 1", value)
    end
  end
  fault.raise(at, "got a value of type %s, expected an integer", kind.name)
end

-- A condition: a boolean, or an expression of measured values.
function M.boolean(value, kind, at)
  local name = kind.kind
  if value == M.MIXED then M.refuse_measured(at) end
  if name == "symbol" then M.need(at, value) end
  if name == "bits" then value = M.bits_to_integer(value, at) end
  if type(value) == "boolean" then return value end
  if type(value) == "number" then return value ~= 0 end
  if name == "bool" or name == "bit" or name == "bits" and value[1] == "bit" then return value end
  if type(value) == "table" and (name == "int" or name == "uint" or name == "bits") then
    return make(at, "!=", value, 0)
  end
  fault.raise(at, "got a value of type %s, expected a condition", kind.name)
end

-- The angle that a number of turns is: for types angle[n], which count in 2 pi / 2^n.
local function to_turns(radians, width, at)
  local turns = radians / (2 * math.pi)
  if turns ~= turns or turns == math.huge or turns == -math.huge then fault.raise(at, "not a finite angle") end
  turns = turns - math.floor(turns)
  local high = math.min(width, 52)
  return wrap_integer(math.tointeger(math.floor(turns * 2.0 ^ high + 0.5)) << (width - high), "uint", width)
end

-- An angle[n] in radians.
function M.radians(value, width)
  local turns = 0.0
  for shift = 0, width - 1, 32 do
    local part = value >> shift & ((1 << math.min(32, width - shift)) - 1)
    turns = turns + part * 2.0 ^ (shift - width)
  end
  return turns * 2 * math.pi
end

-- A number or an angle expression that can be a gate's parameter, as radians.
function M.real(value, kind, at)
  local name = kind.kind
  if value == M.MIXED then M.refuse_measured(at) end
  if name == "float" or name == "symbol" or name == "duration" then return value end
  if name == "angle" then return kind.width and M.radians(value, kind.width) or value end
  if name == "array" then fault.raise(at, "got a value of type %s, expected a number", kind.name) end
  value, kind = M.integer(value, kind, at)
  if type(value) == "table" then M.refuse_measured(at) end
  if M.is_large(value, kind) then return (value >> 1 | value & 1) * 2.0 end
  return value + 0.0
end

local function to_integer_type(value, kind, target, at)
  if kind.kind == "float" and type(value) == "number" then
    local whole, whole_kind = M.whole(value < 0 and math.ceil(value) or math.floor(value))
    if not whole or whole_kind ~= INT and target.kind == "int" then
      local bound = target.kind == "int" and "2^63" or "2^64"
      fault.raise(at, "the number %.17g, expected one below %s for %s", value, bound, target.name)
    end
    return M.wrap(whole, target, at)
  end
  if kind.kind == "angle" and kind.width then return M.wrap(value, target, at) end
  local whole, whole_kind = M.integer(value, kind, at)
  return M.as(whole, kind.kind == "float" and whole_kind or kind, target, at)
end

local function to_bit(value, kind, at)
  if kind.kind == "bit" then return value end
  if kind.kind == "bits" and value.n == 1 then return value[0] end
  if kind.kind == "bits" then M.refuse(at, kind, BIT) end
  if kind.kind == "bool" then
    if type(value) == "boolean" then return value and 1 or 0 end
    return value
  end
  value = M.integer(value, kind, at)
  if type(value) == "number" then return value & 1 end
  return make(at, "index", value, 0)
end

local function to_bits(value, kind, target, at)
  if kind.kind == "bits" then
    if value.n ~= target.n then M.refuse(at, kind, target) end
    return value
  end
  if kind.kind == "angle" and kind.width then
    if kind.width ~= target.n then M.refuse(at, kind, target) end
    return M.integer_to_bits(value, target.n, at)
  end
  if kind.kind == "bit" and target.n ~= 1 then M.refuse(at, kind, target) end
  if kind.kind == "bit" or kind.kind == "bool" then
    local bits = { n = target.n, [0] = to_bit(value, kind, at) }
    for i = 1, target.n - 1 do bits[i] = 0 end
    return bits
  end
  return M.integer_to_bits((M.integer(value, kind, at)), target.n, at)
end

local function to_angle(value, kind, target, at)
  if kind.kind == "angle" and kind.width then
    local shift = target.width and target.width - kind.width
    if not shift then return M.radians(value, kind.width) end
    return shift >= 0 and value << shift or wrap_integer((value + (1 << (-shift - 1))) >> -shift, "uint", target.width)
  end
  if target.width and (kind.kind == "bits" or kind.kind == "bit") then
    value = to_bits(value, kind, M.bits(target.width), at)
    value = M.bits_to_integer(value, at)
    if type(value) == "table" then M.refuse_measured(at) end
    return value
  end
  value = M.real(value, kind, at)
  if not target.width then return value end
  if type(value) == "table" then M.need(at, value, "an angle of " .. target.width .. " bits") end
  return to_turns(value, target.width, at)
end

local CONVERT = {
  bits = to_bits, angle = to_angle, int = to_integer_type, uint = to_integer_type,
  bit = function(value, kind, _, at) return to_bit(value, kind, at) end,
  bool = function(value, kind, _, at) return M.boolean(value, kind, at) end,
  float = function(value, kind, _, at) return M.real(value, kind, at) end,
  duration = function(value, kind, target, at)
    if kind.kind ~= "duration" then M.refuse(at, kind, target) end
    return value
  end,
}

local function same_sizes(a, b)
  if #a.dims ~= #b.dims then return false end
  for i, size in ipairs(a.dims) do
    if b.dims[i] ~= size then return false end
  end
  return true
end

local function to_array(value, kind, target, at)
  if kind.kind ~= "array" or not same_sizes(kind, target) then M.refuse(at, kind, target) end
  local list = {}
  for i = 1, #value do list[i] = M.convert(value[i], kind.base, target.base, at) end
  return list
end

-- A value as one of another type, or a refusal.
function M.convert(value, kind, target, at)
  if kind == target and not target.width then return value end
  if value == M.MIXED then return value end
  if target.kind == "array" then return to_array(value, kind, target, at) end
  if kind.kind == "array" then M.refuse(at, kind, target) end
  return CONVERT[target.kind](value, kind, target, at)
end

-- The type that a converted value has: an angle expression keeps its own.
function M.kept_type(value, target)
  if type(value) == "table" and (target.kind == "float" or target.kind == "angle") then return SYMBOL end
  return target
end

-- What a variable of this type holds before anything is assigned to it.
function M.zero(target)
  local kind = target.kind
  if kind == "bool" then return false end
  if kind == "float" or kind == "duration" or kind == "angle" and not target.width then return 0.0 end
  if kind == "bits" then return M.integer_to_bits(0, target.n) end
  if kind ~= "array" then return 0 end
  local count = 1
  for _, size in ipairs(target.dims) do count = count * size end
  local list = {}
  for i = 1, count do list[i] = M.zero(target.base) end
  return list
end

return M
