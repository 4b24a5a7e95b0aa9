-- Misuse raises at the caller's line and names the option; text that no server could take is an outcome.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

-- Every option of connect that is wrong, with what the message must say.
local bad_connects = {
  { { pool_size = 0 }, "pool_size: got 0, expected an integer from 1 to 256" },
  { { pool_size = 2.5 }, "pool_size: got 2.5, expected an integer" },
  { { pool_size = "4" }, 'pool_size: got "4", expected an integer' },
  { { pool_size = 257 }, "pool_size: got 257, expected an integer from 1 to 256" },
  { { timeout = 0 }, "timeout: got 0, expected a number of seconds above 0" },
  { { timeout = -1 }, "timeout: got %-1, expected a number of seconds above 0" },
  { { timeout = 0 / 0 }, "timeout: got .?nan, expected a number of seconds above 0" },
  { { timeout = "30" }, 'timeout: got "30", expected a number of seconds' },
  { { queue_timeout = false }, "queue_timeout: got false, expected a number of seconds" },
  { { max_concurrent_rpcs = 0 }, "max_concurrent_rpcs: got 0, expected an integer from 1" },
  { { max_concurrent_rpcs = {} }, "max_concurrent_rpcs: got a table, expected an integer from 1" },
  { { api_key = 5 }, "api_key: got a number, expected a string or a function" },
  { { api_key = "" }, "api_key: expected a key, got \"\"" },
  { { metadata = 5 }, "metadata: got .*, expected a table of strings" },
  { { metadata = { ["X-Team"] = "qc" } }, 'metadata%["X%-Team"%]: expected a lower%-case header name' },
  { { metadata = { ["grpc-timeout"] = "1S" } },
    'metadata%["grpc%-timeout"%]: names that begin with "grpc%-" belong to gRPC' },
  { { metadata = { ["x-team"] = 5 } }, 'metadata%["x%-team"%]: got a number, expected a string' },
  { { metadata = { "qc" } }, "metadata: got 1 as a name, expected a string" },
  { { tls = 5 }, "tls: got 5, expected true or a table" },
  { { tls = { server_name = "a b" } }, 'tls.server_name: expected a host name, as in "localhost", got "a b"' },
  { { tls = { server_name = "a\r\nx: y" } }, 'tls.server_name: expected a host name, as in "localhost", got "a' },
  { { tls = { server_name = "" } }, 'tls.server_name: expected a host name, as in "localhost", got ""' },
  { { tls = { chain = "x" } }, 'tls: unknown option "chain", expected one of ca, cert, key, server_name' },
  { { tls = { ca = "/no/such/file" } }, 'tls%.ca: "/no/such/file" is neither PEM text' },
  { { tls = { ca = 5 } }, "tls%.ca: got .*, expected PEM text or a path" },
  { { channel_args = 5 }, "channel_args: got 5, expected a table" },
  { { channel_args = { 5 } }, "channel_args: got 1 as a name, expected a string" },
  { { channel_args = { ["grpc.x"] = {} } }, 'channel_args%["grpc%.x"%]: got a table, expected an integer' },
  { { pool = 4 }, 'connect: unknown option "pool", expected one of pool_size, timeout' },
  { { [1] = 4 }, "connect: unknown option 1, expected one of pool_size" },
  { 5, "connect: got .*, expected a table" },
}

local bad_addresses = { "", "localhost", "localhost:", "localhost:0", "localhost:65536", "localhost:http", "a b:1",
  "::1:50051", "[::1]", "unix:", "ipv4:", "ipv4:1.2.3.4", "http://localhost:50051", "host:1,host:2",
  "unix:/tmp/a,b", "unix:a,b", "ho,st:1" }

-- Calls of client methods that are wrong; each is a function of one line, so that its line is known.
local bad_calls = {
  { function() local _ = client:submit_qasm() end, "qasm: got nil, expected OpenQASM 3 text" },
  { function() local _ = client:submit_qasm(5, "simulator") end, "qasm: got 5, expected OpenQASM 3 text" },
  { function() local _ = client:submit_qasm(bell) end, "backend_id: got nil, expected a string" },
  { function() local _ = client:submit_qasm(bell, {}) end, "backend_id: got a table, expected a string" },
  { function() local _ = client:submit_qasm(bell, "a\0b") end,
    'backend_id: got "a\\0b", expected UTF%-8 text without NUL bytes' },
  { function() local _ = client:submit_qasm(bell, "\xff") end,
    'backend_id: got "\\255", expected UTF%-8 text without NUL bytes' },
  { function() local _ = client:submit_qasm(bell, "simulator", -1) end, "shots: got %-1, expected an integer from 0" },
  { function() local _ = client:submit_qasm(bell, "simulator", 1.5) end, "shots: got 1.5, expected an integer from 0" },
  { function() local _ = client:submit_qasm(bell, "simulator", 1 << 32) end,
    "shots: got 4294967296, expected an integer from 0 to 4294967295" },
  { function() local _ = client:submit_qasm(bell, "simulator", "7") end,
    'submit_qasm: got .*, expected a number of shots or' },
  { function() local _ = client:submit_qasm(bell, "simulator", { shots = -1 }) end, "shots: got %-1" },
  { function() local _ = client:submit_qasm(bell, "simulator", { shots = 2 ^ 40 }) end,
    "shots: got 1.*, expected an integer" },
  { function() local _ = client:submit_qasm(bell, "simulator", { shot = 1 }) end,
    'submit_qasm: unknown option "shot", expected one of timeout, attempt_timeout, queue_timeout, metadata, retry, ' ..
    'breaker, label, shots, optimization_level' },
  { function() local _ = client:submit_qasm(bell, "simulator", { optimization_level = -1 }) end,
    "optimization_level: got %-1, expected an integer from 0" },
  { function() local _ = client:submit_qasm(bell, "simulator", { timeout = 0 }) end,
    "timeout: got 0, expected a number of seconds" },
  { function() local _ = client:submit_qasm(bell, "simulator", { metadata = { A = "b" } }) end,
    'metadata%["A"%]: expected a lower' },
  { function() local _ = client:submit_batch("x", "simulator") end, 'circuits: got "x", expected a list of circuits' },
  { function() local _ = client:submit_batch({ bell }, "simulator") end,
    "circuits%[1%]: got .*, expected {qasm, shots}" },
  { function() local _ = client:submit_batch({ { bell }, { bell, -1 } }, "simulator") end,
    "circuits%[2%]%.shots: got %-1" },
  { function() local _ = client:submit_batch({ { qasm = 5 } }, "simulator") end, "circuits%[1%]%.qasm: got 5" },
  { function() local _ = client:submit_batch({ { qasm = bell, shot = 5 } }, "simulator") end,
    'circuits%[1%]: unknown option "shot", expected one of qasm, shots, optimization_level' },
  { function() local _ = client:submit_batch({ { bell, shots = 5 } }, "simulator") end, "circuits%[1%]: " },
  { function() local _ = client:submit_batch({}, "simulator", { shots = 5 }) end,
    'submit_batch: unknown option "shots"' },
  { function() local _ = client:submit_circuit_json({}, "simulator") end,
    "circuit_json: got a table, expected a string" },
  { function() local _ = client:submit_circuit_json("{}") end, "backend_id: got nil, expected a string" },
  { function() local _ = client:get_job_status() end, "job_id: got nil, expected a string" },
  { function() local _ = client:get_job_status("j", 5) end, "get_job_status: got 5, expected a table of options" },
  { function() local _ = client:get_job_status("j", { shots = 5 }) end, 'get_job_status: unknown option "shots"' },
  { function() local _ = client:get_job_result(5) end, "job_id: got 5, expected a string" },
  { function() local _ = client:cancel_job({}) end, "job_id: got a table, expected a string" },
  { function() local _ = client:list_backends(5) end, "list_backends: got 5, expected a table of options" },
  { function() local _ = client:get_backend_info() end, "backend_id: got nil, expected a string" },
  { function() local _ = client:wait_for_job() end, "job_id: got nil, expected a string" },
  { function() local _ = client:wait_for_job("j", { max_wait = "1" }) end,
    'max_wait: got "1", expected a number of seconds' },
  { function() local _ = client:wait_for_job("j", { poll_interval = 0 }) end,
    "poll_interval: got 0, expected a number of seconds" },
  { function() local _ = client:wait_for_job("j", { on_progress = 5 }) end, "on_progress: got 5, expected a function" },
  { function() local _ = client:wait_for_job("j", { strategy = "poll" }) end,
    'wait_for_job: unknown option "strategy", expected one of attempt_timeout' },
  { function() local _ = client:wait_for_job("j", { wait = 5 }) end,
    'wait_for_job: unknown option "wait", expected one of attempt_timeout' },
  { function() local _ = client:execute(bell, "simulator", { shot = 5 }) end,
    'execute: unknown option "shot", expected one of attempt_timeout' },
  { function() local _ = client:execute(bell, "simulator", "x") end,
    'execute: got "x", expected a number of shots or a table' },
  { function() local _ = client:execute(bell, "simulator", { max_wait = -1 }) end,
    "max_wait: got %-1, expected a number of seconds" },
  { function() local _ = client:check(bell, "simulator", "x") end,
    'check: got "x", expected a number of shots or a table' },
  { function() local _ = client:check(bell, "simulator", { shot = 5 }) end,
    'check: unknown option "shot", expected one of attempt_timeout' },
  { function() local _ = arvak.batch_manager("x") end,
    'batch_manager: got "x" as the client, expected arvak%.batch_manager%(client, %.%.%.%)' },
  { function() local _ = client:execute(5, "simulator") end, "qasm: got 5, expected OpenQASM 3 text" },
  { function() local _ = client:wait_for_ready("1") end,
    'timeout: got "1", expected a number of seconds' },
  { function() local _ = client.get_job_status() end,
    "get_job_status: got nil as the client, expected client:get_job_status" },
  { function() local _ = client.execute({}, bell, "simulator") end, "execute: got a table as the client" },
  { function() local _ = client.async:submit_qasm(5, "simulator") end, "qasm: got 5, expected OpenQASM 3 text" },
  { function() local _ = client.async:get_job_status("j", { shots = 5 }) end,
    'get_job_status: unknown option "shots"' },
  { function() local _ = arvak.spawn(5) end, "spawn: got 5, expected a function" },
  { function() local _ = arvak.run(nil) end, "run: got nil, expected a function" },
  { function() local _ = arvak.wrap("x") end, 'wrap: got "x", expected a function' },
  { function() local _ = arvak.sleep() end, "sleep: got nil, expected a number of seconds" },
  { function() local _ = arvak.sleep(-1) end, "sleep: got %-1, expected a number of seconds" },
  { function() local _ = arvak.sleep(0 / 0) end, "sleep: got .?nan, expected a number of seconds" },
  { function() local _ = arvak.poll("x") end, 'timeout: got "x", expected a number of seconds' },
}

-- Fails unless the one-line function raises, at its own line of this file, a message that matches.
local function raises_here(fn, pattern)
  local ok, err = pcall(fn)
  assert.is_false(ok, "nothing was raised, expected: " .. pattern)
  local file, line, message = tostring(err):match("^([^:]+):(%d+): (.*)$")
  assert.is_truthy(file, tostring(err))
  assert.matches("misuse_spec%.lua$", file)
  assert.equal(debug.getinfo(fn, "S").linedefined, tonumber(line))
  assert.matches(pattern, message)
end

describe("misuse of connect", function()
  after_each(helper.assert_clean)

  for _, case in ipairs(bad_connects) do
    it("raises at the caller: " .. case[2], function()
      raises_here(function() local _ = arvak.connect("localhost:1", case[1]) end, case[2])
    end)
  end

  it("raises for addresses that are none, and repeats them", function()
    for _, address in ipairs(bad_addresses) do
      local pattern = "^address: expected .*, got \"" .. address:gsub("%p", "%%%0"):gsub("\n", "\\n")
      raises_here(function() local _ = arvak.connect(address) end, pattern)
    end
    raises_here(function() local _ = arvak.connect(50051) end, "^address: got 50051, expected a string")
    raises_here(function() local _ = arvak.connect("local\0host:1") end,
      '^address: got "local\\0host:1", expected UTF%-8 text without NUL')
  end)
end)

describe("misuse of a method", function()
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  setup(open)
  teardown(close)

  for _, case in ipairs(bad_calls) do
    it(("raises at line %d: %s"):format(debug.getinfo(case[1], "S").linedefined, case[2]), function()
      raises_here(case[1], case[2])
    end)
  end

  it("raises at the caller inside a task too", function()
    local ok, err = pcall(arvak.run, function() local _ = client:submit_qasm(5, "simulator") end)
    assert.is_false(ok)
    assert.matches("misuse_spec%.lua:%d+: qasm: got 5", err)
  end)

  it("raises at the line of the caller whose own function passes arguments on", function()
    local function submit(...)
      local job_id = client:submit_qasm(...)
      return job_id
    end
    local ok, err = pcall(submit, 5)
    assert.is_false(ok)
    assert.equal(("%d"):format(debug.getinfo(submit, "S").linedefined + 1), err:match("misuse_spec%.lua:(%d+): "))
  end)

  it("raises for more than 50 circuits in one batch", function()
    local circuits = {}
    for i = 1, 51 do circuits[i] = { bell } end
    raises_here(function() local _ = client:submit_batch(circuits, "simulator") end,
      "circuits: got 51, expected at most 50 for one SubmitBatch %(split = true sends several%)")
  end)

  it("raises before anything is sent, so that a bad entry does not leave half a batch behind", function()
    local circuits = {}
    for i = 1, 60 do circuits[i] = { bell, i } end
    circuits[60] = { bell, -1 }
    local accepted = server:stats().accepted
    raises_here(function() local _ = client:submit_batch(circuits, "simulator", { split = true }) end,
      "circuits%[60%]%.shots: got %-1")
    circuits[60] = { "\0" }
    local ids, err = client:submit_batch(circuits, "simulator", { split = true })
    assert.is_nil(ids)
    assert.equal("invalid_circuit", err.kind)
    assert.equal(accepted, server:stats().accepted)
  end)

  it("raises nothing for the name of a method that does not exist", function()
    assert.is_nil(client.no_such_method)
    assert.is_nil(client.async.no_such_method)
  end)
end)

-- Each is one line, so that its line is known; what is returned is a tail call, whose line stays known too.
local bad_shapes = {
  { function() client.async:execute(123) end, "qasm: got 123, expected OpenQASM 3 text" },
  { function() client.async:execute(bell, "simulator", { shot = 1 }) end, 'execute: unknown option "shot"' },
  { function() client.async:execute(bell, "simulator", { timeout = "1" }) end, 'timeout: got "1"' },
  { function() client.async:wait_for_job(5) end, "job_id: got 5, expected a string" },
  { function() client.async:wait_for_job("j", { max_wait = 0 }) end, "max_wait: got 0" },
  { function() client.async:get_job_result() end, "job_id: got nil" },
  { function() client.async:submit_batch({ { 5 } }, "simulator") end, "circuits%[1%]%.qasm: got 5" },
  { function() client.async:submit_batch({ { 5 } }, "simulator", { split = true }) end, "circuits%[1%]%.qasm: got 5" },
  { function() client.async:submit_circuit_json(5, "simulator") end, "circuit_json: got 5" },
  { function() client.async:wait_for_ready(-1) end, "timeout: got %-1" },
  { function() client.async:execute(bell, "simulator", 10, { timeout = 1 }) end,
    "execute: got a table as argument 4, expected at most 3 %(qasm, backend_id, options%)" },
  { function() client.async:list_backends({}, 1) end,
    "list_backends: got 1 as argument 2, expected at most 1 %(options%)" },
  { function() client.async.execute(bell, "simulator") end,
    "execute: got .* as the client%.async, expected client%.async:execute" },
  { function() client.async.list_backends() end, "list_backends: got nil as the client%.async" },
  { function() return client:execute(5, "simulator") end, "qasm: got 5" },
  { function() return client:submit_qasm(5, "simulator") end, "qasm: got 5" },
  { function() return client:wait_for_job(5) end, "job_id: got 5" },
  { function() return client.async:execute(5) end, "qasm: got 5" },
  { function() return arvak.sleep(-1) end, "sleep: got %-1" },
  { function() return arvak.gather(5) end, "gather: got 5" },
  { function() client:execute(bell, "simulator", 10, { timeout = 1 }) end, "execute: got a table as argument 4" },
  { function() client:submit_qasm(bell, "simulator", 10, { timeout = 1 }) end,
    "submit_qasm: got a table as argument 4, expected at most 3 %(qasm, backend_id, options%)" },
  { function() client:submit_batch({}, "simulator", {}, {}) end, "submit_batch: got a table as argument 4" },
  { function() client:submit_qasm_future(bell, "simulator", 1, 2) end, "submit_qasm_future: got 2 as argument 4" },
  { function() client:get_job_status("j", nil, "x") end, 'get_job_status: got "x" as argument 3' },
  { function() client:watch_job("j", {}, true) end, "watch_job: got true as argument 3" },
  { function() client:stats(1) end, "stats: got 1 as argument 1, expected none" },
  { function() client:breaker(1) end, "breaker: got 1 as argument 1, expected none" },
  { function() client:configure({}, 1) end, "configure: got 1 as argument 2, expected at most 1 %(options%)" },
  { function() client:close(false) end, "close: got false as argument 1, expected none" },
  { function() arvak.connect("localhost:1", {}, {}) end, "connect: got a table as argument 3, expected at most 2" },
  { function() arvak.sleep(0, 0) end, "sleep: got 0 as argument 2, expected at most 1 %(seconds%)" },
  { function() arvak.future().done() end, "done: got nil as the future, expected future:done%(%.%.%.%)" },
  { function() arvak.future().running({}) end, "running: got a table as the future" },
  { function() arvak.future().submitted() end, "submitted: got nil as the future" },
  { function() arvak.future().wait(arvak.future(), 0, 1) end, "wait: got 1 as argument 2" },
  { function() arvak.circuit_breaker().state() end, "state: got nil as the breaker" },
  { function() arvak.circuit_breaker():state("x") end, 'state: got "x" as argument 1, expected none' },
  { function() arvak.retry_policy():backoff(1, 2) end, "backoff: got 2 as argument 2, expected at most 1 %(attempt%)" },
  { function() arvak.batch_manager(client).close() end, "close: got nil as the batch_manager" },
  { function() client:watch_job("j").cancel() end, "cancel: got nil as the stream" },
  { function() arvak.pollable().events() end, "events: got nil as the pollable" },
}

-- Names that C would cut, in every place where one is given.
local bad_names = {
  { function() client:get_job_status("a\0b") end, 'job_id: got "a\\0b", expected UTF%-8 text without NUL' },
  { function() client:wait_for_job("a\0001") end, 'job_id: got "a\\0001", expected UTF%-8' },
  { function() client:watch_job("a\0b") end, 'job_id: got "a\\0b", expected UTF%-8' },
  { function() client:stream_results("\0") end, 'job_id: got "\\0", expected UTF%-8' },
  { function() client:get_backend_info("a\0b") end, 'backend_id: got "a\\0b", expected UTF%-8' },
  { function() client:submit_batch_stream({}, "a\0b") end, 'backend_id: got "a\\0b", expected UTF%-8' },
  { function() client:submit_batch_future({}, "a\0b") end, 'backend_id: got "a\\0b", expected UTF%-8' },
  { function() client:submit_circuit_json("{}", "a\0b") end, 'backend_id: got "a\\0b", expected UTF%-8' },
  { function() arvak.batch_manager(client):execute_batch({}, "a\0b") end, 'backend_id: got "a\\0b", expected UTF%-8' },
  { function() arvak.connect("h\0:1") end, 'address: got "h\\0:1", expected UTF%-8' },
  { function() arvak.connect("h:1", { metadata = { ["x-a\0b"] = "v" } }) end, 'metadata%["x%-a\\0b"%]: expected' },
  { function() client:list_backends { metadata = { ["x-a\0b"] = "v" } } end, 'metadata%["x%-a\\0b"%]: expected' },
  { function() client:list_backends { metadata = { ["x-a"] = "v\0" } } end, 'metadata%["x%-a"%]: the value holds' },
  { function() arvak.connect("h:1", { ["timeout\0x"] = 3 }) end, 'connect: unknown option "timeout\\0x"' },
  { function() client:list_backends { ["timeout\0x"] = 3 } end, 'list_backends: unknown option "timeout\\0x"' },
  { function() arvak.connect("h:1", { channel_args = { ["a\0b"] = 1 } }) end,
    'channel_args%["a\\0b"%]: expected a name' },
  { function() arvak.connect("h:1", { channel_args = { a = "v\0" } }) end,
    'channel_args%["a"%]: got "v\\0", expected' },
  { function() arvak.connect("h:1", { tls = { ca = "a\0b" } }) end,
    "tls%.ca: expected PEM text or a path, without NUL" },
  { function() arvak.connect("h:1", { tls = { server_name = "a\0b" } }) end, 'tls%.server_name: got "a\\0b"' },
  { function() arvak.connect("h:1", { limiter = { max_in_flight = "adaptive\0" } }) end,
    'max_in_flight: got "adaptive\\0"' },
  { function() arvak.retry_policy { codes = { "UNAVAILABLE\0" } } end, 'codes: got "UNAVAILABLE\\0"' },
  { function() arvak.retry_policy { strategy = "linear\0" } end, 'strategy: got "linear\\0"' },
  { function() arvak.retry_policy { jitter = "full\0" } end, 'jitter: got "full\\0"' },
}

-- How errors show a text that they repeat.
local shown = {
  ["\27[31m"] = [["\27[31m"]], ["a\nb"] = [["a\nb"]], ['say "hi" \\'] = [["say \"hi\" \\"]],
  ["h\xc3\xa9"] = '"h\xc3\xa9"',
  ["\xc2\x9b"] = [["\194\155"]], ["\xff1"] = [["\2551"]], ["\x7f"] = [["\127"]],
  ["a\u{202e}1"] = [["a\226\128\1741"]], ["\u{2028}\u{2066}\u{61c}"] = [["\226\128\168\226\129\166\216\156"]],
  ["\u{e0041}\u{2030}"] = '"\\243\\160\\129\\129\u{2030}"',
  [("x"):rep(60)] = '"' .. ("x"):rep(60) .. '"',
  [("x"):rep(300)] = '"' .. ("x"):rep(60) .. '"... (300 bytes)',
}

describe("misuse by the shape of a call", function()
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  setup(open)
  teardown(close)

  for _, case in ipairs(bad_shapes) do
    it(("raises at line %d: %s"):format(debug.getinfo(case[1], "S").linedefined, case[2]), function()
      raises_here(case[1], case[2])
    end)
  end

  for _, case in ipairs(bad_names) do
    it(("refuses a NUL byte at line %d: %s"):format(debug.getinfo(case[1], "S").linedefined, case[2]), function()
      raises_here(case[1], case[2])
    end)
  end

  it("shows a text as Lua would write it, and cuts a long one", function()
    for text, expected in pairs(shown) do
      local _, err = pcall(arvak.sleep, text)
      assert.truthy(err:find("sleep: got " .. expected .. ", expected", 1, true), err)
    end
  end)

  it("raises where the task was started, and says so, for a task that has no line of the program", function()
    local function assert_here(line, err)
      local expected = ("spec/client/misuse_spec.lua:%d: (its task was started here) qasm: got 5"):format(line)
      assert.equal(expected, err:sub(1, #expected))
    end
    local function line() return debug.getinfo(2, "l").currentline end
    local ok, err = pcall(arvak.run, function()
      arvak.spawn(client.execute, client, 5)
      arvak.sleep(0.001)
    end)
    assert.is_false(ok)
    assert_here(line() - 4, err)
    assert_here(line(), arvak.spawn(client.submit_qasm, client, 5):exception(TEST_TIMEOUT))
    assert_here(line(), select(2, pcall(function() arvak.with_timeout(1, client.execute, client, 5) end)))
    assert_here(line(), select(2, pcall(function() arvak.run(client.execute, client, 5) end)))
    arvak.run(function() assert_here(line(), arvak.spawn(client.execute, client, 5):exception()) end)
  end)

  it("raises where the main thread stands, and says so, where no task was started by the program", function()
    local pattern = "^spec/client/misuse_spec%.lua:%d+: %(the nearest line of the program%) execute: got a table"
    local ok, err = pcall(arvak.run, function() arvak.spawn(print):add_done_callback(client.execute) end)
    assert.is_false(ok)
    assert.matches(pattern, err)
  end)

  it("is none where the arguments that are too many are nil", function()
    assert.is_truthy(client:execute(bell, "simulator", 5, nil))
    assert.is_truthy(client:list_backends(nil, nil))
    assert.is_true(arvak.sleep(0, nil))
    assert.is_true(arvak.future():cancel(nil))
  end)

  it("is none for a stream's next as the iterator of a generic for", function()
    local states = {}
    local watch <close> = client:watch_job(assert(client:submit_qasm(bell, "simulator")))
    for state in watch.next, watch do states[#states + 1] = state end
    assert.equal("COMPLETED", states[#states])
  end)
end)

describe("use after close", function()
  local closed

  setup(function()
    closed = arvak.connect("localhost:1")
    closed:close()
  end)

  teardown(function()
    closed = nil
    helper.assert_clean()
  end)

  local uses = {
    { "submit_qasm", bell, "simulator" }, { "submit_batch", {}, "simulator" },
    { "submit_circuit_json", "{}", "simulator" }, { "execute", bell, "simulator" },
    { "get_job_status", "j" }, { "get_job_result", "j" }, { "cancel_job", "j" }, { "wait_for_job", "j" },
    { "list_backends" }, { "get_backend_info", "simulator" }, { "wait_for_ready" }, { "stats" },
  }

  for _, use in ipairs(uses) do
    local name, message = use[1], use[1] .. ": the client is closed"
    it(("raises at the caller from %s"):format(name), function()
      raises_here(function() local _ = closed[name](closed, table.unpack(use, 2)) end, message)
      if name ~= "stats" then
        raises_here(function() local _ = closed.async[name](closed.async, table.unpack(use, 2)) end, message)
      end
    end)
  end

  it("is fine for close itself, and for tostring", function()
    closed:close()
    assert.equal("arvak.client (closed)", tostring(closed))
  end)
end)

describe("OpenQASM text that cannot be right", function()
  before_each(function()
    server = helper.start()
    client = arvak.connect(server.address)
  end)

  after_each(function()
    client:close()
    server:stop()
    client, server = nil, nil
    helper.assert_clean()
  end)

  it("gives nil and invalid_circuit without an RPC when it is not UTF-8 or holds NUL bytes", function()
    for text, message in pairs { [bell .. "\0"] = ("byte %d is NUL"):format(#bell + 1), ["\0"] = "byte 1 is NUL",
      ["// \xff\xfe"] = "byte 4 is not UTF%-8", ["// \xc3"] = "byte 4 is not UTF%-8",
      ["// \xed\xa0\x80"] = "byte 4 is not UTF%-8", ["//\xc0\x80"] = "byte 3 is not UTF%-8" } do
      local job_id, err = client:submit_qasm(text, "simulator")
      assert.is_nil(job_id)
      assert.equal("invalid_circuit", err.kind)
      assert.matches(message, err.message)
      assert.equal(0, err.attempts)
      assert.is_false(err.maybe_executed)
      job_id, err = client.async:submit_qasm(text, "simulator"):result(TEST_TIMEOUT)
      assert.is_nil(job_id)
      assert.equal("invalid_circuit", err.kind)
    end
    assert.equal(0, client:stats().calls)
  end)

  it("gives invalid_circuit from the server when it is empty", function()
    local job_id, err = client:submit_qasm("", "simulator")
    assert.is_nil(job_id)
    assert.equal("invalid_circuit", err.kind)
    assert.equal(1, err.attempts)
  end)

  it("is taken when its comments are UTF-8", function()
    assert(client:execute("OPENQASM 3.0; // \u{3b8} \u{1F600}\nqubit q;", "simulator", 1))
  end)

  it("is taken at 10 MB, and refused over the message limit of 16 MiB", function()
    local text = "OPENQASM 3.0; qubit q; x q;" .. ("// ten million bytes\n"):rep(10000000 // 21)
    assert.is_true(#text > 9999000)
    assert.same({ ["1"] = 3 }, client:execute(text, "simulator", 3).counts)
    local job_id, err = client:submit_qasm(text .. (" "):rep(7 << 20), "simulator")
    assert.is_nil(job_id)
    assert.equal("rpc", err.kind)
    assert.equal("OUT_OF_RANGE", err.name)
  end)

  it("does not bring the server down when it is hostile", function()
    local deep = "OPENQASM 3.0; qubit q; rx(" .. ("("):rep(100000) .. "1" .. (")"):rep(100000) .. ") q;"
    local long = "OPENQASM 3.0; qubit q; rx(1" .. ("+1"):rep(200000) .. ") q;"
    local wide = "OPENQASM 3.0; qubit[4000000000] q;"
    local nested = "OPENQASM 3.0; " .. ("if (true) {"):rep(100000)
    for _, text in ipairs { deep, wide, nested } do
      local job_id, err = client:submit_qasm(text, "simulator")
      assert.is_nil(job_id)
      assert.equal("invalid_circuit", err.kind)
    end
    client:submit_qasm(long, "simulator")
    assert(client:list_backends())
  end)
end)
