/* The headers of clients, calls and streams: checked, copied, merged, and renewed by the function of a client. A header
 * of a call takes the place of one of its client's of the same name. Invariant: a list without headers of its own is
 * the client's, and costs nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "headers.h"

#include <stdlib.h>
#include <string.h>

const char arvak__refused_message[] = "the application gave no headers for this attempt, or one that cannot be sent";

const char *arvak_header_check(const char *name, arvak_text value) {
  grpc_slice key = grpc_slice_from_static_string(name);
  if (strncmp(name, "grpc-", 5) == 0) return "names that begin with \"grpc-\" belong to gRPC";
  if (!grpc_header_key_is_legal(key)) return "expected a lower-case header name of letters, digits, '-', '_' and '.'";
  if (grpc_is_binary_header(key)) return NULL;
  grpc_slice text = grpc_slice_from_static_buffer(value.data, value.size);
  return grpc_header_nonbin_value_is_legal(text) ? NULL : "the value holds a byte that a header cannot carry";
}

static void drop_slices(const grpc_metadata *list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    grpc_slice_unref(list[i].key);
    grpc_slice_unref(list[i].value);
  }
}

int arvak__client_headers_init(arvak__client_headers *common, const arvak_client_options *options,
                               const char **reason) {
  common->fn = options->headers_fn;
  common->ud = options->headers_ud;
  common->list = calloc(options->header_count + 1, sizeof *common->list);
  if (!common->list) return ARVAK_ENOMEM;
  for (size_t i = 0; i < options->header_count; i++) {
    const arvak_header *header = &options->headers[i];
    if ((*reason = arvak_header_check(header->name, header->value))) return ARVAK_EINVAL;
    common->list[i].key = grpc_slice_from_copied_string(header->name);
    common->list[i].value = grpc_slice_from_copied_buffer(header->value.data, header->value.size);
    common->count++;
  }
  return ARVAK_OK;
}

void arvak__client_headers_fini(arvak__client_headers *common, bool is_forked) {
  if (!is_forked) drop_slices(common->list, common->count);
  free(common->list);
}

static bool is_overridden(const grpc_metadata *header, const arvak_call_options *options) {
  for (size_t i = 0; i < options->header_count; i++)
    if (grpc_slice_str_cmp(header->key, options->headers[i].name) == 0) return true;
  return false;
}

/* Most calls have no headers of their own and borrow the client's. */
int arvak__headers_init(arvak__headers *headers, const arvak__client_headers *common,
                        const arvak_call_options *options) {
  *headers = (arvak__headers){common->list, common->count, 0, options->is_guest};
  if (options->header_count == 0) return ARVAK_OK;
  grpc_metadata *all = calloc(common->count + options->header_count, sizeof *all);
  if (!all) return ARVAK_ENOMEM;
  size_t n = 0;
  for (size_t i = 0; i < common->count; i++)
    if (!is_overridden(&common->list[i], options)) all[n++] = common->list[i];
  for (size_t i = 0; i < options->header_count; i++) {
    const arvak_header *header = &options->headers[i];
    all[n].key = grpc_slice_from_copied_string(header->name);
    all[n++].value = grpc_slice_from_copied_buffer(header->value.data, header->value.size);
  }
  *headers = (arvak__headers){all, n, options->header_count, options->is_guest};
  return ARVAK_OK;
}

void arvak__headers_fini(arvak__headers *headers) {
  if (headers->own_count == 0) return;
  drop_slices(headers->list + (headers->count - headers->own_count), headers->own_count);
  free(headers->list);
}

static const grpc_metadata *find(const grpc_metadata *header, const grpc_metadata *list, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (grpc_slice_eq(header->key, list[i].key)) return &list[i];
  return NULL;
}

static bool is_among(const grpc_metadata *header, const grpc_metadata *list, size_t count) {
  return find(header, list, count) != NULL;
}

static void add_own(arvak__headers *headers, const grpc_metadata *header) {
  headers->list[headers->count++] =
      (grpc_metadata){.key = grpc_slice_ref(header->key), .value = grpc_slice_ref(header->value)};
  headers->own_count++;
}

int arvak__headers_renew(arvak__headers *headers, const arvak__client_headers *common, size_t fixed_count,
                         const arvak_header *fresh, size_t count) {
  arvak_call_options options = {.headers = fresh, .header_count = count, .is_guest = headers->is_guest};
  const grpc_metadata *fixed = headers->list + (headers->count - headers->own_count);
  arvak__headers given, all = {NULL, 0, 0, headers->is_guest};
  if (!arvak__headers_are_sound(&options)) return ARVAK_EINVAL;
  int status = arvak__headers_init(&given, common, &options);
  if (status != ARVAK_OK) return status;
  if (fixed_count == 0) {
    arvak__headers_fini(headers);
    *headers = given;
    return ARVAK_OK;
  }
  all.list = calloc(given.count + fixed_count, sizeof *all.list);
  size_t shared = given.count - given.own_count;
  for (size_t i = 0; all.list && i < shared; i++)
    if (!is_among(&given.list[i], fixed, fixed_count)) all.list[all.count++] = given.list[i];
  for (size_t i = 0; all.list && i < fixed_count; i++) {
    const grpc_metadata *better = all.is_guest ? find(&fixed[i], given.list + shared, given.own_count) : NULL;
    add_own(&all, better ? better : &fixed[i]);
  }
  for (size_t i = shared; all.list && i < given.count; i++)
    if (!is_among(&given.list[i], fixed, fixed_count)) add_own(&all, &given.list[i]);
  arvak__headers_fini(&given);
  if (!all.list) return ARVAK_ENOMEM;
  arvak__headers_fini(headers);
  *headers = all;
  return ARVAK_OK;
}

static bool grow(arvak_header_sink *sink) {
  if (sink->count < sink->capacity) return true;
  size_t capacity = sink->capacity ? 2 * sink->capacity : 4;
  arvak_header *list = realloc(sink->list, capacity * sizeof *list);
  if (!list) return false;
  sink->list = list;
  sink->capacity = capacity;
  return true;
}

static int add(arvak_header_sink *sink, const char *name, arvak_text value) {
  if (arvak_header_check(name, value)) return ARVAK_EINVAL;
  size_t name_size = strlen(name) + 1;
  char *copy = grow(sink) ? malloc(name_size + value.size) : NULL;
  if (!copy) return ARVAK_ENOMEM;
  memcpy(copy, name, name_size);
  if (value.size > 0) memcpy(copy + name_size, value.data, value.size);
  sink->list[sink->count++] = (arvak_header){copy, {copy + name_size, value.size}};
  return ARVAK_OK;
}

int arvak_header_sink_add(arvak_header_sink *sink, const char *name, arvak_text value) {
  int status = add(sink, name, value);
  if (sink->status == ARVAK_OK) sink->status = status;
  return status;
}

bool arvak__headers_query(const arvak__client_headers *common, arvak_rpc rpc, arvak_header_sink *sink) {
  *sink = (arvak_header_sink){.status = ARVAK_OK};
  return common->fn(sink, rpc, common->ud) && sink->status == ARVAK_OK;
}

void arvak__header_sink_fini(arvak_header_sink *sink) {
  for (size_t i = 0; i < sink->count; i++) free((char *)sink->list[i].name);
  free(sink->list);
}

bool arvak__headers_are_sound(const arvak_call_options *options) {
  for (size_t i = 0; i < options->header_count; i++)
    if (arvak_header_check(options->headers[i].name, options->headers[i].value)) return false;
  return true;
}
