/* SPDX-License-Identifier: MIT
 * The list of codebooks, and what is the same for all of them: checks at the border, the count
 * of bits, and codes in bytes. */
#include "codebook/codebook.h"

#include <assert.h>
#include <string.h>

#include "codebook/members.h"
#include "core/alloc.h"

static const struct gs_codebook_kind *const kinds[] = {
    &gs_codebook_uniform,
    &gs_codebook_float,
    &gs_codebook_quantile,
    &gs_codebook_lloyd,
    &gs_codebook_dynamic,
    &gs_codebook_posit,
    &gs_codebook_ternary,
    &gs_codebook_binary,
    &gs_codebook_mx,
    &gs_codebook_bfp,
    &gs_codebook_minifloat,
    &gs_codebook_blocklog,
    &gs_codebook_residual,
    &gs_codebook_nested,
    &gs_codebook_dual,
    &gs_codebook_power,
    &gs_codebook_kmeans,
    &gs_codebook_choice,
    &gs_codebook_e8p,
    &gs_codebook_vector,
    &gs_codebook_product,
    &gs_codebook_additive,
    &gs_codebook_fsq,
    &gs_codebook_pyramid,
};

const struct gs_codebook_kind *gs_codebook_at(size_t index)
{
    return index < GS_COUNT(kinds) ? kinds[index] : NULL;
}

const struct gs_codebook_kind *gs_codebook_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(kinds); i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

void gs_codebook_destroy(struct gs_codebook **codebook)
{
    if (!*codebook)
        return;
    if ((*codebook)->kind->destroy)
        (*codebook)->kind->destroy(*codebook);
    gs_free(codebook);
}

int gs_codebook_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                      struct gs_err *err)
{
    if (!codebook->kind->learn)
        return GS_OK;
    return codebook->kind->learn(codebook, data, err);
}

void gs_codebook_write(const struct gs_codebook *codebook, uint8_t *dst)
{
    if (codebook->kind->write)
        codebook->kind->write(codebook, dst);
}

int gs_codebook_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
{
    return codebook->kind->read ? codebook->kind->read(codebook, src, err) : GS_OK;
}

void gs_codebook_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                     const float *x, const float *h, size_t n, float *table,
                     struct gs_group *out)
{
    assert(n > 0 && n % codebook->dim == 0);
    assert(table || !codebook->table_floats);
    *out = (struct gs_group){.scale = 1};
    codebook->kind->fit(codebook, rule, x, h, n, table, out);
}

uint64_t gs_codebook_nearest(const struct gs_codebook *codebook, const struct gs_group *group,
                             const float *x, const float *h, float *y)
{
    return codebook->kind->nearest(codebook, group, x, h, y);
}

void gs_codebook_value(const struct gs_codebook *codebook, const struct gs_group *group,
                       uint64_t code, float *y)
{
    codebook->kind->value(codebook, group, code, y);
}

void gs_codebook_value_cut(const struct gs_codebook *codebook, const struct gs_group *group,
                           uint64_t code, unsigned layers, float *y)
{
    assert(layers >= 1 && layers <= codebook->layers);
    codebook->kind->value_cut(codebook, group, code, layers, y);
}

uint64_t gs_codebook_group_bits(const struct gs_codebook *codebook,
                                const struct gs_scale_rule *rule)
{
    uint64_t zero_bits = codebook->zero_bits ? codebook->zero_bits : rule->bits;

    return (codebook->has_scale ? rule->bits : 0) + (codebook->has_zero ? zero_bits : 0) +
           codebook->choice_bits + UINT64_C(16) * codebook->table_floats;
}

/* ---- codes in bytes ----------------------------------------------------------------------- */

uint64_t gs_codebook_code_bits(const struct gs_codebook *codebook, uint64_t n)
{
    assert(n % codebook->dim == 0);
    uint64_t codes = n / codebook->dim;
    uint64_t words = codes / codebook->pack_codes + (codes % codebook->pack_codes != 0);

    return words * codebook->pack_bits;
}

/* A stream of bits, lowest of the lowest byte first. dst must be zero. */
static void put_bits(uint8_t *dst, uint64_t at, unsigned bits, uint64_t value)
{
    for (unsigned done = 0; done < bits;) {
        unsigned shift = (unsigned)((at + done) % 8);
        dst[(at + done) / 8] |= (uint8_t)(value >> done << shift);
        done += 8 - shift;
    }
}

static uint64_t get_bits(const uint8_t *src, uint64_t at, unsigned bits)
{
    uint64_t value = 0;

    for (unsigned done = 0; done < bits;) {
        unsigned shift = (unsigned)((at + done) % 8);
        value |= (uint64_t)(src[(at + done) / 8] >> shift) << done;
        done += 8 - shift;
    }
    return bits < 64 ? value & ((UINT64_C(1) << bits) - 1) : value;
}

/* A word counts to the base `states`, the first code being its lowest digit. */
void gs_codebook_pack(const struct gs_codebook *codebook, const uint64_t *codes, size_t n,
                      uint8_t *dst)
{
    size_t count = n / codebook->dim, group = codebook->pack_codes;
    uint64_t bits = gs_codebook_code_bits(codebook, n), at = 0;

    memset(dst, 0, (size_t)((bits + 7) / 8));
    for (size_t i = 0; i < count; i += group, at += codebook->pack_bits) {
        uint64_t word = 0;
        for (size_t j = GS_MIN(i + group, count); j-- > i;) {
            assert(!codebook->states || codes[j] < codebook->states);
            word = word * codebook->states + codes[j];
        }
        put_bits(dst, at, codebook->pack_bits, word);
    }
}

void gs_codebook_unpack(const struct gs_codebook *codebook, const uint8_t *src, size_t n,
                        uint64_t *codes)
{
    size_t count = n / codebook->dim, group = codebook->pack_codes;
    uint64_t states = codebook->states, at = 0;

    for (size_t i = 0; i < count; i += group, at += codebook->pack_bits) {
        uint64_t word = get_bits(src, at, codebook->pack_bits);
        for (size_t j = i; j < GS_MIN(i + group, count); j++) {
            bool last = j + 1 == i + group; /* the only digit that can be too large */
            codes[j] = !states ? word : !last ? word % states : GS_MIN(word, states - 1);
            word = last ? 0 : word / states;
        }
    }
}

/* Where the bits of a layer lie in a code. */
static unsigned layer_shift(const struct gs_codebook *codebook, unsigned layer)
{
    unsigned shift = 0;

    assert(layer < codebook->layers);
    for (unsigned i = 0; i < layer; i++)
        shift += codebook->layer_bits[i];
    return shift;
}

void gs_codebook_pack_layer(const struct gs_codebook *codebook, unsigned layer,
                            const uint64_t *codes, size_t n, uint8_t *dst)
{
    unsigned shift = layer_shift(codebook, layer), bits = codebook->layer_bits[layer];
    uint64_t mask = (UINT64_C(1) << bits) - 1;

    memset(dst, 0, (n * bits + 7) / 8);
    for (size_t i = 0; i < n; i++)
        put_bits(dst, (uint64_t)i * bits, bits, codes[i] >> shift & mask);
}

void gs_codebook_unpack_layer(const struct gs_codebook *codebook, unsigned layer,
                              const uint8_t *src, size_t n, uint64_t *codes)
{
    unsigned shift = layer_shift(codebook, layer), bits = codebook->layer_bits[layer];

    for (size_t i = 0; i < n; i++)
        codes[i] |= get_bits(src, (uint64_t)i * bits, bits) << shift;
}
