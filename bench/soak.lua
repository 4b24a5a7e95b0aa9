-- Nothing may grow: CALLS calls in 64 tasks, then CLIENTS clients that are opened, used once and closed.
-- Compared are the end and a mark early on, when everything that is kept for good has been made.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clock = require "bench.clock"

local address = os.getenv("TCP")
if not address then error("run me by bench/serve", 0) end
local CALLS, MARK = tonumber(os.getenv("CALLS") or 1000000), 10000
local CLIENTS, FIRST = tonumber(os.getenv("CLIENTS") or 1000), 100
local TASKS = 64
-- What may come and go: pages that malloc has not given back, and a thread of gRPC's pool.
local RSS_KB, LUA_KB, DESCRIPTORS, THREADS = 1024, 64, 0, 1

local qasm = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local failed = false

local function measure()
  collectgarbage()
  collectgarbage()
  return {
    rss = clock.rss(), lua = collectgarbage("count"), descriptors = clock.descriptors(), threads = clock.threads(),
  }
end

local function print_row(title, m)
  print(("%-22s RSS %6d KB, Lua %5.0f KB, %3d descriptors, %2d threads"):format(title, m.rss, m.lua, m.descriptors,
    m.threads))
end

local function compare(early, late)
  local grown = {}
  for name, bound in pairs { rss = RSS_KB, lua = LUA_KB, descriptors = DESCRIPTORS, threads = THREADS } do
    local more = late[name] - early[name]
    if more > bound then grown[#grown + 1] = ("%s by %.0f (bound %d)"):format(name, more, bound) end
  end
  if #grown == 0 then return print("flat") end
  failed = true
  print("GREW: " .. table.concat(grown, ", "))
end

-- ---- calls

-- Of each ten: six submits, a job's status, its result, one that fails, a future.
local function call(client, n)
  local kind = n % 10
  if kind < 6 then
    assert(client:submit_qasm(qasm, "simulator", 1))
  elseif kind == 6 then
    assert(client:get_job_status(assert(client:submit_qasm(qasm, "simulator", 1))))
  elseif kind == 7 then
    assert(client:list_backends())
  elseif kind == 8 then
    local value, err = client:get_job_result("00000000-0000-4000-8000-000000000000")
    assert(value == nil and err.kind == "job_not_found", err)
  else
    assert(client.async:submit_qasm(qasm, "simulator", { shots = 1, metadata = { ["x-team"] = "soak" } }):result())
  end
end

local function run_calls(client, count)
  local left = count
  local function worker()
    while left > 0 do
      left = left - 1
      call(client, left)
    end
  end
  arvak.run(function()
    for _ = 1, TASKS do arvak.spawn(worker) end
  end)
end

local function soak_calls()
  local client <close> = arvak.connect(address)
  run_calls(client, MARK)
  local early = measure()
  print_row(MARK .. " calls", early)
  run_calls(client, CALLS - MARK)
  local late = measure()
  print_row(CALLS .. " calls", late)
  compare(early, late)
end

-- ---- clients

local function run_clients(count)
  for _ = 1, count do
    local client <close> = arvak.connect(address)
    assert(client:list_backends())
  end
  -- What gRPC ends in threads of its own ends soon.
  for _ = 1, 20 do arvak.poll(0.01) end
end

local function soak_clients()
  run_clients(FIRST)
  local early = measure()
  print_row(FIRST .. " clients", early)
  run_clients(CLIENTS - FIRST)
  local late = measure()
  print_row(CLIENTS .. " clients", late)
  compare(early, late)
end

soak_calls()
soak_clients()
os.exit(not failed, true)
