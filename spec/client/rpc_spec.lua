-- The seven unary RPCs, each outside a task, inside one and as a future, on the real server.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-4%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"

-- What the same call gives in each of the three manners.
local manners = {
  ["outside a task"] = function(client, name, ...) return client[name](client, ...) end,
  ["inside a task"] = function(client, name, ...) return arvak.run(client[name], client, ...) end,
  ["as a future"] = function(client, name, ...) return client.async[name](client.async, ...):result(TEST_TIMEOUT) end,
}

for manner, call in pairs(manners) do
  describe(manner, function()
    local server, client

    before_each(function()
      server = helper.start()
      client = arvak.connect(server.address)
    end)

    after_each(function()
      client:close()
      server:stop()
      client = nil
      helper.assert_clean()
    end)

    local function completed_job(shots)
      local job_id = assert(client:submit_qasm(bell, "simulator", shots))
      assert(client:wait_for_job(job_id))
      return job_id
    end

    it("submit_qasm gives the new job's id and asks for 1024 shots by default", function()
      local job_id = assert(call(client, "submit_qasm", bell, "simulator"))
      assert.matches(UUID, job_id)
      assert.equal(1024, client:get_job_status(job_id).shots)
      assert.equal(1, server:stats().calls.SubmitJob)
    end)

    it("submit_qasm takes shots as a number or among the options", function()
      local first = assert(call(client, "submit_qasm", bell, "simulator", 7))
      local second = assert(call(client, "submit_qasm", bell, "simulator", { shots = 8 }))
      local none = assert(call(client, "submit_qasm", bell, "simulator", 0))
      assert.equal(7, client:get_job_status(first).shots)
      assert.equal(8, client:get_job_status(second).shots)
      assert.equal(0, client:get_job_status(none).shots)
    end)

    it("submit_qasm sends the optimization level, which widens the keys", function()
      local job_id = assert(call(client, "submit_qasm", "OPENQASM 3.0; qubit q; x q;", "simulator",
        { shots = 5, optimization_level = 1 }))
      assert.same({ ["00000000000000000001"] = 5 }, client:wait_for_job(job_id).counts)
    end)

    it("submit_batch gives the ids in the order of the circuits", function()
      local job_ids = assert(call(client, "submit_batch", {
        { bell, 3 }, { qasm = bell, shots = 4, optimization_level = 0 }, { bell }, { qasm = bell },
      }, "simulator"))
      local shots = {}
      for i, job_id in ipairs(job_ids) do shots[i] = client:get_job_status(job_id).shots end
      assert.same({ 3, 4, 1024, 1024 }, shots)
      assert.equal(1, server:stats().calls.SubmitBatch)
    end)

    it("submit_batch of nothing gives an empty list", function()
      assert.same({}, call(client, "submit_batch", {}, "simulator"))
    end)

    it("submit_batch with split sends at most 50 circuits at a time, and keeps the order", function()
      local circuits = {}
      for i = 1, 101 do circuits[i] = { bell, i } end
      local job_ids = assert(call(client, "submit_batch", circuits, "simulator", { split = true }))
      assert.equal(101, #job_ids)
      for _, i in ipairs { 1, 50, 51, 100, 101 } do assert.equal(i, client:get_job_status(job_ids[i]).shots) end
      assert.equal(3, server:stats().calls.SubmitBatch)
    end)

    it("submit_batch with split that fails half way says which jobs there are", function()
      server:fault { rpc = "SubmitBatch", status = "UNAVAILABLE", after = 1 }
      local circuits = {}
      for i = 1, 60 do circuits[i] = { bell, i } end
      local job_ids, err = call(client, "submit_batch", circuits, "simulator", { split = true })
      assert.is_nil(job_ids)
      assert.equal("unavailable", err.kind)
      assert.equal(50, #err.job_ids)
      assert.equal(50, client:get_job_status(err.job_ids[50]).shots)
    end)

    it("get_job_status gives the job", function()
      local job_id = completed_job(10)
      local job = assert(call(client, "get_job_status", job_id))
      assert.equal("job", arvak.type(job))
      assert.equal(job_id, job.job_id)
      assert.equal("COMPLETED", job.state)
      assert.equal("simulator", job.backend_id)
    end)

    it("get_job_result gives the counts", function()
      local job_id = completed_job(100)
      local result = assert(call(client, "get_job_result", job_id))
      assert.equal("result", arvak.type(result))
      assert.equal(job_id, result.job_id)
      assert.equal(100, result.shots)
      assert.equal(100, result.counts["00"] + result.counts["11"])
    end)

    it("cancel_job gives true, and the job is canceled", function()
      server:fault { job = "hang" }
      local job_id = assert(client:submit_qasm(bell, "simulator"))
      assert.is_true(call(client, "cancel_job", job_id))
      assert.equal("CANCELED", client:get_job_status(job_id).state)
    end)

    it("cancel_job of a job that has ended gives nil and not_cancelable", function()
      local job_id = completed_job(1)
      local value, err = call(client, "cancel_job", job_id)
      assert.is_nil(value)
      assert.equal("not_cancelable", err.kind)
      assert.equal("CancelJob", err.rpc)
      assert.equal(job_id, err.job_id)
      assert.matches("Job already in terminal state: Completed", err.message)
    end)

    it("list_backends gives the list of backends", function()
      local backends = assert(call(client, "list_backends"))
      assert.equal(1, #backends)
      assert.equal("backend", arvak.type(backends[1]))
      assert.equal("simulator", backends[1].backend_id)
    end)

    it("get_backend_info gives one backend", function()
      local backend = assert(call(client, "get_backend_info", "simulator"))
      assert.equal("simulator", backend.name)
      assert.equal(20, backend.max_qubits)
      assert.equal(100000, backend.max_shots)
    end)

    it("submit_circuit_json gives nil and invalid_circuit, without an RPC", function()
      local value, err = call(client, "submit_circuit_json", "{}", "simulator", 100)
      assert.is_nil(value)
      assert.equal("invalid_circuit", err.kind)
      assert.equal(0, err.attempts)
      assert.equal(0, client:stats().calls)
    end)

    it("execute submits, waits and fetches in one", function()
      local result = assert(call(client, "execute", bell, "simulator", 50))
      assert.equal(50, result.counts["00"] + result.counts["11"])
      result = assert(call(client, "execute", bell, "simulator", { shots = 50, max_wait = TEST_TIMEOUT }))
      assert.equal(50, result.shots)
      assert.equal(1024, assert(call(client, "execute", bell, "simulator")).shots)
    end)

    it("wait_for_job gives the result of a job known by its id alone", function()
      local job_id = assert(client:submit_qasm(bell, "simulator", 20))
      assert.equal(20, assert(call(client, "wait_for_job", job_id)).shots)
    end)

    it("wait_for_ready gives true once there is a connection", function()
      assert.is_true(call(client, "wait_for_ready", TEST_TIMEOUT))
      assert.equal(1, client:stats().connections.ready)
      assert.equal(1, server:stats().connections_open)
    end)
  end)
end

describe("client:stats", function()
  after_each(helper.assert_clean)

  it("counts calls, attempts, failures and bytes, and shows the connections", function()
    local server <close> = helper.start()
    local client <close> = arvak.connect(server.address)
    assert.same({ calls = 0, attempts = 0, failures = 0, in_flight = 0, queued = 0, bytes_sent = 0, bytes_received = 0,
      connections = { open = 0, ready = 0, connecting = 0, failing = 0, idle = 0 }, in_flight_limit = 128,
      retries = {}, latency = {} }, client:stats())
    assert(client:execute(bell, "simulator", 10))
    client:get_job_status("no such job")
    local stats = client:stats()
    local calls = server:stats().calls
    assert.equal(calls.SubmitJob + calls.GetJobStatus + calls.GetJobResult, stats.calls)
    assert.equal(stats.calls, stats.attempts)
    assert.equal(1, stats.failures)
    assert.is_true(stats.bytes_sent > #bell)
    assert.is_true(stats.bytes_received > 36)
    assert.same({ open = 1, ready = 1, connecting = 0, failing = 0, idle = 0 }, stats.connections)
  end)

  it("counts the bytes of streams, which are no calls", function()
    local server <close> = helper.start()
    local client <close> = arvak.connect(server.address)
    local states, before = 0, client:stats()
    for kind in client:submit_batch_stream({ { bell, 1 } }, "simulator") do states = states + #kind end
    local after = client:stats()
    assert.is_true(states > 0 and after.bytes_sent > #bell and after.bytes_received > 2 * 36)
    assert.same({ before.calls, before.attempts }, { after.calls, after.attempts })
  end)
end)

describe("distributions over the wire", function()
  after_each(helper.assert_clean)

  -- Of chi-squared, p = 0.001, by degrees of freedom.
  local QUANTILE = { 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32 }
  local SHOTS = 20000
  local c, s = math.cos(math.pi / 8) ^ 2, math.sin(math.pi / 8) ^ 2
  local circuits = {
    { "qubit q; h q;", { ["0"] = 1 / 2, ["1"] = 1 / 2 } },
    { "qubit q; ry(pi/4) q;", { ["0"] = c, ["1"] = s } },
    { "qubit[2] q; h q[0]; cx q[0], q[1];", { ["00"] = 1 / 2, ["11"] = 1 / 2 } },
    { "qubit[2] q; ry(pi/4) q[1];", { ["00"] = c, ["10"] = s } },
    { "qubit[3] q; h q[0]; h q[1]; h q[2];", { ["000"] = 1 / 8, ["001"] = 1 / 8, ["010"] = 1 / 8, ["011"] = 1 / 8,
      ["100"] = 1 / 8, ["101"] = 1 / 8, ["110"] = 1 / 8, ["111"] = 1 / 8 } },
    { "qubit[3] q; ry(2*pi/3) q[0]; cx q[0], q[2];", { ["000"] = 1 / 4, ["101"] = 3 / 4 } },
    { "qubit[2] q; h q[0]; cp(pi/2) q[0], q[1]; h q[0];", { ["00"] = 1 } },
  }

  for i, circuit in ipairs(circuits) do
    it(("follow the amplitudes (%d: %s)"):format(i, circuit[1]), function()
      local server <close> = helper.start { seed = 7 }
      local client <close> = arvak.connect(server.address)
      local result = assert(client:execute("OPENQASM 3.0; " .. circuit[1], "simulator", SHOTS))
      local statistic, freedom, seen = 0, -1, 0
      for bits, probability in pairs(circuit[2]) do
        local count, expected = result.counts[bits] or 0, SHOTS * probability
        statistic, freedom, seen = statistic + (count - expected) ^ 2 / expected, freedom + 1, seen + count
      end
      assert.equal(SHOTS, seen)
      if freedom > 0 then assert.is_true(statistic < QUANTILE[freedom], ("chi-squared %g"):format(statistic)) end
    end)
  end
end)
