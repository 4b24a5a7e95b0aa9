-- Batches: fifty jobs in five ways, a hundred thousand through an iterator, and what a journal costs.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"
local commits = require "spec.support.commits"
local devserver = require "arvak.devserver"
local sample = require "bench.sample"

local qasm = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local rounds = tonumber(os.getenv("ROUNDS") or 7)

local function circuits(count, shots)
  local list = {}
  for i = 1, count do list[i] = { qasm, shots } end
  return list
end

-- ---- fifty jobs of twenty milliseconds

local JOBS, LATENCY, AT_A_TIME = 50, 0.02, 10

local function execute_each(client, list)
  for _, circuit in ipairs(list) do assert(client:execute(circuit[1], "simulator", circuit[2])) end
end

local function execute_in_tasks(client, list)
  arvak.run(function()
    arvak.map(list, function(circuit) return client:execute(circuit[1], "simulator", circuit[2]) end,
      { concurrency = AT_A_TIME })
  end)
end

local function execute_as_futures(client, list)
  local manager <close> = arvak.batch_manager(client, { max_workers = AT_A_TIME })
  for f in arvak.as_completed(manager:submit_many(list, "simulator")) do assert(f:result()) end
end

local function execute_over(transport)
  return function(client, list)
    local manager <close> = arvak.batch_manager(client, { max_workers = AT_A_TIME })
    assert(manager:execute_batch(list, "simulator", { transport = transport }).ok)
  end
end

local ways = {
  { "sequential", execute_each }, { "tasks", execute_in_tasks }, { "futures (submit_many)", execute_as_futures },
  { "batch, unary", execute_over "unary" }, { "batch, stream", execute_over "stream" },
}

local function compare_ways()
  local server <close> = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0,
    job_latency = LATENCY })
  local client <close> = arvak.connect(server.address)
  local list = circuits(JOBS, 100)
  for _, way in ipairs(ways) do way.time = sample.new() end
  execute_as_futures(client, list)
  for _ = 1, rounds do
    for _, way in ipairs(ways) do
      local since = clock.wall()
      way[2](client, list)
      way.time:add(1000 * (clock.wall() - since))
    end
  end
  print(("%d jobs of 100 shots, %d ms each, %d at a time: the server needs %d ms, one after the other %d ms"):format(
    JOBS, 1000 * LATENCY, AT_A_TIME, 1000 * LATENCY * JOBS // AT_A_TIME, 1000 * LATENCY * JOBS))
  for _, way in ipairs(ways) do
    print(("  %-24s %s ms   %5.0f jobs/s"):format(way[1], way.time:text("%.1f"), 1000 * JOBS / way.time:median()))
  end
end

-- ---- many jobs

local function stream_many(count)
  local client <close> = arvak.connect((assert(os.getenv("TCP"), "run me by bench/serve")))
  local manager <close> = arvak.batch_manager(client)
  local drawn, seen = 0, 0
  local wall, cpu = clock.wall(), clock.cpu()
  local r = assert(manager:execute_batch(function()
    drawn = drawn + 1
    return drawn <= count and { qasm, 10 } or nil
  end, "simulator", { on_result = function() seen = seen + 1 end }))
  assert(r.ok and seen == count)
  print(("%d jobs through an iterator with on_result, 32 at a time:"):format(count))
  print(("  %.0f jobs/s (bound 5000), %.1f us CPU a job, peak RSS %.1f MB (bound 64)"):format(
    count / (clock.wall() - wall), (clock.cpu() - cpu) / count * 1e6, clock.peak_rss()))
end

-- ---- a journal

local function journal_costs(count, workers)
  local client <close> = arvak.connect((os.getenv("TCP")))
  local manager <close> = arvak.batch_manager(client, { max_workers = workers })
  local list, path, counted = circuits(count, 100), os.tmpname(), commits.count()
  local without, with, commits_made = sample.new(), sample.new(), sample.new()
  for _ = 1, rounds do
    for _, journal in ipairs { false, path } do
      os.remove(path)
      os.remove(path .. "-wal")
      counted.n = 0
      local cpu = clock.cpu()
      assert(manager:execute_batch(list, "simulator", { transport = "stream", journal = journal or nil }).ok)
      local figure = (clock.cpu() - cpu) / count * 1e6
      if journal then with:add(figure) else without:add(figure) end
      if journal then commits_made:add(counted.n) end
    end
  end
  os.remove(path)
  print(("a journal, %d jobs, max_workers = %d:"):format(count, workers))
  print(("  %.1f us CPU a job, all threads (bound 20): with it %s, without %s"):format(with:median() - without:median(),
    with:text("%.1f"), without:text("%.1f")))
  print(("  %s transactions, an fsync each (bound %d)"):format(commits_made:text("%.0f"), count * 4 // workers))
end

compare_ways()
stream_many(100000)
if pcall(require, "arvak.store.sqlite") then
  journal_costs(10000, 32)
else
  print("journal: not measured, the module arvak.store.sqlite was not built")
end
