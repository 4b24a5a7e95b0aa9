-- What the reference Python client gets wrong (docs/internals/reference-defects.md; the numbers are its rows), done
-- right.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function kind_of(_, err) return err and err.kind end

describe("transport and protocol:", function()
  after_each(close)

  it("the streams, optimization levels and state 6 exist, against a server that is really there (1)", function()
    open { watch_interval = 0.01 }
    local seen = {}
    for kind, _, job_id in client:submit_batch_stream({ { bell, 5 } }, "simulator") do seen[kind] = job_id end
    assert.equal(seen.submitted, seen.completed)
    local last, shots
    for state in client:watch_job(seen.completed) do last = state end
    assert.equal("COMPLETED", last)
    for counts, is_final, index, total in client:stream_results(seen.completed) do
      assert.same({ true, 0, 1 }, { is_final, index, total })
      shots = (counts["00"] or 0) + (counts["11"] or 0)
    end
    assert.equal(5, shots)
    local options = { shots = 5, optimization_level = 1 }
    assert.equal(20, #client:execute(bell, "simulator", options):most_frequent())
    server:set_job_state(seen.completed, "RESULT_EXPIRED")
    assert.equal("RESULT_EXPIRED", client:get_job_status(seen.completed).state)
  end)

  it("a protected server can be talked to, and an optimization level sent (2)", function()
    open({ api_key = "key" }, { api_key = "key" })
    assert.equal(20, #client:execute("OPENQASM 3.0; qubit q; x q;", "simulator",
      { shots = 1, optimization_level = 1 }):most_frequent())
  end)

  it("a call can carry headers of its own (2)", function()
    open { api_key = "key" }
    assert.equal(1, #client:list_backends { metadata = { ["x-api-key"] = "key", ["x-request-id"] = "r-1" } })
  end)

  it("the deadline of calls is none of streams, and a watch that breaks is opened again (4)", function()
    open({ job_latency = 2.5, watch_interval = 0.01 }, { timeout = 1 })
    local job_id, last = assert(client:submit_qasm(bell, "simulator")), nil
    server:fault { rpc = "WatchJob", drop = "after", messages = 2, count = 1 }
    for state in client:watch_job(job_id) do last = state end
    assert.equal("COMPLETED", last)
    assert.equal(2, server:stats().calls.WatchJob)
    local seen = {}
    for kind in client:submit_batch_stream({ { bell, 5 } }, "simulator") do seen[#seen + 1] = kind end
    assert.same({ "submitted", "completed" }, seen)
  end)

  it("a bad format raises at the caller before anything is sent (6)", function()
    open()
    assert.error_matches(function() client:submit_batch({ { bell, 1 }, { 5, 1 } }, "simulator") end, "circuits%[2%]")
    assert.equal(0, client:stats().attempts)
  end)

  it("a stream whose loop is left is canceled at once, and one that is dropped when it is collected (7)", function()
    open { job_latency = 60, watch_interval = 0.01 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    for state in client:watch_job(job_id) do
      if state then break end
    end
    helper.eventually(function() return arvak._counts().calls == 0 end)
    assert.truthy(client:watch_job(job_id):next())
    helper.eventually(function()
      collectgarbage()
      return arvak._counts().calls == 0
    end)
    assert(client:cancel_job(job_id))
  end)
end)

describe("errors and types:", function()
  after_each(close)

  it("what was not found follows from the RPC, never from the text (8)", function()
    open()
    assert.equal("backend_not_found", kind_of(client:get_backend_info("job-sim")))
    assert.equal("backend_not_found", kind_of(client:submit_qasm(bell, "my job")))
    assert.equal("job_not_found", kind_of(client:get_job_status("backend-1")))
    assert.equal("job_not_found", kind_of(client:cancel_job("backend")))
    server:fault { rpc = "GetJobStatus", status = "NOT_FOUND", message = "Backend not found: simulator" }
    assert.equal("job_not_found", kind_of(client:get_job_status("j")))
  end)

  it("an error keeps status, tag, RPC, and says whether to repeat and whether the outcome is known (9)", function()
    open()
    server:fault { rpc = "GetJobStatus", status = "INTERNAL", tag = "transient", message = "Storage error: full" }
    local _, err = client:get_job_status("j")
    assert.same({ 13, "INTERNAL", "[transient] Storage error: full", "GetJobStatus", true, false },
      { err.code, err.name, err.message, err.rpc, err.retryable, err.maybe_executed })
  end)

  it("RESULT_EXPIRED is a state like others, and ends a wait and a future (10)", function()
    open { job_latency = 60 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    server:set_job_state(job_id, "RESULT_EXPIRED")
    assert.equal("RESULT_EXPIRED", client:get_job_status(job_id).state)
    assert.equal("result_expired", kind_of(client:wait_for_job(job_id)))
    assert.equal("result_expired", kind_of(client.async:wait_for_job(job_id):result(TEST_TIMEOUT)))
  end)

  it("the result of a canceled job is not merely \"not completed\" (11)", function()
    open { job_latency = 60 }
    local running, canceled = client:submit_qasm(bell, "simulator"), client:submit_qasm(bell, "simulator")
    assert(client:cancel_job(canceled))
    assert.equal("job_not_completed", kind_of(client:get_job_result(running)))
    assert.equal("job_canceled", kind_of(client:get_job_result(canceled)))
    assert(client:cancel_job(running))
  end)

  it("times are Unix seconds, whatever the local time zone (12)", function()
    open()
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    local now = os.time(os.date("*t"))
    assert.is_true(math.abs(client:get_job_status(job_id).submitted_at - now) <= 2)
  end)

  it("the most frequent of equals is always the same, the smallest (13)", function()
    open()
    local result = client:execute("OPENQASM 3.0; qubit[3] q;", "simulator", 1)
    for _ = 1, 20 do
      local counts = {}
      for i = 7, 0, -1 do counts[("%d%d%d"):format(i >> 2 & 1, i >> 1 & 1, i & 1)] = 5 end
      result.counts = counts
      assert.equal("000", (result:most_frequent()))
    end
  end)

  it("JSON circuits are refused without an RPC, for the service never takes them (14)", function()
    open()
    assert.equal("invalid_circuit", kind_of(client:submit_circuit_json("{}", "simulator")))
    assert.equal(0, server:stats().connections_total)
  end)
end)

describe("waiting and futures:", function()
  after_each(close)

  it("one transient error does not abort a wait (15)", function()
    open()
    local job_id = assert(client:submit_qasm(bell, "simulator", 5))
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1 }
    assert.equal(5, client:wait_for_job(job_id).shots)
  end)

  it("a wait does not overshoot max_wait by an interval (15)", function()
    open { job_latency = 60 }
    local started_at = monotime()
    local options = { max_wait = 0.02, poll_interval = 10 * TEST_TIMEOUT }
    assert.equal("timeout", kind_of(client:execute(bell, "simulator", options)))
    assert.is_true(monotime() - started_at < TEST_TIMEOUT)
  end)

  it("permanent errors end a wait and a future: missing job, closed client, failed job (19)", function()
    open { job_latency = 60 }
    assert.equal("job_not_found", kind_of(client:wait_for_job("j")))
    assert.equal("job_not_found", kind_of(client.async:wait_for_job("j"):result(TEST_TIMEOUT)))
    local lost, failed = client:submit_qasm(bell, "simulator"), client:submit_qasm(bell, "simulator")
    local f, g = client.async:wait_for_job(lost), client.async:wait_for_job(failed)
    arvak.poll(0.01)
    assert.is_true(server:evict(lost))
    assert.is_true(server:set_job_state(failed, "FAILED"))
    assert.equal("job_not_found", kind_of(f:result(TEST_TIMEOUT)))
    assert.equal("job_failed", kind_of(g:result(TEST_TIMEOUT)))
  end)

  it("an answer over the size limit ends a wait (19)", function()
    open { max_message_size = 10000 }
    local job_id = assert(client:submit_qasm("OPENQASM 3.0; qubit[10] q; h q;", "simulator", 100000))
    local _, err = client:wait_for_job(job_id)
    assert.equal("OUT_OF_RANGE", err.name)
    assert.equal(job_id, err.job_id)
  end)

  it("running() asks nobody, and is true while the future is pending (24)", function()
    open { job_latency = 60 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    server:fault { rpc = "GetJobStatus", hang = true }
    local f = client.async:wait_for_job(job_id)
    helper.eventually(function() return client:stats().in_flight == 1 end)
    local attempts = client:stats().attempts
    for _ = 1, 100 do assert.is_true(f:running()) end
    assert.equal(attempts, client:stats().attempts)
    f:cancel()
    f:wait(TEST_TIMEOUT)
    assert.is_false(f:running())
  end)
end)

describe("the pool:", function()
  after_each(close)

  it("its connections are distinct, and used (36)", function()
    open(nil, { pool_size = 2 })
    server:fault { rpc = "ListBackends", latency = 0.02 }
    for _ = 1, 2 do
      arvak.run(function()
        for _ = 1, 64 do arvak.spawn(client.list_backends, client) end
      end)
    end
    assert.equal(2, server:stats().connections_open)
  end)

  it("close closes the connections, and a closed client does not reconnect (37)", function()
    open()
    assert.equal(1, #client:list_backends())
    client:close()
    helper.eventually(function() return server:stats().connections_open == 0 end)
    assert.error_matches(function() client:list_backends() end, "list_backends: the client is closed")
    assert.equal(1, server:stats().connections_total)
  end)

  it("never has more connections than pool_size, whatever the number of calls (38)", function()
    open(nil, { pool_size = 2, max_concurrent_rpcs = 256 })
    server:fault { rpc = "ListBackends", latency = 0.05 }
    local most = 0
    arvak.run(function()
      for _ = 1, 500 do
        arvak.spawn(function()
          client:list_backends()
          most = math.max(most, server:stats().connections_open)
        end)
      end
    end)
    assert.is_true(most <= 2, most .. " connections")
    assert.is_true(server:stats().connections_total <= 2)
  end)
end)
