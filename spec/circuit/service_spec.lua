-- What is written, on the service's side: the dev server reads it, and computes what this suite computes of it.
-- SPDX-License-Identifier: Apache-2.0
local circuit = require "arvak.circuit"
local devserver = require "arvak.devserver"
local inside = require "spec.support.inside"
local forms = require "spec.support.forms"
local random_forms = require "spec.support.random_forms"

local form = inside "arvak.circuit.form"
local library = inside "arvak.circuit.library"
local lower = inside "arvak.circuit.lower"
local reading = inside "arvak.circuit.reading"

local EXACT = 1e-6

local names = {}
for name in pairs(library) do names[#names + 1] = name end
table.sort(names)

-- Both distributions of a text, over its wires.
local function compare(qasm)
  local exact = assert(devserver._probabilities(qasm))
  local distance = forms.variation(forms.written(qasm), exact)
  assert.is_true(distance < EXACT, distance .. " off\n" .. qasm)
end

describe("the service", function()
  it("takes every gate of the library as it is written, between gates that make its matrix visible", function()
    for _, name in ipairs(names) do
      local gate, made = form.gate(name), form.new(2)
      if gate.qubits > 0 then
        form.declare_qubits(made, "q", gate.qubits)
        for q = 0, gate.qubits - 1 do form.add(made.block, { form.gate "u3", 0.9 + q, 0.4, 1.7 - q, q }) end
        local op = { gate }
        for i = 1, gate.params do op[i + 1] = ({ 1.3, -0.4, 2.9, 0.77 })[i] end
        for q = 0, gate.qubits - 1 do op[#op + 1] = q end
        form.add(made.block, op)
        for q = 0, gate.qubits - 1 do form.add(made.block, { form.gate "u3", 1.1, 0.2 - q, 0.5, q }) end
        local lowered = assert(lower.lower(made))
        compare(lowered.qasm)
        assert.is_true(forms.variation(forms.distribution(made), devserver._probabilities(lowered.qasm)) < EXACT, name)
      end
    end
  end)

  it("reads each number as the number that was written", function()
    for _, angle in ipairs { 0, -0.0, 1, -1, 3, 1e-300, -1e-7, 5e-324, 1e17, 123456789012345678, 0.1, 1 / 3, -2.5e-5,
      math.pi, 1e5, math.maxinteger, math.mininteger } do
      local made = form.new(3)
      form.declare_qubits(made, "q", 1)
      form.add(made.block, { form.gate "h", 0 })
      form.add(made.block, { form.gate "rz", angle, 0 })
      form.add(made.block, { form.gate "h", 0 })
      compare(assert(lower.lower(made)).qasm)
    end
  end)

  it("takes resets and barriers, and a circuit without qubits", function()
    local list = {}
    for _ = 1, 4 do
      list[#list + 1] = { form.gate "ry", 0.9, 0 }
      list[#list + 1] = { form.gate "cx", 0, 1 }
      list[#list + 1] = { form.BARRIER }
      list[#list + 1] = { form.RESET, 0 }
    end
    local made = form.new(3)
    form.declare_qubits(made, "q", 2)
    for _, op in ipairs(list) do form.add(made.block, op) end
    local lowered = assert(lower.lower(made, { qubits = 3 }))
    assert.matches("\nreset q", lowered.qasm)
    compare(lowered.qasm)
    compare(assert(lower.lower(form.new(3))).qasm)
  end)

  it("runs random circuits as branching does", function()
    local make = random_forms.maker(form)
    for seed = 1, 60 do
      local made = make(seed, { qubits = 4, bits = 4, operations = 20 })
      local lowered = lower.lower(made, { qubits = 12 })
      if lowered then
        local got = assert(reading.read(lowered.reading, assert(devserver._probabilities(lowered.qasm))))
        local distance = forms.variation(forms.distribution(made), got)
        assert.is_true(distance < EXACT, "seed " .. seed .. ": " .. distance)
      end
    end
  end)
end)

describe("a template", function()
  local theta, phi = { "name", "theta" }, { "name", "phi" }
  local function circuit_of(...)
    local made = form.new(3)
    form.declare_qubits(made, "q", 3)
    form.declare_bits(made, "c", 3)
    made.parameters = { "theta", "phi" }
    for _, op in ipairs { ... } do form.add(made.block, op) end
    return made
  end

  -- Fills a template, and compares with the circuit lowered with the numbers in their places.
  local function check(values, ...)
    local made = circuit_of(...)
    local template = assert(lower.template(made))
    local filled = assert(template:fill(values))
    local bound = circuit_of()
    bound.parameters = {}
    local parameters = inside "arvak.circuit.parameters"
    for i = 1, made.block.n do
      local op = {}
      for k, value in ipairs(made.block[i]) do
        op[k] = k > 1 and type(value) == "table" and parameters.substitute(value, values) or value
      end
      form.add(bound.block, op)
    end
    local lowered = assert(lower.lower(bound))
    assert.equal(lowered.gate_count, filled.gate_count)
    assert.same(lowered.reading, filled.reading)
    local distance = forms.variation(forms.written(lowered.qasm), forms.written(filled.qasm))
    assert.is_true(distance < 1e-9, distance .. "\n" .. filled.qasm)
    return filled
  end

  local function under(name, ...) return form.modify(form.gate(name), { ... }) end

  it("gives what lowering gives with the values in their places", function()
    local h0, h1, h2 = { form.gate "h", 0 }, { form.gate "h", 1 }, { form.gate "h", 2 }
    for _, values in ipairs { { theta = 0.3, phi = -2 }, { theta = 9.1, phi = 0 }, { theta = 0, phi = 1 } } do
      check(values, h0, { form.gate "rx", theta, 0 }, { form.gate "rzz", { "/", phi, 3 }, 0, 1 }, h1,
        { form.gate "u3", theta, { "neg", phi }, 0.5, 1 }, h2, { form.gate "cu", theta, 0.1, phi, theta, 1, 2 }, h1,
        { under("u3", { "ctrl", 2 }), theta, phi, { "+", theta, phi }, 0, 1, 2 }, h0,
        { under("rz", { "pow", 3 }, { "ctrl", 1 }), phi, 2, 1 }, h1, { form.gate "r", theta, phi, 2 }, h2)
    end
  end)

  it("is lowered for each value where that is needed", function()
    for _, values in ipairs { { theta = 0.3, phi = 7 }, { theta = -9, phi = 2 } } do
      check(values, { form.gate "h", 0 }, { under("p", { "pow", 0.5 }), phi, 0 }, { form.gate "h", 0 },
        { under("u3", { "ctrl", 1 }, { "pow", 2 }), theta, phi, 1, 0, 1 }, { form.gate "h", 0 })
    end
  end)

  it("refuses a value that no angle can have, and lets the others be", function()
    local template = assert(lower.template(circuit_of({ form.gate "rx", { "/", 1, theta }, 0 })))
    local filled, err = template:fill { theta = 0 }
    assert.is_nil(filled)
    assert.equal("invalid_circuit", err.kind)
    assert.matches("infinite", err.message)
    assert.truthy(template:fill { theta = 1 })
    assert.is_nil(template:fill { theta = 0 / 0 })
  end)
end)

describe("a circuit of more operations than servers take by default", function()
  it("says so in its notes, and a shorter one does not", function()
    local text = "OPENQASM 2.0;\nqreg q[1];\ncreg c[1];\n%smeasure q[0] -> c[0];\n"
    local longer = assert(circuit.from_qasm(text:format(("h q[0];\n"):rep(50000)))):lowered()
    assert.matches("50001 operations: servers with their defaults refuse more than 50000", longer.notes[1], 1, true)
    local shorter = assert(circuit.from_qasm(text:format(("h q[0];\n"):rep(40000)))):lowered()
    assert.equal(0, #shorter.notes)
  end)
end)
