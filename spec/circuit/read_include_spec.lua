-- Files: programs that are loaded, and what they include.
-- SPDX-License-Identifier: Apache-2.0
local texts = require "spec.support.texts"

describe("an include", function()
  local folder

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute(("mkdir '%s' '%s/lib'"):format(folder, folder)))
  end)

  after_each(function() os.execute(("rm -r '%s'"):format(folder)) end)

  local function write(name, text)
    local file <close> = assert(io.open(folder .. "/" .. name, "wb"))
    file:write(text)
    return folder .. "/" .. name
  end

  it("is looked for beside the file, and in the folders of include_path", function()
    write("a.inc", "gate mine q { h q; }\n")
    write("lib/b.inc", "gate other q { mine q; }\n")
    local text = "OPENQASM 2.0;\ninclude \"qelib1.inc\";\ninclude \"a.inc\";\ninclude \"b.inc\";\n" ..
      "qreg q[1];\nother q[0];\n"
    local path = write("main.qasm", text)
    local made = assert(texts.read.load(path, { include_path = { folder .. "/lib" } }))
    assert.same({ "other 0" }, texts.lines(made.block))
    assert.equal(path, made.source)
    local same = assert(texts.read.from_qasm(text, { include_path = { folder, folder .. "/lib" } }))
    assert.same(texts.lines(made.block), texts.lines(same.block))
  end)

  it("may stand twice, and operations in it have the place of the include", function()
    write("ops.inc", "\n\nh q[0];\n")
    local made = texts.form_of("OPENQASM 3.0;\nqubit[1] q;\n  include \"ops.inc\"; include \"ops.inc\";",
      { include_path = folder })
    assert.same({ "h 0", "h 0" }, texts.lines(made.block))
    assert.same({ 3, 3 }, { texts.form.place(made.block.at[1]) })
    assert.same({ 3, 22 }, { texts.form.place(made.block.at[2]) })
  end)

  it("with a mistake is named as its source", function()
    write("bad.inc", "\n  foo q[0];\n")
    local err = texts.refusal("OPENQASM 2.0;\nqreg q[1];\ninclude \"bad.inc\";", { include_path = folder })
    assert.same({ folder .. "/bad.inc", 2, 3 }, { err.source, err.line, err.column })
    assert.matches("  foo q%[0%];\n  %^", err.message)
  end)

  it("of itself is refused", function()
    local path = write("loop.qasm", "include \"other.inc\";\n")
    write("other.inc", "include \"loop.qasm\";\n")
    local made, err = texts.read.load(path)
    assert.is_nil(made)
    assert.matches("includes itself", err.message)
  end)

  it("that doubles at each level is refused", function()
    for i = 1, 30 do write(i .. ".inc", ("include \"%d.inc\";\n"):format(i - 1):rep(2)) end
    write("0.inc", "\n")
    local err = texts.refusal("include \"30.inc\";", { include_path = folder })
    assert.matches("more than 1000 includes", err.message)
  end)

  it("of another version is refused", function()
    write("three.inc", "OPENQASM 3.0;\n")
    local err = texts.refusal("OPENQASM 2.0;\ninclude \"three.inc\";", { include_path = folder })
    assert.matches("is OpenQASM 3, expected 2", err.message)
  end)

  it("is not looked for when there are no folders to look in", function()
    write("a.inc", "")
    assert.matches("option include_path", texts.refusal("include \"a.inc\";").message)
    assert.matches("option include_path", texts.refusal(("include \"../%s/a.inc\";"):format(folder)).message)
  end)

  it("of the standard files is known everywhere", function()
    local made = texts.form_of "OPENQASM 2.0;\ninclude \"lib/qelib1.inc\"; include \"qelib1.inc\"; qreg q[1]; h q[0];"
    assert.equal(1, made.block.n)
  end)

  it("and a file need the io library, which is looked for only then", function()
    local kept = io
    _G.io = nil
    local ok, made, err = pcall(texts.read.load, folder .. "/main.qasm")
    local _, same = pcall(texts.form_of, "OPENQASM 3.0; qubit q;")
    _G.io = kept
    assert.is_true(ok)
    assert.is_nil(made)
    assert.matches("no io library", err.message)
    assert.equal(1, same.qubit_count)
  end)
end)

describe("a file that cannot be read", function()
  it("is an error with its name", function()
    local made, err = texts.read.load "/nowhere/at all.qasm"
    assert.is_nil(made)
    assert.equal("invalid_circuit", err.kind)
    assert.equal("/nowhere/at all.qasm", err.source)
    assert.matches("No such file", err.message)
  end)
end)
