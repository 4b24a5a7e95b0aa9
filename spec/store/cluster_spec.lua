-- The cluster of the specs: a real server, which ends with whoever has started it.
-- SPDX-License-Identifier: Apache-2.0
local clusters = require "spec.support.cluster"

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
end)
