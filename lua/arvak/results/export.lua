-- The outcomes of a batch as files. Invariant: a file that is there is whole; it is written beside its place and then
-- renamed. io and os are looked up when needed.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local errors = require "arvak.base.errors"
local json = require "arvak.base.json"
local records = require "arvak.results.records"

local M = {}

-- ---- a file that appears as a whole

local Draft = {}
Draft.__index = Draft

local function no_file(path, message)
  return nil, errors.new("rpc", ("%s cannot be written: %s"):format(path, message))
end

local function open_draft(path)
  if not (io and io.open and os and os.rename and os.remove) then
    return no_file(path, "there are no io and os in this Lua state")
  end
  local name = ("%s.%016x.part"):format(path, math.random(0))
  local file, message = io.open(name, "wb")
  if not file then return no_file(path, message) end
  return setmetatable({ path = path, name = name, file = file }, Draft)
end

-- Text after an error goes nowhere; the error is what commit gives.
function Draft:write(...)
  if self.message then return end
  local ok, message = self.file:write(...)
  if not ok then self.message = message end
end

-- Puts the file into its place: true, or nil and an error.
function Draft:commit()
  local file = self.file
  self.file = nil
  local ok, message = file:close()
  if ok and not self.message then ok, message = os.rename(self.name, self.path) end
  message = self.message or message
  if ok and not self.message then return true end
  os.remove(self.name)
  return no_file(self.path, message)
end

-- What was not committed leaves nothing behind.
function Draft:__close()
  if not self.file then return end
  self.file:close()
  os.remove(self.name)
end

-- ---- items

local function check_arguments(path, items, method)
  check.path(path, "path")
  if type(items) ~= "table" and type(items) ~= "function" then
    check.misuse("%s: items: got %s, expected a list or an iterator function", method, core.describe(items))
  end
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
  if type(item) ~= "table" then
    check.misuse("%s: item %d: got %s, expected a table", method, place, core.describe(item))
  end
  if item.result ~= nil and not records.is_result(item.result) then
    check.misuse("%s: item %d: result: got %s, expected a result", method, place, core.describe(item.result))
  end
end

-- Writes all items with write_item(draft, item, place): true, or nil and an error. What the iterator raises goes on.
local function write_file(path, items, method, head, write_item, tail)
  check_arguments(path, items, method)
  local draft <close>, err = open_draft(path)
  if not draft then return nil, err end
  draft:write(head)
  local place = 0
  for item in each(items) do
    place = place + 1
    check_item(item, method, place)
    write_item(draft, item, place)
  end
  draft:write(tail)
  return draft:commit()
end

local function message_of(err)
  return errors.is_error(err) and err.message or tostring(err)
end

-- ---- CSV

local HEAD = "index,id,job_id,attempts,bitstring,count,shots,probability,execution_time_ms,error,message\n"

-- As RFC 4180 has it: quotes around what holds a comma, a quote or a line's end.
local function csv_field(value)
  if value == nil then return "" end
  local text = type(value) == "number" and json.number(value) or tostring(value)
  if text:find('[",\r\n]') then text = '"' .. text:gsub('"', '""') .. '"' end
  return text
end

local function csv_line(...)
  local fields = table.pack(...)
  for i = 1, fields.n do fields[i] = csv_field(fields[i]) end
  return table.concat(fields, ",") .. "\n"
end

local function write_csv_item(draft, item, place)
  local result, err = item.result, item.err
  local index, id, job_id = item.index or place, item.id, item.job_id or (result and result.job_id)
  if not result then
    local kind = errors.is_error(err) and err.kind or "error"
    draft:write(csv_line(index, id, job_id, item.attempts, nil, nil, nil, nil, nil, kind, message_of(err)))
    return
  end
  local total, is_empty = 0, true
  for _, count in result:pairs() do total = total + count end
  for bits, count in result:pairs() do
    is_empty = false
    draft:write(csv_line(index, id, job_id, item.attempts, bits, count, result.shots,
      total > 0 and count / total or nil, result.execution_time_ms, nil, nil))
  end
  if is_empty then
    draft:write(csv_line(index, id, job_id, item.attempts, nil, nil, result.shots, nil,
      result.execution_time_ms, nil, nil))
  end
end

-- A line for each outcome of each item, one without bitstring for an item without any. true, or nil and an error.
function M.to_csv(path, items)
  return write_file(path, items, "to_csv", HEAD, write_csv_item, "")
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
  draft:write(place > 1 and ",\n" or "\n", json_object(parts))
end

-- An array with an object for each item: all of it, counts with all their digits. true, or nil and an error.
function M.to_json(path, items)
  return write_file(path, items, "to_json", "[", write_json_item, "\n]\n")
end

return M
