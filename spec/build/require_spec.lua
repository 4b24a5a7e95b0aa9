-- How the modules inside arvak.so find each other, and what they find outside. Each program is a process of its own,
-- since what it does to require and package would stay.
-- SPDX-License-Identifier: Apache-2.0

-- The output of a program.
local function run(program)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(program)
  file:close()
  local pipe = assert(io.popen(("'%s' '%s' 2>&1"):format(os.getenv("LUA") or "lua5.4", path)))
  local output = pipe:read("a")
  pipe:close()
  os.remove(path)
  return output
end

describe("the modules in the library", function()
  it("are not moved by what a program gives the same names", function()
    assert.equal("1\n", run [[
      package.loaded["arvak.base.check"] = "rubbish"
      package.preload["arvak.core"] = function() return "rubbish" end
      package.preload["arvak.async.future"] = function() error("rubbish") end
      local arvak = require "arvak"
      local client <close> = arvak.connect "embedded"
      print(client:execute("OPENQASM 3.0; qubit q;", "simulator", 1).counts["0"])]])
  end)

  it("are no modules of the program", function()
    assert.equal("false\tfalse\tfalse\n", run [[
      require "arvak"
      print((pcall(require, "arvak.core")), (pcall(require, "arvak.base.check")), (pcall(require, "arvak.client")))]])
  end)

  it("are not loaded for circuits before a program touches those", function()
    assert.equal("nil\tnil\ttrue\ttrue\n", run [[
      local arvak = require "arvak"
      local before, loaded = rawget(arvak, "circuit"), package.loaded["arvak.circuit"]
      local circuit = require "arvak.circuit"
      print(before, loaded, circuit == arvak.circuit, rawget(arvak, "circuit") == circuit)]])
  end)

  it("give circuits to a program that requires nothing else, from the library alone", function()
    assert.equal("1\ttrue\n", run [[
      package.path = ""
      local circuit = require "arvak.circuit"
      print(circuit.new(1):h(0):size(), circuit == require("arvak").circuit)]])
  end)

  it("take what is not theirs from the program's own require, which may wait", function()
    assert.equal("table\ttrue\n", run [[
      local arvak, waits = require "arvak", 0
      local inside = require
      require = function(name)
        if arvak.in_task() then
          arvak.sleep(0.001)
          waits = waits + 1
        end
        return inside(name)
      end
      arvak.run(function()
        local client <close> = arvak.connect "embedded"
        local result = client:execute("OPENQASM 3.0; qubit q;", "simulator", 1)
        print(type(result:metadata()), waits >= 2)
      end)]])
  end)
end)
