/* The thread of a store, its queue and its end. Invariant: outcomes come in the order of submit, exactly one for each;
 * and whoever is the last to know of a store, its thread or the Lua thread, frees it.
 *
 *              OPEN          CLOSING             LEAVING            DETACHED            ENDED
 *  submit      queued        queued, refused     -                  -                   refused at once
 *  close       CLOSING       -                   -                  -                   -
 *  abandon     LEAVING       goes on for 50 ms   -                  -                   freed
 *  wait over   -             DETACHED, goes on   DETACHED           -                   -
 *  thread ends -             ENDED               ENDED, then freed  freed by the thread -
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "beat.h"

typedef enum state { STATE_OPEN, STATE_CLOSING, STATE_LEAVING, STATE_DETACHED, STATE_ENDED } state;

/* A transaction on its way, with the place for its outcome. */
typedef struct job {
  struct job *next;
  arvak__db_kind kind;
  int64_t id;
  bool is_refused; /* submitted after close */
  bool is_beat;    /* a sign of life, too */
  arvak__db_transaction tx;
  arvak__db_outcome outcome;
} job;

typedef struct job_list {
  job *first, **end;
} job_list;

struct arvak__db_store {
  const arvak__db_driver *driver;
  arvak__db_control control;
  arvak__db_arena texts; /* of the settings */
  arvak__db_settings settings;
  arvak__bell_seam seam; /* shared */
  unsigned generation;   /* of the process that has the thread */
  pthread_t thread;
  bool has_thread;
  pthread_mutex_t mu;
  pthread_cond_t ended; /* mu: state has become STATE_ENDED */
  state state;          /* mu */
  job_list queue, done; /* mu; owned */
  job *open_job, *end_job; /* owned until they are done */
  job *beat_job;           /* mu; owned until a beat is reported */
  arvak__db_beat beat;
  /* The Lua thread's: */
  int64_t submitted, taken; /* ids; taken: -1 before the outcome of opening */
  bool is_close_wanted, is_end_taken;
  arvak__db_outcome forked; /* what a child process is given */
  arvak__db_store *next_left;
  /* The store's thread's: */
  void *connection; /* owned */
  bool is_connected;
};

/* ---- forks ---- */

static atomic_uint generation;
static arvak__db_store *left; /* stores of the parent that this process has let go of: nothing in them may be touched */

static void count_fork(void) { atomic_fetch_add(&generation, 1); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

static bool is_foreign(const arvak__db_store *store) { return store->generation != atomic_load(&generation); }

/* ---- jobs ---- */

static void append(job_list *list, job *added) {
  added->next = NULL;
  *list->end = added;
  list->end = &added->next;
}

static job *pop(job_list *list) {
  job *first = list->first;
  if (!first) return NULL;
  list->first = first->next;
  if (!list->first) list->end = &list->first;
  return first;
}

static void free_job(job *unwanted) {
  if (!unwanted) return;
  arvak__db_arena_fini(&unwanted->tx.arena);
  arvak__db_outcome_fini(&unwanted->outcome);
  free(unwanted);
}

static void free_jobs(job_list *list) {
  for (job *first; (first = pop(list));) free_job(first);
}

static void free_store(arvak__db_store *store) {
  free_jobs(&store->queue);
  free_jobs(&store->done);
  free_job(store->open_job);
  free_job(store->end_job);
  free_job(store->beat_job);
  arvak__db_beat_fini(&store->beat);
  arvak__db_arena_fini(&store->texts);
  arvak__db_control_fini(&store->control);
  pthread_mutex_destroy(&store->mu);
  pthread_cond_destroy(&store->ended);
  if (store->seam.functions) store->seam.functions->release(store->seam.bell);
  free(store->connection);
  free(store);
}

/* ---- the thread ---- */

static void wake_lua(arvak__db_store *store) { store->seam.functions->wake(store->seam.bell); }

/* Takes the job. */
static void answer(arvak__db_store *store, job *answered) {
  arvak__db_arena_fini(&answered->tx.arena);
  pthread_mutex_lock(&store->mu);
  append(&store->done, answered);
  pthread_mutex_unlock(&store->mu);
  wake_lua(store);
}

static void refuse(job *refused, const char *why) {
  arvak__db_outcome_fail(&refused->outcome, DB_CLOSED, 0, 0, "%s", why);
}

static void connect(arvak__db_store *store) {
  job *opened = store->open_job;
  store->open_job = NULL;
  store->driver->open(store->connection, &store->settings, &store->control, &opened->outcome);
  store->is_connected = !opened->outcome.has_failed;
  if (!store->is_connected) store->driver->close(store->connection);
  answer(store, opened);
}

static void execute(arvak__db_store *store, job *next) {
  if (next->is_refused) refuse(next, "the store was closed before");
  else if (!store->is_connected) refuse(next, "the database could not be opened");
  else if (arvak__db_control_is_interrupted(&store->control)) refuse(next, "the store was closed meanwhile");
  else store->driver->execute(store->connection, &next->tx, &next->outcome);
}

static void execute_and_answer(arvak__db_store *store, job *next) {
  int64_t sent_ns = arvak__db_boot_ns();
  execute(store, next);
  if (next->is_beat) arvak__db_beat_note(&store->beat, sent_ns, &next->outcome);
  if (next->tx.is_blind && !next->outcome.has_failed) arvak__db_outcome_fini(&next->outcome);
  answer(store, next);
}

/* Without memory for the next report there is none, until there is memory again. */
static void report_beat(arvak__db_store *store, const arvak__db_outcome *outcome) {
  job *spare = calloc(1, sizeof *spare);
  pthread_mutex_lock(&store->mu);
  job *report = store->beat_job;
  store->beat_job = spare;
  pthread_mutex_unlock(&store->mu);
  if (!report) return;
  report->kind = DB_BEATEN;
  report->outcome = *outcome;
  answer(store, report);
}

static void execute_beat(arvak__db_store *store) {
  arvak__db_outcome outcome = {0};
  const arvak__db_transaction *tx = arvak__db_beat_begin(&store->beat);
  int64_t sent_ns = arvak__db_boot_ns();
  store->driver->execute(store->connection, tx, &outcome);
  if (arvak__db_beat_end(&store->beat, sent_ns, &outcome)) report_beat(store, &outcome);
  else arvak__db_outcome_fini(&outcome);
}

static int64_t beat_due(arvak__db_store *store) {
  bool can_beat = store->is_connected && !arvak__db_control_is_interrupted(&store->control);
  return can_beat ? arvak__db_beat_due(&store->beat) : DB_NEVER;
}

/* The next to be executed, if there is one. *is_over: there will be none. */
static job *take_job(arvak__db_store *store, bool *is_over) {
  pthread_mutex_lock(&store->mu);
  job *next = store->state != STATE_LEAVING ? pop(&store->queue) : NULL;
  *is_over = !next && store->state != STATE_OPEN;
  pthread_mutex_unlock(&store->mu);
  return next;
}

static void work(arvak__db_store *store) {
  bool is_over = false;
  while (!is_over) {
    int fd = -1;
    int64_t until = DB_NEVER;
    if (store->is_connected && store->driver->idle) until = store->driver->idle(store->connection, &fd);
    int64_t beat_at = beat_due(store);
    job *next = take_job(store, &is_over);
    if (next) execute_and_answer(store, next);
    if (is_over) break;
    if (beat_at <= arvak__db_now_ns()) execute_beat(store);
    else if (!next) arvak__db_control_wait(&store->control, fd, POLLIN, beat_at < until ? beat_at : until);
  }
}

/* What came after the last look at the queue is answered, too. */
static void finish(arvak__db_store *store) {
  pthread_mutex_lock(&store->mu);
  for (job *late; store->state == STATE_CLOSING && (late = pop(&store->queue));) {
    refuse(late, "the store was closed before");
    append(&store->done, late);
  }
  append(&store->done, store->end_job);
  store->end_job = NULL;
  bool is_mine = store->state == STATE_DETACHED;
  store->state = STATE_ENDED;
  pthread_cond_signal(&store->ended);
  pthread_mutex_unlock(&store->mu);
  wake_lua(store); /* which joins this thread before it frees the store */
  if (is_mine) free_store(store);
}

static void *run(void *ud) {
  arvak__db_store *store = ud;
  pthread_setname_np(pthread_self(), "arvak-store"); /* as top and debuggers show it */
  connect(store);
  work(store);
  if (store->is_connected) store->driver->close(store->connection);
  finish(store);
  return NULL;
}

/* The program's signals are for the program's own threads. */
static bool start_thread(arvak__db_store *store) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  store->has_thread = pthread_create(&store->thread, NULL, run, store) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return store->has_thread;
}

/* ---- making one ---- */

static void init_locks(arvak__db_store *store) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&store->ended, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&store->mu, NULL);
}

static bool copy_text(arvak__db_store *store, const char **text) {
  if (*text) *text = arvak__db_arena_copy(&store->texts, *text, strlen(*text));
  return *text != NULL;
}

static bool copy_settings(arvak__db_store *store, const arvak__db_settings *settings) {
  store->settings = *settings;
  if (!copy_text(store, &store->settings.where)) return false;
  for (const arvak__db_option *option = store->driver->options; option->name; option++) {
    const char **text = (const char **)((char *)&store->settings + option->offset);
    if (option->type == DB_OPTION_TEXT && *text && !copy_text(store, text)) return false;
  }
  return true;
}

/* Without its thread it has ended from the beginning. */
static void fail_to_start(arvak__db_store *store) {
  arvak__db_outcome_fail(&store->open_job->outcome, DB_OTHER, 0, 0,
                         "the system has no descriptor or thread left for a store");
  append(&store->done, store->open_job);
  append(&store->done, store->end_job);
  store->open_job = store->end_job = NULL;
  store->state = STATE_ENDED;
  wake_lua(store);
}

arvak__db_store *arvak__db_store_new(const arvak__db_driver *driver, const arvak__bell_seam *seam,
                                     const arvak__db_settings *settings) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  arvak__db_store *store = calloc(1, sizeof *store);
  if (!store) return NULL;
  pthread_once(&once, watch_forks);
  *store = (arvak__db_store){.driver = driver, .taken = -1, .generation = atomic_load(&generation)};
  store->queue.end = &store->queue.first;
  store->done.end = &store->done.first;
  store->control.wake_fd = -1;
  init_locks(store);
  arvak__db_beat_init(&store->beat);
  store->connection = calloc(1, driver->size_bytes);
  store->open_job = calloc(1, sizeof *store->open_job);
  store->end_job = calloc(1, sizeof *store->end_job);
  if (!store->connection || !store->open_job || !store->end_job || !copy_settings(store, settings)) {
    free_store(store);
    return NULL;
  }
  store->end_job->kind = DB_ENDED;
  store->seam = *seam;
  seam->functions->retain(seam->bell);
  if (!arvak__db_control_init(&store->control) || !start_thread(store)) fail_to_start(store);
  return store;
}

/* ---- for the Lua thread ---- */

int64_t arvak__db_store_submit(arvak__db_store *store, arvak__db_transaction *tx, bool is_beat) {
  if (is_foreign(store)) {
    arvak__db_arena_fini(&tx->arena);
    *tx = (arvak__db_transaction){0};
    store->seam.functions->wake(store->seam.bell);
    return ++store->submitted;
  }
  job *added = calloc(1, sizeof *added);
  if (!added) return 0;
  added->kind = DB_EXECUTED;
  added->is_beat = is_beat;
  added->id = ++store->submitted;
  added->tx = *tx;
  *tx = (arvak__db_transaction){0};
  pthread_mutex_lock(&store->mu);
  bool has_ended = store->state == STATE_ENDED;
  added->is_refused = store->state != STATE_OPEN;
  if (has_ended) refuse(added, "the store was closed before");
  append(has_ended ? &store->done : &store->queue, added);
  pthread_mutex_unlock(&store->mu);
  if (has_ended) wake_lua(store);
  else arvak__db_control_wake(&store->control);
  return added->id;
}

bool arvak__db_store_beat(arvak__db_store *store, arvak__db_pulse *pulse) {
  if (is_foreign(store)) {
    arvak__db_arena_fini(&pulse->tx.arena);
    return true;
  }
  job *report = calloc(1, sizeof *report);
  if (!report) return false;
  pthread_mutex_lock(&store->mu);
  bool is_spare = store->beat_job != NULL;
  if (!is_spare) store->beat_job = report;
  pthread_mutex_unlock(&store->mu);
  if (is_spare) free_job(report);
  arvak__db_beat_set(&store->beat, pulse);
  arvak__db_control_wake(&store->control);
  return true;
}

void arvak__db_store_touch(arvak__db_store *store) {
  if (arvak__db_beat_touch(&store->beat) && !is_foreign(store)) arvak__db_control_wake(&store->control);
}

int64_t arvak__db_store_last_beat(const arvak__db_store *store) { return atomic_load(&store->beat.beat_ns); }

static bool peek_in_child(arvak__db_store *store, arvak__db_view *view) {
  bool is_end = store->taken == store->submitted;
  if (is_end && (store->is_end_taken || !store->is_close_wanted)) return false;
  if (!store->forked.has_failed)
    arvak__db_outcome_fail(&store->forked, DB_CLOSED, 0, 0,
                           "this process is a fork of the one that opened the database: open it anew");
  view->id = is_end ? 0 : store->taken + 1;
  view->kind = is_end ? DB_ENDED : view->id == 0 ? DB_OPENED : DB_EXECUTED;
  view->outcome = &store->forked;
  return true;
}

bool arvak__db_store_peek(arvak__db_store *store, arvak__db_view *view) {
  if (is_foreign(store)) return peek_in_child(store, view);
  pthread_mutex_lock(&store->mu);
  const job *first = store->done.first;
  pthread_mutex_unlock(&store->mu);
  if (!first) return false;
  *view = (arvak__db_view){.kind = first->kind, .id = first->id, .outcome = &first->outcome};
  return true;
}

void arvak__db_store_drop(arvak__db_store *store) {
  arvak__db_view view;
  if (!arvak__db_store_peek(store, &view)) return;
  if (view.kind == DB_ENDED) store->is_end_taken = true;
  else if (view.kind != DB_BEATEN) store->taken = view.id;
  if (is_foreign(store)) return;
  pthread_mutex_lock(&store->mu);
  job *taken = pop(&store->done);
  pthread_mutex_unlock(&store->mu);
  free_job(taken);
}

void arvak__db_store_close(arvak__db_store *store) {
  if (store->is_close_wanted) return;
  store->is_close_wanted = true;
  if (is_foreign(store)) {
    store->seam.functions->wake(store->seam.bell);
    return;
  }
  pthread_mutex_lock(&store->mu);
  bool is_open = store->state == STATE_OPEN;
  if (is_open) store->state = STATE_CLOSING;
  pthread_mutex_unlock(&store->mu);
  if (is_open) arvak__db_control_interrupt_at(&store->control, arvak__db_after_ns(DB_CLOSE_NS));
}

/* Waits for the thread's end, until then; true: it has come. Else the thread frees the store. */
static bool leave_thread(arvak__db_store *store, int64_t until) {
  struct timespec deadline = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
  pthread_mutex_lock(&store->mu);
  if (store->state == STATE_CLOSING) { /* what is queued has this moment, whoever waits for it */
    arvak__db_control_interrupt_at(&store->control, arvak__db_after_ns(DB_ABANDON_NS));
  } else if (store->state != STATE_ENDED) {
    store->state = STATE_LEAVING;
    arvak__db_control_interrupt_at(&store->control, 0);
  }
  int status = 0;
  while (store->state != STATE_ENDED && status == 0)
    status = pthread_cond_timedwait(&store->ended, &store->mu, &deadline);
  bool has_ended = store->state == STATE_ENDED;
  if (!has_ended) {
    store->state = STATE_DETACHED;
    pthread_detach(store->thread);
  }
  pthread_mutex_unlock(&store->mu);
  return has_ended;
}

void arvak__db_store_abandon(arvak__db_store *store) {
  arvak__db_store_abandon_until(store, arvak__db_after_ns(DB_ABANDON_NS));
}

void arvak__db_store_abandon_until(arvak__db_store *store, int64_t until_ns) {
  if (is_foreign(store)) {
    store->next_left = left;
    left = store;
    return;
  }
  if (store->has_thread) {
    if (!leave_thread(store, until_ns)) return;
    pthread_join(store->thread, NULL);
  }
  free_store(store);
}
