-- Deadlines: every bound that is set, alone and inside each other; nothing waits longer than the shortest.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT

describe("a deadline", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  -- The results of fn, which may not take long.
  local function soon(fn)
    local began = monotime()
    local results = table.pack(fn())
    assert.is_true(monotime() - began < TEST_TIMEOUT / 2)
    return table.unpack(results, 1, results.n)
  end

  it("of max_wait bounds a wait, its calls and its retries", function()
    open({ job_latency = 100 }, { retry = { max_attempts = 1000, initial_backoff = 0.05 } })
    local job_id = assert(client:submit_qasm(bell, "simulator", 1))
    local _, err = soon(function() return client:wait_for_job(job_id, { max_wait = 0.1 }) end)
    assert.same({ "timeout", "wait", job_id }, { err.kind, err.scope, err.job_id })
    server:fault { rpc = "GetJobStatus", hang = "before" }
    local _, hung = soon(function() return client:wait_for_job(job_id, { max_wait = 0.1 }) end)
    assert.equal("timeout", hung.kind)
    server:clear_faults()
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE" }
    assert.is_not_nil(select(2, soon(function() return client:wait_for_job(job_id, { max_wait = 0.1 }) end)))
  end)

  it("of the inner with_timeout does not outlast the outer one", function()
    open({ job_latency = 100 })
    arvak.run(function()
      local order = {}
      local _, outer = soon(function()
        return arvak.with_timeout(0.05, function()
          local _, inner = arvak.with_timeout(60, function() return client:execute(bell, "simulator") end)
          order[#order + 1] = inner.kind
          return nil, inner
        end)
      end)
      assert.equal("timeout", outer.kind)
      assert.same({ "canceled" }, order)
      local _, short = soon(function()
        return arvak.with_timeout(60, function()
          return arvak.with_timeout(0.05, function() return client:execute(bell, "simulator") end)
        end)
      end)
      assert.equal("timeout", short.kind)
    end)
  end)

  it("of a task around a retrying call ends its pauses too", function()
    open(nil, { retry = { max_attempts = 5, initial_backoff = 20, jitter = false } , timeout = 1000 })
    server:fault { rpc = "ListBackends", status = "UNAVAILABLE" }
    arvak.run(function()
      local _, err = soon(function() return arvak.with_timeout(0.05, client.list_backends, client) end)
      assert.equal("timeout", err.kind)
    end)
  end)

  it("that the server reports as CANCELLED is a timeout, and retried for reads alone", function()
    open(nil, { retry = { initial_backoff = 0.001 } })
    server:fault { status = "CANCELLED", message = "Timeout expired" }
    local _, read = client:get_job_status("x")
    assert.same({ "timeout", "call", 3 }, { read.kind, read.scope, read.attempts })
    local _, submit = client:submit_qasm(bell, "simulator")
    assert.same({ "timeout", "call", 1 }, { submit.kind, submit.scope, submit.attempts })
    assert.is_true(submit.maybe_executed)
  end)

  it("of the server comes as a timeout as well when it is the shorter one", function()
    open { server_timeout = 0.05 }
    server:fault { rpc = "ListBackends", latency = 5 }
    local _, err = soon(function() return client:list_backends() end)
    assert.equal("timeout", err.kind)
  end)

  it("bounds the waiting for a connection, and what was not sent is known as such", function()
    open(nil, { timeout = 0.3, retry = { max_attempts = 50, initial_backoff = 0.01 } })
    server:stop()
    local _, err = soon(function() return client:submit_qasm(bell, "simulator") end)
    assert.equal("unavailable", err.kind)
    assert.is_false(err.maybe_executed)
    assert.is_true(err.elapsed < 1)
  end)

  it("that passes while nobody drives the loop leaves the last error as it was", function()
    open(nil, { timeout = 0.2, retry = { initial_backoff = 0.05, jitter = false }, limiter = false })
    server:fault { rpc = "SubmitJob", status = "RESOURCE_EXHAUSTED", count = 1 }
    local f = client.async:submit_qasm(bell, "simulator", 1)
    helper.eventually(function() return client:stats().retries.RESOURCE_EXHAUSTED end)
    local ends_at = monotime() + 0.25
    repeat until monotime() > ends_at
    local _, err = f:result()
    assert.same({ "resource_exhausted", 1, false }, { err.kind, err.attempts, err.maybe_executed })
    assert.equal(1, client:stats().attempts)
  end)

  it("of the queue counts each wait for a slot by itself", function()
    open(nil, { max_concurrent_rpcs = 1, queue_timeout = 0.05, retry = { initial_backoff = 0.001 } })
    server:fault { rpc = "ListBackends", hang = "before" }
    local hung = client.async:list_backends { timeout = 0.3 }
    local _, err = soon(function() return client:submit_qasm(bell, "simulator") end)
    assert.same({ "timeout", "queue", 0, false }, { err.kind, err.scope, err.attempts, err.maybe_executed })
    hung:wait()
  end)

  it("of a call does not run while it waits for its first slot", function()
    open(nil, { max_concurrent_rpcs = 1, timeout = 1 })
    server:fault { rpc = "GetJobStatus", latency = 0.4 }
    local futures = {}
    for i = 1, 4 do futures[i] = client.async:get_job_status("x") end
    for _, outcome in ipairs(arvak.gather(futures)) do assert.equal("job_not_found", outcome.err.kind) end
  end)

  it("of the queue bounds the waiting for a turn in the limiter's rate", function()
    open(nil, { queue_timeout = 0.2, limiter = { rate = 10 } })
    local futures = {}
    for i = 1, 6 do futures[i] = client.async:submit_qasm(bell, "simulator") end
    local ok, late = 0, 0
    for _, outcome in ipairs(arvak.gather(futures)) do
      if outcome.ok then
        ok = ok + 1
      else
        late = late + 1
        assert.same({ "timeout", "queue", false }, { outcome.err.kind, outcome.err.scope, outcome.err.maybe_executed })
      end
    end
    assert.same({ 3, 3 }, { ok, late })
    assert.equal(3, server:stats().accepted)
  end)
end)
