-- arvak jobs, and the ledger in which the command notes what it submits; what a batch would do with its journal.
-- SPDX-License-Identifier: Apache-2.0
local command = require "spec.support.command"
local helper = require "spec.helper"

local desk = command.desk(helper.start, before_each, after_each)

local function run(...) return desk:run(...) end

local assert_ok = command.assert_ok

-- Everything that arvak jobs prints as JSON, read by Python: this expression of found, a list of objects.
local function jobs(expression, ...)
  local program = "import json, sys\nfound = [json.loads(line) for line in sys.stdin]\nprint(%s)"
  return command.python(program:format(expression), assert_ok(run("jobs", "--format", "json", ...)))
end

describe("what the command submits", function()
  it("is listed by arvak jobs, the newest first, with its label", function()
    desk:open()
    assert_ok(run("run", "bell.qasm", "--label", "first"))
    local id = assert_ok(run("submit", "bell.qasm", "--label", "second", "--shots", "7")):match "%S+"
    assert_ok(run("batch", "bell.qasm", "rotation.qasm", "--param", "theta=1", "--label", "third", "-q"))
    assert.equal("['third', 'third', 'second', 'first']\n", jobs "[job['label'] for job in found]")
    assert.equal(("%s 7 simulator %s\n"):format(id, desk.server.address),
      jobs("found[0]['job_id'], found[0]['shots'], found[0]['backend'], found[0]['address']", "--label", "second"))
    assert.equal("2\n", jobs("len(found)", "--label", "third", "--state", "completed", "--since", "1h"))
    assert.equal("0\n", jobs("len(found)", "--backend", "elsewhere"))
    local out = assert_ok(run("jobs", "--label", "second"))
    assert.matches("^job +state +label +backend +shots +submitted +address\n" .. id:gsub("-", "%%-"), out)
    assert.equal(id .. "\n", command.python(
      "import csv, sys; print(*[row['job_id'] for row in csv.DictReader(sys.stdin) if row['label'] == 'second'])",
      assert_ok(run("jobs", "--format", "csv"))))
    local result = run("jobs", "--limit", "2")
    assert.equal("Only the newest 2; --limit 0 prints all.\n", result.err)
  end)

  it("is nothing, where no server was reached", function()
    local words = { "submit", "bell.qasm", "--address", "unix:" .. desk.folder .. "/nowhere", "--timeout", "1" }
    local environment = { XDG_STATE_HOME = desk.folder .. "/state" }
    assert.equal(3, command.run(words, { folder = desk.folder, environment = environment }).code)
    local result = command.run({ "jobs" }, { environment = environment })
    assert.same({ 0, "", "No job was submitted from here yet.\n" }, { result.code, result.out, result.err })
  end)

  it("shows the state that a later command has seen", function()
    desk:open()
    local id = assert_ok(run("submit", "bell.qasm")):match "%S+"
    assert.equal("QUEUED\n", jobs "found[0]['state']")
    assert_ok(run("watch", id))
    assert.equal("COMPLETED\n", jobs "found[0]['state']")
  end)

  it("is noted on a disk that takes its time", function()
    desk:open()
    local library = command.shell(("realpath '%s/test/slow_disk.so'"):format(os.getenv "ARVAK_BUILD" or "build")).out
    assert_ok(run("submit", "bell.qasm"))   -- into a new file, which is written without waiting for the disk
    local slow = desk:environment { SLOW_DISK_MS = 150, LD_PRELOAD = library:match "[^\n]+" }
    local result = command.run({ "submit", "bell.qasm" }, { folder = desk.folder, environment = slow })
    local id = assert_ok(result):match "%S+"
    assert.equal(id .. "\n", jobs "found[0]['job_id']")
  end)

  it("is noted below the home where nothing else is said, in a folder that others cannot read", function()
    desk:open()
    local environment = { ARVAK_ADDRESS = desk.server.address, HOME = desk.folder .. "/home", XDG_STATE_HOME = "" }
    assert_ok(command.run({ "submit", "bell.qasm" }, { folder = desk.folder, environment = environment }))
    local folder = desk.folder .. "/home/.local/state/arvak"
    assert.truthy(io.open(folder .. "/jobs.db"))
    assert.equal("700\n", command.shell("stat -c %a " .. command.quote(folder)).out)
    local out = assert_ok(command.run({ "jobs", "--format", "json" }, { environment = environment }))
    assert.equal(1, select(2, out:gsub("\n", "")))
  end)

  it("is no matter of the ledger's where that cannot be made, and of an embedded server", function()
    desk:open()
    command.write_file(desk.folder .. "/file", "")
    for _, states in ipairs { desk.folder .. "/file", "/proc/nothing" } do
      local result = command.run({ "submit", "bell.qasm" },
        { folder = desk.folder, environment = desk:environment { XDG_STATE_HOME = states } })
      assert.same({ 0, "" }, { result.code, result.err })
    end
    assert_ok(run("run", "bell.qasm", "--address", "embedded"))
    assert.is_nil(io.open(desk.folder .. "/state/arvak/jobs.db"))
    local result = run("jobs")
    assert.same({ 0, "", "No job was submitted from here yet.\n" }, { result.code, result.out, result.err })
  end)

  it("is found in another ledger with --ledger, and what is none is refused", function()
    desk:open()
    assert_ok(run("submit", "bell.qasm"))
    os.execute(("cp %s/state/arvak/jobs.db %s/other.db"):format(desk.folder, desk.folder))
    assert.equal("1\n", jobs("len(found)", "--ledger", "other.db"))
    local result = run("jobs", "--ledger", "bell.qasm")
    assert.equal(1, result.code)
    assert.matches("^arvak: the ledger bell%.qasm cannot be read: file is not a database", result.err)
    assert.equal(1, run("jobs", "--ledger", "none.db").code)
    for _, wrong in ipairs { { "--since", "yesterday" }, { "--since", "2026-02-30" }, { "--state", "done" },
      { "--limit", "-1" } } do
      assert.equal(2, run("jobs", table.unpack(wrong)).code, wrong[2])
    end
  end)
end)

describe("a name of a database with a password", function()
  it("is refused on the command line, and not shown", function()
    local names = { ["holds a password, which others can see"] = { "postgresql://ada:geheim@h/lab",
      "postgres://h/lab?password=geheim", "host=h password=geheim", "postgresql://h/lab?p%61ssword=geheim",
      "postgresql://h/lab?sslpassword=geheim" },
      ["cannot be read: .*a password belongs into"] = { "Postgresql://ada:geheim@h/lab", "host=h Password=geheim",
      "postgresql://ada:geh?eim=geheim@h/lab", "dbname=postgresql://ada:geheim@h/lab" } }
    for why, list in pairs(names) do
      for _, name in ipairs(list) do
        for _, words in ipairs { { "jobs", "--ledger", name }, { "journal", name }, { "report", name },
          { "batch", "bell.qasm", "--journal", name } } do
          local result = run(table.unpack(words))
          command.assert_refused(result, 2, "the name of the database " .. why)
          assert.is_nil((result.out .. result.err):find "geheim")
        end
      end
    end
  end)
end)

describe("a word that the library does not take", function()
  it("is a wrong command line, told in a line", function()
    command.write_file(desk.folder .. "/bell.qasm", command.bell)
    for _, words in ipairs { { "jobs", "--ledger", "" }, { "jobs", "--ledger", "postgresql://h/lab?batch=b" },
      { "journal", "postgresql://h/lab?batch=" }, { "batch", "bell.qasm", "--dry-run", "--journal", "" },
      { "batch", "bell.qasm", "--address", "embedded", "--journal", "postgresql://h:port/lab" },
      { "run", "bell.qasm", "--address", "embedded", "--label", "\xff" },
      { "batch", "bell.qasm", "--address", "embedded", "--label", ("x"):rep(1001) },
      { "run", "bell.qasm", "--address", "embedded", "--backend", "\xff" } } do
      local result = run(table.unpack(words))
      assert.equal(2, result.code, result.err)
      assert.matches("^arvak: [^\n]+\n$", result.err)
    end
    local result = run("run", "bell.qasm", "--address", "embedded", "--label", "\xff", "--format", "json")
    assert.matches('^{"error":{"kind":"usage","message":"label: got ', result.out)
  end)
end)

describe("arvak batch --dry-run", function()
  local function plan(...) return run("batch", "c", "--journal", "run.db", "--dry-run", ...) end

  it("takes a journal that the batch would make as empty, and looks at any other at once", function()
    desk:write_circuits(2, "c")
    local function plan_with(name) return command.shell("timeout 60 " .. command.line({ "batch", "c", "--journal", name,
      "--dry-run" }, desk:environment()) .. " < /dev/null", desk.folder) end
    command.shell("touch empty.db; ln -s nothing.db dangling.db; ln -s loop.db loop.db; mkfifo fifo.db", desk.folder)
    for _, name in ipairs { "empty.db", "dangling.db", "a=b.db" } do
      assert.equal("0 kept, 0 followed, 2 to send, 0 unknown\n", plan_with(name).out, name)
    end
    for name, why in pairs { ["loop.db"] = "Too many levels", ["fifo.db"] = "it is no regular file" } do
      local result = plan_with(name)
      assert.equal(1, result.code)
      assert.matches(why, result.err)
    end
  end)

  it("says what a batch would do, and does nothing, without a server", function()
    desk:write_circuits(3, "c")
    assert.equal("0 kept, 0 followed, 3 to send, 0 unknown\n", assert_ok(plan()))
    assert.is_nil(io.open(desk.folder .. "/run.db"))
    desk:open()
    desk.server:fault { job = "fail", count = 1 }
    assert.equal(1, run("batch", "c", "--journal", "run.db", "-q", "-o", "out.csv").code)
    local count = #desk.server:jobs()
    assert.equal("3 kept, 0 followed, 0 to send, 0 unknown\n", assert_ok(plan()))
    assert.equal("3 kept, 0 followed, 0 to send, 0 unknown; 1 failed, once more\n", assert_ok(plan "--retry-failed"))
    assert.equal(count, #desk.server:jobs())
    assert.equal("{'total': 3, 'kept': 3, 'followed': 0, 'to_send': 0, 'unknown': 0, 'invalid': 0, 'failed': 1}\n",
      command.python("import json, sys; print(json.loads(sys.stdin.read()))", assert_ok(plan("--format", "json"))))
  end)

  it("leaves the results alone that --output names", function()
    desk:open()
    desk:write_circuits(2, "c")
    assert_ok(run("batch", "c", "--journal", "run.db", "-q", "-o", "out.csv"))
    local before = command.shell("cat out.csv", desk.folder).out
    assert.matches("^id,job_id", before)
    assert.equal("2 kept, 0 followed, 0 to send, 0 unknown\n", assert_ok(plan("-o", "out.csv")))
    assert.equal(before, command.shell("cat out.csv", desk.folder).out)
  end)

  it("names the first circuit that differs, and --extend takes on more", function()
    desk:open()
    desk:write_circuits(3, "c")
    assert_ok(run("batch", "c", "--journal", "run.db", "-q", "-o", "out.csv"))
    desk:write_circuits(5, "c")
    local result = plan()
    assert.equal(1, result.code)
    assert.matches("^3 kept, 0 followed, 0 to send, 0 unknown\nThe batch would be refused: circuit 4 "
      .. "%(c/c00004%.qasm%): ", result.out)
    assert.equal("3 kept, 0 followed, 2 to send, 0 unknown\n", assert_ok(plan "--extend"))
    assert.equal(1, run("batch", "c", "--journal", "run.db", "-q", "-o", "out.csv").code)
    assert.equal(3, #desk.server:jobs())
    assert_ok(run("batch", "c", "--journal", "run.db", "-q", "-o", "out.csv", "--extend"))
    assert.equal(5, #desk.server:jobs())
    local count_ids = "import csv, sys; print(len(set(row['id'] for row in csv.DictReader(sys.stdin))))"
    assert.equal("5\n", command.python(count_ids, command.read_file(desk.folder .. "/out.csv")))
    command.write_file(desk.folder .. "/c/c00002.qasm", command.bell .. "x q[0];\n")
    result = plan("--format", "json")
    assert.equal(1, result.code)
    assert.equal("2 c/c00002.qasm\n", command.python(
      "import json, sys; found = json.loads(sys.stdin.read())['differs']; print(found['index'], found['id'])",
      result.out))
    result = run("batch", "c", "--extend")
    assert.equal(2, result.code)
    assert.matches("%-%-extend: there is no %-%-journal", result.err)
  end)

  it("counts what is followed", function()
    desk:open { job_latency = 60 }
    desk:write_circuits(2, "c")
    local batch = desk:begin("batch", "c", "--journal", "run.db", "-q")
    batch:await_jobs(2)
    assert.equal(130, select(2, batch:signal "INT"))   -- what it knows is on the disk
    local out = assert_ok(plan())
    assert.matches("^0 kept, %d followed, %d to send, %d unknown\n$", out)
    assert.equal("2", tostring(tonumber(out:match "(%d) followed") + tonumber(out:match "(%d) unknown")
      + tonumber(out:match "(%d) to send")))
  end)
end)
