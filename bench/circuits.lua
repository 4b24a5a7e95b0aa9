-- How fast circuits are read, lowered and written, and what a step of a sweep costs: CPU of this process.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local sample = require "bench.sample"

local OPERATIONS, GATES, BOUND, STEPS = 200000, 1000, 100, 200
local rounds = tonumber(os.getenv("ROUNDS") or 7)

-- As exporters write it: one statement a line.
local function flat_text()
  local lines = { "OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[20];", "creg c[20];" }
  for i = 1, OPERATIONS do
    local a, b = i % 20, (i + 7) % 20
    local kind = i % 3
    lines[#lines + 1] = kind == 0 and ("cx q[%d],q[%d];"):format(a, b) or kind == 1 and ("h q[%d];"):format(a)
      or ("rz(0.%06d) q[%d];"):format(i, a)
  end
  lines[#lines + 1] = "measure q -> c;"
  return table.concat(lines, "\n")
end

local function seconds_of(fn, ...)
  collectgarbage()
  local started = os.clock()
  local value = assert(fn(...))
  return os.clock() - started, value
end

local function sweep()
  local c = circuit.new(5)
  local theta = circuit.parameter "theta"
  for i = 1, GATES do
    if i % (GATES // BOUND) == 0 then c:rz(theta * i, i % 5) else c:h(i % 5) end
  end
  c:measure_all()
  assert(c:bind { theta = 0 }:to_qasm())
  return function()
    for i = 1, STEPS do c:bind { theta = i }:to_qasm() end
    return true
  end
end

local text, step = flat_text(), sweep()
local read, all, bound = sample.new(), sample.new(), sample.new()
for _ = 1, rounds do
  local reading, c = seconds_of(circuit.from_qasm, text)
  local writing = seconds_of(c.to_qasm, c)
  read:add(OPERATIONS / reading / 1000)
  all:add(OPERATIONS / (reading + writing) / 1000)
  bound:add(seconds_of(step) * 1000 / STEPS)
end
print(("circuits, flat text of %d operations: %s thousand a second read, %s read, lowered and written"):format(
  OPERATIONS, read:text("%.0f"), all:text("%.0f")))
print(("a step of a sweep, %d gates with %d bound, to its text: %s ms"):format(GATES, BOUND, bound:text("%.2f")))
