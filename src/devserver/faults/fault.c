/* See fault.h. The text form: keys and values, checked one by one and then together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "base/rpcs.h"

static const char *const status_names[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

enum { STATUS_NAMES = sizeof status_names / sizeof *status_names };

void fault_init(fault *f) { *f = (fault){.rpc = FAULT_ANY_RPC, .rate = 1, .tag = ""}; }

static bool has_time(const fault_delay *delay) { return delay->most_us || delay->mean_us; }

bool fault_is_for_jobs(const fault *f) { return f->job_state || f->evicts_job || has_time(&f->job_latency); }

bool fault_is_for_calls(const fault *f) { return f->action || f->has_pushback || has_time(&f->latency); }

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* Setters: one a key, each with what it expects, for the error. */

static bool set_rpc(fault *f, const char *value) {
  f->rpc = FAULT_ANY_RPC;
  for (int i = 0; i < RPCS; i++) {
    if (is(value, rpcs[i].name)) f->rpc = i;
  }
  return f->rpc != FAULT_ANY_RPC || is(value, "any");
}

static bool set_status(fault *f, const char *value) {
  for (int i = 1; i < STATUS_NAMES; i++) {
    if (!is(value, status_names[i])) continue;
    f->status = i;
    f->action = FAULT_STATUS;
    return true;
  }
  return false;
}

static bool set_message(fault *f, const char *value) {
  return (size_t)snprintf(f->message, sizeof f->message, "%s", value) < sizeof f->message;
}

static bool set_tag(fault *f, const char *value) {
  f->tag = is(value, "permanent") ? "[permanent] " : is(value, "transient") ? "[transient] " : NULL;
  return f->tag != NULL;
}

static bool set_when(fault *f, const char *value) {
  f->after = is(value, "after");
  return f->after || is(value, "before");
}

static bool set_drop(fault *f, const char *value) {
  f->action = FAULT_DROP;
  return is(value, "true") || set_when(f, value);
}

static bool set_hang(fault *f, const char *value) {
  f->action = FAULT_HANG;
  return is(value, "true") || set_when(f, value);
}

static bool parse_number(const char *text, double min, double max, double *out) {
  char *end;
  if (!*text || strspn(text, "+-.0123456789eE") != strlen(text)) return false;
  *out = number_parse(text, &end);
  return !*end && isfinite(*out) && *out >= min && *out <= max;
}

static bool parse_whole(const char *text, double min, uint64_t *out) {
  double value;
  if (!parse_number(text, min, 1e15, &value) || value != floor(value)) return false;
  *out = (uint64_t)value;
  return true;
}

static bool set_rate(fault *f, const char *value) { return parse_number(value, 0, 1, &f->rate); }
static bool set_count(fault *f, const char *value) { return parse_whole(value, 1, &f->count); }
static bool set_after(fault *f, const char *value) { return parse_whole(value, 0, &f->skip); }
static bool set_messages(fault *f, const char *value) {
  f->after = true;
  return parse_whole(value, 1, &f->messages);
}

static bool set_pushback(fault *f, const char *value) {
  double ms;
  if (!parse_number(value, -1, 86400e3, &ms)) return false;
  f->has_pushback = true;
  f->pushback_ms = (int32_t)ms;
  return true;
}

/* "0.1", "0.1-0.5" or "exponential:0.1". */
static bool parse_delay(const char *text, fault_delay *out) {
  static const char exponential[] = "exponential:";
  char low[32];
  double from, to;
  *out = (fault_delay){0, 0, 0};
  if (strncmp(text, exponential, sizeof exponential - 1) == 0) {
    if (!parse_number(text + sizeof exponential - 1, 1e-6, 86400, &from)) return false;
    out->mean_us = (uint64_t)(from * 1e6);
    return true;
  }
  const char *dash = strchr(text, '-');
  size_t length = dash ? (size_t)(dash - text) : strlen(text);
  if (length >= sizeof low) return false;
  memcpy(low, text, length);
  low[length] = '\0';
  if (!parse_number(low, 0, 86400, &from)) return false;
  to = from;
  if (dash && !parse_number(dash + 1, from, 86400, &to)) return false;
  out->least_us = (uint64_t)(from * 1e6);
  out->most_us = (uint64_t)(to * 1e6);
  return true;
}

static bool set_latency(fault *f, const char *value) { return parse_delay(value, &f->latency); }
static bool set_job_latency(fault *f, const char *value) { return parse_delay(value, &f->job_latency); }
static bool set_job_state(fault *f, const char *value) { return job_state_parse(value, &f->job_state); }

static bool set_job(fault *f, const char *value) {
  f->evicts_job = is(value, "evict");
  f->job_state = is(value, "fail") ? JOB_FAILED : is(value, "hang") ? JOB_RUNNING : JOB_UNSPECIFIED;
  return f->evicts_job || f->job_state != JOB_UNSPECIFIED;
}

#define DELAY_EXPECTED "seconds, a range of seconds such as 0.1-0.5, or a mean as in exponential:0.1"

static const struct key {
  const char *name;
  bool (*set)(fault *f, const char *value);
  const char *expected;
} keys[] = {
    {"rpc", set_rpc,
     "any, SubmitJob, SubmitBatch, GetJobStatus, GetJobResult, CancelJob, ListBackends, GetBackendInfo, WatchJob, "
     "StreamResults or SubmitBatchStream"},
    {"status", set_status,
     "a status other than OK: CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, "
     "PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, "
     "UNAVAILABLE, DATA_LOSS or UNAUTHENTICATED"},
    {"message", set_message, "a text of at most 511 bytes"},
    {"tag", set_tag, "permanent or transient"},
    {"when", set_when, "before or after"},
    {"drop", set_drop, "before or after"},
    {"hang", set_hang, "before, after or true"},
    {"rate", set_rate, "a probability from 0 to 1"},
    {"count", set_count, "a whole number from 1"},
    {"after", set_after, "a whole number from 0"},
    {"messages", set_messages, "a whole number from 1"},
    {"latency", set_latency, DELAY_EXPECTED},
    {"pushback_ms", set_pushback, "milliseconds, or -1"},
    {"job", set_job, "fail, hang or evict"},
    {"job_state", set_job_state, "QUEUED, RUNNING, COMPLETED, FAILED, CANCELED or RESULT_EXPIRED"},
    {"job_latency", set_job_latency, DELAY_EXPECTED},
};

bool fault_set(fault *f, const char *name, const char *value, char *problem, size_t size) {
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    if (!is(name, keys[i].name)) continue;
    if (keys[i].set(f, value)) return true;
    snprintf(problem, size, "bad value '%.100s' for the fault's %s: expected %s", value, name, keys[i].expected);
    return false;
  }
  int at = snprintf(problem, size, "a fault has no key '%.100s': expected", name);
  for (size_t i = 0; i < sizeof keys / sizeof *keys && at > 0 && (size_t)at < size; i++)
    at += snprintf(problem + at, size - (size_t)at, "%s %s", i ? "," : "", keys[i].name);
  return false;
}

static bool complain(char *problem, size_t size, const char *text) {
  snprintf(problem, size, "%s", text);
  return false;
}

bool fault_check(const fault *f, char *problem, size_t size) {
  bool jobs_only = fault_is_for_jobs(f), calls_only = fault_is_for_calls(f);
  bool submits = f->rpc == FAULT_ANY_RPC || rpcs[f->rpc].submits;
  bool streams = f->rpc == FAULT_ANY_RPC || rpcs[f->rpc].sends_many;
  if (jobs_only && calls_only)
    return complain(problem, size, "a fault is about calls or about jobs, not both: give two");
  if (!jobs_only && !calls_only) {
    return complain(problem, size, "a fault needs one of status, drop, hang, latency, job, job_state, job_latency");
  }
  if (f->evicts_job && f->job_state) return complain(problem, size, "job=evict does not go with a job_state");
  if (jobs_only && !submits) return complain(problem, size, "a fault about jobs needs an rpc that submits them");
  if (f->has_pushback && f->action != FAULT_STATUS) return complain(problem, size, "pushback_ms needs a status");
  if (f->after && !f->action) return complain(problem, size, "when and messages need one of status, drop, hang");
  if (f->messages && !streams) return complain(problem, size, "messages needs an rpc that answers with a stream");
  return true;
}

/* The next "key=value" in place; *text moves past it. */
static bool split(char **text, char **name, char **value) {
  char *read = *text, *write;
  *name = read;
  char *equals = strchr(read, '=');
  if (!equals) return false;
  *equals = '\0';
  *value = read = write = equals + 1;
  while (*read && *read != ',') {
    if (read[0] == '\\' && read[1] == ',') read++;
    *write++ = *read++;
  }
  *text = *read ? read + 1 : read;
  *write = '\0';
  return true;
}

bool fault_parse(fault *f, const char *text, char *problem, size_t size) {
  char *copy = strdup(text), *at = copy, *name, *value;
  if (!copy) return complain(problem, size, "out of memory");
  fault_init(f);
  bool ok = true;
  while (ok && *at) {
    if (split(&at, &name, &value)) {
      ok = fault_set(f, name, value, problem, size);
    } else {
      snprintf(problem, size, "bad fault '%.100s': expected KEY=VALUE, for example rpc=SubmitJob,status=UNAVAILABLE",
               text);
      ok = false;
    }
  }
  free(copy);
  return ok && fault_check(f, problem, size);
}
