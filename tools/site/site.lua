-- Writes the documents as HTML: README.md becomes index.html, and a page of docs/guide one of guide. Fails when a link
-- leads nowhere. Neither this nor a page fetches anything.
-- Usage: lua tools/site/site.lua FOLDER, from the top of the tree; needs pandoc.
-- SPDX-License-Identifier: Apache-2.0

local folder = assert(arg[1], "usage: site.lua FOLDER")

-- The groups of the navigation. A folder stands for its pages, in the order of the links of its README.md.
local GROUPS = {
  { "Start", "README.md" },
  { "Guide", "docs/guide" },
  { "More", "docs/results.md", "docs/MIGRATION.md", "docs/devserver.md", "docs/openqasm.md" },
  { "Reference", "docs/reference" },
  { "Insides", "docs/internals", "docs/design.md", "docs/contract.md" },
}

local function read(path)
  local file <close> = assert(io.open(path))
  return (file:read("a"))
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

local function run(...)
  local words = { ... }
  for i, word in ipairs(words) do words[i] = quoted(word) end
  assert(os.execute(table.concat(words, " ")), words[1] .. " failed")
end

local function title_of(path) return (read(path):match("^# ([^\n]+)"):gsub("`", "")) end

-- Where a document stands in the site.
local function place_of(path)
  return (path:gsub("^docs/", ""):gsub("README%.md$", "index.md"):gsub("%.md$", ".html"))
end

local function pages_of(entry)
  if entry:find("%.md$") then return { entry } end
  local list, seen = { entry .. "/README.md" }, {}
  local function add(path)
    if not seen[path] and exists(path) then list[#list + 1] = path end
    seen[path] = true
  end
  for name in read(list[1]):gmatch("%]%(([%w_-]+%.md)%)") do add(entry .. "/" .. name) end
  local pipe <close> = assert(io.popen("ls " .. entry .. "/*.md"))
  for path in pipe:lines() do
    if not path:find("/README%.md$") then add(path) end
  end
  return list
end

local function pages()
  local groups, all = {}, {}
  for _, group in ipairs(GROUPS) do
    local list = {}
    for i = 2, #group do
      for _, path in ipairs(pages_of(group[i])) do
        list[#list + 1], all[#all + 1] = path, path
      end
    end
    groups[#groups + 1] = { title = group[1], list = list }
  end
  return groups, all
end

local function navigation(groups, current, root)
  local out = {}
  for _, group in ipairs(groups) do
    out[#out + 1] = ("<p>%s</p>\n<ul>"):format(group.title)
    for _, path in ipairs(group.list) do
      out[#out + 1] = ('<li><a href="%s%s"%s>%s</a></li>'):format(root, place_of(path),
        path == current and ' aria-current="page"' or "", title_of(path))
    end
    out[#out + 1] = "</ul>"
  end
  return table.concat(out, "\n")
end

local function convert(groups, path)
  local place = place_of(path)
  local root = place:gsub("[^/]+/", "../"):gsub("[^/]+$", "")
  local menu = os.tmpname()
  write(menu, navigation(groups, path, root))
  run("mkdir", "-p", folder .. "/" .. (place:match("^(.*)/") or ""))
  run("pandoc", "--from=gfm", "--to=html5", "--template=tools/site/page.html", "--lua-filter=tools/site/links.lua",
    "--metadata=pagetitle:" .. title_of(path), "--metadata=page:" .. path, "--variable=root:" .. root,
    "--include-before-body=" .. menu, "--output=" .. folder .. "/" .. place, path)
  os.remove(menu)
end

-- Every link of a page leads to a file of the site, and to an id in it.
local function check(place, complain)
  local text = read(folder .. "/" .. place)
  for target in text:gmatch('href="([^"]+)"') do
    if not target:find("^%a+:") then
      local file, anchor = target:match("^([^#]*)#?(.*)$")
      local parts = {}
      for part in ((place:match("^(.*)/") or "") .. "/" .. file):gmatch("[^/]+") do
        if part == ".." then parts[#parts] = nil else parts[#parts + 1] = part end
      end
      local to = folder .. "/" .. (file == "" and place or table.concat(parts, "/"))
      if not exists(to) then
        complain(place, target)
      elseif anchor ~= "" and not read(to):find('id="' .. anchor .. '"', 1, true) then
        complain(place, target)
      end
    end
  end
end

run("mkdir", "-p", folder)
local groups, all = pages()
for _, path in ipairs(all) do convert(groups, path) end
run("cp", "tools/site/style.css", folder .. "/style.css")

local broken = 0
for _, path in ipairs(all) do
  check(place_of(path), function(place, target)
    broken = broken + 1
    print(("%s: %s leads nowhere"):format(place, target))
  end)
end
print(("%d pages in %s; begin with %s/index.html"):format(#all, folder, folder))
os.exit(broken == 0, true)
