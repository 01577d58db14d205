#!/usr/bin/env python3
"""Makes tests/golden/types: blocks of every storage type and what they decode to.

usage: make_type_vectors.py OUT_DIR LIBGGML_BASE_SO

The expected numbers come from ggml's shared library (dequantize_row_*), for plain floats
and integers from numpy. Where the PyPI package gguf is installed, its decoders must give
the same bits. Not part of `make test`: the files it writes are committed.

NAME.bin         u32 count, count blocks, count · W floats (little-endian)
Q8_0.encode.bin  u32 count, count · 32 floats, count blocks
"""
import ctypes
import sys

import numpy as np

# name: (weights, bytes a block, [offsets of f16 fields])
TYPES = {
    "Q4_0": (32, 18, [0]), "Q4_1": (32, 20, [0, 2]), "Q5_0": (32, 22, [0]),
    "Q5_1": (32, 24, [0, 2]), "Q8_0": (32, 34, [0]), "Q8_1": (32, 36, [0, 2]),
    "Q1_0": (128, 18, [0]), "Q2_0": (64, 18, [0]), "MXFP4": (32, 17, []), "NVFP4": (64, 36, []),
    "Q2_K": (256, 84, [80, 82]), "Q3_K": (256, 110, [108]), "Q4_K": (256, 144, [0, 2]),
    "Q5_K": (256, 176, [0, 2]), "Q6_K": (256, 210, [208]), "Q8_K": (256, 292, []),
    "TQ1_0": (256, 54, [52]), "TQ2_0": (256, 66, [64]), "IQ1_S": (256, 50, [0]),
    "IQ1_M": (256, 56, []), "IQ2_XXS": (256, 66, [0]), "IQ2_XS": (256, 74, [0]),
    "IQ2_S": (256, 82, [0]), "IQ3_XXS": (256, 98, [0]), "IQ3_S": (256, 110, [0]),
    "IQ4_NL": (32, 18, [0]), "IQ4_XS": (256, 136, [0]),
}
PLAIN = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I8": "<i1", "I16": "<i2",
         "I32": "<i4", "I64": "<i8"}
# Ordinary, largest, smallest, subnormal, negative zero, infinite.
SCALES = [0x2e66, 0xabcd, 0x7bff, 0xfbff, 0x0001, 0x83ff, 0x8000, 0x7c00]
EXTREME_INT = {"<i1": [-128, 127], "<i2": [-32768, 32767], "<i4": [-2**31, 2**31 - 1, 2**24 + 1],
               "<i8": [-2**63, 2**63 - 1, 2**53 + 1]}
EXTREME_F64 = [0.0, -0.0, 1e300, -1e300, 1e-310, 3.4028235e38, 3.4028236e38, 1e-45, 7e-46,
               1 + 2**-24, 1 + 2**-24 + 2**-50, float("inf"), float("nan")]


def blocks_of(name, rng):
    """A few blocks: random bytes, each with one of SCALES in all its f16 fields; half of
    them when blocks are large. IQ1_M's scale is spread over four words' top nibbles, Q8_K's
    is f32; MXFP4's and NVFP4's are bytes, random and extreme."""
    weights, size, fields = TYPES[name]
    scales = SCALES if weights < 256 else [0x2e66, 0xfbff, 0x0001, 0x7c00]
    out = rng.integers(0, 256, (len(scales) + 1, size), dtype=np.uint8)
    out[0] = 0xff if name in ("MXFP4", "NVFP4") else 0x7b
    for b, scale in zip(out[1:], scales):
        for f in fields:
            b[f:f + 2] = [scale & 255, scale >> 8]
        if name == "IQ1_M":
            for i in range(4):
                b[49 + 2 * i] = (b[49 + 2 * i] & 15) | (scale >> 4 * i & 15) << 4
        if name == "Q8_K":
            b[:4] = np.frombuffer(np.array([scale << 16], "<u4").tobytes(), np.uint8)
    if name == "MXFP4":
        out[1:7, 0] = [0, 1, 2, 127, 254, 255]
    if name == "NVFP4":
        out[1, :4], out[2, :4] = [0, 1, 7, 8], [0x7f, 0x7e, 0x80, 0xff]
    return out


def decode_ggml(lib, name, blocks):
    weights = TYPES[name][0]
    if name == "Q8_1":  # ggml has no decoder: the layout is that of Q8_0 with a sum
        blocks, name = np.concatenate([blocks[:, :2], blocks[:, 4:]], axis=1).copy(), "Q8_0"
    out = np.zeros(len(blocks) * weights, "<f4")
    symbol = "dequantize_row_" + (name if name.endswith("_K") else name.lower()).replace("Q", "q")
    fn = getattr(lib, symbol)
    fn(blocks.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p),
       ctypes.c_int64(out.size))
    return out


def compare_gguf(name, blocks, want):
    try:
        import gguf
        got = gguf.quants.dequantize(blocks.reshape(-1), getattr(gguf.GGMLQuantizationType, name))
    except (ImportError, AttributeError, NotImplementedError):
        return "no second opinion"
    got = got.reshape(-1).astype("<f4")
    same = (got.view("<u4") == want.view("<u4")) | (np.isnan(got) & np.isnan(want))
    return "gguf agrees" if same.all() else f"gguf differs in {np.sum(~same)} of {same.size}"


def plain(name, rng):
    """64 numbers of a plain type and the f32 nearest to each."""
    kind = PLAIN[name]
    raw = rng.integers(0, 256, 64 * np.dtype(kind).itemsize, dtype=np.uint8).view(kind).copy()
    if name == "F64":
        raw[:32] = rng.standard_normal(32)
        raw[-len(EXTREME_F64):] = EXTREME_F64
    elif name in ("F32", "F16", "BF16"):
        bits = raw.view("<u4" if name == "F32" else "<u2")
        shift = 16 if name in ("F32",) else 0
        special = [0, 0x8000, 1, 0x8001, 0x7c00, 0xfc00, 0x7e00, 0x7bff, 0x03ff, 0x0400, 0x7f80,
                   0xff80, 0x7f7f, 0x0080, 0x007f]
        bits[:len(special)] = np.array(special, "<u4").astype(bits.dtype) << shift
    else:
        raw[:len(EXTREME_INT[kind])] = EXTREME_INT[kind]
    if name == "BF16":
        return raw, (raw.astype("<u4") << 16).view("<f4")
    with np.errstate(all="ignore"):
        return raw, raw.astype("<f4")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    out, lib = sys.argv[1], ctypes.CDLL(sys.argv[2])
    rng = np.random.default_rng(20240229)
    for name in TYPES:
        blocks = blocks_of(name, rng)
        want = decode_ggml(lib, name, blocks)
        print(f"{name}: {len(blocks)} blocks, {compare_gguf(name, blocks, want)}")
        with open(f"{out}/{name}.bin", "wb") as f:
            f.write(np.array([len(blocks)], "<u4").tobytes() + blocks.tobytes() + want.tobytes())
    for name in PLAIN:
        raw, want = plain(name, rng)
        with open(f"{out}/{name}.bin", "wb") as f:
            f.write(np.array([len(raw)], "<u4").tobytes() + raw.tobytes() + want.tobytes())

    x = (rng.standard_normal((24, 32)) * 2.0 ** rng.integers(-30, 30, (24, 1))).astype("<f4")
    x[0], x[1, 1:] = 0, 0
    x[2] = np.arange(32) + 0.5  # ties: the largest is not 127 …
    x[3], x[3, 0] = np.arange(32) - 15.5, 127  # … and here d = 1
    blocks = np.zeros((24, 34), np.uint8)
    lib.quantize_row_q8_0_ref(x.ctypes.data_as(ctypes.c_void_p),
                              blocks.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(x.size))
    with open(f"{out}/Q8_0.encode.bin", "wb") as f:
        f.write(np.array([24], "<u4").tobytes() + x.tobytes() + blocks.tobytes())


if __name__ == "__main__":
    main()
