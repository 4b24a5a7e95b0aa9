-- Jobs, results and backends: what their fields and methods hold, and that large results are lazy.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell = helper.bell
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function result_of(body, shots)
  local result, err = client:execute("OPENQASM 3.0; " .. body, "simulator", shots)
  assert.is_nil(err)
  return result
end

local uniform = "qubit[12] q; h q;"   -- 4096 outcomes: a large result

describe("a job", function()
  before_each(function() open { job_latency = 60 } end)
  after_each(close)

  it("has times in Unix seconds, nil until they have come", function()
    local before = os.time()
    local job_id = assert(client:submit_qasm(bell, "simulator", 9))
    local job = assert(client:get_job_status(job_id))
    assert.equal("integer", math.type(job.submitted_at))
    assert.is_true(job.submitted_at >= before - 1 and job.submitted_at <= os.time() + 1)
    assert.is_nil(job.completed_at)
    assert.equal(9, job.shots)
    assert.is_nil(job.error_message)
    assert(client:cancel_job(job_id))
    job = assert(client:get_job_status(job_id))
    assert.is_true(job.completed_at >= job.submitted_at)
    assert.equal(("arvak.job %s (CANCELED)"):format(job_id), tostring(job))
  end)

  local expected = {   -- state → is_terminal, is_pending, is_success
    QUEUED = { false, true, false }, RUNNING = { false, true, false }, COMPLETED = { true, false, true },
    FAILED = { true, false, false }, CANCELED = { true, false, false }, RESULT_EXPIRED = { true, false, false },
  }
  for state, values in pairs(expected) do
    it(("knows whether it is terminal, pending or a success when it is %s"):format(state), function()
      local job_id = assert(client:submit_qasm(bell, "simulator"))
      assert.is_true(server:set_job_state(job_id, state))
      local job = assert(client:get_job_status(job_id))
      assert.equal(state, job.state)
      assert.same(values, { job:is_terminal(), job:is_pending(), job:is_success() })
      server:set_job_state(job_id, "CANCELED")
    end)
  end
end)

describe("a job that has failed", function()
  before_each(open)
  after_each(close)

  it("has the message of its failure", function()
    local job_id = assert(client:submit_qasm("OPENQASM 3.0; qubit q; rx(a) q;", "simulator"))
    assert.equal("job_failed", select(2, client:wait_for_job(job_id)).kind)
    assert.matches("unresolved symbolic parameter", client:get_job_status(job_id).error_message)
  end)
end)

describe("a result", function()
  before_each(open)
  after_each(close)

  it("counts bitstrings whose rightmost character is qubit 0", function()
    local result = result_of("qubit[3] q; x q[0];", 11)
    assert.same({ ["001"] = 11 }, result.counts)
    assert.equal(11, result.shots)
    assert.equal("integer", math.type(result.counts["001"]))
    assert.equal(("arvak.result %s (11 shots)"):format(result.job_id), tostring(result))
  end)

  it("has no counts for no shots, and probabilities of nothing", function()
    local result = result_of("qubit q;", 0)
    assert.same({}, result.counts)
    assert.same({}, result:probabilities())
    assert.is_nil(result:most_frequent())
    assert.is_nil((pairs(result))())
  end)

  it("gives its counts in ascending order to pairs, small or large", function()
    for body, size in pairs { ["qubit[3] q; h q;"] = 8, [uniform] = 4096 } do
      local result = result_of(body, 100000)
      local last, seen, total = "", 0, 0
      for bits, count in pairs(result) do
        assert.is_true(bits > last)
        last, seen, total = bits, seen + 1, total + count
      end
      assert.equal(size, seen)
      assert.equal(100000, total)
      local again = 0
      for bits, count in result:pairs() do
        assert.equal(result.counts[bits], count)
        again = again + 1
      end
      assert.equal(size, again)
    end
  end)

  it("computes probabilities that sum to 1", function()
    local probabilities, sum = result_of("qubit[3] q; h q;", 1000):probabilities(), 0
    for bits, probability in pairs(probabilities) do
      assert.equal(3, #bits)
      sum = sum + probability
    end
    assert.is_true(math.abs(sum - 1) < 1e-12)
  end)

  it("knows its most frequent bitstring and that one's probability", function()
    local bits, probability = result_of("qubit[2] q; x q[1];", 10):most_frequent()
    assert.equal("10", bits)
    assert.equal(1, probability)
  end)

  it("prefers the smallest of bitstrings counted equally often", function()
    local result = result_of("qubit q;", 1)
    result.counts = { ["11"] = 2, ["01"] = 2, ["10"] = 2, ["00"] = 1 }
    local bits, probability = result:most_frequent()
    assert.equal("01", bits)
    assert.is_true(math.abs(probability - 2 / 7) < 1e-12)
  end)

  it("has an execution time only when it is known, and not zero", function()
    assert.is_nil(result_of("qubit q;", 1).execution_time_ms)
    local result = result_of("qubit[18] q; h q; h q; h q;", 100000)
    assert.is_true(result.execution_time_ms == nil or result.execution_time_ms > 0)
  end)

  it("decodes its metadata: null is empty, numbers are whole where they can be, nulls are absent", function()
    local result = result_of("qubit q;", 1)
    assert.equal("null", result.metadata_json)
    assert.same({}, result:metadata())
    for text, value in pairs {
      ["{}"] = {}, [""] = {}, ['{"a":1,"b":null,"c":[1.5,2]}'] = { a = 1, c = { 1.5, 2 } }, ["[1,2]"] = { 1, 2 },
    } do
      result.metadata_json = text
      assert.same(value, result:metadata())
    end
    result.metadata_json = '{"a":12}'
    assert.equal("integer", math.type(result:metadata().a))
  end)

  it("gives nil and an error for metadata that is no object or no JSON", function()
    local result = result_of("qubit q;", 1)
    for _, text in ipairs { "5", '"text"', "true", "{", "nonsense" } do
      result.metadata_json = text
      local value, err = result:metadata()
      assert.is_nil(value)
      assert.is_true(arvak.is_error(err), text)
    end
  end)

  it("makes a plain table for serializers", function()
    for _, body in ipairs { "qubit[2] q; x q[0];", uniform } do
      local result = result_of(body, 10000)
      local plain = result:to_table()
      assert.is_nil(getmetatable(plain))
      assert.is_nil(getmetatable(plain.counts))
      assert.same({ result.job_id, 10000, "null" }, { plain.job_id, plain.shots, plain.metadata_json })
      assert.same(result.counts, plain.counts)
      assert.is_false(rawequal(result.counts, plain.counts))
    end
  end)
end)

describe("a large result", function()
  before_each(open)
  after_each(close)

  it("builds its counts on first access, and once", function()
    local result = result_of(uniform, 100000)
    assert.is_nil(rawget(result, "counts"))
    local counts = result.counts
    assert.equal(counts, result.counts)
    local total = 0
    for _, count in pairs(counts) do total = total + count end
    assert.equal(100000, total)
  end)

  it("is walked by pairs without building its counts", function()
    local result = result_of(uniform, 100000)
    local total = 0
    for _, count in result:pairs() do total = total + count end
    assert.equal(100000, total)
    assert.is_nil(rawget(result, "counts"))
  end)

  it("can be walked after the result itself was dropped, and by two walkers", function()
    local first = pairs(result_of(uniform, 100000))
    collectgarbage()
    collectgarbage()
    local result = result_of(uniform, 100000)
    local second, third = result:pairs(), result:pairs()
    local walked = 0
    for bits in first do
      walked = walked + 1
      assert.equal(bits, (second()))
      if walked % 2 == 0 then assert.is_truthy((third())) end
    end
    assert.equal(4096, walked)
    assert.is_nil((second()))
  end)

  it("may have 95,000 keys, in one answer of over two megabytes", function()
    local result = result_of("qubit[20] q; h q;", 100000)
    local keys, total = 0, 0
    for bits, count in result:pairs() do
      keys, total = keys + 1, total + count
      if keys == 1 then assert.equal(20, #bits) end
    end
    assert.is_true(keys > 90000)
    assert.equal(100000, total)
    assert.is_true(client:stats().bytes_received > 2000000)
  end)
end)

describe("a backend", function()
  before_each(open)
  after_each(close)

  it("has the service's data, and the topology decoded", function()
    local backend = assert(client:get_backend_info("simulator"))
    assert.is_true(backend.is_available)
    assert.equal("simulator (20 qubits)", backend.description)
    assert.equal("id", backend.supported_gates[1])
    assert.equal("cswap", backend.supported_gates[#backend.supported_gates])
    assert.equal("FullyConnected", backend.topology.kind)
    assert.equal(190, #backend.topology.edges)
    assert.same({ 0, 1 }, backend.topology.edges[1])
    assert.equal("integer", math.type(backend.topology.edges[1][2]))
    assert.equal(backend.topology, backend.topology)
    assert.equal("arvak.backend simulator (20 qubits)", tostring(backend))
  end)

  it("has no topology when that is no JSON", function()
    local backend = assert(client:get_backend_info("simulator"))
    backend.topology_json = "{"
    assert.is_nil(backend.topology)
  end)
end)

describe("arvak.type", function()
  it("names what is ours, and gives nil for the rest", function()
    open()
    local job_id = assert(client:submit_qasm(bell, "simulator", 1))
    local result = client:wait_for_job(job_id)
    local f = client.async:list_backends()
    f:wait()
    local _, err = client:get_job_status("j")
    local named = { client = client, future = f, job = client:get_job_status(job_id), result = result,
      backend = f:result()[1], error = err }
    for name, value in pairs(named) do assert.equal(name, arvak.type(value)) end
    for _, value in ipairs { 1, "client", {}, print, true, io.stdout, setmetatable({}, { __name = "arvak.client" }) } do
      assert.is_nil(arvak.type(value))
    end
    assert.is_nil(arvak.type(nil))
    named, f = nil, nil
    close()
    assert.is_nil(named or f)
  end)
end)
