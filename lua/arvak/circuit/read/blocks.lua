-- Blocks that are carried out once, statement by statement while they are read: bodies of gates, boxes, branches of
-- conditions. A program in one big block takes no more memory than one without.
-- Invariant: what is not carried out is read and rehearsed nevertheless, so that its mistakes are found.
-- SPDX-License-Identifier: Apache-2.0
local applications = require "arvak.circuit.read.applications"
local evaluate = require "arvak.circuit.read.evaluate"
local execute = require "arvak.circuit.read.execute"
local expressions = require "arvak.circuit.read.expressions"
local statements = require "arvak.circuit.read.statements"

local M = {}

local run_rest

-- Reads what is left of a block without carrying it out.
local function skip_rest(env, words)
  local check = env.rehearse.start(env, true)
  while not words:is("}") do
    if words.kind == "end" then words:expected("} at the end of the block") end
    words:begin()
    check(statements.statement(words))
  end
end

-- Carries out what is left of a block, as far as the program is alive.
function run_rest(env, words)
  while not words:is("}") do
    if words.kind == "end" then words:expected("} at the end of the block") end
    local at = words.base + words.at
    local node = M.run(env, words) or { at = at, position = env.statement and env.statement.position }
    local alive = env:is_alive(at)
    if alive == false then return skip_rest(env, words) end
    if alive ~= true and not words:is("}") then
      return env:while_alive(alive, node, function() run_rest(env, words) end)
    end
  end
end

-- The block in braces that is next, in the scope that is there. is_run: whether it is carried out.
local function block(env, words, is_run)
  expressions.enter(words)
  words:expect("{")
  if is_run then run_rest(env, words) else skip_rest(env, words) end
  words:next()
  expressions.leave(words)
end

-- The same, or a single statement, in a scope of its own.
local function body(env, words, is_run)
  env:push_scope()
  if words:is("{") then
    block(env, words, is_run)
  else
    expressions.enter(words)
    if is_run then M.run(env, words) else env.rehearse.start(env, true)(statements.statement(words)) end
    expressions.leave(words)
  end
  env:pop_scope()
end

local function run_gate(env, words)
  local node = statements.gate_head(words)
  applications.define(env, node, function() block(env, words, true) end)
  return node
end

local function run_box(env, words)
  local node = statements.box_head(words)
  if node.time then evaluate.evaluate(env, node.time) end
  body(env, words, true)
  return node
end

-- Both branches stand in the text one after the other, and the form wants them as one operation.
local function run_if(env, words)
  local node = statements.if_head(words)
  env.statement = node
  local test = evaluate.boolean(env, node[2])
  local function run_other()
    if words:accept("else") then body(env, words, test ~= true) end
  end
  if type(test) == "boolean" then
    body(env, words, test)
    run_other()
  else
    env:branch(test, node, function() body(env, words, true) end, run_other)
  end
  return node
end

-- Reads the statement that is next and carries it out.
function M.run(env, words)
  words:begin()
  env:charge(words.base + words.at)
  if words.version == 3 and not env.gate then
    if words:is("if") then return run_if(env, words) end
    if words:is("box") then return run_box(env, words) end
  end
  if words:is("gate") and not env.gate then return run_gate(env, words) end
  local node = statements.statement(words)
  execute.run(env, node)
  return node
end

return M
