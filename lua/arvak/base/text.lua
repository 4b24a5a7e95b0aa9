-- Texts for people. What a server sends may hold anything; a terminal acts on some of it.
-- Invariant: what printable gives moves no cursor, changes no color and turns no reading direction; a number has a
-- point whatever the locale says.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local short = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- Code points beyond ASCII that are not shown but acted upon: controls, marks of direction, ends of lines, tags.
local function is_acted_upon(code)
  return code < 0xa0 or code == 0x61c or code == 0x200e or code == 0x200f or (code >= 0x2028 and code <= 0x202e)
    or (code >= 0x2066 and code <= 0x2069) or (code >= 0xe0000 and code <= 0xe007f)
end

-- The character at a place outside printable ASCII, as it may be shown, and its size. In a Lua state without utf8
-- nobody can tell characters from broken ones.
local function show(text, at)
  local char = string.sub(text, at, at)
  if char < "\128" or not utf8 or not utf8.len(text, at, at) then
    return short[char] or string.format(string.find(text, "^%d", at + 1) and "\\%03d" or "\\%d", string.byte(char)), 1
  end
  local code = utf8.codepoint(text, at)
  char = utf8.char(code)
  return is_acted_upon(code) and string.format("\\u{%x}", code) or char, #char
end

-- A text with everything escaped that a terminal would act upon, as in Lua's strings: \r, \27, \u{202e}. keeps_lines:
-- ends of lines and tabs stay.
function M.printable(text, keeps_lines)
  if not string.find(text, "[^\32-\126]") then return text end
  local plain = keeps_lines and "^[\32-\126\n\t]+" or "^[\32-\126]+"
  local parts, at = {}, 1
  while at <= #text do
    local part = string.match(text, plain, at)
    local size = part and #part
    if not part then part, size = show(text, at) end
    parts[#parts + 1], at = part, at + size
  end
  return table.concat(parts)
end

-- What stands between 0 and 5 in 0.5, in the locale of this moment.
function M.decimal_point()
  return string.sub(string.format("%.1f", 0.5), 2, -2)
end

-- A number by this format, with a point in it.
function M.format_number(format, value)
  local text, point = string.format(format, value), M.decimal_point()
  if point == "." then return text end
  local from, to = string.find(text, point, 1, true)
  return from and string.sub(text, 1, from - 1) .. "." .. string.sub(text, to + 1) or text
end

-- A number of seconds as %g has it.
function M.seconds(value)
  return M.format_number("%g", value)
end

return M
