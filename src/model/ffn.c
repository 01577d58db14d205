/* SPDX-License-Identifier: MIT
 * The feed-forward network, gated (GLU variants, Shazeer, arXiv:2002.05202) or plain. */
#include "model/layers.h"

void gs_ffn_forward(const struct gs_run *run, enum gs_activation act,
                    const struct gs_block_weights *w, const struct gs_norm *norm, const float *x,
                    size_t T, float *hidden, float *hidden_up, float *y)
{
    size_t n = T * w->ffn_up.rows;

    if (w->ffn_gate.data) {
        const struct gs_product both[] = {{&w->ffn_gate, w->ffn_gate_b, hidden},
                                          {&w->ffn_up, w->ffn_up_b, hidden_up}};
        gs_normed_linears_forward(run, norm, both, GS_COUNT(both), x, T);
        gs_activation_forward(run, act, hidden_up, hidden, n);
    } else {
        const struct gs_product up = {&w->ffn_up, w->ffn_up_b, hidden};
        gs_normed_linears_forward(run, norm, &up, 1, x, T);
        gs_activation_forward(run, act, NULL, hidden, n);
    }
    gs_linear_forward(run, &w->ffn_down, w->ffn_down_b, hidden, T, y);
}
