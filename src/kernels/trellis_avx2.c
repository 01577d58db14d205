/* SPDX-License-Identifier: MIT
 * Reading trellis tiles, 32 weights at once (trellis.h has the layout).
 *
 * Bytes spread to 32 bits a weight, shifted to the window, packed; the map by nibbles of the
 * state (VPSHUFB and xor) gives the index with its sign in bit 7; magnitudes by VPSHUFB, 16
 * at a time. Packing interleaves: 32 weights (8 rows × 4 columns) come out as rows
 * 0 2 4 6 | 1 3 5 7 of the two halves of a register, which a dot product does not mind. */
#include <immintrin.h>
#include <string.h>

#include "kernels/viterbi.h"

enum { PADDED = 4 * GS_TRELLIS_RATE_MAX + 16 };

struct decoder {
    const struct gs_trellis *t;
    __m256i nibble[4], magnitude[4];
};

static inline __m256i both_halves(const void *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}

static inline struct decoder make_decoder(const struct gs_trellis *t)
{
    struct decoder d = {.t = t};

    for (int i = 0; i < 4; i++) {
        d.nibble[i] = both_halves(t->nibble[i]);
        d.magnitude[i] = both_halves(t->magnitude + 16 * i);
    }
    return d;
}

/* A tile with its first two bytes behind its last: windows go over the end, loads further. */
static inline void close_ring(const struct gs_trellis *t, const uint8_t *tile,
                              uint8_t padded[PADDED])
{
    size_t bytes = gs_trellis_tile_bytes(t);

    memcpy(padded, tile, bytes);
    memcpy(padded + bytes, tile, 2);
}

/* Windows of group g of 8 weights of a chunk, 32 bits each. */
static inline __m256i windows(const struct gs_trellis *t, const uint8_t *chunk, unsigned g)
{
    __m256i raw = both_halves(chunk + g * t->rate / 8);
    __m256i bytes = _mm256_shuffle_epi8(raw, _mm256_load_si256((const void *)t->spread[g]));
    __m256i shifted =
        _mm256_srlv_epi32(bytes, _mm256_load_si256((const void *)t->spread_shift[g]));
    return _mm256_and_si256(shifted, _mm256_set1_epi32(0xffff));
}

/* Adds to the index what a byte of the states (number i) gives. */
static inline __m256i map_byte(const struct decoder *d, __m256i states, unsigned i)
{
    __m256i low = _mm256_and_si256(states, _mm256_set1_epi8(15));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(states, 4), _mm256_set1_epi8(15));

    return _mm256_xor_si256(_mm256_shuffle_epi8(d->nibble[2 * i], low),
                            _mm256_shuffle_epi8(d->nibble[2 * i + 1], high));
}

/* Magnitude i or j of 16 each, by bit `bit` of the index. */
static inline __m256i choose(__m256i a, __m256i b, __m256i index, int bit)
{
    return _mm256_blendv_epi8(a, b, _mm256_slli_epi16(index, 7 - bit));
}

/* Weights 32h … 32h + 31 of a chunk, rows interleaved. */
static GS_ALWAYS_INLINE __m256i values_of(const struct decoder *d, const uint8_t *chunk,
                                          unsigned h, bool wide, unsigned index_bits)
{
    const struct gs_trellis *t = d->t;
    __m256i a = _mm256_packus_epi32(windows(t, chunk, 4 * h), windows(t, chunk, 4 * h + 1));
    __m256i b = _mm256_packus_epi32(windows(t, chunk, 4 * h + 2), windows(t, chunk, 4 * h + 3));
    __m256i byte = _mm256_set1_epi16(0xff);
    __m256i index = map_byte(
        d, _mm256_packus_epi16(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte)), 0);

    if (wide)
        index = _mm256_xor_si256(
            index,
            map_byte(d, _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)),
                     1));
    __m256i at = _mm256_and_si256(index, _mm256_set1_epi8(0x7f));
    __m256i value = _mm256_shuffle_epi8(d->magnitude[0], at);
    if (index_bits > 5)
        value = choose(value, _mm256_shuffle_epi8(d->magnitude[1], at), index, 4);
    if (index_bits > 6) {
        __m256i upper = choose(_mm256_shuffle_epi8(d->magnitude[2], at),
                               _mm256_shuffle_epi8(d->magnitude[3], at), index, 4);
        value = choose(value, upper, index, 5);
    }
    return _mm256_sign_epi8(value, _mm256_or_si256(index, _mm256_set1_epi8(1)));
}

/* Calls body(wide, index_bits) with constants. */
#define FOR_CODE(t, body)                                                                      \
    do {                                                                                       \
        if ((t)->window > 8 && (t)->index_bits == 7)                                           \
            body(true, 7);                                                                     \
        else if ((t)->window > 8)                                                              \
            body(true, 6);                                                                     \
        else if ((t)->index_bits == 7)                                                         \
            body(false, 7);                                                                    \
        else                                                                                   \
            body(false, 6);                                                                    \
    } while (0)

static GS_ALWAYS_INLINE void decode(const struct decoder *d, const uint8_t *codes, size_t tiles,
                                    uint8_t *values, bool wide, unsigned index_bits)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint8_t padded[PADDED] = {0};

    for (size_t n = 0; n < tiles; n++, codes += gs_trellis_tile_bytes(d->t)) {
        close_ring(d->t, codes, padded);
        for (unsigned i = 0; i < 8; i++, values += 32) {
            __m256i v = values_of(d, padded + i / 2 * d->t->rate, i % 2, wide, index_bits);
            v = _mm256_xor_si256(v, _mm256_set1_epi8(-128));
            _mm256_storeu_si256((void *)values, _mm256_permutevar8x32_epi32(v, order));
        }
    }
}

void gs_trellis_decode_avx2(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                            uint8_t *values)
{
    struct decoder d = make_decoder(t);

#define DECODE(wide, index_bits) decode(&d, codes, tiles, values, wide, index_bits)
    FOR_CODE(t, DECODE);
#undef DECODE
}
