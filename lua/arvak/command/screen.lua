-- What the command's terminal is like. Asked of the system's own programs, and only when something is to be drawn.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local DEFAULT_COLUMNS = 80

local function is_terminal(number)
  return os.execute(("test -t %d"):format(number)) == true
end

M.is_terminal = is_terminal

local function env(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

-- Of standard output, or 80.
function M.columns()
  local given = math.tointeger(tonumber(env "COLUMNS"))
  if given and given >= 20 then return given end
  if not is_terminal(1) then return DEFAULT_COLUMNS end
  local pipe <close> = io.popen("stty size <&2 2>/dev/null")
  local columns = pipe and math.tointeger(tonumber((pipe:read "a"):match "^%d+ (%d+)"))
  return columns and columns >= 20 and columns or DEFAULT_COLUMNS
end

-- Whether the terminal's locale has more than ASCII.
function M.has_unicode()
  local locale = env "LC_ALL" or env "LC_CTYPE" or env "LANG" or ""
  return locale:lower():find "utf%-?8" ~= nil
end

return M
