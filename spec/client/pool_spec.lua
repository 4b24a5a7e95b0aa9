-- The pool, as the server sees it: how many TCP connections there really are, and what happens when they die.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local system = require "system"

local monotime, sleep = system.monotime, system.sleep

local server, client

local _, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function call() return assert(client:list_backends()) end

-- So many calls in flight that every connection has its share, until the pool has grown.
local function load(in_flight)
  arvak.run(function()
    for _ = 1, in_flight do
      arvak.spawn(function() for _ = 1, 20 do call() end end)
    end
  end)
end

describe("the pool", function()
  after_each(close)

  it("has one connection while calls come one at a time", function()
    server = helper.start()
    client = arvak.connect(server.address, { pool_size = 4 })
    for _ = 1, 50 do call() end
    assert.equal(1, server:stats().connections_total)
    assert.equal(1, client:stats().connections.open)
    assert.equal(1, client:stats().connections.ready)
  end)

  for size = 1, 5 do
    it(("has %d under load when that is its size, and all of them are used"):format(size), function()
      server = helper.start()
      client = arvak.connect(server.address, { pool_size = size })
      load(100)
      assert.equal(size, server:stats().connections_total)
      assert.equal(size, server:stats().connections_open)
      assert.equal(size, client:stats().connections.ready)
      assert.equal(0, client:stats().failures)
    end)
  end

  it("spreads a burst of calls over connections that are still starting", function()
    server = helper.start()
    server:fault { rpc = "GetJobStatus", latency = 0.3 }
    client = arvak.connect(server.address, { pool_size = 4 })
    local futures = {}
    for i = 1, 64 do futures[i] = client.async:get_job_status("x") end
    -- Four, unless the first was ready before the burst was over.
    helper.eventually(function() return server:stats().connections_total >= 2 end)
    for _, f in ipairs(futures) do assert.equal("job_not_found", f:exception().kind) end
  end)

  it("gives watches that are opened at once to several connections, since one takes only so many", function()
    server = helper.start { watch_interval = 60, job_latency = 60 }
    client = arvak.connect(server.address, { pool_size = 3 })
    arvak.run(function()
      local job_id = assert(client:submit_qasm(helper.bell, "simulator", 1))
      local watches = {}
      for i = 1, 150 do watches[i] = client:watch_job(job_id) end
      for _, watch in ipairs(watches) do assert.equal("RUNNING", (watch:next())) end
      assert.is_true(server:stats().connections_total >= 2)
      for _, watch in ipairs(watches) do watch:cancel() end
    end)
  end)

  it("closes its connections with the client", function()
    server = helper.start()
    client = arvak.connect(server.address, { pool_size = 4 })
    load(100)
    client:close()
    helper.eventually(function() return server:stats().connections_open == 0 end)
  end)

  it("replaces connections that died while nothing was in flight, without a failed call", function()
    server = helper.start()
    client = arvak.connect(server.address, { pool_size = 3 })
    for _ = 1, 10 do
      load(60)
      local before = server:stats().connections_total
      server:drop_connections()
      helper.eventually(function() return server:stats().connections_open == 0 end)
      sleep(0.1)   -- not one of the loop's: nobody polls the client's connections meanwhile
      call()
      helper.eventually(function() return server:stats().connections_total > before end)
    end
    assert.equal(0, client:stats().failures)
  end)

  it("fails only calls that were in flight on the connection that died, whose outcome is unknown", function()
    server = helper.start()
    client = arvak.connect(server.address, { pool_size = 1 })
    call()
    server:fault { rpc = "SubmitJob", hang = true, count = 1 }
    local hanging = client.async:submit_qasm(helper.bell, "simulator", 1)
    helper.eventually(function() return server:stats().calls.SubmitJob == 1 end)
    server:drop_connections()
    local value, err = hanging:result(helper.TEST_TIMEOUT)
    assert.is_nil(value)
    assert.equal("unavailable", err.kind)
    assert.is_true(err.maybe_executed)
    assert.is_false(err.retryable)
    call()
    assert.equal(1, client:stats().failures)
  end)

  it("uses a server again that was down, within 2.5 seconds and with every connection", function()
    server = helper.start()
    local address = server.address
    client = arvak.connect(address, { pool_size = 3 })
    load(60)
    server:stop()
    helper.eventually(function() return not client:list_backends() end)
    for _ = 1, 20 do
      assert.is_nil(client:list_backends())
      arvak.sleep(0.02)
    end
    server = helper.start { address = address }
    local came_back = monotime()
    helper.eventually(function() return client:list_backends() end)
    local first = monotime() - came_back
    helper.eventually(function()
      client:list_backends()
      return client:stats().connections.ready == 3
    end)
    local all = monotime() - came_back
    print(("a server that is back is used again after %.0f ms, by every connection after %.0f ms")
      :format(first * 1000, all * 1000))
    assert.is_true(all < 2.5)   -- the promise; seen: 0.15
  end)
end)
