-- Runs busted in the interpreter that runs this file, whatever /usr/bin/env would find.
-- SPDX-License-Identifier: Apache-2.0
require "busted.runner"({ standalone = false })
