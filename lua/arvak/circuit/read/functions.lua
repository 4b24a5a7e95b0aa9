-- The functions of the language.
-- Invariant: a function of a parameter becomes an expression of that name, which whoever binds the parameter computes.
-- SPDX-License-Identifier: Apache-2.0
local fault = require "arvak.circuit.read.fault"
local operators = require "arvak.circuit.read.operators"
local values = require "arvak.circuit.read.values"

local M = {}
local INT, FLOAT, SYMBOL = values.INT, values.FLOAT, values.SYMBOL

local function positive(x, at, name)
  if x <= 0 then fault.raise(at, "%s of %s, expected a number above 0", name, x) end
end

local REAL = {
  sin = math.sin, cos = math.cos, tan = math.tan, exp = math.exp, abs = math.abs,
  ln = function(x, at)
    positive(x, at, "ln")
    return math.log(x)
  end,
  sqrt = function(x, at)
    if x < 0 then fault.raise(at, "sqrt of a negative number") end
    return math.sqrt(x)
  end,
  arcsin = math.asin, arccos = math.acos, arctan = math.atan,
}
local NAMES = { log = "ln", asin = "arcsin", acos = "arccos", atan = "arctan" }
for name in pairs(REAL) do NAMES[name] = name end

local function real_function(name, arguments, kinds, at)
  local x = values.real(arguments[1], kinds[1], at)
  local known_as = NAMES[name]
  if type(x) == "table" then return values.node(at, known_as, x), SYMBOL end
  local result = known_as == "arctan" and math.atan(x) or REAL[known_as](x + 0.0, at)
  if result ~= result or result == math.huge or result == -math.huge then
    fault.raise(at, "%s of this value is not a finite number", name)
  end
  return result, FLOAT
end

local function rounding(round)
  return function(x, kind, at)
    x = values.real(x, kind, at)
    if type(x) == "table" then values.need(at, x) end
    local whole = math.tointeger(round(x))
    if not whole then fault.raise(at, "the number %s, expected one below 2^63", x) end
    return whole, INT
  end
end

local function popcount(x, kind, at)
  if kind.kind == "angle" and kind.width then kind = values.UINT end
  if kind.kind ~= "bits" then
    local width = values.width(kind)
    x = values.integer(x, kind, at)
    if type(x) == "table" then
      if kind.kind == "int" then x = values.wrap(x, values.type("uint", width), at) end
      return values.node(at, "popcount", x), INT
    end
    x = values.integer_to_bits(x, width)
  end
  local count, measured = 0, nil
  for i = 0, x.n - 1 do
    if type(x[i]) == "table" then measured = true else count = count + x[i] end
  end
  if not measured then return count, INT end
  if x.n <= 64 then return values.node(at, "popcount", values.bits_to_integer(x, at)), INT end
  local sum = count
  for i = 0, x.n - 1 do
    if type(x[i]) == "table" then sum = values.node(at, "+", x[i], sum) end
  end
  return sum, INT
end

local function rotation(sign)
  return function(x, kind, by, by_kind, at)
    by, by_kind = values.integer(by, by_kind, at)
    if type(by) == "table" then values.refuse_measured(at) end
    values.check_size(by, by_kind, at)
    if kind.kind == "bits" then return operators.rotate_bits(x, sign * by) end
    local width = kind.width
    if not width then fault.raise(at, "got a value of type %s, expected a register of bits", kind.name) end
    local bits = operators.rotate_bits(values.integer_to_bits(x, width, at), sign * by)
    return values.wrap(values.bits_to_integer(bits, at), kind, at), kind
  end
end

local function size_of(_, kind, at)
  if kind.kind == "array" then return kind.dims[1], INT end
  if kind.kind == "bits" then return kind.n, INT end
  fault.raise(at, "sizeof of %s, expected an array or a register", kind.name)
end

local function modulo(a, ta, b, tb, at)
  return operators.arithmetic("%", a, ta, b, tb, at)
end

local function dimension_of(a, ta, dim, dim_kind, at)
  dim = values.integer(dim, dim_kind, at)
  if ta.kind ~= "array" or type(dim) == "table" or not ta.dims[dim + 1] then
    fault.raise(at, "sizeof of %s, expected an array that has this dimension", ta.name)
  end
  return ta.dims[dim + 1], a and INT
end

local ONE = { floor = rounding(math.floor), ceiling = rounding(math.ceil), popcount = popcount, sizeof = size_of }
local TWO = { mod = modulo, pow = operators.power, rotl = rotation(1), rotr = rotation(-1), sizeof = dimension_of }

local VERSION_2 = { sin = true, cos = true, tan = true, exp = true, ln = true, sqrt = true,
  asin = true, acos = true, atan = true, arcsin = true, arccos = true, arctan = true }

function M.exists(name, version)
  if version == 2 then return VERSION_2[name] end
  return NAMES[name] or ONE[name] or TWO[name]
end

-- Refuses a number of arguments that a function does not take.
function M.check_count(name, count, at)
  if NAMES[name] and count ~= 1 then fault.raise(at, "%s takes one value, got %d", name, count) end
  if not (NAMES[name] or count == 1 and ONE[name] or count == 2 and TWO[name]) then
    fault.raise(at, "%s of %d values, expected %d", name, count, ONE[name] and 1 or 2)
  end
end

-- The value and type of a function of these values and their types.
function M.call(name, arguments, kinds, at)
  M.check_count(name, #arguments, at)
  if NAMES[name] then return real_function(name, arguments, kinds, at) end
  if #arguments == 1 then return ONE[name](arguments[1], kinds[1], at) end
  return TWO[name](arguments[1], kinds[1], arguments[2], kinds[2], at)
end

return M
