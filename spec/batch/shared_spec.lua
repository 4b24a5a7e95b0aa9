-- One batch shared by several programs, through a real PostgreSQL. Two managers stand for two programs where that is
-- enough; spec/batch/shared_faults_spec.lua has processes, and spec/long/shared_*.lua more of them for longer.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local labs = require "spec.support.labs"

local circuits, iterator = labs.circuits, labs.iterator

describe("a batch that programs share", function()
  local lab = labs.new()
  setup(function() lab:start() end)
  teardown(function() lab:remove() end)
  before_each(function() lab:open() end)
  after_each(function() lab:close() end)

  it("runs each circuit once, and each program has the whole result, in order, with its own ids", function()
    local list = circuits(60)
    for i = 1, 60 do list[i].id = i * 10 end
    local results = lab:share { { list }, { list }, { list } }
    for _, r in ipairs(results) do
      r = r[1]
      assert.equal("completed", r.status)
      assert.equal(60, #r.items)
      for i, item in ipairs(r.items) do
        assert.same({ i, i * 10, i }, { item.index, item.id, item.result.shots })
        assert.same({ ["1"] = i }, item.result.counts)
      end
    end
    assert.same({ 60, 1 }, { lab:runs() })
    local journal <close> = assert(arvak.journal(lab:name()))
    local ended = 0
    for _, worker in ipairs(journal:workers()) do
      assert.equal("left", worker.state)
      ended = ended + worker.ended
    end
    assert.same({ 3, 60, 60, 60 }, { #journal:workers(), ended, journal.total, journal:counts().completed })
  end)

  it("reads circuits' results as the program that has them would", function()
    local c = arvak.circuit.new(2)
    c:h(0):cx(0, 1):measure_all()
    local list = {}
    for i = 1, 20 do list[i] = { c, i } end
    for _, r in ipairs(lab:share { { list }, { list } }) do
      for i, item in ipairs(r[1].items) do
        assert.equal(i, item.result.shots)
        assert.same(c, item.result.program or c)
      end
    end
    assert.same({ 20, 1 }, { lab:runs() })
  end)

  it("takes iterators, and tells on_result of every end once, whoever ran it", function()
    local seen, programs = { {}, {} }, {}
    for i = 1, 2 do
      local drawn = 0
      programs[i] = { function()
        drawn = drawn + 1
        return drawn <= 50 and { "OPENQASM 3.0; qubit q; x q;", drawn } or nil
      end, { on_result = function(index, result) seen[i][index] = (seen[i][index] or 0) + result.shots end } }
    end
    local results = lab:share(programs)
    for i = 1, 2 do
      assert.same({ "completed", 50 }, { results[i][1].status, results[i][1].success_count })
      for index = 1, 50 do assert.equal(index, seen[i][index]) end
    end
    assert.same({ 50, 1 }, { lab:runs() })
  end)

  it("gives a program that wants its own alone only what it ran, without holes", function()
    local mine = { share = "mine" }
    local results = lab:share { { circuits(40), mine }, { circuits(40), mine } }
    local seen = {}
    for _, r in ipairs(results) do
      local last = 0
      assert.equal(r[1].success_count, #r[1].items)
      for index, result in r[1]:each() do
        assert.is_true(index > last and result.shots == index and not seen[index])
        seen[index], last = true, index
      end
    end
    assert.equal(40, #seen)
    assert.same({ 40, 1 }, { lab:runs() })
  end)

  it("is kept: a later program has the result and sends nothing", function()
    lab:share { { circuits(10) } }
    local r = lab:share({ { circuits(10) } })[1][1]
    assert.same({ "completed", 10 }, { r.status, r.success_count })
    assert.same({ 10, 1 }, { lab:runs() })
    r = lab:share({ { circuits(10), { share = "mine" } } })[1][1]
    assert.equal(0, #r.items)
  end)

  it("tells how many programs live, and how many ends are this one's", function()
    local most, mine = 0, 0
    local options = { progress_callback = function(p) most, mine = math.max(most, p.workers), p.mine end }
    local results = lab:share { { circuits(80), options }, { circuits(80) } }
    assert.equal("completed", results[1][1].status)
    assert.equal(2, most)
    assert.is_true(mine > 0 and mine < 80)
  end)

  it("does not see another one in the same database", function()
    local other = lab:name(lab.batch .. "-other")
    local results = lab:share { { circuits(20) }, { circuits(30), { journal = other } } }
    assert.same({ 20, 30 }, { results[1][1].success_count, results[2][1].success_count })
    assert.equal(50, (lab:runs()))
  end)

  it("tells other circuits apart at the first claim, by the row, and lets go of what it had claimed", function()
    lab:share { { circuits(20), { timeout = 60 } } }
    lab:sql "UPDATE arvak_batch SET total = NULL, next_slot = 21 WHERE batch = BATCH"
    local drawn = 0
    local r, err = table.unpack(lab:share({ { function()
      drawn = drawn + 1
      return drawn <= 20 and { drawn == 7 and "OPENQASM 3.0; qubit q;" or "OPENQASM 3.0; qubit q; x q;", drawn } or nil
    end } })[1])
    assert.equal("failed", r.status)
    assert.matches("is refused: it belongs to another batch .*circuit 7 is the first that differs", tostring(err))
    assert.same({ 20, 1 }, { lab:runs() })
    assert.equal("0", lab.cluster:sql("SELECT count(*) FROM arvak_item WHERE owner > 0", "lab"))
  end)

  it("refuses fewer or more circuits, unless they may be part of it or extend it", function()
    lab:share { { circuits(10) } }
    for count, why in pairs { [6] = "extend = true takes part in", [14] = "extend = true takes on more" } do
      local r, err = table.unpack(lab:share({ { circuits(count) } })[1], 1, 2)
      assert.is_nil(r)
      assert.is_truthy(tostring(err):find(why, 1, true), tostring(err))
    end
    local r = lab:share({ { circuits(6), { extend = true } } })[1][1]
    assert.same({ "completed", 6 }, { r.status, r.success_count })
    r = lab:share({ { circuits(14), { extend = true } } })[1][1]
    assert.same({ "completed", 14 }, { r.status, r.success_count })
    assert.same({ 14, 1 }, { lab:runs() })
  end)

  it("stops an iterator that ends elsewhere", function()
    lab:share { { circuits(10) } }
    for _, count in ipairs { 8, 12 } do
      local drawn = 0
      local r, err = table.unpack(lab:share({ { function()
        drawn = drawn + 1
        return drawn <= count and circuits(count)[drawn] or nil
      end } })[1])
      assert.equal("failed", r.status)
      assert.matches("it has 10 circuits, these are", tostring(err))
    end
    assert.same({ 10, 1 }, { lab:runs() })
  end)

  it("claims more at a time while its jobs are short, four times its places at most, and no more while they are long",
    function()
      local function largest() return math.tointeger(lab:sql(
        "SELECT MAX(last_slot - first_slot + 1) FROM arvak_claim WHERE batch = BATCH")) end
      lab:restart(0.5)
      assert(lab:run(iterator(circuits(20))))
      assert.equal(4, largest())
      lab:restart(0)
      local most
      for _ = 1, 20 do   -- a machine may be too slow once
        lab:make_tables()
        assert(lab:run(iterator(circuits(200))))
        most = largest()
        if most == 16 then break end
      end
      assert.equal(16, most)
    end)

  it("leaves running jobs to the others when one program's time is up", function()
    lab:make_tables()
    lab:restart(0.3)
    local other, err
    arvak.run(function()
      arvak.spawn(function() other = lab:run(circuits(16)) end)
      lab:wait_for "SELECT COUNT(*) = 1 FROM arvak_worker WHERE batch = BATCH"
      err = select(2, lab:run(circuits(16), { timeout = 0.15 }))
    end)
    assert.equal("timeout", err.kind)
    assert.same({ "completed", 16 }, { other.status, other.success_count })
    assert.same({ 16, 1 }, { lab:runs() })
    assert.equal(0, lab.server:stats().canceled or 0)
  end)

  it("has its jobs canceled by the last program alone, and sends them again later", function()
    lab:restart(1)
    local results = lab:share { { circuits(4), { timeout = 0.3 } } }
    assert.equal("timeout", results[1][2].kind)
    local canceled = 0
    for _, job in ipairs(lab.server:jobs()) do if job.state == "CANCELED" then canceled = canceled + 1 end end
    assert.equal(4, canceled)
    local r = lab:share({ { circuits(4) } })[1][1]
    assert.same({ "completed", 4 }, { r.status, r.success_count })
    assert.same({ 8, 2 }, { lab:runs() })
  end)

  it("goes on with what a worker had that people have released", function()
    local held = lab:name()
    lab:share { { circuits(1), { journal = lab:name(lab.batch .. "-tables") } } }
    lab.cluster:sql(([[WITH b AS (INSERT INTO arvak_batch (name, format, backend_id, on_unknown, total, next_slot)
        VALUES ('%s', 2, 'simulator', 'fail', 8, 4) RETURNING batch),
      w AS (INSERT INTO arvak_worker (batch, name, lease) SELECT batch, 'gone', 3600 FROM b RETURNING worker, batch),
      c AS (INSERT INTO arvak_claim (batch, first_slot, last_slot, worker) SELECT w.batch, 1, 3, worker FROM w)
      INSERT INTO arvak_item (batch, slot, owner, epoch, state)
        SELECT w.batch, s, worker, 1, 'claimed' FROM w, generate_series(1, 3) s]]):format(lab.batch), "lab")
    local r
    arvak.run(function()
      local f = arvak.spawn(function()
        local manager <close> = arvak.batch_manager(lab.client, { max_workers = 4 })
        r = manager:execute_batch(circuits(8), "simulator", { journal = held })
      end)
      local journal <close> = assert(arvak.journal(held))
      local gone
      for _, worker in ipairs(journal:workers()) do if worker.name == "gone" then gone = worker.worker end end
      arvak.sleep(0.3)
      assert.is_nil(r)
      assert.equal(3, journal:release(gone))
      assert.is_nil((journal:release(gone)))
      f:wait()
    end)
    assert.same({ "completed", 8 }, { r.status, r.success_count })
    assert.same({ 9, 2 }, { lab:runs() })   -- with the one that made the tables
  end)

  it("says what is wrong with its database, and no secret", function()
    lab.cluster:sql("DROP ROLE IF EXISTS locked; CREATE ROLE locked LOGIN PASSWORD 'right'; "
      .. "DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN")
    lab.cluster:sql "CREATE DATABASE empty"
    lab.cluster:sql("REVOKE ALL ON SCHEMA public FROM public", "empty")
    lab.cluster:sql "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0"
    lab.cluster:sql "CREATE DATABASE newer"
    lab:share { { circuits(1), { journal = lab.cluster:name("newer", { batch = lab.batch }) } } }
    lab.cluster:sql("UPDATE arvak_batch SET format = 99", "newer")
    for why, where in pairs {
      ["password authentication failed"] = lab.cluster:name("lab", { user = "locked", password = "s3cret" }),
      ["database \"missing\" does not exist"] = lab.cluster:name "missing",
      ["this user may not make them"] = lab.cluster:name("empty", { user = "poor" }),
      ["permission denied"] = lab.cluster:name("lab", { user = "poor", batch = "new" }),
      ["encoding is LATIN1"] = lab.cluster:name "latin",
      ["its format is 99"] = lab.cluster:name("newer", { batch = lab.batch }),
      ["No such file"] = lab.cluster:name("lab", { host = "/nowhere", password = "s3cret" }),
    } do
      local r, err = table.unpack(lab:share({ { circuits(1), { journal = where } } })[1], 1, 2)
      assert.is_nil(r)
      assert.is_truthy(tostring(err):find(why, 1, true), tostring(err))
      assert.is_nil(tostring(err):find("s3cret", 1, true))
    end
  end)

  it("has options that are checked before anything is done", function()
    local manager <close> = arvak.batch_manager(lab.client)
    for why, options in pairs {
      ["lease: needs a journal in PostgreSQL"] = { lease = 3, journal = "run.db" },
      ["share: needs a journal"] = { share = "all" },
      ["reconnect: needs a journal in PostgreSQL"] = { reconnect = 3, journal = "run.db" },
      ["extend: needs a journal"] = { extend = true },
      ["lease: got 0.1, expected a number of seconds from 0.5"] = { journal = lab:name(), lease = 0.1 },
      ['share: got "some", expected "all" or "mine"'] = { journal = lab:name(), share = "some" },
      ["reconnect: got -1"] = { journal = lab:name(), reconnect = -1 },
      ["journal: got batch=\"\""] = { journal = "postgresql:///lab?batch=" },
      ["cannot be read: an @"] = { journal = "postgresql://u:p@s@h/lab" },
    } do
      assert.error_matches(function() manager:execute_batch(circuits(1), "simulator", options) end, why, 1, true)
    end
    assert.equal(0, (lab:runs()))
  end)
end)
