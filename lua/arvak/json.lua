-- JSON as the service sends it, through lua-cjson, which is looked up when first needed.
-- SPDX-License-Identifier: Apache-2.0
local _, import = ...
local errors = import "arvak.errors"

local M = {}
local decoder, absence

local function load_decoder()
  if decoder or absence then return end
  local ok, cjson = pcall(function() return require("cjson") end)
  if ok then
    decoder = cjson.new()
  else
    absence = "JSON needs the module cjson (Debian: lua-cjson; luarocks: lua-cjson), which is not to be found here"
  end
end

-- cjson gives every number as a float and null as a light userdata: whole numbers become integers, nulls absent.
local function tidy(value)
  if type(value) == "table" then
    for key, item in pairs(value) do value[key] = tidy(item) end
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

return M
