-- Bad moments of a shared batch: a foreign list of circuits, an end in the middle of a write, a database that answers
-- late or refuses for ever.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local labs = require "spec.support.labs"
local proxies = require "spec.support.proxy"

local circuits, iterator = labs.circuits, labs.iterator

describe("a shared batch at a bad moment", function()
  local lab = labs.new()
  setup(function() lab:start() end)
  teardown(function() lab:remove() end)
  before_each(function() lab:open() end)
  after_each(function() lab:close() end)

  it("keeps what an iterator has done, whoever comes with a shorter list", function()
    local list = circuits(60)
    local _, err = lab:run(iterator(list), { on_result = function(index) if index >= 20 then error "enough" end end })
    assert.matches("enough", tostring(err))
    local before = lab:count "state <> 'claimed'"
    local r, refusal = lab:run(circuits(3, "OPENQASM 3.0; qubit q; h q;"))
    assert.is_nil(r)
    assert.matches("is refused", tostring(refusal))
    assert.equal(before, lab:count "state <> 'claimed'")
    r = assert(lab:run(iterator(list)))
    assert.same({ "completed", 60 }, { r.status, r.success_count })
    local times = {}
    for _, job in ipairs(lab.server:jobs()) do times[job.shots] = (times[job.shots] or 0) + 1 end
    for i = 1, 19 do assert.equal(1, times[i]) end
  end)

  it("is left by a program whose coroutine is closed while a write is under way", function()
    lab:restart(0.5)
    local proxy = proxies.start(lab.cluster)
    local called = 0
    proxy:arm("request", 0, "stall", "state = 'submitted'")
    local co = coroutine.create(function()
      return lab:run(circuits(12), { journal = lab:name(nil, proxy), lease = 60,
        progress_callback = function()
          called = proxy:is_armed() and 0 or called + 1
          if called == 3 then coroutine.yield "stalled" end
        end })
    end)
    assert.same({ true, "stalled" }, { coroutine.resume(co) })
    assert.is_true(coroutine.close(co))
    proxy:resume()
    helper.eventually(function()
      return lab:sql("SELECT state FROM arvak_worker WHERE batch = BATCH") == "left"
    end, 4)
    assert.equal("0", lab:sql("SELECT COUNT(*) FROM arvak_item WHERE owner > 0 AND batch = BATCH"))
    proxy:stop()
    local r = assert(lab:run(circuits(12)))
    assert.same({ "completed", 12 }, { r.status, r.success_count })
  end)

  it("is left although the database refuses the last words at first", function()
    lab:make_tables()
    lab:sql [[CREATE SEQUENCE refusals;
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('refusals') <= 2 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40P01'; END IF;
        RETURN NEW; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON arvak_worker FOR EACH ROW WHEN (NEW.state = 'left')
        EXECUTE FUNCTION refuse()]]
    local r = lab:run(circuits(8))
    lab:sql "DROP TRIGGER refuse ON arvak_worker"
    assert.equal("completed", r.status)
    assert.equal("left", lab:sql("SELECT state FROM arvak_worker WHERE batch = BATCH"))
  end)

  it("leaves no worker behind where the answer to the last words is lost", function()
    lab:make_tables()
    lab:sql [[CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
      CREATE TRIGGER linger BEFORE UPDATE ON arvak_worker FOR EACH ROW WHEN (NEW.state = 'left')
        EXECUTE FUNCTION linger()]]
    local proxy = proxies.start(lab.cluster)
    local r
    arvak.run(function()
      local ended = arvak.spawn(function()
        r = lab:run(circuits(8), { journal = lab:name(nil, proxy), lease = 60 })
      end)
      for _ = 1, 400 do
        if lab:sql "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'" == "1" then break end
        arvak.sleep(0.02)
      end
      proxy:cut()
      ended:wait()
    end)
    lab:sql "DROP TRIGGER linger ON arvak_worker"
    proxy:stop()
    assert.equal("completed", r.status)
    assert.equal("left", lab:sql("SELECT string_agg(state, ' ') FROM arvak_worker WHERE batch = BATCH"))
  end)

  it("keeps its timeout while the database is silent, and does not spin", function()
    lab:make_tables()
    local proxy = proxies.start(lab.cluster)
    local cpu, looks = nil, 0
    local before_stall, began = 10, os.time()
    local _, err = lab:run(iterator(circuits(400)), {
      journal = lab:name(nil, proxy), timeout = 3, lease = 60,
      on_result = function(index)
        if index == before_stall then proxy:arm("request", 0, "stall", "arvak_batch SET next_slot") end
      end,
      progress_callback = function(p)
        if p.completed >= before_stall and not proxy:is_armed() then cpu, looks = cpu or os.clock(), looks + 1 end
      end })
    cpu = os.clock() - cpu
    proxy:resume()
    proxy:stop()
    assert.equal("timeout", err.kind)
    assert.is_true(looks > 5)
    assert.is_true(os.time() - began < 60, "it has waited for the database")
    assert.is_true(cpu < 1, ("%.2f s of CPU"):format(cpu))
  end)

  it("writes ends that waited for the database after they were told, when its task is canceled", function()
    lab:make_tables()
    lab:restart(1, 1)   -- one after the other, so that ends wait behind those that are on their way
    local completed, told = 0, {}
    local future = arvak.spawn(function()
      return lab:run(circuits(4), { progress_callback = function(p) completed = p.completed end,
        on_result = function(index, result) told[index] = result and result.shots end })
    end)
    lab:wait_for "SELECT COUNT(*) = 4 FROM arvak_item WHERE batch = BATCH AND job_id IS NOT NULL"
    local held <close> = lab:hold "SELECT 1 FROM arvak_item WHERE batch = BATCH FOR UPDATE"
    helper.eventually(function() return completed == 4 end)
    assert.is_nil(told[3])
    assert.is_nil(told[4])
    future:cancel()
    assert(future:wait())
    local r, err = future:result()
    assert.same({ "canceled", 4 }, { err.kind, r.success_count })
    assert.same({ 1, 2, 3, 4 }, told)
    held:release()
    lab:wait_for [[SELECT COUNT(*) = 4 FROM arvak_item WHERE batch = BATCH AND state = 'completed'
      AND counts = '{"1":' || slot || '}']]
  end)

  it("gives up joining again where it may not, once reconnect has passed", function()
    lab:restart(0.5)
    lab:make_tables()
    local started
    local r, err = lab:run(circuits(40), { lease = 1, reconnect = 1, timeout = 12, progress_callback = function(p)
      if p.running > 0 and not started then
        started = true
        lab:sql([[CREATE FUNCTION bar() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'no more of you' USING ERRCODE = '42501'; END $$;
          CREATE TRIGGER bar BEFORE INSERT ON arvak_worker FOR EACH ROW EXECUTE FUNCTION bar();
          UPDATE arvak_worker SET epoch = epoch + 1, state = 'dead' WHERE batch = BATCH]])
      end
    end })
    lab:sql "DROP TRIGGER bar ON arvak_worker"
    assert.is_true(r ~= nil and started)
    assert.matches("no more of you", tostring(err))
  end)
end)
