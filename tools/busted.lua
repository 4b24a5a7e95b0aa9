-- Runs busted in the interpreter that runs this file, whatever /usr/bin/env would find or .busted names.
-- SPDX-License-Identifier: Apache-2.0

-- Lua's own os.tmpname knows /tmp only; the runner removes what is in $TMPDIR, however a spec ends.
local folder, new_name = os.getenv "TMPDIR", os.tmpname
if folder then
  function os.tmpname() -- luacheck: ignore
    local unique = new_name()
    os.remove(unique)
    local path = folder .. unique:match "/[^/]*$"
    assert(io.open(path, "w")):close()
    return path
  end
end

table.insert(arg, 1, "--ignore-lua")
require "busted.runner"({ standalone = false })
