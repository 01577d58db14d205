/* SPDX-License-Identifier: MIT */
#include "train/checkpoint.h"

#include <string.h>

#include "core/cursor.h"
#include "core/hash.h"
#include "file/map.h"
#include "file/out.h"

#define MAGIC "GSTRAIN1"
#define HEAD_WORDS 9 /* magic, three fingerprints, step, tokens, log, seconds, weight bytes */

struct writer {
    struct gs_out *out;
    uint64_t fingerprint;
};

/* n is a multiple of 8, so that the fingerprint can be chained. */
static int put(struct writer *w, const void *data, uint64_t n, struct gs_err *err)
{
    w->fingerprint = gs_fingerprint(w->fingerprint, data, n);
    return gs_out_write(w->out, data, n, err);
}

int gs_checkpoint_write(const char *path, const struct gs_checkpoint *c, struct gs_err *err)
{
    struct writer w = {0};
    uint8_t head[8 * HEAD_WORDS], word[8];
    uint64_t seconds;
    int rc;

    memcpy(head, MAGIC, 8);
    memcpy(&seconds, &c->seconds, sizeof seconds);
    const uint64_t words[] = {c->model, c->text, c->options, c->step,
                              c->tokens, c->log_bytes, seconds, c->weight_bytes};
    for (size_t i = 0; i < GS_COUNT(words); i++)
        gs_put_u64(words[i], head + 8 * (i + 1));
    if ((rc = gs_out_create(path, true, sizeof head + 16 + c->weight_bytes + c->state_bytes,
                            &w.out, err)) ||
        (rc = put(&w, head, sizeof head, err)) ||
        (rc = put(&w, c->weights, c->weight_bytes, err)))
        goto out;
    gs_put_u64(c->state_bytes, word);
    if ((rc = put(&w, word, sizeof word, err)) ||
        (rc = put(&w, c->state, c->state_bytes, err)))
        goto out;
    gs_put_u64(w.fingerprint, word);
    if (!(rc = gs_out_write(w.out, word, sizeof word, err)))
        rc = gs_out_commit(&w.out, err);
out:
    gs_out_abort(&w.out);
    return rc;
}

static uint64_t fingerprint(const struct gs_map *map, const struct gs_checkpoint *c)
{
    const uint8_t *p = map->data;
    uint64_t head = 8 * HEAD_WORDS, f = gs_fingerprint(0, p, head);

    f = gs_fingerprint(f, p + head, c->weight_bytes);
    f = gs_fingerprint(f, p + head + c->weight_bytes, 8);
    return gs_fingerprint(f, p + head + c->weight_bytes + 8, c->state_bytes);
}

static int refuse(const char *path, const char *what, struct gs_err *err)
{
    return gs_fail(err, GS_E_ARG,
                   "%s: the checkpoint is of a run with %s; repeat that command, or remove the "
                   "file", path, what);
}

static int parse(const struct gs_map *map, struct gs_checkpoint *c, struct gs_err *err)
{
    struct gs_cursor in = gs_cursor_make(map->data, map->size);
    const uint8_t *magic = gs_cursor_bytes(&in, 8), *weights, *state;
    uint64_t model = gs_cursor_u64(&in), text = gs_cursor_u64(&in), run = gs_cursor_u64(&in);
    uint64_t step = gs_cursor_u64(&in), tokens = gs_cursor_u64(&in);
    uint64_t log = gs_cursor_u64(&in), seconds = gs_cursor_u64(&in);
    uint64_t weight_bytes = gs_cursor_u64(&in);

    if (!magic || memcmp(magic, MAGIC, 8))
        return gs_fail(err, GS_E_FORMAT, "%s: is no checkpoint", map->path);
    if (model != c->model || weight_bytes != c->weight_bytes)
        return refuse(map->path, "another model", err);
    if (text != c->text)
        return refuse(map->path, "other text, context or seed", err);
    if (run != c->options)
        return refuse(map->path, "another batch or optimizer", err);
    weights = gs_cursor_bytes(&in, weight_bytes);
    uint64_t state_bytes = gs_cursor_u64(&in);
    if (!in.failed && state_bytes != c->state_bytes)
        return refuse(map->path, "another batch or optimizer", err);
    state = gs_cursor_bytes(&in, c->state_bytes);
    uint64_t sum = gs_cursor_u64(&in);
    if (in.failed || gs_cursor_left(&in) || sum != fingerprint(map, c))
        return gs_fail(err, GS_E_FORMAT, "%s: the checkpoint is damaged", map->path);
    memcpy(c->weights, weights, weight_bytes);
    memcpy(c->state, state, c->state_bytes);
    c->step = step;
    c->tokens = tokens;
    c->log_bytes = log;
    memcpy(&c->seconds, &seconds, sizeof c->seconds);
    return GS_OK;
}

int gs_checkpoint_read(const char *path, struct gs_checkpoint *c, struct gs_err *err)
{
    struct gs_map *map;
    int rc = gs_map_open(path, &map, err);

    if (rc)
        return rc;
    rc = parse(map, c, err);
    gs_map_close(&map);
    return rc;
}
