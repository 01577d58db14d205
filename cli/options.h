/* SPDX-License-Identifier: MIT
 * The command line: one table of options per group, one list of groups per command. Parsing,
 * help text, defaults and suggestions all come from the tables.
 *
 *   gosset COMMAND [OPTIONS] ARGUMENTS      options and arguments in any order
 *   -n 5  -n5  --temp 0.7  --temp=0.7       values
 *   --                                      all that follows are arguments */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <gosset.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_ARGUMENTS 2
#define MAX_FILES 16

/* Values of an option that may be given several times. */
struct files {
    const char *path[MAX_FILES];
    size_t count;
};

/* Exit codes: with those of gosset --help. */
enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

/* All that a command line can say; strings are borrowed from argv. */
struct settings {
    const char *argument[MAX_ARGUMENTS];
    int n_arguments;
    bool help, json, quiet;
    /* computing */
    int threads;
    const char *cpu;
    uint32_t ctx, batch;
    bool kv_f32, exact;
    /* generating */
    struct gs_sampling sampling;
    int64_t n_predict;
    const char *prompt, *prompt_file, *system;
    bool chat, echo;
    uint32_t bits;
    uint64_t memory;
    /* inspect */
    bool tensors, meta;
    /* convert */
    const char *output, *type;
    bool overwrite;
    /* quantize; bench */
    float bpw;
    const char *recipe, *imatrix, *tune;
    struct files calib, keep;
    uint64_t size;
    const char *requantize_changed, *fold;
    uint64_t tokens;
    bool pure;
    bool allow_requantize, resume, dry_run, no_eval;
    /* train */
    const char *init, *config, *tokenizer, *valid, *optimizer, *schedule, *log;
    struct files texts;
    uint64_t steps, warmup, checkpoint, seed;
    uint32_t accumulate;
    float lr, least_lr, decay, beta1, beta2, clip;
    /* eval */
    const char *text_file, *ref, *task_file;
    uint32_t chunks;
    uint64_t limit;
    /* bench */
    uint32_t window;
    bool all_rates;
    const char *format;
    uint32_t repeat, predict_tokens;
    const char *prompt_sizes;
    bool cold;
    /* delta */
    bool apply, per_row, all;
    uint32_t planes, rank;
    const char *factors, *delta;
    /* compare */
    const char *recipes, *bpw_list, *report, *keep_files;
    /* tokenize */
    const char *text, *file, *split;
    bool ids, bos, special;
};

struct option;

/* What a value may be. parse: false, and a reason such as "is not a number", if it is not. */
struct option_kind {
    bool takes_value;
    bool (*parse)(const struct option *option, const char *text, void *field, char *why,
                  size_t why_size);
    void (*show)(const void *field, char *out, size_t size); /* the default, "" = none */
};

extern const struct option_kind kind_flag, kind_string, kind_int, kind_u32, kind_u64, kind_i64,
    kind_float, kind_files, kind_bytes;

struct option {
    char letter; /* 0 = none */
    const char *name;
    const char *value; /* its name in the help, NULL for a flag */
    const char *help;
    const struct option_kind *kind;
    size_t offset; /* in struct settings */
    double min, max;
};

/* Rows of a list of options: how much of a file in pieces is loaded. */
#define LOAD_OPTIONS                                                                           \
    {0, "bits", "N", "of a file that serves several precisions: load so many bits a weight; "  \
     "0 = all", &kind_u32, offsetof(struct settings, bits), 0, 64},                            \
    {0, "memory", "SIZE", "load as much of a file in pieces as goes into this memory with "    \
     "context and buffers: 700MB, 3.5GiB; 0 = all", &kind_bytes,                               \
     offsetof(struct settings, memory), 0, 0}

struct option_group {
    const char *title;
    const struct option *options;
    size_t count;
};

#define MAX_GROUPS 6

struct command {
    const char *name;
    const char *summary;   /* one line */
    const char *arguments; /* "MODEL" */
    const char *details;   /* paragraphs of the help, or "" */
    const char *examples;  /* lines */
    int n_arguments;       /* required … */
    int n_optional;        /* … and may follow */
    const struct option_group *groups[MAX_GROUPS];
    int (*run)(const struct settings *settings);
};

/* Shared groups, see options.c. */
extern const struct option_group group_output, group_compute, group_context, group_sampling;

void settings_default(struct settings *settings);

/* EXIT_OK or, after a message on stderr, EXIT_USAGE. */
int options_parse(const struct command *command, int argc, char **argv,
                  struct settings *settings);

void options_help(const struct command *command);

/* One line on stderr, "gosset COMMAND: …", and a pointer to the help; EXIT_USAGE. */
int usage_error(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Edits (insert, delete, replace, swap neighbours) that make b of a, at most `limit`. */
int edit_distance(const char *a, const char *b, int limit);

#endif
