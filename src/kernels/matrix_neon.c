/* SPDX-License-Identifier: MIT
 * Matrix kernels in NEON. Every element of a product is one chain of fma in the order of k,
 * and every butterfly is one addition, so the bits are the definition's. */
#include "kernels/matrix.h"

#include <arm_neon.h>

#include "core/attr.h"

/* 8 rows × 2 vectors: 16 chains hide the latency of fma; two loads of a serve all rows. */
static void panel_f32_8x8(const float *a, const float *b, size_t k, float *c, size_t c_stride)
{
    float32x4_t s[8][2];

    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 2; j++)
            s[i][j] = vld1q_f32(c + i * c_stride + 4 * j);
    for (size_t p = 0; p < k; p++, a += GS_PANEL_ROWS, b += GS_PANEL_F32) {
        float32x4_t a0 = vld1q_f32(a), a1 = vld1q_f32(a + 4);
        GS_UNROLL for (int j = 0; j < 2; j++) {
            float32x4_t v = vld1q_f32(b + 4 * j);
            s[0][j] = vfmaq_laneq_f32(s[0][j], v, a0, 0);
            s[1][j] = vfmaq_laneq_f32(s[1][j], v, a0, 1);
            s[2][j] = vfmaq_laneq_f32(s[2][j], v, a0, 2);
            s[3][j] = vfmaq_laneq_f32(s[3][j], v, a0, 3);
            s[4][j] = vfmaq_laneq_f32(s[4][j], v, a1, 0);
            s[5][j] = vfmaq_laneq_f32(s[5][j], v, a1, 1);
            s[6][j] = vfmaq_laneq_f32(s[6][j], v, a1, 2);
            s[7][j] = vfmaq_laneq_f32(s[7][j], v, a1, 3);
        }
    }
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 2; j++)
            vst1q_f32(c + i * c_stride + 4 * j, s[i][j]);
}

void gs_panel_f32_neon(const float *a, const float *b, size_t k, float *c, size_t c_stride)
{
    for (size_t j = 0; j < GS_PANEL_F32; j += 8)
        panel_f32_8x8(a, b + j, k, c + j, c_stride);
}

/* Up to 4 rows × 16 columns. */
static GS_ALWAYS_INLINE void panel_f16(const float *a, size_t rows, const uint16_t *b, size_t k,
                                       float *c, size_t c_stride)
{
    float32x4_t s[4][4];

    GS_UNROLL for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 4; j++)
            s[i][j] = vld1q_f32(c + i * c_stride + 4 * j);
    for (size_t p = 0; p < k; p++, a += GS_PANEL_ROWS, b += GS_PANEL_F32) {
        GS_UNROLL for (size_t j = 0; j < 4; j++) {
            float32x4_t v = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(b + 4 * j)));
            GS_UNROLL for (size_t i = 0; i < rows; i++)
                s[i][j] = vfmaq_n_f32(s[i][j], v, a[i]);
        }
    }
    GS_UNROLL for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < 4; j++)
            vst1q_f32(c + i * c_stride + 4 * j, s[i][j]);
}

GS_PANEL_F16_4X16(neon, panel_f16)

static void panel_f64_8x4(const double *a, const double *b, size_t k, double *c,
                          size_t c_stride)
{
    float64x2_t s[8][2];

    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 2; j++)
            s[i][j] = vld1q_f64(c + i * c_stride + 2 * j);
    for (size_t p = 0; p < k; p++, a += GS_PANEL_ROWS, b += GS_PANEL_F64) {
        float64x2_t b0 = vld1q_f64(b), b1 = vld1q_f64(b + 2);
        GS_UNROLL for (int i = 0; i < 4; i++) {
            float64x2_t v = vld1q_f64(a + 2 * i);
            s[2 * i][0] = vfmaq_laneq_f64(s[2 * i][0], b0, v, 0);
            s[2 * i][1] = vfmaq_laneq_f64(s[2 * i][1], b1, v, 0);
            s[2 * i + 1][0] = vfmaq_laneq_f64(s[2 * i + 1][0], b0, v, 1);
            s[2 * i + 1][1] = vfmaq_laneq_f64(s[2 * i + 1][1], b1, v, 1);
        }
    }
    for (size_t i = 0; i < 8; i++)
        for (size_t j = 0; j < 2; j++)
            vst1q_f64(c + i * c_stride + 2 * j, s[i][j]);
}

void gs_panel_f64_neon(const double *a, const double *b, size_t k, double *c, size_t c_stride)
{
    for (size_t j = 0; j < GS_PANEL_F64; j += 4)
        panel_f64_8x4(a, b + j, k, c + j, c_stride);
}

/* 4 lines of 4 numbers: pairs of lines are interleaved, then pairs of pairs. */
static void transpose_4x4(const float *src, size_t stride, size_t width, float *dst)
{
    float32x4_t r[4];

    for (size_t i = 0; i < 4; i++)
        r[i] = vld1q_f32(src + i * stride);
    float32x4_t a = vzip1q_f32(r[0], r[2]), b = vzip2q_f32(r[0], r[2]);
    float32x4_t c = vzip1q_f32(r[1], r[3]), d = vzip2q_f32(r[1], r[3]);
    vst1q_f32(dst, vzip1q_f32(a, c));
    vst1q_f32(dst + width, vzip2q_f32(a, c));
    vst1q_f32(dst + 2 * width, vzip1q_f32(b, d));
    vst1q_f32(dst + 3 * width, vzip2q_f32(b, d));
}

void gs_transpose_f32_neon(const float *src, size_t stride, size_t lines, size_t k,
                           size_t width, float *dst)
{
    size_t whole_lines = lines / 4 * 4, whole = k / 4 * 4;

    for (size_t p = 0; p < whole; p += 4)
        for (size_t i = 0; i < whole_lines; i += 4)
            transpose_4x4(src + i * stride + p, stride, width, dst + p * width + i);
    for (size_t p = 0; p < k; p++)
        for (size_t i = p < whole ? whole_lines : 0; i < lines; i++)
            dst[p * width + i] = src[i * stride + p];
}

/* Stages h = 1 and 2 of eight numbers: even and odd ones apart, sums and differences. After
 * two of these, numbers 0 4 1 5 and 2 6 3 7 are there, which a third such step puts right. */
static GS_ALWAYS_INLINE void fwht_lanes(float32x4_t v[2])
{
    float32x4_t even = vuzp1q_f32(v[0], v[1]), odd = vuzp2q_f32(v[0], v[1]);
    float32x4_t sum = vaddq_f32(even, odd), rest = vsubq_f32(even, odd);

    even = vuzp1q_f32(sum, rest);
    odd = vuzp2q_f32(sum, rest);
    sum = vaddq_f32(even, odd);
    rest = vsubq_f32(even, odd);
    v[0] = vuzp1q_f32(sum, rest);
    v[1] = vuzp2q_f32(sum, rest);
}

/* Stages h and 2h at once, h ≥ 4; the result is multiplied by `scale`. */
static void fwht_radix4(float *x, size_t n, size_t h, float scale)
{
    for (size_t i = 0; i < n; i += 4 * h)
        for (float *p = x + i; p < x + i + h; p += 4) {
            float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + h);
            float32x4_t c = vld1q_f32(p + 2 * h), d = vld1q_f32(p + 3 * h);
            float32x4_t ab = vaddq_f32(a, b), cd = vaddq_f32(c, d);
            float32x4_t a_b = vsubq_f32(a, b), c_d = vsubq_f32(c, d);
            vst1q_f32(p, vmulq_n_f32(vaddq_f32(ab, cd), scale));
            vst1q_f32(p + h, vmulq_n_f32(vaddq_f32(a_b, c_d), scale));
            vst1q_f32(p + 2 * h, vmulq_n_f32(vsubq_f32(ab, cd), scale));
            vst1q_f32(p + 3 * h, vmulq_n_f32(vsubq_f32(a_b, c_d), scale));
        }
}

void gs_fwht_f32_neon(float *x, size_t n, float scale)
{
    if (n < 8) {
        gs_fwht_f32_scalar(x, n, scale);
        return;
    }
    /* After the 2 stages in lanes, an odd number of stages leaves one that is not paired. */
    bool odd = __builtin_ctzll(n) % 2 == 1;
    float last = n == 8 ? scale : 1.0f;
    for (size_t i = 0; i < n; i += 8) {
        float32x4_t v[2] = {vld1q_f32(x + i), vld1q_f32(x + i + 4)};
        fwht_lanes(v);
        float32x4_t sum = odd ? vaddq_f32(v[0], v[1]) : v[0];
        float32x4_t rest = odd ? vsubq_f32(v[0], v[1]) : v[1];
        vst1q_f32(x + i, vmulq_n_f32(sum, last));
        vst1q_f32(x + i + 4, vmulq_n_f32(rest, last));
    }
    for (size_t h = odd ? 8 : 4; h < n; h *= 4)
        fwht_radix4(x, n, h, 4 * h == n ? scale : 1.0f);
}
