-- How the command ends: exit codes, and errors that end it. Invariant: an error of the world or of the user reaches the
-- end of main.lua as a table made here; anything else that is raised is a defect of the program.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- name → exit code. The manual page prints the same list.
M.codes = { ok = 0, failed = 1, usage = 2, no_server = 3, not_allowed = 4, limits = 5, in_use = 6, pending = 8,
  interrupted = 130 }

-- In the order of the manual page.
M.meanings = {
  { 0, "all went well" },
  { 1, "some or all circuits failed, or were refused" },
  { 2, "the command line is wrong" },
  { 3, "no server answered" },
  { 4, "not allowed: the key or a certificate is missing or wrong" },
  { 5, "a limit of the server" },
  { 6, "another process uses the journal" },
  { 8, "still pending (status, result, watch)" },
  { 130, "interrupted" },
}

-- exit code → what whoever gets it may try, said once at the end.
M.hints = {
  [M.codes.no_server] = "another --address or $ARVAK_ADDRESS, or a server of your own: arvak serve",
  [M.codes.not_allowed] = "the API key in $ARVAK_API_KEY, or in a file that --api-key-file names; certificates by "
    .. "--ca, --cert and --key",
}

local by_kind = { unavailable = 3, circuit_open = 3, unauthenticated = 4, resource_exhausted = 5, timeout = 3,
  job_not_completed = 8, in_use = 6 }

-- gRPC gives a certificate that was refused the status of a broken connection; only its text tells the two apart.
local function is_about_certificate(err)
  return tostring(err.message):find("certificate", 1, true) ~= nil
end

-- The exit code of an error object of the library. A wait that is over leaves its job pending.
function M.code_of(err)
  if type(err) ~= "table" then return M.codes.failed end
  if err.kind == "timeout" and (err.scope == "wait" or err.scope == "batch") then return M.codes.pending end
  if err.kind == "rpc" and err.name == "PERMISSION_DENIED" then return M.codes.not_allowed end
  if err.kind == "unavailable" and is_about_certificate(err) then return M.codes.not_allowed end
  return by_kind[err.kind] or M.codes.failed
end

-- What is told of several: the code that all who failed share, or 1.
function M.join(code, new)
  if new == M.codes.ok or code == new then return code end
  return code == M.codes.ok and new or M.codes.failed
end

local Stop = {}
Stop.__index = Stop
function Stop.__tostring(self) return self.message end

-- What ends the command when it is raised: the code, and a message without a line of code before it.
function M.new(code, message) return setmetatable({ code = code, message = message }, Stop) end

-- Ends the command with this code; the message goes to standard error.
function M.stop(code, format, ...)
  error(M.new(code, select("#", ...) > 0 and format:format(...) or format), 0)
end

function M.usage(format, ...) M.stop(M.codes.usage, format, ...) end

-- What the library names for programs, and how the command line says it.
local words = { { "extend = true", "--extend" }, { 'on_unknown = "resubmit"', "--on-unknown resubmit" },
  { "within max_wait = ", "within --max-wait " }, { "within timeout = ", "within --max-wait " },
  { "its on_unknown is", "its --on-unknown is" },
  { "arvak.ledger reads", "arvak jobs --ledger reads" }, { "arvak.journal reads", "arvak journal reads" } }

-- A message of the library, in the words of the command line.
function M.in_options(message)
  for _, pair in ipairs(words) do
    local first, last = message:find(pair[1], 1, true)
    if first then message = message:sub(1, first - 1) .. pair[2] .. message:sub(last + 1) end
  end
  return message
end

-- Ends the command with what the library said; subject stands before it, a file or a job. file: for a reader of JSON.
function M.fail(err, subject, file)
  local text = type(err) == "table" and err.message or tostring(err)
  text = M.in_options(text)
  if subject then text = subject .. ": " .. text end
  error(setmetatable({ code = M.code_of(err), message = text, err = err, file = file }, Stop), 0)
end

-- Lua raises this text, with the place where it was, at Ctrl-C. Others put their own before it, argparse a traceback
-- behind it.
function M.is_interrupt(value)
  return type(value) == "string"
    and (value:find "interrupted!$" or value:find "^[^\n]*interrupted!\noriginal stack traceback:") ~= nil
end

local function pass_interrupt(ok, first, ...)
  if not ok and M.is_interrupt(first) then error(first, 0) end
  return ok, first, ...
end

-- pcall, but Ctrl-C ends the command wherever it comes.
function M.try(f, ...) return pass_interrupt(pcall(f, ...)) end

-- pcall, but Ctrl-C comes only where f waits. Lua raises it in the main coroutine, at any instruction: in the middle of
-- what the library does with an answer, too, which would be lost. In another coroutine only waits raise it.
function M.steadily(f, ...) return coroutine.resume(coroutine.create(f), ...) end

-- A module that the command needs; without it the command ends. remedy: what to do then.
function M.load(name, remedy)
  local ok, module = M.try(require, name)
  if ok then return module end
  local reason = tostring(module)
  if reason:find(("module '%s' not found"):format(name), 1, true) then reason = "it is not installed" end
  return M.stop(M.codes.failed, "the module %s cannot be loaded: %s", name, reason .. "\n" .. remedy)
end

function M.is_stop(value) return getmetatable(value) == Stop end

return M
