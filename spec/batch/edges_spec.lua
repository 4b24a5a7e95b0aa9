-- Batches where the user, the client or the circuit does what nobody does: computes for long, closes the client under
-- the batch, names what cannot be sent.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local bell = helper.bell
local server, client, manager

local function open(options, client_options, workers)
  server = helper.start(options)
  client = arvak.connect(server.address, client_options)
  manager = arvak.batch_manager(client, { max_workers = workers })
end

local function compute(seconds)
  local since = os.clock()
  while os.clock() - since < seconds do end
end

-- An iterator over a list.
local function each(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

describe("a batch at the edges", function()
  after_each(function()
    manager:close()
    client:close()
    server:stop()
    manager, client, server = nil, nil, nil
    helper.assert_clean()
  end)

  it("does not take a stream for dead because on_result computed for longer than the client's timeout", function()
    open({ job_latency = 0.01 }, { timeout = 0.3 }, 16)
    local ends = 0
    local r, err = manager:execute_batch(batches.bells(64), "simulator", { transport = "stream", on_result = function()
      ends = ends + 1
      if ends == 3 or ends == 20 then compute(0.6) end
    end })
    assert.is_nil(err)
    batches.assert_whole(r, 64)
    assert.is_true(r.ok)
    assert.equal(64, server:stats().accepted)
  end)

  it("has time for its jobs when progress_callback takes longer than the pause between two reports", function()
    open({ job_latency = 0.02 }, nil, 8)
    local reports = 0
    local function on_progress()
      reports = reports + 1
      compute(0.15)
    end
    local r = manager:execute_batch(batches.bells(60), "simulator",
      { transport = "stream", progress_callback = on_progress })
    assert.is_true(r.ok)
    assert.is_true(reports <= 20, reports)
    reports = 0
    r = manager:wait_all(manager:submit_many(batches.bells(60), "simulator", { transport = "stream" }),
      { progress_callback = on_progress })
    assert.is_true(r.ok)
    assert.is_true(reports <= 20, reports)
  end)

  it("says of a stream whose server is silent that it may have executed what was written, one a stream", function()
    open(nil, { timeout = 0.3 }, 16)
    server:fault "rpc=SubmitBatchStream,hang=before"
    local r, err = manager:execute_batch(batches.bells(16), "simulator", { transport = "stream" })
    batches.assert_whole(r, 16)
    assert.equal("timeout", err.kind)
    local unknown = 0
    for _, item in ipairs(r.items) do if item.err.maybe_executed then unknown = unknown + 1 end end
    assert.equal(server:stats().calls.SubmitBatchStream, unknown)
    assert.is_true(r.items[1].err.maybe_executed)
  end)

  it("says that a client closed before the first answer may have submitted what was written", function()
    open(nil, { timeout = 5 }, 16)
    server:fault "rpc=SubmitBatchStream,latency=5"
    arvak.run(function()
      assert(client:list_backends())
      arvak.spawn(function()
        arvak.sleep(0.1)
        client:close()
      end)
      local r, err = manager:execute_batch(batches.bells(40), "simulator", { transport = "stream" })
      batches.assert_whole(r, 40)
      assert.equal("closed", err.kind)
      assert.same({ closed = 40 }, batches.kinds(r))
      local unknown = 0
      for _, item in ipairs(r.items) do if item.err.maybe_executed then unknown = unknown + 1 end end
      assert.equal(1, unknown)   -- the others wait until the stream has spoken
    end)
  end)

  it("ends submits that wait in the client's queue as timeouts, too", function()
    open(nil, { max_concurrent_rpcs = 2 }, 16)
    server:fault "rpc=SubmitJob,latency=0.3"
    local r = manager:execute_batch(batches.bells(64), "simulator", { transport = "unary", timeout = 0.2 })
    batches.assert_whole(r, 64)
    assert.same({ timeout = r.failure_count }, batches.kinds(r))
    for _, item in ipairs(r.items) do if item.err then assert.equal("batch", item.err.scope) end end
  end)

  for _, transport in ipairs { "stream", "unary" } do
    it("refuses backends whose names cannot be sent, before anything else suffers: " .. transport, function()
      open()
      for _, name in ipairs { "simulator\0", "\xff" } do
        local list = batches.bells(8)
        list[4] = { qasm = bell, backend_id = name }
        local ok, message = pcall(manager.execute_batch, manager, list, "simulator", { transport = transport })
        assert.is_false(ok)
        assert.matches("^spec/batch/edges_spec%.lua:%d+: circuits%[4%]%.backend_id: got .*without NUL bytes", message)
        local r = manager:execute_batch(each(list), "simulator", { transport = transport })
        batches.assert_whole(r, 8)
        assert.same({ invalid_circuit = 1 }, batches.kinds(r))
        assert.is_nil(r.items[4].result)
      end
      assert.equal(2 * 7, server:stats().accepted)
    end)

    it("keeps a circuit that no server takes away from the others: " .. transport, function()
      open()
      local list = batches.bells(20)
      list[10] = { qasm = bell .. "//" .. ("x"):rep(17 * 1024 * 1024), shots = 10 }
      local r = manager:execute_batch(list, "simulator", { transport = transport })
      batches.assert_whole(r, 20)
      assert.equal(1, r.failure_count)
      assert.is_false(r.items[10].err.maybe_executed)
      assert.equal(19, server:stats().accepted)
    end)
  end

  it("refuses a list beside whose entries there is something", function()
    open()
    for key, list in pairs {
      qasm = { qasm = bell, shots = 1 }, n = { { bell }, n = 2 }, ["1.5"] = { { bell }, [1.5] = { bell } },
      ["100"] = { { bell }, [100] = { bell } },
    } do
      local ok, message = pcall(manager.execute_batch, manager, list, "simulator")
      assert.is_false(ok)
      if key == "qasm" then key = "[qs][ah][so][mt]s?" end
      assert.matches("^spec/batch/edges_spec%.lua:%d+: circuits: got the key \"?" .. key .. "\"? in a list of", message)
    end
    assert.equal(0, server:stats().accepted)
    assert.is_true(manager:execute_batch(table.pack({ bell }, { bell }), "simulator").ok)
  end)
end)
