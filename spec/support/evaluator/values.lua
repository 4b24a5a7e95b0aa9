-- The slow evaluator's classical values: Lua integers, floats and booleans, bits as { n = , [1] = bit 0, … }, and
-- angles of so many bits as { turns = , width = }, turns in 2 pi / 2^width; integers as { whole = , base = "int" or
-- "uint", width = }, and those of type int[64], as int and literals are, as Lua's. whole is Lua's integer of those
-- bits.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local function fail(...) error({ evaluator = (...):format(select(2, ...)) }, 0) end
M.fail = fail

function M.is_bits(v) return type(v) == "table" and v.n ~= nil end
function M.is_angle(v) return type(v) == "table" and v.turns ~= nil end
function M.is_sized(v) return type(v) == "table" and v.whole ~= nil end
function M.is_list(v) return type(v) == "table" and not (v.n or v.turns or v.whole) end

function M.bits(number, n)
  local r = { n = n }
  for i = 1, n do r[i] = i <= 64 and number >> (i - 1) & 1 or 0 end
  return r
end

function M.parse_bits(text)
  local digits = text:gsub("_", "")
  if digits:find("[^01]") or digits == "" then fail("%q is no bit string", text) end
  local r = { n = #digits }
  for i = 1, #digits do r[i] = digits:byte(#digits + 1 - i) - 48 end
  return r
end

-- A number: bits are unsigned, angles are in radians. What no integer of Lua's holds is one with a point.
function M.number(v)
  if type(v) == "number" then return v end
  if type(v) == "boolean" then return v and 1 or 0 end
  if M.is_sized(v) then return v.base == "uint" and v.whole < 0 and v.whole + 2.0 ^ 64 or v.whole end
  if M.is_angle(v) then return v.turns / 2.0 ^ v.width * 2 * math.pi end
  if not M.is_bits(v) then fail("a value that is no number") end
  if v.n > 62 then error({ evaluator = ("a register of %d bits as a number"):format(v.n), is_limit = true }, 0) end
  local r = 0
  for i = 1, v.n do r = r | v[i] << (i - 1) end
  return r
end

-- The 64 bits of an integer, as Lua's. A point and what is behind it are cut off.
function M.integer(v)
  if M.is_sized(v) then return v.whole end
  v = M.number(v)
  if math.type(v) == "integer" then return v end
  if v >= 2.0 ^ 63 and v < 2.0 ^ 64 then v = v - 2.0 ^ 64 end
  return math.tointeger(v < 0 and math.ceil(v) or math.floor(v)) or fail("%s is no integer", v)
end

-- An index, a size, a count: nothing is rounded.
function M.whole(v)
  local number = M.number(v)
  return math.tointeger(number) or fail("%s is no integer", number)
end

function M.truth(v)
  if type(v) == "boolean" then return v end
  return M.number(v) ~= 0
end

local function wrap(v, width, signed)
  if width >= 64 then return v end
  v = v & (1 << width) - 1
  if signed and v >> (width - 1) & 1 == 1 then v = v - (1 << width) end
  return v
end

-- An angle: in radians, or of n bits.
local function angle(v, n)
  if n and M.is_angle(v) and v.width == n then return v end
  if n and M.is_bits(v) then
    if v.n ~= n then fail("%d bits for an angle of %d", v.n, n) end
    return { turns = M.number(v), width = n }
  end
  local turn = M.number(v) / (2 * math.pi)
  if not n then return turn * 2 * math.pi end
  if n > 50 then error({ evaluator = "an angle of more than 50 bits", is_limit = true }, 0) end
  return { turns = math.floor((turn - math.floor(turn)) * 2.0 ^ n + 0.5) & (1 << n) - 1, width = n }
end

-- v as a value of a type { base, n }.
function M.convert(v, base, n)
  if base == "int" or base == "uint" then
    n = n or 64
    local value = wrap(M.integer(v), n, base == "int")
    return (n < 64 or base == "uint") and { whole = value, base = base, width = n } or value
  end
  if base == "bool" then return M.truth(v) end
  if base == "float" or base == "duration" or base == "stretch" then return M.number(v) + 0.0 end
  if base == "angle" then return angle(v, n) end
  if base ~= "bit" then fail("a value of type %s", base) end
  n = n or 1
  if M.is_angle(v) then
    if v.width ~= n then fail("an angle of %d bits where %d are expected", v.width, n) end
    return M.bits(v.turns, n)
  end
  if M.is_bits(v) then
    if v.n ~= n then fail("%d bits where %d are expected", v.n, n) end
    return v
  end
  return M.bits(M.integer(v), n)
end

-- ---- operators

local function both_bits(a, b) return M.is_bits(a) and M.is_bits(b) end

local function bits_like(a, b, op)
  if a.n ~= b.n then fail("%d bits with %d", a.n, b.n) end
  return M.bits(op(M.number(a), M.number(b)), a.n)
end

local function both_whole(a, b) return math.type(a) == "integer" and math.type(b) == "integer" end

local function finite(v)
  if v ~= v or v == math.huge or v == -math.huge then fail("a number that is not finite") end
  return v
end

local function power(a, b)
  a, b = M.number(a), M.number(b)
  if not both_whole(a, b) or b < 0 then return finite((a + 0.0) ^ b) end
  local real, r = (a + 0.0) ^ b, 1
  if math.abs(real) >= 2.0 ^ 63 and (real < 0 or real >= 2.0 ^ 64) then return finite(real) end
  for _ = 1, b do r = r * a end
  return real >= 2.0 ^ 63 and { whole = r, base = "uint", width = 64 } or r
end

-- Numbers of which one has a point.
local plain = {
  ["+"] = function(a, b) return finite(a + b) end,
  ["-"] = function(a, b) return finite(a - b) end,
  ["*"] = function(a, b) return finite(a * b) end,
  ["/"] = function(a, b) return b ~= 0 and finite(a / b) or fail("division by zero") end,
  ["%"] = function(a, b) return b ~= 0 and finite(math.fmod(a, b)) or fail("division by zero") end,
  ["=="] = function(a, b) return a == b end,
  ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end,
  ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end,
  [">="] = function(a, b) return a >= b end,
}

-- Quotient and rest of two integers without a sign: bit by bit, as on paper.
local function divide_unsigned(a, b)
  local quotient, rest = 0, 0
  for i = 63, 0, -1 do
    local is_long = rest < 0
    rest = rest << 1 | a >> i & 1
    if is_long or not math.ult(rest, b) then quotient, rest = quotient | 1 << i, rest - b end
  end
  return quotient, rest
end

-- Quotient and rest of two integers: toward zero.
local function divide(a, b, is_unsigned)
  if b == 0 then fail("division by zero") end
  if is_unsigned then return divide_unsigned(a, b) end
  local quotient, rest = divide_unsigned(math.abs(a), math.abs(b))
  return (a < 0) == (b < 0) and quotient or -quotient, a < 0 and -rest or rest
end

local function less(a, b, is_unsigned)
  if is_unsigned then return math.ult(a, b) end
  return a < b
end

-- Two integers of one type, as Lua's of their bits.
local whole = {
  ["+"] = function(a, b) return a + b end,
  ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end,
  ["/"] = function(a, b, is_unsigned) return (divide(a, b, is_unsigned)) end,
  ["%"] = function(a, b, is_unsigned) return select(2, divide(a, b, is_unsigned)) end,
  ["&"] = function(a, b) return a & b end,
  ["|"] = function(a, b) return a | b end,
  ["^"] = function(a, b) return a ~ b end,
  ["=="] = function(a, b) return a == b end,
  ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b, is_unsigned) return less(a, b, is_unsigned) end,
  [">"] = function(a, b, is_unsigned) return less(b, a, is_unsigned) end,
  ["<="] = function(a, b, is_unsigned) return not less(b, a, is_unsigned) end,
  [">="] = function(a, b, is_unsigned) return not less(a, b, is_unsigned) end,
}

local shifts = {
  ["<<"] = function(a, by) return a << by end,
  [">>"] = function(a, by, is_unsigned) return a < 0 and not is_unsigned and ~(~a >> by) or a >> by end,
}

local ring = { ["+"] = true, ["-"] = true, ["&"] = true, ["|"] = true, ["^"] = true }
local with_integers = { ["*"] = true, ["/"] = true, ["<<"] = true, [">>"] = true }
local compares = { ["=="] = true, ["!="] = true, ["<"] = true, ["<="] = true, [">"] = true, [">="] = true }

local function whole_or_bits(v)
  return type(v) ~= "table" and math.type(v) ~= "float" or M.is_bits(v) or M.is_sized(v)
end

-- Angles of n bits: their turns are integers that wrap.
local function of_angles(sign, a, b)
  local width = M.is_angle(a) and a.width or b.width
  local function turns(v) return angle(v, width).turns end
  local function wrapped(value) return { turns = value & (1 << width) - 1, width = width } end
  if compares[sign] then return whole[sign](turns(a), turns(b)) end
  if ring[sign] then return wrapped(whole[sign](turns(a), turns(b))) end
  if sign == "/" and M.is_angle(a) and M.is_angle(b) then return whole["/"](a.turns, b.turns) end
  if with_integers[sign] and M.is_angle(a) and whole_or_bits(b) then
    return wrapped((whole[sign] or shifts[sign])(a.turns, M.integer(b)))
  end
  if sign == "*" and whole_or_bits(a) then return wrapped(M.integer(a) * b.turns) end
  if sign == "**" then return power(a, b) end
  if not plain[sign] then fail("%s of an angle", sign) end
  return plain[sign](M.number(a), M.number(b))
end

local function type_of(v)
  if M.is_sized(v) then return v end
  return { base = "int", width = 64 }
end

-- The type of an operation of integers: as in C, the wider one, and uint of two that are equally wide.
local function common(a, b)
  if a.width ~= b.width then return a.width > b.width and a or b end
  return a.base == "uint" and a or b
end

local function shift(sign, a, b)
  local by = M.whole(b)
  if by < 0 then fail("a shift by %d", by) end
  if by > 64 then by = 64 end
  if M.is_bits(a) then return M.bits(shifts[sign](M.number(a), by), a.n) end
  local kind = type_of(a)
  return M.convert(shifts[sign](M.integer(a), by, kind.base == "uint"), kind.base, kind.width)
end

local function is_negative(v)
  if M.is_sized(v) then return v.base == "int" and v.whole < 0 end
  return math.type(v) == "integer" and v < 0
end

local function is_plain(v) return math.type(v) == "float" end

local function of_integers(sign, a, b)
  local kind = common(type_of(a), type_of(b))
  if compares[sign] and (M.is_bits(a) and is_negative(b) or M.is_bits(b) and is_negative(a)) then
    return whole[sign](is_negative(a) and -1 or 0, is_negative(b) and -1 or 0)   -- bits are never below 0
  end
  local function bits_of(v) return wrap(M.integer(v), kind.width, kind.base == "int") end
  local result = whole[sign](bits_of(a), bits_of(b), kind.base == "uint")
  if compares[sign] then return result end
  return M.convert(result, kind.base, kind.width)
end

local bitwise = { ["&"] = true, ["|"] = true, ["^"] = true }

local function of_numbers(sign, a, b)
  if sign == "**" then return power(a, b) end
  if sign == "<<" or sign == ">>" then return shift(sign, a, b) end
  if bitwise[sign] and both_bits(a, b) then return bits_like(a, b, whole[sign]) end
  if not is_plain(a) and not is_plain(b) then return of_integers(sign, a, b) end
  if bitwise[sign] then return of_integers(sign, M.whole(a), M.whole(b)) end
  return plain[sign](M.number(a), M.number(b))
end

M.binary = {}
for _, signs in ipairs { whole, shifts, { ["**"] = power } } do
  for sign in pairs(signs) do
    M.binary[sign] = function(a, b)
      if M.is_list(a) or M.is_list(b) then fail("%s of an array", sign) end
      if M.is_angle(a) or M.is_angle(b) then return of_angles(sign, a, b) end
      return of_numbers(sign, a, b)
    end
  end
end

local function like(a, value) return M.is_sized(a) and M.convert(value, a.base, a.width) or value end

M.unary = {
  ["-"] = function(a)
    if M.is_angle(a) then return of_angles("-", 0, a) end
    return like(a, -(M.is_sized(a) and a.whole or M.number(a)))
  end,
  ["+"] = function(a) return a end,
  ["!"] = function(a) return not M.truth(a) end,
  ["~"] = function(a)
    if type(a) == "boolean" then return not a end
    if M.is_bits(a) then return M.bits(~M.number(a), a.n) end
    if M.is_angle(a) then return { turns = ~a.turns & (1 << a.width) - 1, width = a.width } end
    return like(a, ~M.integer(a))
  end,
}

-- ---- functions

local function of_number(f) return function(a) return finite(f(M.number(a))) end end

local function rotate(v, by)
  if M.is_angle(v) then return angle(rotate(M.bits(v.turns, v.width), by), v.width) end
  if M.is_sized(v) then return M.convert(rotate(M.bits(v.whole, v.width), by), v.base, v.width) end
  if not M.is_bits(v) then fail("rotl and rotr take bits") end
  local r = { n = v.n }
  for i = 1, v.n do r[(i - 1 + by) % v.n + 1] = v[i] end
  return r
end

M.functions = {
  sin = of_number(math.sin), cos = of_number(math.cos), tan = of_number(math.tan), exp = of_number(math.exp),
  ln = of_number(math.log), log = of_number(math.log), sqrt = of_number(math.sqrt), arcsin = of_number(math.asin),
  arccos = of_number(math.acos), arctan = of_number(math.atan), asin = of_number(math.asin),
  acos = of_number(math.acos), atan = of_number(math.atan), pow = power,
  ceiling = function(a) return math.ceil(M.number(a)) end, floor = function(a) return math.floor(M.number(a)) end,
  mod = M.binary["%"],
  abs = function(a) return math.abs(M.number(a)) end,
  popcount = function(a)
    local v, r = M.is_angle(a) and a.turns or M.integer(a), 0
    if M.is_sized(a) then v = wrap(v, a.width) end
    while v ~= 0 do r, v = r + (v & 1), v >> 1 end
    return r
  end,
  rotl = function(a, by) return rotate(a, M.integer(by)) end,
  rotr = function(a, by) return rotate(a, -M.integer(by)) end,
}

M.constants = { pi = math.pi, ["π"] = math.pi, tau = 2 * math.pi, ["τ"] = 2 * math.pi, euler = math.exp(1),
  ["ℇ"] = math.exp(1), ["true"] = true, ["false"] = false, ["im"] = nil }

return M
