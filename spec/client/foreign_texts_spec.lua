-- A gRPC whose texts, and whose version, nobody has seen: what an error says about its request may be more careful than
-- with a version that the tests know, and never less. spec/support/foreign.c replaces the texts.
-- environment: GRPC_POLL_STRATEGY=poll
-- SPDX-License-Identifier: Apache-2.0
local build = os.getenv "ARVAK_BUILD"
build = build:find "^/" and build or "./" .. build
package.cpath = build .. "/test/foreign/?.so;" .. package.cpath
local arvak = require "arvak"
local helper = require "spec.helper"
local deaths = require "spec.support.deaths"
local raw = require "spec.support.peer"
local say = assert(package.loadlib(build .. "/test/foreign/arvak.so", "luaopen_foreign"))()

local TEST_TIMEOUT = helper.TEST_TIMEOUT
local IPV4 = deaths.targets[2]

local peer, client

local function stop()
  if client then client:close() end
  if peer then peer:stop() end
  client, peer = nil, nil
  helper.assert_clean()
end

local function try(case, call)
  peer = deaths.peer_of(IPV4, case)
  client = arvak.connect(IPV4[2](peer), { timeout = case[5] or TEST_TIMEOUT, limiter = false })
  return select(2, call(client))
end

-- Unsent is what the peer has not even begun to read, and an answer what a trailer proves; all else is unknown.
local function check_careful(case, err)
  local expected = case[4]
  assert.is_true(deaths.has_name(case, err, false), err.kind .. " " .. err.name)
  if expected then assert.equal(expected.whole ~= 0 and not case.is_proven, err.maybe_executed) end
  if not err.maybe_executed and not case.is_proven then assert.equal(0, peer:stats().whole) end
  if err.rpc == "SubmitJob" then assert.equal(not err.maybe_executed, err.retryable) end
end

for name, text in pairs { ["without texts"] = "", ["with other texts"] = "the link has gone away" } do
  describe("with a gRPC of an unknown version " .. name, function()
    setup(function() say(text, "999.0.0") end)
    after_each(stop)

    for _, case in ipairs(deaths.cases) do
      for rpc, call in pairs(deaths.rpcs) do
        it(("%s may have been executed unless it was not sent: %s"):format(rpc, case[1]), function()
          check_careful(case, try(case, call))
        end)
      end
    end

    it("retries on connections that die at random execute nothing twice", function()
      local seed = os.time()
      math.randomseed(seed)
      peer = raw.start()
      peer:plan("requests", deaths.random_steps(1000, deaths.random_step))
      peer:plan("connections", deaths.random_steps(500, deaths.random_connection))
      client = arvak.connect(peer:address(), { pool_size = 3, timeout = 5,
        retry = { max_attempts = 8, initial_backoff = 0.005, max_backoff = 0.05 } })
      local seen = deaths.submit_all(client, 100)
      local stats = peer:stats()
      local said = ("seed %d: %d ok, %d maybe, %d none; %d executed, %d twice"):format(seed, seen.ok, seen.maybe,
        seen.none, stats.executed, stats.twice)
      assert.equal(0, stats.twice, said)
      assert.is_true(stats.executed >= seen.ok and stats.executed <= seen.ok + seen.maybe, said)
      assert.is_true(seen.ok > 0 and seen.maybe > 0, said)
    end)
  end)
end

-- What the answer itself proves needs no text of gRPC's.
describe("with a gRPC of an unknown version and without texts of its own", function()
  setup(function() say(nil, "999.0.0") end)
  after_each(stop)

  local function submit(...)
    peer = raw.start()
    peer:plan("requests", { raw.status(...) })
    client = arvak.connect(peer:address())
    return select(2, client:submit_qasm(helper.bell, "simulator", 1))
  end

  it("UNAVAILABLE with a trailer of gRPC's own is the server's answer", function()
    local err = submit(14, "down for a moment", { "grpc-retry-pushback-ms", "50" })
    assert.same({ "unavailable", false, true }, { err.kind, err.maybe_executed, err.retryable })
  end)

  it("UNAVAILABLE with a trailer that a proxy may send is not", function()
    local err = submit(14, "down for a moment", { "server", "a proxy" })
    assert.same({ "unavailable", true, false }, { err.kind, err.maybe_executed, err.retryable })
  end)

  it("a refusal in the words of the service is the server's answer", function()
    local err = submit(8, "Rate limit exceeded: 101 req/s (limit: 100 req/s)")
    assert.same({ "resource_exhausted", false, true }, { err.kind, err.maybe_executed, err.retryable })
  end)

  it("a code that gRPC never makes itself is the server's answer", function()
    local err = submit(5, "no such backend")
    assert.same({ "backend_not_found", false }, { err.kind, err.maybe_executed })
  end)
end)
