-- Circuits that are built in Lua: what the methods add, what they refuse and where, and that what was given out stays.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local circuit = require "arvak.circuit"

-- The operations of a circuit, a line each, as its source has them behind the declarations.
local function lines_of(c)
  local lines, is_body = {}, false
  for line in c:to_qasm({ lowered = false }):gmatch("[^\n]+") do
    if is_body or not (line:find("^OPENQASM") or line:find("^include") or line:find("^%l+%[?%d*%]? [%w_]+;$")
      or line:find("^input") or line:find("^gate") or line:find("^  ") or line == "}") then
      is_body = true
      lines[#lines + 1] = line
    end
  end
  return lines
end

-- That a function of one line raises at that line, with this message.
local function assert_refused(message, fn)
  local line = debug.getinfo(fn, "S").linedefined
  local ok, err = pcall(fn)
  assert.is_false(ok)
  assert.equal(("spec/circuit/build_spec.lua:%d: %s"):format(line, message), (tostring(err):gsub("^%./", "")))
end

describe("circuit.new", function()
  it("makes registers q and c of one size from a number", function()
    local c = circuit.new(3)
    assert.equal(3, c:qubit_count())
    assert.equal(3, c:bit_count())
    assert.equal('OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[3] c;\n', c:to_qasm { lowered = false })
  end)

  it("makes registers by name, and as many bits as qubits where none are given", function()
    local c = circuit.new { qubits = { { "data", 2 }, { "anc", 1 } }, bits = { { "out", 2 }, { "flag", 1 } } }
    assert.same({ "x data[1];", "flag[0] = measure anc[0];" }, lines_of(c:x(1):measure(2, 2)))
    assert.equal(4, circuit.new({ qubits = 4 }):bit_count())
    assert.equal(0, circuit.new({ qubits = 4, bits = 0 }):bit_count())
  end)

  it("says what is wrong with its registers", function()
    assert_refused("circuit.new: got 0, expected an integer from 1 to 1000000", function() circuit.new(0) end)
    assert_refused("circuit.new: got nil, expected an integer from 1 to 1000000", function() circuit.new() end)
    assert_refused("qubits: got nil, expected an integer from 1 to 1000000", function() circuit.new {} end)
    assert_refused("qubits[1][2]: got 1.5, expected an integer from 1 to 1000000",
      function() circuit.new { qubits = { { "q", 1.5 } } } end)
    assert_refused('qubits[1][1]: got "gate", expected a name of OpenQASM that is none of its own words',
      function() circuit.new { qubits = { { "gate", 1 } } } end)
    assert_refused('bits[1][1]: got "q" for the second time',
      function() circuit.new { qubits = 2, bits = { { "q", 2 } } } end)
    assert_refused('circuit.new: unknown option "qbits", expected one of bits, qubits',
      function() circuit.new { qbits = 2 } end)
    assert_refused("qubits in all: got 1000001, expected an integer from 1 to 1000000",
      function() circuit.new { qubits = { { "a", 1000000 }, { "b", 1 } }, bits = 0 } end)
  end)
end)

describe("a method that adds a gate", function()
  it("gives its circuit back, so that calls chain", function()
    local c = circuit.new(3)
    assert.equal(c, c:h(0))
    assert.equal(c, c:barrier())
    assert.equal(c, c:measure_all())
    assert.equal(c, c:when("c", 1, function(body) body:x(0) end))
    assert.equal(c, c:append(circuit.new(1):x(0)))
  end)

  it("exists for each gate of the library, with its angles before its qubits", function()
    local library = assert(loadfile "lua/arvak/circuit/library.lua")()
    for name, shape in pairs(library) do
      local arguments, angles, qubits = {}, {}, {}
      for i = 1, shape[1] do angles[i] = i / 8 end
      for i = 1, shape[2] do qubits[i] = i - 1 end
      table.move(angles, 1, #angles, 1, arguments)
      table.move(qubits, 1, #qubits, #arguments + 1, arguments)
      local c = circuit.new(5)
      c[name](c, table.unpack(arguments))
      assert.same({ [name] = 1 }, c:count_ops())
      assert.equal(c:to_qasm { lowered = false },
        circuit.new(5):gate(name, angles, table.unpack(qubits)):to_qasm { lowered = false })
    end
  end)

  it("takes floats that are integers as qubits", function()
    assert.same({ "cx q[0], q[1];" }, lines_of(circuit.new(2):cx(0.0, 1.0)))
  end)

  it("raises at the line of its caller, and names what is wrong", function()
    local c = circuit.new(3)
    assert_refused("h: qubit: got 3, expected an integer from 0 to 2", function() c:h(3) end)
    assert_refused("h: qubit: got -1, expected an integer from 0 to 2", function() c:h(-1) end)
    assert_refused("h: qubit: got 0.5, expected an integer from 0 to 2", function() c:h(0.5) end)
    assert_refused('h: qubit: got "0", expected an integer from 0 to 2', function() c:h("0") end)
    assert_refused("h: got 0 arguments, expected 1: 1 qubit", function() c:h() end)
    assert_refused("cx: got 3 arguments, expected 2: 2 qubits", function() c:cx(0, 1, 2) end)
    assert_refused("u: got 2 arguments, expected 4: 3 angles, then 1 qubit", function() c:u(0.5, 0) end)
    assert_refused("cx: qubit 2: got 1 for the second time, expected different qubits", function() c:cx(1, 1) end)
    assert_refused("ccx: qubit 3: got 1 for the second time, expected different qubits",
      function() c:ccx(0, 1, 1.0) end)
    assert_refused('rz: angle: got "a", expected a finite number or a parameter', function() c:rz("a", 0) end)
    assert_refused("u: angle 2: got inf, expected a finite number or a parameter",
      function() c:u(0, math.huge, 0, 0) end)
    assert_refused('gate: got "hadamard" as the name, expected a gate of the library, such as "cx"',
      function() c:gate("hadamard", {}, 0) end)
    assert_refused("gate: angles: got 0, expected 1 for rz", function() c:gate("rz", {}, 0) end)
    assert_refused("gate: got 2 qubits, expected 1 for rz", function() c:gate("rz", { 1 }, 0, 1) end)
    assert_refused("h: got a table as the circuit, expected circuit:h(...)", function() c.h({}, 1) end)
    assert.equal(0, c:size())   -- nothing of all that is there
  end)
end)

describe("measuring, resetting and barriers", function()
  it("stand in the circuit as they were written", function()
    local c = circuit.new(2):measure(0, 1):reset(1, 0):barrier():barrier(1):measure_all()
    assert.same({
      "c[1] = measure q[0];", "reset q[1];", "reset q[0];", "barrier;", "barrier q[1];", "c[0] = measure q[0];",
      "c[1] = measure q[1];",
    }, lines_of(c))
  end)

  it("refuse what is not there", function()
    local c = circuit.new { qubits = 2, bits = 1 }
    assert_refused("measure: bit: got 1, expected an integer from 0 to 0", function() c:measure(0, 1) end)
    assert_refused("measure: bit: got nil, expected an integer from 0 to 0", function() c:measure(0) end)
    assert_refused("measure: got 2 as argument 3, expected at most 2 (qubit, bit)", function() c:measure(0, 0, 2) end)
    assert_refused("measure: bit: got 0, but the circuit has none",
      function() circuit.new({ qubits = 1, bits = 0 }):measure(0, 0) end)
    assert_refused("measure_all: the circuit has 2 qubits and 1 bit, expected a bit for each qubit",
      function() c:measure_all() end)
    assert_refused("reset: got no argument, expected at least 1 qubit", function() c:reset() end)
    assert_refused("barrier: qubit 2: got 0 for the second time, expected different qubits",
      function() c:barrier(0, 0) end)
    assert.equal(0, c:size())
  end)
end)

describe("c:when", function()
  it("puts what its function adds under the condition", function()
    local c = circuit.new(2):measure(0, 0)
    c:when("c", 3, function(body) body:x(1):when(0, 1, function(inner) inner:h(0) end) end)
    assert.same({
      "c[0] = measure q[0];", "if (c == 3) {", "  x q[1];", "  if (c[0] == 1) {", "    h q[0];", "  }", "}",
    }, lines_of(c))
  end)

  it("adds nothing where its function adds nothing", function()
    assert.equal(0, #lines_of(circuit.new(1):when("c", 1, function() end)))
  end)

  it("refuses registers, bits and values that are not there", function()
    local c = circuit.new(2)
    assert_refused('when: got "d", expected a register of bits (c) or the number of a bit',
      function() c:when("d", 1, print) end)
    assert_refused("when: bit: got 2, expected an integer from 0 to 1", function() c:when(2, 1, print) end)
    assert_refused("when: value: got 4, expected an integer from 0 to 3", function() c:when("c", 4, print) end)
    assert_refused("when: value: got true, expected an integer from 0 to 1", function() c:when(0, true, print) end)
    assert_refused("when: body: got nil, expected a function", function() c:when(0, 1) end)
  end)

  it("refuses changes of the circuit outside, and the use of its argument afterwards", function()
    local c, kept = circuit.new(2), nil
    assert_refused("when: the function changed the circuit outside, expected changes of the one that it is given",
      function() c:when(0, 1, function() c:x(0) end) end)
    c:when(0, 1, function(body) kept = body:x(0) end)
    assert_refused("circuit: the function that this circuit was given to has returned, expected its use within",
      function() kept:x(0) end)
  end)

  it("adds nothing when its function raises, and raises the same error", function()
    local c, err = circuit.new(1), {}
    local ok, raised = pcall(c.when, c, 0, 1, function(body)
      body:x(0)
      error(err)
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal(0, c:size())
  end)

  it("lets its function wait", function()
    local c = circuit.new(1)
    arvak.run(function()
      c:when(0, 1, function(body)
        arvak.sleep(0.001)
        body:x(0)
      end)
    end)
    assert.equal(1, c:size())
  end)
end)

describe("what a circuit was", function()
  it("stays in what was made of it, when the builder goes on", function()
    local c = circuit.new(2):h(0)
    local lowered, source, bound = c:lowered(), c:to_qasm { lowered = false }, c:bind {}
    local twice, other = c:repeated(2), circuit.new(2):append(c)
    c:cx(0, 1)
    assert.equal("h q[0];", lowered.qasm:match("h q%[0%];"))
    assert.is_nil(lowered.qasm:find("cx", 1, true))
    for _, kept in ipairs { bound, other } do assert.equal(source, kept:to_qasm { lowered = false }) end
    assert.equal(2, twice:size())
    assert.truthy(c:lowered().qasm:find("cx", 1, true))
  end)

  it("is lowered once, and again only when it has changed", function()
    local c = circuit.new(1):h(0)
    local lowered = c:lowered()
    assert.equal(lowered, c:lowered())
    assert.not_equal(lowered, c:x(0):lowered())
  end)

  it("cannot be changed in what the service gets for it", function()
    local lowered = circuit.new(1):h(0):measure_all():lowered()
    local qasm = lowered.qasm
    assert_refused('lowered: got the field "qasm" to set, expected none: it does not change',
      function() lowered.qasm = "" end)
    assert.is_false(pcall(function() lowered.notes[1] = "" end))
    assert.equal(qasm, lowered.qasm)
    assert.equal(1, lowered.qubit_count)
  end)
end)

describe("the figures of a circuit", function()
  it("count operations, those under conditions too, but no conditions", function()
    local c = circuit.new(2):h(0):cx(0, 1):barrier():measure(0, 0):reset(0)
    c:when(0, 1, function(body) body:x(1):h(1) end)
    assert.equal(6, c:size())
    assert.same({ h = 2, cx = 1, barrier = 1, measure = 1, reset = 1, x = 1 }, c:count_ops())
  end)

  it("name gates with their modifiers", function()
    assert.same({ ["inv @ iswap"] = 1, ["ctrl @ iswap"] = 1 },
      circuit.new(3):append(circuit.new(2):iswap(0, 1):inverse())
        :append(circuit.new(2):iswap(0, 1):controlled()):count_ops())
  end)

  it("have a depth of the longest chain over qubits and bits, which barriers bind but do not lengthen", function()
    assert.equal(0, circuit.new(2):barrier():depth())
    assert.equal(1, circuit.new(2):h(0):h(1):depth())
    assert.equal(2, circuit.new(2):h(0):barrier():h(1):depth())
    assert.equal(2, circuit.new(2):h(0):cx(0, 1):depth())
    assert.equal(3, circuit.new(2):h(0):measure(0, 0):when(0, 1, function(body) body:x(1) end):depth())
  end)
end)
