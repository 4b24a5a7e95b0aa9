-- The cluster of the specs: a real server, which ends with whoever has started it.
-- SPDX-License-Identifier: Apache-2.0
local clusters = require "spec.support.cluster"
local helper = require "spec.helper"

describe("a cluster of the specs", function()
  local cluster
  setup(function() cluster = clusters.start({ settings = { max_connections = 7 } }) end)
  teardown(function() cluster:remove() end)

  it("answers on its socket, with the settings that were asked for", function()
    assert.equal("7|off|", cluster:sql("SELECT current_setting('max_connections'), current_setting('fsync'), " ..
      "current_setting('listen_addresses')"))
  end)

  it("keeps what was committed over a crash", function()
    cluster:sql("CREATE TABLE kept (k int); INSERT INTO kept VALUES (1), (2)")
    cluster:restart("immediate")
    assert.equal("2", cluster:sql("SELECT count(*) FROM kept"))
  end)

  -- A program that starts a cluster, says where, and then does what it is given. Those that ended before are swept.
  local function run(rest)
    local program = [[
      local c = require("spec.support.cluster").start()
      print(c.folder, c.pid)
      io.stdout:flush() ]] .. rest
    local pipe = assert(io.popen(("timeout 60 %s - 2>/dev/null <<'END'\n%s\nEND"):format(os.getenv("LUA") or "lua5.4",
      program)))
    local folder, pid = pipe:read("l"):match("^(%S+)\t(%S+)$")
    pipe:close()
    return folder, pid
  end

  it("ends with the program that has started it, however that ends", function()
    for _, rest in ipairs({ "c:freeze() error('x')", "os.exit(1)", "os.execute('kill -KILL $PPID')" }) do
      local folder, pid = run(rest)
      helper.eventually(function() return clusters.is_over(pid) end, 60)
      os.execute("rm -rf " .. folder)
    end
  end)

  local function is_there(path) return os.execute("test -e " .. path) == true end

  it("is removed by the next one when its program was killed, even frozen, and else by nobody", function()
    local dead = run("os.execute('kill -KILL $PPID')")
    local frozen, pid = run("c:freeze() os.execute('kill -KILL $PPID')")
    clusters.start():remove()
    helper.eventually(function() return clusters.is_over(pid) end, 60)
    clusters.start():remove()                    -- a server that was just ending may have written once more
    assert.is_false(is_there(dead))
    assert.is_false(is_there(frozen))
    assert.equal("2", cluster:sql("SELECT count(*) FROM kept"))
  end)

  it("is left alone by others while nobody knows its owner, or the owner is of another namespace", function()
    for _, owner in ipairs({ "", "pid:[1] 999999999 1\n" }) do
      local folder = cluster.folder:gsub("[^/]*$", "arvak-cluster-of-others")
      assert(os.execute("mkdir " .. folder))
      local file = assert(io.open(folder .. "/owner", "w"))
      file:write(owner)
      file:close()
      clusters.start():remove()
      local was_there = is_there(folder)
      os.execute("rm -rf " .. folder)
      assert.is_true(was_there)
    end
  end)
end)
