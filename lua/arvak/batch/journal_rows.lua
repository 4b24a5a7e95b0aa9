-- What a row of a journal says, and how an error is written into one.
-- Invariant: a row that cannot be understood becomes an item with an error, and never raises.
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
