-- Pacing: jobs at a rate, calls in flight that adapt to the server.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell = helper.bell

describe("a limiter", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  local function submits(n)
    local futures = {}
    for i = 1, n do futures[i] = client.async:submit_qasm(bell, "simulator", 1) end
    for _, outcome in ipairs(arvak.gather(futures)) do assert.is_true(outcome.ok, tostring(outcome.err)) end
  end

  it("lets a burst through at once and the rest at its rate", function()
    open(nil, { limiter = { rate = 100, burst = 10 } })
    assert.equal(10, client:stats().limiter_tokens)
    local began = monotime()
    submits(40)
    local took = monotime() - began
    assert.is_true(took >= 0.29 and took < helper.TEST_TIMEOUT, took)
  end)

  it("counts jobs, not calls: reads are free, a batch costs each of its circuits", function()
    open(nil, { limiter = { rate = 20, burst = 5 } })
    local began = monotime()
    for _ = 1, 50 do client:get_job_status("x") end
    assert.equal(5, client:stats().limiter_tokens)
    assert.is_truthy(client:submit_batch({ { bell }, { bell }, { bell }, { bell }, { bell }, { bell } }, "simulator"))
    assert.is_truthy(client:submit_qasm(bell, "simulator"))
    assert.is_true(monotime() - began >= 0.1)
  end)

  it("is one for all views of a client", function()
    open(nil, { limiter = { rate = 50 } })
    local view <close> = arvak.resilient(client, {})
    local began = monotime()
    for _ = 1, 5 do
      assert.is_string((client:submit_qasm(bell, "simulator")))
      assert.is_string((view:submit_qasm(bell, "simulator")))
    end
    assert.is_true(monotime() - began >= 0.17)
  end)

  it("gives a call that waits for its turn back at once when it is canceled", function()
    open(nil, { limiter = { rate = 0.1 } })
    assert.is_string((client:submit_qasm(bell, "simulator")))
    local f = client.async:submit_qasm(bell, "simulator")
    arvak.poll(0.01)
    assert.is_true(f:cancel())
    local _, err = f:result()
    assert.same({ "canceled", false, 0 }, { err.kind, err.maybe_executed, err.attempts })
  end)

  it("gives the turns of canceled calls to those that come after them", function()
    open(nil, { limiter = { rate = 10 } })
    assert.is_string(client:submit_qasm(bell, "simulator", 1))
    local futures = {}
    for i = 1, 100 do futures[i] = client.async:submit_qasm(bell, "simulator", 1) end
    for _, f in ipairs(futures) do assert.is_true(f:cancel()) end
    local began = monotime()
    assert.is_string(client:submit_qasm(bell, "simulator", 1))
    assert.is_true(monotime() - began < helper.TEST_TIMEOUT / 2)
    assert.equal(2, server:stats().accepted)
  end)

  it("bounds the calls in flight", function()
    open(nil, { limiter = { max_in_flight = 3 } })
    server:fault { rpc = "GetJobStatus", latency = 0.05 }
    local futures = {}
    for i = 1, 9 do futures[i] = client.async:get_job_status("x") end
    arvak.poll(0.01)
    local stats = client:stats()
    assert.same({ 3, 6, 3 }, { stats.in_flight, stats.queued, stats.in_flight_limit })
    arvak.gather(futures)
  end)

  it("adapts: fewer calls after refusals and timeouts, more again after successes", function()
    open(nil, { limiter = { max_in_flight = "adaptive" }, max_concurrent_rpcs = 32 })
    local function limit() return client:stats().in_flight_limit end
    server:fault { rpc = "GetJobStatus", status = "RESOURCE_EXHAUSTED", count = 2 }
    client:get_job_status("x")
    assert.equal(16, limit())
    client:get_job_status("x")
    assert.equal(8, limit())
    server:fault { rpc = "GetJobStatus", hang = "before", count = 1 }
    client:get_job_status("x", { timeout = 0.02 })
    assert.equal(4, limit())
    for _ = 1, 20 do client:list_backends() end
    assert.equal(4, limit()) -- it was never used up
    server:fault { rpc = "ListBackends", latency = 0.002 }
    local futures = {}
    for i = 1, 200 do futures[i] = client.async:list_backends() end
    arvak.gather(futures)
    assert.is_true(limit() > 8 and limit() <= 32, limit())
    server:fault { rpc = "SubmitJob", status = "RESOURCE_EXHAUSTED", latency = 0.05, count = 20 }
    local before, refused = limit(), {}
    for i = 1, before do refused[i] = client.async:submit_qasm(bell, "simulator") end
    arvak.gather(refused)
    assert.is_true(limit() >= before // 4, limit()) -- one round of refusals halves it once or twice, not for each
  end)

  it("is checked, key by key", function()
    server = helper.start()
    local function refuses(pattern, limiter)
      assert.error_matches(function() arvak.connect(server.address, { limiter = limiter }) end, pattern)
    end
    refuses('limiter: got 90, expected "auto", a table of options or false', 90)
    refuses('limiter: got "off", expected "auto", a table of options or false', "off")
    refuses('limiter: got true, expected "auto", a table of options or false', true)
    refuses('limiter: unknown option "rps", expected one of rate, burst, max_in_flight', { rps = 1 })
    refuses("limiter.rate: got 0, expected a number from 0.001 to 1e%+06", { rate = 0 })
    refuses("limiter.burst: got 0, expected an integer from 1 to 1000000", { burst = 0 })
    refuses('limiter.max_in_flight: got "auto", expected "adaptive" or an integer', { max_in_flight = "auto" })
    refuses("limiter.max_in_flight: got 0, expected an integer from 1", { max_in_flight = 0 })
  end)
end)
