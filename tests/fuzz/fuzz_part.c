/* SPDX-License-Identifier: MIT
 * Any bytes as a matrix of parts: an error with a message, or weights that are all finite. */
#include <math.h>

#include "core/alloc.h"
#include "part/part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Matrices beyond this are not decoded: a caller knows the shape that it wants. */
#define WEIGHTS_MAX ((uint64_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gs_err err = {0};
    struct gs_part_facts facts;

    if (gs_part_read_facts(data, size, &facts, &err)) {
        if (err.code >= 0 || !err.msg[0])
            __builtin_trap();
        return 0;
    }
    uint64_t n = (uint64_t)facts.rows * facts.cols;
    if (n > WEIGHTS_MAX)
        return 0;
    float *w = gs_alloc(n, sizeof *w);
    if (!w)
        return 0;
    if (gs_part_decode(data, size, NULL, w, &err)) {
        if (err.code >= 0 || !err.msg[0])
            __builtin_trap();
    } else {
        for (uint64_t i = 0; i < n; i++)
            if (!isfinite(w[i]))
                __builtin_trap();
    }
    gs_free(&w);
    return 0;
}
