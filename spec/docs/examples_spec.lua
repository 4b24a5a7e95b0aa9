-- The programs in examples/, each against an embedded server.
-- SPDX-License-Identifier: Apache-2.0
local documents = require "spec.support.documents"

local LUA = os.getenv "LUA" or "lua5.4"

describe("an example", function()
  -- web.lua serves until it is killed: web_spec.lua.
  local listing = assert(io.popen("ls examples/*.lua | grep -v /web.lua"))
  for path in listing:lines() do
    it(("%s has under 60 lines and runs"):format(path), function()
      local _, lines = documents.read(path):gsub("\n", "")
      assert.is_true(lines < 60)
      local pipe <close> = assert(io.popen(("timeout 100 '%s' '%s' 2>&1; echo \"status $?\""):format(LUA, path)))
      local output = pipe:read("a")
      assert.truthy(output:find("status 0\n$"), output)
    end)
  end
  listing:close()
end)
