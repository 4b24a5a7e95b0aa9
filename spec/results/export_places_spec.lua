-- Where outcomes are written to: links, devices, pipes, the rights of files, and what spreadsheets make of texts.
-- Devices are reached through links of the spec's own: should an export ever replace what it finds, it replaces those.
-- SPDX-License-Identifier: Apache-2.0
local arvak = require "arvak"

local export = arvak.export
local LUA = os.getenv "LUA" or "lua5.4"
local directory, path

local function read(name)
  local file <close> = assert(io.open(name, "rb"))
  return file:read "a"
end

local function write(name, text)
  local file <close> = assert(io.open(name, "wb"))
  file:write(text)
end

-- What a command prints.
local function shell(command, ...)
  local pipe = assert(io.popen(command:format(...)))
  local output = pipe:read "a"
  assert(pipe:close(), output)
  return output
end

local function files() return shell("ls -A '%s'", directory) end

-- A script that exports a failure to arg[1], after it has printed a line.
local function exporter()
  local script = directory .. "/export.lua"
  write(script, [[
    local arvak = require "arvak"
    io.stdout:setvbuf "full"
    print "before"
    local ok, err = arvak.export.to_csv(arg[1], { { id = "x", err = "broken" } })
    if not ok then io.stderr:write(tostring(err), "\n") end
    print "after"
  ]])
  return script
end

local HEAD = "index,id,job_id,attempts,bitstring,count,shots,probability,execution_time_ms,error,message\n"
local LINE = "1,x,,,,,,,,error,broken\n"
local one = { { id = "x", err = "broken" } }

describe("an export", function()
  before_each(function()
    directory = os.tmpname()
    os.remove(directory)
    assert(os.execute(("mkdir '%s'"):format(directory)))
    path = directory .. "/out"
  end)

  after_each(function() os.execute(("chmod -R u+w '%s'; rm -r '%s'"):format(directory, directory)) end)

  it("goes through a symbolic link, which stays one", function()
    write(directory .. "/target", "old")
    shell("cd '%s' && mkdir sub && ln -s target link && ln -s ../link sub/link2", directory)
    assert.is_true(export.to_csv(directory .. "/sub/link2", one))
    assert.equal(HEAD .. LINE, read(directory .. "/target"))
    assert.equal("target\n../link\n", shell("cd '%s' && readlink link sub/link2", directory))
    assert.equal("link\nsub\ntarget\n", files())
  end)

  it("goes through a symbolic link to what is not there yet", function()
    shell("ln -s later '%s'", path)
    assert.is_true(export.to_json(path, one))
    assert.matches("broken", read(directory .. "/later"))
    assert.equal("later\nout\n", files())
  end)

  it("to a link that leads to itself is nil and an error", function()
    shell("ln -s out '%s'", path)
    local ok, err = export.to_csv(path, one)
    assert.is_nil(ok)
    assert.matches("out cannot be written: ", err.message)
    assert.equal("out\n", files())
  end)

  for _, mode in ipairs { "600", "640", "664", "755" } do
    it("keeps the mode of the file that it replaces: " .. mode, function()
      write(path, "old")
      shell("chmod %s '%s'", mode, path)
      assert.is_true(export.to_csv(path, one))
      assert.equal(mode .. "\n", shell("stat -c %%a '%s'", path))
      assert.equal(HEAD .. LINE, read(path))
    end)
  end

  it("never lets others read before it has the mode of the file that it replaces", function()
    write(path, "old")
    shell("chmod 600 '%s'", path)
    local modes
    assert.is_true(export.to_csv(path, function()
      modes = modes or shell("stat -c %%a '%s'/*.part", directory)
      return nil
    end))
    assert.equal("600\n", modes)
  end)

  it("keeps the owner of the file that it replaces", function()
    if shell "id -u" ~= "0\n" then return pending "only root may give files away" end
    write(path, "old")
    shell("chown 12345:54321 '%s' && chmod 640 '%s'", path, path)
    assert.is_true(export.to_csv(path, one))
    assert.equal("12345:54321 640\n", shell("stat -c '%%u:%%g %%a' '%s'", path))
  end)

  it("of a new file follows the umask", function()
    shell("umask 027; %s '%s' '%s'", LUA, exporter(), path)
    assert.equal("640\n", shell("stat -c %%a '%s'", path))
  end)

  it("does not replace what may only be read", function()
    write(path, "old")
    shell("chmod 444 '%s'", path)
    local is_root = shell "id -u" == "0\n"
    local output = shell("%s %s '%s' '%s' 2>&1", is_root and "setpriv --bounding-set=-dac_override" or "", LUA,
      exporter(), path)
    assert.matches("out cannot be written: Permission denied", output)
    assert.equal("old", read(path))
  end)

  it("to /dev/stdout comes between what the program prints, in a pipe and in a file", function()
    local whole = "before\n" .. HEAD .. LINE .. "after\n"
    shell("ln -s /dev/stdout '%s/link'", directory)
    for _, name in ipairs { directory .. "/link", "/dev/fd/1", "/proc/self/fd/1" } do
      assert.equal(whole, shell("%s '%s' %s", LUA, exporter(), name))
      shell("{ echo first; %s '%s' %s; } > '%s'", LUA, exporter(), name, path)
      assert.equal("first\n" .. whole, read(path))
      assert.equal("export.lua\nlink\nout\n", files())
    end
    assert.equal("/dev/stdout\n", shell("readlink '%s/link'", directory))
  end)

  it("to a FIFO goes to its reader, and it stays a FIFO", function()
    local output = shell("cd '%s' && mkfifo out && { cat out > got & %s '%s' out; wait; cat got; stat -c %%F out; }",
      directory, LUA, exporter())
    assert.equal("before\nafter\n" .. HEAD .. LINE .. "fifo\n", output)
  end)

  it("to a reader that has gone is nil and an error, and ends no program", function()
    local output = shell("cd '%s' && mkfifo out && { true < out & %s '%s' out 2>&1; wait; }", directory, LUA,
      exporter())
    if output ~= "before\nafter\n" then   -- the reader may go before or after the writing
      assert.matches("^out cannot be written: Broken pipe", output:match "rpc: ([^\n]*)")
    end
    assert.matches("after\n", output)
  end)

  it("to a device writes into the device", function()
    shell("cd '%s' && ln -s /dev/null null && ln -s /dev/full full", directory)
    assert.is_true(export.to_csv(directory .. "/null", one))
    local ok, err = export.to_csv(directory .. "/full", one)
    assert.is_nil(ok)
    assert.equal(directory .. "/full cannot be written: No space left on device", err.message)
    assert.equal("/dev/null\n/dev/full\n", shell("cd '%s' && readlink null full", directory))
  end)

  it("has a name of its own until it is whole, whatever the program's random numbers", function()
    local names = {}
    for i = 1, 2 do
      math.randomseed(7)
      assert.is_true(export.to_csv(path, function()
        names[i] = names[i] or shell("cd '%s' && ls *.part", directory)
        return nil
      end))
    end
    assert.matches("^out%.%x+%.part\n$", names[1])
    assert.not_equal(names[1], names[2])
  end)

  it("takes a name as long as names may be", function()
    local long = directory .. "/" .. ("n"):rep(255)
    assert.is_true(export.to_csv(long, one))
    assert.equal(HEAD .. LINE, read(long))
    local ok, err = export.to_csv(long .. "n", one)
    assert.is_nil(ok)
    assert.matches("File name too long", err.message)
  end)

  it("of a name in the working directory stays there", function()
    shell("cd '%s' && %s '%s' out && cat out", directory, LUA, exporter())
    assert.equal(HEAD .. LINE, read(path))
  end)
end)

describe("a text in a CSV file that begins like a formula", function()
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local texts = { "=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1" }

  it("has an apostrophe before it, be it an id, a job's id or a message", function()
    for _, text in ipairs(texts) do
      assert.is_true(export.to_csv(path, { { id = text, job_id = text, err = text } }))
      local field = "'" .. text
      if text:find "[\r\n]" then field = '"' .. field .. '"' end
      assert.equal(("%s1,%s,%s,,,,,,,error,%s\n"):format(HEAD, field, field, field), read(path))
    end
  end)

  it("stays as it is where that is asked for", function()
    assert.is_true(export.to_csv(path, { { id = "=1+1", err = "-2" } }, { quote_formulas = false }))
    assert.equal(HEAD .. "1,=1+1,,,,,,,,error,-2\n", read(path))
  end)

  it("is told from a number, which stays one", function()
    assert.is_true(export.to_csv(path, { { id = -2, attempts = -0.5, err = "a-b=c" } }))
    assert.equal(HEAD .. "1,-2,,-0.5,,,,,,error,a-b=c\n", read(path))
  end)

  it("keeps quotes and commas as RFC 4180 has them", function()
    assert.is_true(export.to_csv(path, { { id = '=HYPERLINK("a,b")', err = "x" } }))
    assert.equal(HEAD .. [[1,"'=HYPERLINK(""a,b"")",,,,,,,,error,x]] .. "\n", read(path))
  end)
end)
