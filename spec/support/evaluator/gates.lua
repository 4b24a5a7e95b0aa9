-- The slow evaluator's calls of gates: a call to a list of matrices on qubits under controls.
-- An operation is { m = matrix, targets = {…}, controls = { { qubit, value }, … } } or { reset = qubit }.
-- SPDX-License-Identifier: Apache-2.0
local state = require "spec.support.evaluator.state"
local values = require "spec.support.evaluator.values"

local M = {}

local fail = values.fail
local MAX_OPERATIONS = 20000

local function phase(angle) return { { { math.cos(angle), math.sin(angle) } } } end

local function check_distinct(name, qubits)
  local seen = {}
  for _, q in ipairs(qubits) do
    if seen[q] then fail("%s: the same qubit twice", name) end
    seen[q] = true
  end
end

-- ---- modifiers

local function inverted(list)
  local r = {}
  for i = #list, 1, -1 do
    local op = list[i]
    if op.reset then fail("a reset under a modifier") end
    r[#r + 1] = { m = state.dagger(op.m), targets = op.targets, controls = op.controls }
  end
  return r
end

local function controlled(list, controls)
  local r = {}
  for i, op in ipairs(list) do
    if op.reset then fail("a reset under a modifier") end
    local all = table.move(controls, 1, #controls, 1, {})
    r[i] = { m = op.m, targets = op.targets, controls = table.move(op.controls, 1, #op.controls, #all + 1, all) }
  end
  return r
end

local function same_controls(a, b)
  if #a ~= #b then return false end
  for i, control in ipairs(a) do
    if control[1] ~= b[i][1] or control[2] ~= b[i][2] then return false end
  end
  return true
end

-- The operations as one matrix on one qubit (or on none), or nil.
local function as_one(list)
  local first = list[1]
  if not first then return nil end
  local target, m
  for _, op in ipairs(list) do
    if op.reset or #op.targets > 1 or not same_controls(op.controls, first.controls) then return nil end
    target = target or op.targets[1]
    if op.targets[1] and op.targets[1] ~= target then return nil end
  end
  if not target then return nil end
  m = { { { 1, 0 }, { 0, 0 } }, { { 0, 0 }, { 1, 0 } } }
  for _, op in ipairs(list) do
    m = #op.targets == 0 and state.scale(m, op.m[1][1]) or state.product(op.m, m)
  end
  return { m = m, targets = { target }, controls = first.controls }
end

local function swap_power(op, k)
  local up, down = { 0.5, 0 }, { math.cos(math.pi * k) / 2, math.sin(math.pi * k) / 2 }
  local function sum(s) return { up[1] + s * down[1], up[2] + s * down[2] } end
  local zero, one = { 0, 0 }, { 1, 0 }
  return { m = { { one, zero, zero, zero }, { zero, sum(1), sum(-1), zero }, { zero, sum(-1), sum(1), zero },
    { zero, zero, zero, one } }, targets = op.targets, controls = op.controls }
end

local function fractional(list, k)
  local op = list[1]
  if #list == 1 and op.m and #op.targets == 0 then
    local angle = state.principal(math.atan(op.m[1][1][2], op.m[1][1][1]))
    return { { m = phase(angle * k), targets = {}, controls = op.controls } }
  end
  if #list == 1 and op.m == state.swap then return { swap_power(op, k) } end
  local one = as_one(list)
  if not one then fail("a fractional power of a gate made of several") end
  return { { m = state.power(one.m, k), targets = one.targets, controls = one.controls } }
end

local function powered(list, k)
  local whole = math.tointeger(k)
  if not whole then return fractional(list, k) end
  if whole < 0 then list, whole = inverted(list), -whole end
  for _, op in ipairs(list) do
    if op.reset then fail("a reset under a modifier") end
  end
  local one = as_one(list)
  if one and whole > 1 then
    return { { m = state.power(one.m, whole), targets = one.targets, controls = one.controls } }
  end
  if #list * whole > MAX_OPERATIONS then fail("a power of %d", whole) end
  local r = {}
  for _ = 1, whole do table.move(list, 1, #list, #r + 1, r) end
  return r
end

-- ---- calls

local function library_call(call, found, arguments, qubits)
  if #arguments ~= found[1] and not (found[1] == 2 and #arguments == 1 and call.name:find("^xx_")) then
    fail("%s: %d parameters", call.name, #arguments)
  end
  if #qubits ~= found[2] then fail("%s: %d qubits", call.name, #qubits) end
  local numbers, controls = {}, {}
  for i, argument in ipairs(arguments) do numbers[i] = values.number(argument()) end
  for i = 1, found[3] do controls[i] = { qubits[i], 1 } end
  return { { m = found[4](table.unpack(numbers)), targets = table.move(qubits, found[3] + 1, #qubits, 1, {}),
    controls = controls } }
end

local function sequence_call(call, sequence, qubits)
  if #qubits ~= sequence[1] then fail("%s: %d qubits", call.name, #qubits) end
  local r = {}
  for i = 2, #sequence do
    local step = sequence[i]
    local op = { controls = {} }
    if step[1] == "h" then
      op.m, op.targets = state.h, { qubits[step[2]] }
    elseif step[1] == "cx" then
      op.m, op.targets, op.controls = state.x, { qubits[step[3]] }, { { qubits[step[2]], 1 } }
    else
      op.m, op.targets = state.p(step[1]), { qubits[step[2]] }
    end
    r[#r + 1] = op
  end
  return r
end

local function is_gphase(call) return call.name == "gphase" end

-- arguments: functions that give the values, or raise where one has no meaning.
local function plain_call(run, call, arguments, qubits)
  local own = run:find_gate(call.name)
  if own and own.order > (call.order or math.huge) then own = nil end
  check_distinct(call.name, qubits)
  if own then return run:own_gate(own, call, arguments, qubits) end
  if is_gphase(call) then
    if #qubits > 0 or #arguments ~= 1 then fail("gphase: takes one parameter and no qubits") end
    return { { m = phase(values.number(arguments[1]())), targets = {}, controls = {} } }
  end
  if state.sequences[call.name] then return sequence_call(call, state.sequences[call.name], qubits) end
  local found = state.find(call.name, run.version)
  if not found then fail("%s: no such gate", call.name) end
  return library_call(call, found, arguments, qubits)
end

-- The operations of a call on qubits. mods: { how, number } from the outermost on.
function M.expand(run, call, mods, arguments, qubits, first)
  first = first or 1
  run:spend(1)
  local mod = mods[first]
  if not mod then return plain_call(run, call, arguments, qubits) end
  check_distinct(call.name, qubits)
  if mod.how == "inv" then return inverted(M.expand(run, call, mods, arguments, qubits, first + 1)) end
  if mod.how == "pow" then return powered(M.expand(run, call, mods, arguments, qubits, first + 1), mod.number) end
  local n, controls = mod.number or 1, {}
  if math.type(n) ~= "integer" or n < 1 or n > #qubits then fail("%s: %s controls", call.name, n) end
  for i = 1, n do controls[i] = { qubits[i], mod.how == "ctrl" and 1 or 0 } end
  local rest = table.move(qubits, n + 1, #qubits, 1, {})
  return controlled(M.expand(run, call, mods, arguments, rest, first + 1), controls)
end

return M
