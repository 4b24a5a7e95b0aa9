-- A worker's place in a shared batch: its connection, its row, and the one write that is under way. Pure: time and
-- answers are passed in.
-- Invariant: one write at a time, which has the next seq; of a write that was cut off nothing is believed before the
-- row was locked and moved on; a worker that was taken over writes nothing more under its old name.
--
--   state       what is known                            event → state
--   away        no connection                            open → opening
--   opening     one is being made                        connect → joining, or resyncing where there is a row;
--                                                        lose → away
--   joining     a row is being made                      join → member; lose → away
--   resyncing   the row is locked and read               resync → member; part → parted; lose → away
--   member      it may write; one write is under way     begin, commit, refuse (rolled back) → member;
--               or none                                  part → parted; lose → away
--   parted      another program has its slots            rejoin → joining; lose → away
--   left        it has said that it ends
--
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0   -- seconds between two connections
local SAFE = 0.75   -- of the lease, after which a worker without a sign of life sends nothing more

local Member = {}
Member.__index = Member

-- lease, reconnect: seconds.
function M.new(lease, reconnect, now)
  return setmetatable({ state = "away", lease = lease, reconnect = reconnect, epoch = 1, session = 1, seq = 0,
    pause = FIRST_PAUSE, retry_at = now, away_since = now, parts = 0, connections = 0 }, Member)
end

-- ---- the connection

function Member:may_open(now) return self.state == "away" and now >= self.retry_at end

function Member:open()
  assert(self.state == "away")
  self.state = "opening"
end

function Member:connect(now)
  assert(self.state == "opening")
  self.connected_at, self.connections = now, self.connections + 1
  self.state = self.worker and "resyncing" or "joining"
end

-- The connection is lost, or none could be made. What was under way may have been carried out.
function Member:lose(now)
  if self.state == "left" then return end
  self.away_since = self.away_since or now
  self.retry_at, self.pause = now + self.pause, math.min(2 * self.pause, LONGEST_PAUSE)
  self.state, self.connected_at = "away", nil
end

-- Whether the database has been away for longer than may be borne.
function Member:is_lost(now) return self.away_since ~= nil and now - self.away_since >= self.reconnect end

local function settle(self)
  self.state, self.away_since, self.pause = "member", nil, FIRST_PAUSE
end

function Member:join(worker)
  assert(self.state == "joining")
  self.worker, self.epoch, self.session, self.seq, self.under_way = worker, 1, 1, 0, nil
  settle(self)
end

-- The row has this seq, and a new session. What became of the write that was under way: its kind, and whether it was
-- carried out; or nil.
function Member:resync(seq, session)
  assert(self.state == "resyncing")
  local write = self.under_way
  self.seq, self.session, self.under_way = seq, session, nil
  settle(self)
  if write then return write.kind, seq >= write.seq end
end

-- ---- writes

-- Whether a write may begin.
function Member:is_free() return self.state == "member" and self.under_way == nil end

-- The seq of a write that begins.
function Member:begin(kind)
  assert(self:is_free())
  self.under_way = { kind = kind, seq = self.seq + 1 }
  return self.seq + 1
end

-- That of a write that follows whatever is under way.
function Member:seq_after() return (self.under_way and self.under_way.seq or self.seq) + 1 end

function Member:commit()
  self.seq, self.under_way = self.under_way.seq, nil
end

-- The write was rolled back, for certain.
function Member:refuse() self.under_way = nil end

-- Its row has another epoch. Until it has a new one it is away.
function Member:part(now)
  self.state, self.worker, self.under_way, self.parts = "parted", nil, nil, self.parts + 1
  self.away_since = self.away_since or now
end

function Member:rejoin()
  assert(self.state == "parted")
  self.state = "joining"
end

function Member:leave() self.state = "left" end

-- ---- what it may do

-- Whether circuits may be sent. beat_age: seconds since the last sign of life was sent that the database has taken.
function Member:may_send(beat_age)
  return self.state == "member" and beat_age ~= nil and beat_age < SAFE * self.lease
end

-- For how long its connection has stood: nobody is declared dead by one that has not stood for a lease, since after an
-- outage every lease has expired.
function Member:stood_for(now) return self.connected_at and now - self.connected_at or 0.0 end

return M
