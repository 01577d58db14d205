/* SPDX-License-Identifier: MIT
 * Products with stored types as codes (int8.h).
 *
 * A row and a vector: 256 weights are unpacked and multiplied in natural order; sums of quads
 * are added up to groups. A panel and vectors: two registers of 8 rows × up to 2 vectors.
 *
 * VPMADDUBSW adds pairs in 16 bits: enough for codes up to 127, and four times for codes up
 * to 31. A higher code is taken apart into its low seven bits and the eighth. */
#include "kernels/put_avx2.h"
#include "kernels/tile_avx2.h"

#define PIECE 256u

static GS_ALWAYS_INLINE float sum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Sums of quads of 32 codes times 32 activations. */
static GS_ALWAYS_INLINE __m256i quads(__m256i u, __m256i q, unsigned top)
{
    const __m256i ones = _mm256_set1_epi16(1);

    if (top < 128)
        return _mm256_madd_epi16(_mm256_maddubs_epi16(u, q), ones);
    __m256i low = _mm256_and_si256(u, _mm256_set1_epi8(127));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(u, 7), _mm256_set1_epi8(1));
    low = _mm256_madd_epi16(_mm256_maddubs_epi16(low, q), ones);
    high = _mm256_madd_epi16(_mm256_maddubs_epi16(high, q), _mm256_set1_epi16(128));
    return _mm256_add_epi32(low, high);
}

/* ---- one row, one vector ------------------------------------------------------------------ */

/* The sums of 8 groups, half a piece. */
static GS_ALWAYS_INLINE __m256i group_sums(const uint8_t *u, const int8_t *q, const int8_t *low,
                                           unsigned top)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i s[4];

    GS_UNROLL for (size_t i = 0; i < 4; i++) {
        __m256i code = load32(u + 32 * i);
        s[i] = _mm256_add_epi32(_mm256_slli_epi32(quads(code, load32(q + 32 * i), top), 8),
                                quads(code, load32(low + 32 * i), top));
    }
    __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    return _mm256_permutevar8x32_epi32(sums, order);
}

/* Blocks b and b + 1 of x, with their codes, into the chains of their groups. */
static GS_ALWAYS_INLINE __m256 add_half(const uint8_t *u, const float *d, const float *m,
                                         const struct gs_int8 *x, size_t b, unsigned top,
                                         __m256 lane)
{
    __m256i sums = group_sums(u, x->q + b * GS_INT8_BLOCK, x->low + b * GS_INT8_BLOCK, top);
    __m256 scale = _mm256_setr_m128(_mm_set1_ps(x->scale[b]), _mm_set1_ps(x->scale[b + 1]));

    scale = _mm256_mul_ps(scale, _mm256_loadu_ps(d));
    lane = _mm256_fnmadd_ps(_mm256_loadu_ps(m),
                            _mm256_loadu_ps(x->group + b * GS_INT8_GROUPS), lane);
    return _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sums), lane);
}

/* The last groups, at most 8, from block b on: the other chains stay as they are. */
static __m256 add_rest(const uint8_t *u, const float *d, const float *m, const struct gs_int8 *x,
                       size_t b, size_t groups, __m256 lane)
{
    const __m256i number = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    int8_t q[PIECE / 2], low[PIECE / 2];
    float group[8], scale[2] = {0};
    const struct gs_int8 rest = {.q = q, .low = low, .scale = scale, .group = group};
    const struct gs_int8 from = gs_int8_at(x, 0, b);

    memset(q, 0, sizeof q);
    memset(low, 0, sizeof low);
    memset(group, 0, sizeof group);
    memcpy(q, from.q, groups * GS_INT8_GROUP);
    memcpy(low, from.low, groups * GS_INT8_GROUP);
    memcpy(group, from.group, groups * sizeof *group);
    memcpy(scale, from.scale, (groups > GS_INT8_GROUPS ? 2 : 1) * sizeof *scale);
    __m256 sum = add_half(u, d, m, &rest, 0, 255, lane);
    __m256i keep = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)groups), number);
    return _mm256_blendv_ps(lane, sum, _mm256_castsi256_ps(keep));
}

static GS_ALWAYS_INLINE float row_dot(enum gs_type type, gs_unpack_fn unpack, unsigned top,
                                      const uint8_t *row, size_t n, const struct gs_int8 *x)
{
    const struct gs_type_info *info = gs_type_info(type);
    const size_t bytes = PIECE / info->block * info->bytes;
    __m256 lane[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    uint8_t u[PIECE];
    float d[16], m[16];
    size_t b = 0;

    for (; n >= PIECE; n -= PIECE, b += 4, row += bytes) {
        _mm_prefetch((const char *)row + 1024, _MM_HINT_T0);
        _mm_prefetch((const char *)row + 1088, _MM_HINT_T0);
        unpack(row, PIECE, u, d, m);
        lane[0] = add_half(u, d, m, x, b, top, lane[0]);
        lane[1] = add_half(u + 128, d + 8, m + 8, x, b + 2, top, lane[1]);
    }
    if (n) {
        memset(u, 0, sizeof u);
        memset(d, 0, sizeof d);
        memset(m, 0, sizeof m);
        unpack(row, n, u, d, m);
        for (size_t h = 0, groups = n / GS_INT8_GROUP; groups > 8 * h; h++)
            lane[h] = add_rest(u + 128 * h, d + 8 * h, m + 8 * h, x, b + 2 * h,
                               GS_MIN(groups - 8 * h, (size_t)8), lane[h]);
    }
    return sum8(_mm256_add_ps(lane[0], lane[1]));
}

#define U(type, name, top)                                                                     \
    void gs_codes_dot_##name##_avx2(const void *w, size_t row_bytes, size_t rows, size_t n,    \
                                    const struct gs_int8 *x, float *y)                         \
    {                                                                                          \
        for (size_t r = 0; r < rows; r++)                                                      \
            y[r] = row_dot(GS_TYPE_##type, gs_unpack_##name##_avx2, top,                       \
                           (const uint8_t *)w + r * row_bytes, n, x);                          \
    }
#include "kernels/codes.def"
#undef U

/* ---- a panel, some vectors ---------------------------------------------------------------- */

#define COLS 2

/* Σ u v over a group in 8 rows, for the four bytes of each step at q. */
static GS_ALWAYS_INLINE __m256i rows_sum(const uint8_t *u, const int8_t *q, unsigned top)
{
    if (top < 32) {
        __m256i pairs = _mm256_maddubs_epi16(load32(u), four(q));
        GS_UNROLL for (size_t s = 1; s < 4; s++)
            pairs = _mm256_add_epi16(
                pairs, _mm256_maddubs_epi16(load32(u + 64 * s), four(q + 4 * s)));
        return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    __m256i sum = quads(load32(u), four(q), top);
    GS_UNROLL for (size_t s = 1; s < 4; s++)
        sum = _mm256_add_epi32(sum, quads(load32(u + 64 * s), four(q + 4 * s), top));
    return sum;
}

/* One chain of 16 rows: the records of groups j, j + 16 … */
static GS_ALWAYS_INLINE void chain(const uint8_t *record, size_t j, size_t groups,
                                   const struct gs_int8 *x, size_t cols, unsigned top,
                                   __m256 lane[COLS][2])
{
    GS_UNROLL for (size_t t = 0; t < cols; t++)
        lane[t][0] = lane[t][1] = _mm256_setzero_ps();
    for (size_t g = j; g < groups; g += 16, record += GS_CODES_RECORD) {
        const float *d = (const void *)(record + GS_CODES_SCALES);
        GS_UNROLL for (size_t t = 0; t < cols; t++) {
            const size_t at = t * x->stride + g * GS_INT8_GROUP;
            __m256 group = _mm256_set1_ps(x->group[t * x->blocks * GS_INT8_GROUPS + g]);
            __m256 scale = _mm256_set1_ps(x->scale[t * x->blocks + g / GS_INT8_GROUPS]);
            GS_UNROLL for (size_t h = 0; h < 2; h++) {
                __m256i sum = rows_sum(record + 32 * h, x->q + at, top);
                sum = _mm256_add_epi32(_mm256_slli_epi32(sum, 8),
                                       rows_sum(record + 32 * h, x->low + at, top));
                lane[t][h] = _mm256_fnmadd_ps(_mm256_loadu_ps(d + 16 + 8 * h), group, lane[t][h]);
                lane[t][h] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_loadu_ps(d + 8 * h)),
                                             _mm256_cvtepi32_ps(sum), lane[t][h]);
            }
        }
    }
}

/* 16 rows and `cols` vectors. Chains are taken in the order in which they fold: after chain
 * number i come as many additions as i has ones at its end. */
static GS_ALWAYS_INLINE void panel(const uint8_t *w, size_t groups, size_t rows,
                                   const struct gs_int8 *x, float *y, size_t y_stride,
                                   size_t cols, unsigned top)
{
    __m256 lane[COLS][2], folds[5][COLS][2];
    size_t depth = 0;
    float out[16];

    for (unsigned i = 0; i < 16; i++) {
        size_t j = gs_codes_chain(i);
        chain(w + gs_codes_place(j, groups) * GS_CODES_RECORD, j, groups, x, cols, top, lane);
        for (unsigned k = i; k & 1; k /= 2) {
            depth--;
            GS_UNROLL for (size_t t = 0; t < cols; t++)
                for (size_t h = 0; h < 2; h++)
                    lane[t][h] = _mm256_add_ps(folds[depth][t][h], lane[t][h]);
        }
        memcpy(folds[depth++], lane, sizeof lane);
    }
    for (size_t t = 0; t < cols; t++) {
        _mm256_storeu_ps(out, folds[0][t][0]);
        _mm256_storeu_ps(out + 8, folds[0][t][1]);
        memcpy(y + t * y_stride, out, rows * sizeof *y);
    }
}

#define PANEL(name, top)                                                                       \
    static void panel_##name(const uint8_t *w, size_t groups, size_t rows,                     \
                             const struct gs_int8 *x, size_t cols, float *y, size_t y_stride)  \
    {                                                                                          \
        if (cols == COLS)                                                                      \
            panel(w, groups, rows, x, y, y_stride, COLS, top);                                 \
        else                                                                                   \
            panel(w, groups, rows, x, y, y_stride, 1, top);                                    \
    }
PANEL(small, 31)
PANEL(seven, 127)
PANEL(eight, 255)

void gs_codes_mul_avx2(const uint8_t *w, size_t groups, size_t rows, unsigned top,
                       const struct gs_int8 *x, size_t T, float *y, size_t y_stride)
{
    for (size_t t = 0, cols; t < T; t += cols) {
        struct gs_int8 v = gs_int8_at(x, t, 0);
        cols = GS_MIN(T - t, (size_t)COLS);
        for (size_t r = 0; r < rows; r += GS_CODES_ROWS) {
            const uint8_t *from = w + r / GS_CODES_ROWS * groups * GS_CODES_RECORD;
            float *to = y + t * y_stride + r;
            (top < 32 ? panel_small : top < 128 ? panel_seven : panel_eight)(
                from, groups, GS_MIN(rows - r, GS_CODES_ROWS), &v, cols, to, y_stride);
        }
    }
}
