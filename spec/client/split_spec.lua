-- submit_batch with split: as many RPCs as the number of the circuits and their bytes want.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- A circuit of about so many bytes.
local function long(bytes) return "OPENQASM 3.0; qubit q; x q; //" .. ("x"):rep(bytes) end

local function calls(name) return server:stats().calls[name] end

describe("submit_batch with split", function()
  after_each(close)

  it("sends as many circuits in one message as fit into it", function()
    open(nil, { timeout = TEST_TIMEOUT })
    local circuits = {}
    for i = 1, 60 do circuits[i] = { long(400 * 1024), 10 } end
    local ids = assert(client:submit_batch(circuits, "simulator", { split = true }))
    assert.equal(60, #ids)
    assert.equal(2, calls "SubmitBatch")
    assert.equal(60, server:stats().accepted)
  end)

  it("sends no message over the limit, at whichever edge the circuits lie", function()
    open(nil, { timeout = TEST_TIMEOUT })
    local most = 16 * 1024 * 1024
    for _, sizes in ipairs {
      { most - 5000, 10 }, { 10, most - 5000 }, { most // 2, most // 2 }, { most // 2 - 2500, most // 2 - 2500, 100 },
      { most // 2 + 1000, most // 2 + 1000, 10 },
    } do
      local circuits = {}
      for i, size in ipairs(sizes) do circuits[i] = { long(size), 4294967295 } end
      local ids, err = client:submit_batch(circuits, "simulator", { split = true })
      assert.is_nil(err)
      assert.equal(#sizes, #ids)
    end
  end)

  it("sends nothing when a circuit fits into no message, and says which", function()
    open()
    for _, count in ipairs { 1, 3, 60 } do
      local circuits = {}
      for i = 1, count do circuits[i] = { bell, 10 } end
      circuits[count] = { long(17 * 1024 * 1024), 10 }
      local ids, err = client:submit_batch(circuits, "simulator", { split = true })
      assert.is_nil(ids)
      assert.equal("invalid_circuit", err.kind)
      assert.matches(("circuits%%[%d%%]: the circuit has %%d+ bytes"):format(count), err.message)
      assert.is_false(err.maybe_executed)
    end
    assert.equal(0, calls "SubmitBatch")
  end)

  it("tells the ids of the parts that were taken when one fails", function()
    open(nil, { timeout = TEST_TIMEOUT })
    server:fault { rpc = "SubmitBatch", status = "PERMISSION_DENIED", after = 1 }
    local circuits = {}
    for i = 1, 60 do circuits[i] = { bell, 10 } end
    local ids, err = client:submit_batch(circuits, "simulator", { split = true })
    assert.is_nil(ids)
    assert.is_table(err.job_ids)
    assert.equal(server:stats().accepted, #err.job_ids)
  end)

  it("sends what fits into one message as one, and an empty list too", function()
    open()
    assert.equal(2, #client:submit_batch({ { bell }, { bell } }, "simulator", { split = true }))
    assert.equal(0, #client:submit_batch({}, "simulator", { split = true }))
    assert.equal(2, calls "SubmitBatch")
  end)
end)

describe("a circuit that fits into no message", function()
  after_each(close)

  it("has the same kind by every transport of a batch, and the others run", function()
    open(nil, { timeout = TEST_TIMEOUT })
    local circuits = { { bell, 10 }, { long(17 * 1024 * 1024), 10 }, { bell, 10 } }
    local manager <close> = arvak.batch_manager(client)
    for _, transport in ipairs { "auto", "stream", "unary" } do
      local r = manager:execute_batch(circuits, "simulator", { transport = transport })
      assert.equal(2, r.success_count)
      assert.equal("invalid_circuit", r.items[2].err.kind)
      assert.matches("the circuit has %d+ bytes, the service takes %d+", r.items[2].err.message)
      assert.is_false(r.items[2].err.maybe_executed)
    end
  end)

  it("is the error of its own place in a batch stream", function()
    open(nil, { timeout = TEST_TIMEOUT })
    local events = {}
    for event, i, _, data in client:submit_batch_stream(
      { { bell, 10 }, { long(17 * 1024 * 1024), 10 }, { bell, 10 } }, "simulator") do
      if event ~= "submitted" then events[i] = event == "error" and data.kind or event end
    end
    assert.same({ "completed", "invalid_circuit", "completed" }, events)
  end)
end)
