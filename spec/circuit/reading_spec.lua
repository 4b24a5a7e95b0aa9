-- The way from what the service counts to the program's bits, as it is kept and used; and the text that is hashed.
-- SPDX-License-Identifier: Apache-2.0
local cjson = require "cjson"
local inside = require "spec.support.inside"

local form = inside "arvak.circuit.form"
local lower = inside "arvak.circuit.lower"
local reading = inside "arvak.circuit.reading"

local H, X, CX = form.gate "h", form.gate "x", form.gate "cx"

-- Two registers of two bits: a and b. c: three operations of the test.
local function circuit_of(...)
  local made = form.new(3)
  form.declare_qubits(made, "q", 3)
  form.declare_bits(made, "a", 2)
  form.declare_bits(made, "b", 2)
  for _, op in ipairs { ... } do form.add(made.block, op) end
  return made
end

local function reading_of(made, options) return assert(lower.lower(made, options)).reading end

local crossed = circuit_of({ H, 0 }, { CX, 0, 1 }, { H, 2 }, { form.MEASURE, 0, 3 }, { form.MEASURE, 1, 0 },
  { form.MEASURE, 2, 2 })
local computed = circuit_of({ H, 0 }, { H, 1 }, { form.MEASURE, 0, 0 }, { form.MEASURE, 1, 1 },
  { form.ASSIGN, { bit = 2 }, { "^", { "bit", 0 }, { "bit", 1 } } }, { form.ASSIGN, { bit = 3 }, true })

describe("counts over the program's bits", function()
  it("have the last register leftmost and bit 0 rightmost, and 0 where nothing was written", function()
    assert.same({ ["1001"] = 7, ["0100"] = 2, ["0000"] = 1 },
      reading.read(reading_of(crossed), { ["011"] = 7, ["100"] = 2, ["000"] = 1 }))
  end)

  it("hold what was computed of outcomes, and are added up where several answers give the same bits", function()
    assert.same({ ["1101"] = 5, ["1110"] = 4, ["1011"] = 3 },
      reading.read(reading_of(computed), { ["001"] = 2, ["101"] = 3, ["010"] = 4, ["111"] = 3 }))
  end)

  it("may be probabilities", function()
    local read = reading.read(reading_of(crossed), { ["011"] = 0.5, ["000"] = 0.5 })
    assert.same({ ["1001"] = 0.5, ["0000"] = 0.5 }, read)
  end)

  it("are the service's own where bits are wires", function()
    local made = form.new(3)
    form.declare_qubits(made, "q", 2)
    form.declare_bits(made, "c", 2)
    for q = 0, 1 do
      form.add(made.block, { H, q })
      form.add(made.block, { form.MEASURE, q, q })
    end
    local counts = { ["00"] = 3, ["10"] = 4 }
    assert.same(counts, reading.read(reading_of(made), counts))
  end)

  it("name their registers, in the order of declaration", function()
    assert.same({ { "a", 2 }, { "b", 2 } }, reading_of(crossed).registers)
    assert.is_nil(reading_of(circuit_of({ X, 0 })).registers)
  end)
end)

describe("a way of reading", function()
  it("refuses keys of another width and what is none", function()
    for _, raw in ipairs { "11", "0011", "", "01a", "0 1", "1111111111111111111" } do
      local counts, err = reading.read(reading_of(crossed), { ["000"] = 1, [raw] = 1 })
      assert.is_nil(counts)
      assert.equal("rpc", err.kind)
      assert.matches("expected 3 characters", err.message)
    end
  end)

  it("drops the zeros that level 1 puts on the left, and nothing else", function()
    local way = reading_of(crossed, { optimization_level = 1, qubits = 20 })
    assert.same({ ["1001"] = 7 }, reading.read(way, { [("0"):rep(17) .. "011"] = 7 }))
    assert.same({ ["1001"] = 7 }, reading.read(way, { ["011"] = 7 }))
    for _, raw in ipairs { ("0"):rep(16) .. "1011", ("0"):rep(18) .. "011", ("0"):rep(16) .. "011" } do
      assert.is_nil(reading.read(way, { [raw] = 1 }))
    end
    assert.is_nil(reading.read(reading_of(crossed), { [("0"):rep(17) .. "011"] = 7 }))
  end)

  it("is the same after it was kept as JSON", function()
    for _, made in ipairs { crossed, computed, circuit_of({ X, 0 }) } do
      local way, counts = reading_of(made), { ["011"] = 5, ["100"] = 2, ["111"] = 1 }
      assert.same(reading.read(way, counts), reading.read(cjson.decode(cjson.encode(way)), counts))
    end
  end)

  it("of another release, or damaged, is refused", function()
    local good = reading_of(computed)
    local function changed(name, value)
      local way = {}
      for key, old in pairs(good) do way[key] = old end
      way[name] = value
      return way
    end
    assert.truthy(reading.read(changed("padded", nil), { ["001"] = 1 }))
    for _, way in ipairs { changed("version", 2), changed("wires", "x"), changed("bits", 7), changed("bits", { 99 }),
      changed("nodes", { { 0, 5, 1 } }), changed("nodes", { { 0, 2, 2 } }), changed("nodes", { { 9, 0, 1 } }),
      {}, 3 } do
      local counts, err = reading.read(way, { ["001"] = 1 })
      assert.is_nil(counts)
      assert.equal("rpc", err.kind)
    end
  end)
end)

describe("the canonical text", function()
  it("is the same for the same operations, whatever the texts' positions and objects", function()
    local function own(name)
      local body = form.block()
      form.add(body, { form.gate "rx", { "param", 1 }, 0 }, 7)
      return form.define(name, { "t" }, 1, body)
    end
    local a = lower.canonical(circuit_of({ own "f", 1, 0 }, { form.modify(X, { { "ctrl", 1 } }), 0, 1 }))
    local b = lower.canonical(circuit_of({ own "g", 1.0, 0 }, { form.modify(X, { { "ctrl", 1 } }), 0, 1 }))
    assert.equal(a, b)
    assert.matches("^circuit 1\n", a)
  end)

  it("differs where the answer may", function()
    local block = form.block()
    form.add(block, { X, 1 })
    local seen = {}
    for i, made in ipairs {
      circuit_of({ X, 0 }), circuit_of({ X, 1 }), circuit_of({ H, 0 }), circuit_of({ form.gate "rx", 0.1, 0 }),
      circuit_of({ form.gate "rx", 0.1 + 2 ^ -56, 0 }), circuit_of({ form.MEASURE, 0, 0 }),
      circuit_of({ form.MEASURE, 0 }), circuit_of({ form.MEASURE, 0, 1 }),
      circuit_of({ form.MEASURE, 0, { var = 1 } }), circuit_of({ form.RESET, 0 }),
      circuit_of({ form.IF, { "bit", 0 }, block }), circuit_of({ form.IF, { "bit", 1 }, block }),
      circuit_of({ form.IF, { "bit", 0 }, form.block(), block }),
      circuit_of({ form.modify(X, { { "ctrl", 1 } }), 0, 1 }),
      circuit_of({ form.modify(X, { { "negctrl", 1 } }), 0, 1 }), circuit_of({ form.modify(X, { { "pow", 2 } }), 0 }),
      circuit_of({ form.modify(X, { { "pow", 2.5 } }), 0 }), circuit_of({ form.ASSIGN, { bit = 0 }, { "bit", 1 } }),
      circuit_of({ form.ASSIGN, { var = 1 }, { "bit", 1 } }),
    } do
      local text = assert(lower.canonical(made))
      assert.is_nil(seen[text], i)
      seen[text] = true
    end
    local renamed = circuit_of({ X, 0 })
    renamed.bits[1].name = "other"
    assert.is_nil(seen[lower.canonical(renamed)])
  end)
end)
