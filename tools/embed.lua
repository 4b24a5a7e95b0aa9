-- Turns Lua sources into one C table, so that the library is a single file without a search path. In each source
-- `require` is a local of its own, the argument of its chunk, which finds the other embedded modules.
-- Usage: lua embed.lua NAME=FILE... > embedded.c
-- SPDX-License-Identifier: Apache-2.0

local function bytes_of(text)
  local out = {}
  for i = 1, #text, 20 do
    local line = {}
    for j = i, math.min(i + 19, #text) do line[#line + 1] = tostring(text:byte(j)) end
    out[#out + 1] = table.concat(line, ",")
  end
  return table.concat(out, ",\n")
end

local names = {}
print('#include "embedded.h"')
for _, pair in ipairs(arg) do
  local name, file = pair:match("^(.-)=(.+)$")
  local handle = assert(io.open(file, "rb"))
  local text = handle:read("a")
  handle:close()
  text = "local require = ...; " .. text   -- on the first line, so that lines keep their numbers
  assert(load(text, "=" .. file, "t"))
  print(("static const char source_%d[] = {\n%s\n};"):format(#names + 1, bytes_of(text)))
  names[#names + 1] = { name = name, file = file }
end
print("const larvak_source larvak_sources[] = {")
for i, source in ipairs(names) do
  print(('  {"%s", "%s", source_%d, sizeof source_%d},'):format(source.name, source.file, i, i))
end
print("  {0, 0, 0, 0}\n};")
