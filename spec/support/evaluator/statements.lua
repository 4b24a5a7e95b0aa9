-- The slow evaluator's statements: a program to a tree.
-- SPDX-License-Identifier: Apache-2.0
local expressions = require "spec.support.evaluator.expressions"

local M = {}
local P = expressions
local readers = {}

local function block_or_one(p)
  if p:is("{") then return p:block() end
  return { p:statement() }
end

function P:block()
  self:expect("{")
  local all = {}
  while not self:accept("}") do all[#all + 1] = self:statement() end
  return all
end

local function name_of(p) return p:take("name").value end

-- [n] behind qubit, or behind the name of a register
local function size(p)
  if not p:accept("[") then return nil end
  local n = p:expression()
  p:expect("]")
  return n
end

local function register2(kind)
  return function(p)
    local name = name_of(p)
    p:expect("[")
    local n = p:expression()
    p:expect("]")
    p:expect(";")
    return p:node(kind, { name = name, size = n })
  end
end

readers.qreg, readers.creg = register2("qubits"), register2("bits_declared")

function readers.qubit(p)
  local n = size(p)
  local name = name_of(p)
  p:expect(";")
  return p:node("qubits", { name = name, size = n })
end

function readers.include(p)
  local name = p:take("string").value
  p:expect(";")
  if name ~= "stdgates.inc" and name ~= "qelib1.inc" then p:fail("an include that the evaluator does not know") end
  return p:node("nothing", {})
end

local function gate_parameters(p)
  if not p:accept("(") then return {} end
  return p:list_of(")", name_of)
end

function readers.gate(p)
  local name = name_of(p)
  local parameters = gate_parameters(p)
  local qubits = {}
  while not p:is("{") do
    qubits[#qubits + 1] = name_of(p)
    if not p:accept(",") then break end
  end
  return p:node("gate", { name = name, parameters = parameters, qubits = qubits, body = p:block() })
end

function readers.opaque(p)
  local name = name_of(p)
  gate_parameters(p)
  while not p:accept(";") do
    name_of(p)
    if not p:is(";") then p:expect(",") end
  end
  return p:node("gate", { name = name, is_opaque = true })
end

local function operands(p)
  local all = {}
  if not p:is(";") then
    repeat all[#all + 1] = p:expression() until not p:accept(",") or p:is(";")
  end
  p:expect(";")
  return all
end

function readers.barrier(p) return p:node("barrier", { operands = operands(p) }) end
readers.nop = readers.barrier
function readers.reset(p) return p:node("reset", { operands = operands(p) }) end

function readers.delay(p)
  p:expect("[")
  p:expression()
  p:expect("]")
  return p:node("barrier", { operands = operands(p) })
end

function readers.box(p)
  if p:accept("[") then
    p:expression()
    p:expect("]")
  end
  return p:node("block", { body = p:block() })
end

function readers.measure(p)
  local of = p:expression()
  local target = p:accept("->") and p:expression() or nil
  p:expect(";")
  return p:node("measure_to", { of = of, target = target })
end

readers["if"] = function(p)
  p:expect("(")
  local test = p:expression()
  p:expect(")")
  local body = block_or_one(p)
  local other = p.version == 3 and p:accept("else") and block_or_one(p) or nil
  return p:node("if", { test = test, body = body, other = other })
end

readers["for"] = function(p)
  local type = P.types[p:peek().value] and p:scalar_type() or { base = "int" }
  local name = name_of(p)
  p:expect("in")
  local over
  if p:accept("[") then
    over = p:index()
    p:expect("]")
  else
    over = p:expression()
  end
  return p:node("for", { type = type, name = name, over = over, body = block_or_one(p) })
end

readers["while"] = function(p)
  p:expect("(")
  local test = p:expression()
  p:expect(")")
  return p:node("while", { test = test, body = block_or_one(p) })
end

function readers.switch(p)
  p:expect("(")
  local of = p:expression()
  p:expect(")")
  p:expect("{")
  local cases, default = {}, nil
  while not p:accept("}") do
    if p:accept("default") then
      default = p:block()
    else
      p:expect("case")
      local labels = {}
      repeat labels[#labels + 1] = p:expression() until not p:accept(",")
      cases[#cases + 1] = { labels = labels, body = p:block() }
    end
  end
  return p:node("switch", { of = of, cases = cases, default = default })
end

for _, word in ipairs { "break", "continue", "end" } do
  readers[word] = function(p)
    p:expect(";")
    return p:node("leave", { how = word })
  end
end

readers["return"] = function(p)
  local of = not p:is(";") and p:expression() or nil
  p:expect(";")
  return p:node("return", { of = of })
end

local function array_type(p)
  p:expect("array")
  p:expect("[")
  local element = p:scalar_type()
  while p:accept(",") do
    if p:accept("#") then
      p:take("name")
      p:expect("=")
    end
    p:expression()
  end
  p:expect("]")
  return { base = "array", element = element }
end

local function argument(p)
  if p:accept("qubit") or p:accept("qreg") then
    local n = size(p)
    local name = name_of(p)
    return { qubits = true, size = n or size(p), name = name }
  end
  local mutable = p:accept("mutable")
  if mutable or p:accept("readonly") or p:is("array") then
    return { type = array_type(p), mutable = mutable, name = name_of(p) }
  end
  return { type = p:scalar_type(), name = name_of(p) }
end

function readers.def(p)
  local name = name_of(p)
  p:expect("(")
  local arguments = p:list_of(")", argument)
  local type
  if p:accept("->") then type = p:scalar_type() end
  return p:node("def", { name = name, arguments = arguments, type = type, body = p:block() })
end

function readers.let(p)
  local name = name_of(p)
  p:expect("=")
  local of = p:expression()
  p:expect(";")
  return p:node("let", { name = name, of = of })
end

local function declaration(p, flags)
  local type = p:is("array") and array_type(p) or p:scalar_type()
  local name = name_of(p)
  local value = p:accept("=") and p:expression() or nil
  p:expect(";")
  return p:node("declare", { type = type, name = name, value = value, is_const = flags == "const",
    is_input = flags == "input" })
end

for _, word in ipairs { "const", "input", "output" } do
  readers[word] = function(p) return declaration(p, word) end
end

for _, word in ipairs { "defcal", "cal", "extern", "defcalgrammar" } do
  readers[word] = function(p) p:fail(word .. " has no meaning here") end
end

local only3 = { "nop", "qubit", "delay", "box", "for", "while", "switch", "break", "continue", "end", "return",
  "def", "let", "const", "input", "output", "defcal", "cal", "extern", "defcalgrammar" }
local readers2 = {}
for word, read in pairs(readers) do readers2[word] = read end
for _, word in ipairs(only3) do readers2[word] = nil end

-- ---- calls of gates, and what begins with a name

local modifiers = { ctrl = true, negctrl = true, inv = true, pow = true }

local function read_modifiers(p)
  local all = {}
  while p.version == 3 and modifiers[p:peek().value] and (p:peek(1).kind == "@" or p:peek(1).kind == "(") do
    local how = p:take().value
    local argument_node
    if p:accept("(") then
      argument_node = p:expression()
      p:expect(")")
    end
    p:expect("@")
    all[#all + 1] = { how = how, argument = argument_node }
  end
  return all
end

-- After the arguments of a gate come operands: a name, or the end of the statement.
local function is_gate_call(p)
  local i, open = p.i + 1, 0
  if p.list[i].kind == "(" then
    repeat
      local kind = p.list[i].kind
      if kind == "(" then open = open + 1 elseif kind == ")" then open = open - 1 end
      if kind == "end" then return false end
      i = i + 1
    until open == 0
    if p.list[p.i].value == "gphase" or p.list[p.i].value == "global_phase" then return true end
  end
  local kind = p.list[i].kind
  return kind == "name" or (kind == "{" and p.list[i + 1].kind == "name")
end

local function gate_call(p, mods)
  local name = name_of(p)
  local arguments = p:accept("(") and p:gate_arguments() or {}
  return p:node("apply", { name = name, modifiers = mods, arguments = arguments, operands = operands(p) })
end

local assign_signs = { ["="] = "", ["+="] = "+", ["-="] = "-", ["*="] = "*", ["/="] = "/", ["%="] = "%", ["|="] = "|",
  ["&="] = "&", ["^="] = "^", ["<<="] = "<<", [">>="] = ">>", ["**="] = "**" }

local function other_statement(p)
  local mods = read_modifiers(p)
  if #mods > 0 or is_gate_call(p) then return gate_call(p, mods) end
  local target = p:expression()
  local sign = assign_signs[p:peek().kind]
  if sign then
    p:take()
    local value = p:expression()
    p:expect(";")
    if sign ~= "" then value = p:node("binary", { sign = sign, left = target, right = value }) end
    return p:node("assign", { target = target, value = value })
  end
  p:expect(";")
  return p:node("evaluate", { of = target })
end

function P:statement()
  local t = self:peek()
  self.deep = (self.deep or 0) + 1
  if self.deep > 150 then self:fail("too deep") end
  self.count = (self.count or 0) + 1
  local order = self.count   -- of the text: a gate's body knows the gates that stand before it
  local read = t.kind == "name" and (self.version == 2 and readers2 or readers)[t.value]
  local node
  if self:is("{") then
    node = self:node("block", { body = self:block() })
  elseif read then
    self:take()
    node = read(self)
  elseif self.version == 3 and (P.types[t.value] or t.value == "array") and self:peek(1).kind ~= "(" then
    node = declaration(self)
  elseif self:accept(";") then
    node = self:node("nothing", {})
  elseif t.kind == "name" then
    node = other_statement(self)
  else
    self:fail("expected a statement, got " .. tostring(t.value))
  end
  self.deep = self.deep - 1
  node.order = order
  return node
end

local function find_version(text)
  local version = text:match("OPENQASM%s+(%d+)")
  if version then return tonumber(version) end
  local bare = text:gsub("/%*.-%*/", ""):gsub("//[^\n]*", "")
  local first = math.min(bare:find("%f[%w_]qreg%f[^%w_]") or math.huge, bare:find("%f[%w_]creg%f[^%w_]") or math.huge)
  local qubit = math.min(bare:find("%f[%w_]qubit%f[^%w_]") or math.huge, bare:find("%f[%w_]bit%f[^%w_]") or math.huge)
  local modifier = bare:find("@", 1, true) or math.huge   -- which version 2 does not have
  return first < math.min(qubit, modifier) and 2 or 3
end

-- A program's statements and version.
function M.read(text)
  local version = find_version(text)
  if version ~= 2 and version ~= 3 then error({ evaluator = "version " .. tostring(version) }, 0) end
  local p = P.new(text:gsub("^\xef\xbb\xbf", ""), version)
  if p:accept("OPENQASM") then
    p:take("number")
    p:expect(";")
  end
  local all = {}
  while p:peek().kind ~= "end" do all[#all + 1] = p:statement() end
  return all, version
end

return M
