-- Teleportation: what was measured decides which gates follow.
-- Usage: lua5.4 examples/teleport.lua
local arvak = require "arvak"
local circuit = require "arvak.circuit"

local message = circuit.new(1):ry(1.1, 0):rz(0.4, 0)   -- any state

local c = circuit.new {
  qubits = { { "message", 1 }, { "here", 1 }, { "there", 1 } },
  bits = { { "phase", 1 }, { "flip", 1 }, { "check", 1 } },
}
local MESSAGE, HERE, THERE = 0, 1, 2

c:append(message, { MESSAGE }, { 0 }):barrier()
c:h(HERE):cx(HERE, THERE)                              -- a pair, one half of it far away
c:cx(MESSAGE, HERE):h(MESSAGE)
c:measure(MESSAGE, 0):measure(HERE, 1)                 -- two bits travel
c:when("flip", 1, function(body) body:x(THERE) end)
c:when("phase", 1, function(body) body:z(THERE) end)
c:barrier():append(message:inverse(), { THERE }, { 2 })  -- undoes the message, where it has arrived
c:measure(THERE, 2)
print(c)

local lowered = assert(c:lowered())
print(("the service gets %d operations on %d qubits"):format(lowered.gate_count, lowered.qubit_count))

local client <close> = arvak.connect(os.getenv "ARVAK_ADDRESS" or "embedded")
local result = assert(client:execute(c, "simulator", 1000))
print(result:histogram())
assert(result:of("check").counts["0"] == result.shots)   -- the message came through in every shot
