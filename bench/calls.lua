-- The module under the yardstick's load. Usage: calls.lua ADDRESS CALLS IN_FLIGHT CONNECTIONS
-- Prints: calls per second, CPU microseconds a call, peak RSS in MB.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"

local address, count, in_flight, connections = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local qasm = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local client <close> = arvak.connect(address, { pool_size = connections })

local function worker(calls)
  for _ = 1, calls do assert(client:submit_qasm(qasm, "simulator", 1)) end
end

local function run(calls)
  if in_flight == 1 then return worker(calls) end
  arvak.run(function()
    for _ = 1, in_flight do arvak.spawn(worker, calls // in_flight) end
  end)
end

run(count // 10 + in_flight)
local wall, cpu = clock.wall(), os.clock()
run(count)
wall, cpu = clock.wall() - wall, os.clock() - cpu
print(("%.0f %.2f %.1f"):format(count / wall, cpu / count * 1e6, clock.peak_rss()))
