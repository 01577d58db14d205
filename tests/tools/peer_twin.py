#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the files on which another quantizer is compared fairly with gosset (docs/results.md).

  dither   each weight of a quantized tensor plus uniform noise of ± half the step of its
           block, as F16: the model's own former grid no longer helps anyone
  pad      the same function with rows of a multiple of 256, which k- and i-quants need: zero
           channels spread evenly between the real ones, zero heads in every group of heads
           that shares a key, norms (and their epsilon) rescaled
  imatrix  zeroes the entries of an importance matrix that belong to padding, or with --unpad
           leaves them out, which makes it one for the original
  bits     counts what a quantized twin spends: the bits per weight of each tensor's type times
           the number of its real weights

For cross-checks by hand; `make test` does not run it. Needs the PyPI packages numpy and gguf.

usage: peer_twin.py dither IN.gguf OUT.gguf [--seed N]
       peer_twin.py pad IN.gguf OUT.gguf [--type f16|f32]
       peer_twin.py imatrix TWIN.gguf ORIGINAL.gguf IN.imatrix OUT.imatrix [--unpad]
       peer_twin.py bits FILE.gguf [ORIGINAL.gguf]
"""
import argparse

import gguf
import numpy as np

T = gguf.GGMLQuantizationType


def fields(reader):
    arch = reader.fields["general.architecture"].contents()
    return arch, {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")}


def copy_fields(reader, writer, change):
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture",):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, change.get(key, field.contents()), kind, sub)


def values(tensor):
    """The weights in f32, shape (rows, cols) or (n)."""
    w = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return w.reshape([int(n) for n in reversed(tensor.shape)])


def steps(tensor):
    """The distance between neighbouring points of each weight's block, same shape."""
    kind, raw = tensor.tensor_type, np.ascontiguousarray(tensor.data).view(np.uint8)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    raw = raw.reshape(-1, size)
    f16 = lambda at: raw[:, at:at + 2].copy().view(np.float16).astype(np.float32)
    if kind in (T.Q8_0, T.Q5_0, T.Q4_0, T.Q4_1):
        step = np.repeat(np.abs(f16(0)), block, axis=1)
    elif kind == T.Q4_K:
        s = raw[:, 4:16]
        low, high = s[:, 0:4], s[:, 8:12]
        scale = np.concatenate([low & 63, (high & 15) | ((low >> 6) << 4)], axis=1)
        step = np.repeat(f16(0) * scale, 32, axis=1)
    elif kind == T.Q6_K:
        step = np.repeat(np.abs(f16(208) * raw[:, 192:208].view(np.int8)), 16, axis=1)
    else:
        raise SystemExit(f"{tensor.name}: no step known for {kind.name}")
    return step.reshape([int(n) for n in reversed(tensor.shape)])


def dither(args):
    reader = gguf.GGUFReader(args.inp)
    arch, _ = fields(reader)
    writer = gguf.GGUFWriter(args.out, arch)
    copy_fields(reader, writer, {"general.file_type": 1})
    rng = np.random.default_rng(args.seed)
    for t in reader.tensors:
        w = values(t)
        if t.tensor_type not in (T.F32, T.F16, T.BF16):
            w = w + (rng.random(w.shape, dtype=np.float32) - np.float32(0.5)) * steps(t)
            w = w.astype(np.float16)
        writer.add_tensor(t.name, w)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Shape:
    """Where the real channels and heads of a model lie in its twin."""

    def __init__(self, reader):
        self.arch, kv = fields(reader)
        get = lambda key, other=None: kv.get(f"{self.arch}.{key}", other)
        self.embd, self.heads = get("embedding_length"), get("attention.head_count")
        self.groups = get("attention.head_count_kv", self.heads)
        self.dim = get("attention.key_length", self.embd // self.heads)
        self.eps_key = f"{self.arch}.attention.layer_norm_rms_epsilon"
        self.eps = kv[self.eps_key]
        self.embd2 = -(-self.embd // 256) * 256
        share = self.heads // self.groups
        while (self.groups * share * self.dim) % 256:
            share += 1
        self.share, self.share2 = self.heads // self.groups, share
        at = (np.arange(self.embd) * self.embd2) // self.embd
        self.channels = at
        head = np.arange(self.heads)
        head2 = (head // self.share) * share + head % self.share
        self.head_channels = (head2[:, None] * self.dim + np.arange(self.dim)).ravel()
        self.heads2 = self.groups * share

    def place(self, name):
        """(positions of the real rows or None, of the real columns or None, new sizes)."""
        c, h = (self.channels, self.embd2), (self.head_channels, self.heads2 * self.dim)
        end = name.removesuffix(".weight").split(".")[-1]
        return {
            "token_embd": (None, c), "output": (None, c), "output_norm": (None, c),
            "attn_norm": (None, c), "ffn_norm": (None, c), "post_attention_norm": (None, c),
            "post_ffw_norm": (None, c), "attn_q": (h, c), "attn_k": (None, c),
            "attn_v": (None, c), "attn_output": (c, h), "ffn_gate": (None, c),
            "ffn_up": (None, c), "ffn_down": (c, None),
        }.get(end, (None, None))


def spread(w, place):
    for axis, where in zip((w.ndim - 2, w.ndim - 1), place):
        if where is None or axis < 0:
            continue
        shape = list(w.shape)
        shape[axis] = where[1]
        out = np.zeros(shape, w.dtype)
        out[(slice(None),) * axis + (where[0],)] = w
        w = out
    return w


def pad(args):
    reader = gguf.GGUFReader(args.inp)
    s = Shape(reader)
    ratio = s.embd / s.embd2
    # Gemma multiplies the embedding with √embd, so that its residual stream grows by
    # 1/√ratio, which cancels in the mean over more channels; elsewhere norms make up for it.
    gemma = s.arch.startswith("gemma")
    change = {f"{s.arch}.embedding_length": s.embd2, f"{s.arch}.attention.head_count": s.heads2,
              s.eps_key: s.eps * (1 if gemma else ratio),
              "general.file_type": 1 if args.type == "f16" else 0}
    writer = gguf.GGUFWriter(args.out, s.arch)
    copy_fields(reader, writer, change)
    if f"{s.arch}.attention.key_length" not in reader.fields:
        writer.add_key_length(s.dim)
        writer.add_value_length(s.dim)
    plain = np.float16 if args.type == "f16" else np.float32
    for t in reader.tensors:
        w = values(t)
        if t.name.endswith("norm.weight") and w.size == s.embd and "post_" not in t.name:
            w = w * np.float32(np.sqrt(ratio))
        w = spread(w, s.place(t.name))
        writer.add_tensor(t.name, w.astype(plain) if w.ndim > 1 else w)
    finish(writer)


def imatrix(args):
    s = Shape(gguf.GGUFReader(args.original))
    reader = gguf.GGUFReader(args.inp)
    writer = gguf.GGUFWriter(args.out, "imatrix")
    writer.kv_data[0].pop("general.architecture", None)
    copy_fields(reader, writer, {})
    for t in reader.tensors:
        w = values(t).astype(np.float32)
        if t.name.endswith(".in_sum2"):
            where = s.place(t.name.removesuffix(".in_sum2"))[1]
            if where is not None:
                if args.unpad:
                    w = np.ascontiguousarray(w[..., where[0]])
                else:
                    keep = np.zeros(where[1], bool)
                    keep[where[0]] = True
                    w[..., ~keep] = 0
        writer.add_tensor(t.name, w)
    finish(writer)


def bits(args):
    real = {}
    if args.original:
        real = {t.name: int(t.n_elements) for t in gguf.GGUFReader(args.original).tensors}
    total = weights = 0
    types = {}
    for t in gguf.GGUFReader(args.inp).tensors:
        n = real.get(t.name, int(t.n_elements))
        block, size = gguf.GGML_QUANT_SIZES[t.tensor_type]
        total += n * size * 8 / block
        weights += n
        types[t.tensor_type.name] = types.get(t.tensor_type.name, 0) + n
    mix = " ".join(f"{k}:{100 * n / weights:.1f}%" for k, n in sorted(types.items()))
    print(f"{total / weights:.4f} bpw  {mix}")


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for name, function, names in (("dither", dither, ("inp", "out")),
                                  ("pad", pad, ("inp", "out")),
                                  ("imatrix", imatrix, ("twin", "original", "inp", "out")),
                                  ("bits", bits, ("inp",))):
        p = commands.add_parser(name)
        p.set_defaults(function=function)
        for n in names:
            p.add_argument(n)
        if name == "dither":
            p.add_argument("--seed", type=int, default=1)
        elif name == "imatrix":
            p.add_argument("--unpad", action="store_true")
        elif name == "pad":
            p.add_argument("--type", choices=("f16", "f32"), default="f32")
        elif name == "bits":
            p.add_argument("original", nargs="?")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
