-- A store on PostgreSQL over TCP and TLS.
-- SPDX-License-Identifier: Apache-2.0
local certificates = require "spec.support.certificates"
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"
local stores = require "spec.support.stores"

describe("a PostgreSQL that speaks TLS", function()
  local cluster
  setup(function()
    cluster = clusters.start({ tls = { cert = certificates.path("server"), key = certificates.path("server", "key") } })
  end)
  teardown(function()
    cluster:remove()
    certificates.remove()
  end)
  after_each(helper.assert_clean)

  local function name(ca)
    return cluster:name(nil, { host = "127.0.0.1", sslmode = "verify-full", sslrootcert = certificates.path(ca) })
  end

  it("carries out transactions of any size", function()
    local store, outcome = stores.open("postgres", name("ca"))
    assert.is_true(outcome.ok, outcome.message)
    local text = ("0123456789abcdef"):rep(1 << 18)   -- 4 MiB
    for _ = 1, 3 do
      outcome = stores.run(store, "write", { { "SELECT ssl, length($1) AS size, $1 AS text FROM pg_stat_ssl " ..
        "WHERE pid = pg_backend_pid()", text } })
      assert.is_true(outcome.ok, outcome.message)
      assert.same({ true, #text }, { outcome[1][1].ssl, outcome[1][1].size })
      assert.is_true(outcome[1][1].text == text)
    end
    store:abandon()
  end)

  it("learns from its own keepalives that a client is gone, within a transaction's idle_timeout", function()
    local store = stores.open("postgres", name("ca"), { idle_timeout = 12 })
    local sql = "SELECT current_setting('tcp_keepalives_idle') AS idle, " ..
      "current_setting('tcp_keepalives_interval') AS every, current_setting('tcp_keepalives_count') AS count"
    assert.same({ idle = "6", every = "2", count = "3" }, stores.run(store, "write", { { sql } })[1][1])
    assert.are_not.equal("6", stores.run(store, "raw", { { sql } })[1][1].idle)
    store:abandon()
  end)

  it("is not trusted with a certificate of somebody else", function()
    local store, outcome = stores.open("postgres", name("other_ca"))
    assert.same({ false, "io" }, { outcome.ok, outcome.what })
    assert.matches("certificate verify failed", outcome.message)
    store:abandon()
  end)
end)
