-- The documents as specs read them: paths, blocks of code, links and anchors.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

function M.read(path)
  local file <close> = assert(io.open(path))
  return (file:read("a"))
end

local function lines_of(command)
  local list = {}
  local pipe <close> = assert(io.popen(command))
  for line in pipe:lines() do list[#list + 1] = line end
  return list
end

-- Every document that is written in Markdown.
function M.paths() return lines_of("ls *.md; find docs -name '*.md' | sort") end

function M.exists(path)
  return os.rename(path, path) ~= nil   -- folders, too
end

-- The blocks of a language: { text =, line = }.
function M.blocks(path, language)
  local list, block, number = {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    if block and line:find("^```") then
      local text = table.concat(block, "\n") .. "\n"
      if block.language == language then list[#list + 1] = { text = text, line = block.line } end
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif line:find("^```") then
      block = { language = line:match("^```(%S*)"), line = number }
    end
  end
  assert(not block, path .. ": a block without end")
  return list
end

-- A document without its blocks of code.
local function prose(text) return (("\n" .. text):gsub("\n```.-\n```", "\n")) end

-- The anchors of a document, as GitHub makes them of its headings.
function M.anchors(text)
  local set = {}
  for heading in prose(text):gmatch("\n#+ ([^\n]+)") do
    local anchor = heading:gsub("`", ""):lower():gsub("[^%w%s_\x80-\xff-]", ""):gsub("%s", "-")
    local free, n = anchor, 0
    while set[free] do
      n = n + 1
      free = anchor .. "-" .. n
    end
    set[free] = true
  end
  return set
end

-- The targets of a document's links.
function M.links(text)
  local list = {}
  for target in prose(text):gsub("`[^`\n]*`", ""):gmatch("%]%(([^()%s]+)%)") do list[#list + 1] = target end
  return list
end

-- Code spans of a document.
function M.spans(text)
  local list = {}
  for span in prose(text):gmatch("`([^`\n]+)`") do list[#list + 1] = span end
  return list
end

-- A path relative to a document, as one from the top of the tree.
function M.resolve(from, target)
  local parts = {}
  for part in ((from:match("^(.*)/[^/]*$") or "") .. "/" .. target):gmatch("[^/]+") do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

return M
