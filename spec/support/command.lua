-- Runs the command arvak of this build as a person would: words, an environment, standard input, a folder of its own.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local build = os.getenv "ARVAK_BUILD" or "build"
M.program = (build:find "^/" and build or assert(os.getenv "PWD") .. "/" .. build) .. "/bin/arvak"

function M.quote(word) return "'" .. tostring(word):gsub("'", "'\\''") .. "'" end

function M.write_file(path, content)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(content))
end

function M.read_file(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- A folder that remove() removes.
function M.folder()
  local pipe <close> = assert(io.popen "mktemp -d")
  local path = assert(pipe:read "l")
  return path, function() os.execute("rm -rf " .. M.quote(path)) end
end

-- Of the caller's environment the command sees nothing that would change what it does.
local cleared = "env -u ARVAK_ADDRESS -u ARVAK_API_KEY -u ARVAK_PROFILE -u NO_COLOR -u XDG_CONFIG_HOME -u COLUMNS "

-- The shell's text for these words; environment: name → value.
function M.line(words, environment)
  local parts = { cleared }
  for name, value in pairs(environment or {}) do parts[#parts + 1] = name .. "=" .. M.quote(value) end
  parts[#parts + 1] = M.quote(M.program)
  for _, word in ipairs(words) do parts[#parts + 1] = M.quote(word) end
  return table.concat(parts, " ")
end

-- Runs a shell's text: { code, out, err }.
function M.shell(text, folder)
  local error_file, code_file = os.tmpname(), os.tmpname()
  local pipe = assert(io.popen(("cd %s; ( %s ) 2> %s; echo $? > %s"):format(M.quote(folder or "."), text,
    M.quote(error_file), M.quote(code_file))))
  local output = pipe:read "a"
  pipe:close()
  local code = math.tointeger(tonumber(M.read_file(code_file)))
  local result = { out = output, err = M.read_file(error_file), code = code }
  os.remove(error_file)
  os.remove(code_file)
  return result
end

-- Runs the command with these words: { code, out, err }. options: environment, input (a text), folder.
function M.run(words, options)
  options = options or {}
  local line = M.line(words, options.environment)
  if not options.input then return M.shell(line .. " < /dev/null", options.folder) end
  local input = os.tmpname()
  M.write_file(input, options.input)
  local result = M.shell(line .. " < " .. M.quote(input), options.folder)
  os.remove(input)
  return result
end

-- What a program of Python prints about a text on its standard input.
function M.python(program, input)
  local path = os.tmpname()
  M.write_file(path, input)
  local result = M.shell(("python3 -c %s < %s"):format(M.quote(program), M.quote(path)))
  os.remove(path)
  assert(result.code == 0, result.err)
  return result.out
end

return M
