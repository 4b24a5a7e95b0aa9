-- The failures of a shared batch, run again by one program or several, while others run or not.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local labs = require "spec.support.labs"

local circuits, iterator = labs.circuits, labs.iterator

describe("retry_failed of a shared batch", function()
  local lab = labs.new()
  setup(function() lab:start() end)
  teardown(function() lab:remove() end)
  before_each(function() lab:open() end)
  after_each(function() lab:close() end)

  -- A batch of which so many have failed.
  local function fail(count, given, options)
    lab.server:fault { job = "fail", count = count }
    local r = lab:run_on(given, options)
    assert.equal(count, r.failure_count)
    return r
  end

  local function assert_whole(r, count)
    assert.same({ "completed", count, count }, { r.status, r.success_count, #r.items })
    for i, item in ipairs(r.items) do
      assert.same({ i, i, { ["1"] = i } }, { item.index, item.result.shots, item.result.counts })
    end
  end

  for _, kind in ipairs { "list", "iterator" } do
    it("runs what failed of a " .. kind .. " once more, and the batch has the new outcomes", function()
      local r = fail(5, kind == "list" and circuits(20) or iterator(circuits(20)))
      assert_whole(r:retry_failed(), 20)
      assert.same({ 25, 2 }, { lab:runs() })
      assert.same({ 20, 0 }, { lab:count "state = 'completed'", lab:count "owner IS NOT NULL" })
      assert_whole(lab:run(circuits(20)), 20)
      assert.equal(25, (lab:runs()))
    end)
  end

  it("gives failures that fail again, and runs them again when it is called again", function()
    local r = fail(3, circuits(8))
    lab.server:fault { job = "fail", count = 2 }
    r = r:retry_failed()
    assert.same({ "partial", 6, 2 }, { r.status, r.success_count, r.failure_count })
    assert.same({ "job_failed", "job_failed" }, { r.failures[1].err.kind, r.failures[2].err.kind })
    assert_whole(r:retry_failed(), 8)
    assert.same({ 13, 3 }, { lab:runs() })
  end)

  it("shares them among the programs that do it at once, each of which has every outcome", function()
    fail(12, circuits(30))
    lab:restart(0.05)
    local results = {}
    arvak.run(function()
      local managers = {}
      for i = 1, 3 do
        managers[i] = arvak.batch_manager(lab.client, { max_workers = 4 })
        results[i] = managers[i]:execute_batch(circuits(30), "simulator", { journal = lab:name() })
      end
      for i = 1, 3 do arvak.spawn(function() results[i] = results[i]:retry_failed() end) end
    end)
    for i = 1, 3 do assert_whole(results[i], 30) end
    assert.same({ 12, 1 }, { lab:runs() })   -- of the new server: each failure once
  end)

  it("disturbs nobody who runs meanwhile, and those who were told of a failure keep it", function()
    lab:restart(0.05)
    lab.server:fault { job = "fail", count = 4 }
    local first, again, told
    arvak.run(function()
      local f = arvak.spawn(function()
        told = 0
        first = lab:run(circuits(60), { on_result = function() told = told + 1 end })
      end)
      while (told or 0) < 20 do arvak.sleep(0.01) end
      local other <close> = arvak.batch_manager(lab.client, { max_workers = 2 })
      local _, err = other:execute_batch(iterator(circuits(60)), "simulator", { journal = lab:name(), collect = true,
        on_result = function(i) if i >= 16 then error "enough" end end })
      assert.matches("enough", tostring(err))
      local r = lab:run_on(circuits(16), { extend = true })
      again = r:retry_failed()
      f:wait()
    end)
    assert_whole(again, 16)
    assert.same({ 60, 60, 4 }, { told, first.total_count, first.failure_count })
    assert_whole(lab:run(circuits(60)), 60)
    assert.same({ 64, 2 }, { lab:runs() })
  end)

  it("that dies leaves its circuits to a later program; who was told of the failure ends without them", function()
    lab:restart(0.05)
    lab.server:fault { job = "fail", count = 1 }
    local slot
    local r = lab:run(circuits(60), { on_result = function(index, _, err)
      if not err then return end
      slot = index
      lab:sql(([[UPDATE arvak_item SET owner = 0, epoch = 0, state = 'claimed', job_id = NULL, error = NULL,
        ended_at = NULL, ended_by = NULL WHERE batch = BATCH AND slot = %d]]):format(index))
    end })
    assert.same({ 59, 1 }, { r.success_count, r.failure_count })
    assert.equal(1, lab:count(("slot = %d AND state = 'claimed' AND owner = 0"):format(slot)))
    assert_whole(lab:run(circuits(60)), 60)
    assert.same({ 61, 2 }, { lab:runs() })
  end)

  it("looks first at a job whose result could not be fetched", function()
    lab.server:fault { rpc = "GetJobResult", status = "PERMISSION_DENIED", count = 3 }
    local r = lab:run_on(circuits(6), { transport = "unary" })
    assert.equal(3, r.failure_count)
    assert_whole(r:retry_failed(), 6)
    assert.same({ 6, 1 }, { lab:runs() })
  end)

  it("leaves what may have run alone, unless on_unknown of the retry says otherwise", function()
    fail(2, circuits(6))
    lab:sql [[UPDATE arvak_item SET state = 'unknown', job_id = NULL,
      error = '{"kind":"rpc","message":"lost","maybe_executed":true}' WHERE batch = BATCH AND state = 'failed']]
    local r = lab:run_on(circuits(6))
    local again = r:retry_failed()
    assert.same({ 2, 6 }, { again.failure_count, (lab:runs()) })
    assert.equal(2, lab:count "state = 'unknown'")
    assert_whole(r:retry_failed { on_unknown = "resubmit" }, 6)
    assert.same({ 8, 2 }, { lab:runs() })
  end)

  for _, trouble in ipairs { "it is taken over", "its database dies" } do
    it("goes on when " .. trouble .. " in the middle", function()
      lab:restart(0.2)
      local r = fail(8, circuits(12))
      local has_begun
      r = r:retry_failed { lease = 1, progress_callback = function(p)
        if p.running == 0 or has_begun then return end
        has_begun = true
        if trouble == "its database dies" then return lab.cluster:restart "immediate" end
        lab:sql [[UPDATE arvak_worker SET epoch = epoch + 1, state = 'dead' WHERE batch = BATCH AND state = 'alive';
          UPDATE arvak_item SET owner = 0, epoch = 0 WHERE batch = BATCH AND owner > 0]]
      end }
      assert.is_true(has_begun)
      assert.is_true(select(2, lab:runs()) <= 2)
      for _, failure in ipairs(r.failures) do assert.is_true(failure.err.maybe_executed) end
      assert.equal(12, r.total_count)
      assert.same({ r.success_count, r.failure_count },
        { lab:count "state = 'completed'", lab:count "state = 'unknown'" })
    end)
  end

  it("of a program that has its own alone runs what it failed itself", function()
    local r = fail(3, circuits(9), { share = "mine" })
    assert.equal(9, #r.items)
    r = r:retry_failed()
    assert.same({ "completed", 9 }, { r.status, #r.items })
    assert.same({ 12, 2 }, { lab:runs() })
  end)

  it("keeps the failures of another batch that has got its name, and says so", function()
    local r = fail(2, circuits(4))
    lab:sql [[DELETE FROM arvak_item WHERE batch = BATCH; DELETE FROM arvak_claim WHERE batch = BATCH;
      DELETE FROM arvak_worker WHERE batch = BATCH; DELETE FROM arvak_batch WHERE batch = BATCH]]
    local _, err = r:retry_failed()
    assert.matches("is refused: there is no such batch any more", tostring(err))
    lab.server:fault { job = "fail", count = 4 }
    assert.equal(4, lab:run(circuits(4, "OPENQASM 3.0; qubit q; h q; h q;")).failure_count)
    lab:sql "UPDATE arvak_item i SET job_id = NULL WHERE batch = BATCH"
    local sent = lab:runs()
    _, err = r:retry_failed()
    assert.matches("is refused: it belongs to another batch .*circuit %d is the first that differs", tostring(err))
    assert.same({ sent, 4 }, { (lab:runs()), lab:count "state = 'failed'" })
  end)

  it("refuses another journal, and names it", function()
    local r = fail(1, circuits(2))
    for _, journal in ipairs { "run.db", lab:name "another" } do
      assert.error_matches(function() r:retry_failed { journal = journal } end,
        "journal: got another one, expected that of the batch", 1, true)
    end
    local plain = lab.manager:execute_batch(circuits(2), "simulator")
    assert.error_matches(function() plain:retry_failed { journal = lab:name() } end,
      "retry_failed: journal:", 1, true)
  end)
end)
