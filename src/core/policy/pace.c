/* The pace at which a server takes submits. Of the rate nothing is known beforehand: it is learned from what was
 * accepted until a refusal, and grows with every acceptance. A refusal may be an accident. It is confirmed when two
 * submits that go out to see are refused, too: then the rate is what was accepted in the second before, less a tenth.
 * SPDX-License-Identifier: Apache-2.0 */
#include "policy/pace.h"

#include <string.h>

#include "clock.h"

#define SECOND_NS 1000000000
#define BUCKET_NS (SECOND_NS / ARVAK__PACE_BUCKETS)

/* Without any submit after a refusal; where jobs have to end before there is room, the first is longer. The last one
 * bounds how late it is noticed that there is room again; where no job of ours is known to run, it may be longer. */
#define FIRST_PAUSE_NS INT64_C(10000000)
#define FIRST_FULL_PAUSE_NS INT64_C(50000000)
#define LAST_PAUSE_NS INT64_C(500000000)
#define LAST_IDLE_PAUSE_NS INT64_C(5000000000)
/* A submit that went out to see may take as long until another does: it may have been lost. */
#define PROBE_NS 1000000000
#define MAKE_UP_NS 50000000
#define QUIET_NS INT64_C(10000000000)
#define STUCK_NS INT64_C(60000000000)

/* For so long a job that was seen counts as running. */
#define SEEN_NS INT64_C(2000000000)

#define CONFIRMED 0.9
/* Of the rate before, where refusals that are not confirmed come close together. */
#define HASTY 0.7
enum { CLOSE_TOGETHER = 8, CONFIRMATIONS = 2 };
/* For each job accepted. */
#define GROWTH 1.02
#define LEAST_GROWTH 1.0
#define LEAST_RATE 1.0
#define MOST_RATE 1e6

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- what was accepted in the last second ---- */

static void advance(arvak__pace *pace, int64_t now_ns) {
  int64_t bucket = now_ns / BUCKET_NS, passed = bucket - pace->bucket;
  if (passed >= ARVAK__PACE_BUCKETS) memset(pace->accepted, 0, sizeof pace->accepted);
  else
    for (int64_t i = 1; i <= passed; i++) pace->accepted[(pace->bucket + i) % ARVAK__PACE_BUCKETS] = 0;
  pace->bucket = later(bucket, pace->bucket);
}

static double accepted(arvak__pace *pace, int64_t now_ns) {
  advance(pace, now_ns);
  double sum = 0;
  for (int i = 0; i < ARVAK__PACE_BUCKETS; i++) sum += pace->accepted[i];
  return sum;
}

/* The rate of the last moments, which a burst makes high. */
static double burst_rate(arvak__pace *pace, int64_t now_ns) {
  advance(pace, now_ns);
  int last = pace->accepted[pace->bucket % ARVAK__PACE_BUCKETS];
  int before = pace->accepted[(pace->bucket + ARVAK__PACE_BUCKETS - 1) % ARVAK__PACE_BUCKETS];
  return ARVAK__PACE_BUCKETS * (double)(last > before ? last : before);
}

/* ---- turns ---- */

int64_t arvak__pace_interval(const arvak__pace *pace) { return arvak__to_ns(SECOND_NS / pace->rate); }

int64_t arvak__pace_due(arvak__pace *pace, int jobs, int64_t now_ns) {
  if (pace->state == ARVAK__PACE_OPEN && now_ns - pace->closed_ns >= QUIET_NS) pace->state = ARVAK__PACE_FREE;
  if (pace->state == ARVAK__PACE_FREE || arvak__pace_is_stuck(pace, now_ns)) return now_ns;
  if (pace->state == ARVAK__PACE_CLOSED) return pace->turn_ns;
  return arvak__after_ns(pace->turn_ns, arvak__times_ns(arvak__pace_interval(pace), jobs));
}

/* Timers come late, which the next turn makes up for. */
void arvak__pace_take(arvak__pace *pace, int jobs, int64_t now_ns) {
  int64_t due = arvak__pace_due(pace, jobs, now_ns);
  if (pace->state == ARVAK__PACE_CLOSED) pace->turn_ns = arvak__after_ns(now_ns, PROBE_NS);
  else pace->turn_ns = later(due, now_ns - MAKE_UP_NS);
}

bool arvak__pace_holds(const arvak__pace *pace, int64_t turn_ns, int64_t now_ns) {
  return pace->state == ARVAK__PACE_FREE || turn_ns >= pace->closed_ns || arvak__pace_is_stuck(pace, now_ns);
}

/* ---- what came of them ---- */

static void set_rate(arvak__pace *pace, double rate) {
  pace->rate = rate < LEAST_RATE ? LEAST_RATE : rate > MOST_RATE ? MOST_RATE : rate;
}

static void open_it(arvak__pace *pace, int64_t now_ns) {
  if (pace->probes >= CONFIRMATIONS) set_rate(pace, CONFIRMED * (pace->rate < pace->seen ? pace->rate : pace->seen));
  else if (pace->since_open < CLOSE_TOGETHER) set_rate(pace, HASTY * pace->rate);
  pace->state = ARVAK__PACE_OPEN;
  pace->turn_ns = now_ns;
  pace->since_open = 0;
}

void arvak__pace_accept(arvak__pace *pace, int jobs, int64_t sent_ns, int64_t now_ns) {
  advance(pace, now_ns);
  pace->accepted[pace->bucket % ARVAK__PACE_BUCKETS] += jobs;
  pace->full_ns = 0;
  if (pace->state == ARVAK__PACE_FREE || sent_ns < pace->closed_ns) return;
  if (pace->state == ARVAK__PACE_CLOSED) open_it(pace, now_ns);
  for (int i = 0; i < jobs && pace->rate < MOST_RATE; i++) set_rate(pace, GROWTH * pace->rate + LEAST_GROWTH);
  pace->since_open += jobs;
}

static int64_t longer_pause(const arvak__pace *pace, int64_t now_ns) {
  bool is_idle = pace->is_full && now_ns - pace->unfinished_ns > SEEN_NS;
  int64_t last = is_idle ? LAST_IDLE_PAUSE_NS : LAST_PAUSE_NS;
  return 2 * pace->pause_ns < last ? 2 * pace->pause_ns : last;
}

static void close_it(arvak__pace *pace, int64_t now_ns) {
  if (pace->state == ARVAK__PACE_CLOSED) {
    pace->probes++;
    pace->pause_ns = longer_pause(pace, now_ns);
  } else {
    pace->probes = 0;
    pace->seen = accepted(pace, now_ns);
    pace->pause_ns = pace->is_full ? FIRST_FULL_PAUSE_NS : FIRST_PAUSE_NS;
    if (pace->state == ARVAK__PACE_FREE) {
      set_rate(pace, burst_rate(pace, now_ns));
      pace->since_open = CLOSE_TOGETHER;
    }
  }
  pace->state = ARVAK__PACE_CLOSED;
  pace->closed_ns = now_ns;
  pace->turn_ns = arvak__after_ns(now_ns, pace->pause_ns);
}

void arvak__pace_refuse(arvak__pace *pace, const arvak__refusal *refusal, int64_t now_ns) {
  pace->is_full = refusal->is_full;
  if (!refusal->is_full) pace->full_ns = 0;
  else if (pace->full_ns == 0) pace->full_ns = now_ns;
  if (pace->state == ARVAK__PACE_FREE || refusal->sent_ns >= pace->closed_ns) close_it(pace, now_ns);
  if (pace->state == ARVAK__PACE_CLOSED)
    pace->turn_ns = later(pace->turn_ns, arvak__after_ns(now_ns, refusal->pushback_ns));
}

void arvak__pace_fail(arvak__pace *pace, int64_t sent_ns, int64_t now_ns) {
  if (pace->state == ARVAK__PACE_CLOSED && sent_ns >= pace->closed_ns) pace->turn_ns = now_ns;
}

void arvak__pace_note_unfinished(arvak__pace *pace, int64_t now_ns) { pace->unfinished_ns = now_ns; }

bool arvak__pace_is_stuck(const arvak__pace *pace, int64_t now_ns) {
  return pace->is_full && pace->full_ns != 0 && now_ns - later(pace->full_ns, pace->unfinished_ns) >= STUCK_NS;
}
