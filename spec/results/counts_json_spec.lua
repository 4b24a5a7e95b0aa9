-- Counts as JSON, which C writes where keys and counts are plain, and Lua where they are not.
-- SPDX-License-Identifier: Apache-2.0
local cjson = require "cjson"
local stores = require "spec.support.stores"

local json = stores.require "arvak.base.json"

-- What json.counts takes: a result with these counts.
local function result_of(counts)
  local names = {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  return { counts = counts, pairs = function()
    local i = 0
    return function()
      i = i + 1
      return names[i], counts[names[i]]
    end
  end }
end

describe("counts as JSON", function()
  it("are in ascending order, with all digits", function()
    local counts = { ["11"] = math.maxinteger, ["00"] = 9007199254740993, ["01"] = 0, ["10"] = math.mininteger }
    assert.equal('{"00":9007199254740993,"01":0,"10":-9223372036854775808,"11":9223372036854775807}',
      json.counts(result_of(counts)))
    assert.equal("{}", json.counts(result_of {}))
  end)

  it("are the same for few bitstrings and for many", function()
    for _, size in ipairs { 1, 255, 256, 257, 1000 } do
      local counts, expected = {}, {}
      for i = 1, size do
        counts[("%06d"):format(i)] = i
        expected[i] = ('"%06d":%d'):format(i, i)
      end
      assert.equal("{" .. table.concat(expected, ",") .. "}", json.counts(result_of(counts)))
    end
  end)

  it("keep what has to be escaped, and numbers that are no integers", function()
    for _, name in ipairs { 'a"b', "a\\b", "a\nb", "a\0b", "ä", "\127", "0 1" } do
      for _, count in ipairs { 3, 0.5 } do
        local read = cjson.decode(json.counts(result_of { [name] = count, ["0"] = 1 }))
        assert.equal(count, read[name], name)
        assert.equal(1, read["0"])
      end
    end
  end)
end)
