-- A filter of pandoc's: links between documents become links between their pages. A link to another file of the tree,
-- which is no page, becomes its text. SPDX-License-Identifier: Apache-2.0
-- luacheck: globals pandoc

local page

local function resolve(target)
  local parts = {}
  for part in ((page:match("^(.*)/") or "") .. "/" .. target):gmatch("[^/]+") do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

local function place_of(path)
  return (path:gsub("^docs/", ""):gsub("README%.md$", "index.md"):gsub("%.md$", ".html"))
end

local function link(element)
  local file, anchor = element.target:match("^([^#]*)(#?.*)$")
  if element.target:find("^%a+:") or file == "" then return nil end
  if not file:find("%.md$") then return element.content end
  local root = place_of(page):gsub("[^/]+/", "../"):gsub("[^/]+$", "")
  element.target = root .. place_of(resolve(file)) .. anchor
  return element
end

return {
  { Meta = function(meta) page = pandoc.utils.stringify(meta.page) end },
  { Link = link },
}
