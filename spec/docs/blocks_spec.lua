-- The programs in the README and the pages, as printed. A block without `require "arvak"` continues the first program
-- of its page.
-- SPDX-License-Identifier: Apache-2.0
local documents = require "spec.support.documents"
local helper = require "spec.helper"

local LUA = os.getenv "LUA" or "lua5.4"
local KEY, ADDRESS = "a key of the spec", "localhost:50051"
local PAGES = "ls README.md docs/*.md docs/guide/*.md | grep -v MIGRATION"   -- that one has a spec of its own

local server, folder

-- Output and exit status of a program in an interpreter and a folder of its own. The address that the documents use
-- leads to a server with a key and the limits that servers have.
local function run(text)
  local path = folder .. "/program.lua"
  local file = assert(io.open(path, "w"))
  file:write((text:gsub(ADDRESS, server.address)))
  file:close()
  local pipe <close> = assert(io.popen(("cd %s && ARVAK_API_KEY='%s' timeout 100 '%s' program.lua 2>&1; "
    .. "echo \"status $?\""):format(folder, KEY, LUA)))
  local output = pipe:read("a")
  return output, tonumber(output:match("status (%d+)\n$"))
end

local function is_program(text) return text:find('require%(?%s*"arvak[%w.]*"') ~= nil end

local function programs_of(path)
  local list, first = {}, nil
  for _, block in ipairs(documents.blocks(path, "lua")) do
    local text = block.text
    if is_program(text) then
      first = first or text
    else
      assert(first, path .. ": a block that continues nothing")
      text = first .. "do\n" .. text .. "end\n"
    end
    list[#list + 1] = { text = text, line = block.line }
  end
  return list
end

describe("a program", function()
  setup(function()
    server = require("arvak.devserver").start { api_key = KEY }
    local pipe <close> = assert(io.popen("mktemp -d"))
    folder = pipe:read("l")
  end)

  teardown(function()
    server:stop()
    server = nil
    os.execute("rm -rf " .. folder)
    helper.assert_clean()
  end)

  it("that the README begins with has about ten lines and prints the counts of a Bell circuit", function()
    local first = documents.blocks("README.md", "lua")[1].text
    local _, lines = first:gsub("\n", "")
    assert.is_true(lines <= 12)
    local output, status = run(first)
    assert.equal(0, status, output)
    local zeros, ones = output:match("^00\t(%d+)\n11\t(%d+)\n")
    assert.equal(1000, tonumber(zeros) + tonumber(ones))
  end)

  local pages = assert(io.popen(PAGES))
  for path in pages:lines() do
    for _, program in ipairs(programs_of(path)) do
      it(("in line %d of %s runs as printed, and says something"):format(program.line, path), function()
        local output, status = run(program.text)
        assert.equal(0, status, output)
        assert.is_true(#output > #"status 0\n")
      end)
    end
  end
  pages:close()

  it("of the README saves its sweep as CSV", function()
    for _, program in ipairs(programs_of("README.md")) do
      if program.text:find("sweep.csv", 1, true) then
        os.remove(folder .. "/sweep.csv")
        run(program.text)
        local lines = 0
        for _ in io.lines(folder .. "/sweep.csv") do lines = lines + 1 end
        assert.is_true(lines > 21)
        return
      end
    end
    error("no sweep")
  end)
end)

describe("the README", function()
  it("has 150 lines at most", function()
    local _, lines = documents.read("README.md"):gsub("\n", "")
    assert.is_true(lines <= 150, lines .. " lines")
  end)
end)
