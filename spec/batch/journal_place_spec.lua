-- The place of a journal: one batch at a time whatever the names, and what happens to its files while it runs.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local LUA = os.getenv "LUA" or "lua5.4"
local IN_USE = "another process is using it"
local server, client, manager, directory, path

-- What a command prints.
local function shell(command, ...)
  local pipe = assert(io.popen(command:format(...)))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

local function open(options, workers)
  server = helper.start(options)
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client, { max_workers = workers or 2 })
  directory = os.tmpname()
  os.remove(directory)
  shell("mkdir -p '%s/in'", directory)
  path = directory .. "/in/run.db"
end

local function close()
  manager:close()
  client:close()
  server:stop()
  manager, client, server = nil, nil, nil
  shell("chmod -R u+w '%s'; rm -r '%s'", directory, directory)
  helper.assert_clean()
end

local circuits = {}
for i = 1, 12 do circuits[i] = { "OPENQASM 3.0; qubit q; x q;", i } end

-- Runs the batch. at: called once, at the end of the third circuit.
local function execute(at, name)
  local ended = 0
  return manager:execute_batch(circuits, "simulator", { journal = name or path, transport = "unary",
    on_result = function()
      ended = ended + 1
      if at and ended == 3 then at() end
    end })
end

-- The output of the same batch in another process.
local function run_process(name, before)
  local pipe = assert(io.popen(("%s %s spec/support/journal_batch.lua %s '%s' %d 2 unary fail 2>&1")
    :format(before or "", LUA, server.address, name, #circuits)))
  local output = pipe:read "a"
  pipe:close()
  return output
end

local function assert_in_use(name)
  local r, err = execute(nil, name)
  assert.is_nil(r, name)
  assert.matches(IN_USE, err.message)
  assert.matches("^refused.*" .. IN_USE, run_process(name))
  local journal
  journal, err = arvak.journal(name)
  assert.is_nil(journal)
  assert.matches(IN_USE, err.message)
end

-- Nothing has failed but what was being submitted when the journal was lost, and nothing has run twice.
local function assert_went_on(r, err)
  assert.is_nil(err)
  batches.assert_whole(r, #circuits)
  for _, failure in ipairs(r.failures) do assert.is_true(failure.err.maybe_executed, failure.err) end
  assert.is_true(#r.failures <= 2)
  local runs = {}
  for _, job in ipairs(server:jobs()) do
    assert.is_nil(runs[job.shots])
    runs[job.shots] = true
  end
end

local function files() return shell("cd '%s' && find . -type f | sort", directory) end

describe("a journal that a batch is using", function()
  before_each(function() open { job_latency = 0.005 } end)
  after_each(close)

  it("keeps others out when a program opens and closes its files", function()
    local r = execute(function()
      for _, ending in ipairs { "", "-wal", "-lock" } do
        for _ = 1, 2 do
          local file <close> = assert(io.open(path .. ending, "rb"))
          file:read "a"
        end
        assert_in_use(path)
      end
    end)
    assert.is_true(r.ok, r.err)
    assert.equal(#circuits, server:stats().accepted)
    assert.is_true(execute().ok)
    assert.equal(#circuits, server:stats().accepted)
  end)

  it("keeps out other handles of the process, which take nothing from it", function()
    local sqlite = require "luasql.sqlite3".sqlite3()
    local r = execute(function()
      for _ = 1, 2 do
        local other = assert(sqlite:connect(path))
        local rows, message = other:execute "SELECT * FROM arvak_item"
        assert.is_nil(rows)
        assert.matches("locked", message)
        other:close()
        assert_in_use(path)
      end
    end)
    sqlite:close()
    assert.is_true(r.ok, r.err)
    assert.equal(#circuits, server:stats().accepted)
  end)

  it("is not opened while somebody reads it", function()
    assert.is_true(execute().ok)
    local journal <close> = assert(arvak.journal(path))
    local other <close> = assert(arvak.journal(path))
    assert.equal(#circuits, journal:counts().completed)
    assert.equal(#circuits, other:counts().completed)
    local r, err = execute()
    assert.is_nil(r)
    assert.matches(IN_USE, err.message)
    journal:close()
    other:close()
    assert.is_true(execute().ok)
  end)

  it("is known by all its names", function()
    shell("cd '%s' && ln -s in/run.db link && ln -s in folder && ln -s link link2", directory)
    local here = shell "pwd":gsub("\n", "")
    local up = ("../"):rep(select(2, here:gsub("/[^/]+", ""))):sub(1, -2)
    local r = execute(function()
      for _, name in ipairs { directory .. "/link", directory .. "/link2", directory .. "/folder/run.db",
        directory .. "/in/../folder/./run.db", up .. path } do
        assert_in_use(name)
      end
    end)
    assert.is_true(r.ok, r.err)
    r = execute(nil, directory .. "/link2")
    assert.is_true(r.ok)
    assert.equal(#circuits, server:stats().accepted)
    assert.equal("./in/run.db\n", files())
  end)

  it("by the name of a link to what is not there yet is made where the link leads", function()
    shell("ln -s in/run.db '%s/link'", directory)
    local r = execute(function() assert_in_use(path) end, directory .. "/link")
    assert.is_true(r.ok, r.err)
    assert.equal("./in/run.db\n", files())
  end)

  it("has a hard link that is refused, as its log would stand beside the other name", function()
    assert.is_true(execute().ok)
    shell("ln '%s' '%s/other.db'", path, directory)
    for _, name in ipairs { path, directory .. "/other.db" } do
      local r, err = execute(nil, name)
      assert.is_nil(r)
      assert.matches("several names", err.message)
    end
    os.remove(directory .. "/other.db")
    local r = execute(nil)
    assert.is_true(r.ok)
    assert.equal(#circuits, server:stats().accepted)
  end)

  it("lets go of everything at its end, and leaves one file", function()
    assert.is_true(execute(function()
      assert.equal("./in/run.db\n./in/run.db-lock\n./in/run.db-wal\n", files())
    end).ok)
    assert.equal("./in/run.db\n", files())
    for line in io.popen("ls -l /proc/$PPID/fd"):lines() do assert.is_nil(line:find(directory, 1, true)) end
    assert.matches("^completed", run_process(path))
  end)

  it("is not kept by what the program starts meanwhile", function()
    local sleeper
    assert.is_true(execute(function()
      sleeper = shell "sleep 600 >/dev/null 2>&1 & echo $!"
    end).ok)
    assert.matches("^completed", run_process(path))
    shell("kill %s", sleeper)
  end)

  it("may be used again, though its lock file is there from a crash", function()
    assert.is_true(execute().ok)
    shell("echo rest > '%s-lock'", path)
    assert.is_true(execute().ok)
    assert.equal("./in/run.db\n", files())
  end)
end)

describe("a journal whose lock file cannot be one", function()
  before_each(open)
  after_each(close)

  for what, command in pairs { link = "ln -s /dev/null", FIFO = "mkfifo", directory = "mkdir" } do
    it("is refused and the file left alone: " .. what, function()
      shell("%s '%s-lock'", command, path)
      local r, err = execute()
      assert.is_nil(r)
      assert.matches("cannot be opened: its lock file .*run%.db%-lock: ", err.message)
      assert.equal(0, server:stats().accepted)
      shell("test -e '%s-lock'", path)
    end)
  end

  it("is refused in a folder that may not be written", function()
    shell("chmod 555 '%s/in'", directory)
    local is_root = shell "id -u" == "0\n"
    local output = run_process(path, is_root and "setpriv --bounding-set=-dac_override" or "")
    assert.matches("^refused.*cannot be opened: .*Permission denied", output)
    assert.equal(0, server:stats().accepted)
  end)
end)

-- ---- while it runs

local losses = {
  ["was removed"] = { "rm in/run.db", "it was removed or moved" },
  ["was removed with its log and its lock"] = { "rm in/*", "it was removed or moved" },
  ["was removed with its folder"] = { "rm -r in", "it was removed or moved" },
  ["was moved"] = { "mv in/run.db in/old.db", "it was removed or moved" },
  ["was moved with all that is beside it"] = { "mv in other", "it was removed or moved" },
  ["was replaced by a copy"] = { "cp in/run.db in/new && mv in/new in/run.db", "another file was put in its place" },
  ["was replaced by something else"] = { "echo other > in/new && mv in/new in/run.db", "another file was put" },
  ["was replaced by a directory"] = { "rm in/run.db && mkdir in/run.db", "another file was put" },
  ["was cut"] = { ": > in/run.db", "another program has changed it" },
  ["grew"] = { "echo more >> in/run.db", "another program has changed it" },
  ["lost its log"] = { "rm in/run.db-wal", "its log .*run%.db%-wal was removed" },
  ["got another log"] = { "cp in/run.db-wal in/new && mv in/new in/run.db-wal", "its log .*%-wal was removed" },
  ["lost its lock file"] = { "rm in/run.db-lock", "its lock file .*run%.db%-lock was removed" },
  ["got another lock file"] = { "rm in/run.db-lock && : > in/run.db-lock", "its lock file .*%-lock was removed" },
}

describe("a journal that, while its batch runs,", function()
  before_each(function() open { job_latency = 0.005 } end)
  after_each(close)

  for what, loss in pairs(losses) do
    it(what .. " stops it with an error", function()
      local r, err = execute(function() shell("cd '%s' && %s", directory, loss[1]) end)
      batches.assert_whole(r, #circuits)
      assert.equal("partial", r.status)
      assert.equal("rpc", err.kind)
      assert.matches("^the journal .*/in/run%.db is lost: " .. loss[2], err.message)
      assert.is_true(server:stats().accepted < #circuits)
    end)
  end

  it("is named by a link that was turned elsewhere stops it with an error", function()
    shell("ln -s in/run.db '%s/link'", directory)
    local r, err = execute(function() shell("cd '%s' && ln -sf nowhere link", directory) end, directory .. "/link")
    assert.equal("partial", r.status)
    assert.matches("is lost: it was removed or moved", err.message)
  end)

  it("was moved goes on in its new place, as soon as its log is there too", function()
    local r = execute(function() shell("cd '%s' && mv in/run.db moved.db", directory) end)
    assert.is_false(r.ok)
    local err
    r, err = execute(nil, directory .. "/moved.db")
    assert.is_nil(r)
    assert.matches("is refused: its log .*/moved%.db%-wal is missing", err.message)
    shell("cd '%s' && mv in/run.db-wal moved.db-wal", directory)
    assert_went_on(execute(nil, directory .. "/moved.db"))
  end)

  it("lost its log or its lock file has everything, and goes on", function()
    for _, ending in ipairs { "-wal", "-lock" } do
      shell("rm -f '%s'*", path)
      server:restart()
      assert.is_false(execute(function() os.remove(path .. ending) end).ok)
      assert_went_on(execute())
    end
  end)

  it("was removed when all circuits had ended is not called complete", function()
    local ended = 0
    local r, err = manager:execute_batch(circuits, "simulator", { journal = path, on_result = function()
      ended = ended + 1
      if ended == #circuits then os.remove(path) end
    end })
    batches.assert_whole(r, #circuits)
    assert.equal(#circuits, r.success_count)
    assert.matches("is lost: it was removed", err.message)
    assert.is_false(r.ok)
  end)

  it("was removed though nothing was left to do is not called complete", function()
    assert.is_true(execute().ok)
    local r, err = execute(function() os.remove(path) end)
    assert.equal(#circuits, r.success_count)
    assert.matches("is lost", err.message)
  end)

  it("is left behind by a change of the working directory is still found", function()
    local lfs = require "lfs"
    local here = lfs.currentdir()
    assert(lfs.chdir(directory))
    local r = execute(function() assert(lfs.chdir "/") end, "in/run.db")
    assert(lfs.chdir(here))
    assert.is_true(r.ok, r.err)
    assert.equal("./in/run.db\n", files())
  end)
end)
