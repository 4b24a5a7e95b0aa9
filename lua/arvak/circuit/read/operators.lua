-- Operators and functions of the language on values that are known, on parameters, and on measured values.
-- Invariant: what is known is computed; what is not becomes an expression; each operator is given its left value, that
-- value's type, its right value and that one's type, and returns a value and a type.
-- SPDX-License-Identifier: Apache-2.0
local fault = require "arvak.circuit.read.fault"
local values = require "arvak.circuit.read.values"

local M = {}
local INT, FLOAT, BOOL, BIT, SYMBOL, WHOLE = values.INT, values.FLOAT, values.BOOL, values.BIT, values.SYMBOL,
  values.WHOLE_SYMBOL
local make = values.node

local function is_known(value) return type(value) ~= "table" end

local INTEGERS = { int = true, uint = true, bool = true, bit = true, bits = true }

-- ---- angles and real numbers

-- Symbolic arithmetic, with what can be folded folded.
local function symbolic(op, a, b, at)
  if op == "+" then
    if a == 0 then return b end
    if b == 0 then return a end
  elseif op == "-" and b == 0 then
    return a
  elseif op == "*" and (a == 1 or b == 1) then
    return a == 1 and b or a
  elseif op == "/" and b == 1 then
    return a
  end
  return make(at, op, a, b)
end

local function finite(value, at)
  if value ~= value or value == math.huge or value == -math.huge then
    fault.raise(at, "this value is not a finite number")
  end
  return value
end

local REAL = {
  ["+"] = function(a, b) return a + b end,
  ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end,
  ["/"] = function(a, b, at)
    if b == 0 then fault.raise(at, "division by zero") end
    return a / b
  end,
  ["%"] = function(a, b, at)
    if b == 0 then fault.raise(at, "division by zero") end
    return math.fmod(a + 0.0, b)
  end,
}

local function real_operation(op, a, ta, b, tb, at)
  local compute = REAL[op]
  if not compute then
    fault.raise(at, "%s of %s and %s, expected integers", op, ta.name, tb.name)
  end
  local is_time = ta.kind == "duration" or tb.kind == "duration"
  a, b = values.real(a, ta, at), values.real(b, tb, at)
  if is_known(a) and is_known(b) then return finite(compute(a, b, at), at), is_time and values.DURATION or FLOAT end
  if op == "%" then values.need(at, is_known(a) and b or a) end
  local is_whole = op ~= "/" and (ta == WHOLE or INTEGERS[ta.kind]) and (tb == WHOLE or INTEGERS[tb.kind])
  return symbolic(op, a, b, at), is_whole and WHOLE or SYMBOL
end

-- ---- angles of n bits

local function angle_operation(op, a, ta, b, tb, at)
  local width = ta.width or tb.width
  local angle = values.type("angle", width)
  if ta.kind == "angle" and tb.kind == "angle" and op == "/" then
    if b == 0 then fault.raise(at, "division by zero") end
    return a // b, INT
  end
  if op == "+" or op == "-" or op == "&" or op == "|" or op == "^" then
    a, b = values.convert(a, ta, angle, at), values.convert(b, tb, angle, at)
    local compute = op == "+" and a + b or op == "-" and a - b or op == "&" and a & b or op == "|" and a | b or a ~ b
    return values.wrap(compute, values.type("uint", width), at), angle
  end
  if not INTEGERS[tb.kind] and not (op == "*" and INTEGERS[ta.kind]) then
    return real_operation(op, a, ta, b, tb, at)
  end
  if tb.kind == "angle" then a, ta, b, tb = b, tb, a, ta end
  b, tb = values.integer(b, tb, at)
  if not is_known(b) then values.refuse_measured(at) end
  values.check_size(b, tb, at)
  if op == "/" and b == 0 then fault.raise(at, "division by zero") end
  local result = op == "*" and a * b or op == "/" and a // b or op == "<<" and a << b or op == ">>" and a >> b
  if not result then fault.raise(at, "%s of %s and %s has no meaning", op, ta.name, tb.name) end
  return values.wrap(result, values.type("uint", width), at), angle
end

-- ---- integers

local function truncate(a, b)
  local quotient = a // b
  if quotient < 0 and quotient * b ~= a then quotient = quotient + 1 end
  return quotient
end

local WHOLE_NUMBERS = {
  ["+"] = function(a, b) return a + b end,
  ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end,
  ["/"] = truncate,
  ["%"] = function(a, b) return a - truncate(a, b) * b end,
  ["&"] = function(a, b) return a & b end,
  ["|"] = function(a, b) return a | b end,
  ["^"] = function(a, b) return a ~ b end,
  ["<<"] = function(a, b) return a << b end,
  [">>"] = function(a, b)
    if a >= 0 or b == 0 then return a >> b end
    return b > 63 and -1 or a >> b | -1 << (64 - b)
  end,
}

-- Of two uint, of which one may be 2^63 or more.
local UNSIGNED = {
  ["/"] = function(a, b)
    if b < 0 then return math.ult(a, b) and 0 or 1 end
    local quotient = (a >> 1) // b << 1
    return math.ult(a - quotient * b, b) and quotient or quotient + 1
  end,
  [">>"] = function(a, b) return a >> b end,
}
UNSIGNED["%"] = function(a, b) return a - UNSIGNED["/"](a, b) * b end

-- The type of an operation of two integers, as in C: that of the wider one, and uint of two that are equally wide.
local function common(ta, tb)
  local a, b = values.width(ta), values.width(tb)
  if a ~= b then return a > b and ta or tb end
  return ta.kind == "uint" and ta or tb
end

local function check_divisor(op, b, tb, at)
  if (op == "/" or op == "%") and b == 0 then fault.raise(at, "division by zero") end
  if (op == "<<" or op == ">>") and is_known(b) and b < 0 and not values.is_large(b, tb) then
    fault.raise(at, "a shift by %d, expected a number from 0 on", b)
  end
end

-- Operators whose result the type of two operands holds if it holds the operands.
local CLOSED = { ["/"] = true, ["%"] = true, ["&"] = true, ["|"] = true, ["^"] = true, [">>"] = true }

-- a op b, both of them integers that the type holds, not yet wrapped.
local function compute_integers(op, a, ta, b, tb, kind, at)
  if not (is_known(a) and is_known(b)) then
    return make(at, op, values.exact(a, ta, at), values.exact(b, tb, at))
  end
  if (op == "<<" or op == ">>") and values.is_large(b, tb) then b = 64 end
  return (kind.kind == "uint" and UNSIGNED[op] or WHOLE_NUMBERS[op])(a, b)
end

local function integer_operation(op, a, ta, b, tb, at)
  local whole_a, ia = values.integer(a, ta, at)
  local whole_b, ib = values.integer(b, tb, at)
  check_divisor(op, whole_b, ib, at)
  local is_shift = op == "<<" or op == ">>"
  local kind = is_shift and ia or common(ia, ib)
  local is_held = values.holds(kind, ia) and (is_shift or values.holds(kind, ib))
  if not is_held and (op == "/" or op == "%") then
    whole_a, whole_b, ia, ib = values.as(whole_a, ia, kind, at), values.as(whole_b, ib, kind, at), kind, kind
  end
  local result = compute_integers(op, whole_a, ia, whole_b, ib, kind, at)
  local is_bit = (op == "&" or op == "|" or op == "^") and ta.kind == "bit" and tb.kind == "bit"
  if is_bit then return result, BIT end
  if is_held and CLOSED[op] and values.width(kind) == 64 then return result, kind end
  return values.wrap(result, kind, at), kind
end

local function integer_power(a, ta, b, tb, at)
  a, ta = values.integer(a, ta, at)
  b, tb = values.integer(b, tb, at)
  if not (is_known(a) and is_known(b)) then values.refuse_measured(at) end
  values.check_size(a, ta, at)
  values.check_size(b, tb, at)
  local real = (a + 0.0) ^ b
  if b < 0 or math.abs(real) >= 2.0 ^ 63 and (real < 0 or real >= 2.0 ^ 64) then return finite(real, at), FLOAT end
  local result = 1
  for _ = 1, a * a > 1 and b or math.min(b, 2 + b % 2) do result = result * a end
  return result, real < 2.0 ^ 63 and INT or values.UINT
end

-- ---- bits

local BITWISE = { ["&"] = true, ["|"] = true, ["^"] = true }

local function bitwise(op, a, b, n, at)
  local bits = { n = n }
  for i = 0, n - 1 do
    local x, y = a[i], b[i]
    if is_known(x) and is_known(y) then
      bits[i] = WHOLE_NUMBERS[op](x, y)
    else
      bits[i] = make(at, op, x, y)
    end
  end
  return bits, values.bits(n)
end

-- by: from 0 on to the left, below to the right.
local function shift_bits(bits, by)
  local result = { n = bits.n }
  for i = 0, bits.n - 1 do result[i] = bits[i - by] or 0 end
  return result, values.bits(bits.n)
end

local function rotate_bits(bits, by)
  local result = { n = bits.n }
  for i = 0, bits.n - 1 do result[i] = bits[(i - by) % bits.n] end
  return result, values.bits(bits.n)
end

local function bits_operation(op, a, ta, b, tb, at)
  if BITWISE[op] and ta.kind == "bits" and tb.kind == "bits" then
    if ta.n ~= tb.n then fault.raise(at, "%s of %s and %s, expected bits of one size", op, ta.name, tb.name) end
    return bitwise(op, a, b, ta.n, at)
  end
  if (op == "<<" or op == ">>") and ta.kind == "bits" then
    local by, by_kind = values.integer(b, tb, at)
    if not is_known(by) then values.refuse_measured(at) end
    check_divisor(op, by, by_kind, at)
    if values.is_large(by, by_kind) then by = ta.n end
    return shift_bits(a, op == "<<" and by or -by)
  end
  return integer_operation(op, a, ta, b, tb, at)
end

function M.arithmetic(op, a, ta, b, tb, at)
  local ka, kb = ta.kind, tb.kind
  if a == values.MIXED or b == values.MIXED then values.refuse_measured(at) end
  if ka == "array" or kb == "array" then fault.raise(at, "%s of an array, expected numbers", op) end
  if ka == "angle" and ta.width or kb == "angle" and tb.width then return angle_operation(op, a, ta, b, tb, at) end
  if ka == "bits" or kb == "bits" then
    if not (INTEGERS[ka] and INTEGERS[kb]) then return real_operation(op, a, ta, b, tb, at) end
    return bits_operation(op, a, ta, b, tb, at)
  end
  if INTEGERS[ka] and INTEGERS[kb] then return integer_operation(op, a, ta, b, tb, at) end
  if op == "/" and (ta == WHOLE or INTEGERS[ka]) and (tb == WHOLE or INTEGERS[kb]) then
    values.need(at, is_known(a) and b or a)
  end
  return real_operation(op, a, ta, b, tb, at)
end

-- Division that never truncates, as in pow's argument.
function M.divide(a, ta, b, tb, at)
  return real_operation("/", a, ta, b, tb, at)
end

function M.power(a, ta, b, tb, at)
  if INTEGERS[ta.kind] and INTEGERS[tb.kind] then return integer_power(a, ta, b, tb, at) end
  a, b = values.real(a, ta, at), values.real(b, tb, at)
  if is_known(a) and is_known(b) then return finite((a + 0.0) ^ b, at), FLOAT end
  local is_whole = ta == WHOLE and is_known(b) and math.type(b) == "integer"
  return make(at, "^", a, b), is_whole and WHOLE or SYMBOL
end

-- ---- comparisons

local COMPARE = {
  ["=="] = function(a, b) return a == b end, ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end, ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end, [">="] = function(a, b) return a >= b end,
}
local MIRRORED = { ["=="] = "==", ["!="] = "!=", ["<"] = ">", ["<="] = ">=", [">"] = "<", [">="] = "<=" }

-- A measured integer beside a real number.
local function compare_with_real(op, a, b, at)
  if b ~= b or b >= 2.0 ^ 64 or b < -2.0 ^ 63 then return COMPARE[op](0.0, b) end
  if b % 1 ~= 0 then
    if op == "==" or op == "!=" then return op == "!=" end
    b = (op == "<" or op == ">=") and b // 1 + 1 or b // 1
  end
  local whole, kind = values.whole(b)
  return make(at, op, a, values.exact(whole, kind, at))
end

-- Large ones are uint of 2^63 or more.
local function compare_known(op, a, is_a_large, b, is_b_large)
  if is_a_large ~= is_b_large then return COMPARE[op](is_a_large and 1 or 0, is_b_large and 1 or 0) end
  return COMPARE[op](a, b)
end

local PART = 48   -- bits of a register that are compared at once

-- Some bits of two registers, as integers.
local function compare_part(op, a, b, from, n, at)
  local x, y = { n = n }, { n = n }
  for i = 0, n - 1 do x[i], y[i] = a[from + i], b[from + i] end
  x, y = values.bits_to_integer(x, at), values.bits_to_integer(y, at)
  if is_known(x) and is_known(y) then return COMPARE[op](x, y) end
  return make(at, op, x, y)
end

-- Registers of more bits than an integer has: part by part, from the lowest.
local function compare_long(op, a, b, at)
  if op == "!=" then return M.negate(compare_long("==", a, b, at), at) end
  local result = compare_part(op, a, b, 0, math.min(a.n, PART), at)
  for from = PART, a.n - 1, PART do
    local n = math.min(a.n - from, PART)
    result = M.both("&&", compare_part("==", a, b, from, n, at), result, at)
    if op ~= "==" then
      result = M.both("||", compare_part(string.sub(op, 1, 1), a, b, from, n, at), result, at)
    end
  end
  return result
end

local function widen(value, kind, n, at)
  local bits = { n = n }
  if kind.kind ~= "bits" then
    value, kind = values.integer(value, kind, at)
    if not is_known(value) then fault.unknown(at, "a register of %d bits beside a measured integer", n) end
    return values.integer_to_bits(value, n, at), value >= 0 or values.is_large(value, kind)
  end
  for i = 0, n - 1 do bits[i] = value[i] or 0 end
  return bits, true
end

local function compare_registers(op, a, ta, b, tb, at)
  local n = math.max(ta.n or 0, tb.n or 0)
  local x, x_fits = widen(a, ta, n, at)
  local y, y_fits = widen(b, tb, n, at)
  if not x_fits then return COMPARE[op](-1, 0) end
  if not y_fits then return COMPARE[op](0, -1) end
  return compare_long(op, x, y, at)
end

local function compare_angles(op, a, ta, b, tb, at)
  local width = ta.width or tb.width
  local angle = values.type("angle", width)
  a, b = values.convert(a, ta, angle, at), values.convert(b, tb, angle, at)
  return compare_known(op, a, a < 0, b, b < 0)
end

local NUMBERS = { int = true, uint = true }

-- Numbers are compared in their common type, and registers, bits and booleans as what they are.
local function compare_integers(op, a, ta, b, tb, at)
  local x, ix = values.integer(a, ta, at)
  local y, iy = values.integer(b, tb, at)
  local kind = common(ix, iy)
  if NUMBERS[ta.kind] and NUMBERS[tb.kind] and not (values.holds(kind, ix) and values.holds(kind, iy)) then
    x, y, ix, iy = values.as(x, ix, kind, at), values.as(y, iy, kind, at), kind, kind
  end
  if is_known(x) and is_known(y) then
    return compare_known(op, x, values.is_large(x, ix), y, values.is_large(y, iy))
  end
  return make(at, op, values.exact(x, ix, at), values.exact(y, iy, at))
end

local function compare_reals(op, a, ta, b, tb, at)
  if ta.kind == "symbol" or tb.kind == "symbol" then values.need(at, ta.kind == "symbol" and a or b) end
  if ta.kind == "float" and INTEGERS[tb.kind] then a, ta, b, tb, op = b, tb, a, ta, MIRRORED[op] end
  if tb.kind == "float" and INTEGERS[ta.kind] then
    local x, ix = values.integer(a, ta, at)
    if not is_known(x) then return compare_with_real(op, x, b, at) end
    return COMPARE[op](values.is_large(x, ix) and values.real(x, ix, at) or x, b)
  end
  return COMPARE[op](values.real(a, ta, at), values.real(b, tb, at))
end

function M.compare(op, a, ta, b, tb, at)
  local ka, kb = ta.kind, tb.kind
  if a == values.MIXED or b == values.MIXED then values.refuse_measured(at) end
  if ka == "array" or kb == "array" then fault.raise(at, "%s of an array, expected numbers", op) end
  local result
  if (ta.n or 0) > 64 and INTEGERS[kb] or (tb.n or 0) > 64 and INTEGERS[ka] then
    result = compare_registers(op, a, ta, b, tb, at)
  elseif INTEGERS[ka] and INTEGERS[kb] then
    result = compare_integers(op, a, ta, b, tb, at)
  elseif ka == "angle" and ta.width or kb == "angle" and tb.width then
    result = compare_angles(op, a, ta, b, tb, at)
  else
    result = compare_reals(op, a, ta, b, tb, at)
  end
  return result, BOOL
end

-- ---- logic

-- Two conditions joined.
function M.both(op, a, b, at)
  if is_known(a) then a, b = b, a end
  if is_known(b) then
    if op == "&&" then return b and a end
    return b or a
  end
  return make(at, op, a, b)
end

function M.negate(value, at)
  if is_known(value) then return not value end
  return make(at, "not", value)
end

-- ---- one operand

function M.minus(a, ta, at)
  if ta.kind == "symbol" then return make(at, "neg", a), ta end
  if ta.kind == "float" or ta.kind == "duration" or ta.kind == "angle" and not ta.width then
    return -values.real(a, ta, at), ta
  end
  if ta.kind == "angle" then return values.wrap(-a, values.type("uint", ta.width), at), ta end
  local whole, kind = values.integer(a, ta, at)
  if is_known(whole) then return values.wrap(-whole, kind, at), kind end
  return values.wrap(make(at, "neg", whole), kind, at), kind
end

function M.invert(a, ta, at)
  local kind = ta.kind
  if a == values.MIXED then values.refuse_measured(at) end
  if kind == "bits" then
    local bits = { n = a.n }
    for i = 0, a.n - 1 do bits[i] = is_known(a[i]) and 1 - a[i] or make(at, "^", a[i], 1) end
    return bits, ta
  end
  if kind == "bit" then return is_known(a) and 1 - a or make(at, "^", a, 1), BIT end
  if kind == "angle" and ta.width then return values.wrap(~a, values.type("uint", ta.width), at), ta end
  local whole, whole_type = values.integer(a, ta, at)
  if is_known(whole) then return values.wrap(~whole, whole_type, at), whole_type end
  if whole_type.kind == "uint" then return make(at, "~", whole, values.width(whole_type)), whole_type end
  return make(at, "-", -1, whole), whole_type
end

M.rotate_bits = rotate_bits

return M
