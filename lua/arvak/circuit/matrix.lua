-- Unitary matrices of one qubit: products, powers, and the angles of U that give a matrix.
-- A matrix is the list of its four elements by rows, each a real and an imaginary part.
-- Invariant: phases are kept: power and angles give the matrix itself, not one that differs from it by a factor.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local NEAR = 1e-9   -- below it, a phase of -pi is taken for pi, and a length for none

-- e^(i gamma) U(theta, phi, lambda)
function M.of_angles(theta, phi, lambda, gamma)
  local c, s = math.cos(theta / 2), math.sin(theta / 2)
  gamma = gamma or 0
  return {
    c * math.cos(gamma), c * math.sin(gamma),
    -s * math.cos(gamma + lambda), -s * math.sin(gamma + lambda),
    s * math.cos(gamma + phi), s * math.sin(gamma + phi),
    c * math.cos(gamma + phi + lambda), c * math.sin(gamma + phi + lambda),
  }
end

-- b after a
function M.product(b, a)
  local m = {}
  for row = 0, 4, 4 do
    for column = 0, 2, 2 do
      local re, im = 0, 0
      for k = 0, 1 do
        local x, y, u, v = b[row + 2 * k + 1], b[row + 2 * k + 2], a[4 * k + column + 1], a[4 * k + column + 2]
        re, im = re + x * u - y * v, im + x * v + y * u
      end
      m[row + column + 1], m[row + column + 2] = re, im
    end
  end
  return m
end

-- A matrix times e^(i gamma).
function M.turned(m, gamma)
  local c, s, turned = math.cos(gamma), math.sin(gamma), {}
  for i = 1, 7, 2 do
    turned[i], turned[i + 1] = m[i] * c - m[i + 1] * s, m[i] * s + m[i + 1] * c
  end
  return turned
end

-- A phase within (-pi, pi].
function M.principal(phase)
  local wrapped = phase - 2 * math.pi * math.ceil((phase - math.pi) / (2 * math.pi))
  return wrapped <= -math.pi + NEAR and wrapped + 2 * math.pi or wrapped
end

-- Half the phase of the determinant, and the matrix without it: cos w + i sin w (n . sigma), as w and sin w * n.
local function rotation_of(m)
  local re = m[1] * m[7] - m[2] * m[8] - m[3] * m[5] + m[4] * m[6]
  local im = m[1] * m[8] + m[2] * m[7] - m[3] * m[6] - m[4] * m[5]
  local alpha = math.atan(im, re) / 2
  local v = M.turned(m, -alpha)
  local x, y, z = (v[4] + v[6]) / 2, (v[3] - v[5]) / 2, (v[2] - v[8]) / 2
  return alpha, math.atan(math.sqrt(x * x + y * y + z * z), (v[1] + v[7]) / 2), x, y, z
end

-- The principal power: that of the eigenvalues, whose phases lie within (-pi, pi].
function M.power(m, exponent)
  local alpha, w, x, y, z = rotation_of(m)
  local length = math.sqrt(x * x + y * y + z * z)
  if length < NEAR then
    local phase = M.principal(alpha + w) * exponent
    return { math.cos(phase), math.sin(phase), 0, 0, 0, 0, math.cos(phase), math.sin(phase) }
  end
  x, y, z = x / length, y / length, z / length
  local a, b = M.principal(alpha + w) * exponent, M.principal(alpha - w) * exponent
  local sr, si = (math.cos(a) + math.cos(b)) / 2, (math.sin(a) + math.sin(b)) / 2
  local dr, di = (math.cos(a) - math.cos(b)) / 2, (math.sin(a) - math.sin(b)) / 2
  return {
    sr + z * dr, si + z * di, x * dr + y * di, x * di - y * dr,
    x * dr - y * di, x * di + y * dr, sr - z * dr, si - z * di,
  }
end

local function phase_of(re, im) return math.atan(im, re) end

-- theta, phi, lambda and gamma with which e^(i gamma) U(theta, phi, lambda) is the matrix.
function M.angles(m)
  local diagonal, other = math.sqrt(m[1] * m[1] + m[2] * m[2]), math.sqrt(m[5] * m[5] + m[6] * m[6])
  if other < NEAR then
    local gamma = phase_of(m[1], m[2])
    return 0, 0, phase_of(m[7], m[8]) - gamma, gamma
  end
  local gamma = diagonal < NEAR and 0 or phase_of(m[1], m[2])
  local theta = diagonal < NEAR and math.pi or 2 * math.atan(other, diagonal)
  return theta, phase_of(m[5], m[6]) - gamma, phase_of(-m[3], -m[4]) - gamma, gamma
end

return M
