-- A sweep: one circuit with a parameter, bound to many values, all in one batch.
-- Usage: lua5.4 examples/circuit_sweep.lua
local arvak = require "arvak"
local circuit = require "arvak.circuit"

-- A Ramsey experiment: the phase between two pulses shows as the share of 1.
local phi = circuit.parameter "phi"
local ramsey = circuit.new(1):h(0):rz(phi, 0):h(0):measure(0, 0)
print(ramsey)

local STEPS, SHOTS = 24, 2000
local entries = {}
for i = 0, STEPS do
  entries[i + 1] = { ramsey:bind { phi = i * 2 * math.pi / STEPS }, SHOTS }
end

local client <close> = arvak.connect(os.getenv "ARVAK_ADDRESS" or "embedded")
local manager <close> = arvak.batch_manager(client)
local r = assert(manager:execute_batch(entries, "simulator"))

local worst = 0
for i, item in ipairs(r.items) do
  local result = assert(item.result, item.err)
  local share, exact = (result.counts["1"] or 0) / SHOTS, math.sin((i - 1) * math.pi / STEPS) ^ 2
  worst = math.max(worst, math.abs(share - exact))
  print(("%6.3f  %5.3f  %s"):format((i - 1) * 2 * math.pi / STEPS, share, ("#"):rep(math.floor(share * 50 + 0.5))))
end
print(("off by %.3f at most"):format(worst))
assert(worst < 0.1)   -- nine standard deviations
