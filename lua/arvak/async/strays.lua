-- Errors without a reader. Invariant: each is raised once by whoever drives the loop, or said when the state closes;
-- none is lost but an interrupt of the host's. While there are any, who drives has something to do.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"
local errors = require "arvak.base.errors"
local text = require "arvak.base.text"

local M = {}

local end_line = function() end

-- fn() is called before something is said, to end a line that it has not ended yet.
function M.before_saying(fn) end_line = fn end

-- Says something to whoever runs the program, where nobody is there to raise to. The interpreter gives a script its
-- arguments in arg, and shows no warnings by default: there it is standard error; in a host it is for the host's warn.
function M.say(words)
  words = text.printable(words, true)
  end_line()
  if type(arg) == "table" and io and io.stderr then
    io.stderr:write("arvak: ", words, "\n")
  elseif warn then
    warn("arvak: ", words)
  end
end

local strays = setmetatable({}, {   -- in order
  __gc = function(list)
    for _, err in ipairs(list) do M.say("an error that nobody read: " .. errors.describe(err)) end
  end,
})

-- The host knows of its interrupt, and whoever drives next has nothing to do with it.
function M.add(err)
  if errors.is_error(err) and err.kind == "interrupted" then return end
  strays[#strays + 1] = err
  core.set_strays(true)
end

-- Raises the first one, if there is any.
function M.raise()
  if #strays == 0 then return end
  local err = table.remove(strays, 1)
  core.set_strays(#strays > 0)
  error(err, 0)
end

return M
