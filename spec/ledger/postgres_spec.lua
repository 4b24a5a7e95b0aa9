-- A ledger in PostgreSQL, which many machines share, and which may be away for a while.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local cluster = require "spec.support.cluster"
local helper = require "spec.helper"
local ledgers = require "spec.support.ledgers"

local bell = helper.bell
local database, server, client, name

describe("a ledger in PostgreSQL", function()
  setup(function() database = cluster.start() end)
  teardown(function() database:remove() end)

  before_each(function()
    server = helper.start()
    name = database:name("postgres")
    client = arvak.connect(server.address, { ledger = name })
  end)

  after_each(function()
    client:close()
    server:stop()
    client, server = nil, nil
    ledgers.rest()
    database:sql("DROP TABLE IF EXISTS arvak_job, arvak_ledger")
    helper.assert_clean()
  end)

  it("notes jobs and states, and gives them back as one in a file does", function()
    for i = 1, 3 do assert(client:execute(bell, "simulator", { shots = i, label = "run " .. i })) end
    assert(client:submit_qasm(bell, "simulator", 4))
    ledgers.settle(client)
    local list = ledgers.items(name)
    assert.same({ 4, 3, 2, 1 }, { list[1].shots, list[2].shots, list[3].shots, list[4].shots })
    assert.same({ "QUEUED", "COMPLETED" }, { list[1].state, list[2].state })
    assert.same({ nil, "run 3", "simulator", server.address }, { list[1].label, list[2].label, list[2].backend_id,
      list[2].address })
    assert.is_true(math.abs(list[1].submitted_at - os.time()) < 60)
    assert.equal(1, #ledgers.items(name, { label = "run 2", state = "COMPLETED", backend_id = "simulator",
      since = os.time() - 100 }))
    local ledger <close> = assert(arvak.ledger(name))
    assert.same({ 3, 1 }, { ledger:counts().COMPLETED, ledger:counts().QUEUED })
    assert.equal(1, ledger:counts({ label = "run 1" }).COMPLETED)
  end)

  it("is written by several clients that make it at once", function()
    local others = {}
    for i = 1, 4 do
      others[i] = arvak.connect(server.address, { ledger = name })
      assert(others[i]:submit_qasm(bell, "simulator", { label = "client " .. i }))
    end
    for i, other in ipairs(others) do
      ledgers.settle(other)
      other:close()
      assert.equal(1, #ledgers.items(name, { label = "client " .. i }))
    end
  end)

  it("needs no right to make tables where they are", function()
    assert(client:submit_qasm(bell, "simulator", { label = "owner" }))
    ledgers.settle(client)
    database:sql("CREATE ROLE writer LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; "
      .. "GRANT SELECT, INSERT, UPDATE ON arvak_job, arvak_ledger TO writer; "
      .. "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer")
    local other <close> = arvak.connect(server.address, { ledger = database:name("postgres", { user = "writer" }) })
    assert(other:execute(bell, "simulator", { label = "writer" }))
    assert.same({ noted = 2, waiting = 0, lost = 0 }, ledgers.settle(other))
    assert.equal("COMPLETED", ledgers.by_label(name).writer.state)
  end)

  it("loses no note while the database is restarted", function()
    assert(client:submit_qasm(bell, "simulator", { label = "before" }))
    ledgers.settle(client)
    database:restart("immediate")
    local i = 0
    helper.eventually(function()   -- a note after some seconds makes a new connection
      i = i + 1
      assert(client:submit_qasm(bell, "simulator", { label = "after " .. i }))
      arvak.sleep(0.1)
      return client:stats().ledger.waiting == 0 and client:stats().ledger.noted > 1
    end, 60)
    local stats = client:stats().ledger
    assert.equal(0, stats.lost)
    assert.is_string(stats.problem)
    assert.equal(i + 1, #ledgers.items(name))
  end)

  it("notes the first job after its idle session was ended, though no other follows", function()
    assert(client:submit_qasm(bell, "simulator", { label = "first" }))
    ledgers.settle(client)
    database:sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
      .. "AND backend_type = 'client backend'")
    assert(client:submit_qasm(bell, "simulator", { label = "second" }))
    ledgers.settle(client)
    assert.equal(0, client:stats().ledger.lost)
    assert.equal(1, #ledgers.items(name, { label = "second" }))
  end)

  it("writes what waited once the database is back, though no other job is noted", function()
    local id = assert(client:submit_qasm(bell, "simulator", { label = "before" }))
    ledgers.settle(client)
    database:stop()
    assert(client:submit_qasm(bell, "simulator", { label = "meanwhile" }))
    helper.eventually(function() return client:stats().ledger.problem end, 60)
    database:launch()
    client:wait_for_job(id)
    helper.eventually(function()
      assert.equal("COMPLETED", assert(client:get_job_status(id)).state)   -- no news
      return client:stats().ledger.waiting == 0
    end, 60)
    assert.truthy(ledgers.by_label(name).meanwhile)
    assert.equal(0, client:stats().ledger.lost)
  end)

  it("writes what waited when its client is closed and the database is back", function()
    database:stop()
    local other = arvak.connect(server.address, { ledger = name })
    assert(other:submit_qasm(bell, "simulator", { label = "meanwhile" }))
    helper.eventually(function() return other:stats().ledger.problem end, 60)
    database:launch()
    other:close()
    ledgers.rest()
    helper.eventually(function() return ledgers.by_label(name).meanwhile end, 60)
  end)

  it("says how many notes are lost when its client is closed and the database is not", function()
    local program = ([[
      local arvak = require "arvak"
      local client = arvak.connect(%q, { ledger = %q })
      for i = 1, 3 do assert(client:submit_qasm("OPENQASM 3.0; qubit q; x q;", "simulator", i)) end
      repeat arvak.poll(0.01) until client:stats().ledger.problem
      client:close()
      for _ = 1, 500 do if not arvak.poll(0.01) then break end end
    ]]):format(server.address, database:name("postgres", { port = 1 }))
    local result = ledgers.run(program)
    assert.equal(0, result.code, result.err)
    assert.matches("the client was closed while the database was away, and 3 notes are lost", result.err)
  end)

  it("says that nobody has noted a job, or that the database is not there", function()
    local ledger, err = arvak.ledger(name)
    assert.is_nil(ledger)
    assert.matches("no job was noted in it", err.message)
    ledger, err = arvak.ledger(database:name("nowhere"))
    assert.is_nil(ledger)
    assert.matches('database "nowhere" does not exist', err.message)
  end)
end)
