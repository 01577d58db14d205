/* SPDX-License-Identifier: MIT
 * What a plan will cost. Sizes are sums of what the steps allocate; the time is that of two
 * short probes on this machine, so it knows its processor and what else it is doing. */
#include "core/alloc.h"
#include "core/clock.h"
#include "core/rng.h"
#include "grid/format.h"
#include "recipe/estimate.h"
#include "recipe/tune.h"

#define PROBE_ROWS 64u
#define PROBE_COLS 64u
#define PRODUCT_ROWS 64u
#define PRODUCT_COLS 512u

/* Seconds in which one thread rounds one weight. */
static double probe_search(const struct gs_codec *codec)
{
    float *x = gs_alloc(PROBE_ROWS * PROBE_COLS, sizeof *x);
    uint8_t *codes = gs_alloc(PROBE_ROWS * PROBE_COLS, 8);
    void *work = gs_alloc(gs_codec_work_bytes(codec, NULL), 1);
    struct gs_rng rng;
    double seconds = 0;

    gs_rng_init(&rng, 1, 0);
    for (size_t i = 0; x && i < PROBE_ROWS * PROBE_COLS; i++)
        x[i] = (float)gs_rng_normal(&rng);
    if (x && codes && work) {
        seconds = gs_seconds();
        gs_codec_quantize(codec, NULL, x, PROBE_COLS, PROBE_ROWS, PROBE_COLS, codes,
                          PROBE_COLS / codec->grid->block_cols * codec->block_bytes, NULL, 0,
                          work);
        seconds = (gs_seconds() - seconds) / (PROBE_ROWS * PROBE_COLS);
    }
    gs_free(&x);
    gs_free(&codes);
    gs_free(&work);
    return seconds;
}

/* The same for a block type: feedback and polish take about three times the fit's time. */
static double probe_format(const struct gs_format *format)
{
    float x[PROBE_COLS * 16], h[PROBE_COLS * 16];
    uint8_t bytes[sizeof x];
    struct gs_rng rng;

    gs_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < GS_COUNT(x); i++) {
        x[i] = (float)gs_rng_normal(&rng);
        h[i] = 1;
    }
    double seconds = gs_seconds();
    gs_format_encode(format, x, h, GS_COUNT(x), bytes, NULL);
    return 3 * (gs_seconds() - seconds) / GS_COUNT(x);
}

/* Seconds in which one thread multiplies and adds once. */
static double probe_product(void)
{
    float *w = gs_alloc(2 * PRODUCT_ROWS, PRODUCT_COLS * sizeof *w);
    float *y = gs_alloc(PRODUCT_ROWS * PRODUCT_ROWS, sizeof *y);
    double seconds = 0;

    if (w && y) {
        seconds = gs_seconds();
        gs_kernels()->mul_f32(w, PRODUCT_COLS, PRODUCT_ROWS, w + PRODUCT_ROWS * PRODUCT_COLS,
                              PRODUCT_COLS, PRODUCT_ROWS, PRODUCT_COLS, y, PRODUCT_ROWS);
        seconds = (gs_seconds() - seconds) / (PRODUCT_ROWS * PRODUCT_ROWS * PRODUCT_COLS);
    }
    gs_free(&w);
    gs_free(&y);
    return seconds;
}

/* Forwards also attend, normalize, decode and transform: measured, a third of their time. */
#define BESIDE_PRODUCTS 1.5

/* Multiplications: in all blocks and in second moments for each token, and in factors and
 * feedback (a half of W·L for each matrix) once. */
struct products {
    double blocks, head, moments, once;
};

static struct products count_products(const struct gs_plan *plan)
{
    struct products p = {0};

    for (size_t i = 0; i < plan->n_items; i++) {
        const struct gs_plan_item *item = &plan->items[i];
        const struct gs_plan_item *before = i ? item - 1 : NULL;
        double rows = (double)item->rows, cols = (double)item->cols;
        if (!gs_plan_is_rounded(item))
            continue;
        *(item->input < GS_INPUT_HEAD ? &p.blocks : &p.head) += rows * cols;
        p.once += 0.5 * rows * cols * cols;
        if (!before || before->il != item->il || before->input != item->input) {
            p.moments += 0.5 * cols * cols;
            p.once += 2 * cols * cols * cols;
        }
    }
    return p;
}

/* The most that one block or the head holds at a time: its Hessians (f64), a factor (f32),
 * one matrix or strip of it in f32. */
static uint64_t layer_bytes(const struct gs_plan *plan)
{
    uint64_t most = 0, sum = 0;

    for (size_t i = 0; i < plan->n_items; i++) {
        const struct gs_plan_item *item = &plan->items[i], *before = i ? item - 1 : NULL;
        uint64_t rows = gs_work_strip_rows(item), cols = item->cols;
        if (!gs_plan_is_rounded(item))
            continue;
        if (!before || before->il != item->il)
            sum = 0;
        if (!before || before->il != item->il || before->input != item->input)
            sum += 8 * cols * cols;
        if (item->part) /* values, an error and perhaps importances beside it; H in f32 */
            rows = 3 * item->rows + cols;
        if (item->stock) /* H in f32 and tables of spans beside the factor */
            rows += cols + 3 * 256 + 64;
        most = GS_MAX(most, sum + 4 * cols * cols + 4 * rows * cols +
                      gs_plan_scale_bytes(item) + item->codes_bytes);
    }
    return most;
}

/* Tuning: the source, the student and its gradients in f32, of native matrices what is around the
 * codes too, and states of the whole text; multiplications of forwards, two for each backward, and
 * of the teacher, whose blocks run once. */
static void add_tuning(const struct gs_work *work, const struct products *p,
                       struct gs_plan_info *out, double *products)
{
    double tokens = (double)(work->calib.sequences * work->calib.ctx);
    uint64_t a_weight = work->options->type ? 13 : 17;
    struct gs_tune t;

    if (!work->options->tune || gs_tune_stages(work->options->tune, work->options->type, &t, NULL))
        return;
    *products += tokens * (3 * t.block_passes * p->blocks +
                           t.whole_passes * (3 * p->blocks + 4 * p->head) + p->blocks);
    out->memory_bytes = GS_MAX(out->memory_bytes,
                               a_weight * work->plan.parameters +
                               (uint64_t)tokens * work->lm->config.n_embd * sizeof(float));
}

int gs_estimate(struct gs_work *work, struct gs_plan_info *out, struct gs_err *err)
{
    const struct gs_plan *plan = &work->plan;
    double tokens = work->uses_h ? (double)(work->calib.sequences * work->calib.ctx) : 0;
    double workers = gs_team_size(work->team), passes = work->uses_h ? 2 : 0;
    struct products p = count_products(plan);
    const struct gs_codec *codec = NULL;
    double search = 0, speeds[GS_TYPE_COUNT] = {0};
    uint64_t states = (uint64_t)tokens * work->lm->config.n_embd * sizeof(float);

    for (size_t i = 0; !codec && i < plan->n_items; i++)
        if (plan->items[i].native) {
            int rc = gs_work_codec(work, plan->items[i].rate, &codec, err);
            if (rc)
                return rc;
        }
    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].stock) {
            enum gs_type type = plan->items[i].type;
            if (speeds[type] == 0)
                speeds[type] = probe_format(gs_format_find(type));
            search += speeds[type] * (double)plan->items[i].rows * (double)plan->items[i].cols;
        }
    if (codec)
        search += probe_search(codec) * (double)work->total;
    double products = tokens * (BESIDE_PRODUCTS * passes * p.blocks + p.moments);
    if (work->uses_h)
        products += p.once;
    if (!work->options->no_eval) /* source and result */
        products += 2 * GS_CALIB_EVAL_TOKENS * (BESIDE_PRODUCTS * p.blocks + p.head);
    out->memory_bytes = layer_bytes(plan) + (work->decoder ? gs_decoder_bytes(work->decoder) : 0);
    out->scratch_bytes = out->file_bytes * (work->options->no_eval ? 1 : 2);
    if (states > GS_STATES_IN_MEMORY)
        out->scratch_bytes += states;
    else
        out->memory_bytes += states;
    add_tuning(work, &p, out, &products);
    out->seconds = (search + probe_product() * products) / workers;
    return GS_OK;
}
