-- How fast submits go out, and how many jobs may be unfinished, on a server that refuses what is too much.
-- Invariant: nothing is held back before the first RESOURCE_EXHAUSTED, and then never for long; time is passed in.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local RATE, BURST = 90, 10         -- submits a second, and how many at once; the service's default limit is 100
local FIRST_HOLD, LAST_HOLD = 0.1, 0.25   -- seconds without any submit after a refusal,
local LAST_IDLE_HOLD = 5.0         -- where no job of ours is unfinished, whose end might make room
local LAST_PUSHBACK = 10.0         -- seconds that the server may ask for at most
local DECREASE = 0.9               -- of the jobs that the server had accepted and not finished
local CUT_INTERVAL = 1.0           -- seconds; refusals within it are one

-- How long to wait when the server wants that (retry_after, or nil), and we these seconds.
function M.pause(seconds, retry_after) return math.max(seconds, math.min(retry_after or 0, LAST_PUSHBACK)) end

local Pacing = {}
Pacing.__index = Pacing

function M.new(max_workers)
  return setmetatable({ max_workers = max_workers, limit = max_workers, held_until = 0, hold = FIRST_HOLD }, Pacing)
end

local function refill(self, now)
  self.tokens = math.min(BURST, self.tokens + RATE * math.max(0, now - self.filled_at))
  self.filled_at = now
end

-- The server has refused a submit. unfinished: the jobs that it had accepted and not finished. retry_after: the
-- seconds that it wants, or nil.
function Pacing:note_refusal(now, unfinished, retry_after)
  if now >= self.held_until then   -- the refusals of one burst are one
    self.held_until = now + M.pause(self.hold, retry_after)
    self.hold = math.min(2 * self.hold, unfinished > 0 and LAST_HOLD or LAST_IDLE_HOLD)
  end
  self.tokens, self.filled_at = 1, self.held_until   -- then one, to see
  if not self.cut_at or now - self.cut_at >= CUT_INTERVAL then
    self.cut_at = now
    self.limit = math.max(1, math.min(self.limit, DECREASE * unfinished))
  end
end

-- The server has accepted a submit: one more job for each limit's worth of them.
function Pacing:note_acceptance()
  if not self.tokens then return end
  self.hold = FIRST_HOLD
  self.limit = math.min(self.max_workers, self.limit + 1 / self.limit)
end

-- The server could not be reached: nothing is sent for seconds, or as long as it wants.
function Pacing:pause(now, seconds, retry_after)
  self.held_until = math.max(self.held_until, now + M.pause(seconds, retry_after))
end

-- How many jobs may be unfinished.
function Pacing:room() return math.floor(self.limit) end

-- Takes the right to one submit: true, or false and the time at which there may be one.
function Pacing:take(now)
  if now < self.held_until then return false, self.held_until end
  if not self.tokens then return true end
  refill(self, now)
  if self.tokens < 1 then return false, now + (1 - self.tokens) / RATE end
  self.tokens = self.tokens - 1
  return true
end

return M
