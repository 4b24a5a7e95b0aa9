/* The yardstick: a plain C client on gRPC's C core and protobuf-c with the same messages, the same number of
 * connections and calls in flight, and nothing else. Usage: raw TARGET CALLS IN_FLIGHT CONNECTIONS
 * Prints: calls per second, CPU microseconds a call, peak RSS in MB, connections used.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "arvak.pb-c.h"
#include "compat.h"

typedef struct call {
  grpc_call *call;
  grpc_byte_buffer *send, *recv;
  grpc_metadata_array initial, trailing;
  grpc_status_code status;
  grpc_slice details;
  int connection;
} call;

static grpc_completion_queue *cq;
static grpc_channel *channels[64];
static void *methods[64];
static int connections, next_connection;

static grpc_byte_buffer *pack(void) {
  Arvak__V1__CircuitPayload payload = ARVAK__V1__CIRCUIT_PAYLOAD__INIT;
  Arvak__V1__SubmitJobRequest request = ARVAK__V1__SUBMIT_JOB_REQUEST__INIT;
  payload.format_case = ARVAK__V1__CIRCUIT_PAYLOAD__FORMAT_QASM3;
  payload.qasm3 = "OPENQASM 3.0; qubit[2] q; h q[0]; cx q[0], q[1];";
  request.circuit = &payload;
  request.backend_id = "simulator";
  request.shots = 1;
  grpc_slice slice = grpc_slice_malloc(arvak__v1__submit_job_request__get_packed_size(&request));
  arvak__v1__submit_job_request__pack(&request, GRPC_SLICE_START_PTR(slice));
  grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
  grpc_slice_unref(slice);
  return buffer;
}

static void unpack(grpc_byte_buffer *buffer) {
  grpc_byte_buffer_reader reader;
  grpc_byte_buffer_reader_init(&reader, buffer);
  grpc_slice slice = grpc_byte_buffer_reader_readall(&reader);
  Arvak__V1__SubmitJobResponse *response =
      arvak__v1__submit_job_response__unpack(NULL, GRPC_SLICE_LENGTH(slice), GRPC_SLICE_START_PTR(slice));
  if (!response || strlen(response->job_id) != 36) abort();
  arvak__v1__submit_job_response__free_unpacked(response, NULL);
  grpc_slice_unref(slice);
  grpc_byte_buffer_reader_destroy(&reader);
}

static void start(call *c) {
  c->connection = next_connection++ % connections;
  c->send = pack();
  c->recv = NULL;
  grpc_metadata_array_init(&c->initial);
  grpc_metadata_array_init(&c->trailing);
  gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(30, GPR_TIMESPAN));
  c->call = grpc_channel_create_registered_call(channels[c->connection], NULL, GRPC_PROPAGATE_DEFAULTS, cq,
                                                methods[c->connection], deadline, NULL);
  grpc_op ops[6];
  memset(ops, 0, sizeof ops);
  ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
  ops[1].op = GRPC_OP_SEND_MESSAGE;
  ops[1].data.send_message.send_message = c->send;
  ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
  ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
  ops[3].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
  ops[4].op = GRPC_OP_RECV_MESSAGE;
  ops[4].data.recv_message.recv_message = &c->recv;
  ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
  ops[5].data.recv_status_on_client.trailing_metadata = &c->trailing;
  ops[5].data.recv_status_on_client.status = &c->status;
  ops[5].data.recv_status_on_client.status_details = &c->details;
  if (grpc_call_start_batch(c->call, ops, 6, c, NULL) != GRPC_CALL_OK) abort();
}

static void finish(call *c) {
  if (c->status != GRPC_STATUS_OK) {
    fprintf(stderr, "status %d: %.*s\n", c->status, (int)GRPC_SLICE_LENGTH(c->details),
            (const char *)GRPC_SLICE_START_PTR(c->details));
    exit(1);
  }
  unpack(c->recv);
  grpc_byte_buffer_destroy(c->recv);
  grpc_byte_buffer_destroy(c->send);
  grpc_metadata_array_destroy(&c->initial);
  grpc_metadata_array_destroy(&c->trailing);
  grpc_slice_unref(c->details);
  grpc_call_unref(c->call);
}

static void run(call *calls, int count, int in_flight) {
  int started = 0;
  for (; started < in_flight && started < count; started++) start(&calls[started]);
  for (int ended = 0; ended < count; ended++) {
    grpc_event event = grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    call *c = event.tag;
    finish(c);
    if (started++ < count) start(c);
  }
}

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Without gRPC's own retries, as our client does: they cost 8,000 of 58,000 instructions a call. */
static void open_channels(const char *target) {
  grpc_arg list[] = {{.type = GRPC_ARG_INTEGER, .key = GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, .value.integer = 1},
                     {.type = GRPC_ARG_INTEGER, .key = GRPC_ARG_ENABLE_RETRIES, .value.integer = 0}};
  grpc_channel_args args = {2, list};
  grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
  for (int i = 0; i < connections; i++) {
    channels[i] = grpc_channel_create(target, credentials, &args);
    methods[i] = grpc_channel_register_call(channels[i], "/arvak.v1.ArvakService/SubmitJob", NULL, NULL);
  }
  grpc_channel_credentials_release(credentials);
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int count = atoi(argv[2]), in_flight = atoi(argv[3]);
  connections = atoi(argv[4]);
  grpc_init();
  cq = grpc_completion_queue_create_for_next(NULL);
  open_channels(argv[1]);
  call *calls = calloc((size_t)in_flight, sizeof *calls);
  run(calls, count / 10 + in_flight, in_flight); /* warm: connect, fill the allocator */
  double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  run(calls, count, in_flight);
  wall = seconds(CLOCK_MONOTONIC) - wall;
  cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("%.0f %.2f %.1f %d\n", count / wall, cpu / count * 1e6, (double)usage.ru_maxrss / 1024, connections);
  return 0;
}
