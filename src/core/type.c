/* SPDX-License-Identifier: MIT */
#include "core/type.h"

#include <inttypes.h>
#include <strings.h>

static const struct gs_type_info types[GS_TYPE_COUNT] = {
    [GS_TYPE_F32] = {"F32", 1, 4, false},
    [GS_TYPE_F16] = {"F16", 1, 2, false},
    [GS_TYPE_BF16] = {"BF16", 1, 2, false},
    [GS_TYPE_F64] = {"F64", 1, 8, false},
    [GS_TYPE_I8] = {"I8", 1, 1, false},
    [GS_TYPE_I16] = {"I16", 1, 2, false},
    [GS_TYPE_I32] = {"I32", 1, 4, false},
    [GS_TYPE_I64] = {"I64", 1, 8, false},
    [GS_TYPE_Q4_0] = {"Q4_0", 32, 18, true},
    [GS_TYPE_Q4_1] = {"Q4_1", 32, 20, true},
    [GS_TYPE_Q5_0] = {"Q5_0", 32, 22, true},
    [GS_TYPE_Q5_1] = {"Q5_1", 32, 24, true},
    [GS_TYPE_Q8_0] = {"Q8_0", 32, 34, true},
    [GS_TYPE_Q8_1] = {"Q8_1", 32, 36, true},
    [GS_TYPE_Q2_K] = {"Q2_K", 256, 84, true},
    [GS_TYPE_Q3_K] = {"Q3_K", 256, 110, true},
    [GS_TYPE_Q4_K] = {"Q4_K", 256, 144, true},
    [GS_TYPE_Q5_K] = {"Q5_K", 256, 176, true},
    [GS_TYPE_Q6_K] = {"Q6_K", 256, 210, true},
    [GS_TYPE_Q8_K] = {"Q8_K", 256, 292, true},
    [GS_TYPE_IQ1_S] = {"IQ1_S", 256, 50, true},
    [GS_TYPE_IQ1_M] = {"IQ1_M", 256, 56, true},
    [GS_TYPE_IQ2_XXS] = {"IQ2_XXS", 256, 66, true},
    [GS_TYPE_IQ2_XS] = {"IQ2_XS", 256, 74, true},
    [GS_TYPE_IQ2_S] = {"IQ2_S", 256, 82, true},
    [GS_TYPE_IQ3_XXS] = {"IQ3_XXS", 256, 98, true},
    [GS_TYPE_IQ3_S] = {"IQ3_S", 256, 110, true},
    [GS_TYPE_IQ4_XS] = {"IQ4_XS", 256, 136, true},
    [GS_TYPE_IQ4_NL] = {"IQ4_NL", 32, 18, true},
    [GS_TYPE_TQ1_0] = {"TQ1_0", 256, 54, true},
    [GS_TYPE_TQ2_0] = {"TQ2_0", 256, 66, true},
    [GS_TYPE_MXFP4] = {"MXFP4", 32, 17, true},
    [GS_TYPE_NVFP4] = {"NVFP4", 64, 36, true},
    [GS_TYPE_Q1_0] = {"Q1_0", 128, 18, true},
    [GS_TYPE_Q2_0] = {"Q2_0", 64, 18, true},
};

const struct gs_type_info *gs_type_info(uint32_t type)
{
    return type < GS_TYPE_COUNT && types[type].name ? &types[type] : NULL;
}

int gs_type_find(const char *name)
{
    for (int i = 0; i < GS_TYPE_COUNT; i++)
        if (types[i].name && !strcasecmp(types[i].name, name))
            return i;
    return -1;
}

int gs_type_row_bytes(enum gs_type type, uint64_t n, uint64_t *bytes, struct gs_err *err)
{
    const struct gs_type_info *info = gs_type_info(type);

    if (!info)
        return gs_fail(err, GS_E_FORMAT, "type %d is unknown", (int)type);
    if (n % info->block)
        return gs_fail(err, GS_E_FORMAT,
                       "row length %" PRIu64 " is no multiple of the %" PRIu32
                       " weights in a block of %s", n, info->block, info->name);
    if (!gs_mul_ok(n / info->block, info->bytes, bytes))
        return gs_fail(err, GS_E_FORMAT, "row length %" PRIu64 " overflows", n);
    return GS_OK;
}
