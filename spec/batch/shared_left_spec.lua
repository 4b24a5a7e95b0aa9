-- What a worker of a shared batch has left that does not live any more, or does nothing: claims, rows, sessions.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local command = require "spec.support.command"
local labs = require "spec.support.labs"

local circuits, iterator = labs.circuits, labs.iterator
local FOREIGN = "OPENQASM 3.0; qubit q; h q; h q;"

local lab = labs.new()

-- A worker that has claimed the first three slots, and does nothing more.
local function leave_claim(lease, age)
  lab:make_tables()
  lab:restart(0.01)
  lab:sql(([[INSERT INTO arvak_batch (name, format, backend_id, on_unknown, next_slot)
      VALUES ('%s', 2, 'simulator', 'fail', 4);
    INSERT INTO arvak_worker (batch, name, lease, seen_at) VALUES (BATCH, 'slow', %f, now() - interval '%d s');
    INSERT INTO arvak_claim (batch, first_slot, last_slot, worker)
      SELECT batch, 1, 3, worker FROM arvak_worker WHERE name = 'slow' AND batch = BATCH;
    INSERT INTO arvak_item (batch, slot, owner, epoch, state)
      SELECT batch, s, worker, 1, 'claimed' FROM arvak_worker, generate_series(1, 3) s
      WHERE name = 'slow' AND batch = BATCH]]):format(lab.batch, lease, age))
end

describe("a claim whose owner has not written its hash", function()
  setup(function() lab:start() end)
  teardown(function() lab:remove() end)
  before_each(function() lab:open() end)
  after_each(function() lab:close() end)

  it("has that of the first program that goes on beyond it, with which another's circuits are refused", function()
    leave_claim(3600, 0)
    local sent, tries = 0, 0
    while sent < 17 and tries < 30 do   -- a busy machine needs more than one
      local _, err = lab:run(iterator(circuits(20)), { timeout = 1 })
      assert.equal("timeout", err.kind)
      sent, tries = lab:runs(), tries + 1
    end
    assert.is_true(sent >= 17)
    assert.equal(0, lab:count "state = 'intent'")
    local r, refusal = lab:run(iterator(circuits(20, FOREIGN)))
    assert.equal("failed", r.status)
    assert.matches("is refused", tostring(refusal))
    assert.equal(sent, (lab:runs()))
    lab:sql "UPDATE arvak_worker SET lease = 0.5 WHERE name = 'slow'"
    r = assert(lab:run(iterator(circuits(20)), { lease = 0.5 }))
    assert.same({ "completed", 20 }, { r.status, r.success_count })
    assert.equal(1, select(2, lab:runs()))
  end)

  it("keeps everything that follows from being sent while its row cannot be written", function()
    leave_claim(3600, 0)
    local held <close> = lab:hold "SELECT 1 FROM arvak_claim WHERE first_slot = 1 AND batch = BATCH FOR UPDATE"
    arvak.run(function()
      local f = arvak.spawn(function() lab:run(iterator(circuits(20)), { lease = 60, timeout = 4 }) end)
      lab:wait_for "SELECT COUNT(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
      for _ = 1, 10 do
        assert.equal(0, (lab:runs()))
        arvak.sleep(0.05)
      end
      held:release()
      f:wait()
    end)
    assert.is_true((lab:runs()) >= 17)
  end)
end)

describe("a session that holds the row of a dead worker", function()
  setup(function() lab:start() end)
  teardown(function() lab:remove() end)
  before_each(function() lab:open() end)
  after_each(function() lab:close() end)

  local HOLD = "UPDATE arvak_worker SET seq = seq + 1 WHERE name = 'slow' AND batch = BATCH"
  local IS_HELD = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'holder'"

  it("is ended by another program, whatever its name is, and nothing stays undone", function()
    leave_claim(0.5, 60)
    local held <close> = lab:hold(HOLD)
    local r = assert(lab:run(iterator(circuits(20)), { lease = 0.5, timeout = 60 }))
    assert.same({ "completed", 20 }, { r.status, r.success_count })
    assert.equal("0", lab:sql(IS_HELD))
    held:release()
  end)

  it("is named to a program whose user may not end it", function()
    leave_claim(0.5, 60)
    lab:sql "CREATE ROLE poor LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO poor"
    local held <close> = lab:hold(HOLD)
    local name = lab.cluster:name("lab", { batch = lab.batch, user = "poor" })
    local result = command.shell(("%s spec/support/shared_batch.lua %s '%s' 20 lease=0.5 timeout=6"):format(
      os.getenv "LUA" or "lua5.4", lab.server.address, name))
    assert.matches("waits for a dead worker: the row of slow is held by session %d+ of the user arvak, which this user "
      .. "may not end: let an administrator end it", result.err)
    assert.equal("1", lab:sql(IS_HELD))
    held:release()
    local r = assert(lab:run(circuits(20), { lease = 0.5 }))
    assert.equal(20, r.total_count)
  end)
end)
