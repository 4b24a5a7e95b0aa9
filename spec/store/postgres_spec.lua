-- A store on PostgreSQL: values there and back, and the true outcome of a transaction.
-- SPDX-License-Identifier: Apache-2.0
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"
local stores = require "spec.support.stores"

local run = stores.run

local cluster, store

local function open_store(options)
  local opened, outcome = stores.open("postgres", cluster:name(), options)
  assert.same({ id = 0, ok = true }, outcome)
  return opened
end

setup(function()
  cluster = clusters.start()
  cluster:sql([[
    CREATE TABLE item (k bigint PRIMARY KEY, text text, f float8, b boolean);
    CREATE TABLE pair (k int PRIMARY KEY, other int REFERENCES item DEFERRABLE INITIALLY DEFERRED);]])
end)
teardown(function() cluster:remove() end)
before_each(function()
  cluster:sql("TRUNCATE item, pair")
  store = open_store()
end)
after_each(function()
  store:abandon()
  store = nil
  helper.assert_clean()
end)

local function count() return tonumber(cluster:sql("SELECT count(*) FROM item")) end
local function insert(k) return { "INSERT INTO item (k) VALUES ($1)", k } end

describe("values", function()
  it("go there as lists, which are arrays: quotes, backslashes, commas and NULL stay what they are", function()
    local texts = { "a", nil, 'say "x"', "c:\\d\\", "1,{2}", "NULL", "", "ä", n = 9 }
    local outcome = run(store, "read", {
      { "SELECT v, n FROM unnest($1::text[]) WITH ORDINALITY AS u(v, n) ORDER BY n", texts },
      { "SELECT $1::bigint[]::text AS i, $2::boolean[]::text AS b, $3::text[]::text AS none", { math.mininteger, 7 },
        { true, nil, false, n = 3 }, {} } })
    assert.equal(9, #outcome[1])
    for i, row in ipairs(outcome[1]) do assert.equal(texts[i], row.v) end
    assert.same({ i = "{-9223372036854775808,7}", b = "{t,NULL,f}", none = "{}" }, outcome[2][1])
  end)

  it("come back as they were: integers of 64 bits, floats, booleans, texts and NULL", function()
    local rows = {
      { k = math.maxinteger, text = "ä\n'\\ \u{1F600}", f = 0.1, b = true },
      { k = math.mininteger, text = "", f = -math.huge, b = false },
      { k = 0, f = 5e-324 },
      { k = 1, f = 1.7976931348623157e308 },
    }
    for _, row in ipairs(rows) do
      local outcome = run(store, "write",
        { { "INSERT INTO item VALUES ($1, $2, $3, $4)", row.k, row.text, row.f, row.b, n = 5 } })
      assert.same({ id = outcome.id, ok = true, { changes = 1 } }, outcome)
      outcome = run(store, "read", { { "SELECT * FROM item WHERE k = $1", row.k } })
      assert.same({ row, changes = 0 }, outcome[1])
      assert.equal("integer", math.type(outcome[1][1].k))
      assert.equal("float", math.type(outcome[1][1].f))
    end
  end)

  it("may be floats that are no number", function()
    local f = run(store, "read", { { "SELECT $1::float8 AS f", 0 / 0 } })[1][1].f
    assert.is_true(f ~= f)
  end)

  it("have a point in them whatever the program's locale is", function()
    local folder = os.tmpname()
    os.remove(folder)
    local make = ("mkdir '%s' && localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1"):format(folder, folder)
    local is_made = os.execute(make)
    finally(function() os.execute(("rm -rf '%s'"):format(folder)) end)
    if not is_made then return pending("localedef, or its sources, are not installed") end
    local pipe = assert(io.popen(("LOCPATH='%s' %s - '%s' 2>&1 <<'END'\n%s\nEND"):format(folder,
      os.getenv("LUA") or "lua5.4", cluster:name(), [[
        local stores = require "spec.support.stores"
        print(os.setlocale("de_DE.UTF-8"), 1.5)
        local store = stores.open("postgres", arg[1])
        local row = stores.run(store, "read", { { "SELECT $1::float8 AS f, 2.5::float8 AS g", 0.25 } })[1][1]
        print(row.f == 0.25, row.g == 2.5)
        store:abandon()]])))
    local output = pipe:read("a")
    pipe:close()
    local expected = "de_DE.UTF-8\t1,5\ntrue\ttrue\n"
    assert.equal(expected, output:sub(1, #expected))   -- a leak check may complain about setlocale afterwards
  end)

  it("of every other type come as their texts", function()
    assert.same({ n = "123456789012345678901234567890.5", d = "2001-02-03", x = "\\x00ff", i2 = 1, i4 = 2 },
      run(store, "read", { { "SELECT 123456789012345678901234567890.5 AS n, date '2001-02-03' AS d, " ..
        "'\\x00ff'::bytea AS x, 1::int2 AS i2, 2::int4 AS i4" } })[1][1])
  end)

  it("with a NUL byte are refused, and nothing of the transaction is carried out", function()
    local outcome = run(store, "write", { insert(1), { "INSERT INTO item (k, text) VALUES ($1, $2)", 2, "a\0b" } })
    assert.same({ id = outcome.id, ok = false, what = "other", code = 0, statement = 2,
      message = "value 2 has a NUL byte in it, which no text of PostgreSQL can hold" }, outcome)
    outcome = run(store, "write", { insert(1), { "SELECT unnest($1::text[])", { "a", "b\0c" } } })
    assert.same({ 2, "value 1 has a NUL byte in it, which no text of PostgreSQL can hold" },
      { outcome.statement, outcome.message })
    assert.equal(0, count())
    assert.is_true(run(store, "write", { insert(1) }).ok)
  end)

  it("that are no UTF-8 are refused by the server", function()
    local outcome = run(store, "write", { { "INSERT INTO item (k, text) VALUES (1, $1)", "\xff" } })
    assert.same({ "22021", 1 }, { outcome.code, outcome.statement })
  end)

  it("larger than a statement may be are refused before anything is sent", function()
    local huge = ("x"):rep(257 << 20)
    local outcome = run(store, "write", { insert(1), { "INSERT INTO item (k, text) VALUES (2, $1)", huge } })
    huge = nil   -- luacheck: ignore
    collectgarbage()
    assert.same({ "other", 2 }, { outcome.what, outcome.statement })
    assert.matches("have 257 MiB, the most is 256", outcome.message)
    assert.is_true(run(store, "write", { insert(1) }).ok)
  end)

  it("may be more than fit into one write", function()
    local text = ("0123456789abcdef"):rep(1 << 19)   -- 8 MiB
    local outcome = run(store, "write",
      { { "INSERT INTO item (k, text) VALUES (1, $1) RETURNING md5(text) AS md5, text", text } })
    assert.equal(text, outcome[1][1].text)
    assert.equal(outcome[1][1].md5, cluster:sql("SELECT md5(text) FROM item"))
  end)

  it("are too many where the protocol has no number for them", function()
    local marks, values = {}, { "" }
    for i = 1, 65536 do
      marks[i] = "$" .. i
      values[i + 1] = i
    end
    values[1] = "SELECT " .. table.concat(marks, ",")
    local outcome = run(store, "read", { values })
    assert.same({ "other", 1 }, { outcome.what, outcome.statement })
    assert.matches("65536 values, PostgreSQL takes 65535", outcome.message)
    assert.is_true(run(store, "read", { { "SELECT 1" } }).ok)
  end)
end)

describe("a transaction", function()
  it("gives what each statement has changed and returned", function()
    assert.same({ id = 1, ok = true, { changes = 2 }, { { k = 2, b = true }, changes = 1 }, { { n = 2 }, changes = 0 },
      { changes = 0 }, { changes = 2 } }, run(store, "write", {
      { "INSERT INTO item (k) VALUES ($1), ($2)", 1, 2 },
      { "UPDATE item SET b = true WHERE k = $1 RETURNING k, b", 2 },
      { "SELECT count(*) AS n FROM item" },
      { "UPDATE item SET b = false WHERE k = 77" },
      { "DELETE FROM item" },
    }))
  end)

  it("without a statement succeeds, in every mode", function()
    for _, mode in ipairs({ "write", "read", "raw" }) do
      local outcome = run(store, mode, {})
      assert.same({ id = outcome.id, ok = true }, outcome)
    end
  end)

  it("is one round trip with its begin and its end", function()
    local proxy = require("spec.support.proxy").start(cluster)
    local other = stores.open("postgres", proxy:name())
    local before = proxy:stats()
    proxy:arm("request", 0, "stall", "COMMIT")   -- everything before it has gone by without an answer
    stores.submit(other, "write", { insert(1), insert(2), insert(3) })
    helper.eventually(function() return not proxy:is_armed() end)
    assert.equal(before.answer, proxy:stats().answer)
    assert.is_true(proxy:stats().request > before.request)
    proxy:resume()
    assert.is_true(stores.next(other).ok)
    other:abandon()
    proxy:stop()
  end)

  it("of ten thousand statements and ten thousand rows is carried out", function()
    local statements = {}
    for i = 1, 10000 do statements[i] = { "INSERT INTO item (k, text) VALUES ($1, $2)", i, ("t"):rep(300) } end
    local outcome = run(store, "write", statements)
    assert.is_true(outcome.ok, outcome.message)
    assert.equal(10000, #outcome)
    outcome = run(store, "read", { { "SELECT * FROM item ORDER BY k" } })
    assert.equal(10000, #outcome[1])
    assert.equal(9999, outcome[1][9999].k)
  end)

  it("whose answer is too large to be kept was committed, and says so", function()
    local outcome = run(store, "write", { insert(1),
      { "SELECT repeat('x', 60 << 20) AS x FROM generate_series(1, 5)" }, insert(2) })
    assert.same({ "lost", 2 }, { outcome.what, outcome.statement })
    assert.matches("^it was committed, but the answer is lost: the answer has more than 256 MiB", outcome.message)
    assert.equal(2, count())
    assert.equal("other", run(store, "read",
      { { "SELECT repeat('x', 60 << 20) AS x FROM generate_series(1, 5)" } }).what)
    assert.is_true(run(store, "write", { insert(3) }).ok)
  end)

  it("that fails in its third part has done nothing, and the next one is carried out", function()
    local statements = {}
    for i = 1, 4000 do statements[i] = { "INSERT INTO item (k, text) VALUES ($1, $2)", i, ("t"):rep(1000) } end
    statements[3000][2] = 1
    local outcome = run(store, "write", statements)
    assert.same({ "constraint", "23505", 3000 }, { outcome.what, outcome.code, outcome.statement })
    assert.equal(0, count())
    assert.is_true(run(store, "write", { insert(1) }).ok)
    assert.equal("0", cluster:sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"))
  end)

  it("that reads sees one snapshot, and may not write", function()
    local other = open_store()
    assert.is_true(run(store, "write", { insert(1) }).ok)
    stores.submit(store, "read", { { "SELECT count(*) AS n FROM item" }, { "SELECT pg_sleep(0.3)" },
      { "SELECT count(*) AS n FROM item" } })
    helper.eventually(function()
      return cluster:sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.3)' AND state = 'active'")
        == "1"
    end)
    assert.is_true(run(other, "write", { insert(2) }).ok)
    local outcome = stores.next(store)
    assert.same({ 1, 1 }, { outcome[1][1].n, outcome[3][1].n })
    outcome = run(store, "read", { insert(3) })
    assert.same({ "readonly", "25006" }, { outcome.what, outcome.code })
    other:abandon()
  end)

  it("that is raw is carried out statement by statement, up to the one that fails", function()
    local outcome = run(store, "raw", { insert(1), insert(1), insert(2) })
    assert.same({ "constraint", 2 }, { outcome.what, outcome.statement })
    assert.equal("1", cluster:sql("SELECT k FROM item"))
    assert.is_true(run(store, "raw", { { "VACUUM item" } }).ok)
  end)

  it("leaves no settings behind in the session", function()
    assert.is_true(run(store, "write", { insert(1) }).ok)
    assert.same({ s = "0", i = "0", e = "UTF8", a = "arvak" }, run(store, "raw", { { "SELECT " ..
      "current_setting('statement_timeout') AS s, current_setting('idle_in_transaction_session_timeout') AS i, " ..
      "current_setting('client_encoding') AS e, current_setting('application_name') AS a" } })[1][1])
    assert.equal("0", cluster:sql("SELECT count(*) FROM pg_prepared_statements"))
  end)

  it("has the limits that the store was opened with, and the name", function()
    local other = open_store({ statement_timeout = 7, idle_timeout = 3, application_name = "lab" })
    assert.same({ s = "7s", i = "3s", a = "lab", x = "read committed" }, run(other, "write", { { "SELECT " ..
      "current_setting('statement_timeout') AS s, current_setting('idle_in_transaction_session_timeout') AS i, " ..
      "current_setting('application_name') AS a, current_setting('transaction_isolation') AS x" } })[1][1])
    other:abandon()
  end)

  it("keeps what one session has changed from another until it is committed", function()
    local other = open_store({ statement_timeout = 1 })
    assert.is_true(run(store, "write", { insert(1) }).ok)
    stores.submit(store, "write", { { "UPDATE item SET text = 'a' WHERE k = 1" }, { "SELECT pg_sleep(3)" } })
    helper.eventually(function()
      return cluster:sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3)' AND state = 'active'")
        == "1"
    end)
    local outcome = run(other, "write", { { "UPDATE item SET text = 'b' WHERE k = 1" } })
    assert.same({ "timeout", "57014", 1 }, { outcome.what, outcome.code, outcome.statement })
    assert.is_true(stores.next(store).ok)
    assert.equal("a", cluster:sql("SELECT text FROM item"))
    other:abandon()
  end)
end)

describe("a failure says what it is:", function()
  local function fails(expected, ...)
    local outcome = run(store, "write", { ... })
    assert.is_false(outcome.ok)
    assert.same(expected, { outcome.what, outcome.code, outcome.statement })
    assert.equal(0, count())
    assert.is_true(run(store, "read", { { "SELECT 1" } }).ok)   -- in a session that is as before
  end

  it("a constraint, with the statement that has broken it", function()
    fails({ "constraint", "23505", 2 }, insert(1), insert(1), insert(2))
  end)

  it("a constraint that is looked at by COMMIT alone", function()
    fails({ "constraint", "23503" }, insert(1), { "INSERT INTO pair VALUES (1, 2)" })
  end)

  it("a statement after one that has failed is not the reason", function()
    fails({ "other", "22012", 1 }, { "SELECT 1/0" }, { "SELECT nonsense" })
  end)

  it("a transaction that was aborted before its COMMIT", function()
    fails({ "other", "22012", 2 }, insert(1), { "SELECT 1/0" })
  end)

  it("a ROLLBACK of the program's own", function()
    local outcome = run(store, "write", { insert(1), { "ROLLBACK" }, { "SELECT 1" } })
    assert.is_true(outcome.ok)   -- the COMMIT that follows has nothing to do, and says so
    assert.equal(0, count())
  end)

  it("a serialization failure, which may be tried again", function()
    fails({ "busy", "40001", 2 }, insert(1), { "DO $$ BEGIN RAISE 'late' USING ERRCODE = '40001'; END $$" })
  end)

  it("a deadlock: one of the two is carried out", function()
    assert.is_true(run(store, "write", { insert(1), insert(2) }).ok)
    local gate, other = open_store(), open_store()
    assert.is_true(run(gate, "raw", { { "SELECT pg_advisory_lock(1)" } }).ok)
    local function start(s, first, second)
      stores.submit(s, "write", { { "UPDATE item SET text = '' WHERE k = $1", first },
        { "SELECT pg_advisory_xact_lock_shared(1)" }, { "UPDATE item SET text = '' WHERE k = $1", second } })
    end
    start(store, 1, 2)
    start(other, 2, 1)
    helper.eventually(function()
      return cluster:sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "2"
    end)
    gate:abandon()   -- its session holds the lock
    local outcomes = { stores.next(store), stores.next(other) }
    other:abandon()
    assert.is_true(outcomes[1].ok ~= outcomes[2].ok)
    local failed = outcomes[1].ok and outcomes[2] or outcomes[1]
    assert.same({ "busy", "40P01", 3 }, { failed.what, failed.code, failed.statement })
  end)

  it("two statements in one text, a COPY, and a text that is no SQL", function()
    fails({ "other", "42601", 1 }, { "SELECT 1; SELECT 2" })
    fails({ "other", "42601", 1 }, { "nonsense" })
    fails({ "other", "42P01", 1 }, { "SELECT * FROM nowhere" })
    local outcome = run(store, "read", { { "COPY item TO STDOUT" } })
    assert.equal("closed", outcome.what)
    assert.matches("COPY is not possible here", outcome.message)
  end)
end)
