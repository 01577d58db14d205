/* SPDX-License-Identifier: MIT
 * A hostile file is bounded by itself: as many matrices as it has tensors, each blob as long as
 * its header claims; weights are decoded only for tensors whose shape the architecture asks
 * for. */
#include "model/part_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"

#define NAME_BYTES 160

/* Which piece of which matrix. */
struct piece {
    uint32_t matrix, k;
};

struct gs_part_file {
    struct gs_store *store;
    size_t count;
    struct gs_part_facts *facts; /* (count) */
    struct gs_part_source *sources; /* (count) what is there, or chosen */
    struct gs_part_stored *weights; /* (count) data NULL: not yet decoded */
    struct gs_part_stack *stacks;   /* (count) rows 0: not yet opened */
    const struct gs_tensor *pieces; /* the tensor; NULL: none */
    struct piece *order;            /* (n_pieces) as they lie there */
    size_t n_pieces;
    uint32_t *of_tensor;         /* per tensor of the store: 1 + matrix, or 0 */
};

static size_t tensor_index(const struct gs_part_file *f, const struct gs_tensor *t)
{
    return (size_t)(t - gs_store_tensor(f->store, 0));
}

static int read_matrix(struct gs_part_file *f, size_t i, const char *name, int64_t rows,
                       int64_t cols, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(f->store, name);
    struct gs_part_facts *facts = &f->facts[i];
    const void *blob;
    int rc;

    if (!t)
        return gs_fail(err, GS_E_FORMAT, "the tensor is missing");
    if (t->type != GS_TYPE_I8 || t->n_dims != 1)
        return gs_fail(err, GS_E_FORMAT, "expected I8 [bytes]");
    if (f->of_tensor[tensor_index(f, t)])
        return gs_fail(err, GS_E_FORMAT, "the tensor is given twice");
    if ((rc = gs_store_data(f->store, t, &blob, err)) ||
        (rc = gs_part_read_facts(blob, t->bytes, facts, err)))
        return rc;
    if (rows < 0 || cols < 0 || (uint64_t)rows != facts->rows || (uint64_t)cols != facts->cols)
        return gs_fail(err, GS_E_FORMAT, "shape [%" PRId64 ", %" PRId64 "] in the metadata, [%zu, "
                       "%zu] in the tensor", cols, rows, facts->cols, facts->rows);
    f->of_tensor[tensor_index(f, t)] = (uint32_t)i + 1;
    f->sources[i] = (struct gs_part_source){.base_bytes = t->bytes, .pieces = 1};
    f->sources[i].piece[0] = blob;
    if (facts->pieces > 1 && t->bytes != facts->piece[0].bytes)
        return gs_fail(err, GS_E_FORMAT, "pieces behind its base");
    return GS_OK;
}

static int read_all(struct gs_part_file *f, const struct gs_array *names,
                    const struct gs_array *rows, const struct gs_array *cols,
                    struct gs_err *err)
{
    char name[NAME_BYTES];

    for (size_t i = 0; i < f->count; i++) {
        struct gs_str s = gs_array_str(names, i);
        if (!s.size || s.size >= sizeof name || memchr(s.data, 0, s.size))
            return gs_fail(err, GS_E_FORMAT, "key " GS_KEY_PART "names: a bad name");
        memcpy(name, s.data, s.size);
        name[s.size] = 0;
        int rc = read_matrix(f, i, name, gs_array_int(rows, i), gs_array_int(cols, i), err);
        if (rc)
            return gs_err_prefix(err, rc, name);
    }
    return GS_OK;
}

/* Where every piece lies. */
static int place_pieces(struct gs_part_file *f, const struct gs_array *of, const uint8_t *data,
                        struct gs_err *err)
{
    uint64_t at = 0;

    for (size_t i = 0; i < f->n_pieces; i++) {
        uint64_t m = (uint64_t)gs_array_int(of, i);
        struct gs_part_source *s = m < f->count ? &f->sources[m] : NULL;
        if (!s || s->pieces >= f->facts[m].pieces)
            return gs_fail(err, GS_E_FORMAT, "key " GS_KEY_PART "pieces: piece %zu is of no "
                           "matrix that has so many", i);
        uint64_t bytes = f->facts[m].piece[s->pieces].bytes;
        if (bytes > f->pieces->bytes - at)
            return gs_fail(err, GS_E_FORMAT, "tensor " GS_PART_PIECES_TENSOR ": piece %zu of "
                           "%zu ends beyond its %" PRIu64 " bytes", i, f->n_pieces,
                           f->pieces->bytes);
        f->order[i] = (struct piece){(uint32_t)m, s->pieces};
        s->piece[s->pieces++] = data + at;
        at += bytes;
    }
    if (at != f->pieces->bytes)
        return gs_fail(err, GS_E_FORMAT, "tensor " GS_PART_PIECES_TENSOR ": %" PRIu64
                       " bytes, its pieces have %" PRIu64, f->pieces->bytes, at);
    return GS_OK;
}

static int read_pieces(struct gs_part_file *f, struct gs_err *err)
{
    struct gs_array of;
    const void *data;
    int rc = gs_meta_get_array(gs_store_meta(f->store), GS_KEY_PART "pieces", GS_VALUE_I64, &of,
                               err);

    f->pieces = gs_store_find(f->store, GS_PART_PIECES_TENSOR);
    if (rc < 0 || (!rc && !f->pieces))
        return rc;
    if (!rc || !f->pieces || f->pieces->type != GS_TYPE_I8 || f->pieces->n_dims != 1 ||
        f->of_tensor[tensor_index(f, f->pieces)] || of.count > f->pieces->bytes)
        return gs_fail(err, GS_E_FORMAT, "key " GS_KEY_PART "pieces and tensor "
                       GS_PART_PIECES_TENSOR ", I8 [bytes], do not go together");
    f->n_pieces = (size_t)of.count;
    f->order = gs_alloc(f->n_pieces, sizeof *f->order);
    if (!f->order)
        return gs_fail_nomem(err, "pieces");
    if ((rc = gs_store_data(f->store, f->pieces, &data, err)))
        return rc;
    return place_pieces(f, &of, data, err);
}

static int read_arrays(struct gs_store *store, struct gs_array *names, struct gs_array *rows,
                       struct gs_array *cols, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(store);
    int rc = gs_meta_get_array(meta, GS_KEY_PART "names", GS_VALUE_STRING, names, err);

    if (rc <= 0)
        return rc;
    if ((rc = gs_meta_get_array(meta, GS_KEY_PART "rows", GS_VALUE_I64, rows, err)) < 0 ||
        (rc && (rc = gs_meta_get_array(meta, GS_KEY_PART "cols", GS_VALUE_I64, cols, err)) < 0))
        return rc;
    if (!rc || rows->count != names->count || cols->count != names->count ||
        names->count > gs_store_count(store))
        return gs_fail(err, GS_E_FORMAT, "keys " GS_KEY_PART "names, rows and cols do not go "
                       "together");
    return 1;
}

int gs_part_file_open(struct gs_store *store, struct gs_part_file **out, struct gs_err *err)
{
    struct gs_array names, rows, cols;
    int rc = read_arrays(store, &names, &rows, &cols, err);

    *out = NULL;
    if (rc <= 0)
        return rc ? gs_err_prefix(err, rc, gs_store_path(store)) : GS_OK;
    struct gs_part_file *f = gs_alloc(1, sizeof *f);
    if (!f)
        return gs_fail_nomem(err, "matrices of parts");
    f->store = store;
    f->count = (size_t)names.count;
    f->facts = gs_alloc(f->count, sizeof *f->facts);
    f->sources = gs_alloc(f->count, sizeof *f->sources);
    f->weights = gs_alloc(f->count, sizeof *f->weights);
    f->stacks = gs_alloc(f->count, sizeof *f->stacks);
    f->of_tensor = gs_alloc(gs_store_count(store), sizeof *f->of_tensor);
    rc = f->facts && f->sources && f->weights && f->stacks && f->of_tensor
             ? read_all(f, &names, &rows, &cols, err) : gs_fail_nomem(err, "matrices of parts");
    if (!rc)
        rc = read_pieces(f, err);
    if (rc) {
        gs_part_file_close(&f);
        return gs_err_prefix(err, rc, gs_store_path(store));
    }
    *out = f;
    return GS_OK;
}

void gs_part_file_close(struct gs_part_file **fp)
{
    struct gs_part_file *f = *fp;

    if (!f)
        return;
    for (size_t i = 0; f->weights && i < f->count; i++)
        gs_free(&f->weights[i].data);
    gs_free(&f->weights);
    gs_free(&f->sources);
    gs_free(&f->stacks);
    gs_free(&f->order);
    gs_free(&f->facts);
    gs_free(&f->of_tensor);
    gs_free(fp);
}

const struct gs_part_facts *gs_part_file_facts(const struct gs_part_file *f,
                                               const struct gs_tensor *t)
{
    uint32_t mark = f ? f->of_tensor[tensor_index(f, t)] : 0;

    return mark ? &f->facts[mark - 1] : NULL;
}

bool gs_part_file_is_side(const struct gs_part_file *f, const struct gs_tensor *t)
{
    return f && f->pieces == t;
}

size_t gs_part_file_sides(const struct gs_part_file *f)
{
    return f && f->pieces ? 1 : 0;
}

/* ---- what is loaded ----------------------------------------------------------------------- */

/* Precisions that matrices in layers are there in, as "2, 3, 4"; "" for none. */
static void list_bits(const struct gs_part_file *f, char *out, size_t size)
{
    bool has[65] = {false};
    size_t used = 0;

    *out = 0;
    for (size_t i = 0; i < f->count; i++)
        for (unsigned k = 0; f->facts[i].pieces > 1 && k < f->sources[i].pieces; k++)
            has[GS_MIN(f->facts[i].piece[k].serves, 64u)] = true;
    for (unsigned b = 1; b <= 64 && used < size; b++)
        if (has[b])
            used += (size_t)snprintf(out + used, size - used, "%s%u", used ? ", " : "", b);
}

/* Embedding and head may have precisions of their own: then the next higher one. */
static int choose_bits(struct gs_part_file *f, uint64_t bits, struct gs_err *err)
{
    bool exactly = false;
    char list[160];

    list_bits(f, list, sizeof list);
    if (!*list)
        return gs_fail(err, GS_E_ARG, "%s: %" PRIu64 " bits: the file has one precision",
                       gs_store_path(f->store), bits);
    for (size_t i = 0; i < f->count; i++) {
        unsigned k = 0, there = f->sources[i].pieces;
        if (f->facts[i].pieces < 2)
            continue;
        while (k + 1 < there && f->facts[i].piece[k].serves < bits)
            k++;
        exactly = exactly || f->facts[i].piece[k].serves == bits;
        f->sources[i].pieces = k + 1;
    }
    if (!exactly)
        return gs_fail(err, GS_E_ARG, "%s: %" PRIu64 " bits: the file serves %s",
                       gs_store_path(f->store), bits, list);
    return GS_OK;
}

/* Pieces in their order, as long as they fit. */
static int choose_memory(struct gs_part_file *f, uint64_t memory, struct gs_err *err)
{
    uint64_t bytes = 0;
    unsigned *there = gs_alloc(f->count, sizeof *there);

    if (!there)
        return gs_fail_nomem(err, "pieces");
    for (size_t i = 0; i < f->count; i++) {
        there[i] = f->sources[i].pieces;
        f->sources[i].pieces = 1;
        bytes += f->facts[i].piece[0].memory;
    }
    for (size_t i = 0; i < f->n_pieces; i++) {
        uint32_t m = f->order[i].matrix;
        struct gs_part_source *s = &f->sources[m];
        const struct gs_part_piece *next = &f->facts[m].piece[s->pieces];
        if (s->pieces == there[m])
            continue; /* beyond the bits that were asked for */
        uint64_t more = next->memory - GS_MIN(next[-1].memory, next->memory);
        if (more > memory || bytes > memory - more)
            break;
        s->pieces++;
        bytes += more;
    }
    gs_free(&there);
    return GS_OK;
}

int gs_part_file_choose(struct gs_part_file *f, struct gs_part_choice *c, struct gs_err *err)
{
    int rc = c->bits ? choose_bits(f, c->bits, err) : GS_OK;

    if (!rc && c->memory)
        rc = choose_memory(f, c->memory, err);
    for (size_t i = 0; !rc && i < f->count; i++) {
        const struct gs_part_facts *facts = &f->facts[i];
        c->bytes += facts->piece[f->sources[i].pieces - 1].memory;
        c->pieces += f->sources[i].pieces - 1;
        c->weights += (double)facts->rows * (double)facts->cols;
        c->stored += (double)f->sources[i].base_bytes;
        for (unsigned k = 1; k < f->sources[i].pieces; k++)
            c->stored += (double)facts->piece[k].bytes;
    }
    c->of = f->n_pieces;
    return rc;
}

size_t gs_part_file_pieces(const struct gs_part_file *f)
{
    return f->n_pieces;
}

struct gs_part_place gs_part_file_place(const struct gs_part_file *f, size_t index)
{
    const struct piece *p = &f->order[index];

    return (struct gs_part_place){.data = f->sources[p->matrix].piece[p->k],
                                  .bytes = f->facts[p->matrix].piece[p->k].bytes,
                                  .matrix = p->matrix,
                                  .chosen = p->k < f->sources[p->matrix].pieces};
}

int gs_part_file_stack(struct gs_part_file *f, const struct gs_tensor *t,
                       const struct gs_part_stack **out, struct gs_err *err)
{
    size_t i = f->of_tensor[tensor_index(f, t)] - 1;
    int rc = GS_OK;

    *out = NULL;
    if (!f->facts[i].blocks)
        return GS_OK;
    if (!f->stacks[i].rows && (rc = gs_part_stack_open(&f->sources[i], &f->stacks[i], err))) {
        f->stacks[i].rows = 0;
        return gs_err_prefix(err, rc, t->name);
    }
    *out = &f->stacks[i];
    return rc;
}

int gs_part_file_weights(struct gs_part_file *f, const struct gs_tensor *t, bool exact,
                         struct gs_team *team, const struct gs_part_stored **out,
                         struct gs_err *err)
{
    size_t i = f->of_tensor[tensor_index(f, t)] - 1;
    const struct gs_part_facts *facts = &f->facts[i];
    float *w = NULL;
    int rc = GS_OK;

    if (!f->weights[i].data) {
        w = gs_alloc((uint64_t)facts->rows * facts->cols, sizeof *w);
        rc = w ? gs_part_decode_source(&f->sources[i], team, w, err)
               : gs_fail_nomem(err, t->name);
        if (!rc)
            rc = gs_part_store(&w, facts->rows, facts->cols, exact, team, &f->weights[i], err);
        gs_free(&w);
        if (rc)
            rc = gs_err_prefix(err, rc, t->name);
    }
    *out = &f->weights[i];
    return rc;
}
