-- The parts of a batch that need no server: pacing, the heap, the queue. Time is passed in.
-- SPDX-License-Identifier: Apache-2.0

local function load_part(name) return assert(loadfile("lua/arvak/" .. name .. ".lua"))() end

describe("pacing", function()
  local pacing = load_part "batch/pacing"

  -- Submits that go out until a time, in steps of a millisecond.
  local function count_until(p, from, till)
    local count = 0
    for ms = from * 1000, till * 1000 do
      while p:take(ms / 1000) do count = count + 1 end
    end
    return count
  end

  it("holds nothing back before the first refusal", function()
    local p = pacing.new(7)
    for _ = 1, 1000 do assert.is_true(p:take(0)) end
    assert.equal(7, p:room())
    p:note_acceptance()
    assert.equal(7, p:room())
  end)

  it("keeps to 90 a second with a burst of ten after it", function()
    local p = pacing.new(100)
    p:note_refusal(0, 100)
    assert.is_false(p:take(0.05))
    assert.equal(0.1, select(2, p:take(0.05)))
    assert.equal(1, count_until(p, 0.1, 0.105))
    p:note_acceptance()
    local second = count_until(p, 0.106, 1.105)
    assert.is_true(second >= 88 and second <= 91, second)
    local may, at = p:take(1.106)
    assert.is_false(may)
    assert.is_true(at > 1.106 and at < 1.12)
    assert.equal(10, count_until(p, 50, 50))
  end)

  it("waits longer after each refusal, as long as the server asks, and takes those of one burst as one", function()
    local p = pacing.new(100)
    for _ = 1, 50 do p:note_refusal(0, 100) end
    assert.is_true(p:take(0.1))
    p:note_refusal(0.1, 100)
    assert.is_false(p:take(0.29))
    assert.is_true(p:take(0.31))
    p:note_refusal(0.31, 100)
    assert.is_true(p:take(0.57))
    p:note_refusal(0.57, 100, 5)
    assert.is_false(p:take(5.5))
    assert.is_true(p:take(5.58))
  end)

  it("finds how many jobs the server takes: nine tenths of what it had, and then one by one", function()
    local p = pacing.new(100)
    p:note_refusal(0, 50)
    assert.equal(45, p:room())
    p:note_refusal(0.5, 10)   -- within a second of the last: the same trouble
    assert.equal(45, p:room())
    for _ = 1, 100 do p:note_acceptance() end
    assert.equal(47, p:room())
    for _ = 1, 100000 do p:note_acceptance() end
    assert.equal(100, p:room())
    p:note_refusal(9, 0)
    assert.equal(1, p:room())
  end)
end)

describe("the heap", function()
  local heap = load_part "base/heap"

  it("gives what is due, in the order of the times, and nothing before", function()
    local h, expected = heap.new(), {}
    assert.is_nil(h:next_time())
    for i = 1, 1000 do
      expected[i] = math.random(500)
      h:add(expected[i], expected[i])
    end
    table.sort(expected)
    assert.is_nil(h:take(0))
    for i = 1, 1000 do
      assert.equal(expected[i], h:next_time())
      assert.equal(expected[i], h:take(expected[i]))
      if i % 3 == 0 then   -- one more in between
        h:add(expected[i], expected[i])
        assert.equal(expected[i], h:take(expected[i]))
      end
    end
    assert.is_nil(h:next_time())
    assert.is_nil(h:take(math.huge))
  end)
end)

describe("the queue", function()
  local queue = load_part "base/queue"

  it("keeps its order at both ends", function()
    local q = queue.new()
    assert.is_nil(q:pop())
    for i = 1, 3 do q:push(i) end
    q:push_front(0)
    assert.equal(4, q:count())
    assert.equal(0, q:peek())
    for i = 0, 3 do assert.equal(i, q:pop()) end
    assert.is_true(q:is_empty())
    assert.is_nil(q:pop())
    q:push_front("again")
    assert.equal("again", q:pop())
    assert.equal(0, q:count())
  end)
end)
