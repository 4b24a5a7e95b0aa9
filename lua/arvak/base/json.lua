-- JSON: what the service sends is read through lua-cjson, which is looked up when first needed; what we write is
-- encoded here, since lua-cjson keeps 14 digits of a number and counts need all of theirs.
-- Invariant: what is written is valid JSON, whatever came in.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local modules = require "arvak.base.modules"
local text = require "arvak.base.text"

local M = {}
local decoder, known_point

-- A decoder of lua-cjson, or nil and why there is none. It looks up the locale's decimal point when it is made, and
-- ends the process when that has more than one byte.
local function load_decoder()
  local point = text.decimal_point()
  if decoder and point == known_point then return decoder end
  if #point > 1 then return nil, "JSON cannot be read in a locale whose decimal point is " .. point end
  if core.is_closing() then return nil, "the Lua state is closing" end   -- nobody would free the decoder
  local cjson, reason = modules.load "cjson"
  if not cjson then
    return nil, "JSON needs the module cjson (Debian: lua-cjson; luarocks: lua-cjson), "
      .. (reason or "which is not to be found here")
  end
  decoder, known_point = cjson.new(), point
  return decoder
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
function M.decode(source)
  local codec, absence = load_decoder()
  if not codec then return nil, errors.new("rpc", absence) end
  local ok, value = pcall(codec.decode, source)
  if not ok then return nil, errors.new("rpc", "not valid JSON: " .. tostring(value)) end
  return tidy(value)
end

-- ---- writing

local REPLACEMENT = "\u{FFFD}"
local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(char) return escapes[char] or string.format("\\u%04x", string.byte(char)) end

-- JSON is UTF-8: each byte that is no part of any is replaced (in a Lua state without utf8 nobody can tell).
local function valid_utf8(value)
  if not utf8 then return value end
  local parts, from = {}, 1
  while true do
    local ok, wrong_at = utf8.len(value, from)
    if ok then break end
    parts[#parts + 1] = string.sub(value, from, wrong_at - 1)
    parts[#parts + 1] = REPLACEMENT
    from = wrong_at + 1
  end
  return table.concat(parts) .. string.sub(value, from)
end

-- A string with its quotes.
function M.string(value)
  if not string.find(value, '[%c"\\\128-\255]') then return '"' .. value .. '"' end
  if string.find(value, "[\128-\255]") then value = valid_utf8(value) end
  return '"' .. string.gsub(value, '[\0-\31\127"\\]', escape) .. '"'
end

-- A number with all its digits; null for what JSON has no number for.
function M.number(value)
  if math.type(value) == "integer" then return string.format("%d", value) end
  if value ~= value or value == math.huge or value == -math.huge then return "null" end
  local short = text.format_number("%.15g", value)
  return tonumber(short) == value and short or text.format_number("%.17g", value)
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
  local counts = rawget(result, "counts")
  local plain = counts and core.counts_json(counts)
  if plain then return plain end
  local parts = {}
  local n = 0
  for bits, count in result:pairs() do
    n = n + 1
    parts[n] = M.string(bits) .. ":" .. (math.type(count) == "integer" and count or M.number(count))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- The names of an object, in ascending order.
local function names_of(object)
  local names = {}
  for name in pairs(object) do names[#names + 1] = tostring(name) end
  table.sort(names)
  return names
end

-- Plain data of ours: lists, objects with names, and scalars. An empty table is a list.
function M.encode(value)
  if type(value) ~= "table" then return M.scalar(value) end
  local parts = {}
  if #value > 0 or next(value) == nil then
    for i = 1, #value do parts[i] = M.encode(value[i]) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for _, name in ipairs(names_of(value)) do
    parts[#parts + 1] = M.string(name) .. ":" .. M.encode(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return M
