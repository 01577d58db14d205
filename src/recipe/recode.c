/* SPDX-License-Identifier: MIT
 * A tensor is one sequence of blocks, since each row is a whole number of them. It is cut
 *
 *   tensor = pieces of PIECE weights = grains of GRAIN weights = blocks
 *
 * A piece is what is handed on at once; its grains are decoded to f32, checked and encoded
 * by the team, each at its own place in the piece, so the result does not depend on who did
 * what. GRAIN is a multiple of every block, so a grain starts on a block of both types. */
#include "recipe/recode.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>

#include "core/alloc.h"
#include "core/half.h"
#include "kernels/kernels.h"

#define GRAIN ((size_t)1 << 14)
#define PIECE ((size_t)1 << 20)

struct gs_recoder {
    struct gs_team *team;
    float *weights; /* (workers, GRAIN) */
    uint8_t *out;   /* PIECE weights in the widest type */
};

/* One piece in work. */
struct piece {
    const struct gs_recoder *recoder;
    const uint8_t *src;
    const struct gs_type_info *from, *to;
    gs_decode_fn decode;
    gs_encode_fn encode;
    uint32_t limit;       /* bits of the largest magnitude that the target holds */
    atomic_size_t first_bad; /* the smallest index of a weight that it cannot hold */
};

int gs_recoder_create(struct gs_team *team, struct gs_recoder **out, struct gs_err *err)
{
    struct gs_recoder *r = gs_alloc(1, sizeof *r);

    *out = NULL;
    if (!r)
        return gs_fail_nomem(err, "converting");
    r->team = team;
    r->weights = gs_alloc((size_t)gs_team_size(team) * GRAIN, sizeof *r->weights);
    r->out = gs_alloc(PIECE, sizeof(float));
    if (!r->weights || !r->out) {
        gs_recoder_destroy(&r);
        return gs_fail_nomem(err, "converting");
    }
    *out = r;
    return GS_OK;
}

void gs_recoder_destroy(struct gs_recoder **r)
{
    if (!*r)
        return;
    gs_free(&(*r)->weights);
    gs_free(&(*r)->out);
    gs_free(r);
}

bool gs_recode_is_widening(enum gs_type from, enum gs_type to)
{
    return from == to || (to == GS_TYPE_F32 && from != GS_TYPE_F64);
}

/* Largest magnitudes, as f32 bits, that round to something finite. Q8_0: its scale, the
 * maximum of a block over 127, is an f16. */
static uint32_t largest(enum gs_type to)
{
    static const struct {
        enum gs_type type;
        uint32_t bits;
    } limits[] = {
        {GS_TYPE_F32, 0x7f7fffff},
        {GS_TYPE_F16, 0x477fefff},  /* below 65520 */
        {GS_TYPE_BF16, 0x7f7f7fff}, /* below 2^128 - 2^119 */
        {GS_TYPE_Q8_0, 0x4afdf01f}, /* below 127 · 65520 */
    };

    for (size_t i = 0; i < GS_COUNT(limits); i++)
        if (limits[i].type == to)
            return limits[i].bits;
    assert(!"a type that nothing is converted to");
    return 0;
}

static size_t find_bad(const float *w, size_t n, uint32_t limit)
{
    uint32_t max = 0;

    for (size_t i = 0; i < n; i++) { /* without a branch: nearly always all is well */
        uint32_t magnitude = gs_f32_bits(w[i]) & 0x7fffffff;
        max = GS_MAX(max, magnitude);
    }
    if (max <= limit)
        return SIZE_MAX;
    size_t i = 0;
    while ((gs_f32_bits(w[i]) & 0x7fffffff) <= limit)
        i++;
    return i;
}

static void recode_grain(void *ctx, size_t begin, size_t end, int worker)
{
    struct piece *p = ctx;
    float *w = p->recoder->weights + (size_t)worker * GRAIN;
    size_t n = end - begin;

    p->decode(p->src + begin / p->from->block * p->from->bytes, w, n);
    size_t bad = find_bad(w, n, p->limit);
    if (bad != SIZE_MAX) {
        size_t known = atomic_load(&p->first_bad);
        while (begin + bad < known &&
               !atomic_compare_exchange_weak(&p->first_bad, &known, begin + bad))
            ;
        return;
    }
    p->encode(w, p->recoder->out + begin / p->to->block * p->to->bytes, n);
}

static int fail_weight(const struct gs_tensor *t, const struct piece *p, uint64_t index,
                       struct gs_err *err)
{
    float block[256];
    size_t in_piece = atomic_load(&p->first_bad);
    size_t start = in_piece / p->from->block * p->from->block;

    assert(p->from->block <= GS_COUNT(block));
    p->decode(p->src + start / p->from->block * p->from->bytes, block, p->from->block);
    float w = block[in_piece - start];
    if (!isfinite(w))
        return gs_fail(err, GS_E_FORMAT,
                       "%s: tensor %s: row %" PRIu64 ", column %" PRIu64
                       " is %s, which %s cannot hold", t->file, t->name, index / t->dim[0],
                       index % t->dim[0], isnan(w) ? "NaN" : "infinite", p->to->name);
    return gs_fail(err, GS_E_FORMAT,
                   "%s: tensor %s: row %" PRIu64 ", column %" PRIu64
                   " is %g, beyond the range of %s; convert to bf16 instead", t->file, t->name,
                   index / t->dim[0], index % t->dim[0], (double)w, p->to->name);
}

static int copy(const struct gs_tensor *t, const uint8_t *data, gs_recode_sink_fn sink,
                void *ctx, struct gs_err *err)
{
    const uint64_t most = PIECE * sizeof(float);
    int rc = GS_OK;

    for (uint64_t done = 0, n; !rc && done < t->bytes; done += n) {
        n = GS_MIN(t->bytes - done, most);
        rc = sink(ctx, data + done, n, n, err);
    }
    return rc;
}

int gs_recode(struct gs_recoder *recoder, const struct gs_tensor *t, const void *data,
              enum gs_type to, gs_recode_sink_fn sink, void *ctx, struct gs_err *err)
{
    const struct gs_kernels *kernels = gs_kernels();
    uint64_t total = t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    struct piece p = {.recoder = recoder, .from = gs_type_info(t->type), .to = gs_type_info(to)};
    int rc = GS_OK;

    if (t->type == to)
        return copy(t, data, sink, ctx, err);
    p.decode = kernels->decode[t->type];
    p.encode = kernels->encode[to];
    p.limit = gs_recode_is_widening(t->type, to) ? UINT32_MAX : largest(to);
    assert(p.decode && p.encode && t->dim[0] % p.to->block == 0);
    for (uint64_t done = 0; !rc && done < total; done += PIECE) {
        size_t n = (size_t)GS_MIN(total - done, PIECE);
        p.src = (const uint8_t *)data + done / p.from->block * p.from->bytes;
        atomic_store(&p.first_bad, SIZE_MAX);
        gs_team_run(recoder->team, n, GRAIN, recode_grain, &p);
        size_t bad = atomic_load(&p.first_bad);
        if (bad != SIZE_MAX)
            return fail_weight(t, &p, done + bad, err);
        rc = sink(ctx, recoder->out, n / p.to->block * p.to->bytes,
                  n / p.from->block * p.from->bytes, err);
    }
    return rc;
}

/* ---- to f32 ------------------------------------------------------------------------------- */

struct decode_job {
    const struct gs_tensor *t;
    const uint8_t *data;
    uint64_t row_bytes;
    float *w;
};

static void decode_rows(void *ctx, size_t begin, size_t end, int worker GS_UNUSED)
{
    const struct decode_job *job = ctx;
    size_t cols = job->t->dim[0];

    for (size_t r = begin; r < end; r++)
        gs_kernels()->decode[job->t->type](job->data + r * job->row_bytes, job->w + r * cols,
                                           cols);
}

int gs_decode_rows(struct gs_store *store, struct gs_team *team, const struct gs_tensor *t,
                   size_t first, size_t rows, float *w, struct gs_err *err)
{
    struct decode_job job = {.t = t, .w = w};
    size_t cols = t->dim[0];
    const void *data;
    int rc;

    if ((rc = gs_store_data(store, t, &data, err)) ||
        (rc = gs_type_row_bytes(t->type, cols, &job.row_bytes, err)))
        return rc;
    job.data = (const uint8_t *)data + first * job.row_bytes;
    gs_team_run(team, rows, 16, decode_rows, &job);
    for (size_t i = 0; i < rows * cols; i++)
        if (!isfinite(w[i]))
            return gs_fail(err, GS_E_FORMAT, "%s: tensor %s: row %zu, column %zu is %s", t->file,
                           t->name, first + i / cols, i % cols,
                           isnan(w[i]) ? "NaN" : "infinite");
    return GS_OK;
}
