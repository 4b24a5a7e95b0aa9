-- Turns Lua sources into one C table, so that the library is a single file without a search path. In each source
-- `require` is a local of its own, the argument of its chunk, which finds the other embedded modules. Each is there as
-- text, and compiled by the Lua that builds: parsing them all takes as long as everything else that a program begins
-- with. The first entry is a probe: a Lua that compiles it to the same bytes takes the compiled ones.
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

-- Something of everything that instructions are made of.
local probe = [[
local a <const>, b <close> = 3, nil
local t, n = { 1, "two", 3.5, x = a, [a] = ... }, 0
local function f(x, ...)
  local y = select("#", ...) > 1 and x // 2 | x << 3 ~ 7 or -x % 4 ^ 2 / 1
  n = n + 1
  if y ~= 4 and not (y <= "s") then return f(y, ...) end
  return function() n = ~n; return t[x], t.x, #t .. y end, ...
end
for i = 1, 10, 2 do t[i] = f(i, i) end
for k, v in pairs(t) do if k == 5 then goto next elseif v >= 1 then break end ::next:: end
while n < 100 do n = n * 2; repeat local z = t; n = n & 255 until z:x() end
return f
]]

local sources = { { name = "", file = "probe", text = probe } }
for _, pair in ipairs(arg) do
  local name, file = pair:match("^(.-)=(.+)$")
  local handle = assert(io.open(file, "rb"))
  -- on the first line, so that lines keep their numbers
  sources[#sources + 1] = { name = name, file = file, text = "local require = ...; " .. handle:read("a") }
  handle:close()
end

print('#include "embedded.h"')
for i, source in ipairs(sources) do
  local code = string.dump(assert(load(source.text, "=" .. source.file, "t")))
  print(("static const char text_%d[] = {\n%s\n};"):format(i, bytes_of(source.text)))
  print(("static const unsigned char code_%d[] = {\n%s\n};"):format(i, bytes_of(code)))
end
print("const larvak_source larvak_sources[] = {")
for i, source in ipairs(sources) do
  print(('  {"%s", "%s", text_%d, sizeof text_%d, (const char *)code_%d, sizeof code_%d},'):format(
    source.name, source.file, i, i, i, i))
end
print("  {0, 0, 0, 0, 0, 0}\n};")
