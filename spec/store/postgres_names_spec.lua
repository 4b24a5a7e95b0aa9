-- The name of a database on PostgreSQL, and why it could not be opened: said clearly, and without a password.
-- SPDX-License-Identifier: Apache-2.0
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"
local proxies = require "spec.support.proxy"
local stores = require "spec.support.stores"

local SECRET = "Open53same"   -- a password; no word of it stands in any other text here

local cluster

setup(function()
  cluster = clusters.start({ settings = { max_connections = 8, superuser_reserved_connections = 1 } })
  cluster:sql(("CREATE USER locked PASSWORD '%s'; CREATE USER guest; CREATE TABLE private (k int)"):format(SECRET))
end)
teardown(function() cluster:remove() end)
after_each(helper.assert_clean)

-- Opens a store that cannot be opened; its outcome, which shows no piece of the secret.
local function refuse(where, options)
  local store, outcome = stores.open("postgres", where, options)
  store:abandon()
  assert.same({ 0, false }, { outcome.id, outcome.ok })
  for first = 1, #SECRET - 3 do
    local piece = SECRET:sub(first, first + 3)
    assert.is_nil(outcome.message:find(piece, 1, true), outcome.message)
  end
  return outcome
end

local function assert_refused(where, what, code, text)
  local outcome = refuse(where)
  assert.same({ what, code }, { outcome.what, outcome.code })
  assert.matches(text, outcome.message)
end

describe("a database that cannot be opened:", function()
  it("it does not exist", function()
    assert_refused(cluster:name("nowhere"), "other", "3D000", 'database "nowhere" does not exist$')
  end)

  it("the user does not exist", function()
    assert_refused(cluster:name(nil, { user = "nobody2" }), "auth", "28000", 'role "nobody2" does not exist$')
  end)

  it("the password is wrong, is missing, or is right for somebody else", function()
    assert_refused(cluster:name(nil, { user = "locked", password = SECRET .. "x" }), "auth", "28P01",
      'password authentication failed for user "locked"$')
    assert_refused(cluster:name(nil, { user = "locked" }), "auth", 0, "no password supplied$")
    local key_values = ("host=%s user=locked dbname=postgres password='%s'"):format(cluster.folder, SECRET)
    local store, outcome = stores.open("postgres", key_values)
    store:abandon()
    assert.is_true(outcome.ok)
    assert_refused(key_values .. "2", "other", 0, "cannot be read")
  end)

  it("the password may come from a file, and be wrong there", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(("*:*:*:locked:%s2\n"):format(SECRET))
    file:close()
    os.execute("chmod 600 " .. path)
    local outcome = refuse(cluster:name(nil, { user = "locked", passfile = path }))
    os.remove(path)
    assert.equal("auth", outcome.what)
  end)

  it("nobody listens there, or there is no such host", function()
    assert_refused("postgresql:///?host=/nowhere", "io", 0, "/nowhere/.s.PGSQL.%d+\" failed: No such file")
    local proxy = proxies.start(cluster)
    proxy:refuse()
    assert_refused(proxy:name(nil, { password = SECRET }), "io", 0, "127.0.0.1.*Connection refused")
    proxy:stop()
    assert_refused(("postgresql://u:%s@host.invalid/db"):format(SECRET), "io", 0, "host.invalid")
  end)

  it("somebody else listens there", function()
    local listener = assert(require("socket").bind("127.0.0.1", 0))
    local _, port = listener:getsockname()
    local name = ("postgresql://u:%s@127.0.0.1:%d/db"):format(SECRET, port)
    local outcome = refuse(name, { connect_timeout = 0.2 })
    assert.same({ "timeout", 0 }, { outcome.what, outcome.code })
    assert.matches("no connection to 127.0.0.1, port %d+, within 1 s", refuse(name .. "?connect_timeout=1").message)
    listener:close()
  end)

  it("it has no connection left", function()
    local held, outcome = {}, { ok = true }
    while outcome.ok and #held < 20 do
      held[#held + 1], outcome = stores.open("postgres", cluster:name(nil, { user = "guest" }))
    end
    for _, store in ipairs(held) do store:abandon() end
    assert.same({ "busy", "53300" }, { outcome.what, outcome.code })
  end)

  it("the first of two hosts is not there, but the second one is: it is opened", function()
    local name = ("host=/nowhere,%s user=arvak dbname=postgres"):format(cluster.folder)
    local store, outcome = stores.open("postgres", name)
    store:abandon()
    assert.is_true(outcome.ok, outcome.message)
  end)
end)

describe("a name that cannot be read", function()
  -- Each has the secret somewhere, as people write it by mistake.
  local NAMES = {
    "postgresql://user:%s/lab",                -- without a host: it would be the port
    "postgresql://user:%s",
    "postgresql://user:Open53/%s@host/lab",    -- a / and an @ that are not written as %2F and %40
    "postgresql://user:Open53@%s@host/lab",
    "postgresql://user:%%zz%s@host/lab",
    "postgresql://user:a?b/%s@host/lab",
    "postgresql://user:a?b/%s=1@host/lab",
    "postgresql://user@host/lab?passwort=%s",
    "postgresql://user@host/lab?%s",
    "postgresql://[%s/lab",
    "postgresql://user:x@host:%s/lab",
    "host=localhost password=two %s",
    "host=localhost passwort=%s",
    "host=localhost password='%s",
    "host=localhost password=a %s=b",
    "%s",
    "port=%s",
    "sslmode=%s host=localhost",
    "connect_timeout=%s host=localhost",
  }

  it("is refused before anybody is asked, and no piece of it is shown", function()
    for _, name in ipairs(NAMES) do
      local outcome = refuse(name:format(SECRET))
      assert.equal("other", outcome.what, name)
      assert.matches("^the name of the database cannot be read: ", outcome.message)
    end
  end)

  it("says what was expected", function()
    assert.matches("expected postgresql://user@host:port/database or key=value pairs", refuse("lab").message)
    assert.matches("in a password write %%2F for / and %%40 for @", refuse("postgresql://u:a@b@h/lab").message)
  end)
end)

describe("a user without rights", function()
  it("is told what is not allowed", function()
    local store = stores.open("postgres", cluster:name(nil, { user = "guest" }))
    local outcome = stores.run(store, "write", { { "SELECT * FROM private" } })
    assert.same({ "auth", "42501", 1 }, { outcome.what, outcome.code, outcome.statement })
    assert.matches("permission denied for table private", outcome.message)
    store:abandon()
  end)
end)

describe("the password", function()
  it("is taken out of a server's text, too", function()
    local store = stores.open("postgres", cluster:name(nil, { user = "locked", password = SECRET }))
    local outcome = stores.run(store, "write", { { ("SELECT '%s'::int"):format(SECRET) } })
    assert.matches('invalid input syntax for type integer: "%*%*%*"', outcome.message)
    store:abandon()
  end)
end)
