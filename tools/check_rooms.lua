-- Who knows whom in the sources: every #include, every call from one C file to another, every require.
-- Fails when a room knows one that tools/rooms.lua does not let it know, when files know each other in a circle, when a
-- library is used where it does not belong, when a Lua module changes another one's table, and when two modules fill
-- the metatable of one class.
-- Usage: lua tools/check_rooms.lua [--arrows], in the top directory; --arrows lists who knows whom among the rooms.
-- SPDX-License-Identifier: Apache-2.0

local rooms = dofile "tools/rooms.lua"

-- Libraries that only some rooms may use, by what is included or required.
local LIBRARIES = {
  grpc = { "^grpc/" },
  protobuf = { "^protobuf%-c/", "%.pb%-c%.h$" },
  lua = { "^lua%.h$", "^lauxlib%.h$", "^lualib%.h$", "^luaconf%.h$" },
}
-- Circles of files that are known; each is to be opened, and none may grow.
local KNOWN_CIRCLES = rooms.known_circles or {}

local failures, arrows = 0, {}   -- arrows: room → room → count of file pairs

local function complain(path, line, ...)
  failures = failures + 1
  print(("%s:%d: "):format(path, line) .. string.format(...))
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local function list_files(where)
  local pipe = assert(io.popen("find " .. where .. " -type f | sort"))
  local list = {}
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

local function matches(name, patterns)
  for _, pattern in ipairs(patterns) do
    if name:find(pattern) then return true end
  end
  return false
end

-- ---- rooms

local allowed = {}   -- room → set of rooms and libraries

local function read_rooms()
  for _, room in ipairs(rooms) do
    local name, may = room[1], {}
    for _, other in ipairs(room.knows or {}) do
      if not allowed[other] then complain("tools/rooms.lua", 1, "%s knows %s, which is not below it", name, other) end
      may[other] = true
    end
    for _, library in ipairs(room.outside or {}) do may[library] = true end
    allowed[name] = may
  end
end

-- A C file and its header are one unit, and so is a Lua file.
local function unit_of(path) return (path:gsub("%.[ch]$", ""):gsub("%.lua$", "")) end

-- The room of a file: the longest name in the list that it bears or lies in.
local function room_of(path)
  local found
  for _, room in ipairs(rooms) do
    local name = room[1]
    local is_in = path == name or unit_of(path) == name or path:sub(1, #name + 1) == name .. "/"
    if is_in and (not found or #name > #found) then found = name end
  end
  return found
end

-- ---- arrows between files

local edges = {}      -- unit → unit → { path, line, what }
local used = {}       -- room → room or library → true

local function add_edge(path, line, target, what)
  local from, to = unit_of(path), unit_of(target)
  if from == to then return end
  edges[from] = edges[from] or {}
  if edges[from][to] then return end   -- told already
  edges[from][to] = { path = path, line = line, what = what }
  local room, other = room_of(path), room_of(target)
  if not room or not other or room == other then return end
  used[room] = used[room] or {}
  used[room][other] = true
  arrows[room] = arrows[room] or {}
  arrows[room][other] = arrows[room][other] or {}
  arrows[room][other][from .. " " .. to] = true
  if not allowed[room][other] then complain(path, line, "%s: %s does not know %s", what, room, other) end
end

local function use_library(path, line, name)
  local room = room_of(path)
  if not room then return end
  for library, patterns in pairs(LIBRARIES) do
    if matches(name, patterns) then
      used[room] = used[room] or {}
      used[room][library] = true
      if not allowed[room][library] then complain(path, line, "%s: %s does not know %s", name, room, library) end
    end
  end
end

-- ---- C

local PUBLIC_HEADER = "src/core/arvak.h"
local ROOTS = { "src/core/", "src/lua/", "src/devserver/" }

local function add_includes(path, text, exists)
  local number = 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    local name = line:match('^%s*#%s*include%s*["<]([^">]+)[">]')
    if name then
      local target = path:match("^.*/") .. name
      for _, root in ipairs(ROOTS) do
        if not exists[target] and exists[root .. name] then target = root .. name end
      end
      if exists[target] then
        add_edge(path, number, target, name)
      else
        use_library(path, number, name)
      end
    end
  end
end

-- Text without comments and literals; lines keep their numbers.
local function strip(text)
  local function blank(part) return (part:gsub("[^\n]", " ")) end
  text = text:gsub("/%*.-%*/", blank):gsub("//[^\n]*", blank)
  return (text:gsub('"[^"\n]*"', blank))
end

local function line_at(text, place)
  local _, breaks = text:sub(1, place):gsub("\n", "")
  return breaks + 1
end

-- Functions that are visible to other files, by name: the paths that define them.
local function find_definitions(stripped)
  local definitions = {}
  for path, text in pairs(stripped) do
    for head, name in ("\n" .. text):gmatch("\n([%a_][^\n;{}()#]*[%s%*])([%a_][%w_]*)%b()%s*{") do
      if not head:find("^static%f[%W]") then
        definitions[name] = definitions[name] or {}
        table.insert(definitions[name], path)
      end
    end
  end
  return definitions
end

-- Among several definitions of one name, the one in the same program.
local function pick(path, paths)
  local top = path:find("^src/devserver/") and "^src/devserver/" or "^src/[cl]"
  for _, candidate in ipairs(paths) do
    if candidate:find(top) then return candidate end
  end
end

-- Whoever calls a room through its public header knows that header, and not who is behind it.
local function through_header(path, target, name, declared)
  if not declared[name] or path:find("^src/core/") then return target end
  return PUBLIC_HEADER
end

local function add_calls(path, text, definitions, declared)
  for place, name in text:gmatch("()%f[%w_]([%a_][%w_]*)") do
    local target = definitions[name] and pick(path, definitions[name])
    if target then add_edge(path, line_at(text, place), through_header(path, target, name, declared), name) end
  end
end

local function check_c()
  local stripped, exists, list = {}, {}, list_files("src -name '*.[ch]'")
  for _, path in ipairs(list) do exists[path] = true end
  for _, path in ipairs(list) do
    if not room_of(path) then complain(path, 1, "is in no room of tools/rooms.lua") end
    local text = read(path)
    add_includes(path, text, exists)
    if path:find("%.c$") then stripped[path] = strip(text) end
  end
  local definitions, declared = find_definitions(stripped), {}
  for name in (exists[PUBLIC_HEADER] and strip(read(PUBLIC_HEADER)) or ""):gmatch("[%a_][%w_]*") do
    declared[name] = true
  end
  for _, path in ipairs(list) do
    if stripped[path] then add_calls(path, stripped[path], definitions, declared) end
  end
  return #list
end

-- ---- Lua

local function path_of(module) return "lua/" .. module:gsub("%.", "/") .. ".lua" end

-- What a file calls our modules that it requires, each in a line of its own, so that an editor finds the definition.
local function add_requires(path, lines, exists)
  local names = {}
  for number, line in ipairs(lines) do
    local name, module = line:match('^local ([%w_]+) = require "(arvak[%w_.]*)"$')
    local target = name and path_of(module)
    if target and exists[target] then
      names[name] = module
      add_edge(path, number, target, module)
    elseif not name and line:find('%f[%w_]require[ (]+"arvak%.[%w_]+%.') then
      complain(path, number, "a module of ours is required as `local name = require \"module\"`")
    end
  end
  return names
end

-- The local whose field a line fills, or nil.
local function filled_by(line)
  return line:match("^%s*([%a_][%w_]*)%.[%w_.]+[%w_., ]*%s=%s") or line:match("^%s*function%s+([%a_][%w_]*)[.:]")
end

local owners = {}   -- class → the path that fills its metatable

local function check_fills(path, lines, names)
  local classes = {}
  for number, line in ipairs(lines) do
    local variable, class = line:match('^local ([%w_]+) = core%.metatables%["([%w_.]+)"%]')
    if variable then classes[variable] = class end
    local holder = filled_by(line)
    class = classes[holder]
    if names[holder] then complain(path, number, "changes the module %s", names[holder]) end
    if class and owners[class] and owners[class] ~= path then
      complain(path, number, "fills the metatable of %s, as %s does", class, owners[class])
    end
    if class then owners[class] = path end
  end
end

local function lines_of(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  return lines
end

local function check_lua()
  local exists, list = {}, list_files("lua -name '*.lua'")
  for _, path in ipairs(list) do exists[path] = true end
  for _, path in ipairs(list) do
    if not room_of(path) then complain(path, 1, "is in no room of tools/rooms.lua") end
    local lines = lines_of(read(path))
    check_fills(path, lines, add_requires(path, lines, exists))
  end
  return #list
end

-- ---- circles

-- The circles of files: Tarjan's strongly connected components of more than one.
local function find_circles()
  local index, low, stack, on_stack, count, circles = {}, {}, {}, {}, 0, {}
  local function visit(unit)
    count = count + 1
    index[unit], low[unit], on_stack[unit] = count, count, true
    stack[#stack + 1] = unit
    for other in pairs(edges[unit] or {}) do
      if not index[other] then
        visit(other)
        low[unit] = math.min(low[unit], low[other])
      elseif on_stack[other] then
        low[unit] = math.min(low[unit], index[other])
      end
    end
    if low[unit] ~= index[unit] then return end
    local circle = {}
    repeat
      local member = table.remove(stack)
      on_stack[member] = nil
      circle[#circle + 1] = member
    until member == unit
    if #circle > 1 then circles[#circles + 1] = circle end
  end
  local units = {}
  for unit in pairs(edges) do units[#units + 1] = unit end
  table.sort(units)
  for _, unit in ipairs(units) do
    if not index[unit] then visit(unit) end
  end
  return circles
end

local function is_known(circle)
  for _, known in ipairs(KNOWN_CIRCLES) do
    local set, is_inside = {}, true
    for _, unit in ipairs(known) do set[unit] = true end
    for _, unit in ipairs(circle) do is_inside = is_inside and set[unit] end
    if is_inside then return true end
  end
  return false
end

local function check_circles()
  for _, circle in ipairs(find_circles()) do
    table.sort(circle)
    if not is_known(circle) then
      local members = {}
      for _, unit in ipairs(circle) do members[unit] = true end
      for _, unit in ipairs(circle) do
        for other, edge in pairs(edges[unit]) do
          if members[other] then
            complain(edge.path, edge.line, "%s: in a circle of %d files, on the way to %s", edge.what, #circle, other)
          end
        end
      end
    end
  end
end

-- A permission that nobody needs is one too many.
local function check_unused()
  for _, room in ipairs(rooms) do
    for other in pairs(allowed[room[1]]) do
      if not (used[room[1]] and used[room[1]][other]) then
        complain("tools/rooms.lua", 1, "%s may know %s, but does not", room[1], other)
      end
    end
  end
end

local function print_arrows()
  for _, room in ipairs(rooms) do
    for _, other in ipairs(rooms) do
      local pairs_of_files = arrows[room[1]] and arrows[room[1]][other[1]]
      if pairs_of_files then
        local count = 0
        for _ in pairs(pairs_of_files) do count = count + 1 end
        print(("%-28s -> %-28s %3d"):format(room[1], other[1], count))
      end
    end
  end
end

read_rooms()
local count = check_c() + check_lua()
check_circles()
check_unused()
if arg[1] == "--arrows" then print_arrows() end
print(("%d files in %d rooms, %d complaints"):format(count, #rooms, failures))
os.exit(failures == 0, true)
