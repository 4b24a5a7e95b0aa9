-- Tasks: where waiting suspends, blocks or raises; errors; deadlocks; many at once.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- Runs fn in a task beside another that counts its own turns: how many there were until fn returned, then its values.
local function turns_beside(fn)
  local turns, ended = 0, false
  local values = table.pack(arvak.run(function()
    arvak.spawn(function()
      while not ended do
        turns = turns + 1
        coroutine.yield()
      end
    end)
    local values = table.pack(fn())
    ended = true
    return table.unpack(values, 1, values.n)
  end))
  return turns, table.unpack(values, 1, values.n)
end

describe("a waiting method", function()
  before_each(function()
    open()
    server:fault { rpc = "ListBackends", latency = 0.02 }
  end)
  after_each(close)

  it("suspends the task in a task, so that others run meanwhile", function()
    local turns, backends = turns_beside(function() return client:list_backends() end)
    assert.equal("simulator", backends[1].backend_id)
    assert.is_true(turns > 1)
  end)

  it("suspends the task across pcall, xpcall, metamethods and iterators", function()
    local turns = turns_beside(function()
      local ok, backends = pcall(client.list_backends, client)
      assert.is_true(ok)
      assert.equal(1, #backends)
      ok, backends = xpcall(function() return (client:list_backends()) end, debug.traceback)
      assert.is_true(ok)
      assert.equal(1, #backends)
      local object = setmetatable({}, { __index = function() return (client:list_backends()) end,
        __call = function() return (client:list_backends()) end })
      assert.equal(1, #object.anything)
      assert.equal(1, #object())
      local seen = 0
      for list in function(_, last) return not last and client:list_backends() or nil end do seen = seen + #list end
      assert.equal(1, seen)
    end)
    assert.is_true(turns > 5)
  end)

  it("suspends the task across <close>", function()
    local closed
    turns_beside(function()
      local guard <close> = setmetatable({}, { __close = function() closed = #client:list_backends() end })
      return guard
    end)
    assert.equal(1, closed)
  end)

  it("suspends the inner task alone when tasks are nested", function()
    local order = {}
    arvak.run(function()
      local outer = arvak.spawn(function()
        local inner = arvak.spawn(function()
          client:list_backends()
          order[#order + 1] = "inner"
          return "value"
        end)
        order[#order + 1] = "outer"
        return inner:result()
      end)
      assert.equal("value", outer:result(TEST_TIMEOUT))
    end)
    assert.same({ "outer", "inner" }, order)
  end)

  it("blocks outside a task, in whatever coroutine", function()
    assert.is_false(arvak.in_task())
    assert.equal(1, #client:list_backends())
    local co = coroutine.create(function() return client:list_backends() end)
    local ok, backends = coroutine.resume(co)
    assert.is_true(ok)
    assert.equal(1, #backends)
    assert.equal("dead", coroutine.status(co))
    assert.equal(1, #coroutine.wrap(function() return client:list_backends() end)())
    assert.equal(1, #arvak.wrap(function() return client:list_backends() end)())
  end)

  it("blocks outside a task inside table.sort and string.gsub", function()
    assert.equal("1-1", (("a-a"):gsub("a", function() return #client:list_backends() end)))
    local list = { 2, 1 }
    table.sort(list, function(a, b) return #client:list_backends() == 1 and a < b end)
    assert.same({ 1, 2 }, list)
  end)

  it("runs the tasks there are while it blocks", function()
    local ran
    local f = arvak.spawn(function() ran = #client:list_backends() end)
    client:list_backends()
    f:result(TEST_TIMEOUT)
    assert.equal(1, ran)
  end)

  it("raises in another coroutine inside a task, at the caller, and names arvak.wrap", function()
    local ok, err = arvak.run(function()
      return pcall(coroutine.wrap(function()
        local _ = client:list_backends()
      end))
    end)
    assert.is_false(ok)
    assert.matches("^spec/async/task_spec%.lua:%d+: list_backends: cannot wait in a coroutine inside a task; ", err)
    assert.matches("make it with arvak%.wrap", err)
  end)

  it("raises for each method that waits in another coroutine inside a task", function()
    local waits = {
      sleep = function() local _ = arvak.sleep(0.01) end,
      wait_for_job = function() local _ = client:wait_for_job("j") end,
      execute = function() local _ = client:execute(bell, "simulator") end,
      wait_for_ready = function() local _ = client:wait_for_ready() end,
      submit_batch = function() local _ = client:submit_batch({}, "simulator") end,
      get_job_result = function() local _ = client:get_job_result("j") end,
      wait = function() local _ = client.async:list_backends():wait() end,
    }
    for name, fn in pairs(waits) do
      local ok, err = arvak.run(function() return pcall(coroutine.wrap(fn)) end)
      assert.is_false(ok)
      assert.matches("^spec/async/task_spec%.lua:%d+: " .. name .. ": cannot wait in a coroutine", err)
    end
    assert.equal(0, server:stats().calls.SubmitJob)
  end)

  it("raises in a task that is not yieldable, naming the method, and the task can wait again afterwards", function()
    arvak.run(function()
      local ok, err = pcall(string.gsub, "a", "a", function() return (client:list_backends()) end)
      assert.is_false(ok)
      assert.matches("list_backends: cannot wait here: .*table%.sort", err)
      ok, err = pcall(table.sort, { 2, 1 }, function() return arvak.sleep(0.01) end)
      assert.is_false(ok)
      assert.matches("sleep: cannot wait here", err)
      assert.equal(1, #client:list_backends())
    end)
  end)

  it("passes through generators made by arvak.wrap, also nested ones", function()
    local turns, values = turns_beside(function()
      local inner = function(n)
        return arvak.wrap(function()
          for i = 1, n do
            client:list_backends()
            coroutine.yield(i)
          end
        end)
      end
      local outer = arvak.wrap(function()
        for n = 1, 3 do
          for i in inner(n) do coroutine.yield(n, i) end
        end
      end)
      local values = {}
      for n, i in outer do values[#values + 1] = n .. "." .. i end
      return values
    end)
    assert.same({ "1.1", "2.1", "2.2", "3.1", "3.2", "3.3" }, values)
    assert.is_true(turns > 6)
  end)
end)

describe("arvak.wrap", function()
  after_each(helper.assert_clean)

  it("is coroutine.wrap where nothing waits: arguments in, values out", function()
    for _, around in ipairs { function(fn) return fn() end, arvak.run } do
      around(function()
        local next_sum = arvak.wrap(function(a, b)
          while true do a, b = coroutine.yield(a + b, "sum") end
        end)
        assert.same({ 3, "sum" }, { next_sum(1, 2) })
        assert.same({ 7, "sum" }, { next_sum(3, 4) })
      end)
    end
  end)

  it("lets errors through as they are", function()
    local object = {}
    for _, around in ipairs { function(fn) return fn() end, arvak.run } do
      local ok, err = around(function()
        return pcall(arvak.wrap(function()
          arvak.sleep(0.001)
          error(object)
        end))
      end)
      assert.is_false(ok)
      assert.equal(object, err)
    end
  end)

  it("raises when it is dead, or running", function()
    local once = arvak.wrap(function() end)
    once()
    assert.error_matches(function() local _ = once() end, "cannot resume dead coroutine")
    local self
    self = arvak.wrap(function() self() end)
    assert.error_matches(function() local _ = self() end, "cannot resume a running coroutine")
  end)

  it("closes what is to be closed when it ends by an error", function()
    local closed
    local generator = arvak.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      error("end")
    end)
    assert.is_false(pcall(generator))
    assert.is_true(closed)
  end)

  it("gives nil and canceled to a wait inside when its task is canceled", function()
    local value, err
    arvak.run(function()
      local f = arvak.spawn(function()
        arvak.wrap(function() value, err = arvak.sleep(TEST_TIMEOUT) end)()
      end)
      arvak.sleep(0.002)
      f:cancel()
    end)
    assert.is_nil(value)
    assert.equal("canceled", err.kind)
  end)
end)

describe("a bare coroutine.yield in a task", function()
  after_each(helper.assert_clean)

  it("goes on in the next turn of the loop, and gives nothing", function()
    local order = {}
    arvak.run(function()
      for _, name in ipairs { "a", "b" } do
        arvak.spawn(function()
          for i = 1, 3 do
            order[#order + 1] = name .. i
            assert.equal(0, select("#", coroutine.yield("ignored", i)))
          end
        end)
      end
    end)
    assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, order)
  end)
end)

describe("arvak.run", function()
  after_each(close)

  it("passes arguments in and results out, nils included", function()
    assert.same(table.pack(1, nil, 3, nil), table.pack(arvak.run(function(...) return ... end, 1, nil, 3, nil)))
    assert.equal(0, select("#", arvak.run(function() end)))
  end)

  it("returns nil and an error that its function returned, without raising", function()
    open()
    local value, err = arvak.run(client.get_job_status, client, "j")
    assert.is_nil(value)
    assert.equal("job_not_found", err.kind)
  end)

  it("waits for the tasks spawned in it, and for theirs", function()
    local ended = {}
    arvak.run(function()
      arvak.spawn(function()
        arvak.spawn(function()
          arvak.sleep(0.01)
          ended[#ended + 1] = "grandchild"
        end)
        arvak.sleep(0.005)
        ended[#ended + 1] = "child"
      end)
    end)
    assert.same({ "child", "grandchild" }, ended)
  end)

  it("raises an error as the same object, with the traceback in it", function()
    local object = {}
    local ok, err = pcall(arvak.run, function()
      local function deep() error(object) end
      deep()
    end)
    assert.is_false(ok)
    assert.equal(object, err)
    assert.matches("stack traceback", err.traceback)
    assert.matches("deep", err.traceback)
    ok, err = pcall(arvak.run, function() error("text", 0) end)
    assert.is_false(ok)
    assert.equal("text", err)
  end)

  it("cancels the other tasks when its function has raised, and awaits their ends", function()
    local seen
    local ok, err = pcall(arvak.run, function()
      arvak.spawn(function() seen = select(2, arvak.sleep(TEST_TIMEOUT)) end)
      arvak.sleep(0.002)
      error("boom", 0)
    end)
    assert.is_false(ok)
    assert.equal("boom", err)
    assert.equal("canceled", seen.kind)
  end)

  it("raises the error of a spawned task that nobody has read", function()
    local object = {}
    local ok, err = pcall(arvak.run, function() arvak.spawn(error, object) end)
    assert.is_false(ok)
    assert.equal(object, err)
    open()
    ok, err = pcall(arvak.run, function() arvak.spawn(client.get_job_status, client, "j") end)
    assert.is_false(ok)
    assert.equal("job_not_found", err.kind)
  end)

  it("raises nothing that was read, by result or by exception", function()
    assert.equal("fine", arvak.run(function()
      local first, second = arvak.spawn(error, "one"), arvak.spawn(error, "two")
      assert.is_nil((first:result()))
      assert.equal("two", second:exception())
      return "fine"
    end))
  end)

  it("raises every unread error, one after the other", function()
    local first, second = {}, {}
    local _, err = pcall(arvak.run, function()
      arvak.spawn(error, first)
      arvak.spawn(error, second)
    end)
    assert.equal(first, err)
    _, err = pcall(arvak.poll, 0)
    assert.equal(second, err)
    assert.is_true((pcall(arvak.poll, 0)))
  end)

  it("takes a bare nil or false as a value", function()
    assert.is_nil((arvak.run(function() return arvak.spawn(function() return nil, "no error object" end):result() end)))
    assert.is_false((arvak.run(function() return arvak.spawn(function() return false end):result() end)))
  end)

  it("raises inside a task", function()
    arvak.run(function()
      local ok, err = pcall(function() local _ = arvak.run(function() end) end)
      assert.is_false(ok)
      assert.matches("task_spec%.lua:%d+: run: already inside a task", err)
      ok, err = pcall(function() local _ = arvak.poll(0) end)
      assert.is_false(ok)
      assert.matches("task_spec%.lua:%d+: poll: cannot step the loop inside a task", err)
    end)
  end)

  it("can run again and again", function()
    for i = 1, 100 do
      assert.equal(i, arvak.run(function()
        local f = arvak.spawn(function() return i end)
        return f:result()
      end))
    end
  end)

  it("detects a deadlock, instead of hanging", function()
    local ok, err = pcall(arvak.run, function()
      local a, b
      a = arvak.spawn(function() return b:wait() end)
      b = arvak.spawn(function() return a:wait() end)
    end)
    assert.is_false(ok)
    assert.matches("deadlock", tostring(err))
  end)

  it("is not needed for that: a blocking wait for what cannot come raises too", function()
    local f
    f = arvak.spawn(function() return f:wait() end)
    local ok, err = pcall(f.wait, f)
    assert.is_false(ok)
    assert.matches("deadlock", tostring(err))
    assert.is_true(f:cancel())
    assert.is_true(f:wait(TEST_TIMEOUT))
  end)

  it("does not run on when Lua code in it is interrupted", function()
    local ok, err = pcall(arvak.run, function()
      local f = arvak.spawn(arvak.sleep, TEST_TIMEOUT)
      coroutine.yield()
      error(f)
    end)
    assert.is_false(ok)
    assert.equal("future", arvak.type(err))
    assert.is_true(err:canceled() or err:done())
  end)
end)

describe("an error in a task outside any run", function()
  after_each(helper.assert_clean)

  it("is raised by poll once nobody can read it any more, never lost", function()
    arvak.spawn(error, "lost?")
    local raised
    helper.eventually(function()
      collectgarbage()
      local ok, err = pcall(arvak.poll, 0)
      raised = not ok and err
      return raised
    end)
    assert.equal("lost?", raised)
  end)

  it("is not raised by a blocking call of somebody else's", function()
    local f = arvak.spawn(error, "mine")
    assert.is_true(arvak.sleep(0.005))
    assert.same({ nil, "mine" }, { f:result(0) })
    assert.is_true((pcall(arvak.poll, 0)))
  end)
end)

describe("arvak.in_task and arvak.poll", function()
  after_each(helper.assert_clean)

  it("in_task is true in a task and in what it calls, also in a coroutine inside", function()
    assert.is_false(arvak.in_task())
    assert.is_true(arvak.run(arvak.in_task))
    assert.is_true(arvak.run(function() return coroutine.wrap(arvak.in_task)() end))
  end)

  it("poll steps the tasks and tells whether anything is left", function()
    assert.is_false(arvak.poll(0))
    local f = arvak.spawn(function() arvak.sleep(0.005) end)
    assert.is_true(arvak.poll(0))
    helper.eventually(function() return f:done() end)
    assert.is_false(arvak.poll(0))
  end)
end)

describe("many tasks at once", function()
  after_each(close)

  it("each get the result of their own job", function()
    open()
    local results = {}
    arvak.run(function()
      for i = 1, 50 do
        arvak.spawn(function()
          local qubits = 1 + i % 6
          local flips = {}
          for q = 0, qubits - 1 do flips[#flips + 1] = (i >> q) & 1 == 1 and ("x q[%d];"):format(q) or "" end
          local qasm = ("OPENQASM 3.0; qubit[%d] q; %s"):format(qubits, table.concat(flips))
          local job_id = client:submit_qasm(qasm, "simulator", i)
          assert.is_truthy(client:wait_for_job(job_id))
          results[i] = client:get_job_result(job_id)
        end)
      end
    end)
    for i = 1, 50 do
      local bits = {}
      for q = i % 6, 0, -1 do bits[#bits + 1] = (i >> q) & 1 end
      assert.same({ [table.concat(bits)] = i }, results[i].counts)
    end
    assert.equal(50, server:stats().accepted)
  end)

  it("may be ten thousand, and only max_concurrent_rpcs calls are inside gRPC", function()
    open(nil, { max_concurrent_rpcs = 16 })
    local ok, most = 0, 0
    arvak.run(function()
      for i = 1, 10000 do
        arvak.spawn(function()
          if client:list_backends() then ok = ok + 1 end
          if i % 500 == 0 then most = math.max(most, client:stats().in_flight) end
        end)
      end
    end)
    assert.equal(10000, ok)
    assert.is_true(most <= 16)
    assert.is_true(server:stats().connections_total <= 4)
  end)
end)
