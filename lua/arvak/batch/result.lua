-- What a batch came to. Invariant: items is dense, and each item has an err or else a result.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local export = require "arvak.results.export"
local records = require "arvak.results.records"

local M = {}

local Result = core.metatables["arvak.batch_result"]
local methods = {}
Result.__index, Result.methods = methods, methods

function Result.__tostring(self)
  return string.format("arvak.batch_result (%s: %d succeeded, %d failed)",
    self.status, self.success_count, self.failure_count)
end

-- ---- made while the batch runs

local Collector = {}
Collector.__index = Collector

-- Takes the ends of inputs. is_collecting: whether they are kept, or only counted.
function M.collector(is_collecting)
  return setmetatable({ is_collecting = is_collecting, items = {}, entries = {}, success_count = 0,
    failure_count = 0 }, Collector)
end

function Collector:add(item, entry)
  if item.err == nil then
    self.success_count = self.success_count + 1
  else
    self.failure_count = self.failure_count + 1
  end
  if not self.is_collecting then return end
  self.items[item.index] = item
  self.entries[item.index] = item.err and entry or nil   -- what retry_failed needs
end

local function status_of(collector, stopped_by)
  if collector.failure_count == 0 and not stopped_by then return "completed" end
  return collector.success_count > 0 and "partial" or "failed"
end

-- A result that has its place as index; a copy, where it has another place already.
local function placed(result, index)
  if not records.is_result(result) or result.index == index then return result end
  if result.index ~= nil then
    local copy = {}
    for key, value in next, result do copy[key] = value end
    result = records.new_result(copy)
  end
  result.index = index
  return result
end

-- Of a program that keeps its own items alone: without holes, in the order of the inputs.
local function without_holes(items)
  local list = {}
  for _, item in pairs(items) do list[#list + 1] = item end
  table.sort(list, function(a, b) return a.index < b.index end)
  return list
end

local function list_ends(r)
  r.results, r.failures = {}, {}
  for i, item in ipairs(r.items) do
    local index = item.index or i
    if item.err == nil then
      item.result = placed(item.result, index)
      r.results[#r.results + 1] = item.result
    else
      r.failures[#r.failures + 1] = { index = index, id = item.id, job_id = item.job_id, err = item.err }
    end
  end
end

-- The batch_result of a run that has ended. kept: how many ends an earlier run has left, which say nothing about how
-- fast this one was. again(r, options): runs what failed once more. is_refused: the journal was. is_part: there are
-- items of others, which are not here.
function M.finish(collector, total_time, stopped_by, again, kept, is_refused, is_part)
  local finished = collector.success_count + collector.failure_count
  local r = setmetatable({
    status = is_refused and "failed" or status_of(collector, stopped_by), err = stopped_by, total_time = total_time,
    throughput = total_time > 0 and (finished - (kept or 0)) / total_time or 0.0,
    success_count = collector.success_count, failure_count = collector.failure_count, total_count = finished,
    _entries = collector.entries, _again = again,
  }, Result)
  r.ok = r.status == "completed"
  if collector.is_collecting then
    r.items = is_part and without_holes(collector.items) or collector.items
    list_ends(r)
  end
  return r
end

-- ---- methods

local function check_items(self, method)
  if core.metatable_of(self) ~= Result then
    check.misuse("%s: got %s, expected a batch_result", method, core.describe(self))
  end
  if not self.items then
    check.misuse("%s: this batch kept no items (collect = false, the default for an iterator with on_result)", method)
  end
end

-- An iterator of index, result, err in the order of the inputs: one of the latter two is nil.
function methods:each()
  check_items(self, "each")
  local items, i = self.items, 0
  return function()
    i = i + 1
    local item = items[i]
    if item then return item.index or i, item.result, item.err end
  end
end

-- Writes the items to a file, a line for each outcome of each: true, or nil and an error. options: of export.to_csv.
function methods:to_csv(path, options)
  check_items(self, "to_csv")
  return export.to_csv(path, self.items, options)
end

-- Writes the items to a file, as an array with an object for each: true, or nil and an error.
function methods:to_json(path)
  check_items(self, "to_json")
  return export.to_json(path, self.items)
end

-- Runs the inputs that failed once more, all but those that may have been executed (unless options.on_unknown is
-- "resubmit"). One whose job is known, but not how that ended, is looked at first. A batch_result of all inputs, in
-- which their new outcomes stand. options: as of execute_batch, by default those of this batch.
function methods:retry_failed(options)
  check_items(self, "retry_failed")
  return self._again(self, options)
end

-- The places of the inputs that retry_failed runs, or looks at where their job is known.
function M.failed_indexes(r, on_unknown)
  local indexes = {}
  for _, item in ipairs(r.items) do
    local is_unknown = item.err and item.err.maybe_executed and not item.job_id
    if item.err and (on_unknown == "resubmit" or not is_unknown) then indexes[#indexes + 1] = item.index end
  end
  return indexes
end

-- The items of r by their places among the inputs, which differ where a program has its own alone.
function M.items_by_index(r)
  local items = {}
  for _, item in ipairs(r.items) do items[item.index] = item end
  return items
end

-- A collector that starts with the items of r, but for these places, which will be told again.
function M.collector_after(r, indexes)
  local collector, is_told_again = M.collector(true), {}
  for _, index in ipairs(indexes) do is_told_again[index] = true end
  for _, item in ipairs(r.items) do
    if not is_told_again[item.index] then collector:add(item, r._entries[item.index]) end
  end
  return collector
end

return M
