-- What the reference Python client gets wrong about results and files (docs/internals/reference-defects.md; the
-- numbers are its rows), done right.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local cjson = require "cjson"

local results, export = arvak.results, arvak.export

local function result_of(counts, shots, job_id)
  local result = results.merge {}
  result.counts, result.shots, result.job_id = counts, shots, job_id or ""
  return result
end

local function sum_of(counts)
  local sum = 0
  for _, count in pairs(counts) do sum = sum + count end
  return sum
end

local function bits_of(number, width)
  local bits = {}
  for bit = width - 1, 0, -1 do bits[#bits + 1] = number >> bit & 1 end
  return table.concat(bits)
end

local function equal_counts(size, count)
  local counts = {}
  for i = 0, size - 1 do counts[bits_of(i, 10)] = count end
  return result_of(counts, size * count)
end

describe("rounding to whole counts:", function()
  it("ten equal outcomes and six shots give six counts of 1, and none below zero (47)", function()
    local scaled = results.scale(equal_counts(10, 100), 6)
    for i = 0, 9 do assert.equal(i < 6 and 1 or nil, scaled.counts[bits_of(i, 10)]) end
  end)

  it("many small shares do not all round to nothing (47)", function()
    local scaled = results.scale(equal_counts(1000, 1), 300)
    assert.equal(300, sum_of(scaled.counts))
    for _, count in pairs(scaled.counts) do assert.equal(1, count) end
  end)

  it("scaling down never comes back empty, whatever the shots (47)", function()
    local result = equal_counts(1000, 7)
    for shots = 1, 100 do assert.equal(shots, sum_of(results.scale(result, shots).counts)) end
  end)

  it("an average of results is their sum, scaled (47)", function()
    local merged = results.merge { result_of({ ["0"] = 1, ["1"] = 2 }, 3), result_of({ ["0"] = 2, ["1"] = 2 }, 4) }
    assert.same({ ["0"] = 2, ["1"] = 2 }, results.scale(merged, 4).counts)
  end)
end)

describe("files:", function()
  local path

  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function read_json()
    local file = assert(io.open(path))
    local text = file:read("a")
    file:close()
    return cjson.decode(text), text
  end

  it("metadata, results without counts and results of one job survive (48)", function()
    local one, two = result_of({ ["0"] = 2 }, 2, "job"), result_of({}, 0, "job")
    one.metadata_json = '{"calibration": 12}'
    assert.is_true(export.to_json(path, { { result = one }, { result = two } }))
    local items, text = read_json()
    assert.equal('{"calibration": 12}', items[1].metadata_json)
    assert.same({ "job", "job" }, { items[1].job_id, items[2].job_id })
    assert.same({}, items[2].counts)
    assert.truthy(text:find('"counts":{"0":2}', 1, true))   -- an integer
  end)

  it("in CSV, too, a result without counts has its line (48)", function()
    assert.is_true(export.to_csv(path, { { result = result_of({}, 0, "a") }, { result = result_of({}, 0, "b") } }))
    local lines = {}
    for line in io.lines(path) do lines[#lines + 1] = line end
    assert.same({ "1,,a,,,,0,,,,", "2,,b,,,,0,,,," }, { lines[2], lines[3] })
  end)
end)

describe("one convention:", function()
  it("shares divide by the sum of the counts, also those of merged results (49)", function()
    local short = result_of({ ["0"] = 30, ["1"] = 10 }, 100)   -- 60 shots were lost
    local merged = results.merge { short, short }
    assert.equal(200, merged.shots)
    assert.equal(0.75, merged:probabilities()["0"])
    assert.equal(0.75, select(2, merged:most_frequent()))
    assert.equal(0.75, merged:top(1)[1].probability)
    assert.equal(0.5, merged:expectation())
    assert.equal(0.0, results.distance(short, merged, "tvd"))
  end)

  it("an empty result is as far from another as can be, by every measure (49)", function()
    for _, kind in ipairs { "tvd", "hellinger", "js" } do
      assert.equal(1.0, results.distance(result_of({}, 0), result_of({ ["0"] = 1 }, 1), kind))
    end
  end)

  it("computing with results leaves the random numbers of the program alone (49)", function()
    math.randomseed(5)
    local expected = math.random(0)
    math.randomseed(5)
    results.scale(equal_counts(10, 3), 7)
    results.distance(equal_counts(10, 3), equal_counts(9, 3), "js")
    assert.equal(expected, math.random(0))
  end)
end)
