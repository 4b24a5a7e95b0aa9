-- Which slots of a shared batch this program draws, sends and waits for. Pure: what the database says is passed in.
-- Invariant: slots are drawn in order, each once; a slot is ready to be sent only when the batch holds it for this
-- worker, and the database has this program's hash for every claim up to the end of the slot's own.
--
--   a slot is        when                                       until
--   unclaimed        no program has claimed it                  a claim reaches over it
--   claimed          a claim is known, it was not drawn yet     it is drawn
--   held             drawn, own, and not all is compared yet    its claim and those before it are settled: ready
--   ready            it may be given to the run                 take: it is the run's
--   other            drawn, and another's or nobody's           its row has ended, or it is claimed here (ready)
--   told             own, and told of here before               it is let go, and not claimed here again
--   beyond           own, and this program has no such circuit  it is let go, or deleted with the batch's end
--
-- part (the worker was taken over) makes everything own another's.
--
-- A program that may not extend the batch has to end where the batch ends. One that may is a part of a longer batch, or
-- makes it longer once everything up to the batch's end is settled. One that runs failures again has nothing to draw:
-- it tries to claim each of them once, as they have ended; what it does not get is others'.
-- SPDX-License-Identifier: Apache-2.0
local queue = require "arvak.base.queue"

local M = {}

M.PAGE = 512   -- others that are drawn and not looked at yet, at most: what bounds memory where many have ended

local Claims = {}
Claims.__index = Claims

-- step(chain, hash): the hash of all circuits so far. options: own_total, how many circuits this program has, where it
-- knows; extends: this program may have fewer circuits than the batch, or more; follows: it is told how the circuits of
-- other programs end.
function M.new(step, options)
  return setmetatable({
    step = step, own_total = options.own_total, total = nil, extends = options.extends == true,
    follows = options.follows, is_part = false, has_more = false, position = 0, chain = "", hashes = {},
    claims = queue.new(), known_first = 0, known_last = 0, goal = 0,
    own = {}, own_count = 0, held = {}, ready = queue.new(), told = {}, beyond = {}, unwanted = {},
    others = {}, other_count = 0, unread = queue.new(), unsettled = queue.new(), passed_to = 0, is_drained = false,
    untried = queue.new(), cursor = 0,
  }, Claims)
end

-- Of a program that runs failures again. tries: slot, entry, and what it knows of them, in the order of the slots.
function M.again(tries)
  local last = tries[#tries] and tries[#tries].slot or 0
  local self = M.new(nil, { own_total = last, extends = true, follows = true })
  self.position, self.is_part, self.passed_to = last, true, math.maxinteger
  self.known_first, self.known_last = math.maxinteger, math.maxinteger
  for _, try in ipairs(tries) do self.untried:push(try) end
  return self
end

-- ---- what the database says

-- Claims, in the order of their slots: first_slot, last_slot, hash.
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
  if first == self.known_last + 1 then self:add_claims { { first_slot = first, last_slot = last } } end
  self.is_drained = false
end

-- The slots up to this one may be sent: no claim before it waits to be compared.
local function settled_to(self)
  local claim = self.unsettled:peek()
  return claim and claim.first_slot - 1 or self.passed_to
end

-- Those held that may be sent now are ready. They stand in the order of their slots.
local function release_held(self)
  local held, ready, last = self.held, self.ready, settled_to(self)
  local count = #held
  if count == 0 or held[1].slot > last then return end
  local kept = {}
  for i = 1, count do
    local one = held[i]
    if one.slot <= last then ready:push(one) else kept[#kept + 1] = one end
  end
  self.held = kept
end

local function hold(self, one)
  local held = self.held
  local place = #held + 1
  while place > 1 and held[place - 1].slot > one.slot do place = place - 1 end
  table.insert(held, place, one)
end

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
  local entry = drop_other(self, slot)
  if entry == nil then
    self.told[slot] = true
    self.unwanted[#self.unwanted + 1] = { slot = slot, row = row }
  else
    hold(self, { slot = slot, entry = entry, row = row })
    release_held(self)
  end
end

-- What is to be claimed again, count at most: tries; or, where something is free, slots of others that may be that.
function Claims:list_tries(count, is_free)
  local untried, list = self.untried, {}
  if not untried:is_empty() then
    return table.move(untried, untried.first, math.min(untried.last, untried.first + count - 1), 1, list)
  end
  local others = is_free and self:list_others() or list
  for _, slot in ipairs(others) do
    if slot > self.cursor and #list < M.PAGE then list[#list + 1] = { slot = slot } end
  end
  self.cursor = #list == M.PAGE and list[#list].slot or 0
  return list
end

-- They have been tried: what was not claimed is others'.
function Claims:note_tried(list)
  for _, try in ipairs(list) do
    if try.entry ~= nil then
      self.untried:pop()
      self:give_back(try.slot, try.entry)
    end
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

-- ---- the two ends

-- Whether this program's end fits the batch: true, or nil.
local function check_end(self)
  local own, total = self.own_total, self.total
  if not total or not own or own == total then return true end
  if self.extends then
    self.is_part = own < total
    return true
  end
  self.mismatch = { own_total = own, total = total }
  return nil
end

-- The end of a claim: true, or nil when it is another's batch.
local function pass(self, claim)
  self.claims:pop()
  if claim.hash and claim.hash ~= self.chain then
    self.mismatch = { first = claim.first_slot, last = claim.last_slot, hashes = self.hashes }
    return nil
  end
  if not claim.hash then
    self.unsettled:push { first_slot = claim.first_slot, last_slot = self.position, chain = self.chain,
      hashes = self.hashes }
  end
  self.hashes, self.passed_to = {}, self.position
  release_held(self)
  return true
end

-- This program has no more circuits. A claim that reaches beyond ends here with the batch; as a part of the batch this
-- program cannot compare it.
local function end_here(self)
  local claim = self.claims:peek()
  if self.total == self.own_total then
    if claim and self.position >= claim.first_slot then return pass(self, claim) end
  elseif self.extends then
    self.passed_to = self.position
    release_held(self)
  end
  return true
end

local function is_at_end(self) return self.own_total ~= nil and self.position >= self.own_total end

-- How many circuits the batch has: true, or nil when this program has another number.
function Claims:set_total(total)
  self.total = total
  if self.position > total then
    self.mismatch = { own_total = self.position, is_at_least = not is_at_end(self), total = total }
    return nil
  end
  if not check_end(self) then return nil end
  return not is_at_end(self) or end_here(self)
end

-- What this program has to tell the batch of its end, or nil: "end", that it is here; "last", the same, unless the
-- batch goes on; "more", that there is more than the batch has. A program that may be a part of the batch says its end
-- last, since others may have more.
function Claims:question()
  if self.mismatch then return nil end
  if self.total then
    local has_more = self.has_more or (self.own_total and self.own_total > self.total)
    return has_more and self.extends and self.position == self.total and self.unsettled:is_empty() and "more" or nil
  end
  if not is_at_end(self) or self.is_part then return nil end
  if not self.extends then return "end" end
  local is_last = self:waiting() == 0 and (self.other_count == 0 or not self.follows)
  return is_last and "last" or nil
end

-- Whether it is to be looked whether the iterator has more than the batch.
function Claims:is_at_total()
  return self.extends and self.total == self.position and not self.own_total and not self.has_more
    and (self.follows or self.is_drained)
end

-- The iterator has more.
function Claims:note_more() self.has_more = true end

-- The batch goes on beyond its former end, which is where this program is. total: its new end, or nil.
function Claims:grow(total)
  if total == self.total then return end
  self.claims = queue.new()   -- what was claimed beyond that end was cut
  self.known_first, self.known_last = self.total, self.total
  self.total, self.has_more, self.is_drained = total, false, false
  check_end(self)
end

-- The batch has not ended with this program.
function Claims:note_part() self.is_part = true end

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
    return not self.extends and (self.follows or self.own_count > 0) and 1 or 0
  end
  return math.min(last - self.position, M.PAGE, (self.total or math.huge) - self.position)
end

-- Whether more claims have to be read before more is drawn.
function Claims:needs_claims() return self.known_last < self.goal end

-- The next circuit was drawn: true, or nil when the batch is another's (mismatch says where). input: the circuit as it
-- was read, where this program has the claim; else nil.
function Claims:draw(entry, hash, input)
  local slot, total = self.position + 1, self.total
  if total and slot > total then
    self.mismatch = { own_total = slot, is_at_least = true, total = total }
    return nil
  end
  self.position, self.chain = slot, self.step(self.chain, hash)
  self.hashes[slot] = hash
  local row = self.own[slot]
  if row then
    self.own[slot], self.own_count = nil, self.own_count - 1
    hold(self, { slot = slot, entry = entry, row = row ~= true and row or nil, input = input })
  else
    self.others[slot], self.other_count = entry, self.other_count + 1
    self.unread:push(slot)
  end
  local claim = self.claims:peek()
  if claim and (slot >= claim.last_slot or slot == total) then return pass(self, claim) end
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

-- What this worker has claimed and does not go on with, for others: slots and rows. What it has beyond its program's
-- end waits until the batch's end is known, with which it may be deleted.
function Claims:take_unwanted()
  local list = self.unwanted
  if #list > 0 then self.unwanted = {} end
  if #self.beyond == 0 or not (self.total or self.is_part) then return list end
  if self.total ~= self.own_total then table.move(self.beyond, 1, #self.beyond, #list + 1, list) end
  self.beyond = {}
  return list
end

-- ---- the chain of hashes

-- The first claims that were passed and had no hash, count at most: first_slot, last_slot, and the chain that this
-- program would write. Whoever comes first writes it, one after the other: a claim is written only when those before it
-- have this program's hash.
function Claims:list_unsettled(count)
  local unsettled = self.unsettled
  return table.move(unsettled, unsettled.first, math.min(unsettled.last, unsettled.first + count - 1), 1, {})
end

-- What these claims have now: first_slot, hash. True, or nil when it is another's batch.
function Claims:settle(rows)
  local found = {}
  for _, row in ipairs(rows) do found[row.first_slot] = row.hash end
  while true do
    local claim = self.unsettled:peek()
    local hash = claim and found[claim.first_slot]
    if not hash then break end
    if hash ~= claim.chain then
      self.mismatch = { first = claim.first_slot, last = claim.last_slot, hashes = claim.hashes }
      return nil
    end
    self.unsettled:pop()
  end
  release_held(self)
  return true
end

-- ---- taking

-- The next slot to be sent: slot, entry, row (of an earlier owner, or nil), and what was read of it, or nil; or nil.
function Claims:take()
  local one = self.ready:pop()
  if one then return one.slot, one.entry, one.row, one.input end
end

-- Slots that were let go since they had been told of here.
function Claims:list_told()
  local list = {}
  for slot in pairs(self.told) do list[#list + 1] = slot end
  return list
end

-- Own slots that the run has not taken.
function Claims:waiting() return self.own_count + #self.held + self.ready:count() end

-- Whether a slot is own, and the run has not taken it.
function Claims:is_own(slot)
  if self.own[slot] then return true end
  for _, list in ipairs { self.beyond, self.unwanted } do
    for _, one in ipairs(list) do if one.slot == slot then return true end end
  end
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
  self.own, self.own_count, self.held, self.beyond, self.unwanted, self.is_drained = {}, 0, {}, {}, {}, false
end

-- Whether nothing is left of the batch for this program, once its own inputs have ended.
function Claims:is_over()
  if self:waiting() > 0 or not self.untried:is_empty() then return false end
  local is_end_known = is_at_end(self) and (self.total ~= nil or self.is_part)
  if not self.follows then return self.is_drained and (is_end_known or not (self.extends or is_at_end(self))) end
  return is_end_known and self.other_count == 0
end

return M
