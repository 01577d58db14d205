/* SPDX-License-Identifier: MIT
 * Any bytes unpacked: an error, or exactly as many bytes as were promised. */
#include "transport/pack_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST ((uint64_t)1 << 18) /* larger files only take longer */

struct sink {
    uint64_t size, done;
    uint8_t sum;
};

static int begin(void *ctx, uint64_t size, struct gs_err *err)
{
    struct sink *s = ctx;

    s->size = size;
    return size > MOST ? gs_fail(err, GS_E_STOPPED, "too large") : GS_OK;
}

static int bytes(void *ctx, const uint8_t *data, size_t n, struct gs_err *err)
{
    struct sink *s = ctx;
    (void)err;

    for (size_t i = 0; i < n; i++)
        s->sum ^= data[i];
    s->done += n;
    return GS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sink s = {0};
    struct gs_unpack_sink sink = {begin, bytes, &s};
    struct gs_err err = {0};
    struct gs_map *map;
    uint64_t chunks;

    if (gs_map_memory(data, size, "fuzz", &map, &err))
        return 0;
    int rc = gs_unpack_map(map, 1, &sink, &chunks, &err);
    gs_map_close(&map);
    if (rc ? rc >= 0 || !err.msg[0] : s.done != s.size)
        __builtin_trap();
    return 0;
}
