-- The outcomes of a batch as files. Invariant: a file that is there is whole; it is written beside its place and then
-- renamed, by core.draft. What cannot be replaced (a device, a FIFO) is written directly.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local json = require "arvak.base.json"
local records = require "arvak.results.records"

local M = {}

-- ---- items

local ITEM = "{ index =, id =, job_id =, attempts =, result = or err = }"

local ours = {}
for name, metatable in pairs(core.metatables) do ours[metatable] = name end

-- For a message: records and errors by their names.
local function describe(value)
  local name = type(value) == "table" and ours[core.metatable_of(value)]
  return name and "an " .. name or core.describe(value)
end

-- A plain list has no holes, which would end it, and no other keys, which would be overlooked.
local function check_list(items, method)
  local count = #items
  for key in next, items do
    if math.type(key) ~= "integer" or key < 1 or key > count then
      check.misuse("%s: items: got the key %s, expected a list", method, core.describe(key))
    end
  end
  for place = 1, count do
    if items[place] == nil then check.misuse("%s: items: got a hole at %d, expected a list", method, place) end
  end
end

local function check_arguments(path, items, method)
  check.path(path, "path")
  if type(items) == "function" then return end
  if type(items) ~= "table" or ours[core.metatable_of(items)] then
    check.misuse("%s: items: got %s, expected a list or an iterator function", method, describe(items))
  end
  if not core.metatable_of(items) then check_list(items, method) end
end

local function each(items)
  if type(items) == "function" then return items end
  local i = 0
  return function()
    i = i + 1
    return items[i]
  end
end

local function check_item(item, method, place)
  if type(item) ~= "table" or ours[core.metatable_of(item)] then
    check.misuse("%s: item %d: got %s, expected a table %s", method, place, describe(item), ITEM)
  end
  if item.result ~= nil and not records.is_result(item.result) then
    check.misuse("%s: item %d: result: got %s, expected a result", method, place, describe(item.result))
  end
  if item.result == nil and item.err == nil then
    check.misuse("%s: item %d: got neither result nor err, expected %s", method, place, ITEM)
  end
end

local function no_file(path, message)
  return nil, errors.new("rpc", string.format("%s cannot be written: %s", path, message))
end

-- Writes all items with write_item(draft, item, place): true, or nil and an error. What the iterator raises goes on.
local function write_file(path, items, method, head, write_item, tail)
  check_arguments(path, items, method)
  if not (io and os) then return no_file(path, "there are no io and os in this Lua state") end   -- taken from it
  local draft <close>, message = core.draft(path)
  if not draft then return no_file(path, message) end
  draft:write(head)
  local place = 0
  for item in each(items) do
    place = place + 1
    check_item(item, method, place)
    write_item(draft, item, place)
  end
  draft:write(tail)
  local ok
  ok, message = draft:commit()
  if not ok then return no_file(path, message) end
  return true
end

local function message_of(err)
  return errors.is_error(err) and err.message or tostring(err)
end

-- ---- CSV

local HEAD = "index,id,job_id,attempts,bitstring,count,shots,probability,execution_time_ms,error,message\n"

-- As RFC 4180 has it: quotes around what holds a comma, a quote or a line's end. A text that a spreadsheet would take
-- for a formula gets an apostrophe before it.
local function csv_field(value, quotes_formulas)
  if value == nil then return "" end
  local field = type(value) == "number" and json.number(value) or tostring(value)
  if quotes_formulas and type(value) ~= "number" and string.find(field, "^[=+@\t\r\n-]") then field = "'" .. field end
  if string.find(field, '[",\r\n]') then field = '"' .. string.gsub(field, '"', '""') .. '"' end
  return field
end

-- A draft whose method line writes values as a line.
local Lines = {}
Lines.__index = Lines

function Lines:line(...)
  local fields = table.pack(...)
  for i = 1, fields.n do fields[i] = csv_field(fields[i], self.quotes_formulas) end
  self.draft:write(table.concat(fields, ",") .. "\n")
end

local function write_csv_item(lines, item, place)
  local result, err = item.result, item.err
  local index, id, job_id = item.index or place, item.id, item.job_id or (result and result.job_id)
  if not result then
    local kind = errors.is_error(err) and err.kind or "error"
    return lines:line(index, id, job_id, item.attempts, nil, nil, nil, nil, nil, kind, message_of(err))
  end
  local total, is_empty = 0.0, true   -- a float: the sum may be too large for an integer
  for _, count in result:pairs() do total = total + count end
  for bits, count in result:pairs() do
    is_empty = false
    lines:line(index, id, job_id, item.attempts, bits, count, result.shots, total > 0 and count / total or nil,
      result.execution_time_ms, nil, nil)
  end
  if is_empty then
    lines:line(index, id, job_id, item.attempts, nil, nil, result.shots, nil, result.execution_time_ms, nil, nil)
  end
end

-- A line for each outcome of each item, one without bitstring for an item without any. true, or nil and an error.
-- options: quote_formulas (true): whether a text that begins like a formula gets an apostrophe before it.
function M.to_csv(path, items, options)
  options = check.options(options, "to_csv", { quote_formulas = true })
  local quotes_formulas = options.quote_formulas
  if quotes_formulas == nil then quotes_formulas = true end
  if type(quotes_formulas) ~= "boolean" then
    check.misuse("quote_formulas: got %s, expected true or false", core.describe(quotes_formulas))
  end
  return write_file(path, items, "to_csv", HEAD, function(draft, item, place)
    write_csv_item(setmetatable({ draft = draft, quotes_formulas = quotes_formulas }, Lines), item, place)
  end, "")
end

-- ---- JSON

local function json_object(pairs_of_text)
  return "{" .. table.concat(pairs_of_text, ",") .. "}"
end

local function json_error(err)
  if not errors.is_error(err) then return json_object { '"message":' .. json.string(tostring(err)) } end
  local names, parts = {}, {}
  for name, value in pairs(err) do
    if type(name) == "string" and type(value) ~= "table" then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = json.string(name) .. ":" .. json.scalar(err[name]) end
  if type(err.cause) == "table" then parts[#parts + 1] = '"cause":' .. json.string(tostring(err.cause)) end
  return json_object(parts)
end

local function write_json_item(draft, item, place)
  local result = item.result
  local parts = {
    '"index":' .. json.scalar(item.index or place), '"id":' .. json.scalar(item.id),
    '"job_id":' .. json.scalar(item.job_id or (result and result.job_id)),
    '"attempts":' .. json.scalar(item.attempts),
  }
  if result then
    parts[#parts + 1] = '"shots":' .. json.scalar(result.shots)
    parts[#parts + 1] = '"execution_time_ms":' .. json.scalar(result.execution_time_ms)
    parts[#parts + 1] = '"metadata_json":' .. json.scalar(result.metadata_json)
    parts[#parts + 1] = '"counts":' .. json.counts(result)
  else
    parts[#parts + 1] = '"error":' .. json_error(item.err)
  end
  draft:write((place > 1 and ",\n" or "\n") .. json_object(parts))
end

-- An array with an object for each item: all of it, counts with all their digits. true, or nil and an error.
function M.to_json(path, items)
  return write_file(path, items, "to_json", "[", write_json_item, "\n]\n")
end

return M
