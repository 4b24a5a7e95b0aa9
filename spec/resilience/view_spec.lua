-- Views of a client, and everything at once: policies changed, calls canceled and clients closed while faults happen.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell

describe("arvak.resilient", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  it("makes a view of the same connections, slots and figures, with retry on", function()
    open(nil, { max_concurrent_rpcs = 1 })
    local view <close> = arvak.resilient(client)
    assert.equal("client", arvak.type(view))
    assert.is_table(client:list_backends())
    assert.is_table(view:list_backends())
    assert.equal(1, server:stats().connections_total)
    assert.equal(2, view:stats().calls)
    server:fault { rpc = "ListBackends", latency = 0.05 }
    local first, second = client.async:list_backends(), view.async:list_backends()
    arvak.poll(0.01)
    assert.equal(1, view:stats().queued)
    arvak.gather { first, second }
    server:clear_faults()
    server:fault { rpc = "ListBackends", status = "UNAVAILABLE", count = 1, pushback_ms = 1 }
    assert.is_table(view:list_backends())
  end)

  it("keeps what is not given: the retry policy, and functions for headers", function()
    local asked = 0
    open({ api_key = "k" }, { retry = { max_attempts = 2, initial_backoff = 0.001 }, api_key = function()
      asked = asked + 1
      return "k"
    end })
    local view <close> = arvak.resilient(client, { breaker = true })
    server:fault { status = "UNAVAILABLE" }
    assert.equal(2, select(2, view:list_backends()).attempts)
    assert.equal(2, asked)
    local bare <close> = arvak.resilient(client, { retry = false })
    assert.equal(1, select(2, bare:list_backends()).attempts)
  end)

  it("closes by itself: the others go on, and their calls do", function()
    open()
    local view = arvak.resilient(client)
    server:fault { rpc = "ListBackends", latency = 0.03 }
    local f, g = client.async:list_backends(), view.async:list_backends()
    arvak.poll(0.005)
    view:close()
    assert.equal("closed", select(2, g:result()).kind)
    assert.is_table(f:result())
    local other <close> = arvak.resilient(client)
    client:close()
    assert.is_table(other:list_backends())
    assert.error_matches(function() arvak.resilient(client) end, "resilient: the client is closed")
  end)

  it("keeps an embedded server until its last handle is closed", function()
    local base = arvak.connect("embedded")
    local view <close> = arvak.resilient(base)
    base:close()
    base:close()
    assert.is_truthy(view:execute(bell, "simulator", 10))
  end)

  it("takes a submit back between two attempts when its future is canceled", function()
    open(nil, { timeout = 100, retry = { initial_backoff = 50, jitter = false } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE" }
    local f = client:submit_qasm_future(bell, "simulator")
    helper.eventually(function() return client:stats().retries.UNAVAILABLE end)
    assert.is_true(f:cancel())
    assert.is_false(select(2, f:result()).maybe_executed)
    assert.equal(0, server:stats().accepted)
  end)

  it("survives functions and tables that change or close the client under a call", function()
    local api_key = function()
      pcall(client.configure, client, { retry = { max_attempts = 2 }, breaker = true })
      return "k"
    end
    open({ api_key = "k" }, { retry = true, breaker = true, api_key = api_key })
    for _ = 1, 3 do
      assert.is_table(client:list_backends())
      collectgarbage()
      assert.equal("job_not_found", select(2, client:stream_results("x"):next()).kind)
    end
    local closing = setmetatable({}, { __index = function() client:close() end })
    assert.is_table(client:list_backends { retry = closing })   -- metamethods of options are not called
    assert.is_table(client:list_backends(closing))
    local view <close> = arvak.resilient(client, { retry = closing, breaker = closing })
    assert.is_table(view:list_backends())
    client:configure { retry = closing }
    client:configure(closing)
    local entry = setmetatable({ shots = 1, optimization_level = 0 }, { __index = function()
      client:close()
      return bell
    end })
    assert.equal("closed", select(2, client:submit_batch({ entry }, "simulator")).kind)
    assert.equal("arvak.client (closed)", tostring(client))
  end)

  it("leaves calls that a breaker refused out of the latencies", function()
    open(nil, { breaker = true })
    client:breaker():force_open()
    client:list_backends()
    assert.same({}, client:stats().latency)
    assert.equal(1, client:stats().failures)
  end)
end)

describe("policies", function()
  after_each(helper.assert_clean)

  local function policy(random)
    return {
      retry = random(3) > 1 and {
        max_attempts = random(6), initial_backoff = 0.001 * random(20), max_backoff = 0.02, budget = random(2) == 1,
        on_retry = function() end,
      },
      breaker = random(3) > 1 and {
        failure_threshold = random(6), timeout = 0.001 * random(30), half_open_max_calls = random(3),
        success_threshold = random(3), on_state_change = function() end,
      },
    }
  end

  local function one_call(client, random, seen)
    local what = random(8)
    if what == 1 then return client:configure(policy(random)) end
    if what == 2 then return client:list_backends { timeout = 0.001 * random(30), retry = random(2) == 1 } end
    if what == 3 then return client:submit_qasm_future(bell, "simulator", 1):cancel() end
    if what == 4 then return arvak.with_timeout(0.001 * random(20), client.list_backends, client) end
    if what == 5 then
      local view <close> = arvak.resilient(client, policy(random))
      return view:get_job_status("x", { breaker = false })
    end
    if what == 6 then
      local stream <close> = client:stream_results("x")
      return stream:next()
    end
    local job_id, err = client:submit_qasm(bell, "simulator", 1)
    if job_id then seen.jobs = seen.jobs + 1 elseif err.maybe_executed then seen.unknown = seen.unknown + 1 end
  end

  it("hold whatever is done to them while faults happen", function()
    math.randomseed(11)
    local server <close> = helper.start { seed = 11 }
    for _, fault in ipairs {
      { status = "UNAVAILABLE", rate = 0.2 }, { status = "RESOURCE_EXHAUSTED", rate = 0.05, pushback_ms = 2 },
      { drop = "before", rate = 0.01 }, { drop = "after", rate = 0.01 }, { hang = "before", rate = 0.01 },
      { latency = { 0, 0.01 }, rate = 0.3 },
    } do server:fault(fault) end
    for _ = 1, 5 do
      local client <close> = arvak.connect(server.address, {
        attempt_timeout = 0.1, max_concurrent_rpcs = 8, api_key = function() return "k" end,
        limiter = { rate = 2000, burst = 5, max_in_flight = "adaptive" },
      })
      local items, seen = {}, { jobs = 0, unknown = 0 }
      for i = 1, 500 do items[i] = i end
      arvak.run(arvak.map, items, function() pcall(one_call, client, math.random, seen) end, { concurrency = 32 })
      helper.eventually(function()
        local stats = client:stats()
        return stats.in_flight == 0 and stats.queued == 0
      end)
      assert.is_true(seen.jobs > 0)
      -- nothing is stuck: with the server well again, every breaker closes
      server:clear_faults()
      client:configure { retry = false }
      helper.eventually(function()
        client:list_backends()
        return not client:breaker() or client:breaker():state() == "closed"
      end)
    end
  end)
end)
