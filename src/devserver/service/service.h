/* The server: everything that one instance owns, started and stopped as a whole. Several may live in one process.
 * Invariant: service_stop returns within a second whatever is open, and leaves no thread, descriptor or call behind.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_SERVICE_H
#define ARVAK_DEVSERVER_SERVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/rpcs.h"
#include "context.h"
#include "faults/faults.h"
#include "jobs/jobs.h"
#include "options.h"
#include "rpc/listener.h"
#include "rpc/server.h"

typedef struct service {
  context context;   /* what the methods work with */
  rpc_server server; /* what calls them */
  faults *faults;    /* owned, as is the next */
  listener *listener;
  pid_t pid; /* where its threads are; constant */
  pthread_mutex_t stop_mu;
  bool stopping; /* guarded by stop_mu */
  /* Figures of the runs that ended in a restart; whoever restarts is the only one to read them. */
  struct {
    uint64_t restarts, accepted, evicted, connections;
  } past;
} service;

/* Returns owned (service_stop, service_free), or NULL with problem filled. */
service *service_start(const server_options *options, char *problem, size_t size);
/* Idempotent; from any thread but the server's own. What is left still gives addresses and figures.
 * In a forked child, which has none of the threads, this and service_free leave everything as it is. */
void service_stop(service *s);
/* Serves nobody any more: new connections are refused, those that are there are cut. Waits for nothing; what is left is
 * service_stop's. From the thread that stops it. */
void service_shut(service *s);
void service_free(service *s); /* stops first; NULL is fine */
/* The same in a thread of its own, and waits for that until this time of CLOCK_MONOTONIC at most, or where there is no
 * thread to be had until its end; NULL is fine. exit waits for what still goes on, for 5 s at most. */
void service_leave(service *s, int64_t until_ns);

/* Stops it, unless it is stopped, and starts it at the same addresses. Faults and figures stay; jobs are lost, or with
 * keep_jobs only those that have not ended, which become FAILED. False with problem filled: it is stopped. */
bool service_restart(service *s, bool keep_jobs, char *problem, size_t size);

const char *service_address(const service *s);      /* of TCP, or else "unix:/path"; borrowed */
const char *service_tcp_address(const service *s);  /* "127.0.0.1:50051", "" without; borrowed */
const char *service_unix_address(const service *s); /* "unix:/path", "" without; borrowed */

void service_drop_connections(service *s); /* new ones are welcome */

/* Over restarts, and also after a stop. */
typedef struct service_figures {
  uint64_t connections_open, connections_total, restarts, faults_fired;
  uint64_t calls[RPCS], unknown_calls;
  jobs_counts jobs;
} service_figures;

void service_count(service *s, service_figures *out);

#endif
