-- What no command line, manifest or stream should hold: the command says what is wrong and where, with the exit code of
-- a wrong command line or of a failure, sends nothing, and shows nothing of Lua's.
-- SPDX-License-Identifier: Apache-2.0
local command = require "spec.support.command"
local helper = require "spec.helper"

local desk = command.desk(helper.start, before_each, after_each)

-- Runs a text of the shell in which $arvak is the command.
local function shell(text) return command.shell("arvak() { " .. command.line({}, desk:environment()) .. ' "$@"; }; '
  .. text, desk.folder) end

local function refused(words, code, pattern)
  command.assert_refused(desk:run(table.unpack(words)), code, pattern)
end

describe("a number on the command line", function()
  it("is refused by the name of its option, with what was given and what was expected", function()
    for _, row in ipairs { { "run", "--shots", "0" }, { "run", "--shots", "" }, { "run", "--shots", "nan" },
      { "run", "--shots", "4294967296" }, { "run", "--optimization", "9" }, { "run", "--timeout", "0" },
      { "run", "--max-wait", "1e999" }, { "batch", "--workers", "9223372036854775808" }, { "draw", "--width", "2" },
      { "batch", "--max-wait", "soon" }, { "run", "--param", "theta=" }, { "batch", "--sweep", "theta=0:1" } } do
      local name, option, value = table.unpack(row)
      refused({ name, "bell.qasm", option, value }, 2,
        "^arvak: %-" .. option:gsub("%-", "%%-"):sub(2) .. ": got '" .. value .. "', expected ")
    end
  end)
end)

describe("a sweep", function()
  local function sweep(code, pattern, ...)
    local words = { "batch", "rotation.qasm", "--dry-run" }
    for _, word in ipairs { ... } do table.move({ "--sweep", word }, 1, 2, #words + 1, words) end
    refused(words, code, pattern)
  end

  it("has a count from 1 to a million, also where several multiply", function()
    for _, count in ipairs { "0", "-3", "2.5", "1e9", "1000001", "1000000000000000000", "99999999999999999999" } do
      sweep(2, "%-%-sweep: got 'theta=0:1:" .. count:gsub("%-", "%%-") .. "', expected a count from 1 to 1000000",
        "theta=0:1:" .. count)
    end
    sweep(2, "the counts multiply to more than 1000000 circuits", "theta=0:1:1000", "x=0:1:1000", "y=0:1:2")
  end)

  it("lies between two finite numbers, of which there are enough", function()
    for _, range in ipairs { "nan:1", "0:1e999", "0:1/0", ":" } do
      sweep(2, "expected name=from:to:count", "theta=" .. range .. ":3")
    end
    sweep(2, "expected two different numbers, or a count of 1", "theta=0.5:0.5:2")
    sweep(2, "less far apart", "theta=-1e308:1e308:3")
    sweep(2, "there are no 5 different numbers for theta", "theta=1:1.0000000000000002:5")
    assert.equal("0 kept, 0 followed, 1 to send, 0 unknown\n",
      desk:run("batch", "rotation.qasm", "--sweep", "theta=2:2:1", "--dry-run").out)
  end)

  it("runs downwards, too", function()
    local result = desk:run("batch", "rotation.qasm", "--sweep", "theta=1:0:3", "--address", "embedded", "--format",
      "json", "-q")
    assert.equal("rotation.qasm?theta=1 rotation.qasm?theta=0.5 rotation.qasm?theta=0\n", command.python(
      "import json, sys; print(*[json.loads(line)['id'] for line in sys.stdin])", command.assert_ok(result)))
  end)

  it("is of no parameter that has a value or a sweep already", function()
    sweep(2, "^arvak: %-%-sweep: theta is given twice", "theta=0:1:2", "theta=0:1:2")
    refused({ "batch", "rotation.qasm", "--sweep", "theta=0:1:2", "--param", "theta=1" }, 2,
      "%-%-sweep: theta is given by %-%-param as well")
    refused({ "run", "rotation.qasm", "--param", "theta=1", "--param", "theta=2" }, 2,
      "%-%-param: theta is given twice")
    command.write_file(desk.folder .. "/m.jsonl", '{"file": "rotation.qasm", "params": {"theta": 1}}')
    refused({ "batch", "m.jsonl", "--sweep", "theta=0:1:2" }, 2,
      "m%.jsonl:1: params%.theta: %-%-sweep gives it as well")
  end)
end)

describe("a manifest", function()
  local function refused_line(line, code, pattern)
    command.write_file(desk.folder .. "/m.jsonl", line)
    refused({ "batch", "m.jsonl", "--dry-run" }, code, "^arvak: m%.jsonl:1:" .. pattern)
  end

  it("is told by its line where a line is no object with the right fields", function()
    for line, pattern in pairs { ["3"] = " expected an object", ["null"] = " expected an object",
      ['{"file": "bell.qasm", "shots": 99999999999}'] = " shots: got '99999999999', expected a whole number",
      ['{"file": "bell.qasm", "shots": 1.5}'] = " shots: got '1.5', expected",
      ['{"file": "bell.qasm", "id": {}}'] = " id: got an object, expected a text",
      ['{"file": "bell.qasm", "params": 3}'] = " params: got a number, expected an object",
      ['{"file": "bell.qasm", "params": {"x": 1}}'] = " params%.x: the circuit has no such parameter",
      ['{"file": "rotation.qasm", "params": {"theta": []}}'] = " params%.theta: got an object, expected a number",
      ['{"file": "rotation.qasm", "params": {"theta": 1e999}}'] = " params%.theta: got inf, expected a number",
      ['{"file": "rotation.qasm"}'] = " the parameter theta has no value",
      ['{"file": ""}'] = " got an empty text", ['{"file": null}'] = " expected one of qasm and file",
      ['{"file": "bell.qasm"} {}'] = " not valid JSON", ['{"file": "bell.qasm\0"}'] = " not valid JSON",
      [("["):rep(2000)] = " not valid JSON" } do
      refused_line(line, 2, pattern)
    end
  end)

  it("is told by its line where a circuit is missing or wrong, once", function()
    refused_line('{"file": "none.qasm"}', 1, " none%.qasm: No such file or directory")
    refused_line('{"file": "."}', 1, " %.: Is a directory")
    refused_line('{"qasm": "OPENQASM 3; nonsense"}', 1, "1:21: got the end of the text")
    refused_line('{"file": "bad.qasm"}', 1, " bad%.qasm:3:1: ")
  end)

  it("may begin with a byte order mark and end its lines as on Windows", function()
    command.write_file(desk.folder .. "/m.jsonl",
      '\u{FEFF}{"file": "bell.qasm"}\r\n\r\n{"file": "bell.qasm", "id": "b"}\r\n')
    assert.equal("0 kept, 0 followed, 2 to send, 0 unknown\n", command.assert_ok(
      desk:run("batch", "m.jsonl", "--dry-run")))
  end)

  it("gives each circuit an id, of its file and its parameters unless a line says another", function()
    command.write_file(desk.folder .. "/m.jsonl", '{"file": "rotation.qasm", "params": {"theta": 0.5}}\n'
      .. '{"file": "rotation.qasm", "params": {"theta": "2*pi"}}\n{"file": "bell.qasm", "id": 7}\n')
    local out = command.assert_ok(desk:run("batch", "m.jsonl", "--address", "embedded", "--format", "json", "-q"))
    assert.equal("rotation.qasm?theta=0.5 rotation.qasm?theta=6.283185307179586 7\n", command.python(
      "import json, sys; print(*[json.loads(line)['id'] for line in sys.stdin])", out))
  end)
end)

describe("circuits of the same name", function()
  it("are refused with both places and what to do", function()
    command.write_file(desk.folder .. "/m.jsonl", '{"file": "bell.qasm"}\n\n{"file": "bell.qasm"}\n')
    refused({ "batch", "m.jsonl" }, 2,
      'two circuits are called bell%.qasm, in m%.jsonl:1 and m%.jsonl:3, .*another "id"')
    refused({ "batch", "bell.qasm", "rotation.qasm", "bell.qasm" }, 2, "in source 1 and source 3, .*: name it once")
    local result = command.run({ "batch", "-" }, { folder = desk.folder, input = "bell.qasm\n\nbell.qasm\r\n" })
    command.assert_refused(result, 2, "in line 1 of standard input and line 3 of standard input")
  end)
end)

describe("a journal that the batch would make", function()
  it("is refused where there is no folder for it, with --dry-run as without, and nothing is made", function()
    for _, more in ipairs { "--dry-run", "-q" } do
      refused({ "batch", "bell.qasm", "--journal", "none/run.db", "--address", "embedded", more }, 1,
        "the journal none/run%.db cannot be made: there is no folder none/ %(No such file or directory%)")
      refused({ "batch", "bell.qasm", "--journal", "bell.qasm/run.db", "--address", "embedded", more }, 1,
        "there is no folder bell%.qasm/ %(Not a directory%)")
    end
    assert.equal("bad.qasm\nbell.qasm\nrotation.qasm\n", shell("ls").out)
  end)

  it("may be a file whose name looks like a parameter of PostgreSQL's", function()
    desk:open()
    desk.server:fault { job = "fail", count = 1 }
    assert.equal(1, desk:run("batch", "bell.qasm", "--journal", "a=b.db", "-q").code)
    command.assert_ok(desk:run("batch", "bell.qasm", "--journal", "a=b.db", "--retry-failed", "-q"))
    command.assert_ok(desk:run("journal", "a=b.db", "-q"))
  end)
end)

describe("a module that is missing", function()
  -- Runs it in a copy of the installation without this module.
  local function without(module, words, environment)
    local prefix, copy = command.prefix(), desk.folder .. "/copy"
    shell(("rm -rf copy; cp -r %s copy; sed -i 's|%s|%s|g' copy/bin/arvak; rm -f copy/lib/lua/5.4/%s"):format(prefix,
      prefix, copy, module))
    return shell(("unset LUA_PATH_5_4 LUA_CPATH_5_4; XDG_STATE_HOME=%s %s copy/bin/arvak %s"):format(desk.folder,
      environment or "", words))
  end

  it("is named with what to install, and whether to build again", function()
    command.assert_refused(without("arvak/store/sqlite.so", "batch bell.qasm --address embedded --journal run.db"), 1,
      "needs the module arvak%.store%.sqlite, .*install the Debian package libsqlite3%-dev, build arvak once more and "
      .. "install it\n$")
    command.assert_refused(without("arvak/store/postgres.so", "journal postgresql:///lab"), 1,
      "needs the module arvak%.store%.postgres, .*install the Debian package libpq%-dev, build arvak once more")
    command.assert_refused(without("arvak.so", "run bell.qasm"), 1, "the module arvak cannot be loaded")
    command.assert_refused(without("arvak/devserver.so", "serve"), 1, "the module arvak%.devserver cannot be loaded")
    command.assert_refused(without("none", "run bell.qasm", "LUA_PATH=/none/?.lua"), 1,
      "the module argparse cannot be loaded: it is not installed\nInstall the Debian package lua%-argparse")
  end)

  it("is no reason not to submit; arvak jobs says why nothing is noted", function()
    desk:open()
    local address = "ARVAK_ADDRESS=" .. desk.server.address
    assert.equal(0, without("arvak/store/sqlite.so", "submit bell.qasm", address).code)
    assert.matches("No job is noted, since arvak was built without SQLite: install libsqlite3%-dev",
      without("arvak/store/sqlite.so", "jobs", address).err)
  end)
end)

describe("a text that is read", function()
  it("comes from a FIFO as from a file", function()
    for _, words in ipairs { "run f.qasm", "batch f.qasm -q" } do
      local result = shell(("rm -f f.qasm; mkfifo f.qasm; cat bell.qasm > f.qasm & timeout 60 env %s"):format(
        command.line({}, { ARVAK_ADDRESS = "embedded" }) .. " " .. words))
      assert.same({ 0, "" }, { result.code, result.err })
      assert.matches("00.*%d", result.out)
    end
  end)

  it("has an end, and standard input is there once", function()
    refused({ "run", "/dev/zero" }, 1, "/dev/zero: got more than 256 MB of text")
    local result = command.run({ "check", "-", "-" }, { input = command.bell })
    command.assert_refused(result, 2, "standard input, which is there once")
    result = command.run({ "batch", "-" }, { input = "-\n" })
    command.assert_refused(result, 2, "standard input, which is there once")
  end)

  it("is no folder; a folder's own links count", function()
    refused({ "run", "." }, 1, "^arvak: %.: Is a directory")
    shell "mkdir c; ln -s ../bell.qasm c/a.qasm; ln -s c link; mkdir c/x.qasm"
    local plan = command.assert_ok(desk:run("batch", "link", "--dry-run"))
    assert.equal("0 kept, 0 followed, 1 to send, 0 unknown\n", plan)
    shell "ln -s none c/dead.qasm"
    refused({ "batch", "c" }, 1, "c/dead%.qasm: No such file or directory")
  end)

  it("is refused where a name or an id is empty", function()
    refused({ "run", "" }, 2, "got an empty text, expected the name of a file")
    refused({ "status", "", "--address", "127.0.0.1:1" }, 2, "got an empty text, expected the id of a job")
  end)
end)

describe("a stream", function()
  it("that is full or closed is told, whatever was to be printed", function()
    for _, words in ipairs { "run bell.qasm --address embedded", "--help", "batch --help", "--version",
      "convert bell.qasm", "completion bash" } do
      for target, why in pairs { ["> /dev/full"] = "No space left on device", [">&-"] = "Bad file descriptor" } do
        command.assert_refused(shell("arvak " .. words .. target), 1, "^arvak: cannot write: " .. why .. "\n$")
      end
    end
  end)

  it("that is closed is taken by no file: neither a journal nor an output gets what was meant for it", function()
    local result = shell("arvak batch bell.qasm --address embedded --journal run.db -o out.csv 2>&-")
    assert.equal(0, result.code)
    assert.matches("^id,job_id,bitstring,count,shots,error,message\n", command.read_file(desk.folder .. "/out.csv"))
    assert.equal(0, desk:run("journal", "run.db").code)
    command.assert_refused(shell "arvak run - --address embedded <&-", 1, "standard input: Bad file descriptor")
  end)

  it("that fails does so for the journal, too", function()
    desk:open()
    local result = shell "trap '' XFSZ; ulimit -f 4; arvak batch bell.qasm --journal run.db -q"
    command.assert_refused(result, 1, "the journal run%.db ")
    assert.equal(0, #desk.server:jobs())
  end)
end)

describe("a window", function()
  it("of any width is drawn for", function()
    for _, columns in ipairs { "1", "0", "-5", "abc", "1000000000", "99999999999999999999" } do
      for _, words in ipairs { { "run", "bell.qasm", "--address", "embedded" }, { "batch", "--help" } } do
        local result = command.run(words, { folder = desk.folder, environment = { COLUMNS = columns } })
        assert.not_equal("", command.assert_ok(result))
      end
    end
  end)
end)

describe("a circuit of a million qubits", function()
  it("is drawn in part, and the last line or a note says so", function()
    command.write_file(desk.folder .. "/wide.qasm", "OPENQASM 3.0;\nqubit[1000000] q;\ncx q[0], q[999999];\n")
    local text = command.assert_ok(desk:run("draw", "wide.qasm", "--ascii", "--width", "100"))
    assert.matches("\n%.%.%. the circuit goes on behind the first 10000 of 1000000 wires\n$", text)
    local result = desk:run("draw", "wide.qasm", "--svg", "wide.svg")
    assert.same({ 0, "", "wide.svg: … the circuit goes on behind the first 10000 of 1000000 wires\n" },
      { result.code, result.out, result.err })
    assert.equal("", desk:run("draw", "wide.qasm", "--svg", "wide.svg", "-q").err)
  end)
end)

describe("Ctrl-C", function()
  it("ends the command quietly, whatever it is at", function()
    desk:open { job_latency = 600 }
    local line = command.line({ "run", "bell.qasm" }, desk:environment())
    for i = 1, 12 do   -- from the start of Lua on to the wait for the job
      local result = shell(("timeout -k 60 -s INT 0.%02d env %s"):format(2 + 3 * i, line))
      assert.same({ 124, "", "" }, { result.code, result.out, result.err })   -- of timeout
    end
  end)

  -- From before the first submit is written to the first looks at both jobs.
  it("leaves no job behind, whatever the library is doing", function()
    desk:open { job_latency = 600 }
    for moment = 70, 145, 5 do
      local result = desk:interrupt_at(moment, "run", "bell.qasm", "rotation.qasm", "--param", "theta=1")
      assert.same({ 130, "", "" }, { result.code, result.out, result.err }, "at line " .. moment)
      for _, job in ipairs(desk.server:jobs()) do assert.equal("CANCELED", job.state, "at line " .. moment) end
    end
    assert.is_true(#desk.server:jobs() > 5)
  end)

  it("cancels what run has submitted", function()
    desk:open { job_latency = 600 }
    local process = desk:begin("run", "bell.qasm", "rotation.qasm", "--param", "theta=1")
    process:await_jobs(2)
    helper.eventually(function() return desk.server:stats().calls.GetJobStatus >= 20 end, 60)   -- the ids have come
    assert.same({ "", 130 }, { process:signal "INT" })
    for _, job in ipairs(desk.server:jobs()) do assert.equal("CANCELED", job.state) end
  end)

  it("asks for every cancellation at once, and does not wait for long for a server that does not answer", function()
    desk:open { job_latency = 600 }
    desk.server:fault { rpc = "CancelJob", hang = "before" }
    local process = desk:begin("run", "bell.qasm", "bell.qasm", "rotation.qasm", "--param", "theta=1",
      "--timeout", "60")
    process:await_jobs(3)
    helper.eventually(function() return desk.server:stats().calls.GetJobStatus >= 30 end, 60)
    local began_at = os.time()
    assert.same({ "", 130 }, { process:signal "INT" })
    assert.is_true(os.time() - began_at < 50)   -- of 5; one such call takes 60
    assert.equal(3, desk.server:stats().calls.CancelJob)
  end)
end)

describe("a server that ends while a batch runs", function()
  it("is told, with the command that goes on, and the journal can be read", function()
    desk:open { job_latency = 600 }
    local process = desk:begin("batch", "bell.qasm", "rotation.qasm", "--param", "theta=1", "--journal", "run.db", "-q",
      "--max-wait", "5")
    process:await_jobs(2)
    desk.server:stop()
    local log, code = process:outcome()
    assert.is_true(code == 8 or code == 3, log)   -- the wait was over first, or the client had given up
    assert.matches("\narvak: stopped: ", log)
    assert.matches("To go on:\n  arvak batch bell.qasm rotation.qasm --param theta=1 --journal run.db -q", log, 1, true)
    assert.equal(0, desk:run("journal", "run.db").code)
  end)
end)
