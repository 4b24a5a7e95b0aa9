/* The driver of SQLite. Invariant: between two transactions the connection is in autocommit, and no statement has rows
 * left to give.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sqlite.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CACHE_SIZE = 32, OPCODES_PER_LOOK = 1000, MOST_BUSY_PAUSE_MS = 25 };

/* A prepared statement that is kept for the next one with the same text. */
typedef struct cached {
  sqlite3_stmt *prepared; /* owned; NULL: the place is free */
  char *sql;              /* owned */
  size_t size_bytes;      /* of it */
  uint64_t used;          /* the later the larger */
} cached;

typedef struct connection connection;
struct connection {
  sqlite3 *db; /* owned */
  const arvak__db_settings *settings;
  arvak__db_control *control;
  int64_t deadline_ns;   /* of the statement that runs */
  int64_t busy_until_ns; /* of the wait for a lock; 0: it has not begun */
  cached cache[CACHE_SIZE];
  uint64_t uses;
  /* files_mutex: */
  dev_t device;
  ino_t inode;
  connection *next; /* in open_files or inherited_files */
};

/* What one statement of a transaction is executed with. */
typedef struct run {
  connection *c;
  arvak__db_outcome *outcome;
  size_t number; /* of the statement, from 1 on; 0: BEGIN and COMMIT */
  arvak__db_mode mode;
} run;

/* ---- forks ---- */

/* What this process has open, and what its parent had when it forked. Of a file that the parent has open, SQLite in the
 * child believes that it holds the locks, and would write without any: such a file is refused there. */
static pthread_mutex_t files_mutex = PTHREAD_MUTEX_INITIALIZER;
static connection *open_files, *inherited_files;

static void before_fork(void) { pthread_mutex_lock(&files_mutex); }
static void after_fork(void) { pthread_mutex_unlock(&files_mutex); }

static void after_fork_in_child(void) {
  for (connection *first; (first = open_files);) {
    open_files = first->next;
    first->next = inherited_files;
    inherited_files = first;
  }
  pthread_mutex_unlock(&files_mutex);
}

static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

/* Under files_mutex. */
static bool is_inherited(const char *name) {
  struct stat info;
  if (!inherited_files || stat(name, &info) != 0) return false;
  const connection *other = inherited_files;
  while (other && (other->device != info.st_dev || other->inode != info.st_ino)) other = other->next;
  return other != NULL;
}

/* Under files_mutex. */
static void note_file(connection *c, const char *name) {
  struct stat info;
  if (stat(name, &info) != 0) return; /* ":memory:" */
  c->device = info.st_dev;
  c->inode = info.st_ino;
  c->next = open_files;
  open_files = c;
}

static void forget_file(connection *c) {
  pthread_mutex_lock(&files_mutex);
  connection **place = &open_files;
  while (*place && *place != c) place = &(*place)->next;
  if (*place) *place = c->next;
  pthread_mutex_unlock(&files_mutex);
}

/* ---- failures ---- */

static arvak__db_what what_of(int code, int system_errno) {
  switch (code & 0xff) {
    case SQLITE_BUSY: case SQLITE_LOCKED: return DB_BUSY;
    case SQLITE_FULL: return DB_FULL;
    case SQLITE_READONLY: return DB_READONLY;
    case SQLITE_NOTADB: return DB_NOT_A_DATABASE;
    case SQLITE_CORRUPT: return DB_CORRUPT;
    case SQLITE_CONSTRAINT: return DB_CONSTRAINT;
    case SQLITE_IOERR: case SQLITE_CANTOPEN: case SQLITE_NOLFS:
      if (system_errno == ENOSPC || system_errno == EDQUOT) return DB_FULL;
      return system_errno == EROFS || system_errno == EACCES || system_errno == EPERM ? DB_READONLY : DB_IO;
    default: return DB_OTHER;
  }
}

/* An errno is the library's last one, so it says something only where the code does. */
static int errno_of(sqlite3 *db, int code) {
  int primary = code & 0xff;
  return primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ? sqlite3_system_errno(db) : 0;
}

static void fail(const run *r, int code) {
  sqlite3 *db = r->c->db;
  if (code == SQLITE_NOMEM || code == SQLITE_IOERR_NOMEM) {
    arvak__db_outcome_fail_memory(r->outcome, r->number);
  } else if (code == SQLITE_INTERRUPT && arvak__db_control_is_interrupted(r->c->control)) {
    arvak__db_outcome_fail(r->outcome, DB_CLOSED, code, r->number, "the store was closed meanwhile");
  } else if (code == SQLITE_INTERRUPT) {
    arvak__db_outcome_fail(r->outcome, DB_TIMEOUT, code, r->number, "the statement took longer than %lld ms",
                           (long long)(r->c->settings->statement_timeout_ns / 1000000));
  } else {
    int system_errno = errno_of(db, code);
    char buffer[128];
    const char *reason = system_errno != 0 ? strerror_r(system_errno, buffer, sizeof buffer) : "";
    arvak__db_outcome_fail(r->outcome, what_of(code, system_errno), code, r->number, "%s%s%s", sqlite3_errmsg(db),
                           reason[0] ? ": " : "", reason);
  }
}

/* ---- bounds ---- */

static int on_progress(void *ud) {
  const connection *c = ud;
  return arvak__db_now_ns() >= c->deadline_ns || arvak__db_control_is_interrupted(c->control);
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

/* Waits for a lock that somebody else holds: 0 gives up. */
static int on_busy(void *ud, int count) {
  connection *c = ud;
  if (count == 0) c->busy_until_ns = arvak__db_after_ns(c->settings->busy_timeout_ns);
  int64_t until = earlier(c->busy_until_ns, c->deadline_ns), now = arvak__db_now_ns();
  if (now >= until || arvak__db_control_is_interrupted(c->control)) return 0;
  int64_t pause_ms = count < 10 ? 1 + count * 2 : MOST_BUSY_PAUSE_MS;
  arvak__db_control_wait(c->control, -1, 0, earlier(until, now + pause_ms * 1000000));
  return 1;
}

/* SQLite reports the errno that it finds, which should be none of an earlier call's. */
static void start_clock(connection *c) {
  errno = 0;
  c->deadline_ns = arvak__db_after_ns(c->settings->statement_timeout_ns);
}

/* ---- prepared statements ---- */

static sqlite3_stmt *find_cached(connection *c, const char *sql, size_t size_bytes) {
  for (cached *place = c->cache; place < c->cache + CACHE_SIZE; place++) {
    if (!place->prepared || place->size_bytes != size_bytes || memcmp(place->sql, sql, size_bytes) != 0) continue;
    place->used = ++c->uses;
    return place->prepared;
  }
  return NULL;
}

static void clear(cached *place) {
  sqlite3_finalize(place->prepared);
  free(place->sql);
  *place = (cached){0};
}

/* Takes the statement; false: out of memory, and it is the caller's still. */
static bool keep(connection *c, const char *sql, size_t size_bytes, sqlite3_stmt *prepared) {
  char *copy = strdup(sql);
  if (!copy) return false;
  cached *oldest = c->cache;
  for (cached *place = c->cache; place < c->cache + CACHE_SIZE; place++)
    if (place->used < oldest->used) oldest = place;
  clear(oldest);
  *oldest = (cached){.prepared = prepared, .sql = copy, .size_bytes = size_bytes, .used = ++c->uses};
  return true;
}

static bool is_blank(const char *text) { return text[strspn(text, " \t\r\n;")] == '\0'; }

/* NULL: it has failed. *is_kept: the cache has it; else the caller finalizes it. A PRAGMA may do its work while it is
 * prepared, so raw statements are prepared anew each time. */
static sqlite3_stmt *prepare(const run *r, const char *sql, size_t size_bytes, bool *is_kept) {
  sqlite3_stmt *prepared = r->mode == DB_RAW ? NULL : find_cached(r->c, sql, size_bytes);
  *is_kept = prepared != NULL;
  if (prepared) return prepared;
  const char *rest = NULL;
  int code = sqlite3_prepare_v3(r->c->db, sql, -1, r->mode == DB_RAW ? 0 : SQLITE_PREPARE_PERSISTENT, &prepared, &rest);
  if (code != SQLITE_OK) {
    fail(r, code);
  } else if (!prepared || !is_blank(rest)) {
    arvak__db_outcome_fail(r->outcome, DB_OTHER, SQLITE_MISUSE, r->number, "%s",
                           prepared ? "a text has more than one statement" : "a text has no statement");
    sqlite3_finalize(prepared);
    prepared = NULL;
  } else if (r->mode != DB_RAW) {
    *is_kept = keep(r->c, sql, size_bytes, prepared);
  }
  return prepared;
}

/* ---- values ---- */

static int bind_value(sqlite3_stmt *prepared, int place, const arvak__db_value *value) {
  switch (value->type) {
    case DB_INTEGER: case DB_BOOLEAN: return sqlite3_bind_int64(prepared, place, value->as.integer);
    case DB_FLOAT: return sqlite3_bind_double(prepared, place, value->as.number);
    case DB_TEXT:
      return sqlite3_bind_text64(prepared, place, value->as.text, value->size_bytes, SQLITE_STATIC, SQLITE_UTF8);
    case DB_NULL: break;
  }
  return SQLITE_OK;
}

/* The values live as long as the transaction, and are unbound before its end: what is NULL is so already. */
static bool bind(const run *r, sqlite3_stmt *prepared, const arvak__db_statement *statement) {
  int expected = sqlite3_bind_parameter_count(prepared);
  if ((size_t)expected != statement->value_count) {
    arvak__db_outcome_fail(r->outcome, DB_OTHER, SQLITE_RANGE, r->number,
                           "the statement has %d parameters, got %zu values", expected, statement->value_count);
    return false;
  }
  for (int i = 0; i < expected; i++) {
    const arvak__db_value *value = &statement->values[i];
    if (value->type == DB_FLOAT && isnan(value->as.number)) {
      arvak__db_outcome_fail(r->outcome, DB_OTHER, SQLITE_MISMATCH, r->number,
                             "value %d is not a number, which SQLite cannot hold", i + 1);
      return false;
    }
    int code = bind_value(prepared, i + 1, value);
    if (code == SQLITE_OK) continue;
    fail(r, code);
    return false;
  }
  return true;
}

/* False: it has failed. An empty blob is a NULL pointer, and so is a lack of memory. */
static bool read_bytes(const run *r, sqlite3_stmt *prepared, int column, arvak__db_value *value) {
  bool is_blob = sqlite3_column_type(prepared, column) == SQLITE_BLOB;
  const void *bytes = is_blob ? sqlite3_column_blob(prepared, column) : sqlite3_column_text(prepared, column);
  size_t size = (size_t)sqlite3_column_bytes(prepared, column);
  if (!bytes && (!is_blob || sqlite3_errcode(r->c->db) == SQLITE_NOMEM)) {
    arvak__db_outcome_fail_memory(r->outcome, r->number);
    return false;
  }
  const char *copy = arvak__db_outcome_copy(r->outcome, bytes, bytes ? size : 0);
  if (!copy) return false;
  *value = (arvak__db_value){.type = DB_TEXT, .size_bytes = bytes ? size : 0, .as.text = copy};
  return true;
}

static bool read_value(const run *r, sqlite3_stmt *prepared, int column, arvak__db_value *value) {
  switch (sqlite3_column_type(prepared, column)) {
    case SQLITE_INTEGER:
      *value = (arvak__db_value){.type = DB_INTEGER, .as.integer = sqlite3_column_int64(prepared, column)};
      return true;
    case SQLITE_FLOAT:
      *value = (arvak__db_value){.type = DB_FLOAT, .as.number = sqlite3_column_double(prepared, column)};
      return true;
    case SQLITE_NULL: return true;
    default: return read_bytes(r, prepared, column, value);
  }
}

static bool read_row(const run *r, sqlite3_stmt *prepared, int columns) {
  arvak__db_row *row = arvak__db_outcome_add_row(r->outcome);
  if (!row) return false;
  for (int i = 0; i < columns; i++)
    if (!read_value(r, prepared, i, &row->values[i])) return false;
  return true;
}

/* ---- one statement ---- */

/* Its columns are known after its first step, which may prepare it anew. */
static arvak__db_result *add_result(const run *r, sqlite3_stmt *prepared) {
  int columns = sqlite3_column_count(prepared);
  arvak__db_result *result = arvak__db_outcome_add_result(r->outcome, (size_t)columns);
  for (int i = 0; result && i < columns; i++) {
    const char *name = sqlite3_column_name(prepared, i);
    if (!name) arvak__db_outcome_fail_memory(r->outcome, r->number);
    result->columns[i] = name ? arvak__db_outcome_copy(r->outcome, name, strlen(name)) : NULL;
    if (!result->columns[i]) return NULL;
  }
  return result;
}

/* False: it has failed. */
static bool step(const run *r, sqlite3_stmt *prepared) {
  int before = sqlite3_total_changes(r->c->db);
  int code = sqlite3_step(prepared);
  if (code != SQLITE_ROW && code != SQLITE_DONE) {
    fail(r, code);
    return false;
  }
  arvak__db_result *result = add_result(r, prepared);
  if (!result) return false;
  for (; code == SQLITE_ROW; code = sqlite3_step(prepared))
    if (!read_row(r, prepared, (int)result->column_count)) return false;
  if (code != SQLITE_DONE) fail(r, code);
  else if (sqlite3_total_changes(r->c->db) != before) result->changes = sqlite3_changes(r->c->db);
  return code == SQLITE_DONE;
}

static bool may_run(const run *r, sqlite3_stmt *prepared) {
  if (r->mode != DB_READ || sqlite3_stmt_readonly(prepared)) return true;
  arvak__db_outcome_fail(r->outcome, DB_OTHER, SQLITE_MISUSE, r->number, "a transaction that reads must not write");
  return false;
}

static bool run_statement(const run *r, const arvak__db_statement *statement) {
  bool is_kept;
  start_clock(r->c);
  sqlite3_stmt *prepared = prepare(r, statement->sql, statement->sql_size_bytes, &is_kept);
  if (!prepared) return false;
  bool is_done = may_run(r, prepared) && bind(r, prepared, statement) && step(r, prepared);
  sqlite3_reset(prepared);
  sqlite3_clear_bindings(prepared);
  if (!is_kept) sqlite3_finalize(prepared);
  return is_done;
}

/* BEGIN and the like, which give nothing. */
static bool run_text(const run *r, const char *sql) {
  bool is_kept;
  start_clock(r->c);
  sqlite3_stmt *prepared = prepare(r, sql, strlen(sql), &is_kept);
  if (!prepared) return false;
  int code = sqlite3_step(prepared);
  if (code != SQLITE_DONE) fail(r, code);
  sqlite3_reset(prepared);
  if (!is_kept) sqlite3_finalize(prepared);
  return code == SQLITE_DONE;
}

/* Whatever its bounds say, since a transaction that stays open would be the next one's. */
static void roll_back(connection *c) {
  if (sqlite3_get_autocommit(c->db)) return;
  sqlite3_progress_handler(c->db, 0, NULL, NULL);
  sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
  sqlite3_progress_handler(c->db, OPCODES_PER_LOOK, on_progress, c);
}

/* ---- the driver ---- */

static const char *version(void) { return sqlite3_libversion(); }

static void execute(void *ud, const arvak__db_transaction *tx, arvak__db_outcome *outcome) {
  run r = {.c = ud, .outcome = outcome, .mode = tx->mode};
  bool is_raw = tx->mode == DB_RAW;
  bool is_well = is_raw || run_text(&r, tx->mode == DB_WRITE ? "BEGIN IMMEDIATE" : "BEGIN");
  for (const arvak__db_statement *s = tx->first; is_well && s; s = s->next) {
    r.number++;
    is_well = run_statement(&r, s);
  }
  if (is_well && is_raw && !sqlite3_get_autocommit(r.c->db))
    arvak__db_outcome_fail(outcome, DB_OTHER, SQLITE_MISUSE, r.number, "a raw statement has left a transaction open");
  r.number = 0;
  if (is_well && !is_raw) run_text(&r, "COMMIT");
  roll_back(r.c);
}

/* The extended codes of this call are asked for, since they are not on yet. */
static int open_file(connection *c, const char *name) {
  int flags = c->settings->is_readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (!c->settings->is_readonly && !c->settings->must_exist) flags |= SQLITE_OPEN_CREATE;
  int code = sqlite3_open_v2(name, &c->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
  return code != SQLITE_OK && c->db ? sqlite3_extended_errcode(c->db) : code;
}

/* No fork comes in between. */
static void open_named(connection *c, const char *name, arvak__db_outcome *outcome) {
  pthread_mutex_lock(&files_mutex);
  bool is_refused = is_inherited(name);
  int code = is_refused ? SQLITE_OK : open_file(c, name);
  if (!is_refused && code == SQLITE_OK) note_file(c, name);
  pthread_mutex_unlock(&files_mutex);
  if (is_refused)
    arvak__db_outcome_fail(outcome, DB_CLOSED, 0, 0, "this process is a fork of one that has the file open, so SQLite "
                           "could not lock it here: open it in a program of its own");
  else if (code != SQLITE_OK)
    fail(&(run){.c = c, .outcome = outcome}, code);
  if (outcome->what == DB_READONLY) outcome->what = DB_IO; /* it cannot be read either */
}

/* A name that SQLite might take for a URI is a file's. */
static void open_database(void *ud, const arvak__db_settings *settings, arvak__db_control *control,
                          arvak__db_outcome *outcome) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  connection *c = ud;
  c->settings = settings;
  c->control = control;
  if (!sqlite3_threadsafe()) {
    arvak__db_outcome_fail(outcome, DB_OTHER, 0, 0, "this libsqlite3 was built without threads");
    return;
  }
  char *name = sqlite3_mprintf("%s%s", strncmp(settings->where, "file:", 5) == 0 ? "./" : "", settings->where);
  if (name) open_named(c, name, outcome);
  else arvak__db_outcome_fail_memory(outcome, 0);
  sqlite3_free(name);
  if (outcome->has_failed) return;
  sqlite3_extended_result_codes(c->db, 1);
  sqlite3_busy_handler(c->db, on_busy, c);
  sqlite3_progress_handler(c->db, OPCODES_PER_LOOK, on_progress, c);
}

static void close_database(void *ud) {
  connection *c = ud;
  for (cached *place = c->cache; place < c->cache + CACHE_SIZE; place++) clear(place);
  sqlite3_close(c->db);
  c->db = NULL;
  forget_file(c);
}

#define FIELD(name) offsetof(arvak__db_settings, name)

static const arvak__db_option options[] = {
    {"statement_timeout", DB_OPTION_SECONDS, FIELD(statement_timeout_ns), 60},
    {"busy_timeout", DB_OPTION_SECONDS, FIELD(busy_timeout_ns), 5},
    {"connect_timeout", DB_OPTION_SECONDS, FIELD(connect_timeout_ns), 10},
    {"is_readonly", DB_OPTION_BOOLEAN, FIELD(is_readonly), 0},
    {"must_exist", DB_OPTION_BOOLEAN, FIELD(must_exist), 0},
    {NULL, 0, 0, 0}};

const arvak__db_driver arvak__db_sqlite = {.name = "SQLite",
                                           .version = version,
                                           .options = options,
                                           .size_bytes = sizeof(connection),
                                           .open = open_database,
                                           .execute = execute,
                                           .close = close_database};
