-- The write-ahead log of a journal, which belongs to its file; databases that are no journals, and journals of old.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local LUA = os.getenv "LUA" or "lua5.4"
local LOST = "is refused: its log .*%-wal is missing"
local server, client, manager, directory, path

-- What a command prints.
local function shell(command, ...)
  local pipe = assert(io.popen(command:format(...)))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

local function open(options)
  server = helper.start(options)
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client, { max_workers = 8 })
  directory = os.tmpname()
  os.remove(directory)
  shell("mkdir '%s'", directory)
  path = directory .. "/run.db"
end

local function close()
  manager:close()
  client:close()
  server:stop()
  manager, client, server = nil, nil, nil
  shell("rm -r '%s'", directory)
  helper.assert_clean()
end

local COUNT = 200
local circuits = {}
for i = 1, COUNT do circuits[i] = { "OPENQASM 3.0; qubit q; x q;", i } end

local function execute(name, options)
  local all = { journal = name or path }
  for key, value in pairs(options or {}) do all[key] = value end
  return manager:execute_batch(circuits, "simulator", all)
end

local function sqlite(name, sql) return shell("sqlite3 '%s' \"%s\"", name, sql) end

local function column(name, sql) return (sqlite(name, sql):gsub("\n$", "")) end

-- Runs the batch in another process and kills it when the condition is true.
local function run_and_kill(is_enough)
  local pipe = assert(io.popen(("%s spec/support/journal_batch.lua %s '%s' %d 8 stream fail >/dev/null 2>&1 & "
    .. "echo $!; wait"):format(LUA, server.address, path, COUNT)))
  local pid = pipe:read "n"
  local ok, err = pcall(helper.eventually, is_enough, 6 * helper.TEST_TIMEOUT)   -- it has to start first
  os.execute(("kill -KILL %d 2>/dev/null"):format(pid))
  pipe:close()
  assert(ok, err)
end

local function has_accepted(count)
  local before = server:stats().accepted
  return function() return server:stats().accepted - before >= count end
end

-- The most jobs that any circuit has.
local function most_runs()
  local runs, most = {}, 0
  for _, job in ipairs(server:jobs()) do
    runs[job.shots] = (runs[job.shots] or 0) + 1
    most = math.max(most, runs[job.shots])
  end
  return most
end

describe("a journal of a batch that was killed", function()
  before_each(function() open { job_latency = 0.02 } end)
  after_each(close)

  it("is refused when it was copied without its log, and the original goes on", function()
    run_and_kill(has_accepted(40))
    local copy = directory .. "/copy.db"
    shell("cp '%s' '%s'", path, copy)
    local accepted = server:stats().accepted
    local r, err = execute(copy)
    assert.is_nil(r)
    assert.matches(LOST, err.message)
    assert.matches('on_unknown = "resubmit"', err.message, 1, true)
    assert.equal(accepted, server:stats().accepted)
    r, err = execute()
    assert.is_nil(err)
    batches.assert_whole(r, COUNT)
    assert.equal(1, most_runs())
    for _, failure in ipairs(r.failures) do assert.is_true(failure.err.maybe_executed) end
  end)

  it("goes on as a copy of its file and its log, and no circuit runs twice", function()
    run_and_kill(has_accepted(40))
    shell("cd '%s' && cp run.db copy.db && cp run.db-wal copy.db-wal", directory)
    local r, err = execute(directory .. "/copy.db")
    assert.is_nil(err)
    batches.assert_whole(r, COUNT)
    assert.equal(1, most_runs())
  end)

  it("is refused when its log was removed, until it is brought back", function()
    run_and_kill(has_accepted(40))
    shell("mv '%s-wal' '%s/kept'", path, directory)
    for _ = 1, 2 do
      local r, err = execute()
      assert.is_nil(r)
      assert.matches(LOST, err.message)
    end
    shell("mv '%s/kept' '%s-wal'", directory, path)
    assert.is_truthy((execute()))
    assert.equal(1, most_runs())
  end)

  it("is refused when only its log is left, until it is brought back", function()
    run_and_kill(has_accepted(40))
    shell("mv '%s' '%s/kept'", path, directory)
    local r, err = execute()
    assert.is_nil(r)
    assert.matches("it is missing, and its log .*%-wal is there", err.message)
    shell("mv '%s/kept' '%s'", directory, path)
    assert.is_truthy((execute()))
    assert.equal(1, most_runs())
  end)

  it("is refused when its log was emptied", function()
    run_and_kill(has_accepted(40))
    shell(": > '%s-wal'", path)
    local r, err = execute()
    assert.is_nil(r)
    assert.matches(LOST, err.message)
  end)

  it("goes on without its log where circuits may be submitted again", function()
    run_and_kill(has_accepted(40))
    shell("rm '%s-wal'", path)
    local r, err = execute(nil, { on_unknown = "resubmit" })
    assert.is_nil(err)
    assert.is_true(r.ok)
    local accepted = server:stats().accepted
    assert.is_true(execute().ok)   -- and then knows everything
    assert.equal(accepted, server:stats().accepted)
  end)

  it("goes on when sqlite3 has looked at it, which takes the log into the file", function()
    run_and_kill(has_accepted(40))
    local known = tonumber(column(path, "SELECT COUNT(*) FROM arvak_item"))
    assert.is_true(known >= 40, known)
    shell("test ! -e '%s-wal'", path)
    shell("cp '%s' '%s/copy.db'", path, directory)
    local r, err = execute(directory .. "/copy.db")
    assert.is_nil(err)
    batches.assert_whole(r, COUNT)
    assert.equal(1, most_runs())
  end)

  it("goes on whenever it was killed, though sqlite3 has looked at it each time", function()
    for trial = 1, os.getenv "ASAN_OPTIONS" and 4 or 12 do
      local size = 1 + trial % 4   -- as soon as there is a file, a lock, a log, a table
      run_and_kill(function()
        local endings = { "", "-lock", "-wal" }
        if endings[size] then return io.open(path .. endings[size]) ~= nil end
        return trial > 6 and has_accepted(trial) or os.execute(("test -s '%s-wal'"):format(path))
      end)
      os.execute(("sqlite3 '%s' 'SELECT COUNT(*) FROM arvak_item' >/dev/null 2>&1"):format(path))
    end
    local r, err = execute()
    assert.is_nil(err)
    batches.assert_whole(r, COUNT)
    assert.equal(1, most_runs())
  end)
end)

describe("a journal's file itself", function()
  before_each(open)
  after_each(close)

  it("holds all at the end, and may be copied alone", function()
    assert.is_true(execute().ok)
    shell("cp '%s' '%s/copy.db'", path, directory)
    assert.is_true(execute(directory .. "/copy.db").ok)
    assert.equal(COUNT, server:stats().accepted)
  end)

  it("is known for a journal before anything is sent", function()
    local copied
    assert(manager:execute_batch(function()
      if copied then return nil end
      copied = true
      shell("cp '%s' '%s/copy.db'", path, directory)
      return circuits[1]
    end, "simulator", { journal = path }))
    assert.equal(tostring(0x4172766b), column(directory .. "/copy.db", "PRAGMA application_id"))
    assert.equal("simulator", column(directory .. "/copy.db", "SELECT backend_id FROM arvak_batch"))
  end)

  it("gets what the log holds about once a second, and a copy of it is still refused without the log", function()
    local first, rows
    local ended = 0
    local r = manager:execute_batch(circuits, "simulator", { journal = path, on_result = function()
      ended = ended + 1
      arvak.sleep(0.02)
      if ended < 80 or ended % 20 ~= 0 or first then return end
      shell("cp '%s' '%s/copy.db'", path, directory)
      rows = tonumber(column(directory .. "/copy.db", "SELECT COUNT(*) FROM arvak_item"))
      first = rows > 0
    end })
    assert.is_true(r.ok)
    assert.is_true(first)
    assert.is_true(rows < COUNT)
    local other, err = execute(directory .. "/copy.db")
    assert.is_nil(other)
    assert.matches(LOST, err.message)
  end)
end)

-- ---- other databases

describe("a database of something else", function()
  before_each(open)
  after_each(close)

  for what, sql in pairs {
    ["with a table"] = "CREATE TABLE t (a); INSERT INTO t VALUES (1);",
    ["with a table and a log"] = "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);",
    ["with a version"] = "PRAGMA user_version = 7; VACUUM;",
    ["with an application_id"] = "PRAGMA application_id = 5; VACUUM;",
    ["with a view"] = "CREATE VIEW v AS SELECT 1;",
    ["with half of our tables"] = "CREATE TABLE arvak_item (slot INTEGER PRIMARY KEY, circuit_id TEXT);",
    ["with tables of our names"] = "CREATE TABLE arvak_batch (a); CREATE TABLE arvak_item (b);",
  } do
    it("is refused and stays as it was: " .. what, function()
      sqlite(path, sql)
      local sum = shell("md5sum < '%s'", path)
      local r, err = execute()
      assert.is_nil(r)
      assert.matches("it is a database of something else, and no journal", err.message)
      local journal
      journal, err = arvak.journal(path)
      assert.is_nil(journal)
      assert.matches("it is a database of something else, and no journal", err.message)
      assert.equal(sum, shell("md5sum < '%s'", path))
      assert.equal("run.db\n", shell("ls '%s'", directory))
      assert.equal(0, server:stats().accepted)
    end)
  end

  it("is told from an empty file, which becomes a journal", function()
    shell(": > '%s'", path)
    local journal, err = arvak.journal(path)
    assert.is_nil(journal)
    assert.matches("it holds no batch", err.message)
    assert.is_true(execute().ok)
    assert.equal(tostring(0x4172766b), column(path, "PRAGMA application_id"))
  end)
end)

describe("a journal of an early version", function()
  before_each(open)
  after_each(close)

  -- As they were written before there were circuits, and before the file had a mark and a table about its log.
  local function make_early()
    assert.is_true(execute().ok)
    sqlite(path, [[DROP TABLE arvak_log; ALTER TABLE arvak_item DROP COLUMN reading;
      ALTER TABLE arvak_item DROP COLUMN raw_counts; PRAGMA application_id = 0; VACUUM;]])
  end

  it("is read, goes on, and gets its mark", function()
    make_early()
    local journal = assert(arvak.journal(path))
    assert.equal(COUNT, journal:counts().completed)
    local items = 0
    for item in journal:items("completed") do
      assert.equal(item.index, item.result.shots)
      items = items + 1
    end
    journal:close()
    assert.equal(COUNT, items)
    assert.equal("0", column(path, "PRAGMA application_id"))   -- reading changes nothing
    sqlite(path, "DELETE FROM arvak_item WHERE slot > 190")
    assert.is_true(execute().ok)
    assert.equal(COUNT + 10, server:stats().accepted)
    assert.equal(tostring(0x4172766b), column(path, "PRAGMA application_id"))
    assert.equal("2", column(path, [[SELECT COUNT(*) FROM pragma_table_info('arvak_item')
      WHERE name IN ('reading', 'raw_counts')]]))
  end)

  it("goes on from its log, when it was killed", function()
    make_early()
    shell([[cd '%s' && sqlite3 run.db 'PRAGMA journal_mode = WAL; DELETE FROM arvak_item WHERE slot > 190' \
      '.shell cp run.db copy.db; cp run.db-wal copy.db-wal' >/dev/null]], directory)
    assert.is_true(execute(directory .. "/copy.db").ok)
    assert.equal(COUNT + 10, server:stats().accepted)
  end)

  it("of a later format is refused whatever it holds", function()
    make_early()
    sqlite(path, "UPDATE arvak_batch SET format = 3; ALTER TABLE arvak_batch ADD COLUMN more")
    for _, id in ipairs { 0, 0x4172766b } do
      sqlite(path, ("PRAGMA application_id = %d"):format(id))
      local r, err = execute()
      assert.is_nil(r)
      assert.matches("is refused: its format is 3, this library writes 2", err.message)
    end
    assert.equal(tostring(0x4172766b), column(path, "PRAGMA application_id"))
  end)
end)
