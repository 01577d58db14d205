#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a Hugging Face folder from a GGUF file of f32, f16 or bf16 tensors, undoing what a
converter does (RoPE row order, gemma's 1 + w, Conv1D's transpose, gptneox's fused heads).

For cross-checks by hand; `make test` does not run it. Needs the PyPI packages numpy, gguf and
safetensors. A quantized file is first made plain with
  llama-quantize --allow-requantize IN.gguf OUT.gguf f32

usage: gguf_to_hf.py IN.gguf FOLDER [--shards N] [--type f32|f16|bf16]
"""
import argparse
import json
import pathlib
import re

import gguf
import numpy as np
import safetensors

CLASSES = {
    "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
    "gemma3": "Gemma3ForCausalLM", "phi3": "Phi3ForCausalLM", "gpt2": "GPT2LMHeadModel",
    "gptneox": "GPTNeoXForCausalLM",
}

# GGUF base name -> module name; N is the layer.
COMMON = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "blk.N.attn_norm": "model.layers.N.input_layernorm",
    "blk.N.attn_q": "model.layers.N.self_attn.q_proj",
    "blk.N.attn_k": "model.layers.N.self_attn.k_proj",
    "blk.N.attn_v": "model.layers.N.self_attn.v_proj",
    "blk.N.attn_output": "model.layers.N.self_attn.o_proj",
    "blk.N.attn_q_norm": "model.layers.N.self_attn.q_norm",
    "blk.N.attn_k_norm": "model.layers.N.self_attn.k_norm",
    "blk.N.ffn_norm": "model.layers.N.post_attention_layernorm",
    "blk.N.ffn_gate": "model.layers.N.mlp.gate_proj",
    "blk.N.ffn_up": "model.layers.N.mlp.up_proj",
    "blk.N.ffn_down": "model.layers.N.mlp.down_proj",
}
NAMES = {arch: dict(COMMON) for arch in CLASSES}
NAMES["gemma3"].update({
    "blk.N.ffn_norm": "model.layers.N.pre_feedforward_layernorm",
    "blk.N.post_attention_norm": "model.layers.N.post_attention_layernorm",
    "blk.N.post_ffw_norm": "model.layers.N.post_feedforward_layernorm",
})
NAMES["phi3"].update({
    "blk.N.attn_qkv": "model.layers.N.self_attn.qkv_proj",
    "blk.N.ffn_up": "model.layers.N.mlp.gate_up_proj",
})
NAMES["gpt2"] = {
    "token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "output": "lm_head",
    "blk.N.attn_norm": "h.N.ln_1", "blk.N.attn_qkv": "h.N.attn.c_attn",
    "blk.N.attn_output": "h.N.attn.c_proj", "blk.N.ffn_norm": "h.N.ln_2",
    "blk.N.ffn_up": "h.N.mlp.c_fc", "blk.N.ffn_down": "h.N.mlp.c_proj",
}
NAMES["gptneox"] = {
    "token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm",
    "output": "embed_out",
    "blk.N.attn_norm": "gpt_neox.layers.N.input_layernorm",
    "blk.N.attn_qkv": "gpt_neox.layers.N.attention.query_key_value",
    "blk.N.attn_output": "gpt_neox.layers.N.attention.dense",
    "blk.N.ffn_norm": "gpt_neox.layers.N.post_attention_layernorm",
    "blk.N.ffn_up": "gpt_neox.layers.N.mlp.dense_h_to_4h",
    "blk.N.ffn_down": "gpt_neox.layers.N.mlp.dense_4h_to_h",
}
SKIPPED = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}


class Source:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)
        self.arch = self.get("general.architecture")
        if self.arch not in CLASSES:
            raise SystemExit(f"{path}: architecture {self.arch} is not supported")

    def get(self, key, default=None):
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    def own(self, key, default=None):
        return self.get(f"{self.arch}.{key}", default)


def tensor_f32(t):
    """The tensor with its outermost dimension first."""
    shape = [int(d) for d in reversed(t.shape)]
    if t.tensor_type == gguf.GGMLQuantizationType.BF16:
        bits = np.asarray(t.data).reshape(-1).view(np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if t.tensor_type.name not in ("F32", "F16"):
        raise SystemExit(f"tensor {t.name} is {t.tensor_type.name}; make the file f32 first")
    return np.asarray(t.data, dtype=np.float32).reshape(shape)


def undo_rope(w, heads):
    rows = w.shape[0]
    return (w.reshape(heads, rows // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2)
            .reshape(w.shape))


def interleave_qkv(w, heads):
    rows = w.shape[0]
    return (w.reshape(3, heads, rows // 3 // heads, *w.shape[1:]).swapaxes(0, 1)
            .reshape(w.shape))


def undo(src, base, w):
    heads = src.own("attention.head_count")
    kv = src.own("attention.head_count_kv", heads)
    kind = base.rpartition(".")[2]
    if src.arch == "llama" and kind in ("attn_q", "attn_k"):
        return undo_rope(w, heads if kind == "attn_q" else kv)
    if src.arch == "gemma3" and kind.endswith("_norm"):
        return w - np.float32(1)
    if src.arch == "gptneox" and kind == "attn_qkv":
        return interleave_qkv(w, heads)
    if src.arch == "gpt2" and w.ndim == 2 and base.startswith("blk."):
        return w.T
    return w


def narrow(w, kind):
    """(dtype, array); numpy has no bfloat16, so its bits travel as uint16."""
    w = np.ascontiguousarray(w, dtype=np.float32)
    if kind == "f16":
        return "float16", w.astype(np.float16)
    if kind == "bf16":
        u = w.view(np.uint32)
        return "bfloat16", ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
    return "float32", w


def tensors(src, kind):
    out = {}
    for t in src.reader.tensors:
        if t.name in SKIPPED:
            continue
        base, _, suffix = t.name.rpartition(".")
        layer = re.match(r"blk\.(\d+)\.", base)
        pattern = re.sub(r"^blk\.\d+\.", "blk.N.", base)
        if pattern not in NAMES[src.arch]:
            raise SystemExit(f"tensor {t.name} has no place in a {src.arch} model")
        name = NAMES[src.arch][pattern].replace(".N.", f".{layer[1]}." if layer else "")
        w = undo(src, base, tensor_f32(t))
        out[f"{name}.{suffix}"] = narrow(w, kind)
    return out


def config(src, tied, kind):
    own = src.own
    heads, width = own("attention.head_count"), own("embedding_length")
    torch_name = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[kind]
    vocab = len(src.get("tokenizer.ggml.tokens", [])) or own("vocab_size")
    if src.arch == "gpt2":
        return {"architectures": [CLASSES["gpt2"]], "model_type": "gpt2",
                "n_layer": own("block_count"), "n_embd": width, "n_head": heads,
                "n_ctx": own("context_length"), "n_positions": own("context_length"),
                "n_inner": own("feed_forward_length"), "vocab_size": vocab,
                "layer_norm_epsilon": own("attention.layer_norm_epsilon"),
                "tie_word_embeddings": tied, "torch_dtype": torch_name}
    c = {"architectures": [CLASSES[src.arch]], "model_type": src.arch,
         "num_hidden_layers": own("block_count"), "hidden_size": width,
         "intermediate_size": own("feed_forward_length"), "num_attention_heads": heads,
         "max_position_embeddings": own("context_length"), "vocab_size": vocab,
         "tie_word_embeddings": tied, "torch_dtype": torch_name}
    optional = {
        "num_key_value_heads": own("attention.head_count_kv"),
        "rms_norm_eps": own("attention.layer_norm_rms_epsilon"),
        "layer_norm_eps": own("attention.layer_norm_epsilon"),
        "head_dim": own("attention.key_length"),
        "rope_theta": own("rope.freq_base"),
        "rope_local_base_freq": own("rope.freq_base_swa"),
        "sliding_window": own("attention.sliding_window"),
        "final_logit_softcapping": own("final_logit_softcapping"),
    }
    c.update({k: v for k, v in optional.items() if v is not None})
    if src.arch == "gptneox":
        c["rotary_pct"] = own("rope.dimension_count") / (width // heads)
        c["use_parallel_residual"] = own("use_parallel_residual")
    if src.arch == "gemma3" and "sliding_window" not in c:
        c["sliding_window_pattern"] = 1
    if src.arch == "phi3" and own("rope.dimension_count"):
        c["partial_rotary_factor"] = own("rope.dimension_count") / (width // heads)
    scaling = rope_scaling(src)
    if scaling:
        c["rope_scaling"] = scaling
        c["original_max_position_embeddings"] = own("rope.scaling.original_context_length")
    return c


def rope_scaling(src):
    own = src.own
    vectors = {t.name: [float(x) for x in tensor_f32(t)] for t in src.reader.tensors
               if t.name in SKIPPED}
    if "rope_freqs.weight" in vectors:
        raise SystemExit("rope_freqs.weight does not tell the parameters of llama3 scaling")
    if "rope_factors_long.weight" in vectors:
        return {"type": "longrope", "long_factor": vectors["rope_factors_long.weight"],
                "short_factor": vectors["rope_factors_short.weight"]}
    kind = own("rope.scaling.type")
    if kind not in ("linear", "yarn"):
        return None
    out = {"rope_type": kind, "factor": own("rope.scaling.factor"),
           "original_max_position_embeddings": own("rope.scaling.original_context_length"),
           "attention_factor": own("rope.scaling.yarn_attn_factor"),
           "beta_fast": own("rope.scaling.yarn_beta_fast"),
           "beta_slow": own("rope.scaling.yarn_beta_slow")}
    return {k: v for k, v in out.items() if v is not None}


PATTERNS = {  # Split patterns of tokenizer.json by tokenizer.ggml.pre
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                 r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
             r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
              "use_regex": True}


def pre_tokenizer(pre):
    if pre == "smollm":
        return {"type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]}
    if pre in PATTERNS:
        split = {"type": "Split", "pattern": {"Regex": PATTERNS[pre]}, "behavior": "Isolated",
                 "invert": False}
        return {"type": "Sequence",
                "pretokenizers": [split, dict(BYTE_LEVEL, use_regex=False)]}
    return BYTE_LEVEL


def merges_from_scores(tokens, scores, kinds):
    """The merges of a SentencePiece BPE model: every way to put a piece together of two
    others, best piece first."""
    ids = {t: i for i, t in enumerate(tokens)}
    found = []
    for i, piece in enumerate(tokens):
        if kinds[i] != 1:
            continue
        for cut in range(1, len(piece)):
            left, right = ids.get(piece[:cut]), ids.get(piece[cut:])
            if left is not None and right is not None:
                found.append((-scores[i], left, right, [piece[:cut], piece[cut:]]))
    found.sort(key=lambda m: m[:3])
    return [m[3] for m in found]


def tokenizer(src):
    tokens = src.get("tokenizer.ggml.tokens")
    if tokens is None:
        return None
    kinds = src.get("tokenizer.ggml.token_type")
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kinds[i] == 3}
             for i, t in enumerate(tokens) if kinds[i] in (2, 3, 4)]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False,
             "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "byte_fallback": False, "vocab": {t: i for i, t in enumerate(tokens)}}
    out = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
           "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
           "model": model}
    if src.get("tokenizer.ggml.model") == "gpt2":
        model["merges"] = src.get("tokenizer.ggml.merges")
        out["pre_tokenizer"] = pre_tokenizer(src.get("tokenizer.ggml.pre", "gpt-2"))
        out["decoder"] = BYTE_LEVEL
        return out
    scores = src.get("tokenizer.ggml.scores")
    unk = src.get("tokenizer.ggml.unknown_token_id", 0)
    model.update(unk_token=tokens[unk], fuse_unk=True, byte_fallback=True,
                 merges=merges_from_scores(tokens, scores, kinds))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    if src.get("tokenizer.ggml.add_space_prefix", True):
        replace = {"type": "Sequence",
                   "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace]}
    out["normalizer"] = replace
    out["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}]}
    return out


def tokenizer_config(src):
    tokens = src.get("tokenizer.ggml.tokens")
    c = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        i = src.get(f"tokenizer.ggml.{key}_token_id")
        if i is not None:
            c[f"{name}_token"] = tokens[i]
    for name in ("add_bos_token", "add_eos_token"):
        if src.get(f"tokenizer.ggml.{name}") is not None:
            c[name] = bool(src.get(f"tokenizer.ggml.{name}"))
    if src.get("tokenizer.chat_template"):
        c["chat_template"] = src.get("tokenizer.chat_template")
    return c


def write(path, part):
    specs = {name: safetensors.TensorSpec(dtype=dtype, shape=w.shape, data_ptr=w.ctypes.data,
                                          data_len=w.nbytes)
             for name, (dtype, w) in part.items()}
    safetensors.serialize_file(specs, str(path), {"format": "pt"})


def save(folder, all_tensors, shards):
    if shards == 1:
        write(folder / "model.safetensors", all_tensors)
        return
    names, weight_map = sorted(all_tensors), {}
    for i in range(shards):
        part = names[i * len(names) // shards:(i + 1) * len(names) // shards]
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        write(folder / file, {n: all_tensors[n] for n in part})
        weight_map.update({n: file for n in part})
    total = sum(w.nbytes for _, w in all_tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--type", choices=("f32", "f16", "bf16"), default="f32")
    args = parser.parse_args()

    src = Source(args.source)
    args.folder.mkdir(parents=True, exist_ok=True)
    all_tensors = tensors(src, args.type)
    tied = not any(n in all_tensors for n in ("lm_head.weight", "embed_out.weight"))
    files = {"config.json": config(src, tied, args.type), "tokenizer.json": tokenizer(src)}
    if files["tokenizer.json"]:
        files["tokenizer_config.json"] = tokenizer_config(src)
        eos = src.get("tokenizer.ggml.eos_token_id")
        files["generation_config.json"] = {"eos_token_id": eos}
    for name, content in files.items():
        if content:
            (args.folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1,
                                                       default=lambda x: x.item()))
    save(args.folder, all_tensors, args.shards)


if __name__ == "__main__":
    main()
