-- A batch on a peer that says nonsense: twice, too early, about others, in the wrong order.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local batches = require "spec.support.batches"
local helper = require "spec.helper"
local raw = require "spec.support.peer"

-- BatchJobResult: job_id = 1, client_request_id = 2, submitted = 3, completed = 4, error = 5.
local function acknowledged(id, job_id)
  return string.pack("Bs1Bs1Bs1", 10, job_id or "job-" .. id, 18, tostring(id), 26, "")
end

local function completed(id, job_id)
  local result = string.pack("Bs1", 10, job_id) .. string.char(24, 1)
  return string.pack("Bs1Bs1Bs1", 10, job_id, 18, tostring(id), 34, result)
end

local function refused(id, message) return string.pack("Bs1Bs1", 18, tostring(id), 42, message) end

describe("a batch on a peer that says nonsense", function()
  local peer, client

  after_each(function()
    client:close()
    peer:stop()
    client, peer = nil, nil
    helper.assert_clean()
  end)

  it("has each input in one place all the same, and no result that is not its own", function()
    peer = raw.start {}
    local nonsense = raw.stream({
      completed(1, "job-1"), refused(9, "Backend not found: x"), acknowledged(1), acknowledged(1, "job-7"),
      acknowledged(0), acknowledged(5), acknowledged("x"), acknowledged(""), completed(2, "job-2"),
      completed(1, "job-7"), completed(1, "job-1"), completed(1, "job-1"), acknowledged(1), acknowledged(2),
      refused(2, "Circuit rejected: too late"), completed(2, "job-2"), refused(3, "Backend not found: x"),
      acknowledged(3), completed(3, "job-3"), acknowledged(1 << 60), refused(-1, "x"),
    }, raw.trailers(0, ""))
    nonsense.at = "headers"   -- some of it before anything was written
    for _ = 1, 20 do
      peer:plan("requests", { nonsense, nonsense, nonsense, raw.status(5, "forgotten"), raw.status(5, "forgotten") })
      client = arvak.connect(peer:address(), { timeout = 0.5 })
      local manager <close> = arvak.batch_manager(client)
      local r = manager:execute_batch(batches.bells(4, 1), "simulator", { transport = "stream" })
      batches.assert_whole(r, 4)
      for i, result in r:each() do
        if result then assert.equal("job-" .. i, result.job_id) end
      end
      assert.is_nil(r.items[4].result)
      client:close()
    end
  end)
end)
