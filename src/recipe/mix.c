/* SPDX-License-Identifier: MIT
 * The table of mixes. A rule gives a role another type where its condition holds; the first
 * that does is taken. */
#include "recipe/mix.h"

#include <string.h>
#include <strings.h>

enum role { NONE, V, K, Q, OUT, GATE, UP, DOWN, EMBD };

/* Tensors by the end of their names. A fused q, k, v counts as v. */
static const struct { const char *tail; enum role role; } roles[] = {
    {"attn_qkv.weight", V},        {"attn_v.weight", V},       {"attn_k.weight", K},
    {"attn_q.weight", Q},          {"attn_output.weight", OUT}, {"ffn_gate.weight", GATE},
    {"ffn_up.weight", UP},         {"ffn_down.weight", DOWN},   {"token_embd.weight", EMBD},
};

enum when {
    ALWAYS,
    GQA,        /* at least 4 query heads share a key-value head */
    FIRST_2, FIRST_4, FIRST_8TH, FIRST_16TH, /* of the blocks */
    MIDDLE,     /* all but the first and the last eighth */
    MORE_BITS   /* the first and the last eighth, and every third between */
};

static bool holds(enum when when, const struct gs_mix_place *p)
{
    uint32_t i = p->il, n = p->n_layer;

    const bool is[] = {
        [ALWAYS] = true,
        [GQA] = p->gqa >= 4,
        [FIRST_2] = i < 2,
        [FIRST_4] = i < 4,
        [FIRST_8TH] = i < n / 8,
        [FIRST_16TH] = i < n / 16,
        [MIDDLE] = i >= n / 8 && i < 7 * n / 8,
        [MORE_BITS] = i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2,
    };
    return is[when];
}

#define RULES_MAX 6

struct gs_mix {
    const char *name;
    uint32_t file_type; /* of llama.h */
    enum gs_type base, head;
    struct { enum role role; enum when when; enum gs_type type; } rules[RULES_MAX];
};

#define T(name) GS_TYPE_##name
#define NO_RULES {{NONE, ALWAYS, T(F32)}}
/* Rules of the mixes below 3 bits: for blocks that decide much. */
#define LOW(type) {V, GQA, T(Q4_K)}, {V, ALWAYS, T(type)}, {DOWN, FIRST_8TH, T(type)}

static const struct gs_mix mixes[] = {
    {"Q8_0", 7, T(Q8_0), T(Q8_0), NO_RULES},
    {"Q6_K", 18, T(Q6_K), T(Q6_K), NO_RULES},
    {"Q5_1", 9, T(Q5_1), T(Q6_K), NO_RULES},
    {"Q5_0", 8, T(Q5_0), T(Q6_K), {{DOWN, FIRST_8TH, T(Q5_1)}}},
    {"Q5_K_M", 17, T(Q5_K), T(Q6_K), {{V, MORE_BITS, T(Q6_K)}, {DOWN, MORE_BITS, T(Q6_K)}}},
    {"Q5_K_S", 16, T(Q5_K), T(Q6_K), NO_RULES},
    {"Q5_K", 17, T(Q5_K), T(Q6_K), {{V, MORE_BITS, T(Q6_K)}, {DOWN, MORE_BITS, T(Q6_K)}}},
    {"Q4_1", 3, T(Q4_1), T(Q6_K), NO_RULES},
    {"Q4_0", 2, T(Q4_0), T(Q6_K), {{DOWN, FIRST_8TH, T(Q4_1)}}},
    {"Q4_K_M", 15, T(Q4_K), T(Q6_K), {{V, MORE_BITS, T(Q6_K)}, {DOWN, MORE_BITS, T(Q6_K)}}},
    {"Q4_K_S", 14, T(Q4_K), T(Q6_K), {{V, FIRST_4, T(Q5_K)}, {DOWN, FIRST_8TH, T(Q5_K)}}},
    {"Q4_K", 15, T(Q4_K), T(Q6_K), {{V, MORE_BITS, T(Q6_K)}, {DOWN, MORE_BITS, T(Q6_K)}}},
    {"IQ4_NL", 25, T(IQ4_NL), T(Q6_K), {{V, GQA, T(Q5_K)}}},
    {"IQ4_XS", 30, T(IQ4_XS), T(Q6_K), {{V, GQA, T(Q5_K)}}},
    {"MXFP4", 38, T(MXFP4), T(Q6_K), NO_RULES},
    {"NVFP4", 39, T(NVFP4), T(Q6_K), NO_RULES},
    {"Q3_K_L", 13, T(Q3_K), T(Q6_K),
     {{V, ALWAYS, T(Q5_K)}, {DOWN, ALWAYS, T(Q5_K)}, {OUT, ALWAYS, T(Q5_K)}}},
    {"Q3_K_M", 12, T(Q3_K), T(Q6_K),
     {{V, FIRST_2, T(Q5_K)}, {V, ALWAYS, T(Q4_K)}, {DOWN, FIRST_16TH, T(Q5_K)},
      {DOWN, ALWAYS, T(Q4_K)}, {OUT, ALWAYS, T(Q4_K)}}},
    {"Q3_K_S", 11, T(Q3_K), T(Q6_K), NO_RULES},
    {"Q3_K", 12, T(Q3_K), T(Q6_K),
     {{V, FIRST_2, T(Q5_K)}, {V, ALWAYS, T(Q4_K)}, {DOWN, FIRST_16TH, T(Q5_K)},
      {DOWN, ALWAYS, T(Q4_K)}, {OUT, ALWAYS, T(Q4_K)}}},
    {"IQ3_M", 27, T(IQ3_S), T(Q6_K),
     {{V, ALWAYS, T(Q4_K)}, {DOWN, FIRST_8TH, T(Q4_K)}, {OUT, ALWAYS, T(Q4_K)}}},
    {"IQ3_S", 26, T(IQ3_S), T(Q6_K), {{V, GQA, T(Q4_K)}}},
    {"IQ3_XS", 22, T(IQ3_S), T(Q6_K),
     {{V, GQA, T(Q4_K)}, {K, ALWAYS, T(IQ3_XXS)}, {Q, ALWAYS, T(IQ3_XXS)},
      {GATE, MIDDLE, T(IQ3_XXS)}, {UP, MIDDLE, T(IQ3_XXS)}}},
    {"IQ3_XXS", 23, T(IQ3_XXS), T(Q5_K),
     {{EMBD, ALWAYS, T(IQ3_S)}, {V, GQA, T(Q4_K)}, {K, ALWAYS, T(IQ2_S)},
      {Q, ALWAYS, T(IQ2_S)}, {OUT, ALWAYS, T(IQ3_S)}}},
    {"Q2_K", 10, T(Q2_K), T(Q6_K),
     {{V, GQA, T(Q4_K)}, {V, ALWAYS, T(Q3_K)}, {DOWN, ALWAYS, T(Q3_K)},
      {OUT, ALWAYS, T(Q3_K)}}},
    {"Q2_K_S", 21, T(Q2_K), T(Q6_K), {{V, GQA, T(Q4_K)}, {DOWN, FIRST_8TH, T(Q4_K)}}},
    {"IQ2_M", 29, T(IQ2_S), T(Q5_K),
     {{EMBD, ALWAYS, T(IQ3_S)}, LOW(IQ3_S), {OUT, ALWAYS, T(IQ3_S)}}},
    {"IQ2_S", 28, T(IQ2_XS), T(Q5_K),
     {{EMBD, ALWAYS, T(IQ3_S)}, LOW(IQ3_S), {OUT, ALWAYS, T(IQ3_S)}}},
    {"IQ2_XS", 20, T(IQ2_XS), T(Q5_K), {{EMBD, ALWAYS, T(Q2_K)}, LOW(Q2_K)}},
    {"IQ2_XXS", 19, T(IQ2_XXS), T(Q5_K), {{EMBD, ALWAYS, T(Q2_K)}, LOW(Q2_K)}},
    {"Q2_0", 41, T(Q2_0), T(Q6_K), {{EMBD, ALWAYS, T(Q4_K)}}},
    {"TQ2_0", 37, T(TQ2_0), T(Q6_K), {{EMBD, ALWAYS, T(Q4_K)}}},
    {"TQ1_0", 36, T(TQ1_0), T(Q6_K), {{EMBD, ALWAYS, T(Q4_K)}}},
    {"IQ1_M", 31, T(IQ1_M), T(Q5_K),
     {{EMBD, ALWAYS, T(Q2_K)}, LOW(Q2_K), {OUT, ALWAYS, T(IQ2_XXS)}}},
    {"IQ1_S", 24, T(IQ1_S), T(Q5_K),
     {{EMBD, ALWAYS, T(Q2_K)}, LOW(Q2_K), {OUT, ALWAYS, T(IQ2_XXS)}}},
    {"Q1_0", 40, T(Q1_0), T(Q6_K), NO_RULES},
};

/* What takes the place of a type whose blocks do not divide a row. */
static const struct { enum gs_type type, instead; } fallbacks[] = {
    {T(IQ1_S), T(IQ4_NL)},   {T(IQ1_M), T(IQ4_NL)}, {T(IQ2_XXS), T(IQ4_NL)},
    {T(IQ2_XS), T(IQ4_NL)},  {T(IQ2_S), T(IQ4_NL)}, {T(IQ3_XXS), T(IQ4_NL)},
    {T(IQ3_S), T(IQ4_NL)},   {T(IQ4_XS), T(IQ4_NL)}, {T(Q2_0), T(Q4_0)},
    {T(Q2_K), T(Q4_0)},      {T(Q3_K), T(Q4_0)},    {T(TQ1_0), T(Q4_0)},
    {T(TQ2_0), T(Q4_0)},     {T(Q1_0), T(Q4_0)},    {T(NVFP4), T(MXFP4)},
    {T(Q4_K), T(Q5_0)},      {T(Q5_K), T(Q5_1)},    {T(Q6_K), T(Q8_0)},
};

const struct gs_mix *gs_mix_at(size_t index)
{
    return index < GS_COUNT(mixes) ? &mixes[index] : NULL;
}

const struct gs_mix *gs_mix_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(mixes); i++)
        if (!strcasecmp(mixes[i].name, name))
            return &mixes[i];
    return NULL;
}

const char *gs_mix_name(const struct gs_mix *mix)
{
    return mix->name;
}

uint32_t gs_mix_file_type(const struct gs_mix *mix)
{
    return mix->file_type;
}

enum gs_type gs_mix_base(const struct gs_mix *mix)
{
    return mix->base;
}

static bool fits(enum gs_type type, uint64_t cols)
{
    return cols % gs_type_info(type)->block == 0;
}

static enum role role_of(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < GS_COUNT(roles); i++) {
        size_t m = strlen(roles[i].tail);
        if (n >= m && !strcmp(name + n - m, roles[i].tail) && (n == m || name[n - m - 1] == '.'))
            return roles[i].role;
    }
    return NONE;
}

enum gs_type gs_mix_type(const struct gs_mix *mix, const struct gs_mix_place *place)
{
    enum role role = role_of(place->name);

    if (place->head)
        return fits(mix->base, place->cols) ? mix->head : GS_TYPE_Q8_0;
    for (size_t i = 0; i < RULES_MAX && mix->rules[i].role != NONE; i++)
        if (mix->rules[i].role == role && holds(mix->rules[i].when, place))
            return mix->rules[i].type;
    return mix->base;
}

enum gs_type gs_mix_fallback(enum gs_type type, uint64_t cols)
{
    while (!fits(type, cols)) {
        size_t i = 0;
        while (i < GS_COUNT(fallbacks) && fallbacks[i].type != type)
            i++;
        type = i < GS_COUNT(fallbacks) ? fallbacks[i].instead : GS_TYPE_F16;
    }
    return type;
}
