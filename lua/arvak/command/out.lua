-- What the command prints: results to standard output, everything else to standard error. Invariant: after a reader has
-- gone (a closed pipe) nothing more is written and the command ends quietly.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"
local screen = require "arvak.command.screen"
local text = require "arvak.command.text"

local M = {}

local is_quiet, has_color = false, false

local target = io.stdout   -- where results go: standard output, or the file of --output
local output   -- of --output until the first result: { path, file }, the file open and untouched

-- ---- standard output

local BROKEN_PIPE = 141   -- as a shell reports a program that a closed pipe has ended

-- Lua gives no number for a write that failed, so the text of the system's error is all there is.
local function check_write(ok, message)
  if ok then return end
  if tostring(message):find("Broken pipe", 1, true) then os.exit(BROKEN_PIPE) end
  ends.stop(ends.codes.failed, "cannot write: %s", tostring(message))
end

-- Empties the file of --output. It stays open under its first handle meanwhile, so the reader of a FIFO sees no end.
local function begin_output()
  if not output then return end
  local path, earlier = output.path, output.file
  output = nil
  local file, message = io.open(path, "w")
  if not file then ends.stop(ends.codes.failed, "cannot write: %s", message) end
  target = file
  earlier:close()
end

function M.write(...)
  begin_output()
  check_write(target:write(...))
end

function M.flush() check_write(target:flush()) end

-- Results go to this file from now on. It is opened now, so that a name that cannot be written is told before anything
-- is sent, and emptied with the first result: what fails before leaves the file as it was.
function M.open(path)
  if path == nil or path == "-" then return end
  local file, message = io.open(path, "a")
  if not file then ends.usage("--output: %s", message) end
  output = { path = path, file = file }
end

function M.close()
  begin_output()
  M.flush()
  if target ~= io.stdout then check_write(target:close()) end
end


-- ---- standard error

function M.set_quiet(value) is_quiet = value == true end

function M.is_quiet() return is_quiet end

function M.note(format, ...)
  if is_quiet then return end
  io.stderr:write(select("#", ...) > 0 and format:format(...) or format, "\n")
end

-- Whoever quotes a name in the message need not mind what is in it.
function M.complain(message) io.stderr:write("arvak: ", text.printable_lines(message), "\n") end

-- Prints a text that is all there is to say, and leaves; raises nothing.
function M.leave_with(line)
  local ok, problem = pcall(function()
    M.write(line, "\n")
    M.close()
  end)
  if not ok then M.complain(tostring(problem)) end
  os.exit(ok and ends.codes.ok or ends.codes.failed)
end

-- ---- colour

local shades = { red = "31", green = "32", yellow = "33", bold = "1", dim = "2" }

-- when: "always", "never" or "auto", where a terminal and no NO_COLOR mean yes.
function M.set_color(when, is_terminal)
  local forbids = os.getenv "NO_COLOR"
  has_color = when == "always" or (when == "auto" and is_terminal and (forbids == nil or forbids == ""))
end

function M.paint(shade, value)
  if not has_color then return value end
  return ("\27[%sm%s\27[0m"):format(shades[shade], value)
end

-- ---- JSON: one object a line, its fields in the order given

local Raw = {}

-- A text that is JSON already.
function M.raw(value) return setmetatable({ value }, Raw) end

local function encode(value)
  if getmetatable(value) == Raw then return value[1] end
  if type(value) == "table" then return M.object(value) end
  return text.scalar(value)
end

-- fields: { name, value, name, value, … }; a value that is nil is left out, so give select("#").
function M.object(fields)
  local parts = {}
  for i = 1, fields.n or #fields, 2 do
    if fields[i + 1] ~= nil then parts[#parts + 1] = text.scalar(fields[i]) .. ":" .. encode(fields[i + 1]) end
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function M.line(...) M.write(M.object(table.pack(...)), "\n") end

-- In ascending order.
function M.counts(result)
  local fields = { n = 0 }
  for bits, count in result:pairs() do
    fields[fields.n + 1], fields[fields.n + 2], fields.n = bits, count, fields.n + 2
  end
  return M.raw(M.object(fields))
end

function M.list(values)
  local parts = {}
  for i, value in ipairs(values) do parts[i] = encode(value) end
  return M.raw("[" .. table.concat(parts, ",") .. "]")
end

-- An error as an object; nil of none.
function M.error(err)
  if err == nil then return nil end
  if type(err) ~= "table" then return M.raw(M.object { "kind", "rpc", "message", tostring(err) }) end
  return M.raw(M.object(table.pack("kind", err.kind, "message", err.message, "name", err.name, "job_id", err.job_id,
    "retryable", err.retryable, "maybe_executed", err.maybe_executed, "line", err.line, "column", err.column)))
end

-- ---- CSV. A text that a spreadsheet would run as a formula gets an apostrophe before it.

local function csv_cell(value)
  if value == nil then return "" end
  local is_number = type(value) == "number"
  local cell = is_number and text.number(value) or tostring(value)
  if not is_number and cell:find "^[=+@\t\r\n-]" then cell = "'" .. cell end
  if cell:find '[",\r\n]' then cell = '"' .. cell:gsub('"', '""') .. '"' end
  return cell
end

-- values may have holes: give their number.
function M.csv(values, count)
  local cells = {}
  for i = 1, count or #values do cells[i] = csv_cell(values[i]) end
  M.write(table.concat(cells, ","), "\n")
end

-- ---- tables for people: columns are as wide as their widest cell

local function width_of(cell) return utf8.len(cell) or #cell end

-- The width of each column, and of all; cells become texts.
local function measure(header, rows)
  local widths, total = {}, 2 * (#header - 1)
  for column, name in ipairs(header) do
    widths[column] = #name
    for _, row in ipairs(rows) do
      row[column] = row[column] and text.printable(tostring(row[column])) or "-"
      widths[column] = math.max(widths[column], width_of(row[column]))
    end
    total = total + widths[column]
  end
  return widths, total
end

local function write_row(row, widths, shade)
  local cells = {}
  for column, cell in ipairs(row) do
    local padding = column == #row and "" or (" "):rep(widths[column] - width_of(cell))
    cells[column] = (shade and M.paint(shade, cell) or cell) .. padding
  end
  M.write(table.concat(cells, "  "), "\n")
end

-- A line for each cell, for a screen that is too narrow for a line for each row.
local function write_blocks(header, rows)
  local widest = 0
  for _, name in ipairs(header) do widest = math.max(widest, #name) end
  for i, row in ipairs(rows) do
    if i > 1 then M.write "\n" end
    for column, name in ipairs(header) do
      M.write(M.paint("bold", name), (" "):rep(widest - #name + 2), row[column], "\n")
    end
  end
end

-- header: names; rows: lists of texts, false for nothing.
function M.table(header, rows)
  local widths, total = measure(header, rows)
  if target == io.stdout and not output and screen.is_terminal(1) and total > screen.columns() and #rows > 0 then
    return write_blocks(header, rows)
  end
  write_row(header, widths, "bold")
  for _, row in ipairs(rows) do write_row(row, widths) end
end

M.printable = text.printable

return M
