-- Many jobs over one stream: each input that was drawn gets one last event, whatever happens to the stream.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function bells(count)
  local list = {}
  for i = 1, count do list[i] = { bell, i } end
  return list
end

-- An iterator over as many bells, and how many have been drawn.
local function counted(count, on_draw)
  local drawn = { n = 0 }
  return function()
    if drawn.n == count then return nil end
    drawn.n = drawn.n + 1
    if on_draw then on_draw(drawn.n) end
    return { bell, drawn.n }
  end, drawn
end

-- Reads to the end: the last event of each index, and the stream's own error. A second last event is an error.
local function account(s, on_event)
  local last, submitted = {}, {}
  while true do
    local event, index, job_id, data = s:next()
    if on_event then on_event(event, index, job_id, data) end
    if not event then return last, index, submitted end
    if event == "submitted" then
      assert.is_nil(submitted[index])
      assert.is_nil(last[index])
      submitted[index] = job_id
    else
      assert.is_nil(last[index])
      last[index] = { event = event, job_id = job_id, data = data }
    end
  end
end

local function assert_dense(last, count)
  local size = 0
  for _ in pairs(last) do size = size + 1 end
  assert.equal(count, size)
  for i = 1, count do assert.is_table(last[i]) end
end

local function assert_all_completed(last, count)
  assert_dense(last, count)
  for i = 1, count do
    assert.equal("completed", last[i].event)
    assert.equal(i, last[i].data.shots)
    assert.equal(last[i].job_id, last[i].data.job_id)
  end
end

describe("submit_batch_stream", function()
  after_each(close)

  it("gives submitted and completed with the index of the input, the id and the result", function()
    open()
    local last, err, submitted = account((client:submit_batch_stream(bells(20), "simulator")))
    assert.is_nil(err)
    assert_all_completed(last, 20)
    for i = 1, 20 do assert.equal(submitted[i], last[i].job_id) end
    assert.equal(1, server:stats().calls.SubmitBatchStream)
    assert.equal(0, server:stats().calls.GetJobStatus)
  end)

  it("takes an iterator, entries by name, and a backend in the entry", function()
    open()
    local entries, i = {
      { qasm = bell, shots = 1, backend_id = "simulator" }, { bell, 2, backend_id = "simulator" },
      { qasm = bell, shots = 3, optimization_level = 0 },
    }, 0
    local last, err = account((client:submit_batch_stream(function()
      i = i + 1
      return entries[i]
    end, "simulator")))
    assert.is_nil(err)
    assert_all_completed(last, 3)
    assert.equal("simulator", entries[1].backend_id)
    assert_all_completed((account((client:submit_batch_stream({ entries[1] })))), 1)
  end)

  it("ends at once without inputs", function()
    open()
    assert.same({}, { client:submit_batch_stream({}, "simulator"):next() })
    assert.same({}, { client:submit_batch_stream(function() end):next() })
  end)

  it("gives the server's refusal of one input as its error, and goes on with the others", function()
    open()
    local big = ("OPENQASM 3.0; qubit[2] q; bit[2] c; %s c = measure q;"):format(("x q[0];"):rep(50001))
    local last, err = account((client:submit_batch_stream {
      { bell, 1, backend_id = "simulator" }, { "qubit q", 1, backend_id = "simulator" },
      { bell, 1, backend_id = "elsewhere" }, { big, 1, backend_id = "simulator" },
      { bell .. "\0", 1, backend_id = "simulator" }, { bell, 6, backend_id = "simulator" },
    }))
    assert.is_nil(err)
    assert_dense(last, 6)
    for index, kind in pairs { [2] = "invalid_circuit", [3] = "backend_not_found", [4] = "invalid_circuit",
      [5] = "invalid_circuit" } do
      assert.equal("error", last[index].event)
      assert.is_nil(last[index].job_id)
      assert.equal(kind, last[index].data.kind)
    end
    assert.equal("completed", last[1].event)
    assert.equal("completed", last[6].event)
  end)

  it("tells by the status what became of jobs about which the stream is silent", function()
    open()
    server:fault { rpc = "SubmitBatchStream", job = "fail", message = "no luck", count = 1 }
    server:fault { rpc = "SubmitBatchStream", job_state = "CANCELED", count = 1 }
    server:fault { rpc = "SubmitBatchStream", job_state = "RESULT_EXPIRED", count = 1 }
    local last, err = account((client:submit_batch_stream(bells(4), "simulator")))
    assert.is_nil(err)
    assert_dense(last, 4)
    assert.equal("job_failed", last[1].data.kind)
    assert.matches("no luck", last[1].data.message)
    assert.equal("job_canceled", last[2].data.kind)
    assert.equal("result_expired", last[3].data.kind)
    for i = 1, 3 do assert.equal(last[i].job_id, last[i].data.job_id) end
    assert.equal("completed", last[4].event)
  end)

  it("draws no further than the connection takes, and nothing between two steps", function()
    open()
    local iterator, drawn = counted(100000)
    local s = client:submit_batch_stream(iterator, "simulator")
    assert.equal(0, drawn.n)
    assert.equal("submitted", (s:next()))
    assert.is_true(drawn.n < 10000, drawn.n)
    local before = drawn.n
    for _ = 1, 20 do arvak.poll(0.002) end
    assert.equal(before, drawn.n)
    s:cancel()
  end)
end)

describe("submit_batch_stream with an iterator", function()
  before_each(function() open() end)
  after_each(close)

  it("that waits suspends its task only, and blocks outside one", function()
    local function draw() assert(arvak.sleep(0.002)) end
    assert_all_completed((account((client:submit_batch_stream((counted(10, draw)), "simulator")))), 10)
    arvak.run(function()
      local turns = 0
      local f = arvak.spawn(function()
        return (account((client:submit_batch_stream((counted(10, draw)), "simulator"))))
      end)
      while f:running() do
        turns = turns + 1
        arvak.sleep(0.001)
      end
      assert_all_completed(f:result(0), 10)
      assert.is_true(turns > 5)
    end)
  end)

  it("that calls the service between two inputs", function()
    local iterator = counted(10, function() assert(client:list_backends()) end)
    arvak.run(function()
      assert_all_completed((account((client:submit_batch_stream(iterator, "simulator")))), 10)
    end)
  end)

  it("that waits for what the loop does is no deadlock, in and out of a task", function()
    local function run()
      local made, results = 0, {}
      for event, index, _, data in client:submit_batch_stream(function()
        if made == 10 then return nil end
        while made > 0 and not results[made] do arvak.sleep(0.001) end
        made = made + 1
        return { bell, made }
      end, "simulator", { idle_timeout = TEST_TIMEOUT }) do
        if event == "completed" then results[index] = data.shots end
      end
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, results)
    end
    run()
    arvak.run(run)
  end)

  it("that is slow is no silence of the server", function()
    local iterator = counted(3, function() arvak.sleep(1.2) end)
    assert_all_completed((account((client:submit_batch_stream(iterator, "simulator", { idle_timeout = 1 })))), 3)
  end)

  it("that raises ends the loop with that error and cancels the call", function()
    local problem = { "mine" }
    local iterator = counted(10, function(i) if i == 3 then error(problem) end end)
    local ok, err = pcall(function()
      for _ in client:submit_batch_stream(iterator, "simulator") do end
    end)
    assert.is_false(ok)
    assert.equal(problem, err)
    helper.eventually(function() return arvak._counts().calls == 0 end)
  end)

  it("that waits when the stream is canceled: nothing is sent any more", function()
    arvak.run(function()
      local is_canceled
      local iterator, drawn = counted(10, function(i) while i == 3 and not is_canceled do arvak.sleep(0.01) end end)
      local s = client:submit_batch_stream(iterator, "simulator")
      local f = arvak.spawn(function() return account(s) end)
      while drawn.n < 3 or server:stats().calls.SubmitBatchStream == 0 do arvak.sleep(0.001) end
      s:cancel()
      is_canceled = true
      local _, err = f:result(TEST_TIMEOUT)
      assert.equal("canceled", err.kind)
      assert.equal(3, drawn.n)
      assert.equal(1, server:stats().calls.SubmitBatchStream)
    end)
  end)

  it("that is idle when the stream is dropped unread leaves nothing behind", function()
    local function read_one()
      local s = client:submit_batch_stream((counted(10000)), "simulator")
      assert.equal("submitted", (s:next()))
    end
    read_one()
    helper.eventually(function()
      collectgarbage()
      arvak.poll(0)
      local counts = arvak._counts()
      return counts.calls == 0 and counts.tasks == 0 and counts.waits == 0
    end)
  end)

  it("raises at the caller for what is neither a list nor a function", function()
    for _, circuits in ipairs { 3, "text", true } do
      local ok, err = pcall(function() return (client:submit_batch_stream(circuits, "simulator")) end)
      assert.is_false(ok)
      assert.matches("^spec/streams/batch_spec%.lua:%d+: circuits: got .* expected a list or an iterator", err)
    end
    local ok, err = pcall(function() return (client:submit_batch_stream({}, 3)) end)
    assert.is_false(ok)
    assert.matches("^spec/streams/batch_spec%.lua:%d+: backend_id: got 3, expected a string", err)
  end)

  it("raises for an entry that is none, and names it: of a list at once, of an iterator at the step", function()
    for message, entry in pairs {
      ["circuits%[2%]: got 7, expected {qasm, shots}"] = 7,
      ["circuits%[2%]%.shots: got %-1"] = { bell, -1 },
      ["circuits%[2%]: unknown option \"shot\""] = { qasm = bell, shot = 1 },
      ["circuits%[2%]: unknown option \"id\""] = { qasm = bell, id = 1 },
      ["circuits%[2%]%.backend_id: got 7"] = { bell, backend_id = 7 },
    } do
      local list = { { bell, 1 }, entry }
      local ok, err = pcall(function() return (client:submit_batch_stream(list, "simulator")) end)
      assert.is_false(ok)
      assert.matches("^spec/streams/batch_spec%.lua:%d+: " .. message, err)
      local i = 0
      ok, err = pcall(function()
        for _ in client:submit_batch_stream(function()
          i = i + 1
          return list[i]
        end, "simulator") do end
      end)
      assert.is_false(ok)
      assert.matches("^spec/streams/batch_spec%.lua:%d+: " .. message, err)
    end
    assert.equal(0, server:stats().calls.GetJobStatus)
  end)
end)

describe("submit_batch_stream that breaks", function()
  after_each(close)

  for what, fault in pairs {
    ["a cut connection"] = { drop = "after" },
    ["a status"] = { status = "UNAVAILABLE" },
    ["a status of no meaning"] = { status = "INTERNAL" },
    ["a status that else comes before anything"] = { status = "UNAUTHENTICATED" },
  } do
    it("by " .. what .. " settles every job by its status before it gives its own error", function()
      open { job_latency = 0.02 }
      fault.rpc, fault.messages = "SubmitBatchStream", 10
      server:fault(fault)
      local iterator, drawn = counted(50)
      local last, err, submitted = account((client:submit_batch_stream(iterator, "simulator")))
      assert.is_true(arvak.is_error(err))
      assert.is_false(err.maybe_executed)
      assert_dense(last, drawn.n)
      for index, event in ipairs(last) do
        if submitted[index] then
          assert.equal("completed", event.event)
          assert.equal(index, event.data.shots)
        else
          assert.equal("error", event.event)
          assert.is_true(event.data.maybe_executed)
          assert.equal(err, event.data.cause)
        end
      end
    end)
  end

  it("before it began gives each drawn input its error", function()
    open(nil, { timeout = 0.2 })
    server:stop()
    local iterator, drawn = counted(50)
    local last, err = account((client:submit_batch_stream(iterator, "simulator")))
    assert.equal("unavailable", err.kind)
    assert_dense(last, drawn.n)
    for _, event in ipairs(last) do assert.is_false(event.data.maybe_executed) end
  end)

  it("by a server that does not know the RPC says that nothing was executed", function()
    open()
    server:fault { rpc = "SubmitBatchStream", status = "UNIMPLEMENTED" }
    local iterator, drawn = counted(5)
    local last, err = account((client:submit_batch_stream(iterator, "simulator")))
    assert.equal("UNIMPLEMENTED", err.name)
    assert_dense(last, drawn.n)
    for _, event in ipairs(last) do assert.is_false(event.data.maybe_executed) end
  end)

  it("since the server is killed accounts for all within one patience, not one for each job", function()
    open({ job_latency = 60 }, { timeout = 0.5 })
    local killed_at
    local iterator, drawn = counted(200)
    local last, err = account((client:submit_batch_stream(iterator, "simulator")), function(_, index)
      if index == 100 and not killed_at then
        killed_at = monotime()
        server:stop()
      end
    end)
    assert.equal("unavailable", err.kind)
    assert.is_true(drawn.n >= 100)
    assert_dense(last, drawn.n)
    for _, event in ipairs(last) do assert.equal("unavailable", event.data.kind) end
    assert.is_true(monotime() - killed_at < 0.4 * TEST_TIMEOUT)
  end)

  it("with a server that has forgotten its jobs tells them as lost", function()
    open { job_latency = 60 }
    local last, err = account((client:submit_batch_stream(bells(5), "simulator")), function(event, _, job_id)
      if event == "submitted" then assert.is_true(server:evict(job_id)) end
    end)
    assert.is_nil(err)
    assert_dense(last, 5)
    for i = 1, 5 do assert.equal("job_not_found", last[i].data.kind) end
  end)

  it("with jobs that never end gives them up within the time it was given", function()
    open()
    server:fault { rpc = "SubmitBatchStream", job = "hang" }
    for name, options in pairs {
      idle = { idle_timeout = 0.1 }, whole = { timeout = 0.1 }, both = { idle_timeout = 0.1, timeout = 5 },
    } do
      local started_at = monotime()
      local iterator, drawn = counted(20)
      local last, err, submitted = account((client:submit_batch_stream(iterator, "simulator", options)))
      assert.equal("timeout", err.kind, name)
      assert_dense(last, drawn.n)
      for index, event in ipairs(last) do
        assert.equal("timeout", event.data.kind)
        assert.equal(submitted[index], event.data.job_id)
        if event.job_id then assert.equal("RUNNING", assert(client:get_job_status(event.job_id)).state) end
      end
      assert.is_true(monotime() - started_at < TEST_TIMEOUT / 2)
    end
  end)

  it("and whose connection is cut gives up jobs that never end after idle_timeout, once for all", function()
    open()
    server:fault { rpc = "SubmitBatchStream", job = "hang" }
    local started_at = monotime()
    local s = client:submit_batch_stream(bells(20), "simulator", { idle_timeout = 1 })
    local last, err = account(s, function(_, index) if index == 20 then server:drop_connections() end end)
    assert.is_true(err.kind == "unavailable" or err.kind == "timeout", err.kind)
    assert_dense(last, 20)
    for i = 1, 20 do assert.equal("timeout", last[i].data.kind) end
    assert.is_true(monotime() - started_at < 10)
  end)

  it("ends as canceled when another task cancels it while it settles", function()
    open()
    server:fault { rpc = "SubmitBatchStream", job = "hang" }
    arvak.run(function()
      local s = client:submit_batch_stream(bells(20), "simulator")
      local f = arvak.spawn(function()
        return account(s, function(_, index) if index == 20 then server:drop_connections() end end)
      end)
      while server:stats().calls.GetJobStatus < 5 do arvak.sleep(0.001) end
      local since = monotime()
      s:cancel()
      local _, err = f:result(TEST_TIMEOUT)
      assert.equal("canceled", err.kind)
      assert.is_true(monotime() - since < TEST_TIMEOUT / 4)
    end)
  end)

  it("ends as canceled when its task is canceled while it settles", function()
    open()
    server:fault { rpc = "SubmitBatchStream", job = "hang" }
    arvak.run(function()
      local s, events = client:submit_batch_stream(bells(20), "simulator"), 0
      local f = arvak.spawn(function()
        return account(s, function(_, index)
          events = events + 1
          if index == 20 then server:drop_connections() end
        end)
      end)
      while server:stats().calls.GetJobStatus < 5 do arvak.sleep(0.001) end
      local before = events
      f:cancel()
      assert.equal("canceled", select(2, f:result(TEST_TIMEOUT)).kind)
      assert.is_true(events <= before + 1)
    end)
  end)
end)

describe("submit_batch_stream of ten thousand jobs", function()
  before_each(function() open() end)
  after_each(close)

  local COUNT = os.getenv "ASAN_OPTIONS" and 1000 or 10000   -- there they would take minutes

  it("does not stall with a consumer that sleeps, and keeps no more than what is open", function()
    local most, open_now, heap = 0, 0, 0
    arvak.run(function()
      local iterator = counted(COUNT)
      local finished = 0
      for event, index, _, data in client:submit_batch_stream(iterator, "simulator") do
        if event == "submitted" then
          open_now = open_now + 1
        else
          assert.equal("completed", event)
          assert.equal(index, data.shots)
          open_now, finished = open_now - 1, finished + 1
        end
        most = math.max(most, open_now)
        if finished == COUNT // 10 and event == "completed" then
          collectgarbage()
          heap = collectgarbage "count"
        end
        if index % 100 == 0 then arvak.sleep(0.001) end
      end
      assert.equal(COUNT, finished)
    end)
    collectgarbage()
    assert.is_true(collectgarbage "count" < heap + 4096)
    assert.equal(0, open_now)
    assert.is_true(most < COUNT, most)
  end)

  it("does not stall outside a task, and gives each input one last event", function()
    local last, err = account((client:submit_batch_stream((counted(COUNT)), "simulator")))
    assert.is_nil(err)
    assert_all_completed(last, COUNT)
  end)

  it("loses none when the connection is cut in the middle", function()
    local iterator, drawn = counted(10000)
    local last, err, submitted = account((client:submit_batch_stream(iterator, "simulator")), function(event, index)
      if event == "submitted" and index == 500 then server:drop_connections() end   -- writing is ahead of reading
    end)
    assert.equal("unavailable", err.kind)
    assert.is_true(drawn.n >= 500)
    assert_dense(last, drawn.n)
    for index in pairs(submitted) do assert.equal("completed", last[index].event) end
  end)
end)
