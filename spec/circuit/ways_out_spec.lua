-- `end`, `break`, `continue` and `return` under conditions on measured values, in every branch: what follows happens
-- only where the way out was not taken. Compared with the slow evaluator.
-- SPDX-License-Identifier: Apache-2.0
local mutants = require "spec.support.mutants"

local HEAD = "OPENQASM 3.0; bit[3] a; bit b; qubit[3] q; h q; a[0] = measure q[0]; a[1] = measure q[1]; "
local TAIL = " ry(0.3) q[2]; b = measure q[2];"

local function assert_exact(body)
  local verdict, why = mutants.judge(HEAD .. body)
  assert.equal("exact", verdict, ("%s\n%s"):format(why, body))
end

local branches = {
  "if (a == 1) { x q[2]; } else { %s }",
  "if (a == 1) { %s } else { x q[2]; }",
  "if (a[0]) { if (a[1]) { %s } else { x q[2]; } ry(0.2) q[2]; } else { ry(0.5) q[2]; }",
  "if (a[0]) { if (a[1]) { x q[2]; } else { %s } ry(0.2) q[2]; } else { ry(0.5) q[2]; }",
  "if (a[0]) { if (a[1]) { %s } else { %s } ry(0.2) q[2]; } else { ry(0.5) q[2]; }",
  "if (a[0]) { } else { if (a[1]) { %s } else { %s } ry(0.2) q[2]; }",
  "if (a[0]) { x q[2]; } else { if (a[1]) { y q[2]; } else { %s } ry(0.2) q[2]; }",
  "switch (int(a)) { case 1 { %s } case 2 { x q[2]; } default { ry(0.4) q[2]; } }",
  "switch (int(a)) { case 1 { x q[2]; } default { %s } }",
  "switch (int(a)) { case 1 { x q[2]; } case 2 { %s } }",
  "if (a == 1) { %s } if (a == 2) { %s } else { ry(0.1) q[2]; }",
}

describe("a way out under a condition", function()
  it("ends the program in the branch where it stands, and in no other", function()
    for _, branch in ipairs(branches) do assert_exact(branch:gsub("%%s", "end;") .. TAIL) end
  end)

  for _, word in ipairs { "break", "continue", "end" } do
    it("leaves a loop by " .. word .. " where it stands, and nowhere else", function()
      for _, branch in ipairs(branches) do
        assert_exact(("for int i in [0:2] { ry(0.3) q[2]; %s ry(0.2) q[2]; a[0] = measure q[2]; }")
          :format((branch:gsub("%%s", word .. ";"))) .. TAIL)
      end
    end)
  end

  it("may be another one in each branch", function()
    for _, one in ipairs { "break;", "continue;", "end;", "" } do
      for _, other in ipairs { "break;", "continue;", "end;", "" } do
        assert_exact(([[for int i in [0:2] { if (a[0]) { %s } else { %s } ry(0.2) q[2]; a[0] = measure q[2]; }]])
          :format(one, other) .. TAIL)
      end
    end
  end)

  it("returns from a subroutine where it stands, and what follows the call happens", function()
    for _, branch in ipairs(branches) do
      local body = branch:gsub("%%s", "return;"):gsub("q%[2%]", "c"):gsub("a(.?)", function(after)
        return after == "[" and "a[" or "a" .. after
      end)
      body = body:gsub("a == ", "int(m) == "):gsub("int%(a%)", "int(m)"):gsub("a%[0%]", "m[0]"):gsub("a%[1%]", "m[1]")
      assert_exact(("def f(qubit c, bit[3] m) { ry(0.1) c; %s ry(0.7) c; } f(q[2], a);"):format(body) .. TAIL)
    end
  end)

  it("gives a subroutine's value where it stands", function()
    for _, body in ipairs {
      "if (r) { return true; } else { x c; return false; }", "if (r) { x c; } else { return r; } ry(0.5) c; return !r;",
      "if (r) { return r; } ry(0.5) c; return !r;",
    } do
      assert_exact(("def f(qubit c) -> bit { bit r; r = measure c; %s } b = f(q[2]);"):format(body)
        .. " ry(0.3) q[2]; a[2] = measure q[2];")
    end
  end)
end)
