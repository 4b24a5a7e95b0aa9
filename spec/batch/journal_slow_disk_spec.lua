-- A batch with a journal on a slow disk: the loop goes on, and what waits for the disk is bounded.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

local SYNC_MS, JOBS, WORKERS, TICK = 50, 120, 8, 0.01

-- Arguments: journal, jobs, workers, seconds of a tick. Prints how the batch ended, how many ticks came, their median
-- distance, and the most jobs that the server had accepted beyond those that had been told.
local PROGRAM = [[
local arvak = require "arvak"
local devserver = require "arvak.devserver"
local path, jobs, workers, tick = arg[1], tonumber(arg[2]), math.tointeger(arg[3]), tonumber(arg[4])
local server <close> = assert(devserver.start { rate_limit = 0, max_concurrent_jobs = 0, max_queued_jobs = 0 })
local client <close> = arvak.connect(server.address)
local manager <close> = arvak.batch_manager(client, { max_workers = workers })
local list, told, most = {}, 0, 0
for i = 1, jobs do list[i] = { "OPENQASM 3.0; qubit q; x q;", i } end
local function batch()
  return manager:execute_batch(list, "simulator", { journal = path, on_result = function()
    told = told + 1
    most = math.max(most, server:stats().accepted - told)
  end })
end
local gaps, is_over, r, err = {}, false, nil, nil
arvak.run(function()
  arvak.spawn(function()
    local clock = require("socket").gettime
    local last = clock()
    while not is_over do
      arvak.sleep(tick)
      gaps[#gaps + 1] = clock() - last
      last = clock()
    end
  end)
  r, err = batch()
  is_over = true
end)
table.sort(gaps)
print(r.status, #gaps, gaps[#gaps // 2], most, err)
]]

describe("a batch on a disk that takes 50 ms to sync", function()
  local folder, log, ticks, median, most, status, output

  setup(function()
    local pipe <close> = assert(io.popen("mktemp -d"))
    folder = pipe:read("l")
    local program <close> = assert(io.open(folder .. "/program.lua", "w"))
    program:write(PROGRAM)
    program:close()
    local environment = ("LD_PRELOAD=\"$(realpath %s/test/slow_disk.so)\" SLOW_DISK_MS=%d SLOW_DISK_LOG=%s/log "
      .. "ASAN_OPTIONS=\"$ASAN_OPTIONS:verify_asan_link_order=0\""):format(os.getenv("ARVAK_BUILD") or "build", SYNC_MS,
        folder)
    local run <close> = assert(io.popen(("env %s timeout 100 %s %s/program.lua %s/run.db %d %d %g 2>&1")
      :format(environment, os.getenv("LUA") or "lua5.4", folder, folder, JOBS, WORKERS, TICK)))
    output = helper.without_log(run:read("a"))
    status, ticks, median, most = output:match("^(%a+)\t(%d+)\t(%S+)\t(%d+)\tnil\n$")
    ticks, median, most = tonumber(ticks), tonumber(median), tonumber(most)
    local file <close> = io.open(folder .. "/log")
    log = file and file:read("a")
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  it("syncs each commit, and ends with every result", function()
    assert.equal("completed", status, output)
    assert.is_true(#log >= JOBS // (4 * WORKERS), #log)
  end)

  it("keeps a tick of 10 ms a tick", function()
    assert.truthy(ticks, output)
    assert.is_true(median < SYNC_MS / 1000, "half of the ticks came " .. median .. " s after the one before")
    assert.is_true(ticks >= 2 * #log, ticks .. " ticks in " .. #log .. " syncs")
  end)

  it("has four times max_workers ends at most that the disk does not have, beside the open jobs", function()
    assert.truthy(most, output)
    assert.is_true(most <= 5 * WORKERS, most)
  end)
end)
