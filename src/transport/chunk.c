/* SPDX-License-Identifier: MIT
 * Fields under contexts. A byte's context is made of the byte before it in its field and of the
 * byte at the same place of the field before ("above": the higher byte of the same number), each
 * with some of its high bits. More contexts fit more closely and take longer to learn; which
 * model a field takes is decided by counting all its bytes:
 *
 *   bits  =  Σ_context  n log n − Σ_byte n_b log n_b  +  ½ log n for each byte that occurs
 *
 * (the empirical entropy, and what learning a parameter costs: Rissanen 1983), in integers, so
 * that a pack is the same on every machine. */
#include "transport/chunk.h"

#include <assert.h>
#include <string.h>

#include "core/alloc.h"
#include "core/bytes.h"
#include "core/log2.h"
#include "transport/coder.h"

#define FIELD_HEADER 5

/* How far the byte before and the byte above are shifted down; 8: not used. */
static const struct model {
    uint8_t previous, above;
} models[] = {
    {0, 0}, /* not used: model 0 is "stored as it is" */
    {8, 8}, {4, 8}, {0, 8}, {8, 4}, {8, 0}, {5, 5},
};

#define CONTEXTS 256

struct gs_chunk_work {
    uint32_t p[CONTEXTS * 256];
    uint32_t counts[CONTEXTS * 256];
    uint16_t step[GS_CODER_COUNT + 1];
    uint8_t *bytes, *above; /* this field and the one before */
};

int gs_chunk_work_create(struct gs_chunk_work **out, struct gs_err *err)
{
    struct gs_chunk_work *w = *out = gs_alloc(1, sizeof *w);

    if (!w || !(w->bytes = gs_alloc(GS_CHUNK_BYTES, 1)) ||
        !(w->above = gs_alloc(GS_CHUNK_BYTES, 1))) {
        gs_chunk_work_destroy(out);
        return gs_fail_nomem(err, "packing");
    }
    for (uint32_t n = 0; n <= GS_CODER_COUNT; n++)
        w->step[n] = (uint16_t)(131072 / (2 * n + 3));
    return GS_OK;
}

void gs_chunk_work_destroy(struct gs_chunk_work **work)
{
    if (!*work)
        return;
    gs_free(&(*work)->bytes);
    gs_free(&(*work)->above);
    gs_free(work);
}

size_t gs_chunk_room(void)
{
    return GS_CHUNK_BYTES + GS_FIELDS_MAX * FIELD_HEADER;
}

static inline size_t context(const struct model *m, unsigned previous, unsigned above)
{
    return (size_t)(previous >> m->previous) << (8 - m->above) | above >> m->above;
}

static size_t contexts(const struct model *m)
{
    return (size_t)1 << (16 - m->previous - m->above);
}

/* Bits, in 1/256, that the field would take under the model. */
static uint64_t estimate(struct gs_chunk_work *w, const struct model *m, size_t n)
{
    size_t used = contexts(m);
    unsigned previous = 0;
    uint64_t bits = 0;

    memset(w->counts, 0, used * 256 * sizeof *w->counts);
    for (size_t i = 0; i < n; i++) {
        w->counts[context(m, previous, w->above[i]) << 8 | w->bytes[i]]++;
        previous = w->bytes[i];
    }
    for (size_t c = 0; c < used; c++) {
        uint64_t sum = 0, distinct = 0;
        for (size_t b = 0; b < 256; b++) {
            uint32_t k = w->counts[c << 8 | b];
            if (!k)
                continue;
            sum += k;
            distinct++;
            bits -= (uint64_t)k * gs_log2_fixed(k);
        }
        if (sum)
            bits += (sum + distinct / 2) * gs_log2_fixed((uint32_t)sum);
    }
    return bits;
}

/* The model for n bytes; 0 where coding would save less than a hundredth. */
static uint8_t choose(struct gs_chunk_work *w, size_t n, bool above)
{
    uint64_t best = (uint64_t)n * 8 * 256 / 100 * 99;
    uint8_t chosen = 0;

    for (uint8_t m = 1; m < GS_COUNT(models); m++) {
        if ((models[m].above < 8 && !above) || n < contexts(&models[m]) * 64)
            continue;
        uint64_t bits = estimate(w, &models[m], n);
        if (bits < best) {
            best = bits;
            chosen = m;
        }
    }
    return chosen;
}

static void reset(struct gs_chunk_work *w, const struct model *m)
{
    size_t n = contexts(m) * 256;

    for (size_t i = 0; i < n; i++)
        w->p[i] = GS_CODER_FRESH;
}

/* NULL if the code would be longer than the bytes. */
static uint8_t *encode_bytes(struct gs_chunk_work *w, const struct model *m, size_t n,
                             uint8_t *dst)
{
    struct gs_encoder e;
    unsigned previous = 0;

    reset(w, m);
    gs_encoder_start(&e, dst, dst + n);
    for (size_t i = 0; i < n && !e.full; i++) {
        uint32_t *tree = w->p + (context(m, previous, w->above[i]) << 8);
        unsigned byte = w->bytes[i], node = 1;
        for (int k = 7; k >= 0; k--) {
            unsigned bit = byte >> k & 1;
            gs_encoder_bit(&e, gs_coder_zero(tree[node]), bit);
            tree[node] = gs_coder_learn(tree[node], bit, w->step);
            node = node << 1 | bit;
        }
        previous = byte;
    }
    uint8_t *end = gs_encoder_finish(&e);
    return e.full ? NULL : end;
}

static void decode_bytes(struct gs_chunk_work *w, const struct model *m, const uint8_t *src,
                         size_t size, size_t n)
{
    struct gs_decoder d;
    unsigned previous = 0;

    reset(w, m);
    gs_decoder_start(&d, src, src + size);
    for (size_t i = 0; i < n; i++) {
        uint32_t *tree = w->p + (context(m, previous, w->above[i]) << 8);
        unsigned node = 1;
        while (node < 256) {
            unsigned bit = gs_decoder_bit(&d, gs_coder_zero(tree[node]));
            tree[node] = gs_coder_learn(tree[node], bit, w->step);
            node = node << 1 | bit;
        }
        previous = w->bytes[i] = (uint8_t)node;
    }
}

/* Bytes of a field between the blocks at `blocks` and w->bytes. */
static void gather(const struct gs_layout *l, const struct gs_field *f, const uint8_t *blocks,
                   size_t n_blocks, uint8_t *bytes)
{
    for (size_t b = 0; b < n_blocks && f->count == 1; b++)
        bytes[b] = blocks[b * l->block + f->offset];
    for (size_t b = 0; b < n_blocks && f->count > 1; b++)
        memcpy(bytes + b * f->count, blocks + b * l->block + f->offset, f->count);
}

static void scatter(const struct gs_layout *l, const struct gs_field *f, const uint8_t *bytes,
                    size_t n_blocks, uint8_t *blocks)
{
    for (size_t b = 0; b < n_blocks && f->count == 1; b++)
        blocks[b * l->block + f->offset] = bytes[b];
    for (size_t b = 0; b < n_blocks && f->count > 1; b++)
        memcpy(blocks + b * l->block + f->offset, bytes + b * f->count, f->count);
}

static void next_field(struct gs_chunk_work *w)
{
    uint8_t *t = w->above;

    w->above = w->bytes;
    w->bytes = t;
}

static uint8_t *encode_field(struct gs_chunk_work *w, const struct gs_field *f, size_t n,
                             uint8_t *dst)
{
    uint8_t *code = dst + FIELD_HEADER, *end = NULL;
    uint8_t model = choose(w, n, f->continues);

    if (model)
        end = encode_bytes(w, &models[model], n, code);
    if (!end) {
        model = 0;
        memcpy(code, w->bytes, n);
        end = code + n;
    }
    dst[0] = model;
    gs_put_u32((uint32_t)(end - code), dst + 1);
    return end;
}

size_t gs_chunk_encode(const struct gs_layout *layout, struct gs_chunk_work *w,
                       const uint8_t *src, size_t n, uint8_t *dst)
{
    size_t blocks = n / layout->block;
    uint8_t *at = dst;

    assert(n % layout->block == 0 && n <= GS_CHUNK_BYTES);
    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct gs_field *f = &layout->fields[i];
        gather(layout, f, src, blocks, w->bytes);
        at = encode_field(w, f, blocks * f->count, at);
        next_field(w);
    }
    return (size_t)(at - dst);
}

bool gs_chunk_decode(const struct gs_layout *layout, struct gs_chunk_work *w,
                     const uint8_t *src, size_t size, uint8_t *dst, size_t n)
{
    struct gs_cursor c = gs_cursor_make(src, size);
    size_t blocks = n / layout->block;

    if (n % layout->block || n > GS_CHUNK_BYTES)
        return false;
    for (uint32_t i = 0; i < layout->n_fields; i++) {
        const struct gs_field *f = &layout->fields[i];
        size_t bytes = blocks * f->count;
        uint8_t model = gs_cursor_u8(&c);
        uint32_t length = gs_cursor_u32(&c);
        const uint8_t *code = gs_cursor_bytes(&c, length);
        if (!code || model >= GS_COUNT(models) || (!model && length != bytes) ||
            (model && models[model].above < 8 && !f->continues))
            return false;
        if (model)
            decode_bytes(w, &models[model], code, length, bytes);
        else
            memcpy(w->bytes, code, bytes);
        scatter(layout, f, w->bytes, blocks, dst);
        next_field(w);
    }
    return !gs_cursor_left(&c);
}
