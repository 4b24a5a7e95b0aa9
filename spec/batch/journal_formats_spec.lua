-- Journals of each format, as the library of their time has written them (spec/data/journal-*.db): read, and gone on
-- with. Each is of a batch of twelve circuits that was stopped in the middle; circuit 4 is no program.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"

local server, client, manager, directory, path

local function shell(command, ...)
  local pipe = assert(io.popen(command:format(...)))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

local function open()
  server = helper.start()
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client)
  directory = os.tmpname()
  os.remove(directory)
  shell("mkdir '%s'", directory)
  path = directory .. "/run.db"
end

local function close()
  manager:close()
  client:close()
  server:stop()
  manager, client, server = nil, nil, nil
  shell("rm -r '%s'", directory)
  helper.assert_clean()
end

local function column(sql) return (shell("sqlite3 '%s' \"%s\"", path, sql):gsub("\n$", "")) end

local function circuits_of(has_circuit)
  local qasm, list = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];", {}
  for i = 1, 12 do list[i] = { qasm, i, id = i == 2 and "two" or nil } end
  list[4] = { qasm = "nonsense", shots = 4, id = "four" }
  if has_circuit then list[6] = { qasm = arvak.circuit.new(2):h(0):cx(0, 1):measure_all(), shots = 6 } end
  return list
end

-- The first version had neither a mark in the file's header nor a table about the log; the early one no circuits.
local formats = {
  ["1 of the first version"] = { file = "journal-1-first.db", format = 1, completed = 7, fingerprint =
    "bd73fcfa3ac44de093eb3116584fe2f5f4b4528b9a3c4a0c7fc677591cd7d270" },
  ["1 without circuits"] = { file = "journal-1-early.db", format = 1, completed = 6, fingerprint =
    "bd73fcfa3ac44de093eb3116584fe2f5f4b4528b9a3c4a0c7fc677591cd7d270" },
  ["1 with a circuit"] = { file = "journal-1.db", format = 1, completed = 6, has_circuit = true, fingerprint =
    "66b100b03b7cc619fa09773856a6f57076ee6233a4714421f602ab0c6e8e3d8b" },
  ["2"] = { file = "journal-2.db", format = 2, completed = 6, has_circuit = true, fingerprint =
    "66b100b03b7cc619fa09773856a6f57076ee6233a4714421f602ab0c6e8e3d8b" },
}

for name, golden in pairs(formats) do
  describe("a journal of format " .. name, function()
    before_each(function()
      open()
      shell("cp spec/data/%s '%s'", golden.file, path)
    end)
    after_each(close)

    it("is read and planned with, and stays as it was", function()
      local sum = shell("md5sum < '%s'", path)
      local journal <close> = assert(arvak.journal(path))
      assert.equal(golden.fingerprint, journal.fingerprint)
      assert.equal(12, journal.total)
      assert.equal("simulator", journal.backend_id)
      assert.same({ completed = golden.completed, failed = 1, submitted = 1, intent = 1, unknown = 0 },
        journal:counts())
      local seen = 0
      for item in journal:items() do
        seen = seen + 1
        assert.equal(seen, item.index)
        assert.equal(64, #item.circuit_hash)
        if item.state == "completed" then
          local sum_of_counts = 0
          for _, count in item.result:pairs() do sum_of_counts = sum_of_counts + count end
          assert.equal(item.index, sum_of_counts)
        end
        assert.equal(item.index == 2 and "two" or item.index == 4 and "four" or nil, item.id)
        assert.equal(item.index == 4 and "invalid_circuit" or nil, item.err and item.err.kind)
      end
      assert.equal(golden.completed + 3, seen)
      assert.same({ total = 12, kept = golden.completed + 1, followed = 1, unknown = 1, invalid = 0,
        to_send = 12 - golden.completed - 3 }, journal:plan(circuits_of(golden.has_circuit), "simulator"))
      journal:close()
      assert.equal(sum, shell("md5sum < '%s'", path))
      assert.equal("run.db\n", shell("ls '%s'", directory))
    end)

    it("goes on, and is one of format 2 then", function()
      local circuits = circuits_of(golden.has_circuit)
      local r, err = manager:execute_batch(circuits, "simulator", { journal = path })
      assert.is_nil(err)
      batches.assert_whole(r, 12)
      assert.equal(9, r.success_count)
      assert.same({ invalid_circuit = 1, job_not_found = 1, rpc = 1 }, batches.kinds(r))
      assert.equal(12 - golden.completed - 3, server:stats().accepted)
      if golden.has_circuit then
        assert.same({ ["00"] = true, ["11"] = true }, { ["00"] = r.items[6].result.counts["00"] and true,
          ["11"] = r.items[6].result.counts["11"] and true })
      end
      assert.equal("2|" .. golden.fingerprint, column "SELECT format, fingerprint FROM arvak_batch")
      assert.equal(tostring(0x4172766b), column "PRAGMA application_id")
      assert.equal("2", column [[SELECT COUNT(*) FROM pragma_table_info('arvak_item')
        WHERE name IN ('reading', 'raw_counts')]])
      assert.equal("1", column "SELECT announced = begun FROM arvak_log")
      local accepted = server:stats().accepted
      assert.equal(9, manager:execute_batch(circuits, "simulator", { journal = path }).success_count)
      assert.equal(accepted, server:stats().accepted)
    end)

    it("is raised by nobody who is refused", function()
      local other = circuits_of(golden.has_circuit)
      other[3][2] = 77
      local r, err = manager:execute_batch(other, "simulator", { journal = path })
      assert.is_nil(r)
      assert.matches("it belongs to another batch .*circuit 3 is the first that differs", err.message)
      assert.equal(tostring(golden.format), column "SELECT format FROM arvak_batch")
      assert.equal(golden.file == "journal-1-first.db" and "0" or tostring(0x4172766b), column "PRAGMA application_id")
    end)
  end)
end
