-- Nothing waits for a job without a bound: what a wait and a job future come to when no usable answer comes.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local peer = require "spec.support.peer"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local PATIENCE = 0.5   -- seconds, the client's timeout here
local server, client, there

local start, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function close_all()
  if there then there:stop() end
  there = nil
  close()
end

-- A client of a peer that takes a job and then gives this answer for ever.
local function open_peer(...)
  there = peer.start()
  there:plan("requests", { peer.submitted("j"), ... })
  client = arvak.connect(there:address(), { timeout = PATIENCE })
end

-- Both ways to wait for a job, options and all: result, err.
local ways = {
  ["execute"] = function(options)
    return arvak.with_timeout(TEST_TIMEOUT, client.execute, client, bell, "simulator", options)
  end,
  ["a job future"] = function(options)
    return client:submit_qasm_future(bell, "simulator", options):result(TEST_TIMEOUT)
  end,
}

for name, way in pairs(ways) do
  describe(name, function()
    after_each(close_all)

    for state, text in pairs { [0] = "UNSPECIFIED", [7] = "UNKNOWN(7)", [77] = "UNKNOWN(77)" } do
      it(("ends after one timeout of the state %s, with an error that names it"):format(text), function()
        open_peer(peer.job("j", state))
        local result, err = way {}
        assert.is_nil(result)
        assert.equal("timeout", err.kind)
        assert.equal("wait", err.scope)
        assert.equal("j", err.job_id)
        assert.is_truthy(err.message:find(text, 1, true), err.message)
        assert.matches("for 0.5 s", err.message)
      end)
    end

    it("ends at max_wait where the state is unknown, and says it", function()
      open_peer(peer.job("j", 77))
      local _, err = way { max_wait = 0.05 }
      assert.equal("timeout", err.kind)
      assert.is_truthy(err.message:find("last seen UNKNOWN(77)", 1, true), err.message)
    end)

    it("goes on from an unknown state to the end", function()
      open_peer(peer.job("j", 77), peer.job("j", 0), peer.job("j", 2), peer.job("j", 5))
      local _, err = way {}
      assert.equal("job_canceled", err.kind)
    end)

    it("is not held by a pushback of an hour, and gets its result", function()
      start(nil, { timeout = PATIENCE })
      server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1, pushback_ms = 3600000 }
      assert.is_truthy((way {}))
    end)

    it("ends after one timeout when every answer pushes it back by an hour", function()
      start(nil, { timeout = PATIENCE })
      server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", message = "later", pushback_ms = 3600000 }
      local _, err = way {}
      assert.equal("unavailable", err.kind)
      assert.matches("failed for 0.5 s without a break: .*later", err.message)
    end)

    it("obeys a short pushback", function()
      start()
      server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1, pushback_ms = 50 }
      local started_at = os.clock()
      local looked = {}
      assert.is_truthy((way { on_progress = function(job) looked[#looked + 1] = job.state end }))
      assert.equal(1, #looked)
      assert.equal(2, server:stats().calls.GetJobStatus)
      assert.is_true(os.clock() - started_at < TEST_TIMEOUT)
    end)

    it("tells the server's words when max_wait is over", function()
      start()
      server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", message = "the cryostat is warm" }
      local _, err = way { max_wait = 0.1 }
      assert.equal("timeout", err.kind)
      assert.matches("max_wait = 0.1 s %(last seen never%).*the cryostat is warm", err.message)
      assert.equal("unavailable", err.cause.kind)
    end)
  end)
end

describe("a wait behind a breaker that is forced open", function()
  after_each(close_all)

  it("ends within twice its timeout, and the error says that the breaker refused", function()
    start(nil, { timeout = PATIENCE, breaker = { timeout = 1 } })
    local job_id = assert(client:submit_qasm(bell, "simulator", 10))
    local f = client:submit_qasm_future(bell, "simulator", 10)
    assert(f:submitted(TEST_TIMEOUT))
    client:breaker():force_open()
    local _, err = arvak.with_timeout(TEST_TIMEOUT, client.wait_for_job, client, job_id)
    assert.equal("circuit_open", err.kind)
    assert.matches("the breaker has refused every call for 0.5 s", err.message)
    assert.equal(job_id, err.job_id)
    local value, future_err = f:result(TEST_TIMEOUT)
    assert.is_true(value ~= nil or future_err.kind == "circuit_open")
  end)
end)
