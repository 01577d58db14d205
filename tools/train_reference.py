#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ten steps of training a tiny llama model, in float64 and without gosset.

    make_tiny llama tiny.gguf
    tools/train_reference.py tiny.gguf > tests/golden/train_losses.txt

Writes the loss before each step and the norm of its gradient. tests/unit/test_train.c runs
the same steps and compares. Needs numpy and gguf (which only reads the file). The gradients
written out here are checked against finite differences before anything is printed.
"""
import sys

import numpy as np
from gguf import GGUFReader

TEXTS, CTX, STEPS = 2, 24, 10
LR, BETA1, BETA2, EPS, DECAY, CLIP = 2e-3, 0.9, 0.95, 1e-8, 0.1, 1.0


def read(path):
    """Weights by name, and the sizes."""
    reader = GGUFReader(path)
    weights = {}
    for t in reader.tensors:
        shape = tuple(int(n) for n in reversed(t.shape))
        weights[t.name] = np.array(t.data, dtype=np.float64).reshape(shape)

    def key(name):
        field = reader.fields["llama." + name]
        return field.parts[field.data[0]][0]

    return weights, {
        "layers": int(key("block_count")),
        "heads": int(key("attention.head_count")),
        "heads_kv": int(key("attention.head_count_kv")),
        "eps": float(key("attention.layer_norm_rms_epsilon")),
        "base": float(key("rope.freq_base")) if "llama.rope.freq_base" in reader.fields else 1e4,
    }


def texts(step, vocab):
    """Tokens and targets of a step: a linear congruential generator, in a small range."""
    x = 12345 + step
    out = np.zeros((TEXTS, CTX + 1), dtype=np.int64)
    for b in range(TEXTS):
        for t in range(CTX + 1):
            x = (1103515245 * x + 12345) % 2**31
            out[b, t] = (x >> 8) % min(40, vocab)
    return out[:, :-1], out[:, 1:]


def norm(x, w, eps):
    r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * r * w, (x, r, w)


def norm_back(g, saved):
    x, r, w = saved
    h = x * r
    gw = g * w
    dx = r * (gw - h * (gw * h).mean(-1, keepdims=True))
    return dx, (g * h).reshape(-1, x.shape[-1]).sum(0)


def rope(x, base, sign=1):
    """x (B, T, H, D); pairs (2i, 2i + 1)."""
    T, D = x.shape[1], x.shape[3]
    freq = base ** (-2 * np.arange(D // 2) / D)
    angle = np.arange(T)[:, None] * freq
    c, s = np.cos(angle)[None, :, None, :], sign * np.sin(angle)[None, :, None, :]
    y = np.empty_like(x)
    y[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
    y[..., 1::2] = x[..., 0::2] * s + x[..., 1::2] * c
    return y


def attention(q, k, v):
    """q (B, T, H, D), k and v (B, T, G, D)."""
    group = q.shape[2] // k.shape[2]
    k, v = np.repeat(k, group, 2), np.repeat(v, group, 2)
    s = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[3])
    s = np.where(np.tril(np.ones(s.shape[2:], bool)), s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return np.einsum("bhts,bshd->bthd", p, v), (q, k, v, p, group)


def attention_back(g, saved):
    q, k, v, p, group = saved
    dp = np.einsum("bthd,bshd->bhts", g, v)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / np.sqrt(q.shape[3])
    dq = np.einsum("bhts,bshd->bthd", ds, k)
    dk = np.einsum("bhts,bthd->bshd", ds, q)
    dv = np.einsum("bhts,bthd->bshd", p, g)

    def fold(x):
        B, T, H, D = x.shape
        return x.reshape(B, T, H // group, group, D).sum(3)

    return dq, fold(dk), fold(dv)


def loss_and_gradient(w, c, tokens, target, want_gradient=True):
    B, T = tokens.shape
    H, G = c["heads"], c["heads_kv"]
    embedding = w["token_embd.weight"]
    D = w["blk.0.attn_q.weight"].shape[0] // H
    x = embedding[tokens]
    saved = []
    for i in range(c["layers"]):
        p = "blk.%d." % i
        a, n1 = norm(x, w[p + "attn_norm.weight"], c["eps"])
        q = rope((a @ w[p + "attn_q.weight"].T).reshape(B, T, H, D), c["base"])
        k = rope((a @ w[p + "attn_k.weight"].T).reshape(B, T, G, D), c["base"])
        v = (a @ w[p + "attn_v.weight"].T).reshape(B, T, G, D)
        y, att = attention(q, k, v)
        y = y.reshape(B, T, H * D)
        x = x + y @ w[p + "attn_output.weight"].T
        f, n2 = norm(x, w[p + "ffn_norm.weight"], c["eps"])
        gate, up = f @ w[p + "ffn_gate.weight"].T, f @ w[p + "ffn_up.weight"].T
        s = 1 / (1 + np.exp(-gate))
        x = x + (gate * s * up) @ w[p + "ffn_down.weight"].T
        saved.append((a, n1, att, y, f, n2, gate, up, s))
    final, n0 = norm(x, w["output_norm.weight"], c["eps"])
    logits = final @ embedding.T
    logits -= logits.max(-1, keepdims=True)
    prob = np.exp(logits)
    total = prob.sum(-1, keepdims=True)
    index = (np.arange(B)[:, None], np.arange(T), target)
    loss = (np.log(total)[..., 0] - logits[index]).mean()
    if not want_gradient:
        return loss, None

    d = {}

    def linear_back(name, g, inp):
        n = g.shape[-1]
        d[name] = g.reshape(-1, n).T @ inp.reshape(-1, inp.shape[-1])
        return g @ w[name]

    g = prob / total
    g[index] -= 1
    g /= B * T
    d_embedding = g.reshape(-1, g.shape[-1]).T @ final.reshape(-1, final.shape[-1])
    dx, d["output_norm.weight"] = norm_back(g @ embedding, n0)
    for i in reversed(range(c["layers"])):
        p = "blk.%d." % i
        a, n1, att, y, f, n2, gate, up, s = saved[i]
        dh = linear_back(p + "ffn_down.weight", dx, gate * s * up)
        df = linear_back(p + "ffn_gate.weight", dh * up * s * (1 + gate * (1 - s)), f)
        df = df + linear_back(p + "ffn_up.weight", dh * gate * s, f)
        back, d[p + "ffn_norm.weight"] = norm_back(df, n2)
        dx = dx + back
        dy = linear_back(p + "attn_output.weight", dx, y).reshape(B, T, H, D)
        dq, dk, dv = attention_back(dy, att)
        da = linear_back(p + "attn_q.weight", rope(dq, c["base"], -1).reshape(B, T, -1), a)
        da = da + linear_back(p + "attn_k.weight", rope(dk, c["base"], -1).reshape(B, T, -1), a)
        da = da + linear_back(p + "attn_v.weight", dv.reshape(B, T, -1), a)
        back, d[p + "attn_norm.weight"] = norm_back(da, n1)
        dx = dx + back
    np.add.at(d_embedding, tokens, dx)
    d["token_embd.weight"] = d_embedding
    return loss, d


def check(w, c):
    """Every gradient along a random direction."""
    rng = np.random.default_rng(1)
    tokens, target = texts(0, w["token_embd.weight"].shape[0])
    _, d = loss_and_gradient(w, c, tokens, target)
    for name in w:
        along = rng.standard_normal(w[name].shape)
        h = 1e-6
        losses = []
        for step in (h, -h):
            moved = dict(w)
            moved[name] = w[name] + step * along
            losses.append(loss_and_gradient(moved, c, tokens, target, False)[0])
        slope = (losses[0] - losses[1]) / (2 * h)
        want = (d[name] * along).sum()
        assert abs(slope - want) < 1e-6 * np.linalg.norm(d[name]), (name, slope, want)


def main():
    w, c = read(sys.argv[1])
    check(w, c)
    m = {n: np.zeros_like(x) for n, x in w.items()}
    v = {n: np.zeros_like(x) for n, x in w.items()}
    print("# step, loss, norm of the gradient; made by tools/train_reference.py")
    for step in range(1, STEPS + 1):
        loss, d = loss_and_gradient(w, c, *texts(step, w["token_embd.weight"].shape[0]))
        length = np.sqrt(sum((g * g).sum() for g in d.values()))
        print("%d %.9f %.9f" % (step, loss, length))
        scale = min(1, CLIP / length)
        for n in w:
            g = d[n] * scale
            m[n] = BETA1 * m[n] + (1 - BETA1) * g
            v[n] = BETA2 * v[n] + (1 - BETA2) * g * g
            move = m[n] / (1 - BETA1**step) / (np.sqrt(v[n] / (1 - BETA2**step)) + EPS)
            w[n] = w[n] - LR * (move + (DECAY * w[n] if w[n].ndim > 1 else 0))


main()
