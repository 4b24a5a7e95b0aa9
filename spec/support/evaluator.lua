-- The slow evaluator: the exact distribution that a program of OpenQASM 2 or 3 means, computed straight from its text
-- by a parser and an interpreter of its own. What the library makes of a program is compared with this.
-- SPDX-License-Identifier: Apache-2.0
local run = require "spec.support.evaluator.run"
local state = require "spec.support.evaluator.state"
local statements = require "spec.support.evaluator.statements"

local M = {}

local SMALL = 1e-13

local function new_run(version, inputs, budget)
  return setmetatable({ version = version, inputs = inputs or {}, budget = budget or 200000, spent = 0, depth = 0,
    slots = 0, qubit_count = 0, physical = 0, registers = {}, gates = {}, defs = {}, constants = {},
    global = { names = {} } }, run)
end

-- The key of a world: registers in order of declaration, the last leftmost, bit 0 rightmost.
local function key_of(registers, world)
  local digits = {}
  for r = #registers, 1, -1 do
    local cells = registers[r].cells
    for i = #cells, 1, -1 do digits[#digits + 1] = world.v[cells[i]] end
  end
  return table.concat(digits)
end

local function over_qubits(worlds, n)
  local r = {}
  for _, world in ipairs(worlds) do
    for index, re in pairs(world.state.re) do
      local digits = {}
      for q = n - 1, 0, -1 do digits[#digits + 1] = index >> q & 1 end
      local key = n > 0 and table.concat(digits) or "0"   -- what the service counts where there are no qubits
      r[key] = (r[key] or 0) + re * re + world.state.im[index] * world.state.im[index]
    end
  end
  return r
end

local function over_bits(worlds, registers)
  local r = {}
  for _, world in ipairs(worlds) do
    local key = key_of(registers, world)
    r[key] = (r[key] or 0) + state.weight(world.state)
  end
  return r
end

local function evaluate(text, options)
  local program, version = statements.read(text)
  local r = new_run(version, options.inputs, options.budget)
  local worlds = r:block(program, { v = {}, temp = {}, state = state.new() }, r.global)
  -- A declaration behind an `end` that only some worlds meet is there in all of them.
  for _, world in ipairs(worlds) do
    for _, register in ipairs(r.registers) do
      for _, slot in ipairs(register.cells) do world.v[slot] = world.v[slot] or 0 end
    end
  end
  local probabilities = r.measured and #r.registers > 0 and over_bits(worlds, r.registers)
    or over_qubits(worlds, math.max(r.qubit_count, r.physical))
  for key, p in pairs(probabilities) do
    if p < SMALL then probabilities[key] = nil end
  end
  return probabilities
end

-- The probability of each outcome; or nil and an error, { evaluator = why, is_limit = it was too much work }.
-- options: inputs (values of `input` variables), budget (of work).
function M.probabilities(text, options)
  local ok, value = pcall(evaluate, text, options or {})
  if ok then return value end
  if type(value) ~= "table" or not value.evaluator then error("in the evaluator: " .. tostring(value), 0) end
  return nil, value
end

return M
