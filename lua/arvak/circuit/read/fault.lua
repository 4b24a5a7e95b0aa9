-- Refusals while a text is read: raised where the fault is found, and turned into the library's error object at the
-- top.
-- Invariant: a refusal names line and column of the text that it is about, and shows that line with a caret.
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"
local text = require "arvak.base.text"

local M = {}
local Fault = {}

-- Places of several texts are one kind of number: the number of the text times this, and the place in it.
M.TEXTS = 1 << 40

local WIDTH = 100   -- of the shown line

-- Raises a refusal. at: a place.
function M.raise(at, format, ...)
  error(setmetatable({ at = at, message = select("#", ...) > 0 and string.format(format, ...) or format }, Fault), 0)
end

-- Raises a refusal because the value of an input is needed.
function M.need(at, name, format, ...)
  error(setmetatable({ at = at, message = string.format(format, ...), input = name }, Fault), 0)
end

-- Raises a refusal because of a value that is known only when the shots are taken.
function M.unknown(at, format, ...)
  error(setmetatable({ at = at, message = string.format(format, ...), is_unknown = true }, Fault), 0)
end

function M.is(value) return getmetatable(value) == Fault end

-- Line, column and start of the line of a place in a text. Columns count bytes, from 1.
function M.locate(body, place)
  local line, from = 1, 1
  while true do
    local stop = string.find(body, "\n", from, true)
    if not stop or stop >= place then break end
    line, from = line + 1, stop + 1
  end
  return line, place - from + 1, from
end

-- The line with a caret below the place. Of a long line what is around it.
local function show(body, from, column)
  local line = string.match(body, "^[^\r\n]*", from)
  local first = 1
  if column > WIDTH - 20 then
    first = column - WIDTH // 2
    while first > 1 and string.byte(line, first) and string.byte(line, first) & 0xC0 == 0x80 do first = first - 1 end
  end
  local shown = string.sub(line, first, first + WIDTH - 1)
  local before = text.printable(string.gsub(string.sub(line, first, column - 1), "\t", " "))
  local width = utf8 and utf8.len(before) or #before
  return text.printable((string.gsub(shown, "\t", " "))) .. "\n" .. string.rep(" ", width) .. "^"
end

-- The error object of a refusal. texts: all that were read, by number: { body, name }.
function M.error(fault, texts)
  local source = texts[fault.at // M.TEXTS] or texts[1]
  local line, column, from = M.locate(source.body, fault.at % M.TEXTS)
  local where = string.format("%s%d:%d", source.name and text.printable(source.name) .. ":" or "line ", line, column)
  local message = string.format("%s: %s\n%s", where, text.printable(fault.message), show(source.body, from, column))
  return errors.new("invalid_circuit", message, { line = line, column = column, source = source.name })
end

return M
