-- Journals that are no journals, damaged ones, and what a batch finds in its own that was stopped for any reason.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local damages = require "spec.support.damages"
local helper = require "spec.helper"

local server, client, manager, path

local function open(options)
  server = helper.start(options)
  client = arvak.connect(server.address, { timeout = 2 })
  manager = arvak.batch_manager(client, { max_workers = 8 })
  path = os.tmpname()
  os.remove(path)
end

local function execute(count, options)
  local all = { journal = path }
  for name, value in pairs(options or {}) do all[name] = value end
  return manager:execute_batch(batches.bells(count), "simulator", all)
end

-- Changes the journal.
local function sqlite(statements)
  local pipe = assert(io.popen(("sqlite3 %s 2>&1"):format(path), "w"))
  pipe:write(statements)
  assert(pipe:close())
end

local function write_file(name, text)
  local file <close> = assert(io.open(name, "wb"))
  file:write(text)
end

local function read_file(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end

describe("a journal at the edges", function()
  after_each(function()
    manager:close()
    client:close()
    server:stop()
    for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
    manager, client, server = nil, nil, nil
    helper.assert_clean()
  end)

  it("looks again at jobs that went on when the server refused to say so", function()
    open({ job_latency = 0.5 })
    for name, transport in pairs { UNAUTHENTICATED = "stream", PERMISSION_DENIED = "unary", INTERNAL = "unary" } do
      os.remove(path)
      local accepted = server:stats().accepted
      server:fault("rpc=GetJobStatus,status=" .. name)
      if transport == "stream" then server:fault("rpc=SubmitBatchStream,messages=8,status=" .. name) end
      local r = execute(8, { transport = transport })
      batches.assert_whole(r, 8)
      assert.equal(8, r.failure_count)
      server:clear_faults()
      r = execute(8, { transport = transport })
      batches.assert_whole(r, 8)
      assert.is_true(r.ok, name)
      if transport == "unary" then assert.equal(8, server:stats().accepted - accepted) end
    end
  end)

  it("keeps in its own words what is unknown, and that fails no batch fast that goes on", function()
    open()
    local r
    for _ = 1, 50 do   -- a stream that breaks before its first input is written is simply opened again
      os.remove(path)
      server:fault "rpc=SubmitBatchStream,drop=before,count=1"
      r = execute(20, { transport = "stream" })
      if r.failure_count > 0 then break end
    end
    assert.is_true(r.failure_count > 0)
    assert.same({ unavailable = r.failure_count }, batches.kinds(r))
    local again, err = execute(20, { fail_fast = true })
    assert.is_nil(err)
    assert.equal(r.failure_count, again.failure_count)
    for i, item in ipairs(r.items) do assert.equal(tostring(item.err), tostring(again.items[i].err)) end
    assert.is_true(again.failures[1].err.maybe_executed)
    assert.is_true(execute(20, { on_unknown = "resubmit" }).ok)
  end)

  it("sends what was never sent, whatever stopped the batch", function()
    open()
    for _, name in ipairs { "PERMISSION_DENIED", "UNIMPLEMENTED", "UNAUTHENTICATED" } do
      os.remove(path)
      local accepted = server:stats().accepted
      server:fault("rpc=SubmitBatchStream,status=" .. name)
      local r, err = execute(20, { transport = "stream" })
      batches.assert_whole(r, 20)
      assert.equal(name, err.name)
      assert.equal(20, r.failure_count)
      server:clear_faults()
      assert.is_true(execute(20, { transport = "stream" }).ok, name)
      assert.equal(20, server:stats().accepted - accepted)
    end
  end)

  it("is a file, whatever its name; a name that is none is refused", function()
    open()
    path = ":memory:"
    assert.is_true(execute(3).ok)
    assert.is_true(execute(3).ok)
    assert.equal(3, server:stats().accepted)
    local journal = assert(arvak.journal(path))
    assert.equal(3, journal:counts().completed)
    journal:close()
    for _, call in ipairs { function() execute(3, { journal = "" }) end,
      function() execute(3, { journal = path .. "\0" }) end, function() arvak.journal(path .. "\0") end } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.matches("expected the name of a file", message)
    end
    assert.equal(3, server:stats().accepted)
  end)

  it("keeps counts with all their digits", function()
    open()
    assert.is_true(execute(3).ok)
    sqlite [[UPDATE arvak_item SET counts = '{"00":9007199254740993,"11":9223372036854775807}' WHERE slot = 2;]]
    local r = execute(3)
    assert.same({ ["00"] = 9007199254740993, ["11"] = math.maxinteger }, r.items[2].result.counts)
  end)

  it("fetches results that it cannot read again, and never waits for a job without an id", function()
    open()
    assert.is_true(execute(6).ok)
    sqlite [[UPDATE arvak_item SET counts = '[1,2]' WHERE slot = 1; UPDATE arvak_item SET counts = NULL WHERE slot = 2;
      UPDATE arvak_item SET shots = NULL WHERE slot = 3; UPDATE arvak_item SET counts = '{"00":' WHERE slot = 4;
      UPDATE arvak_item SET state = 'submitted', job_id = NULL WHERE slot = 5;
      UPDATE arvak_item SET state = 'failed', error = '7' WHERE slot = 6;]]
    local r = execute(6, { timeout = helper.TEST_TIMEOUT })
    batches.assert_whole(r, 6)
    assert.is_nil(r.err)
    assert.equal(5, r.success_count)
    for _, result in ipairs(r.results) do assert.equal(result.index, result.shots) end
    assert.is_true(r.items[5].err.maybe_executed)
    assert.equal(6, server:stats().accepted)
  end)

  it("of a newer format is refused, whatever columns it has, and not read", function()
    open()
    sqlite [[CREATE TABLE arvak_batch (batch INTEGER PRIMARY KEY, format INTEGER);
      INSERT INTO arvak_batch VALUES (1, 3);]]
    local r, err = execute(3)
    assert.is_nil(r)
    assert.matches("is refused: its format is 3, this library writes 2", err.message)
    local journal
    journal, err = arvak.journal(path)
    assert.is_nil(journal)
    assert.matches("its format is 3", err.message)
    assert.equal(0, server:stats().accepted)
  end)

  it("that is closed while it is read lets go of its file", function()
    open()
    assert.is_true(execute(5).ok)
    local journal = assert(arvak.journal(path))
    local next_item = journal:items()
    assert.equal(1, next_item().index)
    journal:close()
    assert.is_nil(next_item())
    assert.is_true(execute(5).ok)
    os.remove(path)
    for line in io.popen("ls -l /proc/$PPID/fd"):lines() do assert.is_nil(line:find(path, 1, true)) end
  end)

  it("whose rows are out of order is refused by whoever reads it, and by nobody read for ever", function()
    open()
    assert.is_true(execute(300).ok)
    damages.swap_pages(path, "completed")
    local journal = assert(arvak.journal(path))
    for _, state in ipairs { false, "completed" } do
      local count = 0
      local _, err = pcall(function()
        for _ in journal:items(state or nil) do
          count = count + 1
          assert(count <= 300)
        end
      end)
      assert.equal("rpc", err.kind)
      assert.matches("it is damaged: row %d+ stands behind row %d+$", err.message)
    end
    journal:close()
    local r = assert(execute(300, { timeout = helper.TEST_TIMEOUT }))
    assert.equal("failed", r.status)
    assert.matches("it is damaged: row %d+ stands behind row %d+$", r.err.message)
    local _, err = manager:execute_batch(batches.bells(299), "simulator", { journal = path })
    assert.matches("it is damaged: row %d+ stands behind row %d+$", err.message)
  end)

  it("that is damaged gives errors of ours, wherever the damage is", function()
    open()
    assert.is_true(execute(40).ok)
    local whole, errors_seen = read_file(path), 0
    for trial = 1, 40 do
      local from = 101 + (trial * 7919) % (#whole - 300)
      write_file(path, whole:sub(1, from - 1) .. ("\xff"):rep(200) .. whole:sub(from + 200))
      local ok, err = pcall(function()
        local journal <close>, refusal = arvak.journal(path)
        if not journal then error(refusal, 0) end
        for item in journal:items() do assert.is_table(item) end
        return journal:counts()
      end)
      if not ok then errors_seen = errors_seen + 1 end
      assert.is_true(ok or arvak.is_error(err), err)
      local r
      r, err = execute(40, { timeout = helper.TEST_TIMEOUT })
      assert.is_true(r ~= nil or arvak.is_error(err))
      if r then assert.equal(40, #r.results + #r.failures + (r.status == "failed" and 40 - r.total_count or 0)) end
    end
    assert.is_true(errors_seen > 0)
  end)
end)
