-- Circuits in the place of texts, in every method of a client: what is sent, and answers over the program's own bits.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local circuit = require "arvak.circuit"
local helper = require "spec.helper"

-- One qubit of three is 1, and is measured into the highest bit of the second register.
local function permuted()
  return circuit.new({ qubits = { { "q", 3 } }, bits = { { "a", 1 }, { "c", 3 } } }):x(0):measure(0, 3):measure(1, 0)
end
local KEY, RAW = "1000", "001"

local function assert_read(result, err)
  assert(result, tostring(err))
  assert.same({ [KEY] = result.shots }, result.counts)
  assert.same({ [RAW] = result.shots }, result.raw_counts)
end

describe("a circuit", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  before_each(function() open() end)
  after_each(close)

  it("is executed, and its counts are over the program's bits", function()
    assert_read(client:execute(permuted(), "simulator", 50))
    assert_read(client:execute(permuted(), "simulator", { shots = 7, poll_interval = 0.01 }))
  end)

  it("that is measured in its middle collapses there, as its author means it", function()
    local c = circuit.new { qubits = { { "q", 1 } }, bits = { { "c", 2 } } }
    c:h(0):measure(0, 0):h(0):measure(0, 1)
    local counts = assert(client:execute(c, "simulator", 4000)).counts
    for _, key in ipairs { "00", "01", "10", "11" } do
      assert.is_true(counts[key] > 800 and counts[key] < 1200, key)
    end
  end)

  it("may be read from a text of OpenQASM 2 that the service does not take", function()
    local c = assert(circuit.from_qasm [[
      OPENQASM 2.0; include "qelib1.inc";
      qreg q[2]; creg one[1]; creg two[1];
      u3(pi,0,pi) q[0]; measure q[0] -> one[0];
      if (one == 1) x q[1];
      measure q[1] -> two[0];
    ]])
    assert.same({ ["11"] = 20 }, assert(client:execute(c, "simulator", 20)).counts)
  end)

  it("without a measurement is counted over all qubits", function()
    local result = assert(client:execute(circuit.new(3):x(0), "simulator", 9))
    assert.same({ ["001"] = 9 }, result.counts)
  end)

  it("gives the same counts by every way to a job", function()
    local c = permuted()
    assert_read(client:submit_qasm_future(c, "simulator", 5):result())
    assert_read(client.async:execute(c, "simulator", 5):result())
    for i, f in ipairs(client:submit_batch_future({ c, { c, 3 }, { qasm = c, shots = 4 } }, "simulator", 6)) do
      local result = f:result()
      assert_read(result)
      assert.equal(({ 6, 3, 4 })[i], result.shots)
    end
    arvak.run(function() assert_read(client:execute(c, "simulator", 5)) end)
    local view <close> = arvak.resilient(client)
    assert_read(view:execute(c, "simulator", 5))
  end)

  it("gives ids, whose results are read with it and raw without", function()
    local c = permuted()
    local ids = assert(client:submit_batch({ c, { c, 8 }, { qasm = c, shots = 9 }, { helper.bell, 5 } }, "simulator"))
    ids[#ids + 1] = assert(client:submit_qasm(c, "simulator", 11))
    ids[#ids + 1] = assert(client.async:submit_qasm(c, "simulator", 11):result())
    for _, i in ipairs { 1, 2, 3, 5, 6 } do
      assert_read(client:wait_for_job(ids[i], { circuit = c }))
      assert_read(client:get_job_result(ids[i], { circuit = c }))
      assert_read(client.async:wait_for_job(ids[i], { circuit = c }):result())
      assert_read(client.async:get_job_result(ids[i], { circuit = c }):result())
      local raw = assert(client:get_job_result(ids[i]))
      assert.same({ [RAW] = raw.shots }, raw.counts)
      assert.is_nil(raw.raw_counts)
      for counts in client:stream_results(ids[i], { circuit = c }) do assert.same({ [KEY] = raw.shots }, counts) end
      for counts in client:stream_results(ids[i]) do assert.same({ [RAW] = raw.shots }, counts) end
    end
  end)

  it("may have one bitstring in several chunks, whose sum is the result's", function()
    local c = assert(circuit.from_qasm "OPENQASM 3.0; qubit[3] q; bit c; h q; c = measure q[0];")
    local id = assert(client:submit_qasm(c, "simulator", 800))
    local whole, sums, chunks = assert(client:wait_for_job(id, { circuit = c })), {}, 0
    for counts in client:stream_results(id, { circuit = c, chunk_size = 1 }) do
      chunks = chunks + 1
      for bits, count in pairs(counts) do sums[bits] = (sums[bits] or 0) + count end
    end
    assert.is_true(chunks > 2)
    assert.same(whole.counts, sums)
  end)

  it("goes over a batch stream, from a list and from an iterator", function()
    local c, i = permuted(), 0
    local function draw()
      i = i + 1
      return ({ c, { c, 3 }, { qasm = c, shots = 4 } })[i]
    end
    for _, source in ipairs { { c, { c, 3 }, { qasm = c, shots = 4 } }, draw } do
      local ends = 0
      for event, index, _, data in client:submit_batch_stream(source, "simulator") do
        if event == "completed" then
          ends = ends + 1
          assert_read(data)
          assert.equal(({ 1024, 3, 4 })[index], data.shots)
        end
      end
      assert.equal(3, ends)
    end
  end)

  it("is read the same when the batch stream breaks and its job is looked at", function()
    server:fault { rpc = "SubmitBatchStream", status = "UNAVAILABLE", when = "after", messages = 1, count = 1 }
    local seen
    local stream = client:submit_batch_stream({ permuted() }, "simulator")
    repeat
      local event, _, _, data = stream:next()
      if event == "completed" then seen = data end
    until not event
    assert_read(seen)
  end)

  it("is sent as it is at the call, whatever becomes of it", function()
    local c = permuted()
    local f = client:submit_qasm_future(c, "simulator", 5)
    local g = client.async:execute(c, "simulator", 5)
    local list = { c, { c, 3 } }
    local futures = client:submit_batch_future(list, "simulator")
    local h = client.async:submit_batch(list, "simulator")
    c:x(0):measure(0, 3)
    assert_read(f:result())
    assert_read(g:result())
    for _, future in ipairs(futures) do assert_read(future:result()) end
    for _, id in ipairs(h:result()) do assert.same(RAW, next(assert(client:wait_for_job(id)).counts)) end
    assert.same({ ["0000"] = 5 }, assert(client:execute(c, "simulator", 5)).counts)
  end)

  it("has the same counts at optimization level 1, where the service counts 20 qubits", function()
    local c = permuted():barrier()
    local result = assert(client:execute(c, "simulator", { shots = 5, optimization_level = 1 }))
    assert.same({ [KEY] = 5 }, result.counts)
    assert.same({ [("0"):rep(17) .. RAW] = 5 }, result.raw_counts)
    local id = assert(client:submit_qasm(c, "simulator", { shots = 5, optimization_level = 1 }))
    assert.same({ [KEY] = 5 }, assert(client:wait_for_job(id, { circuit = c, optimization_level = 1 })).counts)
  end)

  it("with gates on two qubits is refused from level 2 on, where the service permutes them", function()
    local c = circuit.new(2):h(0):cx(0, 1):measure_all()
    for level = 2, 5 do
      local result, err = client:execute(c, "simulator", { optimization_level = level })
      assert.is_nil(result)
      assert.equal("invalid_circuit", err.kind)
    end
    assert.same({ ["1"] = 4 }, assert(client:execute(circuit.new(1):x(0):measure_all(), "simulator",
      { shots = 4, optimization_level = 2 })).counts)
    assert.equal(1, server:stats().accepted)
  end)

  it("that is not bound, or cannot be lowered, is an error before anything is sent", function()
    local open_one = circuit.new(1):ry(circuit.parameter "theta", 0)
    local too_wide = circuit.new(25)
    for i = 0, 24 do too_wide:h(i) end
    for _, c in ipairs { open_one, too_wide } do
      local id = "00000000-0000-4000-8000-000000000000"
      for _, answer in ipairs {
        table.pack(client:execute(c, "simulator")), table.pack(client:submit_qasm(c, "simulator")),
        table.pack(client:submit_batch({ { helper.bell }, c }, "simulator")),
        table.pack(client:submit_qasm_future(c, "simulator"):result()),
        table.pack(client.async:submit_qasm(c, "simulator"):result()),
        table.pack(client.async:execute(c, "simulator"):result()), table.pack(client:check(c, "simulator")),
        c == open_one and table.pack(client:wait_for_job(id, { circuit = c })) or nil,
        c == open_one and table.pack(client:get_job_result(id, { circuit = c })) or nil,
      } do
        assert.is_nil(answer[1])
        assert.equal("invalid_circuit", answer[2].kind)
        assert.is_false(answer[2].maybe_executed)
      end
    end
    assert.equal(0, server:stats().accepted)
    assert.equal(0, server:stats().calls.GetJobStatus)
    local _, err = client:submit_batch({ { helper.bell }, open_one }, "simulator")
    assert.matches("^circuits%[2%]: .*theta", err.message)
  end)

  it("that is not bound is the failure of its own place in a batch stream", function()
    local events = {}
    local list = { permuted(), circuit.new(1):ry(circuit.parameter "theta", 0), permuted() }
    for event, index, _, data in client:submit_batch_stream(list, "simulator") do
      if event ~= "submitted" then events[index] = event == "error" and data.kind or event end
    end
    assert.same({ "completed", "invalid_circuit", "completed" }, events)
  end)

  it("that is bound runs", function()
    local c = circuit.new(1):ry(circuit.parameter "theta", 0):measure_all()
    assert.same({ ["1"] = 6 }, assert(client:execute(c:bind { theta = math.pi }, "simulator", 6)).counts)
  end)

  it("whose answer is another's is refused and not guessed", function()
    local id = assert(client:submit_qasm(helper.bell, "simulator", 5))
    local result, err = client:wait_for_job(id, { circuit = permuted() })
    assert.is_nil(result)
    assert.matches("^the answer does not fit the circuit", err.message)
    assert.equal(id, err.job_id)
    for _, method in ipairs { "get_job_result", "wait_for_job" } do
      assert.is_nil((client[method](client, id, { circuit = permuted() })))
    end
    local stream = client:stream_results(id, { circuit = permuted() })
    assert.is_nil((stream:next()))
  end)

  it("in a wrong place is a mistake that is named", function()
    local c = permuted()
    assert.error_matches(function() client:submit_batch(c, "simulator") end, "circuits: got a circuit, expected a list")
    assert.error_matches(function() client:submit_batch_stream(c, "simulator") end, "expected a list")
    assert.error_matches(function() client:execute(c, 5) end, "backend_id")
    assert.error_matches(function() client:execute(c, "simulator", "many") end, "expected a number of shots")
    assert.error_matches(function() client:wait_for_job("id", { circuit = "text" }) end, "circuit: got \"text\"")
    assert.error_matches(function() client:wait_for_job("id", { circuit = c, optimization_level = -1 }) end,
      "optimization_level: got %-1")
    assert.error_matches(function() client:get_job_result("id", { optimization_level = 1 }) end,
      "optimization_level: expected a circuit beside it")
    assert.error_matches(function() client:stream_results("id", { backend_id = "x" }) end,
      "expected a circuit beside it")
  end)

  it("of very many operations runs with a warning", function()
    local c, warnings = circuit.new(1), {}
    for _ = 1, 50001 do c:x(0) end
    local own = _G.warn
    _G.warn = function(text) warnings[#warnings + 1] = text end
    local result = client:execute(c:measure_all(), "simulator", 2)
    _G.warn = own
    assert.is_nil(result)   -- the dev server refuses it, as servers at their defaults do
    assert.equal(1, #warnings)
    assert.matches("a circuit has 5000%d operations; servers at their defaults refuse more than 50000", warnings[1])
  end)
end)

describe("client:check", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  before_each(function() open() end)
  after_each(close)

  it("is true for what the backend takes, after one GetBackendInfo", function()
    assert.is_true(client:check(permuted(), "simulator", 1000))
    assert.is_true(client:check(permuted(), "simulator"))
    assert.is_true(client:check(helper.bell, "simulator", { shots = 100000 }))
    assert.is_true(client.async:check(permuted(), "simulator", 1000):result())
    local calls = server:stats().calls
    assert.equal(4, calls.GetBackendInfo)
    assert.equal(0, calls.SubmitJob)
  end)

  it("names every limit that is broken", function()
    local wide = circuit.new(21)
    for i = 0, 20 do wide:h(i) end
    for _ = 1, 50000 do wide:x(0) end
    local ok, err = client:check(wide:measure_all(), "simulator", 100001)
    assert.is_nil(ok)
    assert.equal("invalid_circuit", err.kind)
    local broken = {}
    for _, problem in ipairs(err.problems) do broken[problem.limit] = { problem.got, problem.most } end
    assert.same({ 21, 20 }, broken.qubits)
    assert.same({ 100001, 100000 }, broken.shots)
    assert.equal(50000, broken.gates[2])
    assert.is_true(broken.gates[1] > 50000)
    assert.equal(3, #err.problems)
  end)

  it("looks at the shots of a text, and does not read it", function()
    local ok, err = client:check("nonsense", "simulator", 200000)
    assert.is_nil(ok)
    assert.same({ { limit = "shots", got = 200000, most = 100000 } }, err.problems)
  end)

  it("gives the error of a backend that does not exist", function()
    local ok, err = client:check(permuted(), "nowhere")
    assert.is_nil(ok)
    assert.equal("backend_not_found", err.kind)
  end)
end)

describe("require \"arvak\"", function()
  it("does not load circuits", function()
    local pipe <close> = io.popen(([[%s -e 'require "arvak"; local n = 0
      for name in pairs(package.loaded) do if name:find "circuit" then n = n + 1 end end
      local before = collectgarbage "count"; local c = require("arvak").circuit
      print(n, c.new ~= nil, collectgarbage "count" > before + 20)' 2>&1]]):format(os.getenv "LUA" or "lua5.4"))
    assert.equal("0\ttrue\ttrue\n", helper.without_log(pipe:read "a"))
  end)
end)
