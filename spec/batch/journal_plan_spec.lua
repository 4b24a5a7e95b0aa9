-- What journal:plan says, beside what the batch then does; and journals that grow.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local bell = helper.bell
local server, client, manager, path

local function open(options)
  server = helper.start(options)
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client, { max_workers = 8 })
  path = os.tmpname()
  os.remove(path)
end

local function close()
  manager:close()
  client:close()
  server:stop()
  for _, ending in ipairs { "", "-wal", "-shm", "-lock" } do os.remove(path .. ending) end
  manager, client, server = nil, nil, nil
  helper.assert_clean()
end

local function execute(circuits, options)
  local all = { journal = path, collect = true }
  for name, value in pairs(options or {}) do all[name] = value end
  return manager:execute_batch(circuits, "simulator", all)
end

local function plan(circuits, options)
  local journal <close> = assert(arvak.journal(path))
  return journal:plan(circuits, "simulator", options)
end

-- What sqlite3 prints.
local function sqlite(statements)
  local name = os.tmpname()
  local file <close> = assert(io.open(name, "w"))
  file:write(statements)
  file:flush()
  local pipe = assert(io.popen(("sqlite3 %s < %s 2>&1"):format(path, name)))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  os.remove(name)
  return output
end

local function iterator(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

describe("a plan of a journal", function()
  before_each(open)
  after_each(close)

  local rest = "counts = NULL, shots = NULL, ended_at = NULL"
  -- What a crash, a stop or a server may have left of an input.
  local histories = {
    "UPDATE arvak_item SET state = 'completed' WHERE slot = %d;",
    "DELETE FROM arvak_item WHERE slot = %d;",
    "UPDATE arvak_item SET state = 'submitted', " .. rest .. " WHERE slot = %d;",
    "UPDATE arvak_item SET state = 'intent', job_id = NULL, " .. rest .. " WHERE slot = %d;",
    "UPDATE arvak_item SET state = 'unknown', job_id = NULL, " .. rest .. " WHERE slot = %d;",
    "UPDATE arvak_item SET counts = 'damaged' WHERE slot = %d;",
    "UPDATE arvak_item SET reading = 'damaged', state = 'submitted', " .. rest .. " WHERE slot = %d;",
  }
  for _, err in ipairs {
    { "failed", "keep", '{"kind":"job_failed","message":"no luck"}' },
    { "failed", "keep", '{"kind":"timeout","message":"stopped"}' },
    { "failed", "NULL", '{"kind":"timeout","message":"not submitted","attempts":0}' },
    { "failed", "NULL", '{"kind":"invalid_circuit","message":"no","attempts":0}' },
    { "failed", "NULL", '{"kind":"unavailable","message":"gone"}' },
    { "failed", "NULL", '{"kind":"rpc","message":"gone"}' },
    { "unknown", "NULL", '{"kind":"unavailable","message":"gone","maybe_executed":true}' },
  } do
    histories[#histories + 1] = ("UPDATE arvak_item SET state = '%s', job_id = %s, error = '%s', %s WHERE slot = %%d;")
      :format(err[1], err[2] == "keep" and "job_id" or "NULL", err[3], rest)
  end

  local COUNT = 40

  local function make_circuits(random)
    local list = batches.bells(COUNT)
    for i = 1, COUNT do
      if random(6) == 1 then list[i] = { arvak.circuit.new(2):h(0):cx(0, 1):measure_all(), i } end
      if random(12) == 1 then
        list[i] = { arvak.circuit.new(1):rx(arvak.circuit.parameter "angle", 0):measure_all(), i }   -- cannot be sent
      end
    end
    return list
  end

  -- How the batch dealt with its inputs. What is kept is not written again, and so keeps a mark.
  local function deal(circuits, options)
    sqlite "UPDATE arvak_item SET metadata_json = 'mark';"
    local accepted = server:stats().accepted
    local r, err = execute(circuits, options)
    assert.is_nil(err)
    local did = { total = COUNT, kept = 0, to_send = server:stats().accepted - accepted, unknown = 0, invalid = 0 }
    for slot, state in sqlite("SELECT slot, state FROM arvak_item WHERE metadata_json = 'mark';")
      :gmatch "(%d+)|(%a+)" do
      assert.is_truthy(slot)
      if state ~= "unknown" then did.kept = did.kept + 1 end
    end
    for _, failure in ipairs(r.failures) do
      if failure.err.maybe_executed and not failure.job_id then did.unknown = did.unknown + 1 end
      if failure.err.kind == "invalid_circuit" and failure.err.message ~= "no" then did.invalid = did.invalid + 1 end
    end
    did.followed = COUNT - did.kept - did.to_send - did.unknown - did.invalid
    return did
  end

  for _, on_unknown in ipairs { "fail", "resubmit" } do
    it("says what a resume then does, whatever was left: on_unknown = " .. on_unknown, function()
      math.randomseed(20, on_unknown == "fail" and 1 or 2)
      local followed = 0
      for _ = 1, 6 do
        os.remove(path)
        local circuits = make_circuits(math.random)
        assert.is_truthy((execute(circuits)))
        local changes = {}
        for i = 1, COUNT do changes[i] = histories[math.random(#histories)]:format(i) end
        sqlite(table.concat(changes, "\n"))
        local planned = plan(circuits, { on_unknown = on_unknown })
        local did = deal(circuits, { on_unknown = on_unknown })
        assert.same(did, planned)
        followed = followed + did.followed
        planned = plan(circuits, { on_unknown = on_unknown })
        assert.equal(0, planned.followed)
      end
      assert.is_true(followed > 0)
    end)
  end

  it("of an iterator counts as that of a list, and draws each circuit once", function()
    local circuits = batches.bells(10)
    assert.is_truthy((execute(iterator(circuits))))
    sqlite "DELETE FROM arvak_item WHERE slot > 7;"
    local drawn = 0
    local planned = plan(function()
      drawn = drawn + 1
      return circuits[drawn]
    end)
    assert.same({ total = 10, kept = 7, to_send = 3, followed = 0, unknown = 0, invalid = 0 }, planned)
    assert.equal(11, drawn)
  end)

  it("names the first circuit that differs, and counts up to it", function()
    local circuits = batches.bells(10)
    assert.is_truthy((execute(circuits)))
    for what, change in pairs {
      [3] = function(list) list[3][2] = 99 end, [1] = function(list) list[1], list[2] = list[2], list[1] end,
      [10] = function(list) list[10] = nil end, [11] = function(list) list[11] = { bell, 11 } end,
      [7] = function(list) list[7] = { qasm = bell, shots = 7, optimization_level = 1 } end,
    } do
      local other = batches.bells(10)
      change(other)
      local planned = plan(other)
      assert.equal(what, planned.differs.index)
      assert.is_string(planned.differs.why)
      assert.equal(what - 1, planned.total)
      assert.equal(what - 1, planned.kept)
      local r, err = execute(other)
      assert.is_nil(r)
      assert.truthy(err.message:find(("circuit %d is the first that differs: %s"):format(what, planned.differs.why), 1,
        true), err.message)
    end
  end)

  it("names the first circuit of an iterator that differs", function()
    assert.is_truthy((execute(iterator(batches.bells(10)))))
    for what, change in pairs { [4] = function(list) list[4][2] = 99 end, [10] = function(list) list[10] = nil end,
      [11] = function(list) list[11] = { bell, 11 } end } do
      local other = batches.bells(10)
      change(other)
      assert.equal(what, plan(iterator(other)).differs.index)
      local accepted = server:stats().accepted
      local r, err = execute(iterator(other))
      assert.equal("failed", r.status)
      assert.truthy(err.message:find(("its circuit %d is not the one that was drawn"):format(what), 1, true),
        err.message)
      assert.equal(accepted, server:stats().accepted)
    end
    assert.is_true(execute(iterator(batches.bells(10))).ok)
  end)

  it("names a difference of kind or backend", function()
    assert.is_truthy((execute(batches.bells(3))))
    local journal <close> = assert(arvak.journal(path))
    assert.matches("its backend is simulator", journal:plan(batches.bells(3), "other").differs.why)
    assert.matches("made for a list", journal:plan(iterator(batches.bells(3)), "simulator").differs.why)
  end)

  it("is refused as the batch would be where the journal has lost its log", function()
    assert.is_truthy((execute(batches.bells(3))))
    sqlite "UPDATE arvak_log SET announced = announced + 1;"
    local planned, err = plan(batches.bells(3))
    assert.is_nil(planned)
    assert.matches("is refused: its log .* is missing", err.message)
    assert.equal(3, plan(batches.bells(3), { on_unknown = "resubmit" }).kept)
  end)

  it("is misuse without circuits, or with options that it does not know", function()
    assert.is_truthy((execute(batches.bells(3))))
    local journal <close> = assert(arvak.journal(path))
    for message, arguments in pairs { ["circuits: got nil"] = { nil }, ["on_unknown: got 7"] = { batches.bells(3),
      "simulator", { on_unknown = 7 } }, ["extend: got 1"] = { batches.bells(3), "simulator", { extend = 1 } },
      ["backend_id: got 5"] = { batches.bells(3), 5 }, ["timeout"] = { batches.bells(3), "simulator",
      { timeout = 1 } } } do
      local ok, err = pcall(journal.plan, journal, table.unpack(arguments, 1, 3))
      assert.is_false(ok)
      assert.matches(message, err)
    end
  end)
end)

describe("a batch with extend = true", function()
  before_each(open)
  after_each(close)

  for kind, make in pairs { list = function(list) return list end, iterator = iterator } do
    it("takes on a journal of its first circuits, which is one of all from then on: " .. kind, function()
      assert.is_truthy((execute(make(batches.bells(5)))))
      assert.same({ total = 8, kept = 5, to_send = 3, followed = 0, unknown = 0, invalid = 0 },
        plan(make(batches.bells(8)), { extend = true }))
      local r = execute(make(batches.bells(8)), { extend = true })
      batches.assert_whole(r, 8)
      assert.is_true(r.ok)
      assert.equal(8, server:stats().accepted)
      assert.is_true(execute(make(batches.bells(8))).ok)
      assert.is_true(execute(make(batches.bells(8)), { extend = true }).ok)
      assert.equal(8, server:stats().accepted)
      local journal <close> = assert(arvak.journal(path))
      assert.equal(8, journal.total)
    end)

    it("is refused where the first circuits are others, or there are fewer: " .. kind, function()
      assert.is_truthy((execute(make(batches.bells(5)))))
      local other = batches.bells(8)
      other[2][2] = 99
      for index, circuits in pairs { [2] = other, [5] = batches.bells(4) } do
        local _, err = execute(make(circuits), { extend = true })
        assert.matches("circuit " .. index .. " is ", err.message)
        assert.equal(index, plan(make(circuits), { extend = true }).differs.index)
      end
      assert.equal(5, server:stats().accepted)
      assert.is_true(execute(make(batches.bells(5))).ok)
    end)
  end

  it("goes on after it was stopped in the middle of what is new", function()
    assert.is_truthy((execute(iterator(batches.bells(5)))))
    local ends = 0
    execute(iterator(batches.bells(40)), { extend = true, on_result = function()
      ends = ends + 1
      if ends == 12 then manager:cancel() end
    end })
    local r, err = execute(iterator(batches.bells(40)))
    assert.is_nil(err)
    batches.assert_whole(r, 40)
    assert.is_true(r.ok)
  end)

  it("retries what failed of all of them", function()
    server:fault { job = "fail", message = "no luck", count = 2 }
    assert.equal(2, execute(batches.bells(5)).failure_count)
    local r = execute(batches.bells(8), { extend = true })
    assert.equal(2, r.failure_count)
    r = r:retry_failed()
    assert.is_true(r.ok)
    assert.is_true(execute(batches.bells(8)).ok)
    assert.equal(10, server:stats().accepted)
  end)
end)
