-- What a row of a journal says, and what is written into one.
-- Invariant: a row that cannot be understood becomes an item with an error, and never raises. Rows out of order are
-- noticed, so that who reads page after page comes to an end.
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"
local json = require "arvak.base.json"
local program = require "arvak.results.program"
local records = require "arvak.results.records"

local M = {}

local error_names = { "kind", "message", "code", "name", "rpc", "job_id", "target", "attempts", "scope",
  "maybe_executed", "retryable" }

-- The fields of an error that are kept, as JSON.
function M.encode_error(err)
  local parts = {}
  for _, name in ipairs(error_names) do
    if err[name] ~= nil then parts[#parts + 1] = json.string(name) .. ":" .. json.scalar(err[name]) end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- How the answer of a circuit is read, as JSON; nil for a text.
local function reading_of(input)
  local way = input.way
  if way and input.written_way ~= way then input.written_way, input.reading_json = way, json.encode(way) end
  return way and input.reading_json or nil
end

M.reading_of = reading_of

-- What of an end may be large, as JSON: its counts, and those over the service's bits or nil.
function M.encode_result(result)
  local raw = rawget(result, "raw_counts")
  return json.counts(result), raw and json.encode(raw) or nil
end

-- The values of an input in this state, in the order of the columns: state, attempts, job_id, counts, shots,
-- execution_time_ms, metadata_json, error, sent_at, ended_at, reading, raw_counts, slot. now: Unix seconds. counts,
-- raw_counts: of a completed one, by encode_result.
function M.values_of(input, state, now, counts, raw_counts)
  local result = input.result
  if state == "completed" then
    return state, input.attempts, input.job_id, counts, result.shots, result.execution_time_ms, result.metadata_json,
      nil, input.sent_time, now, reading_of(input), raw_counts, input.index
  end
  local has_ended = state ~= "intent" and state ~= "submitted"
  local err = has_ended and input.err and M.encode_error(input.err) or nil
  return state, input.attempts, input.job_id, nil, nil, nil, nil, err, input.sent_time, has_ended and now or nil,
    reading_of(input), nil, input.index
end

local function decode_error(text)
  local fields = json.decode(text or "{}")
  if type(fields) ~= "table" then fields = {} end
  return errors.new(fields.kind or "rpc", fields.message or "", fields)
end

-- With all their digits, which lua-cjson would cut. nil when it is not what the journal writes.
local function decode_counts(text)
  local counts = {}
  local rest = string.gsub(text, '"([^"\\]*)":(%-?%d+)', function(bits, count)
    counts[bits] = math.tointeger(tonumber(count))
    return ""
  end)
  return string.find(rest, "^{,*}$") and counts
end

local function decode_result(row, way)
  local counts, shots = decode_counts(row.counts or ""), math.tointeger(tonumber(row.shots))
  local raw_counts = row.raw_counts and decode_counts(row.raw_counts)
  if not counts or not shots or raw_counts == false then return nil end
  return program.restore(records.new_result {
    job_id = row.job_id, counts = counts, shots = shots, raw_counts = raw_counts,
    execution_time_ms = math.tointeger(tonumber(row.execution_time_ms)), metadata_json = row.metadata_json or "",
  }, way)
end

-- Why these are not the rows after a slot in ascending order, which only a damaged file gives: a message, or nil.
function M.find_disorder(list, last)
  for _, row in ipairs(list) do
    if math.type(row.slot) ~= "integer" or row.slot <= last then
      return string.format("it is damaged: row %s stands behind row %d", row.slot, last)
    end
    last = row.slot
  end
end

-- A row as an item: index, id, state, circuit_hash, attempts, job_id, result or err, sent_at, ended_at; of a circuit
-- also way, or has_lost_way when that cannot be read.
function M.item_of(row)
  local way = row.reading and program.decode_way(row.reading)
  local item = {
    index = math.tointeger(tonumber(row.slot)), id = row.circuit_id, state = row.state, circuit_hash = row.circuit_hash,
    attempts = math.tointeger(tonumber(row.attempts)), job_id = row.job_id,
    sent_at = math.tointeger(tonumber(row.sent_at)), ended_at = math.tointeger(tonumber(row.ended_at)),
  }
  if row.reading then item.way, item.has_lost_way = way, way == nil end
  if row.state == "completed" then
    item.result = decode_result(row, way)
    item.err = not item.result and errors.new("rpc", "the counts in the journal cannot be read") or nil
  elseif row.error or row.state == "failed" then
    item.err = decode_error(row.error)
  end
  return item
end

return M
