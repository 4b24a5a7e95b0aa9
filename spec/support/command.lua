-- Runs the command arvak as a person would: installed below a prefix of its own, with words, an environment, standard
-- input and a folder.
-- SPDX-License-Identifier: Apache-2.0
local helper = require "spec.helper"

local M = {}

M.bell = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0],q[1];\nmeasure q -> c;\n'
M.rotation = "OPENQASM 3.0;\ninput float theta;\nqubit q;\nbit c;\nry(theta) q;\nc = measure q;\n"

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

-- ---- the installation

local removers = setmetatable({}, { __gc = function(list) for _, remove in ipairs(list) do remove() end end })

-- Installs what is built below a prefix that goes with this Lua state, once; builds nothing (-o all). The prefix.
function M.prefix()
  if not M.installed then
    local prefix, remove = M.folder()
    removers[1] = remove
    local result = M.shell(("make -s -o all install SETUP=: BUILD=%s PREFIX=%s >&2"):format(
      M.quote(os.getenv "ARVAK_BUILD" or "build"), M.quote(prefix)))
    assert(result.code == 0, result.err)
    M.installed = prefix
  end
  return M.installed
end

-- Of the caller's environment the command sees nothing that would change what it does, or where its modules are.
local cleared = "env -u ARVAK_ADDRESS -u ARVAK_API_KEY -u ARVAK_PROFILE -u NO_COLOR -u XDG_CONFIG_HOME -u COLUMNS "
  .. "-u LUA_PATH -u LUA_CPATH -u LUA_PATH_5_4 -u LUA_CPATH_5_4 "

-- The shell's text for these words; environment: name → value. Nothing is written below the caller's home. program:
-- that which runs instead of the command, as a shell reads it, or nil.
function M.line(words, environment, program)
  local parts = { cleared, "XDG_STATE_HOME=" .. M.quote(M.prefix() .. "/state") }
  for name, value in pairs(environment or {}) do parts[#parts + 1] = name .. "=" .. M.quote(value) end
  parts[#parts + 1] = program or M.quote(M.prefix() .. "/bin/arvak")
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

-- ---- a desk: what a test has before it, a folder with circuits and maybe a server

local Desk = {}
Desk.__index = Desk

-- Lays out a desk before each test of a spec, and clears it after each. start: makes a server of options; before_each
-- and after_each are the spec's. desk.folder holds bell.qasm, rotation.qasm and bad.qasm.
function M.desk(start, before_each, after_each)
  local desk = setmetatable({ start = start }, Desk)
  before_each(function()
    desk.folder, desk.remove = M.folder()
    M.write_file(desk.folder .. "/bell.qasm", M.bell)
    M.write_file(desk.folder .. "/rotation.qasm", M.rotation)
    M.write_file(desk.folder .. "/bad.qasm", "OPENQASM 3.0;\nqubit q;\nhadamard q;\n")
  end)
  after_each(function()
    if desk.server then desk.server:stop() end
    desk.server = nil
    desk.remove()
  end)
  return desk
end

function Desk:open(options)
  self.server = self.start(options)
  return self.server
end

-- What the command finds in its environment on this desk: its server, and states below the folder.
function Desk:environment(more)
  local all = { ARVAK_ADDRESS = self.server and self.server.address, XDG_STATE_HOME = self.folder .. "/state" }
  for name, value in pairs(more or {}) do all[name] = value end
  return all
end

function Desk:run(...)
  return M.run({ ... }, { folder = self.folder, environment = self:environment() })
end

-- Runs the command, to which a Ctrl-C comes at a moment of spec/support/interrupted.lua.
function Desk:interrupt_at(moment, ...)
  local program = (os.getenv "LUA" or "lua5.4") .. ' "$spec"/spec/support/interrupted.lua'
  local line = M.line({ M.prefix(), moment, ... }, self:environment(), program)
  return M.shell(("spec=$PWD; cd %s; %s"):format(M.quote(self.folder), line))
end

-- The output of a result that went well and said nothing on standard error.
function M.assert_ok(result)
  assert(result.code == 0 and result.err == "", ("exit code %s: %s"):format(result.code, result.err))
  return result.out
end

-- Checks that a result ended with this code, and said why: in lines that begin with the command's name, and hold this
-- pattern and nothing of Lua's.
function M.assert_refused(result, code, pattern)
  local err = result.err
  assert(result.code == code, ("exit code %s, not %d: %s"):format(result.code, code, err))
  assert(err:find "^arvak: " and err:find(pattern), ("%s is not in: %s"):format(pattern, err))
  assert(not err:find "traceback" and not err:find "%.lua:%d", err)
end

-- So many different programs in a folder of the desk, so that each job is told from the others by its circuit.
function Desk:write_circuits(count, folder)
  folder = self.folder .. "/" .. (folder or "circuits")
  assert(os.execute("mkdir -p " .. M.quote(folder)))
  for i = 1, count do M.write_file(("%s/c%05d.qasm"):format(folder, i), M.bell .. "// " .. i .. "\n") end
end

-- ---- a command that runs beside the test

local Process = {}
Process.__index = Process

-- Starts the command with these words on a desk that has a server.
function Desk:begin(...)
  local process = setmetatable({ folder = M.folder(), before = #self.server:jobs(), server = self.server }, Process)
  local shell = "cd %s; { ( echo $(exec sh -c 'echo $PPID') > %s/pid.new; mv %s/pid.new %s/pid; exec %s ) > %s/log "
    .. "2>&1; echo $? > %s/code.new; mv %s/code.new %s/code; } &"
  local at = M.quote(process.folder)
  local line = M.line({ ... }, self:environment())
  assert(os.execute(shell:format(M.quote(self.folder), at, at, at, line, at, at, at, at)))
  helper.eventually(function() return io.open(process.folder .. "/pid") end)
  return process
end

-- Waits until so many more jobs were made than before.
function Process:await_jobs(count)
  helper.eventually(function() return #self.server:jobs() >= self.before + count end, 60)
end

-- What it printed and its exit code, once it has ended.
function Process:outcome()
  helper.eventually(function() return io.open(self.folder .. "/code") end, 60)
  local log, code = M.read_file(self.folder .. "/log"), M.read_file(self.folder .. "/code")
  os.execute("rm -r " .. M.quote(self.folder))
  return log, math.tointeger(tonumber(code))
end

-- Sends it a signal: its outcome.
function Process:signal(name)
  assert(os.execute(("kill -%s %s"):format(name, M.read_file(self.folder .. "/pid"):match "%d+")))
  return self:outcome()
end

return M
