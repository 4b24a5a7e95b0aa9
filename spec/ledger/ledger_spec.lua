-- A ledger of jobs: what a client notes, by every way to submit and to see a state, and what happens when it cannot.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local command = require "spec.support.command"
local helper = require "spec.helper"
local ledgers = require "spec.support.ledgers"

local bell = helper.bell
local folder, remove, name, client, server

local function connect(options, server_options)
  server = server or helper.start(server_options)
  local all = { ledger = name }
  for key, value in pairs(options or {}) do all[key] = value end
  client = arvak.connect(server.address, all)
  return client
end

before_each(function()
  folder, remove = command.folder()
  name = folder .. "/jobs.db"
end)

after_each(function()
  if client then client:close() end
  if server then server:stop() end
  client, server = nil, nil
  ledgers.rest()
  remove()
  helper.assert_clean()
end)

-- By each of these one job is made, with the way's name as its label.
local ways = {
  submit_qasm = function(label) assert(client:submit_qasm(bell, "simulator", { shots = 11, label = label })) end,
  in_a_task = function(label)
    arvak.run(function() assert(client:submit_qasm(bell, "simulator", { shots = 11, label = label })) end)
  end,
  execute = function(label) assert(client:execute(bell, "simulator", { shots = 11, label = label })) end,
  future = function(label)
    assert(client:submit_qasm_future(bell, "simulator", { shots = 11, label = label }):result())
  end,
  batch_future = function(label)
    assert(client:submit_batch_future({ { bell, 11 } }, "simulator", { label = label })[1]:result())
  end,
  async = function(label)
    assert(client.async:submit_qasm(bell, "simulator", { shots = 11, label = label }):result())
  end,
  async_execute = function(label)
    assert(client.async:execute(bell, "simulator", { shots = 11, label = label }):result())
  end,
  async_batch = function(label)
    assert(client.async:submit_batch({ { bell, 11 } }, "simulator", { label = label }):result())
  end,
  submit_batch = function(label) assert(client:submit_batch({ { bell, 11 } }, "simulator", { label = label })) end,
  submit_batch_split = function(label)
    assert(client:submit_batch({ { bell, 11 } }, "simulator", { label = label, split = true }))
  end,
  stream = function(label)
    for _ in client:submit_batch_stream({ { bell, 11 } }, "simulator", { label = label }) do end
  end,
  a_circuit = function(label)
    assert(client:submit_qasm(arvak.circuit.from_qasm(bell), "simulator", { shots = 11, label = label }))
  end,
  a_view = function(label)
    local view <close> = arvak.resilient(client, {})
    assert(view:submit_qasm(bell, "simulator", { shots = 11, label = label }))
  end,
  submit_many = function(label)
    local manager <close> = arvak.batch_manager(client)
    assert(manager:submit_many({ { bell, 11 } }, "simulator", { label = label })[1]:result())
  end,
}
for _, transport in ipairs { "stream", "unary" } do
  ways["batch_by_" .. transport] = function(label)
    local manager <close> = arvak.batch_manager(client)
    assert(manager:execute_batch({ { bell, 11 } }, "simulator", { label = label, transport = transport }))
  end
end

describe("a client with a ledger", function()
  it("notes each job once, by whatever way it was submitted", function()
    connect()
    local count = 0
    for label, submit in pairs(ways) do
      submit(label)
      count = count + 1
    end
    ledgers.settle(client)
    local found, ids = ledgers.by_label(name), {}
    for _, job in ipairs(server:jobs()) do ids[job.job_id] = true end
    for label in pairs(ways) do
      local item = assert(found[label], label)
      assert.same({ "simulator", 11, server.address }, { item.backend_id, item.shots, item.address }, label)
      assert.is_true(ids[item.job_id], label)
      assert.is_true(math.abs(item.submitted_at - os.time()) < 60)
    end
    assert.equal(count, #ledgers.items(name))
  end)

  it("notes the states that it sees, the last of which stays", function()
    connect()
    local ids = {}
    for _, label in ipairs { "status", "wait", "watch", "result", "cancel", "unseen" } do
      if label == "cancel" then server:fault { job = "hang", count = 1 } end
      ids[label] = assert(client:submit_qasm(bell, "simulator", { label = label }))
      helper.eventually(function()
        local state
        for _, job in ipairs(server:jobs()) do state = job.job_id == ids[label] and job.state or state end
        return state == "COMPLETED" or label == "cancel"
      end)
    end
    assert(client:get_job_status(ids.status))
    assert(client:wait_for_job(ids.wait))
    for _ in client:watch_job(ids.watch) do end
    assert(client:get_job_result(ids.result))
    assert(client:cancel_job(ids.cancel))
    ledgers.settle(client)
    local found = ledgers.by_label(name)
    for label, state in pairs { status = "COMPLETED", wait = "COMPLETED", watch = "COMPLETED", result = "COMPLETED",
      cancel = "CANCELED", unseen = "QUEUED" } do
      assert.equal(state, found[label].state, label)
    end
  end)

  it("notes what another process has submitted and it has looked at", function()
    connect()
    local id = assert(client:submit_qasm(bell, "simulator", { label = "first" }))
    client:close()
    ledgers.rest()
    connect()
    assert(client:wait_for_job(id))
    ledgers.settle(client)
    assert.equal("COMPLETED", ledgers.by_label(name).first.state)
  end)

  it("notes the jobs of a submit that came back short, and none of those that were refused", function()
    connect()
    local circuits = {}
    for i = 1, 50 do circuits[i] = { bell, i } end
    circuits[51] = { "nonsense", 1 }
    local ids, err = client:submit_batch(circuits, "simulator", { split = true })
    assert.is_nil(ids)
    assert.equal(50, #err.job_ids)
    assert.is_nil((client:submit_qasm("nonsense", "simulator", { label = "refused" })))
    client:submit_qasm(bell, "simulator", 3)
    ledgers.settle(client)
    assert.equal(#err.job_ids + 1, #ledgers.items(name))
  end)

  it("says in its figures what was noted, and nothing of a client without one", function()
    connect()
    assert(client:submit_qasm(bell, "simulator"))
    local stats = ledgers.settle(client)
    assert.same({ noted = 1, waiting = 0, lost = 0 }, stats)
    local plain <close> = arvak.connect(server.address)
    assert.is_nil(plain:stats().ledger)
  end)

  it("writes on until its last view is closed", function()
    connect()
    local view = arvak.resilient(client, {})
    client:close()
    assert(view:submit_qasm(bell, "simulator", { label = "by the view" }))
    view:close()
    ledgers.rest()
    assert.truthy(ledgers.by_label(name)["by the view"])
  end)

  it("takes names and labels that are some, and says what is wrong with others", function()
    connect()
    for _, bad in ipairs { 7, "", "a\0b", "postgresql://h/db?batch=x", "host=h dbname='x" } do
      assert.error_matches(function() arvak.connect(server.address, { ledger = bad }) end, "ledger: ")
    end
    for _, bad in ipairs { 7, ("x"):rep(1001), "a\0b", "\255" } do
      for _, submit in ipairs {
        function() client:submit_qasm(bell, "simulator", { label = bad }) end,
        function() client:execute(bell, "simulator", { label = bad }) end,
        function() client:submit_qasm_future(bell, "simulator", { label = bad }) end,
        function() client:submit_batch({ { bell, 1 } }, "simulator", { label = bad }) end,
        function() client:submit_batch_stream({ { bell, 1 } }, "simulator", { label = bad }) end,
        function() client.async:submit_qasm(bell, "simulator", { label = bad }) end,
        function() arvak.batch_manager(client):execute_batch({ { bell, 1 } }, "simulator", { label = bad }) end,
      } do assert.error_matches(submit, "label: got ") end
    end
    assert.error_matches(function() client:get_job_status("id", { label = "x" }) end, 'unknown option "label"')
    assert.equal(0, #server:jobs())
  end)
end)

describe("the notes of a program", function()
  local program = [[
    local arvak = require "arvak"
    local client = arvak.connect(%q, { ledger = %q })
    for i = 1, %d do
      assert(client:submit_qasm(%q, "simulator", { shots = i, label = %q }))
    end
    %s
  ]]

  for how, last in pairs { ["ends"] = "", ["closes its client"] = "client:close()", ["exits"] = "os.exit(0, true)",
    ["raises"] = "error 'x'", ["forgets its client"] = "client = nil collectgarbage() collectgarbage()" } do
    it("are all there when it " .. how, function()
      server = helper.start()
      local count
      for i = 1, 20 do   -- the end waits 50 ms, which may be too short for a machine that is busy just then
        local label = "run " .. i
        local result = ledgers.run(program:format(server.address, name, 20, bell, label, last))
        assert.equal(how == "raises" and 1 or 0, result.code, result.err)
        count = #ledgers.items(name, { label = label })
        if count == 20 then break end
      end
      assert.equal(20, count)
    end)
  end

  it("come from many processes into one file", function()
    server = helper.start()
    local lua, lines = os.getenv "LUA" or "lua5.4", {}
    for i = 1, 4 do
      local path = ("%s/%d.lua"):format(folder, i)
      command.write_file(path, program:format(server.address, name, 50, bell, "process " .. i,
        "while client:stats().ledger.waiting > 0 do arvak.sleep(0.01) end arvak.sleep(0.5)"))
      lines[i] = ("'%s' %s & "):format(lua, path)
    end
    local result = command.shell(table.concat(lines) .. "wait")
    assert.equal("", result.err)
    for i = 1, 4 do assert.equal(50, #ledgers.items(name, { label = "process " .. i })) end
  end)
end)

describe("a ledger that cannot be written", function()
  -- What a program says that submits two jobs with this ledger: its output, with the figures, and its warnings.
  local function submit_with(ledger_name, more)
    server = server or helper.start()
    return ledgers.run(([[
      local arvak = require "arvak"
      local client = arvak.connect(%q, { ledger = %q })
      for i = 1, 2 do assert(client:submit_qasm(%q, "simulator", i)) arvak.sleep(0.05) end
      local stats
      for _ = 1, 1000 do
        stats = client:stats().ledger
        if stats.problem then break end
        arvak.sleep(0.01)
      end
      print(stats.noted, stats.problem)
    ]]):format(server.address, ledger_name, bell), more)
  end

  it("makes no submit fail, and is told once", function()
    for _, bad in ipairs { folder .. "/none/jobs.db", folder } do
      local result = submit_with(bad)
      assert.equal(0, result.code, result.err)
      assert.matches("^0\tunable to open database file", result.out)
      assert.equal(1, select(2, result.err:gsub("\n", "")), result.err)
      assert.truthy(result.err:find("arvak: the ledger " .. bad .. ": unable to open", 1, true), result.err)
    end
    assert.equal(4, #server:jobs())
  end)

  it("is a database of somebody else: nothing is written there", function()
    local foreign = folder .. "/foreign.db"
    command.shell(([[python3 -c 'import sqlite3
c = sqlite3.connect("%s"); c.execute("create table t (k)"); c.execute("insert into t values (7)"); c.commit()']])
      :format(foreign))
    local text = folder .. "/text.db"
    command.write_file(text, ("some text, and no database at all\n"):rep(100))
    local journal = folder .. "/journal.db"
    server = helper.start()
    client = arvak.connect(server.address)
    local manager <close> = arvak.batch_manager(client)
    assert(manager:execute_batch({ { bell, 1 } }, "simulator", { journal = journal }))
    for path, why in pairs { [foreign] = "it is a database of another program", [text] = "file is not a database",
      [journal] = "it is the journal of a batch, which arvak.journal reads; a ledger is a file of its own" } do
      local before = command.read_file(path)
      local result = submit_with(path)
      assert.equal(0, result.code, result.err)
      assert.equal("0\t" .. why .. "\n", result.out)
      assert.equal(before, command.read_file(path))
      local reader, err = arvak.ledger(path)
      assert.is_nil(reader)
      assert.equal(("the ledger %s cannot be read: %s"):format(path, why), err.message)
    end
  end)

  it("is no journal", function()
    connect()
    assert(client:submit_qasm(bell, "simulator"))
    client:close()
    ledgers.rest()
    local journal, err = arvak.journal(name)
    assert.is_nil(journal)
    assert.truthy(err.message:find "is a ledger of jobs", err.message)
    client = arvak.connect(server.address)
    local manager <close> = arvak.batch_manager(client)
    local r
    r, err = manager:execute_batch({ { bell, 1 } }, "simulator", { journal = name })
    assert.is_nil(r)
    assert.truthy(err.message:find "is a ledger of jobs", err.message)
  end)

  it("is of a later format", function()
    connect()
    assert(client:submit_qasm(bell, "simulator"))
    client:close()
    ledgers.rest()
    command.shell(([[python3 -c 'import sqlite3
c = sqlite3.connect("%s"); c.execute("pragma user_version = 2")']]):format(name))
    local result = submit_with(name)
    assert.equal("0\tit has format 2, this version of arvak knows format 1\n", result.out)
    local reader, err = arvak.ledger(name)
    assert.is_nil(reader)
    assert.matches("it has format 2, this version of arvak knows format 1", err.message)
  end)

  it("is locked by another program: submits do not wait, and the notes come when the lock is gone", function()
    connect()
    assert(client:submit_qasm(bell, "simulator", { label = "before" }))
    ledgers.settle(client)
    local holder = assert(io.popen(([[python3 -c 'import sqlite3, sys
c = sqlite3.connect("%s", isolation_level=None); c.execute("begin exclusive"); open("%s", "w").close()
sys.stdin.read()']]):format(name, folder .. "/held"), "w"))
    helper.eventually(function() return io.open(folder .. "/held") end, 60)
    for i = 1, 100 do assert(client:submit_qasm(bell, "simulator", { shots = i })) end
    assert.is_true(client:stats().ledger.waiting > 0)
    holder:close()
    local stats = ledgers.settle(client)
    helper.eventually(function() return client:stats().ledger.noted + client:stats().ledger.lost == 101 end, 60)
    assert.is_true(stats.noted > 0)
    assert.equal(client:stats().ledger.noted, #ledgers.items(name))   -- a machine that is busy for seconds loses some
  end)

  it("needs a module that is not there: the error names the Debian package, and no client is made", function()
    local alone = folder .. "/alone"
    local build = (os.getenv "ARVAK_BUILD" or "build") .. "/lua"
    command.shell(("mkdir %s; cp %s/arvak.so %s"):format(alone, build, alone))
    local result = ledgers.run([[
      local arvak = require "arvak"
      local ok, err = pcall(arvak.connect, "localhost:1", { ledger = "jobs.db" })
      print(ok, err)
    ]], ("LUA_CPATH_5_4='%s/?.so' LUA_PATH_5_4=%s/?.lua"):format(alone, alone))
    assert.matches("^false\t.*a ledger in SQLite needs the module arvak%.store%.sqlite, .*libsqlite3%-dev", result.out)
  end)

  it("never shows the password in its name", function()
    server = helper.start()
    local result = submit_with "postgresql://ada:geheim@127.0.0.1:1/lab"
    assert.equal(0, result.code, result.err)
    assert.matches("the ledger postgresql://ada:%*%*%*@127%.0%.0%.1:1/lab: ", result.err)
    assert.is_nil((result.out .. result.err):find "geheim")
    local _, err = arvak.ledger "postgresql://ada:geheim@127.0.0.1:1/lab"
    assert.is_nil(tostring(err):find "geheim")
  end)
end)
