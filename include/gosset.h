/* SPDX-License-Identifier: MIT
 *
 * gosset: quantizes, measures and runs transformer models at any bit-width.
 *
 * The whole public interface. Objects are opaque; `create`/`open` pairs with
 * `destroy`/`close`, which take the address of the pointer, accept NULL and clear it.
 * A function that can fail returns int: 0 (or a count, where said) on success, a negative
 * enum gs_code otherwise, and fills `err` (may be NULL) with one line that names the file,
 * the place in it and the rule. Returned `const` pointers are borrowed from their owner.
 * Strings are UTF-8. The library never prints and never exits.
 */
#ifndef GOSSET_H
#define GOSSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GS_VERSION "0.1.0"
#define GS_API __attribute__((visibility("default")))

/* ---- errors, log, progress ------------------------------------------------------- */

enum gs_code {
    GS_OK = 0,
    GS_E_ARG = -1,         /* an argument is wrong */
    GS_E_IO = -2,          /* the operating system refused: missing file, full disk */
    GS_E_FORMAT = -3,      /* an input breaks a rule of its format */
    GS_E_UNSUPPORTED = -4, /* an input is valid but not supported */
    GS_E_NOMEM = -5,       /* out of memory */
    GS_E_STOPPED = -6      /* a progress callback asked to stop */
};

struct gs_err {
    int code;     /* enum gs_code; zero-initialise before the first use */
    uint64_t pos; /* byte position in the input, where that makes sense */
    char msg[496];
};

enum gs_log_level { GS_LOG_INFO, GS_LOG_WARN };
typedef void (*gs_log_fn)(void *ctx, enum gs_log_level level, const char *line);

/* One callback for the process; NULL (the default) discards. Set it before other calls. */
GS_API void gs_set_log(gs_log_fn fn, void *ctx);

/* Told now and then during a long call: `done` of `total` units of `what`. Returning
 * non-zero stops the call, which then returns GS_E_STOPPED. */
typedef int (*gs_progress_fn)(void *ctx, const char *what, uint64_t done, uint64_t total);

GS_API const char *gs_version(void);

/* Names of the kernel levels that this processor can run, weakest first, NULL at the end
 * of the list. The environment variable GOSSET_CPU or gs_cpu_select lowers the choice. */
GS_API const char *gs_cpu_level(size_t index);
GS_API const char *gs_cpu_selected(void);
GS_API int gs_cpu_select(const char *level, struct gs_err *err);

/* ---- models ------------------------------------------------------------------------ */

struct gs_model;

struct gs_model_info {
    const char *arch;    /* "llama", "qwen2"… as GGUF's general.architecture */
    const char *name;    /* general.name, or "" */
    const char *format;  /* "gguf", "safetensors" */
    uint64_t parameters; /* weights: scales and factors of native matrices do not count */
    uint64_t bytes;      /* bytes of all tensors */
    double bpw;          /* 8 · bytes / parameters */
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv;
    size_t n_tensors, n_meta;
    bool has_tokenizer;
};

struct gs_tensor_info {
    const char *name;
    const char *type;  /* "Q4_K"; the grid of a native matrix: "trellis8" */
    uint32_t n_dims;
    uint64_t shape[4]; /* innermost (input features) first, as in GGUF */
    uint64_t bytes;
};

/* Opens a GGUF file (any shard of a set), a safetensors file or a Hugging Face folder.
 * Metadata is read and checked; weights are memory-mapped. Any such file opens, whatever it
 * holds: the tokenizer and the network are built when a call first needs them, and only
 * that call fails for a vocabulary, an adapter or an architecture that is not supported. */
GS_API int gs_model_open(const char *path, struct gs_model **out, struct gs_err *err);
GS_API void gs_model_close(struct gs_model **model);

struct gs_session_options;

struct gs_load_options {
    int threads; /* 0 = one a core */
    bool exact;  /* matrices of codebooks that no integer type holds exactly: in F32, not F16 */
    uint32_t bits;   /* of a file that serves several precisions; 0 = the highest */
    uint64_t memory; /* bytes that weights, and a session by `session`, may take: of matrices in
                        pieces so many are loaded as fit; 0 = no limit */
    const struct gs_session_options *session; /* or NULL: all defaults */
};

/* Makes the model's network now, which else the first call does that needs it, as if by options
 * NULL (all defaults). Does nothing once it is made. */
GS_API int gs_model_load(struct gs_model *model, const struct gs_load_options *options,
                         struct gs_err *err);
GS_API void gs_model_info(const struct gs_model *model, struct gs_model_info *out);
GS_API int gs_model_tensor(const struct gs_model *model, size_t index,
                           struct gs_tensor_info *out, struct gs_err *err);

/* GS_OK if the model can run: a supported architecture with all its tensors. Otherwise the
 * error that gs_session_create would give. */
GS_API int gs_model_runnable(const struct gs_model *model, struct gs_err *err);

/* Metadata pair `index` as text; type is "u32", "string", "string[49152]"… Arrays are cut
 * after their first elements. Borrowed until the next call. */
GS_API int gs_model_meta(struct gs_model *model, size_t index, const char **key,
                         const char **type, const char **value, struct gs_err *err);

/* ---- text ---------------------------------------------------------------------------- */

enum gs_tokenize_flag {
    GS_TOKENIZE_BOS = 1,    /* add BOS/EOS where the model wants them */
    GS_TOKENIZE_SPECIAL = 2 /* text such as <|im_end|> becomes its control token */
};

/* Tokens of n bytes of text; *tokens is to be freed with gs_tokens_free. Returns their
 * number or a negative code. Invalid UTF-8 is read as U+FFFD. */
GS_API int64_t gs_tokenize(const struct gs_model *model, const char *text, size_t n, int flags,
                           int32_t **tokens, struct gs_err *err);
GS_API void gs_tokens_free(int32_t **tokens);

/* The bytes of one token in running text (may be part of a character). Returns the number
 * of bytes, at most `capacity` of which are written; control tokens give 0 bytes unless
 * `special`. */
GS_API int64_t gs_token_bytes(const struct gs_model *model, int32_t token, bool special,
                              char *out, size_t capacity);

struct gs_chat_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
};

/* The prompt text for a conversation by the model's own template (or its closest known
 * relative, with a warning in the log). *text is to be freed with gs_text_free. */
GS_API int gs_chat_format(const struct gs_model *model, const struct gs_chat_message *messages,
                          size_t n_messages, bool add_generation_prompt, char **text,
                          struct gs_err *err);
GS_API void gs_text_free(char **text);

/* ---- running -------------------------------------------------------------------------- */

struct gs_session;

struct gs_session_options {
    uint32_t ctx;      /* positions; 0 = the smaller of 4096 and the model's */
    uint32_t batch;    /* most tokens a forward pass; 0 = 512 */
    int threads;       /* 0 = one a core */
    bool kv_f32;       /* KV cache in f32 instead of f16 */
    bool exact;        /* products in f32; by default they take activations as 8-bit integers
                          where weights are quantized (docs/kernels.md) */
    gs_progress_fn progress; /* after each batch of a call that feeds more than one; or NULL */
    void *progress_ctx;
};

struct gs_sampling {
    float temp;           /* 0 = greedy */
    int top_k;            /* 0 = off */
    float top_p, min_p;   /* 1 and 0 = off */
    float repeat_penalty; /* 1 = off */
    int repeat_last_n;    /* tokens looked back on */
    uint64_t seed;        /* equal seeds draw alike: give each call of a session its own */
};
#define GS_SAMPLING_DEFAULT {.temp = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, \
                             .repeat_penalty = 1.0f, .repeat_last_n = 64, .seed = 0}

struct gs_run_stats {
    uint64_t prompt_tokens, tokens;
    double prompt_seconds, predict_seconds;
    bool ended; /* the model ended its text, rather than the limit */
};

/* The model must outlive its sessions. Weights are shared between sessions, which may run
 * in different threads; one session is for one thread at a time. */
GS_API int gs_session_create(const struct gs_model *model, const struct gs_session_options *options,
                             struct gs_session **out, struct gs_err *err);
GS_API void gs_session_destroy(struct gs_session **session);
GS_API uint32_t gs_session_ctx(const struct gs_session *session);

/* Positions filled so far; gs_session_rewind drops those from n on. */
GS_API uint32_t gs_session_pos(const struct gs_session *session);
GS_API void gs_session_rewind(struct gs_session *session, uint32_t n);

/* How many of the n tokens, from the first, are what the session has seen from its first
 * position: what a caller with a changed prompt need not feed again. */
GS_API uint32_t gs_session_match(const struct gs_session *session, const int32_t *tokens,
                                 size_t n);

/* Appends tokens; *logits (n_vocab floats, borrowed until the next call) are the last one's. */
GS_API int gs_session_feed(struct gs_session *session, const int32_t *tokens, size_t n,
                           const float **logits, struct gs_err *err);

/* Receives whole UTF-8 characters as they are ready; non-zero stops. */
typedef int (*gs_text_fn)(void *ctx, const char *text, size_t n);

/* Feeds `tokens`, then samples up to n_predict tokens (negative: until the end of text or
 * of the context). The session keeps all that it was fed and has emitted; the token that
 * ended the text is not among it. n may be 0 where something was fed before. Tokens that
 * do not fit are an error, never cut. After warm-up a token allocates nothing (set
 * GOSSET_ALLOC_GUARD=1 in the environment to abort if one does). */
GS_API int gs_session_generate(struct gs_session *session, const int32_t *tokens, size_t n,
                               int64_t n_predict, const struct gs_sampling *sampling,
                               gs_text_fn emit, void *ctx, struct gs_run_stats *stats,
                               struct gs_err *err);

/* ---- measuring -------------------------------------------------------------------------- */

struct gs_eval_options {
    uint32_t ctx;      /* tokens a chunk; 0 = 512 */
    uint32_t chunks;   /* at most so many; 0 = all */
    uint32_t batch;    /* tokens a forward pass, does not change results; 0 = 128 */
    int threads;       /* 0 = one a core */
    bool exact;        /* as in gs_session_options, for the model; its reference always is */
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_eval_result {
    uint64_t tokens, chunks; /* scored tokens */
    double ppl, ppl_sigma;   /* perplexity and its standard error */
    /* Against a reference; NaN without one. Natural logarithms. */
    bool has_ref;
    double ref_ppl, ref_ppl_sigma;
    double ppl_ratio_ln, ppl_ratio_ln_sigma; /* ln(ppl / ref_ppl) */
    double kld_mean, kld_sigma, kld_median, kld_p90, kld_p95, kld_p99, kld_p999, kld_max;
    double dp_mean, rms_dp;  /* change of the right token's probability, in percent */
    double top1, top1_sigma; /* same most likely token, fraction */
};

/* Perplexity of text by llama.cpp's method (the second half of each chunk is scored); with
 * `ref` not NULL also the divergence from it, both models run in lockstep. Both must have
 * the same tokenizer. */
GS_API int gs_eval_text(const struct gs_model *model, const struct gs_model *ref,
                        const char *text, size_t n, const struct gs_eval_options *options,
                        struct gs_eval_result *out, struct gs_err *err);

struct gs_task_result {
    const char *kind;        /* "multiple-choice", "last-word", "winograd" */
    uint64_t items;
    double accuracy, accuracy_low, accuracy_high;  /* raw, with 95 % Wilson interval */
    double accuracy_norm, norm_low, norm_high;     /* normalised by the answer's bytes */
    double ppl;                                    /* of the right answers' tokens */
};

/* Scores a JSONL file of tasks (docs/eval.md lists the layouts); `limit` 0 = all items.
 * options->ctx and ->chunks are not used. */
GS_API int gs_eval_task(const struct gs_model *model, const char *path, uint64_t limit,
                        const struct gs_eval_options *options, struct gs_task_result *out,
                        struct gs_err *err);

/* ---- grids -------------------------------------------------------------------------------- */

/* Names of the grids that weights can be rounded to; NULL at the end of the list. */
GS_API const char *gs_grid_name(size_t index);

struct gs_grid_options {
    uint64_t weights; /* rounded up to a multiple of 65536; 0 = 2^20 */
    uint64_t seed;
    int threads;      /* 0 = one a core */
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_grid_result {
    const char *grid;
    uint32_t window;  /* bits of a trellis grid's state, else 0 */
    uint64_t weights;
    double bpw;       /* bits a weight, everything that the codes need included */
    double mse;       /* mean squared error */
    double bound;     /* the least that any code of this rate can reach: 4^-bpw */
    double cpu_seconds; /* processor time of the search for codes */
};

/* Rounds weights drawn from a unit Gaussian to a grid at `bpw` bits a weight and measures. */
GS_API int gs_grid_measure(const char *grid, double bpw, const struct gs_grid_options *options,
                           struct gs_grid_result *out, struct gs_err *err);

/* Kinds of codebooks: points under scales of groups (docs/grids.md); NULL at the end. */
GS_API const char *gs_codebook_name(size_t index);

struct gs_codebook_result {
    uint64_t group;   /* weights of a group: what was asked for, in whole codes */
    uint64_t weights;
    double bpw;       /* bits a weight of codes and groups */
    uint64_t shared_bits; /* of tables that a whole matrix shares, not in bpw */
    double mse, bound;
    double theory;    /* mse with the best single scale in closed form; 0 = not known */
    double cpu_seconds; /* of learning, fitting and rounding */
};

/* The same for a codebook, as in "uniform:bits=3", with groups of so many weights (0: 65536)
 * and scales stored as `scale`: f32, f16, bf16, e8m0 or e4m3. options->weights 0: 2^18. */
GS_API int gs_codebook_measure(const char *codebook, uint64_t group, const char *scale,
                               const struct gs_grid_options *options,
                               struct gs_codebook_result *out, struct gs_err *err);

/* ---- speed --------------------------------------------------------------------------------- */

struct gs_bench_options {
    const char *format; /* only this format ("trellis8"); NULL = all */
    bool all_rates;     /* every rate of a grid, else whole bits */
    int threads;        /* 0 = one a core */
    uint64_t bytes;     /* of memory to walk through, well above all caches; 0 = 256 MiB */
    double seconds;     /* spent on each measurement in cache; 0 = 0.1 */
};

struct gs_kernel_speed {
    const char *format;   /* "trellis8", "Q4_K"; "int8": plain bytes, the yardstick */
    const char *level;    /* of the kernel */
    double bits;          /* a weight */
    double cache_weights; /* a second, one thread, from the second-level cache */
    double memory_bytes;  /* of weights a second from memory, all threads */
    double stream_bytes;  /* read and not used, a second, just after that */
};

/* Non-zero stops. */
typedef int (*gs_kernel_speed_fn)(void *ctx, const struct gs_kernel_speed *speed);

/* Bytes a second that all threads read from memory. */
GS_API int gs_bench_stream(const struct gs_bench_options *options, double *bytes_per_second,
                           struct gs_err *err);

/* Products of a matrix and one vector, for each format and rate that has a kernel of its
 * own, at each level up to the selected one that has another. */
GS_API int gs_bench_kernels(const struct gs_bench_options *options, gs_kernel_speed_fn fn,
                            void *ctx, struct gs_err *err);

/* ---- converting --------------------------------------------------------------------------- */

struct gs_convert_options {
    const char *type; /* "f32", "f16", "bf16", "q8_0" for matrices; NULL = as stored */
    const char *fold; /* rotations to fold into the weights, as in gs_quantize_options; matrices
                         are then f32 where type is NULL. NULL: none */
    const struct gs_load_options *load; /* of a file in pieces, keep those that gs_model_load would
                         load by its bits, memory and session. NULL: all */
    bool overwrite;   /* replace an existing GGUF file, if it is not part of src */
    int threads;
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_convert_result {
    uint64_t tensors, bytes; /* bytes of the file written */
};

/* Writes `src` (anything gs_model_open takes) as one GGUF file that stock readers accept.
 * The file appears under its name only when it is whole. */
GS_API int gs_convert(const char *src, const char *dst, const struct gs_convert_options *options,
                      struct gs_convert_result *out, struct gs_err *err);

/* ---- transport ------------------------------------------------------------------------ */

struct gs_pack_options {
    bool overwrite; /* replace an existing pack (unpacking: GGUF file) */
    int threads;
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_pack_result {
    uint64_t bytes_in, bytes_out, chunks;
};

/* Writes a file, best a GGUF file, as a smaller pack, and a pack as the same bytes again. A
 * pack that is cut short or damaged is refused with the place; nothing is left behind. */
GS_API int gs_pack(const char *src, const char *dst, const struct gs_pack_options *options,
                   struct gs_pack_result *out, struct gs_err *err);
GS_API int gs_unpack(const char *src, const char *dst, const struct gs_pack_options *options,
                     struct gs_pack_result *out, struct gs_err *err);

/* ---- deltas -------------------------------------------------------------------------- */

struct gs_delta_options {
    uint32_t planes;     /* of signs, one bit a weight each, at most 8; 0 = one, or none with a
                            rank */
    bool per_row;        /* a scale for each row instead of one a matrix */
    uint32_t rank;       /* of factors for what the signs leave; 0 = none */
    const char *factors; /* how these are stored: "f16" (NULL), "int8", "sign" */
    bool all;            /* approximate embeddings and head too, instead of storing them */
    bool overwrite;      /* replace an existing GGUF file */
    int threads;
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_delta_result {
    uint64_t bytes;    /* of the file */
    uint64_t matrices; /* that are approximated */
    uint64_t whole;    /* other tensors that differ and are stored */
    uint64_t weights;  /* of the matrices … */
    double bpw;        /* … and bits for each */
    double error;      /* squares of what is left over squares of the differences */
};

/* Writes what `tuned` changes of `base`: signs and scales (BitDelta), factors of low rank, and
 * whole whatever is no matrix. Stock models (anything gs_model_open takes) of one shape. */
GS_API int gs_delta(const char *base, const char *tuned, const char *dst,
                    const struct gs_delta_options *options, struct gs_delta_result *out,
                    struct gs_err *err);

/* Writes base plus delta as a model; options as for gs_convert. */
GS_API int gs_delta_apply(const char *base, const char *delta, const char *dst,
                          const struct gs_convert_options *options,
                          struct gs_convert_result *out, struct gs_err *err);

/* Opens base plus delta (NULL: none); matrices are made in memory when first used. */
GS_API int gs_model_open_delta(const char *base, const char *delta, struct gs_model **out,
                               struct gs_err *err);

/* ---- quantizing --------------------------------------------------------------------------- */

/* What a plan says of one tensor of the source. */
struct gs_plan_tensor {
    const char *name, *type; /* "trellis8", "F32" */
    double bits;             /* a weight, scales and factors of its own included */
    uint64_t parameters, bytes;
};

struct gs_plan_info {
    uint64_t parameters;
    uint64_t bytes;          /* of all tensors */
    uint64_t file_bytes;     /* of the file, exactly */
    double bpw;              /* 8 · bytes / parameters */
    uint64_t memory_bytes;   /* estimate of the most memory at a time, mapped files left out */
    uint64_t scratch_bytes;  /* on disk beside the output while working */
    double seconds;          /* estimate, from the speed of this machine just now */
    uint64_t calib_tokens;
    const char *fold;        /* a line for each transform: what it bought, or why it is off; NULL:
                                nothing was to be folded */
    size_t n_tensors;
    const struct gs_plan_tensor *tensors;
};

/* Told before any work; non-zero stops (GS_E_STOPPED). Borrowed until it returns. */
typedef int (*gs_plan_fn)(void *ctx, const struct gs_plan_info *plan);

struct gs_quantize_options {
    double bpw;                  /* native file: bits a weight of all tensors, at most */
    uint64_t size;               /* or bytes of the file, at most */
    const char *type;            /* stock file instead: "Q4_K_M", "IQ2_XS"…; see gs_type_name.
                                    "auto": types by measurement, under bpw or size */
    bool pure;                   /* its base type everywhere, no mix */
    const char *const *keep;     /* its types for single tensors: REGEX=TYPE */
    size_t n_keep;
    const char *reuse;           /* a stock file made from src before: matrices that keep their
                                    type are taken from it; or NULL */
    const char *fold;            /* stock files: transforms to fold into the weights, by name with
                                    commas; "none"; "auto", or NULL where second moments are
                                    gathered and nothing is reused: those that lower layer errors */
    const char *recipe;          /* a name of gs_recipe_info, a file, "key=value,…", or pairs
                                    behind one of the others: "gptq,seed=7"; NULL = the default.
                                    With a codebook bpw may be 0: bits as the recipe says */
    const char *const *calib;    /* texts or JSONL files; none = the model's own samples */
    size_t n_calib;
    const char *imatrix;         /* an importance matrix of llama.cpp instead; or NULL */
    uint64_t tokens;             /* of calibration; 0 = the recipe's */
    bool allow_requantize;       /* accept a source that is quantized already */
    const char *tune;            /* "block", "e2e", "both": tune scales, norms, tables after
                                    rounding; or NULL */
    bool overwrite, resume, dry_run, no_eval;
    int threads;
    gs_plan_fn plan;             /* or NULL */
    void *plan_ctx;
    gs_progress_fn progress;
    void *progress_ctx;
};

/* Processor time of the steps, all threads together. */
struct gs_quantize_seconds {
    double forward;   /* the calibration set through the model, twice */
    double moments;   /* second moments of the inputs */
    double rounding;  /* transforms, factors, the search for codes */
    double tuning;
    double measuring;
};

struct gs_quantize_result {
    uint64_t parameters, bytes, file_bytes;
    double bpw;
    double loss;                 /* Σ tr(E H Eᵀ) / Σ tr(W H Wᵀ) over the blocks' matrices */
    bool has_eval;
    struct gs_eval_result eval;  /* against the source */
    struct gs_quantize_seconds cpu_seconds;
};

/* A recipe that is compiled in (docs/recipes.md). */
struct gs_recipe_info {
    const char *name;
    char paper[160];  /* whose method it is, and what it promises; "" = nothing to cite */
    char claim[160];
    char parts[256];  /* "uniform:bits=4, scale group 128, rounder gptq" */
    const char *needs; /* "nothing", "calibration", "gradients" */
    double bits;      /* a weight of a 4096 × 4096 matrix, everything counted; 0 = any within */
    double bits_least, bits_most; /* what a budget may ask for; equal = only `bits` */
};

/* Recipe `index`, by name; 1, 0 past the last, or a negative code. */
GS_API int gs_recipe_info(size_t index, struct gs_recipe_info *out, struct gs_err *err);

/* Names for options->type, as llama-quantize has them; NULL at the end of the list. */
GS_API const char *gs_type_name(size_t index);

/* Writes `src` as a native GGUF file of at most options->bpw bits a weight, or as a stock one
 * that every GGUF runtime reads, of the types that options->type names. The file appears
 * under its name when it is whole; work that was stopped stays in dst.work for `resume`.
 * docs/quantize.md describes recipes and the steps. */
GS_API int gs_quantize(const char *src, const char *dst,
                       const struct gs_quantize_options *options,
                       struct gs_quantize_result *out, struct gs_err *err);

/* ---- comparing ----------------------------------------------------------------------------- */

/* One recipe at one budget. */
struct gs_compare_row {
    const char *recipe;       /* as it was asked for */
    const char *paper;        /* whose method it is; "" = nothing to cite */
    const char *failure;      /* why there are no figures; NULL = all below are set */
    double budget;            /* bits a weight that were asked for; 0 = the recipe's own */
    double bpw;               /* bits a weight of all tensors … */
    double file_bpw;          /* … of the whole file, its vocabulary included … */
    double matrix_bpw;        /* … of the matrices that were rounded, scales and tables included */
    uint64_t file_bytes;
    struct gs_eval_result eval; /* against the source */
    double layer_error;       /* Σ |(W − Ŵ)x|² / Σ |Wx|² over the blocks' matrices, the same x
                                 for all recipes */
    uint32_t passes;          /* of the calibration set through the model, forward */
    double seconds, cpu_seconds; /* to quantize: all that is not measuring */
    struct gs_quantize_seconds steps;
};

/* Told of each row when it is there; non-zero stops. */
typedef int (*gs_compare_fn)(void *ctx, const struct gs_compare_row *row);

struct gs_compare_options {
    const char *const *recipes; /* as options->recipe of gs_quantize, or "stock:Q4_K_M": a type of
                                   gs_type_name */
    size_t n_recipes;           /* 0 = every recipe that has a name */
    const double *bpw;          /* budgets, bits a weight of all tensors, at most; stock types
                                   have none */
    size_t n_bpw;               /* 0 = as the recipes say, 4 where they leave it open */
    const char *text;           /* what the results are measured on */
    const char *const *calib;   /* texts or JSONL files, none of which may be `text`; none: the
                                   end of `text`, which is then not measured on */
    size_t n_calib;
    uint64_t tokens;            /* of calibration, for every recipe; 0 = 32768 */
    uint32_t ctx, chunks;       /* of measuring, as in gs_eval_options */
    const char *report;         /* the page; JSON goes beside it, with .json for .html */
    const char *keep;           /* a folder for the quantized files; NULL = they are removed */
    const char *command;        /* the command line, to be told on the page; or NULL */
    bool overwrite;             /* replace the report and files in `keep` */
    bool allow_requantize;      /* accept a source that is quantized already */
    int threads;
    gs_compare_fn row;          /* or NULL */
    void *row_ctx;
    gs_progress_fn progress;
    void *progress_ctx;
};

/* The results of a comparison. */
struct gs_comparison;

/* Quantizes `src` by each recipe at each budget and measures the results on equal footing: one
 * calibration text and number of tokens, one text to measure on, apart from that, one run of the
 * source for all. A recipe that fails is a row with its reason. The report is written after every
 * row, so that what was found so far survives; it also is when a callback stops the work
 * (GS_E_STOPPED). docs/recipes.md says what the figures mean. */
GS_API int gs_compare(const char *src, const struct gs_compare_options *options,
                      struct gs_comparison **out, struct gs_err *err);
GS_API size_t gs_comparison_rows(const struct gs_comparison *comparison);
/* Row `index`, borrowed; NULL past the last. */
GS_API const struct gs_compare_row *gs_comparison_row(const struct gs_comparison *comparison,
                                                      size_t index);
/* All that the page shows, as JSON; *text is to be freed with gs_text_free. */
GS_API int gs_comparison_json(const struct gs_comparison *comparison, char **text,
                              struct gs_err *err);
GS_API void gs_comparison_destroy(struct gs_comparison **comparison);

/* ---- training ------------------------------------------------------------------------------ */

struct gs_train_options {
    const char *init;            /* model to continue; NULL: a new one by config and tokenizer */
    const char *config;          /* sizes of the new model: a file, or "key=value,…" */
    const char *tokenizer;       /* a model whose vocabulary to take; NULL: made from the text */
    const char *const *texts;    /* files to learn from */
    size_t n_texts;
    const char *valid;           /* a text to measure the loss on, now and then; or NULL */
    uint64_t steps;
    uint32_t ctx;                /* tokens a text; 0 = the smaller of 512 and the model's */
    uint32_t batch, accumulate;  /* texts a pass, passes a step; 0 = 8, 1 */
    const char *optimizer;       /* "adamw", "sgd"…; NULL = adamw */
    const char *schedule;        /* "cosine", "linear", "constant"; NULL = cosine */
    double lr, least_lr;         /* 0 = 1e-3, a tenth of lr (0 must be given as negative) */
    double decay, beta1, beta2;  /* negative = 0.1, 0.9, 0.95 */
    double clip;                 /* largest norm of the gradient; 0 = none, negative = 1 */
    uint64_t warmup;             /* steps */
    uint64_t seed;
    uint64_t checkpoint;         /* steps between checkpoints; 0 = 250 */
    const char *type;            /* of matrices in the file: "f32", "f16", "bf16"; NULL = f16 */
    const char *log;             /* JSON lines; NULL = dst.jsonl */
    bool overwrite, resume;
    int threads;
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_train_result {
    uint64_t parameters, steps, tokens, text_tokens, text_bytes, file_bytes;
    double loss;                 /* mean of the last steps (up to 50), nats a token */
    double valid_loss;           /* NaN without `valid` */
    double seconds, tokens_per_second;
};

/* Trains a model on text and writes it to dst. The state of the run is kept in dst.ckpt and,
 * as a file that can be tried, in dst itself at each checkpoint; a run that was stopped goes
 * on with `resume` to the same bits. docs/train.md describes it. */
GS_API int gs_train(const char *dst, const struct gs_train_options *options,
                    struct gs_train_result *out, struct gs_err *err);

/* ---- importance matrices ------------------------------------------------------------------ */

struct gs_imatrix_options {
    const char *const *calib; /* texts or JSONL files; none = the model's own samples */
    size_t n_calib;
    uint64_t tokens;          /* 0 = 32768 of a text, 4096 of own samples */
    uint32_t ctx;             /* tokens of a sequence; 0 = 512 */
    bool overwrite;
    int threads;
    gs_progress_fn progress;
    void *progress_ctx;
};

struct gs_imatrix_result {
    uint64_t entries, tokens, bytes;
};

/* Writes Σ x² of the inputs of the model's matrices over a text as llama.cpp's GGUF imatrix. */
GS_API int gs_imatrix(const char *src, const char *dst, const struct gs_imatrix_options *options,
                      struct gs_imatrix_result *out, struct gs_err *err);

#ifdef __cplusplus
}
#endif

#endif
