-- What the reference Python client gets wrong about waiting and futures (docs/internals/reference-defects.md, rows
-- 15 to 24; the numbers are its rows), done right.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local start, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function open(...)
  start(...)
  assert(client:wait_for_ready(TEST_TIMEOUT))
end

local function submit(options) return client:submit_qasm_future(bell, "simulator", options or 10) end

describe("waiting and futures:", function()
  after_each(close)

  it("a transient error of a look does not end a job future; nor do unknown states (15)", function()
    open { job_latency = 0.02 }
    server:fault { rpc = "GetJobStatus", status = "UNAVAILABLE", count = 2 }
    assert.equal(10, assert(submit():result(TEST_TIMEOUT)).shots)
    server:fault { job = "hang" }
    local f = submit()
    server:set_job_state(assert(f:submitted(TEST_TIMEOUT)), "RESULT_EXPIRED")
    assert.equal("result_expired", f:exception(TEST_TIMEOUT).kind)
  end)

  it("looks come at growing intervals, and the last one before max_wait is cut short (15)", function()
    open { job_latency = 60 }
    local since = monotime()
    assert.equal("timeout", submit { max_wait = 0.05, poll_interval = 60 }:exception(TEST_TIMEOUT).kind)
    assert.is_true(monotime() - since < 1)
    assert.is_true(server:stats().calls.GetJobStatus <= 15)   -- at the first interval there would be 45
  end)

  it("a callback may ask for the result in cancel, and when it is added to a future that has ended (16)", function()
    open { job_latency = 60 }
    local f, kinds = submit(), {}
    f:add_done_callback(function(ended) kinds[1] = select(2, ended:result()).kind end)
    assert.is_true(f:cancel())
    f:add_done_callback(function(ended) kinds[2] = ended:exception().kind end)
    helper.eventually(function() return #kinds == 2 end)
    assert.same({ "canceled", "canceled" }, kinds)
  end)

  it("while cancel waits for the server, done and result of the future do not (17)", function()
    open { job_latency = 60 }
    local f = submit()
    assert(f:submitted(TEST_TIMEOUT))
    server:fault { rpc = "CancelJob", latency = 0.1 }
    arvak.run(function()
      local canceling = arvak.spawn(f.cancel, f)
      arvak.sleep(0)
      assert.is_false(f:done())
      assert.equal("timeout", select(2, f:result(0.001)).kind)
      assert.is_true(canceling:running())
      assert.is_true(canceling:result())
    end)
  end)

  it("a look that comes back after a cancellation neither runs callbacks again nor stores a result (18)", function()
    open { job_latency = 60 }
    server:fault { rpc = "GetJobStatus", latency = 0.03 }
    local f, ends = submit(), 0
    f:add_done_callback(function() ends = ends + 1 end)
    helper.eventually(function() return server:stats().calls.GetJobStatus == 1 end)
    server:set_job_state(f.job_id, "RUNNING")
    assert.is_true(f:cancel())
    server:set_job_state(f.job_id, "COMPLETED")
    helper.eventually(function() return not arvak.poll(0) end)
    assert.equal(1, ends)
    assert.is_true(f:canceled())
    assert.equal("canceled", f:exception(0).kind)
  end)

  it("errors that looking again cannot mend end a future: missing job, closed client, oversize result (19)", function()
    open { max_message_size = 10000 }
    local oversize = client:submit_qasm_future("OPENQASM 3.0; qubit[10] q; h q;", "simulator", 100000)
    assert.equal("OUT_OF_RANGE", oversize:exception(TEST_TIMEOUT).name)
    assert.equal(oversize.job_id, oversize:exception().job_id)
    server:fault { job = "hang" }
    local missing, closed = submit(), submit()
    assert.is_true(server:evict(assert(missing:submitted(TEST_TIMEOUT))))
    assert.equal("job_not_found", missing:exception(TEST_TIMEOUT).kind)
    client:close()
    assert.equal("closed", closed:exception(TEST_TIMEOUT).kind)
  end)

  it("a thousand futures need no thread each (20)", function()
    open { job_latency = 0.2 }
    local function threads()
      for line in io.lines "/proc/self/status" do
        local count = line:match "^Threads:%s*(%d+)"
        if count then return tonumber(count) end
      end
    end
    assert.is_truthy(submit():result(TEST_TIMEOUT))
    local before, circuits = threads(), {}
    for i = 1, 1000 do circuits[i] = { bell, 1 } end
    local fs = client:submit_batch_future(circuits, "simulator")
    for _, f in ipairs(fs) do assert(f:submitted(TEST_TIMEOUT)) end
    assert.is_true(threads() - before < 16)
    for _, outcome in ipairs(arvak.gather(fs)) do assert.is_true(outcome.ok) end
  end)

  it("a bridged future is told of a cancellation, and can pass one on (21)", function()
    open { job_latency = 60 }
    local f = submit()
    local bridge, resolve, reject = arvak.future()
    f:add_done_callback(function(ended)
      local result, err = ended:result()
      if err then reject(err) else resolve(result) end
    end)
    bridge:add_done_callback(function(ended) if ended:canceled() then f:cancel() end end)
    assert.is_true(f:cancel())
    assert.is_true(bridge:wait(TEST_TIMEOUT))
    assert.is_true(bridge:canceled())
    local other, g = arvak.future(), submit()
    other:add_done_callback(function(ended) if ended:canceled() then g:cancel() end end)
    assert.is_true(other:cancel())
    assert.same({ { g }, {} }, { arvak.wait({ g }, { timeout = TEST_TIMEOUT }) })
    assert.is_true(g:canceled())
    assert.equal("CANCELED", client:get_job_status(g.job_id).state)
  end)

  it("wait for the first failure does not raise when a future was canceled (22)", function()
    open { job_latency = 60 }
    local canceled, failing, other = submit(), submit(), submit()
    assert.is_true(canceled:cancel())
    server:set_job_state(assert(failing:submitted(TEST_TIMEOUT)), "FAILED")
    local options = { return_when = "FIRST_EXCEPTION", timeout = TEST_TIMEOUT }
    local done, not_done = arvak.wait({ canceled, other, failing }, options)
    assert.equal(2, #done)
    assert.equal(other, not_done[1])
    assert.equal("job_failed", failing:exception(0).kind)
    assert.is_true(other:cancel())
  end)

  it("what waits for several wakes at once, keeps order and duplicates, and knows its conditions (23)", function()
    open()
    local a, b = submit(), submit()
    local done = arvak.wait { b, a, b }
    assert.equal(3, #done)
    assert.equal(b, done[1])
    assert.equal(a, done[2])
    assert.equal(b, done[3])
    local f, resolve = arvak.future()
    arvak.run(function()
      local since
      arvak.spawn(function()
        arvak.sleep(0.005)
        since = monotime()
        resolve(1)
      end)
      for _ in arvak.as_completed { f } do assert.is_true(monotime() - since < 0.09) end
    end)
    assert.error_matches(function() arvak.wait({ a }, { return_when = "SOME" }) end, 'return_when: got "SOME"')
  end)

  it("running asks nobody (24)", function()
    open { job_latency = 60 }
    local f = submit()
    assert(f:submitted(TEST_TIMEOUT))
    local before = client:stats().attempts
    for _ = 1, 100 do assert.is_true(f:running() and not f:done()) end
    assert.equal(before, client:stats().attempts)
    assert.is_true(f:cancel())
    assert.is_false(f:running())
  end)
end)
