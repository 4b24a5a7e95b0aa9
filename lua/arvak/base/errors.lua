-- Error objects: one table for every outcome of the world that is not what the caller wanted.
-- Invariant: an error is known by its metatable; what it is stands in err.kind, and no text has to be read for it.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local text = require "arvak.base.text"

local M = {}
local Error = core.metatables["arvak.error"]
Error.__index = {}

-- An error of ours, made without an RPC. fields: what else it carries.
function M.new(kind, message, fields)
  local err = { kind = kind, message = message, retryable = false, maybe_executed = false }
  for name, value in pairs(fields or {}) do err[name] = value end
  return setmetatable(err, Error)
end

-- A number of seconds, for a message: with a point in every locale.
M.seconds = text.seconds

function M.is_error(value)
  return core.metatable_of(value) == Error
end

local function notes_of(err)
  local notes = {}
  if err.job_id then notes[#notes + 1] = "job " .. text.printable(tostring(err.job_id)) end
  if err.attempts and err.attempts > 1 then notes[#notes + 1] = err.attempts .. " attempts" end
  if err.maybe_executed then notes[#notes + 1] = "may have been executed" end
  return #notes > 0 and " (" .. table.concat(notes, ", ") .. ")" or ""
end

-- The line of the program at which a task has raised it, as "script.lua:12: ", or "".
local function place_in(traceback)
  for source, line in string.gmatch(type(traceback) == "string" and traceback or "", "\n\t([^\n]-):(%d+): in ") do
    if not string.find(source, "^lua/arvak") then return source .. ":" .. line .. ": " end
  end
  return ""
end

-- "SubmitJob localhost:50051: UNAVAILABLE: message (job …, 3 attempts)". What a terminal would act upon is escaped, but
-- for ends of lines and tabs; the fields have it as it came. The interpreter's text of an error that nobody has caught
-- begins with the line that has raised it.
function Error.__tostring(err)
  local place, where = core.raised_at(), {}
  if place ~= "" then
    local place_of_task = place_in(rawget(err, "traceback"))
    if place_of_task ~= "" then place = place_of_task end
  end
  if err.rpc then where[#where + 1] = err.rpc end
  if err.target then where[#where + 1] = err.target end
  local parts = {}
  if #where > 0 then parts[1] = table.concat(where, " ") end
  parts[#parts + 1] = err.code ~= 0 and err.name or tostring(err.kind)
  if err.message and err.message ~= "" then parts[#parts + 1] = err.message end
  return place .. text.printable(table.concat(parts, ": "), true) .. notes_of(err)
end

-- The text of any error that was raised in a task, with the line that raised it where the text has none.
function M.describe(err)
  local place = M.is_error(err) and place_in(rawget(err, "traceback")) or ""
  return place .. tostring(err)
end

function Error.__concat(a, b)
  return tostring(a) .. tostring(b)
end

return M
