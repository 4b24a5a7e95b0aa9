-- Seeds for qasm.c: the programs of the corpus, one file each, into the directory given.
-- SPDX-License-Identifier: Apache-2.0
local json = require "cjson"

local number = 0
for line in io.lines("spec/data/qasm-corpus.jsonl") do
  number = number + 1
  local file = assert(io.open(("%s/seed-%04d"):format(arg[1], number), "wb"))
  file:write(json.decode(line).qasm)
  file:close()
end
