-- The rock and the plain install, from nothing but what git knows, in a directory of their own.
-- SPDX-License-Identifier: Apache-2.0

local PROGRAM = [[
local arvak = require "arvak"
local client <close> = arvak.connect("embedded")
local bell = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
local result = assert(client:execute(bell, "simulator", 100))
assert((result.counts["00"] or 0) + (result.counts["11"] or 0) == 100)
local server = require "arvak.devserver".start{}
local other <close> = arvak.connect(server.address)
assert(#assert(other:list_backends()) >= 1)
server:stop()
print "works"
]]

local function shell(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1 </dev/null; echo \"exit $?\""))
  local text = pipe:read("a")
  pipe:close()
  local output, status = text:match("^(.-)exit (%d+)\n$")
  return tonumber(status), output
end

local function succeed(command)
  local status, output = shell(command)
  assert(status == 0, ("%s\nexit status %s\n%s"):format(command, status, output))
  return output
end

local home -- of this run

-- As little of the caller's environment as a build can do with.
local function clean_env(more)
  return ("env -i PATH=\"$PATH\" HOME=%s MAKEFLAGS=-j2 %s "):format(home, more or "")
end

describe("a clean copy of the tree", function()
  local top, copy

  setup(function()
    top = succeed("mktemp -d"):gsub("\n", "")
    home = top
    copy = top .. "/source"
    succeed(("mkdir %s && git ls-files -z | xargs -0 cp --parents -t %s"):format(copy, copy))
    local file = assert(io.open(top .. "/program.lua", "w"))
    file:write(PROGRAM)
    file:close()
  end)

  teardown(function() succeed("rm -rf " .. top) end)

  local function in_copy(command, env) return "cd " .. copy .. " && " .. clean_env(env) .. command end

  local function run_from(prefix)
    local env = ("GRPC_VERBOSITY=NONE LUA_PATH='%s/share/lua/5.4/?.lua' LUA_CPATH='%s/lib/lua/5.4/?.so'")
      :format(prefix, prefix)
    return shell("cd / && " .. clean_env(env) .. "lua5.4 " .. top .. "/program.lua")
  end

  -- An editor finds the modules by the names after ---@meta.
  local function assert_annotated(folder)
    for file, name in pairs { meta = "arvak", meta_devserver = "arvak.devserver" } do
      local path = ("%s/arvak/%s.lua"):format(folder, file)
      assert.equal("---@meta " .. name .. "\n", succeed("head -n 1 " .. path))
      succeed(("cd / && lua5.4 -e 'assert(loadfile(%q))'"):format(path))
    end
  end

  it("names the Debian package of a library that LuaRocks does not find", function()
    local status, output = shell(in_copy("luarocks --lua-version=5.4 --tree=" .. top .. "/none make --deps-mode=none "
      .. "DEPS_DIR=" .. top .. "/nowhere"))
    assert.not_equal(0, status)
    assert.truthy(output:find("install libgrpc-dev", 1, true), output)
  end)

  it("names the Debian package of a library that make does not find", function()
    local status, output = shell(in_copy("make", "PKG_CONFIG_LIBDIR=" .. top .. "/nowhere"))
    assert.not_equal(0, status)
    assert.truthy(output:find("arvak needs grpc: apt-get install libgrpc-dev\n", 1, true), output)
    assert.truthy(output:find("is missing: apt-get install libgrpc-dev libprotobuf-c-dev", 1, true), output)
  end)

  it("becomes a rock that works from its tree alone, with what it declares to need (defect 5)", function()
    local tree = top .. "/tree"
    succeed(in_copy("luarocks --lua-version=5.4 --tree=" .. tree .. " make --deps-mode=none"))
    local status, output = run_from(tree)
    assert.equal("works\n", output)
    assert.equal(0, status)
    succeed(tree .. "/bin/arvak-devserver --help")
    assert_annotated(tree .. "/share/lua/5.4")
    assert.equal("", succeed("find " .. tree .. "/lib/lua -type f ! -name '*.so'"))
  end)

  it("installs below DESTDIR and PREFIX, and leaves nothing behind when uninstalled", function()
    local where = "PREFIX=/opt/arvak DESTDIR=" .. top .. "/stage"
    succeed(in_copy("make install " .. where))
    local status, output = run_from(top .. "/stage/opt/arvak")
    assert.equal("works\n", output)
    assert.equal(0, status)
    succeed("test -x " .. top .. "/stage/opt/arvak/bin/arvak-devserver")
    succeed("test -f " .. top .. "/stage/opt/arvak/include/arvak.h")
    assert_annotated(top .. "/stage/opt/arvak/share/lua/5.4")
    succeed(in_copy("make uninstall " .. where))
    assert.equal("", succeed("find " .. top .. "/stage -type f"))
  end)
end)
