-- The changes of a turn as arrays of PostgreSQL, one for each column, so that a turn is a few statements whatever comes
-- together in it.
-- Invariant: what PostgreSQL cannot hold (NUL bytes, bytes that are no UTF-8) is escaped.
-- SPDX-License-Identifier: Apache-2.0
local rows = require "arvak.batch.journal.rows"
local sql = require "arvak.batch.shared.sql"
local text = require "arvak.base.text"

local M = {}

-- A text of somebody else's, as PostgreSQL can hold it; or nil.
local function fit(value)
  if not value then return nil end
  if utf8 and utf8.len(value) then
    if not string.find(value, "\0", 1, true) then return value end
  elseif not utf8 and not string.find(value, "[%z\128-\255]") then
    return value
  end
  return text.printable(value, true)
end

local function id_of(input) return input.id and fit(tostring(input.id)) end
local function error_of(change) return change.err and fit(rows.encode_error(change.err)) end

-- ---- changes

-- The kind of a change: "intent", "submitted", "ended" or "released". What else it says: state, err; of an end also
-- counts, raw_counts, shots, execution_time_ms, metadata_json, is_passing. Each function writes row n into the columns
-- of its statement.
local put = {}

function put.intent(columns, n, input)
  columns[1][n], columns[2][n], columns[3][n] = input.index, id_of(input), input.hash
  columns[4][n], columns[5][n] = input.attempts, rows.reading_of(input)
end

function put.submitted(columns, n, input, change)
  columns[1][n], columns[2][n], columns[3][n] = input.index, input.attempts, fit(input.job_id)
  columns[4][n] = error_of(change)
end

-- What an intent has written stands in the row already.
function put.ended(columns, n, input, change)
  local job_id, attempts = fit(input.job_id), input.attempts
  columns[1][n], columns[2][n], columns[3][n], columns[4][n] = input.index, change.state, attempts, job_id
  if change.counts then
    columns[5][n], columns[6][n], columns[7][n] = change.counts, change.shots, change.execution_time_ms
    columns[8][n], columns[14][n] = fit(change.metadata_json), change.raw_counts
  else
    columns[9][n], columns[10][n] = error_of(change), change.is_passing
  end
  if not job_id and attempts == 0 then
    columns[11][n], columns[12][n], columns[13][n] = id_of(input), input.hash, rows.reading_of(input)
  end
end

function put.released(columns, n, input, change)
  columns[1][n], columns[2][n], columns[3][n] = input.index, change.state, fit(input.job_id)
  columns[4][n] = error_of(change)
end

local kinds = {
  { "intent", 5, sql.write_intents }, { "submitted", 4, sql.write_submitted }, { "ended", 14, sql.write_ends },
  { "released", 4, sql.write_releases },
}
local widths = {}
for _, kind in ipairs(kinds) do widths[kind[1]] = kind[2] end

local function new_columns(count)
  local columns = { n = 0 }
  for i = 1, count do columns[i] = {} end
  return columns
end

-- The columns as values. A column without any value goes as NULL, and unnest gives NULL for each of its rows.
local function unpack_columns(columns, width)
  for i = 1, width do
    if next(columns[i]) == nil then columns[i] = nil else columns[i].n = columns.n end
  end
  return table.unpack(columns, 1, width)
end

-- Adds what a turn changes to a transaction: inputs by index, with their changes; a worker's place in the batch.
function M.add_changes(transaction, changed, batch, worker, epoch)
  local all = {}
  for _, input in pairs(changed) do
    local change = input.noted
    local kind = change.kind
    local columns = all[kind]
    if not columns then
      columns = new_columns(widths[kind])
      all[kind] = columns
    end
    local n = columns.n + 1
    columns.n = n
    put[kind](columns, n, input, change)
  end
  for _, kind in ipairs(kinds) do
    local columns = all[kind[1]]
    if columns then
      transaction:add(kind[3], columns.n, batch, worker, epoch, unpack_columns(columns, kind[2]))
    end
  end
end

return M
