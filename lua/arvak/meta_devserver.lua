---@meta arvak.devserver
-- What require "arvak.devserver" gives, for lua-language-server: the class is in meta.lua. Never required.
-- SPDX-License-Identifier: Apache-2.0

---@type arvak.devserver
local devserver = {}

return devserver
