-- The module under the yardstick's load. Usage: calls.lua ADDRESS CALLS IN_FLIGHT POOL_SIZE
-- Prints: calls per second, CPU microseconds a call, peak RSS in MB, connections used.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"

local address, count, in_flight, pool_size = arg[1], tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local qasm = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local client <close> = arvak.connect(address, { pool_size = pool_size })
local left

local function worker()
  while left > 0 do
    left = left - 1
    assert(client:submit_qasm(qasm, "simulator", 1))
  end
end

local function run(calls)
  left = calls
  if in_flight == 1 then return worker() end
  arvak.run(function()
    for _ = 1, in_flight do arvak.spawn(worker) end
  end)
end

run(count // 10 + in_flight)   -- warm: connect, fill the allocator
local wall, cpu = clock.wall(), clock.cpu()
run(count)
wall, cpu = clock.wall() - wall, clock.cpu() - cpu
print(("%.0f %.2f %.1f %d"):format(count / wall, cpu / count * 1e6, clock.peak_rss(), client:stats().connections.open))
