-- The rooms of the Lua layer: who may stand on whom, and that each file fills its own tables only.
-- SPDX-License-Identifier: Apache-2.0

-- From below: a file requires files of its own room and of those with a smaller number.
local RANKS = { base = 1, results = 2, async = 2, jobs = 3, streams = 4, batch = 5, top = 6, facade = 7 }
-- These stand on the whole library.
local OUTSIDE = { ["arvak.cqueues"] = true, ["arvak.luv"] = true, ["arvak.meta"] = true }

local function room_of(name)
  if name == "arvak" then return "facade" end
  return name:match("^arvak%.(%w+)%.") or "top"
end

-- The embedded modules: name → text.
local function read_sources()
  local sources = {}
  local pipe = assert(io.popen("find lua -name '*.lua'"))
  for path in pipe:lines() do
    local name = path:match("^lua/(.+)%.lua$"):gsub("/", ".")
    local file = assert(io.open(path))
    if not OUTSIDE[name] then sources[name] = file:read("a") end
    file:close()
  end
  pipe:close()
  return sources
end

-- What a module requires of ours, but for the core: the name of its local → the module.
local function required_by(text)
  local required = {}
  for variable, name in text:gmatch('local ([%w_]+) = require "(arvak%.[%w_.]+)"\n') do
    if name ~= "arvak.core" then required[variable] = name end
  end
  return required
end

-- Whether a line of a text defines a field of this local's.
local function fills(text, variable)
  return text:find("\n *" .. variable .. "%.[%w_.]+[%w_., ]* = ") or text:find("\n *function " .. variable .. "[.:]")
end

describe("the rooms of the Lua layer", function()
  local sources = read_sources()

  it("have names that are known", function()
    for name in pairs(sources) do assert.truthy(RANKS[room_of(name)], name) end
  end)

  it("say at the top of each file what it requires, so that an editor finds it", function()
    for name, text in pairs(sources) do
      local _, all = text:gsub('%f[%w_]require[ (]+"?arvak%.[%l_.]+', "")
      local _, plain = text:gsub('\nlocal [%w_]+ = require "arvak%.[%l_.]+"%f[\n]', "")
      assert.equal(all, plain, name)
      for _, required in pairs(required_by(text)) do assert.truthy(sources[required], name .. ": " .. required) end
    end
  end)

  it("stand only on those below", function()
    for name, text in pairs(sources) do
      for _, required in pairs(required_by(text)) do
        local from, to = room_of(name), room_of(required)
        assert.is_true(from == to or RANKS[from] > RANKS[to], name .. " requires " .. required)
      end
    end
  end)

  it("hold no circle of files", function()
    local states = {}
    local function visit(name, path)
      assert.is_not.equal("open", states[name], path .. name)
      if states[name] then return end
      states[name] = "open"
      for _, required in pairs(required_by(sources[name])) do visit(required, path .. name .. " > ") end
      states[name] = "done"
    end
    for name in pairs(sources) do visit(name, "") end
  end)

  it("leave the tables of other modules alone", function()
    for name, text in pairs(sources) do
      for variable, required in pairs(required_by(text)) do
        assert.falsy(fills(text, variable), name .. " fills " .. required)
      end
    end
  end)

  it("fill each metatable of the core in one file", function()
    local owners, count = {}, 0
    for name, text in pairs(sources) do
      for variable, class in text:gmatch('\nlocal ([%w_]+) = core%.metatables%["(arvak%.[%w_]+)"%]') do
        if fills(text, variable) then
          assert.is_nil(owners[class], ("%s: %s and %s"):format(class, name, owners[class]))
          owners[class], count = name, count + 1
        end
      end
    end
    assert.equal(14, count)
  end)
end)
