-- Integers and booleans that depend on measurement outcomes: what classical expressions of a circuit come to.
-- A value is a list of functions (decisions.lua), the least significant bit first, and the sign that all bits above
-- have: { n, [1..n], sign }. So a value is the integer itself and has no width of its own: a cast gives it one, and
-- operations on integers wrap at 64 bits with a sign. An unsigned value of 64 bits is what a cast to it leaves.
-- SPDX-License-Identifier: Apache-2.0
local refuse = require "arvak.circuit.refuse"

local M = {}

local MAX_BITS = 64
local MAX_CASES = 1 << 16   -- of values that an operation without a formula is worked out for

local function trim(value)
  while value.n > 0 and value[value.n] == value.sign do
    value[value.n], value.n = nil, value.n - 1
  end
  return value
end

local constants = {}

-- The value of a Lua integer or boolean. is_unsigned: a negative one stands for itself and 2^64.
function M.constant(number, is_unsigned)
  if number == true then number = 1 elseif not number then number = 0 end
  if is_unsigned and number < 0 then
    local value = { n = MAX_BITS, sign = 0 }
    for i = 1, MAX_BITS do value[i] = number >> (i - 1) & 1 end
    return value
  end
  local known = constants[number]
  if known then return known end
  local value = { n = MAX_BITS - 1, sign = number < 0 and 1 or 0 }
  for i = 1, MAX_BITS - 1 do value[i] = number >> (i - 1) & 1 end
  trim(value)
  if number >= -1 and number <= 64 then constants[number] = value end
  return value
end

-- The value of one bit.
function M.of_bit(f) return trim { n = 1, f, sign = 0 } end

-- The value of several bits, the least significant first, without a sign.
function M.of_bits(bits, count)
  local value = { n = count, sign = 0 }
  for i = 1, count do value[i] = bits[i] end
  return trim(value)
end

-- Bit i of a value, from 0 on.
local function bit_of(value, i) return value[i + 1] or value.sign end
M.bit_of = bit_of

-- The Lua integer that a value is when it depends on nothing measured; nil of others. And whether it is one of 2^63 or
-- more, of which Lua's has the bits.
local function known(value)
  if value.sign > 1 then return nil end
  local number = value.sign == 1 and value.n < MAX_BITS and -1 << value.n or 0
  for i = 1, value.n do
    if value[i] > 1 then return nil end
    number = number | value[i] << (i - 1)
  end
  return number, value.n == MAX_BITS
end
M.known = known

-- Whether a value is not 0.
function M.truth(store, value)
  local f = value.sign
  for i = value.n, 1, -1 do f = store:either(value[i], f) end
  return f
end

local function bitwise(operation)
  return function(store, a, b)
    local value = { n = math.max(a.n, b.n), sign = store[operation](store, a.sign, b.sign) }
    for i = 1, value.n do value[i] = store[operation](store, bit_of(a, i - 1), bit_of(b, i - 1)) end
    return trim(value)
  end
end

-- f ? a : b
function M.choose(store, f, a, b)
  local value = { n = math.max(a.n, b.n), sign = store:choose(f, a.sign, b.sign) }
  for i = 1, value.n do value[i] = store:choose(f, bit_of(a, i - 1), bit_of(b, i - 1)) end
  return trim(value)
end

-- a + b + carry, or a - b - 1 + carry; not bounded to 64 bits.
local function sum(store, a, b, carry, subtracts)
  local value = { n = math.max(a.n, b.n) + 1 }
  for i = 0, value.n do
    local x, y = bit_of(a, i), bit_of(b, i)
    if subtracts then y = store:negate(y) end
    local half = store:differ(x, y)
    value[i + 1] = store:differ(half, carry)
    carry = store:choose(half, carry, x)
  end
  value.sign, value[value.n + 1] = value[value.n + 1], nil
  return trim(value)
end

-- As Lua wraps around.
local function bounded(value)
  if value.n < MAX_BITS then return value end
  local short = { n = MAX_BITS - 1, sign = value[MAX_BITS] }
  for i = 1, short.n do short[i] = value[i] end
  return trim(short)
end

local function negative(store, a) return bounded(sum(store, M.constant(0), a, 1, true)) end
local function is_less(store, a, b) return M.of_bit(sum(store, a, b, 1, true).sign) end

local function is_equal(store, a, b)
  local f = 1
  for i = math.max(a.n, b.n), 0, -1 do f = store:both(store:negate(store:differ(bit_of(a, i), bit_of(b, i))), f) end
  return f
end

-- ---- operations that have no formula for bits: by the values of what their operands depend on

local function top_variable(store, value)
  local top = store.variable[value.sign]
  for i = 1, value.n do top = math.min(top, store.variable[value[i]]) end
  return top
end

local function half_of(store, value, variable, side)
  local function part(f) return store.variable[f] == variable and store[side][f] or f end
  local half = { n = value.n, sign = part(value.sign) }
  for i = 1, value.n do half[i] = part(value[i]) end
  return trim(half)
end

local function key_of(a, b)
  return table.concat(a, ",", 1, a.n) .. ";" .. a.sign .. ";" .. table.concat(b, ",", 1, b.n) .. ";" .. b.sign
end

local function by_cases(store, operation, a, b, memo)
  local x, is_x_large = known(a)
  local y, is_y_large = known(b)
  if x and y then return M.constant(operation(x, y, is_x_large, is_y_large)) end
  local key = key_of(a, b)
  if memo[key] then return memo[key] end
  memo.count = (memo.count or 0) + 1
  if memo.count > MAX_CASES then store:give_up() end
  local variable = math.min(top_variable(store, a), top_variable(store, b))
  local low = by_cases(store, operation, half_of(store, a, variable, "low"), half_of(store, b, variable, "low"), memo)
  local high = by_cases(store, operation, half_of(store, a, variable, "high"), half_of(store, b, variable, "high"),
    memo)
  local value = M.choose(store, store:literal(variable), high, low)
  memo[key] = value
  return value
end

local function cases(operation)
  return function(store, a, b) return by_cases(store, operation, a, b, {}) end
end

local function refuse_division() refuse("a division by zero, for some of what may be measured") end

-- Of two that are not negative.
local function unsigned_quotient(a, b)
  if b < 0 then return math.ult(a, b) and 0 or 1 end
  local q = (a >> 1) // b << 1
  return math.ult(a - q * b, b) and q or q + 1
end

local function quotient(a, b, is_a_large, is_b_large)
  if b == 0 then refuse_division() end
  if is_a_large or is_b_large then return unsigned_quotient(a, b), true end
  local q = a // b
  if q < 0 and q * b ~= a then q = q + 1 end   -- toward zero
  return q
end

local function remainder(a, b, is_a_large, is_b_large)
  return a - quotient(a, b, is_a_large, is_b_large) * b, is_a_large or is_b_large
end

local function power(a, b)
  if b < 0 then refuse("an integer to a negative power, for some of what may be measured") end
  local result = 1
  while b > 0 do
    if b & 1 == 1 then result = result * a end
    a, b = a * a, b >> 1
  end
  return result
end

-- By how many bits an integer is shifted.
local function shift_of(by, is_large)
  if is_large then return MAX_BITS end
  if by < 0 then refuse("a shift by a negative number, for some of what may be measured") end
  return by
end

local function shifted_left(a, by, _, is_by_large) return a << shift_of(by, is_by_large) end

local function shifted_right(a, by, is_large, is_by_large)
  by = shift_of(by, is_by_large)
  if a >= 0 or is_large then return a >> by, true end
  if by >= MAX_BITS then return -1 end
  return a >> by | ~(-1 >> by)
end

local function bit_at(a, by, is_large, is_by_large)
  return shifted_right(a, by, is_large, is_by_large) & 1
end

-- ---- expressions

local binary = {
  ["&"] = bitwise "both", ["|"] = bitwise "either", ["^"] = bitwise "differ",
  ["+"] = function(store, a, b) return bounded(sum(store, a, b, 0, false)) end,
  ["-"] = function(store, a, b) return bounded(sum(store, a, b, 1, true)) end,
  ["*"] = cases(function(a, b) return a * b end),
  ["/"] = cases(quotient),
  ["%"] = cases(remainder),
  ["**"] = cases(power),
  ["<<"] = cases(shifted_left),
  [">>"] = cases(shifted_right),
  ["index"] = cases(bit_at),
  ["=="] = function(store, a, b) return M.of_bit(is_equal(store, a, b)) end,
  ["!="] = function(store, a, b) return M.of_bit(store:negate(is_equal(store, a, b))) end,
  ["<"] = is_less,
  [">"] = function(store, a, b) return is_less(store, b, a) end,
  ["<="] = function(store, a, b) return M.of_bit(store:negate(is_less(store, b, a)[1] or 0)) end,
  [">="] = function(store, a, b) return M.of_bit(store:negate(is_less(store, a, b)[1] or 0)) end,
  ["&&"] = function(store, a, b) return M.of_bit(store:both(M.truth(store, a), M.truth(store, b))) end,
  ["||"] = function(store, a, b) return M.of_bit(store:either(M.truth(store, a), M.truth(store, b))) end,
}

local function low_bits(value, width)
  local bits = {}
  for i = 0, width - 1 do bits[i + 1] = bit_of(value, i) end
  return bits
end

-- A value as one of a type: "bool", "bit" or "uint" of a width, "int" of a width.
function M.cast(store, value, type, width)
  if type == "bool" then return M.of_bit(M.truth(store, value)) end
  width = math.min(width or (type == "bit" and 1 or MAX_BITS), MAX_BITS)
  local bits = low_bits(value, width)
  if type ~= "int" then return M.of_bits(bits, width) end
  local signed = { n = width - 1, sign = bits[width] }
  table.move(bits, 1, width - 1, 1, signed)
  return trim(signed)
end

local function inverted(store, value, width)
  local bits = low_bits(value, math.min(width, MAX_BITS))
  for i, f in ipairs(bits) do bits[i] = store:negate(f) end
  return M.of_bits(bits, #bits)
end

local function popcount(store, value)
  local total = M.constant(0)
  for i = 1, value.n do total = sum(store, total, M.of_bit(value[i]), 0, false) end
  return total
end

-- What an expression of a form comes to. read: gives the value of { "bit", … }, { "var", … } and { "reg", … }.
function M.evaluate(store, expression, read)
  if type(expression) ~= "table" then return M.constant(expression) end
  local operator, a, b = expression[1], expression[2], expression[3]
  if operator == "bit" or operator == "var" or operator == "reg" then return read(operator, a, b) end
  a = M.evaluate(store, a, read)
  if operator == "not" then return M.of_bit(store:negate(M.truth(store, a))) end
  if operator == "~" then return inverted(store, a, b) end
  if operator == "neg" then return negative(store, a) end
  if operator == "popcount" then return popcount(store, a) end
  if operator == "cast" then return M.cast(store, a, b, expression[4]) end
  local operation = binary[operator]
  if not operation then refuse("the operation %s on measured values is not known", tostring(operator)) end
  return operation(store, a, M.evaluate(store, b, read))
end

return M
