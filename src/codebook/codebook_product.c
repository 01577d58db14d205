/* SPDX-License-Identifier: MIT
 * Learned vectors, alone and as products.
 *
 *     vector    dim weights are one of 2^k vectors, learned by k-means; k = bits · dim
 *     product   dim weights in `parts` equal pieces, piece p by a table of its own (Jégou, Douze
 *               & Schmid, "Product quantization for nearest neighbor search", 2011; FastText.zip,
 *               arXiv:1612.03651: 256 vectors for every two numbers of an embedding)
 *
 *     code      bits [p · k, (p + 1) · k) name the vector of piece p; k = bits · dim / parts
 *     file      tables one after another, each (piece, 2^k), in f16
 *
 * Tables belong to the matrix, scales to groups (`scale` = 0: none; tables then hold weights as
 * they are). FastText's tables for every pair of columns of a whole row would need codes as
 * long as a row; here pieces repeat after dim columns. `candidates` is told in kmeans.c. */
#include <string.h>

#include "codebook/members.h"
#include "codebook/scale_fit.h"
#include "codebook/vector.h"
#include "core/alloc.h"

enum { PARTS_MAX = 32, ITERATIONS = 50 };

struct product_book {
    struct gs_codebook base;
    unsigned parts, piece;      /* piece: weights of a part */
    unsigned bits;              /* of a part */
    unsigned candidates;
    float *table[PARTS_MAX];    /* (piece, 2^bits) of each part */
};

static struct product_book *book_of(struct gs_codebook *codebook)
{
    return (struct product_book *)codebook;
}

static const struct product_book *const_book_of(const struct gs_codebook *codebook)
{
    return (const struct product_book *)codebook;
}

static size_t table_count(const struct product_book *book)
{
    return (size_t)book->piece << book->bits;
}

/* dim and parts are sound; the other fields come from the keys. */
static int make(const struct gs_codebook_kind *kind, struct product_book facts,
                struct gs_codebook **out, struct gs_err *err)
{
    unsigned bits = facts.parts * facts.bits;

    if (bits > 64)
        return gs_fail(err, GS_E_ARG, "codebook %s: parts: %u of %u bits are more than the 64 "
                       "bits of a code", kind->name, facts.parts, facts.bits);
    struct product_book *book = gs_alloc(1, sizeof *book);
    float *tables = gs_alloc((size_t)facts.parts, table_count(&facts) * sizeof *tables);
    if (!book || !tables) {
        gs_free(&book);
        gs_free(&tables);
        return gs_fail_nomem(err, "codebook");
    }
    *book = facts;
    for (unsigned p = 0; p < facts.parts; p++)
        book->table[p] = tables + p * table_count(&facts);
    book->base.dim = facts.parts * facts.piece;
    book->base.states = bits < 64 ? UINT64_C(1) << bits : 0;
    book->base.shared_bits = 16 * (uint64_t)facts.parts * table_count(&facts);
    *out = &book->base;
    return GS_OK;
}

static void product_destroy(struct gs_codebook *codebook)
{
    gs_free(&book_of(codebook)->table[0]); /* one block for all */
}

static int product_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                         struct gs_err *err)
{
    struct product_book *book = book_of(codebook);
    struct gs_kmeans means = {.k = 1u << book->bits, .dim = book->piece,
                              .iterations = ITERATIONS, .candidates = book->candidates,
                              .seed = data->seed, .team = data->team};
    struct gs_vectors v;
    int rc = gs_vectors_gather(data, codebook->dim, codebook->has_scale,
                               gs_vectors_enough(means.k), &v, err);

    if (rc)
        return rc;
    for (unsigned p = 0; p < book->parts && !rc; p++) {
        means.first = p * book->piece;
        rc = gs_kmeans_run(&means, &v, book->table[p], err);
    }
    gs_table_round(book->table[0], book->parts * table_count(book));
    gs_vectors_clear(&v);
    return rc;
}

static void product_write(const struct gs_codebook *codebook, uint8_t *dst)
{
    const struct product_book *book = const_book_of(codebook);

    gs_table_write(book->table[0], book->parts * table_count(book), dst);
}

static int product_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
{
    const struct product_book *book = const_book_of(codebook);

    return gs_table_read(book->table[0], book->parts * table_count(book),
                         codebook->kind->name, src, err);
}

static void product_fit(const struct gs_codebook *codebook, const struct gs_scale_rule *rule,
                        const float *x, const float *h, size_t n, float *table,
                        struct gs_group *out)
{
    (void)table;
    if (codebook->has_scale)
        gs_scale_fit(codebook, rule, x, h, n, 1, out);
}

static void product_value(const struct gs_codebook *codebook, const struct gs_group *group,
                          uint64_t code, float *y)
{
    const struct product_book *book = const_book_of(codebook);
    size_t k = (size_t)1 << book->bits;

    for (unsigned p = 0; p < book->parts; p++, code >>= book->bits)
        for (unsigned j = 0; j < book->piece; j++)
            y[p * book->piece + j] = group->scale * book->table[p][j * k + (code & (k - 1))];
}

static uint64_t product_nearest(const struct gs_codebook *codebook,
                                const struct gs_group *group, const float *x, const float *h,
                                float *y)
{
    const struct product_book *book = const_book_of(codebook);
    float inverse = group->scale > 0 ? 1 / group->scale : 0, scaled[GS_CODEBOOK_DIM];
    uint64_t code = 0;

    for (unsigned i = 0; i < codebook->dim; i++)
        scaled[i] = x[i] * inverse;
    for (unsigned p = 0; p < book->parts; p++) {
        unsigned first = p * book->piece;
        code |= (uint64_t)gs_vector_nearest(book->table[p], 1u << book->bits, book->piece,
                                            scaled + first, h ? h + first : NULL)
                << (p * book->bits);
    }
    product_value(codebook, group, code, y);
    return code;
}

/* ---- the kinds ---------------------------------------------------------------------------- */

static const struct gs_codebook_key vector_keys[] = {
    {"bits", "bits a weight: 2^(bits · dim) vectors, 2 to 1024", 0.125, 10, 2, false},
    {"dim", "weights of a vector", 1, 8, 4, true},
    {"scale", "1: groups have scales", 0, 1, 1, true},
    {"candidates", "nearest vectors that share a vector of weights at first; 1: none", 1, 16, 1,
     true},
    {0},
};

static int vector_create(const struct gs_codebook_kind *kind, const double *values,
                         struct gs_codebook **out, struct gs_err *err)
{
    struct product_book facts = {.parts = 1, .piece = (unsigned)values[1],
                                 .candidates = (unsigned)values[3]};
    int rc = gs_vector_bits(kind->name, values[0], values[1], 10, &facts.bits, err);

    facts.base.has_scale = values[2] != 0;
    return rc ? rc : make(kind, facts, out, err);
}

const struct gs_codebook_kind gs_codebook_vector = {
    .name = "vector",
    .paper = "Linde, Buzo & Gray, 1980; candidates: Deng et al., VQ4DiT, arXiv:2408.17131",
    .keys = vector_keys,
    .create = vector_create,
    .destroy = product_destroy,
    .learn = product_learn,
    .write = product_write,
    .read = product_read,
    .fit = product_fit,
    .nearest = product_nearest,
    .value = product_value,
};

static const struct gs_codebook_key product_keys[] = {
    {"dim", "weights of a code", 1, GS_CODEBOOK_DIM, 8, true},
    {"parts", "pieces with tables of their own; they divide dim", 1, PARTS_MAX, 4, true},
    {"bits", "bits a weight: 2^(bits · dim / parts) vectors for a piece, 2 to 256", 0.015625, 8, 2,
     false},
    {"scale", "1: groups have scales", 0, 1, 1, true},
    {"candidates", "nearest vectors that share a piece at first; 1: none", 1, 16, 1, true},
    {0},
};

static int product_create(const struct gs_codebook_kind *kind, const double *values,
                          struct gs_codebook **out, struct gs_err *err)
{
    unsigned dim = (unsigned)values[0];
    struct product_book facts = {.parts = (unsigned)values[1],
                                 .candidates = (unsigned)values[4]};

    if (dim % facts.parts)
        return gs_fail(err, GS_E_ARG, "codebook %s: parts: %u do not divide dim = %u",
                       kind->name, facts.parts, dim);
    facts.piece = dim / facts.parts;
    facts.base.has_scale = values[3] != 0;
    int rc = gs_vector_bits(kind->name, values[2], facts.piece, 8, &facts.bits, err);
    return rc ? rc : make(kind, facts, out, err);
}

const struct gs_codebook_kind gs_codebook_product = {
    .name = "product",
    .paper = "Jegou, Douze & Schmid, 2011; Joulin et al., FastText.zip, arXiv:1612.03651",
    .keys = product_keys,
    .create = product_create,
    .destroy = product_destroy,
    .learn = product_learn,
    .write = product_write,
    .read = product_read,
    .fit = product_fit,
    .nearest = product_nearest,
    .value = product_value,
};
