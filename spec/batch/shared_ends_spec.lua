-- How many circuits a shared batch has: programs with lists and iterators that end in other places, of this batch or of
-- another one.
-- SPDX-License-Identifier: Apache-2.0
local labs = require "spec.support.labs"
local sql = assert(loadfile "lua/arvak/batch/shared/sql.lua")()

local circuits, iterator = labs.circuits, labs.iterator
local FOREIGN = "OPENQASM 3.0; qubit q; h q; h q;"

describe("the end of a shared batch", function()
  local lab = labs.new()
  setup(function() lab:start() end)
  teardown(function() lab:remove() end)
  before_each(function() lab:open() end)
  after_each(function() lab:close() end)

  local function total() return lab:sql "SELECT total FROM arvak_batch WHERE batch = BATCH" end

  -- An iterator that is stopped after so many of its circuits have ended.
  local function begin(list, ended)
    local _, err = lab:run(iterator(list), { on_result = function(i) if i >= ended then error "enough" end end })
    assert.matches("enough", tostring(err))
    assert.equal("", total())
  end

  it("is not written by a program with other circuits, which a list of them is", function()
    begin(circuits(60), 20)
    local before = lab:count "state <> 'claimed'"
    for _, options in ipairs { {}, { extend = true } } do
      local r, err = lab:run(circuits(80, FOREIGN), options)
      assert.equal("failed", r.status)
      assert.matches("is refused: it belongs to another batch .*circuit 1 is the first that differs", tostring(err))
      assert.same({ "", before }, { total(), lab:count "state <> 'claimed'" })
    end
    local r = assert(lab:run(iterator(circuits(60))))
    assert.same({ "completed", 60, "60" }, { r.status, r.success_count, total() })
  end)

  it("is not moved by a longer list or iterator of other circuits", function()
    assert(lab:run(circuits(10)))
    for _, given in ipairs { circuits(14, FOREIGN), iterator(circuits(14, FOREIGN)) } do
      local r, err = lab:run(given, { extend = true })
      assert.equal("failed", r.status)
      assert.matches("is refused", tostring(err))
      assert.equal("10", total())
    end
    assert.equal("completed", lab:run(circuits(10)).status)
    assert.same({ 10, 1 }, { lab:runs() })
  end)

  it("stays where it is when an iterator takes part in the first circuits", function()
    assert(lab:run(circuits(10)))
    for _, share in ipairs { "all", "mine" } do
      local r = assert(lab:run(iterator(circuits(6)), { extend = true, share = share }))
      assert.same({ "completed", share == "all" and 6 or 0, "10" }, { r.status, r.success_count, total() })
    end
    assert.equal("completed", lab:run(iterator(circuits(10))).status)
  end)

  for _, share in ipairs { "all", "mine" } do
    it("moves with a longer iterator or list that may extend it, share = " .. share, function()
      assert(lab:run(circuits(10)))
      local r = assert(lab:run(iterator(circuits(17)), { extend = true, share = share }))
      assert.same({ "completed", share == "all" and 17 or 7, "17" }, { r.status, r.success_count, total() })
      r = assert(lab:run(circuits(25), { extend = true, share = share }))
      assert.same({ "completed", share == "all" and 25 or 8, "25" }, { r.status, r.success_count, total() })
      assert.same({ 25, 1 }, { lab:runs() })
    end)
  end

  it("is that of the longest of several programs at once that may extend it", function()
    local given = { extend = true }
    local results = lab:share { { iterator(circuits(8)), given }, { iterator(circuits(30)), given },
      { circuits(19), given }, { iterator(circuits(30)), given } }
    for i, count in ipairs { 8, 30, 19, 30 } do
      local r, err = table.unpack(results[i], 1, 2)
      assert.is_nil(err)
      assert.same({ "completed", count }, { r.status, r.success_count })
    end
    assert.same({ 30, 1 }, { lab:runs() })
    assert.equal("completed", lab:run(iterator(circuits(30))).status)
    assert.equal("30", total())
  end)

  it("is named in the error of an iterator that ends elsewhere, with its own, whoever ended first", function()
    lab:restart(0.05)
    local results = lab:share { { iterator(circuits(9)) }, { iterator(circuits(40)) } }
    local refused = 0
    for i, own in ipairs { 9, 40 } do
      local r, err = table.unpack(results[i], 1, 2)
      if r.status ~= "completed" then
        refused = refused + 1
        assert.matches("is refused: it belongs to another batch", tostring(err))
        assert.matches("it has [at least ]*%d+ circuits, these are [at least ]*%d+$", tostring(err))
      else
        assert.same({ own, tostring(own) }, { r.success_count, total() })
      end
    end
    assert.equal(1, refused)
    assert.is_true(select(2, lab:runs()) == 1)
  end)

  it("may be cut away under a program that has claimed beyond it: the error names both", function()
    lab:make_tables()
    lab:restart(0.3)
    local has_cut
    local r, err = lab:run(iterator(circuits(40)), { lease = 60, progress_callback = function(p)
      if p.running == 0 or has_cut then return end
      has_cut = true
      lab:sql [[UPDATE arvak_batch SET total = 2 WHERE batch = BATCH;
        DELETE FROM arvak_item WHERE batch = BATCH AND slot > 2;
        DELETE FROM arvak_claim WHERE batch = BATCH AND first_slot > 2;
        UPDATE arvak_claim SET last_slot = 2, hash = NULL WHERE batch = BATCH AND last_slot > 2]]
    end })
    assert.equal("failed", r.status)
    assert.matches("it has 2 circuits, these are at least %d+$", tostring(err))
    assert.is_nil(tostring(err):find "division")
    assert.equal("left", lab:sql "SELECT string_agg(DISTINCT state, ' ') FROM arvak_worker WHERE batch = BATCH")
  end)

  it("is no matter to a part of the batch that had claimed beyond its own end, where others moved it", function()
    lab:make_tables()
    lab:restart(0.5)
    local has_cut
    local options = { extend = true, workers = 6, lease = 60 }
    function options.progress_callback()
      if has_cut or lab:count "slot > 8 AND owner > 0" == 0 then return end
      has_cut = true
      lab:sql [[UPDATE arvak_batch SET total = 20, next_slot = 9 WHERE batch = BATCH;
        DELETE FROM arvak_item WHERE batch = BATCH AND slot > 8;
        DELETE FROM arvak_claim WHERE batch = BATCH AND first_slot > 8;
        UPDATE arvak_claim SET last_slot = 8, hash = NULL WHERE batch = BATCH AND last_slot > 8]]
    end
    local r, err = lab:run(iterator(circuits(8)), options)
    assert.is_true(has_cut)
    assert.is_nil(err)
    assert.same({ "completed", 8, "20" }, { r.status, r.success_count, total() })
    assert.same({ 8, 1 }, { lab:runs() })
  end)

  it("is not written by a shorter program that may extend it while another claims beyond", function()
    lab:make_tables()
    lab:sql(([[INSERT INTO arvak_batch (name, format, on_unknown, next_slot) VALUES ('%s', 2, 'fail', 3)]]):format(
      lab.batch))
    local _ <close> = lab:hold([[UPDATE arvak_batch SET next_slot = 9 WHERE batch = BATCH;
      INSERT INTO arvak_item (batch, slot, owner, epoch, state)
        SELECT BATCH, s, 1000000, 1, 'claimed' FROM generate_series(3, 8) s]], true)
    local values = { ["1"] = "BATCH", ["2"] = "2", ["3"] = "1" }
    lab:sql((sql.end_part:gsub("%$(%d)", values)))
    assert.equal("6", lab:sql "SELECT COUNT(*) FROM arvak_item WHERE batch = BATCH")
    assert.equal("", total())
  end)

  it("moves also where something was begun beyond it", function()
    assert(lab:run(circuits(6)))
    lab:sql [[INSERT INTO arvak_item (batch, slot, owner, epoch, state, job_id) VALUES (BATCH, 8, 0, 0, 'intent', NULL);
      UPDATE arvak_batch SET next_slot = 10 WHERE batch = BATCH]]
    local r = assert(lab:run(circuits(10), { extend = true }))
    assert.same({ "partial", 9, 1, "10" }, { r.status, r.success_count, r.failure_count, total() })
    assert.same({ 8, true }, { r.failures[1].index, r.failures[1].err.maybe_executed })
    assert.same({ 9, 1 }, { lab:runs() })
  end)

  it("says so when somebody removes a program's rows while it runs", function()
    lab:make_tables()
    lab:restart(0.3)
    local has_removed
    local _, err = lab:run(circuits(12), { lease = 60, progress_callback = function(p)
      if p.running == 0 or has_removed then return end
      has_removed = true
      lab:sql "DELETE FROM arvak_item WHERE batch = BATCH"
    end })
    assert.matches("cannot be written: rows that are this program's were changed or removed by somebody else",
      tostring(err))
  end)
end)
