/* SPDX-License-Identifier: MIT
 * Checks every kernel of every level against the scalar definition, bit for bit.
 *
 * A slot (slots.c) says which field of struct gs_kernels it tests, for which sizes, and how
 * one call goes. The driver (check.c) makes inputs (inputs.c), calls the scalar kernel and
 * the one under test on equal buffers, and compares. Buffers lie against unreadable pages,
 * so a read or write beyond either end is a fault, which is caught and named. */
#ifndef TESTS_CHECK_CHECK_H
#define TESTS_CHECK_CHECK_H

#include "core/rng.h"
#include "kernels/kernels.h"

/* What one call works on. Arrays that a slot does not ask for are empty. */
struct job {
    enum gs_type type;
    size_t n, rows, cols, w_stride, x_stride, y_stride;
    const void *w;   /* stored weights, w_bytes */
    const float *x;  /* x_count floats */
    const float *x2; /* a second array as x, for weight or bias */
    void *out;       /* out_bytes, filled alike before each call */
    size_t w_bytes, x_count, out_bytes;
    float a;         /* a scalar argument */
    float result;    /* what the kernel returns, if it does */
    bool variant;    /* a slot's second way: in place, without bias */
};

/* How stored weights are made. */
enum stored {
    STORED_NONE,
    STORED_ENCODED, /* floats through the scalar encoder, so that sums stay finite */
    STORED_BYTES    /* random and extreme bytes */
};

struct slot {
    const char *name;
    size_t offset; /* of the function pointer in struct gs_kernels */
    int type;      /* index into the array at offset, or -1 */
    enum stored stored;
    bool floats_w;        /* w is declared as floats: aligned for these */
    bool out_bytes_exact; /* output is no floats: NaN has no excuse */
    bool doubles;         /* floats are halves of doubles, places are aligned for these */
    bool powers;          /* n is a power of two */
    bool out_from_x;      /* out starts as a copy of x (in place) */
    bool variants;        /* run again with job->variant */
    bool slow;            /* each fill at one place only */
    float spread;         /* of uniform inputs, 0 = 1 */
    /* Sets the counts of *job from job->n, rows, cols. */
    void (*shape)(struct job *job);
    void (*call)(const struct gs_kernels *k, struct job *job);
    bool matrix; /* rows and cols beyond 1 × 1 */
};

/* All slots; their number. */
size_t slots(const struct slot **out);

/* slots_trellis.c */
void shape_trellis_decode(struct job *job);
void call_trellis_decode(const struct gs_kernels *k, struct job *job);
void shape_trellis_dot(struct job *job);
void call_trellis_dot(const struct gs_kernels *k, struct job *job);
void shape_int8_quantize(struct job *job);
void call_int8_quantize(const struct gs_kernels *k, struct job *job);
void shape_tile_mul(struct job *job);
void call_tile_mul(const struct gs_kernels *k, struct job *job);
void shape_unpack(struct job *job);
void call_unpack(const struct gs_kernels *k, struct job *job);
void shape_codes_dot(struct job *job);
void call_codes_dot(const struct gs_kernels *k, struct job *job);
void shape_codes_mul(struct job *job);
void call_codes_mul(const struct gs_kernels *k, struct job *job);
void shape_viterbi(struct job *job);
void call_viterbi(const struct gs_kernels *k, struct job *job);
void shape_table_viterbi(struct job *job);
void call_table_viterbi(const struct gs_kernels *k, struct job *job);

/* Fills of float arrays, by number; NULL if there is no such. */
const char *fill_name(size_t fill);
void fill_floats(size_t fill, float spread, struct gs_rng *rng, float *x, size_t n);
void fill_bytes(size_t fill, struct gs_rng *rng, void *p, size_t n);

/* A mapping with unreadable pages before and after `bytes` usable ones. */
struct fence {
    uint8_t *begin, *end;
};

enum place { PLACE_END, PLACE_BEGIN, PLACE_ODD, PLACE_COUNT };

bool fence_make(struct fence *fence, size_t bytes);

/* Room for `bytes` that ends at the fence, begins at it, or starts `odd` bytes after. */
void *fence_place(const struct fence *fence, enum place place, size_t bytes, size_t odd);

#endif
