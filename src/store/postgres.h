/* PostgreSQL as the database of a store.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ARVAK_STORE_POSTGRES_H
#define ARVAK_STORE_POSTGRES_H

#include "driver.h"

extern const arvak__db_driver arvak__db_postgres;

#endif
