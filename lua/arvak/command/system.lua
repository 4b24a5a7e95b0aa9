-- Commands of the system's shell, each of which costs milliseconds.
-- Invariant: none is run by os.execute, which holds back the SIGINT of a Ctrl-C.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

-- The text as a word of a command line.
function M.word(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Whether a command succeeds. Its standard output is the caller's.
function M.succeeds(line) return assert(io.popen(line, "w")):close() == true end

-- What a command prints, and whether it has succeeded.
function M.read(line)
  local pipe <close> = assert(io.popen(line))
  local text = pipe:read "a"
  return text, pipe:close() == true
end

return M
