-- What a program that shares its batch asks the database: how far the others are, which of them are dead, and what it
-- may claim.
-- Invariant: one look is under way at a time; what it finds is told to the claims, and ends of others to the run.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local identities = require "arvak.batch.journal.identity"
local sql = require "arvak.batch.shared.sql"
local strays = require "arvak.async.strays"

local M = {}

local SOON, LATE = 0.1, 0.5   -- seconds between two looks: when something has come, and at most
local SETTLED = 16            -- claims that are compared together
local PAGE = 256              -- rows of a look
local AHEAD = 1 / 2           -- of max_workers: slots that are claimed before there are places
local CLAIM, MOST = 1, 4      -- of max_workers: slots of one claim, at first and at most
local OFTEN = 0.1             -- seconds between two claims, below which they grow

local Reading = {}
Reading.__index = Reading

-- shared: of shared.lua.
function M.new(shared)
  return setmetatable({
    shared = shared, link = shared.link, claims = shared.claims, source = shared.source, run = shared.run,
    look_at = 0, pause = SOON, busy = {}, is_said = {}, free = 0, remaining = nil, cursor = 0, bury_at = 0,
    sweep_at = core.now() + shared.link.lease, claimed_at = 0, quick_claims = 0,
    claim_size = math.ceil(CLAIM * shared.run.max_workers),
  }, Reading)
end

-- ---- questions, one of a kind at a time on each connection

local function is_busy(self, kind) return self.busy[kind] == self.link.generation end

local function ask(self, kind, mode, list, on_answer)
  self.busy[kind] = self.link.generation
  self.link:query(mode, list, function(outcome)
    self.busy[kind] = nil
    on_answer(outcome)
  end, function() self.busy[kind] = nil end)
end

-- ---- looking

-- The row of the batch: total, next_slot, free.
function Reading:note_state(row)
  self.free = row.free
  if row.total and not self.claims.total then self.claims:set_total(row.total) end   -- it may have grown since
  local total = self.claims.total
  self.remaining = total and math.max(0, total - row.next_slot + 1) or nil
  local own = self.claims.own_total
  local has_more = (not total or row.next_slot <= total) and (not own or row.next_slot <= own)
  if row.free > 0 or has_more then self.claims.is_drained = false end
  self.look_at = 0
end

-- The slots whose ends are looked for next, and whether there are more.
local function next_slots(self)
  local slots = self.claims:take_unread(PAGE)
  if #slots > 0 then return slots, true end
  local others = self.claims:list_others()
  for _, slot in ipairs(others) do
    if slot > self.cursor and #slots < PAGE then slots[#slots + 1] = slot end
  end
  if #slots < PAGE then
    self.cursor = 0
    return slots, false
  end
  self.cursor = slots[#slots]
  return slots, true
end

local function note_workers(self, list, now)
  local own, oldest = self.link.member.worker, nil
  self.shared.workers = #list
  self.expired = false
  for _, row in ipairs(list) do
    if row.worker ~= own and row.age > row.lease and self.link.member:stood_for(now) >= row.lease then
      self.expired = true
      oldest = math.max(oldest or 0, row.age / row.lease)
    end
  end
  self.is_held = oldest ~= nil and oldest > 2
end

local function on_look(self, outcome, has_more)
  local now, places = core.now(), self.places
  self:note_state(outcome[1][1])
  note_workers(self, outcome[2], now)
  local found = #outcome[3]
  self.claims:add_claims(outcome[3])
  if found == PAGE then has_more = true end
  for _, row in ipairs(places.ends and outcome[places.ends] or {}) do
    self.shared:note_other(row)
    found = found + 1
  end
  self.pause = found > 0 and SOON or math.min(LATE, self.pause * 1.3)
  self.look_at = has_more and now or now + self.pause
  self.run:wake()
end

local function look(self)
  local batch, places = self.link.batch, {}
  local list = { { sql.read_state, batch }, { sql.read_workers, batch },
    { sql.read_claims, batch, self.claims.known_first, PAGE } }
  local slots, has_more = next_slots(self)
  if #slots > 0 then
    list[#list + 1] = { sql.read_ends, batch, slots }
    places.ends = #list
  end
  self.places = places
  ask(self, "look", "read", list, function(outcome) on_look(self, outcome, has_more) end)
end

-- ---- those that are dead

-- Says once of a dead worker why nobody can take its circuits over: its session cannot be ended from here.
local function note_held_row(self, row)
  if row.is_ended or self.is_said[row.worker] then return end
  self.is_said[row.worker] = true
  local session = row.pid and string.format("session %d of the user %s, which this user may not end", row.pid,
    row.usename) or "a session that this user does not see"
  strays.say(tostring(self.link:failure("waits for a dead worker", string.format("the row of %s is held by %s: let an "
    .. "administrator end it with pg_terminate_backend", row.name, session))))
end

local function bury(self, now)
  local batch, worker, stood = self.link.batch, self.link.member.worker, self.link.member:stood_for(now)
  self.bury_at, self.sweep_at = now + math.max(0.2, self.link.lease / 4), now + self.link.lease
  ask(self, "bury", "write", { { sql.declare_dead, batch, worker, stood + 0.0 }, { sql.free_items, batch } },
    function(outcome)
      if #outcome[2] == 0 then return end
      self.free, self.claims.is_drained, self.look_at = self.free + #outcome[2], false, 0
      self.run:wake()
    end)
  if not self.is_held or is_busy(self, "kill") then return end
  ask(self, "kill", "raw", { { sql.end_sessions, batch, worker, stood + 0.0 } }, function(outcome)
    for _, row in ipairs(outcome[1]) do note_held_row(self, row) end
  end)
end

-- ---- the two ends

-- What the batch says to the end of this program.
local function on_end(self, question, row)
  local claims = self.claims
  if question == "more" then
    claims:grow(row.total)
  elseif not row.total and question == "last" then
    claims:note_part()
  elseif not row.total then
    claims.mismatch = { own_total = claims.own_total, total = claims.own_total + 1, has_more = true }
  end
  self:note_state(row)
  self.run:wake()
end

local function tell_end(self, question)
  local batch, claims = self.link.batch, self.claims
  local list = { { sql.cut_items, batch }, { sql.cut_claims, batch }, { sql.shorten_claims, batch },
    { sql.read_state, batch } }
  if question == "more" then
    table.insert(list, 4, { sql.extend, batch, claims.total, claims.own_total, n = 4 })
  elseif question == "last" then
    table.insert(list, 1, { sql.end_part, batch, claims.own_total, self.link.member.worker })
  else
    table.insert(list, 1, { sql.end_batch, batch, claims.own_total })
  end
  ask(self, "end", "raw", list, function(outcome) on_end(self, question, outcome[5][1]) end)
end

-- Claims that this program has passed before anybody: nothing of them, or of what follows, is sent before they have its
-- hash.
local function settle(self)
  local batch, list, firsts, before = self.link.batch, {}, {}, {}
  for i, claim in ipairs(self.claims:list_unsettled(SETTLED)) do
    list[i] = { sql.settle, batch, claim.first_slot, claim.last_slot, claim.chain, before.first_slot, before.chain,
      n = 7 }
    firsts[i], before = claim.first_slot, claim
  end
  list[#list + 1] = { sql.read_settled, batch, firsts }
  ask(self, "settle", "raw", list, function(outcome)
    local rows, claims = outcome[#list], self.claims
    local total = rows[1] and rows[1].total
    if total and not claims.total then claims:set_total(total) end   -- which may have cut a claim that was passed
    if not claims.mismatch then claims:settle(rows) end
    self.run:wake()
  end)
end

-- Own slots lie beyond the claims that are known.
local function read_way(self)
  ask(self, "way", "read", { { sql.read_claims, self.link.batch, self.claims.known_first, PAGE } }, function(outcome)
    self.claims:add_claims(outcome[1])
    self.run:wake()
  end)
end

-- Asks what is due.
function Reading:turn(now)
  if not self.link:is_up() then return end
  local question = self.claims:question()
  if question and not is_busy(self, "end") then tell_end(self, question) end
  if not self.claims.unsettled:is_empty() and not is_busy(self, "settle") then settle(self) end
  if self.claims:needs_claims() and not is_busy(self, "way") then read_way(self) end
  if now >= self.look_at and not is_busy(self, "look") then look(self) end
  local is_due = self.expired and now >= self.bury_at or now >= self.sweep_at   -- items that were locked before
  if is_due and not is_busy(self, "bury") then bury(self, now) end
end

function Reading:next_time()
  if not self.link:is_up() or is_busy(self, "look") then return nil end
  return self.look_at
end

-- ---- claims

-- A worker whose jobs are short would claim too often: its claims grow, and shrink again when the jobs get longer, so
-- that it never holds much more than it sends in a moment. The second claim of a program follows the first at once,
-- whatever its jobs are; the third one tells.
local function adapt_claims(self, now)
  local pause, workers = now - self.claimed_at, self.run.max_workers
  self.claimed_at, self.quick_claims = now, pause < OFTEN and self.quick_claims + 1 or 0
  if self.quick_claims > 1 then
    self.claim_size = math.min(2 * self.claim_size, MOST * workers)
  elseif pause > 3 * OFTEN then
    self.claim_size = math.max(self.claim_size // 2, math.ceil(CLAIM * workers))
  end
end

-- How many slots a claim takes: fewer towards the end, so that all workers end together.
local function size_of_claim(self, short)
  adapt_claims(self, core.now())
  local most = math.max(short, self.claim_size)
  if not self.remaining then return most end
  return math.max(1, math.min(most, math.ceil(self.remaining / (2 * math.max(1, self.shared.workers)))))
end

-- After a cut: of the rows that this worker has, those that it did not know of, since it has not heard of a claim.
function Reading:note_held(held)
  for _, row in ipairs(held) do
    local slot = row.slot
    local is_known = self.run.inputs:get(slot) or self.shared.filling.changes[slot] or self.claims:is_own(slot)
    if not is_known then self.claims:own_free(slot, row) end
  end
end

local function on_range(self, outcome)
  local row = outcome[1][1]
  if row.total and not self.claims.total then self.claims:set_total(row.total) end
  if row.first_slot then
    self.claims:own_range(row.first_slot, row.last_slot)
    if self.remaining then self.remaining = math.max(0, self.claims.total - row.last_slot) end
  else
    self.claims:drain()
  end
end

local function on_free(self, outcome)
  local list = outcome[1]
  for i = 2, #list do self.claims:own_free(list[i].slot, list[i]) end
  self.free = #list > 1 and math.max(0, self.free - (#list - 1)) or 0
end

local function on_claim(self, is_free, fate, outcome)
  if fate ~= "done" or not outcome then return end
  if is_free then on_free(self, outcome) else on_range(self, outcome) end
  self.run:wake()
end

-- What failed, and is to run again.
local function claim_again(self, size)
  local claims, member = self.claims, self.link.member
  local list = claims:list_tries(size, self.free > 0)
  self.free = 0
  if #list == 0 then return end
  self.link:write("claim", true, function(transaction, seq)
    transaction:add(sql.claim_again, member.worker, member.epoch, member.session, seq, self.source:arrays_of(list))
  end, function(fate, outcome)
    if fate == "done" then claims:note_tried(list) end
    on_claim(self, true, fate, outcome)
  end)
end

-- Claims more slots, if the run wants some and there are any.
function Reading:claim()
  local claims, member, link = self.claims, self.link.member, self.link
  local ahead = math.ceil(AHEAD * self.run.max_workers)
  local short = math.max(self.source.wanted, ahead) - claims:waiting()
  self.source.wanted = 0
  if short <= 0 or claims.is_drained or claims.mismatch then return end
  if self.source.is_again then return claim_again(self, short) end
  local is_free = self.free > 0
  local size = is_free and short or size_of_claim(self, short)
  link:write("claim", true, function(transaction, seq)
    if is_free then
      transaction:add(sql.claim_free, member.worker, member.epoch, member.session, seq, size, claims.own_total,
        claims:list_told())
    else
      transaction:add(sql.claim_range, member.worker, member.epoch, member.session, seq, size, claims.own_total)
    end
  end, function(fate, outcome) on_claim(self, is_free, fate, outcome) end)
end

-- ---- another's batch

local function stop(self, why, index)
  self.run.is_refused = true
  self.run:stop(self.link:failure("is refused", identities.refusal(why, index)))
end

local function count_of(mismatch)
  return string.format("it has %s%d circuits, these are %s%d", mismatch.has_more and "at least " or "", mismatch.total,
    mismatch.is_at_least and "at least " or "", mismatch.own_total)
end

-- A write did not find the rows that are this worker's: they were cut with the end of the batch, or somebody else has
-- changed them.
function Reading:find_change()
  if is_busy(self, "change") or self.claims.mismatch then return end
  ask(self, "change", "raw", { { sql.read_state, self.link.batch } }, function(outcome)
    local row = outcome[1][1]
    if row then self:note_state(row) end
    self.run:wake()
    if self.claims.mismatch or self.run.stopped_by or self.shared:forget_unwanted() then return end
    self.shared:fail(self.link:failure("cannot be written", "rows that are this program's were changed or removed by "
      .. "somebody else"))
  end)
end

-- This row is of another batch.
function Reading:refuse_row(index) stop(self, identities.ANOTHER_CIRCUIT, index) end

-- Finds the row that differs, where there is one, and stops the batch.
function Reading:refuse()
  local mismatch = self.claims.mismatch
  if mismatch.total then return stop(self, count_of(mismatch)) end
  if is_busy(self, "refuse") or not self.link:is_up() then return end
  ask(self, "refuse", "raw", { { sql.read_hashes, self.link.batch, mismatch.first, mismatch.last } }, function(outcome)
    for _, row in ipairs(outcome[1]) do
      local own = mismatch.hashes[row.slot]
      if own and own ~= row.circuit_hash then return stop(self, identities.ANOTHER_CIRCUIT, row.slot) end
    end
    stop(self, string.format("the circuits %d to %d, or some before them, differ", mismatch.first, mismatch.last))
  end)
end

return M
