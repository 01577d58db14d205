/* SPDX-License-Identifier: MIT
 * The built-in tables of the kind `choice`, in 127ths: one table, then two, then four. They are
 * what its own learning finds in Gaussian groups of 64 weights, beginning with Lloyd and Max's
 * points, some of them wider on one side or sparser outside. */
#ifndef GS_CODEBOOK_CODEBOOK_CHOICE_TABLE_H
#define GS_CODEBOOK_CODEBOOK_CHOICE_TABLE_H

#include <stdint.h>

static const struct gs_choice_tables {
    int8_t value[7][16];
} gs_choice_tables[3] = { /* bits 2, 3, 4 */
    {{
        {-127, -43, 23, 99},
        {-113, -29, 42, 127},
        {-127, -48, 12, 78},
        {-127, -37, 36, 109},
        {-125, -27, 44, 127},
        {-97, -20, 45, 127},
        {-72, -9, 48, 127},
    }},
    {{
        {-127, -76, -44, -17, 9, 36, 66, 107},
        {-116, -71, -39, -10, 17, 45, 79, 127},
        {-127, -74, -44, -20, 3, 26, 53, 88},
        {-127, -81, -44, -12, 17, 46, 78, 116},
        {-127, -67, -34, -8, 17, 43, 73, 118},
        {-99, -60, -32, -6, 19, 46, 78, 127},
        {-77, -46, -21, 1, 23, 47, 77, 127},
    }},
    {{
        {-127, -96, -75, -58, -44, -31, -18, -6, 6, 18, 31, 44, 58, 75, 96, 127},
        {-115, -88, -70, -54, -39, -27, -15, -3, 9, 21, 33, 46, 60, 77, 98, 127},
        {-127, -94, -71, -54, -39, -27, -17, -7, 2, 11, 21, 31, 43, 57, 73, 95},
        {-127, -101, -80, -63, -46, -31, -18, -6, 6, 18, 31, 44, 58, 76, 97, 120},
        {-117, -87, -66, -50, -36, -23, -12, 0, 11, 23, 35, 47, 60, 74, 91, 127},
        {-94, -74, -58, -45, -33, -23, -12, -2, 9, 20, 31, 44, 59, 78, 101, 127},
        {-78, -59, -45, -34, -25, -15, -7, 2, 10, 19, 29, 39, 52, 68, 93, 127},
    }},
};

#endif
