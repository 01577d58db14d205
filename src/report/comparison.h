/* SPDX-License-Identifier: MIT
 * What a comparison of recipes found, and the page and the JSON that tell it. Filled by
 * compare/; texts in here may hold anything, writing escapes them. */
#ifndef GS_REPORT_COMPARISON_H
#define GS_REPORT_COMPARISON_H

#include <time.h>

#include "gosset.h"

#include "core/arena.h"
#include "core/err.h"

/* A matrix of the source whose error is measured. */
struct gs_compared_matrix {
    const char *name;  /* of the tensor */
    size_t kind;       /* of comparison->kinds */
    uint32_t block;
    bool head;         /* the output matrix: in no block */
    /* Shares of the input's entries that 8-bit activations make zero (compare/kernel_share.h). */
    double lost_by_token, lost_crosswise;
};

/* A text, by its facts. */
struct gs_compared_text {
    const char *name;  /* "wiki.test.raw"; several are told with commas */
    uint64_t bytes, tokens;
    uint64_t hash;     /* of its bytes, as far as they are used */
};

struct gs_compared_row {
    struct gs_compare_row facts;
    double *errors;    /* (n_matrices) |(W − Ŵ)x|² / |Wx|²; NaN where not known; NULL = failed */
};

struct gs_comparison {
    struct gs_arena arena; /* strings, and all that is borrowed below */
    const char *command, *level;
    time_t started;
    double seconds;
    int threads;
    const char *model_path, *model_name, *arch;
    uint64_t parameters, model_bytes, model_hash;
    double model_bpw;
    struct gs_compared_text text, calib;
    const char *calib_how; /* "given", "the end of the text" */
    uint32_t ctx;
    struct gs_eval_result reference;
    struct gs_compared_matrix *matrices;
    size_t n_matrices;
    const char **kinds;    /* "attn_q" … */
    size_t n_kinds;
    uint32_t n_blocks;
    struct gs_compared_row *rows;
    size_t n_rows, n_planned; /* how many there will be */
};

/* The page, as bytes for gs_free. */
int gs_comparison_page(const struct gs_comparison *comparison, char **text, size_t *n,
                       struct gs_err *err) GS_MUST_USE;
int gs_comparison_text(const struct gs_comparison *comparison, char **text, size_t *n,
                       struct gs_err *err) GS_MUST_USE;

/* Which rows no other one beats in both bits and divergence. front (n_rows). */
void gs_comparison_front(const struct gs_comparison *comparison, bool *front);

/* Indices of the rows in the order of the table: by divergence, failures last. order (n_rows). */
void gs_comparison_sort(const struct gs_comparison *comparison, size_t *order);

#endif
