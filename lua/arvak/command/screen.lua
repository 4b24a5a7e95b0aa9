-- What the command's terminal is like. Asked of the system's own programs, each of which costs milliseconds: once, and
-- before gRPC has made its threads.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local DEFAULT_COLUMNS, MOST_COLUMNS = 80, 10000

local known = {}   -- file descriptor → whether it is a terminal; columns

function M.is_terminal(number)
  if known[number] == nil then known[number] = os.execute(("test -t %d"):format(number)) == true end
  return known[number]
end

local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function ask_columns()
  local given = math.tointeger(tonumber(env "COLUMNS"))
  if given and given >= 20 then return math.min(given, MOST_COLUMNS) end
  if not M.is_terminal(1) then return nil end
  local pipe <close> = io.popen("stty size <&2 2>/dev/null")
  local columns = pipe and math.tointeger(tonumber((pipe:read "a"):match "^%d+ (%d+)"))
  return columns and columns >= 20 and columns or nil
end

-- Of the terminal that is standard output, or what $COLUMNS says; 80 where neither says anything.
function M.columns()
  known.columns = known.columns or ask_columns() or DEFAULT_COLUMNS
  return known.columns
end

-- Whether the terminal's locale has more than ASCII.
function M.has_unicode()
  local locale = env "LC_ALL" or env "LC_CTYPE" or env "LANG" or ""
  return locale:lower():find "utf%-?8" ~= nil
end

return M
