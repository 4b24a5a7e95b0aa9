-- The result of a circuit: counts over its bits, by registers.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local circuit = require "arvak.circuit"
local helper = require "spec.helper"

describe("the result of a circuit", function()
  local server, client, result
  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)

  before_each(function()
    open()
    -- Bit 0 is a, bits 1 to 3 are b, bit 4 is c; b[2] is equal to a, and c is 1.
    local c = circuit.new { qubits = { { "q", 3 } }, bits = { { "a", 1 }, { "b", 3 }, { "c", 1 } } }
    c:h(0):cx(0, 1):x(2):measure(0, 0):measure(1, 3):measure(2, 4)
    result = assert(client:execute(c, "simulator", 1000))
  end)
  after_each(function()
    result = nil
    close()
  end)

  local function split()
    return result.counts["10000"], result.counts["11001"]
  end

  it("has keys with the last register leftmost, bit 0 rightmost, and no blanks", function()
    local zero, one = split()
    assert.same({ ["10000"] = zero, ["11001"] = one }, result.counts)
    assert.equal(1000, zero + one)
    assert.is_true(zero > 400 and one > 400)
  end)

  it("has what the service has said in raw_counts, and the registers in order of declaration", function()
    local zero, one = split()
    assert.same({ ["100"] = zero, ["111"] = one }, result.raw_counts)
    assert.same({ { name = "a", size = 1 }, { name = "b", size = 3 }, { name = "c", size = 1 } }, result.registers)
  end)

  it("shows blanks between the registers in its picture and as a string", function()
    local picture = result:histogram()
    assert.matches("^1 000 0 ", picture)
    assert.matches("\n1 100 1 ", picture)
    local zero, one = split()
    local most = one > zero and "1 100 1" or "1 000 0"
    assert.matches("^arvak%.result [%x-]+ %(1000 shots, most frequent " .. most .. "%)$", tostring(result))
  end)

  it("gives the result of one register", function()
    local zero, one = split()
    assert.same({ ["0"] = zero, ["1"] = one }, result:of("a").counts)
    assert.same({ ["000"] = zero, ["100"] = one }, result:of("b").counts)
    assert.same({ ["1"] = 1000 }, result:of("c").counts)
    assert.equal(1000, result:of("b").shots)
    assert.same({ ["100"] = one, ["000"] = zero }, result:of("b"):of("b").counts)
    assert.error_matches(function() result:of("d") end, "of: got \"d\", expected a register: a, b, c")
    assert.error_matches(function() result:of() end, "of: got nil, expected a register")
  end)

  it("takes numbers of bits in marginal and expectation", function()
    local zero, one = split()
    assert.same({ ["00"] = zero, ["11"] = one }, result:marginal({ 0, 3 }).counts)
    assert.equal(1.0, result:expectation { 0, 3 })
    assert.equal(-1.0, result:expectation { 4 })
    assert.is_nil(result:marginal({ 0, 3 }).registers)
  end)

  it("keeps its registers when it is scaled, or merged with one of the same", function()
    assert.same(result.registers, arvak.results.scale(result, 10).registers)
    local merged = arvak.results.merge { result, result }
    assert.same(result.registers, merged.registers)
    assert.same({ ["1"] = 2000 }, merged:of("c").counts)
    assert.is_nil(arvak.results.merge({ result, (result:marginal { 0, 1, 2, 3, 4 }) }).registers)
  end)

  it("is a plain table over the bits for serializers", function()
    assert.same(result.counts, result:to_table().counts)
    local seen = {}
    for bits in result:pairs() do seen[#seen + 1] = bits end
    assert.same({ "10000", "11001" }, seen)
  end)

  it("of no shots, or with bits that nobody writes, has what is left", function()
    local c = circuit.new({ qubits = { { "q", 1 } }, bits = { { "c", 1 }, { "never", 2 } } }):x(0):measure(0, 0)
    assert.same({ ["001"] = 4 }, assert(client:execute(c, "simulator", 4)).counts)
    local none = assert(client:execute(c, "simulator", 0))
    assert.same({}, none.counts)
    assert.same({}, none:of("never").counts)
    assert.equal("nothing was counted\n", none:histogram())
    assert.matches("%(0 shots%)$", tostring(none))
  end)

  it("of a circuit without measurements, or of a text, has no registers", function()
    for _, program in ipairs { circuit.new(2):x(0), helper.bell } do
      local other = assert(client:execute(program, "simulator", 4))
      assert.is_nil(other.registers)
      assert.error_matches(function() other:of("c") end, "of: got a result without registers")
    end
  end)

  it("is made of a raw one by the lowered circuit", function()
    local c = circuit.new({ qubits = { { "q", 2 } }, bits = { { "c", 2 } } }):x(0):measure(0, 1)
    local lowered = assert(c:lowered())
    local raw = assert(client:execute(lowered.qasm, "simulator", 3))
    assert.same({ ["10"] = 3 }, assert(lowered:read(raw)).counts)
    assert.same({ ["10"] = 2 }, assert(lowered:read { [("1"):rep(lowered.qubit_count)] = 2 }))
    assert.error_matches(function() lowered:read(assert(lowered:read(raw))) end, "was read already")
    assert.error_matches(function() lowered:read "text" end, "read: got \"text\", expected a result or a table")
    local other, err = lowered:read { ["0000000"] = 1 }
    assert.is_nil(other)
    assert.equal("rpc", err.kind)
  end)
end)
