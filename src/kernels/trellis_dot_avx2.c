/* SPDX-License-Identifier: MIT
 * Multiplying trellis tiles without shifting single windows (trellis.h has the layout).
 *
 * A group is 8 weights; within a group, whose bits are first moved to begin on a byte, weight
 * j's window begins at bit start[j] for every group. So the tile is turned into planes: plane
 * n has nibble n of each of its 32 groups. The index of weight j is linear in the bits of its
 * window, so it is the xor of one 16-entry lookup for each nibble that the window touches, in
 * tables that were made for j (planes.part; in those of the window's first and last nibble
 * bits outside of it count nothing): no shift, and 32 weights at once.
 *
 *     tile ─ gather, shift ─▶ groups ─ transpose ─▶ bytes n of 32 groups ─▶ nibble planes
 *       ─ VPSHUFB, xor ─▶ indexes of the weights j of 32 groups, j = 0 … 7
 *       ─ interleave j = 0 … 3 and 4 … 7 ─▶ 32-bit lanes: one row × 4 columns
 *       ─ VPSHUFB ─▶ magnitudes ─ VPSIGNB, VPMADDUBSW, VPMADDWD ─▶ sums
 *
 * Positions: 128-bit lane l of a plane holds, byte by byte, groups 0 … 7 of chunk l and then of
 * chunk l + 2 (a chunk is 64 weights, 8 groups, 4 columns). A group's weights 0 … 3 belong to
 * row 2g, the others to row 2g + 1.
 *
 * An index byte: bits 0 … 3 choose a magnitude, bit 7 the upper ones (VPSHUFB gives 0 where it
 * is set), bit 6 is the sign, bit 5 always 1; bit 4 halves the tables again for 7-bit indexes. */
#include "kernels/tile_avx2.h"

enum { PLANES = 14, PADDED = 4 * GS_TRELLIS_RATE_MAX + 32 };

/* What the compiler may know of a code: whole bits a weight put every group on a byte. */
struct shape {
    unsigned rate;   /* 0: any */
    unsigned window; /* rounded up to nibbles */
    bool wide;       /* 7-bit indexes */
};

static inline __m256i both_halves(const void *p)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(p));
}

static GS_ALWAYS_INLINE unsigned rate_of(const struct gs_trellis *t, struct shape s)
{
    return s.rate ? s.rate : t->rate;
}

/* Do groups 2p and 2p + 1 of the last chunk go on in the first? */
static GS_ALWAYS_INLINE bool wraps(struct shape s, unsigned p)
{
    return s.rate ? (2 * p + 1) * s.rate + s.rate * 7 / 8 + s.window > 8 * s.rate : p >= 2;
}

/* Groups 2p and 2p + 1 of chunk c. */
static GS_ALWAYS_INLINE __m128i load_groups(const struct gs_trellis *t, struct shape s,
                                            const uint8_t *tile, unsigned c, unsigned p)
{
    const struct gs_trellis_planes *k = &t->planes;
    unsigned rate = rate_of(t, s);
    __m128i v = _mm_loadu_si128((const void *)(tile + 2 * p * rate / 8 + c * rate));

    if (c < 3 || !wraps(s, p))
        return v;
    __m128i next = _mm_shuffle_epi8(_mm_loadu_si128((const void *)tile),
                                    _mm_load_si128((const void *)k->wrap_from[p]));
    return _mm_or_si128(_mm_and_si128(v, _mm_load_si128((const void *)k->wrap_keep[p])), next);
}

/* The same of chunks c and c + 1, a group's byte n at 2n and 2n + 1 of its lane. */
static GS_ALWAYS_INLINE __m256i gather(const struct gs_trellis *t, struct shape s,
                                       const uint8_t *tile, unsigned c, unsigned p)
{
    const struct gs_trellis_planes *k = &t->planes;
    __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(load_groups(t, s, tile, c, p)),
                                        load_groups(t, s, tile, c + 1, p), 1);

    v = _mm256_shuffle_epi8(v, both_halves(k->gather[p]));
    if (s.rate)
        return v;
    const __m256i pairs = _mm256_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15,
                                           0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    v = _mm256_srlv_epi64(v, both_halves(k->shift + 2 * p));
    return _mm256_shuffle_epi8(v, pairs);
}

/* Bytes 4i … 4i + 3 of the groups to planes; q: pairs of group pairs. */
static GS_ALWAYS_INLINE void transpose(const __m256i q[4], __m256i bytes[4])
{
    __m256i a = _mm256_unpacklo_epi32(q[0], q[1]), b = _mm256_unpackhi_epi32(q[0], q[1]);
    __m256i c = _mm256_unpacklo_epi32(q[2], q[3]), d = _mm256_unpackhi_epi32(q[2], q[3]);

    bytes[0] = _mm256_unpacklo_epi64(a, c);
    bytes[1] = _mm256_unpackhi_epi64(a, c);
    bytes[2] = _mm256_unpacklo_epi64(b, d);
    bytes[3] = _mm256_unpackhi_epi64(b, d);
}

static GS_ALWAYS_INLINE void gather_bytes(const struct gs_trellis *t, struct shape s,
                                          const uint8_t *tile, __m256i bytes[8], bool more)
{
    __m256i low[4], high[4];

    GS_UNROLL for (unsigned i = 0; i < 4; i++) {
        __m256i a = gather(t, s, tile, i / 2 * 2, i % 2 * 2);
        __m256i b = gather(t, s, tile, i / 2 * 2, i % 2 * 2 + 1);
        low[i] = _mm256_unpacklo_epi16(a, b);
        high[i] = _mm256_unpackhi_epi16(a, b);
    }
    transpose(low, bytes);
    if (more)
        transpose(high, bytes + 4);
}

/* The even and odd bytes of two registers. */
static GS_ALWAYS_INLINE void take_apart(__m256i a, __m256i b, __m256i bytes[2])
{
    const __m256i low = _mm256_set1_epi16(0xff);

    bytes[0] = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
    bytes[1] = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
}

/* Two bits a weight: a group is two bytes, its next two are the next group's. */
static GS_ALWAYS_INLINE void gather_pairs(const uint8_t *tile, __m256i bytes[4])
{
    __m256i a = _mm256_loadu_si256((const void *)tile);
    __m256i b = _mm256_loadu_si256((const void *)(tile + 32));
    __m256i ring = _mm256_permute2x128_si256(b, a, 0x21);

    take_apart(a, b, bytes);
    take_apart(_mm256_loadu_si256((const void *)(tile + 2)), _mm256_alignr_epi8(ring, b, 2),
               bytes + 2);
}

static GS_ALWAYS_INLINE void make_planes(const struct gs_trellis *t, struct shape s,
                                         const uint8_t *tile, __m256i plane[PLANES + 2])
{
    const __m256i nibble = _mm256_set1_epi8(15);
    bool more = s.rate ? s.rate * 7 / 8 + s.window > 32 : t->planes.bytes > 4;
    __m256i bytes[8];

    if (s.rate == 16)
        gather_pairs(tile, bytes);
    else
        gather_bytes(t, s, tile, bytes, more);
    GS_UNROLL for (int i = 0; i < 4; i++) {
        plane[2 * i] = _mm256_and_si256(bytes[i], nibble);
        plane[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(bytes[i], 4), nibble);
    }
    if (more)
        GS_UNROLL for (int i = 4; i < 8; i++) {
            plane[2 * i] = _mm256_and_si256(bytes[i], nibble);
            plane[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(bytes[i], 4), nibble);
        }
}

/* Indexes of weight j of all groups. */
static GS_ALWAYS_INLINE __m256i index_of(const struct gs_trellis *t, struct shape s,
                                         const __m256i *planes, unsigned j)
{
    const struct gs_trellis_planes *k = &t->planes;
    unsigned start = s.rate ? j * s.rate / 8 : t->start[j], least = s.window / 4;
    const __m256i *plane = planes + start / 4;
    __m256i index = _mm256_shuffle_epi8(both_halves(k->part[j][0]), plane[0]);

    GS_UNROLL for (unsigned n = 1; n < least; n++)
        index = _mm256_xor_si256(
            index, _mm256_shuffle_epi8(both_halves(k->part[j][n]), plane[n]));
    if (start % 4)
        index = _mm256_xor_si256(
            index, _mm256_shuffle_epi8(both_halves(k->part[j][least]), plane[least]));
    return index;
}

/* Magnitudes of the indexes, still without the indexes' signs. */
static GS_ALWAYS_INLINE __m256i magnitudes(const struct gs_trellis *t, __m256i index, bool wide)
{
    __m256i other = _mm256_xor_si256(index, _mm256_set1_epi8(-128));
    unsigned upper = wide ? 2 : 1;
    __m256i m = _mm256_or_si256(
        _mm256_shuffle_epi8(both_halves(t->magnitude), index),
        _mm256_shuffle_epi8(both_halves(t->magnitude + 16 * upper), other));

    if (!wide)
        return m;
    __m256i m1 = _mm256_or_si256(_mm256_shuffle_epi8(both_halves(t->magnitude + 16), index),
                                 _mm256_shuffle_epi8(both_halves(t->magnitude + 48), other));
    return _mm256_blendv_epi8(m, m1, _mm256_slli_epi16(index, 3));
}

/* Adds value · x, four columns to each 32-bit sum: |value| · ±x, whose pairs stay within 16
 * bits, for neither is ever −128. */
static GS_ALWAYS_INLINE __m256i add_dot(const struct gs_trellis *t, struct shape s, __m256i sum,
                                        __m256i index, __m256i x)
{
    __m256i m = magnitudes(t, index, s.wide), sign = _mm256_add_epi8(index, index);

    if (!s.rate && !t->planes.positive) {
        sign = _mm256_sign_epi8(m, sign);
        m = _mm256_abs_epi8(m);
    }
    __m256i pairs = _mm256_maddubs_epi16(m, _mm256_sign_epi8(x, sign));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* One tile: sum[h][i] gets rows 2g + h of groups g = 4i … 4i + 3, chunks apart by lanes. */
static GS_ALWAYS_INLINE void add_tile(const struct gs_trellis *t, struct shape s,
                                      const uint8_t *tile, const int8_t *q, __m256i sum[2][2])
{
    const __m256i spread = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5,
                                            6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
    __m256i all = both_halves(q), plane[PLANES + 2];
    const __m256i x[2] = {_mm256_shuffle_epi8(all, spread),
                          _mm256_shuffle_epi8(_mm256_srli_si256(all, 8), spread)};

    make_planes(t, s, tile, plane);
    GS_UNROLL for (unsigned h = 0; h < 2; h++) {
        __m256i a = index_of(t, s, plane, 4 * h), b = index_of(t, s, plane, 4 * h + 1);
        __m256i c = index_of(t, s, plane, 4 * h + 2), d = index_of(t, s, plane, 4 * h + 3);
        __m256i ab = _mm256_unpacklo_epi8(a, b), cd = _mm256_unpacklo_epi8(c, d);
        sum[h][0] = add_dot(t, s, sum[h][0], _mm256_unpacklo_epi16(ab, cd), x[0]);
        sum[h][1] = add_dot(t, s, sum[h][1], _mm256_unpackhi_epi16(ab, cd), x[0]);
        ab = _mm256_unpackhi_epi8(a, b);
        cd = _mm256_unpackhi_epi8(c, d);
        sum[h][0] = add_dot(t, s, sum[h][0], _mm256_unpacklo_epi16(ab, cd), x[1]);
        sum[h][1] = add_dot(t, s, sum[h][1], _mm256_unpackhi_epi16(ab, cd), x[1]);
    }
}

/* y[8i …] = fma(scale, sums of rows 8i …, y). */
static inline void add_block(__m256i sum[2][2], float scale, __m256 total[2])
{
    for (int i = 0; i < 2; i++) {
        __m128i even = _mm_add_epi32(_mm256_castsi256_si128(sum[0][i]),
                                     _mm256_extracti128_si256(sum[0][i], 1));
        __m128i odd = _mm_add_epi32(_mm256_castsi256_si128(sum[1][i]),
                                    _mm256_extracti128_si256(sum[1][i], 1));
        __m256i rows = _mm256_set_m128i(_mm_unpackhi_epi32(even, odd),
                                        _mm_unpacklo_epi32(even, odd));
        total[i] = _mm256_fmadd_ps(_mm256_set1_ps(scale), _mm256_cvtepi32_ps(rows), total[i]);
    }
}

static GS_ALWAYS_INLINE void dot(const struct gs_trellis *t, struct shape s,
                                 const uint8_t *codes, size_t tiles, const struct gs_int8 *x,
                                 float y[16])
{
    size_t bytes = 4 * (size_t)rate_of(t, s);
    __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    uint8_t padded[PADDED] = {0};

    for (size_t b = 0, n = 0; n < tiles; b++) {
        __m256i sum[2][2] = {{_mm256_setzero_si256(), _mm256_setzero_si256()},
                             {_mm256_setzero_si256(), _mm256_setzero_si256()}};
        size_t end = GS_MIN(tiles, (b + 1) * GS_INT8_BLOCK / GS_TRELLIS_COLS);
        for (; n < end; n++) {
            const uint8_t *tile = codes + n * bytes;
            gs_trellis_prefetch(tile, bytes);
            if (n + 1 == tiles) /* loads go beyond a tile, but not beyond the last */
                tile = memcpy(padded, tile, bytes);
            add_tile(t, s, tile, x->q + n * GS_TRELLIS_COLS, sum);
        }
        add_block(sum, x->scale[b], total);
    }
    _mm256_storeu_ps(y, total[0]);
    _mm256_storeu_ps(y + 8, total[1]);
}

#define DOT(rate, window, wide)                                                                \
    static void dot_##rate##_##window##_##wide(const struct gs_trellis *t,                     \
                                               const uint8_t *codes, size_t tiles,             \
                                               const struct gs_int8 *x, float y[16])           \
    {                                                                                          \
        dot(t, (struct shape){rate, window, wide}, codes, tiles, x, y);                        \
    }
#define DOTS(rate, wide) DOT(rate, 8, wide) DOT(rate, 12, wide) DOT(rate, 16, wide)
DOTS(0, 0)
DOTS(8, 0)
DOTS(16, 0)
DOTS(24, 0)
DOTS(0, 1)
DOTS(32, 1)
DOTS(40, 1)

/* By whole bits a weight, 0 for any; codes with negative magnitudes go there too. */
#define NAMES(rate, wide) \
    {dot_##rate##_8_##wide, dot_##rate##_12_##wide, dot_##rate##_16_##wide}
static const gs_trellis_dot_fn narrow_dots[6][3] = {
    NAMES(0, 0), NAMES(8, 0), NAMES(16, 0), NAMES(24, 0), NAMES(0, 0), NAMES(0, 0),
};
static const gs_trellis_dot_fn wide_dots[6][3] = {
    NAMES(0, 1), NAMES(0, 1), NAMES(0, 1), NAMES(0, 1), NAMES(32, 1), NAMES(40, 1),
};

void gs_trellis_dot_avx2(const struct gs_trellis *t, const uint8_t *codes, size_t tiles,
                         const struct gs_int8 *x, float y[16])
{
    unsigned bits = t->rate % 8 == 0 && t->planes.positive ? t->rate / 8 : 0;

    (t->index_bits == 7 ? wide_dots : narrow_dots)[bits][(t->window + 3) / 4 - 2](t, codes,
                                                                                  tiles, x, y);
}
