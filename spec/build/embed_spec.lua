-- What a host in C or C++ gets: headers, archive and pkg-config file, in a prefix of its own, and programs built with
-- nothing else. SPDX-License-Identifier: Apache-2.0

local helper = require "spec.helper"

local HOST = [[
#include <stdio.h>
#include <arvak_lua.h>
#ifdef __cplusplus
#include <lua.hpp>
#else
#include <lauxlib.h>
#include <lualib.h>
#endif

int main(int argc, char **argv) {
  arvak_client_options options = arvak_client_options();
  options.address = argv[argc - 1];
  arvak_client *client = NULL;
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK) return 2;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "arvak", luaopen_arvak, 0);
  arvak_lua_pushclient(L, client);
  lua_setglobal(L, "client");
  arvak_client_unref(client);
  int status = luaL_dostring(L, "assert(require('arvak').type(client) == 'client')\n"
    "return assert(client:execute('OPENQASM 3.0; qubit q; x q;', 'simulator', 7)).counts['1']");
  printf("%s\n", lua_tostring(L, -1));
  lua_close(L);
  return status;
}
]]
local C_HOST = HOST:gsub("arvak_client_options%(%)", "{0}")

-- A client without any Lua.
local CORE_HOST = [[
#include <arvak.h>
#include <stdio.h>

static void on_end(arvak_call *call, void *ud) {
  *(int *)ud = arvak_call_outcome(call)->kind == ARVAK_KIND_NONE ? 0 : 1;
}

int main(int argc, char **argv) {
  int result = -1;
  arvak_client *client;
  arvak_loop *loop;
  arvak_client_options options = {.address = argv[argc - 1]};
  arvak_request request = {.rpc = ARVAK_LIST_BACKENDS};
  arvak_call_options call = {.fn = on_end, .ud = &result};
  if (arvak_client_new(&options, &client, NULL) != ARVAK_OK || arvak_loop_new(&loop) != ARVAK_OK) return 2;
  if (arvak_call_start(loop, client, &request, &call, NULL) != ARVAK_OK) return 3;
  while (arvak_loop_call_count(loop) > 0) arvak_loop_step(loop, ARVAK_NEVER);
  arvak_loop_close(loop);
  arvak_client_unref(client);
  puts("7");
  return result;
}
]]

local function succeed(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1 </dev/null; echo \"exit $?\""))
  local text = pipe:read("a")
  pipe:close()
  local output, status = text:match("^(.-)exit (%d+)\n$")
  assert(status == "0", ("%s\nexit status %s\n%s"):format(command, status, output))
  return output
end

describe("an installed library", function()
  local top, prefix, server

  setup(function()
    top = succeed("mktemp -d"):gsub("\n", "")
    prefix = top .. "/prefix"
    succeed(("make -s install BUILD=%s PREFIX=%s"):format(os.getenv("ARVAK_BUILD") or "build", prefix))
    server = helper.start()
  end)

  teardown(function()
    server:stop()
    succeed("rm -rf " .. top)
    helper.assert_clean()
  end)

  -- Compiles a program with these words before and after its file, and runs it against the server.
  local function run(name, source, compiler, flags)
    local file = assert(io.open(top .. "/" .. name, "w"))
    file:write(source)
    file:close()
    succeed(("cd %s && export PKG_CONFIG_PATH=%s/lib/pkgconfig && %s -Wall -Wextra -Werror -pedantic -o host %s %s")
      :format(top, prefix, compiler, name, flags))
    return succeed(top .. "/host " .. server.address)
  end

  it("is found by a host in C through pkg-config", function()
    assert.equal("7\n", run("host.c", C_HOST, "cc -std=c11", "$(pkg-config --cflags --libs arvak lua5.4)"))
  end)

  it("gives a host in C the stores that it links", function()
    local source = C_HOST:gsub("#include <arvak_lua.h>", "%0\n#include <arvak_store.h>")
      :gsub('luaL_requiref%(L, "arvak", luaopen_arvak, 0%);', [[%0
  luaL_requiref(L, "arvak.store.sqlite", luaopen_arvak_store_sqlite, 0);
  lua_getfield(L, -1, "name");
  if (strcmp(lua_tostring(L, -1), "SQLite") != 0) return 4;
  luaL_requiref(L, "arvak.store.postgres", luaopen_arvak_store_postgres, 0);
  lua_getfield(L, -1, "name");
  if (strcmp(lua_tostring(L, -1), "PostgreSQL") != 0) return 5;]]):gsub("#include <stdio.h>", "%0\n#include <string.h>")
    assert.equal("7\n", run("host.c", source, "cc -std=c11",
      "$(pkg-config --cflags --libs arvak-sqlite arvak-postgres arvak lua5.4)"))
  end)

  it("is found by a host in C++", function()
    assert.equal("7\n", run("host.cpp", HOST, "c++ -std=c++17", "$(pkg-config --cflags --libs arvak lua5.4)"))
  end)

  -- As the first lines of an example say.
  local function read_command(path)
    local file = assert(io.open(path))
    local command = assert(file:read("a"):match("Build: ([^\n]+)\n"))
    file:close()
    return command
  end

  local function build_example()
    local command = read_command("examples/embed/host.c")
    succeed(("cp examples/embed/* %s && cd %s && export PKG_CONFIG_PATH=%s/lib/pkgconfig && %s")
      :format(top, top, prefix, command))
  end

  it("lets the example of a host count right", function()
    build_example()
    local output = succeed(("ARVAK_ADDRESS=%s %s/host %s/plugin.lua 420"):format(server.address, top, top))
    assert.truthy(output:find("^420 of 420 jobs right, 9 Lua states in 8 threads, %d connections"), output)
    output = succeed(("ARVAK_ADDRESS=%s %s/host %s/none.lua 1000; [ $? = 1 ]"):format(server.address, top, top))
    local _, told = output:gsub("cannot open", "")   -- ten times, and not once for each state
    assert.equal(10, told)
    assert.truthy(output:find("none.lua: failed in 20 of 20 states\n", 1, true), output)
  end)

  it("lets the example of a host in C++ stop nobody who ends, and say whether all have succeeded", function()
    local command = read_command("examples/embed/host.cpp")
    succeed(("cp examples/embed/* %s && cd %s && export PKG_CONFIG_PATH=%s/lib/pkgconfig && %s")
      :format(top, top, prefix, command))
    local file = assert(io.open(top .. "/raises.lua", "w"))
    file:write("error(client)")
    file:close()
    local host = ("ARVAK_ADDRESS=%s %s/host++ "):format(server.address, top)
    assert.equal(top .. "/small.lua: 7\n", succeed(host .. top .. "/small.lua"))
    local output = succeed(host .. ("%s/small.lua %s/raises.lua %s/none.lua; [ $? = 1 ]"):format(top, top, top))
    assert.truthy(output:find("small.lua: 7\n", 1, true), output)
    assert.truthy(output:find("raises.lua: arvak.client (", 1, true), output)
    succeed(host .. "; [ $? = 2 ]")
    assert.truthy(output:find("none.lua: cannot be read\n", 1, true), output)
  end)

  -- Its own messages, of the same file.
  it("can be linked with a host that has generated code from the same proto", function()
    succeed(("protoc-c --proto_path=proto --c_out=%s proto/arvak.proto"):format(top))
    local source = C_HOST:gsub("#include <stdio.h>", '#include <stdio.h>\n#include "arvak.pb-c.h"')
      :gsub("return status;", [[
  Arvak__V1__SubmitJobRequest request = ARVAK__V1__SUBMIT_JOB_REQUEST__INIT;
  return status + (int)arvak__v1__submit_job_request__get_packed_size(&request);]])
    assert.equal("7\n", run("host.c", source, "cc -std=c11 -Wno-pedantic",
      "arvak.pb-c.c $(pkg-config --cflags --libs arvak lua5.4)"))
  end)

  it("is built so that its tables of functions cannot be written", function()
    local sections = succeed(("readelf -lWd %s/lib/lua/5.4/arvak.so"):format(prefix))
    assert.truthy(sections:find("GNU_RELRO", 1, true), sections)
    assert.truthy(sections:find("BIND_NOW", 1, true) or sections:find("NOW", 1, true), sections)
    assert.truthy(succeed(("nm -D %s/lib/lua/5.4/arvak.so"):format(prefix)):find("__stack_chk_fail", 1, true))
  end)

  it("lets the example of a host see wrong counts, and a plugin that is not there", function()
    build_example()
    local file = assert(io.open(top .. "/wrong.lua", "w"))
    file:write("function run(numbers) local t = {} for i = 1, #numbers do t[i] = { [i + 1] = 100 } end return t end")
    file:close()
    local command = ("! ARVAK_ADDRESS=%s %s/host %s/wrong.lua 60 && ! %s/host %s/none.lua 60")
    local output = succeed(command:format(server.address, top, top, top, top))
    assert.truthy(output:find("job 59: wrong counts\n", 1, true), output)
    assert.truthy(output:find("0 of 60 jobs right", 1, true), output)
  end)

  it("can be linked with all that a static gRPC would need, too", function()
    assert.equal("7\n", run("host.c", C_HOST, "cc -std=c11", "$(pkg-config --static --cflags --libs arvak lua5.4)"))
  end)

  it("serves a host without Lua", function()
    assert.equal("7\n", run("core.c", CORE_HOST, "cc -std=c11", "$(pkg-config --cflags --libs arvak)"))
    assert.falsy(succeed("ldd " .. top .. "/host"):find("lua", 1, true))
  end)

  it("gives no name of its own to what is loaded later, except those that Lua looks for", function()
    run("host.c", C_HOST, "cc -std=c11 -rdynamic", "$(pkg-config --cflags --libs arvak lua5.4)")
    local names = {}
    for name in succeed("nm -D --defined-only " .. top .. "/host"):gmatch(" [TDBR] (%S*arvak%S*)") do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.same({ "luaopen_arvak", "luaopen_arvak_circuit" }, names)
    for name in succeed("nm -D --defined-only " .. prefix .. "/lib/lua/5.4/arvak.so"):gmatch(" [TDBR] (%S+)") do
      assert.matches("^luaopen_arvak", name)
    end
    for _, store in ipairs { "sqlite", "postgres" } do
      local path = ("%s/lib/lua/5.4/arvak/store/%s.so"):format(prefix, store)
      local exported = succeed("nm -D --defined-only " .. path):match("^%x+ T (%S+)\n$")
      assert.equal("luaopen_arvak_store_" .. store, exported)
    end
  end)
end)
