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

struct gs_part_file {
    struct gs_store *store;
    size_t count;
    struct gs_part_facts *facts; /* (count) */
    struct gs_part_stored *weights; /* (count) data NULL: not yet decoded */
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
    f->weights = gs_alloc(f->count, sizeof *f->weights);
    f->of_tensor = gs_alloc(gs_store_count(store), sizeof *f->of_tensor);
    rc = f->facts && f->weights && f->of_tensor ? read_all(f, &names, &rows, &cols, err)
                                                : gs_fail_nomem(err, "matrices of parts");
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

int gs_part_file_weights(struct gs_part_file *f, const struct gs_tensor *t, bool exact,
                         struct gs_team *team, const struct gs_part_stored **out,
                         struct gs_err *err)
{
    size_t i = f->of_tensor[tensor_index(f, t)] - 1;
    const struct gs_part_facts *facts = &f->facts[i];
    const void *blob;
    float *w = NULL;
    int rc = gs_store_data(f->store, t, &blob, err);

    if (!rc && !f->weights[i].data) {
        w = gs_alloc((uint64_t)facts->rows * facts->cols, sizeof *w);
        rc = w ? gs_part_decode(blob, t->bytes, team, w, err) : gs_fail_nomem(err, t->name);
        if (!rc)
            rc = gs_part_store(&w, facts->rows, facts->cols, exact, team, &f->weights[i], err);
        gs_free(&w);
        if (rc)
            rc = gs_err_prefix(err, rc, t->name);
    }
    *out = &f->weights[i];
    return rc;
}
