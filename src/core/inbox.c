/* The inbox of a loop. Invariant: a posting is in the inbox at most once, however often it is posted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "inbox.h"

void arvak__inbox_init(arvak__inbox *inbox) { pthread_mutex_init(&inbox->mu, NULL); }

void arvak__inbox_fini(arvak__inbox *inbox) { pthread_mutex_destroy(&inbox->mu); }

bool arvak__inbox_put(arvak__inbox *inbox, arvak__posting *posting) {
  pthread_mutex_lock(&inbox->mu);
  bool is_new = !posting->is_posted;
  if (is_new) {
    posting->is_posted = true;
    arvak__list_append(&inbox->list, &posting->link);
    atomic_fetch_add(&inbox->size, 1);
  }
  pthread_mutex_unlock(&inbox->mu);
  return is_new;
}

/* Under mu. */
static void take_out(arvak__inbox *inbox, arvak__posting *posting) {
  posting->is_posted = false;
  arvak__list_remove(&inbox->list, &posting->link);
  atomic_fetch_sub(&inbox->size, 1);
}

arvak__posting *arvak__inbox_take(arvak__inbox *inbox) {
  if (atomic_load(&inbox->size) == 0) return NULL;
  pthread_mutex_lock(&inbox->mu);
  arvak__posting *first = (arvak__posting *)inbox->list.first;
  if (first) take_out(inbox, first);
  pthread_mutex_unlock(&inbox->mu);
  return first;
}

void arvak__inbox_remove(arvak__inbox *inbox, arvak__posting *posting) {
  if (!posting->is_posted) return;
  pthread_mutex_lock(&inbox->mu);
  take_out(inbox, posting);
  pthread_mutex_unlock(&inbox->mu);
}
