-- How long a batch bears a server that fails, that refuses every submit, or that a breaker keeps it from.
-- Invariant: each of the three has a bound, and the error says which, with the server's words. Pure: time is passed in.
-- SPDX-License-Identifier: Apache-2.0
local text = require "arvak.base.text"

local M = {}

M.REFUSALS = 60.0   -- seconds that a server may refuse every submit while no job of the batch is unfinished

local Patience = {}
Patience.__index = Patience

-- seconds: how long the server may fail without a break.
function M.new(now, seconds)
  return setmetatable({ seconds = seconds, answered_at = now, accepted_at = now }, Patience)
end

local function words(err) return err.message or err.kind end

-- The server has answered, whatever it was.
function Patience:note_answer(now)
  self.failing_since, self.breaker_until, self.refused_by, self.answered_at = nil, nil, nil, now
end

-- The breaker lets a probe through once retry_after is over. One that is forced open never does.
local function note_breaker(self, now, err)
  self.refused_by = self.refused_by or { since = now, err = err }
  self.breaker_until = self.breaker_until or now + (err.retry_after or 0) + self.seconds
  if now < self.breaker_until then return nil end
  return string.format("the breaker has let no call through for %s s: %s", text.seconds(self.seconds), words(err))
end

-- A call has failed: why the server is given up, or nil.
function Patience:note_failure(now, err)
  if err.kind == "circuit_open" then return note_breaker(self, now, err) end
  self.breaker_until, self.refused_by, self.failure = nil, nil, err
  self.failing_since = self.failing_since or math.max(now - (err.elapsed or 0), self.answered_at)
  if now - self.failing_since < self.seconds then return nil end
  return string.format("the server has failed for %s s without a break: %s", text.seconds(self.seconds), words(err))
end

-- The server has refused a submit as too much, while as many jobs were unfinished: why it is given up, or nil. A call
-- that took err.elapsed seconds was refused all the time.
function Patience:note_refusal(now, err, unfinished)
  self:note_answer(now)
  if unfinished > 0 then self.refused_since = now end
  self.refused_since = self.refused_since or math.max(now - (err.elapsed or 0), self.accepted_at)
  self.refusal = err
  if now - self.refused_since < M.REFUSALS then return nil end
  return string.format("the server has refused every submit for %s s: %s", text.seconds(M.REFUSALS), words(err))
end

-- The server has taken a submit.
function Patience:note_acceptance(now)
  self:note_answer(now)
  self.refused_since, self.refusal, self.accepted_at = nil, nil, now
end

-- What keeps the batch from its end at the moment: a text, the last error of that kind, and since when; or nil.
-- unfinished: how many jobs the batch has; with some, refusals are the server's way to say that these are enough.
-- refused: the error of the client's submits, which have been refused for its elapsed seconds; nil: they are not.
function Patience:trouble(now, unfinished, refused)
  local since, what, err = self.refused_since, "the server has refused every submit", self.refusal
  if not since and refused then since, err = now - refused.elapsed, refused end
  if unfinished > 0 then since = nil end
  if self.failing_since then
    since, what, err = self.failing_since, "the server has failed", self.failure
  elseif self.refused_by then
    since, what, err = self.refused_by.since, "the breaker has let no call through", self.refused_by.err
  end
  if not since then return nil end
  return string.format("%s for %s s: %s", what, text.format_number("%.1f", now - since), words(err)), err, since
end

return M
