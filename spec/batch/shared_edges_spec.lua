-- Bad moments of a shared batch: a foreign list of circuits, an end in the middle of a write, a database that answers
-- late or refuses for ever.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"
local proxies = require "spec.support.proxy"

local function circuits(count, text)
  local list = {}
  for i = 1, count do list[i] = { text or "OPENQASM 3.0; qubit q; x q;", i } end
  return list
end

local function iterator(list)
  local drawn = 0
  return function()
    drawn = drawn + 1
    return list[drawn]
  end
end

describe("a shared batch at a bad moment", function()
  local cluster, server, client, batch
  local numbers = 0

  setup(function()
    cluster = clusters.start { settings = { max_connections = 40 } }
    cluster:sql "CREATE DATABASE lab"
  end)
  teardown(function() cluster:remove() end)

  before_each(function()
    numbers = numbers + 1
    batch = "b" .. numbers
    server = helper.start { job_latency = 0.01 }
    client = arvak.connect(server.address)
  end)
  after_each(function()
    client:close()
    server:stop()
    client, server = nil, nil
    helper.assert_clean()
  end)

  local function restart(job_latency)
    client:close()
    server:stop()
    server = helper.start { job_latency = job_latency }
    client = arvak.connect(server.address)
  end

  local function name() return cluster:name("lab", { batch = batch }) end

  local function run(list, options)
    local manager <close> = arvak.batch_manager(client, { max_workers = 4 })
    local all = { journal = name() }
    for key, value in pairs(options or {}) do all[key] = value end
    return manager:execute_batch(list, "simulator", all)
  end

  local function sql(text) return cluster:sql((text:gsub("BATCH", batch)), "lab") end

  local OF_BATCH = "(SELECT batch FROM arvak_batch WHERE name = 'BATCH')"

  it("keeps what an iterator has done, whoever comes with a shorter list", function()
    local list = circuits(60)
    local _, err = run(iterator(list), { on_result = function(index) if index >= 20 then error "enough" end end })
    assert.matches("enough", tostring(err))
    local before = sql("SELECT COUNT(*) FROM arvak_item WHERE state <> 'claimed' AND batch = " .. OF_BATCH)
    local r, refusal = run(circuits(3, "OPENQASM 3.0; qubit q; h q;"))
    assert.is_nil(r)
    assert.matches("is refused", tostring(refusal))
    assert.equal(before, sql("SELECT COUNT(*) FROM arvak_item WHERE state <> 'claimed' AND batch = " .. OF_BATCH))
    r = assert(run(iterator(list)))
    assert.same({ "completed", 60 }, { r.status, r.success_count })
    local times = {}
    for _, job in ipairs(server:jobs()) do times[job.shots] = (times[job.shots] or 0) + 1 end
    for i = 1, 19 do assert.equal(1, times[i]) end
  end)

  it("is left by a program whose coroutine is closed while a write is under way", function()
    restart(0.5)
    local proxy = proxies.start(cluster)
    local called = 0
    proxy:arm("request", 0, "stall", "state = 'submitted'")
    local co = coroutine.create(function()
      return run(circuits(12), { journal = proxy:name("lab", { batch = batch }), lease = 60,
        progress_callback = function()
          called = proxy:is_armed() and 0 or called + 1
          if called == 3 then coroutine.yield "stalled" end
        end })
    end)
    assert.same({ true, "stalled" }, { coroutine.resume(co) })
    assert.is_true(coroutine.close(co))
    proxy:resume()
    helper.eventually(function()
      return sql("SELECT state FROM arvak_worker WHERE batch = " .. OF_BATCH) == "left"
    end, 4)
    assert.equal("0", sql("SELECT COUNT(*) FROM arvak_item WHERE owner > 0 AND batch = " .. OF_BATCH))
    proxy:stop()
    local r = assert(run(circuits(12)))
    assert.same({ "completed", 12 }, { r.status, r.success_count })
  end)

  it("is left although the database refuses the last words at first", function()
    run(circuits(4))
    batch = batch .. "x"
    sql [[CREATE SEQUENCE refusals;
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('refusals') <= 2 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40P01'; END IF;
        RETURN NEW; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON arvak_worker FOR EACH ROW WHEN (NEW.state = 'left')
        EXECUTE FUNCTION refuse()]]
    local r = run(circuits(8))
    sql "DROP TRIGGER refuse ON arvak_worker"
    assert.equal("completed", r.status)
    assert.equal("left", sql("SELECT state FROM arvak_worker WHERE batch = " .. OF_BATCH))
  end)

  it("leaves no worker behind where the answer to the last words is lost", function()
    run(circuits(4))
    batch = batch .. "x"
    sql [[CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
      CREATE TRIGGER linger BEFORE UPDATE ON arvak_worker FOR EACH ROW WHEN (NEW.state = 'left')
        EXECUTE FUNCTION linger()]]
    local proxy = proxies.start(cluster)
    local r
    arvak.run(function()
      local ended = arvak.spawn(function()
        r = run(circuits(8), { journal = proxy:name("lab", { batch = batch }), lease = 60 })
      end)
      for _ = 1, 400 do
        if sql "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'" == "1" then break end
        arvak.sleep(0.02)
      end
      proxy:cut()
      ended:wait()
    end)
    sql "DROP TRIGGER linger ON arvak_worker"
    proxy:stop()
    assert.equal("completed", r.status)
    assert.equal("left", sql("SELECT string_agg(state, ' ') FROM arvak_worker WHERE batch = " .. OF_BATCH))
  end)

  it("keeps its timeout while the database is silent, and does not spin", function()
    run(circuits(4))
    batch = batch .. "x"
    local proxy = proxies.start(cluster)
    local cpu, looks = nil, 0
    local before_stall, began = 10, os.time()
    local _, err = run(iterator(circuits(400)), {
      journal = proxy:name("lab", { batch = batch }), timeout = 3, lease = 60,
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

  it("gives up joining again where it may not, once reconnect has passed", function()
    restart(0.5)
    run(circuits(1))
    batch = batch .. "x"
    local started
    local r, err = run(circuits(40), { lease = 1, reconnect = 1, timeout = 12, progress_callback = function(p)
      if p.running > 0 and not started then
        started = true
        sql([[CREATE FUNCTION bar() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'no more of you' USING ERRCODE = '42501'; END $$;
          CREATE TRIGGER bar BEFORE INSERT ON arvak_worker FOR EACH ROW EXECUTE FUNCTION bar();
          UPDATE arvak_worker SET epoch = epoch + 1, state = 'dead' WHERE batch = ]] .. OF_BATCH)
      end
    end })
    sql "DROP TRIGGER bar ON arvak_worker"
    assert.is_true(r ~= nil and started)
    assert.matches("no more of you", tostring(err))
  end)
end)
