-- Proxies that the environment names: servers of this machine are reached without them, the others through them.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"
local socket = require "socket"

local LUA = os.getenv "LUA" or "lua5.4"

-- Starts a program that asks the server at an address, behind the proxy that every variable of gRPC's names. Its output
-- is what came of the call.
local function ask(address, proxy)
  local program = ([[
    local client <close> = require("arvak").connect(%q, { timeout = 10 })
    local backends, err = client:list_backends()
    print(backends and backends[1].backend_id or err)
  ]]):format(address)
  local variables = {}
  for _, name in ipairs { "grpc_proxy", "https_proxy", "http_proxy" } do
    variables[#variables + 1] = ("%s=%s"):format(name, proxy)
  end
  return assert(io.popen(("env -u no_proxy -u no_grpc_proxy GRPC_DNS_RESOLVER=native %s %s -e '%s' 2>&1"):format(
    table.concat(variables, " "), LUA, program)))
end

local function outcome(...)
  local pipe <close> = ask(...)
  return pipe:read "l"
end

describe("a proxy in the environment", function()
  local nowhere = "http://127.0.0.1:9"   -- nobody listens there

  local function port_of(server) return server.address:match ":(%d+)$" end

  it("is not asked for the way to an embedded server", function()
    assert.equal("simulator", outcome("embedded", nowhere))
  end)

  for _, host in ipairs { "127.0.0.1", "127.0.0.2", "127.1", "localhost", "LocalHost", "0.0.0.0",
      "dns:///localhost", "ipv4:127.0.0.3", "ipv4:///127.0.0.1" } do
    it("is not asked for the way to " .. host, function()
      local server <close> = helper.start { address = "0.0.0.0:0" }
      assert.equal("simulator", outcome(host .. ":" .. port_of(server), nowhere))
    end)
  end

  it("is not asked for the way to a list of addresses of this machine", function()
    local server <close> = helper.start()
    local port = port_of(server)
    assert.equal("simulator", outcome(("ipv4:127.0.0.1:%s,127.0.0.2:%s"):format(port, port), nowhere))
  end)

  it("is not asked for the way to this machine by IPv6", function()
    local server <close> = require("arvak.devserver").start { address = "[::1]:0" }
    if not server then return pending("no IPv6 here") end
    for _, spelling in ipairs { "[::1]:%s", "[0:0:0:0:0:0:0:1]:%s", "ipv6:[::1]:%s" } do
      assert.equal("simulator", outcome(spelling:format(port_of(server)), nowhere))
    end
  end)

  it("is not asked for the way to a unix socket", function()
    local path = os.tmpname()
    os.remove(path)
    local server <close> = helper.start { unix = path }
    finally(function() os.remove(path) end)
    assert.equal("simulator", outcome("unix:" .. path, nowhere))
    assert.equal(path, server.unix_address:sub(6))
  end)

  for _, address in ipairs { "192.0.2.1:50051", "dns:///server.example:50051", "localhost.example:1", "128.0.0.1:1",
      "[2001:db8::1]:50051" } do
    it("leads to " .. address, function()
      local proxy = assert(socket.bind("127.0.0.1", 0))
      proxy:settimeout(helper.TEST_TIMEOUT)
      local _, port = proxy:getsockname()
      local pipe <close> = ask(address, "http://127.0.0.1:" .. port)
      local connection = assert(proxy:accept())
      connection:settimeout(helper.TEST_TIMEOUT)
      local target = address:gsub("^dns:///", "")
      assert.matches(("CONNECT %s HTTP/1"):format(target:gsub("%p", "%%%0")), assert(connection:receive "*l"))
      connection:send "HTTP/1.1 403 Forbidden\r\n\r\n"
      connection:close()
      proxy:close()
      assert.matches("UNAVAILABLE", pipe:read "l")
    end)
  end
end)
