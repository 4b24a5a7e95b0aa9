-- Job futures at their limits: while Lua computes, and ten thousand at once. Prints the figures.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local _, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- Runs a Lua program in a process of its own: what it printed.
local function run_child(program, timeout)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(program)
  file:close()
  local pipe = assert(io.popen(("LUA_CPATH_5_4='%s' timeout %d '%s' %s 2>&1")
    :format(package.cpath, timeout, os.getenv("LUA") or "lua5.4", path)))
  local output = pipe:read("a")
  pipe:close()
  os.remove(path)
  return output
end

describe("while Lua computes for a second,", function()
  after_each(close)

  it("a job of a fresh client is run, and its result is there in milliseconds then", function()
    server = helper.start()
    client = arvak.connect(server.address)
    local f = client:submit_qasm_future(bell, "simulator", 10)
    local ends_at = monotime() + 1
    while monotime() < ends_at do math.sqrt(2) end
    local stats, since = server:stats(), monotime()
    assert.equal(1, stats.accepted)
    assert.equal(1, stats.jobs.COMPLETED)
    assert.is_truthy(f:result(TEST_TIMEOUT))
    local took = monotime() - since
    print(("result() after a second of computing: %.1f ms"):format(took * 1e3))
    assert.is_true(took < 0.25)   -- 4 ms on an idle machine
  end)
end)

describe("ten thousand job futures at once", function()
  -- In a process of its own, whose memory is nothing else's.
  local program = [[
    local arvak, devserver = require "arvak", require "arvak.devserver"
    local N, bell = 10000, "OPENQASM 3.0; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"
    local server = devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0, job_latency = 2 }
    local client, circuits, most, ended, twice = arvak.connect(server.address), {}, 0, 0, 0
    assert(client:wait_for_ready())
    for i = 1, N do circuits[i] = { bell, 1 } end
    local function bytes()
      collectgarbage() collectgarbage()
      return collectgarbage("count") * 1024
    end
    local function step()
      arvak.poll(0.01)
      most = math.max(most, client:stats().in_flight)
    end
    local before = bytes()
    local fs = client:submit_batch_future(circuits, "simulator")
    local queued = (bytes() - before) / N
    for i = 1, N do while not fs[i].job_id and not fs[i]:done() do step() end end
    local waiting, seen = (bytes() - before) / N, {}
    for i = 1, N do
      fs[i]:add_done_callback(function(f)
        if seen[f] ~= nil then twice = twice + 1 end
        seen[f], ended = f:result(0) ~= nil, ended + 1
      end)
    end
    while ended < N do step() end
    local good, rss = 0, 0
    for i = 1, N do if seen[fs[i] ] then good = good + 1 end end
    for line in io.lines "/proc/self/status" do rss = tonumber(line:match "^VmHWM:%s*(%d+)") or rss end
    client:close()
    server:stop()
    print(("good=%d twice=%d in_flight=%d queued=%.0f waiting=%.0f rss=%d"):format(good, twice, most, queued, waiting,
      rss // 1024))]]

  it("all complete, once each, with 1 KB of Lua memory each at most, 128 calls in gRPC and less than 80 MB", function()
    local output = run_child(program, 120)
    local figures = {}
    for name, value in output:gmatch("(%w+_?%w*)=(%d+)") do figures[name] = tonumber(value) end
    assert.equal(10000, figures.good, output)
    print("ten thousand job futures: " .. output)
    assert.equal(0, figures.twice)
    assert.is_true(figures.in_flight <= 128)
    assert.is_true(figures.queued <= 1024 and figures.waiting <= 1024)
    if not os.getenv("ASAN_OPTIONS") then assert.is_true(figures.rss < 80) end
  end)
end)
