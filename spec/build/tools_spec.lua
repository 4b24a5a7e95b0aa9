-- The runner that all tests depend on counts what really ran, and fails when it should.
-- SPDX-License-Identifier: Apache-2.0

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1 </dev/null; echo \"exit $?\""))
  local output, status = pipe:read("a"):match("^(.-)exit (%d+)\n$")
  pipe:close()
  return tonumber(status), output, output:match("([^\n]*)\n$")
end

describe("tools/test.sh", function()
  local dir

  setup(function()
    local _, output = run("mktemp -d")
    dir = output:gsub("\n", "")
  end)

  teardown(function() run("rm -rf " .. dir) end)

  local function write(name, text)
    local file = assert(io.open(dir .. "/" .. name, "w"))
    file:write(text)
    file:close()
    return dir .. "/" .. name
  end

  local function c_test(name, script)
    local path = write(name, "#!/bin/sh\n" .. script)
    run("chmod +x " .. path)
    return path
  end

  it("adds up C tests and specs and ends with the sum", function()
    local spec = write("good_spec.lua", [[it("a", function() end) it("b", function() end) pending("c")]])
    local program = c_test("good", "echo 1..2; echo ok 1 - a; echo ok 2 - b")
    local status, _, last = run("tools/test.sh " .. spec .. " " .. program)
    assert.equal("4 passed, 0 failed", last)
    assert.equal(0, status)
  end)

  it("fails when a test fails", function()
    local spec = write("bad_spec.lua", [[it("a", function() end) it("b", function() assert.is_true(false) end)]])
    local status, output, last = run("tools/test.sh " .. spec .. " " .. c_test("bad", "echo not ok 1 - a; exit 1"))
    assert.equal("1 passed, 2 failed", last)
    assert.equal(1, status)
    assert.truthy(output:find("bad_spec.lua:1: Expected objects to be the same", 1, true), output)
  end)

  it("takes a crash for a failure and goes on", function()
    local spec = write("crash_spec.lua", [[it("a", function() os.exit(7) end)]])
    local status, _, last = run("tools/test.sh " .. spec .. " " .. c_test("crash", "echo ok 1 - a; kill -SEGV $$"))
    assert.equal("1 passed, 2 failed", last)
    assert.equal(1, status)
  end)

  it("takes a file that cannot be read for a failure", function()
    local status, _, last = run("tools/test.sh " .. write("broken_spec.lua", "it("))
    assert.equal("0 passed, 1 failed", last)
    assert.equal(1, status)
  end)

  it("ends a test that hangs", function()
    local status, output, last = run("FILE_TIMEOUT=1 tools/test.sh " .. c_test("hang", "echo ok 1 - a; exec sleep 60"))
    assert.equal("1 passed, 1 failed", last)
    assert.equal(1, status)
    assert.truthy(output:find("hang: stopped after 1 s", 1, true), output)
  end)

  it("runs a spec in the environment that its head names", function()
    local spec = write("environment_spec.lua", [[
-- environment: ARVAK_A=1 ARVAK_B=2
it("a", function() assert.equal("12", os.getenv "ARVAK_A" .. os.getenv "ARVAK_B") end)]])
    assert.equal(0, (run("tools/test.sh " .. spec)))
  end)

  it("removes what a file leaves behind, however that ends", function()
    local spec = write("leaves_spec.lua", [[
local path = os.tmpname()
local file = assert(io.open(path .. "-wal", "w"))
file:write(path)
file:close()
local said = assert(io.open(os.getenv "SAID", "a"))
said:write(path, "\n")
said:close()
os.execute "mkdir $TMPDIR/a && touch $TMPDIR/a/b && chmod 500 $TMPDIR/a"
it("a", function() end)
if os.getenv "IS_KILLED" then os.execute "kill -KILL $PPID" end]])
    local program = c_test("leaves", "path=$(mktemp) && echo $path >>$SAID && echo ok 1 - a")
    local hangs = c_test("hangs", "path=$(mktemp -d) && echo $path >>$SAID && exec sleep 60")
    local said = dir .. "/said"
    local command = ("SAID=%s tools/test.sh %s %s"):format(said, spec, program)
    assert.equal("2 passed, 0 failed", select(3, run(command)))
    assert.equal("1 passed, 1 failed", select(3, run("IS_KILLED=1 " .. command)))
    assert.equal("0 passed, 1 failed", select(3, run(("FILE_TIMEOUT=1 SAID=%s tools/test.sh %s"):format(said, hangs))))
    local count = 0
    for path in io.lines(said) do
      count = count + 1
      local top = path:match "^(.*)/[^/]+/[^/]+$"   -- of the run
      assert.same({ 1, "" }, { run(("ls -d %s %s-wal %s 2>/dev/null; false"):format(path, path, top)) })
    end
    assert.equal(5, count)
  end)

  it("takes a file whose runner is killed for a failure", function()
    local killed = c_test("killed", "echo ok 1 - a; kill -KILL $(cut -d' ' -f4 /proc/$PPID/stat)")
    local status, output, last = run("tools/test.sh " .. killed)
    assert.equal("0 passed, 1 failed", last)
    assert.equal(1, status)
    assert.truthy(output:find("1 files did not come to an end", 1, true), output)
  end)

  it("runs files beside each other, and each report stays in one piece", function()
    local a, b = dir .. "/a", dir .. "/b"
    local script = "touch %s; for i in $(seq 100); do [ ! -e %s ] || break; sleep 0.05; done; [ -e %s ] && echo ok 1"
    local first, second = c_test("first", script:format(a, b, b)), c_test("second", script:format(b, a, a))
    local status, output, last = run("JOBS=2 tools/test.sh " .. first .. " " .. second)
    assert.equal("2 passed, 0 failed", last)
    assert.equal(0, status)
    assert.truthy(output:find("1 ok    0 not ok[^\n]*first\n"), output)
  end)

  it("fails when nothing ran", function()
    assert.equal("0 passed, 0 failed", select(3, run("tools/test.sh")))
    local status, _, last = run("tools/test.sh " .. write("empty_spec.lua", ""))
    assert.equal("0 passed, 0 failed", last)
    assert.equal(1, status)
  end)
end)

describe("tools/check_rooms.lua", function()
  local repo, dir

  local rooms = [[return {
    { "src/core/low" },
    { "src/core/high", knows = { "src/core/low" }, outside = { "grpc" } },
    { "lua/arvak/low" },
    { "lua/arvak/high", knows = { "lua/arvak/low" } },
  }]]
  -- A tree that is in order: each room knows what it may know.
  local tree = {
    ["tools/rooms.lua"] = rooms,
    ["src/core/low/a.h"] = "int a(void);\n",
    ["src/core/low/a.c"] = '#include "a.h"\nint a(void) { return 1; }\n',
    ["src/core/high/b.h"] = '#include <grpc/grpc.h>\nint b(void);\n',
    ["src/core/high/b.c"] = '#include "b.h"\n#include "low/a.h"\n\nint b(void) { return a(); }\n',
    ["lua/arvak/low/a.lua"] = "local M = {}\nreturn M\n",
    ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\nlocal M = { a = a.b }\nreturn M\n',
  }

  -- What the check says of the tree with these files in place of its own.
  local function check(files)
    local all = {}
    for path, text in pairs(tree) do all[path] = text end
    for path, text in pairs(files) do all[path] = text end
    run("rm -rf " .. dir .. "/*")
    for path, text in pairs(all) do
      run(("mkdir -p %s/%s"):format(dir, path:match("^(.*)/")))
      local file = assert(io.open(dir .. "/" .. path, "w"))
      file:write(text)
      file:close()
    end
    local status, output = run(("cd %s && %s %s/tools/check_rooms.lua"):format(dir, os.getenv "LUA" or "lua5.4", repo))
    return status, output
  end

  setup(function()
    repo = select(2, run("pwd")):gsub("\n", "")
    dir = select(2, run("mktemp -d")):gsub("\n", "")
  end)

  teardown(function() run("rm -rf " .. dir) end)

  it("has no complaint where each room knows what it may", function()
    assert.same({ 0, "6 files in 4 rooms, 0 complaints\n" }, { check {} })
  end)

  it("takes no field, local or comparison for a call or a change", function()
    local status, output = check {
      ["src/core/low/a.c"] = '#include "a.h"\nint a(void) { int b = 1; return x->b(b) + (b); }\n',
      ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\nlocal M = { x = a.x, y = a.z == 1 }\nreturn M\n',
    }
    assert.equal(0, status, output)
  end)

  -- What is added to the tree, and what is said of it.
  local wrongs = {
    ["an include of a room above"] = {
      "src/core/low/a.c:1: high/b.h: src/core/low does not know src/core/high",
      { ["src/core/low/a.c"] = '#include "high/b.h"\nint a(void) { return 1; }\n' },
    },
    ["a call of a room above, whatever is included"] = {
      "src/core/low/a.c:3: b: src/core/low does not know src/core/high",
      { ["src/core/low/a.c"] = '#include "a.h"\n/* b */\nint a(void) { return b(); }\n' },
    },
    ["a circle of files within a room"] = {
      "src/core/low/a.c:2: c.h: arrow 1 of 2 in a circle of files\nsrc/core/low/c.h:1: a.h: arrow 2 of 2",
      { ["src/core/low/a.c"] = '#include "a.h"\n#include "c.h"\n', ["src/core/low/c.h"] = '#include "a.h"\n' },
    },
    ["a roundabout path to a room above"] = {
      "src/core/low/a.c:1: ../high/b.h: src/core/low does not know src/core/high",
      { ["src/core/low/a.c"] = '#include "../high/b.h"\n' },
    },
    ["an include of what is not there"] = {
      "src/core/low/a.c:1: core/pool.h: no such file", { ["src/core/low/a.c"] = '#include "core/pool.h"\n' },
    },
    ["an include of a .c file"] = {
      "src/core/high/b.c:2: a.c: a .c file is not included",
      { ["src/core/high/b.c"] = '#include "low/a.h"\n#include "a.c"\n', ["src/core/high/a.c"] = "" },
    },
    ["a declaration by hand"] = {
      "src/core/low/a.c:2: table: declared in a .c file", { ["src/core/low/a.c"] = "\nextern const int table[4];\n" },
    },
    ["an inline function that calls a room above"] = {
      "src/core/low/a.h:1: b: src/core/low does not know src/core/high",
      { ["src/core/low/a.h"] = "static inline int a(void) { return b(); }\n" },
    },
    ["a test that reaches into another part"] = {
      "spec/devserver/x_test.c:1: low/a.h: tests in spec/devserver/ do not know it",
      { ["spec/devserver/x_test.c"] = '#include "low/a.h"\n' },
    },
    ["a folder that is no room"] = {
      "src/core/high/new/x.c:1: is in no room of tools/rooms.lua", { ["src/core/high/new/x.c"] = "int x;\n" },
    },
    ["a library where it does not belong"] = {
      "src/core/low/a.h:1: grpc/slice.h: src/core/low does not know grpc",
      { ["src/core/low/a.h"] = "#include <grpc/slice.h>\n" },
    },
    ["a file in no room"] = {
      "src/other/x.c:1: is in no room of tools/rooms.lua", { ["src/other/x.c"] = "int x;\n" },
    },
    ["a permission that nobody needs"] = {
      "src/core/high may know src/core/low, but does not", { ["src/core/high/b.c"] = '#include "b.h"\n' },
    },
    ["a module of a room above"] = {
      "lua/arvak/low/a.lua:1: arvak.high.b: lua/arvak/low does not know lua/arvak/high",
      { ["lua/arvak/low/a.lua"] = 'local b = require "arvak.high.b"\nreturn b\n' },
    },
    ["a module that is changed by another"] = {
      "lua/arvak/high/b.lua:2: changes the module arvak.low.a",
      { ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\na.x = 1\n' },
    },
    ["a module that is required where no editor looks"] = {
      "lua/arvak/high/b.lua:2: a module of ours is required as",
      { ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\nreturn a, pcall(require, "arvak.low.a")\n' },
    },
    ["a module that is required in other quotes"] = {
      "lua/arvak/low/a.lua:1: a module of ours is required as",
      { ["lua/arvak/low/a.lua"] = "local b = require 'arvak.high.b'\nreturn b\n" },
    },
    ["a module that is not there"] = {
      "lua/arvak/high/b.lua:2: arvak.low.c: no such module",
      { ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\nlocal c = require "arvak.low.c"\nreturn a, c\n' },
    },
    ["a module that is changed in passing"] = {
      "lua/arvak/high/b.lua:2: changes the module arvak.low.a",
      { ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\nif a then a.x = 1 end\n' },
    },
    ["an upcall that two modules fill"] = {
      "lua/arvak/low/a.lua:1: fills the upcall end, as lua/arvak/high/b.lua does",
      {
        ["lua/arvak/low/a.lua"] = 'core.set_upcall("end", print)\n',
        ["lua/arvak/high/b.lua"] = 'local a = require "arvak.low.a"\ncore.set_upcall("end", a)\n',
      },
    },
    ["a call beside what looks like a comment"] = {
      "src/core/low/a.c:1: b: src/core/low does not know src/core/high",
      { ["src/core/low/a.c"] = "const char *t = \"/*\", q = '\"'; int a(void) { return b(); } /* \" */\n" },
    },
    ["a change of what C owns"] = {
      "lua/arvak/low/a.lua:1: changes the table of C functions",
      { ["lua/arvak/low/a.lua"] = 'core.metatables["arvak.x"].__len = print\n' },
    },
    ["a class whose metatable two modules fill"] = {
      "lua/arvak/low/a.lua:2: fills the metatable of arvak.x, as lua/arvak/high/b.lua does",
      {
        ["lua/arvak/low/a.lua"] = 'local X = core.metatables["arvak.x"]\nX.__index = X\n',
        ["lua/arvak/high/b.lua"] =
          'local a = require "arvak.low.a"\nlocal X = core.metatables["arvak.x"]\nfunction X.y() return a end\n',
      },
    },
    ["a room that knows one above it"] = {
      "tools/rooms.lua:1: src/core/low knows src/core/high, which does not stand before it",
      { ["tools/rooms.lua"] = rooms:gsub('{ "src/core/low" }', '{ "src/core/low", knows = { "src/core/high" } }') },
    },
  }
  for name, wrong in pairs(wrongs) do
    it("complains about " .. name, function()
      local status, output = check(wrong[2])
      assert.equal(1, status, output)
      assert.truthy(output:find(wrong[1], 1, true), output)
    end)
  end
end)

describe("tools/needs.sh", function()
  it("names a store that is left out, and the Debian package, and goes on", function()
    local _, dir = run("mktemp -d")
    dir = dir:match("%S+")
    local file = assert(io.open(dir .. "/pkg-config", "w"))
    file:write('#!/bin/sh\ncase "$*" in *sqlite3* | *libpq*) exit 1 ;; esac\nexec pkg-config "$@"\n')
    file:close()
    local status, output = run(("chmod +x %s/pkg-config; CC=cc PKG_CONFIG=%s/pkg-config PROTOC_C=protoc-c LUA=lua5.4 "
      .. "LUA_CFLAGS=\"$(pkg-config --cflags lua5.4)\" tools/needs.sh"):format(dir, dir))
    run("rm -r " .. dir)
    assert.equal("arvak: built without arvak.store.sqlite (journals and ledgers in a file), which needs sqlite3: "
      .. "apt-get install libsqlite3-dev\narvak: built without arvak.store.postgres (journals that machines share), "
      .. "which needs libpq: apt-get install libpq-dev\n", output)
    assert.equal(0, status)
  end)
end)

describe("tools/setup.sh", function()
  it("refuses a level it does not know", function()
    local status = run("tools/setup.sh everything")
    assert.equal(2, status)
  end)
end)

describe("make", function()
  -- Dry: nothing is built. The goals are those of the makes that targets start.
  it("has a rule for all that its targets build", function()
    local goals = {}
    for _, path in ipairs { "Makefile", "mk/tests.mk", "mk/bench.mk" } do
      for line in io.lines(path) do
        local words = line:match("^\t@%$%(SUBMAKE%)(.*)") or ""
        for goal in words:gmatch("build/%a+(/%S+)") do goals[#goals + 1] = "build" .. goal end
        for goal in words:gmatch("%$%(BUILD%)(/%S+)") do goals[#goals + 1] = "build" .. goal end
      end
    end
    assert.truthy(#goals >= 5)
    local status, output = run("env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES make -n -s SETUP=: BUILD=build "
      .. table.concat(goals, " "))
    assert.equal(0, status, output:sub(-500))
  end)
end)
