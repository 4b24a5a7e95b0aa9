-- arvak batch with a journal that is a PostgreSQL database, and the command's own words for options of the library.
-- SPDX-License-Identifier: Apache-2.0
local clusters = require "spec.support.cluster"
local command = require "spec.support.command"
local helper = require "spec.helper"

local desk = command.desk(helper.start, before_each, after_each)

local function batch(...) return desk:run("batch", ...) end

describe("arvak batch with a journal in PostgreSQL", function()
  local cluster

  setup(function()
    cluster = clusters.start()
    cluster:sql "CREATE DATABASE lab"
  end)
  teardown(function() cluster:remove() end)

  it("plans all circuits where there is no such batch yet", function()
    desk:open()
    local journal = cluster:name("lab", { batch = "planned" })
    for _ = 1, 2 do   -- before the tables are made, and afterwards
      local result = batch("bell.qasm", "--journal", journal, "--dry-run")
      assert.same({ 0, "0 kept, 0 followed, 1 to send, 0 unknown\n", "" }, { result.code, result.out, result.err })
      assert.equal(0, batch("bell.qasm", "--journal", cluster:name("lab", { batch = "other" }), "-q").code)
    end
  end)

  it("plans nothing where the database cannot be reached", function()
    local result = batch("bell.qasm", "--journal", "postgresql:///lab?host=" .. desk.folder, "--dry-run")
    assert.same({ 1, "" }, { result.code, result.out })
    assert.matches("cannot be opened: .*No such file or directory", result.err)
  end)

  it("says why the journal of other circuits is refused", function()
    desk:open()
    local journal = cluster:name("lab", { batch = "refused" })
    assert.equal(0, batch("bell.qasm", "--journal", journal, "-q").code)
    local result = batch("bell.qasm", "--shots", "7", "--journal", journal, "-q")
    assert.equal(1, result.code)
    assert.matches("stopped: .* is refused: .*circuit 1 is the first that differs", result.err)
    result = batch("bell.qasm", "--on-unknown", "resubmit", "--journal", journal, "-q")
    assert.equal(1, result.code)
    assert.matches('its %-%-on%-unknown is "fail"', result.err)
    assert.is_nil(result.err:find("To go on", 1, true))
  end)

  it("keeps what failed, and runs it once more with --retry-failed", function()
    desk:open()
    desk.server:fault { job = "fail", count = 1 }
    local journal = cluster:name("lab", { batch = "failed" })
    local result = batch("bell.qasm", "--journal", journal)
    assert.equal(1, result.code)
    assert.is_truthy(result.err:find("add --retry-failed", 1, true))
    assert.equal(1, batch("bell.qasm", "--journal", journal, "-q").code)
    result = batch("bell.qasm", "--journal", journal, "--retry-failed", "--dry-run")
    assert.equal("1 kept, 0 followed, 0 to send, 0 unknown; 1 failed, once more\n", result.out)
    assert.equal(1, desk.server:stats().accepted)
    assert.equal(0, batch("bell.qasm", "--journal", journal, "--retry-failed", "-q").code)
    assert.equal(2, desk.server:stats().accepted)
    assert.equal(0, batch("bell.qasm", "--journal", journal, "-q").code)
  end)

  it("says how what is unknown can be submitted once more: a batch keeps its --on-unknown", function()
    desk:open()
    local journal = cluster:name("lab", { batch = "unknown" })
    assert.equal(0, batch("bell.qasm", "--journal", journal, "-q").code)
    cluster:sql([[UPDATE arvak_item i SET state = 'unknown', job_id = NULL, counts = NULL,
      error = '{"kind":"rpc","message":"lost","maybe_executed":true}'
      FROM arvak_batch b WHERE b.batch = i.batch AND b.name = 'unknown']], "lab")
    local result = batch("bell.qasm", "--journal", journal)
    assert.equal(1, result.code)
    assert.is_truthy(result.err:find("To submit them once more, run those circuits with another batch=", 1, true))
    assert.is_nil(result.err:find("--on-unknown", 1, true))
  end)
end)

describe("an error about a journal", function()
  it("names the options of the command line", function()
    desk:open()
    assert.equal(0, batch("bell.qasm", "--journal", "run.db", "-q").code)
    local result = batch("bell.qasm", "rotation.qasm", "--param", "theta=1", "--journal", "run.db", "-q")
    assert.equal(1, result.code)
    assert.matches("%-%-extend takes on more", result.err)
    assert.is_nil(result.err:find("extend = true", 1, true))
  end)

  it("says that it has more circuits than the command names", function()
    desk:open()
    assert.equal(0, batch("bell.qasm", "rotation.qasm", "--param", "theta=1", "--journal", "run.db", "-q").code)
    local result = batch("bell.qasm", "--journal", "run.db", "--dry-run")
    assert.equal(1, result.code)
    assert.matches("circuit 2: the journal has more circuits, these are only 1", result.out)
  end)
end)
