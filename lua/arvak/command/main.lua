-- The program arvak: reads the command line, runs a subcommand, and ends with its exit code.
-- Invariant: every end goes through finish, so that output is complete and the code is one of those in ends.lua.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"

-- Which file has each subcommand, and the name of its function there.
local files = { run = "run", submit = "run", status = "jobs", result = "jobs", watch = "jobs", cancel = "jobs",
  backends = "jobs", batch = "batch", journal = "journal", report = "report", check = "look", draw = "look",
  convert = "look", serve = "shell", completion = "shell", manual = "shell" }

local function parse(arguments, version)
  local parser = require "arvak.command.parser".new(version)
  local ok, options = parser:pparse(arguments)
  if ok then return options end
  local name = files[arguments[1]] and " " .. arguments[1] or ""
  ends.usage("%s\nTry: arvak%s --help", (tostring(options):gsub("^%l", string.lower)), name)
end

local function complain(caught, options)
  if not ends.is_stop(caught) then
    io.stderr:write("arvak: ", tostring(caught), "\n")
    return ends.codes.failed
  end
  if options and options.format == "json" and caught.err then
    local out = require "arvak.command.out"
    out.line("error", out.error(caught.err))
  end
  io.stderr:write("arvak: ", caught.message, "\n")
  return caught.code
end

local function run(arguments, version)
  local options = parse(arguments, version)
  options.arguments, options.version = arguments, version
  local out, screen = require "arvak.command.out", require "arvak.command.screen"
  out.is_quiet = options.quiet
  out.set_color(options.color, options.color == "auto" and screen.is_terminal(1))
  if options.command ~= "draw" then out.open(options.output) end
  local command = require("arvak.command." .. files[options.command])[options.command]
  local ok, code = xpcall(command, function(caught)
    if ends.is_stop(caught) or ends.is_interrupt(caught) or type(caught) ~= "string" then return caught end
    return debug.traceback(caught, 2)
  end, options)
  if not ok and ends.is_interrupt(code) then return ends.codes.interrupted end
  if not ok then return complain(code, options) end
  out.close()
  return code
end

-- Runs the command with these arguments; does not return. version: of the library.
return function(arguments, version)
  if arguments[1] == "--version" then   -- before anything is loaded
    print("arvak " .. version)
    os.exit(0)
  end
  local ok, code = pcall(run, arguments, version)
  if not ok then code = ends.is_interrupt(code) and ends.codes.interrupted or complain(code) end
  io.stdout:flush()
  os.exit(code, true)
end
