-- arvak batch, journal and report: many circuits from a shell, interrupted and taken up again.
-- SPDX-License-Identifier: Apache-2.0
local command = require "spec.support.command"
local helper = require "spec.helper"

local BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
local ROTATION = "OPENQASM 3.0;\ninput float theta;\nqubit q;\nbit c;\nry(theta) q;\nc = measure q;\n"

local server, folder, remove

local function open(options)
  server = helper.start(options)
end

local function run(...)
  return command.run({ ... }, { folder = folder, environment = { ARVAK_ADDRESS = server.address } })
end

before_each(function()
  folder, remove = command.folder()
  command.write_file(folder .. "/rotation.qasm", ROTATION)
end)

after_each(function()
  if server then server:stop() end
  server = nil
  remove()
end)

-- Different programs, so that each job is told from the others by its shots and its circuit.
local function write_circuits(count)
  assert(os.execute("mkdir " .. command.quote(folder .. "/circuits")))
  for i = 1, count do
    command.write_file(("%s/circuits/c%05d.qasm"):format(folder, i), BELL .. "// " .. i .. "\n")
  end
end

local count_ids = [[
import csv, sys
rows = list(csv.DictReader(sys.stdin))
print(len(set(row["id"] for row in rows)), sum(int(row["count"] or 0) for row in rows),
    sum(1 for row in rows if row["error"]))
]]

describe("arvak batch", function()
  it("runs a folder, and gives CSV and JSON that Python reads", function()
    open()
    write_circuits(30)
    local result = run("batch", "circuits", "--shots", "10", "--quiet")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.equal("30 300 0\n", command.python(count_ids, result.out))
    result = run("batch", "circuits", "--shots", "10", "--format", "json")
    assert.equal(0, result.code)
    assert.equal("30 30\n", command.python([[
import json, sys
found = [json.loads(line) for line in sys.stdin]
print(len(found), len(set(item["job_id"] for item in found)))
]], result.out))
    assert.matches("30 of 30 circuits completed, 0 failed", result.err)
  end)

  it("sweeps parameters; ids tell the points apart", function()
    open()
    local result = run("batch", "rotation.qasm", "--sweep", "theta=0:3.141592653589793:3", "--shots", "100", "-q")
    assert.equal(0, result.code)
    assert.equal("['rotation.qasm?theta=0', 'rotation.qasm?theta=1.5707963267948966', "
      .. "'rotation.qasm?theta=3.141592653589793']\n", command.python(
      "import csv, sys; print(sorted(set(row['id'] for row in csv.DictReader(sys.stdin))))", result.out))
  end)

  it("takes a manifest and a list of names", function()
    open()
    write_circuits(2)
    command.write_file(folder .. "/runs.jsonl", table.concat({
      '{"file": "circuits/c00001.qasm", "shots": 5, "id": "first"}',
      '{"qasm": "OPENQASM 3.0; qubit q; bit c; x q; c = measure q;", "id": 7}',
      '{"file": "rotation.qasm", "params": {"theta": 0}, "id": "turned"}', "" }, "\n"))
    local result = run("batch", "runs.jsonl", "--shots", "20", "-q")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.equal("{'first': 5, '7': 20, 'turned': 20}\n", command.python([==[
import csv, sys
total = {}
for row in csv.DictReader(sys.stdin): total[row["id"]] = total.get(row["id"], 0) + int(row["count"])
print(total)]==], result.out))
    result = command.run({ "batch", "-", "-q" }, { folder = folder,
      input = "circuits/c00001.qasm\ncircuits/c00002.qasm\n", environment = { ARVAK_ADDRESS = server.address } })
    assert.equal("2 2048 0\n", command.python(count_ids, result.out))
  end)

  it("says which line of a manifest is wrong, and sends nothing", function()
    open()
    local wrong = { '{"qasm": 3}', '{"file": "a", "qasm": "b"}', '{"shot": 3}', "nonsense",
      '{"qasm": "OPENQASM 3.0; qubit q; x q;", "shots": 0}', "[]" }
    for _, line in ipairs(wrong) do
      command.write_file(folder .. "/runs.jsonl", "\n" .. line .. "\n")
      local result = run("batch", "runs.jsonl")
      assert.equal(2, result.code, line)
      assert.matches("^arvak: runs%.jsonl:2: ", result.err)
    end
    assert.equal(0, server:stats().calls.SubmitJob)
    assert.equal(0, server:stats().calls.SubmitBatchStream)
  end)

  it("exits with 1 when some circuits fail, and runs them once more with --retry-failed", function()
    open()
    write_circuits(10)
    server:fault { job = "fail", count = 3 }
    local result = run("batch", "circuits", "--journal", "run.db", "-o", "out.csv")
    assert.equal(1, result.code)
    assert.matches("7 of 10 circuits completed, 3 failed", result.err)
    assert.matches("%-%-retry%-failed", result.err)
    result = run("batch", "circuits", "--journal", "run.db", "--retry-failed", "-o", "out.csv")
    assert.equal(0, result.code, result.err)
    assert.equal("10 10240 0\n", command.python(count_ids, command.read_file(folder .. "/out.csv")))
  end)

  it("says when another process has the journal", function()
    open { job_latency = 1 }
    write_circuits(2)
    local line = command.line({ "batch", "circuits", "--journal", "run.db", "-q" }, { ARVAK_ADDRESS = server.address })
    local result = command.shell(("%s > first.csv & while ! [ -s run.db ]; do sleep 0.02; done; sleep 0.2; %s; "
      .. "code=$?; wait; exit $code"):format(line, line), folder)
    assert.equal(6, result.code, result.err)
    assert.matches("another process is using it", result.err)
  end)
end)

describe("an interrupted batch", function()
  -- Starts the batch, waits until so many more jobs were made than before, and sends the signal to it.
  local function interrupt(signal, more)
    local before = #server:jobs()
    local line = command.line({ "batch", "circuits", "--journal", "run.db", "-q", "-o", "out.csv" },
      { ARVAK_ADDRESS = server.address })
    local pid_file = folder .. "/pid"
    os.remove(pid_file)
    os.remove(folder .. "/code")
    assert(os.execute(("cd %s; { ( echo $(exec sh -c 'echo $PPID') > pid.new; mv pid.new pid; exec %s ) > log 2>&1; "
      .. "echo $? > code.new; mv code.new code; } &"):format(command.quote(folder), line)))
    helper.eventually(function() return io.open(pid_file) end)
    local pid = command.read_file(pid_file):match "%d+"
    helper.eventually(function() return #server:jobs() >= before + more end, 60)
    assert(os.execute(("kill -%s %s"):format(signal, pid)))
    helper.eventually(function() return io.open(folder .. "/code") end)
    return command.read_file(folder .. "/log"), math.tointeger(tonumber(command.read_file(folder .. "/code")))
  end

  it("of 2,000 circuits, by Ctrl-C twice and once by a kill, goes on with the command that it prints", function()
    open { rate_limit = 100, max_concurrent_jobs = 100, max_queued_jobs = 1000,   -- as servers are by default
      job_latency = 0.1 }
    write_circuits(2000)
    for _ = 1, 2 do
      local log, code = interrupt("INT", 200)
      assert.equal(130, code)
      assert.matches("To go on:\n  arvak batch circuits --journal run.db -q -o out.csv\n", log, 1, true)
    end
    interrupt("KILL", 200)
    local result = run("batch", "circuits", "--journal", "run.db", "-q", "-o", "out.csv", "--on-unknown", "resubmit")
    assert.equal(0, result.code, result.err)
    assert.equal("2000 2048000 0\n", command.python(count_ids, command.read_file(folder .. "/out.csv")))
    assert.is_true(#server:jobs() <= 2000 + 32)   -- twice at most what was being sent at the kill
  end)

  it("cancels what runs when there is no journal, and leaves it when there is one", function()
    open { job_latency = 60 }
    write_circuits(5)
    for _, journal in ipairs { "", "--journal run.db" } do
      local before = #server:jobs()
      local line = command.line({ "batch", "circuits", "-q" }, { ARVAK_ADDRESS = server.address })
      assert(os.execute(("cd %s; { timeout -s INT 3 %s %s > log 2>&1; echo $? > code; } &"):format(
        command.quote(folder), line, journal)))
      helper.eventually(function() return #server:jobs() == before + 5 end)
      os.remove(folder .. "/code")
      helper.eventually(function()
        local file = io.open(folder .. "/code")
        return file and file:read "l"
      end)
      local states = {}
      for _, job in ipairs(server:jobs()) do states[job.state] = (states[job.state] or 0) + 1 end
      assert.equal(5, states.CANCELED)
      assert.equal(journal == "" and 5 or 10, #server:jobs())
    end
  end)
end)

describe("many files", function()
  it("ten thousand are one batch", function()
    open()
    write_circuits(10000)
    local result = run("batch", "circuits", "--shots", "1", "-q", "-o", "out.csv")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.equal("10000 10000 0\n", command.python(count_ids, command.read_file(folder .. "/out.csv")))
  end)

  it("without a server end with that reason, and its code", function()
    write_circuits(3)
    local result = command.run({ "batch", "circuits", "--address", "127.0.0.1:1", "--timeout", "0.5", "-q" },
      { folder = folder })
    assert.equal(3, result.code)
    assert.matches("arvak: ", result.err)
  end)

  it("end quietly when nobody reads any more", function()
    open()
    write_circuits(300)
    local result = command.shell(command.line({ "batch", "circuits", "-q" }, { ARVAK_ADDRESS = server.address })
      .. " | head -n 1", folder)
    assert.same({ "id,job_id,bitstring,count,shots,error,message\n", "" }, { result.out, result.err })
  end)
end)

describe("arvak journal and report", function()
  it("tell what stands in a journal", function()
    open()
    write_circuits(6)
    server:fault { job = "fail", count = 2 }
    assert.equal(1, run("batch", "circuits", "--journal", "run.db", "-q", "-o", "out.csv").code)
    local result = run("journal", "run.db")
    assert.equal(0, result.code)
    assert.matches("6 circuits: 4 completed, 2 failed", result.err)
    result = run("journal", "run.db", "--state", "failed", "--format", "json")
    assert.equal("2 ['job_failed']\n", command.python([[
import json, sys
found = [json.loads(line) for line in sys.stdin]
print(len(found), sorted(set(item["error"]["kind"] for item in found)))]], result.out))
    result = run("journal", "none.db")
    assert.equal(1, result.code)
    assert.matches("^arvak: ", result.err)
  end)

  it("make a page that stands alone, with everything in it escaped", function()
    open()
    command.write_file(folder .. "/<script>alert(1)<&.qasm", BELL)
    command.write_file(folder .. "/b.qasm", BELL .. "// b\n")
    assert.equal(0, run("batch", "<script>alert(1)<&.qasm", "b.qasm", "--journal", "run.db", "-q", "-o",
      "out.csv").code)
    local result = run("report", "run.db", "-o", "report.html")
    assert.same({ 0, "" }, { result.code, result.err })
    local found = command.python([[
import sys
from html.parser import HTMLParser
class Reader(HTMLParser):
    def __init__(self):
        super().__init__(); self.scripts = 0; self.outside = []; self.cells = []; self.cell = False
    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"; self.cell = tag == "td"
        self.outside += [value for name, value in attributes if name in ("src", "href")]
    def handle_data(self, data):
        if self.cell: self.cells.append(data)
reader = Reader(); reader.feed(sys.stdin.read())
print(reader.scripts, reader.outside, "<script>alert(1)<&.qasm" in reader.cells, "completed" in reader.cells)
]], command.read_file(folder .. "/report.html"))
    assert.equal("1 [] True True\n", found)
  end)
end)
