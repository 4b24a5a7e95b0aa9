-- A shared batch of several processes in which something dies, stops or is cut off, through a real PostgreSQL. Short
-- forms of spec/long/shared_kill.lua, shared_outage.lua and shared_stop.lua.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local helper = require "spec.helper"
local machines = require "spec.support.shared_machines"
local trials = require "spec.support.shared_trials"

local JOBS = 80

describe("processes that share a batch", function()
  local all

  setup(function()
    all = trials.start { jobs = JOBS, job_latency = 0.05, arguments = "workers=4 lease=1 iterator=1" }
  end)
  teardown(function()
    all.proxy:stop()
    all:stop()
    all = nil
    helper.assert_clean()
  end)

  local function check(...)
    local told = ...
    for _, r in ipairs { ... } do
      assert.equal(0, r.missing)
      assert.equal(told.ends, r.ends)   -- all tell the same
    end
    return all:check()
  end

  -- Whether so many have come to the batch: one that finds no database when it begins is refused.
  local function joined(count)
    return count <= math.tointeger(all.cluster:sql(([[SELECT count(*) FROM arvak_worker JOIN arvak_batch USING (batch)
      WHERE arvak_batch.name = '%s']]):format(all.batch), "lab"))
  end

  it("end every circuit once when some are killed and started again", function()
    trials.next_batch(all)
    local living = { all:spawn(), all:spawn(), all:spawn() }
    for i = 1, 6 do
      local place = i % 3 + 1
      helper.eventually(function() return all.server:stats().accepted >= i * 5 end, 30)
      machines.signal(living[place], "KILL")
      machines.wait(living[place])
      living[place] = all:spawn()
    end
    local results = {}
    for i, process in ipairs(living) do results[i] = machines.parse(machines.wait(process)) end
    check(table.unpack(results))
  end)

  it("go on when their database dies and comes back, and lose nothing", function()
    trials.next_batch(all)
    local first, second = all:spawn(), all:spawn()
    helper.eventually(function() return all.server:stats().accepted >= 10 and joined(2) end, 60)
    all.cluster:restart("immediate")
    assert.equal(0, (check(machines.parse(machines.wait(first)), machines.parse(machines.wait(second)))))
  end)

  for _, words in ipairs { "SET state = 'intent'", "generate_series", "COMMIT" } do
    it("hold up nobody when one is stopped beyond its lease, in the middle of " .. words, function()
      check(trials.stop_at(all, "request", words))
    end)
  end

  for _, action in ipairs { "cut", "part" } do
    it("lose nothing when a connection breaks in a commit, and what was sent " .. (action == "part"
      and "is carried out late" or "is lost"), function()
      local unknown = check(trials.cut_at(all, "request", 0, action, "SET owner = NULL"))
      assert.equal(0, unknown)
    end)
  end

  it("are not taken for dead while their loop computes", function()
    trials.next_batch(all)
    local first, second = all:spawn "compute=4", all:spawn()
    assert.equal(0, (check(machines.parse(machines.wait(first)), machines.parse(machines.wait(second)))))
    assert.equal("0", all.cluster:sql(([[SELECT count(*) FROM arvak_worker JOIN arvak_batch USING (batch)
      WHERE arvak_batch.name = '%s' AND state = 'dead']]):format(all.batch), "lab"))
  end)

  it("are told apart by their circuits before one of another batch has sent anything", function()
    trials.next_batch(all)
    machines.parse(machines.wait(all:spawn()))
    local sent = all.server:stats().accepted
    local output = machines.wait(all:spawn "other=3")
    assert.matches("is refused: it belongs to another batch .*circuits? .*differ", output)
    assert.equal(sent, all.server:stats().accepted)
  end)

  it("leave the batch to those that come later when all are killed", function()
    trials.next_batch(all)
    local process = all:spawn()
    helper.eventually(function() return all.server:stats().accepted >= 10 end, 30)
    machines.signal(process, "KILL")
    machines.wait(process)
    arvak.sleep(0)
    check(machines.parse(machines.wait(all:spawn())))
  end)
end)
