/* SPDX-License-Identifier: MIT */
#include "recipe/student.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/half.h"
#include "file/gguf.h"
#include "model/native.h"

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

struct matrix {
    const struct gs_native *native;
    const struct gs_param *dense;
    size_t scale, factor; /* parts; factor SIZE_MAX: the file has none */
    float *k;             /* (rows, cols) */
    float *f;             /* (cols) the factor now */
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
    const float *base = m->native->in ? gs_transform_factor(m->native->in) : NULL;

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

/* K: the decoded weights with scales and factor taken out again. */
static int make_k(struct gs_student *s, struct matrix *m, struct gs_err *err)
{
    const struct gs_native *w = m->native;
    const float *f = w->in ? gs_transform_factor(w->in) : NULL;
    size_t padded = (w->rows + GS_NATIVE_ROWS - 1) / GS_NATIVE_ROWS * GS_NATIVE_ROWS;
    int rc = GS_OK;

    m->k = gs_alloc(padded * w->cols, sizeof *m->k);
    m->f = gs_alloc(w->cols, sizeof *m->f);
    if (!m->k || !m->f)
        return gs_fail_nomem(err, m->dense->name);
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

static int add_matrix(struct gs_student *s, const struct gs_param *p, struct gs_err *err)
{
    const struct gs_tensor *t = gs_store_find(s->store, p->name);
    const struct gs_native *native = gs_natives_matrix(s->lm->natives, t);
    struct matrix *m = &s->matrices[s->n_matrices];
    int rc;

    if (!native)
        return GS_OK;
    const struct gs_native_facts *facts = gs_natives_facts(s->lm->natives, t);
    s->n_matrices++;
    m->native = native;
    m->dense = p;
    if ((rc = add_part(s, facts->scale, p, native->scales, native->rows, facts->unit,
                       &m->scale, err)) ||
        (rc = add_factor(s, facts, m, err)))
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

    s->parts = gs_alloc(max, sizeof *s->parts);
    s->matrices = gs_alloc(max, sizeof *s->matrices);
    s->theta.list = gs_alloc(max, sizeof *s->theta.list);
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
    for (size_t i = 0; i < s->n_matrices; i++)
        gs_free(&s->matrices[i].k), gs_free(&s->matrices[i].f);
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

struct rows_job {
    const struct gs_student *s;
    const struct matrix *m;
    float *w;  /* build: the weights; project: dU */
    float *ds; /* (rows) */
};

static void refresh_factor(const struct gs_student *s, const struct matrix *m)
{
    const float *f = m->native->in ? gs_transform_factor(m->native->in) : NULL;

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
        refresh_factor(s, m);
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
        struct rows_job job = {.s = s, .m = m, .w = grads + m->dense->offset,
                               .ds = theta_of(s, m->scale, out)};
        if (!in_layer(s, m->dense, il))
            continue;
        if (m->native->out)
            rc = gs_transform_columns(m->native->out, GS_TRANSFORM_DUAL, s->team, job.w,
                                      m->native->cols, m->native->cols, err);
        refresh_factor(s, m);
        gs_team_run(s->team, m->native->rows, 16, project_rows, &job);
        if (m->factor != SIZE_MAX)
            project_columns(s, m, job.w, theta_of(s, m->factor, out));
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

static int write_part(const struct gs_student *s, size_t part, struct gs_gguf_writer *w,
                      size_t index, struct gs_err *err)
{
    const struct part *p = &s->parts[part];
    bool half = p->unit != 0;
    uint16_t *f16 = gs_alloc(p->n, sizeof *f16);
    float *f32 = gs_alloc(p->n, sizeof *f32);
    bool is_factor = false;
    int rc = f16 && f32 ? GS_OK : gs_fail_nomem(err, p->tensor->name);

    for (size_t i = 0; i < s->n_matrices; i++)
        is_factor = is_factor || s->matrices[i].factor == part;
    for (size_t i = 0; !rc && i < p->n; i++) {
        f32[i] = now(s, part, i);
        if (half)
            f16[i] = as_f16(f32[i] / p->unit, !is_factor);
    }
    if (!rc)
        rc = half ? gs_gguf_write(w, index, f16, p->n * sizeof *f16, err)
                  : gs_gguf_write(w, index, f32, p->n * sizeof *f32, err);
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
