-- Signs of life: what the thread of a store repeats while the program computes, and when that ends.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"
local proxies = require "spec.support.proxy"
local stores = require "spec.support.stores"

local eventually = helper.eventually

describe("a beat of a PostgreSQL store", function()
  local cluster, store
  setup(function()
    cluster = clusters.start()
    cluster:sql("CREATE TABLE worker (id int PRIMARY KEY, seen int DEFAULT 0, turn float8 DEFAULT 0)")
  end)
  teardown(function() cluster:remove() end)
  before_each(function()
    cluster:sql("TRUNCATE worker; INSERT INTO worker (id) VALUES (1)")
    store = stores.open("postgres", cluster:name())
  end)
  after_each(function()
    store:abandon()
    store = nil
    helper.assert_clean()
  end)

  local function seen() return tonumber(cluster:sql("SELECT seen FROM worker")) end

  local function beating(id)
    return store:transaction():add("UPDATE worker SET seen = seen + 1, turn = $2 WHERE id = $1", id or 1, 0)
  end

  -- A loop that computes: nothing of the library is called.
  local function compute(seconds)
    local last = select(2, store:last_beat()) + seconds
    while select(2, store:last_beat()) < last do assert(true) end
  end

  it("goes on while the loop computes, and tells the age of the loop's last turn", function()
    assert.is_nil((store:last_beat()))
    store:beat(beating(), 0.05, 60, 2)
    compute(1.0)
    local sent_at, now = store:last_beat()
    assert.is_true(sent_at > 0 and sent_at <= now)
    assert.is_true(seen() >= 3)
    assert.is_true(tonumber(cluster:sql("SELECT turn FROM worker")) > 0.1)
    assert.is_nil(store:take())
  end)

  it("pauses when the loop has had no turn for too long, and goes on with the next turn", function()
    store:beat(beating(), 0.02, 0.3)
    local last
    eventually(function()
      local sent_at, now = store:last_beat()
      last = sent_at
      return sent_at and now - sent_at > 1.0   -- fifty beats would have come
    end)
    local count = seen()
    store:touch()
    eventually(function() return store:last_beat() > last end)
    assert.is_true(seen() > count)
  end)

  it("ends with the first one that changes no row, and says so once", function()
    store:beat(beating(), 0.02, 60)
    eventually(function() return store:last_beat() end)
    local before = store:last_beat()
    cluster:sql("DELETE FROM worker")
    local outcome = stores.next(store)
    assert.same({ "beat", false, "fenced" }, { outcome.id, outcome.ok, outcome.what })
    assert.is_true(store:last_beat() >= before)
    cluster:sql("INSERT INTO worker (id) VALUES (1)")
    assert.is_true(stores.run(store, "read", { { "SELECT pg_sleep(0.2)" } }).ok)
    assert.equal(0, seen())
    assert.is_nil(store:take())
  end)

  it("that fails is reported, and the next one is tried", function()
    cluster:sql("ALTER TABLE worker ADD CONSTRAINT young CHECK (seen < 1)")
    store:beat(beating(), 0.02, 60)
    for _ = 1, 2 do
      local outcome = stores.next(store)
      assert.same({ "beat", "constraint", "23514" }, { outcome.id, outcome.what, outcome.code })
    end
    cluster:sql("ALTER TABLE worker DROP CONSTRAINT young")
    eventually(function() return select(1, store:last_beat()) end)
  end)

  it("counts from before it was sent, not from when it was acknowledged", function()
    local proxy <close> = setmetatable({ p = proxies.start(cluster) }, { __close = function(t) t.p:stop() end })
    store:abandon()
    store = stores.open("postgres", proxy.p:name())
    proxy.p:stall()
    store:beat(beating(), 60, 60)
    arvak.sleep(1.0)
    local last, resumed = store:last_beat()
    assert.is_nil(last)
    proxy.p:resume()
    eventually(function() return store:last_beat() end)
    assert.is_true(store:last_beat() < resumed)
  end)

  it("ends with its connection, and says so once", function()
    store:beat(beating(), 0.02, 60)
    eventually(function() return store:last_beat() end)
    cluster:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'arvak'")
    local outcome = stores.next(store)
    assert.equal("beat", outcome.id)
    assert.is_true(outcome.what == "closed" or outcome.what == "lost")
    outcome = stores.run(store, "write", { { "SELECT 1" } })
    assert.equal("closed", outcome.what)
  end)

  it("may be a transaction of the program's own, after which the next one is due later", function()
    store:beat(beating(), 3600, 3600)
    eventually(function() return store:last_beat() end)
    local first = store:last_beat()
    store:submit(beating(), "write", true)
    assert.is_true(stores.next(store).ok)
    assert.is_true(store:last_beat() > first)
    store:submit(beating(2), "write", true)
    local last = store:last_beat()
    assert.equal(0, stores.next(store)[1].changes)
    assert.equal(last, store:last_beat())
    assert.equal(2, seen())
  end)

  it("is replaced by another one, and ended by nil", function()
    store:beat(beating(), 0.01, 60)
    eventually(function() return store:last_beat() end)
    store:beat(beating(), 3600, 3600)
    local count
    eventually(function()
      local before = count
      count = seen()
      arvak.sleep(0.1)
      return before == count
    end)
    store:beat(nil)
    assert.equal(count, seen())
  end)

  it("refuses a transaction without statement, a time that is none, and a value that is not there", function()
    assert.has_error(function() store:beat(store:transaction(), 1, 1) end)
    assert.has_error(function() store:beat(beating(), 0, 1) end)
    assert.has_error(function() store:beat(beating(), 1, -1) end)
    assert.has_error(function() store:beat(beating(), 1, 1, 3) end)
    assert.is_nil((store:last_beat()))
  end)
end)

describe("a beat of a connection", function()
  it("is told to the function that was given with it, and does not keep the loop once it was abandoned", function()
    local cluster = clusters.start()
    cluster:sql("CREATE TABLE worker (id int)")
    local c = assert(stores.connection.open("postgres", cluster:name()))
    local outcomes = {}
    local tx = c:transaction():add("UPDATE worker SET id = id")
    c:beat(tx, 0.05, 60, nil, function(outcome) outcomes[#outcomes + 1] = outcome end)
    eventually(function() return #outcomes > 0 end)
    assert.equal("fenced", outcomes[1].what)
    c:touch()
    assert.is_nil((c:last_beat()))
    assert.is_true(c:run(c:transaction():add("SELECT 1"), "read").ok)
    c:abandon()
    cluster:remove()
    helper.assert_clean()
    assert.equal(1, #outcomes)
  end)
end)
