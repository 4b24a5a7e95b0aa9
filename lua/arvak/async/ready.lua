-- Waiting for a connection. Invariant: only looks are made, and nothing is sent, so a server sees no call of it.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local task = require "arvak.async.task"

local M = {}

local FIRST_DELAY, LAST_DELAY = 0.001, 0.05   -- seconds between looks

-- Makes the client connect: true when a connection is ready, false when none is within so many seconds, or nil and an
-- error.
function M.until_ready(client, target, seconds)
  local until_time, delay = core.now() + seconds, FIRST_DELAY
  while not core.warm(client) do
    local left = until_time - core.now()
    if left <= 0 then return false end
    local slept, err = task.pause(math.min(delay, left))
    if not slept then return nil, err end
    if core.is_closed(client) then return nil, errors.new("closed", "the client was closed", { target = target }) end
    delay = math.min(2 * delay, LAST_DELAY)
  end
  return true
end

return M
