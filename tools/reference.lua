-- Writes docs/reference/ from lua/arvak/meta.lua: a page for each of its sections, and an index of all names.
-- Usage: lua tools/reference.lua [--check], from the top of the tree. With --check nothing is written, and the status
-- is 1 when a page is out of date. spec/docs/reference_spec.lua uses the functions.
-- What it reads beyond LuaLS's annotations: a line `-- ---- title` begins a page; in a description a paragraph that
-- begins with `Errors:` or `Raises:` and a block of Lua stand apart.
-- SPDX-License-Identifier: Apache-2.0

local M = { source = "lua/arvak/meta.lua", folder = "docs/reference" }

-- How programs call what meta.lua has in a local table.
local SHOWN = {
  results = "arvak.results", export = "arvak.export", cqueues_adapter = 'require("arvak.cqueues")',
  luv_adapter = 'require("arvak.luv")', batch_result = "r", ["devserver:"] = "server", pollable = "p",
  ["circuit:"] = "c",
}

-- ---- reading

local function new_entry() return { text = {}, params = {}, returns = {}, fields = {} } end

-- A type is the first word, in which brackets and the commas and bars between types hold blanks together.
function M.split_type(text)
  local depth, at = 0, 1
  while at <= #text do
    local char = text:sub(at, at)
    if char:find("[%(%[{<]") then depth = depth + 1 end
    if char:find("[%)%]}>]") then depth = depth - 1 end
    if char == " " and depth == 0 and not text:sub(1, at - 1):find("[:|,]$") then break end
    at = at + 1
  end
  return text:sub(1, at - 1), text:sub(at + 1)
end

local readers = {}

function readers.param(entry, rest)
  local name, more = rest:match("^(%S+)%s+(.*)$")
  local kind, meaning = M.split_type(more)
  entry.params[#entry.params + 1] = { name = name:gsub("%?$", ""), optional = name:find("%?$") ~= nil, type = kind,
    meaning = meaning }
end

function readers.field(entry, rest)
  local name, more = rest:match("^(%S+)%s+(.*)$")
  local kind, meaning = M.split_type(more)
  entry.fields[#entry.fields + 1] = { name = name:gsub("%?$", ""), optional = name:find("%?$") ~= nil, type = kind,
    meaning = meaning }
end

readers["return"] = function(entry, rest)
  local kind, more = M.split_type(rest)
  local name, meaning = more:match("^(%S*)%s*(.*)$")
  entry.returns[#entry.returns + 1] = { type = kind, name = name, meaning = meaning }
end

-- The sections of the annotations: { title =, entries = { { kind = "class"|"alias"|"function", name =, … } } }.
function M.parse(text)
  local sections, bound = {}, {}
  local pending, class
  local function add(entry) table.insert(sections[#sections].entries, entry) end
  for line in (text .. "\n"):gmatch("(.-)\n") do
    local title = line:match("^%-%- %-%-%-%- (.+)$")
    local tag, rest = line:match("^%-%-%-@(%w+)%s*(.*)$")
    local doc = not tag and line:match("^%-%-%-(.*)$")
    local holder, colon, name, arguments = line:match("^function ([%w_]+)([.:])([%w_]+)%((.-)%)")
    if title then
      sections[#sections + 1] = { title = title, entries = {} }
    elseif tag == "class" then
      local entry = pending or new_entry()
      entry.kind, entry.name, entry.parent = "class", rest:match("^([%w_.]+):?%s*([%w_.]*)")
      add(entry)
      pending, class = nil, entry
    elseif tag == "alias" then
      local entry = pending or new_entry()
      entry.kind, entry.name, entry.type = "alias", rest:match("^(%S+)%s+(.*)$")
      add(entry)
      pending = nil
    elseif tag == "field" then
      readers.field(class, rest)
    elseif tag and readers[tag] then
      pending = pending or new_entry()
      readers[tag](pending, rest)
    elseif doc then
      pending = pending or new_entry()
      table.insert(pending.text, doc)
    elseif holder then
      local entry = pending or new_entry()
      entry.kind, entry.name = "function", name
      entry.class = bound[holder]
      entry.shown = (SHOWN[holder .. colon] or SHOWN[holder] or holder) .. colon .. name
      entry.arguments = arguments
      add(entry)
      pending = nil
    else
      local variable = line:match("^local ([%w_]+) = {}")
      if variable and class then bound[variable], class.variable = class.name, SHOWN[variable] or variable end
    end
  end
  return sections
end

-- The parts of a description, in order: paragraphs ("text") and blocks of Lua ("example"). A line that begins with
-- `Errors:` or `Raises:` begins a paragraph.
function M.parts(lines)
  local parts, block = {}, nil
  for _, line in ipairs(lines) do
    if line:find("^```lua") then
      block = {}
    elseif line:find("^```") then
      parts[#parts + 1] = { kind = "example", text = table.concat(block, "\n") }
      block = nil
    elseif block then
      block[#block + 1] = line
    elseif line == "" then
      parts[#parts + 1] = { kind = "gap" }
    else
      local last = parts[#parts]
      if last and last.kind == "text" and not line:find("^%u%l+: ") then
        last.text = last.text .. "\n" .. line
      else
        parts[#parts + 1] = { kind = "text", text = line }
      end
    end
  end
  return parts
end

-- ---- writing

local function slug(title) return (title:lower():gsub("[^%w]+", "-")) end

function M.page_of(section) return slug(section.title) .. ".md" end

-- What GitHub, and pandoc for its Markdown, make of a heading.
function M.anchor(heading)
  return (heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-"))
end

local function heading_of(entry) return entry.shown or entry.name end

local places, summaries   -- name of a class → link, and the first sentence about it

-- A type for a table's cell: names of classes are links, alternatives are words.
local function show_type(kind)
  local depth, words, word = 0, {}, ""
  for char in (kind .. "|"):gmatch(".") do
    if char:find("[%(%[{<]") then depth = depth + 1 end
    if char:find("[%)%]}>]") then depth = depth - 1 end
    if char == "|" and depth == 0 then
      words[#words + 1], word = word, ""
    else
      word = word .. char
    end
  end
  for i, each in ipairs(words) do
    local name, list = each:match("^([%w_.]+)(%[?%]?)$")
    local shown = "`" .. each:gsub("|", " or ") .. "`"
    words[i] = name and places[name] and ("[%s](%s)"):format(shown, places[name]) or shown
    if list == "[]" and words[i] == shown then words[i] = shown end
  end
  return table.concat(words, " or ")
end

local function cell(text) return (text:gsub("|", "\\|")) end

local function show_parts(out, entry)
  local parts = M.parts(entry.text)
  local examples = {}
  for _, part in ipairs(parts) do
    if part.kind == "text" then
      out[#out + 1] = part.text:gsub("^(%u%l+:) ", function(word)
        return (word == "Errors:" or word == "Raises:") and "**" .. word .. "** " or word .. " "
      end) .. "\n"
    elseif part.kind == "example" then
      examples[#examples + 1] = part.text
    end
  end
  return examples
end

local function show_examples(out, examples)
  for _, example in ipairs(examples) do out[#out + 1] = "```lua\n" .. example .. "\n```\n" end
end

local function show_rows(out, head, rows)
  if #rows == 0 then return end
  out[#out + 1] = ("| %s | type | |\n|---|---|---|\n%s\n"):format(head, table.concat(rows, "\n"))
end

-- What nothing is said about is as its class says.
local function meaning_of(item)
  return item.meaning ~= "" and item.meaning or summaries[item.type] or ""
end

local function row_of(item)
  return ("| `%s` | %s%s | %s |"):format(item.name, show_type(item.type), item.optional and ", optional" or "",
    cell(meaning_of(item)))
end

local function show_class(out, entry)
  out[#out + 1] = "## " .. heading_of(entry) .. "\n"
  local examples = show_parts(out, entry)
  if entry.parent and entry.parent ~= "" then
    out[#out + 1] = ("Also every field of [`%s`](%s).\n"):format(entry.parent, places[entry.parent])
  end
  local rows = {}
  for _, field in ipairs(entry.fields) do rows[#rows + 1] = row_of(field) end
  show_rows(out, "field", rows)
  show_examples(out, examples)
end

local function show_alias(out, entry)
  out[#out + 1] = "## " .. entry.name .. "\n"
  local examples = show_parts(out, entry)
  out[#out + 1] = "`" .. entry.type .. "`\n"
  show_examples(out, examples)
end

local function show_function(out, entry)
  out[#out + 1] = ("## %s\n\n`%s(%s)`\n"):format(entry.shown, entry.shown, entry.arguments)
  local examples = show_parts(out, entry)
  local rows = {}
  for _, param in ipairs(entry.params) do rows[#rows + 1] = row_of(param) end
  show_rows(out, "parameter", rows)
  rows = {}
  for i, value in ipairs(entry.returns) do
    local name = value.name:find("^[%w_.]+$") and value.name or tostring(i)
    local meaning = name == value.name and value.meaning or (value.name .. " " .. value.meaning)
    if meaning == "" then meaning = summaries[value.type:gsub("|nil$", "")] or "" end
    rows[#rows + 1] = ("| `%s` | %s | %s |"):format(name, show_type(value.type), cell(meaning))
  end
  show_rows(out, "returns", rows)
  show_examples(out, examples)
end

local show = { class = show_class, alias = show_alias, ["function"] = show_function }

local NOTICE = "<!-- Written by tools/reference.lua from lua/arvak/meta.lua: change that, then `make reference`. -->\n"

local function page(section)
  local out = { "# " .. section.title:gsub("^%l", string.upper) .. "\n", NOTICE }
  for _, entry in ipairs(section.entries) do show[entry.kind](out, entry) end
  return table.concat(out, "\n")
end

local INDEX = [[
# Reference

%s
Every public name of the library, once. Three rules hold everywhere:

- Times are seconds, as numbers with fractions. Sizes are bytes. Qubits and bits count from 0.
- A function that waits returns its value, or `nil` and an [error](records.md#arvakerror). The entry lists the kinds of
  error that are its own. Every call can also end with `timeout`, `canceled`, `closed`, `unavailable`, `circuit_open`,
  `resource_exhausted`, `unauthenticated`, `forked` and `rpc`: [all kinds](../guide/errors-and-what-to-do.md).
- A wrong argument raises at the line of the caller. The message names the argument, the value and what was expected.

The C interface stands in the installed headers: `arvak.h` (the client without Lua) and `arvak_lua.h` (for hosts of Lua
states). [Embedding](../guide/embedding.md) shows both.

The examples follow these lines:

```lua
%s```

%s]]

M.prelude = [[
local arvak = require "arvak"
local client <close> = arvak.connect("embedded")   -- or "host:50051"
local manager <close> = arvak.batch_manager(client)

local bell = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"
local circuits = { { bell, 100 }, { bell, 200 } }
local job_id = assert(client:submit_qasm(bell, "simulator", 100))
local result = assert(client:wait_for_job(job_id))

local circuit = require "arvak.circuit"
local c = circuit.new(2):h(0):cx(0, 1):measure_all()
]]

local function index(sections)
  local out = {}
  for _, section in ipairs(sections) do
    out[#out + 1] = ("## [%s](%s)\n"):format(section.title:gsub("^%l", string.upper), M.page_of(section))
    local functions, tables = {}, {}
    for _, entry in ipairs(section.entries) do
      local heading, list = heading_of(entry), entry.kind == "function" and functions or tables
      list[#list + 1] = ("[`%s`](%s#%s)"):format(heading, M.page_of(section), M.anchor(heading))
    end
    if #functions > 0 then out[#out + 1] = "Functions: " .. table.concat(functions, ",\n") .. "\n" end
    out[#out + 1] = "Objects and tables: " .. table.concat(tables, ",\n") .. "\n"
  end
  return INDEX:format(NOTICE, M.prelude, table.concat(out, "\n"))
end

local function find_places(sections)
  places, summaries = {}, {}
  for _, section in ipairs(sections) do
    for _, entry in ipairs(section.entries) do
      if entry.kind ~= "function" and not places[entry.name] then
        places[entry.name] = M.page_of(section) .. "#" .. M.anchor(heading_of(entry))
        summaries[entry.name] = (table.concat(entry.text, " "):match("^.-[.;:]%f[%s\0]") or ""):gsub("[;:]$", ".")
      end
    end
  end
end

local function read(path)
  local file <close> = assert(io.open(path))
  return (file:read("a"))
end

-- The pages as a table: name of the file → text.
function M.pages()
  local sections = M.parse(read(M.source))
  find_places(sections)
  local pages = { ["README.md"] = index(sections) }
  for _, section in ipairs(sections) do pages[M.page_of(section)] = page(section) end
  return pages
end

-- The pages on the disk that differ from what they should be, sorted: names of files.
function M.stale()
  local pages, list = M.pages(), {}
  for name, text in pairs(pages) do
    local file = io.open(M.folder .. "/" .. name)
    if not file or file:read("a") ~= text then list[#list + 1] = M.folder .. "/" .. name end
    if file then file:close() end
  end
  local pipe <close> = assert(io.popen("ls " .. M.folder .. " 2>/dev/null"))
  for name in pipe:lines() do
    if not pages[name] then list[#list + 1] = M.folder .. "/" .. name end
  end
  table.sort(list)
  return list
end

local function write()
  for _, path in ipairs(M.stale()) do
    local text = M.pages()[path:match("[^/]+$")]
    if text then
      local file <close> = assert(io.open(path, "w"))
      assert(file:write(text))
    else
      assert(os.remove(path))
    end
  end
end

if ... ~= "tools.reference" then
  if ... == "--check" then
    local list = M.stale()
    for _, path in ipairs(list) do print(path .. ": not as lua/arvak/meta.lua says; run make reference") end
    os.exit(#list == 0, true)
  end
  assert(os.execute("mkdir -p " .. M.folder))
  write()
end

return M
