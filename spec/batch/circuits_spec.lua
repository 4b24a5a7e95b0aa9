-- Circuits in batches: over every transport, from lists and iterators, with limits looked at before, and with a journal
-- that keeps how each answer is read.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local circuit = require "arvak.circuit"
local helper = require "spec.helper"

local LUA = os.getenv "LUA" or "lua5.4"

-- Qubit `one` of three is 1, and qubit i is measured into bit 2 - i.
local function reversed(one)
  return circuit.new({ qubits = { { "q", 3 } }, bits = { { "c", 3 } } }):x(one)
    :measure(0, 2):measure(1, 1):measure(2, 0)
end
local keys, raws = { [0] = "100", "010", "001" }, { [0] = "001", "010", "100" }

local function assert_read(result, one)
  assert.same({ [keys[one]] = result.shots }, result.counts)
  assert.same({ [raws[one]] = result.shots }, result.raw_counts)
  assert.same({ { name = "c", size = 3 } }, result.registers)
end

describe("a batch of circuits", function()
  local server, client
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  before_each(function() open() end)
  after_each(close)

  -- As an entry may be written.
  local function entries_of(n)
    local list = {}
    for i = 1, n do
      local c = reversed(i % 3)
      list[i] = ({ c, { c, i }, { qasm = c, shots = i, id = "no. " .. i },
        setmetatable({}, { __index = { qasm = c, shots = i } }) })[i % 4 + 1]
    end
    return list
  end

  local function assert_all_read(r, n)
    batches.assert_whole(r, n)
    for i, result, err in r:each() do
      assert(result, tostring(err))
      assert_read(result, i % 3)
      assert.equal(i % 4 == 0 and 1024 or i, result.shots)
    end
  end

  for _, transport in ipairs { "stream", "unary", "auto" } do
    it("is read over the program's bits, over the transport " .. transport, function()
      local manager <close> = arvak.batch_manager(client)
      assert_all_read(manager:execute_batch(entries_of(40), "simulator", { transport = transport }), 40)
      local list, i = entries_of(40), 0
      local r = manager:execute_batch(function()
        i = i + 1
        return list[i]
      end, "simulator", { transport = transport })
      assert_all_read(r, 40)
    end)

    it("gives job futures that are read, over the transport " .. transport, function()
      local manager <close> = arvak.batch_manager(client)
      for i, f in ipairs(manager:submit_many(entries_of(12), "simulator", { transport = transport })) do
        assert_read(f:result(), i % 3)
      end
    end)
  end

  it("may hold texts, too, whose results stay what the service says", function()
    local manager <close> = arvak.batch_manager(client)
    local r = manager:execute_batch({ reversed(0), { helper.bell, 10 } }, "simulator")
    assert_read(r.results[1], 0)
    assert.is_nil(r.results[2].raw_counts)
    assert.is_nil(r.results[2].registers)
  end)

  it("sends circuits as they are at the call, or when they are drawn", function()
    local manager <close> = arvak.batch_manager(client, { max_workers = 1 })
    local c = reversed(0)
    local futures = manager:submit_many({ c, c, c }, "simulator")
    c:x(0):measure(0, 2)
    for _, f in ipairs(futures) do assert_read(f:result(), 0) end
    local list = { reversed(1), reversed(1) }
    local r = manager:execute_batch(list, "simulator", { on_result = function() list[2]:x(1):measure(1, 1) end })
    for _, result in ipairs(r.results) do assert_read(result, 1) end
  end)

  it("has what cannot be lowered as the failure of its own place", function()
    local manager <close> = arvak.batch_manager(client)
    local open_one = circuit.new(1):ry(circuit.parameter "theta", 0)
    local entangled = circuit.new(2):h(0):cx(0, 1):measure_all()
    local list = { reversed(0), open_one, { qasm = entangled, optimization_level = 3 }, reversed(2) }
    local r = manager:execute_batch(list, "simulator")
    batches.assert_whole(r, 4)
    assert.same({ invalid_circuit = 2 }, batches.kinds(r))
    assert.matches("theta", r.items[2].err.message)
    assert.is_nil(r.items[2].job_id)
    assert_read(r.items[1].result, 0)
    assert_read(r.items[4].result, 2)
    assert.equal(2, server:stats().accepted)
  end)

  it("is run again where it failed, and read all the same", function()
    local manager <close> = arvak.batch_manager(client)
    server:fault { rpc = "SubmitJob", status = "INVALID_ARGUMENT", count = 2 }
    local c = reversed(0)
    local r = manager:execute_batch({ c, { c, 3 }, reversed(1) }, "simulator", { transport = "unary" })
    assert.equal(2, r.failure_count)
    c:x(0)
    r = r:retry_failed()
    assert.is_true(r.ok)
    for i, result in ipairs(r.results) do assert_read(result, ({ 0, 0, 1 })[i]) end
  end)

  it("may name a backend for each, and is no batch when it is a circuit and no list", function()
    local manager <close> = arvak.batch_manager(client)
    local r = manager:execute_batch({ { qasm = reversed(0), backend_id = "simulator" } })
    assert_read(r.results[1], 0)
    assert.error_matches(function() manager:execute_batch(reversed(0), "simulator") end,
      "circuits: got a circuit, expected a list")
  end)

  describe("with check", function()
    for _, transport in ipairs { "stream", "unary" } do
      it("looks at the limits of each backend once, and sends nothing that breaks them: " .. transport, function()
        local manager <close> = arvak.batch_manager(client)
        local wide = circuit.new(21)
        for i = 0, 20 do wide:h(i) end
        local list = { reversed(0), { reversed(1), 100001 }, wide, { helper.bell, 200000 }, { helper.bell, 10 },
          { qasm = reversed(0), backend_id = "nowhere" } }
        local r = manager:execute_batch(list, "simulator", { transport = transport, check = true })
        batches.assert_whole(r, #list)
        assert.same({ invalid_circuit = 3, backend_not_found = 1 }, batches.kinds(r))
        assert.same({ { limit = "shots", got = 100001, most = 100000 } }, r.items[2].err.problems)
        assert.same({ { limit = "qubits", got = 21, most = 20 } }, r.items[3].err.problems)
        assert.equal("shots", r.items[4].err.problems[1].limit)
        assert.equal(2, server:stats().calls.GetBackendInfo)
        assert.equal(2, server:stats().accepted)
      end)
    end

    it("asks again when the backend could not be asked, and then fails those that waited", function()
      local manager <close> = arvak.batch_manager(client, { max_workers = 1 })
      server:fault { rpc = "GetBackendInfo", status = "UNAVAILABLE", count = 1 }
      local r = manager:execute_batch({ reversed(0), reversed(1) }, "simulator", { check = true })
      assert.equal("unavailable", r.items[1].err.kind)
      assert_read(r.items[2].result, 1)
    end)

    it("stops with its batch while it waits for a backend", function()
      local manager <close> = arvak.batch_manager(client)
      server:fault { rpc = "GetBackendInfo", hang = true }
      local r, err = manager:execute_batch({ reversed(0) }, "simulator", { check = true, timeout = 0.2 })
      assert.equal("timeout", err.kind)
      assert.equal("timeout", r.items[1].err.kind)
      assert.equal(0, server:stats().accepted)
      server:clear_faults()
    end)
  end)
end)

describe("a journal with circuits", function()
  local server, client, path
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

  before_each(function()
    open()
    path = os.tmpname()
    os.remove(path)
  end)
  after_each(function()
    close()
    for _, ending in ipairs { "", "-wal", "-shm" } do os.remove(path .. ending) end
  end)

  local function sqlite(sql)
    local pipe <close> = io.popen(("sqlite3 '%s' \"%s\" 2>&1"):format(path, sql))
    return pipe:read "a"
  end

  local function execute(circuits, options)
    local manager <close> = arvak.batch_manager(client, { max_workers = 4 })
    local all = { journal = path }
    for name, value in pairs(options or {}) do all[name] = value end
    return manager:execute_batch(circuits, "simulator", all)
  end

  local function list_of(n)
    local list = {}
    for i = 1, n do list[i] = { reversed(i % 3), i } end
    return list
  end

  it("keeps the counts over the program's bits, those of the service, and the way from one to the other", function()
    assert.is_true(execute(list_of(3)).ok)
    local journal <close> = arvak.journal(path)
    for item in journal:items("completed") do
      assert_read(item.result, item.index % 3)
      assert.is_nil(item.way)
    end
    assert.equal('{"010":1}|{"010":1}\n{"001":2}|{"100":2}\n{"100":3}|{"001":3}\n',
      sqlite "SELECT counts, raw_counts FROM arvak_item ORDER BY slot")
    assert.equal("3\n", sqlite "SELECT COUNT(*) FROM arvak_item WHERE json_extract(reading, '$.version') = 1")
  end)

  it("is continued: nothing runs again, and what had ended is what it was", function()
    assert.is_true(execute(list_of(6)).ok)
    local r = execute(list_of(6))
    assert.is_true(r.ok)
    for i, result in ipairs(r.results) do assert_read(result, i % 3) end
    assert.equal(6, server:stats().accepted)
  end)

  it("knows a circuit by what it is, not by how it came about", function()
    assert.is_true(execute({ { reversed(0), 5 } }).ok)
    local same = assert(circuit.from_qasm
      "OPENQASM 3.0; qubit[3] q; bit[3] c; x q[0]; c[2] = measure q[0]; c[1] = measure q[1]; c[0] = measure q[2];")
    assert.is_true(execute({ { same, 5 } }).ok)
    assert.equal(1, server:stats().accepted)
    for _, other in ipairs { { { reversed(1), 5 } }, { { reversed(0), 6 } }, { { reversed(0):lowered().qasm, 5 } } } do
      local r, err = execute(other)
      assert.is_nil(r)
      assert.matches("belongs to another batch", err.message)
    end
  end)

  it("reads a job that it finds again as it was to be read then", function()
    assert.is_true(execute(list_of(2)).ok)
    -- As after a crash: the jobs are known, their ends are not. The first is to be read another way than one would now.
    sqlite [[UPDATE arvak_item SET state = 'submitted', counts = NULL, raw_counts = NULL, shots = NULL]]
    sqlite [[UPDATE arvak_item SET reading = json_set(reading, '$.bits', json('[0,0,1]')) WHERE slot = 1]]
    local r = execute(list_of(2))
    assert.is_true(r.ok)
    assert.same({ ["100"] = 1 }, r.results[1].counts)
    assert_read(r.results[2], 2)
    assert.equal(2, server:stats().accepted)
  end)

  it("whose way of reading is lost, or is a later library's, fails there and guesses nothing", function()
    assert.is_true(execute(list_of(3)).ok)
    sqlite [[UPDATE arvak_item SET state = 'submitted', counts = NULL, raw_counts = NULL, shots = NULL]]
    sqlite [[UPDATE arvak_item SET reading = 'garbage' WHERE slot = 1]]
    sqlite [[UPDATE arvak_item SET reading = json_set(reading, '$.version', 99) WHERE slot = 2]]
    local r = execute(list_of(3))
    batches.assert_whole(r, 3)
    assert.equal(2, r.failure_count)
    assert.matches("how its answer is read cannot be read", r.items[1].err.message)
    assert.matches("another release", r.items[2].err.message)
    assert_read(r.items[3].result, 0)
    assert.equal(3, server:stats().accepted)
  end)

  it("is read after a kill: every circuit ends once, over its own bits", function()
    server:fault { job_latency = 0.05 }
    local script = os.tmpname()
    local file <close> = io.open(script, "w")
    file:write(([[
      local arvak, circuit = require "arvak", require "arvak.circuit"
      local client <close> = arvak.connect "%s"
      local manager <close> = arvak.batch_manager(client, { max_workers = 4 })
      local list = {}
      for i = 1, 60 do
        list[i] = { circuit.new({ qubits = { { "q", 3 } }, bits = { { "c", 3 } } }):x(i %% 3)
          :measure(0, 2):measure(1, 1):measure(2, 0), i }
      end
      manager:execute_batch(list, "simulator", { journal = "%s" })
    ]]):format(server.address, path))
    file:close()
    local pipe <close> = io.popen(("exec 2>/dev/null; %s '%s' >/dev/null 2>&1 & echo $!; wait $!"):format(LUA, script))
    local pid = pipe:read "n"
    helper.eventually(function() return server:stats().accepted >= 10 end)
    os.execute(("kill -KILL %d"):format(pid))
    pipe:read "a"
    os.remove(script)
    local before = server:stats().accepted
    assert.is_true(before < 60)
    local r = execute(list_of(60), { on_unknown = "resubmit" })
    batches.assert_whole(r, 60)
    for i, result, err in r:each() do
      assert(result, tostring(err))
      assert_read(result, i % 3)
      assert.equal(i, result.shots)
    end
  end)
end)
