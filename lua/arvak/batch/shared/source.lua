-- The source of a run that shares its batch: the program's own entries are all drawn here, in order, hashed and
-- compared; the run gets those that its worker has claimed.
-- Invariant: the program's source is drawn as far as claims reach, and each entry once.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local entries = require "arvak.streams.entries"
local identities = require "arvak.batch.journal.identity"
local claims = require "arvak.batch.shared.claims"
local inputs = require "arvak.batch.inputs"
local source = require "arvak.async.source"

local M = {}

-- What inputs.plan says of a failure, as the state from which it goes on.
local next_states = { new = "claimed", attach = "submitted", again = "intent" }
local UNREADABLE = "-"   -- in place of the hash of an entry that cannot be read

local Source = {}
Source.__index = Source

local function step(chain, hash) return core.sha256(chain .. hash) end

-- inner: the program's source. options: share, extend.
function M.new(inner, backend_id, options)
  local self = setmetatable({
    inner = inner, backend_id = backend_id, follows = options.share ~= "mine", wanted = 0, rows = {},
    is_again = false, hashes = {}, raised = false, is_over = false, is_stopped = false, drawn = 0,
    own_total = inner.total or nil, total = false,
  }, Source)
  self.claims = claims.new(step, { own_total = self.own_total, extends = options.extend == true,
    follows = self.follows })
  self.total = self.follows and self.own_total or false
  inner.wake = function()
    self.raised = inner.raised
    self.wake()
  end
  return self
end

local function hash_of(self, index, entry)
  local input = entries.read(entry, index, self.backend_id)
  return input and identities.hash(input) or UNREADABLE
end

-- The hash of an entry that is this program's own, and the input that was read of it, or nil.
local function read_own(self, index, entry)
  local input = entries.take(entry, index, self.backend_id, inputs.blank(index))
  if not input then return UNREADABLE end
  input.hash = identities.hash(input)
  return input.hash, input
end

-- From which state an item of an earlier run goes on, or nil where it is kept; and the state in which it is now.
local function next_state(item, resubmits)
  local state = inputs.journal_state(item)
  local plan = inputs.plan({ state = state, job_id = item.job_id, err = item.err }, resubmits, true)
  return next_states[plan], state
end

-- What of these inputs is run again: the entries of those that have failed, and their items, by index, in the order of
-- indexes. options: of the batch.
function M.again(entries_of, items, indexes, backend_id, options)
  local tries = {}
  local self = M.new(source.from_list {}, backend_id, options)
  for _, index in ipairs(indexes) do
    local item, entry = items[index], entries_of[index]
    local next, state = next_state(item, options.on_unknown == "resubmit")
    tries[#tries + 1] = { slot = index, entry = entry, state = state, job_id = item.job_id, next = next }
    self.hashes[index] = hash_of(self, index, entry)
  end
  self.claims, self.is_again, self.follows = claims.again(tries), true, true
  self.own_total, self.total, self.drawn = nil, #tries, #tries
  return self
end

-- The arrays of a claim of tries.
function Source:arrays_of(list)
  local columns = { {}, {}, {}, {}, {} }
  for i, try in ipairs(list) do
    columns[1][i], columns[2][i], columns[3][i] = try.slot, try.state, try.job_id
    columns[4][i], columns[5][i] = try.next, self.hashes[try.slot]
  end
  for _, column in ipairs(columns) do column.n = #list end
  return table.unpack(columns)
end

-- Whether another's row is of this program's circuit, where that was not compared before.
function Source:is_of(row)
  return not self.is_again or not row.circuit_hash or row.circuit_hash == self.hashes[row.slot]
end

local function note_source_end(self)
  if not self.claims.own_total and self.inner:is_exhausted() and self.inner.total then self.claims:end_source() end
end

-- The batch ends here: does the iterator?
local function look_beyond(self)
  self.inner:want(1)
  if self.inner:has_next() then return self.claims:note_more() end
  note_source_end(self)
end

-- Draws as far as claims reach. The mismatch of the claims says when these are not the circuits of the batch.
function Source:pull()
  if self.is_stopped then return end
  local all = self.claims
  local room = all:room()
  if room == 0 then return all:is_at_total() and look_beyond(self) end
  self.inner:want(room)
  while room > 0 do
    local index, entry = self.inner:take()
    if not index then break end
    local hash, input = (all.own[index] and read_own or hash_of)(self, index, entry)
    if not all:draw(entry, hash, input) then return end
    room = room - 1
  end
  if room > 0 then note_source_end(self) end
  if self.follows then self.drawn, self.total = all.position, all.total or all.own_total or false end
end

-- So many entries are wanted.
function Source:want(count) self.wanted = count end

-- The next index and entry, and the input where it was read already; or nil. Its row, if an earlier owner has left one,
-- is in rows.
function Source:take()
  if self.is_stopped then return nil end
  self:pull()
  if self.claims.mismatch then return nil end
  local slot, entry, row, input = self.claims:take()
  if not slot then return nil end
  if row then self.rows[slot] = row end
  if not self.follows then self.drawn = self.drawn + 1 end
  return slot, entry, input
end

-- What the batch knows of a slot that was taken, once.
function Source:take_row(slot)
  local row = self.rows[slot]
  if row then self.rows[slot] = nil end
  return row
end

function Source:is_exhausted() return self.is_stopped or self.is_over or self.claims:is_over() end

function Source:stop()
  self.is_stopped = true
  self.inner:stop()
end

return M
