-- Texts of others, made safe for a terminal, a shell and JSON, and JSON read with lua-cjson.
-- Invariant: what comes out is printable, or valid JSON, whatever came in.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"

local M = {}

local function each_character(text, show_broken, show)
  local parts, at = {}, 1
  while at <= #text do
    local size = utf8.len(text, at, at) and #utf8.char(utf8.codepoint(text, at)) or 0
    parts[#parts + 1] = size == 0 and show_broken(text:byte(at)) or show(text:sub(at, at + size - 1))
    at = at + math.max(size, 1)
  end
  return table.concat(parts)
end

-- ---- for a terminal

-- Controls, and characters that turn the direction of the text.
local function is_acted_upon(code)
  return code < 32 or code >= 127 and code < 160 or code >= 0x200E and code <= 0x200F
    or code >= 0x2028 and code <= 0x202E or code >= 0x2066 and code <= 0x2069
end

local function show(character)
  local code = utf8.codepoint(character)
  return is_acted_upon(code) and ("\\u{%x}"):format(code) or character
end

local function show_broken(byte) return ("\\x%02x"):format(byte) end

-- The text with everything escaped that a terminal would act upon.
function M.printable(text)
  if not text:find "[^\32-\126]" then return text end
  return each_character(text, show_broken, show)
end

-- The same of each of its lines.
function M.printable_lines(text) return (text:gsub("[^\n\t]+", M.printable)) end

-- ---- for a shell

-- The text as a word of a command line.
function M.shell_word(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- ---- JSON

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(character)
  if escapes[character] then return escapes[character] end
  local is_control = #character == 1 and character < " "
  return is_control and ("\\u%04x"):format(character:byte()) or character
end

local function replace() return "\u{FFFD}" end

local function json_string(text)
  if not text:find '[%c"\\\127-\255]' then return '"' .. text .. '"' end
  return '"' .. each_character(text, replace, escape) .. '"'
end

-- The shortest text that reads back as this number, with a point in every locale. JSON has no infinity.
function M.number(value)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if value ~= value or value == math.huge or value == -math.huge then return "null" end
  local text
  for digits = 15, 17 do
    text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then break end
  end
  return (text:gsub(",", "."))
end

-- A text, a number, a boolean or nil.
function M.scalar(value)
  local kind = type(value)
  if kind == "number" then return M.number(value) end
  if kind == "boolean" then return tostring(value) end
  if value == nil then return "null" end
  return json_string(tostring(value))
end

local function tidy(value)
  if type(value) == "table" then
    for name, member in pairs(value) do value[name] = tidy(member) end
  elseif type(value) == "number" then
    return math.tointeger(value) or value
  elseif type(value) == "userdata" then
    return nil   -- null
  end
  return value
end

-- The value of a JSON text, or nil and a message.
function M.decode(source)
  local cjson = ends.load("cjson", "Install the Debian package lua-cjson, or: luarocks install lua-cjson")
  local ok, value = ends.try(cjson.decode, source)
  if not ok then return nil, "not valid JSON: " .. tostring(value) end
  return tidy(value)
end

return M
