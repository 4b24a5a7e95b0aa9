-- Whole jobs: submit, wait, fetch. The server simulates each on the same machine. Beside them the three calls by hand,
-- and jobs of 20 ms, of which a server of this process runs 50, 10 at a time: it needs 100 ms.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"
local devserver = require "arvak.devserver"
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

local function by_hand(client, jobs)
  for _ = 1, jobs do
    local job_id = assert(client:submit_qasm(qasm, "simulator", 100))
    repeat local job = assert(client:get_job_status(job_id)) until job.state == "COMPLETED"
    assert(client:get_job_result(job_id))
  end
end

local hand = sample.new()

for _ = 1, rounds do
  local began = clock.wall()
  by_hand(cases[1].client, cases[1].jobs)
  hand:add(cases[1].jobs / (clock.wall() - began))
  for _, case in ipairs(cases) do
    local wall, cpu = clock.wall(), clock.cpu()
    run(case.client, case.jobs, case.in_flight)
    case.rate:add(case.jobs / (clock.wall() - wall))
    case.cpu:add((clock.cpu() - cpu) / case.jobs * 1e6)
  end
end

print(("%-38s  %-22s  %s"):format("client:execute", "jobs/s", "us CPU a job"))
print(("%-45s  %s"):format("TCP, three calls by hand", hand:text("%.0f")))
for _, case in ipairs(cases) do
  print(("%-45s  %-22s  %s"):format(case.title, case.rate:text("%.0f"), case.cpu:text("%.0f")))
  case.client:close()
end

-- ---- jobs of 20 ms

local server <close> = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, job_latency = 0.02 })
local circuits = {}
for i = 1, 50 do circuits[i] = { qasm, 100 } end

local ways = {
  {
    "in 10 tasks",
    function(client)
      arvak.run(function()
        for _ = 1, 10 do arvak.spawn(worker, client, 5) end
      end)
    end,
  },
  {
    "as a unary batch of 10 workers",
    function(client)
      local manager <close> = arvak.batch_manager(client, { max_workers = 10 })
      assert(manager:execute_batch(circuits, "simulator", { transport = "unary" }).ok)
    end,
  },
}

for _, way in ipairs(ways) do
  local took = sample.new()
  for _ = 1, rounds do
    local client <close> = arvak.connect(server.address)   -- a new one, which knows nothing of how long jobs take
    assert(client:wait_for_ready(5))
    local began = clock.wall()
    way[2](client)
    took:add((clock.wall() - began) * 1000)
  end
  print(("%-45s  %s ms"):format("50 jobs of 20 ms, " .. way[1], took:text("%.0f")))
end
