-- Random events against the decisions of a shared batch (shared/claims.lua, shared/member.lua): a database, a server
-- and a few programs in some lines each. Connections are cut with transactions in them, which are carried out late or
-- never; workers are declared dead at any moment, alive or not, and programs die; some programs have other circuits.
-- check says what must hold.
-- SPDX-License-Identifier: Apache-2.0
local M = {}

local function load(path)
  return assert(loadfile(path, "t", setmetatable({ require = function(name)
    return assert(loadfile("lua/" .. string.gsub(name, "%.", "/") .. ".lua"))()
  end }, { __index = _G })))()
end

local claims = load "lua/arvak/batch/shared/claims.lua"
local member = load "lua/arvak/batch/shared/member.lua"

local SLOTS, PROGRAMS, WIDTH, RANGE = 40, 3, 5, 4

local Model = {}
Model.__index = Model

-- ---- the database: a transaction is a function that changes it as a whole, and gives an answer

local db = {}

local function fenced(model, worker, session, seq)
  local row = model.workers[worker]
  local holds = row.epoch == 1 and row.session == session and row.seq == seq - 1
  if not holds and not model.has_no_fence then return false end
  row.seq = seq
  return true
end

function db.join(model)
  model.workers[#model.workers + 1] = { epoch = 1, session = 1, seq = 0 }
  return { worker = #model.workers }
end

function db.resync(model, worker)
  local row = model.workers[worker]
  if row.epoch ~= 1 then return { is_parted = true } end
  row.session = row.session + 1
  local held = {}
  for slot, item in pairs(model.items) do
    if item.owner == worker then held[slot] = { state = item.state, job = item.job } end
  end
  return { seq = row.seq, session = row.session, held = held }
end

function db.claim_range(model, worker, session, seq, most)
  if not fenced(model, worker, session, seq) then return { is_parted = true } end
  local first = model.next_slot
  local last = math.min(first + RANGE - 1, model.total or math.huge, most or math.huge)
  if last < first then return { total = model.total } end
  model.next_slot = last + 1
  model.claims[#model.claims + 1] = { first_slot = first, last_slot = last, worker = worker }
  for slot = first, last do model.items[slot] = { owner = worker, state = "claimed" } end
  return { first = first, last = last, total = model.total }
end

function db.claim_free(model, worker, session, seq)
  if not fenced(model, worker, session, seq) then return { is_parted = true } end
  local rows = {}
  for slot, item in pairs(model.items) do
    if item.owner == 0 and #rows < RANGE then
      item.owner = worker
      rows[#rows + 1] = { slot = slot, state = item.state, job = item.job }
    end
  end
  return { rows = rows }
end

-- All of it, or nothing. circuit(slot): of the program that writes.
function db.turn(model, worker, session, seq, writes, circuit)
  if not fenced(model, worker, session, seq) then return { is_parted = true } end
  for slot in pairs(writes) do
    local item = model.items[slot]
    assert(model.has_no_fence or (item and item.owner == worker), "the fence held, and a row is another's")
  end
  for slot, write in pairs(writes) do
    local item = model.items[slot]
    assert(not item.is_ended, "an end was written over")
    item.state, item.job = write.state, write.job
    if write.state == "intent" then item.circuit = circuit(slot) end
    if write.is_end then item.owner, item.is_ended = nil, true end
  end
  return {}
end

-- Each claim after the one before has its hash.
function db.settle(model, _, list)
  local rows, agrees = {}, true
  for _, passed in ipairs(list) do
    for _, claim in ipairs(model.claims) do
      local is_whole = passed.last_slot == math.min(claim.last_slot, model.total or math.huge)
      if claim.first_slot == passed.first_slot then
        if is_whole and agrees and not model.settles_nothing then claim.hash = claim.hash or passed.chain end
        rows[#rows + 1] = { first_slot = claim.first_slot, hash = model.settles_nothing and passed.chain or claim.hash }
        agrees = claim.hash == passed.chain
      end
    end
  end
  return { rows = rows }
end

function db.read_claims(model, _, after)
  local rows = {}
  for _, claim in ipairs(model.claims) do
    if claim.first_slot > after then
      rows[#rows + 1] = { first_slot = claim.first_slot, last_slot = claim.last_slot, hash = claim.hash }
    end
  end
  return { claims = rows, total = model.total }
end

function db.read_ends(model, _, slots)
  local rows = {}
  for _, slot in ipairs(slots) do
    local item = model.items[slot]
    if item and item.is_ended then rows[#rows + 1] = { slot = slot, state = item.state, job = item.job } end
  end
  return { ends = rows }
end

function db.end_iterator(model, _, total)
  model.total = model.total or total
  for slot in pairs(model.items) do if slot > model.total then model.items[slot] = nil end end
  return { total = model.total }
end

function db.take_over(model, victim)
  local row = model.workers[victim]
  row.epoch = 2
  for _, item in pairs(model.items) do if item.owner == victim then item.owner = 0 end end
  return {}
end

-- ---- a program

local function new_program(model)
  local others_from = model.random(2) == 1 and model.others_from or SLOTS + 1
  local function circuit(slot) return slot < others_from and slot or slot + 1000 end
  return { model = model, circuit = circuit, inputs = {}, ends = {}, dirty = {}, answers = {}, reads = 0,
    member = member.new(30, 300, 0),
    claims = claims.new(function(chain, hash) return tostring((tonumber(chain) or 7) * 31 % 1000003 + hash) end,
      { follows = true }) }
end

-- Hands a transaction to the database, over the program's connection.
local function ask(self, name, on_answer, ...)
  local session = self.session
  session[#session + 1] = { name = name, on_answer = on_answer, program = self, ... }
end

-- A slot that was taken: in which state, and what is known of it.
local function admit(self, slot, row)
  local input = { slot = slot, state = "drawn" }
  self.inputs[slot] = input
  if row and row.state == "intent" then
    input.state, self.dirty[slot] = "unwritten", { state = "unknown", is_end = true }
  elseif row and row.state == "submitted" then
    input.state, input.job = "running", row.job
  else
    input.state, self.dirty[slot] = "intended", { state = "intent" }
  end
end

local function part(self)
  for slot in pairs(self.inputs) do self.claims:give_back(slot, slot) end
  self.inputs, self.dirty = {}, {}
  self.claims:part()
  self.member:part()
end

local function note_end(self, slot, state, job)
  assert(not self.ends[slot], "an end was told twice")
  self.ends[slot] = { state = state, job = job }
end

local function finish_turn(self, writes, is_done)
  for slot, write in pairs(writes) do
    local input = self.inputs[slot]
    if not is_done then
      self.dirty[slot] = self.dirty[slot] or write
    elseif write.is_end then
      self.inputs[slot] = nil
      note_end(self, slot, write.state, write.job)
    elseif write.state == "intent" and input.state == "intended" then
      input.state = "ready"
    end
  end
end

local function on_turn(self, answer)
  if answer.is_parted then return part(self) end
  self.member:commit()
  finish_turn(self, self.turn.writes, true)
end

local function own_rows(self, rows)
  for _, row in ipairs(rows) do self.claims:own_free(row.slot, row) end
end

local function on_claim(self, answer)
  if answer.is_parted then return part(self) end
  self.member:commit()
  if answer.first then return self.claims:own_range(answer.first, answer.last) end
  if answer.rows then own_rows(self, answer.rows) end
end

-- After a cut: a turn was carried out or not; a claim shows in what is held now and was not before.
local function on_resync(self, answer)
  if answer.is_parted then return part(self) end
  local kind, was_done = self.member:resync(answer.seq, answer.session)
  if kind == "turn" then
    finish_turn(self, self.turn.writes, was_done)
  elseif kind == "claim" and was_done then
    local new = {}
    for slot, row in pairs(answer.held) do
      if not self.inputs[slot] and not self.claims:is_own(slot) then
        new[#new + 1] = { slot = slot, state = row.state, job = row.job }
      end
    end
    own_rows(self, new)
  end
end

local function on_read(self, answer)
  self.reads = 0
  if answer.total and not self.claims.total then assert(self.claims:set_total(answer.total)) end
  self.claims:add_claims(answer.claims or {})
  for _, row in ipairs(answer.ends or {}) do
    if self.claims:note_end(row.slot) then note_end(self, row.slot, row.state, row.job) end
  end
end

local function connect(self, now)
  if self.member.state == "away" then
    self.member.retry_at = now
    self.member:open()
    self.member:connect(now)
    self.session, self.reads = {}, 0
    self.model.sessions[#self.model.sessions + 1] = self.session
  end
  if self.member.state == "parted" then self.member:rejoin() end
  if self.has_asked then return end
  if self.member.state == "joining" then
    self.has_asked = true
    ask(self, "join", function(answer) self.has_asked = false; self.member:join(answer.worker) end)
  elseif self.member.state == "resyncing" then
    self.has_asked = true
    ask(self, "resync", function(answer) self.has_asked = false; on_resync(self, answer) end, self.member.worker)
  end
end

local function draw(self)
  while self.claims:room() > 0 do
    if self.claims.position == SLOTS then
      assert(self.claims:end_source())
      break
    end
    local slot = self.claims.position + 1
    if not self.claims:draw(slot, self.circuit(slot)) then break end
  end
  while true do
    local slot, _, row = self.claims:take()
    if not slot then break end
    admit(self, slot, row)
  end
end

local function write(self)
  if not self.member:is_free() then return end
  local worker = self.member.worker
  if next(self.dirty) then
    self.turn = { writes = self.dirty }
    self.dirty = {}
    ask(self, "turn", function(answer) on_turn(self, answer) end, worker, self.member.session,
      self.member:begin "turn", self.turn.writes, self.circuit)
  elseif self.claims:waiting() == 0 then
    local name = self.model.random(2) == 1 and "claim_free" or "claim_range"
    ask(self, name, function(answer) on_claim(self, answer) end, worker, self.member.session,
      self.member:begin "claim", self.claims.own_total)
  end
end

local function read(self)
  if self.member.state ~= "member" or self.reads > 0 then return end
  self.reads = 1
  if not self.claims.unsettled:is_empty() then
    ask(self, "settle", function(answer) self.reads = 0; self.claims:settle(answer.rows) end, self.member.worker,
      self.claims:list_unsettled(self.model.random(3)))
  elseif self.claims:question() then
    ask(self, "end_iterator", function(answer) self.reads = 0; assert(self.claims:set_total(answer.total)) end,
      self.member.worker, SLOTS)
  elseif self.claims:needs_claims() or self.model.random(2) == 1 then
    ask(self, "read_claims", function(answer) on_read(self, answer) end, self.member.worker, self.claims.known_first)
  else
    local list = self.claims:take_unread(8)
    if #list == 0 then list = self.claims:list_others() end
    ask(self, "read_ends", function(answer) on_read(self, answer) end, self.member.worker, list)
  end
end

-- Circuits whose intent is on the disk are sent; answers come at once, or later.
local function send(self)
  if self.member.state ~= "member" then return end
  local open = 0
  for slot, input in pairs(self.inputs) do
    open = open + 1
    if input.state == "ready" and open <= WIDTH then
      local model = self.model
      model.jobs[slot] = (model.jobs[slot] or 0) + 1
      assert(model.jobs[slot] == 1, "a circuit was sent twice")
      input.state = "sent"
    end
  end
end

local function hear(self)
  for slot, input in pairs(self.inputs) do
    if input.state == "sent" and self.model.random(2) == 1 then
      input.state, input.job = "running", slot
      self.dirty[slot] = { state = "submitted", job = slot }
    elseif input.state == "running" and self.model.random(3) == 1 then
      input.state = "unwritten"
      self.dirty[slot] = { state = "completed", job = input.job, is_end = true }
    end
  end
end

-- ---- what happens

local happen = {}

-- A program that has found out that the batch has other circuits leaves it; another one comes.
local function leave(self, place)
  local program = self.programs[place]
  program.is_dead = true
  if program.member.worker then db.take_over(self, program.member.worker) end
  self.programs[place] = new_program(self)
  self.refused = self.refused + 1
end

function happen.advance(self)
  local place = self.random(PROGRAMS)
  local program = self.programs[place]
  self.clock = self.clock + 1
  if program.claims.mismatch then return leave(self, place) end
  connect(program, self.clock)
  draw(program)
  hear(program)
  read(program)
  write(program)
  send(program)
end

local function carry_out(self, transaction)
  return db[transaction.name](self, table.unpack(transaction))
end

-- The database carries out the next transaction of a session; its answer comes, or waits.
function happen.serve(self)
  local place = self.random(math.max(1, #self.sessions))
  local session = self.sessions[place]
  local transaction = session and table.remove(session, 1)
  if not transaction then
    if session and session.is_cut then table.remove(self.sessions, place) end
    return
  end
  local answer = carry_out(self, transaction)
  if session.is_cut or transaction.program.is_dead then return end
  transaction.on_answer(answer)
end

-- A connection is cut: what was in it is carried out, now or late, or never; nobody hears of it.
function happen.cut(self)
  local program = self.programs[self.random(PROGRAMS)]
  local session = program.session
  if not session or session.is_cut or program.member.state == "away" then return end
  if self.random(2) == 1 and session[1] then carry_out(self, table.remove(session, 1)) end
  if self.random(2) == 1 then while table.remove(session) do end end
  session.is_cut, program.has_asked, program.reads = true, false, 0
  program.member:lose(self.clock)
end

-- A lease has ended, or somebody says so.
function happen.take_over(self)
  if #self.workers > 0 then db.take_over(self, self.random(#self.workers)) end
end

function happen.die(self)
  local place = self.random(PROGRAMS)
  self.programs[place].is_dead = true
  self.programs[place] = new_program(self)
end

local weights = { advance = 120, serve = 120, cut = 4, take_over = 1, die = 1 }

local function is_over(self)
  if not self.total then return false end
  for slot = 1, self.total do
    if not (self.items[slot] and self.items[slot].is_ended) then return false end
  end
  for _, program in ipairs(self.programs) do
    if not program.claims:is_over() or next(program.inputs) then return false end
  end
  return true
end

-- What must hold in the end: every slot has ended, every program knows how, and the server has a job for each but those
-- that are unknown.
local function check(self)
  assert(self.total == SLOTS)
  local unknown = 0
  for slot = 1, SLOTS do
    local item = self.items[slot]
    if item.state == "unknown" then unknown = unknown + 1 end
    assert(item.state == "unknown" or self.jobs[slot] == 1, "ended without a job")
    for _, program in ipairs(self.programs) do
      assert(program.ends[slot] and program.ends[slot].state == item.state, "two programs tell different ends")
    end
  end
  local has_first, has_other = false, false
  for slot = self.others_from, SLOTS do
    has_first = has_first or self.items[slot].circuit == slot
    has_other = has_other or self.items[slot].circuit == slot + 1000
  end
  assert(not (has_first and has_other), "circuits of two batches were mixed")
  return unknown
end

-- A batch with disturbances for a while, and then to its end: how many circuits are unknown, and how many events it
-- took.
local function run_one(self)
  self.programs, self.sessions, self.workers, self.claims, self.items, self.jobs = {}, {}, {}, {}, {}, {}
  self.next_slot, self.total, self.clock, self.refused = 1, nil, 0, 0
  self.others_from = self.random(SLOTS)
  for i = 1, PROGRAMS do self.programs[i] = new_program(self) end
  local names = {}
  for name, weight in pairs(weights) do for _ = 1, weight do names[#names + 1] = name end end
  table.sort(names)
  local events, quiet_after = 0, self.random(6000)
  while not is_over(self) do
    events = events + 1
    assert(events < 200000, "it does not end")
    local name = names[self.random(#names)]
    if events < quiet_after or name == "advance" or name == "serve" then happen[name](self) end
    if events == quiet_after then   -- those that have died are declared dead
      for worker in ipairs(self.workers) do
        local is_alive
        for _, program in ipairs(self.programs) do is_alive = is_alive or program.member.worker == worker end
        if not is_alive then db.take_over(self, worker) end
      end
    end
  end
  return check(self), events
end

-- So many batches with this seed: how many circuits are unknown, how many events there were, and how many programs were
-- refused. breach: "fence", writes are not fenced; "settle", claims are not compared; both must show.
function M.run(seed, batches, breach)
  math.randomseed(seed)
  local model = setmetatable({ random = math.random, has_no_fence = breach == "fence",
    settles_nothing = breach == "settle" }, Model)
  local unknown, events, refused = 0, 0, 0
  for _ = 1, batches do
    local more_unknown, more = run_one(model)
    unknown, events, refused = unknown + more_unknown, events + more, refused + model.refused
  end
  return unknown, events, refused
end

return M
