-- How long the jobs of a client take, learned from those that have ended, so that the next ones are looked at about
-- when they end. Pure but for the table of clients.
-- Invariant: what is typical is shorter than what three quarters of the jobs lately took.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local SAMPLES, RECOUNT = 16, 8   -- jobs remembered; how many new ones change what is typical
local SHARE = 0.9                -- of the time until a job's end was seen, where nobody looked shortly before: so what
                                 -- is learned too long soon falls to the truth, at the price of a look or two

local Durations = {}
Durations.__index = Durations

function M.new() return setmetatable({ count = 0 }, Durations) end

-- A job was last seen running after `pending` seconds, and had ended after `ended`.
function Durations:note(pending, ended)
  local count = self.count
  self[count % SAMPLES + 1] = pending > ended / 2 and (pending + ended) / 2 or SHARE * ended
  self.count = count + 1
  if count >= RECOUNT and count % RECOUNT ~= 0 then return end
  local sorted = table.move(self, 1, #self, 1, {})
  table.sort(sorted)
  self.quarter = sorted[(#sorted + 3) // 4]
end

-- Seconds from submission after which looking has a point, or nil: nothing is known.
function Durations:typical() return self.quarter end

local of_client = setmetatable({}, { __mode = "k" })

-- What a client's waits share.
function M.of(client)
  local durations = of_client[client]
  if not durations then
    durations = M.new()
    of_client[client] = durations
  end
  return durations
end

return M
