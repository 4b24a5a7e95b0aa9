/* See jobs.h. Guarded by mu: everything in struct jobs, and the last group of fields of struct job.
 * SPDX-License-Identifier: Apache-2.0 */
#include "jobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { BUCKETS = 16384, RANDOM_BYTES = 2048, ID_LENGTH = 36 };

/* Results kept at most, in outcomes: half a gigabyte. Past it the oldest results go first. */
static const uint64_t max_outcomes = UINT64_C(64) << 20;

/* Jobs in order of submission. */
typedef struct job_list {
  job *oldest, *newest;
} job_list;

struct jobs {
  pthread_mutex_t mu;
  uint32_t capacity;
  uint64_t next_number, outcomes;
  jobs_counts counts;
  job_list active, terminal; /* each stored job is in one */
  job *buckets[BUCKETS];
  unsigned char random[RANDOM_BYTES];
  size_t random_left;
};

static const char *const state_names[JOB_STATES] = {"UNSPECIFIED", "QUEUED",   "RUNNING",       "COMPLETED",
                                                    "FAILED",      "CANCELED", "RESULT_EXPIRED"};

const char *job_state_name(job_state state) { return state < JOB_STATES ? state_names[state] : "UNKNOWN"; }

bool job_state_parse(const char *name, job_state *out) {
  for (int i = JOB_QUEUED; i < JOB_STATES; i++) {
    if (strcmp(name, state_names[i]) == 0) {
      *out = (job_state)i;
      return true;
    }
  }
  return false;
}

bool job_state_is_terminal(job_state state) { return state >= JOB_COMPLETED; }

job *job_new(circuit *c, uint32_t shots, uint32_t width) {
  job *j = calloc(1, sizeof *j);
  if (!j) {
    circuit_free(c);
    return NULL;
  }
  atomic_init(&j->refs, 1);
  atomic_init(&j->stop, false);
  j->circuit = c;
  j->shots = shots;
  j->width = width;
  return j;
}

job *job_ref(job *j) {
  atomic_fetch_add_explicit(&j->refs, 1, memory_order_relaxed);
  return j;
}

static void result_free(counts *result) {
  if (!result) return;
  counts_fini(result);
  free(result);
}

void job_unref(job *j) {
  if (atomic_fetch_sub_explicit(&j->refs, 1, memory_order_acq_rel) != 1) return;
  circuit_free(j->circuit);
  result_free(j->result);
  free(j->plan.message);
  free(j->error);
  free(j);
}

static job_list *list_of(jobs *all, const job *j) {
  return job_state_is_terminal(j->state) ? &all->terminal : &all->active;
}

/* From the newest backwards: jobs end nearly in the order in which they came. */
static void list_insert(job_list *list, job *j) {
  job *older = list->newest;
  while (older && older->number > j->number) older = older->older;
  j->older = older;
  j->newer = older ? older->newer : list->oldest;
  *(j->newer ? &j->newer->older : &list->newest) = j;
  *(older ? &older->newer : &list->oldest) = j;
}

static void list_remove(job_list *list, job *j) {
  *(j->older ? &j->older->newer : &list->oldest) = j->newer;
  *(j->newer ? &j->newer->older : &list->newest) = j->older;
}

static job **bucket_of(jobs *all, const char *id) {
  uint32_t hash = 2166136261u;
  for (int i = 0; i < ID_LENGTH; i++) hash = (hash ^ (unsigned char)id[i]) * 16777619u;
  return &all->buckets[(hash ^ hash >> 15) % BUCKETS];
}

static job *find(jobs *all, const char *id, size_t length) {
  if (length != ID_LENGTH) return NULL;
  for (job *j = *bucket_of(all, id); j; j = j->next_in_bucket) {
    if (memcmp(j->id, id, ID_LENGTH) == 0) return j;
  }
  return NULL;
}

/* Moves a stored job to a state, with the counters, the lists and the times that go with it. */
static void set_state(jobs *all, job *j, job_state state, int64_t now_s) {
  all->counts.by_state[j->state]--;
  list_remove(list_of(all, j), j);
  j->state = state;
  all->counts.by_state[state]++;
  list_insert(list_of(all, j), j);
  if (state == JOB_RUNNING && !j->started_at) j->started_at = now_s;
  if (job_state_is_terminal(state) && !j->completed_at) j->completed_at = now_s;
}

/* True exactly once a job: the caller then calls on_end, after unlocking. */
static bool first_end(job *j) {
  if (j->ended) return false;
  j->ended = true;
  return j->on_end != NULL;
}

/* Unlinks a job; its reference is the caller's now. */
static void forget(jobs *all, job *j) {
  job **link = bucket_of(all, j->id);
  while (*link != j) link = &(*link)->next_in_bucket;
  *link = j->next_in_bucket;
  list_remove(list_of(all, j), j);
  all->counts.by_state[j->state]--;
  all->counts.stored--;
  if (j->result) all->outcomes -= j->result->size;
  j->stored = false;
  atomic_store_explicit(&j->stop, true, memory_order_relaxed);
}

/* Without any lock: on_end may call back into the store. */
static void release_forgotten(job *j, bool ended_now) {
  if (ended_now) j->on_end(j, j->ud);
  job_unref(j);
}

/* The oldest job that has ended, or else the oldest of all. */
static job *evict_oldest(jobs *all, bool *ended_now) {
  job *j = all->terminal.oldest ? all->terminal.oldest : all->active.oldest;
  forget(all, j);
  all->counts.evicted++;
  *ended_now = first_end(j);
  return j;
}

jobs *jobs_new(uint32_t capacity) {
  jobs *all = calloc(1, sizeof *all);
  if (!all) return NULL;
  pthread_mutex_init(&all->mu, NULL);
  all->capacity = capacity;
  return all;
}

void jobs_free(jobs *all) {
  if (!all) return;
  while (all->counts.stored) {
    bool ended_now;
    job *j = evict_oldest(all, &ended_now);
    release_forgotten(j, ended_now);
  }
  pthread_mutex_destroy(&all->mu);
  free(all);
}

static jobs_verdict check(const jobs *all, const jobs_limits *limits) {
  const uint32_t *by_state = all->counts.by_state;
  if (limits->max_running && by_state[JOB_RUNNING] >= limits->max_running) return JOBS_RUNNING_FULL;
  if (limits->max_queued && by_state[JOB_QUEUED] >= limits->max_queued) return JOBS_QUEUE_FULL;
  return JOBS_OK;
}

jobs_verdict jobs_check(jobs *all, const jobs_limits *limits, jobs_counts *seen) {
  pthread_mutex_lock(&all->mu);
  jobs_verdict verdict = check(all, limits);
  *seen = all->counts;
  pthread_mutex_unlock(&all->mu);
  return verdict;
}

/* A random UUID, version 4. */
static bool write_id(jobs *all, char *id) {
  static const char hex[] = "0123456789abcdef";
  if (all->random_left < 16) {
    if (getrandom(all->random, RANDOM_BYTES, 0) != RANDOM_BYTES) return false;
    all->random_left = RANDOM_BYTES;
  }
  all->random_left -= 16;
  unsigned char *bytes = all->random + all->random_left;
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *id++ = '-';
    *id++ = hex[bytes[i] >> 4];
    *id++ = hex[bytes[i] & 15];
  }
  *id = '\0';
  return true;
}

static void link_new(jobs *all, job *j, int64_t now_s) {
  job **bucket = bucket_of(all, j->id);
  j->next_in_bucket = *bucket;
  *bucket = job_ref(j);
  j->number = ++all->next_number;
  j->submitted_at = now_s;
  j->state = JOB_QUEUED;
  j->stored = true;
  list_insert(&all->active, j);
  all->counts.by_state[JOB_QUEUED]++;
  all->counts.stored++;
  all->counts.accepted++;
}

jobs_verdict jobs_add(jobs *all, job *j, const jobs_limits *limits, int64_t now_s) {
  job *evicted = NULL;
  bool ended_now = false;
  pthread_mutex_lock(&all->mu);
  jobs_verdict verdict = limits ? check(all, limits) : JOBS_OK;
  if (verdict == JOBS_OK && !write_id(all, j->id)) verdict = JOBS_NO_MEMORY;
  if (verdict == JOBS_OK) {
    if (all->counts.stored >= all->capacity) evicted = evict_oldest(all, &ended_now);
    link_new(all, j, now_s);
  }
  pthread_mutex_unlock(&all->mu);
  if (evicted) release_forgotten(evicted, ended_now);
  return verdict;
}

static void view_locked(const job *j, job_view *view) {
  *view = (job_view){.state = j->state,
                     .submitted_at = j->submitted_at,
                     .started_at = j->started_at,
                     .completed_at = j->completed_at,
                     .execution_ms = j->execution_ms,
                     .error = j->state == JOB_FAILED && j->error ? j->error : "",
                     .result = j->result};
}

job *jobs_get(jobs *all, const char *id, size_t length, job_view *view) {
  pthread_mutex_lock(&all->mu);
  job *j = find(all, id, length);
  if (j) {
    job_ref(j);
    view_locked(j, view);
  }
  pthread_mutex_unlock(&all->mu);
  return j;
}

void jobs_view(jobs *all, const job *j, job_view *view) {
  pthread_mutex_lock(&all->mu);
  view_locked(j, view);
  pthread_mutex_unlock(&all->mu);
}

bool jobs_start(jobs *all, job *j, int64_t now_s, uint64_t now_us) {
  pthread_mutex_lock(&all->mu);
  bool can = j->stored && j->state == JOB_QUEUED;
  if (can) {
    j->started_us = now_us;
    set_state(all, j, JOB_RUNNING, now_s);
  }
  pthread_mutex_unlock(&all->mu);
  return can;
}

/* Ends a job that has not ended; the lock is held at entry and not at return. */
static bool end_and_unlock(jobs *all, job *j, job_state state, int64_t now_s) {
  bool can = j->stored && !job_state_is_terminal(j->state);
  if (can) set_state(all, j, state, now_s);
  bool ended_now = can && first_end(j);
  pthread_mutex_unlock(&all->mu);
  if (ended_now) j->on_end(j, j->ud);
  return can;
}

/* Old results make room for new ones, but the newest stays whatever its size. */
static job *evict_for_room(jobs *all, const job *keep, bool *ended_now) {
  job *oldest = all->terminal.oldest;
  if (all->outcomes <= max_outcomes || !oldest || oldest == keep) return NULL;
  return evict_oldest(all, ended_now);
}

bool jobs_complete(jobs *all, job *j, counts *result, int64_t now_s, uint64_t now_us) {
  counts *kept = malloc(sizeof *kept);
  job *evicted = NULL;
  bool ended_now = false;
  pthread_mutex_lock(&all->mu);
  bool can = j->stored && j->state == JOB_RUNNING && !j->result;
  if (can && kept) {
    *kept = *result;
    j->result = kept;
    all->outcomes += kept->size;
    j->execution_ms = (now_us - j->started_us) / 1000;
    evicted = evict_for_room(all, j, &ended_now);
  }
  bool done = end_and_unlock(all, j, j->plan.end_state ? j->plan.end_state : JOB_COMPLETED, now_s);
  if (evicted) release_forgotten(evicted, ended_now);
  if (can && kept) return done;
  counts_fini(result);
  free(kept);
  return false;
}

bool jobs_fail(jobs *all, job *j, const char *message, int64_t now_s, uint64_t now_us) {
  char *error = strdup(message);
  pthread_mutex_lock(&all->mu);
  if (j->stored && j->state == JOB_RUNNING && !j->error) {
    j->error = error;
    error = NULL;
    j->execution_ms = (now_us - j->started_us) / 1000;
  }
  bool done = end_and_unlock(all, j, JOB_FAILED, now_s);
  free(error);
  return done;
}

bool jobs_cancel(jobs *all, job *j, int64_t now_s, job_view *before) {
  pthread_mutex_lock(&all->mu);
  view_locked(j, before);
  atomic_store_explicit(&j->stop, true, memory_order_relaxed);
  return end_and_unlock(all, j, JOB_CANCELED, now_s);
}

bool jobs_force(jobs *all, const char *id, job_state state, int64_t now_s) {
  pthread_mutex_lock(&all->mu);
  job *j = find(all, id, strlen(id));
  if (!j) {
    pthread_mutex_unlock(&all->mu);
    return false;
  }
  job_ref(j);
  set_state(all, j, state, now_s);
  bool ended_now = job_state_is_terminal(state) && first_end(j);
  pthread_mutex_unlock(&all->mu);
  if (ended_now) j->on_end(j, j->ud);
  job_unref(j);
  return true;
}

bool jobs_evict(jobs *all, const char *id) {
  bool ended_now = false;
  pthread_mutex_lock(&all->mu);
  job *j = find(all, id, strlen(id));
  if (j) {
    forget(all, j);
    all->counts.evicted++;
    ended_now = first_end(j);
  }
  pthread_mutex_unlock(&all->mu);
  if (j) release_forgotten(j, ended_now);
  return j != NULL;
}

void jobs_count(jobs *all, jobs_counts *out) {
  pthread_mutex_lock(&all->mu);
  *out = all->counts;
  pthread_mutex_unlock(&all->mu);
}

void jobs_abandon(jobs *all, const char *message, int64_t now_s) {
  for (;;) {
    pthread_mutex_lock(&all->mu);
    job *j = all->active.oldest;
    if (!j) break;
    job_ref(j);
    if (!j->error) j->error = strdup(message);
    end_and_unlock(all, j, JOB_FAILED, now_s);
    job_unref(j);
  }
  pthread_mutex_unlock(&all->mu);
}

static int by_number(const void *a, const void *b) {
  uint64_t one = ((const job_line *)a)->number, other = ((const job_line *)b)->number;
  return one < other ? -1 : one > other;
}

job_line *jobs_list(jobs *all, size_t *count) {
  *count = 0;
  pthread_mutex_lock(&all->mu);
  job_line *lines = calloc(all->counts.stored + 1, sizeof *lines);
  const job_list *const lists[] = {&all->active, &all->terminal};
  for (int i = 0; lines && i < 2; i++) {
    for (const job *j = lists[i]->oldest; j; j = j->newer) {
      job_line *line = &lines[(*count)++];
      *line = (job_line){.number = j->number, .shots = j->shots, .state = j->state};
      memcpy(line->id, j->id, sizeof line->id);
    }
  }
  pthread_mutex_unlock(&all->mu);
  if (lines) qsort(lines, *count, sizeof *lines, by_number);
  return lines;
}
