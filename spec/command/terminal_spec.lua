-- The command on a terminal: as wide as the screen, without Unicode or colour where there is none.
-- SPDX-License-Identifier: Apache-2.0
local command = require "spec.support.command"
local helper = require "spec.helper"

local desk = command.desk(helper.start, before_each, after_each)

-- A bare chroot has no pseudo terminals.
local has_terminals = os.execute "script -qec true /dev/null </dev/null >/dev/null 2>&1"
local on_terminal = has_terminals and it or pending

-- What the command prints on a pseudo terminal of so many columns, as lines.
local function lines_of(columns, locale, ...)
  local line = command.line({ ... }, desk:environment { LC_ALL = locale, TERM = "xterm" })
  local result = command.shell(("script -qec %s /dev/null < /dev/null"):format(command.quote(
    ("stty cols %d rows 24; %s"):format(columns, line))), desk.folder)
  local lines = {}
  for text in result.out:gsub("\r", ""):gmatch "[^\n]*" do lines[#lines + 1] = text end
  return lines, result.out
end

describe("on a terminal", function()
  on_terminal("help is as wide as the screen, but for words that are wider", function()
    for _, columns in ipairs { 40, 80 } do
      for _, name in ipairs { "run", "batch", "journal" } do
        local lines = lines_of(columns, "C", name, "--help")
        assert.is_true(#lines > 10)
        for _, line in ipairs(lines) do assert.is_true(#line <= columns, line) end
      end
    end
  end)

  on_terminal("a table that is wider than the screen becomes a line for each cell", function()
    desk:open()
    local _, wide = lines_of(80, "C", "--color", "never", "backends")
    assert.matches("backend +name +available +qubits +shots +description", wide)
    local lines, narrow = lines_of(40, "C", "--color", "never", "backends")
    assert.matches("backend      simulator\r?\nname         simulator\r?\navailable    yes", narrow)
    for _, line in ipairs(lines) do assert.is_true(#line <= 40, line) end
  end)

  on_terminal("nothing but ASCII is drawn where the locale has no more", function()
    for _, columns in ipairs { 40, 80 } do
      for _, words in ipairs { { "draw", "bell.qasm" }, { "run", "bell.qasm", "--address", "embedded" },
        { "batch", "bell.qasm", "--address", "embedded" } } do
        local lines, text = lines_of(columns, "C", table.unpack(words))
        assert.is_nil(text:find "[\128-\255]", text)
        for _, line in ipairs(lines) do
          if words[1] ~= "batch" then assert.is_true(#line <= columns, line) end
        end
      end
    end
    local _, text = lines_of(80, "C.UTF-8", "draw", "bell.qasm")
    assert.is_truthy(text:find "[\128-\255]")
  end)

  on_terminal("headings are bold, unless NO_COLOR or --color says no", function()
    desk:open()
    local _, text = lines_of(80, "C", "backends")
    assert.is_truthy(text:find("\27[1mbackend\27[0m", 1, true))
    _, text = lines_of(80, "C", "--color", "never", "backends")
    assert.is_nil(text:find "\27")
  end)
end)
