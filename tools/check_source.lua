-- What no compiler checks in the C and Lua sources: that lines, functions and files keep their size. In src and lua
-- nine of ten functions have 20 lines at most.
-- SPDX-License-Identifier: Apache-2.0

local MAX_LINE, MAX_FUNCTION, SHORT_FUNCTION, SHORT_SHARE = 120, 60, 20, 0.9
local MAX_FILE, MAX_TEST_FILE = 600, 700
local ANNOTATIONS = "lua/arvak/meta.lua"   -- one file, as editors want it
local OWN_FILES = { "^lua/arvak/command/", "^lua/arvak/cqueues", "^lua/arvak/luv", "^lua/arvak/meta" }   -- not embedded

local failures = 0
local function complain(path, line, ...)
  failures = failures + 1
  print(("%s:%d: "):format(path, line) .. string.format(...))
end

local function files(where)
  local pipe = assert(io.popen("find " .. where .. " -type f | sort"))
  local list = {}
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

local function read_lines(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

local function check_lines(path, lines)
  for number, line in ipairs(lines) do
    if utf8.len(line) and utf8.len(line) > MAX_LINE then complain(path, number, "%d columns", utf8.len(line)) end
    if line:find("\t", 1, true) then complain(path, number, "a tab") end
    if line:find("%s$") then complain(path, number, "a blank at the end") end
  end
  local most = path:find("^spec/") and MAX_TEST_FILE or MAX_FILE
  if #lines > most then complain(path, #lines, "file of %d lines, %d at most", #lines, most) end
end

-- The bodies of C functions: from a line at column 1 that ends in `) {` to a `}` in column 1.
local function c_functions(lines, visit)
  local start
  for number, line in ipairs(lines) do
    local continued = not start and number > 1 and lines[number - 1]:find("^[%a_].*[,(]$")
    if line:find("^[%a_].*%) {.*}$") then
      visit(number, 1)
    elseif line:find("^[%a_].*%) {$") or (continued and line:find("^ .*%) {$")) then
      start = number
    elseif line:find("^}") then
      if start then visit(start, number - start + 1) end
      start = nil
    end
  end
end

-- Lua functions that begin at column 1, up to an `end` there.
local function lua_functions(lines, visit)
  local start
  for number, line in ipairs(lines) do
    local begins = line:find("^function%s") or line:find("^local function%s") or line:find("^[%w_.]+ = function%(")
    if begins and line:find("%send$") then
      visit(number, 1)
    elseif begins then
      start = number
    elseif line:find("^end") then
      if start then visit(start, number - start + 1) end
      start = nil
    end
  end
end

-- A plugin may replace the functions that methods of strings are found in; those of the library's own `string` it
-- cannot.
local string_methods = {}
for name in pairs(string) do string_methods[name] = true end
local OWN_METHODS = { ["run:lower"] = true, ["self:lower"] = true, ["Run:lower"] = true }

local function check_string_methods(path, lines)
  if not path:find("^lua/") then return end
  for _, pattern in ipairs(OWN_FILES) do
    if path:find(pattern) then return end
  end
  for number, line in ipairs(lines) do
    local code = line:gsub("%-%-.*", "")
    for object, name in code:gmatch "([%w_]*)[%]%)\"']*:(%l+) *[(\"'%[{]" do
      if string_methods[name] and not OWN_METHODS[object .. ":" .. name] then
        complain(path, number, "the method %s of a string, expected string.%s(...)", name, name)
      end
    end
  end
end

local count, short = 0, 0   -- functions of the product

local function check_functions(path, lines, each_function)
  local is_product = path:find("^src/") or path:find("^lua/")
  each_function(lines, function(line, length)
    if length > MAX_FUNCTION then complain(path, line, "function of %d lines, %d at most", length, MAX_FUNCTION) end
    if not is_product then return end
    count = count + 1
    if length <= SHORT_FUNCTION then short = short + 1 end
  end)
end

local sources = files("src spec tools bench examples -name '*.[ch]'")
for _, path in ipairs(sources) do
  local lines = read_lines(path)
  check_lines(path, lines)
  check_functions(path, lines, c_functions)
end
local scripts = files("lua spec tools bench examples -name '*.lua'")
for _, path in ipairs(scripts) do
  if path ~= ANNOTATIONS then
    local lines = read_lines(path)
    check_lines(path, lines)
    check_functions(path, lines, lua_functions)
    check_string_methods(path, lines)
  end
end
if short < SHORT_SHARE * count then
  complain("src", 1, "%d of %d functions have %d lines at most, expected %d %%", short, count, SHORT_FUNCTION,
    100 * SHORT_SHARE)
end

print(("%d source files, %d functions, %.0f %% of them within %d lines, %d complaints"):format(#sources + #scripts,
  count, 100 * short / count, SHORT_FUNCTION, failures))
os.exit(failures == 0, true)
