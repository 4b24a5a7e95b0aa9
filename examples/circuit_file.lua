-- Reads a program of OpenQASM 2 or 3 from a file, draws it, and runs it.
-- Usage: lua5.4 examples/circuit_file.lua [file]     (default: adder.qasm, beside this program)
local arvak = require "arvak"
local circuit = require "arvak.circuit"

local folder = arg and arg[0]:match "^.*/" or ""
local path = arg and arg[1] or folder .. "adder.qasm"

local c, err = circuit.load(path)
if not c then error(tostring(err), 0) end   -- says file, line and column
print(c)
print(("%d qubits, %d bits, depth %d"):format(c:qubit_count(), c:bit_count(), c:depth()))

local lowered = assert(c:lowered())
print(("sent as   %d operations on %d qubits"):format(lowered.gate_count, lowered.qubit_count))

local client <close> = arvak.connect(os.getenv "ARVAK_ADDRESS" or "embedded")
local result = assert(client:execute(c, "simulator", 1000))
print(result:histogram())

if path:find "adder.qasm$" then
  assert(result.counts["101"] == result.shots)   -- 3 + 2 = 5
end
