/* SPDX-License-Identifier: Apache-2.0 */
#include "beat.h"

#include <time.h>

#include "control.h"

#define SECOND_NS INT64_C(1000000000)

int64_t arvak__db_boot_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void clear(arvak__db_pulse *pulse) {
  arvak__db_arena_fini(&pulse->tx.arena);
  *pulse = (arvak__db_pulse){0};
}

void arvak__db_beat_init(arvak__db_beat *beat) {
  pthread_mutex_init(&beat->mu, NULL);
  beat->due_ns = DB_NEVER;
  atomic_init(&beat->turn_ns, arvak__db_boot_ns());
}

void arvak__db_beat_fini(arvak__db_beat *beat) {
  clear(&beat->next);
  clear(&beat->current);
  pthread_mutex_destroy(&beat->mu);
}

/* ---- the Lua thread ---- */

void arvak__db_beat_set(arvak__db_beat *beat, arvak__db_pulse *pulse) {
  pthread_mutex_lock(&beat->mu);
  arvak__db_pulse replaced = beat->next;
  beat->next = *pulse;
  beat->is_changed = true;
  pthread_mutex_unlock(&beat->mu);
  clear(&replaced);
  *pulse = (arvak__db_pulse){0};
  arvak__db_beat_touch(beat);
}

bool arvak__db_beat_touch(arvak__db_beat *beat) {
  atomic_store(&beat->turn_ns, arvak__db_boot_ns());
  return atomic_load(&beat->is_quiet) && atomic_exchange(&beat->is_quiet, false);
}

/* ---- the store's thread ---- */

static void take_over(arvak__db_beat *beat) {
  pthread_mutex_lock(&beat->mu);
  bool is_changed = beat->is_changed;
  arvak__db_pulse replaced = beat->current;
  if (is_changed) {
    beat->current = beat->next;
    beat->next = (arvak__db_pulse){0};
    beat->is_changed = false;
  }
  pthread_mutex_unlock(&beat->mu);
  if (!is_changed) return;
  clear(&replaced);
  beat->due_ns = beat->current.tx.first ? 0 : DB_NEVER;
}

static int64_t turn_age(const arvak__db_beat *beat) { return arvak__db_boot_ns() - atomic_load(&beat->turn_ns); }

/* A turn may come between the look at its time and the flag: so it is looked at again afterwards. */
static bool is_too_quiet(arvak__db_beat *beat) {
  if (turn_age(beat) < beat->current.quiet_ns) return false;
  atomic_store(&beat->is_quiet, true);
  if (turn_age(beat) >= beat->current.quiet_ns) return true;
  atomic_store(&beat->is_quiet, false);
  return false;
}

int64_t arvak__db_beat_due(arvak__db_beat *beat) {
  take_over(beat);
  if (!beat->current.tx.first) return DB_NEVER;
  if (beat->due_ns > arvak__db_now_ns()) return beat->due_ns;
  return is_too_quiet(beat) ? DB_NEVER : beat->due_ns;
}

const arvak__db_transaction *arvak__db_beat_begin(arvak__db_beat *beat) {
  arvak__db_statement *first = beat->current.tx.first;
  size_t turn = beat->current.turn;
  if (turn > 0 && turn <= first->value_count) {
    double age = (double)turn_age(beat) / (double)SECOND_NS;
    first->values[turn - 1] = (arvak__db_value){.type = DB_FLOAT, .as.number = age};
  }
  beat->due_ns = arvak__db_after_ns(beat->current.every_ns);
  return &beat->current.tx;
}

static bool has_changed_row(const arvak__db_outcome *outcome) {
  return !outcome->has_failed && outcome->first && outcome->first->changes > 0;
}

bool arvak__db_beat_end(arvak__db_beat *beat, int64_t sent_ns, arvak__db_outcome *outcome) {
  if (has_changed_row(outcome)) {
    atomic_store(&beat->beat_ns, sent_ns);
    return false;
  }
  if (!outcome->has_failed) arvak__db_outcome_fail(outcome, DB_FENCED, 0, 1, "the sign of life found no row to change");
  bool is_over = outcome->what == DB_FENCED || outcome->what == DB_CLOSED || outcome->what == DB_LOST;
  if (is_over) clear(&beat->current);
  return true;
}

void arvak__db_beat_note(arvak__db_beat *beat, int64_t sent_ns, const arvak__db_outcome *outcome) {
  if (!has_changed_row(outcome)) return;
  atomic_store(&beat->beat_ns, sent_ns);
  int64_t left_ns = beat->current.every_ns - (arvak__db_boot_ns() - sent_ns);
  beat->due_ns = arvak__db_after_ns(left_ns > 0 ? left_ns : 0);
}
