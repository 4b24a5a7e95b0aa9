-- Circuits made of circuits, against matrices and against distributions that are computed by branching.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local forms = require "spec.support.forms"
local inside = require "spec.support.inside"
local quantum = require "spec.support.quantum"

-- The same library without the C module: its circuits show their forms.
local plain = inside "arvak.circuit"
local object = inside "arvak.circuit.object"
local library = inside "arvak.circuit.library"

local NEAR = 1e-9

-- The matrix of a circuit of gates; its qubit 0 is the first operand.
local function matrix_of(c)
  local known = object.form_of(c)
  local count = known.qubit_count
  local block = { n = known.block.n, at = {}, table.unpack(known.block, 1, known.block.n) }
  return forms.matrix({ name = "all", params = 0, qubits = count, body = block }, {}, known.version)
end

local function assert_near(expected, actual, message)
  local distance = quantum.distance(expected, actual)
  assert.is_true(distance < NEAR, ("%s: %g"):format(message or "distance", distance))
end

local names = {}
for name in pairs(library) do names[#names + 1] = name end
table.sort(names)

-- A circuit of random gates, every one of the library at some time.
local function random_circuit(random, qubits, size)
  local c = plain.new(qubits)
  while c:size() < size do
    local name = names[random(#names)]
    local params, count = library[name][1], library[name][2]
    if count <= qubits then
      local free, arguments = {}, {}
      for q = 0, qubits - 1 do free[q + 1] = q end
      for i = 1, params do arguments[i] = (random() - 0.5) * 12 end
      for i = 1, count do arguments[params + i] = table.remove(free, random(#free)) end
      c[name](c, table.unpack(arguments))
    end
  end
  return c
end

local function seeded(seed)
  math.randomseed(seed)
  return math.random
end

describe("c:inverse", function()
  for _, name in ipairs(names) do
    local params, qubits = library[name][1], library[name][2]
    it("undoes " .. name, function()
      local arguments = {}
      for i = 1, params do arguments[i] = i * 0.7 - 1 end
      for i = 1, qubits do arguments[params + i] = i - 1 end
      local c = plain.new(math.max(qubits, 1))
      c[name](c, table.unpack(arguments))
      local all = plain.new(math.max(qubits, 1)):append(c):append(c:inverse())
      assert_near(quantum.identity(1 << math.max(qubits, 1)), matrix_of(all))
    end)
  end

  it("undoes random circuits, and twice it is the circuit", function()
    local random = seeded(1)
    for _ = 1, 20 do
      local c = random_circuit(random, 4, 12)
      local m = matrix_of(c)
      assert_near(quantum.adjoint(m), matrix_of(c:inverse()))
      assert_near(m, matrix_of(c:inverse():inverse()))
    end
  end)

  it("keeps parameters", function()
    local theta = plain.parameter "theta"
    local c = plain.new(1):rx(theta, 0):u(theta / 2, -theta, 0.3, 0)
    assert.same({ "theta" }, c:inverse():parameters())
    assert_near(quantum.adjoint(matrix_of(c:bind { theta = 0.4 })), matrix_of(c:inverse():bind { theta = 0.4 }))
  end)

  it("raises for what cannot be undone", function()
    local cases = {
      ["a measurement"] = function(c) c:measure(0, 0) end, ["a reset"] = function(c) c:reset(0) end,
      ["a condition"] = function(c) c:when(0, 1, function(body) body:x(0) end) end,
    }
    for word, add in pairs(cases) do
      for _, method in ipairs { "inverse", "controlled", "power" } do
        local c = circuit.new(1):h(0):barrier()
        add(c)
        local ok, err = pcall(c[method], c, 2 and method ~= "inverse" and 2 or nil)
        assert.is_false(ok)
        assert.matches(("%s: operation 3 is %s, expected gates and barriers alone"):format(method, word), err, 1, true)
      end
    end
  end)
end)

describe("c:controlled", function()
  for _, name in ipairs(names) do
    local params, qubits = library[name][1], library[name][2]
    if qubits <= 3 then
      it("controls " .. name .. ", with its phase", function()
        local arguments = {}
        for i = 1, params do arguments[i] = i * 0.7 - 1 end
        for i = 1, qubits do arguments[params + i] = i - 1 end
        local c = plain.new(math.max(qubits, 1))
        c[name](c, table.unpack(arguments))
        for count = 1, 2 do
          local expected = matrix_of(c)
          for _ = 1, count do expected = quantum.controlled(expected, 1) end
          assert_near(expected, matrix_of(c:controlled(count)))
        end
      end)
    end
  end

  it("controls random circuits", function()
    local random = seeded(2)
    for _ = 1, 10 do
      local c = random_circuit(random, 3, 8)
      assert_near(quantum.controlled(matrix_of(c), 1), matrix_of(c:controlled()))
    end
  end)

  it("puts its qubits before the others, in a register of their own", function()
    local c = circuit.new { qubits = { { "control", 1 } } }
    local source = c:x(0):controlled(2):to_qasm { lowered = false }
    assert.matches("qubit[2] control_1;\nqubit[1] control;", source, 1, true)
    assert.matches("ccx control_1[0], control_1[1], control[0];", source, 1, true)
  end)

  it("raises for counts that are none", function()
    assert.has_error(function() circuit.new(1):controlled(0) end)
    assert.has_error(function() circuit.new(1):controlled(1.5) end)
  end)
end)

describe("c:power", function()
  it("is the circuit so often for integers, and its inverse below 0", function()
    local random = seeded(3)
    local c = random_circuit(random, 3, 6)
    local m = matrix_of(c)
    for exponent = -3, 3 do assert_near(quantum.whole_power(m, exponent), matrix_of(c:power(exponent))) end
    assert_near(quantum.product(m, m), matrix_of(c:power(2.0)))
  end)

  it("is the principal root of one gate, which so often is the gate", function()
    for _, name in ipairs { "x", "y", "z", "h", "s", "t", "sx", "cx", "cz", "ch", "swap", "ccx", "cswap" } do
      local arguments = {}
      for i = 1, library[name][2] do arguments[i] = i - 1 end
      local c = plain.new(3)
      c[name](c, table.unpack(arguments))
      local root = matrix_of(c:power(1 / 3))
      assert_near(matrix_of(c), quantum.whole_power(root, 3), name)
    end
  end)

  it("raises for roots of several gates, for what is no number, and for more than a million operations", function()
    local c = circuit.new(1):h(0):x(0)
    assert.has_error(function() c:power(0.5) end)
    assert.has_error(function() c:power(0 / 0) end)
    assert.has_error(function() c:power(1 / 0) end)
    assert.has_error(function() c:power("2") end)
    assert.has_error(function() c:power(500001) end)
    assert.has_error(function() c:power(math.maxinteger) end)
    assert.equal(0, circuit.new(1):power(math.maxinteger):size())
    assert.has_error(function() c:power(math.mininteger) end)
  end)
end)

describe("c:repeated", function()
  it("is the circuit so often, with measurements and conditions", function()
    local c = plain.new(2):ry(0.7, 0):measure(0, 0):when(0, 1, function(body) body:ry(0.4, 1) end):reset(0)
    local by_hand = plain.new(2)
    for _ = 1, 3 do by_hand:append(c) end
    by_hand:measure(1, 1)
    local expected = forms.distribution(object.form_of(by_hand))
    local actual = forms.distribution(object.form_of(c:repeated(3):measure(1, 1)))
    assert.is_true(forms.variation(expected, actual) < NEAR)
    assert.equal(0, c:repeated(0):size())
  end)

  it("gives the variables of a program that was read to each repetition anew", function()
    local c = assert(plain.from_qasm [[
      OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c;
      ry(0.8) q[0]; bool b = measure q[0]; if (b) { ry(0.5) q[1]; } c[1] = measure q[1]; ]])
    local text = c:repeated(2):to_qasm { lowered = false }
    local read = assert(plain.from_qasm(text))
    assert.is_true(forms.variation(forms.distribution(object.form_of(c:repeated(2))),
      forms.distribution(object.form_of(read))) < NEAR)
    assert.truthy(c:repeated(2):lowered())
  end)

  it("raises for more than a million operations", function()
    assert.has_error(function() circuit.new(1):h(0):h(0):repeated(500001) end)
    assert.has_error(function() circuit.new(1):repeated(-1) end)
  end)
end)

describe("c:append", function()
  it("puts qubits and bits where its lists say", function()
    local other = circuit.new(2):cx(0, 1):measure(1, 0):barrier()
    other:when("c", 2, function(body) body:x(0) end)
    local c = circuit.new { qubits = 4, bits = { { "a", 1 }, { "b", 3 } } }
    local source = c:append(other, { 3, 1 }, { 2, 0 }):to_qasm { lowered = false }
    assert.matches("cx q[3], q[1];\nb[1] = measure q[1];\nbarrier q[3], q[1];\n", source, 1, true)
    -- A register that is torn apart is put together again from its bits.
    local expected = { [0] = "0", "1" }
    for value = 0, 1 do
      local p = plain.new { qubits = 4, bits = { { "a", 1 }, { "b", 3 } } }
      local o = plain.new(2):x(1):measure(1, 1)
      o:when("c", 2, function(body) body:x(0) end):measure(0, 0)
      if value == 0 then o = plain.new(2):measure(1, 1):when("c", 2, function(body) body:x(0) end):measure(0, 0) end
      local distribution = forms.distribution(object.form_of(p:append(o, { 3, 1 }, { 2, 0 })))
      local key = expected[value] == "1" and "0101" or "0000"
      assert.is_true(math.abs((distribution[key] or 0) - 1) < NEAR)
    end
  end)

  it("needs no bits for those that the other circuit does not use", function()
    local c = circuit.new { qubits = 2, bits = 0 }
    assert.equal(1, c:append(circuit.new(2):h(1)):size())
  end)

  it("appends a circuit to itself", function()
    local c = circuit.new(1):h(0):x(0)
    assert.same({ h = 2, x = 2 }, c:append(c):count_ops())
  end)

  it("has a bound, so that appending in a loop cannot eat the machine", function()
    local c = circuit.new(1):h(0)
    local ok, err = pcall(function()
      for _ = 1, 30 do c:append(c) end
    end)
    assert.is_false(ok)
    assert.matches("expected at most 1000000 in all", err, 1, true)
  end)

  it("keeps the meaning of a gate whose phase differs between the versions of the language", function()
    local old = assert(plain.from_qasm "qreg q[1]; u3(0.3,0.5,0.7) q[0]; u2(1,2) q[0];")
    local expected = matrix_of(old)
    assert_near(expected, matrix_of(plain.new(1):append(old)))
    local new = plain.new(1):u2(0.4, 0.9, 0)
    local both = quantum.product(matrix_of(new), expected)
    assert_near(both, matrix_of(old:append(new)))
  end)

  it("says what does not fit", function()
    local c, other = circuit.new(2), circuit.new(3):h(2)
    for message, fn in pairs {
      ["append: got nil, expected a circuit"] = function() c:append() end,
      ["append: qubits: got none for a circuit that uses 3, expected a list, since this one has 2"] =
        function() c:append(other) end,
      ["append: qubits: got 2, expected 3: one for each qubit"] = function() c:append(other, { 0, 1 }) end,
      ["append: qubits[3]: got 2, expected an integer from 0 to 1"] = function() c:append(other, { 0, 1, 2 }) end,
      ["append: qubits[3]: got 1 for the second time"] = function() c:append(other, { 0, 1, 1 }) end,
    } do
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.matches(message, err, 1, true)
    end
    assert.equal(0, c:size())
  end)
end)
