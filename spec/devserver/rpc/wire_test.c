/* Decoding: strings are UTF-8 and keep their length.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <grpc/grpc.h>

#include "arvak.pb-c.h"
#include "rpc/wire.h"

#define BYTES(text) (text), sizeof(text) - 1

static void utf8_is_checked_to_the_letter(void **state) {
  (void)state;
  static const char *const good[] = {"", "plain ascii, longer than eight", "\xc2\x80", "\xdf\xbf",
                                     "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xf0\x90\x80\x80",
                                     "\xf4\x8f\xbf\xbf", "12345678\xc3\xa9"};
  static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2 ",
                                    "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82", "\xf0\x8f\xbf\xbf",
                                    "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "12345678\xfe"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(utf8_valid(good[i], strlen(good[i])));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(utf8_valid(bad[i], strlen(bad[i])));
  assert_true(utf8_valid("a\0b", 3));
}

static ProtobufCMessage *unpack(arena *a, const ProtobufCMessageDescriptor *type, const char *bytes, size_t length,
                                const char **problem) {
  grpc_slice slices[2] = {grpc_slice_from_copied_buffer(bytes, length / 2),
                          grpc_slice_from_copied_buffer(bytes + length / 2, length - length / 2)};
  grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, 2);
  ProtobufCMessage *message = wire_unpack(a, type, buffer, problem);
  grpc_byte_buffer_destroy(buffer);
  grpc_slice_unref(slices[0]);
  grpc_slice_unref(slices[1]);
  return message;
}

static void strings_keep_their_length(void **state) {
  (void)state;
  arena a;
  const char *problem;
  arena_init(&a);
  ProtobufCMessage *message =
      unpack(&a, &arvak__v1__submit_job_request__descriptor, BYTES("\x0a\x05\x0a\x03q\0q\x12\x00"), &problem);
  assert_non_null(message);
  const Arvak__V1__SubmitJobRequest *request = (const Arvak__V1__SubmitJobRequest *)message;
  assert_int_equal(wire_length(request->circuit->qasm3), 3);
  assert_int_equal(wire_length(request->backend_id), 0);
  arena_fini(&a);
}

static void a_bad_string_is_refused_wherever_it_is(void **state) {
  (void)state;
  static const struct {
    const ProtobufCMessageDescriptor *type;
    const char *bytes;
    size_t length;
  } bad[] = {
      {&arvak__v1__get_job_status_request__descriptor, BYTES("\x0a\x02\xff\xfe")},
      {&arvak__v1__submit_job_request__descriptor, BYTES("\x0a\x04\x0a\x02\xc3\x28")},
      {&arvak__v1__submit_job_request__descriptor, BYTES("\x0a\x03\x12\x01\xff")},
      {&arvak__v1__submit_batch_request__descriptor, BYTES("\x12\x00\x12\x05\x0a\x03\x0a\x01\x80")},
      {&arvak__v1__submit_batch_response__descriptor, BYTES("\x0a\x01x\x0a\x01\xff")},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    arena a;
    const char *problem = NULL;
    arena_init(&a);
    assert_null(unpack(&a, bad[i].type, bad[i].bytes, bad[i].length, &problem));
    assert_non_null(strstr(problem, "UTF-8"));
    arena_fini(&a);
  }
}

static void a_broken_encoding_is_refused(void **state) {
  (void)state;
  arena a;
  const char *problem = NULL;
  arena_init(&a);
  assert_null(unpack(&a, &arvak__v1__get_job_status_request__descriptor, BYTES("\x0a\x7fx"), &problem));
  assert_non_null(problem);
  assert_null(wire_unpack(&a, &arvak__v1__get_job_status_request__descriptor, NULL, &problem));
  arena_fini(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(utf8_is_checked_to_the_letter),
      cmocka_unit_test(strings_keep_their_length),
      cmocka_unit_test(a_bad_string_is_refused_wherever_it_is),
      cmocka_unit_test(a_broken_encoding_is_refused),
  };
  grpc_init();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  grpc_shutdown();
  return failed;
}
