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

  it("fails when nothing ran", function()
    local status, _, last = run("tools/test.sh " .. write("empty_spec.lua", ""))
    assert.equal("0 passed, 0 failed", last)
    assert.equal(1, status)
  end)
end)

describe("tools/setup.sh", function()
  it("refuses a level it does not know", function()
    local status = run("tools/setup.sh everything")
    assert.equal(2, status)
  end)
end)
