-- Results of jobs as people and programs read them. Invariant: with --format json an error is an object on standard
-- output, one a line, as a result is; in every other format it goes to standard error.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local screen = require "arvak.command.screen"

local M = {}

local Printer = {}
Printer.__index = Printer

-- A printer of outcomes. subject: what each is of, "file" or "job". is_one: no heading is needed.
function M.printer(format, subject, is_one)
  return setmetatable({ format = format, subject = subject, is_one = is_one, has_begun = false, failures = 0,
    code = ends.codes.ok }, Printer)
end

local function print_json(self, name, job_id, result, err)
  out.line("file", self.subject == "file" and name or nil, "job_id", job_id, "shots", result and result.shots,
    "counts", result and out.counts(result), "execution_time_ms", result and result.execution_time_ms,
    "error", out.error(err))
end

-- A line of CSV; the first column is the file, where there are files.
local function csv_line(self, file, ...)
  if self.subject == "file" then out.csv({ file, ... }, 5) else out.csv({ ... }, 4) end
end

local function print_csv(self, name, job_id, result)
  if not self.has_begun then csv_line(self, "file", "job_id", "bitstring", "count", "shots") end
  if not result then return end
  for bits, count in result:pairs() do csv_line(self, name, job_id, bits, count, result.shots) end
end

local function print_text(self, name, result)
  if not result then return end
  if not self.is_one then
    if self.has_begun then out.write "\n" end
    out.write(out.paint("bold", out.printable(name)), "\n")
  end
  if self.format == "counts" then
    for bits, count in result:pairs() do out.write(bits, " ", tostring(count), "\n") end
    return
  end
  local text, problem = result:histogram(screen.columns())
  if not text then ends.fail(problem, name) end
  out.write(text)
end

local function note_failure(self, name, err)
  local code = ends.code_of(err)
  self.failures = self.failures + 1
  self.code = ends.join(self.code, code)
  if self.format ~= "json" then out.complain(out.printable(name) .. ": " .. ends.in_options(tostring(err))) end
end

-- One outcome: a result, or nil and an error.
function Printer:add(name, job_id, result, err)
  if not result then note_failure(self, name, err) end
  if self.format == "json" then
    print_json(self, name, job_id, result, err)
  elseif self.format == "csv" then
    print_csv(self, name, job_id, result)
  else
    print_text(self, name, result)
  end
  self.has_begun = self.has_begun or result ~= nil or self.format == "csv"
  out.flush()
end

-- The exit code: 0, that which all failures share, or 1.
function Printer:exit_code()
  return self.code
end

return M
