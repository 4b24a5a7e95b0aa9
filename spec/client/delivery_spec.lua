-- What an error says about the request, on connections that die at every stage: may the server have acted, may the
-- call be repeated. The peer's own count of requests that it has read whole is the judge.
-- What a status means is shown with the polling engine that misses no end of a connection. missed_end_spec.lua is about
-- gRPC's usual engine.
-- environment: GRPC_POLL_STRATEGY=poll
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local deaths = require "spec.support.deaths"
local raw = require "spec.support.peer"

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local targets = deaths.targets
local peer, client

local function start(target, options) peer = deaths.listen(target, options) end

local function stop()
  if client then client:close() end
  if peer then peer:stop() end
  client, peer = nil, nil
  helper.assert_clean()
end

local function read_is_retryable(err)
  return err.name == "UNAVAILABLE" or err.name == "RESOURCE_EXHAUSTED" or err.kind == "timeout"
end

-- The peer may have died before or after the request was on its way: then the error has to fit what it has seen.
local function check_either(err)
  local sent = err.maybe_executed
  assert.equal(err.rpc == "GetJobStatus" or not sent, err.retryable)
  if not sent then assert.equal(0, peer:stats().whole) end
end

local function check(err, expected)
  if not expected then return check_either(err) end
  assert.equal(expected.maybe_executed, err.maybe_executed)
  if err.rpc == "SubmitJob" then assert.equal(expected.retryable, err.retryable)
  else assert.equal(read_is_retryable(err), err.retryable) end
  if err.kind == "timeout" then   -- a slow machine may not have come as far in time
    assert.is_true(peer:stats().whole <= 1)
  elseif expected.whole then
    assert.equal(expected.whole, peer:stats().whole)
  end
end

-- What a call to a peer that behaves like this comes to.
local function try(target, case, call)
  peer = deaths.peer_of(target, case)
  client = arvak.connect(target[2](peer), { timeout = case[5] or TEST_TIMEOUT, limiter = false })
  local value, err = call(client)
  assert.is_nil(value)
  return err
end

it("runs with the engine that misses nothing", function()
  assert.equal("poll", os.getenv "GRPC_POLL_STRATEGY", "run this file by tools/test.sh, which sets its environment")
end)

for _, target in ipairs(targets) do
  describe(("an RPC to a peer on %s"):format(target[1]), function()
    after_each(stop)

    for _, case in ipairs(deaths.cases) do
      for rpc, call in pairs(deaths.rpcs) do
        it(("%s: %s"):format(rpc, case[1]), function()
          local err = try(target, case, call)
          assert.same({ rpc, 1 }, { err.rpc, err.attempts })
          assert.is_true(deaths.has_name(case, err, true), err.kind .. " " .. err.name)
          check(err, case[4])
        end)
      end
    end

    it("gives an answer that trickles in byte by byte", function()
      start(target)
      peer:plan("requests", { raw.trickle(raw.submitted("job-1"), 0.001), raw.trickle(raw.job("job-1", 3), 0.001) })
      client = arvak.connect(target[2](peer))
      assert.equal("job-1", assert(client:submit_qasm(helper.bell, "simulator", 1)))
      assert.equal("COMPLETED", assert(client:get_job_status("job-1")).state)
      assert.equal(2, peer:stats().whole)
      assert.equal(1, peer:stats().connections)
    end)

    it("takes an answer after a GOAWAY that lets it finish, and the next call a new connection", function()
      start(target)
      peer:plan("requests", { raw.both(raw.goaway(true), raw.submitted("job-1")), raw.submitted("job-2") })
      client = arvak.connect(target[2](peer), { pool_size = 1 })
      assert.equal("job-1", assert(client:submit_qasm(helper.bell, "simulator", 1)))
      -- By gRPC 1.83 the channel may learn of the GOAWAY after the next call has met it, which then was not sent.
      assert.equal("job-2", helper.eventually(function()
        local job_id, err = client:submit_qasm(helper.bell, "simulator", 1)
        assert.is_true(job_id ~= nil or not err.maybe_executed)
        return job_id
      end))
      assert.equal(2, peer:stats().whole)
      assert.equal(2, peer:stats().connections)
    end)

    it("is sent once a peer that refused listens", function()
      start(target, { refusing = true, answer = raw.submitted("job-1") })
      client = arvak.connect(target[2](peer))
      local _, err = client:submit_qasm(helper.bell, "simulator", 1)
      assert.is_false(err.maybe_executed)
      peer:listen()
      helper.eventually(function() return client:submit_qasm(helper.bell, "simulator", 1) end)
      assert.equal(1, peer:stats().whole)
    end)
  end)
end

-- Encoded messages of streams.
local function update(state) return string.pack("Bs1", 10, "job") .. string.char(16, state, 24, 1) end
local function acknowledged(index)
  return string.pack("Bs1Bs1Bs1", 10, "job-" .. index, 18, tostring(index), 26, "accepted")
end

-- How a stream may end behind its messages. (A reset would do, but for the kernel, which forgets what it has not handed
-- over yet.)
local stream_ends = {
  ["an OK"] = raw.trailers(0, ""),
  ["an error status"] = raw.trailers(13, "[permanent] broken"),
  ["a closed connection"] = raw.die("end", "close"),
  ["a GOAWAY"] = raw.goaway(false),
  ["an RST_STREAM"] = raw.reset_stream(2),
  ["garbage"] = raw.garbage("end"),
}

describe("what a stream has said", function()
  after_each(stop)

  for name, last in pairs(stream_ends) do
    it(("before %s is not lost on a slow reader of a watch"):format(name), function()
      start(targets[2])
      peer:plan("requests", { raw.stream({ update(1), update(2), update(3) }, last), raw.hang() })
      client = arvak.connect(peer:address())
      local watch, states = client:watch_job("job"), {}
      for state in watch do
        states[#states + 1] = state
        arvak.sleep(0.02)
      end
      assert.same({ "QUEUED", "RUNNING", "COMPLETED" }, states)
      assert.equal(1, peer:stats().begun)
    end)

    it(("before %s is not lost on a slow reader of a batch"):format(name), function()
      start(targets[2])
      local step = raw.stream({ acknowledged(1), acknowledged(2), acknowledged(3) }, last)
      peer:plan("requests", { step, raw.status(5, "forgotten") })
      client = arvak.connect(peer:address())
      local circuits = { { helper.bell, 1 }, { helper.bell, 1 }, { helper.bell, 1 } }
      local batch, ids, lost = client:submit_batch_stream(circuits, "simulator"), {}, {}
      for kind, index, job_id, err in batch.next, batch do
        if kind == "submitted" then ids[index] = job_id else lost[index] = err.kind end
        arvak.sleep(0.02)
      end
      assert.same({ "job-1", "job-2", "job-3" }, ids)
      assert.same({ "job_not_found", "job_not_found", "job_not_found" }, lost)
    end)
  end
end)

-- A server that says things twice, out of order, and of jobs that it was never given.
describe("a batch stream of nonsense", function()
  after_each(stop)

  local function completed(index, job_id)
    local result = string.pack("Bs1", 10, job_id) .. string.char(24, 1)
    return string.pack("Bs1Bs1Bs1", 10, job_id, 18, tostring(index), 34, result)
  end

  it("gives each input one acknowledgement and one last event all the same", function()
    start(targets[2])
    peer:plan("requests", { raw.stream({
      completed(1, "job-1"), acknowledged(1), acknowledged(1), acknowledged(0), acknowledged(4), acknowledged("x"),
      acknowledged("1e0"), completed(1, "job-1"), completed(1, "job-1"), acknowledged(1), acknowledged(2),
      completed(2, "job-1"), completed(2, "job-2"), acknowledged(2), acknowledged(-1), acknowledged(1 << 60),
    }, raw.trailers(0, "")), raw.status(5, "forgotten") })
    client = arvak.connect(peer:address())
    local circuits = { { helper.bell, 1 }, { helper.bell, 1 }, { helper.bell, 1 } }
    local batch, events = client:submit_batch_stream(circuits, "simulator"), {}
    for kind, index, job_id, data in batch.next, batch do
      events[#events + 1] = ("%s %d %s %s"):format(kind, index, job_id or "-", kind == "error" and data.kind or "")
    end
    assert.same({ "submitted 1 job-1 ", "completed 1 job-1 ", "submitted 2 job-2 ", "error 2 job-2 rpc",
      "error 3 - rpc" }, events)   -- 2: the result of another job is no answer, and the last event all the same
    assert.equal(1, peer:stats().begun)
  end)
end)

-- Random deaths, many calls at a time: of the requests that the peer has read whole, each must be a success, an answer
-- of its own, or an error that says maybe_executed.
-- Submits until it has worked or the outcome is unknown; counts every end.
local function submit(seen)
  for _ = 1, 100 do
    local job_id, err = client:submit_qasm(helper.bell, "simulator", 1)
    local answered = err and (err.message == "the peer's own answer" or err.message:find("error code 7$"))
    local class = job_id and "ok" or err.maybe_executed and "maybe" or answered and "answered" or "unsent"
    seen[class] = seen[class] + 1
    if class == "ok" or class == "maybe" then return end
    arvak.sleep(0.01)
  end
end

describe("many submits on connections that die at random", function()
  after_each(stop)

  for place, target in ipairs(targets) do
    it(("are accounted for on %s"):format(target[1]), function()
      local seed = os.time() + place
      math.randomseed(seed)
      start(target)
      peer:plan("requests", deaths.random_steps(600, deaths.random_step))
      peer:plan("connections", deaths.random_steps(600, deaths.random_connection))
      client = arvak.connect(target[2](peer), { pool_size = 3, timeout = 5, limiter = false })
      local seen = { ok = 0, answered = 0, maybe = 0, unsent = 0 }
      arvak.run(function()
        return arvak.map(deaths.random_steps(200, function() return seen end), submit, { concurrency = 8 })
      end)
      local stats = peer:stats()
      local text = ("seed %d: %d ok, %d answered, %d maybe, %d unsent; %d whole on %d connections"):format(
        seed, seen.ok, seen.answered, seen.maybe, seen.unsent, stats.whole, stats.connections)
      assert.is_true(stats.whole <= seen.ok + seen.answered + seen.maybe, text)
      assert.is_true(stats.whole >= seen.ok + seen.answered, text)
      assert.is_true(seen.ok > 0 and seen.maybe > 0 and seen.unsent > 0, text)
      print(text)
    end)
  end
end)

describe("retries on connections that die at random", function()
  after_each(stop)

  local function run(place, target, retry)
    local seed = os.time() + place
    math.randomseed(seed)
    start(target)
    peer:plan("requests", deaths.random_steps(2000, deaths.random_step))
    peer:plan("connections", deaths.random_steps(1000, deaths.random_connection))
    client = arvak.connect(target[2](peer), { pool_size = 3, timeout = 5, retry = retry })
    local seen = deaths.submit_all(client, 200)
    local stats = peer:stats()
    return seen, stats, ("seed %d: %d ok, %d maybe, %d none; %d executed, %d twice on %d connections"):format(
      seed, seen.ok, seen.maybe, seen.none, stats.executed, stats.twice, stats.connections)
  end

  for place, target in ipairs(targets) do
    it(("execute nothing twice on %s"):format(target[1]), function()
      local seen, stats, text = run(place, target, { max_attempts = 8, initial_backoff = 0.005, max_backoff = 0.05 })
      print(text)
      assert.equal(0, stats.twice, text)
      assert.is_true(stats.executed >= seen.ok and stats.executed <= seen.ok + seen.maybe, text)
      assert.is_true(seen.ok > 0 and seen.maybe > 0, text)
    end)
  end

  it("succeed more often, and execute some twice, where that is said not to matter", function()
    local seen, stats, text = run(4, targets[2],
      { max_attempts = 20, initial_backoff = 0.005, max_backoff = 0.05, assume_idempotent = true })
    print(text)
    assert.is_true(stats.twice > 0, text)
    assert.is_true(stats.executed - stats.twice >= seen.ok and seen.ok > 100, text)
  end)
end)
