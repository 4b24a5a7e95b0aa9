-- A batch of a hundred thousand jobs through an iterator: memory does not grow with their number, and each runs once.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

local IS_SLOW = os.getenv "ASAN_OPTIONS" ~= nil
local LUA = os.getenv "LUA" or "lua5.4"

describe("a batch through an iterator with on_result", function()
  local server

  after_each(function()
    server:stop()
    helper.assert_clean()
  end)

  it("accounts for a hundred thousand jobs in 64 MB, each exactly once on the server", function()
    local count = IS_SLOW and 5000 or 100000
    server = helper.start()
    local pipe = assert(io.popen(("%s spec/support/many_jobs.lua %s %d 2>&1"):format(LUA, server.address, count)))
    local output = pipe:read "a"
    assert.is_true(pipe:close(), output)
    local status, successes, missing, peak = output:match "^(%a+)%s(%d+)%s(%d+)%s(%d+)\n$"
    assert.equal("completed", status, output)
    assert.equal(count, tonumber(successes))
    assert.equal("0", missing)
    assert.equal(count, server:stats().accepted)
    if not IS_SLOW then assert.is_true(tonumber(peak) < 64 * 1024, peak) end
  end)
end)
