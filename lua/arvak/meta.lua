---@meta arvak
-- Annotations for lua-language-server, and the source of docs/reference/. Never loaded. tools/check_meta.lua holds them to
-- what exists, spec/docs/reference_spec.lua runs the examples; `make reference` writes the reference anew.
-- SPDX-License-Identifier: Apache-2.0

-- ---- the module

---What `require "arvak"` gives.
---@class arvak
---@field _VERSION string the library's version
---@field results arvak.results functions that compute with several results
---@field export arvak.export functions that write results to files
local arvak = {}

---Options of `arvak.connect`.
---@class arvak.connect_options
---@field pool_size? integer the largest number of connections, 1 to 256. The client opens the next one when each has 16 calls in flight. Defaults to `4`.
---@field timeout? number seconds a call may take, all its attempts and pauses included. The clock starts when the call has left the client's queue. Defaults to `30`.
---@field attempt_timeout? number seconds one attempt may take. Defaults to the rest of `timeout`.
---@field retry? arvak.retry_options|arvak.retry_policy|boolean repeats calls that failed; `true`: with the defaults. Defaults to `false`.
---@field breaker? arvak.breaker_options|arvak.breaker|boolean refuses calls while the server is down; `true`: with the defaults. Defaults to `false`.
---@field limiter? "auto"|arvak.limiter_options|false how the client paces its submits. `"auto"`: it starts when the server refuses a submit for its rate, learns the rate that the server takes, and sends what was refused again. A table: a fixed rate. `false`: never. Defaults to `"auto"`.
---@field max_concurrent_rpcs? integer calls that may be with gRPC at once; others wait in order. Each costs about 34 KB. Defaults to `128`.
---@field queue_timeout? number seconds a call may wait for its turn. Defaults to `300`.
---@field api_key? string|fun(): string sent as `x-api-key`. The client calls a function before each attempt; it must not wait. Defaults to none.
---@field metadata? table<string, string>|fun(): table<string, string> headers of each call. The client calls a function before each attempt; it must not wait. Defaults to none.
---@field tls? boolean|arvak.tls_options `true`: TLS with the system's certificates. Defaults to `false`.
---@field channel_args? table<string, integer|string|boolean> arguments of gRPC's channels, such as `["grpc.keepalive_time_ms"] = 30000`. Without this one, the client pings a connection with calls in flight after 10 s of silence.
---@field ledger? string where the client notes each job that it submits and the states that it sees: the name of an SQLite file, which is made, or of a PostgreSQL database. Read it with `arvak.ledger`. Notes never delay a call or make it fail. Defaults to none.

---Options of retries.
---@class arvak.retry_options
---@field max_attempts? integer attempts of a call, the first included, 1 to 1000. Defaults to `3`.
---@field initial_backoff? number seconds of the pause before the second attempt. Defaults to `1`.
---@field max_backoff? number seconds of the longest pause. Defaults to `60`.
---@field backoff_multiplier? number factor from one pause to the next, 1 to 1000. Defaults to `2`.
---@field strategy? "exponential"|"linear"|"constant" how the pauses grow. Defaults to `"exponential"`.
---@field jitter? boolean|"full"|"equal" `true` or `"full"`: the pause is a random part of itself; `"equal"`: of its upper half; `false`: the whole pause. Defaults to `true`.
---@field codes? string[] names of the statuses to repeat, such as `{ "UNAVAILABLE" }`, instead of the standard ones. A submit that may have been executed is still not repeated.
---@field assume_idempotent? boolean `true`: submits are repeated like reads, also those that may have been executed. Some jobs then run twice. Defaults to `false`.
---@field answered_unavailable? boolean `false`: a submit that was answered with UNAVAILABLE is not repeated. For proxies that answer so about a submit that their upstream has executed. Defaults to `true`.
---@field budget? boolean|arvak.retry_budget bounds the retries of all clients of one target in this process, as gRFC A6 describes. A policy made by `arvak.retry_policy` has a budget of its own. Defaults to `false`.
---@field on_retry? fun(e: { rpc: string?, attempt: integer, delay: number, err: arvak.error }) called before each pause; must not wait. Close the client when the function refers to it: it is not collected otherwise.

---How far retries may go when many calls fail.
---@class arvak.retry_budget
---@field max_tokens? number size of the bucket; each failure takes one token, and retries need more than half. Defaults to `10`.
---@field token_ratio? number tokens that a success gives back. Defaults to `0.1`.

---Options of circuit breakers.
---@class arvak.breaker_options
---@field failure_threshold? integer failures in a row that open the breaker. Defaults to `5`; with a `failure_rate`, to none.
---@field failure_rate? number share of failures in the window that opens the breaker, above 0 up to 1. Defaults to none.
---@field window? number seconds over which the share is taken. Defaults to `30`.
---@field minimum_calls? integer calls in the window before the share counts. Defaults to `10`.
---@field success_threshold? integer successful probes that close the breaker. Defaults to `2`.
---@field timeout? number seconds the breaker stays open before it lets probes through. Defaults to `60`.
---@field half_open_max_calls? integer probes at once. Defaults to `1`.
---@field on_state_change? fun(old: string, new: string) called before the call that caused the change returns; must not wait. Close the client when the function refers to it: it is not collected otherwise.

---A limiter with a fixed rate.
---@class arvak.limiter_options
---@field rate? number jobs submitted in a second. Reads and cancels are not counted. Defaults to no limit.
---@field burst? integer jobs that may be submitted at once after a pause. Defaults to `1`.
---@field max_in_flight? integer|"adaptive" calls in flight. `"adaptive"`: the limit halves after RESOURCE_EXHAUSTED and timeouts and grows slowly after successes. Defaults to no limit.

---Options of TLS.
---@class arvak.tls_options
---@field ca? string certificates of the authorities to trust: PEM text or a path. Defaults to the system's.
---@field cert? string the client's certificate, with `key`: PEM text or a path. Defaults to none.
---@field key? string the client's private key: PEM text or a path. Defaults to none.
---@field server_name? string the name that the server's certificate must have. Defaults to the host in the address.

---Makes a client. Never waits; the first call opens the first connection.
---Raises: a bad address or option.
---
---```lua
---local two <close> = arvak.connect("localhost:50051", { timeout = 10, api_key = "secret" })
---print(two)
---```
---@param address? string `"host:port"`, `"dns:///host:port"`, `"ipv4:1.2.3.4:1,5.6.7.8:1"`, `"ipv6:[::1]:1"`, `"unix:/path"`, or `"embedded"` for a dev server in this process. Defaults to `$ARVAK_ADDRESS`, or `"localhost:50051"`.
---@param options? arvak.connect_options
---@return arvak.client client
function arvak.connect(address, options) end

---Runs `fn` as a task, and drives the loop until it and every task spawned in it have ended. A failing task is not lost: if
---nobody reads its error, `arvak.run` raises it. When several errors are left, that of `fn` comes first, and the next
---`arvak.run` or `arvak.poll` raises the next one. When `fn` raises, the other tasks get two seconds to end.
---Raises: the error of `fn`, as the same object; a call inside a task; a deadlock, that is, a wait that nothing can end.
---
---```lua
---print(arvak.run(function()
---  return assert(client:execute(bell, "simulator", 100)):most_frequent()
---end))
---```
---@param fn function
---@param ... any arguments of `fn`
---@return any ... the values of `fn`
function arvak.run(fn, ...) end

---Starts `fn` as a task in the next turn of the loop.
---
---```lua
---arvak.run(function()
---  local future = arvak.spawn(client.execute, client, bell, "simulator", 100)
---  print(assert(future:result()))
---end)
---```
---@param fn function
---@param ... any arguments of `fn`
---@return arvak.future future of the values of `fn`
function arvak.spawn(fn, ...) end

---Waits.
---Errors: `canceled` when the task was canceled.
---
---```lua
---arvak.sleep(0.01)
---```
---@param seconds number from 0 on
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function arvak.sleep(seconds) end

---Does one step of the loop, from outside any task. For programs that have a loop of their own and no attachment.
---Raises: an error that nobody has read, one a call; a call inside a task.
---
---```lua
---local future = client.async:list_backends()
---while not future:done() do arvak.poll(0.1) end
---```
---@param timeout? number the longest wait in seconds. Defaults to `0`.
---@return boolean in_flight whether anything is left that could happen
function arvak.poll(timeout) end

---Makes another handle on the same connections, slots, limiter and figures, with policies of its own. A policy that is not
---given is the client's; retries are on, with the defaults if the client has none.
---
---```lua
---local patient = arvak.resilient(client, { retry = { max_attempts = 6 } })
---print(assert(patient:execute(bell, "simulator", 100)))
---patient:close()
---```
---@param client arvak.client
---@param options? arvak.policies
---@return arvak.client view
function arvak.resilient(client, options) end

---The policies of a client or a view.
---@class arvak.policies
---@field retry? arvak.retry_options|arvak.retry_policy|boolean `false`: no retries
---@field breaker? arvak.breaker_options|arvak.breaker|boolean `false`: no breaker

---Makes a retry policy that can be given to clients or wrapped around functions.
---
---```lua
---local policy = arvak.retry_policy { max_attempts = 5, initial_backoff = 0.1 }
---print(policy:backoff(1))
---```
---@param options? arvak.retry_options
---@return arvak.retry_policy policy
function arvak.retry_policy(options) end

---Makes a circuit breaker that can be given to clients or wrapped around functions.
---
---```lua
---local breaker = arvak.circuit_breaker { failure_threshold = 3, timeout = 10 }
---print(breaker:state())
---```
---@param options? arvak.breaker_options
---@return arvak.breaker breaker
function arvak.circuit_breaker(options) end

---A `coroutine.wrap` whose function may wait. The waits suspend the task around it.
---
---```lua
---arvak.run(function()
---  local generate = arvak.wrap(function()
---    for _ = 1, 2 do coroutine.yield(client:execute(bell, "simulator", 10)) end
---  end)
---  for result in generate do print(result) end
---end)
---```
---@param fn function
---@return function
function arvak.wrap(fn) end

---Opens a ledger for reading: the list of jobs that clients with the option `ledger` have submitted.
---Errors: `rpc` when there is no such file, the file is no ledger, or the module of its database is missing.
---Raises: a name that is none.
---
---```lua
---local path = os.tmpname()
---local noting = arvak.connect("embedded", { ledger = path })
---assert(noting:execute(bell, "simulator", { shots = 100, label = "first" }))
---noting:close()
---while arvak.poll(0.1) do end   -- until the notes are written
---local ledger <close> = assert(arvak.ledger(path))
---for job in ledger:items { label = "first" } do print(job.job_id, job.state) end
---os.remove(path)
---```
---@param name string the name of an SQLite file, or of a PostgreSQL database as libpq reads it
---@return arvak.ledger|nil ledger
---@return arvak.error|nil err
function arvak.ledger(name) end

---What the name of a journal or ledger is.
---@class arvak.database_name
---@field kind "sqlite"|"postgres" a file, or a PostgreSQL database that several machines can share
---@field shown? string the name with `***` for each password
---@field has_password? boolean whether a password stands in the name
---@field problem? string of a database whose name cannot be read: why, without quoting it; `shown` and `has_password` are nil

---Says what kind of database a name of a journal or ledger means, and gives it without its passwords. Opens nothing.
---For programs that take such names from a command line, or write them to a log.
---Raises: what is no text, an empty one.
---
---```lua
---local name = arvak.database_name("postgresql://ada:secret@db.example/lab?batch=ansatz-7")
---print(name.kind, name.shown, name.has_password)   --> postgres   postgresql://ada:***@db.example/lab   true
---print(arvak.database_name("run.db").kind)         --> sqlite
---```
---@param name string what the options `journal` and `ledger` take
---@return arvak.database_name
function arvak.database_name(name) end

---Opens the journal of a batch for reading, and waits until it is open. Reading changes nothing in it.
---Errors: `in_use` when a batch is using it; `rpc` when there is no such file, or the file is no journal.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal <close> = assert(arvak.journal(path))
---print(journal:counts().completed)
---os.remove(path)
---```
---@param path string name of the SQLite file
---@return arvak.journal|nil journal
---@return arvak.error|nil err
function arvak.journal(path) end

---Options of a batch manager.
---@class arvak.batch_manager_options
---@field max_workers? integer jobs that may be submitted and unfinished at once, over all its batches. Defaults to `32`.

---Makes a batch manager. It runs many circuits, each of which ends in exactly one place of the result.
---
---```lua
---local few <close> = arvak.batch_manager(client, { max_workers = 4 })
---print(assert(few:execute_batch(circuits, "simulator")).status)
---```
---@param client arvak.client
---@param options? arvak.batch_manager_options
---@return arvak.batch_manager manager
function arvak.batch_manager(client, options) end

---Whether the caller is a task. A coroutine of an attached loop is not a task.
---
---```lua
---print(arvak.in_task(), arvak.run(arvak.in_task))   --> false   true
---```
---@return boolean
function arvak.in_task() end

---Makes what another event loop needs to drive this library. Opening the first one starts a thread that waits inside
---gRPC; closing the last one ends it.
---
---```lua
---local p <close> = arvak.pollable()
---print(p:pollfd(), p:events(), p:timeout())
---```
---@return arvak.pollable pollable
function arvak.pollable() end

---Attaches another event loop: from now on, methods suspend the coroutines of that loop instead of blocking it.
---`require "arvak.cqueues"` and `require "arvak.luv"` are built on this function; `examples/scheduler.lua` uses it.
---Raises: a loop is attached already.
---
---```lua
---local attachment = arvak.attach {
---  running = function() return nil end,            -- not in a coroutine of the loop: methods block
---  suspend = function() coroutine.yield() end,
---  resume = function(co) coroutine.resume(co) end,
---  watch_fd = function(fd, fn) return function() print("no longer", fd, fn) end end,
---  timer = function(seconds, fn) return function() print("no longer", seconds, fn) end end,
---}
---attachment:detach()
---```
---@param driver arvak.driver
---@return arvak.attachment attachment
function arvak.attach(driver) end

---Runs `fn` as a task, and cancels it when the time is over. Whatever it returns after that is dropped; what it raises is
---raised.
---Errors: `timeout` (its `scope` is `"wait"`) when the time was over first.
---
---```lua
---local result, err = arvak.with_timeout(5, client.execute, client, bell, "simulator", 100)
---print(result or err)
---```
---@param seconds number from 0 on
---@param fn function
---@param ... any arguments of `fn`
---@return any ... the values of `fn`, or nil and an error
function arvak.with_timeout(seconds, fn, ...) end

---Iterates over futures in the order in which they end. Leaving the loop lets go of the others.
---Raises: the `timeout` error when the time is over.
---
---```lua
---local futures = client:submit_batch_future(circuits, "simulator")
---for future, index in arvak.as_completed(futures, 10) do print(index, future:result()) end
---```
---@param futures arvak.future[] a list
---@param timeout? number seconds for all of them together. Defaults to no limit.
---@return fun(): arvak.future, integer
---@return nil
---@return nil
---@return any closing what the `for` loop closes when it is left
function arvak.as_completed(futures, timeout) end

---Options of `arvak.wait`.
---@class arvak.wait_condition
---@field timeout? number seconds. Defaults to no limit.
---@field return_when? "ALL_COMPLETED"|"FIRST_COMPLETED"|"FIRST_EXCEPTION" when to return. A cancellation is no exception. Defaults to `"ALL_COMPLETED"`.

---Waits for futures, and says which have ended. When the time is over it returns all the same.
---Errors: `canceled` when the waiting task was canceled.
---
---```lua
---local futures = client:submit_batch_future(circuits, "simulator")
---local done, not_done = arvak.wait(futures, { timeout = 10, return_when = "FIRST_COMPLETED" })
---print(#done, #not_done)
---```
---@param futures arvak.future[] a list
---@param options? arvak.wait_condition
---@return arvak.future[]|nil done in the order of the list
---@return arvak.future[]|arvak.error not_done in the order of the list, or the error
function arvak.wait(futures, options) end

---What became of one place of a list.
---@alias arvak.outcome { ok: true, value: any }|{ ok: false, err: any }

---Waits for all futures, whether they succeed or fail.
---Errors: `canceled` when the waiting task was canceled.
---
---```lua
---local futures = client:submit_batch_future(circuits, "simulator")
---for i, outcome in ipairs(arvak.gather(futures)) do print(i, outcome.ok, outcome.value or outcome.err) end
---```
---@param futures arvak.future[] a list
---@return arvak.outcome[]|nil outcomes in the order of the list
---@return arvak.error|nil err
function arvak.gather(futures) end

---Waits until all futures have succeeded. The first failure cancels the others.
---Errors: that of the first future that failed.
---
---```lua
---local results = assert(arvak.all(client:submit_batch_future(circuits, "simulator")))
---print(#results)
---```
---@param futures arvak.future[] a list
---@return any[]|nil values in the order of the list
---@return any err
---@return integer|nil index of the future that failed
function arvak.all(futures) end

---Options of `arvak.map`.
---@class arvak.map_options
---@field concurrency? integer calls of the function at once. Defaults to `32`.

---Runs `fn(item, index)` for each item, some at a time, each as a task.
---Errors: `canceled` when the waiting task was canceled.
---
---```lua
---local outcomes = assert(arvak.map({ 0, 0.5, 1 }, function(angle)
---  return client:execute(("OPENQASM 3.0; qubit q; ry(%g) q;"):format(angle), "simulator", 100)
---end, { concurrency = 2 }))
---print(outcomes[3].value)
---```
---@param items any[]|fun(): any a list, or an iterator function, which may wait
---@param fn function
---@param options? arvak.map_options
---@return arvak.outcome[]|nil outcomes in the order of the items
---@return arvak.error|nil err
function arvak.map(items, fn, options) end

---Makes a future that the program settles: the bridge from code with callbacks. The first call of `resolve` or `reject`
---counts and gives true; later ones give false.
---
---```lua
---local future, resolve = arvak.future()
---resolve(42)
---print(future:result())   --> 42
---```
---@return arvak.future future
---@return fun(...): boolean resolve
---@return fun(err: any): boolean reject
function arvak.future() end

---Whether a value is an error object of this library.
---
---```lua
---local _, err = client:get_job_status("no such job")
---print(arvak.is_error(err), arvak.is_error("text"))   --> true   false
---```
---@param value any any value
---@return boolean
function arvak.is_error(value) end

---Prints the progress of a batch to standard error. On a terminal it redraws one line (with Debian's `lua-term`);
---elsewhere it prints a line once a second, after 10 seconds one every 10, after 10 minutes one every 60 seconds, and
---one at the end. Give it as `progress_callback`.
---
---```lua
---manager:execute_batch(circuits, "simulator", { progress_callback = arvak.print_progress_bar })
---```
---@param progress arvak.batch_progress
function arvak.print_progress_bar(progress) end

---Which object of this library a value is, as `io.type` does for files.
---
---```lua
---print(arvak.type(client), arvak.type(result), arvak.type("text"))   --> client   result   nil
---```
---@param value any any value
---@return string|nil name `"client"`, `"future"`, `"stream"`, `"job"`, `"result"`, `"backend"`, `"error"`, `"breaker"`, `"retry_policy"`, `"batch_manager"`, `"batch_result"`, `"journal"`, `"pollable"`, `"attachment"`, `"circuit"`, `"parameter"` or `"lowered"`
function arvak.type(value) end

-- ---- circuits

---Circuits: read from OpenQASM 2 and 3, or built in Lua. The module `require "arvak.circuit"`, which is also
---`arvak.circuit`, makes them; wherever a method takes the text of a program it takes a circuit too. Such a circuit
---gives the distribution that its program means, or it is refused with a reason before anything is sent.
---Qubits and bits are numbered from 0 over all registers, in the order of their declaration. The methods that add
---operations change the circuit and return it, so that they chain. What was sent, bound or appended before stays as it
---was. A gate of the library is a method with its name: first its angles, then its qubits. An angle is a number in
---radians or a parameter.
---Raises: a wrong count, type, number or name, and the same qubit twice in one gate, at the line of the caller.
---
---```lua
---local bell = circuit.new(2):h(0):cx(0, 1):measure_all()
---print(bell)
---```
---@class arvak.circuit
---@field id fun(self: arvak.circuit, qubit: integer): arvak.circuit nothing
---@field x fun(self: arvak.circuit, qubit: integer): arvak.circuit not
---@field y fun(self: arvak.circuit, qubit: integer): arvak.circuit Y
---@field z fun(self: arvak.circuit, qubit: integer): arvak.circuit Z
---@field h fun(self: arvak.circuit, qubit: integer): arvak.circuit Hadamard
---@field s fun(self: arvak.circuit, qubit: integer): arvak.circuit the root of Z
---@field sdg fun(self: arvak.circuit, qubit: integer): arvak.circuit the inverse of `s`
---@field t fun(self: arvak.circuit, qubit: integer): arvak.circuit the root of `s`
---@field tdg fun(self: arvak.circuit, qubit: integer): arvak.circuit the inverse of `t`
---@field sx fun(self: arvak.circuit, qubit: integer): arvak.circuit the root of X
---@field sxdg fun(self: arvak.circuit, qubit: integer): arvak.circuit the inverse of `sx`
---@field p fun(self: arvak.circuit, lambda: number|arvak.parameter, qubit: integer): arvak.circuit a phase on 1
---@field phase fun(self: arvak.circuit, lambda: number|arvak.parameter, qubit: integer): arvak.circuit `p`
---@field u1 fun(self: arvak.circuit, lambda: number|arvak.parameter, qubit: integer): arvak.circuit `p`
---@field rx fun(self: arvak.circuit, theta: number|arvak.parameter, qubit: integer): arvak.circuit a turn around X
---@field ry fun(self: arvak.circuit, theta: number|arvak.parameter, qubit: integer): arvak.circuit a turn around Y
---@field rz fun(self: arvak.circuit, theta: number|arvak.parameter, qubit: integer): arvak.circuit a turn around Z
---@field r fun(self: arvak.circuit, theta: number|arvak.parameter, phi: number|arvak.parameter, qubit: integer): arvak.circuit a turn around an axis between X and Y
---@field U fun(self: arvak.circuit, theta: number|arvak.parameter, phi: number|arvak.parameter, lambda: number|arvak.parameter, qubit: integer): arvak.circuit any gate on one qubit, up to a phase
---@field u fun(self: arvak.circuit, theta: number|arvak.parameter, phi: number|arvak.parameter, lambda: number|arvak.parameter, qubit: integer): arvak.circuit `U`
---@field u2 fun(self: arvak.circuit, phi: number|arvak.parameter, lambda: number|arvak.parameter, qubit: integer): arvak.circuit `U(pi/2, phi, lambda)`, with the phase of OpenQASM 3
---@field u3 fun(self: arvak.circuit, theta: number|arvak.parameter, phi: number|arvak.parameter, lambda: number|arvak.parameter, qubit: integer): arvak.circuit `U`, with the phase of OpenQASM 3
---@field u0 fun(self: arvak.circuit, gamma: number|arvak.parameter, qubit: integer): arvak.circuit nothing
---@field gphase fun(self: arvak.circuit, gamma: number|arvak.parameter): arvak.circuit a phase of the whole state
---@field cx fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled X
---@field CX fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit `cx`
---@field cy fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled Y
---@field cz fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled Z
---@field ch fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled H
---@field cs fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled `s`
---@field csdg fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled `sdg`
---@field csx fun(self: arvak.circuit, control: integer, target: integer): arvak.circuit controlled `sx`
---@field cp fun(self: arvak.circuit, lambda: number|arvak.parameter, control: integer, target: integer): arvak.circuit controlled `p`
---@field cphase fun(self: arvak.circuit, lambda: number|arvak.parameter, control: integer, target: integer): arvak.circuit `cp`
---@field cu1 fun(self: arvak.circuit, lambda: number|arvak.parameter, control: integer, target: integer): arvak.circuit `cp`
---@field crx fun(self: arvak.circuit, theta: number|arvak.parameter, control: integer, target: integer): arvak.circuit controlled `rx`
---@field cry fun(self: arvak.circuit, theta: number|arvak.parameter, control: integer, target: integer): arvak.circuit controlled `ry`
---@field crz fun(self: arvak.circuit, theta: number|arvak.parameter, control: integer, target: integer): arvak.circuit controlled `rz`
---@field cu3 fun(self: arvak.circuit, theta: number|arvak.parameter, phi: number|arvak.parameter, lambda: number|arvak.parameter, control: integer, target: integer): arvak.circuit controlled `U`
---@field cu fun(self: arvak.circuit, theta: number|arvak.parameter, phi: number|arvak.parameter, lambda: number|arvak.parameter, gamma: number|arvak.parameter, control: integer, target: integer): arvak.circuit controlled `U`, with `p(gamma)` on the control
---@field swap fun(self: arvak.circuit, a: integer, b: integer): arvak.circuit exchanges two qubits
---@field iswap fun(self: arvak.circuit, a: integer, b: integer): arvak.circuit exchanges two qubits, with a factor i where they differ
---@field dcx fun(self: arvak.circuit, a: integer, b: integer): arvak.circuit `cx` both ways
---@field ecr fun(self: arvak.circuit, a: integer, b: integer): arvak.circuit the echoed cross resonance
---@field rxx fun(self: arvak.circuit, theta: number|arvak.parameter, a: integer, b: integer): arvak.circuit a turn around XX
---@field ryy fun(self: arvak.circuit, theta: number|arvak.parameter, a: integer, b: integer): arvak.circuit a turn around YY
---@field rzz fun(self: arvak.circuit, theta: number|arvak.parameter, a: integer, b: integer): arvak.circuit a turn around ZZ
---@field rzx fun(self: arvak.circuit, theta: number|arvak.parameter, a: integer, b: integer): arvak.circuit a turn around ZX
---@field ccx fun(self: arvak.circuit, control1: integer, control2: integer, target: integer): arvak.circuit X with two controls
---@field ccz fun(self: arvak.circuit, control1: integer, control2: integer, target: integer): arvak.circuit Z with two controls
---@field cswap fun(self: arvak.circuit, control: integer, a: integer, b: integer): arvak.circuit controlled `swap`
---@field rccx fun(self: arvak.circuit, control1: integer, control2: integer, target: integer): arvak.circuit `ccx` up to relative phases
---@field c3x fun(self: arvak.circuit, control1: integer, control2: integer, control3: integer, target: integer): arvak.circuit X with three controls
---@field c3sx fun(self: arvak.circuit, control1: integer, control2: integer, control3: integer, target: integer): arvak.circuit `sx` with three controls
---@field c3sqrtx fun(self: arvak.circuit, control1: integer, control2: integer, control3: integer, target: integer): arvak.circuit `c3sx`
---@field rc3x fun(self: arvak.circuit, control1: integer, control2: integer, control3: integer, target: integer): arvak.circuit `c3x` up to relative phases
---@field rcccx fun(self: arvak.circuit, control1: integer, control2: integer, control3: integer, target: integer): arvak.circuit `rc3x`
---@field c4x fun(self: arvak.circuit, control1: integer, control2: integer, control3: integer, control4: integer, target: integer): arvak.circuit X with four controls
local circuit = {}

---Makes a circuit without operations.
---
---```lua
---local small = circuit.new(3)   -- q[0] to q[2], and as many bits c
---local named = circuit.new { qubits = { { "data", 4 }, { "anc", 1 } }, bits = { { "out", 4 } } }
---```
---@param registers integer|arvak.registers how many qubits there are, with as many bits; or the registers
---@return arvak.circuit c the circuit itself
function circuit.new(registers) end

---The registers of a new circuit, each a list of `{ name, size }`, or a number for a single one, `q` or `c`.
---@class arvak.registers
---@field qubits integer|table[] the registers of qubits
---@field bits? integer|table[] the registers of bits. Defaults to as many bits as there are qubits.

---Options of `circuit.from_qasm`.
---@class arvak.read_options
---@field name? string what errors call the text. Defaults to `"qasm"`.
---@field include_path? string[] folders in which included files are looked for. Defaults to none; stdgates.inc and qelib1.inc are known without.
---@field max_operations? integer operations that loops and calls may come to. Defaults to `1000000`.

---Reads a program of OpenQASM 2 or 3.
---Errors: `invalid_circuit`, with `line`, `column`, `source` and a message that shows the place.
---
---```lua
---local c = assert(circuit.from_qasm("qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"))
---print(c:depth())   --> 3
---```
---@param text string the program
---@param options? arvak.read_options how it is read
---@return arvak.circuit|nil c
---@return arvak.error|nil err
function circuit.from_qasm(text, options) end

---Reads a program from a file. Files that it includes are looked for beside it.
---Errors: as `circuit.from_qasm`; `invalid_circuit` also when a file cannot be read.
---
---```lua
---local c, err = circuit.load("no such file.qasm")
---print(err)
---```
---@param path string the name of a file
---@param options? arvak.read_options how it is read
---@return arvak.circuit|nil c
---@return arvak.error|nil err
function circuit.load(path, options) end

---A parameter: an angle that gets its number from `c:bind`. Parameters and numbers combine with `+ - * /` and unary
---minus to expressions, which are parameters too. None of them changes.
---
---```lua
---local theta = circuit.parameter "theta"
---local c = circuit.new(1):ry(theta / 2, 0):rz(-theta, 0)
---```
---@param name string letters, digits and `_`
---@return arvak.parameter parameter
function circuit.parameter(name) end

---A named angle, or an expression over some. `tostring` writes it.
---@class arvak.parameter
---@operator add(arvak.parameter|number): arvak.parameter
---@operator sub(arvak.parameter|number): arvak.parameter
---@operator mul(arvak.parameter|number): arvak.parameter
---@operator div(arvak.parameter|number): arvak.parameter
---@operator unm: arvak.parameter

---Adds a gate of the library by its name.
---
---```lua
---c:gate("crx", { 0.3 }, 0, 1)
---```
---@param name string the name of a gate of the library
---@param angles? (number|arvak.parameter)[] `nil` for a gate without
---@param ... integer the qubits
---@return arvak.circuit c the circuit itself
function circuit:gate(name, angles, ...) end

---Measures a qubit into a bit.
---
---```lua
---c:measure(0, 1)
---```
---@param qubit integer the qubit
---@param bit integer the bit
---@return arvak.circuit c the circuit itself
function circuit:measure(qubit, bit) end

---Measures each qubit into the bit of the same number.
---Raises: when there are fewer bits than qubits.
---
---```lua
---c:measure_all()
---```
---@return arvak.circuit c the circuit itself
function circuit:measure_all() end

---Puts qubits back to 0.
---
---```lua
---c:reset(0, 1)
---```
---@param ... integer the qubits, at least one
---@return arvak.circuit c the circuit itself
function circuit:reset(...) end

---Adds a barrier, which drawings show and other tools respect. The service gets none.
---
---```lua
---c:barrier()
---```
---@param ... integer the qubits. Defaults to all.
---@return arvak.circuit c the circuit itself
function circuit:barrier(...) end

---Adds operations that happen when a register of bits, or one bit, has a value at this point. Within the function its
---argument is a circuit with the same registers; what is added to that one stands under the condition.
---Raises: what the function raises; also when it changes the circuit outside.
---
---```lua
---local c = circuit.new(2):h(0):measure(0, 0)
---c:when(0, 1, function(body) body:x(1) end)
---c:when("c", 3, function(body) body:h(0):measure(0, 1) end)
---```
---@param what string|integer the name of a register of bits, or the number of a bit
---@param value integer from 0 on
---@param fn fun(body: arvak.circuit) adds to the circuit that it is given
---@return arvak.circuit c the circuit itself
function circuit:when(what, value, fn) end

---Adds the operations of another circuit.
---
---```lua
---local pair = circuit.new(2):h(0):cx(0, 1)
---local c = circuit.new(4):append(pair, { 0, 1 }):append(pair, { 2, 3 })
---```
---@param other arvak.circuit the circuit whose operations are added
---@param qubits? integer[] for each qubit of the other circuit one of this circuit. Defaults to the same numbers.
---@param bits? integer[] for each bit of the other circuit one of this circuit. Defaults to the same numbers.
---@return arvak.circuit c the circuit itself
function circuit:append(other, qubits, bits) end

---Makes a circuit that undoes this one.
---Raises: for measurements, resets and conditions.
---
---```lua
---local pair = circuit.new(2):h(0):cx(0, 1)
---local nothing = circuit.new(2):append(pair):append(pair:inverse())
---```
---@return arvak.circuit inverse
function circuit:inverse() end

---Makes a circuit with more qubits, the first ones: this circuit happens when all of those are 1.
---Raises: for measurements, resets and conditions.
---
---```lua
---print(circuit.new(1):h(0):controlled(2))
---```
---@param count? integer how many controls. Defaults to `1`.
---@return arvak.circuit controlled
function circuit:controlled(count) end

---Makes a circuit that is a power of this one. A number below 0 is a power of the inverse. A power that is no integer,
---the principal root, exists of a circuit of one gate: one that acts on one qubit, its controlled forms, and `swap`.
---Raises: for measurements, resets and conditions, and for roots of more than one gate.
---
---```lua
---local root = circuit.new(1):x(0):power(0.5)
---```
---@param exponent number any finite number
---@return arvak.circuit power
function circuit:power(exponent) end

---Makes a circuit that is this one several times over, with its measurements, resets and conditions.
---
---```lua
---local steps = circuit.new(2):rx(0.1, 0):rzz(0.2, 0, 1):repeated(10)
---```
---@param count integer from 0 on
---@return arvak.circuit repeated
function circuit:repeated(count) end

---The parameters that are not bound, in the order of their first use. The inputs of a program that was read are
---parameters.
---
---```lua
---print(table.concat(circuit.new(1):rx(circuit.parameter "theta", 0):parameters(), " "))   --> theta
---```
---@return string[] names
function circuit:parameters() end

---Makes a circuit with numbers for some parameters, or for all.
---Raises: for names that are no parameters of the circuit.
---Errors: `invalid_circuit` when a program that was read cannot have such a value, for a loop's bound, say.
---
---```lua
---local c = circuit.new(1):ry(circuit.parameter "theta", 0)
---for step = 0, 3 do print(c:bind { theta = step * 0.1 }:lowered().qasm) end
---```
---@param values table<string, number> numbers by the names of parameters
---@return arvak.circuit|nil bound
---@return arvak.error|nil err
function circuit:bind(values) end

---Options of `c:lowered`.
---@class arvak.lower_options
---@field optimization_level? integer 0 to 3: the level that the circuit will be submitted with. Defaults to `0`.
---@field qubits? integer how many qubits the backend has. Defaults to any number.

---What the service gets for the circuit.
---Errors: `invalid_circuit`, when the service cannot run the circuit exactly, or parameters are not bound.
---
---```lua
---local lowered = assert(c:lowered())
---print(lowered.qasm, lowered.qubit_count)
---```
---@param options? arvak.lower_options for which backend
---@return arvak.lowered|nil lowered
---@return arvak.error|nil err
function circuit:lowered(options) end

---Options of `c:to_qasm`.
---@class arvak.qasm_options
---@field lowered? boolean `false`: the circuit itself as OpenQASM 3, for other tools. Defaults to `true`, what the service gets.

---The circuit as text.
---Errors: as `c:lowered`; none with `lowered = false`.
---
---```lua
---print(c:to_qasm { lowered = false })
---```
---@param options? arvak.qasm_options which text
---@return string|nil qasm
---@return arvak.error|nil err
function circuit:to_qasm(options) end

---Options of `c:draw`.
---@class arvak.draw_options
---@field width? integer|number characters of a line, 20 or more; `math.huge` for no limit. Defaults to the width of the terminal, or 80.
---@field ascii? boolean `true`: only characters of ASCII. Defaults to `false`.

---A drawing for a terminal. `print(c)` shows the same, up to 200 lines. A drawing has up to 10,000 wires and 1,000,000
---characters; what it leaves out of a larger circuit stands in its last line.
---
---```lua
---print(c:draw { width = 60, ascii = true })
---```
---@param options? arvak.draw_options how it looks
---@return string drawing
function circuit:draw(options) end

---Options of `c:to_svg`.
---@class arvak.svg_options
---@field width? integer|number pixels, 200 or more; longer circuits are folded. `math.huge` for no limit. Defaults to `1000`.

---Writes a drawing as SVG, in light or dark colors, as its reader prefers. The file needs nothing from outside. A
---drawing has up to 10,000 wires and 200,000 shapes on them; what it leaves out of a larger circuit stands below the
---drawing, and is the second value.
---Errors: `rpc`, when the file cannot be written.
---
---```lua
---assert(c:to_svg(os.tmpname()))
---```
---@param path string the name of a file
---@param options? arvak.svg_options how it looks
---@return true|nil ok
---@return arvak.error|string|nil err the error; after `true`, what was left out
function circuit:to_svg(path, options) end

---How many qubits the circuit has.
---
---```lua
---print(c:qubit_count())   --> 2
---```
---@return integer count
function circuit:qubit_count() end

---How many bits the circuit has.
---
---```lua
---print(c:bit_count())   --> 2
---```
---@return integer count
function circuit:bit_count() end

---The longest chain of operations that wait for each other's qubits or bits. Barriers add nothing, but what stands
---behind one waits for what stands before it.
---
---```lua
---print(c:depth())   --> 3
---```
---@return integer depth
function circuit:depth() end

---How many gates, measurements and resets there are, those under conditions included.
---
---```lua
---print(c:size())   --> 4
---```
---@return integer size
function circuit:size() end

---How often each operation occurs, by name. Barriers count here.
---
---```lua
---print(c:count_ops().cx)   --> 1
---```
---@return table<string, integer> counts
function circuit:count_ops() end

---What the service gets for a circuit. It does not change.
---@class arvak.lowered
---@field qasm string the program in the service's language
---@field qubit_count integer qubits of that program: at least those that the circuit uses
---@field gate_count integer operations of that program
---@field notes string[] what a reader of the text should know
---@field reading table how counts over qubits become counts over the circuit's bits
local lowered = {}

---Reads what the service has counted for this program: counts over the circuit's bits.
---Errors: `rpc`, when the counts are not those of this program.
---Raises: for a result that was read already.
---
---```lua
---local l = assert(c:lowered())
---local id = assert(client:submit_qasm(l.qasm, "simulator", 100))
---local result = assert(l:read(assert(client:wait_for_job(id))))
---```
---@param result arvak.result|table<string, number> as the service gave it: a result, or its counts by bitstring
---@return arvak.result|table<string, number>|nil result of the same kind
---@return arvak.error|nil err
function lowered:read(result) end

-- ---- computing with results

---Functions over several results, in `arvak.results`. The [formulas](../results.md) stand on a page of their own.
---@class arvak.results
local results = {}

---Adds results up: one result with the sums of their counts and shots.
---Errors: `rpc` when a count is no count, or a sum passes the largest integer.
---Raises: results with different numbers of qubits.
---
---```lua
---print(arvak.results.merge { result, result }.shots)   --> 200
---```
---@param list arvak.result[] may be empty
---@return arvak.result|nil result
---@return arvak.error|nil err
function results.merge(list) end

---Scales a result to another number of shots, by largest remainders.
---Errors: `rpc` when nothing was counted, or a count is no count.
---
---```lua
---print(arvak.results.scale(result, 1000).shots)   --> 1000
---```
---@param result arvak.result
---@param shots integer from 0 on
---@return arvak.result|nil result whose counts sum to `shots`
---@return arvak.error|nil err
function results.scale(result, shots) end

---Says how far two distributions are apart: 0 when they are equal, 1 when they have no outcome in common. Two empty ones
---are 0 apart, an empty one and another 1.
---Errors: `rpc` when a count is no count.
---Raises: different numbers of qubits, an unknown kind.
---
---```lua
---print(arvak.results.distance(result, { ["00"] = 0.5, ["11"] = 0.5 }, "tvd"))
---```
---@param a arvak.result|table<string, number> a result, or weights by bitstring
---@param b arvak.result|table<string, number>
---@param kind "tvd"|"hellinger"|"js" total variation, Hellinger, or Jensen-Shannon divergence in bits
---@return number|nil distance from 0 to 1
---@return arvak.error|nil err
function results.distance(a, b, kind) end

---One line of a file of results.
---@alias arvak.item { index: integer?, id: string|integer|nil, job_id: string?, attempts: integer?, result: arvak.result?, err: any }

---Options of CSV files.
---@class arvak.csv_options
---@field quote_formulas? boolean puts an apostrophe before a text that a spreadsheet would run as a formula. Defaults to `true`.

---Functions that write files, in `arvak.export`.
---@class arvak.export
local export = {}

---Writes outcomes as CSV: a line for each bitstring, and one line for an item without any. The file appears when it is
---whole. The [columns](../results.md#files) stand on the page about results.
---Errors: `rpc` when the file cannot be written; the message names the path.
---Raises: an item that has neither `result` nor `err`.
---
---```lua
---local path = os.tmpname()
---assert(arvak.export.to_csv(path, { { id = "first", result = result } }))
---os.remove(path)
---```
---@param path string name of the file
---@param items arvak.item[]|fun(): arvak.item|nil a list, or an iterator function, which may wait
---@param options? arvak.csv_options
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function export.to_csv(path, items, options) end

---Writes outcomes as JSON: an array with one object for each item. Nothing is lost.
---Errors: `rpc` when the file cannot be written; the message names the path.
---Raises: an item that has neither `result` nor `err`.
---
---```lua
---local path = os.tmpname()
---assert(arvak.export.to_json(path, { { id = "first", result = result } }))
---os.remove(path)
---```
---@param path string name of the file
---@param items arvak.item[]|fun(): arvak.item|nil a list, or an iterator function, which may wait
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function export.to_json(path, items) end

-- ---- policies

---A retry policy, made by `arvak.retry_policy`.
---@class arvak.retry_policy
local policy = {}

---Whether a failure is worth another attempt. A value that is no error of this library is worth one when its field
---`retryable` is true.
---
---```lua
---local policy = arvak.retry_policy()
---print(policy:should_retry(select(2, client:get_job_status("no such job")), 1))   --> false
---```
---@param err any what the function or call failed with
---@param attempt integer the attempt that failed, from 1
---@return boolean
function policy:should_retry(err, attempt) end

---The pause before the next attempt, with jitter.
---
---```lua
---print(arvak.retry_policy { jitter = false }:backoff(3))   --> 4.0
---```
---@param attempt integer the attempt that failed, from 1
---@return number seconds of the pause
function policy:backoff(attempt) end

---Makes a function that calls `fn` until it succeeds or the policy gives up. A function fails by raising, or by nil and
---an error of this library.
---
---```lua
---local list = arvak.retry_policy():wrap(function() return client:list_backends() end)
---print(#list())
---```
---@param fn function
---@return function wrapped gives the last outcome
function policy:wrap(fn) end

---A circuit breaker, made by `arvak.circuit_breaker` or by a client with the option `breaker`.
---@class arvak.breaker
local breaker = {}

---The state.
---
---```lua
---print(arvak.circuit_breaker():state())   --> closed
---```
---@return "closed"|"open"|"half_open"
function breaker:state() end

---Whether a call would be let through now. The question changes nothing.
---
---```lua
---print(arvak.circuit_breaker():can_proceed())   --> true
---```
---@return boolean
---@return number|nil retry_after seconds until a probe may go; nil also while the breaker is forced open
function breaker:can_proceed() end

---Counts a success, for calls that the breaker does not see.
---
---```lua
---arvak.circuit_breaker():record_success()
---```
function breaker:record_success() end

---Counts a failure, for calls that the breaker does not see.
---
---```lua
---local breaker = arvak.circuit_breaker { failure_threshold = 1 }
---breaker:record_failure()
---print(breaker:state())   --> open
---```
function breaker:record_failure() end

---Refuses every call until `force_closed` or `reset`. The errors have no `retry_after`.
---
---```lua
---local breaker = arvak.circuit_breaker()
---breaker:force_open()
---```
function breaker:force_open() end

---Lets every call through until `force_open` or `reset`.
---
---```lua
---arvak.circuit_breaker():force_closed()
---```
function breaker:force_closed() end

---Closes the breaker and forgets what it has counted.
---
---```lua
---arvak.circuit_breaker():reset()
---```
function breaker:reset() end

---Makes a function that calls `fn` through the breaker. A raised error is a failure, and so is nil with an error that
---says that the service is unwell. A mistake in a circuit is not a failure.
---Errors: the function gives `circuit_open` while the breaker refuses.
---
---```lua
---local breaker = arvak.circuit_breaker()
---print(#breaker:wrap(function() return client:list_backends() end)())
---```
---@param fn function
---@return function wrapped takes and returns what `fn` does
function breaker:wrap(fn) end

-- ---- client

---A client, made by `arvak.connect`. It may be used by many tasks at once. It ends with `client:close()`, with its
---`<close>` variable, or when it is collected, whatever is in flight. Each handle of one client is of this class, views
---and the handle that a host gives to a plugin too.
---@class arvak.client
---@field async arvak.async the same methods; each returns at once, a future
local client = {}

---The methods of the client that wait, each under its own name and with its own arguments. They return at once, a future
---of what the method would give; a stream's future has the stream.
---
---```lua
---local future = client.async:execute(bell, "simulator", 100)
---print(assert(future:result()))
---```
---@class arvak.async

---Options of every call.
---@class arvak.call_options
---@field timeout? number seconds the call may take, all its attempts included. Defaults to the client's.
---@field attempt_timeout? number seconds one attempt may take. Defaults to the client's.
---@field queue_timeout? number seconds the call may wait for its turn. Defaults to the client's.
---@field retry? arvak.retry_options|arvak.retry_policy|boolean instead of the client's policy
---@field breaker? arvak.breaker|false instead of the client's breaker
---@field metadata? table<string, string> headers of this call, beside the client's. Where both have a name, this one counts.

---Options of a submit.
---@class arvak.submit_options: arvak.call_options
---@field shots? integer 0 to 4294967295. Defaults to `1024`.
---@field optimization_level? integer 0 to 3. From 1 on the server compiles the circuit, and the bitstrings cover its whole device. Defaults to `0`.
---@field label? string at most 1000 bytes by which a ledger knows the job. Defaults to none.

---What every method that waits for a job takes.
---@class arvak.waiting: arvak.call_options
---@field max_wait? number seconds the wait may take. The job goes on when they are over. Defaults to no limit; without one, the wait ends when the server has given no usable answer for one `timeout`.
---@field poll_interval? number the longest pause between two looks at the job, in seconds. The first looks follow each other faster. Defaults to `1`.
---@field on_progress? fun(job: arvak.job) called at each look; must not wait

---Options of `client:get_job_result`.
---@class arvak.get_job_result_options: arvak.call_options
---@field circuit? arvak.circuit the circuit that the job was made from: then the counts are over its bits. Without it they are what the service says.
---@field optimization_level? integer with `circuit`: the level that the job was submitted with. Defaults to `0`.
---@field backend_id? string with `circuit`: where the job was submitted, of a circuit that needs more than 20 qubits or nearly so. Defaults to `"simulator"`.

---Options of `client:wait_for_job`.
---@class arvak.wait_options: arvak.waiting
---@field circuit? arvak.circuit as in `arvak.get_job_result_options`
---@field optimization_level? integer as in `arvak.get_job_result_options`
---@field backend_id? string as in `arvak.get_job_result_options`

---Options of submitting a job and waiting for it.
---@class arvak.execute_options: arvak.waiting
---@field shots? integer 0 to 4294967295. Defaults to `1024`.
---@field optimization_level? integer 0 to 3, as in `arvak.submit_options`. Defaults to `0`.
---@field label? string as in `arvak.submit_options`

---Options of `client:submit_batch`.
---@class arvak.submit_batch_options: arvak.call_options
---@field split? boolean `true`: more than 50 circuits, or more bytes than one message takes, go in several RPCs. Defaults to `false`.
---@field label? string at most 1000 bytes by which a ledger knows the jobs. Defaults to none.

---A circuit of a list: `{ text, shots }`, or the same with names.
---@alias arvak.entry arvak.circuit|{ [1]: string|arvak.circuit, [2]: integer? }|{ qasm: string|arvak.circuit, shots: integer?, optimization_level: integer? }

---Changes the policies for later calls. A policy that is not given stays.
---Raises: on the handle that a host gave to a plugin.
---
---```lua
---client:configure { retry = { max_attempts = 5 }, breaker = false }
---```
---@param options arvak.policies
function client:configure(options) end

---The client's breaker.
---
---```lua
---client:configure { breaker = true }
---print(client:breaker():state())   --> closed
---```
---@return arvak.breaker|nil breaker nil when there is none
function client:breaker() end

---Submits a circuit, waits for its job and fetches the result.
---Errors: `invalid_circuit`, `backend_not_found`, `job_failed`, `job_canceled`, `result_expired`, `job_not_found` (the server
---has lost the job), `timeout` (its `scope` is `"wait"` after `max_wait`; the job goes on, and `err.job_id` names it).
---
---```lua
---local result = assert(client:execute(bell, "simulator", { shots = 100, max_wait = 30 }))
---for bits, count in result:pairs() do print(bits, count) end
---```
---@param qasm string|arvak.circuit OpenQASM 3, or a circuit
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? integer|arvak.execute_options shots, or a table
---@return arvak.result|nil result
---@return arvak.error|nil err
function client:execute(qasm, backend_id, options) end

---Submits a circuit.
---Errors: `invalid_circuit`, `backend_not_found`. When the connection broke or the time was over, `err.maybe_executed` says
---whether the server may have made a job.
---
---```lua
---print(assert(client:submit_qasm(bell, "simulator", 100)))
---```
---@param qasm string|arvak.circuit OpenQASM 3, or a circuit
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? integer|arvak.submit_options shots, or a table
---@return string|nil job_id names the job from now on, in other processes too
---@return arvak.error|nil err
function client:submit_qasm(qasm, backend_id, options) end

---Does what `client:execute` does, and returns at once. Canceling the future cancels the job on the server.
---
---```lua
---local future = client:submit_qasm_future(bell, "simulator", 100)
---print(assert(future:submitted()), assert(future:result()))
---```
---@param qasm string|arvak.circuit OpenQASM 3, or a circuit
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? integer|arvak.execute_options shots, or a table
---@return arvak.future future of the result
function client:submit_qasm_future(qasm, backend_id, options) end

---Starts one job future for each circuit, each with a submit of its own.
---
---```lua
---for _, future in ipairs(client:submit_batch_future(circuits, "simulator")) do print(future:result()) end
---```
---@param circuits arvak.entry[] a list
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? integer|arvak.execute_options shots of circuits that name none, or a table
---@return arvak.future[] futures in the order of the circuits
function client:submit_batch_future(circuits, backend_id, options) end

---Gives an error without asking the server, since no server takes circuits as JSON. It is here for programs that come from
---the Python client.
---Errors: always `invalid_circuit`.
---
---```lua
---print(select(2, client:submit_circuit_json("{}", "simulator")).kind)   --> invalid_circuit
---```
---@param circuit_json string has no effect
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? integer|arvak.submit_options
---@return nil
---@return arvak.error err
function client:submit_circuit_json(circuit_json, backend_id, options) end

---Submits up to 50 circuits in one RPC. When the server refuses one, it may have run those before it, and their ids are not
---known. For more circuits, or where none may be lost, use a batch manager.
---Errors: `invalid_circuit`, `backend_not_found`. With `split`, `err.job_ids` are the jobs submitted before the failure.
---Raises: more than 50 circuits without `split`.
---
---```lua
---print(#assert(client:submit_batch(circuits, "simulator")))   --> 2
---```
---@param circuits arvak.entry[] fields by name may come from a metamethod, which is called once for each
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? arvak.submit_batch_options
---@return string[]|nil job_ids in the order of the circuits
---@return arvak.error|nil err
function client:submit_batch(circuits, backend_id, options) end

---Compares shots, and of a circuit its qubits and operations, with what a backend takes. Asks the server once, with
---GetBackendInfo; nothing is submitted. Batches do the same with the option `check`.
---Errors: `invalid_circuit` when the program breaks a limit; `err.problems` has an entry `{ limit =, got =, most = }` for
---each, where `limit` is `"qubits"`, `"shots"` or `"gates"`. `invalid_circuit` without these when the circuit cannot be sent
---at all. `backend_not_found`.
---
---```lua
---local _, err = client:check(bell, "simulator", 200000)
---print(err.problems[1].limit, err.problems[1].got, err.problems[1].most)   --> shots   200000   100000
---```
---@param qasm string|arvak.circuit OpenQASM 3, or a circuit
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? integer|arvak.submit_options shots, or a table
---@return true|nil ok true when the backend takes it
---@return arvak.error|nil err
function client:check(qasm, backend_id, options) end

---Looks at a job.
---Errors: `job_not_found`.
---
---```lua
---print(assert(client:get_job_status(job_id)).state)   --> COMPLETED
---```
---@param job_id string the id that a submit gave
---@param options? arvak.call_options
---@return arvak.job|nil job
---@return arvak.error|nil err
function client:get_job_status(job_id, options) end

---Fetches the result of a job that has completed. A result that is too large for one message comes in chunks; it has no
---`execution_time_ms` and no metadata.
---Errors: `job_not_found`, `job_not_completed`, `job_failed`, `job_canceled`, `result_expired`.
---
---```lua
---print(assert(client:get_job_result(job_id)).shots)   --> 100
---```
---@param job_id string the id that a submit gave
---@param options? arvak.get_job_result_options
---@return arvak.result|nil result
---@return arvak.error|nil err
function client:get_job_result(job_id, options) end

---Waits for a job and fetches its result. Errors that may pass do not end the wait.
---Errors: as `client:execute`.
---
---```lua
---print(assert(client:wait_for_job(job_id, { max_wait = 60, on_progress = function(job) print(job.state) end })))
---```
---@param job_id string the id that a submit gave
---@param options? arvak.wait_options
---@return arvak.result|nil result
---@return arvak.error|nil err
function client:wait_for_job(job_id, options) end

---Cancels a job.
---Errors: `job_not_found`, `not_cancelable` when the job had ended.
---
---```lua
---print(client:cancel_job(job_id))   --> nil   … had ended already
---```
---@param job_id string the id that a submit gave
---@param options? arvak.call_options
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function client:cancel_job(job_id, options) end

---Lists the backends of the server.
---
---```lua
---for _, backend in ipairs(assert(client:list_backends())) do print(backend.backend_id, backend.max_qubits) end
---```
---@param options? arvak.call_options
---@return arvak.backend[]|nil backends
---@return arvak.error|nil err
function client:list_backends(options) end

---Describes one backend.
---Errors: `backend_not_found`.
---
---```lua
---print(assert(client:get_backend_info("simulator")).max_qubits)   --> 20
---```
---@param backend_id string a `backend_id` of `client:list_backends()`
---@param options? arvak.call_options
---@return arvak.backend|nil backend
---@return arvak.error|nil err
function client:get_backend_info(backend_id, options) end

---Waits until a connection stands.
---Errors: `timeout`.
---
---```lua
---assert(client:wait_for_ready(5))
---```
---@param timeout? number seconds. Defaults to the client's `timeout`.
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function client:wait_for_ready(timeout) end

---Figures of a client. Views and the handles of all Lua states share them.
---@class arvak.stats
---@field calls integer calls that have ended. Streams are not counted.
---@field failures integer calls that have failed
---@field attempts integer attempts that were handed to gRPC
---@field in_flight integer calls with gRPC now
---@field queued integer calls that wait for their turn now
---@field bytes_sent integer bytes of messages, of streams too
---@field bytes_received integer bytes of messages, of streams too
---@field connections { open: integer, ready: integer, connecting: integer, failing: integer, idle: integer } how many connections are in each state
---@field retries table<string, integer> retries by the name of the status that caused them
---@field latency table<string, { count: integer, p50: number, p90: number, p99: number, max: number }> seconds from the start of a call to its end, by RPC
---@field in_flight_limit integer the present limit of `in_flight`; a state beside others of its host leaves the last sixteenth of it to those that hold none
---@field pace? { refused: integer, held: integer, rate: number? } with the limiter `"auto"`, once the server has refused a submit: how many it has refused, how many submits wait for their turn now, and jobs a second at which turns come
---@field limiter_tokens? number submits that may leave at once now, by the limiter's rate
---@field tokens? number tokens of the retry budget
---@field breaker? { state: string, opened: integer, half_opened: integer, closed: integer } the breaker's state, and how often it came to each
---@field ledger? { noted: integer, waiting: integer, lost: integer, problem: string? } of a client with a ledger: notes written, notes that wait to be written, notes that could not be written, and the first reason why

---The client's figures.
---
---```lua
---local stats = client:stats()
---print(stats.calls, stats.failures, stats.latency.SubmitJob.p99)
---```
---@return arvak.stats stats
function client:stats() end

---Options of every stream.
---@class arvak.streaming
---@field timeout? number seconds the whole stream may take; of a watch, all its connections together. Defaults to no limit.
---@field idle_timeout? number seconds that may pass without a message. Defaults to no limit.
---@field metadata? table<string, string> headers, beside the client's
---@field retry? arvak.retry_options|arvak.retry_policy|boolean instead of the client's policy, for a stream that fails before its first message
---@field breaker? arvak.breaker|false instead of the client's breaker

---Options of `client:submit_batch_stream`.
---@class arvak.stream_options: arvak.streaming
---@field label? string as in `arvak.submit_options`, of all jobs of the stream

---Options of `client:watch_job`.
---@class arvak.watch_options: arvak.streaming
---@field every_tick? boolean `true`: also messages that repeat a state. Defaults to `false`.

---Options of `client:stream_results`.
---@class arvak.result_stream_options: arvak.streaming
---@field chunk_size? integer outcomes in one chunk. Defaults to the server's 1000.
---@field circuit? arvak.circuit the circuit that the job was made from: then the counts are over its bits, and a bitstring may come in several chunks: add them up
---@field optimization_level? integer as in `arvak.get_job_result_options`
---@field backend_id? string as in `arvak.get_job_result_options`

---Follows the states of a job until it has ended. The watch goes on over broken connections; when it brings no new state for
---one `timeout` of the client, it ends. Its values are the state, a Unix time by the server's clock, and a message.
---Errors: `job_not_found`, `timeout`.
---
---```lua
---for state, timestamp in client:watch_job(job_id) do print(state, timestamp) end
---```
---@param job_id string the id that a submit gave
---@param options? arvak.watch_options
---@return arvak.stream stream
---@return nil
---@return nil
---@return arvak.stream closing what the `for` loop closes when it is left
function client:watch_job(job_id, options) end

---Fetches the counts of a job in chunks. Its values are the counts of a chunk, whether it is the last, its index from 0,
---and the number of chunks. The stream checks their order and that none is missing.
---Errors: `job_not_found`, `job_not_completed`.
---
---```lua
---for counts, is_final, index, total in client:stream_results(job_id, 1000) do print(counts, is_final, index, total) end
---```
---@param job_id string the id that a submit gave
---@param options? integer|arvak.result_stream_options chunk size, or a table
---@return arvak.stream stream
---@return nil
---@return nil
---@return arvak.stream closing what the `for` loop closes when it is left
function client:stream_results(job_id, options) end

---Submits many circuits over one RPC, to which the server's limits do not apply. Its values are `"submitted"`,
---`"completed"` or `"error"`, the index of the circuit, its job's id, and the result or the error. Each circuit gets
---exactly one last event, also when the stream breaks.
---
---```lua
---for kind, index, id, data in client:submit_batch_stream(circuits, "simulator") do print(kind, index, id, data) end
---```
---@param circuits (table|arvak.circuit)[]|fun(): table|arvak.circuit|nil entries as of `client:submit_batch`, which may also have a `backend_id`; a list, or an iterator function, which may wait
---@param backend_id? string of entries that name none
---@param options? arvak.stream_options
---@return arvak.stream stream
---@return nil
---@return nil
---@return arvak.stream closing what the `for` loop closes when it is left
function client:submit_batch_stream(circuits, backend_id, options) end

---Closes the handle. Calls in flight end as `closed`; later ones raise. May be repeated. Does not wait, but for an embedded
---server to end, which takes a second at most.
---
---```lua
---client:close()
---```
function client:close() end

-- ---- future

---Something that ends later: a task, an RPC, or a job. A future that nobody holds goes on.
---@class arvak.future
---@field job_id? string of a job future, once the server has answered the submit
local future = {}

---Waits for the id of a job future.
---Errors: those of the submit; `timeout` when the time is over.
---
---```lua
---print(assert(client:submit_qasm_future(bell, "simulator", 100):submitted(5)))
---```
---@param timeout? number seconds. Defaults to no limit.
---@return string|nil job_id names the job from now on, in other processes too
---@return arvak.error|nil err
function future:submitted(timeout) end

---Whether it has ended, in whatever way.
---
---```lua
---print(client.async:list_backends():done())   --> false
---```
---@return boolean
function future:done() end

---Whether it has started and not ended.
---
---```lua
---print(client.async:list_backends():running())
---```
---@return boolean
function future:running() end

---Whether it was canceled.
---
---```lua
---print(client.async:list_backends():canceled())   --> false
---```
---@return boolean
function future:canceled() end

---Cancels it. A task's present and later waits end as `canceled`. An RPC is canceled. A job future cancels its job on the
---server, and goes on when the server refuses.
---Errors: `not_cancelable` when it had ended.
---
---```lua
---local future = arvak.spawn(arvak.sleep, 60)
---print(future:cancel(), future:canceled())
---```
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function future:cancel() end

---Waits until it has ended.
---Errors: `canceled` when the waiting task was canceled.
---
---```lua
---print(client.async:list_backends():wait(5))   --> true
---```
---@param timeout? number seconds. Defaults to no limit.
---@return boolean|nil ended false when the time is over
---@return arvak.error|nil err
function future:wait(timeout) end

---Waits for its values. A task that raised gives nil and what it raised.
---Errors: its own; `timeout` when the time is over, and then the future goes on.
---
---```lua
---print(assert(client:submit_qasm_future(bell, "simulator", 100):result(10)))
---```
---@param timeout? number seconds. Defaults to no limit.
---@return any ... the values, or nil and the error
function future:result(timeout) end

---Waits for its error.
---
---```lua
---print(client.async:get_job_status("no such job"):exception().kind)   --> job_not_found
---```
---@param timeout? number seconds. Defaults to no limit.
---@return any err the error, or nil when it succeeded
function future:exception(timeout) end

---Runs `fn(future)` as a task once the future has ended; at once when it has.
---
---```lua
---local future = client:submit_qasm_future(bell, "simulator", 100)
---future:add_done_callback(function(f) print("done", f:result()) end)
---future:wait()
---```
---@param fn fun(future: arvak.future)
function future:add_done_callback(fn) end

-- ---- stream

---What `client:watch_job`, `client:stream_results` and `client:submit_batch_stream` give. In a `for` loop it is its own
---iterator: the loop raises the stream's error, and leaving it, in whatever way, ends the RPC. A stream in a variable wants
---`<close>`. It reads one message ahead at most, so a slow reader holds the server back.
---@class arvak.stream
local stream = {}

---Waits for the next values.
---Errors: those of the method that made the stream.
---
---```lua
---local stream <close> = client:watch_job(job_id)
---print(stream:next())
---```
---@return any ... the values; nil at the end; nil and the error when the stream failed
function stream:next() end

---Ends the RPC at once. May be repeated.
---
---```lua
---local stream = client:watch_job(job_id)
---stream:cancel()
---```
function stream:cancel() end

-- ---- batches

---A circuit of a batch: `{ text, shots }`, or the same with names; instead of a text an `arvak.circuit`, which may also
---stand alone. It is copied when it is drawn.
---@class arvak.batch_input
---@field [1]? string|arvak.circuit OpenQASM 3, or a circuit
---@field [2]? integer shots
---@field qasm? string|arvak.circuit instead of `[1]`
---@field shots? integer instead of `[2]`. Defaults to `1024`.
---@field optimization_level? integer 0 to 3. Defaults to `0`.
---@field id? string|integer your own name for it, which comes back in the item and in files
---@field backend_id? string of this circuit, instead of the batch's

---Options of a batch.
---@class arvak.batch_options
---@field timeout? number seconds the whole batch may take. Then it submits nothing more, cancels its jobs, and open places get a `timeout` error. Defaults to no limit.
---@field max_wait? number seconds that each job may take from when the server has taken it. Then its place ends as a `timeout` with scope `"wait"`, and the job goes on. Defaults to no limit.
---@field fail_fast? boolean `true`: the first failure stops the batch. Defaults to `false`.
---@field on_result? fun(index: integer, result: arvak.result|nil, err: arvak.error|nil, item: arvak.batch_item) called at each end, in the order of the ends. May wait; the batch waits meanwhile.
---@field progress_callback? fun(progress: arvak.batch_progress) called every 0.1 s and at the end
---@field collect? boolean `false`: the result has only figures, so that memory does not grow. Defaults to `false` for an iterator with `on_result`, else to `true`.
---@field transport? "auto"|"stream"|"unary" `"stream"`: one stream for all submits; `"unary"`: an RPC for each; `"auto"`: the stream, or unary calls where the server has none. Defaults to `"auto"`.
---@field on_unknown? "fail"|"resubmit" what the batch does with a circuit when the connection broke or the program died while it was on its way, so that it may have run: give it an error with `maybe_executed`, or submit it again. Defaults to `"fail"`.
---@field check? boolean `true`: compares each circuit with its backend's limits first, as `client:check` does; one that breaks a limit fails without being sent. Defaults to `false`.
---@field label? string as in `arvak.submit_options`, of all jobs of the batch
---@field journal? string path of a database in which the batch notes what it does. The same batch with the same journal goes on where it stopped. A name of PostgreSQL, `postgresql://user@host/database?batch=name` or `host=… dbname=… batch=name`: programs with the same journal share the batch (docs/guide/many-machines.md). Defaults to none.
---@field lease? number of a shared batch: seconds without a sign of life after which others go on with this program's circuits, from 0.5 to 86400. Defaults to `30.0`.
---@field reconnect? number of a shared batch: seconds for which a lost database is tried again before the batch stops. Defaults to `300.0`.
---@field share? "all"|"mine" of a shared batch: the result, `on_result` and progress cover every circuit, whoever ran it, or only those that this program ran. Defaults to `"all"`.
---@field extend? boolean of a batch with a journal. `true`: the journal may have been made for the first of these circuits only; it is the journal of all from then on. Of a shared batch these may also be the first of its circuits only. Defaults to `false`: then such a journal is refused.

---Options of `manager:submit_many`.
---@class arvak.submit_many_options
---@field transport? "auto"|"stream"|"unary" as in `arvak.batch_options`. Defaults to `"auto"`.
---@field on_unknown? "fail"|"resubmit" as in `arvak.batch_options`. Defaults to `"fail"`.
---@field check? boolean as in `arvak.batch_options`. Defaults to `false`.
---@field label? string as in `arvak.batch_options`
---@field max_wait? number as in `arvak.batch_options`. Defaults to no limit.

---Options of `manager:wait_all`.
---@class arvak.wait_all_options
---@field timeout? number seconds. Then the open futures are canceled. Defaults to no limit.
---@field fail_fast? boolean `true`: the first failure cancels the open futures. Defaults to `false`.
---@field progress_callback? fun(progress: arvak.batch_progress) called every 0.1 s and at the end

---Options of `manager:as_completed`.
---@class arvak.as_completed_options
---@field timeout? number seconds for all futures together. Defaults to no limit.
---@field progress_callback? fun(progress: arvak.batch_progress) called at each end

---Options of `manager:map`.
---@class arvak.manager_map_options
---@field timeout? number seconds for all futures together. Defaults to no limit.

---The progress of a batch.
---@class arvak.batch_progress
---@field total? integer inputs; nil while an iterator has not ended
---@field completed integer inputs that have succeeded
---@field failed integer inputs that have failed
---@field running integer inputs that are submitted and unfinished
---@field pending integer inputs that are not submitted
---@field percent_complete? number finished inputs of the total, 0 to 100
---@field elapsed_time number seconds since the start
---@field throughput number inputs finished in a second
---@field eta? number seconds to the end, as it looks now
---@field success_rate number successes of the finished inputs, 0 to 100
---@field trouble? string why the batch does not go on at the moment, such as a server that cannot be reached
---@field is_complete boolean whether every input has ended
---@field workers? integer of a shared batch: the programs that live
---@field mine? integer of a shared batch: how many of the finished inputs this program ran

---What became of one input.
---@class arvak.batch_item
---@field index integer place of the input
---@field id? string|integer the input's own name
---@field job_id? string nil when the circuit was not accepted
---@field result? arvak.result nil when it failed
---@field err? arvak.error nil when it succeeded
---@field attempts integer how often the input was submitted

---Runs batches, made by `arvak.batch_manager`.
---@class arvak.batch_manager
local manager = {}

---Runs every circuit and waits for all. A list is checked whole before anything is sent. A circuit that no server can take
---(invalid UTF-8, a NUL) fails alone, and so does a wrong entry of an iterator.
---Errors: nil and an error only when nothing was started (a journal of another batch, say). Otherwise the second value, also
---`r.err`, says what stopped the batch before its end.
---
---```lua
---local r = assert(manager:execute_batch(circuits, "simulator", { timeout = 60 }))
---for index, result, err in r:each() do print(index, result or err) end
---```
---@param circuits (arvak.batch_input|arvak.circuit)[]|fun(): arvak.batch_input|arvak.circuit|nil a list, or an iterator function, which may wait, even for results of this batch
---@param backend_id? string of circuits that name none
---@param options? arvak.batch_options
---@return arvak.batch_result|nil r
---@return arvak.error|nil err
function manager:execute_batch(circuits, backend_id, options) end

---Makes a job future for each circuit, at once. At most `max_workers` of them are submitted and unfinished.
---
---```lua
---print(#assert(arvak.all(manager:submit_many(circuits, "simulator"))))
---```
---@param circuits (arvak.batch_input|arvak.circuit)[] a list
---@param backend_id? string of circuits that name none
---@param options? arvak.submit_many_options
---@return arvak.future[] futures in the order of the circuits
function manager:submit_many(circuits, backend_id, options) end

---Waits for all futures. When the time is over, or at the first failure with `fail_fast`, it cancels the open ones.
---
---```lua
---local r = manager:wait_all(manager:submit_many(circuits, "simulator"), { timeout = 60 })
---print(r.status, r.success_count)
---```
---@param futures arvak.future[] a list
---@param options? arvak.wait_all_options
---@return arvak.batch_result r
---@return arvak.error|nil err what stopped it before the end
function manager:wait_all(futures, options) end

---Iterates over futures in the order in which they end. Leaving the loop lets go of the others.
---Raises: the `timeout` error when the time is over.
---
---```lua
---for future, index in manager:as_completed(manager:submit_many(circuits, "simulator")) do print(index, future:result()) end
---```
---@param futures arvak.future[] a list
---@param options? arvak.as_completed_options
---@return fun(): arvak.future, integer
---@return nil
---@return nil
---@return any closing what the `for` loop closes when it is left
function manager:as_completed(futures, options) end

---Calls `fn(result, index)` for each future that succeeds, as they end.
---Raises: what `fn` raises.
---
---```lua
---local futures = manager:submit_many(circuits, "simulator")
---local outcomes = manager:map(function(result) return result:most_frequent() end, futures)
---print(outcomes[1].value)
---```
---@param fn fun(result: any, index: integer): any
---@param futures arvak.future[] a list
---@param options? arvak.manager_map_options
---@return arvak.outcome[] outcomes in the order of the list
function manager:map(fn, futures, options) end

---Stops the batches of this manager that run, from a callback or another task. Open places end as `canceled`.
---
---```lua
---manager:execute_batch(circuits, "simulator", { on_result = function() manager:cancel() end })
---```
---@return true
function manager:cancel() end

---Stops the batches of this manager; later calls raise. The client stays open. May be repeated, and `<close>` does it.
---
---```lua
---manager:close()
---```
function manager:close() end

---What became of a batch. Every input ends in exactly one place.
---@class arvak.batch_result
---@field status "completed"|"partial"|"failed" all inputs succeeded; some; none, or the journal refused a circuit
---@field ok boolean whether the status is `"completed"`
---@field err? arvak.error what stopped the batch before its end: a timeout, a cancel, `fail_fast`, a server that is gone, or an error in a function of yours (its `cause`)
---@field items? arvak.batch_item[] one for each input, in their order; nil with `collect = false`
---@field results? arvak.result[] the results, each with its `index`
---@field failures? { index: integer, id: string|integer|nil, job_id: string|nil, err: arvak.error }[] the failures
---@field success_count integer inputs that succeeded
---@field failure_count integer inputs that failed
---@field total_count integer inputs
---@field total_time number seconds
---@field throughput number inputs finished in a second
local batch_result = {}

---Iterates over the inputs in their order: index, result, error.
---
---```lua
---local r = assert(manager:execute_batch(circuits, "simulator"))
---for index, result, err in r:each() do print(index, result, err) end
---```
---@return fun(): integer|nil, arvak.result|nil, arvak.error|nil
function batch_result:each() end

---Writes the items as CSV, as `arvak.export.to_csv` does.
---Errors: `rpc` when the file cannot be written.
---
---```lua
---local r, path = assert(manager:execute_batch(circuits, "simulator")), os.tmpname()
---assert(r:to_csv(path))
---os.remove(path)
---```
---@param path string name of the file
---@param options? arvak.csv_options
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function batch_result:to_csv(path, options) end

---Writes the items as JSON, as `arvak.export.to_json` does.
---Errors: `rpc` when the file cannot be written.
---
---```lua
---local r, path = assert(manager:execute_batch(circuits, "simulator")), os.tmpname()
---assert(r:to_json(path))
---os.remove(path)
---```
---@param path string name of the file
---@return true|nil ok true when it is done
---@return arvak.error|nil err
function batch_result:to_json(path) end

---Runs the failures once more. When a job was submitted and its outcome could not be read, the batch looks at that job
---first. It leaves out a circuit that may have been executed, unless `on_unknown` is `"resubmit"`. Of a shared batch other
---programs may run meanwhile; a failure that another program runs again already is followed, not run twice.
---Errors: as `manager:execute_batch`.
---
---```lua
---local r = assert(manager:execute_batch({ { bell, 10 }, { "not a circuit", 10 } }, "simulator"))
---print(r.failure_count, assert(r:retry_failed()).failure_count)
---```
---@param options? arvak.batch_options instead of the batch's, name by name
---@return arvak.batch_result|nil r of all inputs
---@return arvak.error|nil err
function batch_result:retry_failed(options) end

---A journal for reading, made by `arvak.journal`. No batch can use a journal in a file meanwhile; a shared batch in PostgreSQL
---goes on.
---@class arvak.journal
---@field path string the name that it was opened by
---@field fingerprint? string what tells its batch from others; nil of a shared batch
---@field backend_id? string the backend of the batch
---@field total? integer inputs; nil when an iterator has not ended
---@field created_at integer Unix seconds
---@field format integer 1 of a journal of an early version, else 2; a batch that goes on with one of format 1 makes it one of format 2
local journal = {}

---What `execute_batch` would do with a journal. The counts are those of the circuits up to the first that differs.
---@class arvak.plan
---@field total integer circuits
---@field kept integer outcomes that the journal has
---@field followed integer jobs of an earlier run that would be looked at
---@field to_send integer circuits that would be submitted
---@field unknown integer circuits that were on their way when an earlier run ended: each would get an error with `maybe_executed`
---@field invalid integer circuits that would fail without being sent
---@field differs? arvak.plan_difference where the journal is not of these circuits: the batch would be refused

---@class arvak.plan_difference
---@field index? integer the first circuit that differs; nil where the whole batch does
---@field why string what differs

---An item of a journal.
---@class arvak.journal_item: arvak.batch_item
---@field state "claimed"|"intent"|"submitted"|"completed"|"failed"|"unknown" of a shared batch, a program has it, and nothing more; about to be sent; at the server; ended; ended; sent, and nobody knows whether it made a job
---@field circuit_hash? string what tells the circuit from others; nil while it is only claimed
---@field worker? integer of a shared batch: the worker that has it, or that has ended it
---@field sent_at? integer Unix seconds
---@field ended_at? integer Unix seconds

---Iterates over the items in the order of the inputs.
---Raises: an error object when the file is damaged.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal <close> = assert(arvak.journal(path))
---for item in journal:items("completed") do print(item.index, item.job_id) end
---os.remove(path)
---```
---@param state? "claimed"|"intent"|"submitted"|"completed"|"failed"|"unknown" Defaults to all.
---@return fun(): arvak.journal_item|nil
function journal:items(state) end

---Counts the items in each state.
---Raises: an error object when the file is damaged.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal <close> = assert(arvak.journal(path))
---print(journal:counts().completed)   --> 2
---os.remove(path)
---```
---@return table<string, integer>
function journal:counts() end

---A program that has worked on a shared batch.
---@class arvak.journal_worker
---@field worker integer its number
---@field name string host, process, and a number of the batch in that process
---@field state "alive"|"leaving"|"left"|"dead" it works; it stops; it has ended; others have its circuits
---@field lease number seconds
---@field ended integer outcomes that are its own
---@field joined_at integer Unix seconds
---@field seen_at integer Unix seconds: its last sign of life
---@field silence number seconds since then
---@field left_at? integer Unix seconds

---Lists the programs that have worked on a shared batch, in the order in which they joined. Of a journal in a file: none.
---Raises: an error object when the database does not answer.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal <close> = assert(arvak.journal(path))
---print(#journal:workers())   --> 0
---os.remove(path)
---```
---@return arvak.journal_worker[]
function journal:workers() end

---Declares a worker of a shared batch dead, so that others go on with its circuits at once. For people who know that its
---machine is gone: a program that lives finds out, sends nothing more and joins again.
---Errors: `rpc` when no such worker lives.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal <close> = assert(arvak.journal(path))
---for _, worker in ipairs(journal:workers()) do
---  if worker.silence > 60 then journal:release(worker.worker) end
---end
---os.remove(path)
---```
---@param worker integer its number
---@return integer|nil items how many circuits others may go on with
---@return arvak.error|nil err
function journal:release(worker) end

---Says what `execute_batch` would do with these circuits and this journal, and does nothing of it. Waits for the database.
---Errors: `rpc` when the batch would be refused whatever the circuits are: the journal has lost its log.
---Raises: an error object when the file is damaged.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal <close> = assert(arvak.journal(path))
---local plan = assert(journal:plan(circuits, "simulator"))
---print(plan.kept, plan.to_send)   --> 2	0
---os.remove(path)
---```
---@param circuits (arvak.batch_input|arvak.circuit)[]|fun(): arvak.batch_input|arvak.circuit|nil a list, or an iterator function, which is drawn to its end
---@param backend_id? string of circuits that name none
---@param options? arvak.plan_options
---@return arvak.plan|nil plan
---@return arvak.error|nil err
function journal:plan(circuits, backend_id, options) end

---Options of `journal:plan`: those of the batch.
---@class arvak.plan_options
---@field on_unknown? "fail"|"resubmit" as in `arvak.batch_options`. Defaults to `"fail"`.
---@field extend? boolean as in `arvak.batch_options`. Defaults to `false`.

---Closes the file, and waits for that. May be repeated, and `<close>` does it.
---
---```lua
---local path = os.tmpname()
---assert(manager:execute_batch(circuits, "simulator", { journal = path }))
---local journal = assert(arvak.journal(path))
---journal:close()
---os.remove(path)
---```
function journal:close() end

---A ledger for reading, made by `arvak.ledger`. Clients may write it meanwhile.
---@class arvak.ledger
---@field name string the name that it was opened by, without a password
local ledger = {}

---A job in a ledger.
---@class arvak.ledger_item
---@field job_id string
---@field address string the server's address; `"embedded"` of a dev server in the process, whose jobs ended with it
---@field backend_id? string
---@field shots integer
---@field label? string the option `label` of the submit
---@field submitted_at number Unix seconds
---@field state "QUEUED"|"RUNNING"|"COMPLETED"|"FAILED"|"CANCELED"|"RESULT_EXPIRED" the last state that a client with this ledger has seen
---@field seen_at number Unix seconds

---Which jobs of a ledger.
---@class arvak.ledger_filter
---@field label? string with this label. Defaults to any.
---@field state? string in this state. Defaults to any.
---@field backend_id? string on this backend. Defaults to any.
---@field since? number submitted at or after this moment, in Unix seconds. Defaults to any.

---Iterates over the jobs, the newest first. Each step may wait for the database.
---Raises: an error object when the ledger cannot be read any more.
---
---```lua
---local path = os.tmpname()
---local noting = arvak.connect("embedded", { ledger = path })
---assert(noting:execute(bell, "simulator", 100))
---noting:close()
---while arvak.poll(0.1) do end
---local ledger <close> = assert(arvak.ledger(path))
---for job in ledger:items { state = "COMPLETED", since = os.time() - 3600 } do print(job.job_id, job.shots) end
---os.remove(path)
---```
---@param filter? arvak.ledger_filter Defaults to all jobs.
---@return fun(): arvak.ledger_item|nil
function ledger:items(filter) end

---Counts the jobs in each state. Waits for the database.
---Raises: an error object when the ledger cannot be read any more.
---
---```lua
---local path = os.tmpname()
---local noting = arvak.connect("embedded", { ledger = path })
---assert(noting:execute(bell, "simulator", 100))
---noting:close()
---while arvak.poll(0.1) do end
---local ledger <close> = assert(arvak.ledger(path))
---print(ledger:counts().COMPLETED)   --> 1
---os.remove(path)
---```
---@param filter? arvak.ledger_filter Defaults to all jobs.
---@return table<string, integer>
function ledger:counts(filter) end

---Closes the database. May be repeated, and `<close>` does it.
---
---```lua
---local path = os.tmpname()
---local noting = arvak.connect("embedded", { ledger = path })
---assert(noting:execute(bell, "simulator", 100))
---noting:close()
---while arvak.poll(0.1) do end
---assert(arvak.ledger(path)):close()
---os.remove(path)
---```
function ledger:close() end

-- ---- records

---A job, as the server described it.
---@class arvak.job
---@field job_id string the id that the submit gave
---@field state "UNSPECIFIED"|"QUEUED"|"RUNNING"|"COMPLETED"|"FAILED"|"CANCELED"|"RESULT_EXPIRED"|string a state that this version does not know is `"UNKNOWN(n)"`
---@field submitted_at? integer Unix seconds
---@field started_at? integer Unix seconds
---@field completed_at? integer Unix seconds
---@field backend_id string where it runs
---@field shots integer the shots that the submit named
---@field error_message? string of a job that FAILED
local job = {}

---Whether the job has ended.
---
---```lua
---print(assert(client:get_job_status(job_id)):is_terminal())   --> true
---```
---@return boolean
function job:is_terminal() end

---Whether the job is QUEUED or RUNNING.
---
---```lua
---print(assert(client:get_job_status(job_id)):is_pending())   --> false
---```
---@return boolean
function job:is_pending() end

---Whether the job has COMPLETED.
---
---```lua
---print(assert(client:get_job_status(job_id)):is_success())   --> true
---```
---@return boolean
function job:is_success() end

---The result of a job. In every bitstring qubit 0 is the rightmost character. The bitstrings cover all declared qubits,
---measured or not; from `optimization_level` 1 on, the whole device. Those of a circuit cover its bits instead, the last
---register leftmost (all qubits, when it measures nothing). The counts of a large result stay packed until
---`result.counts` is first read. The [formulas](../results.md) stand on a page of their own.
---@class arvak.result
---@field job_id string the job that it is of; empty after `arvak.results.merge`
---@field counts table<string, integer> bitstring → count
---@field raw_counts? table<string, integer> of a circuit: what the service said
---@field registers? { name: string, size: integer }[] of a circuit that measures: its registers of bits, in order of declaration
---@field shots integer the shots that the server ran
---@field execution_time_ms? integer milliseconds; nil when the server did not say
---@field metadata_json string the metadata as the server sent it
local result = {}

---Iterates over bitstrings and counts in ascending order, without building the table of a large result. `pairs(result)`
---does the same.
---
---```lua
---for bits, count in result:pairs() do print(bits, count) end
---```
---@return fun(): string, integer
function result:pairs() end

---The share of each bitstring.
---Errors: `rpc` when a count is no count.
---
---```lua
---print(result:probabilities()["00"])
---```
---@return table<string, number>|nil probabilities empty when nothing was counted
---@return arvak.error|nil err
function result:probabilities() end

---The bitstring with the largest count; of equal ones the smallest.
---Errors: `rpc` when a count is no count.
---
---```lua
---print(result:most_frequent())
---```
---@return string|nil bitstring nil when nothing was counted
---@return number|arvak.error|nil probability its share, or the error
function result:most_frequent() end

---Decodes the metadata, with lua-cjson.
---Errors: `rpc` when it is no JSON, or lua-cjson is missing.
---
---```lua
---print(result:metadata())
---```
---@return table|nil metadata
---@return arvak.error|nil err
function result:metadata() end

---Draws the outcomes as text: bitstring, count, share and a bar, in ascending order. Of more than 32 outcomes the most
---frequent 32 have lines, and a last line sums up the others.
---Errors: `rpc` when a count is no count.
---
---```lua
---io.write(result:histogram(60))
---```
---@param columns? integer the width of the text, 1 to 10000. Defaults to `72`.
---@return string|nil text
---@return arvak.error|nil err
function result:histogram(columns) end

---The most frequent outcomes; of equal ones the smallest bitstring first.
---Errors: `rpc` when a count is no count.
---
---```lua
---for _, entry in ipairs(result:top(1)) do print(entry.bits, entry.count, entry.probability) end
---```
---@param n integer from 0 on
---@return { bits: string, count: integer, probability: number }[]|nil list largest first
---@return arvak.error|nil err
function result:top(n) end

---The result for some of the qubits, summed over the others.
---Errors: `rpc` when a count is no count.
---Raises: a qubit that the result does not have, or that is named twice; an empty list.
---
---```lua
---print(result:marginal { 1 }:most_frequent())
---```
---@param qubits integer[] from 0, the rightmost character; the first one named becomes qubit 0
---@return arvak.result|nil result
---@return arvak.error|nil err
function result:marginal(qubits) end

---The mean of the product of Z over some qubits: 0 counts as +1, 1 as −1.
---Errors: `rpc` when nothing was counted, or a count is no count.
---
---```lua
---print(result:expectation { 0, 1 })   --> 1.0
---```
---@param qubits? integer[] none: 1. Defaults to all.
---@return number|nil expectation from -1 to 1
---@return arvak.error|nil err
function result:expectation(qubits) end

---The result of one register of a circuit, the others summed over.
---Errors: `rpc` for counts that are none.
---Raises: a result without registers; a name that is none of its registers.
---
---```lua
---local c = arvak.circuit.new { qubits = { { "q", 2 } }, bits = { { "a", 1 }, { "b", 1 } } }
---local result = assert(client:execute(c:x(0):measure(0, 0):measure(1, 1), "simulator", 100))
---print(result:of("a").counts["1"])   --> 100
---```
---@param register string the name of a register of bits
---@return arvak.result|nil result with that register alone
---@return arvak.error|nil err
function result:of(register) end

---A plain table without metatables, for encoders.
---
---```lua
---print(result:to_table().counts["00"])
---```
---@return table
function result:to_table() end

---A backend, as the server described it.
---@class arvak.backend
---@field backend_id string what submits name
---@field name string for people
---@field is_available boolean whether it takes jobs now
---@field max_qubits integer the largest number of qubits of a circuit
---@field max_shots integer the largest number of shots of a job
---@field description string for people
---@field supported_gates string[] names of gates, as the server sent them; it takes others too
---@field topology_json string the topology as the server sent it
---@field topology table|nil the topology, decoded with lua-cjson

---What a method returns after nil. `tostring` of it is one line that says everything; what a terminal would act upon is
---escaped there, and left as it came in the fields.
---@class arvak.error
---@field kind string what a program decides by: [all kinds](../guide/errors-and-what-to-do.md)
---@field message string for people
---@field code? integer gRPC's status
---@field name? string the name of gRPC's status, such as `"UNAVAILABLE"`
---@field rpc? string the RPC, such as `"SubmitJob"`
---@field job_id? string the job that the call was about
---@field job_ids? string[] of a split batch: the jobs that were submitted before the failure
---@field target? string the address
---@field attempts? integer attempts of the call
---@field retryable boolean whether the same call may be made again, without doing anything twice
---@field maybe_executed boolean whether the server may have acted on the call
---@field elapsed? number seconds, over all attempts
---@field retry_after? number seconds after which the server or the breaker may let a call through; nil when nobody says
---@field cause? any what your function raised, or the error behind this one
---@field scope? "queue"|"call"|"wait"|"batch"|"plugin" of a `timeout`: which time was over; `"plugin"`: a limit that the host has set for the plugin
---@field problems? { limit: string, got: integer, most: integer }[] of `client:check`
---@field backends? string[] of `backend_not_found`: the ids that the server has
---@field traceback? string of an error that was raised in a task

-- ---- other event loops

---A descriptor to wait on, and what to do then. cqueues can poll it as it is. Ends by `close` or `<close>`.
---@class arvak.pollable
local pollable = {}

---The descriptor. It is only to be polled, and the same for all pollables of a Lua state.
---
---```lua
---local p <close> = arvak.pollable()
---print(p:pollfd())
---```
---@return integer
function pollable:pollfd() end

---The same descriptor, under the name that `socket.select` uses.
---
---```lua
---local p <close> = arvak.pollable()
---print(p:getfd() == p:pollfd())   --> true
---```
---@return integer
function pollable:getfd() end

---What to wait for.
---
---```lua
---local p <close> = arvak.pollable()
---print(p:events())   --> r
---```
---@return "r"
function pollable:events() end

---How long to wait for the descriptor at most. Call it before each wait.
---
---```lua
---local p <close> = arvak.pollable()
---print(p:timeout())   --> nil
---```
---@return number|nil seconds nil: without limit
function pollable:timeout() end

---Runs what is ready.
---Raises: an error that nobody has read, one a call; a call inside a task.
---
---```lua
---local p <close> = arvak.pollable()
---local future = client.async:list_backends()
---while not future:done() do p:step(0.1) end
---```
---@param timeout? number the longest wait in seconds. Defaults to `0`.
---@return boolean in_flight whether anything is left that could happen
function pollable:step(timeout) end

---Closes it. May be repeated, and `<close>` does it.
---
---```lua
---arvak.pollable():close()
---```
function pollable:close() end

---What `arvak.attach` needs of an event loop: five functions.
---@class arvak.driver
---@field running fun(): any a token for the running coroutine of the loop; nil outside the loop, where methods block; false where the coroutine cannot be suspended, and methods raise
---@field suspend fun(token: any) suspends that coroutine until `resume(token)`; may return earlier
---@field resume fun(token: any) lets that coroutine go on, now or soon
---@field watch_fd fun(fd: integer, fn: fun()): fun() calls `fn` whenever `fd` is readable, until the function that it returns is called
---@field timer fun(seconds: number, fn: fun()): fun() calls `fn` once after this time, unless the function that it returns is called before

---An attached loop. Ends by `detach` or `<close>`.
---@class arvak.attachment
local attachment = {}

---Detaches the loop: methods block again. A coroutine that is suspended goes on when its call ends. May be repeated.
---
---```lua
---local cqueues = require "cqueues"
---local attachment = require("arvak.cqueues").attach(cqueues.new())
---attachment:detach()
---```
function attachment:detach() end

---The adapter for cqueues, `require "arvak.cqueues"`.
---@class arvak.cqueues
local cqueues_adapter = {}

---Attaches a cqueues controller.
---
---```lua
---local controller = require("cqueues").new()
---controller:wrap(function()
---  local attachment <close> = require("arvak.cqueues").attach()
---  print(client:execute(bell, "simulator", 100))
---end)
---assert(controller:loop())
---```
---@param controller? table a cqueues controller. Defaults to the one that is running.
---@return arvak.attachment
function cqueues_adapter.attach(controller) end

---The adapter for luv, `require "arvak.luv"`.
---@class arvak.luv
local luv_adapter = {}

---Attaches luv's loop. `uv.run()` ends when nothing is in flight.
---
---```lua
---local uv = require "luv"
---local attachment <close> = require("arvak.luv").attach()
---coroutine.wrap(function() print(client:execute(bell, "simulator", 100)) end)()
---uv.run()
---```
---@return arvak.attachment
function luv_adapter.attach() end

-- ---- dev server

---Options of `devserver.start`: those of the program `arvak-devserver` with underscores.
---@class arvak.devserver.options
---@field address? string `"host:port"`; with port 0 the system chooses. Defaults to `"127.0.0.1:0"`.
---@field unix? string path of a unix socket. Alone it replaces TCP. Defaults to none.
---@field workers? integer threads that simulate. Defaults to the number of cores.
---@field api_key? string the key that every call must have. Defaults to none.
---@field tls_cert? string certificate: a path or PEM text. Defaults to none.
---@field tls_key? string private key: a path or PEM text. Defaults to none.
---@field tls_client_ca? string demands client certificates that these authorities have signed: a path or PEM text. Defaults to none.
---@field rate_limit? integer jobs accepted in a second from one address; 0: no limit. Defaults to `100`.
---@field max_concurrent_jobs? integer running jobs past which submits are refused; 0: no limit. Defaults to `100`.
---@field max_queued_jobs? integer queued jobs past which submits are refused; 0: no limit. Defaults to `1000`.
---@field watch_interval? number seconds between two messages of a watch. Defaults to `0.5`.
---@field seed? integer makes samples and faults the same in every run. Defaults to a random one.
---@field job_latency? number seconds that each job runs before it is simulated. Defaults to `0`.
---@field server_timeout? number seconds a call may take until its answer begins. Defaults to `60`.
---@field max_message_size? integer bytes of a message, either way. Defaults to `16777216`.
---@field faults? table[] what goes wrong: [faults](../devserver.md#faults). Defaults to none.

---A dev server, made by `devserver.start` of `require "arvak.devserver"`. It runs in threads of its own.
---@class arvak.devserver
---@field address string fit for `arvak.connect`
---@field unix_address? string
local devserver = {}

---Starts a server.
---
---```lua
---local devserver = require "arvak.devserver"
---local server <close> = assert(devserver.start { seed = 1, api_key = "secret" })
---local other <close> = arvak.connect(server.address, { api_key = "secret" })
---print(#assert(other:list_backends()))   --> 1
---```
---@param options? arvak.devserver.options
---@return arvak.devserver|nil server
---@return string|nil message what was wrong
function devserver.start(options) end

---Stops it within a second, whatever is open. May be repeated, and `<close>` does it. In a finalizer that runs while the
---Lua state closes, or while its host runs no function, it refuses and cuts all connections and returns at once. The
---server's threads then end with its object.
---
---```lua
---local server = assert(require("arvak.devserver").start())
---server:stop()
---```
function devserver:stop() end

---Options of `server:restart`.
---@class arvak.devserver.restart_options
---@field keep_jobs? boolean `true`: jobs that have ended stay, the others FAIL; `false`: all are lost. Defaults to `false`.

---Stops it, unless it is stopped, and starts it at the same address. Faults and figures stay.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---assert(server:restart { keep_jobs = true })
---```
---@param options? arvak.devserver.restart_options
---@return boolean|nil ok true when it is done
---@return string|nil message what was wrong
function devserver:restart(options) end

---The jobs that it stores, in the order of their submission.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---print(#server:jobs())   --> 0
---```
---@return { job_id: string, state: string, shots: integer }[] jobs
function devserver:jobs() end

---Counts calls, connections and jobs so far: [the names](../devserver.md#in-lua).
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---print(server:stats().accepted)   --> 0
---```
---@return table
function devserver:stats() end

---Adds a fault while it runs.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---server:fault { rpc = "SubmitJob", status = "UNAVAILABLE", rate = 0.2 }
---```
---@param fault table|string [faults](../devserver.md#faults), as a table or as text
function devserver:fault(fault) end

---Forgets all faults. Calls and jobs that one has met already keep it.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---server:clear_faults()
---```
function devserver:clear_faults() end

---Puts a job into a state.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---print(server:set_job_state("no such job", "RESULT_EXPIRED"))   --> false
---```
---@param job_id string the id that a submit gave
---@param state string such as `"FAILED"` or `"RESULT_EXPIRED"`
---@return boolean found whether there is such a job
function devserver:set_job_state(job_id, state) end

---Forgets a job, as a full store does.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---print(server:evict("no such job"))   --> false
---```
---@param job_id string the id that a submit gave
---@return boolean found whether there is such a job
function devserver:evict(job_id) end

---Cuts every connection. New ones are welcome.
---
---```lua
---local server <close> = assert(require("arvak.devserver").start())
---server:drop_connections()
---```
function devserver:drop_connections() end

return arvak
