-- Names of PostgreSQL databases: what is ours in them, and what nobody may read.
-- SPDX-License-Identifier: Apache-2.0
local dsn = assert(loadfile "lua/arvak/base/dsn.lua")()

local function parse(text) return assert(dsn.parse(text)) end

describe("the name of a database", function()
  it("is a URL, or keywords and values of libpq; anything else is a file", function()
    for _, text in ipairs { "postgresql://h/lab", "postgres://", "host=/run dbname=lab", "service = lab", "batch=b" } do
      assert.is_true(dsn.is_name(text), text)
    end
    for _, text in ipairs { "run.db", "./host=x", "a=b.db", "postgresql", "/tmp/x?batch=b", "Host=x" } do
      assert.is_false(dsn.is_name(text), text)
    end
  end)

  it("is given to libpq without the batch, wherever that stands", function()
    for text, conninfo in pairs {
      ["postgresql://u@h:1/lab?batch=ansatz%2D7&sslmode=require"] = "postgresql://u@h:1/lab?sslmode=require",
      ["postgresql:///lab?host=/run&batch=ansatz-7"] = "postgresql:///lab?host=/run",
      ["postgresql://h/lab?batch=ansatz-7"] = "postgresql://h/lab",
      ["host = h batch='ansatz-7'  dbname='my lab'"] = "host=h dbname='my lab'",
      ["batch=ansatz-7 options='-c a=\\'b\\''"] = "options='-c a=\\'b\\''",
    } do
      local name = parse(text)
      assert.equal("ansatz-7", name.batch)
      assert.equal(conninfo, name.conninfo)
    end
    assert.is_nil(parse("postgresql://h/lab").batch)
  end)

  it("is shown without passwords, and so is what the database says", function()
    for _, text in ipairs { "postgresql://u:se%40cret@h/lab", "postgresql://u@h/lab?password=se%40cret&batch=b",
      "user=u password='se@cret'", "postgresql://h/?sslpassword=se%40cret", "password=se@cret host=h" } do
      local name = parse(text)
      assert.is_nil(string.find(name.shown, "cret", 1, true), name.shown)
      assert.equal("not *** nor ***", name:hide "not se@cret nor se@cret")
    end
  end)

  it("is no file where somebody has meant a database, so that no file gets a password as its name", function()
    for _, text in ipairs { " postgresql://u:secret@h/lab", "Postgresql://u:secret@h/lab", "postgresql:/u:secret@h/lab",
      "postgresql+psycopg2://u:secret@h/lab", "jdbc:postgresql://u:secret@h/lab", "Host=h password=secret",
      "host=h Password=secret" } do
      assert.is_true(dsn.is_name(text), text)
      local name, problem = dsn.parse(text)
      assert.is_nil(name, text)
      assert.is_nil(string.find(problem, "cret", 1, true), problem)
    end
    assert.is_true(dsn.is_name "newer_word=x password=secret")
    assert.equal("newer_word=x password=***", parse("newer_word=x password=secret").shown)
    for _, text in ipairs { "my-postgres.db", "/srv/postgres:/x.db", "password.db", "x password=y" } do
      assert.is_false(dsn.is_name(text), text)
    end
  end)

  it("has ports that are numbers", function()
    for _, text in ipairs { "postgresql://h:1,[::1]:2,h:/lab", "postgresql://u:p@[::1]/lab", "postgresql://[::1]/lab",
      "postgresql://:5432/lab", "postgresql://%2Frun/lab" } do
      assert.is_truthy(dsn.parse(text), text)
    end
  end)

  it("that cannot be read is refused without a word of it", function()
    for _, text in ipairs { "postgresql://u:se/cret@h/lab", "postgresql://u:se@cret@h/lab", "host=h password='secret",
      "host=h secret", "postgresql://h/?password=%zzsecret", "host=h\npassword=secret", "postgresql://h/?secret",
      "password=se'cret'", "postgresql://u:se?cret@h/lab", "postgresql://u:se?a=cret@h/lab", "postgresql://u:secret",
      "postgresql://u:secret/lab?batch=b", "postgresql://h,u:secret/lab", "postgresql://[::1]:secret/lab",
      "host=h dbname='postgresql://u:secret@h/lab'", "postgresql:///?dbname=postgresql:%2F%2Fu:secret@h/lab" } do
      local name, problem = dsn.parse(text)
      assert.is_nil(name, text)
      assert.is_nil(string.find(problem, "cret", 1, true), problem)
    end
  end)

  it("takes one more keyword, unless it has it", function()
    assert.equal("postgresql://h/lab?application_name=arvak%20x",
      parse("postgresql://h/lab"):conninfo_with("application_name", "arvak x"))
    assert.equal("postgresql://h/?a=b&application_name=x",
      parse("postgresql://h/?a=b"):conninfo_with("application_name", "x"))
    assert.equal("host=h application_name='arvak x'", parse("host=h"):conninfo_with("application_name", "arvak x"))
    assert.equal("application_name=mine", parse("application_name=mine"):conninfo_with("application_name", "x"))
  end)
end)
