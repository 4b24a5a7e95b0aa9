-- What all streams share: loops, steps, tasks, and every way of leaving one.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client, hung_id, done_id

-- Each stream gives one event here, and then waits for something that never comes.
local function open(client_options)
  server = helper.start { watch_interval = 0.01 }
  client = arvak.connect(server.address, client_options)
  done_id = assert(client:submit_qasm(bell, "simulator", 100))
  assert(client:wait_for_job(done_id))
  server:fault { rpc = "SubmitJob", job = "hang" }
  hung_id = assert(client:submit_qasm(bell, "simulator", 100))
  helper.eventually(function() return assert(client:get_job_status(hung_id)).state == "RUNNING" end)
  server:fault { rpc = "StreamResults", hang = "after", messages = 1 }
  server:fault { rpc = "SubmitBatchStream", job = "hang" }
end

local _, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function no_call_is_left()
  helper.eventually(function() return arvak._counts().calls == 0 end)
end

local kinds = {
  {
    method = "watch_job", rpc = "WatchJob",
    call = function(target, options) return target:watch_job(hung_id, options) end,
  },
  {
    method = "stream_results", rpc = "StreamResults",
    call = function(target, options)
      local all = { chunk_size = 1 }
      for name, value in pairs(options or {}) do all[name] = value end
      return target:stream_results(done_id, all)
    end,
  },
  {
    method = "submit_batch_stream", rpc = "SubmitBatchStream", has_last_events = true,
    call = function(target, options)
      return target:submit_batch_stream({ { bell, 10 } }, "simulator", options)
    end,
  },
}

local manners = { ["outside a task"] = function(fn) return fn() end, ["inside a task"] = arvak.run }

for _, kind in ipairs(kinds) do
  local function start(options)
    local s = kind.call(client, options)
    return s
  end

  local function start_and_step(options)
    local s = start(options)
    assert.truthy(s:next())
    assert.equal(1, arvak._counts().calls)
    return s
  end

  -- The error at the end; a batch stream first accounts for its job.
  local function end_of(s)
    if kind.has_last_events then
      local event, index, job_id, err = s:next()
      assert.same({ "error", 1 }, { event, index })
      assert.is_string(job_id)
      assert.is_true(arvak.is_error(err))
    end
    local values = table.pack(s:next())
    assert.equal(2, values.n)
    assert.is_nil(values[1])
    assert.same({ n = 2, nil, values[2] }, table.pack(s:next()))
    return values[2]
  end

  describe(kind.method, function()
    before_each(function() open() end)
    after_each(close)

    it("returns exactly the stream, nil, nil and the stream, and sends nothing before its first step", function()
      local values = table.pack(kind.call(client))
      assert.equal(4, values.n)
      assert.equal("stream", arvak.type(values[1]))
      assert.is_nil(values[2])
      assert.is_nil(values[3])
      assert.equal(values[1], values[4])
      assert.equal(0, server:stats().calls[kind.rpc])
      assert.matches("^arvak.stream " .. kind.method .. " %(open%)", tostring(values[1]))
    end)

    it("resolves to the stream alone through client.async", function()
      local values = table.pack(kind.call(client.async):result(0))
      assert.equal(1, values.n)
      local s <close> = values[1]
      assert.equal("stream", arvak.type(s))
      assert.truthy(s:next())
    end)

    for manner, around in pairs(manners) do
      it("cancels the call at once when its loop is left by break, " .. manner, function()
        around(function()
          for value in kind.call(client) do
            if value then break end
          end
        end)
        no_call_is_left()
      end)

      it("cancels the call at once when the body of its loop raises, " .. manner, function()
        local problem = { "mine" }
        around(function()
          local ok, err = pcall(function()
            for _ in kind.call(client) do error(problem) end
          end)
          assert.is_false(ok)
          assert.equal(problem, err)
        end)
        no_call_is_left()
      end)

      it("is closed with its variable, " .. manner, function()
        around(function()
          local s <close> = start_and_step()
          assert.equal("stream", arvak.type(s))
        end)
        no_call_is_left()
      end)

      it("ends as canceled by cancel, which is idempotent, " .. manner, function()
        around(function()
          local s = start_and_step()
          s:cancel()
          s:cancel()
          local value, err = s:next()
          assert.is_nil(value)
          assert.equal("canceled", err.kind)
          assert.matches("%(ended%)", tostring(s))
        end)
        no_call_is_left()
      end)

      it("ends when nothing has come for idle_timeout, " .. manner, function()
        around(function()
          if kind.method == "watch_job" then server:fault { rpc = "WatchJob", hang = "after", messages = 1 } end
          local err = end_of(start_and_step { idle_timeout = 0.5 })
          assert.equal("timeout", err.kind)
          assert.matches("idle_timeout", err.message)
        end)
        no_call_is_left()
      end)
    end

    it("raises the error as an object in its loop when the task is canceled, and cancels the call", function()
      local raised
      arvak.run(function()
        local f = arvak.spawn(function()
          local ok, err = pcall(function()
            for _ in kind.call(client) do end
          end)
          raised = not ok and err
        end)
        while server:stats().calls[kind.rpc] == 0 do arvak.sleep(0.001) end
        arvak.sleep(0.01)
        f:cancel()
        f:wait(TEST_TIMEOUT)
      end)
      assert.equal("canceled", raised.kind)
      no_call_is_left()
    end)

    it("lets other tasks run while it waits", function()
      arvak.run(function()
        local s <close> = start_and_step()
        local f = arvak.spawn(function() return s:next() end)
        assert.equal(1, #client:list_backends())
        assert.is_true(f:running())
        f:cancel()
        f:wait(TEST_TIMEOUT)
      end)
    end)

    it("ends at once for a task that waits on it when another cancels it", function()
      arvak.run(function()
        local s = start_and_step()
        local f = arvak.spawn(function() return s:next() end)
        arvak.sleep(0.01)
        s:cancel()
        local value, err = f:result(TEST_TIMEOUT)
        assert.is_nil(value)
        assert.equal("canceled", err.kind)
      end)
      no_call_is_left()
      assert.equal(1, server:stats().calls[kind.rpc])   -- and has not been opened again
    end)

    it("refuses a second task while one waits on it, and the first goes on", function()
      arvak.run(function()
        local s = start_and_step()
        local first = arvak.spawn(function() return s:next() end)
        arvak.sleep(0.01)
        local ok, err = pcall(function() return (s:next()) end)
        assert.is_false(ok)
        local here = "^spec/streams/stream_spec%.lua:%d+: "
        assert.matches(here .. kind.method .. ": another task waits on this stream", err)
        assert.is_true(first:running())
        s:cancel()
        assert.equal("canceled", first:exception(TEST_TIMEOUT).kind)
      end)
    end)

    it("refuses to wait inside a task where it cannot yield", function()
      arvak.run(function()
        local s <close> = start()
        local ok, err = pcall(string.gsub, "x", "x", function() s:next() end)
        assert.is_false(ok)
        assert.matches(kind.method, tostring(err))
        assert.truthy(s:next())
      end)
    end)

    it("cancels its call when it is dropped", function()
      start_and_step()
      collectgarbage()
      collectgarbage()
      no_call_is_left()
    end)

    it("ends as closed when its client is closed while it waits", function()
      arvak.run(function()
        local s = start_and_step()
        local f = arvak.spawn(function() return end_of(s) end)
        arvak.sleep(0.01)
        client:close()
        assert.equal("closed", f:result(TEST_TIMEOUT).kind)
      end)
      no_call_is_left()
    end)

    it("ends as closed when its client is closed between two steps", function()
      local s = start_and_step()
      client:close()
      assert.equal("closed", end_of(s).kind)
      no_call_is_left()
    end)

    it("ends as closed when its client is closed before the first step", function()
      local s = start()
      client:close()
      local value, err = s:next()
      assert.is_nil(value)
      assert.equal("closed", err.kind)
    end)

    it("ends the call after timeout, if one is asked for", function()
      local err = end_of(start_and_step { timeout = 1 })
      assert.equal("timeout", err.kind)
      no_call_is_left()
    end)

    it("raises at the caller for what is no client", function()
      local ok, err = pcall(function() return (client[kind.method]({}, "x")) end)
      assert.is_false(ok)
      assert.matches("^spec/streams/stream_spec%.lua:%d+: .*client", err)
    end)

    it("raises at the caller for wrong options, before anything is sent", function()
      for options, message in pairs {
        [{ retries = 1 }] = kind.method .. ": unknown option \"retries\", expected one of",
        [{ timeout = 0 }] = "timeout: got 0, expected a number of seconds above 0",
        [{ idle_timeout = -1 }] = "idle_timeout: got -1, expected a number of seconds above 0",
        [{ metadata = 1 }] = "metadata: got a number, expected a table",
      } do
        for _, target in ipairs { client, client.async } do
          local ok, err = pcall(function() return (kind.call(target, options)) end)
          assert.is_false(ok)
          assert.matches("^spec/streams/stream_spec%.lua:%d+: ", err)
          assert.truthy(err:find(message, 1, true), err)
        end
      end
      assert.equal(0, server:stats().calls[kind.rpc])
    end)
  end)

  describe(kind.method .. " under a client of short patience", function()
    before_each(function() open { timeout = 1 } end)
    after_each(close)

    it("has no deadline of its own", function()
      local s <close> = start_and_step { idle_timeout = 1.5 }
      if kind.method == "watch_job" then
        arvak.sleep(1.2)
        assert.is_true(client:cancel_job(hung_id))
        assert.equal("CANCELED", (s:next()))
        assert.is_nil(s:next())
      else
        assert.matches("idle_timeout", end_of(s).message)
      end
      assert.equal(1, server:stats().calls[kind.rpc])
    end)

    it("ends as unavailable when the server is gone in the middle, and nothing hangs", function()
      local started_at = monotime()
      local s = start_and_step()
      server:stop()
      local err = end_of(s)
      assert.equal("unavailable", err.kind)
      assert.matches(kind.rpc, tostring(err))
      assert.is_true(monotime() - started_at < TEST_TIMEOUT / 2)
      no_call_is_left()
    end)
  end)
end
