-- The blocks of C and C++ in the documents, compiled and linked with what `make install` installs, and run.
-- A block with a main is a program. Another one has to compile below the includes of its page's first.
-- SPDX-License-Identifier: Apache-2.0
local documents = require "spec.support.documents"
local helper = require "spec.helper"

local ADDRESS = "localhost:50051"   -- which the documents use

local function shell(command)
  local pipe <close> = assert(io.popen("{ " .. command .. "\n} 2>&1 </dev/null; echo \"exit $?\""))
  local output, status = pipe:read("a"):match("^(.-)exit (%d+)\n$")
  return tonumber(status), output
end

local function succeed(command)
  local status, output = shell(command)
  assert(status == 0, ("%s\nexit status %s\n%s"):format(command, status, output))
  return output
end

local function is_program(text) return text:find("%f[%w_]main%(") ~= nil end

-- { text =, line =, language =, is_program = } of every document.
local function blocks()
  local list = {}
  for _, path in ipairs(documents.paths()) do
    local includes
    for _, language in ipairs { "c", "cpp", "c++" } do
      for _, block in ipairs(documents.blocks(path, language)) do
        local own = is_program(block.text)
        includes = includes or block.text:match("^.*#include[^\n]*\n")
        local text = own and block.text or (includes or "") .. block.text
        list[#list + 1] = { path = path, text = text, line = block.line, language = language, is_program = own }
      end
    end
  end
  return list
end

describe("a block of C", function()
  local folder, server

  setup(function()
    folder = succeed("mktemp -d"):gsub("\n", "")
    succeed(("MAKEFLAGS= make install BUILD='%s' PREFIX=%s"):format(os.getenv "ARVAK_BUILD" or "build", folder))
    server = helper.start()
  end)

  teardown(function()
    server:stop()
    server = nil
    succeed("rm -rf " .. folder)
    helper.assert_clean()
  end)

  local function compile(block)
    local is_c = block.language == "c"
    local source = folder .. (is_c and "/block.c" or "/block.cpp")
    local file = assert(io.open(source, "w"))
    file:write((block.text:gsub(ADDRESS, server.address)))
    file:close()
    succeed(("cd %s && PKG_CONFIG_PATH=%s/lib/pkgconfig:$PKG_CONFIG_PATH %s -Wall -Werror -pthread %s %s "
      .. "$(PKG_CONFIG_PATH=%s/lib/pkgconfig:$PKG_CONFIG_PATH pkg-config --cflags %s arvak lua5.4)")
      :format(folder, folder, is_c and "${CC:-cc}" or "${CXX:-c++}",
        block.is_program and "-o block" or "-Wno-unused -c -o block.o", source, folder,
        block.is_program and "--libs" or ""))
  end

  for _, block in ipairs(blocks()) do
    local what = block.is_program and "compiles, links, runs and says something" or "compiles"
    it(("in line %d of %s %s"):format(block.line, block.path, what), function()
      compile(block)
      if block.is_program then
        local output = succeed(("cd %s && ARVAK_ADDRESS=%s timeout 60 ./block"):format(folder, server.address))
        assert.is_true(#output > 0)
      end
    end)
  end

  it("stands in the README, whole", function()
    local found
    for _, block in ipairs(blocks()) do found = found or (block.path == "README.md" and block.is_program) end
    assert.is_true(found)
  end)
end)
