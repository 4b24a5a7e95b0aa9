-- Connecting: addresses, options, credentials, time limits, and servers that are not there.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local monotime = require("system").monotime

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local server, client

local _, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function port_of(address) return address:match(":(%d+)$") end

-- A port that nothing listens on.
local function free_port()
  local probe = helper.start()
  local port = port_of(probe.address)
  probe:stop()
  return port
end

describe("an address", function()
  after_each(close)

  local spellings = {
    ["host:port"] = "localhost:%s", ["an IPv4 address"] = "127.0.0.1:%s", ["dns:///"] = "dns:///localhost:%s",
    ["dns:"] = "dns:127.0.0.1:%s", ["ipv4:"] = "ipv4:127.0.0.1:%s", ["ipv4:///"] = "ipv4:///127.0.0.1:%s",
  }
  for name, spelling in pairs(spellings) do
    it(("may be spelled as %s"):format(name), function()
      server = helper.start()
      local address = spelling:format(port_of(server.address))
      client = arvak.connect(address)
      assert.equal(5, client:execute(bell, "simulator", 5).shots)
      assert.equal(("arvak.client (%s)"):format(address), tostring(client))
      assert.equal(address, select(2, client:get_job_status("j")).target)
    end)
  end

  it("may be a list of which only some answer", function()
    server = helper.start()
    client = arvak.connect(("ipv4:127.0.0.1:%s,127.0.0.1:%s"):format(free_port(), port_of(server.address)))
    assert.equal(5, client:execute(bell, "simulator", 5).shots)
  end)

  it("may be IPv6, in brackets", function()
    server = require("arvak.devserver").start { address = "[::1]:0", seed = 1 }
    if not server then return pending("no IPv6 here") end
    local port = port_of(server.address)
    for _, spelling in ipairs { "[::1]:%s", "ipv6:[::1]:%s" } do
      client = arvak.connect(spelling:format(port))
      assert.equal(5, client:execute(bell, "simulator", 5).shots)
      client:close()
    end
  end)

  it("may be a unix socket, absolute or relative", function()
    local path = os.tmpname()
    os.remove(path)
    server = helper.start { unix = path .. ".sock" }
    for _, spelling in ipairs { "unix:" .. path .. ".sock", "unix://" .. path .. ".sock" } do
      client = arvak.connect(spelling)
      assert.equal(5, client:execute(bell, "simulator", 5).shots)
      client:close()
    end
    local name = "spec-" .. tostring(server):gsub("%W", "") .. ".sock"
    server:stop()
    server = helper.start { unix = name }
    client = arvak.connect("unix:" .. name)
    assert.equal(5, client:execute(bell, "simulator", 5).shots)
    os.remove(name)
    os.remove(path .. ".sock")
  end)

  it("may be a unix socket whose path holds what means something to others", function()
    local folder = os.tmpname()
    os.remove(folder)
    assert.is_true(os.execute("mkdir " .. folder))
    for _, name in ipairs { "a b", "a{b}", "é", 'q"x', "a|b", "a\\b", "a%41", "a[1]", "a:b", "a@b", "a;b=c", "a&b",
        "a#b?c", "a'b", "a\1b", "unix:", "%2C" } do
      local path = folder .. "/" .. name
      server = helper.start { unix = path }
      client = arvak.connect("unix:" .. path, { timeout = TEST_TIMEOUT })
      assert.is_table(client:list_backends(), name)
      client:close()
      server:stop()
      os.remove(path)
    end
    os.remove(folder)
  end)

  it("may be \"embedded\": a server in this process, which ends with its client", function()
    client = arvak.connect("embedded")
    local port = port_of(tostring(client):match("%((.*)%)"))
    for _ = 1, 150 do assert.is_truthy(client:submit_qasm(bell, "simulator", 1)) end   -- no admission limits
    assert.equal(5, client:execute(bell, "simulator", 5).shots)
    client:close()
    client = arvak.connect("127.0.0.1:" .. port, { timeout = 0.3 })
    assert.equal("unavailable", select(2, client:list_backends()).kind)
  end)

  local without = 'address: expected a host and a port without "%s", as in "localhost:50051"'
  local refusals = {
    ["http://localhost:50051"] = without:format "http://",
    ["HTTP://H:1"] = without:format "http://",
    ["https://h:443"] = without:format "https://" .. ", and the option tls",
    ["grpc://h:1"] = without:format "grpc://",
    ["grpcs://h:1"] = without:format "grpcs://" .. ", and the option tls",
    ["tcp://h:1"] = without:format "tcp://",
    ["http://h:1/path"] = without:format "http://",
    ["http:///h:1"] = without:format "http://",
    ["dns://1.1.1.1/h:1"] = 'address: expected "dns:///host:port": no DNS server can be named',
    ["ipv4://1.1.1.1:1"] = 'address: expected "ipv4:127.0.0.1:50051", without slashes or with three',
    ["unix://a/b"] = 'address: expected an absolute path after "unix://", as in "unix:///run/arvak.sock"',
    ["ftp://h:1"] = 'address: expected "host:port", "dns:///host:port"',
    ["xds:///h:1"] = 'address: expected "host:port", "dns:///host:port"',
    ["://"] = 'address: expected "host:port", "dns:///host:port"',
    ["h:1/"] = 'address: expected nothing after the port, as in "localhost:50051"',
    ["dns:///"] = "address: expected a host name, an IPv4 address or an IPv6 address in brackets",
    ["dns:///h"] = "address: expected a port from 1 to 65535 after the host",
  }
  for address, reason in pairs(refusals) do
    it(("may not be %s, and it is said what to write"):format(address), function()
      local ok, message = pcall(arvak.connect, address)
      assert.is_false(ok)
      assert.truthy(message:find(reason, 1, true), message)
      assert.truthy(message:find(('got "%s"'):format(address), 1, true), message)
    end)
  end

  it("may not be \"embedded\" with bad options", function()
    assert.error_matches(function() arvak.connect("embedded", { pool = 1 }) end, 'connect: unknown option "pool"')
    collectgarbage()
  end)
end)

describe("connecting", function()
  after_each(close)

  it("opens nothing and waits for nothing", function()
    local started_at = monotime()
    client = arvak.connect("no-such-host.invalid:1")
    assert.is_true(monotime() - started_at < TEST_TIMEOUT)
    assert.equal(0, client:stats().connections.open)
  end)

  it("opens at most pool_size real connections, and more than one only when many calls are in flight", function()
    server = helper.start()
    client = arvak.connect(server.address, { pool_size = 3 })
    for _ = 1, 20 do assert.is_truthy(client:list_backends()) end
    assert.equal(1, server:stats().connections_total)
    server:fault { rpc = "ListBackends", latency = 0.05 }
    for _ = 1, 3 do
      arvak.run(function()
        for _ = 1, 128 do arvak.spawn(client.list_backends, client) end
      end)
    end
    assert.equal(3, client:stats().connections.open)
    assert.equal(3, server:stats().connections_total)
    client:close()
    helper.eventually(function() return server:stats().connections_open == 0 end)
  end)

  it("passes channel_args through to gRPC, where they go before the client's own", function()
    server = helper.start()
    client = arvak.connect(server.address, { channel_args = { ["grpc.max_receive_message_length"] = 100,
      ["grpc.keepalive_permit_without_calls"] = true, ["grpc.primary_user_agent"] = "spec" } })
    local _, err = client:list_backends()
    assert.equal("resource_exhausted", err.kind)
    assert.is_false(err.retryable)
  end)
end)

describe("a server that is not there", function()
  after_each(close)

  it("is unavailable, within the timeout, and nothing was executed", function()
    client = arvak.connect("127.0.0.1:" .. free_port(), { timeout = TEST_TIMEOUT })
    local started_at = monotime()
    local job_id, err = client:submit_qasm(bell, "simulator")
    assert.is_nil(job_id)
    assert.equal("unavailable", err.kind)
    assert.is_false(err.maybe_executed)
    assert.is_true(err.retryable)
    assert.is_true(monotime() - started_at < TEST_TIMEOUT)
  end)

  it("is unavailable when the host does not resolve, and nothing was executed", function()
    client = arvak.connect("no-such-host.invalid:50051", { timeout = TEST_TIMEOUT })
    local _, err = client:submit_qasm(bell, "simulator")
    assert.equal("unavailable", err.kind)
    assert.is_false(err.maybe_executed)
  end)

  it("is unavailable when the unix socket does not exist", function()
    client = arvak.connect("unix:/no/such/socket", { timeout = TEST_TIMEOUT })
    local _, err = client:submit_qasm(bell, "simulator")
    assert.equal("unavailable", err.kind)
    assert.is_false(err.maybe_executed)
  end)

  it("makes wait_for_ready give a timeout", function()
    client = arvak.connect("127.0.0.1:" .. free_port())
    local ready, err = client:wait_for_ready(0.05)
    assert.is_nil(ready)
    assert.equal("timeout", err.kind)
    assert.equal("wait", err.scope)
  end)

  it("is found by wait_for_ready and by the calls after it once it comes", function()
    local port = free_port()
    client = arvak.connect("127.0.0.1:" .. port)
    assert.equal("unavailable", select(2, client:list_backends()).kind)
    server = helper.start { address = "127.0.0.1:" .. port }
    assert.is_true(client:wait_for_ready(TEST_TIMEOUT))
    assert.equal(1, #client:list_backends())
  end)

  it("is found again after a restart", function()
    server = helper.start()
    local port = port_of(server.address)
    client = arvak.connect(server.address)
    assert.is_truthy(client:list_backends())
    server:stop()
    server = nil
    assert.equal("unavailable", select(2, client:list_backends()).kind)
    server = helper.start { address = "127.0.0.1:" .. port }
    assert.is_true(client:wait_for_ready(TEST_TIMEOUT))
    assert.equal(1, #client:list_backends())
  end)

  it("because it was stopped during a call leaves the call's outcome unknown", function()
    server = helper.start()
    client = arvak.connect(server.address)
    server:fault { rpc = "SubmitJob", latency = 60 }
    local f = client.async:submit_qasm(bell, "simulator")
    helper.eventually(function() return server:stats().calls.SubmitJob == 1 end)
    server:stop()
    local job_id, err = f:result(TEST_TIMEOUT)
    assert.is_nil(job_id)
    assert.equal("unavailable", err.kind)
    assert.is_true(err.maybe_executed)
    assert.is_false(err.retryable)
  end)
end)

describe("time limits", function()
  after_each(close)

  before_each(function() server = helper.start() end)

  local function hang()
    server:fault { hang = true }
  end

  it("the client's timeout bounds each call to a hung server, whose outcome is unknown", function()
    client = arvak.connect(server.address, { timeout = 0.05 })
    hang()
    local started_at = monotime()
    local _, err = client:submit_qasm(bell, "simulator")
    assert.equal("timeout", err.kind)
    assert.equal("call", err.scope)
    assert.equal("DEADLINE_EXCEEDED", err.name)
    assert.is_true(err.maybe_executed)
    assert.is_false(err.retryable)
    assert.is_true(err.elapsed >= 0.05)
    assert.is_true(monotime() - started_at < TEST_TIMEOUT)
    _, err = client:list_backends()
    assert.equal("timeout", err.kind)
    assert.is_true(err.retryable)
  end)

  it("a call's own timeout goes before the client's, in both directions", function()
    client = arvak.connect(server.address, { timeout = 0.05 })
    server:fault { latency = 0.1, rpc = "ListBackends" }
    assert.is_truthy(client:list_backends { timeout = TEST_TIMEOUT })
    assert.equal("timeout", select(2, client:list_backends()).kind)
    local patient <close> = arvak.connect(server.address)
    assert.equal("timeout", select(2, patient:list_backends { timeout = 0.02 }).kind)
  end)

  it("queue_timeout bounds the time without a slot, in which nothing was sent", function()
    client = arvak.connect(server.address, { max_concurrent_rpcs = 1, queue_timeout = 0.02 })
    hang()
    local blocker = client.async:list_backends()
    local _, err = client:submit_qasm(bell, "simulator")
    assert.equal("timeout", err.kind)
    assert.equal("queue", err.scope)
    assert.is_false(err.maybe_executed)
    assert.is_true(err.retryable)
    assert.equal(0, err.attempts)
    assert.is_true(err.elapsed >= 0.02)
    blocker:cancel()
    helper.eventually(function() return arvak._counts().calls == 0 end)
    assert.equal(0, server:stats().calls.SubmitJob)
  end)

  it("timeout starts when the call has left the queue", function()
    client = arvak.connect(server.address, { max_concurrent_rpcs = 1, timeout = 0.6 })
    server:fault { latency = 0.1 }
    local ok = 0
    arvak.run(function()
      for _ = 1, 8 do arvak.spawn(function() if client:list_backends() then ok = ok + 1 end end) end
    end)
    assert.equal(8, ok)
  end)

  it("a hundred years and infinity are times like others", function()
    client = arvak.connect(server.address, { timeout = math.huge, queue_timeout = 1e12 })
    assert.is_truthy(client:list_backends { timeout = 3e9 })
    assert.is_truthy(client:execute(bell, "simulator", { max_wait = math.huge, timeout = math.huge }))
    assert.is_true(client.async:list_backends():wait(math.huge))
  end)
end)

describe("credentials", function()
  before_each(function() server = helper.start { api_key = "right" } end)
  after_each(close)

  it("api_key is sent with every call, as x-api-key", function()
    client = arvak.connect(server.address, { api_key = "right" })
    assert.equal(5, client:execute(bell, "simulator", 5).shots)
    assert.equal(1, #client.async:list_backends():result(TEST_TIMEOUT))
  end)

  it("metadata is sent with every call", function()
    client = arvak.connect(server.address, {
      metadata = { ["x-api-key"] = "right", ["x-team"] = "qc", ["x-bytes-bin"] = "\0\xff" },
    })
    assert.equal(5, client:execute(bell, "simulator", 5).shots)
  end)

  it("functions are asked at each call, so that tokens may change", function()
    local asked, key = { key = 0, metadata = 0 }, "wrong"
    client = arvak.connect(server.address, {
      api_key = function()
        asked.key = asked.key + 1
        return key
      end,
      metadata = function()
        asked.metadata = asked.metadata + 1
        return { ["x-request-id"] = "n" .. asked.metadata }
      end,
    })
    assert.equal("unauthenticated", select(2, client:list_backends()).kind)
    key = "right"
    assert.is_truthy(client:list_backends())
    arvak.run(function()
      arvak.spawn(client.list_backends, client)
      client.async:list_backends():result()
    end)
    assert.same({ key = 4, metadata = 4 }, asked)
  end)

  it("functions may give nil for nothing", function()
    client = arvak.connect(server.address, { api_key = function() end, metadata = function() end })
    assert.equal("unauthenticated", select(2, client:list_backends()).kind)
  end)

  it("a function that raises ends the call as unauthenticated, with the cause, and nothing is sent", function()
    local object = {}
    for _, option in ipairs { "api_key", "metadata" } do
      client = arvak.connect(server.address, { [option] = function() error(object) end })
      local value, err = client:list_backends()
      assert.is_nil(value)
      assert.equal("unauthenticated", err.kind)
      assert.equal(object, err.cause)
      assert.equal("unauthenticated", client.async:list_backends():exception(TEST_TIMEOUT).kind)
      client:close()
    end
    assert.equal(0, server:stats().calls.ListBackends)
  end)

  it("a function that raises gives an error that names RPC, address and attempts as others do", function()
    client = arvak.connect(server.address, { api_key = function() error("no token") end })
    local _, err = client:list_backends()
    assert.equal("ListBackends", err.rpc)
    assert.equal(server.address, err.target)
    assert.equal(0, err.attempts)
  end)

  it("a function must not wait", function()
    client = arvak.connect(server.address, { api_key = function() return (client:list_backends()) end })
    local _, err = client:list_backends()
    assert.equal("unauthenticated", err.kind)
    assert.matches("list_backends: a hook must not wait", err.cause)
  end)

  it("a function that gives something else is misuse, which names the option", function()
    client = arvak.connect(server.address, { api_key = function() return 5 end })
    assert.error_matches(function() client:list_backends() end, "api_key: the function gave a number")
    client:close()
    client = arvak.connect(server.address, { metadata = function() return { ["X-A"] = "b" } end })
    assert.error_matches(function() client:list_backends() end, 'metadata%["X%-A"%]: expected a lower%-case')
  end)

  -- Whatever the client was made with, the call's own metadata is what is sent.
  local weaker = {
    ["the client's api_key"] = { api_key = "wrong" },
    ["the client's metadata"] = { metadata = { ["x-api-key"] = "wrong" } },
    ["an api_key function"] = { api_key = function() return "wrong" end },
    ["a metadata function"] = { metadata = function() return { ["x-api-key"] = "wrong" } end },
    ["both functions"] = {
      api_key = function() return "wrong" end,
      metadata = function() return { ["x-api-key"] = "wrong" } end,
    },
  }
  for name, options in pairs(weaker) do
    it(("metadata of a call overrides %s"):format(name), function()
      client = arvak.connect(server.address, options)
      assert.equal("unauthenticated", select(2, client:list_backends()).kind)
      assert.is_truthy(client:list_backends { metadata = { ["x-api-key"] = "right" } })
      assert.is_truthy(client:execute(bell, "simulator", { metadata = { ["x-api-key"] = "right" } }))
      assert.equal("unauthenticated", select(2, client:list_backends { metadata = { ["x-team"] = "qc" } }).kind)
    end)
  end
end)
