-- The annotations name exactly the public functions that exist, and the documents call no others.
-- SPDX-License-Identifier: Apache-2.0

package.path = "./?.lua;" .. package.path
local check_meta = require "tools.check_meta"

describe("the annotations", function()
  local runtime = { ["arvak"] = { connect = true }, ["arvak.client"] = { close = true, stats = true } }
  local meta = table.concat({
    "---@class arvak", "local arvak = {}", "---@return arvak.client", "function arvak.connect(address) end",
    "---@class arvak.client", "---@field stats fun(self: arvak.client): table", "---@field target string",
    "local Client = {}", "function Client:close() end",
  }, "\n")
  local page = { ["a.md"] = "`arvak.connect`\n```lua\nclient:close()\nclient:stats()\n```" }

  it("pass when all agree", function()
    assert.same({}, check_meta.check(runtime, meta, page))
  end)

  it("must hold every function that exists, and no other", function()
    local missing = check_meta.check(runtime, meta:gsub("Client:close", "Client:open"), page)
    assert.same({
      "arvak.client: close is not in lua/arvak/meta.lua",
      "arvak.client: open is in lua/arvak/meta.lua but does not exist",
    }, missing)
  end)

  it("must know every function that a document calls", function()
    local missing = check_meta.check(runtime, meta, { ["a.md"] = "```lua\nclient:stop()\nclient:stats()\n```" })
    assert.same({ "arvak.client: a.md calls stop, which does not exist" }, missing)
  end)

  it("and the documents name every public function and no other", function()
    local complaints = check_meta.run()
    assert.equal("", table.concat(complaints, "\n"))
  end)

  it("are valid Lua, so that editors can read them", function()
    assert(loadfile("lua/arvak/meta.lua", "t"))
  end)
end)
