/* SPDX-License-Identifier: MIT
 * Seconds since some moment. */
#ifndef GS_CORE_CLOCK_H
#define GS_CORE_CLOCK_H

/* That pass whatever the program does. */
double gs_seconds(void);

/* Of processors that this process has used, all threads together. */
double gs_cpu_seconds(void);

#endif
