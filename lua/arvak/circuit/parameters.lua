-- Angles that are not numbers yet: expressions over named parameters, as a program writes them in Lua and as readers
-- and lowering pass them on.
-- Invariant: an angle is a number or a plain node, { "name", "theta" }, { "param", i } within a gate's body, or an
-- operator before its operands, and is never changed after it was made. What a program holds is a handle that cannot be
-- changed either.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local names = require "arvak.circuit.names"
local text = require "arvak.base.text"

local M = {}

local MAX_SIZE = 10000   -- nodes of one expression; more would come of adding up in a loop, by mistake

-- ---- values

local functions = {
  sin = math.sin, cos = math.cos, tan = math.tan, arcsin = math.asin, arccos = math.acos, arctan = math.atan,
  exp = math.exp, ln = math.log, log = math.log, sqrt = math.sqrt, abs = math.abs,
  floor = function(a) return math.floor(a) + 0.0 end, ceiling = function(a) return math.ceil(a) + 0.0 end,
}

local operators = {
  ["+"] = function(a, b) return a + b end, ["-"] = function(a, b) return a - b end,
  ["*"] = function(a, b) return a * b end, ["/"] = function(a, b) return a / b end,
  ["^"] = function(a, b) return a ^ b end, neg = function(a) return -a end,
  mod = function(a, b) return b == 0 and 0 / 0 or a - b * math.floor(a / b) end,
}
for name, fn in pairs(functions) do operators[name] = fn end

-- Whether a node may have this operator.
function M.is_operator(name) return operators[name] ~= nil end

-- The angle with names and the parameters of a gate's body replaced: a number where nothing is left open, else a node.
-- values: name → angle, or nil; arguments: list of angles, or nil. What has no value stays.
function M.substitute(angle, values, arguments)
  if type(angle) == "number" then return angle end
  local operator = angle[1]
  if operator == "name" then return values and values[angle[2]] or angle end
  if operator == "param" then return arguments and arguments[angle[2]] or angle end
  local a, b = M.substitute(angle[2], values, arguments), angle[3]
  if b ~= nil then b = M.substitute(b, values, arguments) end
  if type(a) == "number" and (b == nil or type(b) == "number") then return operators[operator](a, b) end
  if a == angle[2] and b == angle[3] then return angle end
  return { operator, a, b }
end

-- Calls visit(name) for each parameter in an angle, in the order in which they are written.
function M.each_name(angle, visit)
  if type(angle) == "number" then return end
  if angle[1] == "name" then return visit(angle[2]) end
  if angle[1] == "param" then return end
  M.each_name(angle[2], visit)
  if angle[3] ~= nil then M.each_name(angle[3], visit) end
end

function M.is_finite(value) return value == value and value > -math.huge and value < math.huge end

-- ---- texts

local MAX_DENOMINATOR = 64

-- A number as n and d when it is n * pi / d, exactly as floats compute it.
local function fraction_of_pi(value)
  for d = 1, MAX_DENOMINATOR do
    local n = math.floor(value / math.pi * d + 0.5)
    if n ~= 0 and math.abs(n) <= 1000 and n * math.pi / d == value then return n, d end
  end
end

-- A number that reads back to the same number, in a language that has pi and divides whole numbers to whole ones.
local function exact_number(value)
  local n, d = fraction_of_pi(value)
  if n then
    local sign, times = n < 0 and "-" or "", math.abs(n) == 1 and "pi" or math.abs(n) .. "*pi"
    return sign .. times .. (d > 1 and "/" .. d or "")
  end
  for digits = 15, 17 do
    local number = text.format_number("%." .. digits .. "g", value)
    if tonumber(number) == value then return string.find(number, "[.e]") and number or number .. ".0" end
  end
end

local CLOSE = 1e-9

-- A number for people: a multiple of pi where it is close to one, else four digits.
local function short_number(value, pi)
  for d = 1, 16 do
    local n = math.floor(value / math.pi * d + 0.5)
    if n ~= 0 and math.abs(n) <= 32 and math.abs(n * math.pi / d - value) < CLOSE then
      local times = n == 1 and "" or n == -1 and "-" or tostring(n)
      return times .. pi .. (d > 1 and "/" .. d or "")
    end
  end
  return (text.format_number("%.4g", value))
end

-- How tight each operator binds.
local tightness = { ["+"] = 1, ["-"] = 1, ["*"] = 2, ["/"] = 2, ["^"] = 3 }
local ATOM = 4

local write

-- An operand in parentheses where it binds less than its place needs, or begins with a sign behind an operator.
local function operand(angle, least, style, is_right)
  local written, tight = write(angle, style)
  local needs = tight < least or (is_right and string.find(written, "^-"))
  return needs and "(" .. written .. ")" or written
end

local function write_number(angle, style)
  local written = style.number(angle)
  return written, (string.find(written, "^-") or string.find(written, "[*/]")) and 2 or ATOM
end

-- The text of an angle, and how tight it binds.
function write(angle, style)
  if type(angle) == "number" then return write_number(angle, style) end
  local operator, a, b = angle[1], angle[2], angle[3]
  if operator == "name" then return style.name(a), ATOM end
  if operator == "param" then return style.argument(a), ATOM end
  if operator == "neg" then return "-" .. operand(a, ATOM, style), 2 end
  local tight = tightness[operator]
  if not tight then
    local more = b ~= nil and ", " .. write(b, style) or ""
    return string.format("%s(%s%s)", operator, write(a, style), more), ATOM
  end
  local space = tight == 1 and " " or style.space
  local sign = operator == "^" and style.power or operator
  local left = operand(a, operator == "^" and ATOM or tight, style)
  return left .. space .. sign .. space .. operand(b, tight + 1, style, true), tight
end

local function same(name) return name end

-- An angle in the words of OpenQASM 3. name, argument: functions that write a parameter and an argument of a body by
-- its number.
function M.source(angle, name, argument)
  return (write(angle, { number = exact_number, name = name or same, argument = argument, space = "", power = "**" }))
end

-- An angle for people. pi: how that is written; arguments: names of a body's parameters.
function M.label(angle, pi, arguments)
  return (write(angle, {
    number = function(value) return short_number(value, pi) end, name = same, space = "", power = "^",
    argument = function(i) return arguments and arguments[i] or "?" end,
  }))
end

-- ---- what a program holds

local Parameter = core.metatables["arvak.parameter"]
local contents = setmetatable({}, { __mode = "k" })   -- handle → { node =, size = }

local function new_handle(node, size)
  local handle = setmetatable({}, Parameter)
  contents[handle] = { node = node, size = size }
  return handle
end

function M.is_handle(value) return core.metatable_of(value) == Parameter end

-- The angle of a number or a handle, or misuse. name: of the argument.
function M.angle(value, name)
  if math.type(value) and M.is_finite(value) then return value end
  if M.is_handle(value) then return contents[value].node end
  return check.misuse("%s: got %s, expected a finite number or a parameter", name, core.describe(value))
end

-- A parameter of this name.
function M.parameter(name)
  if not names.is_name(name) then
    check.misuse("parameter: got %s as the name, expected letters, digits and _, no digit first", core.describe(name))
  end
  return new_handle({ "name", name }, 1)
end

local function size_of(value) return value ~= nil and contents[value] and contents[value].size or 1 end

local function new_expression(operator, size, a, b)
  if size > MAX_SIZE then check.misuse("parameter %s: an expression of more than %d parts", operator, MAX_SIZE) end
  return new_handle({ operator, a, b }, size)
end

local function combine(operator, a, b)
  local place = "parameter " .. operator
  return new_expression(operator, 1 + size_of(a) + size_of(b), M.angle(a, place), M.angle(b, place))
end

function Parameter.__add(a, b) return combine("+", a, b) end
function Parameter.__sub(a, b) return combine("-", a, b) end
function Parameter.__mul(a, b) return combine("*", a, b) end
function Parameter.__div(a, b) return combine("/", a, b) end
function Parameter.__unm(a) return new_expression("neg", 1 + size_of(a), M.angle(a, "parameter -")) end
function Parameter.__tostring(handle) return text.printable(M.label(contents[handle].node, "pi")) end

function Parameter.__newindex(_, key)
  check.misuse("parameter: got a field %s to set, expected none: parameters do not change", core.describe(key))
end

Parameter.__index = {}

return M
