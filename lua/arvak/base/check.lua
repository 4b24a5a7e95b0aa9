-- Checks of arguments in the Lua layer, so that a mistake is named before anything is sent.
-- Invariant: what is wrong raises at the line of the library's caller, and names the argument and what it got.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local text = require "arvak.base.text"

local M = {}

function M.misuse(format, ...)
  return core.misuse(text.printable(string.format(format, ...), true))
end

-- Whether it can be called.
function M.is_callable(value)
  if type(value) == "function" then return true end
  local meta = core.metatable_of(value)
  return meta ~= nil and rawget(meta, "__call") ~= nil
end

-- Makes each function of a table one that checks its arguments' number, and its object where the metatable of its class
-- is given. A program gets no others.
function M.seal(functions, class)
  for name, fn in pairs(functions) do
    if type(fn) == "function" then functions[name] = core.method(fn, name, class) end
  end
  return functions
end

-- A callable, or misuse.
function M.callable(value, name)
  if M.is_callable(value) then return value end
  return M.misuse("%s: got %s, expected a function", name, core.describe(value))
end

-- What a list holds, read once: a table of its own without holes, and how many there are. Its metatable's __len,
-- __index and __len are honoured. A hole, or a key beside the list (but for the n of table.pack), is a mistake:
-- nobody would read what is there. name: of the argument; items: of its places; each: what stands in one.
function M.list(value, name, items, each)
  if type(value) ~= "table" then
    M.misuse("%s: got %s, expected a list of %ss", name, core.describe(value), each)
  end
  local copy, count = {}, #value
  if math.type(count) ~= "integer" then
    M.misuse("%s: got a table whose length is %s, expected a list of %ss", name, core.describe(count), each)
  end
  for i = 1, count do
    local item = value[i]
    if item == nil then M.misuse("%s[%d]: got nil, expected a %s", items, i, each) end
    copy[i] = item
  end
  for key, item in next, value do
    if copy[key] == nil and not (key == "n" and item == count) then
      M.misuse("%s: got the key %s in a list of %d entries", items, core.describe(key), count)
    end
  end
  return copy, count
end

function M.string(value, name)
  if type(value) ~= "string" then M.misuse("%s: got %s, expected a string", name, core.describe(value)) end
  return value
end

-- A name that goes to the server: UTF-8 without NUL bytes.
M.text = core.check_text

local MOST_IN_LABEL = 1000   -- bytes, as for the calls in C

-- What a ledger shall know a submit by, or nil.
function M.label(value)
  if value == nil then return nil end
  M.text(value, "label")
  if #value > MOST_IN_LABEL then
    M.misuse("label: got a text of %d bytes, expected %d at most", #value, MOST_IN_LABEL)
  end
  return value
end

-- The name of a file, which C would cut at a NUL byte.
function M.path(value, name)
  if type(value) ~= "string" or value == "" or string.find(value, "\0", 1, true) then
    M.misuse("%s: got %s, expected the name of a file", name, core.describe(value))
  end
  return value
end

-- Seconds ≥ 0 (above 0 when positive), or nil.
function M.seconds(value, name, positive)
  if value == nil then return nil end
  if type(value) ~= "number" or value ~= value or value < 0 or (positive and value == 0) then
    M.misuse("%s: got %s, expected a number of seconds %s", name, core.describe(value),
      positive and "above 0" or "from 0 on")
  end
  return value
end

-- The options in a table, which may only have these names: a plain table of their own, since a table of options is read
-- once and without its metamethods. nil: none.
function M.options(options, method, names)
  if options == nil then return {} end
  if type(options) ~= "table" then
    M.misuse("%s: got %s, expected a table of options", method, core.describe_type(options))
  end
  local copy = {}
  for name, value in next, options do
    if not names[name] then
      local known = {}
      for known_name in pairs(names) do known[#known + 1] = known_name end
      table.sort(known)
      M.misuse("%s: unknown option %s, expected one of %s", method, core.describe(name), table.concat(known, ", "))
    end
    copy[name] = value
  end
  return copy
end

-- The options of every call. Methods that are made of several calls hand them on.
M.call_options = {
  timeout = true, attempt_timeout = true, queue_timeout = true, metadata = true, retry = true, breaker = true,
}

-- Those of options, as a table of their own, or what is in into already.
function M.pick_call_options(options, into)
  into = into or {}
  for name in pairs(M.call_options) do into[name] = options[name] end
  return into
end

return M
