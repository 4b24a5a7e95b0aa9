-- A program whose locale writes numbers with commas: what is written for machines has points all the same.
-- SPDX-License-Identifier: Apache-2.0
local cjson = require "cjson"

local LUA = os.getenv "LUA" or "lua5.4"

local function read(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end

describe("a locale with commas", function()
  local folder, output

  local function remove() os.execute(("rm -r '%s'"):format(folder)) end

  -- Makes such a locale, which needs no installed one, and runs the program in it. False when none can be made.
  local function run()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute(("mkdir '%s'"):format(folder)))
    local is_made = os.execute(("localedef -i de_DE -f UTF-8 '%s/de_DE.UTF-8' >/dev/null 2>&1"):format(folder))
    if not is_made then return false end
    local pipe = assert(io.popen(("LOCPATH='%s' %s spec/support/comma_locale.lua de_DE.UTF-8 '%s' 2>&1"):format(folder,
      LUA, folder)))
    output = pipe:read "a"
    assert(pipe:close(), output)
    return true
  end

  it("is one of numbers for people alone", function()
    if not run() then
      remove()
      return pending "localedef, or its sources, are not installed"
    end
    finally(remove)
    assert.matches("metadata in C\t0%.25\nlocale\tde_DE%.UTF%-8\t1,5\n", output)
    assert.matches("probability\ttrue\nmetadata\ttrue\tinteger\nbackend\ttable\n", output)
    assert.matches("\n0  1   12%.5 %%  #+\n1  7   87%.5 %%  #+\n", output)
    assert.matches("journal\tpartial\t1\tinvalid_circuit\njournal\tpartial\t1\tinvalid_circuit\n", output)
    assert.matches("unknown gate\tnil\t[^\n]*RZZ%(0%.5%)", output)
    assert.matches("circuit\trx%(0%.5%) \trz%(9%.9999999999999995e%-08%) \n", output)
    assert.matches("quarters\t3\n", output)
    assert.matches("timeout\t[^\n]*timeout = 1e%-09 s", output)
    assert.matches("range\t[^\n]*got 1%.5, expected a number from 0%.001 to 1\n", output)
    assert.matches("future\t[^\n]*within 0%.0001 s", output)
    assert.matches("server\tresult\n$", output)

    assert.equal([[
index,id,job_id,attempts,bitstring,count,shots,probability,execution_time_ms,error,message
1,a,JOB,0.5,0,1,1000,0.125,1,,
1,a,JOB,0.5,1,7,1000,0.875,1,,
2,b,,,,,,,,error,"1,5 and 2,5"
]], (read(folder .. "/out.csv"):gsub("%x+%-%x+%-%x+%-%x+%-%x+", "JOB")))
    local items = cjson.decode(read(folder .. "/out.json"))
    assert.equal(0.5, items[1].attempts)
    assert.equal("job_not_found", items[3].error.kind)
    assert.is_true(items[3].error.elapsed > 0 and items[3].error.elapsed < 10)
  end)
end)
