-- Jobs, results and backends: data in fields, what is computed in methods.
-- Invariant: a record is what the server said at one time; no method goes back to the server. counts and topology are
-- unpacked when they are first read.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local json = require "arvak.base.json"
local statistics = require "arvak.results.statistics"
local text = require "arvak.base.text"

local Job = core.metatables["arvak.job"]
local Result = core.metatables["arvak.result"]
local Backend = core.metatables["arvak.backend"]

-- ---- job

local terminal = { COMPLETED = true, FAILED = true, CANCELED = true, RESULT_EXPIRED = true }
local job = {}

-- True when the state will not change any more.
function job:is_terminal() return terminal[self.state] == true end

-- True while the job waits or runs.
function job:is_pending() return self.state == "QUEUED" or self.state == "RUNNING" end

-- True when it completed and its result can be fetched.
function job:is_success() return self.state == "COMPLETED" end

Job.__index = job
Job.methods = job

function Job.__tostring(self)
  return string.format("arvak.job %s (%s)", text.printable(tostring(self.job_id)), self.state)
end

-- ---- result

-- What docs/results.md explains comes from statistics.
local result = {
  probabilities = statistics.probabilities, most_frequent = statistics.most_frequent, top = statistics.top,
  histogram = statistics.histogram, marginal = statistics.marginal, expectation = statistics.expectation,
  of = statistics.of,
}

-- Bitstrings and counts in ascending order; qubit 0 is the rightmost character. A large result is walked where it
-- lies, without building the table of counts.
function result:pairs()
  local raw = core.raw_of(self)
  if raw and not rawget(self, "counts") then return core.iterate(raw) end
  local keys = {}
  for bits in pairs(self.counts) do keys[#keys + 1] = bits end
  table.sort(keys)
  local i, counts = 0, self.counts
  return function()
    i = i + 1
    return keys[i], counts[keys[i]]
  end
end

-- The decoded metadata_json: a table, empty for null. nil and an error for what is not an object or array.
function result:metadata()
  if self.metadata_json == "" then return {} end
  local value, err = json.decode(self.metadata_json)
  if err then return nil, err end
  if value == nil then return {} end
  if type(value) ~= "table" then
    return nil, errors.new("rpc", string.format("metadata is a %s, expected an object", type(value)))
  end
  return value
end

-- A plain table without metatables, for serializers.
function result:to_table()
  local counts = {}
  for bits, count in pairs(self.counts) do counts[bits] = count end
  return {
    job_id = self.job_id, counts = counts, shots = self.shots,
    execution_time_ms = self.execution_time_ms, metadata_json = self.metadata_json,
  }
end

Result.methods = result

function Result.__index(self, key)
  if key ~= "counts" then return result[key] end
  local raw = core.raw_of(self)
  local counts = raw and core.counts_of(raw)
  rawset(self, "counts", counts)
  return counts
end

function Result.__pairs(self) return self:pairs() end

function Result.__tostring(self)
  local most = rawget(self, "registers") and statistics.most_frequent(self)
  return string.format("arvak.result %s (%s shots%s)", text.printable(tostring(self.job_id)), self.shots,
    most and ", most frequent " .. statistics.spaced(self, most) or "")
end

-- ---- backend

local backend = {}
Backend.methods = backend

-- topology is decoded on first use; nil when it is no JSON or lua-cjson is missing.
function Backend.__index(self, key)
  if key ~= "topology" then return backend[key] end
  local topology = json.decode(rawget(self, "topology_json") or "null")
  rawset(self, "topology", topology)
  return topology
end

function Backend.__tostring(self)
  return string.format("arvak.backend %s (%s qubits)", text.printable(tostring(self.backend_id)), self.max_qubits)
end

-- ---- made from outside

local M = { is_terminal = terminal }

function M.is_result(value) return core.metatable_of(value) == Result end

-- A result with these fields: job_id, counts, shots, execution_time_ms, metadata_json; of a circuit raw_counts and
-- registers, too: a list of { name =, size = } in order of declaration.
function M.new_result(fields) return setmetatable(fields, Result) end

return M
