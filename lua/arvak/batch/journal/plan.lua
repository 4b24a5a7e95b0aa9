-- What a batch would do with its journal: the decisions of a resume, without their consequences.
-- Invariant: for each input it decides as commits.lua and inputs.plan do for a run, and it changes nothing.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local entries = require "arvak.streams.entries"
local identities = require "arvak.batch.journal.identity"
local inputs = require "arvak.batch.inputs"
local rows = require "arvak.batch.journal.rows"

local M = {}

-- The arguments of a plan, checked: list or draw, backend_id, resubmits, extend.
function M.check(circuits, backend_id, options)
  options = check.options(options, "plan", { on_unknown = true, extend = true })
  if options.on_unknown ~= nil and options.on_unknown ~= "fail" and options.on_unknown ~= "resubmit" then
    check.misuse('on_unknown: got %s, expected "fail" or "resubmit"', core.describe(options.on_unknown))
  end
  if options.extend ~= nil and type(options.extend) ~= "boolean" then
    check.misuse("extend: got %s, expected true or false", core.describe(options.extend))
  end
  if backend_id ~= nil then check.text(backend_id, "backend_id") end
  local list, draw = entries.check_circuits(circuits, backend_id)
  return { list = list, draw = not list and entries.copying(draw) or nil, backend_id = backend_id,
    resubmits = options.on_unknown == "resubmit", extend = options.extend == true }
end

-- The entries, in order.
local function entries_of(asked)
  if asked.draw then return asked.draw end
  local i = 0
  return function()
    i = i + 1
    return asked.list[i]
  end
end

-- Whether an input could be sent at all.
local function can_be_sent(input)
  return entries.lower(input) and not entries.size_error(input.circuit)
end

-- What becomes of an input of which an earlier run has left this item, or nothing.
local function fate_of(asked, input, item)
  local plan = item and inputs.plan(item, asked.resubmits, false) or "new"
  if plan == "unknown" or (plan == "keep" and item.state == "unknown") then return "unknown" end
  if plan == "keep" then return "kept" end
  if plan == "attach" then
    if item.has_lost_way then return "kept" end
    return (item.way or not input.source or entries.lower(input)) and "followed" or "invalid"
  end
  return can_be_sent(input) and "to_send" or "invalid"
end

-- The row of a place, from rows in ascending order, or nil.
local function row_finder(next_row)
  local row = next_row()
  return function(index)
    while row and row.slot < index do row = next_row() end
    return row and row.slot == index and row or nil
  end
end

-- As identities.compare asks for them.
local function hashes_in(next_row)
  return function()
    local row = next_row()
    if row then return row.slot, row.circuit_hash end
  end
end

-- The first place where the list is not the journal's, if there is one; and why.
local function compare(asked, batch, next_row)
  local identity = identities.of(asked.list, asked.backend_id)
  local relation, why, index = identities.compare(identity, batch, hashes_in(next_row))
  if relation == "same" or (relation == "prefix" and asked.extend) then return nil end
  if relation == "prefix" then index, why = batch.total + 1, identities.is_longer(batch.total) end
  return { index = index, why = why }
end

-- Counts the inputs up to the first that differs.
local function count(asked, batch, plan, find_row)
  local most = asked.draw and not asked.extend and batch.total or nil
  local last = plan.differs and (plan.differs.index or 1) - 1
  for entry in entries_of(asked) do
    if last and plan.total >= last then return end
    local index = plan.total + 1
    local input = entries.read(entry, index, asked.backend_id)
    local row = input and find_row(index)
    if row and row.circuit_hash ~= identities.hash(input) then
      plan.differs = { index = index, why = identities.ANOTHER_CIRCUIT }
      return
    end
    if input and not row and most and index > most then
      plan.differs = { index = index, why = identities.is_longer(most) }
      return
    end
    local fate = input and fate_of(asked, input, row and rows.item_of(row)) or "invalid"
    plan[fate], plan.total = plan[fate] + 1, index
  end
  if asked.draw and batch.total and plan.total < batch.total then
    plan.differs = { index = plan.total + 1, why = identities.ends_early(plan.total) }
  end
end

-- The plan: total, kept, followed, to_send, unknown, invalid; differs, the first place where these are not the
-- circuits of the journal (index, or nil where it has no row that tells, and why), up to which it counts then.
-- rows_of(): rows in order, from the first.
function M.make(asked, batch, rows_of)
  local plan = { total = 0, kept = 0, followed = 0, to_send = 0, unknown = 0, invalid = 0 }
  if not asked.is_shared then plan.differs = compare(asked, batch, rows_of()) end   -- else the rows alone tell
  count(asked, batch, plan, row_finder(rows_of()))
  return plan
end

return M
