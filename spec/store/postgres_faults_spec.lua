-- What a transaction on PostgreSQL came to when its connection breaks, stalls or ends: never a lie.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"
local proxies = require "spec.support.proxy"
local socket = require "socket"
local stores = require "spec.support.stores"

local eventually, run = helper.eventually, stores.run

local cluster, proxy, witness

setup(function()
  cluster = clusters.start()
  cluster:sql("CREATE TABLE item (k int PRIMARY KEY)")
end)
teardown(function() cluster:remove() end)
before_each(function()
  cluster:sql("TRUNCATE item")
  proxy = proxies.start(cluster, { unix = true })
  witness = stores.open("postgres", cluster:name())
end)
after_each(function()
  proxy:stop()
  witness:abandon()
  proxy, witness = nil, nil
  helper.assert_clean()
end)

local function open_store(options)
  local store, outcome = stores.open("postgres", proxy:name(), options)
  assert.is_true(outcome.ok, outcome.message)
  return store
end

local function insert(k) return { "INSERT INTO item VALUES ($1)", k } end

local function ask(sql, ...)
  local outcome = run(witness, "read", { { sql, ... } })
  assert.is_true(outcome.ok, outcome.message)
  return outcome[1][1]
end
local function exists(k) return ask("SELECT count(*) AS n FROM item WHERE k = $1", k).n == 1 end

-- The sessions of others than the witness.
local function sessions(where)
  return ask("SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend' " ..
    "AND pid <> pg_backend_pid() AND (" .. (where or "true") .. ")").n
end
local function is_sleeping() return sessions("state = 'active' AND query LIKE '%pg_sleep%'") == 1 end

-- The bytes that pass while statements are carried out.
local function measure(direction, statements)
  local store = open_store()
  local before = proxy:stats()[direction]
  run(store, "write", statements)
  local bytes = proxy:stats()[direction] - before
  store:abandon()
  return bytes
end

-- Carries out statements over a connection that is cut after so many bytes.
local function run_cut(direction, bytes, action, statements)
  local store = open_store()
  proxy:arm(direction, bytes, action)
  local outcome = run(store, "write", statements)
  assert.is_false(proxy:is_armed())
  store:abandon()
  return outcome
end

describe("a connection that breaks", function()
  it("at any byte of the answer leaves a doubt, or a success that is one", function()
    local counts, last = { ok = 0, lost = 0 }, nil
    for bytes = 0, measure("answer", { insert(-1) }) - 1 do
      local outcome = run_cut("answer", bytes, bytes % 2 == 0 and "cut" or "reset", { insert(bytes) })
      local what = outcome.ok and "ok" or outcome.what
      counts[what] = counts[what] + 1
      if what == "lost" then assert.matches("^nobody knows whether it was committed: ", outcome.message) end
      assert.is_true(exists(bytes))
      assert.is_false(last == "ok" and what == "lost")   -- more was heard, and less is known
      last = what
    end
    assert.is_true(counts.ok > 0 and counts.lost > counts.ok)
  end)

  it("at any byte of the request leaves a doubt, and nothing in the server that is half done", function()
    local last = measure("request", { insert(1000) }) - 1
    for bytes = last, 0, -7 do
      local outcome = run_cut("request", bytes, "cut", { insert(1000 + bytes) })
      assert.same({ false, "lost" }, { outcome.ok, outcome.what })
      eventually(function() return sessions("state LIKE 'idle in transaction%' OR state = 'active'") == 0 end)
      if bytes == last then assert.is_true(exists(1000 + bytes)) end   -- all of the COMMIT has come there
    end
    assert.is_false(exists(1000 + last % 7))
  end)

  it("at any byte of the answer to a transaction that has failed never tells of a success", function()
    local statements = { insert(1), insert(1) }
    local counts = { lost = 0, constraint = 0 }
    for bytes = 0, measure("answer", statements) - 1, 5 do
      local outcome = run_cut("answer", bytes, "cut", statements)
      assert.is_false(outcome.ok)
      counts[outcome.what] = (counts[outcome.what] or 0) + 1
      if outcome.what ~= "lost" then assert.same({ "23505", 2 }, { outcome.code, outcome.statement }) end
    end
    assert.is_true(counts.lost > 0)
    assert.is_false(exists(1))
  end)

  it("before COMMIT was sent has done nothing, and says so", function()
    local statements = {}
    for i = 1, 3 do statements[i] = { "INSERT INTO item SELECT $1 WHERE length($2) > 0", i, ("x"):rep(1 << 20) } end
    local store = open_store()
    proxy:arm("request", 1 << 21, "cut")
    local outcome = run(store, "write", statements)
    assert.same({ false, "closed" }, { outcome.ok, outcome.what })
    assert.matches("^the connection was lost: ", outcome.message)
    assert.is_false(exists(1))
    store:abandon()
  end)

  it("while a transaction reads has done nothing", function()
    local store = open_store()
    proxy:arm("answer", 0, "cut")
    assert.equal("closed", run(store, "read", { { "SELECT 1" } }).what)
    store:abandon()
  end)

  it("while a statement stands for itself leaves a doubt", function()
    local store = open_store()
    proxy:arm("answer", 0, "cut")
    assert.equal("lost", run(store, "raw", { insert(1) }).what)
    assert.is_true(exists(1))
    store:abandon()
  end)

  it("ends what was queued behind it without a doubt, and every later transaction", function()
    local store = open_store()
    proxy:arm("answer", 0, "cut")
    for k = 1, 3 do stores.submit(store, "write", { insert(k) }) end
    assert.equal("lost", stores.next(store).what)
    for _ = 2, 3 do assert.equal("closed", stores.next(store).what) end
    local outcome = run(store, "write", { insert(4) })
    assert.equal("closed", outcome.what)
    assert.matches("^the connection was lost: %S", outcome.message)
    assert.equal(1, ask("SELECT count(*) AS n FROM item").n)
    store:abandon()
  end)

  it("may leave a COMMIT that is carried out later", function()
    local store = open_store()
    proxy:arm("request", 0, "part", "COMMIT")
    assert.equal("lost", run(store, "write", { insert(1) }).what)
    assert.is_false(exists(1))
    proxy:deliver()
    eventually(function() return exists(1) end)
    store:abandon()
  end)

  it("while nothing was under way has done nothing to the next transaction", function()
    local store = open_store()
    assert.is_true(run(store, "write", { insert(1) }).ok)
    proxy:cut()
    eventually(function()
      local outcome = run(store, "read", { { "SELECT 1" } })
      return outcome.what == "closed"
    end)
    store:abandon()
  end)
end)

describe("a client that is gone without a word", function()
  it("in the middle of a large transaction holds nothing for longer than its idle_timeout", function()
    local store = open_store({ idle_timeout = 1 })
    local statements = { insert(1), { "SELECT length($1)", ("x"):rep(1 << 20) }, { "SELECT 'second part'" } }
    proxy:arm("request", 0, "part", "second part")
    assert.equal("lost", run(store, "write", statements).what)
    eventually(function() return sessions() == 0 end)
    assert.matches("idle%-in%-transaction timeout", cluster:log())
    assert.is_false(exists(1))
    store:abandon()
  end)
end)

describe("a server", function()
  it("that is shut down in the middle says so, and nothing was carried out", function()
    local store = open_store()
    stores.submit(store, "write", { insert(1), { "SELECT pg_sleep(60)" } })
    eventually(is_sleeping)
    cluster:restart("fast")
    local outcome = stores.next(store)
    assert.same({ "closed", "57P01", 2 }, { outcome.what, outcome.code, outcome.statement })
    assert.matches("administrator command", outcome.message)
    witness:abandon()
    witness = stores.open("postgres", cluster:name())
    assert.is_false(exists(1))
    store:abandon()
  end)

  it("that crashes in the middle leaves a doubt", function()
    local store = open_store()
    stores.submit(store, "write", { insert(1), { "SELECT pg_sleep(60)" } })
    eventually(is_sleeping)
    cluster:restart("immediate")
    assert.equal("lost", stores.next(store).what)
    witness:abandon()
    witness = stores.open("postgres", cluster:name())
    assert.is_false(exists(1))
    store:abandon()
  end)

  it("that ends an idle session is noticed before the next transaction", function()
    local store = open_store()
    local pid = run(store, "read", { { "SELECT pg_backend_pid() AS pid" } })[1][1].pid
    ask("SELECT pg_terminate_backend($1)", pid)
    eventually(function() return run(store, "write", { insert(1) }).what == "closed" end)
    assert.is_false(exists(1))
    store:abandon()
  end)

  it("that ends statements at its timeout keeps the session", function()
    local store = open_store({ statement_timeout = 0.2 })
    local outcome = run(store, "write", { insert(1), { "SELECT pg_sleep(60)" } })
    assert.same({ "timeout", "57014", 2 }, { outcome.what, outcome.code, outcome.statement })
    assert.is_true(run(store, "write", { insert(2) }).ok)
    assert.is_false(exists(1))
    store:abandon()
  end)
end)

describe("a standby", function()
  it("is read, and refuses what writes", function()
    local standby = clusters.start()
    standby:demote()
    local store, outcome = stores.open("postgres", standby:name())
    assert.is_true(outcome.ok, outcome.message)
    assert.equal(1, run(store, "read", { { "SELECT 1 AS one" } })[1][1].one)
    outcome = run(store, "write", { { "CREATE TABLE t (k int)" } })
    assert.same({ "readonly", "0A000" }, { outcome.what, outcome.code })
    assert.is_nil(outcome.statement)
    assert.equal(1, run(store, "read", { { "SELECT 1 AS one" } })[1][1].one)
    store:abandon()
    local name = standby:name(nil, { target_session_attrs = "read-write" })
    store, outcome = stores.open("postgres", name)
    assert.same({ false, "io" }, { outcome.ok, outcome.what })
    assert.matches("session is read%-only", outcome.message)
    store:abandon()
    standby:remove()
  end)
end)

describe("silence", function()
  it("ends a transaction after the statement's timeout and 2 s", function()
    local store = open_store({ statement_timeout = 0.5 })
    proxy:arm("answer", 0, "stall")
    local outcome = run(store, "write", { insert(1) })
    assert.equal("lost", outcome.what)
    assert.matches("no word from the server for 2.5 s", outcome.message)
    assert.equal("closed", run(store, "write", { insert(2) }).what)
    proxy:resume()
    assert.is_true(exists(1))
    store:abandon()
  end)

  it("of a machine that has stopped is the same", function()
    local store = open_store({ statement_timeout = 0.1 })
    cluster:freeze()
    local outcome = run(store, "write", { insert(1) })
    cluster:resume()
    assert.equal("lost", outcome.what)
    store:abandon()
  end)

  it("while connecting ends at connect_timeout", function()
    proxy:stall()
    local store, outcome = stores.open("postgres", proxy:name(), { connect_timeout = 0.3 })
    assert.same({ 0, false, "timeout" }, { outcome.id, outcome.ok, outcome.what })
    assert.matches("within 0.3 s", outcome.message)
    assert.equal("closed", run(store, "read", { { "SELECT 1" } }).what)
    store:abandon()
  end)

  -- The threads of this process.
  local function threads()
    local pipe = assert(io.popen("ls /proc/$PPID/task | wc -l"))
    local count = pipe:read("n")
    pipe:close()
    return count
  end

  it("holds up nobody who leaves the store, whatever it waits for", function()
    local count = threads()
    for _, start in ipairs({
      function()
        proxy:stall()
        return require("arvak.store.postgres").open(stores.require("arvak.core").new_bell(), proxy:name())
      end,
      function()
        local store = open_store()
        proxy:stall()
        stores.submit(store, "write", { insert(1) })
        return store
      end,
      open_store,
    }) do
      local store = start()
      arvak.sleep(0.05)
      local before = socket.gettime()
      store:abandon()
      assert.is_true(socket.gettime() - before < 0.5)   -- ten times of what is promised
      proxy:resume()
      eventually(function() return threads() == count end)
    end
  end)

  it("does not keep a program from ending", function()
    local script = [[
      local stores = require "spec.support.stores"
      local store = stores.open("postgres", arg[1])
      stores.submit(store, "write", { { "SELECT pg_sleep(60)" } })
      local connecting = require("arvak.store.postgres").open(stores.require("arvak.core").new_bell(), arg[2])
      print("end")]]
    proxy:stall()
    local pipe = assert(io.popen(("timeout 30 %s - '%s' '%s' 2>&1 <<'END'\n%s\nEND"):format(
      os.getenv("LUA") or "lua5.4", cluster:name(), proxy:name(), script)))
    local output = pipe:read("a")
    assert.is_true(pipe:close(), output)
    assert.equal("end\n", output)
  end)

  it("lets close end after 5 s, with every outcome told", function()
    local store = open_store()
    proxy:stall()
    stores.submit(store, "write", { insert(1) })
    stores.submit(store, "write", { insert(2) })
    store:close()
    assert.equal("lost", stores.next(store).what)
    assert.equal("closed", stores.next(store).what)
    assert.equal("closed", stores.next(store).id)
    store:abandon()
  end)
end)
