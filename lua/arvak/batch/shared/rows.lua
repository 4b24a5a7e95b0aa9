-- The changes of a turn as arrays of PostgreSQL, one for each column, so that a turn is a few statements whatever comes
-- together in it.
-- Invariant: an array is a text that PostgreSQL reads back as the same values; what it cannot hold (NUL bytes, bytes
-- that are no UTF-8) is escaped.
-- SPDX-License-Identifier: Apache-2.0
local rows = require "arvak.batch.journal.rows"
local sql = require "arvak.batch.shared.sql"
local text = require "arvak.base.text"

local M = {}

-- ---- arrays

local function is_text(value)
  return not string.find(value, "[%z\128-\255]") or (utf8 and utf8.len(value) and not string.find(value, "%z"))
end

local function element(value)
  if value == nil then return "NULL" end
  if type(value) ~= "string" then return tostring(value) end
  if not string.find(value, '[%z\128-\255\\"]') then return '"' .. value .. '"' end
  if not is_text(value) then value = text.printable(value, true) end
  return '"' .. string.gsub(value, '[\\"]', "\\%0") .. '"'
end

-- The array of these values, n of them, in which nil is NULL.
function M.array(values, n)
  local parts = {}
  for i = 1, n or #values do parts[i] = element(values[i]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- Columns of as many values as there are rows: add takes one row.
local Columns = {}
Columns.__index = Columns

local function new_columns(count)
  local self = setmetatable({ count = count, n = 0 }, Columns)
  for i = 1, count do self[i] = {} end
  return self
end

function Columns:add(...)
  local n, values = self.n + 1, { ... }
  self.n = n
  for i = 1, self.count do self[i][n] = element(values[i]) end
end

function Columns:arrays()
  local list = {}
  for i = 1, self.count do list[i] = "{" .. table.concat(self[i], ",") .. "}" end
  return table.unpack(list)
end

-- ---- changes

-- kind: "intent", "submitted", "ended" or "released"; what is written of it. state, job_id, err: of a released one.
local add = {}

function add.intent(columns, input)
  columns:add(input.index, input.id and tostring(input.id), input.hash, input.attempts, rows.reading_of(input))
end

function add.submitted(columns, input, change)
  columns:add(input.index, input.attempts, input.job_id, change.err and rows.encode_error(change.err))
end

function add.ended(columns, input, change)
  local _, attempts, job_id, counts, shots, ms, metadata, err, _, _, reading, raw =
    rows.values_of(input, change.state, 0, change.counts, change.raw_counts)
  columns:add(input.index, change.state, attempts, job_id, counts, shots, ms, metadata, err, change.is_passing or nil,
    input.id and tostring(input.id), input.hash, reading, raw)
end

function add.released(columns, input, change)
  columns:add(input.index, change.state, input.job_id, change.err and rows.encode_error(change.err))
end

local kinds = {
  { "intent", 5, sql.write_intents }, { "submitted", 4, sql.write_submitted }, { "ended", 14, sql.write_ends },
  { "released", 4, sql.write_releases },
}

-- Adds what a turn changes to a transaction: changes by index; a worker's place in the batch.
function M.add_changes(transaction, changes, batch, worker, epoch)
  local columns = {}
  for _, kind in ipairs(kinds) do columns[kind[1]] = new_columns(kind[2]) end
  for _, change in pairs(changes) do add[change.kind](columns[change.kind], change.input, change) end
  for _, kind in ipairs(kinds) do
    local list = columns[kind[1]]
    if list.n > 0 then transaction:add(kind[3], list.n, batch, worker, epoch, list:arrays()) end
  end
  return columns.ended.n
end

return M
