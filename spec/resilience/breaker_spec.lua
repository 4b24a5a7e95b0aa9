-- The circuit breaker as a client and as functions use it; its arithmetic is tested in C.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell

describe("breaker", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  local function submit(options) return client:submit_qasm(bell, "simulator", options) end
  local function down() server:fault { status = "UNAVAILABLE" } end

  it("refuses before anything is sent, and says when to come again", function()
    open(nil, { breaker = { failure_threshold = 3, timeout = 30 } })
    down()
    for _ = 1, 3 do assert.equal("unavailable", select(2, submit()).kind) end
    local calls = server:stats().calls.SubmitJob
    for _, call in ipairs {
      submit, function() return client:list_backends() end, function() return client:get_job_status("x") end,
      function() return client:cancel_job("x") end,
      function() return client:submit_batch({ { bell } }, "simulator") end,
    } do
      local _, err = call()
      assert.equal("circuit_open", err.kind)
      assert.equal(0, err.attempts)
      assert.is_false(err.maybe_executed)
      assert.is_true(err.retry_after > 25 and err.retry_after <= 30)
    end
    assert.equal(calls, server:stats().calls.SubmitJob)
    assert.equal("circuit_open", select(2, client:execute(bell, "simulator")).kind)
    assert.equal("circuit_open", select(2, client:submit_qasm_future(bell, "simulator"):result()).kind)
    assert.equal("circuit_open", select(2, client.async:get_job_status("x"):result()).kind)
  end)

  it("tells its changes before the call that caused them returns", function()
    local told = {}
    open(nil, { breaker = {
      failure_threshold = 2, success_threshold = 2, timeout = 0.3,
      on_state_change = function(old, new) told[#told + 1] = old .. " > " .. new end,
    } })
    down()
    submit()
    assert.same({}, told)
    submit()
    assert.same({ "closed > open" }, told)
    assert.equal("open", client:breaker():state())
    arvak.sleep(0.31)
    assert.equal("half_open", client:breaker():state())
    assert.same({ "closed > open" }, told) -- to look changes nothing
    submit()
    assert.same({ "closed > open", "open > half_open", "half_open > open" }, told)
    server:clear_faults()
    arvak.sleep(0.31)
    assert.is_string(submit())
    assert.equal("open > half_open", told[4])
    assert.is_nil(told[5])
    assert.is_string(submit())
    assert.equal("half_open > closed", told[5])
    assert.same({ state = "closed", opened = 2, half_opened = 2, closed = 1 }, client:stats().breaker)
  end)

  it("tells them inside a task before the task goes on", function()
    local told = {}
    open(nil, { breaker = { failure_threshold = 1, on_state_change = function(_, new) told[#told + 1] = new end } })
    down()
    arvak.run(function()
      assert.equal("unavailable", select(2, submit()).kind)
      assert.same({ "open" }, told)
    end)
  end)

  it("counts what says that the server is ill, and nothing else", function()
    local neutral, good, bad = "neutral", "good", "bad"
    local verdicts = {
      { { status = "UNAVAILABLE" }, bad }, { { status = "UNKNOWN" }, bad }, { { status = "DATA_LOSS" }, bad },
      { { status = "INTERNAL" }, bad }, { { status = "INTERNAL", tag = "transient" }, bad },
      { { status = "INTERNAL", tag = "permanent" }, good }, { { hang = "before" }, bad }, { { drop = "before" }, bad },
      { { status = "INTERNAL", message = "Circuit compilation failed: too wide" }, good },
      { { status = "CANCELLED" }, neutral }, { { status = "RESOURCE_EXHAUSTED" }, neutral },
      { { status = "INVALID_ARGUMENT" }, good }, { { status = "NOT_FOUND" }, good }, { { status = "ABORTED" }, good },
      { { status = "FAILED_PRECONDITION" }, good }, { { status = "UNAUTHENTICATED" }, good },
      { { status = "UNIMPLEMENTED" }, good }, { { status = "OUT_OF_RANGE" }, good },
    }
    open()
    for _, row in ipairs(verdicts) do
      client:configure { breaker = { failure_threshold = 2, timeout = 60 } }
      server:clear_faults()
      server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1 }
      client:get_job_status("x")
      row[1].rpc = "GetJobStatus"
      row[1].count = 1
      server:fault(row[1])
      client:get_job_status("x", { timeout = row[1].hang and 0.05 or nil })
      local label = (row[1].status or "no answer") .. " " .. (row[1].tag or row[1].message or "")
      assert.equal(row[2] == bad and "open" or "closed", client:breaker():state(), label)
      if row[2] ~= bad then
        -- one more failure opens it only if the row of failures goes on
        server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1 }
        client:get_job_status("x")
        assert.equal(row[2] == neutral and "open" or "closed", client:breaker():state(), label)
      end
    end
  end)

  it("lets as many probes through as it says, whatever waits", function()
    open(nil, { breaker = { failure_threshold = 1, timeout = 0.02, success_threshold = 4, half_open_max_calls = 2 } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    submit()
    arvak.sleep(0.03)
    server:fault { rpc = "SubmitJob", latency = 0.1 }
    local before = server:stats().calls.SubmitJob
    local futures = {}
    for i = 1, 10 do futures[i] = client.async:submit_qasm(bell, "simulator") end
    local ok, refused = 0, 0
    for _, outcome in ipairs(arvak.gather(futures)) do
      if outcome.ok then ok = ok + 1 elseif outcome.err.kind == "circuit_open" then refused = refused + 1 end
    end
    assert.same({ 2, 8 }, { ok, refused })
    assert.equal(2, server:stats().calls.SubmitJob - before)
    assert.is_string(submit())
    assert.is_string(submit())
    assert.equal("closed", client:breaker():state())
  end)

  it("gives a probe's place back however the probe ends", function()
    open(nil, { breaker = { failure_threshold = 1, timeout = 0.02, success_threshold = 2 } })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    submit()
    arvak.sleep(0.03)
    server:fault { rpc = "SubmitJob", hang = "before", count = 3 }
    for _ = 1, 3 do
      local f = client.async:submit_qasm(bell, "simulator")
      arvak.poll(0.01)
      assert.is_false(client:breaker():can_proceed())
      assert.is_true(f:cancel())
      assert.is_true(client:breaker():can_proceed())
    end
    server:fault { rpc = "SubmitJob", status = "RESOURCE_EXHAUSTED", count = 2 }
    submit()
    submit()
    assert.is_string(submit())
    assert.is_string(submit())
    assert.equal("closed", client:breaker():state())
  end)

  it("is left behind by a probe when a function asked for a header raises", function()
    local is_bad = false
    open(nil, {
      max_concurrent_rpcs = 1, api_key = function() return is_bad and error("no key") or "k" end,
      breaker = { failure_threshold = 1, timeout = 0.02 },
    })
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    submit()
    arvak.sleep(0.03)
    is_bad = true
    assert.equal("unauthenticated", select(2, submit()).kind)
    is_bad = false
    assert.is_true(client:breaker():can_proceed())
    assert.is_string(submit())
  end)

  it("ignores results of calls that began before it changed", function()
    open(nil, { breaker = { failure_threshold = 2, timeout = 0.3, success_threshold = 1 } })
    server:fault { rpc = "GetJobStatus", latency = 1, status = "UNAVAILABLE", count = 1 }
    local late = client.async:get_job_status("x")
    arvak.poll(0.02)
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 2 }
    submit()
    submit()
    assert.equal("open", client:breaker():state())
    arvak.sleep(0.31)
    assert.is_string(submit())
    assert.equal("closed", client:breaker():state())
    late:result()
    server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", count = 1 }
    submit() -- the first in the row, since the late one does not count
    assert.equal("closed", client:breaker():state())
  end)

  it("can be opened, closed and reset by hand, live", function()
    local told = {}
    open(nil, { breaker = { timeout = 0.5, on_state_change = function(old, new) told[#told + 1] = old .. new end } })
    local breaker = client:breaker()
    breaker:force_open()
    assert.same({ "closedopen" }, told)
    arvak.sleep(0.6)
    assert.equal("circuit_open", select(2, submit()).kind)
    breaker:force_closed()
    down()
    for _ = 1, 20 do submit() end
    assert.equal("closed", breaker:state())
    breaker:reset()
    for _ = 1, 5 do submit() end
    assert.equal("open", breaker:state())
    assert.same({ false }, { (breaker:can_proceed()) })
    assert.equal("breaker", arvak.type(breaker))
  end)

  it("opens by rate when asked to", function()
    open(nil, { breaker = { failure_rate = 0.5, window = 10, minimum_calls = 10 } })
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", rate = 0.6 }
    local calls = 0
    repeat
      calls = calls + 1
      client:get_job_status("x")
    until client:breaker():state() == "open" or calls == 200
    assert.is_true(calls >= 10 and calls < 200, calls)
  end)

  it("says while it is forced open that no waiting will help, to calls and streams", function()
    open(nil, { breaker = { timeout = 0.01 }, retry = { initial_backoff = 0.001 } })
    client:breaker():force_open()
    arvak.sleep(0.02)
    for _, call in ipairs {
      submit, function() return client:list_backends() end, function() return client:stream_results("x"):next() end,
    } do
      local _, err = call()
      assert.equal("circuit_open", err.kind)
      assert.matches("forced open", err.message)
      assert.is_nil(err.retry_after)
      assert.is_false(err.retryable)
    end
    client:breaker():reset()
    assert.is_string(submit())
  end)

  it("ends retries that it would refuse", function()
    open(nil, { retry = { max_attempts = 9, initial_backoff = 0.001 }, breaker = { failure_threshold = 3 } })
    down()
    local _, err = submit()
    assert.equal("unavailable", err.kind)
    assert.equal(3, err.attempts)
    assert.is_true(err.retry_after > 50)
  end)

  it("can be left out of one call, or be another's", function()
    open(nil, { breaker = { failure_threshold = 1 } })
    down()
    submit()
    assert.equal("circuit_open", select(2, submit()).kind)
    assert.equal("unavailable", select(2, submit { breaker = false }).kind)
    local own = arvak.circuit_breaker { failure_threshold = 1 }
    assert.equal("unavailable", select(2, submit { breaker = own }).kind)
    assert.equal("open", own:state())
    assert.error_matches(function() submit { breaker = {} } end,
      "breaker: got a table, expected false or a breaker made by arvak.circuit_breaker")
  end)

  it("is shared by views without one of their own", function()
    open(nil, { breaker = { failure_threshold = 1 } })
    local same <close> = arvak.resilient(client, { retry = false })
    local own <close> = arvak.resilient(client, { breaker = true })
    local none <close> = arvak.resilient(client, { breaker = false })
    down()
    same:list_backends()
    assert.equal("circuit_open", select(2, client:list_backends()).kind)
    assert.equal("unavailable", select(2, own:list_backends()).kind)
    assert.equal("unavailable", select(2, none:list_backends()).kind)
    assert.is_nil(none:breaker())
    assert.equal("closed", own:breaker():state())
  end)

  it("can be changed while calls run", function()
    open(nil, { breaker = { failure_threshold = 1 } })
    server:fault { rpc = "GetJobStatus", latency = 0.1, status = "UNAVAILABLE" }
    local f = client.async:get_job_status("x")
    arvak.poll(0.01)
    local old = client:breaker()
    client:configure { breaker = { failure_threshold = 1 } }
    f:result()
    assert.equal("open", old:state())
    assert.equal("closed", client:breaker():state())
    client:configure { breaker = false }
    assert.is_nil(client:breaker())
    client:configure { breaker = old }
    assert.equal("circuit_open", select(2, submit()).kind)
  end)

  it("is not held half open by a stream that hears nothing", function()
    open({ job_latency = 100 }, { breaker = { failure_threshold = 1, success_threshold = 1, timeout = 0.02 } })
    local job_id = assert(submit())
    for _, is_patient in ipairs { true, false } do
      server:fault { rpc = "ListBackends", status = "UNAVAILABLE", count = 1 }
      client:list_backends()
      server:fault { rpc = "WatchJob", hang = "before", count = 1 }
      arvak.sleep(0.03)
      local watch <close> = client:watch_job(job_id)
      arvak.run(function()
        local step = arvak.spawn(watch.next, watch)
        arvak.sleep(0.01)
        assert.is_false(client:breaker():can_proceed())
        for _ = 1, is_patient and 100 or 0 do
          if client:list_backends() then break end
          arvak.sleep(0.05)
        end
        assert.equal(is_patient and "closed" or "half_open", client:breaker():state())
        watch:cancel()
        step:wait()
      end)
      assert.is_true(client:breaker():can_proceed())
      assert.is_table(client:list_backends())
      assert.equal("closed", client:breaker():state())
    end
  end)

  it("does not lose a stream's probe to gRPC's pauses between its attempts to connect", function()
    local told = {}
    open(nil, { breaker = { failure_threshold = 1, success_threshold = 1, timeout = 0.02,
      on_state_change = function(_, new) told[#told + 1] = new end } })
    local address = server.address
    server:stop()
    for _ = 1, 20 do
      client:list_backends { breaker = false }
      arvak.sleep(0.05)
    end
    server = helper.start { address = address }
    client:breaker():record_failure()
    arvak.sleep(0.03)
    assert.equal("job_not_found", select(2, client:watch_job("x"):next()).kind)
    assert.same({ "open", "half_open", "closed" }, told)
  end)

  it("is checked, key by key", function()
    open()
    local function refuses(pattern, breaker)
      assert.error_matches(function() client:configure { breaker = breaker } end, pattern)
    end
    refuses('breaker: got "on", expected a table of options, true or false', "on")
    refuses('breaker: unknown option "threshold", expected one of failure_threshold', { threshold = 1 })
    refuses("breaker.failure_threshold: got 0, expected an integer from 1 to 1000000", { failure_threshold = 0 })
    refuses("breaker.failure_rate: got 1.5, expected a number from 0.001 to 1", { failure_rate = 1.5 })
    refuses("breaker.window: got 0, expected a number of seconds above 0", { window = 0 })
    refuses("breaker.timeout: got %-1, expected", { timeout = -1 })
    refuses("breaker.on_state_change: got true, expected a function", { on_state_change = true })
    assert.error_matches(function() client:configure { limiter = {} } end, 'configure: unknown option "limiter"')
    assert.error_matches(function() client:configure() end, "configure: got nil, expected a table")
    assert.error_matches(function() arvak.resilient(client, { pool_size = 1 }) end, 'resilient: unknown option')
    assert.error_matches(function() arvak.resilient(5) end,
      "resilient: got 5 as the client, expected arvak.resilient%(client, ...%)")
    client:close()
    assert.error_matches(function() client:breaker() end, "breaker: the client is closed")
    assert.error_matches(function() client:configure {} end, "configure: the client is closed")
  end)
end)
