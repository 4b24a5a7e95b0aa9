-- Keys and metadata values appear in no error, no text of an object and no output.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local SECRET = "s3cr3t-t0ken"

-- Everything that can be read of a value: its text, and the fields of tables and metatables.
local function leaks(value, seen)
  seen = seen or {}
  if type(value) == "string" then return value:find(SECRET, 1, true) ~= nil end
  if seen[value] or value == nil then return false end
  seen[value] = true
  if tostring(value):find(SECRET, 1, true) then return true end
  if type(value) ~= "table" then return false end
  for key, item in next, value do
    if leaks(key, seen) or leaks(item, seen) then return true end
  end
  return false
end

local function assert_silent(...)
  for _, value in ipairs { ... } do
    assert.is_false(leaks(value), "the secret is in " .. tostring(value))
  end
end

local ways = {
  ["a key"] = { api_key = SECRET },
  ["a key function"] = { api_key = function() return SECRET end },
  ["metadata"] = { metadata = { ["x-api-key"] = SECRET, ["x-team"] = SECRET } },
  ["a metadata function"] = { metadata = function() return { ["x-api-key"] = SECRET } end },
}

describe("the search for secrets", function()
  it("finds one in a text, a field, a nested field, a key and a tostring", function()
    for _, value in ipairs { "a " .. SECRET, { SECRET }, { a = { b = SECRET } }, { [SECRET] = 1 },
      setmetatable({}, { __tostring = function() return SECRET end }) } do
      assert.is_true(leaks(value))
    end
    assert.is_false(leaks({ "a", { "b" } }))
  end)
end)

for way, options in pairs(ways) do
  describe(("a secret given as %s"):format(way), function()
    local server, client

    before_each(function()
      server = helper.start { api_key = "another" }
      client = arvak.connect(server.address, options)
    end)

    after_each(function()
      client:close()
      server:stop()
      client = nil
      helper.assert_clean()
    end)

    it("is in no error of a server that refuses it", function()
      for _, call in ipairs {
        { "submit_qasm", bell, "simulator" }, { "submit_batch", { { bell } }, "simulator" }, { "get_job_status", "j" },
        { "get_job_result", "j" }, { "cancel_job", "j" }, { "list_backends" }, { "get_backend_info", "simulator" },
        { "execute", bell, "simulator" }, { "wait_for_job", "j" },
      } do
        local _, err = client[call[1]](client, table.unpack(call, 2))
        assert.equal("unauthenticated", err.kind)
        assert_silent(err)
        local f = client.async[call[1]](client.async, table.unpack(call, 2))
        assert_silent(f:exception(TEST_TIMEOUT), tostring(f))
      end
    end)

    it("is in no error of a broken link, a timeout, a cancel or a close", function()
      server:fault { drop = true, count = 1 }
      assert_silent(select(2, client:list_backends()))
      server:fault { hang = true }
      assert_silent(select(2, client:list_backends { timeout = 0.02 }))
      local canceled, closed = client.async:list_backends(), client.async:list_backends()
      canceled:cancel()
      client:close()
      assert_silent(canceled:exception(TEST_TIMEOUT), closed:exception(TEST_TIMEOUT))
    end)

    it("is in no text of the client, nor in its figures", function()
      client:list_backends()
      assert_silent(tostring(client), client:stats(), tostring(client.async))
      client:close()
      assert_silent(tostring(client))
    end)

    it("is in no error about a misused method", function()
      for _, fn in ipairs {
        function() client:list_backends { nonsense = 1 } end, function() client:submit_qasm(5) end,
        function() client.list_backends(options) end,
      } do
        local ok, err = pcall(fn)
        assert.is_false(ok)
        assert_silent(err)
      end
    end)
  end)
end

describe("a secret in a place where it does not belong", function()
  after_each(helper.assert_clean)

  -- One misuse each: what connect, or a call with these options, raises.
  local connects = {
    ["a key with a line feed"] = { api_key = SECRET .. "\n" },
    ["a key in a table"] = { api_key = { SECRET } },
    ["a metadata value with a NUL byte"] = { metadata = { ["x-team"] = SECRET .. "\0" } },
    ["a metadata value in a table"] = { metadata = { ["x-team"] = { SECRET } } },
    ["a value of metadata with a bad name"] = { metadata = { ["X-Team"] = SECRET } },
    ["a value of metadata in a list"] = { metadata = { SECRET } },
  }
  local repeated_connects = {
    ["a text as metadata"] = { metadata = "x-api-key: " .. SECRET },
    ["a private key without its PEM frame"] = { tls = { cert = "-----BEGIN CERTIFICATE-----", key = SECRET } },
    ["a key in place of the options"] = SECRET,
  }
  for what, options in pairs(connects) do
    it(("is in no error: %s"):format(what), function()
      local ok, err = pcall(arvak.connect, "localhost:1", options)
      assert.is_false(ok)
      assert_silent(err)
    end)
  end

  for what, options in pairs(repeated_connects) do
    it(("is in no error: %s"):format(what), function()
      local ok, err = pcall(arvak.connect, "localhost:1", options)
      assert.is_false(ok)
      assert_silent(err)
    end)
  end

  it("is in no error of a call: a text as options, as metadata, or given as metadata by a function", function()
    local client <close> = arvak.connect("localhost:1")
    local asking <close> = arvak.connect("localhost:1", { metadata = function() return SECRET end })
    assert_silent(select(2, pcall(client.list_backends, client, SECRET)))
    assert_silent(select(2, pcall(client.list_backends, client, { metadata = SECRET })))
    assert_silent(select(2, pcall(asking.list_backends, asking)))
  end)

  local calls = {
    ["a bad value"] = { metadata = { ["x-team"] = SECRET .. "\r\n" } },
    ["a bad name"] = { metadata = { ["X Team"] = SECRET } },
  }
  for what, options in pairs(calls) do
    it(("is in no error of a call: %s"):format(what), function()
      local client <close> = arvak.connect("localhost:1")
      local ok, err = pcall(client.list_backends, client, options)
      assert.is_false(ok)
      assert_silent(err)
    end)
  end

  for what, give in pairs {
    ["with a line feed"] = { api_key = function() return SECRET .. "\n" end },
    ["in a table"] = { api_key = function() return { SECRET } end },
    ["as a metadata value that is no header"] = { metadata = function() return { ["x-team"] = SECRET .. "\n" } end },
  } do
    it(("is in no error when a function gives it %s"):format(what), function()
      local asking <close> = arvak.connect("localhost:1", give)
      local ok, err = pcall(asking.list_backends, asking)
      assert.is_false(ok)
      assert_silent(err)
    end)
  end

  it("is not in the text of an error whose cause holds it", function()
    local client <close> = arvak.connect("localhost:1", { api_key = function() error("no token: " .. SECRET) end })
    local _, err = client:list_backends()
    assert.equal("unauthenticated", err.kind)
    assert.is_nil(tostring(err):find(SECRET, 1, true))
  end)
end)

describe("the output of a process", function()
  it("holds no secret, even with gRPC's log turned up", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write(([[
      local arvak, devserver = require "arvak", require "arvak.devserver"
      local server = devserver.start { api_key = "another" }
      local client = arvak.connect(server.address, { api_key = %q, metadata = { ["x-team"] = %q } })
      print(client, select(2, client:list_backends()), select(2, client:execute("x", "simulator")))
      print(pcall(client.list_backends, client, { nonsense = 1 }))
      server:fault { drop = true }
      print(select(2, client:list_backends()))
      client:close()
      server:stop()
      print("the end")
    ]]):format(SECRET, SECRET))
    file:close()
    local run = ("GRPC_VERBOSITY=INFO LUA_CPATH_5_4='%s' '%s' %s 2>&1")
      :format(package.cpath, os.getenv("LUA") or "lua5.4", script)
    local pipe = assert(io.popen(run))
    local output = pipe:read("a")
    pipe:close()
    os.remove(script)
    assert.matches("UNAUTHENTICATED", output)
    assert.matches("the end", output)
    assert.is_nil(output:find(SECRET, 1, true))
  end)
end)
