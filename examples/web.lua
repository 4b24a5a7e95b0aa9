-- A web server around one client, on cqueues sockets. POST /submit?shots=100 with a circuit as the body gives the job's
-- id; GET /result/ID gives its counts, as JSON. Usage: web.lua [PORT], by default 8080; port 0 is chosen.
--   curl --data-binary @bell.qasm localhost:8080/submit
--   curl localhost:8080/result/ID
local arvak = require "arvak"
local cjson = require "cjson"
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local MAX_BODY, PATIENCE = 1 << 20, 30   -- bytes; seconds for one step of a peer
local client = arvak.connect(os.getenv("ARVAK_ADDRESS") or "embedded")

local status_of = {
  invalid_circuit = 400, backend_not_found = 400, job_not_found = 404, job_not_completed = 202,
  resource_exhausted = 429, timeout = 504, unavailable = 503,
}

local function failure(err)
  return status_of[err.kind] or 500, { error = err.kind, message = err.message }
end

local function submit(body, query)
  local shots = math.tointeger(query:match("shots=(%d+)") or 1024)
  local job_id, err = client:submit_qasm(body, "simulator", shots)
  if not job_id then return failure(err) end
  return 201, { job_id = job_id }
end

local function result(job_id)
  local found, err = client:get_job_result(job_id)
  if not found then return failure(err) end
  return 200, { job_id = job_id, shots = found.shots, counts = found.counts }
end

local function answer(method, path, query, body)
  local job_id = path:match("^/result/([%w-]+)$")
  if method == "POST" and path == "/submit" then return submit(body, query) end
  if method == "GET" and job_id then return result(job_id) end
  return 404, { error = "not_found", message = "expected POST /submit or GET /result/ID" }
end

-- One request of HTTP/1: method, path, query, body; nil when the peer has gone or sends something else.
local function read_request(peer)
  local method, path, query = (peer:read("*l") or ""):match("^(%u+) ([^ ?]+)%??([^ ]*) HTTP/1%.[01]\r?$")
  if not method then return nil end
  local length = 0
  for line in peer:lines("*l") do
    if line:match("^\r?$") then break end
    length = tonumber(line:lower():match("^content%-length: *(%d+)\r?$")) or length
  end
  if length > MAX_BODY then return nil end
  return method, path, query, length > 0 and peer:read(length) or ""
end

local function serve(peer)
  peer:setmode("b", "bf")
  peer:settimeout(PATIENCE)
  peer:onerror(function(_, _, code) return code end)   -- a peer that goes away is no error of ours
  local method, path, query, body = read_request(peer)
  if method and body then
    local status, value = answer(method, path, query, body)
    local text = cjson.encode(value) .. "\n"
    peer:write(("HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s")
      :format(status, #text, text))
    peer:flush()
  end
  peer:close()
end

local controller = cqueues.new()
local listener = assert(socket.listen { host = "127.0.0.1", port = tonumber(arg[1] or 8080) })
assert(listener:listen())
print("listening on http://127.0.0.1:" .. select(3, listener:localname()))
io.stdout:flush()

require("arvak.cqueues").attach(controller)
controller:wrap(function()
  for peer in listener:clients() do
    controller:wrap(function()
      local ok, err = pcall(serve, peer)
      if not ok then
        io.stderr:write(tostring(err), "\n")
        peer:close()
      end
    end)
  end
end)
assert(controller:loop())
