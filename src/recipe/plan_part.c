/* SPDX-License-Identifier: MIT
 * Bits of matrices of parts. A recipe says how many its codebook has; a budget may ask for
 * more or fewer where the codebook has a key `bits`. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"
#include "recipe/plan.h"

static bool is_head(const struct gs_plan_item *item)
{
    return item->input >= GS_INPUT_HEAD;
}

const struct gs_part_spec *gs_plan_spec(const struct gs_plan *plan,
                                        const struct gs_plan_item *item)
{
    return is_head(item) ? &plan->head_spec : &plan->spec;
}

/* ---- biases ------------------------------------------------------------------------------- */

static const struct {
    size_t matrix, bias;
    enum gs_tensor_slot slot;
} biases[] = {
#define ROW(field)                                                                     \
    {offsetof(struct gs_block_weights, field), offsetof(struct gs_block_weights, field##_b), \
     GS_SLOT_##field##_b}
    ROW(attn_qkv), ROW(attn_q), ROW(attn_k), ROW(attn_v),
    ROW(attn_output), ROW(ffn_gate), ROW(ffn_up), ROW(ffn_down),
#undef ROW
};

static size_t find_bias(const struct gs_plan_item *item)
{
    size_t i = 0;

    while (biases[i].matrix != item->field)
        i++;
    return i;
}

const float **gs_plan_bias_field(struct gs_block_weights *w, const struct gs_plan_item *item)
{
    return (const float **)(void *)((char *)w + biases[find_bias(item)].bias);
}

int gs_plan_name_bias(struct gs_plan *plan, const struct gs_lm *lm, struct gs_plan_item *item,
                      struct gs_err *err)
{
    const struct gs_arch *arch = lm->config.arch;
    bool gate_up = item->fused && item->field == offsetof(struct gs_block_weights, ffn_up);
    const char *name = item->source->name;
    size_t base = strlen(name) - strlen("weight");
    char text[160];

    if (!item->part || is_head(item) || !gs_part_corrects(&plan->recipe->part) || gate_up ||
        !((arch->need | arch->may) >> biases[find_bias(item)].slot & 1))
        return GS_OK;
    snprintf(text, sizeof text, "%.*sbias", (int)base, name);
    item->bias = gs_arena_strndup(&plan->arena, text, strlen(text));
    if (!item->bias)
        return gs_fail_nomem(err, "the plan");
    item->source_bias = gs_store_find(lm->store, text);
    for (size_t i = 0; item->source_bias && i < plan->n_items; i++)
        if (plan->items[i].source == item->source_bias)
            plan->items[i].replaced = true;
    return GS_OK;
}

/* ---- bytes -------------------------------------------------------------------------------- */

const char *gs_plan_transform_in(const struct gs_plan *plan, const struct gs_plan_item *item)
{
    const char *name = plan->recipe->transform_in;

    return gs_transform_find(name)->needs_fit && !item->rescaled ? "none" : name;
}

int gs_plan_part_bytes(const struct gs_plan *plan, const struct gs_plan_item *item,
                       const struct gs_part_spec *spec, uint64_t *bytes, struct gs_err *err)
{
    return gs_part_bytes(spec, item->rows, item->cols, gs_plan_transform_in(plan, item),
                         item->mixes_rows ? plan->recipe->transform_out : "none",
                         item->rescaled, bytes, NULL, err);
}

const struct gs_codebook_key *gs_plan_codebook_bits(const char *text)
{
    char name[GS_PART_TEXT];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, ":"), text);
    const struct gs_codebook_kind *kind = gs_codebook_find(name);
    for (const struct gs_codebook_key *k = kind ? kind->keys : NULL; k && k->name; k++)
        if (!strcmp(k->name, "bits"))
            return k;
    return NULL;
}

/* Where the text says "bits=…", behind the '='; NULL if it does not. */
static const char *bits_at(const char *text)
{
    for (const char *p = text; (p = strpbrk(p, ":,")); )
        if (!strncmp(++p, "bits=", 5))
            return p + 5;
    return NULL;
}

static double get_bits(const char *text)
{
    const char *at = bits_at(text);
    double bits = 0;

    if (at && sscanf(at, "%lf", &bits) == 1)
        return bits;
    return gs_plan_codebook_bits(text) ? gs_plan_codebook_bits(text)->value : 0;
}

double gs_plan_bits_step(const struct gs_codebook_key *key)
{
    return key->integer ? 1 : 0.125;
}

void gs_plan_set_codebook_bits(struct gs_part_spec *spec, double bits)
{
    char text[GS_PART_TEXT];
    const char *at = bits_at(spec->codebook);
    int head = at ? (int)(at - spec->codebook) : (int)strlen(spec->codebook);

    snprintf(text, sizeof text, "%.*s%s%.10g%s", head, spec->codebook,
             at ? "" : strchr(spec->codebook, ':') ? ",bits=" : ":bits=", bits,
             at ? at + strcspn(at, ",") : "");
    memcpy(spec->codebook, text, sizeof text);
}

/* As many more bits for embedding and head as there can be: not every number goes with the
 * other keys. */
static void raise_head(struct gs_plan *plan, const struct gs_codebook_key *key, long extra)
{
    double base = get_bits(plan->spec.codebook);

    for (; extra >= 0; extra--) {
        gs_plan_set_codebook_bits(&plan->head_spec, GS_MIN(base + (double)extra, key->high));
        if (!gs_part_check(&plan->head_spec, NULL))
            return;
    }
    plan->head_spec = plan->spec;
}

static int count_pieces(const struct gs_plan *plan, struct gs_plan_item *item,
                        struct gs_err *err)
{
    struct gs_part_facts facts;
    int rc = gs_part_spec_facts(gs_plan_spec(plan, item), item->rows, item->cols, &facts, err);

    item->pieces = facts.pieces;
    item->pieces_bytes = 0;
    for (unsigned k = 1; !rc && k < facts.pieces; k++)
        item->pieces_bytes += (size_t)facts.piece[k].bytes;
    return rc;
}

/* The specs with so many bits in blocks (0: as the recipe says); the bytes of all blobs. */
static int try_bits(struct gs_plan *plan, double bits, uint64_t *total, struct gs_err *err)
{
    const struct gs_codebook_key *key = gs_plan_codebook_bits(plan->recipe->part.codebook);
    int rc = GS_OK;

    plan->spec = plan->head_spec = gs_recipe_part(plan->recipe);
    if (bits > 0)
        gs_plan_set_codebook_bits(&plan->spec, bits);
    if (key)
        raise_head(plan, key, lround(plan->recipe->head_bits));
    if (plan->spec.rate > 0) /* a bit more is a quarter of the error */
        plan->head_spec.rate = plan->spec.rate * exp2(-2 * plan->recipe->head_bits);
    *total = 0;
    for (size_t i = 0; !rc && i < plan->n_items; i++) {
        struct gs_plan_item *item = &plan->items[i];
        uint64_t bytes = 0;
        if (!item->part)
            continue;
        rc = gs_plan_part_bytes(plan, item, gs_plan_spec(plan, item), &bytes, err);
        item->codes_bytes = item->codes_stride = (size_t)bytes;
        if (!rc)
            rc = count_pieces(plan, item, err);
        *total += bytes;
    }
    return rc;
}

static int refuse_budget(const struct gs_plan *plan, double bpw, uint64_t least,
                         struct gs_err *err)
{
    return gs_fail(err, GS_E_ARG, "%.3f bits a weight are too few: the least that this model "
                   "takes with codebook %s is %.3f (%" PRIu64 " bytes)", bpw,
                   plan->spec.codebook, 8 * (double)least / (double)plan->parameters, least);
}

int gs_plan_set_specs(struct gs_plan *plan, double bpw, uint64_t fixed, struct gs_err *err)
{
    const struct gs_codebook_key *key = gs_plan_codebook_bits(plan->recipe->part.codebook);
    uint64_t budget = (uint64_t)(bpw * (double)plan->parameters / 8), total = 0, least = 0;
    int rc;

    if (!(bpw > 0) || !key) {
        rc = try_bits(plan, 0, &total, err);
        return rc || !(bpw > 0) || fixed + total <= budget
                   ? rc : refuse_budget(plan, bpw, fixed + total, err);
    }
    for (double bits = key->high; bits >= key->low; bits -= gs_plan_bits_step(key)) {
        /* Not every number goes with the other keys. */
        if (!(rc = try_bits(plan, bits, &total, NULL)) && fixed + total <= budget)
            return GS_OK;
        if (rc == GS_E_NOMEM)
            return gs_fail_nomem(err, "the plan");
        if (!rc)
            least = fixed + total;
    }
    return least ? refuse_budget(plan, bpw, least, err) : try_bits(plan, 0, &total, err);
}
