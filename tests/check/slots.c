/* SPDX-License-Identifier: MIT
 * One entry for every function of struct gs_kernels: its shape and one call of it. */
#include <assert.h>

#include "tests/check/check.h"

/* ---- arrays by type ------------------------------------------------------------- */

static void shape_decode(struct job *job)
{
    const struct gs_type_info *info = gs_type_info(job->type);

    job->w_bytes = job->n / info->block * info->bytes;
    job->out_bytes = job->n * sizeof(float);
}

static void call_decode(const struct gs_kernels *k, struct job *job)
{
    k->decode[job->type](job->w, job->out, job->n);
}

static void shape_encode(struct job *job)
{
    const struct gs_type_info *info = gs_type_info(job->type);

    job->x_count = job->n;
    job->out_bytes = job->n / info->block * info->bytes;
}

static void call_encode(const struct gs_kernels *k, struct job *job)
{
    k->encode[job->type](job->x, job->out, job->n);
}

static void shape_dot(struct job *job)
{
    const struct gs_type_info *info = gs_type_info(job->type);

    job->w_bytes = job->n / info->block * info->bytes;
    job->x_count = job->n;
}

static void call_dot(const struct gs_kernels *k, struct job *job)
{
    job->result = k->dot[job->type](job->w, job->x, job->n);
}

/* ---- kernels.def ---------------------------------------------------------------- */

static void shape_mul_f32(struct job *job)
{
    size_t gap = job->variant ? 3 : 0;

    job->w_stride = job->n + gap;
    job->x_stride = job->n + 2 * gap;
    job->y_stride = job->rows + gap;
    job->w_bytes = ((job->rows - 1) * job->w_stride + job->n) * sizeof(float);
    job->x_count = (job->cols - 1) * job->x_stride + job->n;
    job->out_bytes = ((job->cols - 1) * job->y_stride + job->rows) * sizeof(float);
}

static void call_mul_f32(const struct gs_kernels *k, struct job *job)
{
    k->mul_f32(job->w, job->w_stride, job->rows, job->x, job->x_stride, job->cols, job->n,
               job->out, job->y_stride);
}

static void shape_axpy_f32(struct job *job)
{
    job->w_bytes = job->n * 4;
    job->x_count = job->n;
    job->out_bytes = job->n * sizeof(float);
}

static void call_axpy_f32(const struct gs_kernels *k, struct job *job)
{
    k->axpy_f32(job->a, job->w, job->out, job->n);
}

static void shape_axpy_f16(struct job *job)
{
    shape_axpy_f32(job);
    job->w_bytes = job->n * 2;
}

static void call_axpy_f16(const struct gs_kernels *k, struct job *job)
{
    k->axpy_f16(job->a, job->w, job->out, job->n);
}

static void shape_max_f32(struct job *job)
{
    job->x_count = job->n;
}

static void call_max_f32(const struct gs_kernels *k, struct job *job)
{
    job->result = k->max_f32(job->x, job->n);
}

/* x to out, both of n floats. */
static void shape_map(struct job *job)
{
    job->x_count = job->n;
    job->out_bytes = job->n * sizeof(float);
}

static void call_exp_sum_f32(const struct gs_kernels *k, struct job *job)
{
    job->result = k->exp_sum_f32(job->out, job->a, job->n);
}

/* The variant of norms and maps is in place: out holds a copy of x. */
static const float *map_input(const struct job *job)
{
    return job->variant ? job->out : job->x;
}

static void call_rms_norm_f32(const struct gs_kernels *k, struct job *job)
{
    k->rms_norm_f32(map_input(job), job->x2, 1e-5f, job->out, job->n);
}

static void call_layer_norm_f32(const struct gs_kernels *k, struct job *job)
{
    k->layer_norm_f32(map_input(job), job->x2, job->variant ? NULL : job->x, 1e-5f, job->out,
                      job->n);
}

static void call_silu_f32(const struct gs_kernels *k, struct job *job)
{
    k->silu_f32(map_input(job), job->out, job->n);
}

static void call_gelu_tanh_f32(const struct gs_kernels *k, struct job *job)
{
    k->gelu_tanh_f32(map_input(job), job->out, job->n);
}

static void call_gelu_erf_f32(const struct gs_kernels *k, struct job *job)
{
    k->gelu_erf_f32(map_input(job), job->out, job->n);
}

static void call_silu_slope_f32(const struct gs_kernels *k, struct job *job)
{
    k->silu_slope_f32(map_input(job), job->out, job->n);
}

static void call_gelu_tanh_slope_f32(const struct gs_kernels *k, struct job *job)
{
    k->gelu_tanh_slope_f32(map_input(job), job->out, job->n);
}

static void call_gelu_erf_slope_f32(const struct gs_kernels *k, struct job *job)
{
    k->gelu_erf_slope_f32(map_input(job), job->out, job->n);
}

/* k is n; a of 8 rows in x, b in w; the variant has a wider c. */
static void shape_panel(struct job *job, size_t width, size_t size)
{
    job->rows = GS_PANEL_ROWS;
    job->cols = width;
    job->y_stride = width + (job->variant ? 5 : 0);
    job->x_count = job->n * GS_PANEL_ROWS * size / sizeof(float);
    job->w_bytes = job->n * width * size;
    job->out_bytes = (7 * job->y_stride + width) * size;
}

static void shape_panel_f32(struct job *job)
{
    shape_panel(job, GS_PANEL_F32, sizeof(float));
}

static void call_panel_f32(const struct gs_kernels *k, struct job *job)
{
    k->panel_f32(job->x, job->w, job->n, job->out, job->y_stride);
}

static void shape_panel_f64(struct job *job)
{
    shape_panel(job, GS_PANEL_F64, sizeof(double));
}

static void call_panel_f64(const struct gs_kernels *k, struct job *job)
{
    k->panel_f64((const void *)job->x, job->w, job->n, job->out, job->y_stride);
}

/* Fewer rows than 8 where n is no multiple of it. */
static void shape_panel_f16(struct job *job)
{
    shape_panel(job, GS_PANEL_F32, sizeof(float));
    job->rows = GS_PANEL_ROWS - job->n % GS_PANEL_ROWS;
    job->w_bytes = job->n * GS_PANEL_F32 * sizeof(uint16_t);
    job->out_bytes = ((job->rows - 1) * job->y_stride + GS_PANEL_F32) * sizeof(float);
}

static void call_panel_f16(const struct gs_kernels *k, struct job *job)
{
    k->panel_f16(job->x, job->rows, job->w, job->n, job->out, job->y_stride);
}

/* A panel of 8, or of 32 for the variant, from lines of n numbers; some lines are missing
 * where n is odd. */
static void shape_transpose_f32(struct job *job)
{
    job->cols = job->variant ? GS_PANEL_F32 : GS_PANEL_ROWS;
    job->rows = job->cols - (job->n % 2 ? 3 : 0);
    job->w_stride = job->n + (job->variant ? 3 : 0);
    job->x_count = (job->rows - 1) * job->w_stride + job->n;
    job->out_bytes = job->n * job->cols * sizeof(float);
}

static void call_transpose_f32(const struct gs_kernels *k, struct job *job)
{
    k->transpose_f32(job->x, job->w_stride, job->rows, job->n, job->cols, job->out);
}

static void call_fwht_f32(const struct gs_kernels *k, struct job *job)
{
    k->fwht_f32(job->out, job->n, job->a);
}

#define FIELD(slot) .name = #slot, .offset = offsetof(struct gs_kernels, slot)

/* One entry for each row of kernels.def; slots() stops at a row without one. */
enum {
#define K(slot, type) ROW_##slot,
#include "kernels/kernels.def"
#undef K
    ROW_COUNT
};

static const struct slot rows[ROW_COUNT] = {
    [ROW_mul_f32] = {FIELD(mul_f32), GS_TYPE_F32, STORED_ENCODED, .floats_w = true,
                     .matrix = true, .variants = true, .shape = shape_mul_f32, .call = call_mul_f32},
    [ROW_axpy_f32] = {FIELD(axpy_f32), GS_TYPE_F32, STORED_ENCODED, .out_from_x = true,
                      .shape = shape_axpy_f32, .call = call_axpy_f32},
    [ROW_axpy_f16] = {FIELD(axpy_f16), GS_TYPE_F16, STORED_ENCODED, .out_from_x = true,
                      .shape = shape_axpy_f16, .call = call_axpy_f16},
    [ROW_max_f32] = {FIELD(max_f32), GS_TYPE_F32, .shape = shape_max_f32,
                     .call = call_max_f32},
    [ROW_exp_sum_f32] = {FIELD(exp_sum_f32), GS_TYPE_F32, .out_from_x = true, .spread = 60.0f,
                         .shape = shape_map, .call = call_exp_sum_f32},
    [ROW_rms_norm_f32] = {FIELD(rms_norm_f32), GS_TYPE_F32, .out_from_x = true,
                          .variants = true, .shape = shape_map, .call = call_rms_norm_f32},
    [ROW_layer_norm_f32] = {FIELD(layer_norm_f32), GS_TYPE_F32, .out_from_x = true,
                            .variants = true, .shape = shape_map,
                            .call = call_layer_norm_f32},
    [ROW_silu_f32] = {FIELD(silu_f32), GS_TYPE_F32, .out_from_x = true, .variants = true,
                      .spread = 30.0f, .shape = shape_map, .call = call_silu_f32},
    [ROW_gelu_tanh_f32] = {FIELD(gelu_tanh_f32), GS_TYPE_F32, .out_from_x = true,
                           .variants = true, .spread = 8.0f, .shape = shape_map,
                           .call = call_gelu_tanh_f32},
    [ROW_gelu_erf_f32] = {FIELD(gelu_erf_f32), GS_TYPE_F32, .out_from_x = true,
                          .variants = true, .spread = 8.0f, .shape = shape_map,
                          .call = call_gelu_erf_f32},
    [ROW_silu_slope_f32] = {FIELD(silu_slope_f32), GS_TYPE_F32, .out_from_x = true,
                            .variants = true, .spread = 30.0f, .shape = shape_map,
                            .call = call_silu_slope_f32},
    [ROW_gelu_tanh_slope_f32] = {FIELD(gelu_tanh_slope_f32), GS_TYPE_F32, .out_from_x = true,
                                 .variants = true, .spread = 8.0f, .shape = shape_map,
                                 .call = call_gelu_tanh_slope_f32},
    [ROW_gelu_erf_slope_f32] = {FIELD(gelu_erf_slope_f32), GS_TYPE_F32, .out_from_x = true,
                                .variants = true, .spread = 8.0f, .shape = shape_map,
                                .call = call_gelu_erf_slope_f32},
    [ROW_panel_f32] = {FIELD(panel_f32), GS_TYPE_F32, STORED_ENCODED, .floats_w = true,
                       .variants = true, .shape = shape_panel_f32, .call = call_panel_f32},
    [ROW_panel_f64] = {FIELD(panel_f64), GS_TYPE_F32, STORED_ENCODED, .floats_w = true,
                       .doubles = true, .variants = true, .shape = shape_panel_f64,
                       .call = call_panel_f64},
    [ROW_panel_f16] = {FIELD(panel_f16), GS_TYPE_F16, STORED_ENCODED, .floats_w = true,
                       .variants = true, .shape = shape_panel_f16, .call = call_panel_f16},
    [ROW_transpose_f32] = {FIELD(transpose_f32), GS_TYPE_F32, .variants = true,
                           .shape = shape_transpose_f32, .call = call_transpose_f32},
    [ROW_fwht_f32] = {FIELD(fwht_f32), GS_TYPE_F32, .out_from_x = true, .powers = true,
                      .shape = shape_map, .call = call_fwht_f32},
    [ROW_trellis_decode] = {FIELD(trellis_decode), GS_TYPE_F32, STORED_BYTES,
                            .out_bytes_exact = true, .variants = true,
                            .shape = shape_trellis_decode, .call = call_trellis_decode},
    [ROW_trellis_dot] = {FIELD(trellis_dot), GS_TYPE_F32, STORED_BYTES, .spread = 100.0f,
                         .variants = true, .shape = shape_trellis_dot, .call = call_trellis_dot},
    [ROW_int8_quantize] = {FIELD(int8_quantize), GS_TYPE_F32, .variants = true, .shape = shape_int8_quantize,
                           .call = call_int8_quantize},
    [ROW_tile_mul] = {FIELD(tile_mul), GS_TYPE_F32, STORED_BYTES, .spread = 100.0f,
                      .matrix = true, .variants = true, .shape = shape_tile_mul,
                      .call = call_tile_mul},
    [ROW_codes_mul] = {FIELD(codes_mul), GS_TYPE_F32, STORED_BYTES, .floats_w = true,
                       .spread = 100.0f, .matrix = true, .variants = true,
                       .shape = shape_codes_mul, .call = call_codes_mul},
    [ROW_viterbi] = {FIELD(viterbi), GS_TYPE_F32, .out_bytes_exact = true, .spread = 140.0f,
                     .slow = true, .shape = shape_viterbi, .call = call_viterbi},
    [ROW_table_viterbi] = {FIELD(table_viterbi), GS_TYPE_F32, .out_bytes_exact = true,
                           .spread = 4.0f, .slow = true, .shape = shape_table_viterbi,
                           .call = call_table_viterbi},
};

static struct slot all[ROW_COUNT + 5 * GS_TYPE_COUNT];

size_t slots(const struct slot **out)
{
    size_t n = 0;

    for (int t = 0; t < GS_TYPE_COUNT; t++) {
        if (!gs_type_info((uint32_t)t))
            continue;
        size_t at = (size_t)t * sizeof(gs_decode_fn);
        all[n++] = (struct slot){"decode", offsetof(struct gs_kernels, decode) + at, t,
                                 STORED_BYTES, .shape = shape_decode, .call = call_decode};
        all[n++] = (struct slot){"encode", offsetof(struct gs_kernels, encode) + at, t,
                                 STORED_NONE, .out_bytes_exact = true, .spread = 8.0f,
                                 .shape = shape_encode, .call = call_encode};
        all[n++] = (struct slot){"dot", offsetof(struct gs_kernels, dot) + at, t,
                                 STORED_ENCODED, .shape = shape_dot, .call = call_dot};
        at = offsetof(struct gs_kernels, unpack) + (size_t)t * sizeof(gs_unpack_fn);
        all[n++] = (struct slot){"unpack", at, t, STORED_BYTES, .shape = shape_unpack,
                                 .call = call_unpack};
        at = offsetof(struct gs_kernels, codes_dot) + (size_t)t * sizeof(gs_codes_dot_fn);
        all[n++] = (struct slot){"codes_dot", at, t, STORED_BYTES, .spread = 100.0f,
                                 .shape = shape_codes_dot, .call = call_codes_dot};
    }
    for (size_t i = 0; i < ROW_COUNT; i++) {
        assert(rows[i].call);
        all[n++] = rows[i];
    }
    *out = all;
    return n;
}
