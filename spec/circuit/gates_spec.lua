-- Every gate of the library under modifiers, as it is written for the service: its matrix over all wires, up to one
-- factor, against closed forms. A phase that a control makes visible is therefore seen.
-- SPDX-License-Identifier: Apache-2.0
local inside = require "spec.support.inside"
local forms = require "spec.support.forms"
local quantum = require "spec.support.quantum"

local form = inside "arvak.circuit.form"
local library = inside "arvak.circuit.library"
local lower = inside "arvak.circuit.lower"

local EXACT = 1e-8
local ANGLES = { 1.3, -0.4, 2.9, 0.77 }
local WIDE = 5   -- wires of a matrix that is compared

local names = {}
for name in pairs(library) do names[#names + 1] = name end
table.sort(names)

local function circuit_of(gate, version, spare, angles)
  local made, op = form.new(version), { gate }
  form.declare_qubits(made, "q", gate.qubits + spare)
  for i = 1, gate.params do op[#op + 1] = (angles or ANGLES)[i] end
  for i = 0, gate.qubits - 1 do op[#op + 1] = i end
  form.add(made.block, op)
  return made
end

local function described(name, modifiers)
  local parts = {}
  for i, modifier in ipairs(modifiers) do parts[i] = modifier[1] .. "(" .. (modifier[2] or "") .. ")" end
  return table.concat(parts, " @ ") .. " @ " .. name
end

-- Compares a modified gate with its matrix. Whether there was something to compare.
local function compare(name, modifiers, version, spare, angles)
  local base = assert(form.gate(name))
  local gate = #modifiers > 0 and form.modify(base, modifiers) or base
  if gate.qubits == 0 or gate.qubits + spare > WIDE then return false end
  local lowered = lower.lower(circuit_of(gate, version, spare, angles))
  if not lowered then return false end
  local matrix = forms.matrix(gate, { table.unpack(angles or ANGLES, 1, gate.params) }, version)
  local distance = forms.distance(lowered.qasm, matrix)
  assert.is_true(distance < EXACT, ("%s in version %d with %d more wires: %g off\n%s")
    :format(described(name, modifiers), version, spare, distance, lowered.qasm))
  return true
end

local ALL = {
  { "inv" }, { "ctrl", 1 }, { "negctrl", 1 }, { "ctrl", 2 }, { "pow", 2 }, { "pow", -3 }, { "pow", 0 }, { "pow", 0.5 },
  { "pow", -1 / 3 }, { "pow", 0.7 },
}

describe("a gate of the library", function()
  -- Version 2 differs in u2 and u3; a few others stand for the rest.
  for version, list in pairs { [2] = { "u2", "u3", "cu3", "cu", "rz", "cx", "sx" }, [3] = names } do
    it("has its matrix in version " .. version .. ", alone and under each modifier", function()
      local compared = 0
      for _, name in ipairs(list) do
        if compare(name, {}, version, 0) then compared = compared + 1 end
        for _, modifier in ipairs(ALL) do
          if compare(name, { modifier }, version, 0) then compared = compared + 1 end
        end
      end
      assert.is_true(compared > 9 * #list, compared)
    end)
  end

  it("has its matrix under two and three modifiers", function()
    local compared, pick = 0, 1
    for _, name in ipairs(names) do
      for _ = 1, 8 do
        local modifiers = {}
        for i = 1, 2 + pick % 2 do
          pick = (pick * 1103515245 + 12345) % 2147483648
          modifiers[i] = ALL[(pick >> 16) % #ALL + 1]
        end
        if compare(name, modifiers, 2 + (pick >> 21 & 1), pick >> 20 & 1) then compared = compared + 1 end
      end
    end
    assert.is_true(compared > 100, compared)
  end)

  it("has its root also where an angle is beyond a turn or at the edge of the principal phases", function()
    for _, angle in ipairs { math.pi, -math.pi, 2 * math.pi, -2 * math.pi, 3 * math.pi, 7.5, 100 } do
      for _, name in ipairs { "p", "rx", "ry", "rz", "r", "u3", "cp", "crz" } do
        local angles = { angle, 0.3, -0.3 }
        assert.is_true(compare(name, { { "ctrl", 1 }, { "pow", 0.5 } }, 3, 0, angles))
        assert.is_true(compare(name, { { "pow", 1 / 3 }, { "inv" }, { "ctrl", 1 } }, 3, 0, angles))
      end
    end
  end)

  it("has two-qubit gates no more than the textbook", function()
    local most = { cry = 1, crx = 1, cu3 = 2, cu = 2, rxx = 2, ryy = 2, rzz = 2, rzx = 2, ecr = 1, csx = 1, dcx = 2,
      swap = 1, iswap = 1, cs = 1, ccz = 1, rccx = 3 }
    for name, count in pairs(most) do
      local qasm, written = lower.lower(circuit_of(form.gate(name), 2, 0)).qasm, 0
      for _ in qasm:gmatch "\n[^\n]*q%[%d+%],q%[%d+%]" do written = written + 1 end
      assert.is_true(written <= count, name .. " takes " .. written)
    end
  end)

  it("is refused by name where a power of it is not known", function()
    for _, name in ipairs { "iswap", "ecr", "rccx", "rzz", "dcx" } do
      local gate = form.modify(form.gate(name), { { "pow", 0.5 } })
      local lowered, err = lower.lower(circuit_of(gate, 3, 0))
      assert.is_nil(lowered)
      assert.equal("invalid_circuit", err.kind)
      assert.matches("^pow of " .. name .. ": expected a whole number", err.message)
    end
  end)
end)

describe("many controls", function()
  it("are exact with no wire to borrow, with one, and with enough", function()
    for count = 3, 5 do
      for _, spare in ipairs { 0, 1, count - 2 } do
        if count + 1 + spare <= 6 then
          for _, name in ipairs { "x", "rz", "u3" } do
            local gate = form.modify(form.gate(name), { { "ctrl", count - 1 }, { "negctrl", 1 } })
            local matrix = forms.matrix(gate, { table.unpack(ANGLES, 1, gate.params) }, 3)
            local qasm = lower.lower(circuit_of(gate, 3, spare)).qasm
            assert.is_true(forms.distance(qasm, matrix) < EXACT, name .. " " .. count .. " " .. spare)
          end
        end
      end
    end
  end)

  it("take fewer than 60 operations for each of 18", function()
    local gate = form.modify(form.gate "z", { { "ctrl", 18 } })
    assert.is_true(lower.lower(circuit_of(gate, 3, 0)).gate_count < 18 * 200)
    assert.is_true(lower.lower(circuit_of(gate, 3, 1)).gate_count < 18 * 60)
  end)
end)

-- A gate of the program's own: operations over its qubits, with angles over its parameters.
local function define(params, qubits, ...)
  local body, arguments = form.block(), {}
  for _, op in ipairs { ... } do form.add(body, op) end
  for i = 1, params do arguments[i] = "a" .. i end
  return form.define("own", arguments, qubits, body)
end

describe("a gate of the program's own", function()
  local a, b = { "param", 1 }, { "param", 2 }
  local one = define(2, 1, { form.gate "h", 0 }, { form.gate "gphase", a }, { form.gate "rz", { "+", a, b }, 0 },
    { form.BARRIER }, { form.gate "u2", b, { "/", a, 2 }, 0 })
  local two = define(2, 2, { one, a, { "neg", b }, 1 }, { form.gate "cx", 1, 0 }, { form.modify(one, { { "ctrl", 1 } }),
    b, a, 0, 1 }, { form.modify(form.gate "gphase", { { "ctrl", 1 } }), b, 0 })

  local function compare_own(gate, modifiers)
    local modified = #modifiers > 0 and form.modify(gate, modifiers) or gate
    local angles = { 0.8, -1.9 }
    local lowered = assert(lower.lower(circuit_of(modified, 3, 0, angles)))
    local distance = forms.distance(lowered.qasm, forms.matrix(modified, angles, 3))
    assert.is_true(distance < EXACT, described("own", modifiers) .. ": " .. distance)
  end

  it("has its matrix under modifiers, with the phases of its body", function()
    for _, modifiers in ipairs { {}, { { "inv" } }, { { "ctrl", 1 } }, { { "negctrl", 2 } }, { { "pow", 3 } },
      { { "pow", -2 } }, { { "inv" }, { "ctrl", 1 }, { "pow", 2 } }, { { "ctrl", 1 }, { "inv" }, { "negctrl", 1 } } } do
      compare_own(one, modifiers)
      compare_own(two, modifiers)
    end
  end)

  it("has roots when it is on one qubit, or one gate that has them", function()
    local half, third, quarter = { "pow", 0.5 }, { "pow", 1 / 3 }, { "pow", 0.25 }
    for _, modifiers in ipairs { { half }, { { "ctrl", 1 }, third }, { quarter, { "inv" } } } do
      compare_own(one, modifiers)
      compare_own(define(2, 2, { form.modify(one, { { "ctrl", 1 } }), a, b, 1, 0 }), modifiers)
    end
    local lowered, err = lower.lower(circuit_of(form.modify(two, { { "pow", 0.5 } }), 3, 0))
    assert.is_nil(lowered)
    assert.matches("^pow of own: expected a whole number", err.message)
  end)

  it("may reset a qubit, but not under modifiers", function()
    local gate = define(0, 1, { form.gate "h", 0 }, { form.RESET, 0 }, { form.gate "x", 0 })
    local made = circuit_of(gate, 3, 0)
    local lowered = assert(lower.lower(made))
    assert.equal(2, lowered.qubit_count)
    local under = lower.lower(circuit_of(form.modify(gate, { { "ctrl", 1 } }), 3, 0))
    assert.is_nil(under)
  end)

  it("is bounded in work, whether or not it comes to anything", function()
    local gate = define(0, 1, { form.gate "id", 0 })
    for _ = 1, 60 do gate = define(0, 1, { gate, 0 }, { gate, 0 }) end
    local lowered, err = lower.lower(circuit_of(gate, 3, 0), { max_operations = 10000 })
    assert.is_nil(lowered)
    assert.matches("more than 10000 operations", err.message)
    for _ = 1, 1000 do gate = define(0, 1, { gate, 0 }) end
    lowered, err = lower.lower(circuit_of(gate, 3, 0))
    assert.is_nil(lowered)
    assert.matches("nested", err.message)
  end)

  it("is refused when repeated without bound, and is 1 to the power of 0", function()
    local pair = define(0, 2, { form.gate "cx", 0, 1 }, { form.gate "h", 0 })
    local lowered, err = lower.lower(circuit_of(form.modify(pair, { { "pow", 1 << 40 } }), 3, 0))
    assert.is_nil(lowered)
    assert.matches("more than 1000000 operations", err.message)
    for _, exponent in ipairs { 1e300, 1 / 0, 0 / 0 } do
      lowered, err = lower.lower(circuit_of(form.modify(form.gate "x", { { "pow", exponent } }), 3, 0))
      assert.is_nil(lowered)
      assert.matches("expected a number between", err.message)
    end
    local none = assert(lower.lower(circuit_of(form.modify(pair, { { "pow", 0 } }), 3, 0)))
    assert.equal(0, none.gate_count)
    local many = assert(lower.lower(circuit_of(form.modify(form.gate "x", { { "pow", 1 << 40 } }), 3, 0)))
    assert.is_true(forms.distance(many.qasm, quantum.identity(2)) < EXACT)
  end)
end)
