-- arvak serve, completion, manual: a server to try things with, and what a shell and man need.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local ends = require "arvak.command.ends"
local out = require "arvak.command.out"
local parser = require "arvak.command.parser"

local M = {}

-- ---- serve

local DEFAULT_ADDRESS = "127.0.0.1:50051"

local function key_of(path)
  if not path then return os.getenv "ARVAK_API_KEY" end
  local file, message = io.open(path, "rb")
  if not file then ends.usage("--api-key-file: %s", message) end
  local key = file:read "l"
  file:close()
  if not key or key == "" then ends.usage("--api-key-file: %s holds no key: expected one line", path) end
  return key
end

function M.serve(options)
  local devserver = ends.load("arvak.devserver", "Build arvak once more and install it.")
  local settings = { address = not options.unix and DEFAULT_ADDRESS or nil, api_key = key_of(options.api_key_file) }
  for _, option in ipairs(parser.server_options) do
    local name = option[1]:gsub("-", "_")
    if options[name] ~= nil then settings[name] = options[name] end
  end
  if #options.fault > 0 then settings.faults = options.fault end
  local ok, server, message = ends.try(devserver.start, settings)
  if not ok then ends.usage("serve: %s", (tostring(server):gsub("^[^\n]-:%d+: ", ""))) end
  if not server then ends.stop(ends.codes.failed, "serve: %s", message) end
  out.write("listening on ", server.address, "\n")
  if server.unix_address and server.unix_address ~= server.address then
    out.write("listening on ", server.unix_address, "\n")
  end
  out.flush()
  while true do arvak.sleep(3600) end
end

-- ---- completion

local makers = { bash = "get_bash_complete", zsh = "get_zsh_complete", fish = "get_fish_complete" }

function M.completion(options)
  local made = parser.new "-"
  out.write(made[makers[options.shell]](made))
  return ends.codes.ok
end

-- ---- the manual page

local function roff(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("…", "...")
  return (text:gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

local function add_elements(lines, elements)
  for _, element in ipairs(elements) do
    if not element._hidden then
      local names = element._aliases and table.concat(element._aliases, ", ") or element._name
      local argument = element._argname
      lines[#lines + 1] = ".TP"
      lines[#lines + 1] = (".B %s"):format(roff(names .. (type(argument) == "string" and element._aliases
        and " " .. argument or "")))
      lines[#lines + 1] = roff(element:_get_description())
    end
  end
end

local function add_command(lines, name, found)
  local command = found.command
  lines[#lines + 1] = ".SS " .. roff("arvak " .. name)
  lines[#lines + 1] = roff(command._description)
  add_elements(lines, command._arguments)
  add_elements(lines, command._options)
  lines[#lines + 1] = ".PP\nExamples:\n.PP\n.nf\n" .. roff(table.concat(found.examples, "\n")) .. "\n.fi"
end

local before = [[
.SH NAME
arvak \- quantum circuits from a shell
.SH SYNOPSIS
.B arvak
.I command
[options] arguments
.SH DESCRIPTION
Runs OpenQASM circuits on an Arvak quantum job service, follows the jobs and fetches what was counted. Results go to
standard output, everything else to standard error.
.SH COMMANDS]]

local after = [[
.SH ENVIRONMENT
.TP
.B ARVAK_ADDRESS
The server, unless \-\-address names one.
.TP
.B ARVAK_API_KEY
The API key. It is never given on the command line, where others can see it.
.TP
.B ARVAK_PROFILE
The profile, unless \-\-profile names one.
.TP
.B NO_COLOR
If set and not empty, nothing is coloured.
.TP
.B PGPASSWORD
The password of a journal or ledger in PostgreSQL, which else comes from ~/.pgpass or a service file.
.SH FILES
.TP
.I $XDG_CONFIG_HOME/arvak/NAME.conf
A profile: lines of name = value, with the names address, api_key_file, tls, ca, cert, key, server_name,
backend and shots.
.TP
.I $XDG_STATE_HOME/arvak/jobs.db
The ledger of what was submitted from here (in ~/.local/state where the variable is not set).
.SH EXIT STATUS
.nf]]

function M.manual(options)
  local _, commands = parser.new(options.version)
  local lines = { (".TH ARVAK 1 \"\" \"arvak %s\""):format(roff(options.version)), before }
  for _, name in ipairs(parser.names) do add_command(lines, name, commands[name]) end
  lines[#lines + 1] = after .. "\n" .. roff(parser.exit_codes()) .. "\n.fi"
  out.write(table.concat(lines, "\n"), "\n")
  return ends.codes.ok
end

return M
