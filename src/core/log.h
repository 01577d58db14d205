/* SPDX-License-Identifier: MIT
 * The library never prints. It tells the one log callback (gs_set_log in gosset.h). */
#ifndef GS_CORE_LOG_H
#define GS_CORE_LOG_H

#include "gosset.h"

#include "core/attr.h"

void gs_log(enum gs_log_level level, const char *fmt, ...) GS_PRINTF(2, 3);

#endif
