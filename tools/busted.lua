-- Runs busted in the interpreter that runs this file, whatever /usr/bin/env would find or .busted names.
-- SPDX-License-Identifier: Apache-2.0
table.insert(arg, 1, "--ignore-lua")
require "busted.runner"({ standalone = false })
