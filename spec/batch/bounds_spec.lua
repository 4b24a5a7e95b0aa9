-- Nothing in a batch waits without a bound, and what gives up says which bound it was, with the server's words.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"
local monotime = require("system").monotime
local raw = require "spec.support.peer"

-- A part of the library as its own file, with other such parts where it requires them.
local function load_part(name)
  local environment = setmetatable({}, { __index = _G })
  function environment.require(module) return load_part((module:gsub("^arvak%.", ""):gsub("%.", "/"))) end
  return assert(loadfile("lua/arvak/" .. name .. ".lua", "t", environment))()
end

local server, client, manager

local function open(options, client_options, workers)
  server = helper.start(options)
  client = arvak.connect(server.address, client_options)
  manager = arvak.batch_manager(client, { max_workers = workers })
end

local function close()
  if manager then manager:close() end
  if client then client:close() end
  if server then server:stop() end
  manager, client, server = nil, nil, nil
  helper.assert_clean()
end

describe("a batch on a server that is in trouble", function()
  after_each(close)

  it("waits for no pushback of an hour", function()   -- but for ten seconds
    open()
    server:fault { rpc = "SubmitJob", status = "RESOURCE_EXHAUSTED", count = 1, pushback_ms = 3600000 }
    local r, err = manager:execute_batch(batches.bells(40), "simulator", { transport = "unary", timeout = 60 })
    assert.is_nil(err)
    assert.is_true(r.ok)
  end)

  it("waits for no pushback of an hour between two looks", function()
    open(nil, { timeout = 1 })
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1, pushback_ms = 3600000 }
    local r = manager:execute_batch(batches.bells(10), "simulator", { transport = "unary", timeout = 60 })
    batches.assert_whole(r, 10)
    assert.is_nil(r.err)
    assert.is_true(r.success_count >= 9)
  end)

  for _, transport in ipairs { "stream", "unary" } do
    it("gives up when its breaker is forced open, and says so: " .. transport, function()
      open(nil, { breaker = { timeout = 0.2 }, timeout = 0.5 })
      client:breaker():force_open()
      local r, err = manager:execute_batch(batches.bells(20), "simulator", { transport = transport, timeout = 60 })
      batches.assert_whole(r, 20)
      assert.equal("circuit_open", err.kind)
      assert.matches("breaker has let no call through for 0%.5 s", err.message)
      for _, item in ipairs(r.items) do assert.is_falsy(item.err.maybe_executed) end
    end)

    it("says in a timeout what the server has said all along: " .. transport, function()
      open({ max_concurrent_jobs = 1 }, { timeout = 20 })
      local leaked = assert(client:submit_qasm(helper.bell, "simulator"))
      assert.is_string(leaked)
      server:fault { rpc = "any", status = "RESOURCE_EXHAUSTED", message = "Concurrency limit reached" }
      local r, err = manager:execute_batch(batches.bells(4), "simulator", { transport = transport, timeout = 1 })
      batches.assert_whole(r, 4)
      assert.equal("timeout", err.kind)
      assert.matches("Concurrency limit reached", err.message)
      assert.equal("resource_exhausted", err.cause.kind)
    end)
  end

  it("asks a server that refuses for ever less and less often", function()
    open()
    server:fault { rpc = "SubmitJob", status = "RESOURCE_EXHAUSTED", message = "Concurrency limit reached" }
    manager:execute_batch(batches.bells(1), "simulator", { transport = "unary", timeout = 4 })
    local calls = server:stats().calls.SubmitJob
    assert.is_true(calls >= 2 and calls <= 8, calls)   -- at 0, 0.1, 0.3, 0.7, 1.5, 3.1 s
  end)

  for _, status in ipairs { "UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL" } do
    it("puts one input at most into each stream that breaks before it has spoken: " .. status, function()
      open()
      server:fault { rpc = "SubmitBatchStream", status = status, count = 4 }
      local r, err = manager:execute_batch(batches.bells(500), "simulator")
      assert.is_nil(err)
      batches.assert_whole(r, 500)
      assert.is_true(r.failure_count <= 4, r.failure_count)
      if status == "RESOURCE_EXHAUSTED" then assert.equal(0, r.failure_count) end
      assert.equal(r.success_count, server:stats().accepted)
    end)
  end

  it("has its own stream speak before it writes on, and then writes all", function()
    open({ job_latency = 0.2 }, nil, 32)
    server:fault { rpc = "SubmitBatchStream", latency = 0.1 }
    local r = manager:execute_batch(batches.bells(32), "simulator", { transport = "stream" })
    assert.is_true(r.ok)
    assert.equal(1, server:stats().calls.SubmitBatchStream)
  end)
end)

-- A BatchJobResult: job_id = 1, client_request_id = 2, submitted = 3, completed = 4.
local function acknowledged(id) return string.pack("Bs1Bs1Bs1", 10, "job-" .. id, 18, tostring(id), 26, "") end

local function completed(id)
  local result = string.pack("Bs1", 10, "job-" .. id) .. string.char(24, 1)
  return string.pack("Bs1Bs1Bs1", 10, "job-" .. id, 18, tostring(id), 34, result)
end

describe("a batch on a peer that", function()
  local peer

  after_each(function()
    close()
    peer:stop()
    peer = nil
  end)

  for name, state in pairs { unspecified = 0, unknown = 77 } do
    it(("says of a job that it is %s gives the job up in time"):format(name), function()
      peer = raw.start {}
      local plan = { raw.submitted("j") }
      for i = 2, 400 do plan[i] = raw.job("j", state) end
      peer:plan("requests", plan)
      client = arvak.connect(peer:address(), { timeout = 0.5 })
      manager = arvak.batch_manager(client)
      local since = monotime()
      local r = manager:execute_batch(batches.bells(1), "simulator", { transport = "unary", timeout = 60 })
      assert.is_true(monotime() - since < helper.TEST_TIMEOUT)
      batches.assert_whole(r, 1)
      assert.equal("timeout", r.items[1].err.kind)
      assert.matches("for 0%.5 s the server has given no state of job j", r.items[1].err.message)
    end)
  end

  it("never answers one submission while its stream is busy loses that one only", function()
    peer = raw.start {}
    local said = {}   -- the stream answers 1 and 3, passes over 2, and goes on and on about it
    for i = 1, 1800, 3 do said[i], said[i + 1], said[i + 2] = acknowledged(1), completed(1), acknowledged(3) end
    peer:plan("requests", { raw.trickle(raw.stream(said, { at = "headers", ending = "keep", say = "" }), 0.0005),
      raw.job("job-3", 2) })
    client = arvak.connect(peer:address(), { timeout = 2 })
    manager = arvak.batch_manager(client)
    local r = manager:execute_batch(batches.bells(3, 1), "simulator", { transport = "stream", timeout = 30 })
    batches.assert_whole(r, 3)
    assert.is_nil(r.items[1].err)
    assert.is_true(r.items[2].err.maybe_executed)
    assert.matches("no answer to this submission within 2 s, while the stream was busy", r.items[2].err.message)
    assert.equal("job-3", r.items[3].job_id)
  end)
end)

describe("the patience of a batch", function()
  local patience = load_part "batch/patience"
  local gone = { kind = "unavailable", message = "gone" }
  local full = { kind = "resource_exhausted", message = "Concurrency limit reached" }
  local shut = { kind = "circuit_open", message = "the breaker is open", retry_after = 5 }

  it("ends when the server has failed without a break, and an answer is a break", function()
    local p = patience.new(0, 10)
    assert.is_nil(p:note_failure(1, gone))
    assert.is_nil(p:note_failure(10.9, gone))
    p:note_answer(10.95)
    assert.is_nil(p:note_failure(20.9, gone))
    assert.matches("failed for 10 s without a break: gone", p:note_failure(31, gone))
  end)

  it("counts the time that a failed call took, but not before the last answer", function()
    local p = patience.new(0, 10)
    p:note_answer(5)
    assert.is_nil(p:note_failure(14, { kind = "timeout", elapsed = 12 }))
    assert.truthy(p:note_failure(15, { kind = "timeout", elapsed = 1 }))
  end)

  it("gives a breaker the time that it asks for, and then its own", function()
    local p = patience.new(0, 10)
    for now = 0, 14 do assert.is_nil(p:note_failure(now, shut)) end
    assert.matches("breaker has let no call through for 10 s: the breaker is open", p:note_failure(15, shut))
    p = patience.new(0, 10)
    for now = 0, 60, 12 do   -- a probe in between fails: the breaker is no wall
      assert.is_nil(p:note_failure(now, shut))
      p:note_answer(now + 1)
    end
  end)

  it("ends after a minute of refusals without a job of its own, and not while one is unfinished", function()
    local p = patience.new(0, 10)
    for now = 0, 59 do assert.is_nil(p:note_refusal(now, full, 0)) end
    assert.matches("refused every submit for 60 s: Concurrency limit reached", p:note_refusal(60, full, 0))
    p = patience.new(0, 10)
    for now = 0, 200 do assert.is_nil(p:note_refusal(now, full, 1)) end
    p:note_acceptance(200)
    assert.is_nil(p:trouble(201, 0))
    p:note_refusal(210, full, 0)
    local text, err = p:trouble(215, 0)
    assert.matches("for 5%.0 s: Concurrency limit reached", text)
    assert.equal(full, err)
  end)
end)

describe("the pace of submits", function()
  local pacing = load_part "batch/pacing"

  it("follows a pushback for ten seconds at most", function()
    local p = pacing.new(10)
    p:note_refusal(0, 5, 3600)
    assert.is_false(p:take(9.9))
    assert.is_true(p:take(10))
    p = pacing.new(10)
    p:pause(0, 0.1, 3600)
    assert.is_true(p:take(10))
    p = pacing.new(10)
    p:note_refusal(0, 5, 3)
    assert.is_false(p:take(2.9))
    assert.is_true(p:take(3))
  end)

  it("slows to one in five seconds where no job of ours could make room", function()
    local p, now, count = pacing.new(10), 0, 0
    while now < 60 do
      local may, at = p:take(now)
      if may then
        count = count + 1
        p:note_refusal(now, 0)
      else
        now = at
      end
    end
    assert.is_true(count >= 12 and count <= 18, count)
  end)
end)
