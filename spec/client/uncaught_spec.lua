-- What a script shows of an error that nobody has caught, and of what it leaves undone.
-- SPDX-License-Identifier: Apache-2.0
local LUA = os.getenv "LUA" or "lua5.4"

local prelude = [[
local arvak = require "arvak"
local client = arvak.connect "embedded"
local bad, good = "OPENQASM 3.0; qubit q; hadamard q;", "OPENQASM 3.0; qubit q; h q;"
]]
local FIRST_LINE = 4   -- of what follows the prelude

local function run_script(source, name)
  name = name or os.tmpname()
  local file <close> = assert(io.open(name, "w"))
  file:write(prelude, source)
  file:close()
  local pipe = assert(io.popen(("%s '%s' 2>&1 </dev/null"):format(LUA, name)))
  local output = pipe:read "a"
  pipe:close()
  os.remove(name)
  return output, name
end

-- Runs a script whose line of that number, counted from 1, raises.
local function assert_raised_at(line, source, what)
  local output, name = run_script(source)
  local expected = ("%s:%d: "):format(name, FIRST_LINE + line - 1)
  assert.equal(expected, (output:gsub("^[^\n:]+: ", "", 1)):sub(1, #expected))   -- after the interpreter's name
  assert.matches(what or "SubmitJob [%d.:]+: INVALID_ARGUMENT", output)
end

describe("an error object that nobody catches", function()
  it("prints the line of the assert", function()
    assert_raised_at(1, 'assert(client:execute(bad, "simulator", 10))')
  end)

  it("prints the line of the error", function()
    assert_raised_at(2, 'local _, err = client:get_job_status "none"\nerror(err)', "GetJobStatus [^\n]*NOT_FOUND")
  end)

  it("prints the line of the loop over a stream", function()
    assert_raised_at(2, '\nfor state in client:watch_job "none" do print(state) end', "NOT_FOUND")
  end)

  it("prints the line in the task that raised it", function()
    local task = 'local function task()\n  assert(client:execute(bad, "simulator", 10))\nend\n'
    assert_raised_at(2, task .. "arvak.run(task)")
    assert_raised_at(2, task .. "arvak.run(function() arvak.spawn(task) end)")
    assert_raised_at(2, task .. "arvak.run(function() arvak.with_timeout(9, task) end)")
  end)

  it("prints the line of who read it from a future and raised it", function()
    assert_raised_at(2, '\nassert(client:submit_qasm_future(bad, "simulator"):result())')
  end)

  it("prints a line when a coroutine has died of it", function()
    assert_raised_at(2, '\ncoroutine.wrap(function() assert(client:execute(bad, "simulator")) end)()')
  end)

  it("prints a line when a closing value has raised it", function()
    assert_raised_at(2, [[
local guard <close> = setmetatable({}, { __close = function()
  assert(client:execute(bad, "simulator"))
end })]])
  end)

  it("has no line in its text where it is caught", function()
    local output = run_script [[
      local _, err = client:execute(bad, "simulator")
      print(err)
      print(select(2, pcall(error, err)))
      pcall(print, err)
      print("" .. err)
      print(tostring(select(2, xpcall(assert, function(caught) return caught end, nil, err))))
    ]]
    local count = 0
    for line in output:gmatch "[^\n]+" do
      count = count + 1
      assert.matches("^SubmitJob ", line)
    end
    assert.equal(5, count)
  end)
end)

describe("a script that ends too early", function()
  local function assert_said(expected, source)
    local output = run_script(source)
    local said = expected and ("arvak: the program ended before %s did: wait with future:result() or arvak.wait, or "
      .. "spawn inside arvak.run\n"):format(expected) or ""
    assert.equal(said, output)
  end

  it("says how many tasks it has spawned and not waited for", function()
    assert_said("1 spawned task", "arvak.spawn(arvak.sleep, 60)")
    assert_said("1 spawned task", "arvak.spawn(print, 'never')")
    assert_said("3 spawned tasks", "for _ = 1, 3 do arvak.spawn(arvak.sleep, 60) end arvak.poll()")
  end)

  it("says how many futures it has got and not waited for", function()
    assert_said("1 future", "local _ = client:submit_qasm_future(good, 'simulator')")
    assert_said("2 futures", "for _ = 1, 2 do local _ = client.async:execute(good, 'simulator') end")
    assert_said("1 future", "local _ = client.async:list_backends()")
    assert_said("1 future", "arvak.run(function() local _ = client.async:execute(good, 'simulator') end)")
  end)

  it("says it after its client was closed, too", function()
    assert_said("1 spawned task", "arvak.spawn(client.execute, client, good, 'simulator') client:close()")
  end)

  it("says nothing when all was waited for", function()
    assert_said(nil, "local f = client:submit_qasm_future(good, 'simulator') assert(f:result())")
    assert_said(nil, "arvak.run(function() arvak.spawn(client.execute, client, good, 'simulator') end)")
    assert_said(nil, "arvak.spawn(client.execute, client, good, 'simulator') while arvak.poll(1) do end")
    assert_said(nil, "local f = client:submit_qasm_future(good, 'simulator') f:cancel() f:wait() "
      .. "while arvak.poll(1) do end")   -- the server hears of it
    assert_said(nil, "local server <close> = require('arvak.devserver').start { job_latency = 60 } "
      .. "local f = arvak.connect(server.address):submit_qasm_future(good, 'simulator') "
      .. "assert(f:cancel())")
    assert_said(nil, "arvak.batch_manager(client):execute_batch({ { good, 1 }, { good, 1 } }, 'simulator')")
    assert_said(nil, "local f = arvak.future() f:add_done_callback(print)")
  end)

  it("says which error of a task nobody has read, and where it was raised", function()
    local output, name = run_script [[
      arvak.spawn(function() assert(client:execute(bad, "simulator")) end)
      while arvak.poll(1) do end
    ]]
    local expected = ("arvak: an error that nobody read: %s:%d: SubmitJob "):format(name, FIRST_LINE)
    assert.equal(expected, output:sub(1, #expected))
  end)

  it("warns instead in a state that is not a script's", function()
    local output = run_script 'arg = nil\nwarn "@on"\narvak.spawn(arvak.sleep, 60)'
    assert.matches("^Lua warning: arvak: the program ended before 1 spawned task did", output)
  end)
end)
