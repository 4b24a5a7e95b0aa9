-- The table of `make bench`: SubmitJob by the yardstick, by our module and by grpc.aio, in interleaved rounds.
-- Environment: TCP and UNIX, addresses of one server; ROUNDS; PYTHON.
-- SPDX-License-Identifier: Apache-2.0
local sample = require "bench.sample"

local build, lua = os.getenv("ARVAK_BUILD") or "build", os.getenv("LUA") or "lua5.4"
local rounds = tonumber(os.getenv("ROUNDS") or 7)
local POOL_SIZE = 4

-- One that can import grpc.aio, or nil.
local function find_python()
  for _, python in ipairs { os.getenv("PYTHON") or "python3", "/usr/bin/python3" } do
    if os.execute(python .. " -c 'import grpc.aio' >/dev/null 2>&1") then return python end
  end
end

local python = find_python()
local peers = {
  { name = "raw C core", command = build .. "/bench/raw" },
  { name = "arvak", command = lua .. " bench/calls.lua" },
  python and { name = "grpc.aio", command = python .. " bench/aio.py", share = 3 },
}

-- connections: what raw and grpc.aio use, round robin; pool_size: what our client may open.
local cases = {}
for _, place in ipairs { "TCP", "UNIX" } do
  local address = assert(os.getenv(place), "run me by bench/serve")
  for _, load in ipairs {
    { in_flight = 1, calls = 10000, connections = 1, pool_size = POOL_SIZE },
    { in_flight = 64, calls = 60000, connections = 1, pool_size = 1 },
    { in_flight = 64, calls = 60000, connections = POOL_SIZE, pool_size = POOL_SIZE },
  } do
    load.title = ("%s, %s in flight, %d connection%s"):format(place == "TCP" and "TCP" or "unix socket", load.in_flight,
      load.connections, load.connections > 1 and "s" or "")
    load.address = address
    load.results = {}
    cases[#cases + 1] = load
  end
end

local function run(peer, case)
  local connections = peer.name == "arvak" and case.pool_size or case.connections
  local text = sample.output(("%s %s %d %d %d"):format(peer.command, case.address, case.calls // (peer.share or 1),
    case.in_flight, connections))
  local rate, cpu, rss, used = text:match("^([%d.]+) ([%d.]+) ([%d.]+) (%d+)")
  assert(rate, text)
  assert(tonumber(used) == case.connections, case.title .. ": " .. peer.name .. " used " .. used)
  return tonumber(rate), tonumber(cpu), tonumber(rss)
end

local function result_of(case, peer)
  local result = case.results[peer.name]
  if result then return result end
  result = {}
  for _, figure in ipairs { "rate", "cpu", "rss", "ratio", "later" } do result[figure] = sample.new() end
  case.results[peer.name] = result
  return result
end

-- Every peer once, in an order that moves on from round to round; ratios are of one round.
local function play(case, round)
  local rates = {}
  for i = 1, #peers do
    local peer = peers[(i + round) % #peers + 1]
    local rate, cpu, rss = run(peer, case)
    local result = result_of(case, peer)
    rates[peer.name] = rate
    result.rate:add(rate)
    result.cpu:add(cpu)
    result.rss:add(rss)
  end
  for name, rate in pairs(rates) do
    case.results[name].ratio:add(rate / rates["raw C core"])
    case.results[name].later:add(case.in_flight == 1 and 1e6 / rate - 1e6 / rates["raw C core"] or 0)
  end
end

local function print_case(case)
  print(case.title)
  for _, peer in ipairs(peers) do
    local result = case.results[peer.name]
    local is_raw = peer.name == "raw C core"
    print(("  %-10s  %-22s  %-18s  %-17s  %-19s  %5.1f"):format(peer.name, result.rate:text("%.0f"),
      result.cpu:text("%.1f"), is_raw and "" or result.ratio:text("%.2f"),
      is_raw and "" or case.in_flight == 1 and result.later:text("%+.1f") or "", result.rss:median()))
  end
end

-- The bounds of docs/design.md, section 8.
local function print_bounds()
  local ratio, later, cpu, memory = math.huge, -math.huge, 0, 0
  for _, case in ipairs(cases) do
    local ours, raw = case.results["arvak"], case.results["raw C core"]
    if case.in_flight == 1 then
      later = math.max(later, ours.later:median())
      memory = math.max(memory, ours.rss:median() - raw.rss:median())
    else
      ratio = math.min(ratio, ours.ratio:median())
      cpu = math.max(cpu, ours.cpu:median())
    end
  end
  print("the worst of the medians above, and their bounds:")
  print(("  64 in flight     %.2f of raw (0.85, aim 0.95), %.1f us CPU an RPC (16)"):format(ratio, cpu))
  print(("  one at a time    %+.1f us an RPC over raw (+8), %+.1f MB peak RSS over raw (+4)"):format(later, memory))
end

local is_watched = os.execute("test -t 2")

local function show_progress(text)
  if is_watched then io.stderr:write(("\r%-60s\r"):format(text)) end
end

for round = 1, rounds do
  for _, case in ipairs(cases) do
    show_progress(("round %d of %d: %s"):format(round, rounds, case.title))
    play(case, round)
  end
end
show_progress("")

print(("SubmitJob: medians of %d interleaved rounds, with smallest and largest"):format(rounds))
print(("%-12s  %-22s  %-18s  %-17s  %-19s  %s"):format("", "RPC/s", "us CPU an RPC", "of raw, same round",
  "us an RPC over raw", "peak RSS, MB"))
for _, case in ipairs(cases) do print_case(case) end
if not python then print("grpc.aio: not measured, python3-grpcio is not installed") end
print("Connections are those really used: raw and grpc.aio go round robin, our client opens the next one when each has")
print(("16 calls in flight, so that one at a time it uses 1 of pool_size = %d."):format(POOL_SIZE))
print_bounds()
