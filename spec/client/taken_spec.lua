-- What C takes from Lua: tables and strings that change, or are collected, while the library reads them. A finalizer
-- can run at any allocation, and a metamethod or a function of the program's whenever it is called.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local KEY = "key-" .. ("k"):rep(60)
local server, client

local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

-- Takes the place of memory that was freed.
local function make_garbage()
  collectgarbage()
  local kept = {}
  for i = 1, 100 do kept[i] = ("B"):rep(55 + i % 50) .. i end
  collectgarbage()
  return kept
end

-- A circuit that makes its text and its shots when asked for them: width qubits, and a comment of length bytes. asked
-- counts the questions.
local function lazy_circuit(width, length, asked)
  return setmetatable({}, {
    __index = function(_, key)
      asked[key] = (asked[key] or 0) + 1
      if key == "shots" then
        make_garbage()
        return width
      end
      if key == "qasm" then return ("OPENQASM 3.0; qubit[%d] q; // "):format(width) .. ("s"):rep(length) end
    end,
  })
end

local function run_child(program, ...)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(program)
  file:close()
  local pipe = assert(io.popen(("LUA_CPATH_5_4='%s' timeout %d '%s' %s %s 2>&1"):format(package.cpath,
    6 * TEST_TIMEOUT, os.getenv("LUA") or "lua5.4", path, table.concat({ ... }, " "))))
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  os.remove(path)
  return output, how .. " " .. code
end

-- The program printed "done" and nothing else, and was not ended by a signal.
local function assert_done(program, ...)
  local output, ending = run_child(program, ...)
  assert.equal("done\n", output)
  assert.equal("exit 0", ending)
end

describe("a circuit whose text comes from a metamethod", function()
  before_each(function() open() end)
  after_each(close)

  local function assert_widths(ids)
    for i, id in ipairs(ids) do
      local result = assert(client:wait_for_job(id))
      assert.equal(i % 5 + 1, result.shots)
      assert.equal(("0"):rep(i % 5 + 1), (result:most_frequent()))
    end
  end

  it("is sent as it was, whatever is collected while the next ones are read", function()
    local asked, circuits = {}, {}
    for i = 1, 50 do circuits[i] = lazy_circuit(i % 5 + 1, 60 + i, asked) end
    assert_widths(assert(client:submit_batch(circuits, "simulator")))
    assert.same({ qasm = 50, shots = 50, optimization_level = 50 }, asked)
  end)

  it("is sent as it was by a future and by a task too", function()
    for _, submit in ipairs {
      function(circuits) return client.async:submit_batch(circuits, "simulator"):result() end,
      function(circuits) return arvak.run(client.submit_batch, client, circuits, "simulator") end,
    } do
      local circuits = {}
      for i = 1, 10 do circuits[i] = lazy_circuit(i % 5 + 1, 90, {}) end
      assert_widths(assert(submit(circuits)))
    end
  end)

  it("is sent with the list as it was when the call began", function()
    local circuits = {}
    for i = 1, 20 do circuits[i] = { "OPENQASM 3.0; qubit[" .. i % 5 + 1 .. "] q;", i % 5 + 1 } end
    circuits[1] = setmetatable({}, { __index = function(_, key)
      if key == "shots" then
        for i = 1, 60 do circuits[i] = i <= 10 and "nonsense" or nil end
        make_garbage()
        return 2
      end
      return key == "qasm" and "OPENQASM 3.0; qubit[2] q;" or nil
    end })
    assert_widths(assert(client:submit_batch(circuits, "simulator")))
  end)

  it("raises what the metamethod raises, and sends nothing", function()
    local accepted = server:stats().accepted
    local circuits = { { bell }, setmetatable({}, { __index = function() error("boom", 0) end }) }
    local ok, err = pcall(client.submit_batch, client, circuits, "simulator")
    assert.is_false(ok)
    assert.equal("boom", err)
    assert.equal(accepted, server:stats().accepted)
  end)

  it("ends as closed when the metamethod closes the client", function()
    local circuits = { setmetatable({ shots = 1 }, { __index = function(_, key)
      client:close()
      return key == "qasm" and bell or nil
    end }) }
    local ids, err = client:submit_batch(circuits, "simulator")
    assert.is_nil(ids)
    assert.equal("closed", err.kind)
  end)
end)

describe("options with metamethods", function()
  before_each(function() open() end)
  after_each(close)

  it("are read as plain tables: no metamethod is called", function()
    local calls = 0
    local function count() calls = calls + 1 end
    local meta = { __index = count, __pairs = count, __len = count, __call = count, __eq = count, __newindex = count }
    local function odd(fields) return setmetatable(fields or {}, meta) end
    assert(client:submit_qasm(bell, "simulator", odd { shots = 5, metadata = odd { ["x-a"] = "b" } }))
    local retry = odd { max_attempts = 2, codes = odd { "UNAVAILABLE" }, budget = odd() }
    assert(client:list_backends(odd { retry = retry }))
    local other <close> = arvak.connect(server.address, odd { limiter = odd { rate = 1e6 }, breaker = odd(),
      tls = false, channel_args = odd { ["grpc.x"] = 1 }, metadata = odd { ["x-c"] = "d" } })
    assert(other:list_backends())
    assert.equal(0, calls)
  end)
end)

describe("headers that a function changes", function()
  before_each(function()
    server = helper.start { api_key = KEY }
  end)
  after_each(close)

  -- Makes the string that the table holds garbage.
  local function forget(headers)
    headers["x-api-key"] = nil
    for i = 1, 50 do headers["x-" .. i] = "v" end
    make_garbage()
  end

  local function make_key() return KEY:sub(1, 30) .. KEY:sub(31) end

  it("are sent as they were when they were given", function()
    local headers
    client = arvak.connect(server.address, {
      metadata = function()
        headers = { ["x-api-key"] = make_key() }
        return headers
      end,
      api_key = function() forget(headers) end,
    })
    for _ = 1, 10 do
      assert(client:list_backends())
      local _, err = client:watch_job("none"):next()
      assert.not_equal("unauthenticated", err.kind)
    end
  end)

  it("are sent as they were when the call was made", function()
    local headers
    client = arvak.connect(server.address, { metadata = function() forget(headers) end })
    for _ = 1, 10 do
      headers = { ["x-api-key"] = make_key() }
      assert(client:list_backends { metadata = headers })
      headers = { ["x-api-key"] = make_key() }
      assert(client.async:list_backends({ metadata = headers }):result())
    end
  end)

  it("are those of the next attempt, even when the function ends its own call", function()
    server:fault { status = "UNAVAILABLE", message = "later", rpc = "ListBackends", count = 1 }
    local f, calls = nil, 0
    client = arvak.connect(server.address, {
      retry = { max_attempts = 3, initial_backoff = 0.001, jitter = false },
      api_key = function()
        calls = calls + 1
        if calls == 2 then   -- in the step of the loop, where this function must not wait but a task may
          local ended = client.async:submit_circuit_json("{}", "simulator")
          ended:add_done_callback(function() f:cancel() end)
          local settled, settle = arvak.future()
          settle(1)
          settled:add_done_callback(function() f:cancel() end)
          make_garbage()
        end
        return KEY
      end,
    })
    f = client.async:list_backends()
    local _, err = f:result(TEST_TIMEOUT)
    assert.equal("canceled", err.kind)
    assert.equal(2, calls)
  end)
end)

describe("a table that a finalizer changes while it is read", function()
  -- One step of the collector is a whole cycle here, so that the finalizer runs at the next allocation.
  local prelude = [[
    local arvak = require "arvak"
    collectgarbage("incremental", 100, 1000, 40)
    collectgarbage()
    local function at_the_next_allocation(fn)
      collectgarbage("stop")
      setmetatable({}, { __gc = fn })
      collectgarbage("restart")
    end
    local function fill(t, prefix) for i = 1, 300 do t[prefix .. i] = "AAAAAAAAAAAAAAAA" end end
    local client = arvak.connect("127.0.0.1:1", { timeout = 0.01 })
  ]]

  it("costs nothing when it is the headers of a call", function()
    assert_done(prelude .. [[
      for _ = 1, 3 do
        local headers = { ["x-one"] = "1" }
        local options = { metadata = headers }
        at_the_next_allocation(function() fill(headers, "x-h") end)
        local job, err = client:get_job_status("x", options)
        assert(job == nil and err.kind)
        headers = { ["x-one"] = "1" }
        at_the_next_allocation(function() fill(headers, "x-h") end)
        client.async:list_backends({ metadata = headers }):wait()
      end
      print "done"
    ]])
  end)

  it("costs nothing when it is the headers or the channel arguments of a client", function()
    assert_done(prelude .. [[
      for _ = 1, 3 do
        local headers, arguments = { ["x-one"] = "1" }, { ["grpc.one"] = "1" }
        at_the_next_allocation(function() fill(headers, "x-h") end)
        arvak.connect("127.0.0.1:1", { metadata = headers }):close()
        at_the_next_allocation(function() fill(arguments, "grpc.x") end)
        arvak.connect("127.0.0.1:1", { channel_args = arguments }):close()
      end
      print "done"
    ]])
  end)

  it("costs nothing when it is a list of circuits or of codes, or the circuit itself", function()
    assert_done(prelude .. [[
      local function text(i) return "OPENQASM 3.0; qubit q; // " .. ("s"):rep(100) .. i end
      for _ = 1, 3 do
        local circuits, codes = {}, { "UNAVAILABLE", "UNAVAILABLE" }
        for i = 1, 50 do circuits[i] = { qasm = text(i), shots = i } end
        at_the_next_allocation(function()
          for i = 1, 50 do circuits[i].qasm = nil circuits[i] = nil end
          for i = 1, 5000 do circuits[i] = i end
        end)
        pcall(client.submit_batch, client, circuits, "simulator")
        at_the_next_allocation(function() for i = 1, 5000 do codes[i] = "UNKNOWN" end end)
        pcall(client.list_backends, client, { retry = { codes = codes, max_attempts = 1 } })
      end
      print "done"
    ]])
  end)
end)

describe("what a large result holds", function()
  after_each(close)

  local wide = "OPENQASM 3.0; qubit[16] q; h q;"

  it("is memory of Lua's, which the collector counts", function()
    open()
    local id = assert(client:submit_qasm(wide, "simulator", 60000))
    local first = assert(client:wait_for_job(id))
    local outcomes = 0
    for _ in first:pairs() do outcomes = outcomes + 1 end
    assert.is_true(outcomes > 30000)
    collectgarbage()
    collectgarbage("stop")
    local before = collectgarbage("count")
    local held = assert(client:get_job_result(id))
    assert.is_true((collectgarbage("count") - before) * 1024 >= outcomes * (16 + 8))
    collectgarbage("restart")
    assert.equal(held:most_frequent(), (first:most_frequent()))
  end)

  it("is given back in time when 150 results are dropped, by calls and by futures", function()
    if (os.getenv "ARVAK_BUILD" or ""):find("asan", 1, true) then pending("needs the plain allocator") return end
    open()
    local id = assert(client:submit_qasm("OPENQASM 3.0; qubit[18] q; h q;", "simulator", 60000))
    assert(client:wait_for_job(id))
    for _, way in ipairs { "call", "future" } do
      assert_done([[
        local arvak = require "arvak"
        local address, id, way = ...
        local client = arvak.connect(address)
        for _ = 1, 150 do
          local result = way == "future" and assert(client.async:get_job_result(id):result())
            or assert(client:get_job_result(id))
          if _ % 10 == 0 then assert(result:pairs()()) end
        end
        for line in io.lines("/proc/self/status") do
          local kilobytes = tonumber(line:match("^VmHWM:%s+(%d+)"))
          if kilobytes and kilobytes > 100 * 1024 then print(way, kilobytes) end
        end
        print "done"
      ]], server.address, id, way)
    end
  end)
end)
