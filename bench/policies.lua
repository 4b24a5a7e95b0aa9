-- What policies cost while nothing goes wrong, and what an open breaker saves: a client with every policy on beside one
-- with none, in short turns within one process, so that both meet the same noise.
-- Environment: TCP, the address of a server.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"
local sample = require "bench.sample"

local address = assert(os.getenv("TCP"), "run me by bench/serve")
local qasm = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local TURNS, REFUSALS = 60, 20000

local policies = {
  retry = { budget = true, on_retry = print }, breaker = { failure_rate = 0.5, on_state_change = print },
  limiter = { rate = 1e6, burst = 1e6, max_in_flight = "adaptive" }, attempt_timeout = 10,
}

local function connect(options)
  local all = { pool_size = 1 }
  for name, value in pairs(options) do all[name] = value end
  return arvak.connect(address, all)
end

-- Microseconds of CPU for each of so many calls.
local function turn(client, calls, in_flight)
  local left, began = calls, clock.cpu()
  local function worker()
    while left > 0 do
      left = left - 1
      assert(client:submit_qasm(qasm, "simulator", 1))
    end
  end
  if in_flight == 1 then worker() else
    arvak.run(function()
      for _ = 1, in_flight do arvak.spawn(worker) end
    end)
  end
  return (clock.cpu() - began) / calls * 1e6
end

local function compare(in_flight, calls)
  local plain <close> = connect {}
  local armed <close> = connect(policies)
  local without, with, more = sample.new(), sample.new(), sample.new()
  for i = 0, TURNS do
    local first, second = plain, armed
    if i % 2 == 1 then first, second = armed, plain end
    local a, b = turn(first, calls, in_flight), turn(second, calls, in_flight)
    if i % 2 == 1 then a, b = b, a end
    if i > 0 then   -- the first turn warms
      without:add(a)
      with:add(b)
      more:add(b - a)
    end
  end
  print(("  %2d in flight      %.2f us CPU a call without, %.2f with: %+.2f (at most +1)"):format(in_flight,
    without:median(), with:median(), more:median()))
end

local function refuse()
  local client <close> = connect { breaker = true }
  client:breaker():force_open()
  local times = {}
  for i = 1, REFUSALS do
    local began = clock.wall()
    client:submit_qasm(qasm, "simulator", 1)
    times[i] = (clock.wall() - began) * 1e6
  end
  table.sort(times)
  print(("  an open breaker   refuses in %.1f us, p99 %.1f us (at most 100)"):format(times[REFUSALS // 2],
    times[REFUSALS * 99 // 100]))
end

print(("policies on, nothing goes wrong: medians of %d turns each, SubmitJob over TCP"):format(TURNS))
compare(1, 500)
compare(64, 2000)
refuse()
