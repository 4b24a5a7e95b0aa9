-- Expressions and types from words to trees, of both versions of the language.
-- Invariant: a tree is as deep as its text is nested, and that is bounded; operators of one rank are a list.
-- A node is { kind, …, at = its place }.
-- SPDX-License-Identifier: Apache-2.0
local fault = require "arvak.circuit.read.fault"
local scanners = require "arvak.circuit.read.scanner"
local words = require "arvak.circuit.read.words"

local M = {}

local DEEPEST = 200
M.DEEPEST = DEEPEST

-- The ranks of binary operators, from the loosest.
local RANK = {
  ["||"] = 1, ["&&"] = 2, ["|"] = 3, ["^"] = 4, ["&"] = 5, ["=="] = 6, ["!="] = 6,
  ["<"] = 7, ["<="] = 7, [">"] = 7, [">="] = 7, ["<<"] = 8, [">>"] = 8, ["+"] = 9, ["-"] = 9,
  ["*"] = 10, ["/"] = 10, ["%"] = 10,
}
local RANK_2 = { ["+"] = 9, ["-"] = 9, ["*"] = 10, ["/"] = 10 }
local TIGHTEST = 10

local TYPES = {
  int = true, uint = true, float = true, angle = true, bool = true, bit = true, duration = true, stretch = true,
  complex = true, array = true,
}
M.TYPES = TYPES

local parse_binary, parse_unary

-- Goes one level deeper, or refuses.
function M.enter(scanner)
  local depth = (scanner.depth or 0) + 1
  if depth > DEEPEST then scanner:fail("nested more than %d deep", DEEPEST) end
  scanner.depth = depth
end

function M.leave(scanner) scanner.depth = scanner.depth - 1 end

local function parse_expression(scanner)
  M.enter(scanner)
  local node = parse_binary(scanner, 1)
  M.leave(scanner)
  return node
end
M.parse = parse_expression

-- ---- arguments

-- The place of the next bracket, comma or semicolon that is not in a comment, or nil.
local function next_mark(scanner, pos)
  while true do
    pos = string.find(scanner.body, "[][(){},;/]", pos)
    if not pos or string.byte(scanner.body, pos) ~= 47 then return pos end
    pos = math.max(scanner:behind_blanks(pos), pos + 1)
  end
end

-- An argument that cannot be read, up to the comma or parenthesis behind it; raises again what was raised if there is
-- none in this statement. Exporters write labels and complex numbers into calls of gates that ignore them.
local function skip_argument(scanner, from, err)
  local body, depth, pos = scanner.body, 0, from
  while true do
    pos = next_mark(scanner, pos)
    local char = pos and string.sub(body, pos, pos)
    if not char or char == ";" or char == "{" or char == "}" then error(err, 0) end
    if depth == 0 and (char == "," or char == ")") then break end
    if char == "(" or char == "[" then depth = depth + 1 elseif char ~= "," then depth = depth - 1 end
    pos = pos + 1
  end
  if depth < 0 then error(err, 0) end
  scanner:seek(pos)
  return { "unreadable", err, at = scanner.base + from }
end

-- Takes the "(" or "," that is next, and what stands behind it.
local function parse_whole_argument(scanner)
  scanner:next()
  local node = parse_expression(scanner)
  if not (scanner:is(",") or scanner:is(")")) then scanner:expected(", or ) or an operator") end
  return node
end

local function parse_argument(scanner)
  local from, depth = scanner.pos, scanner.depth
  local ok, node = pcall(parse_whole_argument, scanner)
  if ok then return node end
  if not fault.is(node) then error(node, 0) end
  scanner.depth = depth
  return skip_argument(scanner, from, node)
end

-- The arguments behind a "(" that is next, up to and with the ")".
function M.arguments(scanner)
  local list = {}
  scanner:expect("(")
  while not scanner:is(")") do
    list[#list + 1] = parse_expression(scanner)
    if not scanner:accept(",") then break end
  end
  scanner:expect(")", "or , after an argument")
  return list
end

-- The same; arguments that cannot be read are kept as such.
function M.lenient_arguments(scanner)
  local list = {}
  while (scanner:is("(") or scanner:is(",")) and not string.find(scanner.body, "^%s*%)", scanner.pos) do
    list[#list + 1] = parse_argument(scanner)
  end
  if not scanner:accept(",") and #list == 0 then scanner:expect("(") end   -- a comma may stand behind the last
  scanner:expect(")", "or , after an argument")
  return list
end

-- ---- indices

-- A range's end: an expression, or nothing before : or ].
local function parse_bound(scanner)
  if scanner:is(":") or scanner:is("]") or scanner:is(",") then return nil end
  return parse_expression(scanner)
end

-- An expression, or a range: a:b or a:step:b, of which either end may be missing.
function M.range(scanner)
  local at = scanner.base + scanner.at
  local first = parse_bound(scanner)
  if not scanner:is(":") then
    if not first then scanner:expected("an index or a range") end
    return first
  end
  scanner:next()
  local second = parse_bound(scanner)
  if not scanner:accept(":") then return { "range", first, nil, second, at = at } end
  return { "range", first, second, parse_bound(scanner), at = at }
end

-- A set in braces, which is next.
function M.set(scanner)
  local at = scanner.base + scanner.at
  scanner:expect("{")
  local list = {}
  while not scanner:is("}") do
    list[#list + 1] = scanner:is("{") and M.set(scanner) or parse_expression(scanner)
    if not scanner:accept(",") then break end
  end
  scanner:expect("}", "or , after a member of the set")
  return { "set", list, at = at }
end

-- All indices behind a value.
function M.indices(scanner, node)
  while scanner:is("[") do
    scanner:next()
    local items = {}
    if scanner:is("{") then
      items[1] = M.set(scanner)
    else
      repeat items[#items + 1] = M.range(scanner) until not scanner:accept(",")
    end
    scanner:expect("]", "after an index")
    node = { "index", node, items, at = node.at }
  end
  return node
end

-- ---- types

local function parse_array_type(scanner, at)
  scanner:expect("[", "and the type of the elements")
  local base = M.type(scanner)
  local sizes, dims = {}, nil
  while scanner:accept(",") do
    if scanner:accept("#") then
      scanner:expect("dim")
      scanner:expect("=")
      dims = parse_expression(scanner)
    else
      sizes[#sizes + 1] = parse_expression(scanner)
    end
  end
  scanner:expect("]", "after the sizes of an array")
  return { "array", base, sizes, dims, at = at }
end

-- A type, of which the name is next: { name, width or nil }, or { "array", element's type, sizes, dimensions }.
function M.type(scanner)
  local at = scanner.base + scanner.at
  if scanner.kind ~= "name" or not TYPES[scanner.value] then scanner:expected("a type") end
  local name = scanner.value
  if name == "complex" then scanner:fail("complex numbers are not supported") end
  scanner:next()
  if name == "array" then return parse_array_type(scanner, at) end
  local width
  if scanner:is("[") then
    scanner:next()
    width = parse_expression(scanner)
    scanner:expect("]", "after the size of a type")
  end
  return { name, width, at = at }
end

-- ---- values

local function parse_number(scanner)
  local node = { "number", scanner.value, scanner.kind, at = scanner.base + scanner.at }
  scanner:next()
  return node
end

-- A number with a unit of time behind a blank, as in 100 ns.
local function parse_integer(scanner)
  local node = parse_number(scanner)
  if node[3] == "large" then return node end
  local seconds = scanner.kind == "name" and scanners.SECONDS[scanner.value]
  if seconds and scanner.value ~= "s" then
    node[2], node[3] = node[2] * seconds, "time"
    scanner:next()
  end
  return node
end

local function parse_cast(scanner)
  local at = scanner.base + scanner.at
  local type = M.type(scanner)
  scanner:expect("(", "after the type of a cast")
  local value = parse_expression(scanner)
  scanner:expect(")", "after the value of a cast")
  return { "cast", type, value, at = at }
end

-- durationof({ … }): the time of what is in the braces, which has no effect here.
local function parse_durationof(scanner, at)
  scanner:next()
  scanner:expect("(")
  local depth = 0
  repeat
    if scanner.kind == "end" then scanner:expected("}") end
    if scanner:is("{") then depth = depth + 1 elseif scanner:is("}") then depth = depth - 1 end
    scanner:next()
  until depth <= 0
  scanner:expect(")")
  return { "number", 0.0, "time", at = at }
end

local VALUES = { ["true"] = true, ["false"] = true, pow = true }   -- words that an expression may hold

local function parse_name(scanner)
  local at, name = scanner.base + scanner.at, scanner.value
  if scanner.version == 3 then
    if TYPES[name] then return parse_cast(scanner) end
    if name == "measure" then scanner:fail("a measurement here, expected it alone on the right side of =") end
    if name == "durationof" then return parse_durationof(scanner, at) end
    if words[3][name] and not VALUES[name] then scanner:expected("a value") end
  end
  scanner:next()
  if scanner:is("(") then return { "call", name, M.arguments(scanner), at = at } end
  return { "name", name, at = at }
end

local function parse_parenthesis(scanner)
  scanner:next()
  local node = parse_expression(scanner)
  scanner:expect(")", "or an operator")
  return node
end

local SIMPLE = { string = "string", physical = "physical" }

local function parse_primary(scanner)
  local kind = scanner.kind
  if kind == "integer" or kind == "real" or kind == "large" then return parse_integer(scanner) end
  if kind == "time" then return parse_number(scanner) end
  if kind == "name" then return parse_name(scanner) end
  if SIMPLE[kind] then
    local node = { kind, scanner.value, at = scanner.base + scanner.at }
    scanner:next()
    return node
  end
  if scanner:is("(") then return parse_parenthesis(scanner) end
  scanner:expected("a value")
end

local function parse_power(scanner)
  local node = parse_primary(scanner)
  if scanner:is("[") then node = M.indices(scanner, node) end
  local sign = scanner.value
  if scanner.kind == "sign" and (sign == "**" or sign == "^" and scanner.version == 2) then
    local at = scanner.base + scanner.at
    scanner:next()
    M.enter(scanner)
    node = { "power", node, parse_unary(scanner), at = at }
    M.leave(scanner)
  end
  return node
end

-- The number that a literal behind a minus is.
local function negative_number(scanner, operand, at)
  local value, kind = operand[2], operand[3]
  if kind == "large" and scanner.version == 3 then
    if value ~= math.mininteger then
      fault.raise(at, "a negative number below -2^63, expected one that 64 bits can hold")
    end
    kind = "integer"
  elseif kind == "large" then
    return { "neg", operand, at = at }
  end
  return { "number", -value, kind, at = at }
end

local UNARY = { ["-"] = "neg", ["+"] = "plus", ["!"] = "not", ["~"] = "invert" }

function parse_unary(scanner)
  local kind = scanner.kind == "sign" and UNARY[scanner.value]
  if not kind or scanner.version == 2 and (kind == "not" or kind == "invert") then return parse_power(scanner) end
  local at = scanner.base + scanner.at
  scanner:next()
  M.enter(scanner)
  local operand = parse_unary(scanner)
  M.leave(scanner)
  if kind == "plus" then return operand end
  if kind == "neg" and operand[1] == "number" and operand[2] ~= 0 then return negative_number(scanner, operand, at) end
  return { kind, operand, at = at }
end

-- Operators from this rank on: operands and operators of one rank as a list, { "chain", a, op, b, op, c, … }.
function parse_binary(scanner, rank)
  local ranks = scanner.version == 2 and RANK_2 or RANK
  local node = parse_unary(scanner)
  while true do
    local found = scanner.kind == "sign" and ranks[scanner.value]
    if not found or found < rank then return node end
    local chain = { "chain", node, at = scanner.base + scanner.at, places = {} }
    while scanner.kind == "sign" and ranks[scanner.value] == found do
      chain.places[#chain + 1] = scanner.base + scanner.at
      chain[#chain + 1] = scanner.value
      scanner:next()
      chain[#chain + 1] = found < TIGHTEST and parse_binary(scanner, found + 1) or parse_unary(scanner)
    end
    node = chain
  end
end

return M
