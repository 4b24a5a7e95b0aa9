-- Where a journal lies: its file, the lock file beside it, and the write-ahead log that SQLite keeps there.
-- Invariant: as long as a place is held and check says nothing, the name that the user gave leads to the file that was
-- opened, and nobody else writes a batch into it. No file of the journal is opened here: see core.file_info.
-- SPDX-License-Identifier: Apache-2.0
local core = require "arvak.core"

local M = {}

local LOCK, LOG = "-lock", "-wal"
local IS_BEGINNING, HAS_BEGUN = 0, 1   -- sizes of the lock file: of the log that the file has announced
local IN_USE = "another process is using it, or another batch of this one"
M.IN_USE = IN_USE   -- the message

local Place = {}
Place.__index = Place

-- What is there, if it is no file: a message, or nil.
local function find_other_kind(info)
  if info.kind == "directory" then return "it is a directory" end
  if info.kind ~= "file" then return "it is no regular file" end
end

-- A log that a database has left behind here: a message, or nil. What it knows would be lost with a new database.
local function find_orphan(name)
  local log = core.file_info(name .. LOG)
  if not log or log.size == 0 then return nil end
  return string.format("it is missing, and its log %s is there: bring it back, or remove the log to begin anew",
    name .. LOG)
end

-- Why no database can be here, or nil.
local function find_obstacle(name)
  local info, message, is_missing = core.file_info(name)
  if is_missing then
    local ok
    message = find_orphan(name)
    if message then return message end
    ok, message = core.create_file(name)
    if ok then return nil end
  end
  if not info then return message end
  local _
  _, message = core.check_access(name)
  return find_other_kind(info) or message
end

local function lock(real)
  local held, message, is_in_use = core.lock_file(real .. LOCK)
  if held then return held end
  if is_in_use then return nil, IN_USE end
  return nil, string.format("its lock file %s: %s", real .. LOCK, message)
end

-- Whether a log is beside the file, or was about to be, and how the process ended is no loss.
local function has_log(real, lock_size)
  local log = core.file_info(real .. LOG)
  return (log and log.size > 0) or lock_size == IS_BEGINNING
end

-- Takes the place of this name, where an empty file is made if there is none; nil and a message. What leads to the same
-- file by another name has the same lock; SQLite would give a hard link a log of its own, so there may be none.
function M.take(path)
  local name = core.full_path(path) or path
  local obstacle = find_obstacle(name)
  if obstacle then return nil, obstacle end
  local real, message = core.real_path(name)
  if not real then return nil, message end
  local held
  held, message = lock(real)
  if not held then return nil, message end
  local self = setmetatable({ name = name, path = real, lock = held, is_beginning = false }, Place)
  local info
  info, message = core.file_info(name)
  if info and info.links > 1 then
    info, message = nil, "it has several names (hard links), and its log stands beside one of them: leave it one"
  end
  if not info then
    self:leave()
    return nil, message
  end
  self.id, self.had_log = info.id, has_log(real, held:found_size())
  return self
end

-- What is wrong with a file whose log has gone.
function M.lost_log(path)
  return string.format("its log %s-wal is missing, and with it what the last run has submitted and received: the two "
    .. "files belong together. Bring it back, or let on_unknown = \"resubmit\" submit again what the journal does not "
    .. "know", path)
end

-- The same for who only reads the file of this name, before he opens it.
function M.has_log(path)
  local real = core.real_path(path)
  local lock_info = real and core.file_info(real .. LOCK)
  return real ~= nil and has_log(real, lock_info and lock_info.size)
end

-- What a reader must know: why the journal cannot be read now, or nil. Looking makes no file.
function M.find_obstacle_to_read(path)
  local info, message = core.file_info(path)
  if not info then return message end
  local real = core.real_path(path)
  if real and core.is_locked(real .. LOCK) then return IN_USE end
  return find_other_kind(info)
end

-- Why the file may not be read and written, or nil.
function M.find_missing_right(path)
  local _, message = core.check_access(path)
  return message
end

-- A log is about to be announced. Who crashes before it has begun has lost nothing, even if somebody then looks at the
-- journal with a program that removes the empty log.
function Place:announce_log()
  self.is_beginning = true
  self.lock:set_size(IS_BEGINNING)
end

-- The log has begun. The lock file goes with this run.
function Place:begin_log()
  self.has_begun, self.is_beginning = true, false
  self.lock:set_size(HAS_BEGUN)
  self:remember()
end

-- From now on the file and its log are what they are now: call it after the file itself was written.
function Place:remember()
  local info, log = core.file_info(self.path), core.file_info(self.path .. LOG)
  self.size, self.log_id = info and info.size, log and log.id
end

-- What has happened to the place, or nil.
function Place:check()
  local info, message = core.file_info(self.name)
  if not info then return string.format("it was removed or moved while it was in use (%s)", message) end
  if info.id ~= self.id then return "another file was put in its place while it was in use" end
  if info.size ~= self.size then return "another program has changed it while it was in use" end
  local log = core.file_info(self.path .. LOG)
  if not log or log.id ~= self.log_id then
    return string.format("its log %s was removed while it was in use", self.path .. LOG)
  end
  if not self.lock:is_held() then
    return string.format("its lock file %s was removed while it was in use", self.path .. LOCK)
  end
end

-- Lets others in. What the lock file says stays there while a log is announced that has not begun, by an earlier run or
-- by this one. Idempotent.
function Place:leave()
  self.lock:close(self.is_beginning or (not self.has_begun and self.lock:found_size() ~= nil))
end

return M
