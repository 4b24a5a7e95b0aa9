-- Connections to stores: who waits for an outcome and how, what counts as under way, and how they end.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local loops = require "spec.support.loops"
local connections = require "spec.support.connections"

-- Takes a minute, unless somebody ends it.
local ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE i < 0"

-- The threads of stores in this process.
local function count_threads()
  local stat = assert(io.open("/proc/self/stat"))
  local pid = stat:read("n")
  stat:close()
  local pipe = assert(io.popen(("cat /proc/%d/task/*/comm 2>/dev/null | grep -c '^arvak-store$'"):format(pid)))
  local count = pipe:read("n")
  pipe:close()
  return count
end

describe("a connection to a store", function()
  after_each(function()
    connections.clean()
    helper.eventually(function() return arvak._counts().waits == 0 end)
    helper.assert_clean()
  end)

  local function prepared()
    local c = connections.open()
    connections.write(c, "CREATE TABLE t (i INTEGER PRIMARY KEY, x)")
    return c
  end

  describe("for who waits", function()
    it("gives the outcome to a caller who blocks", function()
      local c = prepared()
      local outcome = connections.write(c, { "INSERT INTO t (x) VALUES (?), (?)", "a", "b" },
        "SELECT x FROM t ORDER BY x")
      assert.equal(2, outcome[1].changes)
      assert.same({ changes = 0, { x = "a" }, { x = "b" } }, outcome[2])
    end)

    it("gives a blind write an outcome that says only how it ended", function()
      local c = prepared()
      local function blind(...) return assert(c:run(connections.transaction(c, ...), "blind")) end
      local outcome = blind({ "INSERT INTO t VALUES (?, ?)", 1, "a" }, "SELECT x FROM t")
      assert.same({ id = outcome.id, ok = true }, outcome)
      outcome = blind({ "INSERT INTO t VALUES (?, ?)", 2, "b" }, { "INSERT INTO t VALUES (?, ?)", 1, "c" })
      assert.same({ false, "constraint", 2 }, { outcome.ok, outcome.what, outcome.statement })
      assert.equal(1, connections.read(c, "SELECT count(*) AS value FROM t"))   -- all or nothing
    end)

    it("carries out statements that come again, among many others, each with its own values", function()
      local c = prepared()
      local list = {}
      for i = 1, 400 do
        local column = i % 20   -- of the same length each, and more texts than are kept
        list[i] = { ("INSERT INTO t VALUES (?, ? || '%02d')"):format(column), i, i % 3 == 0 and "long" or "s" }
      end
      connections.write(c, table.unpack(list))
      local wrong = connections.read(c, [[SELECT count(*) AS value FROM t
        WHERE x <> (CASE i % 3 WHEN 0 THEN 'long' ELSE 's' END) || printf('%02d', i % 20)]])
      assert.same({ 400, 0 }, { connections.read(c, "SELECT count(*) AS value FROM t"), wrong })
    end)

    it("binds nothing of what was there before where a value is nil", function()
      local c = prepared()
      for i = 1, 3 do
        local text = i ~= 2 and "text" or nil
        connections.write(c, { "INSERT INTO t VALUES (?, ?)", i, text, n = 3 })
      end
      assert.equal(2, connections.read(c, "SELECT i AS value FROM t WHERE x IS NULL"))
    end)

    it("suspends a task, and the others go on", function()
      local c = prepared()
      local others = 0
      arvak.run(function()
        arvak.spawn(function()
          for _ = 1, 5 do
            arvak.sleep(0)
            others = others + 1
          end
        end)
        for i = 1, 5 do connections.write(c, { "INSERT INTO t VALUES (?, NULL)", i }) end
      end)
      assert.equal(5, others)
      assert.equal(5, connections.read(c, "SELECT count(*) AS value FROM t"))
    end)

    for _, kind in ipairs(loops.all) do
      it("suspends a coroutine of " .. kind.name, function()
        local loop = kind.open()
        local attachment = loop.attach()
        local value
        loop.spawn(function()
          local c = connections.open()
          connections.write(c, "CREATE TABLE t (i)", "INSERT INTO t VALUES (7)")
          value = connections.read(c, "SELECT i AS value FROM t")
          c:close()
        end)
        local is_over = loop.run(helper.TEST_TIMEOUT)
        attachment:detach()
        assert.same({}, loop.errors)
        assert.is_true(is_over)
        assert.equal(7, value)
      end)
    end

    it("gives nil and the error when the task is canceled, and the transaction goes on", function()
      local c = prepared()
      local outcome, err = "none", nil
      arvak.run(function()
        local waiting = arvak.spawn(function()
          outcome, err = c:run(connections.transaction(c, "INSERT INTO t VALUES (1, NULL)"), "write")
        end)
        arvak.sleep(0)
        waiting:cancel()
        waiting:wait()
      end)
      if outcome == nil then assert.equal("canceled", err.kind) else assert.is_true(outcome.ok) end
      assert.equal(1, connections.read(c, "SELECT count(*) AS value FROM t"))
    end)

    it("refuses to wait inside a step, with the method's name", function()
      local c = prepared()
      local ok, err
      c:start(connections.transaction(c, "SELECT 1"), "read", function()
        ok, err = pcall(c.run, c, c:transaction(), "read")
      end)
      helper.eventually(function() return ok ~= nil end)
      assert.is_false(ok)
      assert.matches("run: cannot wait here, inside a step of the loop", err)
    end)
  end)

  describe("for who gets told", function()
    it("calls in the order of the starts, and what is started in a call comes later", function()
      local c, told = prepared(), {}
      local function note(name) return function(outcome) told[#told + 1] = name .. tostring(outcome.ok) end end
      c:start(connections.transaction(c, "INSERT INTO t VALUES (1, 1)"), "write", function(outcome)
        note("first ")(outcome)
        c:start(connections.transaction(c, "SELECT 1"), "read", note "inner ")
      end)
      c:start(connections.transaction(c, "INSERT INTO t VALUES (1, 1)"), "write", note "second ")
      assert.same({}, told)
      helper.eventually(function() return #told == 3 end)
      assert.same({ "first true", "second false", "inner true" }, told)
    end)

    it("has an error in the call raised by who drives the loop, and tells the others", function()
      local c, told = prepared(), false
      c:start(connections.transaction(c, "SELECT 1"), "read", function() error("a mistake") end)
      c:start(connections.transaction(c, "SELECT 1"), "read", function() told = true end)
      local deadline, err = connections.now() + helper.TEST_TIMEOUT, nil
      while not (told and err) and connections.now() < deadline do
        local ok, reason = pcall(arvak.poll, 0.01)
        if not ok then err = reason end
      end
      assert.is_true(told)
      assert.matches("a mistake", err)
    end)

    it("says of a failure which it is, with the database's code and the statement", function()
      local c = prepared()
      local insert = "INSERT INTO t VALUES (1, 1)"
      local outcome = c:run(connections.transaction(c, insert, insert), "write")
      assert.same({ id = outcome.id, ok = false, what = "constraint", statement = 2, code = 1555,
        message = "UNIQUE constraint failed: t.i" }, outcome)
    end)
  end)

  describe("that is idle", function()
    it("counts as nothing under way", function()
      local c = prepared()
      assert.equal(0, arvak._counts().waits)
      assert.has_error(function()
        arvak.run(function()
          local waiting
          waiting = arvak.spawn(function() waiting:wait() end)
          waiting:wait()
        end)
      end, "deadlock: every task waits for something that nothing in flight can bring")
      assert.equal(0, connections.read(c, "SELECT count(*) AS value FROM t"))
    end)

    it("ends its thread when nobody has it any more", function()
      assert(connections.connection.open("sqlite", ":memory:"))
      collectgarbage()
      collectgarbage()
      helper.eventually(function() return count_threads() == 0 end)
    end)
  end)

  describe("that ends", function()
    it("carries out what is under way when it is closed, and waits for it", function()
      local file = connections.new_file()
      local c, told = connections.open(file), 0
      connections.write(c, "CREATE TABLE t (i)")
      for i = 1, 20 do
        c:start(connections.transaction(c, { "INSERT INTO t VALUES (?)", i }), "write", function(outcome)
          if outcome.ok then told = told + 1 end
        end)
      end
      assert.is_true(c:close())
      assert.equal(20, told)
      assert.is_true(c:close())
      assert.equal(20, connections.read(connections.open(file), "SELECT count(*) AS value FROM t"))
    end)

    it("tells each who has it leave once the file is closed, and waits for nobody", function()
      local c, told = prepared(), {}
      c:leave(function() told[#told + 1] = "first" end)
      c:leave(function() told[#told + 1] = "second" end)
      assert.same({}, told)
      helper.eventually(function() return #told == 2 end)
      assert.same({ "first", "second" }, told)
    end)

    it("tells who waits that it was abandoned", function()
      local c, outcome = prepared(), nil
      c:start(connections.transaction(c, ENDLESS), "read", function(given) outcome = given end)
      c:abandon()
      assert.is_nil(outcome)
      helper.eventually(function() return outcome end)
      assert.equal("closed", outcome.what)
      assert.has_error(function() c:start(nil, "read", print) end, "the connection was closed")
    end)

    it("is abandoned by close where nobody may wait", function()
      local c, closed = prepared(), nil
      c:start(connections.transaction(c, "SELECT 1"), "read", function() closed = c:close() end)
      helper.eventually(function() return closed ~= nil end)
      assert.is_false(closed)
    end)

    it("ends by itself when the task that closes it is canceled", function()
      local c = connections.open(nil, { statement_timeout = 3 })   -- a busy machine cancels in less
      local outcome, closed, err
      c:start(connections.transaction(c, ENDLESS), "read", function(given) outcome = given end)
      arvak.run(function()
        local closing = arvak.spawn(function() closed, err = c:close() end)
        arvak.sleep(0)
        closing:cancel()
        closing:wait()
      end)
      assert.is_nil(closed)
      assert.equal("canceled", err.kind)
      assert.equal(1, count_threads())
      helper.eventually(function() return outcome end)
      assert.equal("timeout", outcome.what)
      helper.eventually(function() return count_threads() == 0 end)
    end)
  end)

  describe("that cannot be", function()
    it("gives nil and an error with the database's own reason", function()
      local c, err = connections.connection.open("sqlite", "/nonexistent/folder/x.db")
      assert.is_nil(c)
      assert.equal("io", err.what)
      assert.equal("unable to open database file: No such file or directory", err.message)
    end)

    it("names an option that the module does not have, and one of a wrong type", function()
      local open = connections.connection.open
      assert.has_error(function() open("sqlite", ":memory:", { busy = 1 }) end, "open: SQLite has no option busy")
      assert.has_error(function() open("sqlite", ":memory:", { is_readonly = 1 }) end,
        "open: option is_readonly is a number, expected a boolean")
      assert.has_error(function() open("sqlite", ":memory:", { busy_timeout = -1 }) end,
        "open: option busy_timeout is -1.0, expected seconds from 0 on")
      assert.has_error(function() open("sqlite", "a\0b") end, "open: the name of the database has a NUL in it")
    end)

    it("names a value that no statement takes", function()
      local tx = prepared():transaction()
      assert.has_error(function() tx:add("SELECT ?, ?", 1, print) end,
        "add: value 2 is a function, expected nil, a boolean, a number, a string or a list of them")
      assert.has_error(function() tx:add("SELECT ?, ?", 1, { 1, {} }) end,
        "add: value 2 holds a table, expected nil, booleans, integers and strings")
      assert.has_error(function() tx:add("SELECT ?, ?", 1, { 0.5 }) end,
        "add: value 2 holds a float, expected nil, booleans, integers and strings")
      assert.has_error(function() tx:add("SELECT 1\0") end, "add: the statement has a NUL in it")
      assert.equal(0, tx:count())
    end)

    it("takes a transaction once", function()
      local c = prepared()
      local tx = connections.transaction(c, "SELECT 1")
      assert.is_true(c:run(tx, "read").ok)
      assert.has_error(function() c:run(tx, "read") end, "the transaction was submitted already")
      assert.has_error(function() tx:add("SELECT 1") end, "the transaction was submitted already")
      assert.has_error(function() c:run(c:transaction(), "rite") end)
      assert.is_true(c:run(connections.transaction(c, "SELECT 1"), "read").ok)
    end)
  end)
end)

describe("a program", function()
  local function run(script, environment)
    local name = os.tmpname()
    local file = assert(io.open(name, "w"))
    file:write(script)
    file:close()
    local lua = os.getenv("LUA") or "lua5.4"
    local pipe = assert(io.popen(("%s timeout 60 %s %s 2>&1"):format(environment or "", lua, name)))
    local output = helper.without_log(pipe:read("a"))
    pipe:close()
    os.remove(name)
    return output
  end

  local head = "package.path = './?.lua;' .. package.path local connections = require 'spec.support.connections'\n"

  it("ends without a word while a connection is idle or a transaction is on its way", function()
    assert.equal("", run(head .. "c = connections.open() c:start(c:transaction():add('SELECT 1'), 'read', print)"))
    assert.equal("", run(head .. "c = connections.open()"))
  end)

  it("without the module is told what needs it, its name and the Debian package", function()
    local build = os.getenv("ARVAK_BUILD") or "build"
    local pipe = assert(io.popen("mktemp -d"))
    local folder = pipe:read("l")
    pipe:close()
    os.execute(("mkdir %s/arvak"):format(folder))
    for _, module in ipairs { "arvak", "arvak/devserver" } do
      os.execute(("ln -s \"$(realpath %s/lua/%s.so)\" %s/%s.so"):format(build, module, folder, module))
    end
    local output = run(head .. "print(connections.connection.open('sqlite', 'x.db', { purpose = 'a journal' }))",
      ("LUA_CPATH_5_4='%s/?.so'"):format(folder))
    os.execute("rm -r " .. folder)
    assert.equal("nil\trpc: a journal in SQLite needs the module arvak.store.sqlite, which was not built or is not " ..
      "on package.cpath: install the Debian package libsqlite3-dev, build arvak once more and install it\n", output)
  end)
end)
