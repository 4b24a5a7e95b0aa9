/* See methods.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "methods.h"

#include "arvak.pb-c.h"
#include "batch.h"
#include "results.h"
#include "unary.h"
#include "watch.h"

const method service_methods[RPCS] = {
    [RPC_SUBMIT_JOB] = {.rpc = RPC_SUBMIT_JOB,
                        .request = &arvak__v1__submit_job_request__descriptor,
                        .run = unary_submit_job},
    [RPC_SUBMIT_BATCH] = {.rpc = RPC_SUBMIT_BATCH,
                          .request = &arvak__v1__submit_batch_request__descriptor,
                          .run = unary_submit_batch},
    [RPC_GET_JOB_STATUS] = {.rpc = RPC_GET_JOB_STATUS,
                            .request = &arvak__v1__get_job_status_request__descriptor,
                            .run = unary_get_job_status},
    [RPC_GET_JOB_RESULT] = {.rpc = RPC_GET_JOB_RESULT,
                            .request = &arvak__v1__get_job_result_request__descriptor,
                            .run = unary_get_job_result},
    [RPC_CANCEL_JOB] = {.rpc = RPC_CANCEL_JOB,
                        .request = &arvak__v1__cancel_job_request__descriptor,
                        .run = unary_cancel_job},
    [RPC_LIST_BACKENDS] = {.rpc = RPC_LIST_BACKENDS,
                           .request = &arvak__v1__list_backends_request__descriptor,
                           .run = unary_list_backends},
    [RPC_GET_BACKEND_INFO] = {.rpc = RPC_GET_BACKEND_INFO,
                              .request = &arvak__v1__get_backend_info_request__descriptor,
                              .run = unary_get_backend_info},
    [RPC_WATCH_JOB] = {.rpc = RPC_WATCH_JOB,
                       .request = &arvak__v1__watch_job_request__descriptor,
                       .run = watch_run,
                       .closed = watch_closed},
    [RPC_STREAM_RESULTS] = {.rpc = RPC_STREAM_RESULTS,
                            .request = &arvak__v1__stream_results_request__descriptor,
                            .run = results_run,
                            .sent = results_sent,
                            .release = results_release},
    [RPC_SUBMIT_BATCH_STREAM] = {.rpc = RPC_SUBMIT_BATCH_STREAM,
                                 .request = &arvak__v1__batch_job_submission__descriptor,
                                 .run = batch_run,
                                 .sent = batch_sent,
                                 .received = batch_received,
                                 .release = batch_release},
};
