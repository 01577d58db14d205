/* SPDX-License-Identifier: MIT
 * Writing an importance matrix: the model as it is, in one pass over the calibration set.
 *
 *   general.type "imatrix", imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size
 *   NAME.in_sum2 F32 [cols, 1]   Σ_t x_ti² over all tokens
 *   NAME.counts  F32 [1, 1]      tokens
 *
 * Matrices of one input get equal entries. The head's is that of the final norm's output, under
 * the name of the tensor that it is read from. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "file/gguf.h"
#include "linalg/gram.h"
#include "model/layers.h"
#include "recipe/calib.h"
#include "recipe/convert.h"
#include "recipe/imatrix.h"
#include "recipe/plan.h"

#define NAME_MAX 96
#define CTX_MIN 16 /* as in recipes */
#define CTX_MAX 32768

struct making {
    const struct gs_imatrix_options *options;
    struct gs_recipe recipe;
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_tokenizer *tokenizer;
    struct gs_team *team;
    struct gs_plan plan;           /* tells matrices and their inputs */
    struct gs_calib calib;
    struct gs_decoder *decoder;
    double **sums;                 /* (n_layer + 1, GS_INPUT_EMBD) by block and input */
    const struct gs_block_weights *block; /* that runs now */
    float *x;                      /* (ctx, C) */
    struct gs_arena arena;
};

static double **sums_of(const struct making *m, uint32_t il, enum gs_plan_input input)
{
    return &m->sums[(size_t)il * GS_INPUT_EMBD + input];
}

static bool is_entry(const struct gs_plan_item *item)
{
    return item->type != GS_TYPE_F32 && item->input != GS_INPUT_EMBD;
}

static void gather(void *ctx, const struct gs_matrix *w, const float *x, size_t T)
{
    struct making *m = ctx;
    enum gs_plan_input input = gs_plan_first_input(m->block, w);
    uint32_t il = (uint32_t)(m->block - m->lm->blocks);

    if (input < GS_INPUT_BLOCK_COUNT && *sums_of(m, il, input))
        gs_gram_add_diagonal(x, T, w->cols, w->cols, *sums_of(m, il, input));
}

static int open_model(struct making *m, const char *src, const char *dst, struct gs_err *err)
{
    const struct gs_imatrix_options *o = m->options;
    const struct gs_plan_options plan = {.mix = gs_mix_find("Q8_0"), .allow_requantize = true};
    int rc;

    if (o->ctx && (o->ctx < CTX_MIN || o->ctx > CTX_MAX))
        return gs_fail(err, GS_E_ARG, "sequences of %" PRIu32 " tokens: give %d to %d", o->ctx,
                       CTX_MIN, CTX_MAX);
    gs_recipe_default(&m->recipe);
    if (o->tokens)
        m->recipe.tokens = o->tokens;
    if (o->ctx)
        m->recipe.ctx = o->ctx;
    if ((rc = gs_recipe_check(&m->recipe, err)) || (rc = gs_store_open(src, &m->store, err)) ||
        (rc = gs_convert_check_output(m->store, dst, o->overwrite, err)) ||
        (rc = gs_team_create(o->threads, &m->team, err)) ||
        (rc = gs_lm_open(m->store, &m->lm, err)) ||
        (rc = gs_tokenizer_create(gs_store_meta(m->store), src, &m->tokenizer, err)))
        return rc;
    return gs_plan_create(m->lm, &m->recipe, &plan, &m->plan, err);
}

static int read_texts(struct making *m, struct gs_err *err)
{
    const struct gs_imatrix_options *o = m->options;
    const struct gs_calib_source source = {.paths = o->calib, .n_paths = o->n_calib,
                                           .progress = o->progress,
                                           .progress_ctx = o->progress_ctx};
    int rc = gs_calib_create(&source, &m->recipe, m->lm, m->tokenizer, m->team, &m->calib, err);
    const struct gs_decoder_options decoder = {.ctx = (uint32_t)m->calib.ctx,
                                               .batch = (uint32_t)m->calib.ctx,
                                               .exact = true, .team = m->team};
    size_t layers = (size_t)m->lm->config.n_layer + 1;

    if (rc || (rc = gs_decoder_create(m->lm, &decoder, &m->decoder, err)))
        return rc;
    m->sums = gs_arena_alloc(&m->arena, layers * GS_INPUT_EMBD, sizeof *m->sums);
    m->x = gs_alloc(2 * m->calib.ctx * m->lm->config.n_embd, sizeof *m->x);
    for (size_t i = 0; m->sums && m->x && i < m->plan.n_items; i++) {
        const struct gs_plan_item *item = &m->plan.items[i];
        if (!is_entry(item) || *sums_of(m, item->il, item->input))
            continue;
        double *sums = gs_arena_alloc(&m->arena, item->cols, sizeof *sums);
        if (!sums)
            return gs_fail_nomem(err, "sums of squares");
        *sums_of(m, item->il, item->input) = sums;
    }
    return m->sums && m->x ? GS_OK : gs_fail_nomem(err, "sums of squares");
}

/* Sequence by sequence, so that memory does not grow with the text. */
static int run(struct making *m, struct gs_err *err)
{
    const struct gs_imatrix_options *o = m->options;
    size_t ctx = m->calib.ctx, C = m->lm->config.n_embd;
    double *head = *sums_of(m, m->lm->config.n_layer, GS_INPUT_HEAD);
    int rc = GS_OK;

    gs_decoder_tap(m->decoder, gather, m);
    for (size_t s = 0; !rc && s < m->calib.sequences; s++) {
        rc = gs_decoder_embed(m->decoder, m->calib.tokens + s * ctx, ctx, m->x, err);
        for (uint32_t il = 0; !rc && il < m->lm->config.n_layer; il++) {
            m->block = &m->lm->blocks[il];
            gs_decoder_block(m->decoder, il, m->block, GS_BLOCK_WHOLE, m->x, ctx);
        }
        gs_decoder_final_norm(m->decoder, m->x, ctx, m->x + ctx * C);
        if (head)
            gs_gram_add_diagonal(m->x + ctx * C, ctx, C, C, head);
        if (!rc && o->progress &&
            o->progress(o->progress_ctx, "sequences", s + 1, m->calib.sequences))
            rc = gs_fail(err, GS_E_STOPPED, "the importance matrix was stopped");
    }
    gs_decoder_tap(m->decoder, NULL, NULL);
    return rc;
}

static int make_meta(const struct making *m, struct gs_meta **out, struct gs_err *err)
{
    const struct gs_str name = {m->calib.name, strlen(m->calib.name)};
    int rc = gs_meta_create(out, err);

    if (rc || (rc = gs_meta_set_str(*out, "general.type", (struct gs_str){"imatrix", 7}, err)) ||
        (rc = gs_meta_set_array(*out, "imatrix.datasets", GS_VALUE_STRING, &name, 1, err)) ||
        (rc = gs_meta_set_uint(*out, "imatrix.chunk_count", m->calib.sequences, err)))
        return rc;
    return gs_meta_set_uint(*out, "imatrix.chunk_size", m->calib.ctx, err);
}

static int list_tensors(struct making *m, struct gs_tensor *tensors, size_t *n,
                        struct gs_err *err)
{
    *n = 0;
    for (size_t i = 0; i < m->plan.n_items; i++) {
        const struct gs_plan_item *item = &m->plan.items[i];
        for (int counts = 0; counts < 2 && is_entry(item); counts++) {
            char name[NAME_MAX];
            int size = snprintf(name, sizeof name, "%s%s", item->source->name,
                                counts ? ".counts" : ".in_sum2");
            const char *copy = gs_arena_strndup(&m->arena, name, strlen(name));
            if (size < 0 || (size_t)size >= sizeof name)
                return gs_fail(err, GS_E_FORMAT, "%s: tensor %s has too long a name",
                               item->source->file, item->source->name);
            if (!copy)
                return gs_fail_nomem(err, "names");
            tensors[(*n)++] = (struct gs_tensor){.name = copy, .type = GS_TYPE_F32, .n_dims = 2,
                                                 .dim = {counts ? 1 : item->cols, 1, 1, 1}};
        }
    }
    return GS_OK;
}

static int write_sums(const struct making *m, struct gs_gguf_writer *w, struct gs_err *err)
{
    float count = (float)(m->calib.sequences * m->calib.ctx);
    size_t index = 0;
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < m->plan.n_items; i++) {
        const struct gs_plan_item *item = &m->plan.items[i];
        if (!is_entry(item))
            continue;
        const double *sums = *sums_of(m, item->il, item->input);
        float *values = gs_alloc(item->cols, sizeof *values);
        if (!values)
            return gs_fail_nomem(err, "sums of squares");
        for (size_t c = 0; !rc && c < item->cols; c++) {
            values[c] = (float)sums[c];
            if (!isfinite(values[c]))
                rc = gs_fail(err, GS_E_FORMAT, "%s: tensor %s: input %zu is not finite",
                             item->source->file, item->source->name, c);
        }
        if (!rc && !(rc = gs_gguf_write(w, index, values, item->cols * sizeof *values, err)))
            rc = gs_gguf_write(w, index + 1, &count, sizeof count, err);
        index += 2;
        gs_free(&values);
    }
    return rc;
}

static int write_file(struct making *m, const char *dst, struct gs_imatrix_result *out,
                      struct gs_err *err)
{
    struct gs_tensor *tensors = gs_alloc(2 * m->plan.n_items, sizeof *tensors);
    struct gs_gguf_writer *writer = NULL;
    struct gs_meta *meta = NULL;
    uint64_t bytes = 0;
    size_t n = 0;
    int rc = tensors ? make_meta(m, &meta, err) : gs_fail_nomem(err, dst);

    if (!rc && !(rc = list_tensors(m, tensors, &n, err)) &&
        !(rc = gs_gguf_create(dst, m->options->overwrite, meta, tensors, n, &writer, err)) &&
        !(rc = write_sums(m, writer, err)))
        rc = gs_gguf_commit(&writer, &bytes, err);
    gs_gguf_abort(&writer);
    gs_meta_destroy(&meta);
    gs_free(&tensors);
    if (!rc && out)
        *out = (struct gs_imatrix_result){.entries = n / 2, .bytes = bytes,
                                          .tokens = m->calib.sequences * m->calib.ctx};
    return rc;
}

int gs_imatrix_make(const char *src, const char *dst, const struct gs_imatrix_options *options,
                    struct gs_imatrix_result *out, struct gs_err *err)
{
    static const struct gs_imatrix_options defaults;
    struct making m = {.options = options ? options : &defaults};
    int rc;

    if (!(rc = open_model(&m, src, dst, err)) && !(rc = read_texts(&m, err)) &&
        !(rc = run(&m, err)))
        rc = write_file(&m, dst, out, err);
    gs_free(&m.x);
    gs_decoder_destroy(&m.decoder);
    gs_calib_clear(&m.calib);
    gs_plan_clear(&m.plan);
    gs_tokenizer_destroy(&m.tokenizer);
    gs_lm_close(&m.lm);
    gs_team_destroy(&m.team);
    gs_store_close(&m.store);
    gs_arena_clear(&m.arena);
    return rc;
}
