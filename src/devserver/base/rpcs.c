/* See rpcs.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rpcs.h"

const rpc_spec rpcs[RPCS] = {
    [RPC_SUBMIT_JOB] = {.name = "SubmitJob", .submits = true},
    [RPC_SUBMIT_BATCH] = {.name = "SubmitBatch", .submits = true},
    [RPC_GET_JOB_STATUS] = {.name = "GetJobStatus"},
    [RPC_GET_JOB_RESULT] = {.name = "GetJobResult"},
    [RPC_CANCEL_JOB] = {.name = "CancelJob"},
    [RPC_LIST_BACKENDS] = {.name = "ListBackends"},
    [RPC_GET_BACKEND_INFO] = {.name = "GetBackendInfo"},
    [RPC_WATCH_JOB] = {.name = "WatchJob", .sends_many = true},
    [RPC_STREAM_RESULTS] = {.name = "StreamResults", .sends_many = true},
    [RPC_SUBMIT_BATCH_STREAM] = {.name = "SubmitBatchStream", .submits = true, .reads_many = true, .sends_many = true},
};
