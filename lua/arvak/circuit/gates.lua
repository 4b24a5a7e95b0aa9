-- What the gates of the library do. One-qubit gates are records, from which their controlled forms, powers and matrices
-- follow; the others are written with gates of the library.
-- Invariant: a record or a body gives its gate's matrix with its phase, which a control makes visible.
--
-- record: what a gate with its angles does to its last qubit
--   { kind = "phase", axis, eighths | angle }   V diag(1, e^(i angle)) V+; V turns the z axis to "x", "y", "z" or "h"
--   { kind = "turn", axis, angle, tilt }        V rz(angle) V+; then rz(tilt) after and rz(-tilt) before
--   { kind = "u", theta, phi, lambda, gamma }   e^(i gamma) U(theta, phi, lambda)
-- SPDX-License-Identifier: Apache-2.0
local form = require "arvak.circuit.form"
local matrix = require "arvak.circuit.matrix"
local parameters = require "arvak.circuit.parameters"
local refuse = require "arvak.circuit.refuse"

local M = {}

local EIGHTH = math.pi / 4

-- ---- angles: numbers, or expressions over parameters that are not bound yet

local function scaled(angle, factor)
  if type(angle) == "number" then return angle * factor end
  if factor == 1 then return angle end
  return factor == -1 and { "neg", angle } or { "*", angle, factor }
end
M.scaled = scaled

function M.sum(a, b)
  if type(a) == "number" and type(b) == "number" then return a + b end
  if a == 0 then return b elseif b == 0 then return a end
  return { "+", a, b }
end

-- A number, or the end of the attempt: of an expression there is no root.
local function number_of(angle)
  if type(angle) == "number" then return angle end
  refuse.for_values("a power of a gate whose angle is not bound")
end

M.known_angle = number_of

-- ---- definitions

local function phase(axis, eighths, controls)
  return { record = function() return { kind = "phase", axis = axis, eighths = eighths } end,
    controls = controls or 0, diagonal = axis == "z" }
end

local function angled(kind, axis, controls)
  return { record = function(a) return { kind = kind, axis = axis, angle = a[1] } end,
    controls = controls or 0, diagonal = axis == "z" }
end

local function general(record, controls) return { record = record, controls = controls or 0 } end

local function u(theta, phi, lambda, gamma)
  return { kind = "u", theta = theta, phi = phi, lambda = lambda, gamma = gamma or 0 }
end

local function u2(a) return u(math.pi / 2, a[1], a[2]) end
local function u3(a) return u(a[1], a[2], a[3]) end

-- Version 3 takes half of the angles back as a phase.
local function symmetric(record)
  return function(a)
    local made = record(a)
    made.gamma = scaled(M.sum(made.phi, made.lambda), -0.5)
    return made
  end
end

local definitions = {
  gphase = { record = function(a) return { kind = "global", angle = a[1] } end, controls = 0, diagonal = true },
  id = phase("z", 0), u0 = phase("z", 0),
  U = general(u3), u = general(u3), u3 = general(u3), u2 = general(u2),
  cu3 = general(u3, 1), cu = general(function(a) return u(a[1], a[2], a[3], a[4]) end, 1),
  r = general(function(a) return { kind = "turn", axis = "x", angle = a[1], tilt = a[2] } end),
}

local function define(names, definition)
  for name in string.gmatch(names, "%S+") do definitions[name] = definition end
end

for axis, eighths in pairs { x = 4, y = 4, z = 4, h = 4 } do
  define(axis, phase(axis, eighths))
  define("c" .. axis, phase(axis, eighths, 1))
end
for name, eighths in pairs { s = 2, sdg = -2, t = 1, tdg = -1 } do define(name, phase("z", eighths)) end
define("sx", phase("x", 2))
define("sxdg", phase("x", -2))
define("cs", phase("z", 2, 1))
define("csdg", phase("z", -2, 1))
define("csx", phase("x", 2, 1))
define("CX", definitions.cx)
define("ccx", phase("x", 4, 2))
define("ccz", phase("z", 4, 2))
define("c3x", phase("x", 4, 3))
define("c4x", phase("x", 4, 4))
define("c3sx c3sqrtx", phase("x", 2, 3))
define("p phase u1", angled("phase", "z"))
define("cp cphase cu1", angled("phase", "z", 1))
for _, axis in ipairs { "x", "y", "z" } do
  define("r" .. axis, angled("turn", axis))
  define("cr" .. axis, angled("turn", axis, 1))
end

-- Bodies: operations over the gate's qubits, as in a form. The first `outer` of them are undone at the end, so only
-- those between need the gate's controls. simple: for a gate without controls, up to a phase. involution: its square is
-- 1. diagonal: it changes no qubit's value.
local function op(name, ...) return { assert(form.gate(name)), ... } end
local a1 = { "param", 1 }
local QUARTER = math.pi / 2

local swap = { body = { op("cx", 0, 1), op("cx", 1, 0) }, outer = 1, controls = 0, involution = true, rooted = true,
  named = { [0] = "swap", "cswap" } }
local cswap = setmetatable({ controls = 1 }, { __index = swap })

local bodies = {
  swap = swap,
  cswap = cswap,
  iswap = { body = { op("rxx", -QUARTER, 0, 1), op("ryy", -QUARTER, 0, 1) }, named = { [0] = "iswap" } },
  dcx = { body = { op("cx", 0, 1), op("cx", 1, 0) } },
  ecr = { body = { op("rzx", QUARTER / 2, 0, 1), op("x", 0) }, outer = 1, involution = true,
    simple = { op("s", 0), op("sx", 1), op("cx", 0, 1), op("x", 0) } },
  rzz = { body = { op("cx", 0, 1), op("rz", a1, 1) }, outer = 1, diagonal = true },
  rxx = { body = { op("h", 0), op("h", 1), op("cx", 0, 1), op("rz", a1, 1) }, outer = 3 },
  ryy = { body = { op("rx", QUARTER, 0), op("rx", QUARTER, 1), op("cx", 0, 1), op("rz", a1, 1) }, outer = 3 },
  rzx = { body = { op("h", 1), op("cx", 0, 1), op("rz", a1, 1) }, outer = 2 },
  rccx = { body = { op("h", 2), op("t", 2), op("cx", 1, 2), op("tdg", 2), op("cx", 0, 2), op("t", 2), op("cx", 1, 2),
    op("tdg", 2), op("h", 2) } },
  rc3x = { body = { op("h", 3), op("t", 3), op("cx", 2, 3), op("tdg", 3), op("h", 3), op("cx", 0, 3), op("t", 3),
    op("cx", 1, 3), op("tdg", 3), op("cx", 0, 3), op("t", 3), op("cx", 1, 3), op("tdg", 3), op("h", 3), op("t", 3),
    op("cx", 2, 3), op("tdg", 3), op("h", 3) } },
}
bodies.rcccx = bodies.rc3x
for name, definition in pairs(bodies) do definitions[name] = definition end
for name, definition in pairs(definitions) do
  if definition.body then
    definition.name = name
    definition.controls, definition.outer = definition.controls or 0, definition.outer or 0
  end
end

-- In version 3 u2 and u3 are symmetric.
local of_version_3 = setmetatable({ u2 = general(symmetric(u2)), u3 = general(symmetric(u3)) },
  { __index = definitions })

-- The definition of the library's gate of this name: { record, controls, diagonal } or { body, outer, controls, … }.
function M.definition(name, version)
  return (version == 3 and of_version_3 or definitions)[name]
end

-- ---- matrices and powers of records

local axes = {   -- V, which turns the z axis to another
  x = matrix.of_angles(math.pi / 2, 0, math.pi), y = matrix.of_angles(math.pi / 2, math.pi / 2, math.pi),
  z = matrix.of_angles(0, 0, 0), h = matrix.of_angles(math.pi / 4, 0, 0),
}

local function adjoint(m) return { m[1], -m[2], m[5], -m[6], m[3], -m[4], m[7], -m[8] } end

-- The angle of a record of kind "phase".
function M.phase_angle(record)
  return record.eighths and record.eighths * EIGHTH or record.angle
end

-- The matrix of a record; a circuit with an angle that is not bound is refused.
function M.matrix(record)
  if record.kind == "u" then
    return matrix.of_angles(number_of(record.theta), number_of(record.phi), number_of(record.lambda),
      number_of(record.gamma))
  end
  local v, angle = axes[record.axis], number_of(M.phase_angle(record))
  local gamma = record.kind == "turn" and -angle / 2 or 0
  local m = matrix.product(v, matrix.product(matrix.of_angles(0, 0, angle, gamma), adjoint(v)))
  if not record.tilt then return m end
  local tilt = number_of(record.tilt)
  return matrix.product(matrix.of_angles(0, 0, tilt), matrix.product(m, matrix.of_angles(0, 0, -tilt)))
end

-- The record of a matrix.
function M.of_matrix(m) return u(matrix.angles(m)) end

local function phase_power(record, exponent)
  local eighths = record.eighths
  if not eighths then
    local whole = math.type(exponent) == "integer"
    local angle = whole and record.angle or matrix.principal(number_of(record.angle))
    return { kind = "phase", axis = record.axis, angle = scaled(angle, exponent) }
  end
  if math.type(exponent) == "integer" then
    return { kind = "phase", axis = record.axis, eighths = (eighths * exponent + 3) % 8 - 3 }
  end
  return { kind = "phase", axis = record.axis, angle = ((eighths + 3) % 8 - 3) * EIGHTH * exponent }
end

local function turn_power(record, exponent)
  local whole = math.type(exponent) == "integer"
  if not whole and math.abs(number_of(record.angle)) >= 2 * math.pi - 1e-9 then return nil end
  return { kind = "turn", axis = record.axis, angle = scaled(record.angle, exponent), tilt = record.tilt }
end

local function general_power(record, exponent)
  if exponent == 1 then return record end
  if exponent ~= -1 then return nil end
  return u(scaled(record.theta, -1), scaled(record.lambda, -1), scaled(record.phi, -1), scaled(record.gamma, -1))
end

local function global_power(record, exponent)
  local whole = math.type(exponent) == "integer"
  return { kind = "global", angle = scaled(whole and record.angle or matrix.principal(number_of(record.angle)),
    exponent) }
end

local powers = { phase = phase_power, turn = turn_power, u = general_power, global = global_power }

-- The record of a power: an integer's, or a principal root.
function M.power(record, exponent)
  return powers[record.kind](record, exponent) or M.of_matrix(matrix.power(M.matrix(record), exponent))
end

local LARGEST = 2000   -- of an angle that is no number, in parts

-- How many parts an angle has, as far as that is not beyond a count.
local function parts(angle, most)
  if type(angle) ~= "table" or most < 1 or angle[1] == "name" or angle[1] == "param" then return 1 end
  local count = 1 + parts(angle[2], most - 1)
  if count < most and angle[3] ~= nil then count = count + parts(angle[3], most - count) end
  return count
end

-- An angle of a gate's body. Where gates multiply what they are given it grows with each, and only its value does not.
local function put_in(angle, values, arguments)
  angle = parameters.substitute(angle, values, arguments)
  if parts(angle, LARGEST) >= LARGEST then
    refuse.for_values("an angle of more than %d parts, expected values for its parameters", LARGEST)
  end
  return angle
end

-- The angles of an operation with what is known put in: values (name → number, or nil) and the arguments of the gate
-- around it (list, or nil).
function M.angles(operation, count, values, arguments)
  local angles = {}
  for i = 1, count do
    local angle = operation[i + 1]
    angles[i] = type(angle) == "number" and angle or put_in(angle, values, arguments)
  end
  return angles
end

return M
