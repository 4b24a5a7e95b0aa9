-- Whole jobs: submit, wait, fetch. The server simulates each on the same machine.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"
local sample = require "bench.sample"

local qasm = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local rounds = tonumber(os.getenv("ROUNDS") or 7)

local function worker(client, jobs)
  for _ = 1, jobs do assert(client:execute(qasm, "simulator", 100)) end
end

local function run(client, jobs, in_flight)
  if in_flight == 1 then return worker(client, jobs) end
  arvak.run(function()
    for _ = 1, in_flight do arvak.spawn(worker, client, jobs // in_flight) end
  end)
end

local cases = {}
for _, place in ipairs { "TCP", "UNIX" } do
  local address = assert(os.getenv(place), "run me by bench/serve")
  for _, load in ipairs { { in_flight = 1, jobs = 300 }, { in_flight = 64, jobs = 12800 } } do
    load.client = arvak.connect(address)
    load.title = ("%s, %s"):format(place == "TCP" and "TCP" or "unix socket",
      load.in_flight == 1 and "blocking, one at a time" or load.in_flight .. " tasks")
    load.rate, load.cpu = sample.new(), sample.new()
    run(load.client, load.in_flight, load.in_flight)
    cases[#cases + 1] = load
  end
end

for _ = 1, rounds do
  for _, case in ipairs(cases) do
    local wall, cpu = clock.wall(), clock.cpu()
    run(case.client, case.jobs, case.in_flight)
    case.rate:add(case.jobs / (clock.wall() - wall))
    case.cpu:add((clock.cpu() - cpu) / case.jobs * 1e6)
  end
end

print(("%-38s  %-22s  %s"):format("client:execute (the first look is after 2 ms)", "jobs/s", "us CPU a job"))
for _, case in ipairs(cases) do
  print(("%-45s  %-22s  %s"):format(case.title, case.rate:text("%.0f"), case.cpu:text("%.0f")))
  case.client:close()
end
