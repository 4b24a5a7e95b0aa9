-- Batches of a manager: inputs, outcomes, transports, every way of stopping. The invariant is in support/batches.lua.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
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

local function assert_misuse(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.matches("^spec/batch/manager_spec%.lua:%d+: " .. pattern, err)
end

-- Runs fn in a task and outside of one.
local function both_ways(fn)
  fn()
  arvak.run(fn)
end

describe("execute_batch", function()
  after_each(close)

  for _, transport in ipairs { "auto", "stream", "unary" } do
    it("gives each result its place, in and out of a task: " .. transport, function()
      open()
      both_ways(function()
        local r, err = manager:execute_batch(batches.bells(100), "simulator", { transport = transport })
        assert.is_nil(err)
        batches.assert_whole(r, 100)
        assert.is_true(r.ok)
        assert.is_true(r.total_time > 0 and r.throughput > 0)
        for i, result in r:each() do
          assert.equal(i, result.shots)
          assert.equal(1, r.items[i].attempts)
          assert.equal(result.job_id, r.items[i].job_id)
        end
      end)
      assert.equal(200, server:stats().accepted)
      assert.equal(transport == "unary" and 0 or 2, server:stats().calls.SubmitBatchStream)
    end)
  end

  it("takes entries by name, with an id and a backend of their own", function()
    open()
    local r = manager:execute_batch({
      { qasm = bell, shots = 1, id = "first", backend_id = "simulator", optimization_level = 1 },
      { bell, 2, id = 7 }, { bell }, { qasm = bell, backend_id = "elsewhere" },
    }, "simulator")
    batches.assert_whole(r, 4)
    assert.equal("first", r.items[1].id)
    assert.equal(20, #next(r.items[1].result.counts))
    assert.equal(7, r.items[2].id)
    assert.equal(1024, r.items[3].result.shots)
    assert.equal("backend_not_found", r.items[4].err.kind)
  end)

  it("of nothing is complete", function()
    open()
    for _, circuits in ipairs { {}, function() end } do
      local r = manager:execute_batch(circuits, "simulator", { progress_callback = function(progress)
        assert.equal(100, progress.percent_complete or 100)
      end })
      batches.assert_whole(r, 0)
      assert.equal("completed", r.status)
    end
    assert.equal(0, server:stats().calls.SubmitBatchStream)
  end)

  it("checks a list whole before anything is sent, and names what is wrong", function()
    open()
    for pattern, entry in pairs {
      ["circuits%[2%]: got 7, expected {qasm, shots}"] = 7,
      ["circuits%[2%]%.shots: got %-1, expected an integer"] = { bell, -1 },
      ["circuits%[2%]%.shots: got 1%.5"] = { qasm = bell, shots = 1.5 },
      ["circuits%[2%]: unknown option \"shot\""] = { qasm = bell, shot = 1 },
      ["circuits%[2%]: got the key \"shots\" beside"] = { bell, shots = 1 },
      ["circuits%[2%]%.qasm: got nil"] = { shots = 1 },
      ["circuits%[2%]%.id: got a table"] = { bell, id = {} },
      ["circuits%[2%]%.backend_id: got 7"] = { bell, backend_id = 7 },
    } do
      assert_misuse(pattern, function() return (manager:execute_batch({ { bell, 1 }, entry }, "simulator")) end)
    end
    assert_misuse("circuits%[1%]%.backend_id: got nil", function() return (manager:execute_batch { { bell } }) end)
    assert.equal(0, server:stats().accepted)
  end)

  it("raises for options that are none", function()
    open()
    for pattern, options in pairs {
      ['execute_batch: unknown option "workers"'] = { workers = 3 },
      ["timeout: got 0"] = { timeout = 0 },
      ["fail_fast: got 1, expected true or false"] = { fail_fast = 1 },
      ["on_result: got 7, expected a function"] = { on_result = 7 },
      ["progress_callback: got a table"] = { progress_callback = {} },
      ['transport: got "pigeon"'] = { transport = "pigeon" },
      ['on_unknown: got "ask"'] = { on_unknown = "ask" },
      ["execute_batch: got .*, expected a table of options"] = 7,
    } do
      assert_misuse(pattern, function() return (manager:execute_batch({}, "simulator", options)) end)
    end
    assert_misuse("circuits: got 7", function() return (manager:execute_batch(7, "simulator")) end)
    assert_misuse("backend_id: got 7", function() return (manager:execute_batch({}, 7)) end)
    for _, workers in ipairs { 0, -1, 1.5, "many" } do
      assert_misuse("max_workers: got", function() return (arvak.batch_manager(client, { max_workers = workers })) end)
    end
    assert_misuse('batch_manager: unknown option "size"', function()
      return (arvak.batch_manager(client, { size = 1 }))
    end)
  end)

  it("takes a text that no server could take as the failure of its place", function()
    open()
    for _, transport in ipairs { "stream", "unary" } do
      local r = manager:execute_batch({ { bell .. "\0", 1 }, { bell, 2 }, { "\xff", 3 } }, "simulator",
        { transport = transport })
      batches.assert_whole(r, 3)
      assert.same({ invalid_circuit = 2 }, batches.kinds(r))
    end
  end)

  it("falls back to unary calls where the server has no batch stream, and says so when it may not", function()
    open()
    server:fault { rpc = "SubmitBatchStream", status = "UNIMPLEMENTED" }
    local r = manager:execute_batch(batches.bells(50), "simulator")
    batches.assert_whole(r, 50)
    assert.is_true(r.ok)
    assert.equal(50, server:stats().calls.SubmitJob)
    local err
    r, err = manager:execute_batch(batches.bells(50), "simulator", { transport = "stream" })
    batches.assert_whole(r, 50)
    assert.equal("failed", r.status)
    assert.equal("UNIMPLEMENTED", err.name)
    for _, failure in ipairs(r.failures) do assert.is_falsy(failure.err.maybe_executed) end
  end)

  it("on a stream settles jobs about which it is silent, while it is open", function()
    open({ job_latency = 0.005 }, 20)
    server:fault { rpc = "SubmitBatchStream", job = "fail", message = "no luck", rate = 0.05 }
    local r = manager:execute_batch(batches.bells(1000, 5), "simulator")
    batches.assert_whole(r, 1000)
    assert.is_nil(r.err)
    local failed = server:stats().jobs.FAILED
    assert.is_true(failed > 10)
    assert.same({ job_failed = failed }, batches.kinds(r))
    assert.matches("no luck", r.failures[1].err.message)
    assert.equal(r.failures[1].job_id, r.failures[1].err.job_id)
    assert.equal(1, server:stats().calls.SubmitBatchStream)
    assert.is_true(r.total_time < TEST_TIMEOUT / 2, r.total_time)
  end)

  it("tells canceled, expired and lost jobs apart", function()
    open({ job_latency = 0.05 })
    for _, transport in ipairs { "stream", "unary" } do
      server:fault { job_state = "CANCELED", count = 1 }
      server:fault { job_state = "RESULT_EXPIRED", count = 1 }
      local futures = manager:submit_many(batches.bells(4), "simulator", { transport = transport })
      local ids = {}
      for i, f in ipairs(futures) do ids[i] = assert(f:submitted(TEST_TIMEOUT)) end
      for _, id in ipairs(ids) do
        if server:stats().evicted == (transport == "stream" and 0 or 1) then server:evict(id) end
      end
      local r = manager:wait_all(futures)
      batches.assert_whole(r, 4)
      local kinds = batches.kinds(r)
      assert.equal(1, kinds.job_not_found)
      assert.is_true((kinds.job_canceled or 0) + (kinds.result_expired or 0) >= 1)
      for _, failure in ipairs(r.failures) do assert.equal(ids[failure.index], failure.err.job_id) end
    end
  end)

  it("raises after close, and gives nil and closed on a client that was closed", function()
    open()
    client:close()
    local r, err = manager:execute_batch(batches.bells(2), "simulator")
    assert.is_nil(r)
    assert.equal("closed", err.kind)
    manager:close()
    manager:close()
    assert_misuse("execute_batch: the batch_manager was closed", function()
      return (manager:execute_batch({}, "simulator"))
    end)
    assert_misuse("execute_batch: got nil as the batch_manager, expected batch_manager:execute_batch",
      manager.execute_batch)
    assert.equal("batch_manager", arvak.type(manager))
    assert.equal("arvak.batch_manager (closed)", tostring(manager))
  end)
end)

describe("execute_batch with an iterator", function()
  before_each(function() open(nil, 8) end)
  after_each(close)

  it("draws only what may be sent, and knows the total when it has ended", function()
    both_ways(function()
      local most, totals = 0, {}
      local iterator, drawn = batches.counted(60)
      local finished = 0
      local r = manager:execute_batch(iterator, "simulator", {
        collect = true,
        on_result = function()
          finished = finished + 1
          most = math.max(most, drawn.n - finished)
        end,
        progress_callback = function(progress) totals[#totals + 1] = progress.total or "unknown" end,
      })
      batches.assert_whole(r, 60)
      assert.is_true(most <= 8, most)
      assert.equal("unknown", totals[1])
      assert.equal(60, totals[#totals])
    end)
  end)

  it("that waits holds up nothing, even when it waits for a result of the same batch", function()
    both_ways(function()
      local results, made = {}, 0
      local r = manager:execute_batch(function()
        if made == 20 then return nil end
        while made > 0 and not results[made] do arvak.sleep(0.001) end   -- each circuit needs the last one's counts
        made = made + 1
        return { bell, made }
      end, "simulator", { collect = true, on_result = function(index, result) results[index] = result end })
      batches.assert_whole(r, 20)
      assert.is_true(r.ok)
    end)
  end)

  it("takes what is wrong with an entry as the failure of its place", function()
    local entries, i = { { bell, 1 }, 7, { bell, -1 }, { qasm = bell, shot = 1 }, { bell, 5 } }, 0
    local r = manager:execute_batch(function()
      i = i + 1
      return entries[i]
    end, "simulator")
    batches.assert_whole(r, 5)
    assert.same({ invalid_circuit = 3 }, batches.kinds(r))
    assert.matches("circuits%[2%]: got 7", r.items[2].err.message)
  end)

  it("that raises ends the batch with that error as the cause, and every input drawn has its place", function()
    both_ways(function()
      local problem = {}
      local r, err = manager:execute_batch((batches.counted(20, function(i) if i == 13 then error(problem) end end)),
        "simulator")
      batches.assert_whole(r, 12)
      assert.equal(r.err, err)
      assert.equal("canceled", err.kind)
      assert.equal(problem, err.cause)
      assert.not_equal("completed", r.status)
    end)
  end)

  it("keeps nothing but counters when results leave through on_result", function()
    local seen = {}
    local r = manager:execute_batch((batches.counted(30)), "simulator", { on_result = function(index, result, err, item)
      assert.is_nil(err)
      assert.equal(result, item.result)
      assert.equal(index, result.shots)
      seen[#seen + 1] = index
    end })
    assert.equal(30, #seen)
    assert.is_nil(r.items)
    assert.equal(30, r.success_count)
    assert.equal("completed", r.status)
    assert_misuse("each: this batch kept no items", function() return r:each() end)
    assert_misuse("retry_failed: this batch kept no items", function() return (r:retry_failed()) end)
  end)

  it("that never ends ends with the timeout, also while it waits", function()
    local r, err = manager:execute_batch(function()
      arvak.sleep(60)
      return { bell, 1 }
    end, "simulator", { timeout = 0.1 })
    assert.equal("timeout", err.kind)
    assert.is_true(r.total_time < TEST_TIMEOUT / 2)
    assert.equal(#r.items, r.total_count)
  end)
end)

describe("a batch is stopped", function()
  after_each(close)

  it("by cancel, from another task and from on_result, and by closing the manager", function()
    open({ job_latency = 0.02 }, 4)
    for _, name in ipairs { "cancel", "close" } do
      local r, err = manager:execute_batch(batches.bells(40), "simulator", { on_result = function(index)
        if index == 8 then manager[name](manager) end
      end })
      batches.assert_whole(r, 40)
      assert.equal("partial", r.status)
      assert.equal("canceled", err.kind)
      assert.is_true(r.success_count >= 5 and r.success_count < 20, r.success_count)
    end
    manager = arvak.batch_manager(client, { max_workers = 4 })
    server:fault { job = "hang" }
    arvak.run(function()
      local f = arvak.spawn(function() return manager:execute_batch(batches.bells(9), "simulator") end)
      while server:stats().jobs.RUNNING < 4 do arvak.sleep(0.001) end
      assert.is_true(manager:cancel())
      local r = f:result(TEST_TIMEOUT)
      batches.assert_whole(r, 9)
      assert.same({ canceled = 9 }, batches.kinds(r))
    end)
    assert.equal(0, server:stats().jobs.RUNNING)
  end)

  it("by the cancellation of its task, and its jobs are canceled all the same", function()
    open({ job_latency = 60 }, 4)
    for _, transport in ipairs { "stream", "unary" } do
      arvak.run(function()
        local f = arvak.spawn(function()
          local r, err = manager:execute_batch(batches.bells(9), "simulator", { transport = transport })
          return { r = r, err = err }
        end)
        while server:stats().jobs.RUNNING < 4 do arvak.sleep(0.001) end
        arvak.sleep(0.01)
        f:cancel()
        local ended = f:result(TEST_TIMEOUT)
        batches.assert_whole(ended.r, 9)
        assert.equal("canceled", ended.err.kind)
      end)
      helper.eventually(function() return server:stats().jobs.RUNNING == 0 end)
    end
  end)

  it("by an error in on_result or progress_callback, which is its cause; results so far are kept", function()
    open({ job_latency = 0.01 }, 4)
    for _, name in ipairs { "on_result", "progress_callback" } do
      for _, transport in ipairs { "stream", "unary" } do
        local problem, calls = { "mine" }, 0
        local r, err = manager:execute_batch(batches.bells(60), "simulator", {
          transport = transport,
          [name] = function()
            calls = calls + 1
            if calls == 2 then error(problem) end
          end,
        })
        batches.assert_whole(r, 60)
        assert.equal(2, calls)
        assert.equal(problem, err.cause)
        assert.is_true(r.success_count >= 1)
        assert.equal("partial", r.status)
      end
    end
  end)

  it("by a client that is closed under it", function()
    open({ job_latency = 0.01 }, 4)
    for _, transport in ipairs { "stream", "unary" } do
      local own = arvak.connect(server.address)
      local r, err = arvak.batch_manager(own, { max_workers = 4 }):execute_batch(batches.bells(60), "simulator", {
        transport = transport, on_result = function(index) if index == 10 then own:close() end end,
      })
      batches.assert_whole(r, 60)
      assert.equal("closed", err.kind)
      assert.is_true(r.success_count >= 7)
    end
  end)

  it("by a server that is gone for longer than its patience", function()
    open({ job_latency = 0.02 }, 4, { timeout = 0.5 })
    for _, transport in ipairs { "stream", "unary" } do
      local since
      local r, err = manager:execute_batch(batches.bells(2000), "simulator", {
        transport = transport, on_result = function(index)
          if index == 8 and not since then
            since = monotime()
            server:stop()
          end
        end,
      })
      assert.is_true(monotime() - since < 3 * TEST_TIMEOUT)
      batches.assert_whole(r, 2000)
      assert.is_true(r.success_count >= 5)
      assert.is_true(err.kind == "unavailable" or err.kind == "timeout", err.kind)
      server = helper.start { job_latency = 0.02 }
      client:close()
      client = arvak.connect(server.address, { timeout = 0.5 })
      manager = arvak.batch_manager(client, { max_workers = 4 })
    end
  end)

  for _, transport in ipairs { "stream", "unary" } do
    it("by no breaker: while that is open nothing is sent, and then it goes on, " .. transport, function()
      open({ job_latency = 0.005 }, 8, { timeout = 5 })
      local changes = {}
      client:configure { breaker = { failure_threshold = 2, timeout = 0.3,
        on_state_change = function(_, new) changes[#changes + 1] = new end } }
      local r = arvak.run(function()
        local f = arvak.spawn(function()
          return manager:execute_batch(batches.bells(200), "simulator",
            { transport = transport, on_unknown = "resubmit" })
        end)
        while server:stats().accepted < 50 do arvak.sleep(0.001) end
        server:stop()
        while #changes == 0 do arvak.sleep(0.001) end
        assert(server:restart())
        return f:result(TEST_TIMEOUT)
      end)
      batches.assert_whole(r, 200)
      assert.is_nil(r.err)
      assert.equal("open", changes[1])
      for kind in pairs(batches.kinds(r)) do assert.equal("job_not_found", kind) end   -- lost with the server
    end)
  end

  it("by a key that is not accepted, without trying again", function()
    open({ api_key = "secret" })
    for _, transport in ipairs { "stream", "unary" } do
      local r, err = manager:execute_batch(batches.bells(50), "simulator", { transport = transport })
      batches.assert_whole(r, 50)
      assert.same({ unauthenticated = 50 }, batches.kinds(r))
      if transport == "stream" then assert.equal("unauthenticated", err.kind) end
    end
    assert.equal(1, server:stats().calls.SubmitBatchStream)
  end)
end)

describe("retry_failed", function()
  after_each(close)

  it("runs what failed once more, in its places", function()
    open()
    server:fault { job = "fail", count = 7 }
    for _, transport in ipairs { "stream", "unary" } do
      local r = manager:execute_batch(batches.bells(50), "simulator", { transport = transport })
      batches.assert_whole(r, 50)
      local seen = {}
      local again, err = r:retry_failed { on_result = function(index) seen[#seen + 1] = index end }
      assert.is_nil(err)
      batches.assert_whole(again, 50)
      assert.is_true(again.ok)
      assert.equal(r.failure_count, #seen)
      for i, result in again:each() do assert.equal(i, result.shots) end
      server:fault { job = "fail", count = 7 }
    end
  end)

  it("leaves alone what may have been executed, unless it is told otherwise", function()
    open(nil, 4)
    server:fault { rpc = "SubmitJob", drop = "after", count = 1 }
    local r = manager:execute_batch(batches.bells(20), "simulator", { transport = "unary" })
    batches.assert_whole(r, 20)
    assert.is_true(r.failure_count >= 1 and r.failure_count <= 4)
    for _, failure in ipairs(r.failures) do assert.is_true(failure.err.maybe_executed) end
    local again = r:retry_failed()
    assert.equal(r.failure_count, again.failure_count)
    again = r:retry_failed { on_unknown = "resubmit" }
    batches.assert_whole(again, 20)
    assert.is_true(again.ok)
  end)
end)

describe("futures of a manager", function()
  after_each(close)

  it("are settled in the order of the ends, and as_completed counts them", function()
    open(nil, 4)
    both_ways(function()
      local seen, progress = 0, nil
      local futures = manager:submit_many(batches.bells(20), "simulator")
      for f, index in manager:as_completed(futures, { progress_callback = function(p) progress = p end }) do
        seen = seen + 1
        assert.equal(futures[index], f)
        assert.equal(index, f:result().shots)
        assert.equal(f.job_id, f:submitted())
        assert.equal(seen, progress.completed)
      end
      assert.equal(20, seen)
      assert.is_true(progress.is_complete)
    end)
  end)

  it("cancel their job, or are taken back before it exists", function()
    open({ job_latency = 60 }, 2)
    both_ways(function()
      local futures = manager:submit_many(batches.bells(4), "simulator")
      local id = futures[1]:submitted(TEST_TIMEOUT)
      assert.is_true(futures[4]:cancel())
      assert.is_true(futures[1]:cancel())
      assert.equal("CANCELED", client:get_job_status(id).state)
      assert.equal(id, futures[1]:exception().job_id)
      assert.is_string(futures[3]:submitted(TEST_TIMEOUT))   -- the place of the first
      manager:cancel()
      for _, f in ipairs(futures) do assert.equal("canceled", f:exception(TEST_TIMEOUT).kind) end
    end)
    assert.equal(0, server:stats().jobs.RUNNING)
    assert.equal(6, server:stats().accepted)
  end)

  for _, transport in ipairs { "stream", "unary" } do
    it("that are canceled while the server cannot be reached are never sent: " .. transport, function()
      open(nil, 4)
      assert(client:wait_for_ready(TEST_TIMEOUT))
      server:stop()
      arvak.sleep(0.01)
      local since = monotime()
      local futures = manager:submit_many(batches.bells(6), "simulator", { transport = transport })
      arvak.sleep(0.05)
      for i = 1, 6, 2 do assert.is_true(futures[i]:cancel()) end
      assert(server:restart())
      local r = manager:wait_all(futures)
      batches.assert_whole(r, 6)
      assert.same({ canceled = 3 }, batches.kinds(r))
      for i = 2, 6, 2 do assert.is_nil(r.items[i].err) end
      local shots = {}
      for _, job in ipairs(server:jobs()) do shots[#shots + 1] = job.shots end
      table.sort(shots)
      assert.same({ 2, 4, 6 }, shots)
      assert.is_true(monotime() - since < TEST_TIMEOUT)
    end)
  end

  it("of other makers can be waited for too", function()
    open()
    local f, resolve = arvak.future()
    resolve(false)
    local r = manager:wait_all { client:submit_qasm_future(bell, "simulator", 5), f,
      client:submit_qasm_future("nonsense", "simulator") }
    assert.equal(5, r.items[1].result.shots)
    assert.is_false(r.items[2].result)
    assert.equal("invalid_circuit", r.items[3].err.kind)
    assert.equal("partial", r.status)
    assert_misuse("retry_failed: a batch_result of wait_all has no circuits", function() return (r:retry_failed()) end)
    assert_misuse("wait_all: futures%[1%]: got 7", function() return (manager:wait_all { 7 }) end)
  end)

  it("that do not end in time get their error from map, and go on", function()
    open({ job_latency = 0.2 })
    local futures = manager:submit_many(batches.bells(3), "simulator")
    local outcomes = manager:map(function() return true end, futures, { timeout = 0.05 })
    for i = 1, 3 do assert.equal("timeout", outcomes[i].err.kind) end
    for i = 1, 3 do assert.equal(i, futures[i]:result(TEST_TIMEOUT).shots) end
  end)
end)
