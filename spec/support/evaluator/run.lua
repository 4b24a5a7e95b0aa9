-- The slow evaluator's interpreter: it follows every outcome of every measurement in a world of its own.
-- A world is { v = values by slot, state =, temp = values of nodes, status, value }; worlds share scopes, which name
-- slots.
-- SPDX-License-Identifier: Apache-2.0
local gates = require "spec.support.evaluator.gates"
local lookup = require "spec.support.evaluator.lookup"
local state = require "spec.support.evaluator.state"
local values = require "spec.support.evaluator.values"

local M = {}
M.__index = M
for name, f in pairs(lookup) do M[name] = f end

local fail = values.fail
local NEGLIGIBLE, MAX_TURNS = 1e-13, 2000
local NOTHING = {}   -- what a subroutine without a value leaves

-- What a program may cost before the evaluator gives up.
function M:spend(n)
  self.spent = self.spent + n
  if self.spent > self.budget then error({ evaluator = "too much work", is_limit = true }, 0) end
end

function M.split(world)
  local v, temp = {}, {}
  for slot, value in pairs(world.v) do v[slot] = value end
  for node, value in pairs(world.temp) do temp[node] = value end
  return { v = v, temp = temp, state = world.state }
end

-- ---- measuring

-- Measures one qubit: worlds, and the outcome in each.
local function measure_one(run, world, q)
  run.measured = true
  local zero, weight0 = state.part(world.state, q, 0)
  local one, weight1 = state.part(world.state, q, 1)
  run:spend(1)
  if weight1 <= NEGLIGIBLE then
    world.state = zero
    return { { world, 0 } }
  elseif weight0 <= NEGLIGIBLE then
    world.state = one
    return { { world, 1 } }
  end
  local other = M.split(world)
  world.state, other.state = zero, one
  return { { world, 0 }, { other, 1 } }
end

-- Measures several in turn: { world, bits }.
function M:measure(world, ids)
  local all = { { world, { n = #ids } } }
  for i, q in ipairs(ids) do
    local after = {}
    for _, pair in ipairs(all) do
      for _, outcome in ipairs(measure_one(self, pair[1], q)) do
        local bits = table.move(pair[2], 1, i - 1, 1, { n = #ids })
        bits[i] = outcome[2]
        after[#after + 1] = { outcome[1], bits }
      end
    end
    all = after
  end
  return all
end

local function reset(run, world, ids)
  local worlds = {}
  local was = run.measured
  for _, pair in ipairs(run:measure(world, ids)) do
    for i, q in ipairs(ids) do
      if pair[2][i] == 1 then state.apply(pair[1].state, state.x, { q }, {}) end
    end
    worlds[#worlds + 1] = pair[1]
  end
  run.measured = was
  return worlds
end

-- ---- expressions with effects: measurements and calls of subroutines, in order, into temp

local function effects_of(run, node, scope, all)
  if type(node) ~= "table" then return all end
  for _, key in ipairs { "left", "right", "of", "index", "first", "step", "last" } do
    if type(node[key]) == "table" then effects_of(run, node[key], scope, all) end
  end
  for _, key in ipairs { "arguments", "items" } do
    for _, inner in ipairs(node[key] or {}) do effects_of(run, inner, scope, all) end
  end
  if node.kind == "measure" or (node.kind == "call" and run:is_def(node.name)) then all[#all + 1] = node end
  return all
end

local function effect(run, world, scope, node)
  if node.kind == "call" then return run:call_def(world, scope, node) end
  local operand = run:qubits_of(node.of, world, scope)
  local all = run:measure(world, operand.ids)
  for _, pair in ipairs(all) do pair[2].scalar = operand.scalar end
  return all
end

-- Calls go_on(world, value) in every world that evaluating the node leads to; all worlds that come of it. What the
-- effects gave stays in temp until the node is evaluated again.
function M:with_value(node, world, scope, go_on)
  local nodes = effects_of(self, node, scope, {})
  local pending = { world }
  for _, inner in ipairs(nodes) do
    local after = {}
    for _, w in ipairs(pending) do
      for _, pair in ipairs(effect(self, w, scope, inner)) do
        pair[1].temp[inner] = pair[2] == nil and NOTHING or pair[2]
        after[#after + 1] = pair[1]
      end
    end
    pending = after
  end
  local worlds = {}
  for _, w in ipairs(pending) do
    local after = w.status and { w } or go_on(w, self:eval(node, w, scope))   -- a subroutine may have met end
    table.move(after, 1, #after, #worlds + 1, worlds)
  end
  return worlds
end

-- ---- statements

local steps = {}

function M:block(statements, world, scope)
  local worlds = { world }
  for _, node in ipairs(statements) do
    local after = {}
    for _, w in ipairs(worlds) do
      if w.status then
        after[#after + 1] = w
      else
        self:spend(1)
        local r = steps[node.kind](self, node, w, scope)
        table.move(r, 1, #r, #after + 1, after)
      end
    end
    worlds = after
    self:spend(#worlds)
  end
  return worlds
end

function M:inner_block(statements, world, scope) return self:block(statements, world, self:scope_in(scope)) end

function steps.nothing(_, _, world) return { world } end
function steps.block(run, node, world, scope) return run:inner_block(node.body, world, scope) end

function steps.gate(run, node, world)
  if run.gates[node.name] and run.gates[node.name] ~= node then fail("gate %s is there already", node.name) end
  run.gates[node.name] = node
  return { world }
end

function steps.def(run, node, world)
  run.defs[node.name] = node
  return { world }
end

function steps.qubits(run, node, world, scope)
  run:declare_qubits(node, world, scope)
  return { world }
end

function steps.bits_declared(run, node, world, scope)
  run:declare_bits(node, values.whole(run:eval(node.size, world, scope)), false, world, scope)
  return { world }
end

steps["let"] = function(run, node, world, scope)
  run:define(scope, node.name, node, run:reference(node.of, world, scope))
  return { world }
end

function steps.declare(run, node, world, scope)
  if node.is_input then
    run:declare(node, run:input(node.name), world, scope)
    return { world }
  elseif not node.value then
    run:declare(node, nil, world, scope)
    return { world }
  end
  return run:with_value(node.value, world, scope, function(w, value)
    run:declare(node, value, w, scope)
    return { w }
  end)
end

function steps.assign(run, node, world, scope)
  return run:with_value(node.value, world, scope, function(w, value)
    run:store(node.target, value, w, scope)
    return { w }
  end)
end

function steps.evaluate(run, node, world, scope)
  return run:with_value(node.of, world, scope, function(w) return { w } end)
end

function steps.measure_to(run, node, world, scope)
  local operand = run:qubits_of(node.of, world, scope)
  local worlds = {}
  for _, pair in ipairs(run:measure(world, operand.ids)) do
    pair[2].scalar = operand.scalar
    if node.target then run:store(node.target, pair[2], pair[1], scope) end
    worlds[#worlds + 1] = pair[1]
  end
  return worlds
end

function steps.barrier(run, node, world, scope)
  for _, operand in ipairs(node.operands) do run:qubits_of(operand, world, scope) end
  return { world }
end

function steps.reset(run, node, world, scope)
  local ids = {}
  for _, operand in ipairs(node.operands) do
    local more = run:qubits_of(operand, world, scope).ids
    table.move(more, 1, #more, #ids + 1, ids)
  end
  return reset(run, world, ids)
end

steps["if"] = function(run, node, world, scope)
  return run:with_value(node.test, world, scope, function(w, value)
    if values.truth(value) then return run:inner_block(node.body, w, scope) end
    return node.other and run:inner_block(node.other, w, scope) or { w }
  end)
end

function steps.switch(run, node, world, scope)
  return run:with_value(node.of, world, scope, function(w, value)
    for _, case in ipairs(node.cases) do
      for _, label in ipairs(case.labels) do
        if values.binary["=="](value, run:eval(label, w, scope)) then return run:inner_block(case.body, w, scope) end
      end
    end
    return node.default and run:inner_block(node.default, w, scope) or { w }
  end)
end

-- One turn of a loop: worlds that go on, and those that have left it are added to `out`.
local function turn(run, body, worlds, scope, out)
  local on = {}
  for _, w in ipairs(worlds) do
    for _, after in ipairs(run:inner_block(body, w, scope)) do
      if after.status == "break" then
        after.status = nil
        out[#out + 1] = after
      elseif after.status and after.status ~= "continue" then
        out[#out + 1] = after
      else
        after.status = nil
        on[#on + 1] = after
      end
    end
  end
  return on
end

steps["for"] = function(run, node, world, scope)
  local worlds, out = { world }, {}
  for _, value in ipairs(run:loop_values(node.over, world, scope)) do
    local inner = run:scope_in(scope)
    for _, w in ipairs(worlds) do
      run:declare({ name = node.name, type = node.type, node = node }, value, w, inner)
    end
    worlds = turn(run, node.body, worlds, inner, out)
    if #worlds == 0 then break end
  end
  table.move(worlds, 1, #worlds, #out + 1, out)
  return out
end

steps["while"] = function(run, node, world, scope)
  local worlds, out = { world }, {}
  for _ = 1, MAX_TURNS do
    local on = {}
    for _, w in ipairs(worlds) do
      run:with_value(node.test, w, scope, function(after, value)
        if not values.truth(value) then
          out[#out + 1] = after
        elseif state.weight(after.state) > NEGLIGIBLE then
          on[#on + 1] = after
        end
        return {}
      end)
    end
    if #on == 0 then return out end
    worlds = turn(run, node.body, on, scope, out)
  end
  error({ evaluator = "a loop without end", is_limit = true }, 0)
end

function steps.leave(_, node, world)
  world.status = node.how
  return { world }
end

steps["return"] = function(run, node, world, scope)
  if not node.of then
    world.status = "return"
    return { world }
  end
  return run:with_value(node.of, world, scope, function(w, value)
    w.status, w.value = "return", value
    return { w }
  end)
end

-- A subroutine's worlds and values.
function M:call_def(world, scope, node)
  local def = self.defs[node.name]
  if #def.arguments ~= #node.arguments then fail("%s: %d arguments", node.name, #node.arguments) end
  self.depth = self.depth + 1
  if self.depth > 100 then fail("%s: a recursion", node.name) end
  local inner = self:scope_in(self.global)
  for i, argument in ipairs(def.arguments) do self:bind_argument(argument, node.arguments[i], world, scope, inner) end
  local all = {}
  for _, w in ipairs(self:inner_block(def.body, world, inner)) do
    local value = w.value
    if w.status ~= "end" then w.status = nil end
    w.value = nil
    if def.type and w.status ~= "end" then
      if value == nil then fail("%s: no value", node.name) end
      value = values.convert(value, def.type.base, self:width_of(def.type, w, inner))
    end
    all[#all + 1] = { w, value }
  end
  self.depth = self.depth - 1
  return all
end

-- ---- gates

local function arguments_of(run, nodes, world, scope)
  local r = {}
  for i, node in ipairs(nodes) do
    r[i] = function() return run:eval(node, world, scope) end
  end
  return r
end

local function modifiers_of(run, node, world, scope)
  local r = {}
  for i, mod in ipairs(node.modifiers) do
    run.divides_exactly = mod.how == "pow"   -- pow(1/3) is a root
    local number = mod.argument and values.number(run:eval(mod.argument, world, scope))
    r[i] = { how = mod.how, number = number }
  end
  run.divides_exactly = false
  return r
end

-- Operands side by side: a list of lists of qubits, one for each call.
local function broadcast(run, node, world, scope)
  local lists, n = {}, 1
  for i, operand in ipairs(node.operands) do
    lists[i] = run:qubits_of(operand, world, scope)
    if not lists[i].scalar and #lists[i].ids ~= 1 then
      if n ~= 1 and n ~= #lists[i].ids then fail("%s: registers of different sizes", node.name) end
      n = #lists[i].ids
    end
  end
  local calls = {}
  for k = 1, n do
    calls[k] = {}
    for i, list in ipairs(lists) do calls[k][i] = list.ids[#list.ids == 1 and 1 or k] end
  end
  return calls
end

function M:expand_call(node, world, scope)
  local all = {}
  local mods, arguments = modifiers_of(self, node, world, scope), arguments_of(self, node.arguments, world, scope)
  for _, qubits in ipairs(broadcast(self, node, world, scope)) do
    local ops = gates.expand(self, node, mods, arguments, qubits)
    table.move(ops, 1, #ops, #all + 1, all)
  end
  return all
end

local function apply(run, node, world, scope)
  local worlds = { world }
  for _, op in ipairs(run:expand_call(node, world, scope)) do
    local after = {}
    for _, w in ipairs(worlds) do
      run:spend(1)
      if op.reset then
        local r = reset(run, w, { op.reset })
        table.move(r, 1, #r, #after + 1, after)
      else
        w.state = state.copy(w.state)
        state.apply(w.state, op.m, op.targets, op.controls)
        after[#after + 1] = w
      end
    end
    worlds = after
  end
  return worlds
end

function steps.apply(run, node, world, scope)
  if node.name == "global_phase" then return { world } end
  local arguments = { kind = "set", items = {} }
  for _, argument in ipairs(node.arguments) do
    if argument.kind == "call" or argument.left or argument.of then arguments.items[#arguments.items + 1] = argument end
  end
  if #effects_of(run, arguments, scope, {}) == 0 then return apply(run, node, world, scope) end
  return run:with_value(arguments, world, scope, function(w) return apply(run, node, w, scope) end)
end

-- A gate of the program's own: its body's operations.
function M:own_gate(gate, call, arguments, qubits)
  if gate.is_opaque then fail("%s is opaque", call.name) end
  if #arguments ~= #gate.parameters then fail("%s: %d parameters", call.name, #arguments) end
  if #qubits ~= #gate.qubits then fail("%s: %d qubits", call.name, #qubits) end
  self.depth = self.depth + 1
  if self.depth > 100 then fail("%s: a recursion", call.name) end
  local scope, world = self:scope_in(self.global), { v = {}, temp = {} }
  for i, name in ipairs(gate.parameters) do
    scope.names[name] = { kind = "parameter", get = function() return values.number(arguments[i]()) + 0.0 end }
  end
  for i, name in ipairs(gate.qubits) do scope.names[name] = { kind = "qubits", ids = { qubits[i] }, scalar = true } end
  setmetatable(world.v, { __index = self.constants })
  local ops = self:gate_body(gate.body, world, scope)
  self.depth = self.depth - 1
  return ops
end

function M:gate_body(body, world, scope)
  local ops = {}
  for _, node in ipairs(body) do
    if node.kind == "apply" and node.name ~= "global_phase" then
      local more = self:expand_call(node, world, scope)
      table.move(more, 1, #more, #ops + 1, ops)
    elseif node.kind == "reset" then
      for _, operand in ipairs(node.operands) do
        ops[#ops + 1] = { reset = self:qubits_of(operand, world, scope).ids[1] }
      end
    elseif node.kind == "for" then
      for _, value in ipairs(self:loop_values(node.over, world, scope)) do
        local inner = self:scope_in(scope)
        self:declare({ name = node.name, type = node.type, node = node }, value, world, inner)
        local more = self:gate_body(node.body, world, inner)
        table.move(more, 1, #more, #ops + 1, ops)
      end
    elseif node.kind ~= "barrier" and node.kind ~= "nothing" and node.name ~= "global_phase" then
      fail("a %s in the body of a gate", node.kind)
    end
  end
  return ops
end

return M
