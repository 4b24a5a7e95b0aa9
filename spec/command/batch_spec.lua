-- arvak batch, journal and report: many circuits from a shell, interrupted and taken up again.
-- SPDX-License-Identifier: Apache-2.0
local command = require "spec.support.command"
local helper = require "spec.helper"

local desk = command.desk(helper.start, before_each, after_each)

local function run(...) return desk:run(...) end

local count_ids = [[
import csv, sys
rows = list(csv.DictReader(sys.stdin))
print(len(set(row["id"] for row in rows)), sum(int(row["count"] or 0) for row in rows),
    sum(1 for row in rows if row["error"]))
]]

describe("arvak batch", function()
  it("runs a folder, and gives CSV and JSON that Python reads", function()
    desk:open()
    desk:write_circuits(30)
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
    desk:open()
    local result = run("batch", "rotation.qasm", "--sweep", "theta=0:3.141592653589793:3", "--shots", "100", "-q")
    assert.equal(0, result.code)
    assert.equal("['rotation.qasm?theta=0', 'rotation.qasm?theta=1.5707963267948966', "
      .. "'rotation.qasm?theta=3.141592653589793']\n", command.python(
      "import csv, sys; print(sorted(set(row['id'] for row in csv.DictReader(sys.stdin))))", result.out))
  end)

  it("takes a manifest and a list of names", function()
    desk:open()
    desk:write_circuits(2)
    command.write_file(desk.folder .. "/runs.jsonl", table.concat({
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
    result = command.run({ "batch", "-", "-q" }, { folder = desk.folder,
      input = "circuits/c00001.qasm\ncircuits/c00002.qasm\n", environment = desk:environment() })
    assert.equal("2 2048 0\n", command.python(count_ids, result.out))
  end)

  it("says which line of a manifest is wrong, and sends nothing", function()
    desk:open()
    local wrong = { '{"qasm": 3}', '{"file": "a", "qasm": "b"}', '{"shot": 3}', "nonsense",
      '{"qasm": "OPENQASM 3.0; qubit q; x q;", "shots": 0}', "[]" }
    for _, line in ipairs(wrong) do
      command.write_file(desk.folder .. "/runs.jsonl", "\n" .. line .. "\n")
      local result = run("batch", "runs.jsonl")
      assert.equal(2, result.code, line)
      assert.matches("^arvak: runs%.jsonl:2: ", result.err)
    end
    assert.equal(0, desk.server:stats().calls.SubmitJob)
    assert.equal(0, desk.server:stats().calls.SubmitBatchStream)
  end)

  it("exits with 1 when some circuits fail, and runs them once more with --retry-failed", function()
    desk:open()
    desk:write_circuits(10)
    desk.server:fault { job = "fail", count = 3 }
    local result = run("batch", "circuits", "--journal", "run.db", "-o", "out.csv")
    assert.equal(1, result.code)
    assert.matches("7 of 10 circuits completed, 3 failed", result.err)
    assert.matches("%-%-retry%-failed", result.err)
    result = run("batch", "circuits", "--journal", "run.db", "--retry-failed", "-o", "out.csv")
    assert.equal(0, result.code, result.err)
    assert.equal("10 10240 0\n", command.python(count_ids, command.read_file(desk.folder .. "/out.csv")))
  end)

  it("says when another process has the journal", function()
    desk:open { job_latency = 60 }
    desk:write_circuits(2)
    local first = desk:begin("batch", "circuits", "--journal", "run.db", "-q")
    first:await_jobs(2)
    local result = run("batch", "circuits", "--journal", "run.db", "-q")
    first:signal "INT"
    assert.equal(6, result.code, result.err)
    assert.matches("another process is using it", result.err)
  end)

  it("gives up an address soon where nobody answers, and a key that is refused", function()
    desk:write_circuits(3)
    local started_at = os.time()
    local result = run("batch", "circuits", "--address", "127.0.0.1:1")
    assert.same({ 3, "" }, { result.code, result.out })
    assert.matches("^arvak: .*\nTry: another %-%-address", result.err)
    assert.is_true(os.time() - started_at < 20)   -- an outage is borne for 30 s
    desk:open { api_key = "right" }
    assert.equal(4, run("batch", "circuits").code)
    assert.equal(0, desk.server:stats().calls.SubmitJob + desk.server:stats().calls.SubmitBatchStream)
  end)

  it("needs no server where the journal has the end of every circuit", function()
    desk:open()
    desk:write_circuits(3)
    local words = { "batch", "circuits", "--journal", "run.db", "-q" }
    local before = run(table.unpack(words))
    assert.equal(0, before.code, before.err)
    desk.server:stop()
    assert.same({ 0, before.out }, { run(table.unpack(words)).code, run(table.unpack(words)).out })
  end)

  it("sweeps further than an integer reaches, and refuses what no number reaches", function()
    local result = run("batch", "rotation.qasm", "--address", "embedded", "--sweep",
      "theta=0:9223372036854775807:2", "--format", "json", "-q")
    assert.matches('"id":"rotation.qasm?theta=9.223372036854776e+18"', result.out, 1, true)
    assert.equal(2, run("batch", "rotation.qasm", "--sweep", "theta=-1e308:1e308:3").code)
  end)

  it("sweeps between expressions, and reads those of a manifest", function()
    desk:open()
    command.write_file(desk.folder .. "/runs.jsonl", '{"file": "rotation.qasm", "params": {"theta": "pi"}, "id": "a"}')
    local result = run("batch", "runs.jsonl", "--format", "json", "-q")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.matches('"counts":{"1":1024}', result.out, 1, true)
    result = run("batch", "rotation.qasm", "--sweep", "theta=0:2*pi/2:2", "--format", "json", "-q")
    assert.matches('"id":"rotation.qasm?theta=3.141592653589793"', result.out, 1, true)
    command.write_file(desk.folder .. "/runs.jsonl", '{"file": "rotation.qasm", "params": {"theta": "pie"}}')
    result = run("batch", "runs.jsonl")
    assert.equal(2, result.code)
    assert.matches('^arvak: runs%.jsonl:1: params%.theta: got pie, expected a number', result.err)
  end)
end)

describe("--output", function()
  it("never replaces a journal or a ledger, by whatever name", function()
    desk:open()
    assert.equal(0, run("batch", "bell.qasm", "--journal", "run'.db", "-q").code)
    command.shell("ln -s \"run'.db\" link.db", desk.folder)
    local before = command.read_file(desk.folder .. "/run'.db")
    for _, words in ipairs { { "batch", "bell.qasm", "--journal", "run'.db", "-o", "run'.db" },
      { "batch", "bell.qasm", "--journal", "./run'.db", "-o", "link.db" },
      { "batch", "bell.qasm", "--journal", "new.db", "-o", "new.db" }, { "report", "run'.db", "-o", "link.db" },
      { "jobs", "--ledger", "link.db", "-o", "run'.db" } } do
      local result = run(table.unpack(words))
      assert.equal(2, result.code)
      assert.matches("^arvak: %-%-output: .* is read: give the results a file of their own\n", result.err)
    end
    assert.equal(before, command.read_file(desk.folder .. "/run'.db"))
    assert.is_nil(io.open(desk.folder .. "/new.db"))
    assert.equal(0, run("batch", "bell.qasm", "--journal", "run'.db", "-o", "other.csv", "-q").code)
  end)
end)

describe("names that a terminal would act upon", function()
  it("are escaped in errors", function()
    local name = "a\27[31m\nb"
    for _, words in ipairs { { "run", name }, { "batch", name }, { "journal", name }, { "jobs", "--ledger", name },
      { "report", name }, { "status", "--" .. name }, { name } } do
      local result = run(table.unpack(words))
      assert.is_true(result.code ~= 0)
      assert.is_nil(result.err:find "\27", result.err)
      assert.is_truthy(result.err:find("\\u{1b}", 1, true), result.err)
    end
  end)

  it("are escaped in the command that goes on, as shells read it", function()
    desk:open { job_latency = 60 }
    command.write_file(desk.folder .. "/a\27[31m'\n.qasm", command.bell)
    local batch = desk:begin("batch", "a\27[31m'\n.qasm", "--journal", "run.db", "-q")
    batch:await_jobs(1)
    local log, code = batch:signal "INT"
    assert.equal(130, code)
    local word = log:match "\n  arvak batch (%S+) %-%-journal run%.db %-q\n$"
    assert.equal("a\27[31m'\n.qasm", command.shell("bash -c " .. command.quote("printf %s " .. word)).out)
  end)
end)

describe("an interrupted batch", function()
  it("of 2,000 circuits, by Ctrl-C twice and once by a kill, goes on with the command that it prints", function()
    desk:open { rate_limit = 100, max_concurrent_jobs = 100, max_queued_jobs = 1000,   -- as servers are by default
      job_latency = 0.4 }   -- 8 s for all: none ends before its signal
    desk:write_circuits(2000)
    local words = { "batch", "circuits", "--journal", "run.db", "-q", "-o", "out.csv" }
    for _ = 1, 2 do
      local batch = desk:begin(table.unpack(words))
      batch:await_jobs(200)
      local log, code = batch:signal "INT"
      assert.equal(130, code)
      assert.matches("To go on:\n  arvak batch circuits --journal run.db -q -o out.csv\n", log, 1, true)
    end
    local batch = desk:begin(table.unpack(words))
    batch:await_jobs(200)
    batch:signal "KILL"
    local result = run("batch", "circuits", "--journal", "run.db", "-q", "-o", "out.csv", "--on-unknown", "resubmit")
    assert.equal(0, result.code, result.err)
    assert.equal("2000 2048000 0\n", command.python(count_ids, command.read_file(desk.folder .. "/out.csv")))
    assert.is_true(#desk.server:jobs() <= 2000 + 32)   -- twice at most what was being sent at the kill
  end)

  it("knows what it was submitting when it is interrupted, by whatever transport", function()
    desk:open { rate_limit = 100, max_concurrent_jobs = 100, max_queued_jobs = 1000, job_latency = 0.2 }
    desk:write_circuits(400)
    for _, transport in ipairs { "auto", "stream", "unary" } do
      local name = transport .. ".db"
      local batch = desk:begin("batch", "circuits", "--journal", name, "--transport", transport, "-q", "-o", "out.csv")
      batch:await_jobs(50)
      assert.equal(130, select(2, batch:signal "INT"))
      local plan = command.assert_ok(run("batch", "circuits", "--journal", name, "--dry-run"))
      local unknown = tonumber(plan:match "(%d+) unknown")   -- of 32 that were under way
      assert.is_true(unknown <= 4, transport .. ": " .. plan)
      assert.equal("", run("journal", name, "--state", "failed", "--format", "json").out)
    end
  end)

  it("cancels what runs when there is no journal, and leaves it when there is one", function()
    desk:open { job_latency = 60 }
    desk:write_circuits(5)
    local function canceled()
      local count = 0
      for _, job in ipairs(desk.server:jobs()) do count = count + (job.state == "CANCELED" and 1 or 0) end
      return count
    end
    local batch = desk:begin("batch", "circuits", "--transport", "unary", "-q")
    batch:await_jobs(5)
    helper.eventually(function() return desk.server:stats().calls.GetJobStatus >= 40 end)   -- the ids have come
    local log, code = batch:signal "INT"
    assert.same({ 130, 5 }, { code, canceled() })
    assert.matches("^Without a journal it begins anew", log)
    batch = desk:begin("batch", "circuits", "--journal", "run.db", "-q")
    batch:await_jobs(5)
    batch:signal "INT"
    assert.same({ 10, 5 }, { #desk.server:jobs(), canceled() })
  end)
end)

describe("many files", function()
  it("ten thousand are one batch", function()
    desk:open()
    desk:write_circuits(10000)
    local result = run("batch", "circuits", "--shots", "1", "-q", "-o", "out.csv")
    assert.same({ 0, "" }, { result.code, result.err })
    assert.equal("10000 10000 0\n", command.python(count_ids, command.read_file(desk.folder .. "/out.csv")))
  end)

  it("end quietly when nobody reads any more", function()
    desk:open()
    desk:write_circuits(300)
    local result = command.shell(command.line({ "batch", "circuits", "-q" }, desk:environment())
      .. " | head -n 1", desk.folder)
    assert.same({ "id,job_id,bitstring,count,shots,error,message\n", "" }, { result.out, result.err })
  end)
end)

describe("arvak journal and report", function()
  it("tell what stands in a journal", function()
    desk:open()
    desk:write_circuits(6)
    desk.server:fault { job = "fail", count = 2 }
    assert.equal(1, run("batch", "circuits", "--journal", "run.db", "-q", "-o", "out.csv").code)
    local result = run("journal", "run.db")
    assert.equal(0, result.code)
    assert.matches("6 circuits: 4 completed, 2 failed", result.err)
    result = run("journal", "run.db", "--state", "failed", "--format", "json")
    assert.equal("2 ['job_failed']\n", command.python([[
import json, sys
found = [json.loads(line) for line in sys.stdin]
print(len(found), sorted(set(item["error"]["kind"] for item in found)))]], result.out))
    command.assert_ok(run("journal", "run.db", "--format", "csv", "-o", "journal.csv"))
    assert.equal("6\n", command.python("import csv, sys; print(len(list(csv.DictReader(sys.stdin))))",
      command.read_file(desk.folder .. "/journal.csv")))
    result = run("journal", "none.db")
    assert.equal(1, result.code)
    assert.matches("^arvak: ", result.err)
  end)

  it("count what was never sent", function()
    desk:open()
    command.write_file(desk.folder .. "/wide.qasm", "OPENQASM 3.0;\nqubit[30] q;\nh q;\n")
    assert.equal(1, run("batch", "bell.qasm", "wide.qasm", "--journal", "run.db", "-q", "-o", "out.csv").code)
    assert.equal("2 circuits: 1 completed, 1 not sent\n", run("journal", "run.db").err)
    assert.matches("<b>1</b>not sent", run("report", "run.db").out, 1, true)
  end)

  it("make a page that stands alone, with everything in it escaped", function()
    desk:open()
    command.write_file(desk.folder .. "/<script>alert(1)<&.qasm", command.bell)
    command.write_file(desk.folder .. "/b.qasm", command.bell .. "// b\n")
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
]], command.read_file(desk.folder .. "/report.html"))
    assert.equal("1 [] True True\n", found)
  end)
end)
