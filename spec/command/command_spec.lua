-- The command arvak, run as a person would run it, against a server in this process.
-- SPDX-License-Identifier: Apache-2.0
local certificates = require "spec.support.certificates"
local command = require "spec.support.command"
local helper = require "spec.helper"

local desk = command.desk(helper.start, before_each, after_each)

local function run(...) return desk:run(...) end

local assert_ok = command.assert_ok

describe("arvak run", function()
  it("prints a histogram over the program's own bits", function()
    desk:open()
    local out = assert_ok(run("run", "bell.qasm", "--shots", "100"))
    assert.matches("00 +%d+", out)
    assert.matches("11 +%d+", out)
    assert.is_nil(out:find "01")
  end)

  it("gives an error as JSON, too, with its file where there is one", function()
    local result = run("run", "bell.qasm", "bad.qasm", "--address", "embedded", "--format", "json")
    assert.matches('^{"file":"bad%.qasm","error":{"kind":"invalid_circuit",.*"line":3,"column":1}}\n$', result.out)
    result = run("run", "missing.qasm", "--address", "embedded", "--format", "json")
    assert.matches('^{"error":{"kind":"usage","message":"missing%.qasm: No such file or directory"', result.out)
  end)

  it("leaves one empty line between the histograms of several files, and none after the last", function()
    desk:open()
    local out = assert_ok(run("run", "bell.qasm", "bell.qasm"))
    assert.is_nil(out:find "\n\n\n")
    assert.matches("[^\n]\n\nbell%.qasm\n", out)
    assert.matches("[^\n]\n$", out)
  end)

  it("prints JSON and CSV that Python reads, with the same counts", function()
    desk:open()
    local json = assert_ok(run("run", "bell.qasm", "--shots", "64", "--format", "json"))
    assert.equal("bell.qasm 64 64\n", command.python([[
import json, sys
for line in sys.stdin:
    found = json.loads(line)
    print(found["file"], found["shots"], sum(found["counts"].values()))
]], json))
    local csv = assert_ok(run("run", "bell.qasm", "--shots", "64", "--format", "csv"))
    assert.equal("64 ['00', '11']\n", command.python([[
import csv, sys
rows = list(csv.DictReader(sys.stdin))
print(sum(int(row["count"]) for row in rows), sorted(row["bitstring"] for row in rows))
]], csv))
  end)

  it("binds parameters, and names one that has no value", function()
    desk:open()
    local out = assert_ok(run("run", "rotation.qasm", "--param", "theta=3.141592653589793", "--format", "counts",
      "--shots", "10"))
    assert.equal("1 10\n", out)
    local result = run("run", "rotation.qasm")
    assert.equal(2, result.code)
    assert.matches("^arvak: rotation%.qasm: the parameter theta has no value", result.err)
  end)

  it("reads standard input, and files with blanks and newlines in their names", function()
    desk:open()
    assert.equal("00", assert_ok(command.run({ "run", "-", "--format", "counts", "--shots", "1000" },
      { input = command.bell, environment = desk:environment() })):match "^00")
    local name = "a b\nc.qasm"
    command.write_file(desk.folder .. "/" .. name, command.bell)
    local out = assert_ok(run("run", name, "bell.qasm", "--format", "json"))
    assert.equal("['a b\\nc.qasm', 'bell.qasm']\n", command.python(
      "import json, sys; print([json.loads(line)['file'] for line in sys.stdin])", out))
  end)

  it("runs everything in the process with --address embedded", function()
    assert.matches("00 %d+", assert_ok(run("run", "bell.qasm", "--address", "embedded", "--format", "counts")))
  end)

  it("sends nothing when one file is refused, and says where", function()
    desk:open()
    local result = run("run", "bell.qasm", "bad.qasm")
    assert.equal(1, result.code)
    assert.matches("bad%.qasm:3:1", result.err)
    assert.equal(0, desk.server:stats().calls.SubmitJob)
    result = run("run", "bell.qasm", "missing.qasm")
    assert.equal(1, result.code)
    assert.equal("arvak: missing.qasm: No such file or directory\n", result.err)
  end)

  it("writes to a file with --output, and nowhere else", function()
    desk:open()
    assert.equal("", assert_ok(run("run", "bell.qasm", "--format", "counts", "-o", "out.txt")))
    assert.matches("^00 %d+\n11 %d+\n$", command.read_file(desk.folder .. "/out.txt"))
  end)

  it("ends quietly when nobody reads any more", function()
    desk:open()
    for _ = 1, 3 do
      local result = command.shell(command.line({ "run", "bell.qasm", "--format", "counts" },
        desk:environment()) .. " | true", desk.folder)
      assert.equal("", result.err)
    end
  end)
end)

describe("exit codes tell", function()
  it("a wrong command line", function()
    for _, words in ipairs { { "run" }, { "nonsense" }, { "run", "bell.qasm", "--shots", "0" }, { "--what" },
      { "run", "bell.qasm", "--format", "xml" }, { "run", "bell.qasm", "--param", "theta" } } do
      local result = command.run(words, { folder = desk.folder })
      assert.equal(2, result.code)
      assert.matches("^arvak: ", result.err)
      assert.matches("%-%-help", result.err)
      assert.equal("", result.out)
    end
  end)

  it("that no server is named, and that none answers", function()
    local result = run("run", "bell.qasm")
    assert.equal(2, result.code)
    assert.matches("$ARVAK_ADDRESS", result.err, 1, true)
    result = run("backends", "--address", "127.0.0.1:1", "--timeout", "0.5")
    assert.equal(3, result.code)
    assert.matches("^arvak: ", result.err)
  end)

  it("a wrong key; the right one comes from a file or the environment", function()
    desk:open { api_key = "right" }
    assert.equal(4, run("backends").code)
    command.write_file(desk.folder .. "/key", "right\n")
    assert_ok(run("backends", "--api-key-file", "key"))
    assert_ok(command.run({ "backends" }, { environment = { ARVAK_ADDRESS = desk.server.address,
      ARVAK_API_KEY = "right" } }))
    local result = run("run", "bell.qasm", "--api-key-file", "none")
    assert.equal(2, result.code)
    assert.matches("none: No such file", result.err)
  end)

  it("a job that is still pending", function()
    desk:open { job_latency = 30 }
    local id = assert_ok(run("submit", "bell.qasm")):match "%S+"
    local result = run("status", id)
    assert.same({ 8, "" }, { result.code, result.err })
    assert.equal(8, run("watch", id, "--max-wait", "0.2").code)
    assert.equal(8, run("result", id).code)
    assert.equal(id .. "  canceled\n", assert_ok(run("cancel", id)))
    assert.equal(1, run("status", id).code)
    assert.equal(1, run("cancel", id).code)
  end)
end)

describe("jobs", function()
  it("go from submit to status, watch and result, by id and through a pipe", function()
    desk:open()
    local ids = assert_ok(run("submit", "bell.qasm", "bell.qasm"))
    local first, second = ids:match "^(%S+)\n(%S+)\n$"
    assert.is_string(second)
    assert.is_truthy(assert_ok(run("watch", first)):find(first .. "  COMPLETED", 1, true))
    local status = command.run({ "status", "-", "--format", "json" },
      { input = ids, environment = desk:environment() })
    assert.equal(("%s %s\n"):format(first, second), command.python(
      "import json, sys; print(*[json.loads(line)['job_id'] for line in sys.stdin])", status.out))
    assert_ok(run("watch", second))
    local out = assert_ok(run("result", first, second, "--circuit", "bell.qasm", "--format", "csv"))
    assert.equal("2048\n", command.python(
      "import csv, sys; print(sum(int(row['count']) for row in csv.DictReader(sys.stdin)))", out))
  end)

  it("are read with the parameters of their circuit", function()
    desk:open()
    local id = assert_ok(run("submit", "rotation.qasm", "--param", "theta=0")):match "%S+"
    assert_ok(run("watch", id))
    assert.equal("0 1024\n", assert_ok(run("result", id, "--circuit", "rotation.qasm", "--param", "theta=0", "--format",
      "counts")))
  end)

  it("that are unknown are told on standard error, or as objects", function()
    desk:open()
    local result = run("status", "no-such-job")
    assert.equal(1, result.code)
    assert.matches("^arvak: no%-such%-job: ", result.err)
    result = run("result", "no-such-job", "--format", "json")
    assert.equal(1, result.code)
    assert.equal("job_not_found\n", command.python(
      "import json, sys; print(json.loads(sys.stdin.read())['error']['kind'])", result.out))
  end)
end)

describe("backends, check, draw and convert", function()
  it("say what the server has", function()
    desk:open()
    assert.matches("simulator +simulator +yes +20", assert_ok(run("backends")))
    assert.equal(1, run("backends", "nothing").code)
  end)

  it("check files without a server, with a caret where one is refused", function()
    local result = run("check", "bell.qasm", "bad.qasm")
    assert.equal(1, result.code)
    assert.matches("bell%.qasm: ok, 2 qubits, 2 operations", result.out)
    assert.matches("bad%.qasm:3:1", result.err)
    assert.matches("%^", result.err)
  end)

  it("check every file, whatever is wrong with one before", function()
    local result = run("check", "missing.qasm", "rotation.qasm", "bell.qasm")
    assert.equal(1, result.code)
    assert.matches("missing%.qasm: No such file", result.err)
    assert.matches("rotation%.qasm: the parameter theta has no value", result.err)
    assert.equal("bell.qasm: ok, 2 qubits, 2 operations\n", result.out)
  end)

  it("check says that no server answers", function()
    assert.equal(3, run("check", "bell.qasm", "--backend", "simulator", "--address", "127.0.0.1:1", "--timeout",
      "0.5").code)
  end)

  it("leave the file of --output as it was when nothing comes", function()
    command.write_file(desk.folder .. "/old.txt", "old")
    assert.equal(1, run("run", "bad.qasm", "--address", "embedded", "--output", "old.txt").code)
    assert.equal("old", command.read_file(desk.folder .. "/old.txt"))
    assert_ok(run("convert", "bell.qasm", "--output", "bell.qasm"))
    assert.matches("^OPENQASM 3%.0;.*cx q%[0%],q%[1%];", command.read_file(desk.folder .. "/bell.qasm"))
  end)

  it("refuse a parameter that no circuit has", function()
    for _, words in ipairs { { "run", "bell.qasm", "--param", "theta=1" }, { "convert", "bell.qasm", "--param", "x=1" },
      { "check", "bell.qasm", "--param", "x=1" }, { "batch", "bell.qasm", "--sweep", "theta=0:1:9" } } do
      words[#words + 1] = words[1] ~= "convert" and "--address" or nil
      words[#words + 1] = words[1] ~= "convert" and "embedded" or nil
      local result = run(table.unpack(words))
      assert.equal(2, result.code)
      assert.matches("no circuit has the parameter", result.err)
    end
    assert_ok(run("run", "bell.qasm", "rotation.qasm", "--param", "theta=1", "--address", "embedded"))
  end)

  it("check the limits of a backend", function()
    desk:open()
    command.write_file(desk.folder .. "/wide.qasm", "OPENQASM 3.0;\nqubit[30] q;\nh q;\n")
    local result = run("check", "wide.qasm", "--backend", "simulator")
    assert.equal(1, result.code)
    assert.matches("30", result.err)
    assert.equal(0, run("check", "wide.qasm").code)
  end)

  it("draw in text, ASCII and SVG", function()
    assert.matches("%-", assert_ok(run("draw", "bell.qasm", "--ascii")))
    assert.is_nil(assert_ok(run("draw", "bell.qasm", "--ascii")):find "[\128-\255]")
    assert_ok(run("draw", "bell.qasm", "--svg", "bell.svg"))
    assert.equal("svg\n", command.python("import sys, xml.etree.ElementTree as e; "
      .. "print(e.fromstring(sys.stdin.read()).tag.split('}')[-1])", command.read_file(desk.folder .. "/bell.svg")))
  end)

  it("convert to what the service takes", function()
    desk:open()
    command.write_file(desk.folder .. "/ready.qasm", assert_ok(run("convert", "bell.qasm")))
    assert.matches("^OPENQASM 3", command.read_file(desk.folder .. "/ready.qasm"))
    assert.matches("00 %d+", assert_ok(run("run", "ready.qasm", "--format", "counts")))
  end)
end)

describe("the command itself", function()
  it("tells its version and help", function()
    assert.matches("^arvak %d+%.%d+%.%d+\n$", assert_ok(run("--version")))
    assert.matches("Exit codes:", assert_ok(run("--help")))
  end)

  it("has help with two examples for each subcommand, and a manual page and completions that name all", function()
    local names = {}
    for name in run("--help").out:match "Commands:\n(.-)\n\n":gmatch "   (%l+)  +%u" do names[#names + 1] = name end
    assert.equal(17, #names)
    local manual = assert_ok(run("manual"))
    local scripts = {}
    for _, shell in ipairs { "bash", "zsh", "fish" } do scripts[shell] = assert_ok(run("completion", shell)) end
    for _, name in ipairs(names) do
      local help = assert_ok(run(name, "--help"))
      local _, examples = help:match "Examples:\n(.*)$":gsub("\n? +arvak ", "")
      local _, lines = help:gsub("\n", "")
      assert.is_true(lines <= 50, ("%s: %d lines do not fit a screen"):format(name, lines))
      assert.is_true(examples >= 2)
      assert.is_truthy(manual:find(".SS arvak " .. name, 1, true))
      for option in help:gmatch "%-%-(%l[%l-]+)" do
        assert.is_truthy(manual:find("\\-\\-" .. option:gsub("-", "\\-"), 1, true), option)
      end
      for _, script in pairs(scripts) do assert.is_truthy(script:find(name, 1, true)) end
    end
    command.write_file(desk.folder .. "/complete", scripts.bash)
    assert.equal(0, command.shell("bash -n complete", desk.folder).code)
  end)

  it("is installed with all that it needs: it runs from any folder, with nothing in its environment", function()
    local line = ("env -i PATH=/usr/bin:/bin %s/bin/arvak "):format(command.quote(command.prefix()))
    local result = command.shell(line .. "run " .. command.quote(desk.folder .. "/bell.qasm")
      .. " --address embedded --format counts", "/")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.matches("^00 %d+\n11 %d+\n$", result.out)
    assert.equal(run("manual").out, command.read_file(command.prefix() .. "/share/man/man1/arvak.1"))
  end)

  it("says nothing that is neither a result nor an error with --quiet", function()
    desk:open()
    command.write_file(desk.folder .. "/a.qasm", command.bell)
    for _, words in ipairs { { "run", "bell.qasm" }, { "submit", "bell.qasm" }, { "backends" },
      { "check", "bell.qasm" },
      { "batch", "bell.qasm", "--journal", "run.db" }, { "journal", "run.db" }, { "draw", "bell.qasm" } } do
      words[#words + 1] = "--quiet"
      assert.not_equal("", assert_ok(run(table.unpack(words))))
    end
    local result = run("status", "no-such-job", "-q", "--address", "127.0.0.1:1", "--timeout", "0.5")
    assert.equal(3, result.code)
    assert.matches("^arvak: [^\n]+\n$", result.err)
  end)

  it("gives up watching soon where nobody answers", function()
    local started_at = os.time()
    local result = run("watch", "some-job", "--address", "127.0.0.1:1")
    assert.equal(3, result.code)
    assert.matches("^arvak: .*\nTry: another %-%-address", result.err)
    assert.is_true(os.time() - started_at < 20)   -- an outage is borne for 30 s
  end)

  it("reads expressions whose whole numbers are too large for an integer", function()
    for _, word in ipairs { "10000000000*10000000000", "1e20" } do
      assert.matches("ry(1e+20)", assert_ok(run("convert", "rotation.qasm", "--param", "theta=" .. word)), 1, true)
    end
  end)

  it("reads expressions over pi", function()
    for word, expected in pairs { ["pi"] = "1 10\n", ["2*pi - pi/1"] = "1 10\n", ["0*sqrt(2)"] = "0 10\n" } do
      assert.equal(expected, assert_ok(run("run", "rotation.qasm", "--param", "theta=" .. word, "--address", "embedded",
        "--format", "counts", "--shots", "10")))
    end
    for _, word in ipairs { "pie", "1/0", "(1", "os.exit()", "1 2", ("("):rep(2000) } do
      local result = run("run", "rotation.qasm", "--param", "theta=" .. word, "--address", "embedded")
      assert.equal(2, result.code)
      assert.matches("expected name=number, such as", result.err)
    end
  end)

  it("keeps a spreadsheet from running a name as a formula", function()
    for _, name in ipairs { "=1+1.qasm", "@sum.qasm", "+x.qasm" } do
      command.write_file(desk.folder .. "/" .. name, command.bell)
      local out = assert_ok(run("run", name, "--address", "embedded", "--format", "csv"))
      assert.equal("'" .. name .. "\n", command.python(
        "import csv, sys; print(list(csv.DictReader(sys.stdin))[0]['file'])", out))
    end
  end)

  it("takes what a profile says, and refuses a key in it", function()
    desk:open { api_key = "right" }
    os.execute("mkdir -p " .. command.quote(desk.folder .. "/arvak"))
    command.write_file(desk.folder .. "/key", "right\n")
    local profile = "# ours\naddress = %s\napi_key_file = %s\nshots = 7\n"
    command.write_file(desk.folder .. "/arvak/lab.conf", profile:format(desk.server.address, desk.folder .. "/key"))
    local function with_profile(name, ...)
      return command.run({ "run", "bell.qasm", "--format", "json", "--profile", name, ... },
        { folder = desk.folder, environment = { XDG_CONFIG_HOME = desk.folder } })
    end
    assert.matches('"shots":7', assert_ok(with_profile("lab")))
    assert.matches('"shots":9', assert_ok(with_profile("lab", "--shots", "9")))
    command.write_file(desk.folder .. "/arvak/bad.conf", "api_key = right\n")
    local result = with_profile "bad"
    assert.equal(2, result.code)
    assert.matches("bad%.conf:1: a profile holds no key", result.err)
  end)

  it("looks for the files of a profile beside it, and below the home", function()
    desk:open { api_key = "right" }
    os.execute("mkdir -p " .. command.quote(desk.folder .. "/arvak"))
    command.write_file(desk.folder .. "/arvak/key", "right\n")
    for _, name in ipairs { "key", "~/arvak/key" } do
      local profile = ("address = %s\napi_key_file = %s\n"):format(desk.server.address, name)
      command.write_file(desk.folder .. "/arvak/lab.conf", profile)
      assert_ok(command.run({ "backends", "--profile", "lab" },
        { environment = { XDG_CONFIG_HOME = desk.folder, HOME = desk.folder } }))
    end
  end)

  it("says that a certificate is wrong, not that nobody answers", function()
    desk:open { tls_cert = certificates.path "server", tls_key = certificates.path("server", "key") }
    local address = "localhost:" .. desk.server.address:match ":(%d+)$"
    local function backends(ca) return run("backends", "--address", address, "--ca", ca, "--timeout", "5") end
    assert_ok(backends(certificates.path "ca"))
    local result = backends(certificates.path "other_ca")
    assert.equal(4, result.code)
    assert.matches("certificate verify failed", result.err)
    result = backends "bell.qasm"
    assert.equal(2, result.code)
    assert.matches("^arvak: %-%-ca: bell%.qasm holds no PEM text", result.err)
    certificates.remove()
  end)

  it("takes the name that the certificate must have, also from a profile", function()
    desk:open { tls_cert = certificates.path "server", tls_key = certificates.path("server", "key") }
    local address, ca = "127.0.0.1:" .. desk.server.address:match ":(%d+)$", certificates.path "ca"
    assert_ok(run("backends", "--address", address, "--ca", ca, "--server-name", "localhost"))
    assert.equal(4, run("backends", "--address", address, "--ca", ca, "--server-name", "elsewhere", "--timeout",
      "5").code)
    os.execute("mkdir -p " .. command.quote(desk.folder .. "/arvak"))
    command.write_file(desk.folder .. "/arvak/lab.conf", ("address = %s\nca = %s\nserver_name = localhost\n"):format(
      address, ca))
    assert_ok(command.run({ "backends", "--profile", "lab" },
      { environment = { XDG_CONFIG_HOME = desk.folder, HOME = desk.folder } }))
    certificates.remove()
  end)

  it("colours on request only, and never with NO_COLOR", function()
    desk:open()
    assert.is_nil(assert_ok(run("backends")):find "\27")
    assert.is_truthy(assert_ok(run("--color", "always", "backends")):find "\27")
    assert.is_nil(command.run({ "backends" }, { environment = desk:environment { NO_COLOR = "1" } }).out
      :find "\27")
  end)

  it("says what serve cannot take, and that its address is taken", function()
    desk:open()
    local result = run("serve", "--address", "nonsense")
    assert.equal(2, result.code)
    assert.matches("^arvak: serve: bad address 'nonsense'", result.err)
    result = run("serve", "--fault", "rpc=Nonsense")
    assert.equal(2, result.code)
    assert.matches("^arvak: serve: bad value 'Nonsense'", result.err)
    result = run("serve", "--address", desk.server.address)
    assert.equal(1, result.code)
    assert.matches("Address already in use", result.err)
  end)

  it("serves, until it is interrupted", function()
    local result = command.shell(("timeout -s INT 1 %s; echo $?"):format(command.line({ "serve", "--address",
      "127.0.0.1:0" })))
    assert.matches("^listening on 127%.0%.0%.1:%d+\n", result.out)
  end)
end)

describe("the guide", function()
  local guide = command.read_file "docs/guide/command.md"

  it("has the exit codes and subcommands that the command has", function()
    local help = assert_ok(run("--help"))
    for code, meaning in guide:match("%| code %|.*$"):gmatch "\n| (%d+) | ([^|]+) |" do
      assert.is_truthy(help:find(("%3d  %s"):format(code, meaning), 1, true), meaning)
    end
    for name in help:match "Commands:\n(.-)\n\n":gmatch "   (%l+)  +%u" do
      local is_for_shells = name == "completion" or name == "manual"
      assert.is_truthy(is_for_shells or guide:find("arvak " .. name, 1, true), name)
    end
  end)

  it("names the fields of each object that is printed", function()
    desk:open()
    local fields = {}
    for name, list in guide:gmatch "\n| `(%l+)` | (`[^|]+) |" do
      fields[name] = {}
      for field in list:gmatch "`([%w_]+)`" do fields[name][field] = true end
    end
    local job = assert_ok(run("submit", "bell.qasm")):match "%S+"
    assert_ok(run("watch", job))
    assert_ok(run("batch", "bell.qasm", "--journal", "run.db", "-q", "-o", "out.csv"))
    local uses = { run = { "bell.qasm" }, result = { job }, submit = { "bell.qasm" }, status = { job }, watch = { job },
      cancel = { job }, backends = {}, batch = { "bell.qasm", "-q" }, journal = { "run.db" },
      jobs = {} }
    for name, words in pairs(uses) do
      local result = command.run({ name, "--format", "json", table.unpack(words) },
        { folder = desk.folder, environment = name ~= "journal" and desk:environment() or nil })
      local names = command.python(
        "import json, sys\nfor line in sys.stdin: print(*json.loads(line), sep='\\n')", result.out)
      local count = 0
      for field in names:gmatch "%S+" do
        count = count + 1
        assert.is_true(fields[name] and fields[name][field], name .. ": " .. field)
      end
      assert.is_true(count > 1, name)
    end
  end)
end)
