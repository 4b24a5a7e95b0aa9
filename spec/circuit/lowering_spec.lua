-- Measurements, resets, conditions and values of bits as they are lowered: the distribution of what is written, read
-- back, against branching; and what may be seen of how it was written.
-- SPDX-License-Identifier: Apache-2.0
local inside = require "spec.support.inside"
local forms = require "spec.support.forms"
local random_forms = require "spec.support.random_forms"

local form = inside "arvak.circuit.form"
local lower = inside "arvak.circuit.lower"
local reading = inside "arvak.circuit.reading"

local EXACT = 1e-9
local H, X, CX, RX = form.gate "h", form.gate "x", form.gate "cx", form.gate "rx"

local function block_of(list)
  local block = form.block()
  for _, op in ipairs(list) do form.add(block, op) end
  return block
end

local function circuit_of(qubits, bits, list)
  local made = form.new(3)
  form.declare_qubits(made, "q", qubits)
  if bits > 0 then form.declare_bits(made, "c", bits) end
  for i, op in ipairs(list) do form.add(made.block, op, form.position(i, 1)) end
  return made
end

local function answer(lowered) return assert(reading.read(lowered.reading, forms.written(lowered.qasm))) end

-- Lowers and compares; what lowering gave.
local function check(made, options)
  local lowered = assert(lower.lower(made, options))
  local distance = forms.variation(forms.distribution(made), answer(lowered))
  assert.is_true(distance < EXACT, distance .. " off\n" .. lowered.qasm)
  return lowered
end

local function occurrences(lowered, pattern) return select(2, lowered.qasm:gsub("\n" .. pattern, "")) end

describe("a measurement", function()
  it("in the middle counts for what comes after it", function()
    local lowered = check(circuit_of(1, 2, { { H, 0 }, { form.MEASURE, 0, 0 }, { H, 0 }, { form.MEASURE, 0, 1 } }))
    assert.same({ ["00"] = 0.25, ["01"] = 0.25, ["10"] = 0.25, ["11"] = 0.25 },
      (function(all)
        for key, value in pairs(all) do all[key] = math.floor(value * 1e6 + 0.5) / 1e6 end
        return all
      end)(answer(lowered)))
    assert.equal(2, lowered.qubit_count)
  end)

  it("needs no copy where the qubit only controls, turns its phase or is measured again", function()
    local lowered = check(circuit_of(3, 3, {
      { H, 0 }, { form.MEASURE, 0, 0 }, { CX, 0, 1 }, { form.gate "rz", 0.3, 0 }, { form.gate "t", 0 },
      { form.gate "cp", 0.4, 0, 1 }, { form.gate "crz", 0.4, 1, 0 }, { form.gate "cz", 2, 0 },
      { form.gate "rzz", 0.2, 0, 2 }, { form.MEASURE, 0, 1 }, { form.gate "ccx", 0, 1, 2 }, { form.MEASURE, 2, 2 },
    }))
    assert.equal(3, lowered.qubit_count)
  end)

  it("happens even if nobody keeps what it gave", function()
    check(circuit_of(1, 1, { { H, 0 }, { form.MEASURE, 0, nil }, { H, 0 }, { form.MEASURE, 0, 0 } }))
    check(circuit_of(1, 1, { { H, 0 }, { form.MEASURE, 0, 0 }, { H, 0 }, { form.MEASURE, 0, 0 }, { H, 0 },
      { form.MEASURE, 0, 0 } }))
  end)

  it("follows its wire through a swap", function()
    local lowered = check(circuit_of(2, 2, { { H, 0 }, { form.MEASURE, 0, 0 }, { form.gate "swap", 0, 1 }, { H, 0 },
      { form.MEASURE, 0, 1 } }))
    assert.equal(2, lowered.qubit_count)
  end)

  it("that is not executed leaves the answer over the qubits", function()
    local body = block_of { { form.MEASURE, 1, 0 } }
    local made = circuit_of(2, 1, { { X, 1 }, { form.IF, { "==", { "bit", 0 }, 1 }, body } })
    assert.same({ ["10"] = 1.0 }, answer(check(made)))
    assert.same({ ["10"] = 1.0 }, answer(check(circuit_of(2, 0, { { X, 1 } }))))
  end)
end)

describe("a reset", function()
  it("moves the qubit to a new wire, without a gate", function()
    local lowered = check(circuit_of(2, 2, { { H, 0 }, { CX, 0, 1 }, { form.RESET, 0 }, { H, 0 },
      { form.MEASURE, 0, 0 }, { form.MEASURE, 1, 1 } }))
    assert.equal(3, lowered.qubit_count)
    assert.equal(0, occurrences(lowered, "reset"))
  end)

  it("takes no wire at the start, at the end, and twice in a row", function()
    local lowered = check(circuit_of(2, 2, { { form.RESET, 0 }, { H, 0 }, { form.MEASURE, 0, 0 }, { form.RESET, 0 },
      { form.RESET, 0 }, { form.MEASURE, 0, 1 } }))
    assert.equal(2, lowered.qubit_count)
  end)

  it("uses dropped wires again only when there are no more", function()
    local list = {}
    for round = 1, 6 do
      for _, op in ipairs { { RX, 0.7, 0 }, { CX, 0, 1 }, { form.RESET, 0 } } do list[#list + 1] = op end
      if round == 3 then list[#list + 1] = { form.MEASURE, 1, 0 } end
    end
    list[#list + 1] = { form.MEASURE, 1, 1 }
    assert.equal(0, occurrences(check(circuit_of(2, 2, list)), "reset"))
    local lowered = check(circuit_of(2, 2, list), { qubits = 4 })
    assert.equal(4, lowered.qubit_count)
    assert.is_true(occurrences(lowered, "reset") > 0)
  end)
end)

describe("a condition", function()
  local function measured(...)
    local list = { { H, 0 }, { RX, 0.8, 1 }, { RX, 1.9, 2 } }
    for q = 0, 2 do list[#list + 1] = { form.MEASURE, q, q } end
    for _, op in ipairs { ... } do list[#list + 1] = op end
    list[#list + 1] = { form.MEASURE, 3, 3 }
    return circuit_of(4, 4, list)
  end

  for n = 0, 8 do
    it("on a register that equals " .. n .. " holds for that value alone", function()
      check(measured { form.IF, { "==", { "reg", 0, 3 }, n }, block_of { { X, 3 } },
        block_of { { RX, 0.4, 3 }, { form.gate "s", 3 }, { RX, 1.4, 3 } } })
    end)
  end

  it("on the outcome of the qubit that it changes copies that outcome", function()
    local made = circuit_of(1, 2, { { H, 0 }, { form.MEASURE, 0, 0 }, { form.IF, { "bit", 0 }, block_of { { X, 0 } } },
      { form.MEASURE, 0, 1 } })
    assert.equal(2, check(made).qubit_count)
  end)

  it("is evaluated once, before its body changes what it depends on", function()
    check(measured { form.IF, { "==", { "reg", 0, 2 }, 1 }, block_of {
      { H, 0 }, { form.MEASURE, 0, 0 }, { form.ASSIGN, { bit = 1 }, 1 }, { X, 3 }, { RX, 0.3, 3 } } })
  end)

  it("drops a phase that only it would make visible, and keeps one under a control", function()
    local phase = form.gate "gphase"
    local lowered = check(measured { form.IF, { "bit", 0 }, block_of { { phase, 0.7 } } })
    assert.equal(3, lowered.gate_count)
    check(measured({ H, 3 }, { form.IF, { "bit", 0 }, block_of { { form.modify(phase, { { "ctrl", 1 } }), 0.7, 3 } } },
      { H, 3 }))
  end)

  it("on a parity of many bits takes as many gates as bits", function()
    local list, parity = {}, 0
    for q = 0, 8 do
      list[#list + 1] = { RX, 0.3 + q, q }
      list[#list + 1] = { form.MEASURE, q, q }
      parity = { "^", parity, { "bit", q } }
    end
    list[#list + 1] = { form.IF, parity, block_of { { X, 9 } } }
    list[#list + 1] = { form.MEASURE, 9, 9 }
    assert.is_true(check(circuit_of(10, 10, list)).gate_count <= 9 + 9 + 1)
  end)

  it("costs no bits, only operations", function()
    local list = {}
    for q = 0, 17 do
      list[#list + 1] = { H, q }
      list[#list + 1] = { form.MEASURE, q, q }
    end
    list[#list + 1] = { form.IF, { "==", { "reg", 0, 18 }, 70000 }, block_of { { H, 18 }, { X, 18 } } }
    local lowered = assert(lower.lower(circuit_of(19, 18, list), { qubits = 20 }))
    assert.equal(20, lowered.qubit_count)
    assert.is_true(lowered.gate_count < 2000, lowered.gate_count)
  end)

  it("leaves a variable that is assigned in its body at 0 elsewhere", function()
    check(measured({ form.IF, { "bit", 0 }, block_of { { form.ASSIGN, { var = 1 }, 3 } } },
      { form.IF, { "==", { "var", 1 }, 0 }, block_of { { RX, 0.4, 3 } }, block_of { { X, 3 } } }))
  end)

  it("on a measured value that is the same either way costs nothing", function()
    local lowered = check(measured { form.IF, { "==", { "^", { "bit", 0 }, { "bit", 0 } }, 0 }, block_of { { X, 3 } },
      block_of { { H, 3 } } })
    assert.equal(4, lowered.gate_count)
  end)
end)

describe("random circuits", function()
  local make = random_forms.maker(form)

  it("of three qubits keep their distribution", function()
    for seed = 1, 400 do check(make(seed)) end
  end)

  it("of three qubits keep it when wires are few", function()
    local refused = 0
    for seed = 1, 300 do
      local made = make(seed)
      local lowered, err = lower.lower(made, { qubits = 4 })
      if lowered then
        assert.is_true(lowered.qubit_count <= 4)
        check(made, { qubits = 4 })
      else
        refused = refused + 1
        assert.matches("^the circuit needs %d qubits %(.+%), and the backend has 4$", err.message)
      end
    end
    assert.is_true(refused < 30, refused)
  end)

  it("of five qubits keep their distribution", function()
    for seed = 1, 60 do check(make(seed, { qubits = 5, bits = 4, operations = 15 })) end
  end)
end)

describe("a circuit that cannot run", function()
  it("says how many qubits it needs, and what for", function()
    local list = {}
    for i = 0, 4 do
      for _, op in ipairs { { H, 0 }, { form.MEASURE, 0, i }, { H, 0 } } do list[#list + 1] = op end
    end
    local lowered, err = lower.lower(circuit_of(1, 5, list), { qubits = 3 })
    assert.is_nil(lowered)
    assert.equal("invalid_circuit", err.kind)
    assert.equal("the circuit needs 6 qubits (1 for qubits of its own, 5 for outcomes that a later gate would "
      .. "destroy), and the backend has 3", err.message)
  end)

  it("is not lowered to its end only to say how many that would be", function()
    local list = {}
    for i = 0, 9999 do
      for _, op in ipairs { { H, 0 }, { form.MEASURE, 0, i } } do list[#list + 1] = op end
    end
    local lowered, err = lower.lower(circuit_of(1, 10000, list), { qubits = 3 })
    assert.is_nil(lowered)
    assert.matches("^the circuit needs at least 14 qubits %(1 for qubits of its own, 13 for outcomes", err.message)
  end)

  it("is refused with the place of the operation", function()
    local made = circuit_of(2, 0, { { H, 0 }, { RX, 0 / 0, 0 } })
    made.source = "file.qasm"
    local lowered, err = lower.lower(made)
    assert.is_nil(lowered)
    assert.same({ 2, 1, "file.qasm" }, { err.line, err.column, err.source })
    assert.matches("^file.qasm:2:1: an angle that is not a number", err.message)
  end)

  it("is refused when an optimization level would permute its qubits", function()
    local made = circuit_of(2, 2, { { H, 0 }, { CX, 0, 1 } })
    local lowered, err = lower.lower(made, { optimization_level = 2 })
    assert.is_nil(lowered)
    assert.matches("optimization_level 2: expected 0 or 1", err.message)
    assert.truthy(lower.lower(circuit_of(2, 2, { { H, 0 } }), { optimization_level = 2 }))
    assert.truthy(lower.lower(made, { optimization_level = 1 }))
  end)

  it("has unbound parameters, which are named", function()
    local made = circuit_of(1, 1, { { RX, { "name", "theta" }, 0 } })
    made.parameters = { "theta" }
    local lowered, err = lower.lower(made)
    assert.is_nil(lowered)
    assert.matches("theta", err.message)
    assert.is_nil(lower.canonical(made))
  end)
end)

describe("a circuit of more qubits than the backend has", function()
  it("runs when it uses few of them", function()
    local lowered = check(circuit_of(9, 2, { { H, 7 }, { CX, 7, 2 }, { form.MEASURE, 7, 0 }, { form.MEASURE, 2, 1 } }),
      { qubits = 3 })
    assert.equal(2, lowered.qubit_count)
  end)
end)

describe("barriers", function()
  local made = circuit_of(3, 3, { { H, 0 }, { form.BARRIER }, { CX, 0, 1 }, { form.BARRIER, 0, 2 }, { X, 2 } })

  it("are written at level 0 and at no other", function()
    assert.equal(2, occurrences(check(made), "barrier"))
    assert.equal(0, occurrences(check(made, { optimization_level = 1 }), "barrier"))
  end)
end)

describe("a circuit with more outcomes than the backend has qubits", function()
  local function rounds(count, round)
    local list = {}
    for i = 1, count do
      for _, op in ipairs(round(i)) do list[#list + 1] = op end
    end
    return list
  end

  it("keeps the functions of outcomes that are still needed: a parity", function()
    local made = circuit_of(1, 2, rounds(8, function(i)
      local parity = { "^", { "bit", 1 }, { "bit", 0 } }
      return { { RX, 0.3 * i, 0 }, { form.MEASURE, 0, 0 }, { form.ASSIGN, { bit = 1 }, parity } }
    end))
    assert.equal(8, check(made).qubit_count)
    local lowered = check(made, { qubits = 4 })
    assert.equal(4, lowered.qubit_count)
    assert.is_true(occurrences(lowered, "reset") > 0)
  end)

  it("keeps whether a loop goes on", function()
    local made = circuit_of(2, 2, rounds(5, function()
      return { { form.IF, { "not", { "bit", 0 } }, block_of {
        { form.RESET, 0 }, { RX, 0.9, 0 }, { form.MEASURE, 0, 0 }, { RX, 0.3, 1 } } } }
    end))
    form.add(made.block, { form.MEASURE, 1, 1 })
    assert.is_true(check(made).qubit_count > 5)
    check(made, { qubits = 5 })
  end)

  it("gives the wires of qubits back that nothing happens to any more", function()
    local list = { { RX, 0.4, 0 } }
    for q = 0, 7 do
      list[#list + 1] = { CX, q, q + 1 }
      list[#list + 1] = { RX, 0.3, q + 1 }
      list[#list + 1] = { H, q }
    end
    list[#list + 1] = { form.MEASURE, 8, 0 }
    assert.is_true(check(circuit_of(9, 1, list), { qubits = 3 }).qubit_count <= 3)
    list[#list] = nil
    assert.is_nil(lower.lower(circuit_of(9, 1, list), { qubits = 3 }))
  end)

  it("keeps a variable only until it was read for the last time", function()
    local made = circuit_of(1, 1, rounds(6, function(i)
      return { { RX, 0.4, 0 }, { form.MEASURE, 0, { var = i } }, { form.IF, { "var", i }, block_of { { H, 0 } } } }
    end))
    form.add(made.block, { form.MEASURE, 0, 0 })
    for i = 1, 6 do form.declare_variable(made, "v" .. i, "bit", 1) end
    check(made, { qubits = 3 })
  end)
end)
