/* SPDX-License-Identifier: MIT
 * Reading trellis tiles, 64 weights at once (trellis.h has the layout).
 *
 *     64 bytes of the tile ─ VPERMB ─▶ 8 bytes for each group of 8 weights, in its lane
 *       ─ VPMULTISHIFTQB ─▶ low 8 bits of each window      (again 8 bits on for the high ones)
 *       ─ GF2P8AFFINEQB  ─▶ index                          (two maps, xor)
 *       ─ VPERMB         ─▶ 128 + value (of 64 indexes; of 7-bit indexes: + magnitude, negated
 *                           where the index is: 128 − m = −(128 + m) in 8 bits)
 *       ─ VPDPBUSD       ─▶ 16 rows × 4 columns into 16 sums, which began at −128 · Σx */
#include <immintrin.h>

#include "kernels/dot4_avx512vbmi.h"
#include "kernels/viterbi.h"

struct decoder {
    __m512i bytes, low, high, affine_low, affine_high, offset;
    __mmask64 chunk, joint, ends; /* of a chunk with two bytes more; without; those two */
    bool wide, signs;
};

static inline struct decoder make_decoder(const struct gs_trellis *t)
{
    struct decoder d;

    d.bytes = _mm512_load_si512(t->bytes);
    d.low = _mm512_load_si512(t->shifts);
    d.high = _mm512_add_epi8(d.low, _mm512_set1_epi8(8));
    d.affine_low = _mm512_set1_epi64((long long)t->affine[0]);
    d.affine_high = _mm512_set1_epi64((long long)t->affine[1]);
    d.offset = _mm512_load_si512(t->offset);
    d.joint = (UINT64_C(1) << t->rate) - 1;
    d.ends = UINT64_C(3) << t->rate;
    d.chunk = d.joint | d.ends;
    d.wide = t->window > 8;
    d.signs = t->index_bits == 7;
    return d;
}

/* 128 + the values of 64 weights whose bits begin at byte 0 of `raw`. */
static GS_ALWAYS_INLINE __m512i values_of(const struct decoder *d, __m512i raw, bool wide,
                                          bool signs)
{
    __m512i lanes = _mm512_permutexvar_epi8(d->bytes, raw);
    __m512i index = _mm512_gf2p8affine_epi64_epi8(_mm512_multishift_epi64_epi8(d->low, lanes),
                                                  d->affine_low, 0);
    if (wide) {
        __m512i high = _mm512_multishift_epi64_epi8(d->high, lanes);
        index = _mm512_xor_si512(index,
                                 _mm512_gf2p8affine_epi64_epi8(high, d->affine_high, 0));
    }
    __m512i value = _mm512_permutexvar_epi8(index, d->offset);
    if (signs)
        value = _mm512_mask_sub_epi8(value, _mm512_movepi8_mask(index),
                                     _mm512_setzero_si512(), value);
    return value;
}

/* Chunk c of a tile with the two bytes that follow; after the last come the first two. */
static GS_ALWAYS_INLINE __m512i load_chunk(const struct decoder *d, const uint8_t *tile,
                                           size_t rate, unsigned c)
{
    if (c < 3)
        return _mm512_maskz_loadu_epi8(d->chunk, tile + c * rate);
    __m512i raw = _mm512_maskz_loadu_epi8(d->joint, tile + 3 * rate);
    /* Only the bytes under the mask are read. */
    const void *wrapped = (const void *)((uintptr_t)tile - rate);
    return _mm512_mask_loadu_epi8(raw, d->ends, wrapped);
}

static GS_ALWAYS_INLINE void decode(const struct decoder *d, const uint8_t *codes, size_t tiles,
                                    size_t rate, uint8_t *values, bool wide, bool signs)
{
    for (size_t n = 0; n < tiles; n++, codes += 4 * rate, values += GS_TRELLIS_TILE)
        for (unsigned c = 0; c < 4; c++)
            _mm512_storeu_si512(values + 64 * c,
                                values_of(d, load_chunk(d, codes, rate, c), wide, signs));
}

void gs_trellis_decode_avx512vbmi(const struct gs_trellis *t, const uint8_t *codes,
                                  size_t tiles, uint8_t *values)
{
    struct decoder d = make_decoder(t);

    if (d.wide && d.signs)
        decode(&d, codes, tiles, t->rate, values, true, true);
    else if (d.wide)
        decode(&d, codes, tiles, t->rate, values, true, false);
    else if (d.signs)
        decode(&d, codes, tiles, t->rate, values, false, true);
    else
        decode(&d, codes, tiles, t->rate, values, false, false);
}

static GS_ALWAYS_INLINE void dot(const struct decoder *d, const uint8_t *codes, size_t tiles,
                                 size_t rate, const struct gs_int8 *x, float y[16], bool wide,
                                 bool signs)
{
    __m512 total = _mm512_setzero_ps();
    const int8_t *q = x->q;

    for (size_t b = 0; tiles; b++) {
        __m512i acc[4] = {_mm512_set1_epi32(-128 * x->sum[b]), _mm512_setzero_si512(),
                          _mm512_setzero_si512(), _mm512_setzero_si512()};
        size_t n = GS_MIN(tiles, (size_t)GS_INT8_BLOCK / GS_TRELLIS_COLS);
        for (tiles -= n; n > 0; n--, codes += 4 * rate, q += GS_TRELLIS_COLS) {
            gs_trellis_prefetch(codes, 4 * rate);
            for (unsigned c = 0; c < 4; c++)
                acc[c] = _mm512_dpbusd_epi32(
                    acc[c], values_of(d, load_chunk(d, codes, rate, c), wide, signs),
                    four_wide(q + 4 * c));
        }
        __m512i sum = _mm512_add_epi32(_mm512_add_epi32(acc[0], acc[1]),
                                       _mm512_add_epi32(acc[2], acc[3]));
        total = _mm512_fmadd_ps(_mm512_set1_ps(x->scale[b]), _mm512_cvtepi32_ps(sum), total);
    }
    _mm512_storeu_ps(y, total);
}

void gs_trellis_dot_avx512vbmi(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                               const struct gs_int8 *x, float y[16])
{
    struct decoder d = make_decoder(t);

    if (d.wide && d.signs)
        dot(&d, codes, tiles, t->rate, x, y, true, true);
    else if (d.wide)
        dot(&d, codes, tiles, t->rate, x, y, true, false);
    else if (d.signs)
        dot(&d, codes, tiles, t->rate, x, y, false, true);
    else
        dot(&d, codes, tiles, t->rate, x, y, false, false);
}
