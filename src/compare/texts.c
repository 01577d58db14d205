/* SPDX-License-Identifier: MIT */
#include "compare/texts.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/hash.h"
#include "file/out.h"

/* The text is tokenized in such pieces until there are enough tokens. */
#define PIECE_BYTES ((size_t)1 << 14)
/* Calibration reads no more than so many bytes a token. */
#define TOKEN_BYTES_MAX 32u
#define HASH_STEP ((size_t)1 << 20)

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int describe(struct gs_comparison *c, struct gs_compared_text *t, const char *name,
                    const char *data, size_t n, struct gs_err *err)
{
    char joined[512];

    snprintf(joined, sizeof joined, "%s%s%s", t->name ? t->name : "", t->name ? ", " : "", name);
    t->name = gs_arena_strndup(&c->arena, joined, strlen(joined));
    for (size_t at = 0; at < n; at += HASH_STEP)
        t->hash = gs_fingerprint(t->hash, data + at, GS_MIN(HASH_STEP, n - at));
    t->bytes += n;
    return t->name ? GS_OK : gs_fail_nomem(err, name);
}

/* Where `tokens` tokens of the text end, at a line's end, at most in the middle; 0: half is too
 * little. tokens 0: the middle. */
static int cut(const struct gs_tokenizer *tokenizer, const char *text, size_t n, size_t tokens,
               size_t *out, struct gs_err *err)
{
    struct gs_tokens found = {.data = NULL};
    size_t half = n / 2, at = tokens ? 0 : half;
    int rc = GS_OK;

    while (!rc && at < half && found.count < tokens + 1) {
        size_t size = GS_MIN(PIECE_BYTES, half - at);
        rc = gs_tokenizer_encode(tokenizer, text + at, size, 0, &found, err);
        at += size;
    }
    gs_tokens_clear(&found);
    const char *newline = at < n ? memchr(text + at, '\n', n - at) : NULL;
    *out = newline ? (size_t)(newline - text) + 1 : at;
    return rc;
}

static int write_piece(struct gs_compare_texts *t, const char *folder, const char *data,
                       size_t n, struct gs_err *err)
{
    size_t size = strlen(folder) + 32;
    struct gs_out *out;
    int rc;

    t->piece = gs_alloc(size, 1);
    if (!t->piece)
        return gs_fail_nomem(err, "calibration");
    snprintf(t->piece, size, "%s/calibration.txt", folder);
    if ((rc = gs_out_create(t->piece, true, n, &out, err)))
        return rc;
    if ((rc = gs_out_write(out, data, n, err))) {
        gs_out_abort(&out);
        return rc;
    }
    return gs_out_commit(&out, err);
}

/* Cuts the text: its beginning is measured on, its end calibrates. */
static int split(const struct gs_compare_options *o, const struct gs_tokenizer *tokenizer,
                 const char *folder, struct gs_comparison *c, struct gs_compare_texts *t,
                 struct gs_err *err)
{
    size_t at = 0, room = TOKEN_BYTES_MAX * (size_t)GS_MIN(o->tokens, (uint64_t)1 << 30);
    int rc = cut(tokenizer, t->text, t->bytes, (size_t)o->chunks * c->ctx, &at, err);

    if (rc)
        return rc;
    size_t left = GS_MIN(t->bytes - at, room);
    if (!left)
        return gs_fail(err, GS_E_ARG, "%s: nothing is left to calibrate on; give --calib",
                       o->text);
    if ((rc = write_piece(t, folder, t->text + at, left, err)) ||
        (rc = describe(c, &c->calib, base_name(o->text), t->text + at, left, err)))
        return rc;
    t->piece_path = t->piece;
    t->calib = &t->piece_path;
    t->n_calib = 1;
    t->bytes = at;
    c->calib_how = "its end, which is not measured on";
    return GS_OK;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;

    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The calibration texts as they are given, none of which may be what is measured on. */
static int take(const struct gs_compare_options *o, struct gs_comparison *c,
                struct gs_compare_texts *t, struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < o->n_calib; i++) {
        struct gs_map *map;
        if ((rc = gs_map_open(o->calib[i], &map, err)))
            return rc;
        const char *data = (const char *)map->data;
        if (map->size == t->map->size && !memcmp(data, t->map->data, (size_t)map->size))
            rc = gs_fail(err, GS_E_ARG, "%s: calibrating on what is measured on; give another "
                         "text, or none to have it cut", o->calib[i]);
        else
            rc = describe(c, &c->calib, base_name(o->calib[i]), data, (size_t)map->size, err);
        gs_map_close(&map);
    }
    t->calib = o->calib;
    t->n_calib = o->n_calib;
    return rc;
}

int gs_compare_texts_open(const struct gs_compare_options *o,
                          const struct gs_tokenizer *tokenizer, const char *folder,
                          struct gs_comparison *c, struct gs_compare_texts *t,
                          struct gs_err *err)
{
    bool same = o->n_calib == 1 && same_file(o->calib[0], o->text);
    int rc;

    *t = (struct gs_compare_texts){.map = NULL};
    if ((rc = gs_map_open(o->text, &t->map, err)))
        return rc;
    t->text = (const char *)t->map->data;
    t->bytes = (size_t)t->map->size;
    rc = !o->n_calib || same ? split(o, tokenizer, folder, c, t, err) : take(o, c, t, err);
    return rc ? rc : describe(c, &c->text, base_name(o->text), t->text, t->bytes, err);
}

void gs_compare_texts_close(struct gs_compare_texts *t)
{
    if (t->piece)
        unlink(t->piece);
    gs_free(&t->piece);
    gs_map_close(&t->map);
}
