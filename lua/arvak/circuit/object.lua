-- Circuits as objects: what a program holds, and the form behind it.
-- Invariant: a form that has been given out is never changed again: a circuit that goes on after that goes on with a
-- copy. So what was sent, bound, appended or drawn stays what it was. The form of a bound circuit is made when somebody
-- asks for it, since a sweep needs only its text.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"

local M = {}

local Circuit = core.metatables["arvak.circuit"]

-- Circuit → { form = one that only the circuit has }, or { snapshot = { form =, … } }, or, when it was the argument of
-- a function that has returned, {}.
local states = setmetatable({}, { __mode = "k" })

local function new(state)
  local circuit = setmetatable({}, Circuit)
  states[circuit] = state
  return circuit
end

-- A circuit that takes this form as its own.
function M.new(own_form) return new { form = own_form } end

-- A circuit whose snapshot exists already: a table of { form = } or { make_form = function }, and what others keep
-- there.
function M.of_snapshot(snapshot) return new { snapshot = snapshot } end

function M.is_circuit(value) return core.metatable_of(value) == Circuit end

-- A circuit, or misuse. name: of the argument.
function M.check(value, name)
  if M.is_circuit(value) then return value end
  return check.misuse("%s: got %s, expected a circuit", name, core.describe(value))
end

local function state_of(circuit)
  local state = states[circuit]
  if state.form or state.snapshot then return state end
  return check.misuse("circuit: the function that this circuit was given to has returned, expected its use within")
end

-- What the circuit is now, for good: a table that is the same until the circuit changes.
function M.snapshot_of(circuit)
  local state = state_of(circuit)
  if not state.snapshot then state.snapshot, state.form = { form = state.form }, nil end
  return state.snapshot
end

-- The form of a snapshot.
function M.form_in(snapshot)
  snapshot.form = snapshot.form or snapshot.make_form()
  return snapshot.form
end

-- The form of what the circuit is now, never changed afterwards.
function M.form_of(circuit) return M.form_in(M.snapshot_of(circuit)) end

local function check_pending(known, method)
  local pending = known.pending
  if pending then
    check.misuse("%s: the operations depend on the input %s, expected it bound before", method, pending.name)
  end
  return known
end

-- The same, or misuse where a value that decides which operations there are is not bound. method: for the message.
function M.complete(circuit, method) return check_pending(M.form_of(circuit), method) end

local function copy_list(list) return table.move(list, 1, #list, 1, {}) end

-- A form with the same registers and parameters and a block of its own, which holds the first n operations.
local function copy_form(from, n)
  local copy = {}
  for name, value in pairs(from) do copy[name] = value end
  for _, name in ipairs { "qubits", "bits", "variables", "parameters" } do copy[name] = copy_list(from[name]) end
  copy.block = { n = n, at = table.move(from.block.at, 1, n, 1, {}) }
  table.move(from.block, 1, n, 1, copy.block)
  copy.reread = nil   -- would give a form without what is added now
  return copy
end

-- An empty form with the registers of another, and none of its parameters.
function M.like(from)
  local copy = copy_form(from, 0)
  copy.parameters, copy.inputs, copy.source = {}, {}, nil
  return copy
end

-- The form of a circuit, to be changed now.
function M.edit(circuit)
  local state = state_of(circuit)
  if state.snapshot then
    local known = check_pending(M.form_in(state.snapshot), "circuit")
    state.form, state.snapshot = copy_form(known, known.block.n), nil
  end
  return state.form
end

-- Ends a circuit that was lent to a function, and gives back its form.
function M.take(circuit)
  local own_form = M.form_of(circuit)
  states[circuit] = {}
  return own_form
end

return M
