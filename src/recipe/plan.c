/* SPDX-License-Identifier: MIT
 * Tensors to items, items to rates, rates to bytes. */
#include "recipe/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "grid/format.h"
#include "model/arch.h"
#include "transform/transform.h"

/* Names in a block, and the order in which left-over bits are given out: values and outputs
 * pass on every error, queries and keys only move attention. */
static const struct linear {
    const char *tail;
    enum gs_plan_input input;
    size_t field;
    unsigned turn;
} linears[] = {
#define AT(field) offsetof(struct gs_block_weights, field)
    {"attn_qkv.weight", GS_INPUT_ATTN, AT(attn_qkv), 0},
    {"attn_q.weight", GS_INPUT_ATTN, AT(attn_q), 6},
    {"attn_k.weight", GS_INPUT_ATTN, AT(attn_k), 3},
    {"attn_v.weight", GS_INPUT_ATTN, AT(attn_v), 0},
    {"attn_output.weight", GS_INPUT_ATTN_OUTPUT, AT(attn_output), 1},
    {"ffn_gate.weight", GS_INPUT_FFN, AT(ffn_gate), 5},
    {"ffn_up.weight", GS_INPUT_FFN, AT(ffn_up), 4},
    {"ffn_down.weight", GS_INPUT_FFN_DOWN, AT(ffn_down), 2},
#undef AT
};
#define TURNS 7

enum gs_plan_input gs_plan_first_input(const struct gs_block_weights *b,
                                       const struct gs_matrix *w)
{
    const struct gs_matrix *const first[GS_INPUT_BLOCK_COUNT] = {
        [GS_INPUT_ATTN] = &b->attn_q, [GS_INPUT_ATTN_OUTPUT] = &b->attn_output,
        [GS_INPUT_FFN] = &b->ffn_up, [GS_INPUT_FFN_DOWN] = &b->ffn_down};
    size_t input = 0;

    while (input < GS_INPUT_BLOCK_COUNT && first[input] != w)
        input++;
    return (enum gs_plan_input)input;
}

static const char *const factor_names[] = {"attn_in", "attn_output", "ffn_in", "ffn_down"};

static bool is_head(const struct gs_plan_item *item)
{
    return item->input >= GS_INPUT_HEAD;
}

/* The row of a tensor "blk.N.tail"; *il = N. */
static const struct linear *find_linear(const char *name, uint32_t *il)
{
    char *rest;

    if (strncmp(name, "blk.", 4))
        return NULL;
    *il = (uint32_t)strtoul(name + 4, &rest, 10);
    for (size_t i = 0; *rest == '.' && i < GS_COUNT(linears); i++)
        if (!strcmp(rest + 1, linears[i].tail))
            return &linears[i];
    return NULL;
}

/* Where the parts of a fused matrix begin; all 0 for others. */
static void find_cuts(const struct gs_lm *lm, const struct gs_plan_item *item, size_t cuts[2])
{
    const struct gs_block_weights *b = item->il < lm->config.n_layer ? &lm->blocks[item->il]
                                                                     : NULL;
    cuts[0] = cuts[1] = 0;
    if (!b)
        return;
    if (item->field == offsetof(struct gs_block_weights, attn_qkv)) {
        cuts[0] = b->attn_q.rows;
        cuts[1] = b->attn_q.rows + b->attn_k.rows;
    } else if (item->field == offsetof(struct gs_block_weights, ffn_up) && b->ffn_gate_up.data) {
        cuts[0] = b->ffn_gate.rows;
    }
}

/* What the grid cannot take: NULL, or the reason. */
static const char *misfit(const struct gs_plan *plan, const struct gs_plan_item *item,
                          const size_t cuts[2])
{
    if (item->cols % plan->grid->block_cols || item->cols % 8)
        return "its rows are no whole number of the grid's blocks";
    if (cuts[0] % GS_NATIVE_ROWS || cuts[1] % GS_NATIVE_ROWS)
        return "its fused parts do not begin on the grid's blocks";
    return NULL;
}

/* Why a codebook cannot take the matrix: false and the reason in `why`. */
static bool part_fits(const struct gs_plan *plan, const struct gs_plan_item *item,
                      struct gs_err *why)
{
    const struct gs_part_spec spec = gs_recipe_part(plan->recipe);
    uint64_t bytes;

    return gs_plan_part_bytes(plan, item, &spec, &bytes, why) == GS_OK;
}

/* The block type of a stock file's matrix; rows that none fits stay F16. */
static void choose_type(struct gs_plan *plan, const struct gs_lm *lm, struct gs_plan_item *item,
                        const struct gs_plan_options *options)
{
    const struct gs_config *config = &lm->config;
    const struct gs_mix_place place = {
        .name = item->source->name, .il = item->il, .n_layer = config->n_layer,
        .gqa = config->n_head_kv ? config->n_head / config->n_head_kv : 1,
        .head = item->input == GS_INPUT_HEAD, .cols = item->cols};
    int kept = gs_keeps_find(options->keeps, place.name);
    int chosen = options->types ? options->types[item->source - gs_store_tensor(lm->store, 0)] : -1;
    enum gs_type want = kept >= 0 ? (enum gs_type)kept
                        : chosen >= 0 ? (enum gs_type)chosen
                        : options->pure ? gs_mix_base(plan->mix)
                        : gs_mix_type(plan->mix, &place);

    item->type = gs_mix_fallback(want, item->cols);
    if (item->type != want && !options->quiet)
        gs_log(GS_LOG_WARN, "tensor %s becomes %s: its rows of %zu weights are no whole blocks "
               "of %u, as %s has them", place.name, gs_type_info(item->type)->name, item->cols,
               gs_type_info(want)->block, gs_type_info(want)->name);
    item->stock = gs_format_find(item->type) != NULL;
    item->kept = kept >= 0;
}

static int refuse_requantizing(const struct gs_tensor *t, struct gs_err *err)
{
    return gs_fail(err, GS_E_ARG, "%s: tensor %s is %s, quantized already; its errors would add "
                   "up (--allow-requantize does it anyway)", t->file, t->name,
                   gs_type_info(t->type)->name);
}

static int classify(struct gs_plan *plan, const struct gs_lm *lm, struct gs_plan_item *item,
                    const struct gs_plan_options *options, struct gs_err *err)
{
    const struct gs_tensor *t = item->source;
    uint32_t n_layer = lm->config.n_layer;
    const struct linear *linear = find_linear(t->name, &item->il);
    bool tied = lm->model.output.data == lm->model.token_embd.data, native = true;
    size_t cuts[2];

    item->type = GS_TYPE_F32;
    item->rows = t->dim[1];
    item->cols = t->dim[0];
    if (linear) {
        item->input = linear->input;
        item->field = linear->field;
    } else {
        item->il = n_layer;
        item->input = !strcmp(t->name, "output.weight") || tied ? GS_INPUT_HEAD : GS_INPUT_EMBD;
        native = t->n_dims == 2 && (!strcmp(t->name, "token_embd.weight") ||
                                    !strcmp(t->name, "output.weight"));
    }
    if (!native)
        return GS_OK;
    find_cuts(lm, item, cuts);
    item->fused = cuts[0] != 0;
    if (plan->mix) {
        choose_type(plan, lm, item, options);
        return item->stock && gs_type_info(t->type)->quantized && !options->allow_requantize
                   ? refuse_requantizing(t, err) : GS_OK;
    }
    bool part = gs_recipe_has_codebook(plan->recipe);
    struct gs_err reason = {0};
    const char *why = part ? part_fits(plan, item, &reason) ? NULL : reason.msg
                           : misfit(plan, item, cuts);
    if (why) {
        item->type = GS_TYPE_F16;
        gs_log(GS_LOG_WARN, "tensor %s (%zu x %zu) stays F16: %s", t->name, item->cols,
               item->rows, why);
        return GS_OK;
    }
    if (gs_type_info(t->type)->quantized && !options->allow_requantize)
        return refuse_requantizing(t, err);
    item->native = !part;
    item->part = part;
    /* An embedding that is only looked up has no Hessian to balance its weights with. */
    item->rescaled = gs_recipe_fits_input(plan->recipe) && item->input != GS_INPUT_EMBD;
    item->mixes_rows = !is_head(item) && (part || !item->fused) &&
                       gs_transform_find(plan->recipe->transform_out)->apply_f32;
    return GS_OK;
}

/* Blocks upwards, then the model's own; within a block as the source has them, but those of
 * one input side by side. */
static int compare_items(const void *pa, const void *pb)
{
    const struct gs_plan_item *a = pa, *b = pb;

    if (a->il != b->il)
        return a->il < b->il ? -1 : 1;
    if (gs_plan_is_rounded(a) != gs_plan_is_rounded(b))
        return gs_plan_is_rounded(a) ? 1 : -1;
    if (gs_plan_is_rounded(a) && a->input != b->input)
        return a->input < b->input ? -1 : 1;
    return a->source < b->source ? -1 : a->source > b->source;
}

static GS_PRINTF(2, 3) const char *make_name(struct gs_plan *plan, const char *fmt, ...)
{
    char text[160];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return gs_arena_strndup(&plan->arena, text, strlen(text));
}

static int name_sides(struct gs_plan *plan, struct gs_plan_item *item, uint32_t index,
                      bool table, struct gs_err *err)
{
    const char *name = item->source->name;
    int base = (int)(strlen(name) - strlen(".weight"));
    const struct gs_plan_item *before = item > plan->items ? item - 1 : NULL;

    item->in_stream = item->il * 8 + item->input;
    item->out_stream = 0x80000000u + index;
    if (item->part)
        return GS_OK;
    item->scale = make_name(plan, "%.*s" GS_NATIVE_SCALE, base, name);
    if (table)
        item->table = make_name(plan, "%.*s" GS_NATIVE_TABLE, base, name);
    if (!item->scale || (table && !item->table))
        return gs_fail_nomem(err, "the plan");
    if (!item->rescaled)
        return GS_OK;
    if (before && before->native && before->il == item->il && before->input == item->input) {
        item->factor = before->factor;
        return GS_OK;
    }
    item->owns_factor = true;
    item->factor = is_head(item)
        ? make_name(plan, "%.*s" GS_NATIVE_FACTOR, base, name)
        : make_name(plan, "blk.%" PRIu32 ".%s" GS_NATIVE_FACTOR, item->il,
                    factor_names[item->input]);
    return item->factor ? GS_OK : gs_fail_nomem(err, "the plan");
}

/* ---- rates -------------------------------------------------------------------------------- */

static uint64_t codes_bytes(const struct gs_plan *plan, const struct gs_plan_item *item,
                            unsigned rate)
{
    uint64_t block_rows = (item->rows + plan->grid->block_rows - 1) / plan->grid->block_rows;

    return block_rows * ((uint64_t)rate * plan->grid->block_rows * item->cols / 64);
}

static unsigned head_rate(const struct gs_plan *plan, unsigned rate, unsigned extra)
{
    unsigned step = plan->grid->rate_step;

    return GS_MIN(rate + extra / step * step, plan->grid->rate_max);
}

static uint64_t total_codes(const struct gs_plan *plan, unsigned rate, unsigned extra)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].native)
            bytes += codes_bytes(plan, &plan->items[i], is_head(&plan->items[i])
                                 ? head_rate(plan, rate, extra) : rate);
    return bytes;
}

size_t gs_plan_side_bytes(const struct gs_plan_item *item)
{
    return gs_plan_scale_bytes(item) + (item->owns_factor ? gs_plan_factor_bytes(item) : 0) +
           (item->table ? GS_NATIVE_TABLE_BYTES : 0);
}

static uint64_t fixed_bytes(const struct gs_plan *plan)
{
    uint64_t bytes = 0, row;

    for (size_t i = 0; i < plan->n_items; i++) {
        const struct gs_plan_item *item = &plan->items[i];
        const struct gs_tensor *t = item->source;
        bytes += gs_plan_bias_bytes(item);
        if (item->native)
            bytes += gs_plan_side_bytes(item);
        else if (!item->part && !item->replaced &&
                 !gs_type_row_bytes(item->type, t->dim[0], &row, NULL))
            bytes += row * t->dim[1] * t->dim[2] * t->dim[3];
    }
    return bytes;
}

/* One step more for one matrix after another where it fits; true if it fitted somewhere. */
static bool spend_once(struct gs_plan *plan, uint64_t budget, uint64_t *spent)
{
    bool any = false;

    for (unsigned turn = 0; turn < TURNS; turn++)
        for (size_t i = 0; i < plan->n_items; i++) {
            struct gs_plan_item *item = &plan->items[i];
            unsigned next = item->rate + plan->grid->rate_step;
            uint32_t il;
            const struct linear *l = find_linear(item->source->name, &il);
            if (!item->native || !l || l->turn != turn || next > plan->grid->rate_max)
                continue;
            uint64_t more = codes_bytes(plan, item, next) - codes_bytes(plan, item, item->rate);
            if (*spent + more > budget)
                continue;
            *spent += more;
            item->rate = next;
            any = true;
        }
    return any;
}

static int set_rates(struct gs_plan *plan, double bpw, struct gs_err *err)
{
    const struct gs_grid *g = plan->grid;
    uint64_t fixed = fixed_bytes(plan);
    uint64_t budget = (uint64_t)(bpw * (double)plan->parameters / 8);
    uint64_t least = fixed + total_codes(plan, g->rate_min, 0);
    unsigned rate = g->rate_min, extra = (unsigned)lround(plan->recipe->head_bits * 8);

    if (least > budget)
        return gs_fail(err, GS_E_ARG, "%.3f bits a weight are too few: the least that this "
                       "model takes with grid %s is %.3f (%" PRIu64 " bytes)", bpw, g->name,
                       8 * (double)least / (double)plan->parameters, least);
    while (extra && fixed + total_codes(plan, rate, extra) > budget)
        extra--;
    while (rate + g->rate_step <= g->rate_max &&
           fixed + total_codes(plan, rate + g->rate_step, extra) <= budget)
        rate += g->rate_step;
    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].native)
            plan->items[i].rate = is_head(&plan->items[i]) ? head_rate(plan, rate, extra)
                                                           : rate;
    uint64_t spent = fixed + total_codes(plan, rate, extra);
    while (spend_once(plan, budget, &spent))
        ;
    return GS_OK;
}

/* ---- the output's tensors ----------------------------------------------------------------- */

static void add_tensor(struct gs_plan *plan, struct gs_tensor t)
{
    uint64_t row = 0;

    if (!gs_type_row_bytes(t.type, t.dim[0], &row, NULL))
        t.bytes = row * t.dim[1] * t.dim[2] * t.dim[3];
    plan->bytes += t.bytes;
    plan->tensors[plan->n_tensors++] = t;
}

static void add_vector(struct gs_plan *plan, const char *name, enum gs_type type, size_t n)
{
    add_tensor(plan, (struct gs_tensor){.name = name, .type = type, .n_dims = 1,
                                        .dim = {n, 1, 1, 1}});
}

/* Items in order, each followed by its scales, at the first that reads an input by that input's
 * factor, by its bias and by its table; at last the pieces of all blobs: native_file.c writes
 * them so. */
static int list_tensors(struct gs_plan *plan, struct gs_err *err)
{
    size_t pieces = 0;

    plan->tensors = gs_alloc(4 * plan->n_items + 1, sizeof *plan->tensors);
    if (!plan->tensors)
        return gs_fail_nomem(err, "the plan");
    for (size_t i = 0; i < plan->n_items; i++) {
        struct gs_plan_item *item = &plan->items[i];
        struct gs_tensor t = *item->source;
        if (item->replaced)
            continue;
        t.type = item->native || item->part ? GS_TYPE_I8 : item->type;
        if (item->part) {
            t.n_dims = 1;
            t.dim[0] = item->codes_bytes - item->pieces_bytes;
            pieces += item->pieces_bytes;
            t.dim[1] = 1;
        }
        if (item->native) {
            item->codes_bytes = (size_t)codes_bytes(plan, item, item->rate);
            item->codes_stride = (size_t)item->rate * plan->grid->block_rows * item->cols / 64;
            t.dim[0] = item->codes_stride;
            t.dim[1] = item->codes_bytes / item->codes_stride;
        }
        add_tensor(plan, t);
        if (item->stock) {
            item->codes_bytes = (size_t)plan->tensors[plan->n_tensors - 1].bytes;
            item->codes_stride = item->codes_bytes / item->rows;
        }
        if (item->native)
            add_vector(plan, item->scale, GS_TYPE_F16, item->rows);
        if (item->owns_factor)
            add_vector(plan, item->factor, GS_TYPE_F16, item->cols);
        if (item->bias)
            add_vector(plan, item->bias, GS_TYPE_F32, item->rows);
        if (item->table)
            add_vector(plan, item->table, GS_TYPE_I8, GS_NATIVE_TABLE_BYTES);
    }
    if (pieces)
        add_vector(plan, GS_PART_PIECES_TENSOR, GS_TYPE_I8, pieces);
    plan->bpw = 8 * (double)plan->bytes / (double)plan->parameters;
    return GS_OK;
}

int gs_plan_relist(struct gs_plan *plan, struct gs_err *err)
{
    gs_free(&plan->tensors);
    plan->n_tensors = 0;
    plan->bytes = 0;
    return list_tensors(plan, err);
}

int gs_plan_create(const struct gs_lm *lm, const struct gs_recipe *recipe,
                   const struct gs_plan_options *options, struct gs_plan *out,
                   struct gs_err *err)
{
    size_t n = gs_store_count(lm->store);
    int rc = GS_OK;

    *out = (struct gs_plan){.recipe = recipe, .grid = gs_grid_find(recipe->grid), .n_items = n,
                            .mix = options->mix};
    out->items = gs_alloc(n, sizeof *out->items);
    if (!out->items)
        return gs_fail_nomem(err, "the plan");
    if (lm->natives || lm->parts)
        rc = gs_fail(err, GS_E_UNSUPPORTED, "%s: is a native file; quantize its source",
                     gs_store_path(lm->store));
    for (size_t i = 0; !rc && i < n; i++) {
        const struct gs_tensor *t = gs_store_tensor(lm->store, i);
        out->items[i].source = t;
        out->parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        rc = classify(out, lm, &out->items[i], options, err);
    }
    if (options->parameters)
        out->parameters = options->parameters;
    if (!rc)
        qsort(out->items, n, sizeof *out->items, compare_items);
    for (size_t i = 0; !rc && i < n; i++) {
        if (out->items[i].part)
            rc = gs_plan_name_bias(out, lm, &out->items[i], err);
        if (!rc && (out->items[i].native || out->items[i].part))
            rc = name_sides(out, &out->items[i], (uint32_t)(out->n_native + out->n_part),
                            options->tables && out->grid->takes_table, err);
        out->n_native += out->items[i].native;
        out->n_part += out->items[i].part;
    }
    for (size_t i = 0; !rc && i < n; i++)
        out->n_stock += out->items[i].stock;
    if (!rc && !out->n_native && !out->n_part && !out->n_stock)
        rc = gs_fail(err, GS_E_UNSUPPORTED, "%s: no matrix fits %s", gs_store_path(lm->store),
                     out->mix ? gs_mix_name(out->mix)
                     : gs_recipe_has_codebook(recipe) ? recipe->part.codebook : recipe->grid);
    if (!rc)
        rc = gs_keeps_check(options->keeps, err);
    if (!rc && out->n_part)
        rc = gs_plan_set_specs(out, options->bpw, fixed_bytes(out), err);
    else if (!rc && !out->mix)
        rc = set_rates(out, options->bpw, err);
    if (!rc)
        rc = list_tensors(out, err);
    if (rc)
        gs_plan_clear(out);
    return rc;
}

void gs_plan_clear(struct gs_plan *plan)
{
    gs_free(&plan->items);
    gs_free(&plan->tensors);
    gs_arena_clear(&plan->arena);
}
