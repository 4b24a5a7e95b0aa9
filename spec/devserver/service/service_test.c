/* The service over a real connection: statuses, limits, streams, faults, and an end within a second.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/timer.h"
#include "faults/fault.h"
#include "jobs/jobs.h"
#include "peer.h"
#include "rpc/listener.h"
#include "service/service.h"

#define BELL "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];"

/* One server and one client, with the last status and answer. */
static service *server;
static peer client;
static grpc_status_code code;
static char text[512], pushback[16];

static void start_with(server_options options, const char *fault_text) {
  fault f;
  char problem[512];
  if (fault_text && !fault_parse(&f, fault_text, problem, sizeof problem)) fail_msg("%s", problem);
  options.faults = &f;
  options.fault_count = fault_text ? 1 : 0;
  options.address = options.unix_path ? NULL : "127.0.0.1:0";
  server = service_start(&options, problem, sizeof problem);
  if (!server) fail_msg("%s", problem);
  client = peer_connect(service_address(server));
}

static server_options unlimited(void) {
  server_options options;
  options_init(&options);
  options.rate_limit = options.max_concurrent_jobs = options.max_queued_jobs = 0;
  return options;
}

static int end(void **state) {
  (void)state;
  if (!server) return 0;
  peer_close(&client);
  service_free(server);
  server = NULL;
  return 0;
}

static void note_end(peer_call *c) {
  code = peer_finish(c);
  memcpy(text, c->text, sizeof text);
  memcpy(pushback, c->pushback, sizeof pushback);
  peer_free(c);
}

/* One unary call; the answer, or NULL. */
static void *call_for(const char *rpc, const void *request, const ProtobufCMessageDescriptor *type, double seconds) {
  peer_call *c = peer_start(&client, rpc, seconds, NULL);
  peer_write(c, request, DEADLINE_S);
  peer_half_close(c);
  void *answer = peer_read(c, type);
  note_end(c);
  return answer;
}

static void call_bytes(const char *rpc, const char *bytes, size_t length, const char *key) {
  peer_call *c = peer_start(&client, rpc, DEADLINE_S, key);
  peer_write_bytes(c, bytes, length, DEADLINE_S);
  peer_half_close(c);
  void *answer = peer_read(c, &arvak__v1__list_backends_response__descriptor);
  if (answer) protobuf_c_message_free_unpacked(answer, NULL);
  note_end(c);
}

static void drop_message(void *message) { protobuf_c_message_free_unpacked(message, NULL); }

static Arvak__V1__CircuitPayload payload(const char *qasm) {
  Arvak__V1__CircuitPayload program = ARVAK__V1__CIRCUIT_PAYLOAD__INIT;
  program.format_case = ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_QASM3;
  program.qasm3 = (char *)qasm;
  return program;
}

/* True with the id when the job was accepted. */
static bool submit_as(const char *qasm, unsigned level, char *id) {
  Arvak__V1__CircuitPayload program = payload(qasm);
  Arvak__V1__SubmitJobRequest request = ARVAK__V1__SUBMIT_JOB_REQUEST__INIT;
  request.circuit = &program;
  request.backend_id = (char *)"simulator";
  request.shots = 100;
  request.optimization_level = level;
  Arvak__V1__SubmitJobResponse *answer =
      call_for("SubmitJob", &request, &arvak__v1__submit_job_response__descriptor, DEADLINE_S);
  if (!answer) return false;
  if (id) snprintf(id, 37, "%s", answer->job_id);
  drop_message(answer);
  return true;
}

static bool submit(char *id) { return submit_as(BELL, 0, id); }

static job_state status_of(const char *id) {
  Arvak__V1__GetJobStatusRequest request = ARVAK__V1__GET_JOB_STATUS_REQUEST__INIT;
  request.job_id = (char *)id;
  Arvak__V1__GetJobStatusResponse *answer =
      call_for("GetJobStatus", &request, &arvak__v1__get_job_status_response__descriptor, DEADLINE_S);
  if (!answer) return JOB_UNSPECIFIED;
  job_state found = (job_state)answer->job->state;
  drop_message(answer);
  return found;
}

static void wait_for_state(const char *id, job_state wanted) {
  for (int i = 0; i < 2000 && status_of(id) != wanted; i++) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  assert_int_equal(status_of(id), wanted);
}

/* The counts as "00=52 11=48 ", or "" with the status noted. */
static void result_of(const char *id, char *out, size_t size) {
  Arvak__V1__GetJobResultRequest request = ARVAK__V1__GET_JOB_RESULT_REQUEST__INIT;
  request.job_id = (char *)id;
  Arvak__V1__GetJobResultResponse *answer =
      call_for("GetJobResult", &request, &arvak__v1__get_job_result_response__descriptor, DEADLINE_S);
  *out = '\0';
  if (!answer) return;
  size_t at = 0;
  for (size_t i = 0; i < answer->result->n_counts && at < size; i++) {
    at += (size_t)snprintf(out + at, size - at, "%s=%d ", answer->result->counts[i]->key,
                           (int)answer->result->counts[i]->value);
  }
  drop_message(answer);
}

static bool cancel(const char *id) {
  Arvak__V1__CancelJobRequest request = ARVAK__V1__CANCEL_JOB_REQUEST__INIT;
  request.job_id = (char *)id;
  Arvak__V1__CancelJobResponse *answer =
      call_for("CancelJob", &request, &arvak__v1__cancel_job_response__descriptor, DEADLINE_S);
  bool success = answer && answer->success;
  if (answer) drop_message(answer);
  return success;
}

static double seconds_since(uint64_t start_us) { return (double)(clock_us() - start_us) / 1e6; }

static void check_end(grpc_status_code wanted, const char *says) {
  if (code != wanted || !strstr(text, says)) fail_msg("wanted %d \"%s\", got %d \"%s\"", wanted, says, code, text);
}

static void a_bell_pair_gives_counts(void **state) {
  (void)state;
  char id[37], counted[64];
  start_with(unlimited(), NULL);
  assert_true(submit(id));
  wait_for_state(id, JOB_COMPLETED);
  result_of(id, counted, sizeof counted);
  int zeros, ones;
  assert_int_equal(sscanf(counted, "00=%d 11=%d", &zeros, &ones), 2);
  assert_int_equal(zeros + ones, 100);
}

static void the_key_comes_before_everything_else(void **state) {
  (void)state;
  server_options options = unlimited();
  options.api_key = "secret";
  start_with(options, NULL);
  call_bytes("GetJobStatus", "\xff", 1, NULL);
  check_end(GRPC_STATUS_UNAUTHENTICATED, "API key");
  call_bytes("Nonsense", "", 0, "secret?");
  check_end(GRPC_STATUS_UNAUTHENTICATED, "API key");
  call_bytes("Nonsense", "", 0, "secret");
  check_end(GRPC_STATUS_UNIMPLEMENTED, "");
  call_bytes("ListBackends", "", 0, "secret");
  check_end(GRPC_STATUS_OK, "");
}

static void bad_messages_are_internal_errors(void **state) {
  (void)state;
  start_with(unlimited(), NULL);
  call_bytes("GetJobStatus", "\xff", 1, NULL);
  check_end(GRPC_STATUS_INTERNAL, "decode");
  call_bytes("GetJobStatus", "\x0a\x01\xff", 3, NULL);
  check_end(GRPC_STATUS_INTERNAL, "UTF-8");
  call_bytes("/other.Service/Method", "", 0, NULL);
  check_end(GRPC_STATUS_UNIMPLEMENTED, "");
}

static void messages_are_bounded_both_ways(void **state) {
  (void)state;
  server_options options = unlimited();
  options.max_message_size = 300;
  start_with(options, NULL);
  char long_id[302] = "\x0a\xab\x02";
  memset(long_id + 3, 'x', sizeof long_id - 3);
  call_bytes("GetJobStatus", long_id, sizeof long_id, NULL);
  check_end(GRPC_STATUS_OUT_OF_RANGE, "decoded message length too large: found 302 bytes, the limit is: 300 bytes");
  call_bytes("ListBackends", "", 0, NULL);
  check_end(GRPC_STATUS_OUT_OF_RANGE, "encoded message length too large");
}

static void submits_are_refused_with_the_codes_of_the_contract(void **state) {
  (void)state;
  start_with(unlimited(), NULL);
  assert_false(submit_as("qubit q;", 0, NULL));
  check_end(GRPC_STATUS_INVALID_ARGUMENT, "[permanent] QASM parse error: syntax: line 1, column 1: ");
  assert_false(submit_as("OPENQASM 3; qubit[201] q;", 0, NULL));
  check_end(GRPC_STATUS_INVALID_ARGUMENT, "Circuit exceeds complexity limits: 201 qubits exceeds limit of 200");
  assert_false(submit_as("OPENQASM 3; qubit[21] q;", 1, NULL));
  check_end(GRPC_STATUS_INTERNAL, "Circuit compilation failed: Circuit requires 21 qubits but target only has 20");
  call_bytes("SubmitJob", "\x12\x01x", 3, NULL);
  check_end(GRPC_STATUS_INVALID_ARGUMENT, "[permanent] Missing circuit payload");
  call_bytes("SubmitJob", "\x0a\x00", 2, NULL);
  check_end(GRPC_STATUS_INVALID_ARGUMENT, "[permanent] No circuit format specified");
  call_bytes("SubmitBatch", "\x0a\x01x\x12\x00", 5, NULL);
  check_end(GRPC_STATUS_NOT_FOUND, "[permanent] ");
}

static void only_accepted_jobs_count_for_the_rate_limit(void **state) {
  (void)state;
  server_options options = unlimited();
  options.rate_limit = 3;
  start_with(options, NULL);
  for (int i = 0; i < 5; i++) assert_false(submit_as("nonsense", 0, NULL));
  for (int i = 0; i < 3; i++) assert_true(submit(NULL));
  assert_false(submit_as("nonsense", 0, NULL));
  check_end(GRPC_STATUS_RESOURCE_EXHAUSTED, "Rate limit exceeded: 3 req/s (limit: 3 req/s)");
}

static void canceled_jobs_give_their_places_back(void **state) {
  (void)state;
  server_options options = unlimited();
  options.max_concurrent_jobs = 2;
  options.job_latency = 60;
  start_with(options, NULL);
  char id[37];
  for (int i = 0; i < 10; i++) {
    assert_true(submit(id));
    assert_int_equal(status_of(id), JOB_RUNNING);
    assert_true(cancel(id));
    assert_false(cancel(id));
  }
  assert_true(submit(NULL));
  assert_true(submit(NULL));
  assert_false(submit(NULL));
  check_end(GRPC_STATUS_RESOURCE_EXHAUSTED, "Concurrency limit reached: 2 jobs running (limit: 2)");
}

static void a_batch_stops_at_its_first_refusal_and_the_jobs_before_it_run(void **state) {
  (void)state;
  server_options options = unlimited();
  options.rate_limit = 3;
  start_with(options, NULL);
  Arvak__V1__CircuitPayload program = payload(BELL);
  Arvak__V1__BatchJobRequest one = ARVAK__V1__BATCH_JOB_REQUEST__INIT, *list[] = {&one, &one, &one, &one, &one};
  Arvak__V1__SubmitBatchRequest request = ARVAK__V1__SUBMIT_BATCH_REQUEST__INIT;
  one.circuit = &program;
  request.backend_id = (char *)"simulator";
  request.n_jobs = 5;
  request.jobs = list;
  assert_null(call_for("SubmitBatch", &request, &arvak__v1__submit_batch_response__descriptor, DEADLINE_S));
  check_end(GRPC_STATUS_RESOURCE_EXHAUSTED, "Rate limit");
  jobs_counts figures;
  jobs_count(server->context.store, &figures);
  assert_int_equal(figures.accepted, 3);
}

static void optimization_widens_the_keys(void **state) {
  (void)state;
  char id[37], counted[64];
  start_with(unlimited(), NULL);
  assert_true(submit_as("OPENQASM 3; qubit[2] q; x q[0];", 1, id));
  wait_for_state(id, JOB_COMPLETED);
  result_of(id, counted, sizeof counted);
  assert_string_equal(counted, "00000000000000000001=100 ");
}

static void results_are_refused_by_state(void **state) {
  (void)state;
  char id[37], counted[64];
  start_with(unlimited(), "job=fail,message=boom,count=1");
  assert_true(submit(id));
  wait_for_state(id, JOB_FAILED);
  result_of(id, counted, sizeof counted);
  check_end(GRPC_STATUS_ABORTED, "[permanent] boom");
  assert_true(submit(id));
  wait_for_state(id, JOB_COMPLETED);
  jobs_force(server->context.store, id, JOB_RESULT_EXPIRED, 0);
  result_of(id, counted, sizeof counted);
  check_end(GRPC_STATUS_FAILED_PRECONDITION, "[transient] ");
  assert_false(cancel(id));
  jobs_evict(server->context.store, id);
  assert_int_equal(status_of(id), JOB_UNSPECIFIED);
  check_end(GRPC_STATUS_NOT_FOUND, "[permanent] ");
}

static void a_seed_makes_samples_the_same(void **state) {
  (void)state;
  char counted[2][64], id[37];
  for (int i = 0; i < 2; i++) {
    server_options options = unlimited();
    options.seed = 42;
    options.seeded = true;
    start_with(options, NULL);
    submit(NULL);
    submit(id);
    wait_for_state(id, JOB_COMPLETED);
    result_of(id, counted[i], sizeof counted[i]);
    end(NULL);
  }
  assert_string_equal(counted[0], counted[1]);
}

static void latencies_are_waited_for_at_the_same_time(void **state) {
  (void)state;
  server_options options = unlimited();
  options.job_latency = 0.2;
  options.workers = 1;
  start_with(options, NULL);
  char id[20][37];
  uint64_t start_us = clock_us();
  for (int i = 0; i < 20; i++) assert_true(submit(id[i]));
  for (int i = 0; i < 20; i++) wait_for_state(id[i], JOB_COMPLETED);
  assert_true(seconds_since(start_us) < 2);
}

static peer_call *open_stream(const char *rpc, const void *request) {
  peer_call *c = peer_start(&client, rpc, DEADLINE_S, NULL);
  peer_write(c, request, DEADLINE_S);
  peer_half_close(c);
  return c;
}

static peer_call *open_watch(const char *id) {
  Arvak__V1__WatchJobRequest request = ARVAK__V1__WATCH_JOB_REQUEST__INIT;
  request.job_id = (char *)id;
  return open_stream("WatchJob", &request);
}

/* Reads a watch to its end; how many updates there were. */
static int updates_of(peer_call *c, job_state *last) {
  Arvak__V1__JobStatusUpdate *update;
  int n = 0;
  while ((update = peer_read(c, &arvak__v1__job_status_update__descriptor))) {
    *last = (job_state)update->state;
    drop_message(update);
    n++;
  }
  note_end(c);
  return n;
}

static void a_watch_reports_at_every_interval_until_the_job_ends(void **state) {
  (void)state;
  server_options options = unlimited();
  options.job_latency = 0.25;
  options.watch_interval = 0.1;
  start_with(options, NULL);
  char id[37];
  job_state last = JOB_UNSPECIFIED;
  assert_true(submit(id));
  assert_in_range(updates_of(open_watch(id), &last), 3, 5);
  assert_int_equal(last, JOB_COMPLETED);
  check_end(GRPC_STATUS_OK, "");
  assert_int_equal(updates_of(open_watch(id), &last), 1);
  assert_int_equal(updates_of(open_watch("nobody"), &last), 0);
  check_end(GRPC_STATUS_INTERNAL, "Failed to get job: Job not found: nobody");
}

static void results_come_in_chunks(void **state) {
  (void)state;
  start_with(unlimited(), NULL);
  char id[37];
  assert_true(submit_as("OPENQASM 3; qubit[2] q; h q;", 0, id));
  wait_for_state(id, JOB_COMPLETED);
  Arvak__V1__StreamResultsRequest request = ARVAK__V1__STREAM_RESULTS_REQUEST__INIT;
  request.job_id = id;
  request.chunk_size = 3;
  peer_call *c = open_stream("StreamResults", &request);
  for (unsigned i = 0; i < 2; i++) {
    Arvak__V1__ResultChunk *chunk = peer_read(c, &arvak__v1__result_chunk__descriptor);
    assert_non_null(chunk);
    assert_int_equal(chunk->n_counts, i ? 1 : 3);
    assert_int_equal(chunk->chunk_index, i);
    assert_int_equal(chunk->total_chunks, 2);
    assert_int_equal(chunk->is_final, i == 1);
    drop_message(chunk);
  }
  assert_null(peer_read(c, &arvak__v1__result_chunk__descriptor));
  note_end(c);
  check_end(GRPC_STATUS_OK, "");
  request.job_id = (char *)"nobody";
  note_end(open_stream("StreamResults", &request));
  check_end(GRPC_STATUS_NOT_FOUND, "[permanent] ");
}

static bool send_one(peer_call *c, const char *qasm, const char *request_id, double seconds) {
  Arvak__V1__CircuitPayload program = payload(qasm);
  Arvak__V1__BatchJobSubmission request = ARVAK__V1__BATCH_JOB_SUBMISSION__INIT;
  request.circuit = &program;
  request.backend_id = (char *)(strcmp(request_id, "elsewhere") == 0 ? "elsewhere" : "simulator");
  request.shots = 10;
  request.client_request_id = (char *)request_id;
  return peer_write(c, &request, seconds);
}

/* "a:submitted b:error=... a:completed", in the order received. */
static void replies_of(peer_call *c, int n, char *out, size_t size) {
  Arvak__V1__BatchJobResult *reply;
  size_t at = 0;
  *out = '\0';
  while (n-- && (reply = peer_read(c, &arvak__v1__batch_job_result__descriptor))) {
    bool error = reply->result_case == ARVAK__V1__BATCH_JOB_RESULT__RESULT_ERROR;
    bool done = reply->result_case == ARVAK__V1__BATCH_JOB_RESULT__RESULT_COMPLETED;
    at += (size_t)snprintf(out + at, size - at, "%s:%s ", reply->client_request_id,
                           error  ? reply->error
                           : done ? "completed"
                                  : "submitted");
    assert_int_equal(strlen(reply->job_id), error ? 0 : 36);
    drop_message(reply);
  }
}

static void a_batch_stream_acknowledges_in_order_and_is_silent_about_failures(void **state) {
  (void)state;
  server_options options = unlimited();
  options.rate_limit = 1;
  options.job_latency = 0.05;
  start_with(options, NULL);
  peer_call *c = peer_start(&client, "SubmitBatchStream", DEADLINE_S, NULL);
  char seen[2048];
  send_one(c, "bad", "parse", DEADLINE_S);
  send_one(c, "OPENQASM 3; qubit[201] q;", "big", DEADLINE_S);
  send_one(c, BELL, "elsewhere", DEADLINE_S);
  send_one(c, "OPENQASM 3; qubit[21] q;", "fails", DEADLINE_S);
  send_one(c, BELL, "ok", DEADLINE_S);
  peer_half_close(c);
  replies_of(c, -1, seen, sizeof seen);
  note_end(c);
  check_end(GRPC_STATUS_OK, "");
  static const char *const parts[] = {"parse:Circuit parsing failed: QASM parsing error: ",
                                      "big:Circuit rejected: ",
                                      "elsewhere:Backend not found: ",
                                      "fails:submitted ",
                                      "ok:submitted ",
                                      "ok:completed "};
  const char *at = seen;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    const char *found = strstr(at, parts[i]);
    if (!found) fail_msg("no %s in %s", parts[i], seen);
    at = found + strlen(parts[i]);
  }
  assert_null(strstr(seen, "fails:completed"));
}

static void a_malformed_submission_ends_the_stream(void **state) {
  (void)state;
  start_with(unlimited(), NULL);
  peer_call *c = peer_start(&client, "SubmitBatchStream", DEADLINE_S, NULL);
  peer_write_bytes(c, "\xff", 1, DEADLINE_S);
  assert_null(peer_read(c, &arvak__v1__batch_job_result__descriptor));
  note_end(c);
  check_end(GRPC_STATUS_INTERNAL, "Stream error: status: ");
}

static void jobs_go_on_when_their_stream_is_canceled(void **state) {
  (void)state;
  server_options options = unlimited();
  options.job_latency = 0.2;
  start_with(options, NULL);
  peer_call *c = peer_start(&client, "SubmitBatchStream", DEADLINE_S, NULL);
  send_one(c, BELL, "a", DEADLINE_S);
  Arvak__V1__BatchJobResult *reply = peer_read(c, &arvak__v1__batch_job_result__descriptor);
  char id[37];
  snprintf(id, sizeof id, "%s", reply->job_id);
  drop_message(reply);
  peer_cancel(c);
  peer_free(c);
  wait_for_state(id, JOB_COMPLETED);
}

static void a_client_that_only_writes_is_stalled(void **state) {
  (void)state;
  static char long_id[20000]; /* echoed in each reply, so that few replies fill the connection */
  start_with(unlimited(), NULL);
  memset(long_id, 'x', sizeof long_id - 1);
  peer_call *c = peer_start(&client, "SubmitBatchStream", 60, NULL);
  int written = 0;
  while (written < 50000 && send_one(c, BELL, long_id, 0.5)) written++;
  assert_in_range(written, 16, 49999);
  jobs_counts figures;
  jobs_count(server->context.store, &figures);
  assert_in_range(figures.accepted, 16, (unsigned)written);
  grpc_call_cancel(c->call, NULL);
  peer_do(c, NULL, 0, &c->text, DEADLINE_S);
  peer_finish(c);
  peer_free(c);
}

static void a_status_fault_acts_before_or_after_the_call(void **state) {
  (void)state;
  jobs_counts figures;
  start_with(unlimited(), "rpc=SubmitJob,status=UNAVAILABLE,count=1,tag=transient,message=later,pushback_ms=250");
  assert_false(submit(NULL));
  check_end(GRPC_STATUS_UNAVAILABLE, "[transient] later");
  assert_string_equal(pushback, "250");
  jobs_count(server->context.store, &figures);
  assert_int_equal(figures.accepted, 0);
  end(NULL);
  start_with(unlimited(), "rpc=SubmitJob,status=UNAVAILABLE,count=1,when=after");
  assert_false(submit(NULL));
  check_end(GRPC_STATUS_UNAVAILABLE, "");
  jobs_count(server->context.store, &figures);
  assert_int_equal(figures.accepted, 1);
  assert_true(submit(NULL));
}

static void a_dropped_connection_is_gone_and_the_next_one_works(void **state) {
  (void)state;
  uint64_t open, total;
  jobs_counts figures;
  start_with(unlimited(), "rpc=SubmitJob,drop=after,count=1");
  assert_false(submit(NULL));
  check_end(GRPC_STATUS_UNAVAILABLE, "");
  jobs_count(server->context.store, &figures);
  assert_int_equal(figures.accepted, 1);
  for (int i = 0; i < 100 && !submit(NULL); i++) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  listener_count(server->listener, &open, &total);
  assert_int_equal(open, 1);
  assert_int_equal(total, 2);
}

static void a_hang_ends_with_the_servers_timeout(void **state) {
  (void)state;
  server_options options = unlimited();
  options.server_timeout = 0.2;
  start_with(options, "rpc=GetJobStatus,hang=true");
  uint64_t start_us = clock_us();
  status_of("x");
  check_end(GRPC_STATUS_CANCELLED, "Timeout expired");
  assert_true(seconds_since(start_us) >= 0.2);
  assert_true(seconds_since(start_us) < 5);
}

static void a_stream_breaks_after_so_many_messages(void **state) {
  (void)state;
  server_options options = unlimited();
  options.watch_interval = 0.01;
  options.job_latency = 60;
  start_with(options, "rpc=WatchJob,status=UNAVAILABLE,messages=3");
  char id[37];
  job_state last;
  submit(id);
  assert_int_equal(updates_of(open_watch(id), &last), 3);
  check_end(GRPC_STATUS_UNAVAILABLE, "injected");
}

static int open_descriptors(void) {
  int n = 0;
  DIR *all = opendir("/proc/self/fd");
  while (readdir(all)) n++;
  closedir(all);
  return n;
}

static void it_stops_within_a_second_whatever_is_open(void **state) {
  (void)state;
  server_options options = unlimited();
  options.job_latency = 60;
  start_with(options, "rpc=GetJobResult,hang=true");
  char id[37];
  peer_call *open[66];
  Arvak__V1__GetJobResultRequest request = ARVAK__V1__GET_JOB_RESULT_REQUEST__INIT;
  assert_true(submit(id));
  for (int i = 0; i < 64; i++) open[i] = open_watch(id);
  open[64] = open_stream("GetJobResult", &request);
  open[65] = peer_start(&client, "SubmitBatchStream", DEADLINE_S, NULL);
  send_one(open[65], BELL, "a", DEADLINE_S);
  submit_as("OPENQASM 3; qubit[20] q; h q; reset q[0]; h q; reset q[1];", 0, NULL);
  uint64_t start_us = clock_us();
  service_stop(server);
  assert_true(seconds_since(start_us) < 1);
  for (int i = 0; i < 66; i++) {
    void *unread; /* gRPC tells of the end behind the last message */
    while ((unread = peer_read(open[i], &arvak__v1__job_status_update__descriptor))) drop_message(unread);
    peer_finish(open[i]);
    assert_int_not_equal(open[i]->code, GRPC_STATUS_OK);
    peer_free(open[i]);
  }
}

static void servers_leave_nothing_behind(void **state) {
  (void)state;
  server_options options = unlimited();
  char path[64];
  snprintf(path, sizeof path, "/tmp/arvak-devserver-test-%d.sock", (int)getpid());
  options.unix_path = path;
  int before = 0;
  for (int i = 0; i < 5; i++) {
    start_with(options, NULL);
    assert_true(submit(NULL));
    end(NULL);
    if (i == 0) before = open_descriptors();
  }
  /* The client's half closes in its own time. */
  for (int i = 0; i < 1000 && open_descriptors() > before; i++) {
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
  }
  assert_in_range(open_descriptors(), 0, before);
}

static void two_servers_do_not_share_jobs(void **state) {
  (void)state;
  char id[37];
  start_with(unlimited(), NULL);
  service *first = server;
  peer first_client = client;
  assert_true(submit(id));
  start_with(unlimited(), NULL);
  assert_int_equal(status_of(id), JOB_UNSPECIFIED);
  end(NULL);
  server = first;
  client = first_client;
  assert_int_not_equal(status_of(id), JOB_UNSPECIFIED);
}

static void a_forked_child_leaves_the_server_alone(void **state) {
  (void)state;
  start_with(unlimited(), NULL);
  assert_true(submit(NULL));
  pid_t pid = fork();
  if (pid == 0) {
    alarm(DEADLINE_S);
    service_stop(server);
    service_free(server);
    _exit(0);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  assert_true(submit(NULL));
}

#define TEST(name) cmocka_unit_test_teardown(name, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_bell_pair_gives_counts),
      TEST(the_key_comes_before_everything_else),
      TEST(bad_messages_are_internal_errors),
      TEST(messages_are_bounded_both_ways),
      TEST(submits_are_refused_with_the_codes_of_the_contract),
      TEST(only_accepted_jobs_count_for_the_rate_limit),
      TEST(canceled_jobs_give_their_places_back),
      TEST(a_batch_stops_at_its_first_refusal_and_the_jobs_before_it_run),
      TEST(optimization_widens_the_keys),
      TEST(results_are_refused_by_state),
      TEST(a_seed_makes_samples_the_same),
      TEST(latencies_are_waited_for_at_the_same_time),
      TEST(a_watch_reports_at_every_interval_until_the_job_ends),
      TEST(results_come_in_chunks),
      TEST(a_batch_stream_acknowledges_in_order_and_is_silent_about_failures),
      TEST(a_malformed_submission_ends_the_stream),
      TEST(jobs_go_on_when_their_stream_is_canceled),
      TEST(a_client_that_only_writes_is_stalled),
      TEST(a_status_fault_acts_before_or_after_the_call),
      TEST(a_dropped_connection_is_gone_and_the_next_one_works),
      TEST(a_hang_ends_with_the_servers_timeout),
      TEST(a_stream_breaks_after_so_many_messages),
      TEST(it_stops_within_a_second_whatever_is_open),
      TEST(servers_leave_nothing_behind),
      TEST(a_forked_child_leaves_the_server_alone),
      TEST(two_servers_do_not_share_jobs),
  };
  grpc_init();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  grpc_shutdown();
  return failed;
}
