---@meta
-- Annotations for lua-language-server. Never required; tools/check_meta.lua holds them to what exists.
-- SPDX-License-Identifier: Apache-2.0

-- ---- the module

---@class arvak
---@field _VERSION string
---@field results arvak.results
---@field export arvak.export
local arvak = {}

---@class arvak.connect_options
---@field pool_size? integer connections at most (default 4)
---@field timeout? number seconds a unary call may take with all its attempts, from the moment it first leaves the queue (default 30)
---@field attempt_timeout? number seconds one attempt may take (default: as long as the call)
---@field retry? arvak.retry_options|arvak.retry_policy|boolean true: with the defaults (default: no retries)
---@field breaker? arvak.breaker_options|arvak.breaker|boolean true: with the defaults (default: none)
---@field limiter? "auto"|arvak.limiter_options|false "auto" (default): a SubmitJob that the server refuses for its rate (RESOURCE_EXHAUSTED) is sent again, at the pace that the server lets through, which all submits of the client share; a SubmitBatch waits for its turn, and is never repeated. A table: this fixed rate. false: none; submits that are refused end with that error
---@field max_concurrent_rpcs? integer calls with gRPC at once; more wait in order (default 128)
---@field queue_timeout? number seconds a call may wait in that queue, and a submit in all for its turn where the server limits the rate (default 300)
---@field api_key? string|fun(): string sent as x-api-key; a function is asked before each attempt and must not wait
---@field metadata? table<string, string>|fun(): table<string, string> sent with each call; the same
---@field tls? boolean|arvak.tls_options
---@field channel_args? table<string, integer|string|boolean> passed through to gRPC

---@class arvak.retry_options
---@field max_attempts? integer with the first, 1 to 1000 (default 3)
---@field initial_backoff? number seconds before the second attempt (default 1)
---@field max_backoff? number seconds of any pause (default 60)
---@field backoff_multiplier? number 1 to 1000 (default 2)
---@field strategy? "exponential"|"linear"|"constant"
---@field jitter? boolean|"full"|"equal" true, "full": anything up to the pause (default); "equal": its upper half
---@field codes? string[] statuses worth a retry, such as "UNAVAILABLE", in the place of the table
---@field assume_idempotent? boolean repeat submits as if they were reads, also those that may have been executed
---@field answered_unavailable? boolean false: no submit is repeated that the server itself, or a proxy, refused as UNAVAILABLE (default true)
---@field budget? boolean|{ max_tokens: number?, token_ratio: number? } gRFC A6, per target, shared by the process; that of an arvak.retry_policy is its own (default: none; true: 10 and 0.1)
---@field on_retry? fun(e: { rpc: string?, attempt: integer, delay: number, err: arvak.error }) told before each pause; must not wait; keeps a client that it refers to until that is closed

---@class arvak.breaker_options
---@field failure_threshold? integer failures in a row that open it (default 5; with a failure_rate, none)
---@field failure_rate? number share of failures in the window that opens it, up to 1
---@field window? number seconds (default 30)
---@field minimum_calls? integer in the window, before the rate counts (default 10)
---@field success_threshold? integer successful probes that close it (default 2)
---@field timeout? number seconds it stays open before probes (default 60)
---@field half_open_max_calls? integer probes at once (default 1)
---@field on_state_change? fun(old: string, new: string) told before the call that caused it returns; must not wait

---@class arvak.limiter_options
---@field rate? number jobs submitted in a second; reads and cancels are not counted
---@field burst? integer jobs that may be submitted at once after a pause (default 1)
---@field max_in_flight? integer|"adaptive" calls in flight; adaptive: fewer after RESOURCE_EXHAUSTED and timeouts, slowly more after successes

---@class arvak.tls_options
---@field ca? string PEM text or a path; default: the system's certificates
---@field cert? string PEM text or a path, with key: the client's certificate
---@field key? string PEM text or a path
---@field server_name? string the name to expect in the server's certificate

---Makes a client. Never waits, opens no connection yet. Raises on a bad address or option.
---@param address? string default $ARVAK_ADDRESS or "localhost:50051"; "host:port", "dns:///host:port", "ipv4:a:p,b:q", "ipv6:[a]:p", "unix:/path", or "embedded" for a dev server in this process
---@param options? arvak.connect_options
---@return arvak.client
function arvak.connect(address, options) end

---Runs fn as a task and drives the loop until it and the tasks spawned in it have ended. An error is raised as the
---same object; so is the error of a spawned task that nobody has read. Of several errors one is raised, that of fn first,
---and the others by whoever drives next. Raises inside a task.
---@param fn function
---@param ... any
---@return any ... its results
function arvak.run(fn, ...) end

---Runs fn as a task from the next turn of the loop on.
---@param fn function
---@param ... any
---@return arvak.future
function arvak.spawn(fn, ...) end

---Waits. nil and an error of kind "canceled" when the task was canceled.
---@param seconds number from 0 on
---@return true|nil ok
---@return arvak.error|nil err
function arvak.sleep(seconds) end

---One step of the loop from outside any task. Raises the errors that nobody has read.
---@param timeout? number seconds to wait at most (default 0)
---@return boolean in_flight whether anything is left that could happen
function arvak.poll(timeout) end

---Another handle on the same connections, slots and limiter, with policies of its own; what is not given is shared with
---the client, and retry is on with its defaults if the client has none.
---@param client arvak.client
---@param options? { retry: arvak.retry_options|arvak.retry_policy|boolean?, breaker: arvak.breaker_options|arvak.breaker|boolean? }
---@return arvak.client
function arvak.resilient(client, options) end

---A retry policy by itself.
---@param options? arvak.retry_options
---@return arvak.retry_policy
function arvak.retry_policy(options) end

---A circuit breaker by itself.
---@param options? arvak.breaker_options
---@return arvak.breaker
function arvak.circuit_breaker(options) end

---A coroutine.wrap whose function may wait: its waits are those of the task around it.
---@param fn function
---@return function
function arvak.wrap(fn) end

---Opens the journal of a batch for looking. nil and an error when there is none, or a batch is using it.
---@param path string
---@return arvak.journal|nil
---@return arvak.error|nil err
function arvak.journal(path) end

---@class arvak.batch_manager_options
---@field max_workers? integer jobs that may be submitted and unfinished at once, of all its batches (default 32)

---Runs batches: many circuits, each of which ends in exactly one place of the result.
---@param client arvak.client
---@param options? arvak.batch_manager_options
---@return arvak.batch_manager
function arvak.batch_manager(client, options) end

---True inside a task; false in a coroutine of an attached loop.
---@return boolean
function arvak.in_task() end

---What another event loop needs to drive this library. Opening it starts a thread that waits inside gRPC; closing the
---last one ends the thread.
---@return arvak.pollable
function arvak.pollable() end

---Lets client methods suspend the coroutines of another event loop instead of blocking it. Raises while one is attached.
---@param driver arvak.driver
---@return arvak.attachment
function arvak.attach(driver) end

---Runs fn(...) as a task that is canceled when seconds are over.
---@param seconds number
---@param fn function
---@param ... any
---@return any ... its values, or nil and a timeout error
function arvak.with_timeout(seconds, fn, ...) end

---Iterates over futures in the order in which they end. Raises the timeout error object.
---@param futures arvak.future[]
---@param timeout? number seconds, for all of them together
---@return fun(): arvak.future, integer
---@return nil
---@return nil
---@return any closed by the loop when it is left, which lets go of the futures
function arvak.as_completed(futures, timeout) end

---@class arvak.wait_condition
---@field timeout? number seconds
---@field return_when? "ALL_COMPLETED"|"FIRST_COMPLETED"|"FIRST_EXCEPTION" default ALL_COMPLETED; a cancellation is no exception

---@param futures arvak.future[]
---@param options? arvak.wait_condition
---@return arvak.future[]|nil done in the order of the list
---@return arvak.future[]|arvak.error not_done
function arvak.wait(futures, options) end

---@alias arvak.outcome { ok: true, value: any }|{ ok: false, err: any }

---Waits for all.
---@param futures arvak.future[]
---@return arvak.outcome[]|nil outcomes in the order of the list
---@return arvak.error|nil err when the waiting task was canceled
function arvak.gather(futures) end

---Waits for all to succeed; the first failure cancels the others.
---@param futures arvak.future[]
---@return any[]|nil values
---@return any err
---@return integer|nil index of the failed one
function arvak.all(futures) end

---Runs fn(item, index) on each item, some at a time.
---@param items any[]|fun(): any a list, or an iterator function, which may wait
---@param fn function
---@param options? { concurrency: integer } default 32
---@return arvak.outcome[]|nil outcomes in the order of the items
---@return arvak.error|nil err
function arvak.map(items, fn, options) end

---A future to be settled by hand; the first settling counts and gives true.
---@return arvak.future future
---@return fun(...): boolean resolve
---@return fun(err: any): boolean reject
function arvak.future() end

---@param value any
---@return boolean
function arvak.is_error(value) end

---Prints the progress of a batch to standard error: on a terminal one line that is drawn again (Debian: lua-term),
---elsewhere a line at most once a second and at the end. Meant as progress_callback.
---@param progress arvak.batch_progress
function arvak.print_progress_bar(progress) end

---What of this library a value is: "client", "future", "stream", "job", "result", "backend", "error", "breaker",
---"retry_policy", "batch_manager", "batch_result", "journal", "pollable", "attachment", or nil.
---@param value any
---@return string|nil
function arvak.type(value) end

-- ---- computing with results

---@class arvak.results
local results = {}

---All results as one, counts and shots summed up. Results of different widths raise.
---@param list arvak.result[] may be empty
---@return arvak.result|nil result
---@return arvak.error|nil err
function results.merge(list) end

---The result as it would be with this many shots, by largest remainders.
---@param result arvak.result
---@param shots integer
---@return arvak.result|nil result whose counts sum to shots
---@return arvak.error|nil err when nothing was counted
function results.scale(result, shots) end

---How far two distributions are apart, from 0 to 1. Two empty ones are 0 apart, an empty one from another 1.
---@param a arvak.result|table<string, number>
---@param b arvak.result|table<string, number>
---@param kind "tvd"|"hellinger"|"js" total variation, Hellinger, Jensen-Shannon divergence in bits
---@return number|nil distance
---@return arvak.error|nil err
function results.distance(a, b, kind) end

---@alias arvak.item { index: integer?, id: string|integer|nil, job_id: string?, attempts: integer?, result: arvak.result?, err: any }

---@class arvak.csv_options
---@field quote_formulas? boolean an apostrophe before a text that a spreadsheet would run as a formula (true)

---@class arvak.export
local export = {}

---A line for each outcome, one for each item without any. The file appears when it is whole.
---@param path string
---@param items arvak.item[]|fun(): arvak.item|nil a list, or an iterator function, which may wait
---@param options? arvak.csv_options
---@return true|nil ok
---@return arvak.error|nil err
function export.to_csv(path, items, options) end

---An array with an object for each item, which loses nothing.
---@param path string
---@param items arvak.item[]|fun(): arvak.item|nil
---@return true|nil ok
---@return arvak.error|nil err
function export.to_json(path, items) end

-- ---- policies

---@class arvak.retry_policy
local policy = {}

---Whether err is worth another attempt; one that is not an arvak.error is when its field retryable is true.
---@param err any
---@param attempt integer the one that failed, from 1
---@return boolean
function policy:should_retry(err, attempt) end

---@param attempt integer the one that failed, from 1
---@return number seconds to the next, with jitter
function policy:backoff(attempt) end

---A function that calls fn again as the policy says: its last outcome.
---@param fn function
---@return function
function policy:wrap(fn) end

---@class arvak.breaker
local breaker = {}

---@return "closed"|"open"|"half_open"
function breaker:state() end

---Whether a call would be let through; asking counts nothing.
---@return boolean
---@return number|nil retry_after seconds; nil also while it is forced open
function breaker:can_proceed() end

function breaker:record_success() end

function breaker:record_failure() end

---Refuses everything until force_closed or reset; the errors have no retry_after.
function breaker:force_open() end

---Lets everything through until force_open or reset.
function breaker:force_closed() end

---Closed and as new.
function breaker:reset() end

---fn behind the breaker: nil and an error of kind "circuit_open" while it refuses. Failures are what says that a service
---is ill: raised errors, and nil with an arvak.error about its health.
---@param fn function
---@return function
function breaker:wrap(fn) end

-- ---- client

---@class arvak.client
---@field async arvak.async the same methods, which return at once, as futures
local client = {}

---@class arvak.async

---@class arvak.call_options
---@field timeout? number seconds; default: the client's
---@field attempt_timeout? number seconds; default: the client's
---@field queue_timeout? number seconds; default: the client's
---@field retry? arvak.retry_options|arvak.retry_policy|boolean for this call, in the place of the client's
---@field breaker? arvak.breaker|false for this call, in the place of the client's
---@field metadata? table<string, string> besides the client's, and before it where both name one

---@class arvak.submit_options: arvak.call_options
---@field shots? integer 0 to 4294967295 (default 1024)
---@field optimization_level? integer 0 (default) to 3; from 1 on the keys of counts cover the whole device

---@class arvak.wait_options: arvak.call_options
---@field max_wait? number seconds; the job goes on when they are over. Default: until the job ends, or the server has given no usable answer (an error, a state that is not known) for one timeout
---@field poll_interval? number seconds between looks at most (default 1.0; the first look is at once, the next ones come soon, and later about when the client's jobs usually end)
---@field on_progress? fun(job: arvak.job) called with each look; must not wait
---@field strategy? "poll"

---@class arvak.execute_options: arvak.wait_options
---@field shots? integer
---@field optimization_level? integer

---@class arvak.submit_batch_options: arvak.call_options
---@field split? boolean send several SubmitBatch when there are more than 50 circuits, or more bytes than one message takes

---@alias arvak.circuit { [1]: string, [2]: integer? }|{ qasm: string, shots: integer?, optimization_level: integer? }

---Changes policies for the calls from now on; a key that is not given leaves its policy as it is, false ends it.
---@param options { retry: arvak.retry_options|arvak.retry_policy|boolean?, breaker: arvak.breaker_options|arvak.breaker|boolean? }
function client:configure(options) end

---The breaker that this client's calls go by, or nil.
---@return arvak.breaker|nil
function client:breaker() end

---Submits, waits and fetches.
---@param qasm string
---@param backend_id string
---@param options? integer|arvak.execute_options shots, or a table
---@return arvak.result|nil result
---@return arvak.error|nil err
function client:execute(qasm, backend_id, options) end

---@param qasm string OpenQASM 3
---@param backend_id string
---@param options? integer|arvak.submit_options shots, or a table
---@return string|nil job_id
---@return arvak.error|nil err
function client:submit_qasm(qasm, backend_id, options) end

---The twin of execute that returns at once.
---@param qasm string
---@param backend_id string
---@param options? integer|arvak.execute_options
---@return arvak.future of the result; canceling it cancels the job on the server
function client:submit_qasm_future(qasm, backend_id, options) end

---One job future for each circuit, each with a SubmitJob of its own.
---@param circuits arvak.circuit[]
---@param backend_id string
---@param options? integer|arvak.execute_options
---@return arvak.future[]
function client:submit_batch_future(circuits, backend_id, options) end

---The service refuses this format: always nil and an error of kind "invalid_circuit", without an RPC.
---@param circuit_json string
---@param backend_id string
---@param options? integer|arvak.submit_options
---@return nil
---@return arvak.error err
function client:submit_circuit_json(circuit_json, backend_id, options) end

---@param circuits arvak.circuit[] at most 50 unless options.split; fields by name may come from a metamethod, asked once
---@param backend_id string
---@param options? arvak.submit_batch_options
---@return string[]|nil job_ids
---@return arvak.error|nil err with split, err.job_ids are those submitted before the failure
function client:submit_batch(circuits, backend_id, options) end

---@param job_id string
---@param options? arvak.call_options
---@return arvak.job|nil job
---@return arvak.error|nil err
function client:get_job_status(job_id, options) end

---The result of a job. One that is too large for a message is fetched in chunks.
---@param job_id string
---@param options? arvak.call_options
---@return arvak.result|nil result
---@return arvak.error|nil err
function client:get_job_result(job_id, options) end

---@param job_id string
---@param options? arvak.wait_options
---@return arvak.result|nil result
---@return arvak.error|nil err
function client:wait_for_job(job_id, options) end

---@param job_id string
---@param options? arvak.call_options
---@return true|nil ok
---@return arvak.error|nil err of kind "not_cancelable" when the job had ended
function client:cancel_job(job_id, options) end

---@param options? arvak.call_options
---@return arvak.backend[]|nil backends
---@return arvak.error|nil err
function client:list_backends(options) end

---@param backend_id string
---@param options? arvak.call_options
---@return arvak.backend|nil backend
---@return arvak.error|nil err
function client:get_backend_info(backend_id, options) end

---@param timeout? number seconds; default: the client's timeout
---@return true|nil ok
---@return arvak.error|nil err
function client:wait_for_ready(timeout) end

---@class arvak.stats
---@field calls integer calls that have ended; a stream is none
---@field failures integer those of them that failed
---@field attempts integer attempts of calls, handed to gRPC
---@field in_flight integer calls with gRPC now
---@field queued integer calls waiting for one of max_concurrent_rpcs
---@field bytes_sent integer of messages, those of streams too
---@field bytes_received integer of messages, those of streams too
---@field connections { open: integer, ready: integer, connecting: integer, failing: integer, idle: integer }
---@field retries table<string, integer> how often which status was retried
---@field latency table<string, { count: integer, p50: number, p90: number, p99: number, max: number }> seconds from the start of a call to its end, by RPC
---@field in_flight_limit integer what in_flight may be now
---@field limiter_tokens? number jobs that may be submitted at once now, at the rate of a limiter
---@field pace? { refused: integer, held: integer, rate: number? } once the server has refused submits for their rate: how many it has refused, how many wait for their turn now, and how many turns come in a second
---@field tokens? number of the retry budget
---@field breaker? { state: string, opened: integer, half_opened: integer, closed: integer } its state, and how often it came to each

---@return arvak.stats
function client:stats() end

---@class arvak.stream_options
---@field timeout? number seconds for the whole RPC, of watch_job for all its connections together; default: none
---@field idle_timeout? number seconds that may pass without a message; default: none
---@field metadata? table<string, string>
---@field retry? arvak.retry_options|arvak.retry_policy|boolean in the place of the client's: whether one that failed before its first message is opened again
---@field breaker? arvak.breaker|false in the place of the client's

---@class arvak.watch_options: arvak.stream_options
---@field every_tick? boolean also states that repeat

---@class arvak.result_stream_options: arvak.stream_options
---@field chunk_size? integer outcomes in a chunk; default: the server's 1000

---Each change of a job's state, until it has ended. Goes on over broken connections.
---@param job_id string
---@param options? arvak.watch_options
---@return arvak.stream stream of state, timestamp (Unix seconds, the server's clock), message
---@return nil
---@return nil
---@return arvak.stream
function client:watch_job(job_id, options) end

---The counts of a job in chunks.
---@param job_id string
---@param options? integer|arvak.result_stream_options chunk size, or a table
---@return arvak.stream stream of counts, is_final, index (from 0), total
---@return nil
---@return nil
---@return arvak.stream
function client:stream_results(job_id, options) end

---Many jobs over one RPC, without admission limits.
---@param circuits table[]|fun(): table|nil entries as of submit_batch, which may name a backend_id; an iterator may wait
---@param backend_id? string of entries that name none
---@param options? arvak.stream_options
---@return arvak.stream stream of "submitted"|"completed"|"error", index of the input, job_id, result or error
---@return nil
---@return nil
---@return arvak.stream
function client:submit_batch_stream(circuits, backend_id, options) end

---Closes: calls in flight end as "closed", later ones raise. Idempotent; waits for nothing but the end of an embedded
---server, which takes up to a second.
function client:close() end

-- ---- future

---@class arvak.future
---@field job_id? string of a job future, once the server has answered the submit
local future = {}

---Of a job future: its job's id.
---@param timeout? number seconds
---@return string|nil job_id
---@return arvak.error|nil err
function future:submitted(timeout) end

---@return boolean
function future:done() end

---@return boolean
function future:running() end

---@return boolean
function future:canceled() end

---@return true|nil ok
---@return arvak.error|nil err
function future:cancel() end

---@param timeout? number seconds
---@return boolean|nil ended false when the time is over; nil and an error when the waiting task was canceled
---@return arvak.error|nil err
function future:wait(timeout) end

---@param timeout? number seconds
---@return any ... the values, or nil and the error
function future:result(timeout) end

---@param timeout? number seconds
---@return any err the error it failed with, or nil
function future:exception(timeout) end

---Runs fn as a task once the future has ended, at once when it has.
---@param fn fun(future: arvak.future)
function future:add_done_callback(fn) end

-- ---- stream

---@class arvak.stream
local stream = {}

---The next values; nil at the end; nil and an error when it failed. In a for loop the error is raised.
---@return any ...
function stream:next() end

---Ends the RPC at once. Idempotent; also what leaving a for loop does.
function stream:cancel() end

-- ---- batches

---@class arvak.batch_input
---@field [1]? string OpenQASM 3; or by name
---@field [2]? integer shots
---@field qasm? string
---@field shots? integer default 1024
---@field optimization_level? integer 0 to 3
---@field id? string|integer yours; comes back in the item
---@field backend_id? string for this one

---@class arvak.batch_options
---@field timeout? number seconds for the whole batch; what is open then is canceled
---@field fail_fast? boolean the first failure stops the batch
---@field on_result? fun(index: integer, result: arvak.result|nil, err: arvak.error|nil, item: arvak.batch_item) called at each end, in the order of the ends; may wait, and holds the batch up while it does
---@field progress_callback? fun(progress: arvak.batch_progress) every 0.1 s and at the end
---@field collect? boolean false: only count; the default for an iterator with on_result
---@field transport? "auto"|"stream"|"unary" auto: one stream, unary calls where the server has none
---@field on_unknown? "fail"|"resubmit" what to do with a submit of which nobody knows whether it made a job (default "fail")

---@field journal? string path of an SQLite file: what is done and under way; the same batch with the same journal goes on

---@class arvak.batch_progress
---@field total? integer nil while an iterator has not ended
---@field completed integer
---@field failed integer
---@field running integer submitted and unfinished
---@field pending integer
---@field percent_complete? number 0 to 100: finished of total
---@field elapsed_time number seconds
---@field throughput number finished a second
---@field eta? number seconds
---@field success_rate number 0 to 100: completed of finished
---@field is_complete boolean

---@class arvak.batch_item
---@field index integer place of the input
---@field id? string|integer of the input
---@field job_id? string
---@field result? arvak.result
---@field err? arvak.error
---@field attempts integer submits

---@class arvak.batch_manager
local manager = {}

---Runs every circuit and waits for all. nil and an error only when nothing was started.
---@param circuits arvak.batch_input[]|fun(): arvak.batch_input|nil a list, checked whole before anything is sent; or an iterator, which may wait
---@param backend_id? string of inputs that name none
---@param options? arvak.batch_options
---@return arvak.batch_result|nil result
---@return arvak.error|nil err what stopped it before its end
function manager:execute_batch(circuits, backend_id, options) end

---A job future for each circuit, in order, at once; at most max_workers of them are submitted and unfinished.
---@param circuits arvak.batch_input[]
---@param backend_id? string
---@param options? { transport?: "auto"|"stream"|"unary", on_unknown?: "fail"|"resubmit" }
---@return arvak.future[]
function manager:submit_many(circuits, backend_id, options) end

---Waits for all. When the time is over, or at the first failure with fail_fast, those that are open are canceled.
---@param futures arvak.future[]
---@param options? { timeout?: number, fail_fast?: boolean, progress_callback?: fun(progress: arvak.batch_progress) }
---@return arvak.batch_result result
---@return arvak.error|nil err what stopped it before their end
function manager:wait_all(futures, options) end

---An iterator in the order of the ends; raises the timeout error object.
---@param futures arvak.future[]
---@param options? { timeout?: number, progress_callback?: fun(progress: arvak.batch_progress) }
---@return fun(): arvak.future, integer
---@return nil
---@return nil
---@return any closed by the loop when it is left, which lets go of the futures
function manager:as_completed(futures, options) end

---fn(result, index) of each that succeeds, as they end. What fn raises is raised.
---@param fn fun(result: any, index: integer): any
---@param futures arvak.future[]
---@param options? { timeout?: number }
---@return { ok: boolean, value: any, err: any }[] outcomes in the order of the list
function manager:map(fn, futures, options) end

---Stops every batch of this manager that runs: what is open ends as canceled.
---@return true
function manager:cancel() end

---The same, and later calls raise. The client is not closed. Idempotent.
function manager:close() end

---@class arvak.batch_result
---@field status "completed"|"partial"|"failed" all succeeded; some; none, or the journal refused a circuit
---@field ok boolean status is "completed"
---@field err? arvak.error what stopped the batch before its end: a timeout, a cancel, fail_fast, a server that is gone, an error in a function of yours (its cause)
---@field items? arvak.batch_item[] in the order of the inputs, dense; nil when nothing was collected
---@field results? arvak.result[] each with its index
---@field failures? { index: integer, id: string|integer|nil, job_id: string|nil, err: arvak.error }[]
---@field success_count integer
---@field failure_count integer
---@field total_count integer
---@field total_time number seconds
---@field throughput number finished a second
local batch_result = {}

---index, result, err of each input, in order.
---@return fun(): integer|nil, arvak.result|nil, arvak.error|nil
function batch_result:each() end

---Writes the items to a file, a line for each outcome of each.
---@param path string
---@param options? arvak.csv_options
---@return true|nil ok
---@return arvak.error|nil err
function batch_result:to_csv(path, options) end

---Writes the items to a file, as an array with an object for each.
---@param path string
---@return true|nil ok
---@return arvak.error|nil err
function batch_result:to_json(path) end

---Runs what failed once more, but for what may have been executed (unless on_unknown = "resubmit"). A job that is known,
---but not how it ended, is looked at first.
---@param options? arvak.batch_options default: those of the batch
---@return arvak.batch_result|nil result of all inputs
---@return arvak.error|nil err
function batch_result:retry_failed(options) end

---@class arvak.journal
---@field path string
---@field fingerprint string what tells its batch from others
---@field backend_id? string
---@field total? integer inputs; nil of an iterator that has not ended
---@field created_at integer Unix seconds
local journal = {}

---@class arvak.journal_item: arvak.batch_item
---@field state "intent"|"submitted"|"completed"|"failed"|"unknown"
---@field circuit_hash string
---@field sent_at? integer Unix seconds
---@field ended_at? integer

---The items in the order of the inputs.
---@param state? "intent"|"submitted"|"completed"|"failed"|"unknown"
---@return fun(): arvak.journal_item|nil
function journal:items(state) end

---How many items are in each state.
---@return table<string, integer>
function journal:counts() end

---Idempotent.
function journal:close() end

-- ---- records

---@class arvak.job
---@field job_id string
---@field state "UNSPECIFIED"|"QUEUED"|"RUNNING"|"COMPLETED"|"FAILED"|"CANCELED"|"RESULT_EXPIRED"|string
---@field submitted_at? integer Unix seconds
---@field started_at? integer
---@field completed_at? integer
---@field backend_id string
---@field shots integer
---@field error_message? string
local job = {}

---@return boolean
function job:is_terminal() end

---@return boolean
function job:is_pending() end

---@return boolean
function job:is_success() end

---@class arvak.result
---@field job_id string
---@field counts table<string, integer> bitstring → count; qubit 0 is the rightmost character
---@field shots integer
---@field execution_time_ms? integer
---@field metadata_json string
local result = {}

---Bitstrings and counts in ascending order, without building the table counts of a large result.
---@return fun(): string, integer
function result:pairs() end

---@return table<string, number>|nil probabilities empty when nothing was counted
---@return arvak.error|nil err what was counted is no count
function result:probabilities() end

---@return string|nil bitstring of equals the smallest; nil when nothing was counted
---@return number|arvak.error|nil probability, or what is wrong with the counts
function result:most_frequent() end

---@return table|nil metadata
---@return arvak.error|nil err
function result:metadata() end

---The outcomes as lines of bitstring, count, share and bar, in ascending order; of more than 32 the most frequent 32 and
---a last line for the others.
---@param columns? integer of the text as a whole, 1 to 10000 (default 72)
---@return string|nil text
---@return arvak.error|nil err what was counted is no count
function result:histogram(columns) end

---@param n integer from 0 on
---@return { bits: string, count: integer, probability: number }[]|nil list largest first, of equals the smallest bitstring
---@return arvak.error|nil err what was counted is no count
function result:top(n) end

---The result for some of the qubits, the others summed over.
---@param qubits integer[] from 0 (the rightmost character) on; the first named becomes qubit 0
---@return arvak.result|nil result
---@return arvak.error|nil err
function result:marginal(qubits) end

---The mean of the product of Z over these qubits.
---@param qubits? integer[] default: all; none: 1
---@return number|nil expectation from -1 to 1
---@return arvak.error|nil err when nothing was counted
function result:expectation(qubits) end

---@return table plain, without metatables
function result:to_table() end

---@class arvak.backend
---@field backend_id string
---@field name string
---@field is_available boolean
---@field max_qubits integer
---@field max_shots integer
---@field description string
---@field supported_gates string[]
---@field topology_json string
---@field topology table|nil decoded with lua-cjson

---@class arvak.error
---@field kind string what to decide by: see README.md
---@field message string
---@field code? integer gRPC status
---@field name? string its name, "UNAVAILABLE"
---@field rpc? string "SubmitJob"
---@field job_id? string
---@field job_ids? string[] of a split batch: submitted before the failure
---@field target? string the address
---@field attempts? integer
---@field retryable boolean whether the same call may be made again without doing anything twice
---@field maybe_executed boolean whether the server may have acted on it
---@field elapsed? number seconds, over all attempts
---@field retry_after? number seconds after which trying again may help, as the server or the breaker says; none from a breaker that is forced open
---@field cause? any
---@field scope? "queue"|"call"|"wait"|"batch" of a timeout; "plugin": the host of this plugin has refused it
---@field traceback? string of an error raised in a task

-- ---- other event loops

---A descriptor to wait on, and what to do then; cqueues can poll it as it is. Ends by close or `<close>`.
---@class arvak.pollable
local pollable = {}

---The descriptor: only to be polled, and the same for all pollables of a Lua state.
---@return integer
function pollable:pollfd() end

---The same, for socket.select.
---@return integer
function pollable:getfd() end

---What to wait for.
---@return "r"
function pollable:events() end

---To be asked before each wait.
---@return number|nil seconds until step has something to do though the descriptor is silent; nil: it will not
function pollable:timeout() end

---Runs what is ready. Raises the errors that nobody has read, one a call. Raises inside a task.
---@param timeout? number seconds to wait for it at most (default 0)
---@return boolean in_flight whether anything is left that could happen
function pollable:step(timeout) end

---Idempotent.
function pollable:close() end

---What arvak.attach needs of an event loop.
---@class arvak.driver
---@field running fun(): any a token for the running coroutine of the loop; nil outside it (methods block there); false where it cannot be suspended (methods raise)
---@field suspend fun(token: any) suspends that coroutine until resume(token); may return earlier
---@field resume fun(token: any) lets it go on, now or soon
---@field watch_fd fun(fd: integer, fn: fun()): fun() calls fn whenever fd is readable, until what it returns is called
---@field timer fun(seconds: number, fn: fun()): fun() calls fn once, unless what it returns is called before

---An attached loop. Ends by detach or `<close>`.
---@class arvak.attachment
local attachment = {}

---From now on methods block again; who is suspended already goes on as its call ends. Idempotent.
function attachment:detach() end

---The adapter for cqueues: require "arvak.cqueues".
---@class arvak.cqueues
local cqueues_adapter = {}

---@param controller? table a cqueues controller (default: the one that is running)
---@return arvak.attachment
function cqueues_adapter.attach(controller) end

---The adapter for luv: require "arvak.luv".
---@class arvak.luv
local luv_adapter = {}

---@return arvak.attachment
function luv_adapter.attach() end

-- ---- dev server

---@class arvak.devserver.options
---@field address? string "host:port", port 0 is chosen by the system (default "127.0.0.1:0")
---@field unix? string path of a unix socket
---@field workers? integer threads that simulate (default: the number of cores)
---@field api_key? string demanded of every call
---@field tls_cert? string path
---@field tls_key? string path
---@field tls_client_ca? string path; demands client certificates
---@field rate_limit? integer accepted jobs a second and client (default 100, 0: none)
---@field max_concurrent_jobs? integer (default 100, 0: no limit)
---@field max_queued_jobs? integer (default 1000, 0: no limit)
---@field watch_interval? number seconds between the updates of a watch (default 0.5)
---@field seed? integer makes all sampling reproducible
---@field job_latency? number seconds that every job takes besides its simulation
---@field server_timeout? number seconds (default 60)
---@field max_message_size? integer bytes (default 16 MiB)
---@field faults? table[] see docs/devserver.md

---A dev server; the module's function start makes one.
---@class arvak.devserver
---@field address string
---@field unix_address? string
local devserver = {}

---@param options? arvak.devserver.options
---@return arvak.devserver|nil server
---@return string|nil message
function devserver.start(options) end

---Ends it within a second, whatever is open. Idempotent.
function devserver:stop() end

---Stops it and starts it again at the same address; also after stop. Faults and figures stay.
---@param options? { keep_jobs: boolean } without it all jobs are lost
---@return boolean|nil ok
---@return string|nil message
function devserver:restart(options) end

---@return { job_id: string, state: string, shots: integer }[] jobs those stored, in order of submission
function devserver:jobs() end

---Calls, connections and jobs so far.
---@return table
function devserver:stats() end

---Adds a fault while it runs.
---@param fault table see docs/devserver.md
function devserver:fault(fault) end

function devserver:clear_faults() end

---@param job_id string
---@param state string
---@return boolean
function devserver:set_job_state(job_id, state) end

---Forgets a job, as a full store does.
---@param job_id string
---@return boolean
function devserver:evict(job_id) end

---Cuts every connection.
function devserver:drop_connections() end

return arvak
