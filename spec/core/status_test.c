/* Addresses and the meaning of statuses: tables against tables.
 * SPDX-License-Identifier: Apache-2.0 */
#include <grpc/status.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "address.h"
#include "status.h"

static const struct {
  const char *address, *target; /* NULL: refused */
} addresses[] = {
    {"localhost:50051", "dns:///localhost:50051"},
    {"127.0.0.1:1", "dns:///127.0.0.1:1"},
    {"[::1]:50051", "dns:///%5B::1%5D:50051"},
    {"dns:///h.example:65535", "dns:///h.example:65535"},
    {"dns:h:1", "dns:///h:1"},
    {"ipv4:1.2.3.4:1", "ipv4:///1.2.3.4:1"},
    {"ipv4:1.2.3.4:1,5.6.7.8:2", "ipv4:///1.2.3.4:1,5.6.7.8:2"},
    {"ipv4:///1.2.3.4:1", "ipv4:///1.2.3.4:1"},
    {"ipv6:[::1]:7", "ipv6:///%5B::1%5D:7"},
    {"unix:/tmp/s", "unix:///tmp/s"},
    {"unix:///tmp/s", "unix:///tmp/s"},
    {"unix:/tmp/a#b?c%41 d", "unix:///tmp/a%23b%3Fc%2541%20d"},
    {"ipv6:[fe80::1%eth0]:7", "ipv6:///%5Bfe80::1%25eth0%5D:7"},
    {"ipv4:foo:1", NULL},
    {"ipv4:999.1.1.1:1", NULL},
    {"ipv4:[::1]:1", NULL},
    {"ipv6:1.2.3.4:1", NULL},
    {"ipv6:[fe80]:1", NULL},
    {"[fe80]:1", NULL},
    {"unix:/01234567890123456789012345678901234567890123456789012345678901234567890123456789"
     "0123456789012345678901234567",
     NULL},
    {"", NULL},
    {"localhost", NULL},
    {"localhost:", NULL},
    {"localhost:0", NULL},
    {"localhost:65536", NULL},
    {"localhost:99999999999", NULL},
    {"localhost:12x", NULL},
    {":50051", NULL},
    {"a b:1", NULL},
    {"http://localhost:1", NULL},
    {"localhost:1,other:2", NULL},
    {"ipv4:1.2.3.4:1,", NULL},
    {"[::1:1", NULL},
    {"unix:", NULL},
    {"unix:/tmp/a,b", NULL}, /* gRPC would take it for a list */
    {"unix:///tmp/a,b", NULL},
    {"unix:a,b", NULL},
    {"unix:,", NULL},
    {"unix:/tmp/a;b=c&d", "unix:///tmp/a;b=c&d"},
    {"local,host:1", NULL},
    {"localhost\n:1", NULL},
    {"localhost:1\r\n", NULL},
};

static void spells_addresses(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
    char *target = NULL;
    const char *reason = NULL;
    int status = arvak__address_spell(addresses[i].address, &target, &reason);
    if (!addresses[i].target) {
      assert_int_equal(status, ARVAK_EINVAL);
      assert_non_null(reason);
      assert_null(target);
    } else {
      assert_int_equal(status, ARVAK_OK);
      assert_null(reason);
      assert_string_equal(target, addresses[i].target);
    }
    free(target);
  }
}

static void knows_a_host(void **state) {
  (void)state;
  static const char *const hosts[] = {"localhost", "a.b-c_d", "127.0.0.1", "[::1]", "[fe80::1%eth0]"};
  static const char *const others[] = {"", "a b", "a,b", "a/b", "a\r\nb", "a:1", "[::1", "::1", "\xc3\xa9", "[]"};
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) assert_true(arvak__address_is_host(hosts[i]));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(arvak__address_is_host(others[i]));
}

static void makes_relative_unix_paths_absolute(void **state) {
  (void)state;
  char *target = NULL;
  const char *reason;
  assert_int_equal(arvak__address_spell("unix:s.sock", &target, &reason), ARVAK_OK);
  assert_true(strncmp(target, "unix:///", 8) == 0);
  assert_string_equal(strrchr(target, '/'), "/s.sock");
  free(target);
}

static void classifies_by_rpc_and_code(void **state) {
  (void)state;
  static const struct {
    arvak_rpc rpc;
    int code;
    const char *message;
    arvak_kind kind;
  } cases[] = {
      {ARVAK_GET_JOB_STATUS, GRPC_STATUS_NOT_FOUND, "[permanent] backend", ARVAK_KIND_JOB_NOT_FOUND},
      {ARVAK_CANCEL_JOB, GRPC_STATUS_NOT_FOUND, "", ARVAK_KIND_JOB_NOT_FOUND},
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_NOT_FOUND, "[permanent] job-sim", ARVAK_KIND_BACKEND_NOT_FOUND},
      {ARVAK_GET_BACKEND_INFO, GRPC_STATUS_NOT_FOUND, "", ARVAK_KIND_BACKEND_NOT_FOUND},
      {ARVAK_SUBMIT_BATCH, GRPC_STATUS_INVALID_ARGUMENT, "", ARVAK_KIND_INVALID_CIRCUIT},
      {ARVAK_GET_JOB_STATUS, GRPC_STATUS_INVALID_ARGUMENT, "", ARVAK_KIND_RPC},
      {ARVAK_GET_JOB_RESULT, GRPC_STATUS_FAILED_PRECONDITION, "[transient] x", ARVAK_KIND_JOB_NOT_COMPLETED},
      {ARVAK_GET_JOB_RESULT, GRPC_STATUS_ABORTED, "[permanent] x", ARVAK_KIND_JOB_FAILED},
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_ABORTED, "", ARVAK_KIND_RPC},
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_CANCELLED, "Timeout expired", ARVAK_KIND_TIMEOUT},
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_CANCELLED, "else", ARVAK_KIND_RPC}, /* the server's, not ours */
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_RESOURCE_EXHAUSTED, "", ARVAK_KIND_RESOURCE_EXHAUSTED},
      {ARVAK_LIST_BACKENDS, GRPC_STATUS_UNAUTHENTICATED, "", ARVAK_KIND_UNAUTHENTICATED},
      {ARVAK_LIST_BACKENDS, GRPC_STATUS_INTERNAL, "[transient] x", ARVAK_KIND_RPC},
      {ARVAK_LIST_BACKENDS, 99, "", ARVAK_KIND_RPC},
      {ARVAK_LIST_BACKENDS, GRPC_STATUS_UNKNOWN, "Stream removed", ARVAK_KIND_UNAVAILABLE},
      {ARVAK_LIST_BACKENDS, GRPC_STATUS_UNKNOWN, "who knows", ARVAK_KIND_RPC},
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_UNIMPLEMENTED, "Received http2 header with status: 404", ARVAK_KIND_UNAVAILABLE},
      {ARVAK_SUBMIT_JOB, GRPC_STATUS_UNIMPLEMENTED, "", ARVAK_KIND_RPC},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(arvak__kind_of(cases[i].rpc, cases[i].code, cases[i].message), cases[i].kind);
}

/* The table of contract 2.10, a row a line: read, SubmitJob, SubmitBatch. */
static void follows_the_retry_table(void **state) {
  (void)state;
  static const struct {
    int code;
    const char *message;
    arvak__delivery delivery;
    bool read, submit, batch;
  } rows[] = {
      {GRPC_STATUS_UNAVAILABLE, "", DELIVERY_NOT_SENT, true, true, true},
      {GRPC_STATUS_UNAVAILABLE, "", DELIVERY_ANSWERED, true, true, false},
      {GRPC_STATUS_UNAVAILABLE, "Socket closed", DELIVERY_BROKEN, true, false, false},
      {GRPC_STATUS_RESOURCE_EXHAUSTED, "Queue full", DELIVERY_ANSWERED, true, true, false},
      {GRPC_STATUS_RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)", DELIVERY_ANSWERED, false, false,
       false},
      {GRPC_STATUS_RESOURCE_EXHAUSTED, "Received RST_STREAM with error code 11", DELIVERY_BROKEN, true, false, false},
      {GRPC_STATUS_RESOURCE_EXHAUSTED, "received initial metadata size exceeds limit", DELIVERY_BROKEN, false, false,
       false},
      {GRPC_STATUS_DEADLINE_EXCEEDED, "", DELIVERY_ANSWERED, true, false, false},
      {GRPC_STATUS_CANCELLED, "Timeout expired", DELIVERY_ANSWERED, true, false, false},
      {GRPC_STATUS_CANCELLED, "", DELIVERY_ANSWERED, false, false, false},
      {GRPC_STATUS_INTERNAL, "[transient] Storage error", DELIVERY_ANSWERED, true, false, false},
      {GRPC_STATUS_INTERNAL, "[permanent] x", DELIVERY_ANSWERED, false, false, false},
      {GRPC_STATUS_ABORTED, "", DELIVERY_ANSWERED, false, false, false},
      {GRPC_STATUS_FAILED_PRECONDITION, "[transient] x", DELIVERY_ANSWERED, false, false, false},
      {GRPC_STATUS_NOT_FOUND, "", DELIVERY_ANSWERED, false, false, false},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    assert_int_equal(arvak__is_retryable(ARVAK_GET_JOB_STATUS, rows[i].code, rows[i].message, rows[i].delivery),
                     rows[i].read);
    assert_int_equal(arvak__is_retryable(ARVAK_SUBMIT_JOB, rows[i].code, rows[i].message, rows[i].delivery),
                     rows[i].submit);
    assert_int_equal(arvak__is_retryable(ARVAK_SUBMIT_BATCH, rows[i].code, rows[i].message, rows[i].delivery),
                     rows[i].batch);
  }
}

static void knows_when_a_batch_may_half_run(void **state) {
  (void)state;
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_BATCH, 3, GRPC_STATUS_RESOURCE_EXHAUSTED, DELIVERY_ANSWERED));
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_BATCH, 2, GRPC_STATUS_INVALID_ARGUMENT, DELIVERY_ANSWERED));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_BATCH, 1, GRPC_STATUS_INVALID_ARGUMENT, DELIVERY_ANSWERED));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_BATCH, 3, GRPC_STATUS_NOT_FOUND, DELIVERY_ANSWERED));
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_BATCH_STREAM, 1, GRPC_STATUS_UNAVAILABLE, DELIVERY_ANSWERED));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_BATCH_STREAM, 1, GRPC_STATUS_UNIMPLEMENTED, DELIVERY_ANSWERED));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_BATCH_STREAM, 1, GRPC_STATUS_UNAVAILABLE, DELIVERY_NOT_SENT));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, GRPC_STATUS_UNAVAILABLE, DELIVERY_NOT_SENT));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, GRPC_STATUS_UNAVAILABLE, DELIVERY_ANSWERED));
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, GRPC_STATUS_UNAVAILABLE, DELIVERY_BROKEN));
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, GRPC_STATUS_CANCELLED, DELIVERY_ANSWERED));
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, GRPC_STATUS_UNKNOWN, DELIVERY_ANSWERED));
  assert_true(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, 99, DELIVERY_ANSWERED));
  assert_false(arvak__maybe_executed(ARVAK_SUBMIT_JOB, 1, GRPC_STATUS_INTERNAL, DELIVERY_ANSWERED));
}

static arvak__delivery deliver(arvak__origin origin, int code, const char *message) {
  arvak__evidence evidence = {
      .was_sent = true, .is_ready = true, .origin = origin, .code = code, .message = message};
  return arvak__delivery_of(&evidence);
}

/* What gRPC 1.51 to 1.83 say themselves, seen when links died at every stage, must not pass for the server's word. */
static void knows_the_core_of_grpc_by_its_messages(void **state) {
  (void)state;
  static const char *const own[] = {"Socket closed", "recvmsg:Connection reset by peer", "Broken pipe",
                                    "GOAWAY received", "Received RST_STREAM with error code 2", "Stream removed",
                                    "Received http2 header with status: 503", "keepalive watchdog timeout",
                                    "Received message larger than max (5 vs. 4)", "Stream refused by server",
                                    "Failed parsing HTTP/2", "Cancelling all calls", "Endpoint already shutdown",
                                    "Received RST_STREAM with error code 77", "Stream removed (Socket closed)",
                                    "CLIENT: Received message larger than max (5 vs. 4)",
                                    "Stream removed (RST_STREAM (Received RST_STREAM with error code 77))"};
  static const char *const servers[] = {"[permanent] x", "transport of the qubits failed", "TCP is not the matter",
                                        "Queue full: 5 jobs queued (limit: 5)", "", "The Socket closed",
                                        "Received RST_STREAM with error code 7",
                                        "Stream removed (RST_STREAM (Received RST_STREAM with error code 7))"};
  for (int origin = ORIGIN_PEER; origin <= ORIGIN_TEXTS; origin++) {
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
      assert_int_equal(deliver((arvak__origin)origin, GRPC_STATUS_UNAVAILABLE, own[i]), DELIVERY_BROKEN);
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++)
      assert_int_equal(deliver((arvak__origin)origin, GRPC_STATUS_UNAVAILABLE, servers[i]), DELIVERY_ANSWERED);
  }
}

/* A version of gRPC whose texts nobody has seen: what may be its own word proves nothing. */
static void doubts_what_an_unknown_grpc_may_have_made(void **state) {
  (void)state;
  static const struct {
    int code;
    const char *message;
    arvak__delivery delivery;
  } rows[] = {
      {GRPC_STATUS_UNAVAILABLE, "", DELIVERY_BROKEN},
      {GRPC_STATUS_UNAVAILABLE, "the link has gone", DELIVERY_BROKEN},
      {GRPC_STATUS_UNAVAILABLE, "Received RST_STREAM with error code 7", DELIVERY_BROKEN},
      {GRPC_STATUS_RESOURCE_EXHAUSTED, "that was too much", DELIVERY_BROKEN},
      {GRPC_STATUS_RESOURCE_EXHAUSTED, "Queue full: 5 jobs queued (limit: 5)", DELIVERY_ANSWERED},
      {GRPC_STATUS_INTERNAL, "a frame of nonsense", DELIVERY_BROKEN},
      {GRPC_STATUS_INTERNAL, "[permanent] x", DELIVERY_ANSWERED},
      {GRPC_STATUS_UNIMPLEMENTED, "no such thing", DELIVERY_BROKEN},
      {GRPC_STATUS_UNAUTHENTICATED, "a proxy's 401", DELIVERY_BROKEN},
      {GRPC_STATUS_CANCELLED, "Timeout expired", DELIVERY_ANSWERED},
      {GRPC_STATUS_NOT_FOUND, "whatever it says", DELIVERY_ANSWERED},
      {GRPC_STATUS_INVALID_ARGUMENT, "", DELIVERY_ANSWERED},
      {99, "", DELIVERY_BROKEN},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_int_equal(deliver(ORIGIN_UNKNOWN, rows[i].code, rows[i].message), rows[i].delivery);
}

/* No message, known or not, makes a request that was sent one that was not; none proves more than a peer's own. */
static void believes_a_text_only_where_it_is_careful(void **state) {
  (void)state;
  static const char *const texts[] = {"", "x", "Socket closed", "Queue full: 1", "Error received from peer",
                                      "failed to connect to all addresses"};
  for (int code = 1; code <= 17; code++)
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
      arvak__evidence unsent = {.is_ready = true, .origin = ORIGIN_UNKNOWN, .code = code, .message = texts[i]};
      bool is_unavailable = code == GRPC_STATUS_UNAVAILABLE;
      assert_int_equal(arvak__delivery_of(&unsent), is_unavailable ? DELIVERY_NOT_SENT : DELIVERY_BROKEN);
      for (int origin = ORIGIN_PEER; origin <= ORIGIN_UNKNOWN; origin++)
        assert_int_not_equal(deliver((arvak__origin)origin, code, texts[i]), DELIVERY_NOT_SENT);
      if (deliver(ORIGIN_PEER, code, texts[i]) == DELIVERY_BROKEN)
        assert_int_equal(deliver(ORIGIN_UNKNOWN, code, texts[i]), DELIVERY_BROKEN);
      arvak__evidence lost = {.was_sent = true, .origin = ORIGIN_PEER, .code = code, .message = texts[i]};
      if (is_unavailable) assert_int_equal(arvak__delivery_of(&lost), DELIVERY_BROKEN);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spells_addresses),
      cmocka_unit_test(knows_a_host),       cmocka_unit_test(makes_relative_unix_paths_absolute),
      cmocka_unit_test(classifies_by_rpc_and_code), cmocka_unit_test(follows_the_retry_table),
      cmocka_unit_test(knows_when_a_batch_may_half_run), cmocka_unit_test(knows_the_core_of_grpc_by_its_messages),
      cmocka_unit_test(doubts_what_an_unknown_grpc_may_have_made),
      cmocka_unit_test(believes_a_text_only_where_it_is_careful),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
