-- Journals of batches: what is written when, crashes at any moment, and everything that a journal refuses.
-- KILLS=200 in the environment: as many SIGKILLs over ten times as many jobs (default 15).
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local commits = require "spec.support.commits"
local helper = require "spec.helper"

local bell, TEST_TIMEOUT = helper.bell, helper.TEST_TIMEOUT
local LUA = os.getenv "LUA" or "lua5.4"
local server, client, manager, path

local function remove_journal()
  for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
end

local function open(options, workers)
  server = helper.start(options)
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client, { max_workers = workers })
  path = os.tmpname()
  remove_journal()
end

local function close()
  manager:close()
  client:close()
  server:stop()
  remove_journal()
  manager, client, server = nil, nil, nil
  helper.assert_clean()
end

local function execute(circuits, options)
  local all = { journal = path }
  for name, value in pairs(options or {}) do all[name] = value end
  return manager:execute_batch(circuits, "simulator", all)
end

-- What the journal says, as a table of lists of indexes by state.
local function states()
  local found, opened, err = {}, nil, nil
  helper.eventually(function()   -- a process that was killed lets go of its lock a moment after its output has ended
    opened, err = arvak.journal(path)
    return opened or err.kind ~= "in_use"
  end)
  local journal <close> = opened
  if not journal then return found end   -- killed before it had made one
  for item in journal:items() do
    found[item.state] = found[item.state] or {}
    table.insert(found[item.state], item.index)
  end
  return found
end

-- Changes the journal as a crash at some moment would have left it.
local function sqlite(statement)
  local pipe = assert(io.popen(("sqlite3 %s \"%s\" 2>&1"):format(path, statement)))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

-- The output lines of spec/support/journal_batch.lua. before: shell commands, or a command to run it with.
local function run_process(before, count, workers, transport, on_unknown)
  local pipe = assert(io.popen(("%s %s spec/support/journal_batch.lua %s %s %d %d %s %s 2>&1"):format(before, LUA,
    server.address, path, count, workers, transport, on_unknown)))
  local output = pipe:read "a"
  return output, pipe:close()
end

-- How many jobs the server has for the circuit of each number of shots.
local function runs_by_shots()
  local runs = {}
  for _, job in ipairs(server:jobs()) do runs[job.shots] = (runs[job.shots] or 0) + 1 end
  return runs
end

describe("a journal", function()
  after_each(close)

  for _, transport in ipairs { "stream", "unary" } do
    it("holds every result, and the same batch again runs nothing: " .. transport, function()
      open()
      local circuits = batches.bells(60)
      circuits[7] = { qasm = "nonsense", shots = 3, id = "seven" }
      local r = execute(circuits, { transport = transport })
      batches.assert_whole(r, 60)
      assert.equal(59, server:stats().accepted)
      local seen = {}
      local again, err = execute(circuits, { transport = transport, on_result = function(i) seen[i] = true end })
      assert.is_nil(err)
      batches.assert_whole(again, 60)
      assert.equal(59, server:stats().accepted)
      assert.equal(60, #seen)
      for i, result in again:each() do
        if result then
          assert.same(r.items[i].result.counts, result.counts)
          assert.equal(r.items[i].job_id, result.job_id)
          assert.equal(i, result.shots)
          assert.equal("result", arvak.type(result))
        end
      end
      assert.equal("invalid_circuit", again.items[7].err.kind)
      assert.equal(tostring(r.items[7].err), tostring(again.items[7].err))
    end)
  end

  it("is read by arvak.journal, and by sqlite3", function()
    open()
    server:fault { job = "fail", message = "no luck", count = 1 }
    local circuits = batches.bells(20)
    circuits[5].id, circuits[5] = nil, { qasm = bell, shots = 5, id = "five" }
    assert(execute(circuits))
    local journal = assert(arvak.journal(path))
    assert.equal("journal", arvak.type(journal))
    assert.equal(20, journal.total)
    assert.equal("simulator", journal.backend_id)
    assert.equal(64, #journal.fingerprint)
    assert.is_true(math.abs(journal.created_at - os.time()) < 60)
    assert.same({ intent = 0, submitted = 0, completed = 19, failed = 1, unknown = 0 }, journal:counts())
    local places = {}
    for item in journal:items() do
      places[#places + 1] = item.index
      assert.equal(64, #item.circuit_hash)
      assert.equal(1, item.attempts)
      assert.is_true(item.ended_at >= item.sent_at)
      if item.result then assert.equal(item.index, item.result.shots) else assert.equal("job_failed", item.err.kind) end
      assert.equal(item.index == 5 and "five" or nil, item.id)
    end
    assert.equal(20, #places)
    for item in journal:items "failed" do assert.matches("no luck", item.err.message) end
    journal:close()
    journal:close()
    local ok, err = pcall(journal.counts, journal)
    assert.is_false(ok)
    assert.matches("^spec/batch/journal_spec%.lua:%d+: counts: the journal was closed", err)
    assert.equal("completed|19\nfailed|1\n", sqlite "SELECT state, COUNT(*) FROM arvak_item GROUP BY state")
    assert.matches("no luck", sqlite "SELECT json_extract(error, '$.message') FROM arvak_item WHERE state = 'failed'")
  end)

  it("tells circuits apart that differ in one thing, wherever they stand, and no others", function()
    open()
    local other = bell .. " "
    local entries = { { bell, 1 }, { bell, 1 }, { bell, 2 }, { qasm = bell, shots = 1, optimization_level = 1 },
      { other, 1 }, { qasm = bell, shots = 1, backend_id = "no such backend" }, { bell, 1 }, { other, 1 } }
    assert(execute(entries))
    local kinds, seen = {}, {}
    local journal <close> = assert(arvak.journal(path))
    for item in journal:items() do
      seen[item.circuit_hash] = seen[item.circuit_hash] or item.index
      kinds[item.index] = seen[item.circuit_hash]
    end
    assert.same({ 1, 1, 3, 4, 5, 6, 1, 5 }, kinds)
  end)

  it("of another batch is refused before anything is sent", function()
    open()
    local circuits = batches.bells(5)
    assert(execute(circuits))
    for what, change in pairs {
      shots = function(list) list[3][2] = 99 end, more = function(list) list[6] = { bell, 6 } end,
      less = function(list) list[5] = nil end, order = function(list) list[1], list[2] = list[2], list[1] end,
      level = function(list) list[1] = { qasm = bell, shots = 1, optimization_level = 1 } end,
    } do
      local other = batches.bells(5)
      change(other)
      local r, err = execute(other)
      assert.is_nil(r, what)
      assert.matches("is refused: it belongs to another batch", err.message)
    end
    local r, err = execute((batches.counted(5)))
    assert.is_nil(r)
    assert.matches("is refused", err.message)
    assert.equal(5, server:stats().accepted)
    assert(execute(circuits))
  end)

  it("in use is refused, in the same process and in another, and while a batch runs it has no readers", function()
    open({ job_latency = 0.02 }, 2)
    local circuits, checked = {}, false
    for i = 1, 10 do circuits[i] = { "OPENQASM 3.0; qubit q; x q;", i } end
    local r = execute(circuits, { on_result = function()
      if checked then return end
      checked = true
      local other, err = execute(circuits)
      assert.is_nil(other)
      assert.matches("another process is using it", err.message)
      assert.matches("^refused.*another process is using it", (run_process("", 10, 2, "auto", "fail")))
      other, err = arvak.journal(path)
      assert.is_nil(other)
      assert.matches("another process is using it", err.message)
    end })
    assert.is_nil(r.err)
    assert.is_true(checked)
    assert.matches("^completed%s10%s0%s0\n", (run_process("", 10, 2, "auto", "fail")))
    assert.equal(10, server:stats().accepted)
  end)

  it("that cannot be one is refused: a directory, another file, no such place", function()
    open()
    for where, message in pairs {
      ["/nonexistent/run.db"] = "No such file or directory", ["/tmp"] = "is a directory",
      ["/dev/null"] = "is no regular file",
      ["spec/batch/journal_spec.lua"] = "is no SQLite file",
    } do
      local r, err = execute(batches.bells(3), { journal = where })
      assert.is_nil(r)
      assert.matches(message, err.message)
      assert.matches(where, err.message, 1, true)
    end
    for where in pairs { ["/nonexistent/run.db"] = true, ["spec/batch/journal_spec.lua"] = true } do
      local journal, err = arvak.journal(where)
      assert.is_nil(journal)
      assert.matches("cannot be read", err.message)
    end
    assert.is_nil(io.open(path))
    assert.is_nil((arvak.journal(path)))
    assert.is_nil(io.open(path))   -- looking makes none
    assert.equal(0, server:stats().accepted)
  end)

  it("that may only be read is refused", function()
    open()
    assert.matches("^completed", (run_process("", 3, 2, "auto", "fail")))
    assert(os.execute("chmod 444 " .. path))
    local is_root = io.popen "id -u":read "n" == 0   -- who may write everything but for this
    local bound = is_root and "setpriv --bounding-set=-dac_override" or ""
    assert.matches("^refused.*cannot be opened: .*Permission denied", (run_process(bound, 3, 2, "auto", "fail")))
    assert.equal(3, server:stats().accepted)
  end)

  it("in a Lua state without os says so", function()
    open()
    local kept = os
    _G.os = nil
    local ok, r, err = pcall(execute, batches.bells(3))
    local read_ok, journal, read_err = pcall(arvak.journal, path)
    _G.os = kept
    assert.is_true(ok and read_ok, r or journal)
    assert.is_nil(r)
    assert.is_nil(journal)
    assert.matches("a journal needs os%.time", err.message)
    assert.matches("a journal needs os%.time", read_err.message)
  end)

  it("without the module for SQLite names the Debian package", function()
    open()
    local searchers, loaded = package.searchers, package.loaded
    local module = loaded["arvak.store.sqlite"]
    loaded["arvak.store.sqlite"], package.searchers = nil, { searchers[1] }
    local ok, r, err = pcall(execute, batches.bells(3))
    local read_ok, journal, read_err = pcall(arvak.journal, "spec/batch/journal_spec.lua")
    package.searchers, loaded["arvak.store.sqlite"] = searchers, module
    assert.is_true(ok and read_ok, r or journal)
    assert.is_nil(r)
    assert.is_nil(journal)
    assert.matches("a journal in SQLite needs the module arvak%.store%.sqlite.*libsqlite3%-dev", err.message)
    assert.equal(err.message, read_err.message)
    assert.is_nil(io.open(path .. "-lock"))
    assert.is_true(execute(batches.bells(3)).ok)
  end)

  for name, seconds in pairs { fast = 0, slow = 0.001 } do
    it("costs few commits, though its consumer is " .. name, function()
      open(nil, 32)
      local counted, stop_counting = commits.count()
      local r = execute(batches.bells(800, 1), { transport = "stream", on_result = function()
        local since = os.clock()
        while os.clock() - since < seconds do end
      end })
      stop_counting()
      assert.is_true(r.ok)
      -- Of 2,400 things noted; about 100 on a quiet machine.
      assert.is_true(counted.n > 10 and counted.n <= 800 / 2, counted.n)
    end)
  end

  it("costs few syncs: intents, ids and results of a turn go together", function()
    open(nil, 32)
    local trace = path .. ".trace"
    if os.getenv "ASAN_OPTIONS" then return pending "strace and the sanitizers do not go together" end
    local has_strace = os.execute "command -v strace >/dev/null 2>&1"
    if not has_strace then return pending "strace is not installed" end
    local output = run_process("strace -f -e trace=fsync,fdatasync -o " .. trace, 800, 32, "stream", "fail")
    assert.matches("^completed%s800%s0%s0\n", output)
    local syncs = 0
    for line in io.lines(trace) do if line:find "sync%(" then syncs = syncs + 1 end end
    os.remove(trace)
    assert.is_true(syncs > 10 and syncs <= 800 / (32 / 8) + 10, syncs)
  end)
end)

describe("a batch with a journal goes on", function()
  after_each(close)

  it("where each input was: kept, looked at, sent, or unknown", function()
    open()
    local circuits = batches.bells(8)
    assert(execute(circuits))
    sqlite "UPDATE arvak_item SET state = 'submitted', counts = NULL WHERE slot IN (2, 3)"
    sqlite "UPDATE arvak_item SET state = 'intent', job_id = NULL, counts = NULL WHERE slot = 4"
    sqlite "DELETE FROM arvak_item WHERE slot > 6"
    local r = execute(circuits)
    batches.assert_whole(r, 8)
    assert.equal(8 + 2, server:stats().accepted)
    assert.equal(7, r.success_count)
    assert.is_true(r.items[4].err.maybe_executed)
    assert.same({ completed = { 1, 2, 3, 5, 6, 7, 8 }, unknown = { 4 } }, states())
    assert.equal("0\n", sqlite "SELECT COUNT(*) FROM arvak_item WHERE sent_at IS NULL OR ended_at IS NULL")
    r = execute(circuits)
    assert.equal(1, r.failure_count)
    r = execute(circuits, { on_unknown = "resubmit" })
    batches.assert_whole(r, 8)
    assert.is_true(r.ok)
    assert.equal(2, r.items[4].attempts)
    assert.equal(8 + 3, server:stats().accepted)
  end)

  it("after a job was lost with its server, whose failure is kept until it is retried", function()
    open()
    local circuits = batches.bells(4)
    assert(execute(circuits))
    sqlite "UPDATE arvak_item SET state = 'submitted', counts = NULL WHERE slot = 2"
    server:restart()
    local r = execute(circuits)
    batches.assert_whole(r, 4)
    assert.equal("job_not_found", r.items[2].err.kind)
    r = execute(circuits)
    assert.equal("job_not_found", r.items[2].err.kind)
    r = r:retry_failed()
    batches.assert_whole(r, 4)
    assert.is_true(r.ok)
    assert.equal(5, server:stats().accepted)
    assert.is_true(execute(circuits).ok)
    assert.equal(5, server:stats().accepted)
  end)

  it("after a timeout: jobs that were canceled with the batch run again, those that were done do not", function()
    open({ job_latency = 0.05 }, 4)
    local circuits = batches.bells(30)
    local r, err = execute(circuits, { timeout = 0.2 })
    batches.assert_whole(r, 30)
    assert.equal("timeout", err.kind)
    assert.is_true(r.success_count >= 4 and r.success_count < 30)
    local done = r.success_count
    r, err = execute(circuits)
    assert.is_nil(err)
    batches.assert_whole(r, 30)
    assert.is_true(r.ok)
    local completed = server:stats().jobs.COMPLETED
    assert.equal(30, completed)
    assert.is_true(done < completed)
  end)

  it("after its task was canceled: its jobs were left to it, and none runs twice", function()
    open({ job_latency = 0.5 }, 4)   -- long enough for their ids to have come, and no other submit to be under way
    local circuits = batches.bells(12)
    arvak.run(function()
      local f = arvak.spawn(function() return (execute(circuits)) end)
      while server:stats().jobs.RUNNING < 4 do arvak.sleep(0.001) end
      arvak.sleep(0.05)
      f:cancel()
      batches.assert_whole(f:result(TEST_TIMEOUT), 12)
    end)
    assert.equal(0, server:stats().jobs.CANCELED)
    assert.is_true(execute(circuits).ok)
    assert.equal(12, server:stats().accepted)
  end)

  it("with an iterator, whose circuits are compared one by one", function()
    open(nil, 4)
    local r, err = execute((batches.counted(20)), { on_result = function(i) if i == 9 then manager:cancel() end end })
    assert.equal("canceled", err.kind)
    assert.is_true(r.success_count >= 5)
    r, err = execute((batches.counted(20)), { collect = true })
    assert.is_nil(err)
    batches.assert_whole(r, 20)
    assert.is_true(r.ok)
    assert.equal(20, server:stats().jobs.COMPLETED)
    local journal <close> = assert(arvak.journal(path))
    assert.equal(20, journal.total)
    journal:close()
    local accepted, i = server:stats().accepted, 0
    r, err = execute(function()
      i = i + 1
      return { bell, i == 7 and 99 or i }
    end, { collect = true })
    assert.equal("failed", r.status)
    assert.matches("is refused: its circuit 7", err.message)
    assert.equal(err, r.items[7].err)
    assert.equal(accepted, server:stats().accepted)
    assert.is_true(#r.items < 20)
    r = execute((batches.counted(20)), { collect = true })
    assert.is_true(r.ok)
  end)

  it("when the disk was full: it stopped with that error, and told no lie", function()
    open({ job_latency = 0.001 }, 8)
    local output = run_process("trap '' XFSZ; ulimit -f 200;", 2000, 8, "auto", "fail")
    assert.matches("^partial", output)
    assert.matches("journal .* cannot be written", output)
    local known = states()
    assert.is_true(#known.completed > 10)
    output = run_process("", 2000, 8, "auto", "resubmit")
    assert.matches("^completed%s2000%s0%s0\n", output)
    local runs, twice = runs_by_shots(), 0
    for i = 1, 2000 do
      assert.is_true(runs[i] >= 1)
      if runs[i] > 1 then twice = twice + 1 end
    end
    for _, i in ipairs(known.completed) do assert.equal(1, runs[i]) end
    assert.is_true(twice <= 40, twice)   -- at most what was open when the disk was full, or about to be noted
  end)

  for _, transport in ipairs { "stream", "unary" } do
    for _, on_unknown in ipairs { "fail", "resubmit" } do
      it(("after SIGKILLs at random moments: %s, on_unknown = %s"):format(transport, on_unknown), function()
        open({ job_latency = 0.08 })
        local kills = tonumber(os.getenv "KILLS" or 15)
        local count, killed, unknown = 10 * kills, 0, 0
        while killed < kills do
          local output = run_process(("timeout -s KILL %.3f"):format(0.02 + 0.1 * math.random()), count, 16, transport,
            on_unknown)
          if output:find "^completed" or output:find "^partial" then break end
          killed = killed + 1
          local known = states()
          unknown = unknown + #(known.intent or {})
        end
        assert.is_true(killed > kills // 4, killed)
        local output = run_process("", count, 16, transport, on_unknown)
        local successes, failures, lost = output:match "^%a+%s(%d+)%s(%d+)%s(%d+)\n$"
        assert.is_truthy(successes, output)
        assert.equal(count, successes + failures)
        assert.equal(failures, lost)   -- nothing failed but what is unknown
        if on_unknown == "resubmit" then assert.equal("0", failures) end
        local runs, twice = runs_by_shots(), 0
        local known = states()
        for _, i in ipairs(known.completed) do assert.is_true(runs[i] >= 1) end
        for _, n in pairs(runs) do if n > 1 then twice = twice + n - 1 end end
        assert.is_true(twice <= (on_unknown == "fail" and 0 or unknown), twice)
        if os.getenv "KILLS" then
          print(("%s, %s: %d kills, %s %d circuits ran again, %d unknown at a kill"):format(transport, on_unknown,
            killed, output, twice, unknown))
        end
      end)
    end
  end
end)
