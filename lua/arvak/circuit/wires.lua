-- The wires of the circuit that is written: where each qubit of the program is, and where each outcome of measurement.
-- The service samples all wires at the end, so a measurement is deferred: its outcome stays on the qubit's wire until
-- something else than a change of phases happens there, and is copied to a wire of its own just before.
-- Invariant: a wire that holds an outcome keeps its value (0 or 1, in each branch of the superposition) to the end.
--
-- state fields kept here:
--   wires, limit             how many there are, and how many the backend has (nil: any number)
--   wire_of[qubit]           nil: the qubit is 0 and has no wire yet
--   touched[wire]            false: nothing has happened on it, so it is 0
--   pin[wire]                the outcome that is on a qubit's wire
--   home[outcome]            the wire where an outcome is
--   dephased[outcome]        the condition under which a pinned outcome was measured
--   predicates[function]     the wire that holds a condition
--   taken, held              wires and functions that the operation in progress needs
--   condition                { f, body size, outer }: where the block that is lowered runs; nil: always
-- SPDX-License-Identifier: Apache-2.0
local controls = require "arvak.circuit.controls"
local frugal = require "arvak.circuit.frugal"
local refuse = require "arvak.circuit.refuse"

local M = {}

local FIRST = 1 << 40       -- the number of the first outcome; later ones count down, so that they are decided first:
                            -- a function that a loop adds an outcome to then grows by a node
local TOO_MANY = 4          -- times what the backend has: then nobody has to know how many exactly
local FEW = 4               -- products of a condition that are cheaper than a wire for it
local MAX_PRODUCTS = 100000
local MAX_FRUGAL = 2000     -- on the second attempt, where each shot is simulated by itself

-- ---- wires

function M.start(state)
  local count, limit = state.form.qubit_count, state.limit
  state.wires, state.wire_of, state.touched, state.pin, state.pins = 0, {}, {}, {}, 0
  state.home, state.dephased, state.outcomes = {}, {}, 0
  state.predicates, state.taken, state.held, state.reasons, state.reset_once = {}, {}, {}, {}, {}
  if not limit or count <= limit then
    for qubit = 0, count - 1 do state.wire_of[qubit] = qubit end
    state.wires = count
  end
end

local function toggle(state, f, wire)
  local products = state.store:exclusive_products(f, state.frugal and MAX_FRUGAL or MAX_PRODUCTS)
  if not products then refuse "a condition over too many bits" end
  for _, product in ipairs(products) do
    local c, inverted = {}, {}
    for i, literal in ipairs(product) do
      c[i] = state.home[literal[1]]
      if literal[2] == 0 then inverted[#inverted + 1] = c[i] end
    end
    for _, w in ipairs(inverted) do state.writer:invert(w) end
    controls.flip(state, c, #c, wire)
    for _, w in ipairs(inverted) do state.writer:invert(w) end
    state:step()
  end
end

-- Whether a condition is that of a block around the one that is lowered, or its own.
local function is_around(state, f)
  local condition = state.condition
  while condition do
    if condition.f == f then return true end
    condition = condition.outer
  end
  return false
end

-- The wire of a condition that no block needs any more, made 0 again.
local function released(state, anyway)
  local found
  for f in pairs(state.predicates) do
    local is_free = anyway and not (state.condition and state.condition.f == f) or not is_around(state, f)
    if is_free and (not found or f < found) then found = f end
  end
  if not found then return nil end
  local wire = state.predicates[found]
  state.predicates[found] = nil
  toggle(state, found, wire)
  return wire
end

-- The wire of a qubit that nothing has happened to; the qubit gets one when it needs it.
local function untouched(state)
  for qubit = 0, state.form.qubit_count - 1 do
    local wire = state.wire_of[qubit]
    if wire and not state.touched[wire] then
      state.wire_of[qubit] = nil
      return wire
    end
  end
end

-- A new outcome, which is on a wire.
local function name_outcome(state, wire)
  local outcome = FIRST - state.outcomes
  state.outcomes, state.home[outcome] = state.outcomes + 1, wire
  return outcome
end

local fresh

-- On the second attempt, before the last wire is given away: makes room with it.
local function make_room(state)
  state.is_compacting = true
  repeat until not released(state)
  frugal.compact(state, function() return fresh(state, "conditions", true) or frugal.dropped(state) end,
    function(f, wire) toggle(state, f, wire) end,
    function(wire)
      state.touched[wire] = true
      return name_outcome(state, wire)
    end)
  state.is_compacting = false
end

-- A wire that holds 0. reason: what it is for. optional: nil when there are no more.
function fresh(state, reason, optional)
  local wire = released(state)
  if wire then return wire end
  local limit = state.limit
  if limit and state.frugal and not optional and not state.is_compacting and frugal.is_time(state) then
    make_room(state)
    wire = frugal.dropped(state)
    if wire then return wire end
  end
  if limit and state.wires >= limit then
    wire = untouched(state) or released(state, true) or not optional and frugal.dropped(state)
    if wire then return wire end
    if optional then return nil end
  end
  wire = state.wires
  state.wires = wire + 1
  state.reasons[reason] = (state.reasons[reason] or 0) + 1
  if limit and wire > TOO_MANY * limit then state:refuse_wires(true) end
  return wire
end

-- The wire of a qubit, on which something happens now.
function M.wire(state, qubit)
  local wire = state.wire_of[qubit]
  if not wire then
    wire = fresh(state, state.reset_once[qubit] and "resets" or "qubits")
    state.wire_of[qubit] = wire
  end
  state.touched[wire] = true
  return wire
end

-- ---- conditions

local function product_controls(state, product)
  local list = {}
  for i, literal in ipairs(product) do list[i] = state.home[literal[1]] << 1 | literal[2] end
  return list
end

-- Where a function holds: disjoint lists of controls, each wire * 2 + the value it must have. many: it will be needed
-- more than once.
local function branches_of(state, f, many)
  local wire = state.predicates[f]
  if wire then return { { wire << 1 | 1 } } end
  local store = state.store
  local variable, value = store:as_literal(f)
  if variable then return { { state.home[variable] << 1 | value } } end
  local products = store:products(f, FEW)
  if many or not products then
    wire = fresh(state, "conditions", true)
    if wire then
      toggle(state, f, wire)
      state.predicates[f], state.touched[wire] = wire, true
      return { { wire << 1 | 1 } }
    end
  end
  products = products or store:products(f, MAX_PRODUCTS) or refuse "a condition over too many bits"
  local branches = {}
  for i, product in ipairs(products) do branches[i] = product_controls(state, product) end
  return branches
end

-- Where the block that is lowered runs, as lists of controls; nil: always.
function M.branches(state)
  local condition = state.condition
  return condition and branches_of(state, condition.f, condition.size > 1)
end

-- Quantum controls and those of a branch as one list; nil where they contradict each other.
function M.merged(quantum, branch)
  local all = table.move(quantum, 1, #quantum, 1, {})
  for _, control in ipairs(branch) do
    local is_there = false
    for _, other in ipairs(quantum) do
      if other == control then is_there = true end
      if other == control ~ 1 then return nil end
    end
    if not is_there then all[#all + 1] = control end
  end
  return all
end

-- Calls write(wires) with signed controls as wires that must all be 1.
function M.signed(state, list, write)
  local c, inverted = {}, {}
  for i, control in ipairs(list) do
    c[i] = control >> 1
    if control & 1 == 0 then inverted[#inverted + 1] = c[i] end
  end
  for _, wire in ipairs(inverted) do state.writer:invert(wire) end
  write(c)
  for _, wire in ipairs(inverted) do state.writer:invert(wire) end
end

-- ---- outcomes

-- Copies the outcome that is on a qubit's wire to one of its own, before the qubit changes.
function M.flush(state, wire)
  local outcome = state.pin[wire]
  if not outcome then return end
  local copy = fresh(state, "outcomes")
  state.taken[#state.taken + 1] = copy
  local f = state.dephased[outcome]
  local branches = f == 1 and { {} } or branches_of(state, f, false)
  for _, branch in ipairs(branches) do
    local list = M.merged({ wire << 1 | 1 }, branch)
    if list then M.signed(state, list, function(c) controls.flip(state, c, #c, copy) end) end
  end
  state.taken[#state.taken] = nil
  state.pin[wire], state.home[outcome], state.touched[copy] = nil, copy, true
  state.pins = state.pins - 1
end

-- Copies the outcome on a wire when the condition of this block depends on it.
function M.flush_condition(state, wire)
  local outcome = state.pin[wire]
  if not outcome or not state.condition then return end
  local condition = state.condition
  condition.support = condition.support or state.store:support(condition.f, {}, {})
  if condition.support[outcome] then M.flush(state, wire) end
end

-- Measures a qubit under the condition of this block: the function that the outcome is.
function M.measure(state, qubit)
  local wire = state.wire_of[qubit]
  if not wire or not state.touched[wire] then return 0 end
  local f = state.condition and state.condition.f or 1
  local outcome = state.pin[wire]
  if outcome then
    state.dephased[outcome] = state.store:either(state.dephased[outcome], f)
  else
    outcome = name_outcome(state, wire)
    state.pin[wire], state.dephased[outcome], state.pins = outcome, f, state.pins + 1
  end
  return state.store:literal(outcome)
end

-- Moves a qubit to a wire that holds 0. The old one keeps an outcome that is on it.
function M.leave(state, qubit)
  local wire = state.wire_of[qubit]
  if not wire or not state.touched[wire] then return end
  if state.pin[wire] then
    state.pin[wire], state.pins = nil, state.pins - 1
  end
  state.wire_of[qubit], state.reset_once[qubit] = nil, true
end

-- A wire that holds 0, for the time of one operation.
function M.spare(state, reason)
  local wire = fresh(state, reason)
  state.touched[wire] = true
  return wire
end

return M
