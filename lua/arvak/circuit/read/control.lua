-- Conditions, loops and subroutines. What is known before the shots begin is decided here: loops are unrolled and
-- subroutines inlined. Conditions on measured values become operations of the form.
-- Invariant: everything that follows a way out (break, continue, return, end) under a condition is carried out only if
-- that way was not taken.
-- SPDX-License-Identifier: Apache-2.0
local evaluate = require "arvak.circuit.read.evaluate"
local assignments = require "arvak.circuit.read.assignments"
local fault = require "arvak.circuit.read.fault"
local operands = require "arvak.circuit.read.operands"
local operators = require "arvak.circuit.read.operators"
local values = require "arvak.circuit.read.values"

local M = {}

local MOST_ROUNDS = 100    -- of a loop whose condition depends on measured values
local DEEPEST = 100        -- calls within each other
local STEPS_OF_CALL = 5    -- which takes as long as so many steps

local run_statement   -- set by execute.lua

function M.set_runner(runner) run_statement = runner end

-- ---- lists of statements

-- Carries out statements from one on. After a way out that may have been taken, the rest under that condition.
local function run_list(env, list, from)
  for i = from, #list do
    run_statement(env, list[i])
    if env.exit_used then
      local alive = env:is_alive(list[i].at)
      if alive == false then return env.rehearse.list(env, list, i + 1) end
      if alive ~= true then
        if i < #list then env:while_alive(alive, list[i], function() run_list(env, list, i + 1) end) end
        return
      end
    end
  end
end

-- Carries out a block in a scope of its own.
function M.run_block(env, list)
  env:push_scope()
  run_list(env, list, 1)
  env:pop_scope()
end
local run_block = M.run_block
M.run_list = run_list

-- ---- conditions

M["if"] = function(env, node)
  local test = evaluate.boolean(env, node[2])
  if type(test) == "boolean" then
    local taken, other = node[test and 3 or 4], node[test and 4 or 3]
    if other then env.rehearse.block(env, other) end
    return taken and run_block(env, taken)
  end
  env:branch(test, node, function() run_block(env, node[3]) end, node[4] and function() run_block(env, node[4]) end)
end

-- Whether a case's values match: a boolean or an expression.
local function matches(env, case, value, kind)
  local test = false
  for _, label in ipairs(case.values) do
    local other, other_kind = evaluate.evaluate(env, label)
    other, other_kind = values.integer(other, other_kind, label.at)
    local equal = operators.compare("==", value, kind, other, other_kind, label.at)
    test = operators.both("||", test, equal, label.at)
  end
  return test
end

-- The cases that may be the one: { test, body }, the last without a test, which is what the others leave.
local function possible_cases(env, node, value, kind)
  local list, is_found = {}, false
  for _, case in ipairs(node[3]) do
    local test = not is_found and matches(env, case, value, kind)
    if test then
      list[#list + 1] = { test = test ~= true and test, body = case.body }
    else
      env.rehearse.case(env, case)
    end
    is_found = is_found or test == true
  end
  if not is_found then
    list[#list + 1] = { body = node[4] or {} }
  elseif node[4] then
    env.rehearse.block(env, node[4])
  end
  return list
end

local CHAIN = 50   -- cases that are decided one after the other; of more, halves

-- Whether it is one of the cases from first to last.
local function is_one_of(env, cases, first, last, node)
  local test = cases[first].test
  for i = first + 1, last do
    test = operators.both("||", test, cases[i].test, node.at)
    if (i - first) % CHAIN == 0 then test = env:freeze(test, values.BOOL, "switch", node) end
  end
  return test
end

-- Carries out the case of those from first to last that it is.
local function run_cases(env, node, cases, first, last)
  if first == last then return run_block(env, cases[first].body) end
  local middle = last - first <= CHAIN and first or (first + last) // 2
  env:branch(is_one_of(env, cases, first, middle, node), node,
    function() run_cases(env, node, cases, first, middle) end,
    function() run_cases(env, node, cases, middle + 1, last) end)
end

function M.switch(env, node)
  local value, kind = evaluate.evaluate(env, node[2])
  value, kind = values.integer(value, kind, node[2].at)
  local cases = possible_cases(env, node, env:freeze(value, kind, "switch", node), kind)
  run_cases(env, node, cases, 1, #cases)
end

-- ---- loops

local LEAVES = { ["break"] = true, continue = true, ["return"] = true, ["end"] = true }
local BODIES = { ["if"] = { 3, 4 }, ["for"] = { 5 }, ["while"] = { 3 }, block = { 2 } }   -- where a node has its lists
local EMITS = { apply = true, measure = true, reset = true }

-- Whether a statement of a list leads out of the loop around it, or to its next round.
local function may_leave(list)
  for _, node in ipairs(list or {}) do
    if LEAVES[node[1]] or node[1] == "switch" then return true end
    for _, place in ipairs(BODIES[node[1]] or {}) do
      if may_leave(node[place]) then return true end
    end
  end
  return false
end

local MANY = 10000   -- rounds of a loop that are worth a look at its body

-- Refuses a loop at once whose rounds, all of them, come to too much. Subroutines may hold end.
local function check_rounds(env, node, rounds)
  if rounds < MANY or next(env.subroutines) or may_leave(node[5]) then return end
  local operations = 0
  for _, statement in ipairs(node[5]) do operations = operations + (EMITS[statement[1]] and rounds or 0) end
  env:expect(node.at, rounds, operations)
end

-- Runs a loop's body once. "continue" leads here.
local function run_round(env, list)
  local exits = env.exits
  local exit = env.spare_exit
  if not exit or exit.depth ~= env.depth then exit = env:new_exit("continue") end
  env.spare_exit = nil
  exits[#exits + 1] = exit
  run_block(env, list)
  exits[#exits] = nil
  if exit.value == true then env.spare_exit = exit end
end

local function round_with(env, node, value, kind)
  env:push_scope()
  env:bind(node[3], { kind = "value", type = kind, value = value, writable = true }, node.at)
  run_round(env, node[5])
  env:pop_scope()
end

-- One round of a for loop, if the program is still alive; under that condition if nobody knows. Returns whether it may
-- have been run.
local function loop_round(env, node, value, kind)
  env:charge(node.at, 2)
  local alive = env:is_alive(node.at)
  if alive == true then
    round_with(env, node, value, kind)
  elseif alive then
    env:while_alive(alive, node, function() round_with(env, node, value, kind) end)
  end
  return alive ~= false
end

local function integer_type(env, node)
  local kind = node[2] and evaluate.type(env, node[2]) or values.INT
  return kind
end

-- Each kind of loop returns whether it has a round.
local function for_range(env, node)
  local first, last, step = evaluate.range(env, node[4])
  local kind = integer_type(env, node)
  check_rounds(env, node, (last - first) / step + 1)
  for i = first, last, step do
    local value = values.convert(i, values.INT, kind, node.at)
    if not loop_round(env, node, value, kind) then break end
  end
  return (last - first) / step >= 0
end

local function for_set(env, node)
  local kind = integer_type(env, node)
  for _, member in ipairs(node[4][2]) do
    local value, value_kind = evaluate.evaluate(env, member)
    value = values.convert(value, value_kind, kind, member.at)
    if not loop_round(env, node, value, values.kept_type(value, kind)) then break end
  end
  return #node[4][2] > 0
end

-- The members of an array or a register, as they were when the loop began.
local function for_members(env, node)
  local list, list_kind = evaluate.evaluate(env, node[4])
  local is_bits = list_kind.kind == "bits"
  if not is_bits and (list_kind.kind ~= "array" or #list_kind.dims > 1) then
    fault.raise(node[4].at, "a loop over %s, expected a range, a set, an array or a register", list_kind.name)
  end
  local member_kind = is_bits and values.BIT or list_kind.base
  local kind = node[2] and evaluate.type(env, node[2]) or member_kind
  list = assignments.keep(env, list, list_kind, node[3], node)
  for i = is_bits and 0 or 1, is_bits and list.n - 1 or #list do
    local value = values.convert(list[i], member_kind, kind, node.at)
    if not loop_round(env, node, env:freeze(value, kind, node[3], node), kind) then break end
  end
  return true
end

M["for"] = function(env, node)
  env:push_exit("break")
  local go = node[4][1] == "range" and for_range or node[4][1] == "set" and for_set or for_members
  local has_round = go(env, node)
  env:pop_exit()
  if not has_round then env.rehearse.statement(env, node) end
end

local while_rounds

-- Goes on with a loop after a round, if the program is still alive.
local function while_next(env, node, round)
  local alive = env:is_alive(node.at)
  if alive == true then return true end
  if alive then env:while_alive(alive, node, function() while_rounds(env, node, round) end) end
  return false
end

function while_rounds(env, node, round)
  local is_run = round > 0
  while true do
    env:charge(node.at)
    local test = evaluate.boolean(env, node[2])
    if test == false then return is_run or env.rehearse.statement(env, node) end
    is_run = true
    if test ~= true or round > 0 then round = round + 1 end
    if round > MOST_ROUNDS then
      fault.raise(node.at, "a loop over measured values that has no constant bound (%d rounds were not enough)",
        MOST_ROUNDS)
    end
    if test ~= true then
      return env:branch(test, node, function()
        run_round(env, node[3])
        if while_next(env, node, round) then while_rounds(env, node, round) end
      end)
    end
    run_round(env, node[3])
    if not while_next(env, node, round) then return end
  end
end

M["while"] = function(env, node)
  local test = node[2]
  if test[1] == "name" and test[2] == "true" and not next(env.subroutines) and not may_leave(node[3]) then
    fault.raise(node.at, "a loop without an end")
  end
  env:push_exit("break")
  while_rounds(env, node, 0)
  env:pop_exit()
end

-- ---- ways out

-- The innermost way out of this name in this subroutine.
local function find_exit(env, name)
  for i = #env.exits, 1, -1 do
    local exit = env.exits[i]
    if exit.name == name then return exit end
    if exit.name == "return" then return nil end
  end
end

local function exit_runner(name)
  return function(env, node)
    local exit = find_exit(env, name)
    if not exit then fault.raise(node.at, "%s outside of a loop", name) end
    env:leave(exit)
  end
end

M["break"], M.continue = exit_runner("break"), exit_runner("continue")

M["end"] = function(env, node)
  if env.gate then fault.raise(node.at, "end in a gate") end
  env:leave(env.exits[1])
end

M["return"] = function(env, node)
  local call = env.calls[#env.calls]
  if not call then fault.raise(node.at, "return outside of a subroutine") end
  local kind = call.kind
  if node[2] then
    if not kind then fault.raise(node.at, "the subroutine %s returns nothing", call.name) end
    local value = assignments.value(env, node[2], kind, node)
    env:set(call.result, nil, assignments.keep(env, value, kind, call.name, node))
  elseif kind then
    fault.raise(node.at, "return without a value, expected one of type %s", kind.name)
  end
  env:leave(call.exit)
end

-- ---- subroutines

function M.def(env, node)
  local name = node[2]
  if not env:is_global() then fault.raise(node.at, "a subroutine is defined outside of blocks") end
  if env.subroutines[name] or env.gates[name] then fault.raise(node.at, "%s is defined already", name) end
  env.subroutines[name] = node
  env.generation = env.generation + 1
  node.generation = env.generation
end

local function bind_qubits(env, parameter, argument)
  local list, is_single = operands.qubits(env, argument)
  env:charge(argument.at, #list // 4)
  return function()
    local size = parameter.size and evaluate.integer(env, parameter.size, "the size of a register")
    if #list ~= (size or 1) then
      fault.raise(argument.at, "%d qubits for %s, expected %d", #list, parameter.name, size or 1)
    end
    if size then is_single = false end
    env:bind(parameter.name, { kind = "qubits", list = list, scalar = is_single or not size }, parameter.at)
  end
end

-- An array that the subroutine may change: the caller's own.
local function bind_array_reference(env, parameter, argument)
  local owner = argument[1] == "name" and env:lookup(argument[2])
  if not owner or owner.kind ~= "value" or owner.type.kind ~= "array" then
    fault.raise(argument.at, "expected the name of an array")
  end
  operands.check_writable(owner, argument.at)
  return function()
    local scope = env.scope
    if scope.names[parameter.name] then fault.raise(parameter.at, "%s is declared already", parameter.name) end
    scope.names[parameter.name] = owner
  end
end

local function array_kind(env, parameter, kind, at)
  local node = parameter.type
  if not node[4] then return evaluate.type(env, node) end
  local dims = evaluate.integer(env, node[4], "the number of dimensions")
  if kind.kind ~= "array" or #kind.dims ~= dims then
    fault.raise(at, "got a value of type %s, expected an array of %d dimensions", kind.name, dims)
  end
  return values.array(evaluate.type(env, node[2]), kind.dims)
end

local function bind_value(env, parameter, argument, node)
  local value, kind = evaluate.evaluate(env, argument)
  return function()
    local target = parameter.type[1] == "array" and array_kind(env, parameter, kind, argument.at)
      or evaluate.type(env, parameter.type)
    evaluate.check_literal(argument, target)
    if target.kind == "bits" and kind.kind == "bits" and target.n ~= kind.n then
      fault.raise(argument.at, "%d bits for %s, expected %d", kind.n, parameter.name, target.n)
    end
    value = assignments.keep(env, values.convert(value, kind, target, argument.at), target, parameter.name, node)
    local is_readonly = parameter.access == "readonly"
    env:bind(parameter.name, {
      kind = "value", type = target, value = values.copy(value, target.kind), writable = not is_readonly,
      const = is_readonly or nil,
    }, parameter.at)
  end
end

-- Refuses a number of arguments that a subroutine does not take.
function M.check_count(subroutine, arguments, node)
  if #arguments ~= #subroutine[3] then
    fault.raise(node.at, "%s takes %d values, got %d", subroutine[2], #subroutine[3], #arguments)
  end
end

local function bind_arguments(env, subroutine, arguments, node)
  M.check_count(subroutine, arguments, node)
  local binders, seen = {}, {}
  for i, parameter in ipairs(subroutine[3]) do
    local argument = arguments[i]
    if parameter.qubit then
      binders[i] = bind_qubits(env, parameter, argument)
      for _, qubit in ipairs((operands.qubits(env, argument))) do
        if seen[qubit] then fault.raise(argument.at, "the same qubit twice in a call of %s", subroutine[2]) end
        seen[qubit] = true
      end
    elseif parameter.access == "mutable" then
      binders[i] = bind_array_reference(env, parameter, argument)
    else
      binders[i] = bind_value(env, parameter, argument, node)
    end
  end
  return binders
end

local function check_call(env, subroutine, node)
  if env.gate then fault.raise(node.at, "a subroutine in a gate, expected gates only") end
  for _, call in ipairs(env.calls) do
    if call.subroutine == subroutine then fault.raise(node.at, "the subroutine %s calls itself", subroutine[2]) end
  end
  if #env.calls >= DEEPEST then fault.raise(node.at, "subroutines nested more than %d deep", DEEPEST) end
  env:charge(node.at, STEPS_OF_CALL)
  env.called[subroutine] = true
end

-- Whether a subroutine that has a type came to a return, whatever was measured. Where the program may have ended nobody
-- can tell.
local function check_returned(env, call, subroutine)
  local value = call.exit.value
  local is_sure = env.exits[1].value == true
  if value == true or value ~= false and is_sure then
    fault.raise(subroutine.at, "the subroutine %s comes to its end without return, expected a value of type %s",
      call.name, call.kind.name)
  end
end

-- Carries out a subroutine's body in place of its call. Returns its value and type, or nil.
function M.call(env, subroutine, arguments, node)
  check_call(env, subroutine, node)
  if not node.position then node = { at = node.at, position = env.statement and env.statement.position } end
  local binders = bind_arguments(env, subroutine, arguments, node)
  local scope = env.scope
  env.scope = { names = {}, outer = env.globals }
  local kind = subroutine[4] and evaluate.type(env, subroutine[4])
  local call = { subroutine = subroutine, name = subroutine[2], kind = kind }
  env.calls[#env.calls + 1] = call
  for _, bind in ipairs(binders) do bind() end
  if kind then
    call.result = { kind = "value", name = call.name, type = kind, value = values.zero(kind), depth = env.depth }
  end
  call.exit = env:push_exit("return")
  M.run_block(env, subroutine[5])
  if kind then check_returned(env, call, subroutine) end
  env:pop_exit()
  env.calls[#env.calls] = nil
  env.scope = scope
  if kind then return call.result.value, values.kept_type(call.result.value, kind) end
end

return M
