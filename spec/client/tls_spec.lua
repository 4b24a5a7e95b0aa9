-- TLS and mutual TLS: what fits works, and what does not says what it is.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local certificates = require "spec.support.certificates"
local helper = require "spec.helper"

local path, text = certificates.path, certificates.text
local server, client

local _, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

local function serve(name, options)
  options = options or {}
  if name then options.tls_cert, options.tls_key = path(name), path(name, "key") end
  server = helper.start(options)
end

local function connect(tls)
  client = arvak.connect("localhost:" .. server.address:match(":(%d+)$"), { tls = tls, timeout = helper.TEST_TIMEOUT })
end

-- The error of a first call, which must be that no connection could be made, with these words in its message.
local function assert_refused(words)
  local value, err = client:list_backends()
  assert.is_nil(value)
  assert.equal("unavailable", err.kind)
  assert.is_false(err.maybe_executed)
  assert.truthy(err.message:find(words, 1, true), ("%q is not in %q"):format(words, err.message))
end

describe("tls", function()
  after_each(close)
  teardown(certificates.remove)

  it("works with a certificate given as a path or as PEM text", function()
    serve("server")
    connect { ca = path("ca") }
    assert.equal(7, assert(client:execute(helper.bell, "simulator", 7)).shots)
    client:close()
    connect { ca = text("ca") }
    assert.truthy(client:list_backends())
  end)

  it("works for a certificate of another name when server_name says so", function()
    serve("elsewhere")
    connect { ca = path("ca"), server_name = "elsewhere.test" }
    assert.truthy(client:list_backends())
  end)

  it("works with many calls over several connections", function()
    serve("server")
    connect { ca = path("ca") }
    arvak.run(function()
      for _ = 1, 100 do arvak.spawn(function() assert(client:list_backends()) end) end
    end)
    assert.equal(0, client:stats().failures)
  end)

  it("refuses a server whose certificate is of another CA", function()
    serve("server")
    connect { ca = path("other_ca") }
    assert_refused("not signed by a certificate of tls.ca")
  end)

  it("refuses a server that the system's certificates do not know", function()
    serve("server")
    connect(true)
    assert_refused("not signed by a certificate of tls.ca (or the system's)")
  end)

  it("refuses a certificate for another host", function()
    serve("elsewhere")
    connect { ca = path("ca") }
    assert_refused("the server's certificate is for another host")
  end)

  it("refuses an expired certificate", function()
    serve("expired")
    connect { ca = path("ca") }
    assert_refused("has expired")
  end)

  it("says that a server does not speak it", function()
    serve(nil)
    connect { ca = path("ca") }
    assert_refused("does not speak TLS")
  end)

  it("is named as what a plain client may lack", function()
    serve("server")
    connect(nil)
    assert_refused("it may expect TLS")
  end)

  it("says that certificates cannot be used", function()
    serve("server")
    connect { ca = "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n" }
    assert_refused("cannot be used")
    client:close()
    connect { ca = path("ca"), cert = path("client"), key = path("stranger", "key") }
    assert_refused("a key that does not belong to its certificate")
  end)
end)

describe("mutual tls", function()
  after_each(close)
  teardown(certificates.remove)

  it("works with a client certificate of the server's CA", function()
    serve("server", { tls_client_ca = path("ca") })
    connect { ca = path("ca"), cert = path("client"), key = path("client", "key") }
    assert.truthy(client:list_backends())
  end)

  it("says that a client certificate may be missing", function()
    serve("server", { tls_client_ca = path("ca") })
    connect { ca = path("ca") }
    assert_refused("may demand a client certificate")
  end)

  it("refuses a client certificate of another CA", function()
    serve("server", { tls_client_ca = path("ca") })
    connect { ca = path("ca"), cert = path("stranger"), key = path("stranger", "key") }
    assert_refused("may demand a client certificate of its own CA")
  end)
end)

describe("a tls option that cannot be right", function()
  teardown(certificates.remove)

  local function message_of(tls)
    local ok, err = pcall(arvak.connect, "localhost:1", { tls = tls })
    assert.is_false(ok)
    return err
  end

  it("is misuse that names the field", function()
    assert.truthy(message_of("yes"):find('tls: got a string of 3 bytes, expected true or a table', 1, true))
    assert.truthy(message_of({ crt = "x" }):find('tls: unknown option "crt"', 1, true))
    assert.truthy(message_of({ ca = 5 }):find("tls.ca: got 5, expected PEM text or a path", 1, true))
    for _, path_of in ipairs { "/nonexistent", "/dev/null" } do
      local expected = ('tls.ca: "%s" is neither PEM text nor a file that can be read'):format(path_of)
      assert.truthy(message_of({ ca = path_of }):find(expected, 1, true))
    end
    assert.truthy(message_of({ cert = text("client") }):find("tls: expected cert and key together", 1, true))
  end)
end)
