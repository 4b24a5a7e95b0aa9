-- Names of journals and ledgers, as they stand on the command line: files, or databases of PostgreSQL.
-- Invariant: no name with a password is used, since every user of the machine sees command lines; and none is shown.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"
local ends = require "arvak.command.ends"
local text = require "arvak.command.text"

local M = {}

function M.is_postgres(name) return arvak.database_name(name).kind == "postgres" end

-- Ends the command when the name of a database is none, or holds a password. option: what gave the name, for messages.
function M.check(name, option)
  if name == "" then ends.usage("%s: got an empty text, expected the name of a file or a database", option) end
  local about = arvak.database_name(name)
  if about.problem then ends.usage("%s: the name of the database cannot be read: %s", option, about.problem) end
  if about.has_password then
    ends.usage("%s: the name of the database holds a password, which others can see: put it into $PGPASSWORD, "
      .. "~/.pgpass or a service file", option)
  end
end

local function refuse(path, format, ...)
  ends.stop(ends.codes.failed, "the journal %s cannot be made: " .. format, path, ...)
end

-- The folder of a journal in a file; ends the command when there is none.
local function folder_of(path)
  local folder = path:match "^(.*/)[^/]*$" or "./"
  local file, message = io.open(folder .. ".", "rb")
  if not file then
    refuse(path, "there is no folder %s (%s)", folder, message:match "[^:]*$":gsub("^ ", ""))
  end
  file:close()
  return folder
end

-- Ends the command when a journal in a file has no folder.
function M.check_folder(path) folder_of(path) end

-- Ends the command when a file of this name, which is not there yet, could not be made.
function M.check_new(path)
  local word = text.shell_word(folder_of(path))
  if not os.execute(("test -w %s && test -x %s"):format(word, word)) then refuse(path, "its folder is read-only") end
end

return M
