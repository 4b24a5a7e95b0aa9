-- JSON: what the service sends is read through lua-cjson, which is looked up when first needed; what we write is
-- encoded here, since lua-cjson keeps 14 digits of a number and counts need all of theirs.
-- Invariant: what is written is valid JSON, whatever came in.
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"

local M = {}
local decoder, absence

local function load_decoder()
  if decoder or absence then return end
  local ok, cjson = pcall(require, "cjson")
  if ok then
    decoder = cjson.new()
  else
    absence = "JSON needs the module cjson (Debian: lua-cjson; luarocks: lua-cjson), which is not to be found here"
  end
end

-- cjson gives every number as a float and null as a light userdata: whole numbers become integers, nulls absent.
local function tidy(value)
  if type(value) == "table" then
    for key, member in pairs(value) do value[key] = tidy(member) end
    return value
  end
  if type(value) == "number" then return math.tointeger(value) or value end
  if type(value) == "userdata" then return nil end
  return value
end

-- The value of a JSON text (nil for null), or nil and an error.
function M.decode(text)
  load_decoder()
  if absence then return nil, errors.new("rpc", absence) end
  local ok, value = pcall(decoder.decode, text)
  if not ok then return nil, errors.new("rpc", "not valid JSON: " .. tostring(value)) end
  return tidy(value)
end

-- ---- writing

local REPLACEMENT = "\u{FFFD}"
local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(char) return escapes[char] or ("\\u%04x"):format(char:byte()) end

-- JSON is UTF-8: each byte that is no part of any is replaced (in a Lua state without utf8 nobody can tell).
local function valid_utf8(text)
  if not utf8 then return text end
  local parts, from = {}, 1
  while true do
    local ok, wrong_at = utf8.len(text, from)
    if ok then break end
    parts[#parts + 1] = text:sub(from, wrong_at - 1)
    parts[#parts + 1] = REPLACEMENT
    from = wrong_at + 1
  end
  return table.concat(parts) .. text:sub(from)
end

-- A string with its quotes.
function M.string(text)
  if text:find("[\128-\255]") then text = valid_utf8(text) end
  return '"' .. text:gsub('[%c"\\]', escape) .. '"'
end

-- A number with all its digits; null for what JSON has no number for.
function M.number(value)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if value ~= value or value == math.huge or value == -math.huge then return "null" end
  local short = ("%.15g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

-- A string, number, boolean or nil; of anything else its tostring.
function M.scalar(value)
  local kind = type(value)
  if kind == "number" then return M.number(value) end
  if kind == "boolean" then return tostring(value) end
  if value == nil then return "null" end
  return M.string(tostring(value))
end

-- The counts of a result as an object in ascending order of the bitstrings, without building a table of counts.
function M.counts(result)
  local parts = {}
  for bits, count in result:pairs() do parts[#parts + 1] = M.string(bits) .. ":" .. M.number(count) end
  return "{" .. table.concat(parts, ",") .. "}"
end

return M
