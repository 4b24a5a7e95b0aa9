-- What the specs of batches share: inputs, and the invariant that holds for every result of a batch.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"
local assert = require "luassert"

local M = {}

-- A list of bells, the i-th with i shots (or these), so that a result tells whose it is.
function M.bells(count, shots)
  local list = {}
  for i = 1, count do list[i] = { helper.bell, shots or i } end
  return list
end

-- An iterator over as many bells, and how many it has given. on_draw(i) is called before the i-th.
function M.counted(count, on_draw)
  local drawn = { n = 0 }
  return function()
    if drawn.n == count then return nil end
    if on_draw then on_draw(drawn.n + 1) end
    drawn.n = drawn.n + 1
    return { helper.bell, drawn.n }
  end, drawn
end

-- Every one of n inputs is in exactly one place.
function M.assert_whole(r, n)
  assert.equal(n, #r.items)
  assert.equal(n, #r.results + #r.failures)
  assert.equal(n, r.total_count)
  assert.equal(#r.results, r.success_count)
  assert.equal(#r.failures, r.failure_count)
  local successes, failures = 0, 0
  for i, result, err in r:each() do
    local item = r.items[i]
    assert.equal(i, item.index)
    assert.equal(item.result, result)
    assert.equal(item.err, err)
    assert.is_true((result == nil) ~= (err == nil))
    if result then
      successes = successes + 1
      assert.equal(result, r.results[successes])
      assert.equal(i, result.index)
    else
      failures = failures + 1
      assert.equal(i, r.failures[failures].index)
      assert.equal(err, r.failures[failures].err)
      assert.is_string(err.kind)
    end
  end
  if r.err or r.failure_count > 0 then
    assert.equal(r.success_count > 0 and "partial" or "failed", r.status)
  else
    assert.equal("completed", r.status)
  end
end

-- The kinds of the failures, counted.
function M.kinds(r)
  local kinds = {}
  for _, failure in ipairs(r.failures) do kinds[failure.err.kind] = (kinds[failure.err.kind] or 0) + 1 end
  return kinds
end

return M
