-- What becomes of jobs and journals when a batch is stopped or its runner ends: by time, by a closed coroutine, by an
-- interrupt, by an error of the user's.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local LUA = os.getenv "LUA" or "lua5.4"
local server, client, manager, path

local function open(options, client_options, workers)
  server = helper.start(options)
  client = arvak.connect(server.address, client_options)
  manager = arvak.batch_manager(client, { max_workers = workers })
  path = os.tmpname()
  os.remove(path)
end

local function close()
  manager:close()
  client:close()
  server:stop()
  for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
  manager, client, server = nil, nil, nil
  helper.assert_clean()
end

local function states()
  local found = {}
  for _, job in ipairs(server:jobs()) do found[job.state] = (found[job.state] or 0) + 1 end
  return found
end

-- Unfinished jobs of the server.
local function unfinished() return (states().RUNNING or 0) + (states().QUEUED or 0) end

describe("a job that is canceled with its batch", function()
  after_each(close)

  for _, transport in ipairs { "stream", "unary" } do
    it("ends as its batch though the answer was lost, and runs when the batch goes on: " .. transport, function()
      open({ job_latency = 0.3 }, { retry = { max_attempts = 5, initial_backoff = 0.01 } })
      server:fault { rpc = "CancelJob", status = "UNAVAILABLE", when = "after", rate = 0.5 }
      local options = { journal = path, timeout = 0.15, transport = transport }
      local r, err = manager:execute_batch(batches.bells(20), "simulator", options)
      batches.assert_whole(r, 20)
      assert.equal("timeout", err.kind)
      assert.same({ timeout = 20 }, batches.kinds(r))
      server:clear_faults()
      options.timeout = nil
      r, err = manager:execute_batch(batches.bells(20), "simulator", options)
      assert.is_nil(err)
      batches.assert_whole(r, 20)
      assert.is_true(r.ok)
      assert.equal(20, states().COMPLETED)
    end)

    it("ends as its batch when a look finds it canceled before the answer comes: " .. transport, function()
      open({ job_latency = 60 })
      server:fault { rpc = "CancelJob", latency = 5, count = 1 }   -- this one's answer comes after the linger
      server:fault { rpc = "CancelJob", latency = 0.2 }
      local r, err = manager:execute_batch(batches.bells(20), "simulator", { transport = transport, timeout = 0.2 })
      batches.assert_whole(r, 20)
      assert.equal("timeout", err.kind)
      assert.same({ timeout = 20 }, batches.kinds(r))
      for _, item in ipairs(r.items) do assert.is_falsy(item.err.maybe_executed) end
    end)
  end

  it("runs when the batch goes on, though the process was killed before it had noted an end", function()
    open({ job_latency = 3 })
    local script = ([[
      local arvak = require "arvak"
      local circuits = {}
      for i = 1, 8 do circuits[i] = { %q, i } end
      local manager = arvak.batch_manager(arvak.connect(%q))
      manager:execute_batch(circuits, "simulator", { journal = %q, timeout = 1.5 })
    ]]):format(helper.bell, server.address, path)
    server:fault { rpc = "CancelJob", hang = "after" }
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write(script)
    file:flush()
    local pid = io.popen(("%s %s >/dev/null 2>&1 & echo $!"):format(LUA, name)):read "n"
    helper.eventually(function() return (states().CANCELED or 0) == 8 end)
    os.execute("kill -KILL " .. pid)
    os.remove(name)
    server:clear_faults()
    helper.eventually(function()   -- until the dead process's lock is gone
      local journal = arvak.journal(path)
      if journal then journal:close() end
      return journal
    end)
    local r, err = manager:execute_batch(batches.bells(8), "simulator", { journal = path })
    assert.is_nil(err)
    batches.assert_whole(r, 8)
    assert.is_true(r.ok)
    assert.equal(8, states().COMPLETED)
  end)
end)

describe("a batch whose coroutine ends", function()
  after_each(close)

  -- Starts a batch in a coroutine of its own that is suspended inside on_result.
  local function suspended(transport, journal)
    local co = coroutine.create(function()
      return manager:execute_batch(batches.bells(8), "simulator", { transport = transport, journal = journal,
        on_result = function() coroutine.yield "inside" end })
    end)
    server:fault { job = "hang", after = 1 }
    server:fault { rpc = "any", job_latency = 0.3 }   -- when the first has ended, the others are there
    assert.same({ true, "inside" }, { coroutine.resume(co) })
    helper.eventually(function()   -- with a journal the place of the first may be taken before its end is told
      return (states().RUNNING or 0) >= 3 and client:stats().in_flight == 0
    end)
    return co
  end

  for _, how in ipairs { "closed", "collected" } do
    for _, transport in ipairs { "stream", "unary" } do
      it(("by being %s cancels its jobs, and others can go on: %s"):format(how, transport), function()
        open(nil, nil, 4)
        local co = suspended(transport)
        if how == "closed" then assert.is_true(coroutine.close(co)) end
        co = nil   -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        helper.eventually(function() return unfinished() == 0 end)
        server:clear_faults()
        assert.is_true(manager:execute_batch(batches.bells(8), "simulator").ok)   -- its places are free
      end)
    end

    it(("by being %s leaves its jobs to a later run where it has a journal, which is free"):format(how), function()
      open(nil, nil, 4)
      local co = suspended("unary", path)
      if how == "closed" then assert.is_true(coroutine.close(co)) end
      co = nil   -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      local running = states().RUNNING
      server:clear_faults()
      for _, job in ipairs(server:jobs()) do
        if job.state == "RUNNING" then client:cancel_job(job.job_id or job.id) end
      end
      local r, err = manager:execute_batch(batches.bells(8), "simulator", { journal = path })
      assert.is_nil(err)
      batches.assert_whole(r, 8)
      assert.same({ job_canceled = running }, batches.kinds(r))   -- by us, and not with the batch
    end)
  end

  for _, transport in ipairs { "stream", "unary" } do
    for _, has_journal in ipairs { false, true } do
      it(("in luv's loop lets that loop end: %s, %s"):format(transport, has_journal and "journal" or "none"), function()
        open({ job_latency = has_journal and 3 or 60 })
        local uv = require "luv"
        local attachment = require("arvak.luv").attach()
        local journal = has_journal and path or nil
        local co = coroutine.create(function()
          return manager:execute_batch(batches.bells(30), "simulator", { transport = transport, journal = journal })
        end)
        assert(coroutine.resume(co))
        local look, looks = uv.new_timer(), 0
        look:start(10, 10, function()
          if server:stats().accepted < 30 then return end
          looks = looks + 1   -- the batch has time to hear of it
          if looks < 30 then return end
          look:stop()
          look:close()
          assert(coroutine.close(co))
        end)
        local watchdog, is_late = uv.new_timer(), false
        watchdog:start(1000 * math.floor(helper.TEST_TIMEOUT), 0, function()
          is_late = true
          uv.stop()
        end)
        watchdog:unref()
        uv.run()
        watchdog:close()
        attachment:detach()
        uv.run("nowait")
        assert.is_false(is_late)
        if has_journal then
          assert.is_true(manager:execute_batch(batches.bells(30), "simulator", { journal = path }).ok)
          assert.equal(30, server:stats().accepted)
        else
          helper.eventually(function() return unfinished() == 0 end)
        end
      end)
    end
  end
end)

describe("a batch that ends while it has not read which jobs the server has made", function()
  after_each(close)

  -- Turns the loop until the server has made so many jobs, and lets it make more, of which nobody reads.
  local function leave_unread(count)
    local deadline = os.time() + helper.TEST_TIMEOUT
    while server:stats().accepted < count do
      assert.is_true(os.time() < deadline)
      coroutine.yield()
    end
    os.execute "sleep 0.1"
  end

  for _, how in ipairs { "closed", "collected" } do
    it(("since its coroutine was %s has them canceled"):format(how), function()
      open({ job_latency = 60 })
      local co = coroutine.create(function()
        return manager:execute_batch(batches.bells(8), "simulator", { transport = "stream",
          progress_callback = function() coroutine.yield "inside" end })
      end)
      assert.same({ true, "inside" }, { coroutine.resume(co) })   -- the first circuit was written
      helper.eventually(function() return unfinished() == 1 end)
      if how == "closed" then assert.is_true(coroutine.close(co)) end
      co = nil   -- luacheck: ignore 311
      collectgarbage()
      collectgarbage()
      helper.eventually(function() return unfinished() == 0 end)
    end)
  end

  it("since its task was canceled has them canceled", function()
    open({ job_latency = 60 }, nil, 64)
    local r = arvak.run(function()
      local f = arvak.spawn(manager.execute_batch, manager, batches.bells(60), "simulator", { transport = "stream" })
      leave_unread(20)
      f:cancel()
      return f:result()
    end)
    batches.assert_whole(r, 60)
    assert.same({ canceled = 60 }, batches.kinds(r))
    helper.eventually(function() return unfinished() == 0 end)
  end)

  it("does not wait for a server that says nothing", function()
    open({ job_latency = 60 }, nil, 64)
    server:fault { rpc = "SubmitBatchStream", hang = "after" }
    arvak.run(function()
      local f = arvak.spawn(manager.execute_batch, manager, batches.bells(4), "simulator", { transport = "stream" })
      arvak.sleep(0.1)
      f:cancel()
      f:wait()
    end)
    helper.eventually(function() return not arvak.poll(0.01) end)
    assert.equal(0, client:stats().in_flight)
  end)
end)

describe("a batch that is interrupted by Ctrl-C without a journal", function()
  after_each(close)

  for _, where in ipairs { "outside a task", "in a task" } do
    for _, transport in ipairs { "stream", "unary" } do
      it(("cancels its jobs before it raises: %s, %s"):format(where, transport), function()
        open({ job_latency = 60 })
        local script = os.tmpname()
        local file = assert(io.open(script, "w"))
        file:write(([[
          local arvak = require "arvak"
          local circuits = {}
          for i = 1, 20 do circuits[i] = { %q, i } end
          local manager = arvak.batch_manager(arvak.connect(%q))
          local function main() return manager:execute_batch(circuits, "simulator", { transport = %q }) end
          %s
        ]]):format(helper.bell, server.address, transport, where == "in a task" and "arvak.run(main)" or "main()"))
        file:close()
        local shell = ("bash -c 'set -m; %s %s & echo $!; wait $!; echo status $?' 2>&1"):format(LUA, script)
        local pipe = assert(io.popen(shell))
        local pid = pipe:read "n"
        helper.eventually(function() return (states().RUNNING or 0) == 20 end)
        arvak.sleep(0.5)   -- the other process reads of its jobs; what it does not know it has half a second to cancel
        os.execute("kill -INT " .. pid)
        local output = pipe:read "a"
        pipe:close()
        os.remove(script)
        assert.matches("interrupted!", output)
        assert.matches("status 1\n", output)
        helper.eventually(function() return unfinished() == 0 end)
        assert.equal(20, states().CANCELED)
      end)
    end
  end
end)

describe("what a function of the user's raises", function()
  after_each(close)

  it("after the batch has stopped is the cause of its error", function()
    open({ job_latency = 60 })
    local problem = { "mine" }
    local r, err = manager:execute_batch(batches.bells(8), "simulator", { timeout = 0.1, on_result = function(_, _, why)
      if why then error(problem) end
    end })
    batches.assert_whole(r, 8)
    assert.equal("timeout", err.kind)
    assert.equal(problem, err.cause)
  end)

  it("in an iterator, after the batch has stopped or is over, reaches somebody", function()
    open()
    for _, seconds in ipairs { 0.3, 0.9 } do   -- the batch lingers for half a second
      local problem = setmetatable({}, { __tostring = function() return "the iterator's own" end })
      local n = 0
      local _, err = manager:execute_batch(function()
        n = n + 1
        if n < 3 then return { helper.bell, n } end
        arvak.sleep(seconds)
        error(problem)
      end, "simulator", { timeout = 0.1 })
      assert.equal("timeout", err.kind)
      if err.cause == nil then
        local ok, raised
        helper.eventually(function()
          ok, raised = pcall(arvak.poll, 0.01)
          return not ok
        end)
        assert.equal(problem, raised)
      else
        assert.equal(problem, err.cause)
      end
    end
  end)

  it("has each function called once at most after it, also when two raise", function()
    open()
    server:fault { rpc = "CancelJob", hang = true }
    server:fault { rpc = "SubmitJob", job = "hang", after = 5 }
    local results, reports = 0, 0
    local r, err = manager:execute_batch(batches.bells(20), "simulator", { transport = "unary",
      on_result = function()
        results = results + 1
        error("from on_result", 0)
      end,
      progress_callback = function()
        reports = reports + 1
        if results > 0 then error("from progress_callback", 0) end
      end,
    })
    batches.assert_whole(r, 20)
    assert.equal(1, results)
    assert.equal("from on_result", err.cause)
    local ok, raised = pcall(arvak.poll, 0)
    assert.same({ false, "from progress_callback" }, { ok, raised })
    assert.is_true(reports >= 1)
  end)
end)

describe("an interrupt", function()
  after_each(close)

  -- A debug hook that raises once, in the first Lua code that runs inside of fn, as the interpreter's does for Ctrl-C.
  local function interrupted(fn)
    return function(...)
      debug.sethook(function()
        debug.sethook()
        error("stop here", 0)
      end, "", 1)
      return fn(...)
    end
  end

  for _, name in ipairs { "on_result", "progress_callback" } do
    it("inside of a function of the user's ends the batch, and is no error of that function: " .. name, function()
      open({ job_latency = 0.02 }, nil, 4)
      local calls = 0
      local ok, err = pcall(manager.execute_batch, manager, batches.bells(60), "simulator", {
        [name] = interrupted(function()
          calls = calls + 1
        end),
      })
      assert.same({ false, "stop here" }, { ok, err })
      assert.equal(0, calls)
      helper.eventually(function() return unfinished() == 0 end)
    end)
  end

  it("inside of an iterator ends the batch, and is no error of the iterator", function()
    open({ job_latency = 60 }, nil, 4)
    local drawn = 0
    local ok, err = pcall(manager.execute_batch, manager, interrupted(function()
      drawn = drawn + 1
    end), "simulator")
    assert.same({ false, "stop here" }, { ok, err })
    assert.equal(0, drawn)
    ok, err = pcall(manager.execute_batch, manager, batches.counted(8, function(i)
      if i == 3 then interrupted(function() return i end)() end
    end), "simulator")
    assert.same({ false, "stop here" }, { ok, err })
    helper.eventually(function() return unfinished() == 0 end)
  end)

  it("passes the search for a module that is there", function()
    open()
    local name = "arvak.store.sqlite"
    local saved = require(name)
    package.loaded[name], package.preload[name] = nil, interrupted(function() return saved end)
    local ok, err = pcall(manager.execute_batch, manager, batches.bells(1), "simulator", { journal = path })
    package.loaded[name], package.preload[name] = saved, nil
    assert.same({ false, "stop here" }, { ok, err })
    assert.is_true(manager:execute_batch(batches.bells(1), "simulator", { journal = path }).ok)
  end)

  for _, name in ipairs { "api_key", "metadata" } do
    it("inside of a function given as " .. name .. " is no lack of credentials", function()
      open()
      local calls, strikes_at = 0, nil
      local strike = interrupted(function() end)
      client:close()
      client = arvak.connect(server.address, {
        retry = { max_attempts = 3, initial_backoff = 0.001 },
        [name] = function()
          calls = calls + 1
          if calls == strikes_at then strike() end
          return nil
        end,
      })
      server:fault { rpc = "ListBackends", status = "UNAVAILABLE", count = 1 }
      for strike_at = 1, 2 do   -- before the first attempt, and before the second
        calls, strikes_at = 0, strike_at
        local ok, err = pcall(client.list_backends, client)
        assert.same({ false, "stop here" }, { ok, err })
      end
      for strike_at = 1, 3 do
        calls, strikes_at = 0, strike_at
        local ok, err = pcall(client.submit_batch_future, client, batches.bells(3), "simulator")
        assert.same({ false, "stop here" }, { ok, err })
      end
      strikes_at = nil
      assert.is_table(client:list_backends())
    end)
  end

  it("passes a pcall of the library's that is around it: a module is looked for, a call is started", function()
    open({ job_latency = 0.02 }, nil, 4)
    local ok, err = pcall(manager.execute_batch, manager, batches.bells(60), "simulator", {
      progress_callback = interrupted(arvak.print_progress_bar),
    })
    assert.same({ false, "stop here" }, { ok, err })
    local circuits = batches.bells(8)
    for after = 1, 400, 7 do   -- wherever it strikes
      local count = 0
      ok, err = pcall(function()
        debug.sethook(function()
          count = count + 1
          if count < after then return end
          debug.sethook()
          error("stop here", 0)
        end, "", 5)
        return manager:execute_batch(circuits, "simulator", { transport = "unary" })
      end)
      debug.sethook()
      assert.is_false(ok, "interrupted " .. after)
      assert.equal("stop here", err)
    end
    helper.eventually(function() return unfinished() == 0 end)
  end)
end)
