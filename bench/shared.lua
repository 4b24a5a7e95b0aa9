-- One batch shared through PostgreSQL: 1, 2 and 4 programs side by side on jobs of 20 ms, with the database's share of
-- CPU, and SQLite beside them; and what a job costs a program. The database is a real one of this measurement's own,
-- with fsync.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clusters = require "spec.support.cluster"
local devserver = require "arvak.devserver"
local sample = require "bench.sample"

local LUA = os.getenv "LUA" or "lua5.4"
local LATENCY, JOBS, WORKERS = 0.02, 600, 4
local rounds = tonumber(os.getenv("ROUNDS") or 3)

local program = [[
local arvak = require "arvak"
local clock = require "bench.clock"
local client = arvak.connect(arg[1])
assert(client:wait_for_ready(5))
local manager = arvak.batch_manager(client, { max_workers = math.tointeger(tonumber(arg[4])) })
local list = {}
for i = 1, math.tointeger(tonumber(arg[3])) do list[i] = { "OPENQASM 3.0; qubit q; x q;", 10 } end
io.stdout:write("ready\n")
io.stdout:flush()
while not io.open(arg[5]) do arvak.sleep(0.001) end   -- all begin together
local cpu, wall = clock.cpu(), clock.wall()
local r = assert(manager:execute_batch(list, "simulator", { journal = arg[2] ~= "" and arg[2] or nil }))
assert(r.ok and r.success_count == #list)
print(clock.wall() - wall, clock.cpu() - cpu)
]]

local file = os.tmpname()
local f = assert(io.open(file, "w"))
f:write(program)
f:close()

-- So many programs on one journal: seconds, and CPU of all of them.
local function run(address, journal, jobs, workers, count)
  local gate = os.tmpname()
  os.remove(gate)
  local pipes = {}
  for i = 1, count do
    pipes[i] = assert(io.popen(("%s %s %s '%s' %d %d %s"):format(LUA, file, address, journal, jobs, workers, gate)))
  end
  for i = 1, count do assert(pipes[i]:read("l") == "ready") end
  io.open(gate, "w"):close()
  local longest, cpu = 0, 0
  for i = 1, count do
    local wall, used = pipes[i]:read("n", "n")
    longest, cpu = math.max(longest, wall), cpu + used
    pipes[i]:close()
  end
  os.remove(gate)
  return longest, cpu
end

local ticks = 100   -- of /proc/*/stat in a second

-- CPU of the database: its server, with those of its processes that have ended, and those that live.
local function cpu_of(cluster)
  local pipe = io.popen(("for p in %s %s; do cat /proc/$p/stat; done 2>/dev/null"):format(
    cluster.pid, table.concat(cluster:children(), " ")))
  local sum = 0
  for line in pipe:lines() do
    local rest = line:match("^%d+ %(.*%) (.*)$")
    local fields = {}
    for word in rest:gmatch("%S+") do fields[#fields + 1] = tonumber(word) or 0 end
    sum = sum + fields[12] + fields[13] + (line:find("^" .. cluster.pid .. " ") and fields[14] + fields[15] or 0)
  end
  pipe:close()
  return sum / ticks
end

local server <close> = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0,
  job_latency = LATENCY })
local cluster = clusters.start { fsync = true }
cluster:sql "CREATE DATABASE lab"
local numbers = 0
local function shared()
  numbers = numbers + 1
  return cluster:name("lab", { batch = "b" .. numbers })
end

run(server.address, shared(), 10, WORKERS, 1)   -- makes the tables
local cases = { { "SQLite, 1 program", 1, is_file = true }, { "1 program", 1 }, { "2 programs", 2 },
  { "4 programs", 4 } }
for _, case in ipairs(cases) do case.rate, case.cpu, case.database = sample.new(), sample.new(), sample.new() end
for _ = 1, rounds do
  for _, case in ipairs(cases) do
    local path = os.tmpname()
    os.remove(path)
    local before = cpu_of(cluster)
    local wall, cpu = run(server.address, case.is_file and path or shared(), JOBS, WORKERS, case[2])
    case.rate:add(JOBS / wall)
    case.cpu:add(cpu / JOBS * 1e6)
    case.database:add((cpu_of(cluster) - before) / JOBS * 1e6)
    for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
  end
end
print(("a shared batch, %d jobs of %d ms, max_workers = %d a program (the server would run %.0f a second for each):")
  :format(JOBS, 1000 * LATENCY, WORKERS, WORKERS / LATENCY))
print(("  %-20s %-22s %-26s %s"):format("", "jobs/s", "us CPU a job, programs", "database"))
for _, case in ipairs(cases) do
  print(("  %-20s %-22s %-26s %s"):format(case[1], case.rate:text("%.0f"), case.cpu:text("%.0f"),
    case.is_file and "" or case.database:text("%.0f")))
end
print(("  2 programs are %.2f times as fast as one (bound 1.7)"):format(
  cases[3].rate:median() / cases[2].rate:median()))

-- ---- what a job costs a program

local function costs(count, workers)
  local fast <close> = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0 })
  local without, file_cpu, with = sample.new(), sample.new(), sample.new()
  for _ = 1, rounds do
    local path = os.tmpname()
    os.remove(path)
    without:add(select(2, run(fast.address, "", count, workers, 1)) / count * 1e6)
    file_cpu:add(select(2, run(fast.address, path, count, workers, 1)) / count * 1e6)
    with:add(select(2, run(fast.address, shared(), count, workers, 1)) / count * 1e6)
    for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
  end
  print(("%d jobs, max_workers = %d: a shared batch costs %.1f us CPU a job (bound 40), a file %.1f"):format(count,
    workers, with:median() - without:median(), file_cpu:median() - without:median()))
  print(("  shared %s, file %s, without %s"):format(with:text("%.1f"), file_cpu:text("%.1f"), without:text("%.1f")))
end

costs(5000, 32)
arvak.poll(0)
cluster:remove()
os.remove(file)
