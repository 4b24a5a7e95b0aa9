/* The driver of SQLite. SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_SQLITE_H
#define ARVAK_STORE_SQLITE_H

#include "driver.h"

extern const arvak__db_driver arvak__db_sqlite;

#endif
