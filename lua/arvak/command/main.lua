-- The program arvak: reads the command line, runs a subcommand, and ends with its exit code.
-- Invariant: whatever a subcommand raises becomes a message on standard error and one of the codes in ends.lua.
-- SPDX-License-Identifier: Apache-2.0
local ends = require "arvak.command.ends"

-- How wide help may be, where there is to be some.
local function columns_for_help(arguments)
  for _, word in ipairs(arguments) do
    if word == "--help" or word:find "^%-%l*h$" then
      local screen = require "arvak.command.screen"
      return screen.columns()
    end
  end
end

local function parse(arguments, version)
  local parser = require "arvak.command.parser"
  local root, commands = parser.new(version, columns_for_help(arguments))
  local ok, options = root:pparse(arguments)
  if ok then return options end
  local name = commands[arguments[1]] and " " .. arguments[1] or ""
  ends.usage("%s\nTry: arvak%s --help", (tostring(options):gsub("^%l", string.lower)), name)
end

local function is_same_file(a, b)
  if a == b then return true end
  local system = require "arvak.command.system"
  return system.succeeds(("test %s -ef %s"):format(system.word(a), system.word(b)))
end

-- Ends the command where its results would replace the journal or the ledger. A program is read whole before that.
local function check_output(options)
  local output, is_of_journal = options.output, options.command == "journal" or options.command == "report"
  if not output or output == "-" then return end
  for _, path in pairs { options.journal or false, options.ledger or false, is_of_journal and options.file } do
    if type(path) == "string" and is_same_file(path, output) then   -- argparse gives the command's name as true
      ends.usage("--output: %s is read: give the results a file of their own", output)
    end
  end
end

local function prepare_output(options)
  local out = require "arvak.command.out"
  local screen = require "arvak.command.screen"
  out.set_quiet(options.quiet)
  check_output(options)
  out.set_color(options.color, options.color == "auto" and screen.is_terminal(1))
  if not options.dry_run then out.open(options.output) end   -- a plan is no result, and the file may hold some
  return out
end

-- What the library says of a word that it does not take, "label: got …": raised at a line of ours, which handed it on.
local REFUSED_WORD = "^[^\n]*/command/[%l_]+%.lua:%d+: ([%w_.%[%]]+: got [^\n]*)$"

-- What was raised, with a traceback where it is a defect of ours.
local function note(caught)
  if type(caught) ~= "string" or ends.is_interrupt(caught) then return caught end
  local refused = caught:match(REFUSED_WORD)
  return refused and ends.new(ends.codes.usage, refused) or debug.traceback(caught, 2)
end

local function run(arguments, version)
  if arguments[1] == "--version" then   -- before more is loaded
    local out = require "arvak.command.out"
    out.leave_with("arvak " .. version)
  end
  local options = parse(arguments, version)
  options.arguments, options.version = arguments, version
  local out = prepare_output(options)
  ends.load("arvak", "Install the libraries that it names, or build arvak once more and install it.")
  local commands = require "arvak.command.commands"
  local ok, code = xpcall(commands[options.command], note, options)
  if ok then
    out.close()
    return code
  end
  if options.format == "json" and ends.is_stop(code) then
    out.line("file", code.file, "error", out.error(code.err or { kind = "usage", message = code.message }))
  end
  error(code, 0)
end

-- The exit code for what was raised, which is told.
local function complain(caught)
  if ends.is_interrupt(caught) then
    rawset(_G, "arg", nil)   -- the library would say what is left undone, which was meant to be
    return ends.codes.interrupted
  end
  local out = require "arvak.command.out"
  out.complain(ends.is_stop(caught) and caught.message or tostring(caught))
  return ends.is_stop(caught) and caught.code or ends.codes.failed
end

local function hint(code)
  local out = require "arvak.command.out"
  if not out.is_quiet() then io.stderr:write("Try: ", ends.hints[code], "\n") end
end

local EBADF = 9
local held = {}   -- files that stand for closed streams

-- The next file that is opened, a database even, would become a standard stream that is closed. A file of /dev/null
-- takes its place, in which reading, or writing, fails as in the stream.
local function hold_closed()
  for _, stream in ipairs { { io.stdin, "w" }, { io.stdout, "r" }, { io.stderr, "r" } } do
    local _, _, code = stream[1]:seek()
    if code == EBADF then held[#held + 1] = io.open("/dev/null", stream[2]) end
  end
end

-- Runs the command with these arguments; does not return. version: of the library.
return function(arguments, version)
  hold_closed()
  local ok, code = pcall(run, arguments, version)
  if not ok then code = complain(code) end
  io.stdout:flush()
  if ends.hints[code] then hint(code) end
  local ledger = package.loaded["arvak.command.ledger"]
  if ledger and code ~= ends.codes.interrupted then pcall(ledger.rest) end
  os.exit(code, true)
end
