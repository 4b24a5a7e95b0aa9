-- What the reference Python client gets wrong about batches (docs/internals/reference-defects.md, rows 39 to 44; the
-- numbers are its rows), done right.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"
local monotime = require("system").monotime

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local server, client, manager

local function open(options, workers)
  server = helper.start(options)
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client, { max_workers = workers })
end

local function close()
  manager:close()
  client:close()
  server:stop()
  manager, client, server = nil, nil, nil
  helper.assert_clean()
end

describe("batches:", function()
  after_each(close)

  for _, transport in ipairs { "stream", "unary" } do
    it("bad circuits are failures in their places, and no batch with one is complete (39), " .. transport, function()
      open()
      local circuits = batches.bells(20)
      for _, i in ipairs { 1, 7, 20 } do circuits[i] = { "qubit q", 3 } end
      local r = assert(manager:execute_batch(circuits, "simulator", { transport = transport }))
      batches.assert_whole(r, 20)
      assert.equal("partial", r.status)
      assert.is_false(r.ok)
      for i, result, err in r:each() do
        if i == 1 or i == 7 or i == 20 then
          assert.equal("invalid_circuit", err.kind)
        else
          assert.equal(i, result.shots)
        end
      end
      r = assert(manager:execute_batch({ { "a", 1 }, { "b", 1 } }, "simulator", { transport = transport }))
      batches.assert_whole(r, 2)
      assert.equal("failed", r.status)
    end)
  end

  it("submit_many has a future for each circuit, in order, also for one that is refused (39)", function()
    open()
    local circuits = batches.bells(20)
    circuits[3] = { "nonsense", 1 }
    local futures = manager:submit_many(circuits, "simulator")
    assert.equal(20, #futures)
    for i, f in ipairs(futures) do
      local result, err = f:result(TEST_TIMEOUT)
      if i == 3 then assert.equal("invalid_circuit", err.kind) else assert.equal(i, result.shots) end
    end
  end)

  it("after a timeout every job has a place, none is complete, and those open are canceled (40)", function()
    open({ job_latency = 60 }, 5)
    local r, err = manager:execute_batch(batches.bells(10), "simulator", { timeout = 0.2 })
    batches.assert_whole(r, 10)
    assert.equal("failed", r.status)
    assert.equal("timeout", err.kind)
    assert.equal("batch", err.scope)
    local with_id = 0
    for _, failure in ipairs(r.failures) do
      assert.equal("timeout", failure.err.kind)
      assert.equal("batch", failure.err.scope)
      assert.is_falsy(failure.err.maybe_executed)
      if failure.job_id then with_id = with_id + 1 end
    end
    assert.equal(5, with_id)
    assert.equal(5, server:stats().accepted)
    assert.equal(5, server:stats().jobs.CANCELED)
  end)

  it("wait_all does the same with futures (40)", function()
    open({ job_latency = 60 }, 5)
    local futures = manager:submit_many(batches.bells(10), "simulator")
    local r, err = manager:wait_all(futures, { timeout = 0.2 })
    batches.assert_whole(r, 10)
    assert.equal("failed", r.status)
    assert.equal("timeout", err.kind)
    helper.eventually(function()
      for _, f in ipairs(futures) do if not f:canceled() then return false end end
      return true
    end)
    assert.is_true(server:stats().accepted <= 5)
  end)

  it("waiting for jobs asks the server for nothing that the jobs do not need (41)", function()
    open({ job_latency = 0.2 }, 50)
    local r = manager:wait_all(manager:submit_many(batches.bells(50), "simulator"))
    batches.assert_whole(r, 50)
    assert.is_true(r.ok)
    local calls = server:stats().calls
    assert.is_true(calls.GetJobStatus <= 200, calls.GetJobStatus)   -- silent ones are looked at, ever more rarely
  end)

  for _, answer in ipairs { "status=INTERNAL", "hang=true" } do
    it("fail_fast returns at once, cancels with " .. answer .. ", and progress knows the failure (42)", function()
      open({ job_latency = 60 }, 10)
      server:fault("rpc=CancelJob," .. answer)
      local circuits, last = batches.bells(30), nil
      circuits[10] = { "nonsense", 1 }
      local since = monotime()
      local r, err = manager:execute_batch(circuits, "simulator", {
        fail_fast = true, progress_callback = function(progress) last = progress end,
      })
      assert.is_true(monotime() - since < 0.3 * TEST_TIMEOUT)
      batches.assert_whole(r, 30)
      assert.equal("invalid_circuit", r.items[10].err.kind)
      assert.equal("canceled", err.kind)
      assert.equal("invalid_circuit", err.cause.kind)
      assert.equal(29, batches.kinds(r).canceled)
      assert.equal(30, last.failed)
      assert.is_true(last.is_complete)
      assert.is_true(server:stats().accepted <= 10)
    end)
  end

  it("progress counts failures as finished, is disjoint, and is told while nothing ends (43)", function()
    open({ job_latency = 0.5 }, 4)
    local seen, circuits = {}, batches.bells(6)
    circuits[2] = { "nonsense", 1 }
    manager:execute_batch(circuits, "simulator", {
      progress_callback = function(progress) seen[#seen + 1] = progress end,
    })
    assert.is_true(#seen >= 5, #seen)
    for i, progress in ipairs(seen) do
      assert.equal(6, progress.total)
      assert.equal(6, progress.completed + progress.failed + progress.running + progress.pending)
      assert.is_true(progress.running <= 4)
      assert.is_true(i == 1 or progress.elapsed_time > seen[i - 1].elapsed_time)
      assert.equal(progress.completed + progress.failed == 6, progress.is_complete)
      assert.equal(100 * (progress.completed + progress.failed) / 6, progress.percent_complete)
    end
    assert.equal(100, seen[#seen].percent_complete)
    assert.is_true(math.abs(seen[#seen].success_rate - 100 * 5 / 6) < 1e-9)
    assert.equal(0, seen[#seen].eta)
    assert.is_false(seen[1].is_complete)
  end)

  it("map keeps the order, and what the function raises is raised (44)", function()
    open(nil, 4)
    local futures = manager:submit_many(batches.bells(10), "simulator")
    local outcomes = manager:map(function(result, index)
      assert.equal(index, result.shots)
      return 2 * index
    end, futures)
    for i = 1, 10 do assert.same({ ok = true, value = 2 * i }, outcomes[i]) end
    local problem = {}
    local ok, err = pcall(manager.map, manager, function() error(problem) end, futures)
    assert.is_false(ok)
    assert.equal(problem, err)
  end)

  for _, transport in ipairs { "stream", "unary" } do
    it("max_workers bounds the jobs that are unfinished, not the submits alone (44), " .. transport, function()
      open({ job_latency = 0.02 }, 5)
      local most = 0
      local r = arvak.run(function()
        local f = arvak.spawn(function()
          return manager:execute_batch(batches.bells(40), "simulator", { transport = transport })
        end)
        while f:running() do
          local jobs = server:stats().jobs
          most = math.max(most, jobs.QUEUED + jobs.RUNNING)
          arvak.sleep(0.002)
        end
        return f:result()
      end)
      assert.is_true(r.ok)
      assert.is_true(most >= 3 and most <= 5, most)
    end)
  end

  it("submits keep to the server's pace once it has refused one, and none is lost (44)", function()
    open({ rate_limit = 100 }, 150)
    local r = manager:execute_batch(batches.bells(250, 1), "simulator", { transport = "unary" })
    batches.assert_whole(r, 250)
    assert.is_true(r.ok)
    assert.equal(250, server:stats().accepted)
    assert.is_true(r.total_time > 1 and r.total_time < 5, r.total_time)
    assert.is_true(server:stats().calls.SubmitJob < 420, server:stats().calls.SubmitJob)
  end)

  it("a limit on running jobs is found and kept to, and none is lost (44)", function()
    open({ max_concurrent_jobs = 5, job_latency = 0.02 }, 20)
    local r = manager:execute_batch(batches.bells(60, 1), "simulator", { transport = "unary" })
    batches.assert_whole(r, 60)
    assert.is_true(r.ok)
    assert.equal(60, server:stats().accepted)
  end)
end)
