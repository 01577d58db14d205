/* SPDX-License-Identifier: MIT
 * What the searches of all levels share (table_viterbi.h): the order of states, limits, room. */
#include "kernels/table_viterbi.h"

#include <assert.h>

/* The order of table_viterbi_tmpl.inc: sets of nodes that `fused` steps keep among themselves;
 * within one step by step, set of successors by set, successor by successor. */
void gs_table_trellis_prepare(struct gs_table_trellis *t)
{
    unsigned fused = gs_table_fused(t), b = t->step, digits = fused * b;
    unsigned nodes = gs_table_nodes(t), sets = nodes >> digits;
    uint16_t *next = t->visit;

    assert(t->window >= 8 && t->window <= GS_TABLE_WINDOW_MAX);
    assert(b >= 1 && b <= GS_TABLE_STEP_MAX && t->each >= 1 && t->each <= GS_TABLE_EACH_MAX);
    assert(t->levels >= 1 && t->levels <= GS_TABLE_LEVELS_MAX && t->gain <= 4);
    for (unsigned a = 0; a < sets; a++)
        for (unsigned f = 1; f <= fused; f++)
            for (unsigned i = 0; i < 1u << digits; i++)
                for (unsigned c = 0; c < 1u << b; c++) {
                    unsigned low = i & ((1u << f * b) - 1), high = i >> f * b;
                    unsigned node = high * (nodes >> (digits - f * b)) + (a << f * b) + low;
                    *next++ = (uint16_t)(32 * t->level[c * nodes + node]);
                }
}

void gs_table_limits(const struct gs_table_trellis *t, int *low, int *high)
{
    int margin = (1 << 14) >> t->gain;

    *low = INT16_MAX;
    *high = INT16_MIN;
    for (unsigned i = 0; i < (unsigned)t->each * t->levels; i++) {
        *low = GS_MIN(*low, t->value[i]);
        *high = GS_MAX(*high, t->value[i]);
    }
    *low = GS_MAX(*low - margin, INT16_MIN);
    *high = GS_MIN(*high + margin, INT16_MAX);
}

/* Upper bound over all levels: 16 lanes of two costs a node, of distances, targets and choices,
 * of which a word holds 16, 8, 4 or 4; and a line more every 4 KiB of costs. */
size_t gs_table_viterbi_work_bytes(const struct gs_table_trellis *t)
{
    size_t nodes = gs_table_nodes(t), packed = t->step == 1 ? 16 : t->step == 2 ? 8 : 4;
    size_t lines = 2 * (nodes + nodes / 64) + gs_table_fused(t) * (size_t)t->levels +
                   GS_TABLE_TILE + gs_table_steps(t) * (nodes / packed);

    return 32 * lines + 64;
}
