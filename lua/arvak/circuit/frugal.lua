-- What lowering does when a circuit needs more wires than the backend has, on a second attempt: it finds wires that
-- nobody reads any more, and makes several outcomes one where only a function of them is still needed.
-- Invariant: what is still read has the same value in each branch as before; a wire is given away only after the
-- service's own reset.
-- state.frugal: { last_use (qubit → index in the block, or nil where answers are over qubits), reads (variable → how
-- often an expression of the form has it) }; state.reads: how often each variable was read so far.
-- SPDX-License-Identifier: Apache-2.0
local form = require "arvak.circuit.form"

local M = {}

-- ---- what comes later

local function note_reads(expression, reads)
  if type(expression) ~= "table" then return end
  if expression[1] == "var" then reads[expression[2]] = (reads[expression[2]] or 0) + 1 end
  for i = 2, #expression do note_reads(expression[i], reads) end
end

local note_block

local function note_operation(op, index, plan)
  local kind, last_use = op[1], plan.last_use
  if kind == form.IF then
    note_reads(op[2], plan.reads)
    note_block(op[3], index, plan)
    if op[4] then note_block(op[4], index, plan) end
  elseif kind == form.ASSIGN then
    note_reads(op[3], plan.reads)
  elseif kind == form.MEASURE or kind == form.RESET then
    last_use[op[2]] = index
  elseif kind ~= form.BARRIER then
    for i = kind.params + 2, #op do last_use[op[i]] = index end
  end
end

-- index: of the operation of the whole block that this one is in; nil: each operation's own.
function note_block(block, index, plan)
  for i = 1, block.n do note_operation(block[i], index or i, plan) end
end

-- What a second attempt has to know of a form. over_bits: the answer is.
function M.plan(source, over_bits)
  local plan = { last_use = {}, reads = {} }
  note_block(source.block, nil, plan)
  if not over_bits then plan.last_use = nil end
  return plan
end

-- ---- what is read from here on

local function map_value(value, map)
  local copy, changed = { n = value.n, sign = map(value.sign) }, false
  for i = 1, value.n do copy[i] = map(value[i]) end
  for i = 1, value.n do changed = changed or copy[i] ~= value[i] end
  return (changed or copy.sign ~= value.sign) and copy or value
end

local function is_over(state, variable)
  local plan = state.frugal
  return plan and (state.reads[variable] or 0) >= (plan.reads[variable] or 0)
end

-- Puts map(f) in the place of each function that may still be read, but for those of predicates.
function M.map_live(state, map)
  for bit, f in pairs(state.bits) do state.bits[bit] = map(f) end
  for variable, value in pairs(state.values) do
    state.values[variable] = not is_over(state, variable) and map_value(value, map) or nil
  end
  for i, f in ipairs(state.held) do state.held[i] = map(f) end
  for _, outcome in pairs(state.pin) do state.dephased[outcome] = map(state.dephased[outcome]) end
  local condition = state.condition
  while condition do
    local f = map(condition.f)
    if f ~= condition.f then condition.f, condition.support = f, nil end
    condition = condition.outer
  end
end

-- The outcomes that are still read.
local function live_outcomes(state)
  local live, seen = {}, {}
  local function visit(f)
    state.store:support(f, live, seen)
    return f
  end
  M.map_live(state, visit)
  for f in pairs(state.predicates) do visit(f) end
  return live
end

-- Takes the wires from qubits that nothing happens to any more.
local function leave_behind(state)
  local plan = state.frugal
  if not plan or not plan.last_use then return end
  for qubit, wire in pairs(state.wire_of) do
    if (plan.last_use[qubit] or 0) < state.index then
      state.wire_of[qubit] = nil
      if state.pin[wire] then state.pin[wire], state.pins = nil, state.pins - 1 end
    end
  end
end

-- A wire that nobody reads any more, after the service's own reset; nil: there is none.
function M.dropped(state)
  leave_behind(state)
  local used = {}
  for outcome in pairs(live_outcomes(state)) do used[state.home[outcome]] = true end
  for _, wire in pairs(state.wire_of) do used[wire] = true end
  for _, wire in pairs(state.predicates) do used[wire] = true end
  for _, wire in ipairs(state.taken) do used[wire] = true end
  for wire = 0, state.wires - 1 do
    if not used[wire] then
      state.writer:reset(wire)
      return wire
    end
  end
end

-- ---- several outcomes made one

-- The functions that are still read: those that are one outcome or its negation, and the others; each once, and of a
-- function and its negation one.
local function roots_of(state)
  local store, singles, others, seen = state.store, {}, {}, {}
  M.map_live(state, function(f)
    if f > 1 and not seen[f] then
      seen[f], seen[store:negate(f)] = true, true
      local list = store:as_literal(f) and singles or others
      list[#list + 1] = f
    end
    return f
  end)
  return singles, others
end

-- Whether the wires that are left are just enough for what would be made outcomes of their own.
function M.is_time(state)
  local left = state.limit - state.wires
  if left <= 1 then return true end
  local _, others = roots_of(state)
  return #others >= left
end

local function count(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

-- How many outcomes are needed besides a function: the fewer, the sooner it is made one.
local function outcomes_without(state, f, roots)
  local live, seen = {}, {}
  for _, other in ipairs(roots) do
    if other ~= f then state.store:support(other, live, seen) end
  end
  return count(live)
end

local function best_root(state, singles, others)
  local roots = table.move(others, 1, #others, #singles + 1, table.move(singles, 1, #singles, 1, {}))
  local best, least
  for _, f in ipairs(others) do
    local left = outcomes_without(state, f, roots)
    if not best or left < least then best, least = f, left end
  end
  return best, least
end

-- Makes functions outcomes of their own as long as that needs fewer outcomes. fresh: gives a wire that holds 0, or nil;
-- compute(f, wire): writes a function to it; name(wire): a new outcome that is there.
function M.compact(state, fresh, compute, name)
  local store = state.store
  while true do
    local singles, others = roots_of(state)
    local f, left = best_root(state, singles, others)
    local now = count(live_outcomes(state))
    local at_last = outcomes_without(state, nil, singles) + #others
    if not f or left + 1 >= now and at_last >= now then return end
    local wire = state.predicates[f] or fresh()
    if not wire then return end
    if state.predicates[f] then state.predicates[f] = nil else compute(f, wire) end
    local outcome, negated = store:literal(name(wire)), store:negate(f)
    M.map_live(state, function(g)
      if g == f then return outcome end
      return g == negated and store:negate(outcome) or g
    end)
  end
end

return M
