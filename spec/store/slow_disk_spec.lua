-- The loop goes on while the disk takes its time: each fsync takes 50 ms longer in a program of its own, by a library
-- that is preloaded there, and a tick of 10 ms stays one.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

local COMMITS, SYNC_MS, TICK = 20, 50, 0.01

-- Commits one row after the other, while somebody ticks; prints how many commits there were, how many ticks, and the
-- gap between two ticks that half of them do not exceed, in seconds.
local PROGRAM = [[
package.path = './?.lua;' .. package.path
local arvak = require "arvak"
local connections = require "spec.support.connections"
local loops = require "spec.support.loops"
local file, kind, commits, tick = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local is_over, gaps = false, {}

local function commit()
  local c = connections.open(file)
  local outcome = c:run(c:transaction():add("PRAGMA journal_mode = WAL"):add("PRAGMA synchronous = FULL"), "raw")
  assert(outcome.ok, outcome.message)
  connections.write(c, "CREATE TABLE t (i)")
  for i = 1, commits do connections.write(c, { "INSERT INTO t VALUES (?)", i }) end
  is_over = true
  assert(connections.read(c, "SELECT count(*) AS value FROM t") == commits)
  c:close()
end

local function tick_on(sleep)
  local last = connections.now()
  while not is_over do
    sleep(tick)
    local now = connections.now()
    gaps[#gaps + 1] = now - last
    last = now
  end
end

if kind == "tasks" then
  arvak.run(function()
    arvak.spawn(tick_on, arvak.sleep)
    commit()
  end)
else
  for _, loop_kind in ipairs(loops.all) do
    if loop_kind.name == kind then
      local loop = loop_kind.open()
      local attachment = loop.attach()
      loop.spawn(function() tick_on(loop.sleep) end)
      loop.spawn(commit)
      assert(loop.run(60))
      attachment:detach()
      assert(not loop.errors[1], loop.errors[1])
    end
  end
end
table.sort(gaps)
print(commits, #gaps, gaps[#gaps // 2 + 1], gaps[#gaps])
]]

describe("on a disk that takes 50 ms to sync", function()
  local folder

  setup(function()
    local pipe = assert(io.popen("mktemp -d"))
    folder = pipe:read("l")
    pipe:close()
    local file = assert(io.open(folder .. "/program.lua", "w"))
    file:write(PROGRAM)
    file:close()
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  local function run(kind)
    local environment = ("LD_PRELOAD=\"$(realpath %s/test/slow_disk.so)\" SLOW_DISK_MS=%d SLOW_DISK_LOG=%s/%s.log "
      .. "ASAN_OPTIONS=\"$ASAN_OPTIONS:verify_asan_link_order=0\""):format(os.getenv("ARVAK_BUILD") or "build", SYNC_MS,
        folder, kind)
    local pipe = assert(io.popen(("env %s timeout 100 %s %s/program.lua %s/%s.db %s %d %g 2>&1"):format(environment,
      os.getenv("LUA") or "lua5.4", folder, folder, kind, kind, COMMITS, TICK)))
    local output = helper.without_log(pipe:read("a"))
    pipe:close()
    local commits, ticks, median = output:match("^(%d+)\t(%d+)\t(%S+)\t%S+\n$")
    assert(commits, output)
    local log = assert(io.open(("%s/%s.log"):format(folder, kind)))
    local syncs = #log:read("a")
    log:close()
    return syncs, tonumber(ticks), tonumber(median)
  end

  for _, kind in ipairs { "tasks", "cqueues", "luv" } do
    it("a tick of 10 ms goes on in " .. kind .. " while transactions commit", function()
      local syncs, ticks, median = run(kind)
      assert.is_true(syncs >= COMMITS, syncs .. " syncs")
      assert.is_true(median < SYNC_MS / 1000, "half of the ticks came " .. median .. " s after the one before")
      assert.is_true(ticks >= 2 * COMMITS, ticks .. " ticks")
    end)
  end
end)
