-- The slow evaluator's expressions: tokens to trees, by precedence. A node is { kind = …, at = … }.
-- SPDX-License-Identifier: Apache-2.0
local tokens = require "spec.support.evaluator.tokens"

local M = {}
M.__index = M

local levels3 = {
  ["||"] = 1, ["&&"] = 2, ["|"] = 3, ["^"] = 4, ["&"] = 5, ["=="] = 6, ["!="] = 6, ["<"] = 7, ["<="] = 7, [">"] = 7,
  [">="] = 7, ["<<"] = 8, [">>"] = 8, ["++"] = 8.5, ["+"] = 9, ["-"] = 9, ["*"] = 10, ["/"] = 10, ["%"] = 10,
  ["**"] = 12,
}
local levels2 = { ["+"] = 9, ["-"] = 9, ["*"] = 10, ["/"] = 10, ["^"] = 12, ["**"] = 12, ["=="] = 6,
  ["!="] = 6, ["<"] = 7, ["<="] = 7, [">"] = 7, [">="] = 7 }
local UNARY, POWER = 11, 12

M.types = { int = true, uint = true, float = true, angle = true, bool = true, bit = true, duration = true,
  complex = true, stretch = true }

function M.new(text, version)
  local list = tokens.read(text)
  return setmetatable({ list = list, i = 1, version = version, levels = version == 2 and levels2 or levels3 }, M)
end

function M:fail(message) tokens.fail(self.list[self.i].at, message) end
function M:peek(ahead) return self.list[math.min(self.i + (ahead or 0), #self.list)] end
function M:is(sign) local t = self:peek() return t.kind == sign or (t.kind == "name" and t.value == sign) end

function M:take(kind)
  local t = self:peek()
  if kind and t.kind ~= kind then self:fail("expected " .. kind .. ", got " .. tostring(t.value)) end
  self.i = self.i + 1
  return t
end

function M:accept(sign)
  if not self:is(sign) then return false end
  self.i = self.i + 1
  return true
end

function M:expect(sign)
  if not self:accept(sign) then self:fail("expected " .. sign .. ", got " .. tostring(self:peek().value)) end
end

function M:node(kind, fields)
  fields.kind, fields.at = kind, self:peek().at
  return fields
end

-- a list up to `close`, each read by `read`
function M:list_of(close, read)
  local all = {}
  while not self:accept(close) do
    all[#all + 1] = read(self)
    if not self:accept(",") then
      self:expect(close)
      break
    end
  end
  return all
end

function M:scalar_type()
  local base = self:take("name").value
  local t = { base = base }
  if self:is("[") and base ~= "bool" and base ~= "duration" and base ~= "stretch" then
    self:take()
    if base == "complex" then t.width = self:scalar_type() else t.width = self:expression() end
    self:expect("]")
  end
  if base == "complex" then self:fail("complex numbers are not for the evaluator") end
  return t
end

-- in brackets: an index, a range or a set
function M:index()
  if self:accept("{") then return self:node("set", { items = self:list_of("}", self.expression) }) end
  local first = not self:is(":") and self:expression() or nil
  if not self:accept(":") then return first end
  local function bound()
    if self:is(":") or self:is("]") or self:is(",") then return nil end
    return self:expression()
  end
  local second = bound()
  if self:accept(":") then return self:node("range", { first = first, step = second, last = bound() }) end
  return self:node("range", { first = first, last = second })
end

local function postfix(self, node)
  while self:is("[") do
    self:take()
    repeat node = self:node("index", { of = node, index = self:index() }) until not self:accept(",")
    self:expect("]")
  end
  return node
end

local function primary(self)
  local t = self:peek()
  if t.kind == "number" or t.kind == "time" then
    self:take()
    return self:node("literal", { value = t.value, is_time = t.kind == "time" })
  elseif t.kind == "string" then
    self:take()
    return self:node("bits", { text = t.value })
  elseif self:accept("(") then
    local inner = self:expression()
    self:expect(")")
    return inner
  elseif self:accept("{") then
    return self:node("set", { items = self:list_of("}", self.expression) })
  elseif t.kind ~= "name" then
    self:fail("expected an expression, got " .. tostring(t.value))
  elseif t.value == "measure" then
    self:take()
    return self:node("measure", { of = self:expression() })
  elseif M.types[t.value] and self.version == 3 then
    local type = self:scalar_type()
    self:expect("(")
    local of = self:expression()
    self:expect(")")
    return self:node("cast", { type = type, of = of })
  end
  self:take()
  if self:accept("(") then
    return self:node("call", { name = t.value, arguments = self:list_of(")", self.expression) })
  end
  return self:node("name", { name = t.value })
end

local unary_signs = { ["-"] = true, ["!"] = true, ["~"] = true, ["+"] = true }

local function unary(self)
  local sign = self:peek().kind
  if unary_signs[sign] then
    self:take()
    return self:node("unary", { sign = sign, of = self:expression(UNARY) })
  end
  return postfix(self, primary(self))
end

-- least: the lowest level of a sign that belongs to this expression
function M:expression(least)
  least = least or 0
  self.depth = (self.depth or 0) + 1
  if self.depth > 150 then self:fail("too deep") end
  local left = unary(self)
  while true do
    local sign = self:peek().kind
    local level = self.levels[sign]
    if not level or level < least then break end
    self:take()
    local right = self:expression(level == POWER and UNARY or level + 0.25)
    if self.version == 2 and sign == "^" then sign = "**" end
    left = self:node("binary", { sign = sign, left = left, right = right })
  end
  self.depth = self.depth - 1
  return left
end

-- The arguments of a gate. What does not parse is { kind = "junk" }: gates that never use it do not mind.
function M:gate_arguments()
  local all = {}
  if self:accept(")") then return all end
  repeat
    local from, depth = self.i, self.depth
    local ok, node = pcall(self.expression, self)
    if not ok or not (self:is(",") or self:is(")")) then
      node, self.i, self.depth = { kind = "junk", at = self:peek().at }, from, depth
      local open = 0
      while open > 0 or not (self:is(",") or self:is(")")) do
        local kind = self:take().kind
        if kind == "(" then open = open + 1 elseif kind == ")" then open = open - 1 end
        if kind == ";" or kind == "end" then self:fail("arguments without end") end
      end
    end
    all[#all + 1] = node
  until not self:accept(",") or self:is(")")
  self:expect(")")
  return all
end

return M
