-- arvak.database_name: what a program may learn of a name before it uses or shows it.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

describe("arvak.database_name", function()
  it("tells files from databases, and shows no password", function()
    assert.are.same({ kind = "sqlite", shown = "a=b.db", has_password = false }, arvak.database_name "a=b.db")
    local about = arvak.database_name "postgresql://ada:secret@db.example/lab?batch=ansatz-7"
    assert.are.equal("postgres", about.kind)
    assert.is_true(about.has_password)
    assert.is_nil(about.shown:find("secret", 1, true))
  end)

  it("says why a name cannot be read", function()
    local about = arvak.database_name "host='lab"
    assert.are.equal("postgres", about.kind)
    assert.is_string(about.problem)
    assert.is_nil(about.shown)
  end)

  it("refuses what is no name", function()
    for _, name in ipairs { false, 7, {}, "" } do
      local ok, message = pcall(arvak.database_name, name)
      assert.is_false(ok)
      assert.matches("^.*name: got ", message)
    end
  end)
end)
