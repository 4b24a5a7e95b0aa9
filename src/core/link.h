/* Lists whose links are embedded in what they hold: nothing is allocated, and whatever is in a list leaves it without a
 * search. Pure. Invariant: a link is in one list at a time; whoever guards the list guards its links.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_LINK_H
#define ARVAK_LINK_H

#include <stddef.h>

typedef struct arvak__link arvak__link;
struct arvak__link {
  arvak__link *next, *prev;
};

typedef struct arvak__list {
  arvak__link *first, *last; /* borrowed */
} arvak__list;

static inline void arvak__list_append(arvak__list *list, arvak__link *link) {
  link->next = NULL;
  link->prev = list->last;
  if (list->last) list->last->next = link;
  else list->first = link;
  list->last = link;
}

/* Before next, which is in the list. */
static inline void arvak__list_insert(arvak__list *list, arvak__link *link, arvak__link *next) {
  link->next = next;
  link->prev = next->prev;
  if (next->prev) next->prev->next = link;
  else list->first = link;
  next->prev = link;
}

static inline void arvak__list_remove(arvak__list *list, arvak__link *link) {
  if (link->prev) link->prev->next = link->next;
  else list->first = link->next;
  if (link->next) link->next->prev = link->prev;
  else list->last = link->prev;
}

#endif
