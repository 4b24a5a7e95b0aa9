-- Grover's search: finds a marked number among 16, in 3 rounds.
-- Usage: lua5.4 examples/grover.lua
local arvak = require "arvak"
local circuit = require "arvak.circuit"

local QUBITS, MARKED, ROUNDS = 4, 11, 3   -- 3 is about pi/4 of the root of 16

-- Turns the phase of one number: 1 in all qubits after those that are 0 in it are turned over.
local function phase_of(number)
  local c = circuit.new(QUBITS)
  local function turn_zeros()
    for q = 0, QUBITS - 1 do
      if number >> q & 1 == 0 then c:x(q) end
    end
  end
  turn_zeros()
  c:append(circuit.new(1):z(0):controlled(QUBITS - 1))
  turn_zeros()
  return c
end

local everywhere = circuit.new(QUBITS)
for q = 0, QUBITS - 1 do everywhere:h(q) end

local round = circuit.new(QUBITS)
round:append(phase_of(MARKED))   -- the oracle
round:append(everywhere):append(phase_of(0)):append(everywhere)

local search = circuit.new(QUBITS):append(everywhere):append(round:repeated(ROUNDS)):measure_all()
print(search)

local client <close> = arvak.connect(os.getenv "ARVAK_ADDRESS" or "embedded")
local result = assert(client:execute(search, "simulator", 1000))
print(result:histogram())

local bits, share = result:most_frequent()
print(("found %d, in %.1f %% of the shots"):format(tonumber(bits, 2), 100 * share))
assert(tonumber(bits, 2) == MARKED and share > 0.9)   -- 96.1 % in theory
