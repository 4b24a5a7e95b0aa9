-- What the answers of a batch stream mean; of use to whoever reads one.
-- Invariant: a submission without an answer may have been executed, unless the error of its stream rules that out.
-- SPDX-License-Identifier: Apache-2.0
local errors = require "arvak.base.errors"

local M = {}

-- An error carries no code; its prefix is the contract (contract 2.4).
local function kind_of(message)
  if message:find("^Circuit parsing failed:") or message:find("^Circuit rejected:") then return "invalid_circuit" end
  if message:find("^Backend not found:") then return "backend_not_found" end
  return "rpc"
end

-- The error that the server gave in place of a job.
function M.refusal(message, target)
  return errors.new(kind_of(message), message, { rpc = "SubmitBatchStream", target = target, attempts = 1 })
end

-- A submission about which the server said nothing before the stream had ended, for this reason if any.
function M.unanswered(cause, target)
  return errors.new(cause and cause.kind or "rpc", "the stream ended before the server had answered this submission",
    { rpc = "SubmitBatchStream", target = target, maybe_executed = not cause or cause.maybe_executed, cause = cause })
end

return M
