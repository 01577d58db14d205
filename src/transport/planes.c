/* SPDX-License-Identifier: MIT
 * What a block of each storage type is made of (kernels/blocks.h), as the widths of its parts.
 *
 * A part of up to 12 bytes holds numbers or packed scales: each of its bytes is a field of its
 * own, the last first, because in little-endian numbers the last byte says most and serves the
 * one before it as context. A longer part is an array of codes: one field. */
#include "transport/chunk.h"

#include "core/type.h"

#define SMALL 12

static const struct {
    enum gs_type type;
    uint16_t widths[6]; /* 0 ends them */
} parts[] = {
    {GS_TYPE_F32, {4}},
    {GS_TYPE_F16, {2}},
    {GS_TYPE_BF16, {2}},
    {GS_TYPE_F64, {8}},
    {GS_TYPE_I8, {1}},
    {GS_TYPE_I16, {2}},
    {GS_TYPE_I32, {4}},
    {GS_TYPE_I64, {8}},
    {GS_TYPE_Q4_0, {2, 16}},
    {GS_TYPE_Q4_1, {2, 2, 16}},
    {GS_TYPE_Q5_0, {2, 4, 16}},
    {GS_TYPE_Q5_1, {2, 2, 4, 16}},
    {GS_TYPE_Q8_0, {2, 32}},
    {GS_TYPE_Q8_1, {2, 2, 32}},
    {GS_TYPE_Q1_0, {2, 16}},
    {GS_TYPE_Q2_0, {2, 16}},
    {GS_TYPE_MXFP4, {1, 16}},
    {GS_TYPE_NVFP4, {4, 32}},
    {GS_TYPE_Q2_K, {16, 64, 2, 2}},
    {GS_TYPE_Q3_K, {32, 64, 12, 2}},
    {GS_TYPE_Q4_K, {2, 2, 12, 128}},
    {GS_TYPE_Q5_K, {2, 2, 12, 32, 128}},
    {GS_TYPE_Q6_K, {128, 64, 16, 2}},
    {GS_TYPE_Q8_K, {4, 256, 32}},
    {GS_TYPE_TQ1_0, {48, 4, 2}},
    {GS_TYPE_TQ2_0, {64, 2}},
    {GS_TYPE_IQ2_XXS, {2, 64}},
    {GS_TYPE_IQ2_XS, {2, 64, 8}},
    {GS_TYPE_IQ2_S, {2, 32, 32, 8, 8}},
    {GS_TYPE_IQ3_XXS, {2, 64, 32}},
    {GS_TYPE_IQ3_S, {2, 64, 8, 32, 4}},
    {GS_TYPE_IQ1_S, {2, 32, 16}},
    {GS_TYPE_IQ1_M, {32, 16, 8}},
    {GS_TYPE_IQ4_NL, {2, 16}},
    {GS_TYPE_IQ4_XS, {2, 2, 4, 128}},
};

static void add_field(struct gs_layout *layout, uint32_t offset, uint32_t count, bool continues)
{
    layout->fields[layout->n_fields++] = (struct gs_field){
        .offset = (uint16_t)offset, .count = (uint16_t)count, .continues = continues};
}

bool gs_layout_get(uint32_t number, struct gs_layout *out)
{
    *out = (struct gs_layout){.block = 0};
    if (number == GS_LAYOUT_BYTES) {
        out->block = 1;
        add_field(out, 0, 1, false);
        return true;
    }
    for (size_t i = 0; i < GS_COUNT(parts); i++) {
        if (parts[i].type != number)
            continue;
        for (const uint16_t *w = parts[i].widths;
             w < parts[i].widths + GS_COUNT(parts[i].widths) && *w; w++) {
            for (uint32_t k = *w; *w <= SMALL && k-- > 0;)
                add_field(out, out->block + k, 1, k + 1 < *w);
            if (*w > SMALL)
                add_field(out, out->block, *w, false);
            out->block += *w;
        }
        return true;
    }
    return false;
}
