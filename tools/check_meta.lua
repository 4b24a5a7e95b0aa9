-- Fails when what exists at run time and lua/arvak/meta.lua do not name the same public functions, or a document calls
-- one that does not exist. The reference is written from meta.lua: tools/reference.lua.
-- Usage: lua tools/check_meta.lua, with arvak on the path; or require it for M.check.
-- SPDX-License-Identifier: Apache-2.0

local M = {}

-- Metatables are registered under the class name that meta.lua uses too.
M.classes = {
  "arvak.client", "arvak.future", "arvak.stream", "arvak.breaker", "arvak.job", "arvak.result", "arvak.backend",
  "arvak.error", "arvak.batch_manager", "arvak.batch_result", "arvak.journal", "arvak.retry_policy",
  "arvak.pollable", "arvak.attachment", "arvak.devserver", "arvak.circuit", "arvak.lowered",
}
M.modules = { "arvak", "arvak.circuit", "arvak.devserver", "arvak.cqueues", "arvak.luv" }

-- What the documents call each kind of object in their code.
M.variables = {
  client = "arvak.client", f = "arvak.future", future = "arvak.future", job = "arvak.job", result = "arvak.result",
  backend = "arvak.backend", err = "arvak.error", stream = "arvak.stream", watch = "arvak.stream",
  breaker = "arvak.breaker", policy = "arvak.retry_policy", manager = "arvak.batch_manager", r = "arvak.batch_result",
  journal = "arvak.journal", circuit = "arvak.circuit", c = "arvak.circuit", lowered = "arvak.lowered",
  server = "arvak.devserver", devserver = "arvak.devserver",
}

local function is_public(name)
  return type(name) == "string" and not name:find("^_")
end

local function add(set, class, name)
  if is_public(name) then
    set[class] = set[class] or {}
    set[class][name] = true
  end
end

-- A table of functions within a module, as arvak.results.
local function add_group(set, name, group)
  for key, value in pairs(group) do
    if type(value) == "function" then add(set, name, key) end
  end
end

local function is_callable(value)
  local mt = debug.getmetatable(value)
  return type(value) == "function" or (type(value) == "table" and mt and mt.__call ~= nil)
end

-- Classes without a registered metatable are not implemented (yet) and are left out; `missing` lists them.
function M.runtime()
  local found, missing = {}, {}
  for _, name in ipairs(M.modules) do
    local ok, module = pcall(require, name)
    if not ok then error(("%s cannot be loaded: %s"):format(name, module), 0) end
    for key, value in pairs(module) do
      if is_callable(value) then
        add(found, name, key)
      elseif type(value) == "table" and is_public(key) then
        add_group(found, name .. "." .. key, value)
      end
    end
  end
  local registry = debug.getregistry()
  for _, class in ipairs(M.classes) do
    local mt = registry[class]
    if type(mt) ~= "table" then
      missing[#missing + 1] = class
    else
      local methods = type(mt.__index) == "table" and mt.__index or mt.methods or {}
      for key, value in pairs(methods) do
        if is_callable(value) then add(found, class, key) end
      end
    end
  end
  return found, missing
end

-- Functions that a LuaLS annotation file declares: `function C:name(` and `function C.name(` where C stands below a
-- ---@class, and ---@field name fun(...) or name fun.
function M.annotated(text)
  local found, bound, class = {}, {}, nil
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local new_class = line:match("^%-%-%-@class%s+([%w_.]+)")
    local field, kind = line:match("^%-%-%-@field%s+([%w_]+)%??%s+(.+)$")
    local variable = line:match("^local%s+([%w_]+)%s*=") or line:match("^([%w_]+)%s*=")
    local holder, name = line:match("^function%s+([%w_.]+)[.:]([%w_]+)%s*%(")
    if new_class then
      class = new_class:gsub("^(arvak%.devserver)%..*", "%1") -- the module and its servers share a name
    elseif field then
      if class and kind:find("^fun%f[^%w]") then add(found, class, field) end
    elseif variable then
      if class then bound[variable] = class end
      class = nil
    elseif holder then
      add(found, bound[holder] or holder, name)
    end
  end
  return found
end

-- The calls on known objects in the code spans and blocks of a document.
function M.called(text)
  local calls, code = {}, {}
  text = text:gsub("```.-```", function(block)
    code[#code + 1] = block
    return ""
  end)
  for span in text:gmatch("`([^`]+)`") do code[#code + 1] = span end
  for _, block in ipairs(code) do
    for _, argument in ipairs { "%s*[%({]", '%s+"' } do
      for holder, name in block:gmatch("%f[%w_.:]([%a_][%w_]*)[.:]([%a_][%w_]*)" .. argument) do
        local class = M.variables[holder] or (holder == "arvak" and "arvak")
        if class then add(calls, class, name) end
      end
    end
  end
  return calls
end

local function each(set, visit)
  local classes = {}
  for class in pairs(set) do classes[#classes + 1] = class end
  table.sort(classes)
  for _, class in ipairs(classes) do
    local names = {}
    for name in pairs(set[class]) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do visit(class, name) end
  end
end

local function has(set, class, name)
  return set[class] ~= nil and set[class][name] == true
end

-- A list of complaints, empty when all agree. documents: a table of path → text.
function M.check(runtime, meta_text, documents)
  local complaints = {}
  local function complain(...) complaints[#complaints + 1] = string.format(...) end
  local annotated = M.annotated(meta_text)
  each(runtime, function(class, name)
    if not has(annotated, class, name) then complain("%s: %s is not in lua/arvak/meta.lua", class, name) end
  end)
  each(annotated, function(class, name)
    if runtime[class] and not has(runtime, class, name) then
      complain("%s: %s is in lua/arvak/meta.lua but does not exist", class, name)
    end
  end)
  for path, text in pairs(documents) do
    each(M.called(text), function(class, name)
      if runtime[class] and not has(runtime, class, name) then
        complain("%s: %s calls %s, which does not exist", class, path, name)
      end
    end)
  end
  return complaints
end

-- A file that is not there names nothing, and every function is then found missing.
local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read("a")
  file:close()
  return text
end

-- Checks the files in the working directory.
function M.run()
  local runtime, missing = M.runtime()
  local documents = {}
  local pipe <close> = assert(io.popen("ls README.md docs/*.md docs/guide/*.md docs/reference/*.md"))
  for path in pipe:lines() do
    -- Names of another language stand in there; spec/docs/migration_spec.lua runs what is Lua.
    if path ~= "docs/MIGRATION.md" then documents[path] = read(path) end
  end
  return M.check(runtime, read("lua/arvak/meta.lua"), documents), missing
end

if ... ~= "tools.check_meta" then
  local complaints, missing = M.run()
  for _, class in ipairs(missing) do print("no metatable registered as " .. class) end
  for _, line in ipairs(complaints) do print(line) end
  print(#complaints .. " complaints")
  os.exit(#complaints == 0, true)
end

return M
