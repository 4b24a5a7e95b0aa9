-- Holds proto/arvak.proto to docs/contract.md, section 1: the compiled descriptor, read back by protoc, is compared
-- with the tables below, which were written from the contract and not from the .proto.
-- SPDX-License-Identifier: Apache-2.0

local PACKAGE = ".arvak.v1."

-- name = number : type, in the order of the contract. "oneof:NAME" puts a field into a oneof.
local MESSAGES = {
  CircuitPayload = { "qasm3 = 1 : string oneof:format", "arvak_ir_json = 2 : string oneof:format" },
  Job = {
    "job_id = 1 : string", "state = 2 : JobState", "submitted_at = 3 : int64", "started_at = 4 : int64",
    "completed_at = 5 : int64", "backend_id = 6 : string", "shots = 7 : uint32", "error_message = 8 : string",
  },
  JobResult = {
    "job_id = 1 : string", "counts = 2 : map<string,uint64>", "shots = 3 : uint32", "execution_time_ms = 4 : uint64",
    "metadata_json = 5 : string",
  },
  BackendInfo = {
    "backend_id = 1 : string", "name = 2 : string", "is_available = 3 : bool", "max_qubits = 4 : uint32",
    "max_shots = 5 : uint32", "description = 6 : string", "supported_gates = 7 : repeated string",
    "topology_json = 8 : string",
  },
  SubmitJobRequest = {
    "circuit = 1 : CircuitPayload", "backend_id = 2 : string", "shots = 3 : uint32", "optimization_level = 4 : uint32",
  },
  SubmitJobResponse = { "job_id = 1 : string" },
  BatchJobRequest = { "circuit = 1 : CircuitPayload", "shots = 2 : uint32", "optimization_level = 3 : uint32" },
  SubmitBatchRequest = { "backend_id = 1 : string", "jobs = 2 : repeated BatchJobRequest" },
  SubmitBatchResponse = { "job_ids = 1 : repeated string" },
  GetJobStatusRequest = { "job_id = 1 : string" },
  GetJobStatusResponse = { "job = 1 : Job" },
  GetJobResultRequest = { "job_id = 1 : string" },
  GetJobResultResponse = { "result = 1 : JobResult" },
  CancelJobRequest = { "job_id = 1 : string" },
  CancelJobResponse = { "success = 1 : bool", "message = 2 : string" },
  ListBackendsRequest = {},
  ListBackendsResponse = { "backends = 1 : repeated BackendInfo" },
  GetBackendInfoRequest = { "backend_id = 1 : string" },
  GetBackendInfoResponse = { "backend = 1 : BackendInfo" },
  WatchJobRequest = { "job_id = 1 : string" },
  JobStatusUpdate = {
    "job_id = 1 : string", "state = 2 : JobState", "timestamp = 3 : int64", "error_message = 4 : string",
  },
  StreamResultsRequest = { "job_id = 1 : string", "chunk_size = 2 : uint32" },
  ResultChunk = {
    "job_id = 1 : string", "counts = 2 : map<string,uint64>", "is_final = 3 : bool", "chunk_index = 4 : uint32",
    "total_chunks = 5 : uint32",
  },
  BatchJobSubmission = {
    "circuit = 1 : CircuitPayload", "backend_id = 2 : string", "shots = 3 : uint32", "client_request_id = 4 : string",
    "optimization_level = 5 : uint32",
  },
  BatchJobResult = {
    "job_id = 1 : string", "client_request_id = 2 : string", "submitted = 3 : string oneof:result",
    "completed = 4 : JobResult oneof:result", "error = 5 : string oneof:result",
  },
}

local ENUMS = {
  JobState = {
    "JOB_STATE_UNSPECIFIED = 0", "JOB_STATE_QUEUED = 1", "JOB_STATE_RUNNING = 2", "JOB_STATE_COMPLETED = 3",
    "JOB_STATE_FAILED = 4", "JOB_STATE_CANCELED = 5", "JOB_STATE_RESULT_EXPIRED = 6",
  },
}

local METHODS = {
  "SubmitJob(SubmitJobRequest) -> SubmitJobResponse",
  "SubmitBatch(SubmitBatchRequest) -> SubmitBatchResponse",
  "GetJobStatus(GetJobStatusRequest) -> GetJobStatusResponse",
  "GetJobResult(GetJobResultRequest) -> GetJobResultResponse",
  "CancelJob(CancelJobRequest) -> CancelJobResponse",
  "ListBackends(ListBackendsRequest) -> ListBackendsResponse",
  "GetBackendInfo(GetBackendInfoRequest) -> GetBackendInfoResponse",
  "WatchJob(WatchJobRequest) -> stream JobStatusUpdate",
  "StreamResults(StreamResultsRequest) -> stream ResultChunk",
  "SubmitBatchStream(stream BatchJobSubmission) -> stream BatchJobResult",
}

-- Reads protobuf's text format: every field becomes a list of its values, as all of them may repeat.
local function parse_text(text)
  local root = {}
  local stack = { root }
  local function add(name, value)
    local node = stack[#stack]
    node[name] = node[name] or {}
    table.insert(node[name], value)
  end
  for line in text:gmatch("[^\n]+") do
    local open, name, value = line:match("^%s*([%w_]+) {$"), line:match("^%s*([%w_]+): (.+)$")
    if open then
      local child = {}
      add(open, child)
      stack[#stack + 1] = child
    elseif name then
      add(name, value:match('^"(.*)"$') or value)
    elseif line:match("^%s*}$") then
      stack[#stack] = nil
    else
      error("not understood: " .. line)
    end
  end
  return root
end

local function run(command)
  local pipe = assert(io.popen(command .. " && echo '# done'"))
  local text = pipe:read("a")
  pipe:close()
  return assert(text:match("^(.*)# done\n$"), command .. " failed")
end

local function read_descriptor()
  local includes = run("pkg-config --variable=prefix protobuf 2>/dev/null || echo /usr"):gsub("%s", "") .. "/include"
  local set = parse_text(run(("protoc --proto_path=proto --descriptor_set_out=/dev/stdout arvak.proto | "
    .. "protoc --proto_path=%s --decode=google.protobuf.FileDescriptorSet google/protobuf/descriptor.proto")
    :format(includes)))
  assert.equal(1, #set.file)
  return set.file[1]
end

local function only_keys(node, allowed, where)
  for key in pairs(node) do
    assert(allowed[key], ("%s has a %s, which the contract does not know"):format(where, key))
  end
end

local function set_of(...)
  local set = {}
  for _, key in ipairs({ ... }) do set[key] = true end
  return set
end

local function short(type_name)
  assert(type_name:sub(1, #PACKAGE) == PACKAGE, type_name .. " is of another package")
  return type_name:sub(#PACKAGE + 1)
end

-- "map<k,v>" if the field's type is an entry message nested in this one.
local function map_type(message, field)
  for _, nested in ipairs(message.nested_type or {}) do
    local is_entry = nested.options and nested.options[1].map_entry[1] == "true"
    if short(field.type_name[1]) == message.name[1] .. "." .. nested.name[1] and is_entry then
      local key, value = nested.field[1], nested.field[2]
      assert.equal("key 1 value 2", ("%s %s %s %s"):format(key.name[1], key.number[1], value.name[1], value.number[1]))
      return ("map<%s,%s>"):format(key.type[1]:lower():sub(6), value.type[1]:lower():sub(6))
    end
  end
  return nil
end

local FIELD_KEYS = set_of("name", "number", "label", "type", "type_name", "oneof_index", "json_name")

local function describe_field(message, field)
  only_keys(field, FIELD_KEYS, message.name[1] .. "." .. field.name[1])
  local kind = field.type[1]:lower():sub(6)
  local repeated = field.label[1] == "LABEL_REPEATED"
  if kind == "message" or kind == "enum" then
    local map = map_type(message, field)
    if map then
      assert.is_true(repeated)
      kind, repeated = map, false
    else
      kind = short(field.type_name[1])
    end
  end
  local oneof = field.oneof_index and message.oneof_decl[tonumber(field.oneof_index[1]) + 1].name[1]
  return ("%s = %s : %s%s%s"):format(field.name[1], field.number[1], repeated and "repeated " or "", kind,
    oneof and " oneof:" .. oneof or "")
end

local function describe_method(method)
  only_keys(method, set_of("name", "input_type", "output_type", "client_streaming", "server_streaming"), method.name[1])
  local function stream(flag) return flag and flag[1] == "true" and "stream " or "" end
  return ("%s(%s%s) -> %s%s"):format(method.name[1], stream(method.client_streaming), short(method.input_type[1]),
    stream(method.server_streaming), short(method.output_type[1]))
end

local function sorted(list)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy
end

describe("the wire interface", function()
  local file

  setup(function() file = read_descriptor() end)

  it("is a proto3 file of package arvak.v1 without imports or options", function()
    only_keys(file, set_of("name", "package", "message_type", "enum_type", "service", "syntax"), "the file")
    assert.equal("arvak.v1", file.package[1])
    assert.equal("proto3", file.syntax[1])
  end)

  for name, fields in pairs(MESSAGES) do
    it("has message " .. name .. " with the contract's fields and no others", function()
      for _, message in ipairs(file.message_type) do
        if message.name[1] == name then
          only_keys(message, set_of("name", "field", "nested_type", "oneof_decl"), name)
          local found = {}
          for _, field in ipairs(message.field or {}) do found[#found + 1] = describe_field(message, field) end
          assert.same(sorted(fields), sorted(found))
          return
        end
      end
      error("no message " .. name)
    end)
  end

  it("has no other message, and no nested one but the entries of its maps", function()
    for _, message in ipairs(file.message_type) do
      assert(MESSAGES[message.name[1]], "unknown message " .. message.name[1])
      local maps = 0
      for _, field in ipairs(MESSAGES[message.name[1]]) do maps = maps + (field:find("map<", 1, true) and 1 or 0) end
      assert.equal(maps, #(message.nested_type or {}))
      local oneofs = set_of()
      for _, field in ipairs(MESSAGES[message.name[1]]) do
        local oneof = field:match("oneof:(%w+)")
        if oneof then oneofs[oneof] = true end
      end
      for _, oneof in ipairs(message.oneof_decl or {}) do
        assert(oneofs[oneof.name[1]], "unknown oneof " .. oneof.name[1])
      end
    end
  end)

  it("has enum JobState with the contract's values and no other enum", function()
    assert.equal(1, #file.enum_type)
    local enum = file.enum_type[1]
    only_keys(enum, set_of("name", "value"), "the enum")
    local found = {}
    for _, value in ipairs(enum.value) do found[#found + 1] = value.name[1] .. " = " .. value.number[1] end
    assert.same(ENUMS[enum.name[1]], found)
  end)

  it("has service ArvakService with the contract's RPCs and no others", function()
    assert.equal(1, #file.service)
    local service = file.service[1]
    only_keys(service, set_of("name", "method"), "the service")
    assert.equal("ArvakService", service.name[1])
    local found = {}
    for _, method in ipairs(service.method) do found[#found + 1] = describe_method(method) end
    assert.same(sorted(METHODS), sorted(found))
  end)
end)
