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

  -- A program that starts a cluster, says where, and then does what it is given.
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
end)
