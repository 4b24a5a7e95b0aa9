-- The ends of things: clients closed, dropped and collected, Lua states closed in the middle of work.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- Runs a Lua program in a process of its own: what it printed, and how it ended.
local function run_child(program)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(program)
  file:close()
  local pipe = assert(io.popen(("LUA_CPATH_5_4='%s' timeout %d '%s' %s 2>&1")
    :format(package.cpath, TEST_TIMEOUT, os.getenv("LUA") or "lua5.4", path)))
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  os.remove(path)
  return helper.without_log(output), how .. " " .. code
end

local function assert_child(expected, program)
  local output, ending = run_child(program)
  assert.equal(expected, output)
  assert.equal("exit 0", ending)
end

describe("client:close", function()
  after_each(close)

  it("may be repeated", function()
    open()
    for _ = 1, 3 do assert.equal(0, select("#", client:close())) end
  end)

  it("disconnects", function()
    open()
    assert.is_truthy(client:list_backends())
    assert.equal(1, server:stats().connections_open)
    client:close()
    helper.eventually(function() return server:stats().connections_open == 0 end)
  end)

  it("ends a hundred calls in flight as closed, each future and each task", function()
    open()
    server:fault { hang = true }
    local futures, kinds = {}, {}
    for i = 1, 50 do futures[i] = client.async:get_job_status("j" .. i) end
    arvak.run(function()
      for i = 51, 100 do
        arvak.spawn(function()
          local _, err = client:submit_qasm(bell, "simulator")
          kinds[i] = err.kind
          assert.is_true(err.maybe_executed)
        end)
      end
      arvak.sleep(0.01)
      client:close()
    end)
    for i = 1, 50 do
      local value, err = futures[i]:result(TEST_TIMEOUT)
      assert.is_nil(value)
      assert.equal("closed", err.kind)
      assert.equal("j" .. i, err.job_id)
    end
    for i = 51, 100 do assert.equal("closed", kinds[i]) end
  end)

  it("ends calls in our own queue as closed, of which nothing was executed", function()
    open(nil, { max_concurrent_rpcs = 1 })
    server:fault { hang = true }
    local first, second = client.async:list_backends(), client.async:submit_qasm(bell, "simulator")
    assert.equal(1, client:stats().queued)
    client:close()
    assert.equal("closed", first:exception(TEST_TIMEOUT).kind)
    local err = second:exception(TEST_TIMEOUT)
    assert.equal("closed", err.kind)
    assert.is_false(err.maybe_executed)
    assert.equal(0, err.attempts)
  end)

  it("ends its own calls alone", function()
    open()
    server:fault { latency = 0.05 }
    local other = arvak.connect(server.address)
    local f, g = client.async:list_backends(), other.async:list_backends()
    client:close()
    assert.equal("closed", f:exception(TEST_TIMEOUT).kind)
    assert.equal(1, #g:result(TEST_TIMEOUT))
    other:close()
  end)

  it("in a done-callback is fine", function()
    open()
    local closed
    client.async:list_backends():add_done_callback(function()
      client:close()
      closed = true
    end)
    helper.eventually(function() return closed end)
    assert.equal("arvak.client (closed)", tostring(client))
  end)

  it("makes a wait_for_ready that is under way end as closed", function()
    client = arvak.connect("127.0.0.1:1")
    local err
    arvak.run(function()
      local f = arvak.spawn(client.wait_for_ready, client, TEST_TIMEOUT)
      arvak.sleep(0.005)
      client:close()
      err = f:exception()
    end)
    assert.equal("closed", err.kind)
  end)
end)

describe("a client in a <close> variable", function()
  after_each(close)

  it("is closed when the variable goes, by an error too", function()
    server = helper.start()
    local kept
    pcall(function()
      local c <close> = arvak.connect(server.address)
      assert.is_truthy(c:list_backends())
      kept = c
      error("leave")
    end)
    assert.equal("arvak.client (closed)", tostring(kept))
    helper.eventually(function() return server:stats().connections_open == 0 end)
    kept = nil
    assert.is_nil(kept)
  end)
end)

describe("a client that is dropped without a close", function()
  after_each(close)

  it("is closed by the collector", function()
    open()
    assert.is_truthy(client:list_backends())
    client = nil
    collectgarbage()
    collectgarbage()
    assert.equal(0, arvak._counts().clients)
    helper.eventually(function() return server:stats().connections_open == 0 end)
  end)

  it("serves the tasks that use it to their end", function()
    open { job_latency = 0.01 }
    local f = arvak.spawn(function(c) return c:execute(bell, "simulator", 5) end, client)
    client = nil
    collectgarbage()
    collectgarbage()
    assert.equal(5, f:result(TEST_TIMEOUT).shots)
    f = nil
    assert.is_nil(f)
  end)

  it("is let go of with its results, futures and errors", function()
    open()
    local weak = setmetatable({}, { __mode = "k" })
    do
      local f = client.async:list_backends()
      local task = arvak.spawn(client.get_job_status, client, "j")
      weak[f], weak[task], weak[f:result(TEST_TIMEOUT)], weak[task:exception(TEST_TIMEOUT)] = 1, 1, 1, 1
      weak[assert(client:execute("OPENQASM 3.0; qubit[9] q; h q;", "simulator", 5000))] = 1
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

describe("memory", function()
  after_each(close)

  it("does not grow with the calls and tasks that have ended", function()
    open()
    local function work()
      arvak.run(function()
        for i = 1, 200 do
          arvak.spawn(function()
            client:get_job_status("j" .. i)
            client.async:list_backends():result()
          end):add_done_callback(function(f) f:result() end)
        end
      end)
      collectgarbage()
      collectgarbage()
      return collectgarbage("count")
    end
    work()
    local before = work()
    for _ = 1, 5 do work() end
    assert.is_true(work() - before < 20, "kilobytes more than before")
  end)
end)

describe("a Lua state that is closed", function()
  local prelude = [[
    arg = nil   -- as in a host: nothing is said of what is left undone
    local arvak, devserver = require "arvak", require "arvak.devserver"
    local server = devserver.start { rate_limit = 0 }
    local client = arvak.connect(server.address)
    local bell = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
    io.stdout:setvbuf("no")
  ]]

  it("with nothing going on ends well, with and without use", function()
    assert_child("", 'require "arvak"')
    assert_child("", 'local c = require "arvak".connect("localhost:1")')
    assert_child("5\n", prelude .. 'print(client:execute(bell, "simulator", 5).shots)')
    assert_child("5\n", [[
      local client = require "arvak".connect("embedded")
      print(client:execute("OPENQASM 3.0; qubit q;", "simulator", 5).shots)
    ]])
  end)

  it("with a hundred calls in flight ends well", function()
    assert_child("100\n", prelude .. [[
      server:fault { hang = true }
      local futures = {}
      for i = 1, 100 do futures[i] = client.async:list_backends() end
      arvak.sleep(0.01)
      print(client:stats().in_flight)
    ]])
  end)

  it("by os.exit with calls in flight, inside a task, ends well", function()
    assert_child("inside\n", prelude .. [[
      server:fault { hang = true }
      arvak.run(function()
        for i = 1, 20 do arvak.spawn(client.list_backends, client) end
        arvak.sleep(0.01)
        print("inside")
        os.exit(true, true)
      end)
    ]])
  end)

  it("with tasks suspended, asleep and not started ends well", function()
    assert_child("", prelude .. [[
      server:fault { hang = true }
      arvak.spawn(client.list_backends, client)
      arvak.spawn(arvak.sleep, 100)
      arvak.poll(0.01)
      arvak.spawn(print, "never")
    ]])
  end)

  it("before the server is gone, or after, ends well", function()
    assert_child("", prelude .. "client:list_backends() server:stop()")
    assert_child("", prelude .. "client:list_backends() server = nil collectgarbage() collectgarbage()")
  end)

  it("with finalizers that use a client ends well", function()
    assert_child("true\n", prelude .. [[
      local guard = setmetatable({}, { __gc = function()
        local ok, value, err = pcall(client.list_backends, client)
        print(not ok or value ~= nil or err ~= nil)
      end })
    ]])
  end)

  -- Such a finalizer runs after those of everything that the library has made.
  it("with a finalizer older than the library, which uses its streams, ends well", function()
    assert_child("false\nfalse\ntrue\n", [[
      local watch, batch
      early = setmetatable({}, { __gc = function()
        print((pcall(watch.next, watch)))
        print((pcall(batch.next, batch)))
        print((pcall(watch.cancel, watch)))
      end })
    ]] .. prelude .. [[
      server:fault { job = "hang" }
      watch = client:watch_job(client:submit_qasm(bell, "simulator"))
      batch = client:submit_batch_stream({ { bell, 1 } }, "simulator")
      watch:next()
      batch:next()
    ]])
  end)

  -- The finalizer runs when the library has closed its loop; each line finds what was in flight ended, or is refused.
  it("with a finalizer older than the library, which cancels, sets, starts and steps, ends well", function()
    local acts = {
      "task:cancel()", "sleeping:cancel()", "fresh:cancel()", "call:cancel()", "job:cancel()", "resolve(1)",
      "client:close()", "stream:cancel()", "pollable:step()", "pollable:timeout()", "pollable:close()", "arvak.poll(0)",
      "arvak.spawn(print)", "arvak.sleep(0)", "arvak.run(print)", "coroutine.close(inner)",
      "coroutine.close(waiting)", "arvak.pollable()", "task:result()",
      "client.async:list_backends()", "task:add_done_callback(print)",
    }
    local setup = [[
      server:fault { rpc = "ListBackends", hang = true }
      server:fault { job = "hang" }
      task = arvak.spawn(client.list_backends, client)
      sleeping = arvak.spawn(arvak.sleep, 1000)
      call = client.async:list_backends()
      job = client:submit_qasm_future(bell, "simulator")
      promise, resolve = arvak.future()
      stream = client:watch_job(client:submit_qasm(bell, "simulator"))
      arvak.spawn(function() stream:next() end)
      arvak.spawn(promise.result, promise)
      promise:add_done_callback(print)
      local function generate()
        inner = coroutine.running()
        arvak.sleep(1000)
      end
      waiting = coroutine.create(arvak.wrap(generate))
      arvak.spawn(function() arvak.wrap(generate)() end)
      pollable = arvak.pollable()
      arvak.poll(0.01)
      fresh = arvak.spawn(print, "never")
    ]]
    for i = 1, #acts do
      local order = table.concat(acts, " end, function() ", i) .. " end, function() "
        .. table.concat(acts, " end, function() ", 1, i)
      assert_child("finalized\n", ([[
        keep = setmetatable({}, { __gc = function()
          for _, act in ipairs { function() %s end } do pcall(act) end
          print "finalized"
        end })
      ]]):format(order) .. prelude .. setup)
    end
  end)

  it("gives an error that nobody read to warn, outside a script", function()
    local program = 'warn "@on" arg = nil local arvak = require "arvak" arvak.spawn(error, "unread") arvak.sleep(0.01)'
    assert.matches("Lua warning: arvak: an error that nobody read: unread", run_child(program))
  end)

  for _, name in ipairs { "string", "table", "math" } do
    it("may not open the library without " .. name .. ", and hears so", function()
      assert_child(("false\tarvak needs Lua's library '%s', which this Lua state lacks: open it before arvak\n")
        :format(name), ([[
          local print, require, pcall = print, require, pcall
          local path = package.cpath:match "[^;]+"
          local open = package.loadlib(path:gsub("?", "arvak"), "luaopen_arvak")
          %s = nil
          print(pcall(open))
        ]]):format(name))
    end)
  end

  for _, name in ipairs { "utf8", "debug", "coroutine", "os", "io", "package" } do
    it("may work without " .. name, function()
      assert_child("5\ttrue\tfalse\n", ([[
        local arvak = require "arvak"
        local client <close> = arvak.connect "embedded"
        arg, %s = nil, nil
        local result = assert(client:execute("OPENQASM 3.0; qubit q; h q;", "simulator", 5))
        local text = #tostring(result) > 0 and #result:histogram(40) > 0
        local manager <close> = arvak.batch_manager(client)
        local r = manager:execute_batch({ { "OPENQASM 3.0; qubit q; h q;", 5 }, { "x", 5 } }, "simulator")
        tostring(r.items[2].err)
        print(result.shots, text, r.ok)
      ]]):format(name))
    end)
  end

  it("may open the library without package, os and io in reach", function()
    assert_child("5\n", prelude .. [[
      os, io, package = nil, nil, nil
      print(client:execute(bell, "simulator", 5).shots)
      assert(client:list_backends()[1].backend_id == "simulator")
      arvak.connect():close()
    ]])
  end)
end)
