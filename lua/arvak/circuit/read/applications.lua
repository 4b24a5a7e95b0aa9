-- Gates: their definitions, and where they are applied; resets and barriers.
-- Invariant: an operation never has the same qubit twice, and every angle is a finite number or an expression.
-- SPDX-License-Identifier: Apache-2.0
local evaluate = require "arvak.circuit.read.evaluate"
local fault = require "arvak.circuit.read.fault"
local form = require "arvak.circuit.form"
local operands = require "arvak.circuit.read.operands"
local values = require "arvak.circuit.read.values"

local M = {}

-- ---- definitions

-- Which parameters of a gate its body never uses: exporters write anything there.
local unused = setmetatable({}, { __mode = "k" })

local function mark_used(angle, free)
  if type(angle) ~= "table" then return end
  if angle[1] == "param" then
    free[angle[2]] = nil
    return
  end
  if angle[1] == "name" then return end
  mark_used(angle[2], free)
  mark_used(angle[3], free)
end

local function find_unused(gate)
  local free = {}
  for i = 1, gate.params do free[i] = true end
  if not next(free) then return free end
  for _, op in ipairs(gate.body) do
    if type(op[1]) == "table" then
      for i = 1, op[1].params do mark_used(op[i + 1], free) end
    end
  end
  return free
end

local function bind_signature(env, node)
  for i, name in ipairs(node[3]) do
    env:bind(name, { kind = "value", type = values.SYMBOL, value = { "param", i }, const = true }, node.at)
  end
  for i, name in ipairs(node[4]) do
    env:bind(name, { kind = "qubits", list = { i - 1 }, scalar = true }, node.at)
  end
end

local function check_name(env, node)
  local name = node[2]
  if not env:is_global() then fault.raise(node.at, "a gate is defined outside of blocks and other gates") end
  if env.gates[name] or env.subroutines[name] then fault.raise(node.at, "%s is defined already", name) end
end

-- gate name(parameters) qubits { … }; run carries out the body.
function M.define(env, node, run)
  check_name(env, node)
  local block, scope = env.block, env.scope
  env.block, env.gate = form.block(), { name = node[2] }
  env:push_scope()
  bind_signature(env, node)
  run()
  local gate = form.define(node[2], node[3], #node[4], env.block)
  env.block, env.gate, env.scope = block, nil, scope
  unused[gate] = find_unused(gate)
  env.gates[node[2]] = gate
  env.generation = env.generation + 1
end

-- opaque name(parameters) qubits;
function M.opaque(env, node)
  check_name(env, node)
  env.gates[node[2]] = { opaque = true }
  env.generation = env.generation + 1
end

-- ---- which gate

-- What other tools call gates of the library.
local MEANT = {
  cnot = "cx", ccnot = "ccx", toffoli = "ccx", fredkin = "cswap", i = "id", si = "sdg", ti = "tdg", v = "sx",
  vi = "sxdg", phaseshift = "p", cphaseshift = "cp",
}

local function unknown(env, name, at)
  local lower = string.lower(name)
  if form.gate(lower) and lower ~= name then
    fault.raise(at, "there is no gate %s; names are case-sensitive: expected %s", name, lower)
  end
  if MEANT[lower] then fault.raise(at, "there is no gate %s, expected %s", name, MEANT[lower]) end
  if env:lookup(name) then fault.raise(at, "%s is no gate", name) end
  fault.raise(at, "there is no gate %s, expected one of the library or one that is defined before", name)
end

-- The gate of this name, or nil.
function M.find(env, name)
  local own = env.gates[name]
  if own then return own end
  if name == "gphase" and env.version == 2 then return nil end
  return form.gate(name)
end

local function require_gate(env, node)
  local name = node[2]
  if env.gate and env.gate.name == name then fault.raise(node.at, "the gate %s calls itself", name) end
  local gate = M.find(env, name)
  if not gate then unknown(env, name, node.at) end
  if gate.opaque then fault.raise(node.at, "the gate %s is opaque: nothing says what it does", name) end
  return gate
end

-- ---- angles

-- An argument of a parameter that the gate never uses: its value, or 0 when it has none.
local function lenient_angle(env, node)
  local ok, value = pcall(evaluate.angle, env, node)
  if ok then return value end
  if not fault.is(value) then error(value, 0) end
  return 0.0
end

local function angles_of(env, gate, node)
  local arguments = node[3]
  if #arguments ~= gate.params then
    fault.raise(node.at, "%s has %d parameter%s, expected %d", node[2], #arguments, #arguments == 1 and "" or "s",
      gate.params)
  end
  local free, angles = unused[gate], {}
  for i, argument in ipairs(arguments) do
    angles[i] = free and free[i] and lenient_angle(env, argument) or evaluate.angle(env, argument)
  end
  return angles
end

-- Calls visit with each argument of an application that its gate uses.
function M.visit_arguments(env, node, visit)
  local free = unused[M.find(env, node[2])]
  for i, argument in ipairs(node[3]) do
    if not (free and free[i]) then visit(argument) end
  end
end

-- ---- modifiers

local function control_count(env, modifier)
  if not modifier[2] then return 1 end
  local count = evaluate.integer(env, modifier[2], "the number of controls")
  if count < 1 or count > 10000 then
    fault.raise(modifier.at, "%d controls, expected 1 to 10000", count)
  end
  return count
end

local function exponent(env, modifier)
  env.divides_exactly = true
  local value, kind = evaluate.evaluate(env, modifier[2])
  env.divides_exactly = false
  values.check_size(value, kind, modifier.at)
  if kind.kind ~= "int" and kind.kind ~= "uint" then value = values.real(value, kind, modifier.at) end
  if type(value) == "table" then values.need(modifier.at, value, "the exponent") end
  return math.tointeger(value) or value
end

local function modified(env, gate, modifiers)
  local list = {}
  for i, modifier in ipairs(modifiers) do
    local kind = modifier[1]
    if kind == "inv" then
      list[i] = { "inv" }
    elseif kind == "pow" then
      list[i] = { "pow", exponent(env, modifier) }
    else
      list[i] = { kind, control_count(env, modifier) }
    end
  end
  return form.modify(gate, list)
end

-- ---- operands

local function check_distinct(op, first, last, at)
  if last - first < 5 then
    for i = first, last do
      for j = i + 1, last do
        if op[i] == op[j] then fault.raise(at, "the same qubit twice in one operation") end
      end
    end
    return
  end
  local seen = {}
  for i = first, last do
    if seen[op[i]] then fault.raise(at, "the same qubit twice in one operation") end
    seen[op[i]] = true
  end
end

-- Applies a gate to lists of qubits: lists of more than one are gone through together, single ones stay.
local function broadcast(env, gate, angles, lists, node)
  local length = 1
  for _, list in ipairs(lists) do
    if #list ~= 1 then
      if length ~= 1 and length ~= #list then
        fault.raise(node.at, "registers of %d and %d qubits, expected one size", length, #list)
      end
      length = #list
    end
  end
  local params = #angles
  for k = 1, length do
    local op = table.move(angles, 1, params, 2, { gate })
    for i, list in ipairs(lists) do op[params + 1 + i] = list[#list == 1 and 1 or k] end
    check_distinct(op, params + 2, params + 1 + #lists, node.at)
    env:emit(op, node)
  end
end

-- The qubits of operands that are all single ones, behind a gate and its angles; nil if one is a register.
local function single_operation(env, gate, angles, nodes)
  local op = { gate, table.unpack(angles) }
  local params = #angles
  for i, operand in ipairs(nodes) do
    local list = operands.qubits(env, operand)
    if #list ~= 1 then return nil end
    op[params + 1 + i] = list[1]
  end
  return op
end

local function lists_of(env, nodes)
  local lists = {}
  for i, operand in ipairs(nodes) do lists[i] = operands.qubits(env, operand) end
  return lists
end

-- Version 2 has no delay, but exporters write it as a gate. It takes time and does nothing.
local function is_delay(env, node)
  return env.version == 2 and node[2] == "delay" and not env.gates.delay and #node[3] == 1
end

-- [modifiers] name(angles) qubits;
function M.apply(env, node)
  if is_delay(env, node) then
    lists_of(env, node[4])
    return
  end
  local gate = require_gate(env, node)
  local angles = angles_of(env, gate, node)
  if node.modifiers then gate = modified(env, gate, node.modifiers) end
  if #node[4] ~= gate.qubits then
    fault.raise(node.at, "%s has %d qubit%s, expected %d", node[2], #node[4], #node[4] == 1 and "" or "s", gate.qubits)
  end
  local op = single_operation(env, gate, angles, node[4])
  if not op then return broadcast(env, gate, angles, lists_of(env, node[4]), node) end
  check_distinct(op, gate.params + 2, #op, node.at)
  env:emit(op, node)
end

-- reset q;
function M.reset(env, node)
  for _, operand in ipairs(node[2]) do
    for _, qubit in ipairs((operands.qubits(env, operand))) do env:emit({ form.RESET, qubit }, node) end
  end
end

-- barrier; barrier q, r[0];
function M.barrier(env, node)
  local op, seen = { form.BARRIER }, {}
  for _, operand in ipairs(node[2]) do
    for _, qubit in ipairs((operands.qubits(env, operand))) do
      if not seen[qubit] then op[#op + 1] = qubit end
      seen[qubit] = true
    end
  end
  if #op == 1 and #node[2] > 0 then return end
  env:charge(node.at, #op)
  env:emit(op, node)
end

-- delay[time] q; has no effect.
function M.delay(env, node)
  local _, kind = evaluate.evaluate(env, node[2])
  if kind.kind ~= "duration" then fault.raise(node[2].at, "got a value of type %s, expected a duration", kind.name) end
  lists_of(env, node[3])
end

return M
