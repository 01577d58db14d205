/* SPDX-License-Identifier: MIT
 * One stream of tokens is cut: first the sequences, what follows is measured on. Texts are
 * tokenized in pieces that end at a newline, and only until there are enough tokens. */
#include "recipe/calib.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/alloc.h"
#include "core/hash.h"
#include "core/json.h"
#include "file/map.h"
#include "model/sampler.h"

#define TOKENS_FROM_TEXT 32768u
#define TOKENS_FROM_SELF 4096u
#define PIECE_BYTES ((size_t)1 << 16)
#define SEQUENCE_MIN 16u

struct reader {
    const struct gs_calib_source *source;
    const struct gs_tokenizer *tokenizer;
    struct gs_tokens stream;
    size_t enough;
};

static size_t head_tokens(const struct gs_tokenizer *t)
{
    return gs_tokenizer_add_bos(t) && gs_tokenizer_bos(t) >= 0;
}

static int add_text(struct reader *r, const char *text, size_t n, struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t at = 0; !rc && at < n && r->stream.count < r->enough;) {
        size_t size = GS_MIN(PIECE_BYTES, n - at);
        while (size < n - at && text[at + size - 1] != '\n' && size < 2 * PIECE_BYTES)
            size++;
        rc = gs_tokenizer_encode(r->tokenizer, text + at, size, 0, &r->stream, err);
        at += size;
    }
    return rc;
}

static int add_line(struct reader *r, const char *path, unsigned line, const char *p, size_t n,
                    struct gs_err *err)
{
    char where[256];
    const char *text = NULL;
    json_t *object = NULL;

    snprintf(where, sizeof where, "%.230s:%u", path, line);
    if (strspn(p, " \t\r") >= n)
        return GS_OK;
    int rc = gs_json_parse(p, n, where, &object, err);
    if (rc)
        return rc;
    rc = gs_json_get_str(object, "text", &text, err);
    if (rc == 0)
        rc = gs_fail(err, GS_E_FORMAT, "%s: no member 'text'", where);
    rc = rc < 0 ? rc : add_text(r, text, strlen(text), err);
    json_decref(object);
    return rc;
}

static int add_jsonl(struct reader *r, const char *path, const char *p, size_t n,
                     struct gs_err *err)
{
    const char *end = p + n;
    int rc = GS_OK;

    for (unsigned line = 1; !rc && p < end && r->stream.count < r->enough; line++) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t size = (size_t)((eol ? eol : end) - p);
        char *copy = gs_strndup(p, size);
        if (!copy)
            return gs_fail_nomem(err, path);
        rc = add_line(r, path, line, copy, size, err);
        gs_free(&copy);
        p += size + (eol != NULL);
    }
    return rc;
}

static int read_files(struct reader *r, struct gs_calib *c, struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < r->source->n_paths; i++) {
        const char *path = r->source->paths[i], *slash = strrchr(path, '/');
        size_t n = strlen(path), used = strlen(c->name);
        struct gs_map *map;
        if ((rc = gs_map_open(path, &map, err)))
            return rc;
        const char *data = (const char *)map->data;
        if (n > 6 && !strcmp(path + n - 6, ".jsonl"))
            rc = add_jsonl(r, path, data, (size_t)map->size, err);
        else
            rc = add_text(r, data, (size_t)map->size, err);
        gs_map_close(&map);
        snprintf(c->name + used, sizeof c->name - used, "%s%s", used ? ", " : "",
                 slash ? slash + 1 : path);
    }
    return rc;
}

/* ---- own samples -------------------------------------------------------------------------- */

struct voice {
    struct gs_decoder *decoder;
    struct gs_sampler *sampler;
    float *logits;
    int32_t start; /* the token that every sample begins with */
    size_t ctx;
};

/* Appends one sample of ctx - head tokens to the stream; a text that ends is followed by
 * another one. */
static int speak(struct reader *r, const struct voice *v, struct gs_err *err)
{
    size_t n = v->ctx - head_tokens(r->tokenizer);
    size_t room = r->stream.count + n;
    int32_t token = v->start;
    int rc;

    if (room > r->stream.capacity) {
        size_t capacity = GS_MAX(2 * r->stream.capacity, room);
        int32_t *data = gs_realloc(r->stream.data, r->stream.capacity * sizeof *data,
                                   capacity * sizeof *data);
        if (!data)
            return gs_fail_nomem(err, "samples");
        r->stream.data = data;
        r->stream.capacity = capacity;
    }
    gs_decoder_rewind(v->decoder, 0);
    for (size_t i = 0; i < n; i++) {
        if ((rc = gs_decoder_forward(v->decoder, &token, 1, err)))
            return rc;
        gs_decoder_logits(v->decoder, 0, 1, v->logits);
        token = gs_sampler_pick(v->sampler, v->logits);
        if (gs_tokenizer_is_end(r->tokenizer, token)) {
            token = v->start;
            gs_decoder_rewind(v->decoder, 0);
        }
        r->stream.data[r->stream.count++] = token;
    }
    return GS_OK;
}

static int sample(struct reader *r, const struct gs_recipe *recipe, struct gs_lm *lm,
                  struct gs_team *team, struct gs_err *err)
{
    const struct gs_sampling params = {.temp = 1, .top_p = 1, .repeat_penalty = 1,
                                       .seed = recipe->seed};
    const struct gs_decoder_options options = {.ctx = (uint32_t)recipe->ctx, .batch = 1,
                                               .exact = true, .team = team};
    const struct gs_calib_source *s = r->source;
    uint32_t n_vocab = gs_lm_config(lm)->n_vocab;
    struct voice v = {.ctx = recipe->ctx, .start = gs_tokenizer_bos(r->tokenizer)};
    int rc;

    if (v.start < 0)
        v.start = gs_tokenizer_eos(r->tokenizer);
    if (v.start < 0)
        return gs_fail(err, GS_E_UNSUPPORTED, "the model has no token to begin a text with; "
                       "give a calibration text");
    v.logits = gs_alloc(n_vocab, sizeof *v.logits);
    rc = v.logits ? gs_sampler_create(&params, n_vocab, &v.sampler, err)
                  : gs_fail_nomem(err, "samples");
    if (!rc)
        rc = gs_decoder_create(lm, &options, &v.decoder, err);
    while (!rc && r->stream.count < r->enough) {
        rc = speak(r, &v, err);
        if (!rc && s->progress &&
            s->progress(s->progress_ctx, "sampled tokens", GS_MIN(r->stream.count, r->enough),
                        r->enough))
            rc = gs_fail(err, GS_E_STOPPED, "stopped while sampling");
    }
    gs_decoder_destroy(&v.decoder);
    gs_sampler_destroy(&v.sampler);
    gs_free(&v.logits);
    return rc;
}

/* ---- cutting ------------------------------------------------------------------------------ */

/* Sequences from the front of the stream. A short text is one short sequence. */
static int cut(struct reader *r, struct gs_calib *c, size_t want, struct gs_err *err)
{
    size_t head = head_tokens(r->tokenizer), have = r->stream.count;

    if (r->source->eval && have > 2 * GS_CALIB_EVAL_TOKENS)
        have = GS_MIN(have, r->enough) - GS_CALIB_EVAL_TOKENS;
    if (have < SEQUENCE_MIN)
        return gs_fail(err, GS_E_ARG, "%s: calibration needs at least %u tokens, found %zu",
                       c->name, SEQUENCE_MIN, have);
    c->ctx = GS_MIN(c->ctx, have + head);
    c->sequences = GS_MAX(GS_MIN(want / c->ctx, have / (c->ctx - head)), 1u);
    c->tokens = gs_alloc(c->sequences * c->ctx, sizeof *c->tokens);
    if (!c->tokens)
        return gs_fail_nomem(err, "calibration");
    const int32_t *from = r->stream.data;
    for (size_t s = 0; s < c->sequences; s++, from += c->ctx - head) {
        int32_t *to = c->tokens + s * c->ctx;
        if (head)
            to[0] = gs_tokenizer_bos(r->tokenizer);
        memcpy(to + head, from, (c->ctx - head) * sizeof *to);
    }
    c->hash = gs_fingerprint(0, c->tokens, c->sequences * c->ctx * sizeof *c->tokens);
    size_t used = (size_t)(from - r->stream.data), left = r->stream.count - used;
    if (!r->source->eval)
        return GS_OK;
    if (left < GS_CALIB_EVAL_TOKENS / 4) { /* too little for a text of its own: measure on all */
        from = r->stream.data;
        left = r->stream.count;
    }
    return gs_tokenizer_decode(r->tokenizer, from, GS_MIN(left, GS_CALIB_EVAL_TOKENS), false,
                               &c->text, &c->text_bytes, err);
}

int gs_calib_create(const struct gs_calib_source *source, const struct gs_recipe *recipe,
                    struct gs_lm *lm, const struct gs_tokenizer *tokenizer,
                    struct gs_team *team, struct gs_calib *out, struct gs_err *err)
{
    struct reader r = {.source = source, .tokenizer = tokenizer};
    size_t want = recipe->tokens;
    int rc;

    *out = (struct gs_calib){.ctx = GS_MIN(recipe->ctx, gs_lm_config(lm)->n_ctx_train)};
    if (!want)
        want = source->n_paths ? TOKENS_FROM_TEXT : TOKENS_FROM_SELF;
    if (source->count_only && !source->n_paths) {
        snprintf(out->name, sizeof out->name, "self");
        out->sequences = GS_MAX(want / out->ctx, 1u);
        return GS_OK;
    }
    r.enough = want + (source->eval ? GS_CALIB_EVAL_TOKENS : 0);
    if (source->n_paths) {
        rc = read_files(&r, out, err);
    } else {
        struct gs_recipe shorter = *recipe;
        shorter.ctx = out->ctx;
        snprintf(out->name, sizeof out->name, "self");
        rc = sample(&r, &shorter, lm, team, err);
    }
    if (!rc)
        rc = cut(&r, out, want, err);
    gs_tokens_clear(&r.stream);
    if (rc)
        gs_calib_clear(out);
    return rc;
}

void gs_calib_clear(struct gs_calib *c)
{
    gs_free(&c->tokens);
    gs_free(&c->text);
}
