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
  b = values.integer(b, tb, at)
  if not is_known(b) then values.refuse_measured(at) end
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

-- The type of an operation of two integers: that of the wider one, and uint of two that are equally wide; literals
-- have no width.
local function common(ta, tb)
  local a_typed, b_typed = ta.width and INTEGERS[ta.kind], tb.width and INTEGERS[tb.kind]
  if a_typed and b_typed then
    if ta.width ~= tb.width then return ta.width > tb.width and ta or tb end
    return ta.kind == "uint" and ta or tb
  end
  return (ta.kind == "uint" or tb.kind == "uint") and values.UINT or INT
end

local function check_divisor(op, b, at)
  if (op == "/" or op == "%") and b == 0 then fault.raise(at, "division by zero") end
  if (op == "<<" or op == ">>") and is_known(b) and b < 0 then
    fault.raise(at, "a shift by %d, expected a number from 0 on", b)
  end
end

local function integer_operation(op, a, ta, b, tb, at)
  local compute = WHOLE_NUMBERS[op]
  local whole_a, ia = values.integer(a, ta, at)
  local whole_b, ib = values.integer(b, tb, at)
  check_divisor(op, whole_b, at)
  local kind = common(ia, ib)
  if op == "<<" or op == ">>" then kind = ia end
  if op == "/" or op == "%" or op == ">>" then
    values.check_size(whole_a, ia, at)
    values.check_size(whole_b, ib, at)
  end
  local result
  if is_known(whole_a) and is_known(whole_b) then
    result = compute(whole_a, whole_b)
  else
    result = make(at, op, whole_a, whole_b)
  end
  local is_bit = (op == "&" or op == "|" or op == "^") and ta.kind == "bit" and tb.kind == "bit"
  if is_bit then return result, BIT end
  return values.wrap(result, kind, at), kind
end

local function integer_power(a, ta, b, tb, at)
  a, b = values.integer(a, ta, at), values.integer(b, tb, at)
  if not (is_known(a) and is_known(b)) then values.refuse_measured(at) end
  values.check_size(a, ta, at)
  values.check_size(b, tb, at)
  if b < 0 then return finite((a + 0.0) ^ b, at), FLOAT end
  local real = (a + 0.0) ^ b
  if math.abs(real) >= 2.0 ^ 62 then return finite(real, at), FLOAT end
  if math.abs(real) < 2.0 ^ 53 then return math.tointeger(real), INT end
  local result = 1
  for _ = 1, b do result = result * a end
  return result, INT
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
    local by = values.integer(b, tb, at)
    if not is_known(by) then values.refuse_measured(at) end
    check_divisor(op, by, at)
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

-- A measured integer beside a number that is no integer of 62 bits.
local function compare_with_real(op, a, b, at)
  if b ~= b or b >= 2.0 ^ 62 or b <= -2.0 ^ 62 then return COMPARE[op](0.0, b) end
  local whole = math.tointeger(b)
  if not whole then
    if op == "==" or op == "!=" then return op == "!=" end
    whole = (op == "<" or op == ">=") and math.ceil(b) or math.floor(b)
  end
  return make(at, op, a, whole)
end

local function compare_known(op, a, ta, b, tb)
  if ta.kind == "uint" and tb.kind == "uint" and (a < 0 or b < 0) then
    a, b = a + math.mininteger, b + math.mininteger
  end
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
    value = values.integer(value, kind, at)
    if not is_known(value) then fault.raise(at, "a register of %d bits beside a measured integer", n) end
    return values.integer_to_bits(value, n, at), value >= 0
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
  return compare_known(op, a, values.UINT, b, values.UINT)
end

local function compare_integers(op, a, ta, b, tb, at)
  local x, y = values.integer(a, ta, at), values.integer(b, tb, at)
  if is_known(x) and is_known(y) then return compare_known(op, x, ta, y, tb) end
  return make(at, op, x, y)
end

local function compare_reals(op, a, ta, b, tb, at)
  if ta.kind == "symbol" or tb.kind == "symbol" then values.need(at, ta.kind == "symbol" and a or b) end
  if ta.kind == "float" and INTEGERS[tb.kind] then a, ta, b, tb, op = b, tb, a, ta, MIRRORED[op] end
  if tb.kind == "float" and INTEGERS[ta.kind] then
    local x = ta.kind == "bits" and values.bits_to_integer(a, at) or values.integer(a, ta, at)
    if not is_known(x) then return compare_with_real(op, x, b, at) end
    return COMPARE[op](x, b)
  end
  return COMPARE[op](values.real(a, ta, at), values.real(b, tb, at))
end

function M.compare(op, a, ta, b, tb, at)
  local ka, kb = ta.kind, tb.kind
  if a == values.MIXED or b == values.MIXED then values.refuse_measured(at) end
  if ka == "array" or kb == "array" then fault.raise(at, "%s of an array, expected numbers", op) end
  local result
  if (ta.n or 0) > 62 and INTEGERS[kb] or (tb.n or 0) > 62 and INTEGERS[ka] then
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
  if whole_type.kind == "uint" and whole_type.width then return make(at, "~", whole, whole_type.width), whole_type end
  return make(at, "-", -1, whole), whole_type
end

M.rotate_bits = rotate_bits

return M
