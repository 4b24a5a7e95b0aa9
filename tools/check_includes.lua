-- Fails when an #include points the wrong way: lua/ -> src/lua -> src/core -> gRPC, protobuf-c; src/devserver apart.
-- SPDX-License-Identifier: Apache-2.0

local LUA = { "^lua%.h$", "^lauxlib%.h$", "^lualib%.h$", "^luaconf%.h$" }
local LIBRARIES = { "^grpc/", "^protobuf%-c/", "%.pb%-c%.h$" }
-- Units that take time and randomness as arguments and know nothing but libc.
local PURE = { retry = true, breaker = true, limiter = true, timer = true }
local PURE_SERVER = { qasm = true, statevector = true, parser = true, lexer = true }

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then return true end
  end
  return false
end

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local list = {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

-- Which directory under src/ owns each header.
local owner = {}
local sources = lines_of("find src spec -name '*.[ch]' | sort")
for _, path in ipairs(sources) do
  local dir, name = path:match("^src/([^/]+)/(.+%.h)$")
  if dir then owner[name] = dir end
end

local function complaint(path, name)
  local dir, unit = path:match("^src/([^/]+)/([%w_]+)%.[ch]$")
  if not dir then
    dir, unit = path:match("^spec/([^/]+)/([%w_]-)_?t?e?s?t?%.[ch]$")
  end
  local is_test = path:find("^spec/") ~= nil
  if dir == "core" then
    if matches(name, LUA) then return "the core knows no Lua" end
    if owner[name] and owner[name] ~= "core" then return "the core knows only itself and its libraries" end
    if PURE[unit] and not is_test and (matches(name, LIBRARIES) or name == "internal.h") then
      return "a pure unit knows only libc and arvak.h"
    end
  elseif dir == "lua" then
    if owner[name] == "devserver" then return "the binding does not know the dev server" end
    if matches(name, LIBRARIES) or name == "internal.h" then return "the binding reaches gRPC through arvak.h alone" end
  elseif dir == "devserver" then
    if owner[name] == "core" or owner[name] == "lua" then return "the dev server shares proto/ and nothing else" end
    if matches(name, LUA) and unit ~= "module" then return "only module.c of the dev server knows Lua" end
    if PURE_SERVER[unit] and matches(name, LIBRARIES) then return "a pure unit knows only libc" end
  end
  if name:find("%.c$") then return "no .c file is included" end
  return nil
end

local failures = 0
for _, path in ipairs(sources) do
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local name = line:match('^%s*#%s*include%s*["<]([^">]+)[">]')
    local why = name and complaint(path, name)
    if why then
      failures = failures + 1
      print(("%s:%d: includes %s: %s"):format(path, number, name, why))
    end
  end
end
print(("includes: %d files, %d wrong"):format(#sources, failures))
os.exit(failures == 0, true)
