-- A journal and what the system gives to its process: a file system that is full and then is not, file descriptors, the
-- mode of its file. spec/batch/journal_spec.lua has the limit of a file's size.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local command = require "spec.support.command"

local LUA = os.getenv "LUA" or "lua5.4"
local COUNT = 2000
local server, client, manager, folder, path

local circuits = {}
for i = 1, 40 do circuits[i] = { "OPENQASM 3.0; qubit q; x q;", i } end

local function open(latency)
  server = helper.start { job_latency = latency }
  client = arvak.connect(server.address)
  manager = arvak.batch_manager(client, { max_workers = 4 })
  folder = os.tmpname()
  os.remove(folder)
  os.execute("mkdir " .. folder)
  path = folder .. "/run.db"
end

local function close()
  manager:close()
  client:close()
  server:stop()
  manager, client, server = nil, nil, nil
  os.execute(("chmod -R u+w %s; rm -r %s"):format(folder, folder))
  helper.assert_clean()
end

local function runs()
  local count = {}
  for _, job in ipairs(server:jobs()) do count[job.shots] = (count[job.shots] or 0) + 1 end
  return count
end

-- A file system of its own in a namespace of its own, where the system lets everybody make one.
local has_namespaces = command.shell("unshare -rm true").code == 0

describe("a journal on a file system that is full", function()
  before_each(function() open(0.001) end)
  after_each(close)

  local test = has_namespaces and it or pending
  test("stops its batch with that reason, has all that it told, and goes on when there is space", function()
    local run = ("%s spec/support/journal_batch.lua %s %s/run.db %d 8 auto fail"):format(LUA, server.address, folder,
      COUNT)
    local result = command.shell(([[unshare -rm sh -c '
      mount -t tmpfs -o size=200k tmpfs %s; %s; echo; echo ===; mount -o remount,size=50M %s; %s']]):format(folder, run,
      folder, run))
    local first, second = result.out:match "^(.-)\n===\n(.*)$"
    assert.matches("^partial", first, 1, false)
    assert.matches("journal .*/run%.db cannot be written: .*full", first)
    local completed = math.tointeger(tonumber(first:match "^partial%s(%d+)"))
    assert.is_true(completed > 10 and completed < COUNT)
    local status, successes, failures, unknown = second:match "^(%a+)%s(%d+)%s(%d+)%s(%d+)\n"
    assert.equal(COUNT, successes + failures, second)
    assert.same({ failures, status }, { unknown, failures == "0" and "completed" or "partial" })
    assert.is_true(math.tointeger(tonumber(failures)) <= 20)   -- what was being sent when the disk was full
    local count = runs()
    for i = 1, COUNT do assert.is_true((count[i] or 0) <= 1, "a circuit ran twice") end
  end)
end)

describe("a journal of a process without a file descriptor left", function()
  before_each(function() open(0.01) end)
  after_each(close)

  -- A program that has no more than 200 descriptors: what it says.
  local function run(program)
    local file = folder .. "/program.lua"
    command.write_file(file, ([[
      local arvak = require "arvak"
      local circuits, files = {}, {}
      for i = 1, 40 do circuits[i] = { "OPENQASM 3.0; qubit q; x q;", i } end
      local function take()
        repeat files[#files + 1] = io.open "/dev/null" until not io.open "/dev/null"
      end
      local function give_back()
        for _, file in ipairs(files) do file:close() end
        files = {}
        collectgarbage()
      end
      local client <close> = arvak.connect(%q)
      local manager <close> = arvak.batch_manager(client, { max_workers = 4 })
      assert(client:execute(circuits[1][1], "simulator"))
      local options = { journal = %q }
      %s]]):format(server.address, path, program))
    local result = command.shell(("ulimit -n 200; %s %s"):format(LUA, file))
    assert.equal(0, result.code, result.err)
    return result.out
  end

  it("is refused with that reason, whatever it was to be opened, and runs later", function()
    local output = run [[
      for _, needed in ipairs { false, "cjson", "arvak.store.sqlite" } do
        if needed then require(needed) end
        take()
        print(manager:execute_batch(circuits, "simulator", options))
        give_back()
      end
      print(manager:execute_batch(circuits, "simulator", options).success_count)]]
    local lines = {}
    for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(4, #lines)
    for i = 1, 3 do assert.matches("^nil\t.*Too many open files", lines[i]) end
    assert.equal("40", lines[4])
  end)

  it("goes on where they run out in the middle, and is whole", function()
    assert.equal("40\tnil\n", run [[
      local ended = 0
      function options.on_result()
        ended = ended + 1
        if ended == 5 then take() end
      end
      local r, err = manager:execute_batch(circuits, "simulator", options)
      print(r.success_count, err)]])
    local journal <close> = assert(arvak.journal(path))
    assert.equal(40, journal:counts().completed)
  end)
end)

describe("a journal whose file may not be written any more", function()
  before_each(function() open(0.01) end)
  after_each(close)

  it("goes on in the program that has it", function()
    local ended = 0
    local r = manager:execute_batch(circuits, "simulator", { journal = path, on_result = function()
      ended = ended + 1
      if ended == 5 then os.execute(("chmod -R a-w %s"):format(folder)) end
    end })
    assert.same({ "completed", 40 }, { r.status, r.success_count })
    os.execute(("chmod -R u+w %s"):format(folder))
    local journal <close> = assert(arvak.journal(path))
    assert.equal(40, journal:counts().completed)
  end)
end)
