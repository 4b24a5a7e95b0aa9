-- Computing with results: histograms, the most frequent, marginals, expectations, merging, scaling, distances.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"

local results = arvak.results

-- A result of these counts, made without a server.
local function result_of(counts, shots)
  local result, total = results.merge {}, 0
  for _, count in pairs(counts) do total = total + count end
  result.job_id, result.counts, result.shots = "job-1", counts, shots or total
  return result
end

local function random_counts(width, size, most)
  local counts = {}
  for _ = 1, size do
    local bits = {}
    for i = 1, width do bits[i] = math.random(0, 1) end
    counts[table.concat(bits)] = math.random(1, most)
  end
  return counts
end

local function sum_of(counts)
  local sum = 0
  for _, count in pairs(counts) do sum = sum + count end
  return sum
end

local function is_near(expected, actual)
  assert.is_true(math.abs(expected - actual) < 1e-9, expected .. " " .. actual)
end

local empty = result_of {}
local uneven = result_of { ["00"] = 1, ["000"] = 1 }
local strange = result_of { ["0x"] = 1 }

describe("result:histogram", function()
  it("has a line for each outcome in ascending order, each column as wide as its widest cell", function()
    assert.equal(
      "00  900   90.0 %  ########################################\n" ..
      "01    9    0.9 %\n" ..
      "11   91    9.1 %  ####\n", result_of({ ["11"] = 91, ["00"] = 900, ["01"] = 9 }):histogram(58))
  end)

  it("keeps to the columns asked for, and to 72 by default", function()
    local result = result_of { ["0000"] = 5, ["1111"] = 12345 }
    for columns = 33, 200 do
      local longest = 0
      for line in result:histogram(columns):gmatch("[^\n]+") do longest = math.max(longest, #line) end
      assert.equal(columns, longest)
    end
    assert.equal(result:histogram(72), result:histogram())
    assert.matches("##########\n", result:histogram(1))
  end)

  it("sums up what is beyond the 32 most frequent outcomes", function()
    local counts = {}
    for i = 0, 63 do
      local bits = {}
      for bit = 5, 0, -1 do bits[#bits + 1] = i >> bit & 1 end
      counts[table.concat(bits)] = i + 1
    end
    local lines = {}
    for line in result_of(counts):histogram():gmatch("[^\n]+") do lines[#lines + 1] = line end
    assert.equal(33, #lines)
    assert.matches("^%s+100000  ", lines[1])
    assert.matches("^%s+111111  ", lines[32])
    assert.matches("^%(32 others%)  528   25%.4 %%$", lines[33])
  end)

  it("of nothing says so; outcomes counted 0 times are absent", function()
    assert.equal("nothing was counted\n", empty:histogram())
    assert.equal("nothing was counted\n", result_of({ ["0"] = 0 }):histogram())
    assert.is_nil(result_of({ ["0"] = 0, ["1"] = 2 }):histogram():find("0  0", 1, true))
  end)

  it("pads bitstrings of any width", function()
    local wide = ("1"):rep(200)
    assert.matches("^" .. wide .. "  7  100%.0 %%  ##########\n$", result_of({ [wide] = 7 }):histogram())
  end)

  it("raises for columns that are no number of them", function()
    for _, columns in ipairs { 0, -1, 1.5, "wide", false, 0 / 0 } do
      assert.error_matches(function() empty:histogram(columns) end, "^columns: got .*, expected an")
    end
  end)
end)

describe("result:top", function()
  local result = result_of { ["11"] = 3, ["01"] = 7, ["10"] = 3, ["00"] = 7 }

  it("lists the most frequent first, of equals the smallest bitstring", function()
    assert.same({ { bits = "00", count = 7, probability = 0.35 }, { bits = "01", count = 7, probability = 0.35 },
      { bits = "10", count = 3, probability = 0.15 } }, result:top(3))
    assert.equal(1, select("#", result:top(1)))
  end)

  it("is as long as there are outcomes at most, and may be empty", function()
    assert.equal(4, #result:top(100))
    assert.same({}, result:top(0))
    assert.same({}, empty:top(5))
    assert.same({}, result_of({ ["0"] = 0 }):top(5))
  end)

  it("agrees with sorting", function()
    for _ = 1, 20 do
      local counts, list = random_counts(8, 100, 9), {}
      for bits, count in pairs(counts) do list[#list + 1] = { bits, count } end
      table.sort(list, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
      for i, entry in ipairs(result_of(counts):top(50)) do assert.same(list[i], { entry.bits, entry.count }) end
    end
  end)

  it("raises for what is no number of outcomes", function()
    for _, n in ipairs { -1, 1.5, "3", {} } do
      assert.error_matches(function() result:top(n) end, "^n: got .*, expected an integer from 0")
    end
    assert.error_matches(function() result:top() end, "n: got nil")
    assert.error_matches(function() result.top({}, 1) end, "top: got a table as the result, expected result:top")
  end)
end)

describe("result:marginal", function()
  local result = result_of { ["100"] = 1, ["101"] = 2, ["011"] = 4, ["000"] = 8 }

  it("sums over the other qubits; qubit 0 is the rightmost character", function()
    assert.same({ ["0"] = 9, ["1"] = 6 }, result:marginal({ 0 }).counts)
    assert.same({ ["0"] = 12, ["1"] = 3 }, result:marginal({ 2 }).counts)
    assert.same({ ["00"] = 9, ["01"] = 2, ["11"] = 4 }, result:marginal({ 0, 1 }).counts)
  end)

  it("makes the first qubit named the new qubit 0", function()
    assert.same({ ["01"] = 1, ["11"] = 2, ["10"] = 4, ["00"] = 8 }, result:marginal({ 2, 0 }).counts)
    assert.same({ ["001"] = 1, ["101"] = 2, ["110"] = 4, ["000"] = 8 }, result:marginal({ 2, 1, 0 }).counts)
    assert.same(result.counts, result:marginal({ 0, 1, 2 }).counts)
  end)

  it("keeps the job, the shots and the metadata, and is a result of its own", function()
    local marginal = result:marginal { 1 }
    assert.equal("result", arvak.type(marginal))
    assert.same({ "job-1", 15, "" }, { marginal.job_id, marginal.shots, marginal.metadata_json })
    assert.same({ ["1"] = 4, ["0"] = 11 }, marginal:marginal({ 0 }).counts)
    assert.equal(4, sum_of(result.counts) - 11)
  end)

  it("reads the list raw, as the expectation does, whatever its metatable says", function()
    local tricks = setmetatable({ 0 }, { __len = function() return {} end, __index = function() return "x" end })
    assert.same({ ["0"] = 9, ["1"] = 6 }, result:marginal(tricks).counts)
    assert.equal((9 - 6) / 15, result:expectation(tricks))
  end)

  it("agrees with looking at each bitstring", function()
    for _ = 1, 50 do
      local counts, qubits = random_counts(7, 40, 9), {}
      for qubit = 0, 6 do table.insert(qubits, math.random(#qubits + 1), qubit) end
      for _ = 1, math.random(0, 6) do table.remove(qubits) end
      local expected = {}
      for bits, count in pairs(counts) do
        local key = ""
        for _, qubit in ipairs(qubits) do key = bits:sub(7 - qubit, 7 - qubit) .. key end
        expected[key] = (expected[key] or 0) + count
      end
      assert.same(expected, result_of(counts):marginal(qubits).counts)
    end
  end)

  it("of nothing is nothing, whatever the qubits", function()
    assert.same({}, empty:marginal({ 5, 17 }).counts)
  end)

  it("raises for qubits that are none of the result's, stand twice, or are missing", function()
    for pattern, qubits in pairs {
      ["qubits%[2%]: got 3, expected 0 to 2"] = { 0, 3 }, ["qubits%[1%]: got %-1, expected an integer"] = { -1 },
      ["qubits%[1%]: got 0%.5"] = { 0.5 }, ["qubits%[3%]: got 1 for the second time"] = { 1, 2, 1 },
      ['qubits%[1%]: got "0"'] = { "0" }, ["qubits%[2%]: got nil"] = { 0, nil, 2 },
      ["qubits: got an empty list"] = {}, ["qubits: got 0, expected a list"] = 0,
    } do
      assert.error_matches(function() result:marginal(qubits) end, "^" .. pattern)
    end
    assert.error_matches(function() empty:marginal { 1, 1 } end, "for the second time")
  end)

  it("takes whole numbers that are floats", function()
    assert.same({ ["0"] = 9, ["1"] = 6 }, result:marginal({ 0.0 }).counts)
  end)
end)

describe("result:expectation", function()
  local bell = result_of { ["00"] = 60, ["11"] = 40 }

  it("is the mean of products of +1 and -1", function()
    assert.equal(1.0, bell:expectation { 0, 1 })
    is_near(0.2, bell:expectation { 0 })
    is_near(0.2, bell:expectation { 1 })
    assert.equal(-1.0, result_of({ ["010"] = 3, ["111"] = 4 }):expectation())
    assert.equal(1.0, result_of({ ["010"] = 3 }):expectation { 0, 2 })
  end)

  it("over all qubits is that of the parity, over none 1", function()
    assert.equal(bell:expectation { 1, 0 }, bell:expectation())
    assert.equal(1.0, bell:expectation {})
  end)

  it("agrees with the sum over each bitstring", function()
    for _ = 1, 50 do
      local counts, sum = random_counts(5, 20, 9), 0
      for bits, count in pairs(counts) do
        local odd = (bits:byte(5) + bits:byte(3) + bits:byte(2)) % 2 == 1   -- "0" is even
        sum = sum + (odd == (("0"):byte() % 2 == 0) and -count or count)
      end
      is_near(sum / sum_of(counts), result_of(counts):expectation { 0, 2, 3 })
    end
  end)

  it("of nothing is nil and an error", function()
    local value, err = empty:expectation { 0 }
    assert.is_nil(value)
    assert.equal("nothing was counted", err.message)
    assert.equal("job-1", err.job_id)
  end)

  it("raises for qubits that are none of the result's", function()
    assert.error_matches(function() bell:expectation { 2 } end, "^qubits%[1%]: got 2, expected 0 to 1")
    assert.error_matches(function() bell:expectation { 1, 1 } end, "for the second time")
  end)
end)

describe("arvak.results.merge", function()
  it("sums up counts and shots", function()
    local merged = results.merge { result_of { ["0"] = 3 }, result_of({ ["0"] = 1, ["1"] = 2 }, 5), empty }
    assert.same({ ["0"] = 4, ["1"] = 2 }, merged.counts)
    assert.equal(8, merged.shots)
    assert.equal("result", arvak.type(merged))
    assert.same({}, merged:metadata())
    assert.is_nil(merged.execution_time_ms)
  end)

  it("leaves what was merged alone", function()
    local one = result_of { ["0"] = 3 }
    results.merge({ one, one }).counts["0"] = 100
    assert.same({ ["0"] = 3 }, one.counts)
  end)

  it("of an empty list has no counts and no shots", function()
    local merged = results.merge {}
    assert.same({}, merged.counts)
    assert.equal(0, merged.shots)
    assert.equal("nothing was counted\n", merged:histogram())
  end)

  it("raises for different widths and for what is no result", function()
    assert.error_matches(function() results.merge { result_of { ["00"] = 1 }, empty, result_of { ["000"] = 1 } } end,
      "^merge: list%[3%] has 3 qubits, expected 2")
    assert.error_matches(function() results.merge { empty, {} } end, "merge: list%[2%]: got a table, expected a result")
    assert.error_matches(function() results.merge(empty) end, "merge: got a table, expected a list of results")
    assert.error_matches(function() results.merge() end, "merge: got nil, expected a list")
    assert.error_matches(function() results.merge { empty, nil, empty } end, "merge: list%[2%]: got nil, expected")
  end)

  it("gives nil and an error for a sum that no integer can hold", function()
    for _, list in ipairs {
      { result_of { ["0"] = math.maxinteger }, result_of { ["0"] = 1 } },
      { result_of({ ["0"] = 1 }, math.maxinteger), result_of { ["0"] = 1 } },
    } do
      local merged, err = results.merge(list)
      assert.is_nil(merged)
      assert.matches("too large", err.message)
    end
  end)
end)

describe("arvak.results.scale", function()
  it("gives each its share, and what is left to the largest remainders", function()
    assert.same({ ["00"] = 5, ["01"] = 3, ["10"] = 2 },
      results.scale(result_of { ["00"] = 48, ["01"] = 29, ["10"] = 23 }, 10).counts)
  end)

  it("always sums to the shots, each count within one of its share", function()
    for _ = 1, 100 do
      local counts, shots = random_counts(6, 30, 10 ^ math.random(0, 6) // 1), math.random(0, 1000)
      local scaled, total = results.scale(result_of(counts), shots), sum_of(counts)
      assert.equal(shots, sum_of(scaled.counts))
      assert.equal(shots, scaled.shots)
      for bits, count in pairs(counts) do
        local share = count * shots / total
        assert.is_true(math.abs((scaled.counts[bits] or 0) - share) < 1)
      end
      for bits, count in pairs(scaled.counts) do assert.is_true(count > 0 and counts[bits] ~= nil) end
    end
  end)

  it("computes with numbers whose product has more than 63 bits", function()
    local scaled = results.scale(result_of { ["0"] = 1 << 60, ["1"] = 1 << 61 }, 3 * (1 << 40) + 1)
    assert.same({ ["0"] = 1 << 40, ["1"] = (1 << 41) + 1 }, scaled.counts)
    local half = math.maxinteger // 2
    scaled = results.scale(result_of { ["0"] = half, ["1"] = half + 1 }, math.maxinteger)
    assert.same({ ["0"] = half, ["1"] = half + 1 }, scaled.counts)
    scaled = results.scale(result_of { ["0"] = half, ["1"] = half + 1 }, math.maxinteger - 1)
    assert.same({ ["0"] = half, ["1"] = half }, scaled.counts)
  end)

  it("to no shots is empty; of nothing to some is nil and an error", function()
    assert.same({}, results.scale(result_of { ["0"] = 3 }, 0).counts)
    assert.same({}, results.scale(empty, 0).counts)
    local scaled, err = results.scale(empty, 1)
    assert.is_nil(scaled)
    assert.equal("nothing was counted", err.message)
  end)

  it("raises for shots that are none", function()
    for _, shots in ipairs { -1, 0.5, "1" } do
      assert.error_matches(function() results.scale(empty, shots) end, "^shots: got")
    end
    assert.error_matches(function() results.scale({}, 1) end, "scale: got a table, expected a result")
  end)
end)

local function log2(x) return math.log(x) / math.log(2) end

describe("arvak.results.distance", function()
  local a, b = result_of { ["0"] = 3, ["1"] = 1 }, result_of { ["0"] = 10, ["1"] = 30 }

  it("has the values of its formulas", function()
    is_near(0.5, results.distance(a, b, "tvd"))
    is_near(math.sqrt(1 - math.sqrt(3) / 2), results.distance(a, b, "hellinger"))
    is_near(0.75 * log2(1.5) - 0.25, results.distance(a, b, "js"))
  end)

  it("reads a table of weights raw", function()
    local tricks = setmetatable({ ["0"] = 3, ["1"] = 1 }, { __pairs = function() return 5 end })
    is_near(0.5, results.distance(tricks, b, "tvd"))
  end)

  for _, kind in ipairs { "tvd", "hellinger", "js" } do
    it(("(%s) is symmetric, 0 for equal shares, 1 for what has nothing in common"):format(kind), function()
      for _ = 1, 30 do
        local p, q = result_of(random_counts(4, 8, 99)), result_of(random_counts(4, 8, 99))
        local distance = results.distance(p, q, kind)
        assert.equal(distance, results.distance(q, p, kind))
        assert.is_true(distance >= 0 and distance <= 1)
        assert.equal(0.0, results.distance(p, results.merge { p, p, p }, kind))
      end
      assert.equal(1.0, results.distance(result_of { ["01"] = 5 }, result_of { ["10"] = 1 }, kind))
    end)

    it(("(%s) is 0 between two empty ones, 1 between an empty one and another"):format(kind), function()
      assert.equal(0.0, results.distance(empty, {}, kind))
      assert.equal(1.0, results.distance(empty, a, kind))
      assert.equal(1.0, results.distance(a, { ["0"] = 0 }, kind))
    end)
  end

  it("takes tables of weights, an ideal distribution say", function()
    assert.equal(0.25, results.distance(a, { ["0"] = 0.5, ["1"] = 0.5 }, "tvd"))
    assert.equal(0.25, results.distance({ ["0"] = 7, ["1"] = 7 }, a, "tvd"))
    assert.equal(0.0, results.distance(a, a.counts, "js"))
  end)

  it("raises for other kinds, other widths, and what has no weights", function()
    for pattern, arguments in pairs {
      ['kind: got "kl", expected "tvd"'] = { a, b, "kl" }, ["kind: got nil"] = { a, b }, ["kind: got 1"] = { a, b, 1 },
      ["b has 2 qubits, expected 1"] = { a, { ["01"] = 1 }, "js" }, ["a: got nil"] = { nil, b, "js" },
      ['b: got the key "2"'] = { a, { ["2"] = 1 }, "js" }, ["b: got the key 1,"] = { a, { 1 }, "js" },
      ["a: got the key"] = { { ["0"] = 1, ["00"] = 1 }, b, "js" },
      ['b%["0"%]: got %-1'] = { a, { ["0"] = -1 }, "js" }, ['b%["0"%]: got .*nan'] = { a, { ["0"] = 0 / 0 }, "js" },
      ['b%["0"%]: got inf'] = { a, { ["0"] = math.huge }, "js" },
      ['b%["0"%]: got a table'] = { a, { ["0"] = {} }, "js" },
      ["b: the sum is too large"] = { a, { ["0"] = 1e308, ["1"] = 1e308 }, "js" },
    } do
      assert.error_matches(function() results.distance(arguments[1], arguments[2], arguments[3]) end,
        "^distance: " .. pattern)
    end
  end)
end)

describe("what these raise", function()
  it("stands at the caller's line", function()
    for _, misuse in ipairs {
      function() empty:marginal {} end, function() empty:top() end, function() results.merge() end,
      function() results.distance(empty, empty, "") end, function() empty:expectation { -1 } end,
    } do
      local line = debug.getinfo(misuse, "S").linedefined
      assert.matches(("^spec/results/statistics_spec.lua:%d: "):format(line), select(2, pcall(misuse)))
    end
  end)
end)

describe("counts that break the service's promise", function()
  it("are an error of what would compute with them", function()
    local negative, fraction = result_of { ["0"] = -1, ["1"] = 5 }, result_of { ["0"] = 1.5 }
    for _, result in ipairs { uneven, strange, negative, fraction, result_of { ["0"] = math.maxinteger, ["1"] = 1 } } do
      for _, compute in ipairs {
        function() return result:marginal { 0 } end, function() return result:expectation() end,
        function() return results.merge { empty, result } end, function() return results.scale(result, 10) end,
        function() return results.distance(empty, result, "tvd") end,
      } do
        local value, err = compute()
        assert.is_nil(value)
        assert.is_true(arvak.is_error(err))
        assert.matches("^the counts hold ", err.message)
        assert.equal("job-1", err.job_id)
      end
    end
    assert.matches("000", uneven:histogram())
    assert.equal("0x", strange:top(1)[1].bits)
  end)
end)

describe("a large result", function()
  local server, client

  local open, close = helper.fixture(function() return server, client end, function(...) server, client = ... end)
  before_each(open)
  after_each(close)

  it("is computed with as it lies, without building its counts", function()
    local result = assert(client:execute("OPENQASM 3.0; qubit[12] q; h q; x q[3];", "simulator", 100000))
    assert.equal(33, select(2, result:histogram():gsub("\n", "")))
    assert.equal(5, #result:top(5))
    local marginal = result:marginal { 11, 3, 0 }
    assert.equal(100000, sum_of(marginal.counts))
    assert.is_true(math.abs(result:expectation { 0, 1 }) < 0.05)
    assert.equal(0.0, results.distance(result, results.merge { result, result }, "hellinger"))
    assert.equal(777, sum_of(results.scale(result, 777).counts))
    assert.is_nil(rawget(result, "counts"))
  end)
end)
