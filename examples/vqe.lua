-- The energy of a hydrogen molecule, by a variational loop: measure the energy of a circuit with a parameter and its
-- slope, step downhill, and again.
-- Usage: lua5.4 examples/vqe.lua
local arvak = require "arvak"
local circuit = require "arvak.circuit"

-- H2 at 0.735 angstrom in the basis STO-3G, mapped to two qubits by parity, as Qiskit's tutorials of VQE have it. The
-- least energy of its electrons is -1.857275 hartree. O'Malley et al., Phys. Rev. X 6, 031007 (2016), measured it so.
local ONE, Z0, Z1, ZZ, XX = -1.052373245772859, 0.39793742484318045, -0.39793742484318045, -0.01128010425623538,
  0.18093119978423156
local EXACT = -1.857275

-- cos(theta/2) |01> + sin(theta/2) |10>: one electron of each spin, as a whole.
local theta = circuit.parameter "theta"
local state = circuit.new(2):x(0):ry(theta, 1):cx(1, 0)
local in_z = circuit.new(2):append(state):measure_all()
local in_x = circuit.new(2):append(state):h(0):h(1):measure_all()
print(in_x)

local client <close> = arvak.connect(os.getenv "ARVAK_ADDRESS" or "embedded")
local SHOTS = 20000

-- The energies at some angles. All circuits are under way at once.
local function energies(angles)
  local futures = {}
  for i, angle in ipairs(angles) do
    futures[2 * i - 1] = client.async:execute(in_z:bind { theta = angle }, "simulator", SHOTS)
    futures[2 * i] = client.async:execute(in_x:bind { theta = angle }, "simulator", SHOTS)
  end
  local list = {}
  for i = 1, #angles do
    local z, x = assert(futures[2 * i - 1]:result()), assert(futures[2 * i]:result())
    list[i] = ONE + Z0 * z:expectation { 0 } + Z1 * z:expectation { 1 } + ZZ * z:expectation { 0, 1 }
      + XX * x:expectation { 0, 1 }
  end
  return list
end

local angle, energy = 0.5, nil
for step = 1, 12 do
  local e = energies { angle, angle + math.pi / 2, angle - math.pi / 2 }
  energy = e[1]
  print(("%2d  theta %7.4f  energy %9.5f"):format(step, angle, energy))
  angle = angle - 1.2 * (e[2] - e[3]) / 2   -- the slope of a sine, from a quarter of a turn on either side
end
print(("measured %.4f, exact %.4f"):format(energy, EXACT))
assert(math.abs(energy - EXACT) < 0.02)   -- ten standard deviations
