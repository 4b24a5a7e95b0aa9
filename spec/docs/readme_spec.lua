-- What people run first: the programs in the README and the guides, as printed, and the examples.
-- SPDX-License-Identifier: Apache-2.0
local lua = os.getenv("LUA") or "lua5.4"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

-- Output and exit status of a program in an interpreter of its own.
local function run(path)
  local pipe = assert(io.popen(("timeout 60 '%s' '%s' 2>&1; echo \"status $?\""):format(lua, path)))
  local output = pipe:read("a")
  pipe:close()
  return output, tonumber(output:match("status (%d+)\n$"))
end

local function run_text(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local output, status = run(path)
  os.remove(path)
  return output, status
end

local function blocks_of(text)
  local blocks = {}
  for block in text:gmatch("```lua\n(.-)```") do blocks[#blocks + 1] = block end
  return blocks
end

describe("the README", function()
  local blocks = blocks_of(read("README.md"))

  it("has a first program of about ten lines, which prints the counts of a Bell circuit", function()
    local _, lines = blocks[1]:gsub("\n", "")
    assert.is_true(lines <= 12)
    local output, status = run_text(blocks[1])
    assert.equal(0, status, output)
    local zeros, ones = output:match("^00\t(%d+)\n11\t(%d+)\n")
    assert.equal(1000, tonumber(zeros) + tonumber(ones))
  end)

  for i = 2, #blocks do
    it(("has a program number %d that runs as printed"):format(i), function()
      local output, status = run_text(blocks[i])
      assert.equal(0, status, output)
      assert.is_true(#output > #"status 0\n")
    end)
  end
end)

for _, path in ipairs { "docs/results.md" } do
  describe(path, function()
    for i, block in ipairs(blocks_of(read(path))) do
      it(("has a program number %d that runs as printed"):format(i), function()
        local output, status = run_text(block)
        assert.equal(0, status, output)
      end)
    end
  end)
end

describe("an example", function()
  -- web.lua serves until it is killed: web_spec.lua.
  local listing = assert(io.popen("ls examples/*.lua | grep -v /web.lua"))
  for path in listing:lines() do
    it(("%s has under 60 lines and runs"):format(path), function()
      local _, lines = read(path):gsub("\n", "")
      assert.is_true(lines < 60)
      local output, status = run(path)
      assert.equal(0, status, output)
    end)
  end
  listing:close()
end)
