-- Carries out statements, one by one, by their kind.
-- SPDX-License-Identifier: Apache-2.0
local applications = require "arvak.circuit.read.applications"
local assignments = require "arvak.circuit.read.assignments"
local control = require "arvak.circuit.read.control"
local evaluate = require "arvak.circuit.read.evaluate"
local fault = require "arvak.circuit.read.fault"
local operands = require "arvak.circuit.read.operands"

local M = {}

local function apply(env, node)
  local subroutine = #node[4] == 0 and not node.modifiers and env.subroutines[node[2]]
  if not subroutine then return applications.apply(env, node) end
  for i, argument in ipairs(node[3]) do
    if argument[1] == "unreadable" then error(node[3][i][2], 0) end
  end
  control.call(env, subroutine, node[3], node)
end

local function block(env, node)
  if node.time then evaluate.evaluate(env, node.time) end
  control.run_block(env, node[2])
end

local function gate(env, node)
  applications.define(env, node, function() control.run_list(env, node[5], 1) end)
end

local KINDS = {
  apply = apply, block = block, nothing = function() end,
  gate = gate,
  opaque = applications.opaque, reset = applications.reset, barrier = applications.barrier, delay = applications.delay,
  qubits = assignments.declare_qubits, bits = assignments.declare_bits, declare = assignments.declare,
  let = operands.alias, assign = assignments.assign, measure = assignments.measure,
  ["if"] = control["if"], ["for"] = control["for"], ["while"] = control["while"], switch = control.switch,
  ["break"] = control["break"], continue = control.continue, ["end"] = control["end"], ["return"] = control["return"],
  def = control.def,
}

-- What a gate's body may hold.
local IN_GATES = {
  apply = true, block = true, nothing = true, reset = true, barrier = true, delay = true, ["for"] = true, ["if"] = true,
  switch = true, ["break"] = true, continue = true, measure = true,
}

local NAMES = {
  declare = "a declaration", assign = "an assignment", qubits = "a declaration", bits = "a declaration",
  let = "an alias", gate = "a gate", opaque = "a gate", def = "a subroutine", ["while"] = "a loop with a condition",
}

-- Refuses a statement in the body of a gate that is none for it.
function M.check_place(env, node)
  if env.gate and not IN_GATES[node[1]] then
    fault.raise(node.at, "%s in the body of a gate, expected gates only", NAMES[node[1]] or node[1])
  end
end

function M.carry_out(env, node) KINDS[node[1]](env, node) end

function M.run(env, node)
  local steps = env.steps + 1
  env.steps = steps
  if steps > env.most_steps then env:charge(node.at) end
  M.check_place(env, node)
  env.statement = node
  KINDS[node[1]](env, node)
end

control.set_runner(M.run)

return M
