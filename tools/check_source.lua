-- What no compiler checks in the C and Lua sources: that every #include points the right way (lua/ -> src/lua ->
-- src/core -> gRPC and protobuf-c, with src/devserver apart), and that lines, functions and files keep their size.
-- SPDX-License-Identifier: Apache-2.0

local MAX_LINE, MAX_FUNCTION, MAX_FILE = 120, 60, 700

local LUA = { "^lua%.h$", "^lauxlib%.h$", "^lualib%.h$", "^luaconf%.h$" }
local LIBRARIES = { "^grpc/", "^protobuf%-c/", "%.pb%-c%.h$" }
-- Units that are given time and randomness and know nothing but libc and their own kind.
local PURE = {
  core = { "retry", "budget", "breaker", "limiter", "histogram", "timer" },
  devserver = { "qasm", "lexer", "parser", "expression", "operations", "gates", "names", "statevector", "plan",
    "kernel", "sample", "rate" },
}

local failures = 0
local function complain(path, line, ...)
  failures = failures + 1
  print(("%s:%d: "):format(path, line) .. string.format(...))
end

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then return true end
  end
  return false
end

local function files(where)
  local pipe = assert(io.popen("find " .. where .. " -type f | sort"))
  local list = {}
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

local sources = files("src spec tools bench examples -name '*.[ch]'")

local exists = {}
for _, path in ipairs(sources) do exists[path] = true end

-- Which directory below src/ an included header is in, seen from a file in `dir`; nil for a library's.
local function owner(dir, name, path)
  if exists[path:match("^.*/") .. name] then return dir end
  for _, candidate in ipairs({ dir, "core", "lua", "devserver" }) do
    if exists["src/" .. candidate .. "/" .. name] then return candidate end
  end
  return nil
end

local function is_pure(dir, unit)
  for _, pattern in ipairs(PURE[dir] or {}) do
    if unit:find("^" .. pattern .. "$") then return true end
  end
  return false
end

-- What a pure unit of the core includes of the core: arvak.h and other pure units.
local function knows_more(dir, from, name)
  return dir == "core" and from == "core" and name ~= "arvak.h" and not is_pure(dir, name:match("([%w_]+)%.h$") or "")
end

-- `dir` and `unit` of a test are those of what it tests.
local function place(path)
  local top, dir, unit = path:match("^(%w+)/([^/]+)/.-([%w_]+)%.[ch]$")
  if not top or (top ~= "src" and top ~= "spec") then return nil end
  return dir, unit, top == "spec"
end

local function wrong_include(path, name)
  local dir, unit, is_test = place(path)
  local from = dir and owner(dir, name, path)
  local is_library, is_lua = matches(name, LIBRARIES), matches(name, LUA)
  if name:find("%.c$") then return "a .c file is not included" end
  if dir == "core" then
    if is_lua then return "the core knows no Lua" end
    if from and from ~= "core" then return "the core knows itself and its libraries" end
  elseif dir == "lua" then
    if from == "devserver" then return "the binding does not know the dev server" end
    if is_library or (from == "core" and name ~= "arvak.h") then return "the binding knows the core as arvak.h" end
  elseif dir == "devserver" then
    if from == "core" or from == "lua" then return "the dev server shares proto/ and nothing else" end
    if is_lua and unit ~= "module" then return "only module.c of the dev server knows Lua" end
  end
  if dir and not is_test and is_pure(dir, unit) and (is_library or knows_more(dir, from, name)) then
    return "a pure unit knows libc and its own kind"
  end
  return nil
end

local function check_includes(path, lines)
  for number, line in ipairs(lines) do
    local name = line:match('^%s*#%s*include%s*["<]([^">]+)[">]')
    local why = name and wrong_include(path, name)
    if why then complain(path, number, "includes %s: %s", name, why) end
  end
end

local function check_lines(path, lines)
  for number, line in ipairs(lines) do
    if utf8.len(line) and utf8.len(line) > MAX_LINE then complain(path, number, "%d columns", utf8.len(line)) end
    if line:find("\t", 1, true) then complain(path, number, "a tab") end
    if line:find("%s$") then complain(path, number, "a blank at the end") end
  end
  if #lines > MAX_FILE then complain(path, #lines, "file of %d lines, %d at most", #lines, MAX_FILE) end
end

-- Top-level bodies: from a line at column 1 that ends in `) {` to a `}` in column 1.
local function check_functions(path, lines)
  local start
  for number, line in ipairs(lines) do
    local continued = not start and number > 1 and lines[number - 1]:find("^[%a_].*[,(]$")
    if line:find("^[%a_].*%) {$") or (continued and line:find("^ .*%) {$")) then
      start = number
    elseif line:find("^}") then
      local length = start and number - start + 1 or 0
      if length > MAX_FUNCTION then complain(path, start, "function of %d lines, %d at most", length, MAX_FUNCTION) end
      start = nil
    end
  end
end

local function read_lines(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

for _, path in ipairs(sources) do
  local lines = read_lines(path)
  check_includes(path, lines)
  check_lines(path, lines)
  check_functions(path, lines)
end
local scripts = files("lua spec tools examples bench -name '*.lua'")
for _, path in ipairs(scripts) do
  if path ~= "lua/arvak/meta.lua" then check_lines(path, read_lines(path)) end
end

print(("%d source files, %d complaints"):format(#sources + #scripts, failures))
os.exit(failures == 0, true)
