-- Several futures at once: as_completed, wait, gather, all, map; and future and with_timeout.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local start, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function open(...)
  start(...)
  assert(client:wait_for_ready(TEST_TIMEOUT))
end

local function submit() return client:submit_qasm_future(bell, "simulator", 10) end
local function later(seconds, value) return arvak.spawn(function() return arvak.sleep(seconds) and value end) end
local function failing(err) return arvak.spawn(function() error(err, 0) end) end

-- The message of what fn raises.
local function message(fn) return tostring(select(2, pcall(fn))) end

-- Outside a task and in one, everything here is the same.
local function in_both_ways(name, fn)
  it(name .. ", outside a task", fn)
  it(name .. ", inside a task", function() arvak.run(fn) end)
end

describe("arvak.as_completed", function()
  after_each(close)

  in_both_ways("gives futures and their places in the order of their ends, those that had ended first", function()
    local ended = later(0)
    ended:wait()
    local fs, order = { later(0.03), later(0.01), ended, later(0.02) }, {}
    for f, i in arvak.as_completed(fs, TEST_TIMEOUT) do
      assert.equal(fs[i], f)
      assert.is_true(f:done())
      order[#order + 1] = i
    end
    assert.same({ 3, 2, 4, 1 }, order)
  end)

  it("gives job futures as their jobs end, whatever their order in the list", function()
    open()
    server:fault { job_latency = 0.1, count = 1 }
    local fs, order = client:submit_batch_future({ { bell }, { bell } }, "simulator"), {}
    for f, i in arvak.as_completed(fs, TEST_TIMEOUT) do
      assert.is_truthy(f:result())
      order[#order + 1] = i
    end
    assert.equal(2, #order)
  end)

  it("gives a future that stands twice in the list twice, with both places", function()
    local f, places = later(0.002), {}
    for _, i in arvak.as_completed { f, f, later(0.01), f } do places[#places + 1] = i end
    assert.same({ 1, 2, 4, 3 }, places)
    for _ in arvak.as_completed {} do error("an empty list has nothing") end
  end)

  in_both_ways("raises the timeout error object, and the futures go on", function()
    local fs = { later(0), later(2.0, "late") }
    local ok, err = pcall(function()
      for f in arvak.as_completed(fs, 0.5) do assert.equal(fs[1], f) end
    end)
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
    assert.matches("1 of 2 futures", err.message)
    assert.equal("late", fs[2]:result(TEST_TIMEOUT))
  end)

  it("raises the canceled error when its task is canceled", function()
    arvak.run(function()
      local inner = later(60)
      local f = arvak.spawn(function() for _ in arvak.as_completed { inner } do error("it has not ended") end end)
      arvak.sleep(0.002)
      f:cancel()
      assert.equal("canceled", f:exception().kind)
      assert.is_true(inner:running())
      inner:cancel()
    end)
  end)

  it("may be drawn from by several tasks at once", function()
    local fs, seen = {}, {}
    for i = 1, 20 do fs[i] = later(i * 0.0005) end
    arvak.run(function()
      local draw = arvak.as_completed(fs, TEST_TIMEOUT)
      for _ = 1, 5 do
        arvak.spawn(function()
          for _, i in draw do seen[i] = (seen[i] or 0) + 1 end
        end)
      end
    end)
    for i = 1, 20 do assert.equal(1, seen[i]) end
  end)

  it("may be left early, and holds nothing then", function()
    local slow, finish = arvak.future()
    assert.is_true(arvak.as_completed { later(0), slow }():done())
    assert.is_true(slow:running())
    finish()
  end)
end)

describe("arvak.wait", function()
  after_each(close)

  in_both_ways("waits for all, the first end or the first failure, and gives lists in input order", function()
    local never, a, finish = arvak.future(), arvak.future()
    local b, c = later(0), failing("boom")
    assert.same({ { b }, { never } }, { arvak.wait({ never, b }, { return_when = "FIRST_COMPLETED" }) })
    assert.same({ { c, b }, { a, never } }, { arvak.wait({ a, c, never, b }, { return_when = "FIRST_EXCEPTION" }) })
    later(0.02):add_done_callback(function() finish() end)
    assert.same({ { a, b, c }, {} }, { arvak.wait { a, b, c } })
    assert.same({ {}, {} }, { arvak.wait {} })
    assert.equal("boom", c:exception())
    assert.is_true(never:cancel())
  end)

  in_both_ways("at its timeout gives what there is, which is no error", function()
    local slow, finish = arvak.future()
    local quick = later(0)
    quick:wait()
    assert.same({ { quick }, { slow } }, { arvak.wait({ slow, quick }, { timeout = 0.005 }) })
    assert.same({ { quick }, { slow } }, { arvak.wait({ slow, quick }, { timeout = 0 }) })
    finish()
  end)

  it("takes no cancellation for a failure", function()
    local canceled, never = later(TEST_TIMEOUT), later(0.01)
    canceled:cancel()
    local done, not_done = arvak.wait({ canceled, never }, { return_when = "FIRST_EXCEPTION" })
    assert.same({ { canceled, never }, {} }, { done, not_done })
  end)

  it("raises at the caller for what it does not know", function()
    local here = "^spec/async/groups_spec%.lua:%d+: "
    assert.matches(here .. "return_when: got \"FIRST\"", message(function()
      local _ = arvak.wait({}, { return_when = "FIRST" })
    end))
    assert.matches(here .. "wait: unknown option \"when\"", message(function()
      local _ = arvak.wait({}, { when = 1 })
    end))
    local f = arvak.future()
    for _, name in ipairs { "wait", "gather", "all", "as_completed" } do
      for _, wrong in ipairs { f, 5, "text" } do
        assert.matches(here .. name .. ": got .*, expected a list of futures", message(function()
          local _ = arvak[name](wrong)
        end))
      end
      assert.matches(here .. name .. ": futures%[2%]: got 5", message(function() local _ = arvak[name] { f, 5 } end))
    end
    f:cancel()
  end)

  it("ends with nil and canceled when its task is canceled, as gather and all do", function()
    arvak.run(function()
      local never = arvak.future()
      for _, name in ipairs { "wait", "gather", "all" } do
        local f = arvak.spawn(function() return arvak[name] { never } end)
        arvak.sleep(0)
        f:cancel()
        assert.equal("canceled", f:exception().kind)
        assert.is_true(never:running())
      end
      never:cancel()
    end)
  end)
end)

describe("arvak.gather", function()
  after_each(close)

  it("waits for all, and gives outcomes in input order, without holes", function()
    open()
    server:fault { job = "fail", count = 1 }
    arvak.run(function()
      local bad = submit()
      assert(bad:submitted())
      local object, canceled = {}, later(TEST_TIMEOUT)
      canceled:cancel()
      local nothing = later(0)
      local outcomes = arvak.gather { bad, submit(), failing(object), canceled, nothing, nothing }
      assert.equal("job_failed", outcomes[1].err.kind)
      assert.is_false(outcomes[1].ok)
      assert.equal(10, outcomes[2].value.shots)
      assert.equal(object, outcomes[3].err)
      assert.equal("canceled", outcomes[4].err.kind)
      assert.same({ ok = true }, outcomes[5])
      assert.same({ ok = true }, outcomes[6])
    end)   -- and nothing that was gathered is raised as unread
    assert.same({}, arvak.gather {})
  end)
end)

describe("arvak.all", function()
  after_each(close)

  in_both_ways("gives the values in input order", function()
    assert.same({ 1, 2, 3 }, arvak.all { later(0.01, 1), later(0, 2), later(0.005, 3) })
    assert.same({}, arvak.all {})
  end)

  it("gives the first failure and its place at once, and cancels the others", function()
    open { job_latency = 60 }
    arvak.run(function()
      local job, sleeper = submit(), later(TEST_TIMEOUT)
      assert(job:submitted())
      server:fault { rpc = "ListBackends", hang = true }
      local call = client.async:list_backends()
      local values, err, index = arvak.all { job, sleeper, failing("boom"), call }
      assert.is_nil(values)
      assert.equal("boom", err)
      assert.equal(3, index)
      for _, f in ipairs { job, sleeper, call } do
        f:wait(TEST_TIMEOUT)
        assert.is_true(f:canceled())
      end
    end)
    assert.equal(1, server:stats().jobs.CANCELED)
  end)

  it("cancels jobs though the run around it ends then", function()
    open({ job_latency = 60 }, { max_concurrent_rpcs = 2 })
    arvak.run(function()
      local fs = client:submit_batch_future({ { bell }, { bell }, { bell }, { bell } }, "simulator")
      for _, f in ipairs(fs) do f:submitted() end
      fs[5] = failing("boom")
      arvak.all(fs)
    end)
    assert.equal(4, server:stats().jobs.CANCELED)
  end)

  it("does not have run raise that a job could not be canceled any more", function()
    open()
    server:fault { rpc = "GetJobStatus", latency = 0.03 }   -- the end of the job is seen late
    local f
    assert.equal("boom", arvak.run(function()
      f = submit()
      assert(f:submitted())
      while server:stats().jobs.COMPLETED == 0 do arvak.sleep(0.001) end
      return select(2, arvak.all { failing("boom"), f })
    end))
    assert.is_truthy(f:result(TEST_TIMEOUT))
  end)

  it("takes a cancellation for a failure", function()
    local never, canceled = arvak.future(), arvak.future()
    canceled:cancel()
    local _, err, index = arvak.all { never, canceled }
    assert.equal("canceled", err.kind)
    assert.equal(2, index)
    assert.is_true(never:canceled())
  end)
end)

describe("arvak.map", function()
  after_each(close)

  in_both_ways("gives outcomes in the order of the items, of a list or an iterator", function()
    local function double(x, i)
      arvak.sleep((4 - i) * 0.002)
      if x == "bad" then error("bad", 0) end
      return x, i
    end
    local expected = { { ok = true, value = "a" }, { ok = false, err = "bad" }, { ok = true, value = "c" } }
    assert.same(expected, arvak.map({ "a", "bad", "c" }, double))
    assert.same(expected, arvak.map(("a bad c"):gmatch "%a+", double, { concurrency = 1 }))
    assert.same({}, arvak.map({}, double))
  end)

  in_both_ways("runs concurrency at a time, and draws no further ahead", function()
    local running, most, drawn = 0, 0, 0
    local function draw()
      drawn = drawn + 1
      return drawn <= 12 and drawn or nil
    end
    local outcomes = arvak.map(draw, function(x)
      running = running + 1
      most = math.max(most, running)
      arvak.sleep(0.001)
      assert.is_true(drawn - x < 4)
      running = running - 1
      return x
    end, { concurrency = 3 })
    assert.equal(3, most)
    for i = 1, 12 do assert.equal(i, outcomes[i].value) end
  end)

  in_both_ways("takes an iterator that waits", function()
    local fs = {}
    for i = 1, 10 do fs[i] = later((11 - i) * 0.001, i) end
    local outcomes, sum = arvak.map(arvak.as_completed(fs), function(f) return f:result() end), 0
    for i = 1, 10 do sum = sum + outcomes[i].value end
    assert.equal(55, sum)
    local generator = arvak.wrap(function()
      for i = 1, 3 do
        arvak.sleep(0.001)
        coroutine.yield(i)
      end
    end)
    assert.equal(3, #arvak.map(generator, function(x) return x end))
  end)

  it("raises what its iterator raises, as it is, and cancels what runs", function()
    local object, ends = {}, {}
    assert.equal(object, select(2, pcall(arvak.run, function()
      local i = 0
      arvak.map(function()
        arvak.sleep(0)
        i = i + 1
        return i < 3 and i or error(object)
      end, function(x) ends[x] = select(2, arvak.sleep(TEST_TIMEOUT)).kind end)
    end)))
    assert.same({ "canceled", "canceled" }, ends)
  end)

  it("when canceled ends with nil and canceled, draws no more and cancels what runs", function()
    local drawn, ends = 0, {}
    arvak.run(function()
      local f = arvak.spawn(arvak.map, function()
        drawn = drawn + 1
        return drawn
      end, function(x) ends[x] = select(2, arvak.sleep(TEST_TIMEOUT)).kind end, { concurrency = 2 })
      arvak.sleep(0.005)
      f:cancel()
      assert.equal("canceled", f:exception().kind)
    end)
    assert.equal(2, drawn)
    assert.same({ "canceled", "canceled" }, ends)
  end)

  it("raises at the caller for misuse", function()
    local here = "^spec/async/groups_spec%.lua:%d+: "
    assert.matches(here .. "map: got 5", message(function() local _ = arvak.map({}, 5) end))
    assert.matches(here .. "map: got nil", message(function() local _ = arvak.map(nil, print) end))
    assert.matches(here .. "concurrency: got 0", message(function()
      local _ = arvak.map({}, print, { concurrency = 0 })
    end))
  end)
end)

describe("arvak.future", function()
  after_each(close)

  in_both_ways("is settled by resolve or reject, whichever comes first, and once", function()
    local f, resolve, reject = arvak.future()
    assert.is_true(f:running())
    assert.is_true(resolve(1, nil, 3))
    assert.is_false(resolve(2))
    assert.is_false(reject("late"))
    assert.same(table.pack(1, nil, 3), table.pack(f:result()))
    f, resolve, reject = arvak.future()
    assert.is_true(reject("no"))
    assert.is_false(resolve(2))
    assert.same({ nil, "no" }, { f:result() })
    assert.matches("^spec/async/groups_spec%.lua:%d+: reject: got nil", message(function() local _ = reject() end))
  end)

  it("can be canceled, and what comes later changes nothing", function()
    local f, resolve = arvak.future()
    assert.is_true(f:cancel())
    assert.is_false(resolve(1))
    assert.is_true(f:canceled())
    assert.equal("canceled", f:exception().kind)
  end)

  it("may be settled from a callback, a task or a hook, and wakes who waits", function()
    open { job_latency = 0.005 }
    arvak.run(function()
      local f, resolve = arvak.future()
      submit():add_done_callback(function(job) resolve(job:result().shots) end)
      assert.equal(10, f:result())
      local g, settle = arvak.future()
      client:submit_qasm_future(bell, "simulator", { on_progress = function(job) settle(job.state) end })
      assert.is_string(g:result())
    end)
    helper.eventually(function() return server:stats().calls.GetJobResult == 2 end)
  end)
end)

describe("arvak.with_timeout", function()
  after_each(close)

  in_both_ways("gives what the function gives in time", function()
    assert.same(table.pack(1, nil, 3), table.pack(arvak.with_timeout(TEST_TIMEOUT, function(...)
      arvak.sleep(0.001)
      return ...
    end, 1, nil, 3)))
    assert.equal("boom", select(2, pcall(arvak.with_timeout, TEST_TIMEOUT, error, "boom", 0)))
  end)

  in_both_ways("gives nil and a timeout error when the time is over, and the task is canceled", function()
    local seen
    local value, err = arvak.with_timeout(0.005, function()
      seen = select(2, arvak.sleep(TEST_TIMEOUT))
      return nil, seen
    end)
    assert.is_nil(value)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
    assert.equal("canceled", seen.kind)
    assert.equal(seen, err.cause)
  end)

  it("says that what was cut short may have been executed", function()
    open()
    server:fault { rpc = "SubmitJob", hang = "after" }
    local _, err = arvak.with_timeout(0.02, client.submit_qasm, client, bell, "simulator")
    assert.equal("timeout", err.kind)
    assert.is_true(err.maybe_executed)
    assert.equal("SubmitJob", err.rpc)
  end)

  in_both_ways("gives nil and a timeout error when the function ignores its cancellation and ends late", function()
    local late = {
      function()
        arvak.sleep(TEST_TIMEOUT)
        return "a value"
      end,
      function()
        local until_time = os.clock() + 0.02
        repeat until os.clock() > until_time   -- waits for nothing, so that nothing can be canceled
        return "a value"
      end,
      function() arvak.sleep(TEST_TIMEOUT) end,
      function()
        arvak.sleep(TEST_TIMEOUT)
        return nil, "not an error object"
      end,
    }
    for i, fn in ipairs(late) do
      local value, err = arvak.with_timeout(0.002, fn)
      assert.is_nil(value, i)
      assert.equal("timeout", err.kind)
      assert.equal("wait", err.scope)
    end
  end)

  in_both_ways("raises what the function raises late", function()
    assert.equal("late", select(2, pcall(arvak.with_timeout, 0.002, function()
      arvak.sleep(TEST_TIMEOUT)
      error("late", 0)
    end)))
  end)

  it("may be nested, and the inner task may be slow to end when the outer one is canceled", function()
    arvak.run(function()
      local go_on = true
      local f = arvak.spawn(arvak.with_timeout, 0.002, function() while go_on do coroutine.yield() end end)
      arvak.sleep(0.01)
      f:cancel()
      assert.equal("canceled", f:exception().kind)
      go_on = false
      local _, err = arvak.with_timeout(TEST_TIMEOUT, arvak.with_timeout, 0.002, arvak.sleep, TEST_TIMEOUT)
      assert.equal("timeout", err.kind)
    end)
  end)
end)
