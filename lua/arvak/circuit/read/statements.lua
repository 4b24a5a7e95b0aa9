-- Statements from words to trees, of both versions of the language. Trees are carried out, and forgotten, one statement
-- of the outermost level at a time.
-- Invariant: what is read here is right as a text; whether it means anything is found when it is carried out.
-- A node is { kind, …, at = its place, position = for the form }.
-- SPDX-License-Identifier: Apache-2.0
local form = require "arvak.circuit.form"
local expressions = require "arvak.circuit.read.expressions"

local M = {}

local parse_statement
local parse = expressions.parse

local function node_at(scanner, kind)
  local line, column = scanner:locate(scanner.at)
  return { kind, at = scanner.base + scanner.at, position = scanner.outer or form.position(line, column) }
end

local function finish(scanner, node, after)
  scanner:expect(";", after)
  return node
end

-- ---- blocks

-- The statements in braces, which are next.
local function parse_block(scanner)
  expressions.enter(scanner)
  scanner:expect("{")
  local list = {}
  while not scanner:is("}") do
    if scanner.kind == "end" then scanner:expected("} at the end of the block") end
    list[#list + 1] = parse_statement(scanner)
  end
  scanner:next()
  expressions.leave(scanner)
  return list
end

-- A block, or one statement.
local function parse_body(scanner)
  if scanner:is("{") then return parse_block(scanner) end
  expressions.enter(scanner)
  local list = { parse_statement(scanner) }
  expressions.leave(scanner)
  return list
end

-- ---- operations

local function parse_operand(scanner)
  if scanner.kind == "physical" then
    local node = { "physical", scanner.value, at = scanner.base + scanner.at }
    scanner:next()
    return node
  end
  local at = scanner.base + scanner.at
  return expressions.indices(scanner, { "name", scanner:name("a qubit or a register of qubits"), at = at })
end

local function parse_operands(scanner)
  local list = {}
  if scanner:is(";") then return list end
  repeat list[#list + 1] = parse_operand(scanner) until not scanner:accept(",") or scanner:is(";")
  return list
end

-- The rest of a gate's application: operands and the semicolon.
local function parse_application(scanner, node, name, arguments)
  node[1], node[2], node[3] = "apply", name, arguments or {}
  node[4] = parse_operands(scanner)
  return finish(scanner, node, "or , after a qubit")
end

local function parse_measure_source(scanner)
  local node = { "measure", nil, at = scanner.base + scanner.at }
  scanner:expect("measure")
  node[2] = parse_operand(scanner)
  return node
end

-- The right side of an assignment, a declaration or a return.
local function parse_value(scanner)
  if scanner:is("measure") then return parse_measure_source(scanner) end
  if scanner:is("{") then return expressions.set(scanner) end
  local first = parse(scanner)
  if not scanner:is("++") then return first end
  local list = { first }
  while scanner:accept("++") do list[#list + 1] = parse(scanner) end
  return { "concat", list, at = first.at }
end

-- measure q; measure q -> c;
local function parse_measure(scanner)
  local node = node_at(scanner, "measure")
  node[2] = parse_measure_source(scanner)
  if scanner:accept("->") then
    local at = scanner.base + scanner.at
    node[3] = expressions.indices(scanner, { "name", scanner:name("a bit or a register of bits"), at = at })
  elseif scanner.version == 2 then
    scanner:expect("->", "and the bit that is measured into")
  end
  return finish(scanner, node, "after a measurement")
end

local function parse_reset(scanner)
  local node = node_at(scanner, "reset")
  scanner:next()
  node[2] = parse_operands(scanner)
  if #node[2] == 0 then scanner:expected("a qubit") end
  return finish(scanner, node, "after reset")
end

local function parse_barrier(scanner)
  local node = node_at(scanner, "barrier")
  scanner:next()
  node[2] = parse_operands(scanner)
  return finish(scanner, node, "after barrier")
end

-- ---- gates

local MODIFIERS = { inv = true, ctrl = true, negctrl = true, pow = true }

local function parse_modifiers(scanner)
  local list = {}
  while scanner.kind == "name" and MODIFIERS[scanner.value] do
    local modifier = { scanner.value, nil, at = scanner.base + scanner.at }
    scanner:next()
    if modifier[1] ~= "inv" and scanner:is("(") then
      local arguments = expressions.arguments(scanner)
      if #arguments ~= 1 then scanner:fail("%s takes one value", modifier[1]) end
      modifier[2] = arguments[1]
    elseif modifier[1] == "pow" then
      scanner:expected("( and the exponent of pow")
    end
    scanner:expect("@", "after a modifier")
    list[#list + 1] = modifier
    if #list > expressions.DEEPEST then scanner:fail("more than %d modifiers", expressions.DEEPEST) end
  end
  return list
end

local function parse_modified(scanner)
  local node = node_at(scanner, "apply")
  node.modifiers = parse_modifiers(scanner)
  local name = scanner:name("the name of a gate")
  local arguments = scanner:is("(") and expressions.lenient_arguments(scanner)
  return parse_application(scanner, node, name, arguments)
end

-- Names, separated by commas, up to a word that ends them.
local function parse_names(scanner, what, ends)
  local list, seen = {}, {}
  while not scanner:is(ends) do
    if scanner.kind == "name" and seen[scanner.value] then scanner:fail("%s is named twice", scanner.value) end
    list[#list + 1] = scanner:name(what)
    seen[list[#list]] = true
    if not scanner:accept(",") then break end
  end
  return list
end

local function parse_gate_head(scanner, kind, ends)
  local node = node_at(scanner, kind)
  scanner:next()
  node[2] = scanner:name("the name of the gate")
  node[3] = {}
  if scanner:accept("(") then
    node[3] = parse_names(scanner, "the name of a parameter", ")")
    scanner:expect(")", "or , after a parameter")
  end
  node[4] = parse_names(scanner, "the name of a qubit", ends)
  return node
end

local function parse_gate(scanner)
  local node = parse_gate_head(scanner, "gate", "{")
  node[5] = parse_block(scanner)
  return node
end

local function parse_opaque(scanner)
  return finish(scanner, parse_gate_head(scanner, "opaque", ";"), "or , after a qubit")
end

-- ---- declarations

-- qreg q[2]; creg c[2]; kind: "qubits" or "bits"
local function register_parser(kind)
  return function(scanner)
    local node = node_at(scanner, kind)
    scanner:next()
    node[2] = scanner:name("the name of the register")
    if scanner:accept("[") then
      node[3] = parse(scanner)
      scanner:expect("]", "after the size of a register")
    elseif scanner.version == 2 then
      scanner:expected("[ and the size of the register")
    end
    return finish(scanner, node, "after a declaration")
  end
end

-- qubit q; qubit[2] q;
local function parse_qubit(scanner)
  local node = node_at(scanner, "qubits")
  scanner:next()
  if scanner:accept("[") then
    node[3] = parse(scanner)
    scanner:expect("]", "after the size of a register")
  end
  node[2] = scanner:name("the name of the register")
  return finish(scanner, node, "after a declaration")
end

-- [const | input | output] type name [= value];
local function parse_declaration(scanner)
  local node = node_at(scanner, "declare")
  local word = scanner.value
  if word == "const" or word == "input" or word == "output" then
    node.role = word
    scanner:next()
  end
  node[2] = expressions.type(scanner)
  node.name_at = scanner.base + scanner.at
  node[3] = scanner:name("the name of the variable")
  if scanner:accept("=") then
    if node.role == "input" or node.role == "output" then scanner:fail("%s takes no value here", node[3]) end
    node[4] = parse_value(scanner)
  elseif node.role == "const" then
    scanner:expected("= and the value of the constant")
  end
  return finish(scanner, node, "after a declaration")
end

-- A statement that begins with a type: a declaration, or a cast whose value nobody uses.
local function parse_typed(scanner)
  return parse_declaration(scanner)
end

local function parse_let(scanner)
  local node = node_at(scanner, "let")
  scanner:next()
  node[2] = scanner:name("the name of the alias")
  scanner:expect("=", "after the name of the alias")
  local list = {}
  repeat
    list[#list + 1] = scanner:is("{") and expressions.set(scanner) or parse_operand(scanner)
  until not scanner:accept("++")
  node[3] = list
  return finish(scanner, node, "or ++ after a part of an alias")
end

-- ---- control

local function parse_condition(scanner)
  scanner:expect("(", "and the condition")
  local node = parse(scanner)
  scanner:expect(")", "after the condition")
  return node
end

local function parse_if(scanner)
  local node = M.if_head(scanner)
  node[3] = parse_body(scanner)
  if scanner:accept("else") then node[4] = parse_body(scanner) end
  return node
end

-- if (c == 1) operation; the condition may also be on one bit, and with other comparisons, as some exporters write.
local COMPARISONS = { ["=="] = true, ["!="] = true, ["<"] = true, ["<="] = true, [">"] = true, [">="] = true }

local function parse_if_2(scanner)
  local node = node_at(scanner, "if")
  scanner:next()
  scanner:expect("(", "and the condition")
  local at = scanner.base + scanner.at
  local left = expressions.indices(scanner, { "name", scanner:name("a register of bits"), at = at })
  local sign = scanner.value
  if scanner.kind ~= "sign" or not COMPARISONS[sign] then scanner:expected("==") end
  local sign_at = scanner.base + scanner.at
  local chain = { "chain", left, sign, nil, at = sign_at, places = { [3] = sign_at } }
  scanner:next()
  if scanner.kind ~= "integer" and scanner.kind ~= "large" then scanner:expected("a whole number from 0 on") end
  chain[4] = { "whole", scanner.value, scanner.kind, at = scanner.base + scanner.at }
  scanner:next()
  scanner:expect(")", "after the condition")
  node[2], node[3] = chain, parse_body(scanner)
  return node
end

local function parse_while(scanner)
  local node = node_at(scanner, "while")
  scanner:next()
  node[2] = parse_condition(scanner)
  node[3] = parse_body(scanner)
  return node
end

-- for int i in [0:3] …   for uint i in {1, 2} …   for float x in array …
local function parse_for(scanner)
  local node = node_at(scanner, "for")
  scanner:next()
  if scanner.kind == "name" and expressions.TYPES[scanner.value] then node[2] = expressions.type(scanner) end
  node[3] = scanner:name("the name of the loop's variable")
  scanner:expect("in", "after the loop's variable")
  if scanner:accept("[") then
    node[4] = expressions.range(scanner)
    if node[4][1] ~= "range" then scanner:expected("a range: first:last or first:step:last") end
    scanner:expect("]", "after the range")
  elseif scanner:is("{") then
    node[4] = expressions.set(scanner)
  else
    node[4] = parse(scanner)
  end
  node[5] = parse_body(scanner)
  return node
end

local function parse_case(scanner)
  local case = { values = {} }
  scanner:next()
  repeat case.values[#case.values + 1] = parse(scanner) until not scanner:accept(",")
  case.body = parse_block(scanner)
  return case
end

local function parse_switch(scanner)
  local node = node_at(scanner, "switch")
  scanner:next()
  scanner:expect("(", "and the value")
  node[2] = parse(scanner)
  scanner:expect(")", "after the value")
  scanner:expect("{", "and the cases")
  node[3] = {}
  while not scanner:accept("}") do
    if node[4] then scanner:expected("} since nothing comes after default") end
    if scanner:is("case") then
      node[3][#node[3] + 1] = parse_case(scanner)
    elseif scanner:accept("default") then
      node[4] = parse_block(scanner)
    else
      scanner:expected("case, default or }")
    end
  end
  return node
end

-- ---- subroutines

local function parse_parameter(scanner)
  local parameter = { at = scanner.base + scanner.at }
  if scanner:is("readonly") or scanner:is("mutable") or scanner:is("const") then
    parameter.access = scanner.value == "mutable" and "mutable" or "readonly"
    scanner:next()
    if not scanner:is("array") then scanner:expected("array") end
  end
  if scanner:accept("qubit") then
    parameter.qubit = true
    if scanner:accept("[") then
      parameter.size = parse(scanner)
      scanner:expect("]", "after the size of a register")
    end
  elseif scanner:is("qreg") or scanner:is("creg") then
    parameter.qubit = scanner:is("qreg")
    scanner:next()
    parameter.name = scanner:name("the name of the parameter")
    if scanner:accept("[") then
      parameter.size = parse(scanner)
      scanner:expect("]", "after the size of a register")
    end
    if not parameter.qubit then parameter.type = { "bit", parameter.size, at = parameter.at } end
    return parameter
  else
    parameter.type = expressions.type(scanner)
  end
  parameter.name = scanner:name("the name of the parameter")
  return parameter
end

local function parse_def(scanner)
  local node = node_at(scanner, "def")
  scanner:next()
  node[2] = scanner:name("the name of the subroutine")
  scanner:expect("(", "after the name of the subroutine")
  node[3] = {}
  while not scanner:is(")") do
    node[3][#node[3] + 1] = parse_parameter(scanner)
    if not scanner:accept(",") then break end
  end
  scanner:expect(")", "or , after a parameter")
  if scanner:accept("->") then node[4] = expressions.type(scanner) end
  node[5] = parse_block(scanner)
  return node
end

local function parse_return(scanner)
  local node = node_at(scanner, "return")
  scanner:next()
  if not scanner:is(";") then node[2] = parse_value(scanner) end
  return finish(scanner, node, "after return")
end

local function word_parser(kind)
  return function(scanner)
    local node = node_at(scanner, kind)
    scanner:next()
    return finish(scanner, node, "after " .. kind)
  end
end

-- ---- what has no effect

-- delay[100ns] q;
local function parse_delay(scanner)
  local node = node_at(scanner, "delay")
  scanner:next()
  scanner:expect("[", "and the time of the delay")
  node[2] = parse(scanner)
  scanner:expect("]", "after the time of the delay")
  node[3] = parse_operands(scanner)
  return finish(scanner, node, "or , after a qubit")
end

-- box { … }  box[4us] { … }
local function parse_box(scanner)
  local node = M.box_head(scanner)
  node[2] = parse_block(scanner)
  return node
end

local function parse_plain_block(scanner)
  local node = node_at(scanner, "block")
  node[2] = parse_block(scanner)
  return node
end

-- A line for other tools.
local function parse_line(scanner)
  local node = node_at(scanner, "nothing")
  scanner:seek(scanner:next_line())
  return node
end

local function refuse(scanner)
  scanner:fail("%s is not supported", scanner.value)
end

-- ---- which it is

local VERSION_2 = {
  qreg = register_parser("qubits"), creg = register_parser("bits"), gate = parse_gate, opaque = parse_opaque,
  barrier = parse_barrier, measure = parse_measure, reset = parse_reset, ["if"] = parse_if_2,
}

local VERSION_3 = {
  qreg = register_parser("qubits"), creg = register_parser("bits"), qubit = parse_qubit,
  gate = parse_gate, opaque = parse_opaque, def = parse_def,
  barrier = parse_barrier, nop = parse_barrier, measure = parse_measure, reset = parse_reset,
  const = parse_declaration, input = parse_declaration, output = parse_declaration, let = parse_let,
  ["if"] = parse_if, ["while"] = parse_while, ["for"] = parse_for, switch = parse_switch,
  ["return"] = parse_return, ["break"] = word_parser("break"), continue = word_parser("continue"),
  ["end"] = word_parser("end"), delay = parse_delay, box = parse_box, pragma = parse_line,
  inv = parse_modified, ctrl = parse_modified, negctrl = parse_modified, pow = parse_modified,
  defcal = refuse, extern = refuse, cal = refuse, defcalgrammar = refuse,
}
for name in pairs(expressions.TYPES) do VERSION_3[name] = parse_typed end

local ASSIGNMENTS = {
  ["="] = true, ["+="] = true, ["-="] = true, ["*="] = true, ["/="] = true, ["%="] = true, ["**="] = true,
  ["&="] = true, ["|="] = true, ["^="] = true, ["<<="] = true, [">>="] = true, ["~="] = true,
}

local function parse_assignment(scanner, node, name, at)
  node[1] = "assign"
  node[2] = expressions.indices(scanner, { "name", name, at = at })
  local sign = scanner.value
  if scanner.kind ~= "sign" or not ASSIGNMENTS[sign] then scanner:expected("= or another assignment") end
  scanner:next()
  node[3], node[4] = #sign > 1 and string.sub(sign, 1, -2), parse_value(scanner)
  return finish(scanner, node, "or an operator")
end

-- A statement that begins with a name that is no word of the language.
local function parse_named(scanner)
  local node = node_at(scanner, "apply")
  local at, name = scanner.base + scanner.at, scanner:name(string.format("a statement of OpenQASM %d", scanner.version))
  if scanner:is("(") then return parse_application(scanner, node, name, expressions.lenient_arguments(scanner)) end
  if scanner.version == 3 and scanner.kind == "sign" and (scanner:is("[") or ASSIGNMENTS[scanner.value]) then
    return parse_assignment(scanner, node, name, at)
  end
  return parse_application(scanner, node, name)
end

local function parse_sign(scanner)
  if scanner:is(";") then
    local node = node_at(scanner, "nothing")
    scanner:next()
    return node
  end
  if scanner.version == 3 then
    if scanner:is("@") and string.find(scanner.body, "^[%a_]", scanner.pos) then return parse_line(scanner) end
    if scanner:is("#") and string.find(scanner.body, "^pragma", scanner.pos) then return parse_line(scanner) end
    if scanner:is("{") then return parse_plain_block(scanner) end
  end
  scanner:expected(string.format("a statement of OpenQASM %d", scanner.version))
end

-- The statement that comes next, which is taken.
function parse_statement(scanner)
  if scanner.kind ~= "name" then return parse_sign(scanner) end
  if scanner.value == "OPENQASM" then scanner:fail("the version belongs at the beginning of the text") end
  if scanner.value == "include" then scanner:fail("include is not possible inside of a block") end
  local special = (scanner.version == 2 and VERSION_2 or VERSION_3)[scanner.value]
  return (special or parse_named)(scanner)
end
M.statement = parse_statement

-- ---- parts of statements, for those who carry out a block while it is read

-- gate name(parameters) qubits; the block is next.
function M.gate_head(scanner) return parse_gate_head(scanner, "gate", "{") end

-- if (condition); the statement or the block is next.
function M.if_head(scanner)
  local node = node_at(scanner, "if")
  scanner:next()
  node[2] = parse_condition(scanner)
  return node
end

-- box or box[time]; the block is next.
function M.box_head(scanner)
  local node = node_at(scanner, "block")
  scanner:next()
  if scanner:accept("[") then
    node.time = parse(scanner)
    scanner:expect("]", "after the time of the box")
  end
  return node
end

-- Whether a statement that begins with this name is no application of a gate, whatever gates there are.
function M.is_word(version, name)
  return (version == 2 and VERSION_2 or VERSION_3)[name] ~= nil or name == "OPENQASM" or name == "include"
end

return M
