-- The dev server as a Lua module: options, faults, what it tells, and its end.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local devserver = require "arvak.devserver"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT

-- The message of an error raised by fn, which must name this file: the caller's place.
local function raised(fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(function() return (fn(table.unpack(arguments, 1, arguments.n))), nil end)
  assert.is_false(ok)
  assert.matches("devserver_spec%.lua:%d+: ", message)
  return message
end

describe("devserver.start", function()
  it("listens on a free port of this machine by default, and says which", function()
    local server <close> = assert(devserver.start())
    local port = server.address:match("^127%.0%.0%.1:(%d+)$")
    assert.is_true(tonumber(port) > 0)
    assert.is_nil(server.unix_address)
    local client <close> = arvak.connect(server.address)
    assert.equal("simulator", assert(client:list_backends())[1].backend_id)
  end)

  it("listens on a unix socket alone, or on both", function()
    local path = os.tmpname()
    os.remove(path)
    do
      local server <close> = assert(devserver.start { unix = path })
      assert.equal("unix:" .. path, server.address)
      assert.equal(server.address, server.unix_address)
      local client <close> = arvak.connect(server.address)
      assert(client:list_backends())
      assert.equal(1, server:stats().connections_open)
    end
    assert.is_nil(io.open(path))
    local server <close> = assert(devserver.start { unix = path, address = "127.0.0.1:0" })
    assert.matches("^127%.0%.0%.1:", server.address)
    assert.equal("unix:" .. path, server.unix_address)
  end)

  it("raises at the caller and names the option that is wrong", function()
    local wrong = {
      { { nope = 1 }, "unknown option 'nope' %(expected address, unix, .*, faults%)" },
      { { address = "nowhere" }, "bad address 'nowhere': expected HOST:PORT" },
      { { address = "::1:5" }, "bad address" },
      { { address = "127.0.0.1:65536" }, "bad address" },
      { { ["rate-limit"] = 1 }, "unknown option 'rate%-limit'" },
      { { 1 }, "unknown option '1'" },
      { { workers = 0 }, "'workers'.*whole number from 1.*got 0" },
      { { workers = "2" }, "'workers'.*got 2" },
      { { workers = 1.5 }, "'workers'" },
      { { rate_limit = -1 }, "'rate_limit'" },
      { { watch_interval = 0 }, "'watch_interval'" },
      { { watch_interval = 0 / 0 }, "'watch_interval'" },
      { { job_latency = math.huge }, "'job_latency'" },
      { { api_key = "" }, "'api_key'.*not empty" },
      { { api_key = "a\0b" }, "'api_key'" },
      { { address = true }, "'address'.*HOST:PORT.*got boolean" },
      { { tls_cert = "x" }, "tls_key" },
      { { faults = true }, "'faults'" },
      { { faults = { rpc = "SubmitJob" } }, "'faults'" },
      { { faults = { { status = "FINE" } } }, "status" },
    }
    for _, case in ipairs(wrong) do assert.matches(case[2], raised(devserver.start, case[1])) end
  end)

  it("gives nil and a message when it cannot listen", function()
    local server <close> = assert(devserver.start())
    local other, message = devserver.start { address = server.address }
    assert.is_nil(other)
    assert.matches("Address already in use", message)
    assert.matches("cannot listen on", select(2, devserver.start { address = "no.such.host.invalid:0" }))
    assert.matches("cannot read tls_cert", select(2, devserver.start { tls_cert = "/nope", tls_key = "/nope" }))
  end)
end)

describe("a dev server", function()
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

  it("counts calls, connections and jobs", function()
    assert(client:execute(bell, "simulator", 10))
    server:fault { job = "hang" }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    helper.eventually(function() return server:stats().jobs.RUNNING == 1 end)
    local stats = server:stats()
    assert.equal(2, stats.calls.SubmitJob)
    assert.equal(1, stats.calls.GetJobResult)
    assert.equal(2, stats.accepted)
    assert.equal(2, stats.stored)
    assert.equal(1, stats.jobs.COMPLETED)
    assert.equal(1, stats.connections_total)
    assert.equal(1, stats.faults_fired)
    assert(client:cancel_job(job_id))
    assert.equal(0, server:stats().jobs.RUNNING)
  end)

  it("moves a job to any state, and forgets one", function()
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    assert(client:wait_for_job(job_id))
    for _, state in ipairs { "QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELED", "RESULT_EXPIRED" } do
      assert.is_true(server:set_job_state(job_id, state))
      assert.equal(state, assert(client:get_job_status(job_id)).state)
    end
    assert.is_false(server:set_job_state("nobody", "FAILED"))
    assert.matches("RESULT_EXPIRED", raised(server.set_job_state, server, job_id, "DONE"))
    assert.is_true(server:evict(job_id))
    assert.is_false(server:evict(job_id))
    assert.equal("job_not_found", select(2, client:get_job_status(job_id)).kind)
  end)

  it("drops its connections, and takes new ones", function()
    assert(client:list_backends())
    server:drop_connections()
    helper.eventually(function() return server:stats().connections_open == 0 end)
    helper.eventually(function() return client:list_backends() end)
    assert.equal(2, server:stats().connections_total)
  end)

  it("takes faults as tables and as texts, and forgets them", function()
    server:fault { rpc = "ListBackends", status = "ABORTED", message = "no, not now", count = 1 }
    server:fault "rpc=ListBackends,status=DATA_LOSS,tag=permanent,count=1"
    local _, first = client:list_backends()
    assert.equal("ABORTED", first.name)
    assert.equal("no, not now", first.message)
    local _, second = client:list_backends()
    assert.equal("DATA_LOSS", second.name)
    assert.matches("^%[permanent%] ", second.message)
    assert(client:list_backends())
    server:fault { status = "INTERNAL" }
    assert.is_nil(client:list_backends())
    server:clear_faults()
    assert(client:list_backends())
    assert.equal(3, server:stats().faults_fired)
  end)

  it("names what is wrong with a fault, at the caller", function()
    local wrong = {
      { {}, "needs one of" },
      { { rpc = "Submit", hang = true }, "rpc" },
      { { status = "INTERNAL", rate = 2 }, "rate" },
      { { status = "INTERNAL", count = 0 }, "count" },
      { { latency = { 2, 1 } }, "latency" },
      { { color = "red" }, "no key 'color': expected rpc, status, .*job_latency" },
      { { status = "FINE" }, "UNAVAILABLE, DATA_LOSS or UNAUTHENTICATED" },
      { { "status" }, "no key '1'" },
      { "status", "KEY=VALUE" },
      { 5, "expected a table or a text" },
    }
    for _, case in ipairs(wrong) do assert.matches(case[2], raised(server.fault, server, case[1])) end
  end)

  it("delays a call by a latency from a range", function()
    server:fault { rpc = "ListBackends", latency = { 0.05, 0.06 } }
    local future = client.async:list_backends()
    assert.is_false(future:wait(0.02))
    assert(future:result(TEST_TIMEOUT))
  end)

  it("lets jobs fail, hang, queue for ever or expire", function()
    local ends = { { "fail", "FAILED" }, { "hang", "RUNNING" } }
    for _, case in ipairs(ends) do
      server:fault { job = case[1], count = 1, message = case[1] == "fail" and "out of helium" or nil }
      local job_id = assert(client:submit_qasm(bell, "simulator"))
      helper.eventually(function() return client:get_job_status(job_id).state == case[2] end)
      if case[1] == "fail" then assert.equal("out of helium", client:get_job_status(job_id).error_message) end
    end
    for _, state in ipairs { "QUEUED", "RESULT_EXPIRED", "CANCELED" } do
      server:fault { job_state = state, count = 1 }
      local job_id = assert(client:submit_qasm(bell, "simulator"))
      helper.eventually(function() return client:get_job_status(job_id).state == state end)
    end
  end)

  it("delays by an exponential distribution", function()
    server:fault { rpc = "ListBackends", latency = { mean = 0.005 } }
    for _ = 1, 20 do assert(client:list_backends()) end
    assert.equal(20, server:stats().faults_fired)
    assert.matches("mean", raised(server.fault, server, { latency = { mean = -1 } }))
  end)

  it("forgets a job as soon as it has ended", function()
    server:fault { job = "evict", count = 1 }
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    helper.eventually(function() return server:stats().evicted == 1 end)
    assert.equal("job_not_found", select(2, client:get_job_status(job_id)).kind)
    assert.equal(0, server:stats().stored)
    assert(client:execute(bell, "simulator", 10))
  end)

  it("lists its jobs in order of submission", function()
    server:fault { job = "hang", after = 1, count = 1 }
    local ids = {}
    for i = 1, 3 do ids[i] = assert(client:submit_qasm(bell, "simulator", 10 * i)) end
    helper.eventually(function() return client:get_job_status(ids[3]).state == "COMPLETED" end)
    helper.eventually(function() return client:get_job_status(ids[1]).state == "COMPLETED" end)
    assert.same({
      { job_id = ids[1], state = "COMPLETED", shots = 10 },
      { job_id = ids[2], state = "RUNNING", shots = 20 },
      { job_id = ids[3], state = "COMPLETED", shots = 30 },
    }, server:jobs())
  end)

  it("parses large circuits on the side, also while it stops and its clients leave", function()
    local circuit = "OPENQASM 3.0; qubit[2] q;" .. ("h q[0];\n"):rep(500000)
    local large = client.async:submit_qasm(circuit, "simulator")
    local others = 0
    while not large:done() do
      assert(client:list_backends())
      others = others + 1
    end
    assert.equal("invalid_circuit", large:exception().kind)
    assert.is_true(others > 20, others)   -- a parse in their way would let two or three pass
    server:fault { rpc = "SubmitJob", latency = { 0, 0.02 } }
    for _ = 1, 3 do
      local leaving = arvak.connect(server.address)
      local futures = {}
      for i = 1, 4 do futures[i] = leaving.async:submit_qasm(circuit, "simulator") end
      helper.eventually(function() return server:stats().calls.SubmitJob > 4 end)
      leaving:close()
      assert.is_true(server:restart())
      for i = 1, 4 do assert.is_truthy(futures[i]:exception(TEST_TIMEOUT)) end
    end
  end)

  it("stops at once under a client that waits, and twice if asked", function()
    server:fault { hang = true }
    local future = client.async:list_backends()
    helper.eventually(function() return server:stats().calls.ListBackends == 1 end)
    local before = os.time()
    server:stop()
    server:stop()
    assert.is_true(os.time() - before <= 1)
    local value, err = future:result(TEST_TIMEOUT)
    assert.is_nil(value)
    assert.equal("unavailable", err.kind)
    assert.equal(0, server:stats().connections_open)
  end)
end)

describe("a restart", function()
  local server, client

  after_each(function()
    if client then client:close() end
    if server then server:stop() end
    client = nil
    helper.assert_clean()
  end)

  local function start(options)
    server = helper.start(options)
    client = arvak.connect(server.address)
  end

  local function listed() return helper.eventually(function() return client:list_backends() end) end

  it("comes back at the same address without the jobs; figures and faults stay", function()
    start()
    local address = server.address
    local job_id = assert(client:submit_qasm(bell, "simulator"))
    server:fault { rpc = "SubmitJob", status = "ABORTED", count = 1 }
    for round = 1, 3 do
      assert.is_true(server:restart())
      assert.equal(address, server.address)
      listed()
      local stats = server:stats()
      assert.same({ round, 1, 0 }, { stats.restarts, stats.accepted, stats.stored })
      assert.is_true(stats.connections_total > round)
      assert.equal("job_not_found", select(2, client:get_job_status(job_id)).kind)
    end
    assert.equal("ABORTED", select(2, client:submit_qasm(bell, "simulator")).name)
    assert(client:execute(bell, "simulator", 10))
    assert.equal(2, server:stats().accepted)
  end)

  it("keeps the jobs if asked, and fails those that have not ended", function()
    start { workers = 1 }
    local done = assert(client:submit_qasm(bell, "simulator", 100))
    local counts = assert(client:wait_for_job(done)).counts
    server:fault { job = "hang", count = 1 }
    server:fault { job_state = "QUEUED", count = 1 }
    local open = { assert(client:submit_qasm(bell, "simulator")), assert(client:submit_qasm(bell, "simulator")) }
    assert.is_true(server:restart { keep_jobs = true })
    listed()
    assert.same(counts, assert(client:get_job_result(done)).counts)
    for _, job_id in ipairs(open) do
      local job = assert(client:get_job_status(job_id))
      assert.same({ "FAILED", "the server was restarted" }, { job.state, job.error_message })
    end
    assert.equal(3, server:stats().accepted)
    assert(client:execute(bell, "simulator", 10))
  end)

  it("ends the calls and streams that are open", function()
    start()
    server:fault { rpc = "ListBackends", hang = true, count = 1 }
    server:fault { job = "hang" }
    local future = client.async:list_backends()
    local watch = assert(client:watch_job(assert(client:submit_qasm(bell, "simulator"))))
    assert(watch:next())
    local jobs = client:submit_batch_stream({ { bell, 10 } }, "simulator")
    assert.equal("submitted", (jobs:next()))
    helper.eventually(function() return server:stats().calls.ListBackends == 1 end)
    assert.is_true(server:restart { keep_jobs = true })
    assert.equal("unavailable", select(2, future:result(TEST_TIMEOUT)).kind)
    assert.equal("FAILED", (watch:next()))   -- from a new watch
    local kind, index, _, err = jobs:next()
    assert.same({ "error", 1, "job_failed" }, { kind, index, err.kind })   -- by asking for its status
    jobs:cancel()
    watch:cancel()
  end)

  it("brings a stopped server back, and says when the address has been taken", function()
    start()
    server:stop()
    assert.is_nil(client:list_backends())
    do
      local other <close> = assert(devserver.start { address = server.address })
      local ok, message = server:restart()
      assert.is_nil(ok)
      assert.matches("Address already in use", message)
      assert.equal(other.address, server.address)
      assert.equal(0, server:stats().restarts)
    end
    assert.is_true(server:restart())
    listed()
    assert.equal(1, server:stats().restarts)
  end)

  it("works on a unix socket, with the API key still known", function()
    local path = os.tmpname()
    os.remove(path)
    server = helper.start { unix = path, api_key = "secret" }
    client = arvak.connect(server.address, { api_key = "secret" })
    assert(client:list_backends())
    assert.is_true(server:restart())
    listed()
    local stranger <close> = arvak.connect(server.address)
    assert.equal("unauthenticated", select(2, stranger:list_backends()).kind)
  end)

  it("names what is wrong with its options", function()
    start()
    assert.matches("unknown option 'keep' %(expected keep_jobs%)", raised(server.restart, server, { keep = true }))
    assert.matches("'keep_jobs' %(expected a boolean, got string", raised(server.restart, server, { keep_jobs = "no" }))
    assert.matches("table expected", raised(server.restart, server, true))
    assert(client:list_backends())
  end)
end)

describe("a dev server that nobody holds any more", function()
  it("is stopped by the collector, and its port is free", function()
    local address = assert(devserver.start()).address
    collectgarbage()
    collectgarbage()
    local again <close> = assert(devserver.start { address = address })
    assert.equal(address, again.address)
  end)
end)

describe("the program", function()
  -- Exit status and output of the program with these arguments.
  local function run(arguments)
    local program = (os.getenv("ARVAK_BUILD") or "build") .. "/bin/arvak-devserver"
    local pipe = assert(io.popen(("%s %s 2>&1"):format(program, arguments)))
    local output = pipe:read("a")
    local _, _, status = pipe:close()
    return status or 0, output
  end

  it("says its version", function()
    local status, output = run("--version")
    assert.equal(0, status)
    assert.equal(arvak._VERSION:match("[%d.]+$"), output:match("^arvak%-devserver ([%d.]+) "))
  end)

  it("ends with 2 and names what was expected when it is used wrongly, and with 1 when the world is wrong", function()
    local wrong = {
      { "--nope 1", "unknown flag '%-%-nope': expected %-%-address .*%-%-job%-latency %-%-fault" },
      { "--address nowhere", "bad address 'nowhere': expected HOST:PORT" },
      { "--workers", "needs a value" },
      { "--workers 0", "bad value '0'.*whole number from 1" },
      { "--fault color=red", "no key 'color': expected rpc, status" },
      { "--tls-cert x", "tls_key" },
    }
    for _, case in ipairs(wrong) do
      local status, output = run(case[1])
      assert.equal(2, status)
      assert.matches(case[2], output)
    end
    assert.equal(1, (run("--unix /no/such/directory/socket")))
  end)

  -- What a call comes to at a program started so, with the key "secret" and without.
  local function calls_of(environment, arguments)
    local program = (os.getenv("ARVAK_BUILD") or "build") .. "/bin/arvak-devserver"
    local pipe <close> = assert(io.popen(("echo $$; exec env %s %s --address 127.0.0.1:0 %s 2>&1"):format(environment,
      program, arguments)))
    local pid, address = pipe:read "l", pipe:read("l"):match "listening on (.*)"
    local outcomes = {}
    for i, key in ipairs { "secret", "other" } do
      local client <close> = arvak.connect(address, { api_key = key })
      local backends, err = client:list_backends()
      outcomes[i] = backends and "served" or err.kind
    end
    os.execute("kill " .. pid)
    return outcomes
  end

  local made = {}

  after_each(function()
    for _, path in ipairs(made) do os.remove(path) end
    made = {}
  end)

  -- The name of a file with this text.
  local function file_of(text)
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write(text)
    made[#made + 1] = path
    return path
  end

  it("takes its key from a flag, a file or the environment, in this order", function()
    local only_secret, anybody = { "served", "unauthenticated" }, { "served", "served" }
    assert.same(only_secret, calls_of("ARVAK_API_KEY=env", "--api-key secret"))
    assert.same(only_secret, calls_of("ARVAK_API_KEY=secret", ""))
    assert.same(anybody, calls_of("ARVAK_API_KEY=", ""))
    assert.same(anybody, calls_of("-u ARVAK_API_KEY", ""))
    for _, text in ipairs { "secret", "secret\n", "secret\r\n" } do
      assert.same(only_secret, calls_of("ARVAK_API_KEY=env", "--api-key-file " .. file_of(text)))
    end
  end)

  it("ends with 2 for a file that holds no key, and does not show what it holds", function()
    for text, expected in pairs {
      [""] = "one line of 1 to 4096 bytes", ["\n"] = "one line", ["hidden\nhidden\n"] = "one line",
      ["hid\0den"] = "one line", [("hidden"):rep(700)] = "one line",
    } do
      local status, output = run("--api-key-file " .. file_of(text))
      assert.equal(2, status)
      assert.matches("^arvak%-devserver: %-%-api%-key%-file: [^\n]*: expected " .. expected, output)
      assert.is_nil(output:find("hidden", 1, true))
    end
    local status, output = run("--api-key-file /no/such/file")
    assert.equal(2, status)
    assert.matches("/no/such/file: No such file", output)
    assert.equal(2, (run("--api-key-file")))
  end)
end)

describe("two dev servers", function()
  it("do not know each other's jobs", function()
    local one <close> = helper.start()
    local other <close> = helper.start()
    local first <close> = arvak.connect(one.address)
    local second <close> = arvak.connect(other.address)
    local job_id = assert(first:submit_qasm(bell, "simulator"))
    assert.equal("job_not_found", select(2, second:get_job_status(job_id)).kind)
  end)
end)

describe("a dev server that stops", function()
  -- Once in some hundred stops a call was just then being answered by the thread of the timers.
  it("may do so while calls time out", function()
    for _ = 1, 200 do
      local server <close> = helper.start()
      server:fault { rpc = "ListBackends", hang = "before" }
      local client <close> = arvak.connect(server.address)
      assert.is_true(client:wait_for_ready(TEST_TIMEOUT))
      local futures = {}
      for i = 1, 50 do futures[i] = client.async:list_backends { timeout = math.random() * 0.003 } end
      arvak.poll(0.002)
      server:stop()
      for _, f in ipairs(futures) do assert.is_nil((f:result(TEST_TIMEOUT))) end
    end
    helper.assert_clean()
  end)
end)
