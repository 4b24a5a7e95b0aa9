-- The slow evaluator's quantum state and gates: sparse amplitudes over numbered qubits, and matrices as tables.
-- A state is not normalized: the sum of its squares is the probability of having come here.
-- Index bit i of a matrix belongs to operand i + 1 of the gate.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local SMALL = 1e-28
local cos, sin, pi = math.cos, math.sin, math.pi

-- ---- complex numbers as { re, im }, matrices as rows of them

local function c(re, im) return { re, im or 0 } end
local function turn(angle) return { cos(angle), sin(angle) } end
local function times(a, b) return { a[1] * b[1] - a[2] * b[2], a[1] * b[2] + a[2] * b[1] } end
local function plus(a, b) return { a[1] + b[1], a[2] + b[2] } end
local zero, one = c(0), c(1)

function M.product(a, b)
  local r = {}
  for i = 1, #a do
    r[i] = {}
    for j = 1, #a do
      local sum = zero
      for k = 1, #a do sum = plus(sum, times(a[i][k], b[k][j])) end
      r[i][j] = sum
    end
  end
  return r
end

function M.dagger(a)
  local r = {}
  for i = 1, #a do
    r[i] = {}
    for j = 1, #a do r[i][j] = { a[j][i][1], -a[j][i][2] } end
  end
  return r
end

function M.scale(a, factor)
  local r = {}
  for i = 1, #a do
    r[i] = {}
    for j = 1, #a do r[i][j] = times(a[i][j], factor) end
  end
  return r
end

-- An angle in (-pi, pi].
local function principal(angle)
  angle = angle - 2 * pi * math.floor(angle / (2 * pi) + 0.5)
  if angle < -pi + 1e-9 then angle = angle + 2 * pi end
  return angle
end

M.principal = principal

-- A power of a unitary with two rows: each eigenphase in (-pi, pi] times the exponent.
function M.power(m, exponent)
  local det = plus(times(m[1][1], m[2][2]), times(c(-1), times(m[1][2], m[2][1])))
  local half = math.atan(det[2], det[1]) / 2
  local s = M.scale(m, turn(-half))   -- in SU(2): cos a - i sin a (n . sigma)
  local ca = math.max(-1, math.min(1, (s[1][1][1] + s[2][2][1]) / 2))
  local nx, ny, nz = -(s[1][2][2] + s[2][1][2]) / 2, (s[2][1][1] - s[1][2][1]) / 2, (s[2][2][2] - s[1][1][2]) / 2
  local sa = math.sqrt(nx * nx + ny * ny + nz * nz)
  if sa < 1e-12 then
    local phase = turn(principal(half + (ca < 0 and pi or 0)) * exponent)
    return { { phase, zero }, { zero, phase } }
  end
  nx, ny, nz = nx / sa, ny / sa, nz / sa
  local a = math.atan(sa, ca)
  local up, down = turn(principal(half - a) * exponent), turn(principal(half + a) * exponent)
  local mean = { (up[1] + down[1]) / 2, (up[2] + down[2]) / 2 }
  local diff = { (up[1] - down[1]) / 2, (up[2] - down[2]) / 2 }
  return { { plus(mean, times(diff, c(nz))), times(diff, c(nx, -ny)) },
    { times(diff, c(nx, ny)), plus(mean, times(diff, c(-nz))) } }
end

-- ---- matrices of gates

local function u(theta, phi, lambda)
  local ct, st = c(cos(theta / 2)), c(sin(theta / 2))
  return { { ct, times(c(-st[1]), turn(lambda)) }, { times(turn(phi), st), times(turn(phi + lambda), ct) } }
end

local function diagonal(...)
  local r, values = {}, { ... }
  for i = 1, #values do
    r[i] = {}
    for j = 1, #values do r[i][j] = i == j and values[i] or zero end
  end
  return r
end

local function rx(t) return { { c(cos(t / 2)), c(0, -sin(t / 2)) }, { c(0, -sin(t / 2)), c(cos(t / 2)) } } end
local function rz(t) return diagonal(turn(-t / 2), turn(t / 2)) end
local function p(t) return diagonal(one, turn(t)) end
local x, y, z = { { zero, one }, { one, zero } }, { { zero, c(0, -1) }, { c(0, 1), zero } }, diagonal(one, c(-1))
local root = math.sqrt(0.5)
local h = { { c(root), c(root) }, { c(root), c(-root) } }
local sx = { { c(0.5, 0.5), c(0.5, -0.5) }, { c(0.5, -0.5), c(0.5, 0.5) } }
local function rows(...)   -- a permutation: the column of the 1 in each row
  local r = {}
  for i, column in ipairs { ... } do
    r[i] = { zero, zero, zero, zero }
    r[i][column] = one
  end
  return r
end
local swap, dcx = rows(1, 3, 2, 4), rows(1, 4, 2, 3)

-- cos(t/2) - i sin(t/2) P, of a product P of Paulis, given as its image of each index: { row, factor }
local function turned(t, image)
  local r = {}
  for i = 1, 4 do r[i] = { zero, zero, zero, zero } end
  for column = 1, 4 do
    local row, factor = image(column - 1)
    r[column][column] = plus(r[column][column], c(cos(t / 2)))
    r[row + 1][column] = plus(r[row + 1][column], times(c(0, -sin(t / 2)), factor))
  end
  return r
end

local function both_y(k) return k ~ 3, (k == 0 or k == 3) and c(-1) or one end
local function mixed(t, b, i, j)   -- of xx_plus_yy and xx_minus_yy: rows i and j
  local r = diagonal(one, one, one, one)
  r[i][i], r[j][j] = c(cos(t / 2)), c(cos(t / 2))
  r[i][j] = times(c(0, -sin(t / 2)), turn(-b))
  r[j][i] = times(c(0, -sin(t / 2)), turn(b))
  return r
end

-- name = { parameters, qubits, controls, matrix of the last operands (with the parameters) }
local library = {
  id = { 0, 1, 0, function() return diagonal(one, one) end },
  u0 = { 1, 1, 0, function() return diagonal(one, one) end },
  x = { 0, 1, 0, function() return x end }, y = { 0, 1, 0, function() return y end },
  z = { 0, 1, 0, function() return z end }, h = { 0, 1, 0, function() return h end },
  s = { 0, 1, 0, function() return p(pi / 2) end }, sdg = { 0, 1, 0, function() return p(-pi / 2) end },
  t = { 0, 1, 0, function() return p(pi / 4) end }, tdg = { 0, 1, 0, function() return p(-pi / 4) end },
  sx = { 0, 1, 0, function() return sx end }, sxdg = { 0, 1, 0, function() return M.dagger(sx) end },
  p = { 1, 1, 0, p }, rx = { 1, 1, 0, rx }, ry = { 1, 1, 0, function(a) return u(a, 0, 0) end }, rz = { 1, 1, 0, rz },
  r = { 2, 1, 0, function(t, f) return u(t, f - pi / 2, pi / 2 - f) end }, U = { 3, 1, 0, u },
  cy = { 0, 2, 1, function() return y end }, cz = { 0, 2, 1, function() return z end },
  ch = { 0, 2, 1, function() return h end }, cx = { 0, 2, 1, function() return x end },
  csx = { 0, 2, 1, function() return sx end }, csxdg = { 0, 2, 1, function() return M.dagger(sx) end },
  cs = { 0, 2, 1, function() return p(pi / 2) end }, csdg = { 0, 2, 1, function() return p(-pi / 2) end },
  cp = { 1, 2, 1, p }, crx = { 1, 2, 1, rx }, cry = { 1, 2, 1, function(a) return u(a, 0, 0) end },
  crz = { 1, 2, 1, rz }, cu3 = { 3, 2, 1, u },
  cu = { 4, 2, 1, function(a, b, d, g) return M.scale(u(a, b, d), turn(g)) end },
  ccx = { 0, 3, 2, function() return x end }, ccz = { 0, 3, 2, function() return z end },
  c3x = { 0, 4, 3, function() return x end }, c4x = { 0, 5, 4, function() return x end },
  c3sx = { 0, 4, 3, function() return sx end }, swap = { 0, 2, 0, function() return swap end },
  cswap = { 0, 3, 1, function() return swap end },
  iswap = { 0, 2, 0, function()
    return { { one, zero, zero, zero }, { zero, zero, c(0, 1), zero }, { zero, c(0, 1), zero, zero },
      { zero, zero, zero, one } }
  end },
  dcx = { 0, 2, 0, function() return dcx end },
  ecr = { 0, 2, 0, function()
    return M.scale({ { zero, one, zero, c(0, 1) }, { one, zero, c(0, -1), zero }, { zero, c(0, 1), zero, one },
      { c(0, -1), zero, one, zero } }, c(root))
  end },
  rxx = { 1, 2, 0, function(a) return turned(a, function(k) return k ~ 3, one end) end },
  ryy = { 1, 2, 0, function(a) return turned(a, both_y) end },
  rzz = { 1, 2, 0, function(a) return diagonal(turn(-a / 2), turn(a / 2), turn(a / 2), turn(-a / 2)) end },
  rzx = { 1, 2, 0, function(a) return turned(a, function(k) return k ~ 2, k & 1 == 1 and c(-1) or one end) end },
  xx_plus_yy = { 2, 2, 0, function(a, b) return mixed(a, b or 0, 2, 3) end },
  xx_minus_yy = { 2, 2, 0, function(a, b) return mixed(a, b or 0, 1, 4) end },
}
for alias, name in pairs { u = "U", CX = "cx", cnot = "cx", phase = "p", u1 = "p", cphase = "cp", cu1 = "cp", prx = "r",
  toffoli = "ccx", fredkin = "cswap", c3sqrtx = "c3sx", mcx = "c3x", i = "id", cccx = "c3x" } do
  library[alias] = library[name]
end

-- Toffolis that are right up to phases, as sequences: { gate, operands… }
local T, D = pi / 4, -pi / 4
M.sequences = {
  rccx = { 3, { "h", 3 }, { T, 3 }, { "cx", 2, 3 }, { D, 3 }, { "cx", 1, 3 }, { T, 3 }, { "cx", 2, 3 }, { D, 3 },
    { "h", 3 } },
  rc3x = { 4, { "h", 4 }, { T, 4 }, { "cx", 3, 4 }, { D, 4 }, { "h", 4 }, { "cx", 1, 4 }, { T, 4 }, { "cx", 2, 4 },
    { D, 4 }, { "cx", 1, 4 }, { T, 4 }, { "cx", 2, 4 }, { D, 4 }, { "h", 4 }, { T, 4 }, { "cx", 3, 4 }, { D, 4 },
    { "h", 4 } },
}
M.sequences.rcccx = M.sequences.rc3x

local function shifted(theta, phi, lambda) return M.scale(u(theta, phi, lambda), turn(-(phi + lambda) / 2)) end

-- The library's gate of this name in that version of the language, or nil.
function M.find(name, version)
  if name == "u3" then return { 3, 1, 0, version == 3 and shifted or u } end
  if name == "u2" then
    return { 2, 1, 0, function(phi, lambda) return (version == 3 and shifted or u)(pi / 2, phi, lambda) end }
  end
  return library[name]
end

M.h, M.p, M.x, M.swap = h, p, x, swap

-- ---- states

function M.new() return { re = { [0] = 1.0 }, im = { [0] = 0.0 } } end

function M.copy(state)
  local r = { re = {}, im = {} }
  for k, v in pairs(state.re) do r.re[k], r.im[k] = v, state.im[k] end
  return r
end

-- Applies a matrix to targets where each control { qubit, value } has its value. Without targets: a phase.
function M.apply(state, m, targets, controls)
  local mask, wanted, n = 0, 0, #targets
  for _, control in ipairs(controls) do
    mask, wanted = mask | 1 << control[1], wanted | control[2] << control[1]
  end
  local all, spread = 0, { [0] = 0 }
  for i, q in ipairs(targets) do
    all = all | 1 << q
    for low = 0, (1 << (i - 1)) - 1 do spread[low | 1 << (i - 1)] = spread[low] | 1 << q end
  end
  local re, im = {}, {}
  for key, a in pairs(state.re) do
    local b = state.im[key]
    if key & mask ~= wanted then
      re[key], im[key] = (re[key] or 0) + a, (im[key] or 0) + b
    else
      local column = 1
      for i = 1, n do column = column + ((key >> targets[i] & 1) << (i - 1)) end
      local base = key & ~all
      for row = 1, 1 << n do
        local f = m[row][column]
        if f[1] ~= 0 or f[2] ~= 0 then
          local to = base | spread[row - 1]
          re[to] = (re[to] or 0) + f[1] * a - f[2] * b
          im[to] = (im[to] or 0) + f[1] * b + f[2] * a
        end
      end
    end
  end
  for key, a in pairs(re) do
    if a * a + im[key] * im[key] < SMALL then re[key], im[key] = nil, nil end
  end
  state.re, state.im = re, im
end

function M.weight(state)
  local sum = 0
  for key, a in pairs(state.re) do sum = sum + a * a + state.im[key] * state.im[key] end
  return sum
end

-- The part of a state in which the qubit has this value, and its weight.
function M.part(state, q, value)
  local r, weight = { re = {}, im = {} }, 0
  for key, a in pairs(state.re) do
    if key >> q & 1 == value then
      r.re[key], r.im[key] = a, state.im[key]
      weight = weight + a * a + r.im[key] * r.im[key]
    end
  end
  return r, weight
end

return M
