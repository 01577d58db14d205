/* SPDX-License-Identifier: MIT
 * Taking a delta: compare the models, plan the file, then for each matrix Δ = W' − W in f32,
 * planes of signs, factors of what they leave. Rows are shared out over the team; sums over a
 * matrix are sums of rows, in their order. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "compensate/compensate.h"
#include "core/alloc.h"
#include "delta/delta_file.h"
#include "file/gguf.h"
#include "file/store_impl.h"

struct making {
    struct gs_store *base, *tuned;
    const struct gs_delta_options *options;
    const struct gs_factor_format *format;
    struct gs_team *team;
    uint32_t planes;           /* of signs */
    struct gs_arena arena;     /* names */
    struct gs_meta *meta;
    struct gs_tensor *plan;    /* up to three tensors for each one of the model */
    size_t *source;            /* which tensor of `tuned` a planned one is for */
    size_t n;
    struct gs_gguf_writer *writer;
    uint64_t base_hash, done, total;
    double squares, rest;      /* ‖Δ‖² and what is left of it, of all matrices */
    uint64_t weights, bytes;   /* of the matrices, and what they take */
};

/* ---- one shape ---- */

static int fail_shape(const struct making *m, const struct gs_tensor *b,
                      const struct gs_tensor *t, struct gs_err *err)
{
    return gs_fail(err, GS_E_ARG, "%s: tensor %s is %" PRIu64 " × %" PRIu64 " × %" PRIu64
                   ", in %s it is %" PRIu64 " × %" PRIu64 " × %" PRIu64,
                   gs_store_path(m->tuned), t->name, t->dim[0], t->dim[1], t->dim[2],
                   gs_store_path(m->base), b->dim[0], b->dim[1], b->dim[2]);
}

static int check_tensors(const struct making *m, const struct gs_store *a,
                         const struct gs_store *b, struct gs_err *err)
{
    for (size_t i = 0; i < gs_store_count(a); i++) {
        const struct gs_tensor *t = gs_store_tensor(a, i), *o = gs_store_find(b, t->name);
        if (!o)
            return gs_fail(err, GS_E_ARG, "%s: has a tensor %s that %s lacks: these are not a "
                           "model and its base", gs_store_path(a), t->name, gs_store_path(b));
        if (memcmp(t->dim, o->dim, sizeof t->dim))
            return fail_shape(m, gs_store_find(m->base, t->name),
                              gs_store_find(m->tuned, t->name), err);
    }
    return GS_OK;
}

static int check_pair(const struct making *m, struct gs_err *err)
{
    struct gs_str a = GS_STR(""), b = GS_STR("");
    int rc;

    if ((rc = gs_delta_check_stock(m->base, err)) || (rc = gs_delta_check_stock(m->tuned, err)))
        return rc;
    if ((rc = gs_meta_get_str(gs_store_meta(m->base), "general.architecture", &a, err)) < 0 ||
        (rc = gs_meta_get_str(gs_store_meta(m->tuned), "general.architecture", &b, err)) < 0)
        return rc;
    if (!a.size || a.size != b.size || memcmp(a.data, b.data, a.size))
        return gs_fail(err, GS_E_ARG, "%s: the architecture is '%.*s', that of %s '%.*s'",
                       gs_store_path(m->tuned), (int)GS_MIN(b.size, 64), b.data,
                       gs_store_path(m->base), (int)GS_MIN(a.size, 64), a.data);
    rc = check_tensors(m, m->tuned, m->base, err);
    return rc ? rc : check_tensors(m, m->base, m->tuned, err);
}

/* ---- plan ---- */

static int same_bytes(const struct making *m, const struct gs_tensor *t, bool *same,
                      struct gs_err *err)
{
    const struct gs_tensor *b = gs_store_find(m->base, t->name);
    const void *x, *y;
    int rc;

    *same = false;
    if (b->type != t->type)
        return GS_OK;
    if ((rc = gs_store_data(m->base, b, &x, err)) || (rc = gs_store_data(m->tuned, t, &y, err)))
        return rc;
    *same = !memcmp(x, y, t->bytes);
    gs_store_release(m->base, b);
    gs_store_release(m->tuned, t);
    return GS_OK;
}

static int plan_tensor(struct making *m, size_t source, const char *tail, enum gs_type type,
                       uint32_t n_dims, uint64_t d0, uint64_t d1, uint64_t d2,
                       struct gs_err *err)
{
    char name[GS_DELTA_NAME_MAX];
    int rc = gs_delta_name(gs_store_tensor(m->tuned, source)->name, tail, name, err);
    struct gs_tensor *t = &m->plan[m->n];

    if (rc)
        return rc;
    *t = (struct gs_tensor){.type = type, .n_dims = n_dims, .dim = {d0, d1, d2, 1},
                            .name = gs_arena_strndup(&m->arena, name, strlen(name)),
                            .file = gs_store_path(m->tuned)};
    m->source[m->n++] = source;
    return t->name ? gs_tensor_bytes(type, n_dims, t->dim, &t->bytes, err)
                   : gs_fail_nomem(err, "the plan");
}

static uint64_t low_bytes(const struct making *m, const struct gs_tensor *t)
{
    struct gs_low_rank shape = {.rows = t->dim[1], .cols = t->dim[0], .format = m->format};

    shape.rank = GS_MIN(m->options->rank, GS_MIN(shape.rows, shape.cols));
    return gs_low_rank_bytes(&shape);
}

static int plan_matrix(struct making *m, size_t i, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_tensor(m->tuned, i);
    int rc = GS_OK;

    if (m->planes) {
        rc = plan_tensor(m, i, "sign", GS_TYPE_I8, 3, gs_delta_row_bytes(t->dim[0]), t->dim[1],
                         m->planes, err);
        if (!rc)
            rc = plan_tensor(m, i, "scale", GS_TYPE_F32, 2, m->options->per_row ? t->dim[1] : 1,
                             m->planes, 1, err);
    }
    if (!rc && m->options->rank)
        rc = plan_tensor(m, i, "low", GS_TYPE_I8, 1, low_bytes(m, t), 1, 1, err);
    m->total += t->dim[0] * t->dim[1];
    return rc;
}

static int make_plan(struct making *m, struct gs_err *err)
{
    size_t count = gs_store_count(m->tuned);
    int rc = GS_OK;

    m->plan = gs_alloc(count, 3 * sizeof *m->plan);
    m->source = gs_alloc(count, 3 * sizeof *m->source);
    if (!m->plan || !m->source)
        return gs_fail_nomem(err, "the plan");
    for (size_t i = 0; !rc && i < count; i++) {
        const struct gs_tensor *t = gs_store_tensor(m->tuned, i);
        bool same;
        if ((rc = same_bytes(m, t, &same, err)) || same)
            continue;
        if (gs_delta_is_matrix(t, m->options->all)) {
            rc = plan_matrix(m, i, err);
            continue;
        }
        m->plan[m->n] = *t;
        m->source[m->n++] = i;
    }
    return rc;
}

/* ---- metadata ---- */

static bool value_equal(const struct gs_value *a, const struct gs_value *b)
{
    if (a->type != b->type)
        return false;
    if (a->type == GS_VALUE_STRING)
        return a->as.s.size == b->as.s.size && !memcmp(a->as.s.data, b->as.s.data, a->as.s.size);
    if (a->type != GS_VALUE_ARRAY)
        return a->as.u == b->as.u;
    if (a->as.a.type != b->as.a.type || a->as.a.count != b->as.a.count)
        return false;
    if (a->as.a.type != GS_VALUE_STRING)
        return !memcmp(a->as.a.data, b->as.a.data,
                       a->as.a.count * gs_value_bytes(a->as.a.type));
    for (uint64_t i = 0; i < a->as.a.count; i++) {
        struct gs_str x = gs_array_str(&a->as.a, i), y = gs_array_str(&b->as.a, i);
        if (x.size != y.size || memcmp(x.data, y.data, x.size))
            return false;
    }
    return true;
}

/* Pairs of `tuned` that `base` has not, and the names of those that only `base` has. */
static int meta_difference(struct making *m, struct gs_err *err)
{
    const struct gs_meta *b = gs_store_meta(m->base), *t = gs_store_meta(m->tuned);
    struct gs_str *removed = gs_alloc(gs_meta_count(b), sizeof *removed);
    size_t n = 0;
    int rc = removed ? GS_OK : gs_fail_nomem(err, "metadata");

    for (size_t i = 0; !rc && i < gs_meta_count(t); i++) {
        const char *key = gs_meta_key(t, i);
        const struct gs_value *v = gs_meta_value(t, i), *w = gs_meta_find(b, key);
        if (!w || !value_equal(v, w) || !strcmp(key, "general.architecture"))
            rc = gs_meta_set(m->meta, (struct gs_str){key, strlen(key)}, v, err);
    }
    for (size_t i = 0; !rc && i < gs_meta_count(b); i++)
        if (!gs_meta_find(t, gs_meta_key(b, i)))
            removed[n++] = (struct gs_str){gs_meta_key(b, i), strlen(gs_meta_key(b, i))};
    if (!rc && n)
        rc = gs_meta_set_array(m->meta, GS_KEY_DELTA "removed", GS_VALUE_STRING, removed, n, err);
    gs_free(&removed);
    return rc;
}

/* Names and types of the matrices, for the reader. */
static int meta_matrices(struct making *m, struct gs_err *err)
{
    struct gs_str *names = gs_alloc(m->n, sizeof *names);
    uint32_t *types = gs_alloc(m->n, sizeof *types);
    size_t n = 0;
    int rc = names && types ? GS_OK : gs_fail_nomem(err, "metadata");

    for (size_t i = 0; !rc && i < m->n; i++) {
        const struct gs_tensor *t = gs_store_tensor(m->tuned, m->source[i]);
        bool first = i == 0 || m->source[i] != m->source[i - 1];
        if (!first || !gs_delta_is_matrix(t, m->options->all))
            continue;
        names[n] = (struct gs_str){t->name, strlen(t->name)};
        types[n++] = t->type == GS_TYPE_F32 || t->type == GS_TYPE_BF16 ? t->type : GS_TYPE_F16;
    }
    if (!rc && n)
        rc = gs_meta_set_array(m->meta, GS_KEY_DELTA "matrices", GS_VALUE_STRING, names, n, err);
    if (!rc && n)
        rc = gs_meta_set_array(m->meta, GS_KEY_DELTA "types", GS_VALUE_U32, types, n, err);
    gs_free(&names);
    gs_free(&types);
    return rc;
}

static int make_meta(struct making *m, struct gs_err *err)
{
    const struct gs_delta_options *o = m->options;
    struct gs_value hash = {.type = GS_VALUE_U64, .as.u = m->base_hash};
    int rc = gs_meta_create(&m->meta, err);

    if (rc || (rc = meta_difference(m, err)) ||
        (rc = gs_meta_set_uint(m->meta, GS_KEY_DELTA "version", GS_DELTA_VERSION, err)) ||
        (rc = gs_meta_set_uint(m->meta, GS_KEY_DELTA "planes", m->planes, err)) ||
        (rc = gs_meta_set_bool(m->meta, GS_KEY_DELTA "per_row", o->per_row, err)) ||
        (rc = gs_meta_set_uint(m->meta, GS_KEY_DELTA "rank", o->rank, err)) ||
        (rc = gs_meta_set_str(m->meta, GS_KEY_DELTA "factors",
                              (struct gs_str){m->format->name, strlen(m->format->name)}, err)) ||
        (rc = gs_meta_set(m->meta, GS_STR(GS_KEY_DELTA "base"), &hash, err)))
        return rc;
    return meta_matrices(m, err);
}

/* ---- data ---- */

struct matrix {
    const struct gs_tensor *base, *tuned;
    const void *base_data, *tuned_data;
    float *rest, *row;     /* (rows, cols): Δ, less what the planes say; (workers, cols) */
    double *sums;          /* (rows): Σ|rest|, then Σ rest² */
    uint8_t *signs;        /* of one plane */
    float *scales;         /* (rows) of one plane */
};

static void subtract_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct matrix *x = ctx;
    uint64_t cols = x->tuned->dim[0];
    float *row = x->row + (size_t)worker * cols;

    for (size_t r = begin; r < end; r++) {
        float *d = x->rest + r * cols;
        gs_delta_decode(x->tuned, x->tuned_data, r, 1, d);
        gs_delta_decode(x->base, x->base_data, r, 1, row);
        for (size_t c = 0; c < cols; c++)
            d[c] -= row[c];
    }
}

static void magnitude_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct matrix *x = ctx;
    uint64_t cols = x->tuned->dim[0];
    (void)worker;

    for (size_t r = begin; r < end; r++) {
        x->sums[r] = 0;
        for (size_t c = 0; c < cols; c++)
            x->sums[r] += (double)fabsf(x->rest[r * cols + c]);
    }
}

static void square_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct matrix *x = ctx;
    uint64_t cols = x->tuned->dim[0];
    (void)worker;

    for (size_t r = begin; r < end; r++) {
        x->sums[r] = 0;
        for (size_t c = 0; c < cols; c++)
            x->sums[r] += (double)x->rest[r * cols + c] * (double)x->rest[r * cols + c];
    }
}

/* Signs of the rest, which then loses them. */
static void sign_run(void *ctx, size_t begin, size_t end, int worker)
{
    struct matrix *x = ctx;
    uint64_t cols = x->tuned->dim[0], bytes = gs_delta_row_bytes(cols);
    (void)worker;

    for (size_t r = begin; r < end; r++) {
        float *d = x->rest + r * cols, scale = x->scales[r];
        uint8_t *signs = x->signs + r * bytes;
        memset(signs, 0, bytes);
        for (size_t c = 0; c < cols; c++) {
            bool up = d[c] >= 0;
            signs[c / 8] = (uint8_t)(signs[c / 8] | up << c % 8);
            d[c] -= up ? scale : -scale;
        }
    }
}

static double sum_rows(struct making *m, struct matrix *x, gs_team_fn fn)
{
    double sum = 0;

    gs_team_run(m->team, x->tuned->dim[1], 16, fn, x);
    for (uint64_t r = 0; r < x->tuned->dim[1]; r++)
        sum += x->sums[r];
    return sum;
}

/* Scales of the next plane. */
static void fit_scales(struct making *m, struct matrix *x)
{
    uint64_t rows = x->tuned->dim[1], cols = x->tuned->dim[0];
    double sum = sum_rows(m, x, magnitude_run);

    for (uint64_t r = 0; r < rows; r++)
        x->scales[r] = (float)(m->options->per_row ? x->sums[r] / (double)cols
                                                   : sum / (double)cols / (double)rows);
}

/* All planes to the tensor `index`, their scales kept in `scales` (planes, rows). */
static int write_planes(struct making *m, struct matrix *x, size_t index, float *scales,
                        struct gs_err *err)
{
    uint64_t rows = x->tuned->dim[1], bytes = rows * gs_delta_row_bytes(x->tuned->dim[0]);
    uint64_t per = m->options->per_row ? rows : 1;
    int rc = GS_OK;

    for (uint32_t p = 0; !rc && p < m->planes; p++) {
        fit_scales(m, x);
        gs_team_run(m->team, rows, 16, sign_run, x);
        memcpy(scales + p * per, x->scales, per * sizeof *scales);
        rc = gs_gguf_write(m->writer, index, x->signs, bytes, err);
    }
    return rc ? rc : gs_gguf_write(m->writer, index + 1, scales,
                                   m->planes * per * sizeof *scales, err);
}

static int write_low(struct making *m, struct matrix *x, size_t index, struct gs_err *err)
{
    uint64_t rows = x->tuned->dim[1], cols = x->tuned->dim[0];
    struct gs_low_rank *low = NULL;
    uint8_t *bytes = NULL;
    int rc = gs_low_rank_create(x->rest, cols, rows, cols, m->options->rank, NULL, m->format,
                                m->team, &low, err);

    if (rc)
        return rc;
    if (!(bytes = gs_alloc(gs_low_rank_bytes(low), 1))) {
        rc = gs_fail_nomem(err, x->tuned->name);
        goto out;
    }
    gs_low_rank_add(low, -1, m->team, x->rest, cols);
    gs_low_rank_write(low, bytes);
    rc = gs_gguf_write(m->writer, index, bytes, gs_low_rank_bytes(low), err);
out:
    gs_free(&bytes);
    gs_low_rank_destroy(&low);
    return rc;
}

static int matrix_open(struct making *m, size_t source, struct matrix *x, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_tensor(m->tuned, source);
    uint64_t cols = t->dim[0], rows = t->dim[1];
    int rc;

    *x = (struct matrix){.base = gs_store_find(m->base, t->name), .tuned = t};
    x->rest = gs_alloc(rows * cols, sizeof *x->rest);
    x->row = gs_alloc((size_t)gs_team_size(m->team) * cols, sizeof *x->row);
    x->sums = gs_alloc(rows, sizeof *x->sums);
    x->scales = gs_alloc(rows, sizeof *x->scales);
    x->signs = gs_alloc(rows, gs_delta_row_bytes(cols));
    if (!x->rest || !x->row || !x->sums || !x->scales || !x->signs)
        return gs_fail_nomem(err, t->name);
    if ((rc = gs_store_data(m->base, x->base, &x->base_data, err)) ||
        (rc = gs_store_data(m->tuned, t, &x->tuned_data, err)))
        return rc;
    gs_team_run(m->team, rows, 16, subtract_run, x);
    gs_store_release(m->base, x->base);
    gs_store_release(m->tuned, t);
    return GS_OK;
}

static void matrix_close(struct matrix *x)
{
    gs_free(&x->rest);
    gs_free(&x->row);
    gs_free(&x->sums);
    gs_free(&x->scales);
    gs_free(&x->signs);
}

/* The tensors of one matrix, from plan index *i on, which moves behind them. */
static int write_matrix(struct making *m, size_t *i, struct gs_err *err)
{
    const struct gs_delta_options *o = m->options;
    size_t index = *i, tensors = (m->planes ? 2 : 0) + (o->rank ? 1 : 0);
    struct matrix x;
    float *scales = NULL;
    int rc = matrix_open(m, m->source[index], &x, err);

    if (rc)
        goto out;
    double squares = sum_rows(m, &x, square_run);
    if (!isfinite(squares)) {
        rc = gs_fail(err, GS_E_FORMAT, "tensor %s: a weight of %s or %s is not finite",
                     x.tuned->name, gs_store_path(m->base), gs_store_path(m->tuned));
        goto out;
    }
    if (!(scales = gs_alloc(x.tuned->dim[1], m->planes * sizeof *scales))) {
        rc = gs_fail_nomem(err, x.tuned->name);
        goto out;
    }
    if ((m->planes && (rc = write_planes(m, &x, index, scales, err))) ||
        (o->rank && (rc = write_low(m, &x, index + tensors - 1, err))))
        goto out;
    m->squares += squares;
    m->rest += sum_rows(m, &x, square_run);
    m->weights += x.tuned->dim[0] * x.tuned->dim[1];
    for (size_t k = 0; k < tensors; k++)
        m->bytes += m->plan[index + k].bytes;
    m->done += x.tuned->dim[0] * x.tuned->dim[1];
    if (o->progress && o->progress(o->progress_ctx, "weights", m->done, m->total))
        rc = gs_fail(err, GS_E_STOPPED, "taking the delta was stopped");
    *i = index + tensors;
out:
    gs_free(&scales);
    matrix_close(&x);
    return rc;
}

static int write_raw(struct making *m, size_t index, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_tensor(m->tuned, m->source[index]);
    const void *data;
    int rc = gs_store_data(m->tuned, t, &data, err);

    if (!rc)
        rc = gs_gguf_write(m->writer, index, data, t->bytes, err);
    gs_store_release(m->tuned, t);
    return rc;
}

static int check_options(struct making *m, struct gs_err *err)
{
    const struct gs_delta_options *o = m->options;
    const char *factors = o->factors ? o->factors : "f16";

    m->planes = o->planes || o->rank ? o->planes : 1;
    if (o->planes > GS_DELTA_PLANES_MAX)
        return gs_fail(err, GS_E_ARG, "%" PRIu32 " planes of signs: at most %d", o->planes,
                       GS_DELTA_PLANES_MAX);
    m->format = gs_factor_format_find(factors);
    if (!m->format)
        return gs_fail(err, GS_E_ARG, "factors '%s': they are stored as f16, int8 or sign",
                       factors);
    return GS_OK;
}

static int run(struct making *m, const char *dst, uint64_t *bytes, struct gs_err *err)
{
    int rc;

    if ((rc = check_options(m, err)) || (rc = check_pair(m, err)) ||
        (rc = gs_team_create(m->options->threads, &m->team, err)) ||
        (rc = gs_delta_fingerprint(m->base, &m->base_hash, err)) || (rc = make_plan(m, err)) ||
        (rc = make_meta(m, err)) ||
        (rc = gs_gguf_create(dst, m->options->overwrite, m->meta, m->plan, m->n, &m->writer,
                             err)))
        return rc;
    for (size_t i = 0; !rc && i < m->n;) {
        if (gs_delta_is_matrix(gs_store_tensor(m->tuned, m->source[i]), m->options->all))
            rc = write_matrix(m, &i, err);
        else
            rc = write_raw(m, i++, err);
    }
    return rc ? rc : gs_gguf_commit(&m->writer, bytes, err);
}

int gs_delta_make(struct gs_store *base, struct gs_store *tuned, const char *dst,
                  const struct gs_delta_options *options, struct gs_delta_result *out,
                  struct gs_err *err)
{
    struct making m = {.base = base, .tuned = tuned, .options = options};
    uint64_t bytes = 0;
    int rc = run(&m, dst, &bytes, err);

    if (!rc && out) {
        *out = (struct gs_delta_result){.bytes = bytes, .weights = m.weights,
                                        .error = m.squares > 0 ? m.rest / m.squares : 0};
        out->bpw = m.weights ? 8 * (double)m.bytes / (double)m.weights : 0;
        for (size_t i = 0; i < m.n; i++) {
            bool first = i == 0 || m.source[i] != m.source[i - 1];
            bool matrix = gs_delta_is_matrix(gs_store_tensor(tuned, m.source[i]), options->all);
            out->matrices += first && matrix;
            out->whole += !matrix;
        }
    }
    gs_gguf_abort(&m.writer);
    gs_team_destroy(&m.team);
    gs_meta_destroy(&m.meta);
    gs_arena_clear(&m.arena);
    gs_free(&m.plan);
    gs_free(&m.source);
    return rc;
}
