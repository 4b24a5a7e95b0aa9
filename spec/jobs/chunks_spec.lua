-- Results that no single message holds: they come by StreamResults, whoever waits for them.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local QUBITS, SHOTS = 13, 100000   -- about 8192 outcomes of 20 bytes: no 64 KiB hold them, but 1000 do fit
local wide = ("OPENQASM 3.0; qubit[%d] q; h q;"):format(QUBITS)
local server, client

local start, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function open() start({ max_message_size = 65536 }, { timeout = TEST_TIMEOUT }) end

local function assert_whole(result, err)
  assert.is_nil(err)
  assert.equal("result", arvak.type(result))
  assert.equal(SHOTS, result.shots)
  local sum, count, wrong = 0, 0, 0
  for bits, shots in result:pairs() do
    sum, count = sum + shots, count + 1
    if #bits ~= QUBITS then wrong = wrong + 1 end
  end
  assert.equal(SHOTS, sum)
  assert.equal(0, wrong)
  assert.is_true(count > 8000)
end

describe("a result that is too large for a message", function()
  after_each(close)

  it("is fetched in chunks by execute, in a task and outside", function()
    open()
    assert_whole(client:execute(wide, "simulator", SHOTS))
    assert_whole(arvak.run(client.execute, client, wide, "simulator", SHOTS))
    assert.equal(2, server:stats().calls.StreamResults)
  end)

  it("is fetched in chunks by wait_for_job and get_job_result", function()
    open()
    local job_id = assert(client:submit_qasm(wide, "simulator", SHOTS))
    local result = client:wait_for_job(job_id, { max_wait = TEST_TIMEOUT })
    assert_whole(result)
    assert.equal(job_id, result.job_id)
    assert_whole(client:get_job_result(job_id))
    assert_whole(client.async:get_job_result(job_id):result(TEST_TIMEOUT))
  end)

  it("is fetched in chunks by a job future", function()
    open()
    local f = client:submit_qasm_future(wide, "simulator", SHOTS)
    assert_whole(f:result(TEST_TIMEOUT))
    assert.equal(f.job_id, f:result(0).job_id)
  end)

  it("is fetched in chunks though the stream breaks twice", function()
    open()
    server:fault { rpc = "StreamResults", status = "UNAVAILABLE", when = "after", messages = 3, count = 1 }
    server:fault { rpc = "StreamResults", drop = true, count = 1 }
    assert_whole(client:submit_qasm_future(wide, "simulator", SHOTS):result(TEST_TIMEOUT))
    assert_whole(client:execute(wide, "simulator", SHOTS))
    assert.equal(2, server:stats().faults_fired)
  end)

  it("is a completed event of a batch stream, before the error with which the stream ended for it", function()
    open()
    local s <close> = client:submit_batch_stream({ { wide, SHOTS } }, "simulator")
    assert.equal("submitted", (s:next()))
    local event, _, _, data = s:next()
    assert.equal("completed", event)
    assert_whole(data)
    local _, err = s:next()
    assert.equal("OUT_OF_RANGE", err.name)
  end)

  it("ends the wait with the error of its chunks, within one timeout", function()
    start({ max_message_size = 65536 }, { timeout = 0.3 })
    server:fault { rpc = "StreamResults", status = "UNAVAILABLE", message = "no chunks today" }
    local _, err = client:execute(wide, "simulator", SHOTS)
    assert.equal("unavailable", err.kind)
    assert.matches("no chunks today", err.message)
    assert.is_string(err.job_id)
    server:clear_faults()
    server:fault { rpc = "StreamResults", hang = true }
    _, err = client:submit_qasm_future(wide, "simulator", SHOTS):result(TEST_TIMEOUT)
    assert.equal("timeout", err.kind)
  end)

  it("ends as closed when the client is closed among the chunks", function()
    open()
    server:fault { rpc = "StreamResults", hang = true }
    local f = client:submit_qasm_future(wide, "simulator", SHOTS)
    helper.eventually(function() return server:stats().calls.StreamResults == 1 end)
    client:close()
    assert.equal("closed", f:exception(TEST_TIMEOUT).kind)
  end)
end)

describe("the results of a batch that are too large for a message", function()
  after_each(close)

  for _, transport in ipairs { "stream", "unary", "auto" } do
    it(("are fetched in chunks, by %s"):format(transport), function()
      open()
      local manager <close> = arvak.batch_manager(client)
      local bell = helper.bell
      local r = manager:execute_batch({ { bell, 10 }, { wide, SHOTS }, { bell, 10 }, { wide, SHOTS } }, "simulator",
        { transport = transport, timeout = 4 * TEST_TIMEOUT, on_unknown = "resubmit" })   -- it costs the stream
      assert.equal("completed", r.status, tostring(r.err or (r.failures[1] or {}).err))
      assert_whole(r.items[2].result)
      assert_whole(r.items[4].result)
      assert.equal(10, r.items[3].result.shots)
    end)
  end

  it("are fetched in chunks for the futures of a batch", function()
    open()
    local manager <close> = arvak.batch_manager(client)
    local options = { on_unknown = "resubmit" }   -- the first result may end the stream before the second is answered
    for _, f in ipairs(manager:submit_many({ { wide, SHOTS }, { wide, SHOTS } }, "simulator", options)) do
      assert_whole(f:result(TEST_TIMEOUT))
    end
  end)
end)
