-- Streams under a retry policy and a breaker: opened again while nothing has come of them.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell

describe("a stream", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  after_each(close)

  local fast = { max_attempts = 4, initial_backoff = 0.002, max_backoff = 0.01 }

  local function done_job()
    local job_id = assert(client:submit_qasm(bell, "simulator", 100))
    assert(client:wait_for_job(job_id))
    return job_id
  end

  local function sum_of(stream)
    local sum = 0
    for counts in stream do
      for _, n in pairs(counts) do sum = sum + n end
    end
    return sum
  end

  it("of results is opened again when it failed before its first chunk", function()
    local told = {}
    open(nil, { retry = { max_attempts = 4, initial_backoff = 0.002, on_retry = function(e) told[#told + 1] = e end } })
    local job_id = done_job()
    server:fault { rpc = "StreamResults", status = "UNAVAILABLE", count = 2 }
    server:fault { rpc = "StreamResults", drop = "before", count = 1 }
    assert.equal(100, sum_of(client:stream_results(job_id)))
    assert.same({ 1, 2, 3 }, { told[1].attempt, told[2].attempt, told[3].attempt })
    assert.equal("StreamResults", told[1].rpc)
    assert.same({ UNAVAILABLE = 3 }, client:stats().retries)
  end)

  it("of results is not opened again when it has given a chunk", function()
    open(nil, { retry = fast })
    local job_id = done_job()
    server:fault { rpc = "StreamResults", drop = "after", messages = 1, count = 1 }
    local stream = client:stream_results(job_id, 1)
    assert.is_table((stream:next()))
    local counts, err
    repeat counts, err = stream:next() until not counts
    assert.equal("unavailable", err.kind)
  end)

  it("gives the last error with its attempts when they are used up", function()
    open(nil, { retry = fast })
    local job_id = done_job()
    server:fault { rpc = "StreamResults", status = "UNAVAILABLE" }
    local _, err = client:stream_results(job_id):next()
    assert.equal("unavailable", err.kind)
    assert.equal(4, err.attempts)
    local _, single = client:stream_results(job_id, { retry = false }):next()
    assert.equal(1, single.attempts)
  end)

  it("of a batch is opened again only when nothing was sent", function()
    open(nil, { retry = { max_attempts = 30, initial_backoff = 0.05, jitter = "equal" } })
    local address = server.address
    server:stop()
    local events = {}
    local f = arvak.spawn(function()
      for kind, index in client:submit_batch_stream({ { bell, 10 }, { bell, 10 }, { bell, 10 } }, "simulator") do
        events[#events + 1] = kind .. index
      end
    end)
    helper.eventually(function() return client:stats().retries.UNAVAILABLE end)
    server = helper.start { address = address }
    f:result()
    assert.is_nil(f:exception())
    table.sort(events)
    assert.same({ "completed1", "completed2", "completed3", "submitted1", "submitted2", "submitted3" }, events)
    assert.equal(3, server:stats().accepted)
  end)

  it("of an empty batch comes to its end as well", function()
    open(nil, { retry = { max_attempts = 30, initial_backoff = 0.05, jitter = "equal" } })
    local address = server.address
    server:stop()
    local f = arvak.spawn(function() return client:submit_batch_stream({}, "simulator"):next() end)
    helper.eventually(function() return client:stats().retries.UNAVAILABLE end)
    server = helper.start { address = address }
    assert.is_nil(f:result())
    assert.is_nil(f:exception())
  end)

  it("of a batch is not sent twice when the server answered", function()
    open(nil, { retry = fast })
    server:fault { rpc = "SubmitBatchStream", status = "UNAVAILABLE" }
    local _, index, _, err = client:submit_batch_stream({ { bell, 10 } }, "simulator"):next()
    assert.equal(1, index)
    assert.equal("unavailable", err.kind)
    assert.same({}, client:stats().retries)
  end)

  it("is refused by an open breaker, and opens one", function()
    open(nil, { breaker = { failure_threshold = 2 } })
    local job_id = done_job()
    server:fault { rpc = "StreamResults", status = "UNAVAILABLE", count = 3 }
    for _ = 1, 2 do assert.equal("unavailable", select(2, client:stream_results(job_id):next()).kind) end
    local _, err = client:watch_job(job_id):next()
    assert.equal("circuit_open", err.kind)
    assert.is_true(err.retry_after > 0)
    assert.equal("circuit_open", select(2, client:stream_results(job_id):next()).kind)
    assert.equal("circuit_open", select(2, client:submit_batch_stream({ { bell } }, "simulator"):next()).kind)
    assert.equal("COMPLETED", (client:watch_job(job_id, { breaker = false }):next()))
    client:configure { breaker = { failure_threshold = 1, timeout = 0.02, success_threshold = 1 } }
    client:stream_results(job_id):next()
    assert.equal(1, client:stats().breaker.opened)
    arvak.sleep(0.03)
    assert.equal(100, sum_of(client:stream_results(job_id)))
    assert.equal("closed", client:breaker():state())
  end)

  it("that is a probe is one until its first message, and not for its whole life", function()
    open({ job_latency = 0.3 }, { breaker = { failure_threshold = 1, timeout = 0.02, success_threshold = 2 } })
    local job_id = assert(client:submit_qasm(bell, "simulator", 1))
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1 }
    client:get_job_status(job_id)
    arvak.sleep(0.03)
    local watch <close> = client:watch_job(job_id)
    assert.is_string((watch:next()))
    assert.equal("half_open", client:breaker():state())
    assert.is_true(client:breaker():can_proceed())
    assert.is_table(client:get_job_status(job_id))
    assert.equal("closed", client:breaker():state())
  end)

  it("that is a probe and is canceled gives its place back", function()
    open(nil, { breaker = { failure_threshold = 1, timeout = 0.02 } })
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1 }
    client:get_job_status("x")
    arvak.sleep(0.03)
    server:fault { rpc = "StreamResults", hang = "before" }
    local stream = client:stream_results("x")
    local f = arvak.spawn(function() return stream:next() end)
    arvak.poll(0.01)
    assert.is_false((client:breaker():can_proceed()))
    f:cancel()
    stream:cancel()
    helper.eventually(function() return (client:breaker():can_proceed()) end)
  end)

  it("that watches waits for a breaker that opens meanwhile", function()
    open({ job_latency = 0.4 }, { breaker = { failure_threshold = 1, timeout = 0.05, success_threshold = 1 } })
    local job_id = assert(client:submit_qasm(bell, "simulator", 1))
    server:fault { rpc = "WatchJob", drop = "after", messages = 1, count = 1 }
    local states = {}
    for state in client:watch_job(job_id) do states[#states + 1] = state end
    assert.equal("COMPLETED", states[#states])
    assert.equal(1, client:stats().breaker.opened)
  end)
end)
