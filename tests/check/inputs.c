/* SPDX-License-Identifier: MIT
 * Inputs that break kernels: extremes, wide exponents, ends of pages. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <float.h>
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/half.h"
#include "tests/check/check.h"

enum {
    FILL_UNIFORM, FILL_MAX, FILL_MIN, FILL_EXTREMES, FILL_WIDE, FILL_INTEGERS, FILL_TINY,
    FILL_COUNT
};

static const char *const names[FILL_COUNT] = {
    "uniform", "all max", "all min", "mixed extremes", "wide exponents", "small integers",
    "tiny",
};

const char *fill_name(size_t fill)
{
    return fill < FILL_COUNT ? names[fill] : NULL;
}

static float one_float(size_t fill, float spread, struct gs_rng *rng)
{
    static const float extreme[] = {
        0.0f,    -0.0f,    1.0f,       -1.0f,     FLT_MAX,         -FLT_MAX, FLT_MIN, -FLT_MIN,
        0x1p-149f, -0x1p-149f, INFINITY, -INFINITY, NAN, 65504.0f, -65520.0f, 88.72284f,
        -103.9721f, -87.33655f, 0x1p-126f, 0.5f, 2.5f, -104.5f, 89.5f, 127.5f,
    };

    switch (fill) {
    case FILL_MAX: return FLT_MAX;
    case FILL_MIN: return -FLT_MAX;
    case FILL_EXTREMES: return extreme[gs_rng_below(rng, GS_COUNT(extreme))];
    case FILL_WIDE: { /* any finite number; a few small enough that sums stay finite */
        uint32_t bits = (uint32_t)gs_rng_u64(rng);
        if ((bits >> 23 & 255) > 180)
            bits -= 90u << 23;
        return gs_f32_from_bits(bits);
    }
    case FILL_INTEGERS: return (float)gs_rng_below(rng, 33) - 16.0f;
    case FILL_TINY: return copysignf(0x1p-100f, spread); /* products round to 0 or −0 */
    default: return spread * (2.0f * gs_rng_f32(rng) - 1.0f);
    }
}

void fill_floats(size_t fill, float spread, struct gs_rng *rng, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = one_float(fill, spread, rng);
}

/* Random bytes twice, so that scales are mostly ordinary numbers; then extremes. */
void fill_bytes(size_t fill, struct gs_rng *rng, void *p, size_t n)
{
    static const uint8_t extreme[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe, 0x7b, 0x7c, 0xfc, 0x0f, 0xf0};
    uint8_t *b = p;

    for (size_t i = 0; i < n; i++)
        b[i] = fill == FILL_MAX   ? 0xff
               : fill == FILL_MIN ? 0
               : fill == FILL_EXTREMES
                   ? extreme[gs_rng_below(rng, GS_COUNT(extreme))]
                   : (uint8_t)gs_rng_u64(rng);
}

bool fence_make(struct fence *fence, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inside = (bytes + page - 1) / page * page;
    uint8_t *p = mmap(NULL, inside + 2 * page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) ||
        mprotect(p + page + inside, page, PROT_NONE))
        return false;
    fence->begin = p + page;
    fence->end = fence->begin + inside;
    return true;
}

void *fence_place(const struct fence *fence, enum place place, size_t bytes, size_t odd)
{
    return place == PLACE_END     ? fence->end - bytes
           : place == PLACE_BEGIN ? fence->begin
                                  : fence->begin + odd;
}
