-- arvak.ledger: the order of jobs, filters, long ledgers, and the format.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local command = require "spec.support.command"
local damages = require "spec.support.damages"
local helper = require "spec.helper"
local ledgers = require "spec.support.ledgers"
local stores = require "spec.support.stores"

local folder, remove, name

before_each(function()
  folder, remove = command.folder()
  name = folder .. "/jobs.db"
  command.shell(("cp spec/data/ledger-1.db '%s'"):format(name))
end)

after_each(function()
  remove()
  helper.assert_clean()
end)

-- Adds so many jobs as another program would.
local function add(count)
  local store, outcome = stores.open("sqlite", name)
  assert(outcome.ok)
  local sql = [[WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k
    WHERE i < %d) INSERT INTO arvak_job (job_id, address, backend_id, shots, label, submitted_at, state, seen_at)
    SELECT 'job-' || i, 'h:1', 'simulator', i, 'many', 2000000000 + i, 'QUEUED', 2000000000 + i FROM k]]
  outcome = stores.run(store, "write", { { sql:format(count) } })
  assert(outcome.ok, outcome.message)
  store:abandon()
end

describe("a ledger", function()
  it("of format 1 is read", function()
    local ledger <close> = assert(arvak.ledger(name))
    assert.equal(name, ledger.name)
    assert.equal("arvak.ledger " .. name, tostring(ledger))
    local list = ledgers.items(name)
    assert.same({ job_id = "5e0e8a4c-0000-4000-8000-000000000003", address = "quantum.example:50051",
      backend_id = "simulator", shots = 4096, label = "vqe", submitted_at = 1700000200.5, state = "RUNNING",
      seen_at = 1700000260.25 }, list[1])
    assert.same({ "vqe", nil, "bell" }, { list[1].label, list[2].label, list[3].label })
    assert.equal(3, #list)
  end)

  it("whose jobs are out of order is refused, and not read for ever", function()
    add(2000)
    damages.swap_pages(name, "many")
    local ledger <close> = assert(arvak.ledger(name))
    local count = 0
    local _, err = pcall(function()
      for _ in ledger:items() do
        count = count + 1
        assert(count <= 2003)
      end
    end)
    assert.matches("it is damaged: its jobs are out of order$", err.message)
  end)

  it("of format 1 is written on", function()
    local server = helper.start()
    local client = arvak.connect(server.address, { ledger = name })
    assert(client:submit_qasm(helper.bell, "simulator", { label = "new" }))
    client:close()
    server:stop()
    ledgers.rest()
    assert.equal("new", ledgers.items(name)[1].label)
    assert.equal(4, #ledgers.items(name))
  end)

  it("gives the jobs of a filter, and counts them", function()
    local ledger <close> = assert(arvak.ledger(name))
    local function ids(filter)
      local list = {}
      for item in ledger:items(filter) do list[#list + 1] = item.job_id:sub(-1) end
      return table.concat(list)
    end
    assert.equal("321", ids())
    assert.equal("3", ids { label = "vqe" })
    assert.equal("1", ids { state = "COMPLETED" })
    assert.equal("32", ids { since = 1700000100 })
    assert.equal("31", ids { backend_id = "simulator" })
    assert.equal("", ids { label = "vqe", state = "COMPLETED" })
    assert.equal("", ids { label = "' OR 1 = 1 --" })
    assert.same({ QUEUED = 0, RUNNING = 1, COMPLETED = 1, FAILED = 1, CANCELED = 0, RESULT_EXPIRED = 0 },
      ledger:counts())
    assert.same(1, ledger:counts { label = "vqe" }.RUNNING)
    assert.same(0, ledger:counts { label = "vqe" }.FAILED)
  end)

  it("may be long: each job comes once, the newest first, also while others are added", function()
    add(1700)
    local ledger <close> = assert(arvak.ledger(name))
    local seen, last, count = {}, math.huge, 0
    for item in ledger:items { label = "many" } do
      assert.is_nil(seen[item.job_id])
      assert.is_true(item.shots < last)
      seen[item.job_id], last, count = true, item.shots, count + 1
    end
    assert.equal(1700, count)
  end)

  it("is read in a task beside others", function()
    add(600)
    local count = 0
    arvak.run(function()
      local ledger <close> = assert(arvak.ledger(name))
      for _ in ledger:items() do count = count + 1 end
    end)
    assert.equal(603, count)
  end)

  it("says what is wrong with arguments, and that it was closed", function()
    local ledger = assert(arvak.ledger(name))
    for filter, message in pairs { [{ label = 7 }] = "label: got 7", [{ state = "DONE" }] = 'state: got "DONE"',
      [{ since = "x" }] = 'since: got "x"', [{ since = 0 / 0 }] = "since: got ",
      [{ shots = 1 }] = 'unknown option "shots"', [7] = "got 7" } do
      assert.error_matches(function() ledger:items(filter) end, message, 1, true)
      assert.error_matches(function() ledger:counts(filter) end, message, 1, true)
    end
    local next_item = ledger:items()
    ledger:close()
    ledger:close()
    assert.is_nil(next_item())
    assert.error_matches(function() ledger:items() end, "the ledger was closed")
    assert.error_matches(function() arvak.ledger(7) end, "name: got 7")
    assert.error_matches(function() arvak.ledger "host=x batch=y" end, "a ledger knows no batches")
  end)

  it("that is not there is an error, and none is made", function()
    local ledger, err = arvak.ledger(folder .. "/none.db")
    assert.is_nil(ledger)
    assert.truthy(err.message:find(folder .. "/none.db cannot be read: unable to open database file", 1, true))
    assert.is_nil(io.open(folder .. "/none.db"))
    command.write_file(folder .. "/empty.db", "")
    ledger, err = arvak.ledger(folder .. "/empty.db")
    assert.is_nil(ledger)
    assert.matches("it is empty: no job was noted in it", err.message)
  end)
end)
