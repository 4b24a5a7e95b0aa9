-- Which slots of a shared batch this program draws, sends and waits for. Pure: what the database says is passed in.
-- Invariant: slots are drawn in order, each once; a slot is ready to be sent only when the batch holds it for this
-- worker and all circuits up to the end of its claim have been compared with what other programs drew.
--
--   a slot is        when                                       until
--   unclaimed        no program has claimed it                  a claim reaches over it
--   claimed          a claim is known, it was not drawn yet     it is drawn
--   held             drawn, own, its claim's end not reached    the claim's end was compared: ready
--   ready            it may be given to the run                 take: it is the run's
--   other            drawn, and another's or nobody's           its row has ended, or it is claimed here (ready)
--   stuck            own, and ended here before                 this program ends
--   beyond           own, and this program has no such circuit  it is let go, or deleted with the batch's end
--
-- part (the worker was taken over) makes everything own another's.
-- SPDX-License-Identifier: Apache-2.0
local queue = require "arvak.base.queue"

local M = {}

M.PAGE = 512   -- others that are drawn and not looked at yet, at most: what bounds memory where many have ended

local Claims = {}
Claims.__index = Claims

-- step(chain, hash): the hash of all circuits so far. options: own_total, how many circuits this program has, where it
-- knows; total, how many the batch has, where that is known; may_be_prefix, whether this program may have fewer;
-- follows, whether it is told of others' ends.
function M.new(step, options)
  return setmetatable({
    step = step, own_total = options.own_total, total = options.total, may_be_prefix = options.may_be_prefix,
    follows = options.follows, position = 0, chain = "", hashes = {},
    claims = queue.new(), known_first = 0, known_last = 0, goal = 0,
    own = {}, own_count = 0, held = {}, ready = queue.new(), stuck = {}, beyond = {},
    others = {}, other_count = 0, unread = queue.new(), pending = {}, pending_count = 0, to_write = {},
    is_drained = false,
  }, Claims)
end

-- ---- what the database says

-- Claims, in the order of their slots: first_slot, last_slot, hash, is_mine.
function Claims:add_claims(rows)
  for _, row in ipairs(rows) do
    if row.first_slot > self.known_first then
      self.claims:push(row)
      self.known_first, self.known_last = row.first_slot, row.last_slot
    end
  end
end

-- A slot that this program has not drawn yet is its own; row: what an earlier owner has left, or true.
local function own_ahead(self, slot, row)
  if self.own_total and slot > self.own_total then
    self.beyond[#self.beyond + 1] = { slot = slot, row = row ~= true and row or nil }
    return
  end
  if not self.own[slot] then self.own_count = self.own_count + 1 end
  self.own[slot] = row
  self.goal = math.max(self.goal, slot)
end

-- This worker has claimed a range. If it follows the last claim that is known, no other lies in between.
function Claims:own_range(first, last)
  for slot = first, last do own_ahead(self, slot, true) end
  if first == self.known_last + 1 then
    self:add_claims { { first_slot = first, last_slot = last, is_mine = true } }
  end
  self.is_drained = false
end

local function give(self, slot, entry, row) self.ready:push { slot = slot, entry = entry, row = row } end

local function drop_other(self, slot)
  local entry = self.others[slot]
  if entry == nil then return nil end
  self.others[slot] = nil
  self.other_count = self.other_count - 1
  return entry
end

-- This worker has claimed a slot that was free: what its row says.
function Claims:own_free(slot, row)
  if slot > self.position then return own_ahead(self, slot, row) end
  local entry, claim = drop_other(self, slot), self.claims:peek()
  if entry == nil then
    self.stuck[slot] = true
  elseif claim and slot >= claim.first_slot then
    self.held[#self.held + 1] = { slot = slot, entry = entry, row = row }
  else
    give(self, slot, entry, row)
  end
end

-- A claim found nothing: there is none to be claimed any more, but for what becomes free.
function Claims:drain() self.is_drained = true end

-- Others' slots that have not been looked at since they were drawn, count at most.
function Claims:take_unread(count)
  local list = {}
  while #list < count do
    local slot = self.unread:pop()
    if not slot then break end
    if self.others[slot] ~= nil then list[#list + 1] = slot end
  end
  return list
end

-- All slots of others, in order.
function Claims:list_others()
  local list = {}
  for slot in pairs(self.others) do list[#list + 1] = slot end
  table.sort(list)
  return list
end

-- Another's slot has ended: its entry, or nil when that was known.
function Claims:note_end(slot) return drop_other(self, slot) end

-- Whether this program's end fits the batch: true, or nil.
local function check_end(self)
  if not self.total or not self.own_total or self.own_total == self.total then return true end
  if self.own_total < self.total and self.may_be_prefix then return true end
  self.mismatch = { own_total = self.own_total, total = self.total }
  return nil
end

-- How many circuits the batch has: true, or nil when this program has another number.
function Claims:set_total(total)
  self.total = total
  if not self.own_total and self.position > total then
    self.mismatch = { own_total = self.position, is_at_least = true, total = total }
  end
  return self.mismatch == nil and check_end(self) or nil
end

-- ---- drawing

-- How many entries are to be drawn now.
function Claims:room()
  if self.mismatch or self.own_total and self.position >= self.own_total then return 0 end
  if self.unread:count() >= M.PAGE then return 0 end
  local last = self.known_last
  if not self.follows and not self.is_drained then
    if self.position >= self.goal then return 0 end
    for i = self.claims.first, self.claims.last do   -- the first claim that ends there or later
      last = self.claims[i].last_slot
      if last >= self.goal then break end
    end
  end
  if self.total and self.position >= self.total then   -- does the iterator end here, too?
    return (self.follows or self.own_count > 0) and 1 or 0
  end
  return math.min(last - self.position, M.PAGE)
end

-- Whether more claims have to be read before more is drawn.
function Claims:needs_claims() return self.known_last < self.goal end

local function release_held(self)
  for _, one in ipairs(self.held) do give(self, one.slot, one.entry, one.row) end
  self.held = {}
end

-- The end of a claim: true, or nil when it is another's batch.
local function pass(self, claim)
  self.claims:pop()
  if claim.hash and claim.hash ~= self.chain then
    self.mismatch = { first = claim.first_slot, last = claim.last_slot, hashes = self.hashes }
    return nil
  elseif not claim.hash and claim.is_mine then
    self.to_write[claim.first_slot] = self.chain
  elseif not claim.hash then
    self.pending[claim.first_slot] = self.chain
    self.pending_count = self.pending_count + 1
  end
  self.hashes = {}
  release_held(self)
  return true
end

-- This program has no more circuits: the end of a claim that reaches beyond is here, unless it is that of others.
local function end_here(self)
  local claim = self.claims:peek()
  local is_prefix = self.total and self.own_total < self.total
  if claim and self.position >= claim.first_slot and not is_prefix then return pass(self, claim) end
  release_held(self)
  return true
end

-- The next circuit was drawn: true, or nil when the batch is another's (mismatch says where).
function Claims:draw(entry, hash)
  local slot = self.position + 1
  if self.total and slot > self.total then
    self.mismatch = { own_total = slot, is_at_least = true, total = self.total }
    return nil
  end
  self.position, self.chain = slot, self.step(self.chain, hash)
  self.hashes[slot] = hash
  local row = self.own[slot]
  if row then
    self.own[slot], self.own_count = nil, self.own_count - 1
    self.held[#self.held + 1] = { slot = slot, entry = entry, row = row ~= true and row or nil }
  else
    self.others[slot], self.other_count = entry, self.other_count + 1
    self.unread:push(slot)
  end
  local claim = self.claims:peek()
  if claim and slot >= math.min(claim.last_slot, self.total or claim.last_slot) then return pass(self, claim) end
  return slot ~= self.own_total or end_here(self)
end

-- The iterator has ended: true; nil when the batch has other circuits, or another number of them.
function Claims:end_source()
  self.own_total = self.position
  for slot, row in pairs(self.own) do
    self.beyond[#self.beyond + 1] = { slot = slot, row = row ~= true and row or nil }
  end
  self.own, self.own_count = {}, 0
  return check_end(self) and end_here(self)
end

-- What this worker has claimed beyond its program's end, where the batch goes on: slots and rows, for others.
function Claims:take_beyond()
  if #self.beyond == 0 or not self.total then return {} end
  local list = self.beyond
  self.beyond = {}
  return self.total > self.own_total and list or {}   -- what is beyond the batch's end is deleted
end

-- ---- the chain of hashes

-- Claims that had no hash, looked at again. Gives those that are left without one, for ever: first_slot and hash.
function Claims:compare_pending(rows)
  local left = {}
  for _, row in ipairs(rows) do
    local chain = self.pending[row.first_slot]
    if chain and row.hash and row.hash ~= chain then
      self.mismatch = self.mismatch or { first = row.first_slot, last = row.last_slot, hashes = {} }
    elseif chain and not row.hash and row.is_left then
      left[#left + 1] = { first_slot = row.first_slot, hash = chain }
    end
    if chain and row.hash then
      self.pending[row.first_slot], self.pending_count = nil, self.pending_count - 1
    end
  end
  return left
end

-- Own hashes to be written, and that they were: none while nobody knows whether the batch ends where this program does.
function Claims:unwritten_hashes()
  local firsts, hashes = {}, {}
  if self.own_total and not self.total then return firsts, hashes end
  for first, hash in pairs(self.to_write) do
    firsts[#firsts + 1], hashes[#hashes + 1] = first, hash
  end
  return firsts, hashes
end

function Claims:note_hashes(firsts)
  for _, first in ipairs(firsts) do self.to_write[first] = nil end
end

-- ---- taking

-- The next slot to be sent: slot, entry, row (of an earlier owner, or nil); or nil.
function Claims:take()
  local one = self.ready:pop()
  if one then return one.slot, one.entry, one.row end
end

-- Own slots that the run has not taken.
function Claims:waiting() return self.own_count + #self.held + self.ready:count() end

-- Whether a slot is own, and the run has not taken it.
function Claims:is_own(slot)
  if self.own[slot] or self.stuck[slot] then return true end
  for _, one in ipairs(self.beyond) do if one.slot == slot then return true end end
  for _, one in ipairs(self.held) do if one.slot == slot then return true end end
  for i = self.ready.first, self.ready.last do if self.ready[i].slot == slot then return true end end
  return false
end

-- An input that the run had is another's now.
function Claims:give_back(slot, entry)
  self.others[slot], self.other_count = entry, self.other_count + 1
  self.unread:push(slot)
end

-- The worker was taken over: nothing is its own.
function Claims:part()
  for _, one in ipairs(self.held) do self:give_back(one.slot, one.entry) end
  while true do
    local one = self.ready:pop()
    if not one then break end
    self:give_back(one.slot, one.entry)
  end
  self.own, self.own_count, self.held, self.stuck, self.beyond, self.is_drained = {}, 0, {}, {}, {}, false
  for i = self.claims.first, self.claims.last do self.claims[i].is_mine = false end
  for first, chain in pairs(self.to_write) do
    self.pending[first], self.pending_count = chain, self.pending_count + 1
  end
  self.to_write = {}
end

-- Whether nothing is left of the batch for this program, once its own inputs have ended.
function Claims:is_over()
  if self:waiting() > 0 then return false end
  if not self.follows then return self.is_drained end
  return self.own_total ~= nil and self.position >= self.own_total and self.other_count == 0
end

return M
