-- Inside other people's event loops: methods suspend the coroutine that calls them, everything else goes on, and the
-- loop ends when nothing is in flight.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local loops = require "spec.support.loops"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client, loop, attachment

local function open(kind, options)
  server = helper.start(options)
  client = arvak.connect(server.address)
  loop = kind.open()
  attachment = loop.attach()
end

local function close()
  attachment:detach()
  client:close()
  server:stop()
  loop.run(1)
  server, client, loop, attachment = nil, nil, nil, nil
  helper.assert_clean()
end

-- Runs fn in a coroutine of the loop, and the loop until it is empty. Errors of fn are raised here.
local function inside(fn)
  local result
  loop.spawn(function() result = table.pack(xpcall(fn, debug.traceback)) end)
  assert.is_true(loop.run(TEST_TIMEOUT), "the loop does not end")
  assert(result, "the coroutine has not ended")
  assert(table.unpack(result, 1, result.n))
end

local function shots_of(result)
  local sum = 0
  for _, count in result:pairs() do sum = sum + count end
  return sum
end

for _, kind in ipairs(loops.all) do
  describe("in a " .. kind.name .. " loop,", function()
    before_each(function() open(kind) end)
    after_each(close)

    it("a method gives what it gives elsewhere", function()
      inside(function()
        assert.equal(1, #assert(client:list_backends()))
        local job_id = assert(client:submit_qasm(bell, "simulator", 50))
        assert.equal(50, shots_of(assert(client:wait_for_job(job_id))))
        assert.equal("COMPLETED", assert(client:get_job_status(job_id)).state)
        assert.equal(100, shots_of(assert(client:execute(bell, "simulator", 100))))
        local _, err = client:get_job_status("none")
        assert.equal("job_not_found", err.kind)
        assert.equal("none", err.job_id)
        assert.is_true(client:wait_for_ready(1))
      end)
    end)

    it("a hundred jobs leave its timers and sockets their turns", function()
      server:fault { rpc = "SubmitJob", latency = 0.1 }
      local ended, worst, echoes = 0, 0, 0
      for _ = 1, 100 do
        loop.spawn(function()
          assert.equal(100, shots_of(assert(client:execute(bell, "simulator", 100))))
          ended = ended + 1
        end)
      end
      loop.spawn(function()
        local last = monotime()
        while ended < 100 do
          loop.sleep(0.01)
          local now = monotime()
          worst, last = math.max(worst, now - last), now
        end
      end)
      inside(function()
        local ask, hang_up = loop.echo()
        while ended < 100 do
          echoes = echoes + 1
          assert.equal("line " .. echoes, ask("line " .. echoes))
          loop.sleep(0.001)
        end
        hang_up()
      end)
      assert.same({}, loop.errors)
      assert.equal(100, ended)
      assert.is_true(echoes > 5)
      assert.is_true(worst < 3)   -- under 30 ms where the machine is quiet
    end)

    it("futures, groups and tasks work as elsewhere", function()
      inside(function()
        local futures = {}
        for i = 1, 5 do futures[i] = client:submit_qasm_future(bell, "simulator", 10 * i) end
        local seen = {}
        for f, index in arvak.as_completed(futures) do seen[index] = shots_of(assert(f:result())) end
        assert.same({ 10, 20, 30, 40, 50 }, seen)
        assert.equal("simulator", assert(client.async:get_backend_info("simulator"):result()).backend_id)
        local task = arvak.spawn(function()
          assert.is_true(arvak.in_task())
          return shots_of(assert(client:execute(bell, "simulator", 7)))
        end)
        assert.equal(7, task:result())
        local outcomes = arvak.map({ 1, 2, 3 }, function(n)
          return shots_of(assert(client:execute(bell, "simulator", n)))
        end)
        assert.same({ 1, 2, 3 }, { outcomes[1].value, outcomes[2].value, outcomes[3].value })
        assert.is_false(arvak.in_task())
      end)
    end)

    it("streams work as elsewhere, and are closed when their loop is left", function()
      inside(function()
        local job_id = assert(client:submit_qasm(bell, "simulator", 100))
        local states = {}
        for state in client:watch_job(job_id) do states[#states + 1] = state end
        assert.equal("COMPLETED", states[#states])
        local sum = 0
        for counts in client:stream_results(job_id, 1) do
          for _, count in pairs(counts) do sum = sum + count end
        end
        assert.equal(100, sum)
        local events = {}
        for event in client:submit_batch_stream({ { bell, 1 }, { bell, 2 } }, "simulator") do
          events[event] = (events[event] or 0) + 1
        end
        assert.same({ submitted = 2, completed = 2 }, events)
        server:fault { rpc = "SubmitJob", job = "hang" }
        for state in client:watch_job(assert(client:submit_qasm(bell, "simulator", 100))) do
          if state then break end
        end
      end)
    end)

    it("policies, functions that give headers, and batches work as elsewhere", function()
      local asked, retried = 0, 0
      local strict <close> = arvak.connect(server.address, {
        max_concurrent_rpcs = 2,
        api_key = function()
          asked = asked + 1
          return "key " .. asked
        end,
        retry = { max_attempts = 10, initial_backoff = 0.01, on_retry = function() retried = retried + 1 end },
      })
      server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", rate = 0.5 }
      local ended = 0
      for _ = 1, 20 do
        loop.spawn(function()
          assert.equal(10, shots_of(assert(strict:execute(bell, "simulator", 10))))
          ended = ended + 1
        end)
      end
      inside(function()
        local manager <close> = arvak.batch_manager(client, { max_workers = 4 })
        local circuits = {}
        for i = 1, 20 do circuits[i] = { bell, i } end
        local r = assert(manager:execute_batch(circuits, "simulator"))
        assert.equal(20, r.success_count)
        for i, result in r:each() do assert.equal(i, shots_of(result)) end
      end)
      assert.same({}, loop.errors)
      assert.equal(20, ended)
      assert.is_true(retried > 0)
      assert.is_true(asked >= 60 + retried)
    end)

    it("arvak.sleep holds up only its caller", function()
      local order = {}
      loop.spawn(function()
        assert(arvak.sleep(0.5))
        order[#order + 1] = "late"
      end)
      inside(function()
        assert(arvak.sleep(0.01))
        order[#order + 1] = "early"
      end)
      assert.same({ "early", "late" }, order)
    end)

    it("a coroutine of the loop ends the wait of another by a future made by hand", function()
      local f, resolve = arvak.future()
      local got
      loop.spawn(function() got = f:result() end)
      inside(function()
        loop.sleep(0.01)
        resolve("value")
      end)
      assert.equal("value", got)
    end)

    it("a future times out though nothing is in flight", function()
      inside(function()
        local f = arvak.future()
        local _, err = f:result(0.02)
        assert.equal("timeout", err.kind)
        local _, late = arvak.with_timeout(0.02, function() return f:result() end)
        assert.equal("timeout", late.kind)
      end)
    end)

    it("a call without a waiter keeps the loop going until its callback has run", function()
      local counts
      client.async:list_backends():add_done_callback(function(f) counts = #f:result() end)
      assert.is_true(loop.run(TEST_TIMEOUT))
      assert.equal(1, counts)
    end)

    it("the loop ends, again and again, when nothing is in flight", function()
      for round = 1, 20 do
        local result
        loop.spawn(function() result = client:execute(bell, "simulator", round) end)
        assert.is_true(loop.run(TEST_TIMEOUT))
        assert.equal(round, shots_of(result))
      end
    end)

    it("methods block outside of its coroutines", function()
      assert.equal(5, shots_of(assert(client:execute(bell, "simulator", 5))))
      local f = client:submit_qasm_future(bell, "simulator", 6)
      assert.equal(6, shots_of(assert(f:result(TEST_TIMEOUT))))
    end)

    it("run raises", function()
      inside(function()
        local ok, err = pcall(arvak.run, function() end)
        assert.is_false(ok)
        assert.matches("run: inside a coroutine of the attached loop", err, 1, true)
      end)
    end)

    it("methods raise where the coroutine cannot be suspended", function()
      inside(function()
        local ok, err = pcall(table.sort, { 2, 1 }, function() return client:list_backends() end)
        assert.is_false(ok)
        assert.matches("list_backends: cannot wait here", err, 1, true)
        local generator = arvak.wrap(function() client:list_backends() end)
        ok, err = pcall(generator)
        assert.is_false(ok)
        assert.matches("list_backends: cannot wait in a coroutine inside", err, 1, true)
      end)
    end)

    it("a client that closes ends the waits on it as closed", function()
      server:fault { rpc = "GetJobStatus", hang = true }
      local err
      loop.spawn(function() err = select(2, client:get_job_status("x")) end)
      inside(function()
        loop.sleep(0.02)
        client:close()
      end)
      assert.equal("closed", err.kind)
    end)

    it("a server that dies is told to who waits", function()
      server:fault { rpc = "GetJobStatus", hang = true }
      local err
      loop.spawn(function() err = select(2, client:get_job_status("x")) end)
      inside(function()
        loop.sleep(0.02)
        server:stop()
      end)
      assert.equal("unavailable", err.kind)
    end)

    it("detaching lets those who wait go on, and others block", function()
      server:fault { rpc = "GetJobStatus", latency = 0.05, count = 1 }
      local err
      loop.spawn(function() err = select(2, client:get_job_status("x")) end)
      inside(function()
        loop.sleep(0.01)
        attachment:detach()
        attachment:detach()
        assert.equal(1, #assert(client:list_backends()))
        assert.is_nil(err)
      end)
      assert.equal("job_not_found", err.kind)
    end)

    it("only one loop can be attached at a time", function()
      local ok, err = pcall(loop.attach)
      assert.is_false(ok)
      assert.matches("a loop is attached already", err, 1, true)
      attachment:detach()
      attachment = loop.attach()
    end)
  end)
end

describe("a pollable", function()
  local socket = require "socket"

  before_each(function()
    server = helper.start()
    client = arvak.connect(server.address)
  end)
  after_each(function()
    client:close()
    server:stop()
    server, client = nil, nil
    helper.assert_clean()
  end)

  it("drives everything from a host's own select", function()
    local pollable <close> = arvak.pollable()
    assert.equal("r", pollable:events())
    assert.equal(pollable:getfd(), pollable:pollfd())
    local f = client:submit_qasm_future(bell, "simulator", 10)
    local slept = arvak.spawn(arvak.sleep, 0.05)
    local deadline = monotime() + TEST_TIMEOUT
    while not (f:done() and slept:done()) and monotime() < deadline do
      socket.select({ pollable }, nil, pollable:timeout())
      pollable:step()
    end
    assert.equal(10, shots_of(assert(f:result(0))))
    assert.is_true(slept:result(0))
    assert.is_false(pollable:step())
    assert.is_nil(pollable:timeout())
    assert.same({}, (socket.select({ pollable }, nil, 0)))
  end)

  it("raises the error of a callback, and what is wrong with its use", function()
    local pollable = arvak.pollable()
    client.async:list_backends():add_done_callback(function() error("boom", 0) end)
    local ok, err
    repeat ok, err = pcall(pollable.step, pollable, 0.1) until not ok
    assert.matches("boom", err, 1, true)
    ok, err = pcall(pollable.step, pollable, -1)
    assert.is_false(ok)
    assert.matches("timeout: got -1", err, 1, true)
    arvak.run(function()
      ok, err = pcall(pollable.step, pollable)
      assert.is_false(ok)
      assert.matches("step: cannot step the loop inside a task", err, 1, true)
    end)
    pollable:close()
    pollable:close()
    ok, err = pcall(pollable.pollfd, pollable)
    assert.is_false(ok)
    assert.matches("pollfd: the pollable is closed", err, 1, true)
  end)
end)

describe("in a cqueues loop,", function()
  before_each(function() open(loops.all[1]) end)
  after_each(close)

  it("the error of a callback is the loop's to report, and the others go on", function()
    local ended = 0
    client.async:list_backends():add_done_callback(function() error("boom", 0) end)
    for _ = 1, 3 do
      loop.spawn(function()
        assert(client:execute(bell, "simulator", 10))
        ended = ended + 1
      end)
    end
    assert.is_true(loop.run(TEST_TIMEOUT))
    assert.equal(1, #loop.errors)
    assert.matches("boom", loop.errors[1], 1, true)
    assert.equal(3, ended)
  end)

  it("methods raise in a coroutine inside one of the loop's", function()
    inside(function()
      local ok, err = pcall(coroutine.wrap(function() return client:list_backends() end))
      assert.is_false(ok)
      assert.matches("list_backends: cannot wait in a coroutine inside", err, 1, true)
    end)
  end)

  it("a controller that is dropped while its coroutines wait leaves nothing behind", function()
    local cqueues = require "cqueues"
    attachment:detach()
    local controller = cqueues.new()
    attachment = require("arvak.cqueues").attach(controller)
    server:fault { rpc = "GetJobStatus", latency = 0.05 }
    controller:wrap(function() client:get_job_status("x") end)
    controller:step(0.01)
    assert.equal(1, arvak._counts().waits)
    controller:close()
    controller = nil   -- luacheck: ignore
    attachment:detach()
    helper.eventually(function()
      collectgarbage()
      return arvak._counts().waits == 0
    end)
  end)

  it("attach names what it wants", function()
    attachment:detach()
    local ok, err = pcall(require("arvak.cqueues").attach, 5)
    assert.is_false(ok)
    assert.matches("attach: got 5, expected a cqueues controller", err, 1, true)
    ok, err = pcall(require("arvak.cqueues").attach)
    assert.is_false(ok)
    assert.matches("attach: got nil, expected a cqueues controller", err, 1, true)
  end)
end)

describe("in a luv loop,", function()
  before_each(function() open(loops.all[2]) end)
  after_each(close)

  it("a coroutine that is closed while it waits leaves nothing behind", function()
    server:fault { rpc = "GetJobStatus", latency = 0.05 }
    local co = coroutine.create(function() client:get_job_status("x") end)
    assert(coroutine.resume(co))
    assert(coroutine.close(co))
    co = nil   -- luacheck: ignore
    assert.is_true(loop.run(TEST_TIMEOUT))
    collectgarbage()
    collectgarbage()
    assert.equal(0, arvak._counts().waits)
  end)
end)
