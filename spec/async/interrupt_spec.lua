-- Ctrl-C while something waits: the interpreter's SIGINT handler raises in it, wherever it waits.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

local prelude = [[
local arvak = require "arvak"
local devserver = require "arvak.devserver"
local server = devserver.start { rate_limit = 0, job_latency = 100 }
local client <close> = arvak.connect(server.address)
local job_id = assert(client:submit_qasm("OPENQASM 3.0; qubit q;", "simulator", 1))
-- Tells the shell that it may send the signal now.
local function ready() io.stderr:write("waiting\n") end
local function wait()
  ready()
  return client:wait_for_job(job_id)
end
]]

local epilogue = [[
assert(client:get_job_status(job_id).state ~= "COMPLETED")
server:stop()
]]

-- Runs a program in an interpreter of its own, interrupts it after it has said that it waits, and gives its output.
local function interrupt(body)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(prelude, body, "\n", epilogue)
  file:close()
  local lua = os.getenv("LUA") or "lua5.4"
  local command = ([[
    exec 2>&1
    '%s' '%s' > '%s.out' 2> '%s.err' & pid=$!
    for i in $(seq 100); do grep -q waiting '%s.err' && break; sleep 0.05; done
    sleep 0.2; kill -INT $pid
    ( sleep %d; kill -KILL $pid ) >/dev/null 2>&1 & killer=$!
    wait $pid; status=$?
    kill -- -$killer 2>/dev/null
    cat '%s.out'; echo "status $status"; grep -v waiting '%s.err'
    rm -f '%s.out' '%s.err']]):format(lua, path, path, path, path, math.ceil(helper.TEST_TIMEOUT), path, path,
    path, path)
  -- An interactive-like shell: a background process of sh ignores SIGINT, one of bash -m does not.
  local script = os.tmpname()
  file = assert(io.open(script, "w"))
  file:write("set -m\n", command)
  file:close()
  local pipe = assert(io.popen(("bash '%s' 2>&1"):format(script)))
  local output = pipe:read("a")
  pipe:close()
  os.remove(path)
  os.remove(script)
  return output
end

describe("an interrupt", function()
  local function raises(body)
    local output = interrupt(body)
    assert.truthy(output:find("interrupted!", 1, true), output)
    assert.truthy(output:find("status 0", 1, true), output)
    return output
  end

  it("raises in a blocking wait, after which the client goes on", function()
    raises [[print(pcall(wait))]]
  end)

  it("raises in a blocking wait inside a coroutine", function()
    raises [[local co = coroutine.wrap(function() return pcall(wait) end) print(co())]]
  end)

  -- The interpreter's handler marks the main thread, and what runs is a coroutine that does not wait yet.
  for name, wait in pairs { ["a blocking wait"] = "pcall(wait)", ["arvak.run"] = "pcall(arvak.run, wait)" } do
    it("that came before it raises in " .. name .. " inside a coroutine", function()
      local path = os.tmpname()
      local file = assert(io.open(path, "w"))
      file:write(prelude, ([[
        local co = coroutine.wrap(function()
          io.popen("kill -INT $PPID"):close()
          return %s
        end)
        print(co()) ]]):format(wait), "\n", epilogue)
      file:close()
      local pipe = assert(io.popen(("timeout 60 '%s' '%s' 2>&1"):format(os.getenv "LUA" or "lua5.4", path)))
      local output = pipe:read "a"
      local has_ended_well = pipe:close()
      os.remove(path)
      assert.matches("interrupted!", output)
      assert.is_true(has_ended_well)
    end)
  end

  it("raises in a blocking wait for a future", function()
    raises [[local f = arvak.spawn(wait) print(pcall(f.result, f)) assert(not f:done())]]
  end)

  it("raises out of arvak.run, which cancels its tasks first", function()
    local output = raises [[
      print(pcall(arvak.run, function()
        arvak.spawn(function() print("spawned", select(2, wait())) end)
        return wait()
      end))]]
    assert.truthy(output:find("spawned\t[^\n]*CANCELLED: the task was canceled"), output)
  end)

  it("raises in arvak.poll", function()
    raises [[ready() print(pcall(arvak.poll, 100))]]
  end)

  it("raises out of arvak.run inside a coroutine", function()
    raises [[
      local co = coroutine.wrap(function() return pcall(arvak.run, wait) end)
      print(co())]]
  end)

  it("raises in a blocking sleep", function()
    raises [[ready() print(pcall(arvak.sleep, 100))]]
  end)
end)

-- A limit set by a debug hook may raise anywhere, and again and again: in the middle of starting a task, too. All runs
-- are in a process of their own, since a crash would take this one with it.
describe("a debug hook that keeps raising", function()
  local body = [[
local arvak = require "arvak"
for first = 5, 150 do
  local ok, err = pcall(arvak.run, function()
    local count = 0
    debug.sethook(function()
      count = count + 1
      if count >= first then error("tick", 0) end
    end, "", 1)
    pcall(pcall, pcall, arvak.spawn, function() end)
    debug.sethook()
    error("the end", 0)
  end)
  assert(not ok and (err == "the end" or err == "tick"), tostring(err))
end
print("survived")]]

  it("leaves nothing half made that a later cancellation meets", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(body)
    file:close()
    local pipe = assert(io.popen(("'%s' '%s' 2>&1"):format(os.getenv("LUA") or "lua5.4", path)))
    local output = pipe:read("a")
    pipe:close()
    os.remove(path)
    assert.equal("survived\n", output)
  end)
end)
