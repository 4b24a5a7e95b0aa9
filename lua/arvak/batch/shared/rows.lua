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
  if not value or not string.find(value, "[%z\128-\255]") then return value end
  local is_text = utf8 and utf8.len(value) and not string.find(value, "%z")
  return is_text and value or text.printable(value, true)
end

local function id_of(input) return input.id and fit(tostring(input.id)) end
local function error_of(change) return change.err and fit(rows.encode_error(change.err)) end

-- ---- changes

-- kind: "intent", "submitted", "ended" or "released"; what is written of it. state, job_id, err: of a released one.
-- Each writes row n into the columns of its statement.
local put = {}

function put.intent(columns, n, input)
  columns[1][n], columns[2][n], columns[3][n] = input.index, id_of(input), input.hash
  columns[4][n], columns[5][n] = input.attempts, rows.reading_of(input)
end

function put.submitted(columns, n, input, change)
  columns[1][n], columns[2][n], columns[3][n] = input.index, input.attempts, fit(input.job_id)
  columns[4][n] = error_of(change)
end

function put.ended(columns, n, input, change)
  local _, attempts, job_id, counts, shots, ms, metadata, err, _, _, reading, raw =
    rows.values_of(input, change.state, 0, change.counts, change.raw_counts)
  columns[1][n], columns[2][n], columns[3][n], columns[4][n] = input.index, change.state, attempts, fit(job_id)
  columns[5][n], columns[6][n], columns[7][n], columns[8][n] = counts, shots, ms, fit(metadata)
  columns[9][n], columns[10][n], columns[11][n] = fit(err), change.is_passing or nil, id_of(input)
  columns[12][n], columns[13][n], columns[14][n] = input.hash, reading, raw
end

function put.released(columns, n, input, change)
  columns[1][n], columns[2][n], columns[3][n] = input.index, change.state, fit(input.job_id)
  columns[4][n] = error_of(change)
end

local kinds = {
  { "intent", 5, sql.write_intents }, { "submitted", 4, sql.write_submitted }, { "ended", 14, sql.write_ends },
  { "released", 4, sql.write_releases },
}

local function new_columns(count)
  local columns = { n = 0 }
  for i = 1, count do columns[i] = {} end
  return columns
end

-- Adds what a turn changes to a transaction: changes by index; a worker's place in the batch.
function M.add_changes(transaction, changes, batch, worker, epoch)
  local all = {}
  for _, kind in ipairs(kinds) do all[kind[1]] = new_columns(kind[2]) end
  for _, change in pairs(changes) do
    local columns = all[change.kind]
    columns.n = columns.n + 1
    put[change.kind](columns, columns.n, change.input, change)
  end
  for _, kind in ipairs(kinds) do
    local columns = all[kind[1]]
    for _, column in ipairs(columns) do column.n = columns.n end
    if columns.n > 0 then transaction:add(kind[3], columns.n, batch, worker, epoch, table.unpack(columns)) end
  end
  return all.ended.n
end

return M
