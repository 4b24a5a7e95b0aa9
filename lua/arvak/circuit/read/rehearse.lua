-- What is not carried out is checked all the same: branches whose condition is known not to hold, bodies of loops
-- without a round, what follows a way out, subroutines that nobody calls. Names, numbers of arguments, types and
-- indices are held against what is declared there, by the same functions that carry statements out, on an environment
-- that keeps nothing.
-- Invariant: nothing that is rehearsed changes the form, and nothing is refused because of a variable's or a constant's
-- value: the condition that keeps a statement from being carried out may depend on it.
-- SPDX-License-Identifier: Apache-2.0
local applications = require "arvak.circuit.read.applications"
local control = require "arvak.circuit.read.control"
local environment = require "arvak.circuit.read.environment"
local evaluate = require "arvak.circuit.read.evaluate"
local execute = require "arvak.circuit.read.execute"
local fault = require "arvak.circuit.read.fault"
local form = require "arvak.circuit.form"
local functions = require "arvak.circuit.read.functions"
local operands = require "arvak.circuit.read.operands"
local values = require "arvak.circuit.read.values"

local M = {}

-- ---- values that nobody knows

local UNKNOWN = { "var", 0 }
local MEASURABLE = { int = true, uint = true, bool = true, bit = true }

local function every_bit(_, i) return math.type(i) and UNKNOWN or nil end

-- A value of a type, as if it had been measured.
local unknown
function unknown(kind)
  if MEASURABLE[kind.kind] then return UNKNOWN end
  if kind.kind == "bits" then return setmetatable({ n = kind.n }, { __index = every_bit }) end
  if kind.kind ~= "array" then return values.MIXED end
  local element, count = unknown(kind.base), 1
  for _, size in ipairs(kind.dims) do count = count * size end
  return setmetatable({}, { __index = function() return element end, __len = function() return count end })
end

-- Calls a function; nothing if it needs a value that is not known.
local function try(run, ...)
  local ok, a, b = pcall(run, ...)
  if ok then return a, b end
  if not fault.is(a) or not (a.is_unknown or a.input) then error(a, 0) end
end

-- ---- the environment

local Dry = {}

local lookup_known = environment.lookup

local function hidden(binding)
  local copy = {}
  for key, value in pairs(binding) do copy[key] = value end
  copy.value = unknown(binding.type)
  return copy
end

-- What a name stands for, without the value.
function Dry:lookup(name)
  local binding = lookup_known(self, name)
  if not binding or binding.kind == "qubits" then return binding end
  if binding.is_unknown then fault.unknown(self.statement.at, "%s is not known", name) end
  if binding.kind == "alias" then
    self:charge(self.statement.at, #binding.refs // 4)
    local copy = { kind = "alias", refs = {}, scalar = binding.scalar, name = binding.name }
    for i, ref in ipairs(binding.refs) do copy.refs[i] = { hidden(ref[1]), ref[2] } end
    return copy
  end
  if binding.type.kind == "symbol" then return binding end
  return hidden(binding)
end

-- Numbers of its own for the machine's qubits: they are not counted.
function Dry.physical_qubit(_, number) return -1 - number end

local function nothing() end
Dry.emit, Dry.set, Dry.leave = nothing, nothing, nothing
Dry.rehearse = { expression = nothing }   -- what is rehearsed is looked at in all its parts

-- The type of a node, by what is known; nil if that is not enough.
local function type_of(dry, node)
  local kind = try(evaluate.type, dry, node)
  if kind then return kind end
  local ok, known = pcall(evaluate.type, setmetatable({ lookup = lookup_known }, { __index = dry }), node)
  if ok then return known end
  if not fault.is(known) then error(known, 0) end
end

-- What a call comes to: a value of the subroutine's type.
function Dry.call_subroutine(dry, subroutine, _, node)
  if not subroutine[4] then return nil end
  local kind = type_of(dry, subroutine[4])
  if not kind then fault.unknown(node.at, "the type of %s is not known", subroutine[2]) end
  return unknown(kind), kind
end

-- An environment beside another, in which nothing is kept but names.
local function dry_of(env)
  local scratch = form.new(env.version)
  scratch.qubit_count, scratch.bit_count = env.form.qubit_count, env.form.bit_count
  local own = { form = scratch, used = {}, block = form.block(), physical = { base = 0, count = 0 } }
  return setmetatable(own, { __index = function(_, key)
    local value = Dry[key]
    if value == nil then value = env[key] end
    return value
  end })
end

-- ---- expressions

local resolve

local function resolve_list(dry, list)
  for _, node in ipairs(list) do resolve(dry, node) end
end

-- The arguments of a subroutine that is called, against its parameters.
local function check_call(dry, subroutine, arguments, node)
  if dry.gate then fault.raise(node.at, "a subroutine in a gate, expected gates only") end
  control.check_count(subroutine, arguments, node)
  for i, parameter in ipairs(subroutine[3]) do
    local argument = arguments[i]
    if argument[1] == "unreadable" then error(argument[2], 0) end
    if parameter.qubit then
      try(operands.qubits, dry, argument)
    else
      M.value(dry, argument)
    end
  end
end

local NODES = {}   -- kinds of nodes that are not looked into as others are

function NODES.name(dry, node) try(evaluate.evaluate, dry, node) end

function NODES.call(dry, node)
  local subroutine = dry.subroutines[node[2]]
  if subroutine then return check_call(dry, subroutine, node[3], node) end
  if not functions.exists(node[2], dry.version) then fault.raise(node.at, "there is no function %s", node[2]) end
  functions.check_count(node[2], #node[3], node.at)
  resolve_list(dry, node[3])
end

function NODES.unreadable(_, node) error(node[2], 0) end

function NODES.measure(dry, node) try(operands.qubits, dry, node[2]) end

-- Refuses what an expression names and is not there.
function resolve(dry, node)
  if type(node) ~= "table" then return end
  local check = NODES[node[1]]
  if check then return check(dry, node) end
  local is_list = type(node[1]) == "table"
  for i = is_list and 1 or 2, math.max(#node, 4) do resolve(dry, node[i]) end
end

-- The value and the type of an expression; nothing where they are not known.
function M.value(dry, node)
  resolve(dry, node)
  if node[1] ~= "measure" and node[1] ~= "set" and node[1] ~= "range" then
    return try(evaluate.evaluate, dry, node)
  end
end

-- ---- statements

local KINDS = {}   -- those that are not carried out as they are
local run

local function run_list(dry, list)
  for _, node in ipairs(list) do run(dry, node) end
end

local function run_block(dry, list)
  dry:push_scope()
  run_list(dry, list or {})
  dry:pop_scope()
end

local function check_operands(dry, list)
  for _, operand in ipairs(list) do
    if operand[1] == "index" then resolve(dry, operand[3]) end
    try(operands.qubits, dry, operand)
  end
end

function KINDS.apply(dry, node)
  local subroutine = #node[4] == 0 and not node.modifiers and dry.subroutines[node[2]]
  if subroutine then return check_call(dry, subroutine, node[3], node) end
  for _, modifier in ipairs(node.modifiers or {}) do resolve(dry, modifier[2]) end
  try(execute.carry_out, dry, node)
  applications.visit_arguments(dry, node, function(argument) resolve(dry, argument) end)
  check_operands(dry, node[4])
end

function KINDS.block(dry, node)
  if node.time then M.value(dry, node.time) end
  run_block(dry, node[2])
end

KINDS["if"] = function(dry, node)
  resolve(dry, node[2])
  try(evaluate.boolean, dry, node[2])
  run_block(dry, node[3])
  run_block(dry, node[4])
end

function KINDS.switch(dry, node)
  M.value(dry, node[2])
  for _, case in ipairs(node[3]) do
    for _, label in ipairs(case.values) do M.value(dry, label) end
    run_block(dry, case.body)
  end
  run_block(dry, node[4])
end

-- A loop's body, with its variable.
local function loop(dry, list, bind)
  dry:push_exit("break")
  dry:push_exit("continue")
  dry:push_scope()
  if bind then bind() end
  run_block(dry, list)
  dry:pop_scope()
  dry:pop_exit()
  dry:pop_exit()
end

KINDS["for"] = function(dry, node)
  M.value(dry, node[4])
  if node[4][1] == "range" then try(evaluate.range, dry, node[4]) end
  local kind = node[2] and type_of(dry, node[2]) or not node[2] and values.INT or nil
  loop(dry, node[5], function()
    dry:bind(node[3], { kind = "value", type = kind, is_unknown = not kind, writable = true }, node.at)
  end)
end

KINDS["while"] = function(dry, node)
  resolve(dry, node[2])
  try(evaluate.boolean, dry, node[2])
  loop(dry, node[3])
end

-- A declaration; the name is declared also where its value or its size is not known.
local function declare(place, add)
  return function(dry, node)
    for i = 2, 4 do
      if i ~= place then resolve(dry, node[i]) end
    end
    try(execute.carry_out, dry, node)
    if not dry.scope.names[node[place]] then dry:bind(node[place], add(dry, node), node.name_at or node.at) end
  end
end

KINDS.declare = declare(3, function(dry, node)
  local kind = type_of(dry, node[2])
  local is_const = node.role == "const"
  return { kind = "value", type = kind, is_unknown = not kind, const = is_const, writable = not is_const }
end)

local function add_unknown() return { kind = "value", is_unknown = true } end

KINDS.qubits, KINDS.bits = declare(2, add_unknown), declare(2, add_unknown)

function KINDS.let(dry, node)
  try(execute.carry_out, dry, node)
  if not dry.scope.names[node[2]] then dry:bind(node[2], add_unknown(), node.at) end
end

function KINDS.gate(dry, node)
  applications.define(dry, node, function() run_list(dry, node[5]) end)
end

function KINDS.assign(dry, node)
  if node[2][1] == "index" then resolve(dry, node[2][3]) end
  resolve(dry, node[4])
  try(execute.carry_out, dry, node)
end

-- What is carried out as it is, on an environment that keeps nothing.
local function carry_out(dry, node) try(execute.carry_out, dry, node) end
for _, kind in ipairs { "reset", "barrier", "measure" } do
  KINDS[kind] = function(dry, node)
    check_operands(dry, kind == "measure" and { node[2][2] } or node[2])
    if kind == "measure" and node[3] then try(operands.bits, dry, node[3]) end
    carry_out(dry, node)
  end
end

function KINDS.delay(dry, node)
  M.value(dry, node[2])
  check_operands(dry, node[3])
  carry_out(dry, node)
end

KINDS["return"] = function(dry, node)
  resolve(dry, node[2])
  carry_out(dry, node)
end

function run(dry, node)
  execute.check_place(dry, node)
  dry:charge(node.at)
  dry.statement = node
  local check = KINDS[node[1]] or carry_out
  check(dry, node)
end

-- ---- for those who carry out

-- Gives back what the bounds have been used for.
local function finish(env, dry) env.steps = math.max(env.steps, dry.steps) end

-- Returns a function that checks statements, one after the other. is_inner: in a scope of their own.
function M.start(env, is_inner)
  local dry = dry_of(env)
  if is_inner then dry:push_scope() end
  return function(node)
    run(dry, node)
    finish(env, dry)
  end
end

-- Checks a list of statements from one on, once, in a scope of its own.
function M.list(env, list, from)
  if (list.checked_from or math.huge) <= from then return end
  list.checked_from = from
  local check = M.start(env, true)
  for i = from, #list do check(list[i]) end
end

function M.block(env, list) M.list(env, list, 1) end

-- Checks a statement, once.
function M.statement(env, node)
  if node.is_checked then return end
  node.is_checked = true
  M.start(env, true)(node)
end

-- Checks an expression whose value nobody needs, once.
function M.expression(env, node)
  if node.is_checked then return end
  node.is_checked = true
  local dry = dry_of(env)
  dry.statement = env.statement or node
  M.value(dry, node)
  finish(env, dry)
end

-- Checks a case of a switch that it is not.
function M.case(env, case)
  for _, label in ipairs(case.values) do M.expression(env, label) end
  M.block(env, case.body)
end

-- ---- subroutines that were not called

local FIRST_PLACEHOLDER = -2000000   -- of qubits that a subroutine would be given

local function qubits_of(dry, parameter)
  local size = parameter.size and try(evaluate.integer, dry, parameter.size)
  if parameter.size and not size then return add_unknown() end
  local list = {}
  dry:charge(parameter.at, size)
  for i = 1, size or 1 do
    list[i] = FIRST_PLACEHOLDER - dry.placeholders
    dry.placeholders = dry.placeholders + 1
  end
  return { kind = "qubits", list = list, scalar = not parameter.size }
end

local function argument_of(dry, parameter)
  if parameter.qubit then return qubits_of(dry, parameter) end
  local kind = not parameter.type[4] and type_of(dry, parameter.type)
  local is_readonly = parameter.access == "readonly"
  return { kind = "value", type = kind, is_unknown = not kind, const = is_readonly or nil, writable = not is_readonly }
end

local function check_subroutine(env, node)
  local dry = dry_of(env)
  local calls = dry.calls
  dry.scope, dry.statement, dry.placeholders = { names = {}, outer = dry.globals }, node, 0
  calls[1] = { subroutine = node, name = node[2], kind = node[4] and type_of(dry, node[4]) }
  calls[1].result = { kind = "value", type = calls[1].kind }
  for _, parameter in ipairs(node[3]) do
    dry:bind(parameter.name, argument_of(dry, parameter), parameter.at)
  end
  dry:push_exit("return")
  run_block(dry, node[5])
  dry:pop_exit()
  calls[1] = nil
  finish(env, dry)
end

-- Checks the bodies of all subroutines that were not called.
function M.subroutines(env)
  local list = {}
  for _, node in pairs(env.subroutines) do
    if not env.called[node] then list[#list + 1] = node end
  end
  table.sort(list, function(a, b) return a.at < b.at end)
  for _, node in ipairs(list) do check_subroutine(env, node) end
end

return M
