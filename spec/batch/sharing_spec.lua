-- What batches share: the places of their manager, entries and results that others have too, and what an earlier batch
-- has left.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"
local places = require "spec.support.places"

local bell = helper.bell
local server, client, manager

local function open(options, workers, client_options)
  server = helper.start(options)
  client = arvak.connect(server.address, client_options)
  manager = arvak.batch_manager(client, { max_workers = workers })
end

local function close()
  manager:close()
  client:close()
  server:stop()
  manager, client, server = nil, nil, nil
  helper.assert_clean()
end

-- A circuit whose result is the binary number i.
local function number(i)
  local gates = {}
  for bit = 0, 7 do
    if i >> bit & 1 == 1 then gates[#gates + 1] = ("x q[%d];"):format(bit) end
  end
  return "OPENQASM 3.0; qubit[8] q; " .. table.concat(gates)
end

local function read(result) return tonumber((result:most_frequent()), 2) end

describe("the places of a manager", function()
  after_each(close)

  for _, transport in ipairs { "stream", "unary" } do
    it("bound all its batches together, and each gets on: " .. transport, function()
      open({ job_latency = 0.02 }, 4)
      arvak.run(function()
        local options = { transport = transport }
        local running, most = {}, 0
        for i = 1, 3 do
          running[i] = arvak.spawn(function() return manager:execute_batch(batches.bells(20), "simulator", options) end)
        end
        local futures = manager:submit_many(batches.bells(20), "simulator", options)
        local is_over = false
        local watch = arvak.spawn(function()
          while not is_over do
            local open_jobs = server:stats().jobs
            most = math.max(most, (open_jobs.RUNNING or 0) + (open_jobs.QUEUED or 0))
            arvak.sleep(0.002)
          end
        end)
        for i = 1, 3 do batches.assert_whole(running[i]:result(), 20) end
        batches.assert_whole(manager:wait_all(futures), 20)
        is_over = true
        watch:result()
        assert.is_true(most >= 1 and most <= 4, most)
      end)
      assert.equal(80, server:stats().accepted)
    end)
  end

  it("are given in turn, so that no batch waits for the end of another", function()
    open({ job_latency = 0.01 }, 2)
    arvak.run(function()
      local ends = {}
      local function run(name, count)
        return arvak.spawn(function()
          local r = manager:execute_batch(batches.bells(count), "simulator", { on_result = function()
            ends[#ends + 1] = name
          end })
          assert.is_true(r.ok)
        end)
      end
      local long, short = run("long", 60), run("short", 5)
      short:result()
      assert.is_true(#ends < 40, #ends)
      long:result()
      assert.equal(65, #ends)
    end)
  end)

  for _, workers in ipairs { 1, 2 } do
    it(("are there for a batch that another one waits for, in any function of its: %d"):format(workers), function()
      open(nil, workers)
      local function inner() return assert(manager:execute_batch(batches.bells(3), "simulator")).success_count end
      local count, reported = 0, 0
      local r = manager:execute_batch(batches.bells(5), "simulator", {
        on_result = function() count = count + inner() end,
        progress_callback = function() reported = reported + inner() end,
      })
      assert.is_true(r.ok)
      assert.equal(15, count)
      assert.is_true(reported >= 3)
      local drawn = 0
      r = manager:execute_batch(function()
        if drawn == 5 then return nil end
        drawn = drawn + 1
        return { bell, inner() }
      end, "simulator", { collect = true })
      batches.assert_whole(r, 5)
      assert.is_true(r.ok)
    end)
  end

  it("are free again when a batch was stopped, and stopping one that stands in line holds up nobody", function()
    open({ job_latency = 0.02 }, 2)
    arvak.run(function()
      local first = arvak.spawn(function() return manager:execute_batch(batches.bells(30), "simulator") end)
      local second = arvak.spawn(function() return manager:execute_batch(batches.bells(30), "simulator") end)
      arvak.sleep(0.05)
      second:cancel()
      local r = first:result()
      assert.is_true(r.ok)
      assert.is_true(manager:execute_batch(batches.bells(4), "simulator").ok)
    end)
  end)

  it("are never more than there are, whoever takes, waits, lends and leaves", function()
    open()
    places.run(1, 20000)
    places.run(os.time(), 20000)
  end)
end)

describe("an entry", function()
  after_each(close)

  it("may be one table that its iterator fills again and again", function()
    open(nil, 8)
    for _, transport in ipairs { "stream", "unary" } do
      local i, entry = 0, { shots = 10 }
      local r = manager:execute_batch(function()
        i = i + 1
        if i > 50 then return nil end
        entry.qasm, entry.id = number(i), i
        return entry
      end, "simulator", { transport = transport })
      batches.assert_whole(r, 50)
      for index, result in r:each() do
        assert.equal(index, read(result))
        assert.equal(index, r.items[index].id)
      end
    end
  end)

  it("is sent again by retry_failed as it was drawn", function()
    open()
    server:fault { job = "fail", count = 4 }
    local list = {}
    for i = 1, 4 do list[i] = { number(i), 5 } end
    local r = manager:execute_batch(list, "simulator")
    assert.equal(4, r.failure_count)
    for i = 1, 4 do list[i][1] = number(77) end
    r = r:retry_failed()
    for index, result in r:each() do assert.equal(index, read(result)) end
  end)

  it("whose metatable raises fails alone, from an iterator and from a list that changes meanwhile", function()
    open(nil, 4)
    local bad = setmetatable({}, { __index = function() error "boom" end })
    local i = 0
    local r = manager:execute_batch(function()
      i = i + 1
      if i == 3 then return bad end
      return i <= 5 and { bell, i } or nil
    end, "simulator")
    batches.assert_whole(r, 5)
    assert.same({ invalid_circuit = 1 }, batches.kinds(r))
    assert.matches("circuits%[3%]: reading it raised an error: .*boom", r.items[3].err.message)
    local list = batches.bells(60)
    r = manager:execute_batch(list, "simulator", { on_result = function() list[50], list[51] = nil, bad end })
    batches.assert_whole(r, 60)
    assert.is_true(r.ok)
  end)
end)

describe("a result", function()
  after_each(close)

  it("keeps its index when another group has it in another place", function()
    open()
    local futures = manager:submit_many(batches.bells(3), "simulator")
    local first = manager:wait_all(futures)
    local second = manager:wait_all { futures[3], futures[1], futures[3] }
    for _, r in ipairs { first, second } do batches.assert_whole(r, 3) end
    assert.same({ 3, 1, 3 }, { second.results[1].shots, second.results[2].shots, second.results[3].shots })
    assert.same(first.results[3].counts, second.results[1].counts)
  end)

  it("of a whole batch counts in throughput what this run has done", function()
    open({ job_latency = 0.05 })
    local path = os.tmpname()
    os.remove(path)
    local options = { journal = path }
    assert(manager:execute_batch(batches.bells(20), "simulator", options))
    local r = manager:execute_batch(batches.bells(20), "simulator", options)
    assert.equal(20, r.total_count)
    assert.equal(0, r.throughput)
    for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
    server:fault { job = "fail", count = 1 }
    r = manager:execute_batch(batches.bells(20), "simulator")
    local again = r:retry_failed()
    assert.is_true(again.throughput * again.total_time < 1.001, again.throughput)
  end)
end)

describe("retry_failed, of a job that is known,", function()
  after_each(close)

  for _, has_journal in ipairs { false, true } do
    it("looks at it first: " .. (has_journal and "with a journal" or "without one"), function()
      local key = "k1"
      open({ api_key = "k1", job_latency = 0.2 }, nil, { api_key = function() return key end })
      local path = os.tmpname()
      os.remove(path)
      local r = arvak.run(function()
        arvak.spawn(function()
          while server:stats().accepted < 20 do arvak.sleep(0.001) end
          key = "expired"
        end)
        return (manager:execute_batch(batches.bells(20), "simulator",
          { transport = "unary", journal = has_journal and path or nil }))
      end)
      batches.assert_whole(r, 20)
      assert.is_true(r.failure_count > 0)
      key = "k1"
      r = r:retry_failed()
      batches.assert_whole(r, 20)
      assert.is_true(r.ok)
      assert.equal(20, server:stats().accepted)
      for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
    end)
  end

  it("looks at it when its result could not be fetched, or its cancellation was refused", function()
    open({ job_latency = 0.5 })
    server:fault { rpc = "GetJobResult", status = "PERMISSION_DENIED", count = 3 }
    local r = manager:execute_batch(batches.bells(3), "simulator", { transport = "unary" })
    assert.equal(3, r.failure_count)
    assert.is_true(r:retry_failed().ok)
    server:fault { rpc = "CancelJob", status = "INTERNAL" }
    r = manager:execute_batch(batches.bells(3), "simulator", { transport = "unary", timeout = 0.2 })
    assert.same({ timeout = 3 }, batches.kinds(r))
    r = r:retry_failed { timeout = helper.TEST_TIMEOUT }
    batches.assert_whole(r, 3)
    assert.is_true(r.ok)
    assert.equal(6, server:stats().accepted)
  end)

  it("submits it again when it was canceled with its batch, when it failed, and when it is lost", function()
    open({ job_latency = 0.3 })
    local r = manager:execute_batch(batches.bells(3), "simulator", { timeout = 0.1 })
    assert.same({ timeout = 3 }, batches.kinds(r))
    assert.is_true(r:retry_failed { timeout = helper.TEST_TIMEOUT }.ok)
    assert.equal(6, server:stats().accepted)
    server:fault { job = "fail", count = 1 }
    server:fault { job = "evict", count = 1 }
    r = manager:execute_batch(batches.bells(3), "simulator", { transport = "unary" })
    assert.same({ job_failed = 1, job_not_found = 1 }, batches.kinds(r))
    assert.is_true(r:retry_failed().ok)
    assert.equal(11, server:stats().accepted)
  end)
end)
