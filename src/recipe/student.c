/* SPDX-License-Identifier: MIT */
#include "recipe/student.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "file/gguf.h"
#include "model/native.h"
#include "recipe/student_stock.h"

#define F16_MAX 65504.0f
#define F16_MIN 0x1p-14f

/* What a part of θ changes. */
struct part {
    size_t at;                     /* in θ's list */
    const struct gs_tensor *tensor; /* of the file */
    float *base;                   /* (n) first values */
    size_t n;
    float unit;                    /* the file holds values / unit; 0: f32 as they are */
    const struct gs_param *vector; /* a norm: the dense parameter; NULL: scale or factor */
};

/* Native, or of a block type. */
struct matrix {
    const struct gs_native *native; /* NULL: of a block type */
    struct gs_stock_matrix stock;
    const struct gs_param *dense;
    size_t scale, factor, table; /* parts; SIZE_MAX: the file has none */
    size_t d, dmin;              /* parts of a block type's; dmin may be SIZE_MAX */
    float *k;             /* (rows, cols) */
    float *f;             /* (cols) the factor now */
    int8_t *index;        /* (rows, cols) ± (1 + index); NULL: no table */
    struct gs_transform *plain; /* the input's transform without a factor */
};

struct gs_student {
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_team *team;
    struct gs_params *params, theta;
    struct part *parts;
    struct matrix *matrices;
    size_t n_parts, n_matrices;
};

const struct gs_params *gs_student_params(const struct gs_student *s)
{
    return s->params;
}

struct gs_params *gs_student_theta(struct gs_student *s)
{
    return &s->theta;
}

static bool in_layer(const struct gs_student *s, const struct gs_param *p, uint32_t il)
{
    uint32_t layer = p->slot < GS_SLOT_MODEL_COUNT ? s->lm->config.n_layer : p->layer;

    return il == GS_STUDENT_ALL || layer == il;
}

/* The value of element i of a part now. */
static float now(const struct gs_student *s, size_t part, size_t i)
{
    const struct part *p = &s->parts[part];

    return p->base[i] * (1 + s->theta.values[s->theta.list[p->at].offset + i]);
}

/* ---- opening ---------------------------------------------------------------------------------- */

static int add_part(struct gs_student *s, const struct gs_tensor *t, const struct gs_param *owner,
                    const float *base, size_t n, float unit, size_t *out, struct gs_err *err)
{
    struct gs_param *p = &s->theta.list[s->theta.n];
    struct part *part = &s->parts[s->n_parts];

    *p = (struct gs_param){.name = t->name, .offset = s->theta.floats, .count = n, .rows = 1,
                           .cols = n, .slot = owner->slot, .layer = owner->layer};
    *part = (struct part){.at = s->theta.n, .tensor = t, .n = n, .unit = unit,
                          .base = gs_alloc(n, sizeof *part->base)};
    if (!part->base)
        return gs_fail_nomem(err, t->name);
    s->theta.n++;
    *out = s->n_parts++;
    s->theta.floats += (n + 15) / 16 * 16;
    s->theta.weights += n;
    memcpy(part->base, base, n * sizeof *base);
    return GS_OK;
}

static int add_factor(struct gs_student *s, const struct gs_native_facts *facts,
                      struct matrix *m, struct gs_err *err)
{
    const float *base = m->native->in ? gs_transform_gain(m->native->in) : NULL;

    m->factor = SIZE_MAX;
    if (!facts->factor || !base)
        return GS_OK;
    for (size_t i = 0; i < s->n_parts; i++)
        if (s->parts[i].tensor == facts->factor)
            m->factor = i;
    return m->factor != SIZE_MAX ? GS_OK
                                 : add_part(s, facts->factor, m->dense, base, m->native->cols,
                                            1, &m->factor, err);
}

/* Indices: what codes decode to with a table of 1, 2, 3 … */
static int read_indices(struct matrix *m, struct gs_err *err)
{
    const struct gs_native *w = m->native;
    size_t block = w->codec->grid->block_rows, cols = w->cols;
    int8_t counting[GS_NATIVE_TABLE_BYTES];
    const struct gs_grid_params params = {.rate = w->codec->rate, .table = counting,
                                          .table_unit = 1};
    struct gs_codec *codec = NULL;
    float *rows = gs_alloc(block * cols, sizeof *rows);
    int rc;

    for (size_t i = 0; i < sizeof counting; i++)
        counting[i] = (int8_t)(i + 1);
    m->index = gs_alloc(w->rows * cols, sizeof *m->index);
    rc = rows && m->index ? gs_codec_create(w->codec->grid, &params, &codec, err)
                          : gs_fail_nomem(err, m->dense->name);
    for (size_t r = 0; !rc && r < w->rows; r += block) {
        gs_codec_decode(codec, w->codes + r / block * w->codes_stride, w->codes_stride, block,
                        cols, rows, cols);
        for (size_t i = 0; i < GS_MIN(block, w->rows - r) * cols; i++)
            m->index[r * cols + i] = (int8_t)rows[i];
    }
    gs_codec_destroy(&codec);
    gs_free(&rows);
    return rc;
}

static int add_table(struct gs_student *s, const struct gs_native_facts *facts,
                     struct matrix *m, struct gs_err *err)
{
    const struct gs_codec *codec = m->native->codec;
    float base[GS_NATIVE_TABLE_BYTES];
    int rc;

    m->table = SIZE_MAX;
    if (!facts->table)
        return GS_OK;
    for (size_t i = 0; i < GS_COUNT(base); i++)
        base[i] = codec->unit * (float)codec->trellis->magnitude[i];
    if ((rc = add_part(s, facts->table, m->dense, base, GS_COUNT(base), codec->unit, &m->table,
                       err)) ||
        (rc = gs_transform_load(gs_transform_kind_of(m->native->in), m->native->cols, NULL,
                                &m->plain, err)))
        return rc;
    return read_indices(m, err);
}

/* K: the decoded weights with scales and factor taken out again. */
static int make_k(struct gs_student *s, struct matrix *m, struct gs_err *err)
{
    const struct gs_native *w = m->native;
    const float *f = w->in ? gs_transform_gain(w->in) : NULL;
    size_t padded = (w->rows + GS_NATIVE_ROWS - 1) / GS_NATIVE_ROWS * GS_NATIVE_ROWS;
    int rc = GS_OK;

    m->k = gs_alloc(padded * w->cols, sizeof *m->k);
    m->f = gs_alloc(w->cols, sizeof *m->f);
    if (!m->k || !m->f)
        return gs_fail_nomem(err, m->dense->name);
    if (m->index) /* when dense weights are made */
        return GS_OK;
    gs_native_decode(w, 0, w->rows, m->k);
    if (w->in)
        rc = gs_transform_rows(w->in, GS_TRANSFORM_DUAL_INVERSE, s->team, m->k, w->rows,
                               w->cols, err);
    for (size_t i = 0; i < w->rows * w->cols; i++) {
        float scale = w->scales[i / w->cols] * (f ? f[i % w->cols] : 1);
        m->k[i] = scale != 0 ? m->k[i] / scale : 0;
    }
    return rc;
}

static int add_stock(struct gs_student *s, const struct gs_param *p, const struct gs_tensor *t,
                     struct gs_err *err)
{
    struct matrix *m = &s->matrices[s->n_matrices];
    struct gs_stock_matrix *stock = &m->stock;
    float *d = NULL, *dmin = NULL;
    const void *data;
    uint64_t row_bytes;
    int rc;

    if (!gs_stock_learns(t))
        return GS_OK;
    if ((rc = gs_store_data(s->store, t, &data, err)) ||
        (rc = gs_type_row_bytes(t->type, p->cols, &row_bytes, err)))
        return rc;
    *stock = (struct gs_stock_matrix){.format = gs_format_find(t->type), .data = data,
                                      .rows = p->rows, .cols = p->cols, .row_bytes = row_bytes};
    size_t n = gs_stock_blocks(stock);
    d = gs_alloc(n, sizeof *d);
    dmin = gs_alloc(n, sizeof *dmin);
    rc = d && dmin ? GS_OK : gs_fail_nomem(err, p->name);
    m->dense = p;
    m->scale = m->factor = m->table = m->dmin = SIZE_MAX;
    if (!rc) {
        s->n_matrices++;
        gs_stock_read(stock, d, dmin);
        rc = add_part(s, t, p, d, n, 0, &m->d, err);
    }
    if (!rc && stock->format->mins)
        rc = add_part(s, t, p, dmin, n, 0, &m->dmin, err);
    gs_free(&d);
    gs_free(&dmin);
    return rc;
}

static int add_matrix(struct gs_student *s, const struct gs_param *p, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(s->store, p->name);
    const struct gs_native *native = s->lm->natives ? gs_natives_matrix(s->lm->natives, t) : NULL;
    struct matrix *m = &s->matrices[s->n_matrices];
    int rc;

    if (!native)
        return add_stock(s, p, t, err);
    const struct gs_native_facts *facts = gs_natives_facts(s->lm->natives, t);
    s->n_matrices++;
    m->native = native;
    m->dense = p;
    m->d = m->dmin = SIZE_MAX;
    if ((rc = add_part(s, facts->scale, p, native->scales, native->rows, facts->unit,
                       &m->scale, err)) ||
        (rc = add_factor(s, facts, m, err)) || (rc = add_table(s, facts, m, err)))
        return rc;
    return make_k(s, m, err);
}

static bool is_norm(const char *name)
{
    static const char tail[] = "norm.weight";
    size_t n = strlen(name);

    return n >= sizeof tail - 1 && !strcmp(name + n - (sizeof tail - 1), tail);
}

static int list_parts(struct gs_student *s, struct gs_err *err)
{
    size_t max = gs_store_count(s->store);
    int rc = GS_OK;

    s->parts = gs_alloc(2 * max, sizeof *s->parts); /* a tensor of blocks has two */
    s->matrices = gs_alloc(max, sizeof *s->matrices);
    s->theta.list = gs_alloc(2 * max, sizeof *s->theta.list);
    if (!s->parts || !s->matrices || !s->theta.list)
        return gs_fail_nomem(err, "the student's parameters");
    for (size_t i = 0; !rc && i < s->params->n; i++) {
        const struct gs_param *p = &s->params->list[i];
        const struct gs_tensor *t = gs_store_find(s->store, p->name);
        size_t part;
        if (p->matrix) {
            rc = add_matrix(s, p, err);
        } else if (is_norm(p->name) && t->type == GS_TYPE_F32) {
            rc = add_part(s, t, p, s->params->values + p->offset, p->count, 0, &part, err);
            if (!rc)
                s->parts[part].vector = p;
        }
    }
    if (!rc && !(s->theta.values = gs_alloc(s->theta.floats, sizeof *s->theta.values)))
        rc = gs_fail_nomem(err, "the student's parameters");
    return rc;
}

int gs_student_open(const char *path, struct gs_team *team, struct gs_student **out,
                    struct gs_err *err)
{
    struct gs_student *s = gs_alloc(1, sizeof *s);
    int rc;

    *out = NULL;
    if (!s)
        return gs_fail_nomem(err, "the student");
    s->team = team;
    if ((rc = gs_store_open(path, &s->store, err)) || (rc = gs_lm_open(s->store, &s->lm, err)) ||
        (rc = gs_params_create_open(s->lm, team, &s->params, err)) ||
        (rc = list_parts(s, err)) || (rc = gs_student_build(s, GS_STUDENT_ALL, err)))
        gs_student_close(&s);
    *out = s;
    return rc;
}

void gs_student_close(struct gs_student **sp)
{
    struct gs_student *s = *sp;

    if (!s)
        return;
    for (size_t i = 0; i < s->n_matrices; i++) {
        gs_transform_destroy(&s->matrices[i].plain);
        gs_free(&s->matrices[i].index);
        gs_free(&s->matrices[i].k);
        gs_free(&s->matrices[i].f);
    }
    for (size_t i = 0; i < s->n_parts; i++)
        gs_free(&s->parts[i].base);
    gs_free(&s->theta.values);
    gs_free(&s->theta.list);
    gs_free(&s->matrices);
    gs_free(&s->parts);
    gs_params_destroy(&s->params);
    gs_lm_close(&s->lm);
    gs_store_close(&s->store);
    gs_free(sp);
}

/* ---- θ to weights, and back -------------------------------------------------------------------- */

static struct gs_stock_numbers numbers_of(const struct gs_student *s, size_t part)
{
    if (part == SIZE_MAX)
        return (struct gs_stock_numbers){.base = NULL};
    return (struct gs_stock_numbers){
        s->parts[part].base, s->theta.values + s->theta.list[s->parts[part].at].offset};
}

struct rows_job {
    const struct gs_student *s;
    const struct matrix *m;
    float *w;  /* build: the weights; project: dU */
    float *ds; /* (rows) */
};

static void refresh_factor(const struct gs_student *s, const struct matrix *m)
{
    const float *f = m->native->in ? gs_transform_gain(m->native->in) : NULL;

    for (size_t c = 0; c < m->native->cols; c++)
        m->f[c] = m->factor != SIZE_MAX ? now(s, m->factor, c) : f ? f[c] : 1;
}

static void build_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct rows_job *job = ctx;
    const struct matrix *m = job->m;
    size_t cols = m->native->cols;

    for (size_t r = begin; r < end; r++) {
        float scale = now(job->s, m->scale, r);
        for (size_t c = 0; c < cols; c++)
            job->w[r * cols + c] = m->k[r * cols + c] * scale * m->f[c];
    }
}

/* What index ± (1 + j) stands for, at 128 + index. */
static void values_of(const struct gs_student *s, const struct matrix *m, float values[256])
{
    memset(values, 0, 256 * sizeof *values);
    for (size_t j = 0; j < GS_NATIVE_TABLE_BYTES; j++) {
        values[128 + 1 + j] = now(s, m->table, j);
        values[128 - 1 - j] = -values[128 + 1 + j];
    }
}

struct lookup_job {
    const struct matrix *m;
    float values[256];
};

static void look_up_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct lookup_job *job = ctx;
    size_t cols = job->m->native->cols;

    for (size_t i = begin * cols; i < end * cols; i++)
        job->m->k[i] = job->values[128 + job->m->index[i]];
}

static int build_k(const struct gs_student *s, const struct matrix *m, struct gs_err *err)
{
    struct lookup_job job = {.m = m};

    values_of(s, m, job.values);
    gs_team_run(s->team, m->native->rows, 16, look_up_rows, &job);
    return gs_transform_rows(m->plain, GS_TRANSFORM_DUAL_INVERSE, s->team, m->k,
                             m->native->rows, m->native->cols, err);
}

int gs_student_build(struct gs_student *s, uint32_t il, struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t i = 0; i < s->n_parts; i++) {
        const struct gs_param *p = s->parts[i].vector;
        for (size_t j = 0; p && in_layer(s, p, il) && j < p->count; j++)
            s->params->values[p->offset + j] = now(s, i, j);
    }
    for (size_t i = 0; !rc && i < s->n_matrices; i++) {
        const struct matrix *m = &s->matrices[i];
        struct rows_job job = {.s = s, .m = m, .w = s->params->values + m->dense->offset};
        if (!in_layer(s, m->dense, il))
            continue;
        if (!m->native) {
            gs_stock_build(&m->stock, s->team, numbers_of(s, m->d), numbers_of(s, m->dmin), job.w);
            continue;
        }
        refresh_factor(s, m);
        if (m->index && (rc = build_k(s, m, err)))
            return rc;
        gs_team_run(s->team, m->native->rows, 16, build_rows, &job);
        if (m->native->out)
            rc = gs_transform_columns(m->native->out, GS_TRANSFORM_INVERSE, s->team, job.w,
                                      m->native->cols, m->native->cols, err);
    }
    return rc;
}

static void project_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct rows_job *job = ctx;
    const struct matrix *m = job->m;
    size_t cols = m->native->cols;

    for (size_t r = begin; r < end; r++) {
        double sum = 0;
        for (size_t c = 0; c < cols; c++)
            sum += (double)(job->w[r * cols + c] * m->k[r * cols + c] * m->f[c]);
        job->ds[r] = (float)(sum * (double)job->s->parts[m->scale].base[r]);
    }
}

/* df of one matrix, added: several may share the factor. */
static void project_columns(const struct gs_student *s, const struct matrix *m, const float *du,
                            float *df)
{
    size_t cols = m->native->cols;

    for (size_t r = 0; r < m->native->rows; r++) {
        float scale = now(s, m->scale, r);
        for (size_t c = 0; c < cols; c++)
            df[c] += du[r * cols + c] * m->k[r * cols + c] * scale *
                     s->parts[m->factor].base[c];
    }
}

/* dU to dU ∘ s ∘ f, row by row. */
static void weigh_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct rows_job *job = ctx;
    const struct matrix *m = job->m;
    size_t cols = m->native->cols;

    for (size_t r = begin; r < end; r++) {
        float scale = now(job->s, m->scale, r);
        for (size_t c = 0; c < cols; c++)
            job->w[r * cols + c] *= scale * m->f[c];
    }
}

/* dτ; dU is overwritten. */
static int project_table(struct rows_job *job, float *dt, struct gs_err *err)
{
    const struct matrix *m = job->m;
    const struct part *table = &job->s->parts[m->table];
    double sums[256] = {0};
    size_t n = m->native->rows * m->native->cols;

    gs_team_run(job->s->team, m->native->rows, 16, weigh_rows, job);
    int rc = gs_transform_rows(m->plain, GS_TRANSFORM_FORWARD, job->s->team, job->w,
                               m->native->rows, m->native->cols, err);
    for (size_t i = 0; !rc && i < n; i++)
        sums[128 + m->index[i]] += (double)job->w[i];
    for (size_t j = 0; j < table->n; j++)
        dt[j] = (float)((sums[128 + 1 + j] - sums[128 - 1 - j]) * (double)table->base[j]);
    return rc;
}

static float *theta_of(const struct gs_student *s, size_t part, float *out)
{
    return out + s->theta.list[s->parts[part].at].offset;
}

int gs_student_project(struct gs_student *s, uint32_t il, float *grads, float *out,
                       struct gs_err *err)
{
    int rc = GS_OK;

    memset(out, 0, s->theta.floats * sizeof *out);
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct gs_param *p = s->parts[i].vector;
        for (size_t j = 0; p && in_layer(s, p, il) && j < p->count; j++)
            theta_of(s, i, out)[j] = grads[p->offset + j] * s->parts[i].base[j];
    }
    for (size_t i = 0; !rc && i < s->n_matrices; i++) {
        const struct matrix *m = &s->matrices[i];
        struct rows_job job = {.s = s, .m = m, .w = grads + m->dense->offset};
        if (!in_layer(s, m->dense, il))
            continue;
        if (!m->native) {
            gs_stock_project(&m->stock, s->team, job.w, numbers_of(s, m->d),
                             numbers_of(s, m->dmin), theta_of(s, m->d, out),
                             m->dmin == SIZE_MAX ? NULL : theta_of(s, m->dmin, out));
            continue;
        }
        job.ds = theta_of(s, m->scale, out);
        if (m->native->out)
            rc = gs_transform_columns(m->native->out, GS_TRANSFORM_DUAL, s->team, job.w,
                                      m->native->cols, m->native->cols, err);
        refresh_factor(s, m);
        gs_team_run(s->team, m->native->rows, 16, project_rows, &job);
        if (m->factor != SIZE_MAX)
            project_columns(s, m, job.w, theta_of(s, m->factor, out));
        if (!rc && m->index)
            rc = project_table(&job, theta_of(s, m->table, out), err);
    }
    return rc;
}

/* ---- writing -------------------------------------------------------------------------------------- */

static uint16_t as_f16(float v, bool may_vanish)
{
    float size = fminf(fabsf(v), F16_MAX);

    if (!may_vanish)
        size = fmaxf(size, F16_MIN); /* a factor is divided by */
    return gs_f32_to_f16(copysignf(size, v));
}

/* What a part is to some matrix: NULL for the parts of norms. */
static const struct matrix *owner_of(const struct gs_student *s, size_t part)
{
    for (size_t i = 0; i < s->n_matrices; i++) {
        const struct matrix *m = &s->matrices[i];
        if (m->scale == part || m->factor == part || m->table == part || m->d == part)
            return m;
    }
    return NULL;
}

/* The table's largest magnitude over that which 127 stands for in the file. */
static float table_stretch(const struct gs_student *s, const struct matrix *m)
{
    const struct part *table = &s->parts[m->table];
    float largest = 0;

    for (size_t j = 0; j < table->n; j++)
        largest = fmaxf(largest, fabsf(now(s, m->table, j)));
    return largest > 0 ? largest / (127 * table->unit) : 1;
}

static void encode_table(const struct gs_student *s, const struct matrix *m, int8_t *out)
{
    const struct part *table = &s->parts[m->table];
    float step = table_stretch(s, m) * table->unit;

    for (size_t j = 0; j < table->n; j++)
        out[j] = (int8_t)rintf(now(s, m->table, j) / step);
}

static int write_stock(const struct gs_student *s, const struct matrix *m,
                       struct gs_gguf_writer *w, size_t index, struct gs_err *err)
{
    size_t bytes = m->stock.rows * m->stock.row_bytes;
    uint8_t *blocks = gs_alloc(bytes, 1);

    if (!blocks)
        return gs_fail_nomem(err, m->dense->name);
    gs_stock_write(&m->stock, numbers_of(s, m->d), numbers_of(s, m->dmin), blocks);
    int rc = gs_gguf_write(w, index, blocks, bytes, err);
    gs_free(&blocks);
    return rc;
}

static int write_part(const struct gs_student *s, size_t part, struct gs_gguf_writer *w,
                      size_t index, struct gs_err *err)
{
    const struct part *p = &s->parts[part];
    const struct matrix *m = owner_of(s, part);
    if (m && !m->native)
        return write_stock(s, m, w, index, err);
    float unit = m && m->scale == part && m->index ? p->unit / table_stretch(s, m) : p->unit;
    uint16_t *f16 = gs_alloc(p->n, sizeof *f16);
    float *f32 = gs_alloc(p->n, sizeof *f32);
    int8_t table[GS_NATIVE_TABLE_BYTES];
    int rc = f16 && f32 ? GS_OK : gs_fail_nomem(err, p->tensor->name);

    for (size_t i = 0; !rc && i < p->n; i++) {
        f32[i] = now(s, part, i);
        f16[i] = m && m->table != part ? as_f16(f32[i] / unit, m->factor != part) : 0;
    }
    if (!rc && m && m->table == part) {
        encode_table(s, m, table);
        rc = gs_gguf_write(w, index, table, sizeof table, err);
    } else if (!rc) {
        rc = m ? gs_gguf_write(w, index, f16, p->n * sizeof *f16, err)
               : gs_gguf_write(w, index, f32, p->n * sizeof *f32, err);
    }
    gs_free(&f16);
    gs_free(&f32);
    return rc;
}

int gs_student_write(struct gs_student *s, const char *path, uint64_t *bytes,
                     struct gs_err *err)
{
    size_t n = gs_store_count(s->store);
    struct gs_tensor *tensors = gs_alloc(n, sizeof *tensors);
    struct gs_gguf_writer *w = NULL;
    int rc = tensors ? GS_OK : gs_fail_nomem(err, path);

    for (size_t i = 0; !rc && i < n; i++)
        tensors[i] = *gs_store_tensor(s->store, i);
    if (!rc)
        rc = gs_gguf_create(path, true, gs_store_meta(s->store), tensors, n, &w, err);
    for (size_t i = 0; !rc && i < n; i++) {
        const struct gs_tensor *t = gs_store_tensor(s->store, i);
        const void *data;
        size_t part = 0;
        while (part < s->n_parts && s->parts[part].tensor != t)
            part++;
        if (part < s->n_parts)
            rc = write_part(s, part, w, i, err);
        else if (!(rc = gs_store_data(s->store, t, &data, err)))
            rc = gs_gguf_write(w, i, data, t->bytes, err);
    }
    if (!rc)
        rc = gs_gguf_commit(&w, bytes, err);
    gs_gguf_abort(&w);
    gs_free(&tensors);
    return rc;
}
