-- The guide against the code: the kinds of errors, the dev server's options, and the shape of a page.
-- SPDX-License-Identifier: Apache-2.0
local documents = require "spec.support.documents"

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- The names in the first cells of the table below a heading: those in code spans.
local function names_below(path, heading)
  local section = ("\n" .. documents.read(path)):match("\n## " .. heading .. "\n(.-)\n## ")
  local set = {}
  for cell in assert(section, heading):gmatch("\n|([^|]*)") do
    for name in cell:gmatch("`([%w_]+)`") do set[name] = true end
  end
  return set
end

describe("the page about errors", function()
  it("explains each kind that there is, and no other", function()
    local kinds = {}
    for kind in documents.read("src/core/arvak.h"):gmatch('\n  X%([A-Z_]+, "([%w_]+)"%)') do kinds[kind] = true end
    kinds.none = nil     -- no error at all
    kinds.in_use = true  -- the one kind of the Lua layer alone, about journals
    assert.is_true(kinds.timeout)
    assert.same(sorted(kinds), sorted(names_below("docs/guide/errors-and-what-to-do.md", "Kinds")))
  end)
end)

describe("the page about the dev server", function()
  local named = names_below("docs/devserver.md", "Options")

  it("has each option of devserver.start, and no other", function()
    local _, message = pcall(require("arvak.devserver").start, { ["no such option"] = true })
    local taken = { fault = true, api_key_file = true }   -- the program's own: one of faults, and a file
    for name in message:match("%(expected (.-)%)"):gmatch("[%w_]+") do taken[name] = true end
    assert.same(sorted(taken), sorted(named))
  end)

  it("has each flag of the program", function()
    local pipe <close> = assert(io.popen((os.getenv "ARVAK_BUILD" or "build") .. "/bin/arvak-devserver --help"))
    local flags = {}
    for flag in pipe:read("a"):gmatch("%-%-([%w-]+)") do flags[flag:gsub("-", "_")] = true end
    assert.is_true(flags.seed)
    for name in pairs(flags) do
      if name ~= "help" and name ~= "version" then assert.is_true(named[name], name) end
    end
  end)
end)

describe("a page of the guide", function()
  for _, path in ipairs(documents.paths()) do
    if path:find("^docs/guide/") and not path:find("README") then
      it(path .. " begins with a program, and ends with what goes wrong", function()
        local text = documents.read(path)
        assert.truthy(text:match("^# [^\n]+\n.-\n```%l+\n"), "no program")
        assert.is_true(select(2, text:match("^(.-)```"):gsub("\n", "")) < 16, "the program comes late")
        local last
        for heading in text:gmatch("\n## ([^\n]+)") do last = heading end
        assert.truthy(last == "What goes wrong" or last == "Troubleshooting", last)
      end)
    end
  end
end)
