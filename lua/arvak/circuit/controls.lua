-- Gates under any number of controls, written with gates that the service simulates.
-- Invariant: what is written has the exact matrix, its phase included, as soon as there is a control. Wires that are
-- borrowed for it hold what they held before.
-- A state has `writer` and `wires`, the number of its wires. Controls are lists of wires, all of which must be 1.
-- SPDX-License-Identifier: Apache-2.0
local gates = require "arvak.circuit.gates"

local M = {}

local PI = math.pi

-- ---- x under controls

-- Wires of the circuit that take no part, up to so many.
local function idle_wires(state, controls, count, target, wanted)
  local busy, idle = { [target] = true }, {}
  for i = 1, count do busy[controls[i]] = true end
  for wire = 0, state.wires - 1 do
    if #idle >= wanted then break end
    if not busy[wire] then idle[#idle + 1] = wire end
  end
  return idle
end

-- With count - 2 borrowed wires, each of which takes part in a product of two.
local function chain(state, c, count, borrowed, target)
  local writer = state.writer
  local function link(i) writer:three("ccx", c[i], borrowed[i - 2], i == count and target or borrowed[i - 1]) end
  for top = count, count - 1, -1 do
    for i = top, 3, -1 do link(i) end
    writer:three("ccx", c[1], c[2], borrowed[1])
    for i = 3, top do link(i) end
  end
end

local flip

-- With one borrowed wire: the product of half the controls goes there, twice, and each half borrows from the other.
local function halves(state, c, count, borrowed, target)
  local middle = (count + 1) // 2
  local first = table.move(c, 1, middle, 1, {})
  local second = table.move(c, middle + 1, count, 1, {})
  second[#second + 1] = borrowed
  for _ = 1, 2 do
    flip(state, first, middle, borrowed)
    flip(state, second, #second, target)
  end
end

local symmetric_phase

-- x on a target under controls.
function flip(state, c, count, target)
  local writer = state.writer
  if count == 0 then return writer:one("x", target) end
  if count == 1 then return writer:two("cx", c[1], target) end
  if count == 2 then return writer:three("ccx", c[1], c[2], target) end
  local borrowed = idle_wires(state, c, count, target, count - 2)
  if #borrowed == count - 2 then return chain(state, c, count, borrowed, target) end
  if #borrowed > 0 then return halves(state, c, count, borrowed[1], target) end
  local all = table.move(c, 1, count, 1, {})
  all[count + 1] = target
  writer:one("h", target)
  symmetric_phase(state, PI, all, count + 1)
  writer:one("h", target)
end
M.flip = flip

-- ---- phases

local function half_phases(state, angle, all, count)
  local writer, rest = state.writer, table.move(all, 1, count - 2, 1, {})
  local a, b = all[count - 1], all[count]
  local half = gates.scaled(angle, 0.5)
  for sign = 1, -1, -2 do
    writer:turn("cp", { gates.scaled(half, sign) }, a, b)
    flip(state, rest, count - 2, a)
  end
  rest[count - 1] = b
  symmetric_phase(state, half, rest, count - 1)
end

-- e^(i angle) where all of the wires are 1.
function symmetric_phase(state, angle, all, count)
  local writer, negates = state.writer, angle == PI or angle == -PI
  if count == 1 then return writer:turn("p", { angle }, all[1]) end
  if count == 2 and negates then return writer:two("cz", all[1], all[2]) end
  if count == 2 then return writer:turn("cp", { angle }, all[1], all[2]) end
  if negates and (count == 3 or state.wires > count) then
    writer:one("h", all[count])
    flip(state, all, count - 1, all[count])
    return writer:one("h", all[count])
  end
  half_phases(state, angle, all, count)
end

-- ---- records under controls

local into = {   -- what turns an axis to z, and back; h stands for the axis of the Hadamard gate
  x = { { "h" } }, y = { { "sdg" }, { "h" } }, z = {}, h = { { "ry", -PI / 4 } },
}
local back = { x = { { "h" } }, y = { { "h" }, { "s" } }, z = {}, h = { { "ry", PI / 4 } } }

local function write_list(writer, list, target)
  for _, gate in ipairs(list) do
    if gate[2] then writer:turn(gate[1], { gate[2] }, target) else writer:one(gate[1], target) end
  end
end

local plain = {   -- names of phases about an axis, by their eighths of a turn
  x = { [4] = "x", [2] = "sx", [-2] = "sxdg" }, y = { [4] = "y" }, h = { [4] = "h" },
  z = { [4] = "z", [2] = "s", [-2] = "sdg", [1] = "t", [-1] = "tdg" },
}
local turns = { x = "rx", y = "ry", z = "p" }

-- Without a control a factor does not show: the turn about the axis will do.
local function bare_phase(state, record, target)
  if record.eighths == 0 then return end
  local axis, angle = record.axis, gates.phase_angle(record)
  local name = record.eighths and plain[axis][record.eighths]
  if name then return state.writer:one(name, target) end
  if turns[axis] then return state.writer:turn(turns[axis], { angle }, target) end
  write_list(state.writer, into[axis], target)
  state.writer:turn("p", { angle }, target)
  write_list(state.writer, back[axis], target)
end

local function phase(state, record, c, count, target)
  if count == 0 then return bare_phase(state, record, target) end
  if record.eighths == 0 then return end
  local axis, writer = record.axis, state.writer
  if record.eighths == 4 and count == 1 and axis ~= "z" then return writer:two("c" .. axis, c[1], target) end
  if record.eighths == 4 and axis == "x" then return flip(state, c, count, target) end
  local all = table.move(c, 1, count, 1, {})
  all[count + 1] = target
  write_list(writer, into[axis], target)
  symmetric_phase(state, gates.phase_angle(record), all, count + 1)
  write_list(writer, back[axis], target)
end

local function turn_about_z(state, angle, c, count, target)
  local writer = state.writer
  if count == 0 then return writer:turn("rz", { angle }, target) end
  if count == 1 then return writer:turn("crz", { angle }, c[1], target) end
  for sign = 1, -1, -2 do
    writer:turn("rz", { gates.scaled(angle, 0.5 * sign) }, target)
    flip(state, c, count, target)
  end
end

local function turn(state, record, c, count, target)
  local writer, axis = state.writer, record.axis
  if count == 0 and record.tilt then return writer:turn("prx", { record.angle, record.tilt }, target) end
  if count == 0 then return writer:turn("r" .. axis, { record.angle }, target) end
  if record.tilt then writer:turn("rz", { gates.scaled(record.tilt, -1) }, target) end
  write_list(writer, into[axis], target)
  turn_about_z(state, record.angle, c, count, target)
  write_list(writer, back[axis], target)
  if record.tilt then writer:turn("rz", { record.tilt }, target) end
end

-- The textbook's: A x B x C with A B C = 1, and the phase on the controls, of which the first `quantum` show it.
local function general(state, record, c, count, target, quantum)
  local writer, theta, phi, lambda = state.writer, record.theta, record.phi, record.lambda
  if count == 0 then return writer:turn("u", { theta, phi, lambda }, target) end
  local half, sum = gates.scaled(theta, 0.5), gates.sum(phi, lambda)
  if quantum > 0 then
    symmetric_phase(state, gates.sum(record.gamma, gates.scaled(sum, 0.5)), c, count)
  end
  writer:turn("p", { gates.scaled(gates.sum(lambda, gates.scaled(phi, -1)), 0.5) }, target)
  flip(state, c, count, target)
  writer:turn("u", { gates.scaled(half, -1), 0, gates.scaled(sum, -0.5) }, target)
  flip(state, c, count, target)
  writer:turn("u", { half, phi, 0 }, target)
end

local function global(state, record, c, count, _, quantum)
  if quantum > 0 then symmetric_phase(state, record.angle, c, count) end
end

local kinds = { phase = phase, turn = turn, u = general, global = global }

-- A record (gates.lua) on a target under controls. The first `quantum` of the controls may be in superposition; the
-- others hold outcomes of measurements, on which a phase does not show.
function M.apply(state, record, c, count, target, quantum)
  return kinds[record.kind](state, record, c, count, target, quantum)
end

return M
