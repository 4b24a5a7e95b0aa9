-- Watching a job: changes, ticks, broken connections, and jobs that are not there.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local peer = require "spec.support.peer"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local function open(options, client_options)
  options = options or {}
  options.watch_interval = options.watch_interval or 0.005
  server = helper.start(options)
  client = arvak.connect(server.address, client_options)
end

local _, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function submit() return assert(client:submit_qasm(bell, "simulator", 100)) end

-- A job that runs until somebody sees to it.
local function submit_hung()
  server:fault { rpc = "SubmitJob", job = "hang", count = 1 }
  local job_id = submit()
  while server:stats().jobs.QUEUED > 0 do arvak.sleep(0.002) end
  return job_id
end

local function calls(rpc) return server:stats().calls[rpc] end

local function states_of(job_id, options)
  local states = {}
  for state in client:watch_job(job_id, options) do states[#states + 1] = state end
  return states
end

-- Waits in a task until the server has seen so many calls.
local function until_calls(rpc, count)
  local deadline = monotime() + TEST_TIMEOUT
  while calls(rpc) < count do
    assert(monotime() < deadline)
    arvak.sleep(0.002)
  end
end

-- A JobStatusUpdate, encoded.
local function encode(job_id, state) return string.pack("Bs1BB", 10, job_id, 16, state) end

describe("watch_job", function()
  after_each(close)

  it("gives each change with the server's time, and ends with the job", function()
    open { job_latency = 0.4 }
    local events = {}
    for state, timestamp, message in client:watch_job(submit()) do
      assert.is_true(math.abs(os.time() - timestamp) <= 2)
      assert.is_nil(message)
      events[#events + 1] = state
    end
    assert.same({ "RUNNING", "COMPLETED" }, events)
  end)

  it("gives only the end of a job that has ended already", function()
    open()
    local job_id = submit()
    assert(client:wait_for_job(job_id))
    local s = client:watch_job(job_id)
    assert.equal("COMPLETED", (s:next()))
    assert.is_nil(s:next())
    assert.same({}, { s:next() })
  end)

  it("gives the message of a job that failed", function()
    open()
    server:fault { rpc = "SubmitJob", job = "fail", message = "no luck" }
    local s <close> = client:watch_job(submit())
    local state, _, message = s:next()
    while state and state ~= "FAILED" do state, _, message = s:next() end
    assert.equal("FAILED", state)
    assert.matches("no luck", message)
    assert.is_nil(s:next())
  end)

  it("tells a cancellation and an expired result as ends", function()
    open()
    for _, last in ipairs { "CANCELED", "RESULT_EXPIRED" } do
      local job_id = submit_hung()
      local s = client:watch_job(job_id)
      assert.equal("RUNNING", (s:next()))
      if last == "CANCELED" then assert.is_true(client:cancel_job(job_id))
      else server:set_job_state(job_id, last) end
      assert.equal(last, (s:next()))
      assert.is_nil(s:next())
    end
  end)

  it("gives every tick when asked, and otherwise drops states that repeat", function()
    open { job_latency = 0.1 }
    local all = states_of(submit(), { every_tick = true })
    assert.is_true(#all > 3, #all)
    assert.equal("RUNNING", all[#all - 1])
    assert.equal("COMPLETED", all[#all])
    assert.same({ "RUNNING", "COMPLETED" }, states_of(submit(), { every_tick = false }))
  end)

  it("watches many jobs at once from tasks", function()
    open { job_latency = 0.05 }
    arvak.run(function()
      local watches = {}
      for i = 1, 200 do watches[i] = arvak.spawn(function() return states_of(submit()) end) end
      for _, states in ipairs(assert(arvak.all(watches))) do assert.equal("COMPLETED", states[#states]) end
    end)
  end)
end)

describe("watch_job over a connection that breaks", function()
  after_each(close)

  it("opens the watch again, and does not repeat the state it has given", function()
    open()
    arvak.run(function()
      local job_id = submit_hung()
      local f = arvak.spawn(states_of, job_id)
      for count = 1, 3 do
        until_calls("WatchJob", count)
        server:drop_connections()
      end
      until_calls("WatchJob", 4)
      server:set_job_state(job_id, "COMPLETED")
      assert.same({ "RUNNING", "COMPLETED" }, f:result(TEST_TIMEOUT))
    end)
  end)

  for what, fault in pairs {
    ["a status UNAVAILABLE"] = { status = "UNAVAILABLE", messages = 1 },
    ["the server's one-hour end"] = { status = "DEADLINE_EXCEEDED", messages = 1 },
    ["a cut"] = { drop = "after", messages = 1 },
    ["an INTERNAL about a job that is there"] = { status = "INTERNAL", messages = 1 },
    ["an INTERNAL before any message"] = { status = "INTERNAL" },
  } do
    it("survives " .. what, function()
      open { job_latency = 0.5 }
      fault.rpc, fault.count = "WatchJob", 2
      server:fault(fault)
      assert.same({ "RUNNING", "COMPLETED" }, states_of(submit()))
      assert.equal(3, calls("WatchJob"))
    end)
  end

  it("tells the end from the status when the watch ends INTERNAL and the job has ended meanwhile", function()
    open()
    local job_id = submit()
    assert(client:wait_for_job(job_id))
    server:fault { rpc = "WatchJob", status = "INTERNAL" }
    local s = client:watch_job(job_id)
    local state, timestamp = s:next()
    assert.equal("COMPLETED", state)
    assert.is_true(math.abs(os.time() - timestamp) <= 2)
    assert.is_nil(s:next())
    assert.equal(1, calls("WatchJob"))
  end)

  it("goes on when the status that should confirm an INTERNAL is unavailable for a moment", function()
    open { job_latency = 0.1 }
    server:fault { rpc = "WatchJob", status = "INTERNAL", count = 1 }
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 1 }
    local states = states_of(submit())
    assert.equal("COMPLETED", states[#states])
    assert.equal(1, calls("GetJobStatus"))
  end)

  it("finds the job lost when the server has forgotten it meanwhile", function()
    open()
    local job_id = submit_hung()
    local s = client:watch_job(job_id)
    assert.equal("RUNNING", (s:next()))
    assert.is_true(server:evict(job_id))
    local state, err = s:next()
    assert.is_nil(state)
    assert.equal("job_not_found", err.kind)
  end)

  it("gives up once nothing has come for as long as the client's timeout", function()
    open(nil, { timeout = 1 })
    local job_id = submit_hung()
    server:fault { rpc = "WatchJob", status = "UNAVAILABLE" }
    local started_at = monotime()
    local state, err = client:watch_job(job_id):next()
    local took = monotime() - started_at
    assert.is_nil(state)
    assert.equal("unavailable", err.kind)
    assert.is_true(took > 0.75 and took < TEST_TIMEOUT, took)
    assert.is_true(calls("WatchJob") > 2)
  end)

  it("does not open again after an error that is final", function()
    open()
    local job_id = submit_hung()
    server:fault { rpc = "WatchJob", status = "PERMISSION_DENIED" }
    local state, err = client:watch_job(job_id):next()
    assert.is_nil(state)
    assert.equal("PERMISSION_DENIED", err.name)
    assert.equal(1, calls("WatchJob"))
  end)

  it("ends as canceled, and stays ended, when it is canceled between two connections", function()
    open()
    server:fault { rpc = "WatchJob", status = "UNAVAILABLE" }
    arvak.run(function()
      local s = client:watch_job(submit_hung())
      local f = arvak.spawn(function() return s:next() end)
      until_calls("WatchJob", 8)
      s:cancel()
      local opened = calls("WatchJob")
      assert.equal("canceled", f:exception(TEST_TIMEOUT).kind)
      assert.is_true(calls("WatchJob") <= opened + 1)
    end)
  end)

  it("ends as closed when the client is closed between two connections", function()
    open()
    server:fault { rpc = "WatchJob", status = "UNAVAILABLE" }
    arvak.run(function()
      local s = client:watch_job(submit_hung())
      local f = arvak.spawn(function() return s:next() end)
      until_calls("WatchJob", 8)
      client:close()
      assert.equal("closed", f:exception(TEST_TIMEOUT).kind)
    end)
  end)

  it("ends as closed when the client is closed before an INTERNAL is confirmed", function()
    open()
    server:fault { rpc = "WatchJob", status = "INTERNAL", messages = 1 }
    local s = client:watch_job(submit_hung())
    assert.equal("RUNNING", (s:next()))
    for _ = 1, 10 do arvak.poll(0.005) end
    client:close()
    local state, err = s:next()
    assert.is_nil(state)
    assert.equal("closed", err.kind)
  end)
end)

describe("watch_job that is ended again and again", function()
  after_each(close)

  local function break_after_a_message() server:fault { rpc = "WatchJob", status = "UNAVAILABLE", messages = 1 } end

  it("is opened again at pauses that grow, also when each watch brings a message", function()
    open()
    break_after_a_message()
    arvak.run(function()
      local s <close> = client:watch_job(submit_hung())
      local f = arvak.spawn(function()
        s:next()
        return s:next()
      end)
      assert.is_false(f:wait(0.5))
      s:cancel()
    end)
    assert.is_true(calls("WatchJob") >= 3 and calls("WatchJob") <= 20, calls("WatchJob"))   -- 13 of the schedule
  end)

  for name, options in pairs { ["states"] = {}, ["every tick"] = { every_tick = true } } do
    it(("ends after one timeout of the client's without a new state, watching %s"):format(name), function()
      open(nil, { timeout = 0.3 })
      break_after_a_message()
      local ok, err = pcall(function()
        for state in client:watch_job(submit_hung(), options) do assert.equal("RUNNING", state) end
      end)
      assert.is_false(ok)
      assert.equal("unavailable", err.kind)
      assert.matches("for 0.3 s the watch has broken again and again", err.message)
    end)
  end

  it("that ends well each time ends with an error that says so", function()
    local there = peer.start()
    there:plan("requests", { peer.stream({ encode("j", 2) }, peer.trailers(0, "")) })
    client = arvak.connect(there:address(), { timeout = 0.3 })
    local s = client:watch_job("j")
    assert.equal("RUNNING", (s:next()))
    local state, err = s:next()
    assert.is_nil(state)
    assert.equal("rpc", err.kind)
    assert.matches("for 0.3 s .*ends the watch again and again", err.message)
    there:stop()
  end)

  it("goes on when the state changes between its connections, however many they are", function()
    open(nil, { timeout = 0.5 })
    local job_id = submit_hung()
    break_after_a_message()
    arvak.run(function()
      local s <close> = client:watch_job(job_id)
      assert.equal("RUNNING", (s:next()))
      for _, state in ipairs { "QUEUED", "RUNNING", "QUEUED", "RUNNING", "COMPLETED" } do
        arvak.spawn(function()
          arvak.sleep(0.15)
          server:set_job_state(job_id, state)
        end)
        assert.equal(state, (s:next()))
      end
      assert.is_nil((s:next()))
    end)
  end)

  it("is bounded by its timeout over all its connections", function()
    open(nil, { timeout = TEST_TIMEOUT })
    break_after_a_message()
    local since = monotime()
    local s = client:watch_job(submit_hung(), { timeout = 1 })
    assert.equal("RUNNING", (s:next()))
    local _, err = s:next()
    assert.equal("timeout", err.kind)
    assert.is_true(monotime() - since >= 1 and monotime() - since < TEST_TIMEOUT)
  end)
end)

describe("watch_job that is told of another job", function()
  after_each(close)

  for name, messages in pairs {
    ["at first"] = { { "other", 3 } },
    ["later"] = { { "j", 1 }, { "other", 3 } },
    ["with the same state"] = { { "j", 1 }, { "other", 1 } },
  } do
    it(("gives no state of it, and ends with an error, %s"):format(name), function()
      local there <close> = peer.start()
      local encoded = {}
      for i, message in ipairs(messages) do encoded[i] = encode(message[1], message[2]) end
      there:plan("requests", { peer.stream(encoded, peer.trailers(0, "")) })
      client = arvak.connect(there:address(), { timeout = 0.3 })
      local states, s = {}, client:watch_job("j")
      local state, err = s:next()
      while state do
        states[#states + 1] = state
        state, err = s:next()
      end
      assert.same(#messages > 1 and { "QUEUED" } or {}, states)
      assert.equal("rpc", err.kind)
    end)
  end
end)

describe("watch_job of a job that is not there", function()
  before_each(open)
  after_each(close)

  it("gives job_not_found, after asking for the status", function()
    local s = client:watch_job("nowhere")
    local values = table.pack(s:next())
    assert.equal(2, values.n)
    assert.is_nil(values[1])
    assert.equal("job_not_found", values[2].kind)
    assert.equal("nowhere", values[2].job_id)
    assert.equal(1, calls("WatchJob"))
    assert.equal(1, calls("GetJobStatus"))
    assert.equal(values[2], select(2, s:next()))
  end)

  it("raises it in a loop", function()
    local ok, err = pcall(states_of, "nowhere")
    assert.is_false(ok)
    assert.is_true(arvak.is_error(err))
    assert.equal("job_not_found", err.kind)
  end)

  it("raises at the caller for an id that is no string", function()
    local ok, err = pcall(function() return (client:watch_job(7)) end)
    assert.is_false(ok)
    assert.matches("^spec/streams/job_spec%.lua:%d+: job_id: got 7, expected a string", err)
  end)
end)
