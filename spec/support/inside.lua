-- Modules of the Lua layer, loaded from their sources: those that take no C function but a few, which stand here.
-- SPDX-License-Identifier: Apache-2.0
local loaded = {}
local metatables = setmetatable({}, { __index = function(known, name)
  known[name] = { __name = name }
  return known[name]
end })

loaded["arvak.core"] = {
  metatables = metatables, protect = pcall, metatable_of = getmetatable, method = function(fn) return fn end,
  misuse = function(message) error(message, 0) end, describe = tostring, check_text = function(text) return text end,
  is_interrupt = function() return false end, call_options = {},
}

local function require_inside(name)
  if loaded[name] == nil then
    local env = setmetatable({ require = require_inside }, { __index = _G })
    loaded[name] = assert(loadfile("lua/" .. name:gsub("%.", "/") .. ".lua", "t", env))()
  end
  return loaded[name]
end

return require_inside
