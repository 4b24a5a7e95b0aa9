-- Small dense quantum mechanics for specs: complex matrices, what each gate of the library is by its closed form, and
-- states of few qubits. Written for itself: it shares nothing with the library that is tested.
-- A complex number is { re, im }; a matrix is a list of rows. The first operand of a gate is the most significant bit
-- of its matrix's index; qubit 0 is the least significant bit of a state's index.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local function complex(re, im) return { re, im or 0 } end
local function polar(angle) return { math.cos(angle), math.sin(angle) } end
local function add(a, b) return { a[1] + b[1], a[2] + b[2] } end
local function times(a, b) return { a[1] * b[1] - a[2] * b[2], a[1] * b[2] + a[2] * b[1] } end
local function scale(a, x) return { a[1] * x, a[2] * x } end
local ZERO, ONE = { 0, 0 }, { 1, 0 }

-- ---- matrices

function M.identity(size)
  local m = {}
  for i = 1, size do
    m[i] = {}
    for j = 1, size do m[i][j] = i == j and ONE or ZERO end
  end
  return m
end

function M.product(a, b)
  local m = {}
  for i = 1, #a do
    m[i] = {}
    for j = 1, #a do
      local sum = ZERO
      for k = 1, #a do sum = add(sum, times(a[i][k], b[k][j])) end
      m[i][j] = sum
    end
  end
  return m
end

function M.adjoint(a)
  local m = {}
  for i = 1, #a do
    m[i] = {}
    for j = 1, #a do m[i][j] = { a[j][i][1], -a[j][i][2] } end
  end
  return m
end

-- The first matrix acts on the more significant bits.
function M.tensor(a, b)
  local m, size = {}, #b
  for i = 0, #a * size - 1 do
    m[i + 1] = {}
    for j = 0, #a * size - 1 do
      m[i + 1][j + 1] = times(a[i // size + 1][j // size + 1], b[i % size + 1][j % size + 1])
    end
  end
  return m
end

-- A matrix under one control in front of it.
function M.controlled(a, value)
  local m, size = M.identity(2 * #a), #a
  local from = value == 0 and 0 or size
  for i = 1, size do
    for j = 1, size do m[from + i][from + j] = a[i][j] end
  end
  return m
end

function M.whole_power(a, exponent)
  if exponent < 0 then return M.whole_power(M.adjoint(a), -exponent) end
  local m = M.identity(#a)
  for _ = 1, exponent do m = M.product(a, m) end
  return m
end

local function phase(a) return math.atan(a[2], a[1]) end

-- The principal power of a number of length 1.
function M.powered_phase(value, exponent)
  local p = phase(value)
  if p < -math.pi + 1e-6 then p = p + 2 * math.pi end
  return polar(p * exponent)
end

-- The principal power of a matrix of two rows, by the roots of its characteristic polynomial and Lagrange's formula.
function M.root(a, exponent)
  local trace = add(a[1][1], a[2][2])
  local det = add(times(a[1][1], a[2][2]), scale(times(a[1][2], a[2][1]), -1))
  local square = add(scale(times(trace, trace), 0.25), scale(det, -1))
  local length, angle = math.sqrt(math.sqrt(square[1] ^ 2 + square[2] ^ 2)), phase(square) / 2
  local half = scale(polar(angle), length)
  local x, y = add(scale(trace, 0.5), half), add(scale(trace, 0.5), scale(half, -1))
  local function power(value) return M.powered_phase(value, exponent) end
  local m = { {}, {} }
  if length < 1e-6 then
    local value = power(x)
    return { { value, ZERO }, { ZERO, value } }
  end
  local gap = scale(half, 2)
  local inverse = scale({ gap[1], -gap[2] }, 1 / (gap[1] ^ 2 + gap[2] ^ 2))
  local px, py = power(x), power(y)
  for i = 1, 2 do
    for j = 1, 2 do   -- px (A - y) / (x - y) - py (A - x) / (x - y)
      local one = i == j and ONE or ZERO
      local left = times(px, add(a[i][j], scale(times(one, y), -1)))
      local right = times(py, add(a[i][j], scale(times(one, x), -1)))
      m[i][j] = times(add(left, scale(right, -1)), inverse)
    end
  end
  return m
end

-- The largest difference of two matrices' elements.
function M.distance(a, b)
  local most = 0
  for i = 1, #a do
    for j = 1, #a do
      most = math.max(most, math.abs(a[i][j][1] - b[i][j][1]), math.abs(a[i][j][2] - b[i][j][2]))
    end
  end
  return most
end

-- ---- gates by their closed forms

local R = math.sqrt(0.5)
local I = { 0, 1 }

local function rows(...)
  local m = {}
  for i, row in ipairs { ... } do
    m[i] = {}
    for j, value in ipairs(row) do m[i][j] = type(value) == "number" and complex(value) or value end
  end
  return m
end

local function diagonal(...)
  local m = M.identity(select("#", ...))
  for i, value in ipairs { ... } do m[i][i] = type(value) == "number" and complex(value) or value end
  return m
end

local function u(theta, phi, lambda, gamma)
  local c, s = math.cos(theta / 2), math.sin(theta / 2)
  local g = polar(gamma or 0)
  return rows({ scale(g, c), times(g, scale(polar(lambda), -s)) },
    { times(g, scale(polar(phi), s)), times(g, scale(polar(phi + lambda), c)) })
end

local X, Y, Z = rows({ 0, 1 }, { 1, 0 }), rows({ 0, { 0, -1 } }, { I, 0 }), diagonal(1, -1)
local H = rows({ R, R }, { R, -R })
local SX = rows({ { 0.5, 0.5 }, { 0.5, -0.5 } }, { { 0.5, -0.5 }, { 0.5, 0.5 } })
local SWAP = rows({ 1, 0, 0, 0 }, { 0, 0, 1, 0 }, { 0, 1, 0, 0 }, { 0, 0, 0, 1 })

-- cos(a/2) - i sin(a/2) P for a Pauli string P
local function around(pauli, angle)
  local c, s = math.cos(angle / 2), math.sin(angle / 2)
  local m = M.identity(#pauli)
  for i = 1, #pauli do
    for j = 1, #pauli do
      m[i][j] = add(i == j and complex(c) or ZERO, times({ 0, -s }, pauli[i][j]))
    end
  end
  return m
end

local function rotation(...)
  local pauli = ...
  for i = 2, select("#", ...) do pauli = M.tensor(pauli, (select(i, ...))) end
  return function(angle) return around(pauli, angle) end
end

local function of(m) return function() return m end end
local function p(angle) return diagonal(1, polar(angle)) end

-- The rows of rccx: what Maslov's circuit comes to (relative phases on the states of c and target).
local function relative_toffoli()
  local m = M.identity(8)
  m[6][6] = complex(-1)
  m[7][7], m[8][8], m[7][8], m[8][7] = ZERO, ZERO, { 0, -1 }, { 0, 1 }
  return m
end

local function controlled(n, gate)
  return function(...)
    local m = gate(...)
    for _ = 1, n do m = M.controlled(m) end
    return m
  end
end

local function echoed()   -- (1 x X - X x Y) / sqrt 2, the first operand on the right
  local a, b = M.tensor(X, M.identity(2)), M.tensor(Y, X)
  local m = M.identity(4)
  for i = 1, 4 do
    for j = 1, 4 do m[i][j] = scale(add(a[i][j], scale(b[i][j], -1)), R) end
  end
  return m
end

local gates = {
  id = of(M.identity(2)), u0 = of(M.identity(2)), x = of(X), y = of(Y), z = of(Z), h = of(H), sx = of(SX),
  sxdg = of(M.adjoint(SX)), s = of(diagonal(1, I)), sdg = of(diagonal(1, { 0, -1 })), t = of(p(math.pi / 4)),
  tdg = of(p(-math.pi / 4)), p = p, phase = p, u1 = p, U = u, u = u, u3 = u,
  u2 = function(phi, lambda) return u(math.pi / 2, phi, lambda) end,
  rx = rotation(X), ry = rotation(Y), rz = rotation(Z), rxx = rotation(X, X), ryy = rotation(Y, Y),
  rzz = rotation(Z, Z), rzx = rotation(Z, X),
  r = function(theta, phi)
    local c, s = math.cos(theta / 2), math.sin(theta / 2)
    return rows({ c, times({ 0, -s }, polar(-phi)) }, { times({ 0, -s }, polar(phi)), c })
  end,
  swap = of(SWAP), iswap = of(rows({ 1, 0, 0, 0 }, { 0, 0, I, 0 }, { 0, I, 0, 0 }, { 0, 0, 0, 1 })),
  dcx = of(rows({ 1, 0, 0, 0 }, { 0, 0, 1, 0 }, { 0, 0, 0, 1 }, { 0, 1, 0, 0 })), ecr = echoed,
  cu = controlled(1, u), cu3 = controlled(1, u), cswap = controlled(1, of(SWAP)), rccx = relative_toffoli,
  ccz = controlled(2, of(Z)), c3sx = controlled(3, of(SX)), c3sqrtx = controlled(3, of(SX)),
  gphase = function(angle) return { { polar(angle) } } end,
}
gates.prx = gates.r
for name, base in pairs { x = "x", y = "y", z = "z", h = "h", s = "s", sdg = "sdg", sx = "sx", p = "p", phase = "p",
  u1 = "p", rx = "rx", ry = "ry", rz = "rz" } do
  gates["c" .. name] = controlled(1, gates[base])
end
gates.CX = gates.cx
for name, n in pairs { ccx = 2, c3x = 3, c4x = 4 } do gates[name] = controlled(n, of(X)) end

-- rc3x: the toffoli of three controls with phases: i on 1100, -i on 1101, and x with signs where all three are 1.
function gates.rc3x()
  local m = M.identity(16)
  m[13][13], m[14][14] = { 0, 1 }, { 0, -1 }
  m[15][15], m[16][16], m[15][16], m[16][15] = ZERO, ZERO, ONE, complex(-1)
  return m
end
gates.rcccx = gates.rc3x

-- The matrix of a gate of the library.
function M.gate(name, ...) return assert(gates[name], name)(...) end

-- ---- states

-- A state of so many qubits that are all 0.
function M.state(qubits)
  local state = { qubits = qubits, re = { 1 }, im = { 0 } }
  for i = 2, 1 << qubits do state.re[i], state.im[i] = 0, 0 end
  return state
end

function M.copy(state)
  return { qubits = state.qubits, re = table.move(state.re, 1, #state.re, 1, {}),
    im = table.move(state.im, 1, #state.im, 1, {}) }
end

-- Where in the state each index of a gate's matrix lies.
local function offsets_of(qubits)
  local offsets = {}
  for index = 0, (1 << #qubits) - 1 do
    local offset = 0
    for i, qubit in ipairs(qubits) do
      if index >> (#qubits - i) & 1 == 1 then offset = offset | 1 << qubit end
    end
    offsets[index + 1] = offset
  end
  return offsets
end

-- Applies a matrix to qubits.
function M.apply(state, m, qubits)
  local offsets, mask, size = offsets_of(qubits), 0, #m
  for _, qubit in ipairs(qubits) do mask = mask | 1 << qubit end
  local re, im, old_re, old_im = state.re, state.im, {}, {}
  for base = 0, (1 << state.qubits) - 1 do
    if base & mask == 0 then
      for i = 1, size do old_re[i], old_im[i] = re[base + offsets[i] + 1], im[base + offsets[i] + 1] end
      for i = 1, size do
        local x, y, row = 0, 0, m[i]
        for j = 1, size do
          local c = row[j]
          x, y = x + c[1] * old_re[j] - c[2] * old_im[j], y + c[1] * old_im[j] + c[2] * old_re[j]
        end
        re[base + offsets[i] + 1], im[base + offsets[i] + 1] = x, y
      end
    end
  end
end

-- The part of a state where a qubit has a value (not normalized), and its weight.
function M.project(state, qubit, value)
  local part, weight = M.copy(state), 0
  for index = 0, (1 << state.qubits) - 1 do
    if index >> qubit & 1 == value then
      weight = weight + part.re[index + 1] ^ 2 + part.im[index + 1] ^ 2
    else
      part.re[index + 1], part.im[index + 1] = 0, 0
    end
  end
  return part, weight
end

-- Weight of each basis state: bitstring → probability, qubit 0 rightmost.
function M.weights(state)
  local weights = {}
  for index = 0, (1 << state.qubits) - 1 do
    local weight = state.re[index + 1] ^ 2 + state.im[index + 1] ^ 2
    if weight > 1e-13 then
      local key = {}
      for qubit = state.qubits - 1, 0, -1 do key[#key + 1] = index >> qubit & 1 end
      weights[table.concat(key)] = weight
    end
  end
  return weights
end

return M
