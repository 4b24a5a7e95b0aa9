/* The server: everything that one instance owns, started and stopped as a whole. Several may live in one process.
 * Invariant: service_stop returns within a second whatever is open, and leaves no thread, descriptor or call behind.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_DEVSERVER_SERVICE_H
#define ARVAK_DEVSERVER_SERVICE_H

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "faults/faults.h"
#include "jobs/jobs.h"
#include "rpc/listener.h"
#include "options.h"
#include "jobs/rate.h"
#include "jobs/runner.h"
#include "base/timer.h"

typedef struct service service;
typedef struct call call;

enum { METHODS = 10, POLLERS = 1 };

/* What gRPC gives back when a batch is done; in the completion queue a tag is a pointer to one of these. */
typedef struct tag {
  void (*fn)(struct tag *t, bool ok);
} tag;

typedef struct method {
  const char *name; /* "SubmitJob" */
  int index;
  const ProtobufCMessageDescriptor *request;
  bool reads_many;                                       /* the request is a stream */
  void (*run)(call *c, const ProtobufCMessage *request); /* the request is NULL when it is a stream */
  /* Of streams; NULL when not wanted. Never with the call's lock held. */
  void (*sent)(call *c);                                /* a message has left the queue */
  void (*received)(call *c, grpc_byte_buffer *message); /* borrowed; NULL: the client has ended its half */
  void (*closed)(call *c);                              /* once: the RPC is over, however it ended */
  void (*release)(void *stream);                        /* last of all: drops what call.stream holds, not itself */
} method;

extern const method service_methods[METHODS];

struct service {
  /* Constant once started. */
  server_options options; /* its texts are owned */
  jobs_limits limits;
  grpc_server *server;
  grpc_completion_queue *queue;
  tag down_tag; /* of the server's shutdown */
  void *registered[METHODS];
  pthread_t pollers[POLLERS];
  int polling;
  timers *clock;
  timers *side_lane; /* a thread for large requests, which are due at once */
  jobs *store;
  rates *rates;
  runner *runner;
  faults *faults;
  listener *listener;
  char *topology; /* owned: the simulator's topology_json */
  pid_t pid;      /* where its threads are */
  /* Each guards itself. */
  atomic_ullong calls[METHODS], unknown_calls;
  atomic_int open; /* calls of which gRPC holds anything, those expected included: while any is, the queue stays */
  pthread_mutex_t spare_mu;
  call *spare; /* guarded by spare_mu, as is the next */
  int spares;
  pthread_mutex_t stop_mu;
  pthread_cond_t stopped_cond;
  bool stopping, down; /* guarded by stop_mu */
  /* Figures of the runs that ended in a restart; whoever restarts is the only one to ask. */
  struct {
    uint64_t restarts, accepted, evicted, connections;
  } past;
};

/* Returns owned (service_stop, service_free), or NULL with problem filled. */
service *service_start(const server_options *options, char *problem, size_t size);
/* Idempotent; from any thread but the server's own. What is left can be asked for addresses and figures.
 * In a forked child, which has none of the threads, this and service_free leave everything as it is. */
void service_stop(service *s);
void service_free(service *s); /* stops first; NULL is fine */

/* Stops it, unless it is stopped, and starts it at the same addresses. Faults and figures stay; jobs are lost, or with
 * keep_jobs only those that have not ended, which become FAILED. False with problem filled: it is stopped. */
bool service_restart(service *s, bool keep_jobs, char *problem, size_t size);

const char *service_address(const service *s); /* of TCP, or else "unix:/path"; borrowed */

#endif
