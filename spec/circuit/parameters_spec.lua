-- Parameters: expressions, binding, sweeps.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"

local theta, phi = circuit.parameter "theta", circuit.parameter "phi"

-- What rx gets on the way to the service.
local function sent_angle(c)
  return tonumber(assert(c:lowered()).qasm:match("rx%(([^)]+)%)"))
end

describe("an expression over parameters", function()
  it("computes as Lua does when all its parameters are bound", function()
    local cases = {
      { theta, 0.3 }, { -theta, -0.3 }, { theta / 2 + 0.1, 0.3 / 2 + 0.1 }, { 1 - theta, 1 - 0.3 },
      { 2 * theta * phi, 2 * 0.3 * 0.7 }, { (theta - phi) / (theta + phi), (0.3 - 0.7) / (0.3 + 0.7) },
      { theta - (phi - theta), 0.3 - (0.7 - 0.3) }, { -(theta + phi) * 3, -(0.3 + 0.7) * 3 },
      { 1 / (theta * phi), 1 / (0.3 * 0.7) },
    }
    for _, case in ipairs(cases) do
      local c = circuit.new(1):rx(case[1], 0)
      local values = {}
      for _, name in ipairs(c:parameters()) do values[name] = ({ theta = 0.3, phi = 0.7 })[name] end
      assert.equal(case[2], sent_angle(c:bind(values)), tostring(case[1]))
    end
  end)

  it("is written with as few parentheses as it needs", function()
    for text, expression in pairs {
      ["theta"] = theta, ["-theta"] = -theta, ["theta/2 + phi"] = theta / 2 + phi,
      ["(theta + 1)*phi"] = (theta + 1) * phi,
      ["theta - (phi - 1)"] = theta - (phi - 1), ["theta - phi - 1"] = theta - phi - 1,
      ["-(theta + phi)"] = -(theta + phi), ["theta/(phi*2)"] = theta / (phi * 2),
      ["theta + pi/2"] = theta + math.pi / 2,
      ["theta - (-phi)"] = theta - -phi, ["theta*(-1.5)"] = theta * -1.5,
    } do
      assert.equal(text, tostring(expression))
    end
  end)

  it("does not change, and shows nothing of itself", function()
    assert.is_false(pcall(function() theta.name = "x" end))
    assert.is_false(getmetatable(theta))
    assert.is_nil(next(theta))
  end)

  it("raises at the line of the program for operands that are none", function()
    for message, fn in pairs {
      ["parameter +: got a table, expected a finite number or a parameter"] = function() return theta + {} end,
      ["parameter -: got nil, expected a finite number or a parameter"] = function() return theta - nil end,
      ['parameter *: got "2", expected a finite number or a parameter'] = function() return "2" * theta end,
      ["parameter /: got inf, expected a finite number or a parameter"] = function() return theta / math.huge end,
    } do
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.equal(("spec/circuit/parameters_spec.lua:%d: %s"):format(debug.getinfo(fn, "S").linedefined, message),
        (err:gsub("^%./", "")))
    end
  end)

  it("has a bound, so that a sum in a loop cannot eat the machine", function()
    local ok, err = pcall(function()
      local sum = theta
      for _ = 1, 60 do sum = sum + sum end
    end)
    assert.is_false(ok)
    assert.matches("more than 10000 parts", err, 1, true)
  end)
end)

describe("circuit.parameter", function()
  it("refuses names that no program could have", function()
    for _, name in ipairs { "", "1a", "a b", "a-b", "a\n", 1, true, "\255" } do
      assert.is_false(pcall(circuit.parameter, name))
    end
    assert.truthy(circuit.parameter "θ_1")
  end)

  it("writes names that the language has taken under others", function()
    local source = circuit.new(1):rx(circuit.parameter "pi" + circuit.parameter "q", 0):to_qasm { lowered = false }
    assert.matches("input float[64] pi_1;", source, 1, true)
    assert.matches("rx(pi_1 + q_1) q[0];", source, 1, true)
    assert.truthy(circuit.from_qasm(source))
  end)
end)

describe("c:parameters", function()
  it("lists what is open in the order of its first use, once, also of conditions and appended circuits", function()
    local c = circuit.new(2):rx(phi, 0):ry(theta + phi, 0)
    c:when(0, 1, function(body) body:rz(circuit.parameter "a", 0) end)
    c:append(circuit.new(1):rx(circuit.parameter "b", 0))
    assert.same({ "phi", "theta", "a", "b" }, c:parameters())
    assert.same({ "theta", "b" }, c:bind({ phi = 1, a = 2 }):parameters())
    assert.same({}, circuit.new(1):parameters())
  end)

  it("lists the inputs of a program that was read", function()
    local c = assert(circuit.from_qasm "OPENQASM 3.0; input float x; input float y; qubit q; rx(x/2) q;")
    assert.same({ "x", "y" }, c:parameters())
    assert.equal(0.25, sent_angle(c:bind { x = 0.5, y = 0 }))
  end)
end)

describe("c:bind", function()
  it("binds in several steps, in any order, and leaves its circuit alone", function()
    local c = circuit.new(1):rx(theta * phi, 0)
    local half = c:bind { phi = 3 }
    assert.same({ "theta", "phi" }, c:parameters())
    assert.equal(6, sent_angle(half:bind { theta = 2 }))
    assert.equal(15, sent_angle(half:bind { theta = 5 }))
    assert.equal(6, sent_angle(c:bind({ theta = 2 }):bind { phi = 3 }))
    assert.matches("rx(theta*3.0) q[0];", half:to_qasm { lowered = false }, 1, true)
  end)

  it("gives circuits that can be changed", function()
    local c = circuit.new(1):rx(theta, 0)
    local bound = c:bind { theta = 1 }
    bound:rx(phi, 0)
    assert.same({ "phi" }, bound:parameters())
    assert.same({ rx = 2 }, bound:count_ops())
    assert.truthy(bound:bind({ phi = 2 }):lowered())
    assert.equal(1, c:size())
  end)

  it("raises for names and values that are none", function()
    local c = circuit.new(1):rx(theta, 0)
    for message, values in pairs {
      ['bind: got a value for "phi", expected parameters of the circuit: theta'] = { phi = 1 },
      ["bind: got a value for 1, expected parameters of the circuit: theta"] = { 1 },
      ['bind: theta: got "1", expected a finite number'] = { theta = "1" },
      ["bind: theta: got inf, expected a finite number"] = { theta = math.huge },
    } do
      local ok, err = pcall(c.bind, c, values)
      assert.is_false(ok)
      assert.matches(message, err, 1, true)
    end
    assert.is_false(pcall(c.bind, c))
    local bound = c:bind { theta = 1 }
    local ok, err = pcall(bound.bind, bound, { theta = 1 })
    assert.is_false(ok)
    assert.matches("nothing is left to bind", err, 1, true)
  end)

  it("takes booleans for inputs of that type only", function()
    local c = assert(circuit.from_qasm "OPENQASM 3.0; input bool on; input float t; qubit q; if (on) rx(t) q;")
    assert.near(0.3, sent_angle(assert(c:bind { on = true, t = 0.3 })), 1e-12)
    assert.has_error(function() c:bind { on = true, t = true } end)
    assert.has_error(function() circuit.new(1):rx(theta, 0):bind { theta = true } end)
  end)

  it("lets an input's bits decide what happens", function()
    for input, values in pairs { ["bit[3]"] = { 2, 5 }, ["uint[8]"] = { 130, 1 }, ["int"] = { 2, 4 } } do
      local text = ("OPENQASM 3.0; input %s n; qubit q; if (n[1] == 1) rx(1.5) q;"):format(input)
      local c = assert(circuit.from_qasm(text))
      assert.near(1.5, sent_angle(assert(c:bind { n = values[1] })), 1e-12)
      assert.is_nil(sent_angle(assert(c:bind { n = values[2] })))
    end
  end)

  it("lets an input decide how often a loop runs", function()
    local c = assert(circuit.from_qasm [[
      OPENQASM 3.0; include "stdgates.inc"; input int n; input float x; qubit[4] q;
      for int i in [0:n-1] { rx(x) q[i]; } ]])
    assert.same({ "n", "x" }, c:parameters())
    assert.matches("input n is not bound", tostring(c), 1, true)
    local lowered, err = c:lowered()
    assert.is_nil(lowered)
    assert.equal("invalid_circuit", err.kind)
    assert.is_false(pcall(c.depth, c))
    local three = assert(c:bind { n = 3 })
    assert.same({ "x" }, three:parameters())
    assert.equal(3, three:bind({ x = 0.5 }):size())
    assert.equal(2, c:bind({ x = 0.5 }):bind({ n = 2 }):size())
    local none, why = c:bind { n = 5 }
    assert.is_nil(none)
    assert.equal("invalid_circuit", why.kind)
    assert.is_nil((c:bind { n = 1.5 }))
  end)
end)

describe("a circuit with open parameters", function()
  it("is refused before anything is sent, with their names", function()
    local lowered, err = circuit.new(1):rx(theta + phi, 0):lowered()
    assert.is_nil(lowered)
    assert.equal("invalid_circuit", err.kind)
    assert.matches("theta, phi", err.message, 1, true)
  end)

  it("is refused when a value makes an angle infinite", function()
    local lowered, err = circuit.new(1):rx(1 / theta, 0):bind({ theta = 0 }):lowered()
    assert.is_nil(lowered)
    assert.equal("invalid_circuit", err.kind)
  end)
end)

describe("a sweep", function()
  local function build(values)
    local c = circuit.new(10)
    for i = 1, 1000 do
      if i % 10 == 0 then
        local name = "t" .. i
        local angle = values and values[name] or circuit.parameter(name)
        c:rz(angle / 2 + 0.1, i // 10 % 10)
      else
        c:h(i % 10)
      end
    end
    return c
  end

  local values = {}
  for i = 10, 1000, 10 do values["t" .. i] = i * 0.013 end

  it("gives the text that a circuit of numbers gives", function()
    local c = build()
    c:bind(values):lowered()
    assert.equal(build(values):lowered().qasm, c:bind(values):lowered().qasm)
  end)

  it("goes through gates that multiply what they are given", function()
    local parts = { "OPENQASM 3.0; input float t; qubit q; gate g0(a) b { rx(a + a) b; }" }
    for i = 1, 40 do parts[#parts + 1] = ("gate g%d(a) b { g%d(a + a * a) b; }"):format(i, i - 1) end
    local c = assert(circuit.from_qasm(table.concat(parts) .. "g40(t) q;"))
    for _, value in ipairs { 0.001, -0.25 } do
      local expected = value
      for _ = 1, 40 do expected = expected + expected * expected end
      assert.near(2 * expected, sent_angle(assert(c:bind { t = value })), 1e-9)
    end
  end)

  it("fills numbers in and lowers nothing again, which takes a part of the time", function()
    local function best_of(fn)
      local best = math.huge
      for _ = 1, 20 do
        local start = os.clock()
        fn()
        best = math.min(best, os.clock() - start)
      end
      return best
    end
    local c = build()
    local swept = best_of(function() assert(c:bind(values):lowered().qasm) end)
    local lowered = best_of(function() assert(build(values):lowered().qasm) end)
    assert.is_true(swept < lowered / 2, ("%g ms, %g ms"):format(swept * 1000, lowered * 1000))
  end)
end)
