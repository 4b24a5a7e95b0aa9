-- Results at the edges: nothing counted, sums beyond an integer, counts that are none; each has a value or an error.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

local results = arvak.results

local function result_of(counts, shots)
  local result = results.merge {}
  result.job_id, result.counts, result.shots = "job-1", counts, shots or 1
  return result
end

local empty, zeros = result_of {}, result_of { ["00"] = 0, ["11"] = 0 }
local huge = result_of { ["00"] = math.maxinteger, ["01"] = math.maxinteger, ["11"] = 2 }
local MORE = "^the counts hold more in all than an integer can"

local function assert_refused(pattern, value, err)
  assert.is_nil(value)
  assert.is_true(arvak.is_error(err))
  assert.equal("rpc", err.kind)
  assert.matches(pattern, err.message)
end

describe("a result in which nothing was counted", function()
  for name, result in pairs { ["has no counts"] = empty, ["has counts of zero"] = zeros } do
    it("has defined values: it " .. name, function()
      assert.same({}, result:probabilities())
      assert.same({ n = 1 }, table.pack(result:most_frequent()))
      assert.same({}, result:top(3))
      assert.equal("nothing was counted\n", result:histogram())
      assert.same({}, result:marginal({ 0 }).counts)
      assert_refused("^nothing was counted", result:expectation())
      assert.same({}, results.merge({ result, result }).counts)
      assert.same({}, results.scale(result, 0).counts)
      assert_refused("^nothing was counted", results.scale(result, 5))
      assert.equal(0.0, results.distance(result, empty, "tvd"))
      assert.equal(1.0, results.distance(result, { ["00"] = 1 }, "js"))
    end)
  end

  it("is exported without shares", function()
    local path = os.tmpname()
    assert.is_true(arvak.export.to_csv(path, { { result = zeros } }))
    local file <close> = assert(io.open(path))
    local text = file:read "a"
    os.remove(path)
    assert.matches("1,,job%-1,,00,0,1,,,,\n1,,job%-1,,11,0,1,,,,\n", text)
  end)
end)

describe("a result whose counts sum to more than an integer holds", function()
  it("has the shares that it should have", function()
    local probabilities = huge:probabilities()
    assert.equal(0.5, probabilities["00"])
    assert.is_true(probabilities["11"] > 0 and probabilities["11"] < 1e-18)
    assert.same({ "00", 0.5 }, { huge:most_frequent() })
    assert.same({ { bits = "00", count = math.maxinteger, probability = 0.5 } }, huge:top(1))
    local histogram = huge:histogram()
    assert.equal(2, select(2, histogram:gsub("50%.0 %%", "")))
    assert.is_nil(histogram:find("-", 1, true))
  end)

  it("is an error where integers are needed", function()
    assert_refused(MORE, huge:marginal { 1 })
    assert_refused(MORE, huge:expectation())
    assert_refused(MORE, results.merge { huge })
    assert_refused(MORE, results.scale(huge, 10))
    assert_refused(MORE, results.distance(huge, empty, "tvd"))
    local most = result_of({ ["0"] = math.maxinteger }, 1)
    assert_refused("^the sum is too large for an integer", results.merge { most, most })
    assert.equal(math.maxinteger, results.merge({ most, empty }).counts["0"])
    assert.equal(1.0, most:expectation())
  end)

  it("is exported with shares between 0 and 1", function()
    local path = os.tmpname()
    assert.is_true(arvak.export.to_csv(path, { { result = huge } }))
    local shares = {}
    for line in io.lines(path) do shares[#shares + 1] = tonumber(line:match "^1,,job%-1,,%d+,%d+,1,([^,]+),") end
    os.remove(path)
    assert.equal(3, #shares)
    assert.same({ 0.5, 0.5 }, { shares[1], shares[2] })
  end)

  it("has many lines in a histogram, the last of which sums up the others", function()
    local counts = {}
    for i = 1, 40 do counts[("%06d"):format(i):gsub("[2-9]", "1")  .. ("01"):rep(i)] = math.maxinteger end
    local histogram = result_of(counts):histogram()
    assert.matches("%(8 others%)", histogram)
    assert.is_nil(histogram:find "nan")
    assert.is_nil(histogram:find("-", 1, true))
  end)
end)

describe("counts that are none", function()
  for name, count in pairs { negative = -1, ["not a number"] = 0 / 0, infinite = math.huge, text = "5" } do
    it("are an error of everything that shows shares: " .. name, function()
      local result = result_of { ["0"] = 3, ["1"] = count }
      for _, method in ipairs { "probabilities", "most_frequent", "top", "histogram" } do
        local value, err = result[method](result, method == "top" and 1 or nil)
        assert_refused('^the counts hold .* for "1", which is no count', value, err)
        assert.equal("job-1", err.job_id)
      end
    end)
  end

  it("of all counts that cancel each other out are an error, and not NaN", function()
    local result = result_of { ["0"] = 3, ["1"] = -3 }
    assert_refused("no count", result:probabilities())
    assert_refused("no count", result:most_frequent())
  end)

  it("of floats have shares, as long as a number can hold the sum", function()
    assert.same({ ["0"] = 0.25, ["1"] = 0.75 }, result_of({ ["0"] = 0.5, ["1"] = 1.5 }):probabilities())
    assert_refused("more than a number can", result_of({ ["0"] = 1e308, ["1"] = 1e308 }):probabilities())
  end)
end)

describe("an argument that is too large", function()
  it("is misuse of histogram, and nothing special for top", function()
    local result = result_of { ["0"] = 3 }
    assert.error_matches(function() result:histogram(math.maxinteger) end, "columns: got %d+, expected at most 10000")
    assert.equal(10000, #result:histogram(10000) - 1)
    assert.equal(1, #result:top(math.maxinteger))
  end)
end)
