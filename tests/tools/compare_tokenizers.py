#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares our tokenizers with the PyPI packages `tokenizers` and `gguf`, line by line.

    compare_tokenizers.py TOOL DATA [MODEL.gguf ...]

TOOL is build/release/tests/tools/tokenize_lines, DATA the folder of $GOSSET_DATA. Every
tokenizer of the list at the end runs over the same mixed text: lines of the data's text files
and generated lines (scripts, emoji, odd white space, contractions, special tokens, broken
UTF-8, which Python decodes with "replace"). Byte-level families without a vocabulary in DATA
run on GPT-2's. Exit status 1 if a line differs.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

from gguf import GGUFReader
from tokenizers import Tokenizer

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CLITICS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = CLITICS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LEAD = r"[^\r\n\p{L}\p{N}]?"


def o200k(clitics, digits):
    return (LEAD + UPPER + "*" + LOWER + "+" + clitics + "|" + LEAD + UPPER + "+" + LOWER + "*" +
            clitics + "|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL)


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
BYTES_GPT2 = dict(BYTES, use_regex=True)
DIGITS = {"type": "Digits", "individual_digits": True}


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


FAMILIES = {
    "gpt-2": (BYTES_GPT2, False, False),
    "gpt-neox": (BYTES_GPT2, True, False),
    "smollm": (sequence(DIGITS, BYTES_GPT2), False, False),
    "llama-bpe": (sequence(split(CL100K % r"\p{N}{1,3}"), BYTES), False, True),
    "qwen2": (sequence(split(CL100K % r"\p{N}"), BYTES), True, False),
    "tekken": (sequence(split(o200k("", r"\p{N}")), BYTES), False, True),
    "gpt-4o": (sequence(split(o200k(CLITICS + "?", r"\p{N}{1,3}")), BYTES), False, False),
}


def vocabulary(path):
    fields = GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents() if "tokenizer.ggml." + key in fields else None
    tokens = get("tokens")
    return tokens, get("token_type") or [1] * len(tokens), get("scores"), get("merges"), get("add_space_prefix")


def added(tokens, types):
    return [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": types[i] != 4}
            for i in range(len(tokens)) if types[i] in (2, 3, 4)]


def byte_level(path, family):
    """The GGUF's vocabulary as a tokenizer.json of that family."""
    tokens, types, _, merges, _ = vocabulary(path)
    pre, nfc, ignore = FAMILIES[family]
    return {"version": "1.0", "added_tokens": added(tokens, types),
            "normalizer": {"type": "NFC"} if nfc else None, "pre_tokenizer": pre,
            "post_processor": None, "decoder": BYTES,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False,
                      "byte_fallback": False, "ignore_merges": ignore,
                      "vocab": {t: i for i, t in enumerate(tokens) if types[i] in (1, 3)},
                      "merges": merges}}


def sentencepiece(path):
    """The GGUF's scores as merges: every way to cut a token into two, best token first, as
    transformers converts SentencePiece models."""
    tokens, types, scores, _, prefix = vocabulary(path)
    vocab = {t: i for i, t in enumerate(tokens)}
    normal = {t for i, t in enumerate(tokens) if types[i] == 1}
    merges = []
    for t in normal:
        for k in range(1, len(t)):
            if t[:k] in normal and t[k:] in normal:
                merges.append((-scores[vocab[t]], vocab[t], vocab[t[:k]], vocab[t[k:]], t[:k], t[k:]))
    merges.sort()
    steps = [{"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    if prefix is not False:
        steps.insert(0, {"type": "Prepend", "prepend": "\u2581"})
    return {"version": "1.0", "added_tokens": added(tokens, types),
            "normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None,
            "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True,
                      "byte_fallback": True, "ignore_merges": False, "vocab": vocab,
                      "merges": [[m[4], m[5]] for m in merges]}}


POOLS = [
    "the quick brown fox isn't they'RE we'Ve I'LL 'S 'd \u017f '\u017f HelloWorld fooBar XMLHttp iPhone",
    "0123456789 3.14 1,000,000 \u0663\u0664 \u00bd \u2167 \u00b2 \u4e09 \u0be7",
    "{}[]()<>;:=+-*/&|^~`@#$%\\\"' => != // /* */ ++ && ... --- ___ <?php ?>",
    "\u4f60\u597d\u4e16\u754c\u3002\u6211\u5011\u300c\u5f15\u7528\u300d\uff0c\u3053\u3093\u306b\u3061\u306f\u30ab\u30bf\u30ab\u30ca\uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u06a9\u062a\u0627\u0628 \u05e9\u05dc\u05d5\u05dd \u0939\u093f\u0928\u094d\u0926\u0940 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440 \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u00c4rger stra\u00dfe \u01c5 \u02b0\u02b1 \u0130stanbul",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f3fd\u2764\ufe0f\U0001f1e9\U0001f1ea\u2705\u00a9\u2122",
    "e\u0301a\u0308o\u0302\u0323 \u1e69\u0323 \u212b \u1100\u1161\u11a8 \u0344 \ufb01 \u0958 \u2126 \uf900",
    " \t\n\r\x0b\x0c\x85\u00a0\u1680\u180e\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff",
    "\x00\x01\x07\x1b\x7f\x80\x9f\u00ad\ue000\U0010ffff\u0378\ufffe",
]
SPECIAL = ["<|endoftext|>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<end_of_turn>",
           "<0x0A>", "<|", "  ", "    ", "\t\t", "\n\n\n", "<table>", "[PAD5]", "\u2581", "\u2581\u2581"]


def generated(count, rng):
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(1, 8)):
            kind = rng.random()
            pool = rng.choice(POOLS)
            if kind < 0.35:
                words = pool.split()
                text += rng.choice(words) if words else pool
            elif kind < 0.6:
                text += "".join(rng.choice(pool) for _ in range(rng.randint(1, 6)))
            elif kind < 0.75:
                text += rng.choice([" ", "\n", "\t", "\r\n", " \n"]) * rng.randint(1, 20)
            elif kind < 0.9:
                text += " " + rng.choice("abcdefghijklmnopqrstuvwxyz") * rng.randint(1, 4)
            else:
                text += rng.choice(SPECIAL)
        yield text.encode()


def broken(lines, count, rng):
    """Lines with bytes lost, doubled or drawn at random."""
    for _ in range(count):
        b = bytearray(rng.choice(lines)[:400])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(b) + 1)
            if rng.random() < 0.5:
                del b[at:at + 1]
            else:
                b[at:at] = bytes(rng.choice([0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xf4, 0xff]) for _ in range(rng.randint(1, 3)))
        yield bytes(b)


def mixed_lines(data):
    rng = random.Random(1)
    lines = []
    for name in ("multilingual", "code", "technical", "c4", "wiki"):
        with open(os.path.join(data, "text", f"exl3_cal_{name}.utf8"), "rb") as f:
            some = [x[:4000] for x in f.read().split(b"\n") if x.strip()]
        lines += some if len(some) <= 2000 else rng.sample(some, 2000)
        text = b"\n".join(some)
        for _ in range(200):  # several lines at once, cut anywhere
            at = rng.randrange(max(1, len(text) - 2000))
            lines.append(text[at:at + rng.randint(100, 2000)])
    lines += list(generated(5000, rng))
    lines += list(broken(lines, 2000, rng))
    lines += [b" " * n for n in range(1, 200)] + [b"\n" * n for n in range(1, 60)]
    return lines


def ours(tool, path, lines):
    text = b"\n".join(x.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") for x in lines) + b"\n"
    run = subprocess.run([tool, "--lf", "--special", path], input=text, capture_output=True, check=False)
    if run.returncode:
        sys.exit(run.stderr.decode())
    return [[int(i) for i in x.split()] for x in run.stdout.decode().split("\n")[:-1]]


def compare(name, reference, got, lines):
    bad = 0
    assert len(got) == len(lines)
    decoded = [x.decode("utf-8", "replace") for x in lines]
    for text, line, mine in zip(decoded, lines, got):
        want = reference.encode(text, add_special_tokens=False).ids
        if want != mine:
            bad += 1
            if bad <= int(os.environ.get("SHOW", "3")):
                at = next((i for i, (a, b) in enumerate(zip(want, mine)) if a != b), min(len(want), len(mine)))
                print("  ", repr(text[:120]), "\n    at", at, "theirs", want[at:at + 8], "ours", mine[at:at + 8])
    print(f"{name}: {len(lines)} lines, {sum(map(len, got))} tokens, {bad} mismatches", flush=True)
    return bad


def main():
    tool, data, models = sys.argv[1], sys.argv[2], sys.argv[3:]
    lines = mixed_lines(data)
    gpt2 = os.path.join(data, "vocab", "ggml-vocab-gpt-2.gguf")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        def check(name, spec, *paths):
            path = os.path.join(folder, name.replace("/", "_") + ".json")
            if spec:
                with open(path, "w", encoding="utf-8") as f:
                    json.dump(spec, f)
            else:
                path = paths[0]
            reference = Tokenizer.from_file(path)
            return sum(compare(f"{name} ({os.path.basename(p)})", reference, ours(tool, p, lines), lines)
                       for p in {path, *paths})

        bad += check("gpt-neox", None, os.path.join(data, "vocab", "gpt-neox_20B_tokenizer.json"))
        for family in FAMILIES:
            bad += check(family, byte_level(gpt2, family), *([gpt2] if family == "gpt-2" else []))
        bad += check("starcoder", byte_level(os.path.join(data, "vocab", "ggml-vocab-starcoder.gguf"), "smollm"),
                     os.path.join(data, "vocab", "ggml-vocab-starcoder.gguf"))
        spm = os.path.join(data, "vocab", "ggml-vocab-llama-spm.gguf")
        bad += check("llama-spm", sentencepiece(spm), spm)
        for model in models:
            kind = GGUFReader(model).fields["tokenizer.ggml.model"].contents()
            spec = sentencepiece(model) if kind == "llama" else byte_level(
                model, GGUFReader(model).fields["tokenizer.ggml.pre"].contents())
            bad += check(os.path.basename(model), spec, model)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
