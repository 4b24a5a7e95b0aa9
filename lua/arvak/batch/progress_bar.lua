-- The progress of a batch for people to look at. Invariant: what is printed never rounds up, so 100 % and the time it
-- took stand there only when every job has ended. io, os and the module that knows terminals are looked up when needed.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local check = require "arvak.base.check"
local strays = require "arvak.async.strays"
local text = require "arvak.base.text"

local M = {}

local BETWEEN_LOOKS = 1.0   -- seconds, at the terminal's width
local BETWEEN_LINES = { { 10, 1 }, { 600, 10 }, { math.huge, 60 } }   -- plain lines: until this second, so many seconds
local DEFAULT_COLUMNS, LEAST_BAR, MOST_BAR = 80, 5, 50

-- ---- figures: whatever number comes in, a short text goes out

local function is_finite(value)
  return type(value) == "number" and value == value and value > -math.huge and value < math.huge
end

local number = text.format_number

local function whole(value) return number(value < 1e15 and "%.0f" or "%.3g", value) end

-- Of ended and total, rounded down, so that what is not all is not called 100 %.
local function percent(ended, total)
  if total == 0 then return nil end
  local tenths = math.min(1000, math.floor(ended / total * 1000))
  if tenths == 1000 and ended < total then tenths = 999 end
  return number("%.1f %%", tenths / 10)
end

local units = { { 1e9, "G" }, { 1e6, "M" }, { 1e4, "k", 1e3 } }

local function rate(value)
  if not is_finite(value) or value < 0 then return nil end
  if value >= 1e13 then return "many/s" end
  for _, unit in ipairs(units) do
    if value >= unit[1] then return number("%.1f", value / (unit[3] or unit[1])) .. unit[2] .. "/s" end
  end
  if value > 0 and value < 0.01 then return "<0.01/s" end
  return number(value < 10 and "%.2f/s" or "%.0f/s", value)
end

local HOUR, DAY = 3600, 86400

local function duration(seconds)
  if not is_finite(seconds) or seconds < 0 then return nil end
  if seconds >= 1000 * DAY then return ">999 d" end
  if seconds >= 4 * DAY then return string.format("%d d", seconds // DAY) end
  seconds = math.floor(seconds)
  if seconds >= HOUR then return string.format("%d:%02d:%02d", seconds // HOUR, seconds % HOUR // 60, seconds % 60) end
  return string.format("%d:%02d", seconds // 60, seconds % 60)
end

-- ---- lines

local function number_of(progress, name)
  local value = progress[name]
  return is_finite(value) and value >= 0 and value or 0
end

-- total (nil while unknown), how many have ended, and whether that is all.
local function state_of(progress)
  local ended = number_of(progress, "completed") + number_of(progress, "failed")
  local total = is_finite(progress.total) and math.max(0, progress.total) or nil
  return total, ended, progress.is_complete == true and ended >= (total or 0)
end

-- What can be said, the most important first; the terminal's line takes as much as fits.
local function pieces_of(progress)
  local failed, total, ended, is_over = number_of(progress, "failed"), state_of(progress)
  local pieces = { total and string.format("%s/%s", whole(ended), whole(total)) or whole(ended) .. " ended" }
  local function add(piece) pieces[#pieces + 1] = piece or nil end
  add(total and percent(ended, total))
  add(failed > 0 and whole(failed) .. " failed")
  if is_over then
    add("took " .. (duration(progress.elapsed_time) or "?"))
  else
    add(duration(progress.eta) and "ETA " .. duration(progress.eta))
  end
  add(rate(progress.throughput))
  if not is_over then add(whole(number_of(progress, "running")) .. " running") end
  return pieces, total and total > 0 and math.min(1, ended / total)
end

local symbols = { utf8 = { "█", "░" }, ascii = { "#", "-" } }

-- As the C library decides: the first of the three that is set and not empty.
local function charset()
  local getenv = os and os.getenv
  if not getenv then return symbols.ascii end
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    local value = getenv(name)
    if value and value ~= "" then
      return string.find(string.lower(value), "utf%-?8") and symbols.utf8 or symbols.ascii
    end
  end
  return symbols.ascii
end

-- What keeps the batch from its end, on one line, or nil.
local function trouble_of(progress)
  local trouble = progress.trouble
  return type(trouble) == "string" and not progress.is_complete and text.printable(trouble) or nil
end

-- The first bytes of a text, and no half character.
local function cut(words, size)
  if #words <= size then return words end
  local kept = string.gsub(string.sub(words, 1, math.max(0, size - 3)), "[\192-\255][\128-\191]*$", "")
  return kept .. string.rep(".", math.min(size, 3))
end

-- What is said beside the bar: as many pieces as fit; or the first, and of trouble with the server as much as fits.
local function words_of(progress, room)
  local words, trouble = "", trouble_of(progress)
  for _, piece in ipairs((pieces_of(progress))) do
    local longer = words == "" and piece or words .. "  " .. piece
    if #longer > room then break end
    words = longer
    if trouble then return cut(words .. "  " .. trouble, room) end
  end
  return words
end

-- A line that leaves the last column free, where some terminals wrap. The bar has what the words leave.
local function terminal_line(progress, columns)
  local _, share = pieces_of(progress)
  local room = columns - 1
  local words = words_of(progress, room)
  local bar_width = math.min(MOST_BAR, room - #words - 4)   -- 4: brackets and blanks
  local bar = ""
  if share and bar_width >= LEAST_BAR then
    local full, marks = math.floor(share * bar_width), charset()
    bar = "[" .. string.rep(marks[1], full) .. string.rep(marks[2], bar_width - full) .. "]  "
  else
    bar_width = -4
  end
  return bar .. words .. string.rep(" ", room - #words - bar_width - 4)
end

local function plain_line(progress)
  local pieces = pieces_of(progress)
  pieces[#pieces + 1] = trouble_of(progress)
  return table.concat(pieces, ", ")
end

-- ---- the terminal

local terminal = { looked_at = -math.huge, columns = DEFAULT_COLUMNS }

local modules = {}

local function load(name)
  if not modules[name] then
    local ok, module = core.protect(require, name)
    modules[name] = ok and type(module) == "table" and module or {}
  end
  return modules[name]
end

-- Of lua-system (newer ones) or lua-term; without either nothing is taken for a terminal.
local function is_terminal(stream)
  for _, name in ipairs { "system", "term" } do
    local isatty = load(name).isatty
    local ok, answer = core.protect(isatty, stream)
    if isatty and ok then return answer == true end
  end
  return false
end

-- Of lua-system (newer ones), or of stty, which inherits our standard error.
local function find_columns()
  local termsize = load("system").termsize
  local ok, rows, columns = core.protect(termsize)
  if termsize and ok and rows and columns then return columns end
  local opened, pipe = core.protect(io.popen, "stty size <&2 2>/dev/null")
  if not opened or not pipe then return nil end
  local answer = pipe:read("a") or ""
  pipe:close()
  return tonumber(string.match(answer, "^%d+ (%d+)"))
end

local function columns_of_terminal(now)
  if now - terminal.looked_at >= BETWEEN_LOOKS then
    local columns = find_columns()
    if columns and columns > 0 then terminal.columns = columns end
    terminal.looked_at = now
  end
  return terminal.columns
end

-- ---- printing

local last_line_at = -math.huge
local is_line_open = false   -- of a terminal: it is drawn again

strays.before_saying(function()
  if is_line_open then io.stderr:write "\n" end
  is_line_open = false
end)

-- How long the line before stands, of a batch that runs for so many seconds: nobody reads a log of each second.
local function pause_after(elapsed)
  if not is_finite(elapsed) then elapsed = 0 end
  for _, step in ipairs(BETWEEN_LINES) do
    if elapsed < step[1] then return step[2] end
  end
end

-- Prints the progress of a batch to standard error: on a terminal one line that is drawn again, elsewhere a line once a
-- second, later every 10 and then every 60 seconds, and at the end. Meant as progress_callback.
function M.print_progress_bar(progress)
  if type(progress) ~= "table" then
    check.misuse("print_progress_bar: got %s, expected a table of progress", core.describe(progress))
  end
  progress = { total = progress.total, completed = progress.completed, failed = progress.failed,   -- each read once
    running = progress.running, is_complete = progress.is_complete, elapsed_time = progress.elapsed_time,
    eta = progress.eta, throughput = progress.throughput, trouble = progress.trouble }
  if not (io and io.stderr) then check.misuse("print_progress_bar: there is no io.stderr in this Lua state") end
  local _, _, is_over = state_of(progress)
  local now = core.now()
  if is_terminal(io.stderr) then
    io.stderr:write("\r", terminal_line(progress, columns_of_terminal(now)), is_over and "\n" or "")
    is_line_open = not is_over
    io.stderr:flush()
  elseif is_over or now - last_line_at >= pause_after(progress.elapsed_time) then
    last_line_at = now
    io.stderr:write(plain_line(progress), "\n")
    io.stderr:flush()
  end
end

return M
