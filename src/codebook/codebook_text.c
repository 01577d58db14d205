/* SPDX-License-Identifier: MIT
 * Codebooks from text: NAME, or NAME:KEY=NUMBER with more pairs after commas or colons.
 *
 *     float:exponent=2,bits=4      float:exponent=2:bits=4
 *
 * Both separators, because such a text is a value in recipes, where pairs are parted by commas. */
#include "codebook/codebook.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/name.h"

/* A number as text; longer ones are not numbers. */
#define NUMBER_BYTES 40

/* What a message shows of a word that somebody wrote. */
static int shown(size_t n)
{
    return (int)GS_MIN(n, GS_NAME_MAX);
}

static const char *kind_name(const void *ctx, size_t index)
{
    const struct gs_codebook_kind *kind = gs_codebook_at(index);

    (void)ctx;
    return kind ? kind->name : NULL;
}

static const char *key_name(const void *ctx, size_t index)
{
    const struct gs_codebook_kind *kind = ctx;

    return kind->keys ? kind->keys[index].name : NULL;
}

static const struct gs_codebook_kind *find_kind(const char *word, size_t n, struct gs_err *err)
{
    for (size_t i = 0; gs_codebook_at(i); i++) {
        const char *name = gs_codebook_at(i)->name;
        if (strlen(name) == n && !memcmp(name, word, n))
            return gs_codebook_at(i);
    }
    gs_fail(err, GS_E_ARG, "there is no codebook '%.*s'; the nearest name is '%s'", shown(n),
            word, gs_name_nearest(word, n, kind_name, NULL));
    return NULL;
}

/* The key's index, or -1. */
static int find_key(const struct gs_codebook_kind *kind, const char *word, size_t n,
                    struct gs_err *err)
{
    const char *name;

    for (int i = 0; (name = key_name(kind, (size_t)i)); i++)
        if (strlen(name) == n && !memcmp(name, word, n))
            return i;
    name = gs_name_nearest(word, n, key_name, kind);
    if (name)
        gs_fail(err, GS_E_ARG, "codebook %s: there is no key '%.*s'; the nearest name is '%s'",
                kind->name, shown(n), word, name);
    else
        gs_fail(err, GS_E_ARG, "codebook %s: has no keys, so no '%.*s'", kind->name, shown(n),
                word);
    return -1;
}

static int parse_number(const struct gs_codebook_kind *kind, const struct gs_codebook_key *key,
                        const char *word, size_t n, double *out, struct gs_err *err)
{
    char text[NUMBER_BYTES] = {0}, *end = text;

    errno = 0;
    if (n < sizeof text) {
        memcpy(text, word, n);
        *out = strtod(text, &end);
    }
    if (end == text || *end || errno || !isfinite(*out))
        return gs_fail(err, GS_E_ARG, "codebook %s: %s: '%.*s' is not a number", kind->name,
                       key->name, shown(n), word);
    if (*out < key->low || *out > key->high)
        return gs_fail(err, GS_E_ARG, "codebook %s: %s: %.*s is not within %.10g to %.10g",
                       kind->name, key->name, shown(n), word, key->low, key->high);
    if (key->integer && *out != floor(*out))
        return gs_fail(err, GS_E_ARG, "codebook %s: %s: %.*s is not a whole number",
                       kind->name, key->name, shown(n), word);
    return GS_OK;
}

/* `text` begins after the name: ":key=value,…" or nothing. `values` holds the defaults. */
static int parse_keys(const struct gs_codebook_kind *kind, const char *text, double *values,
                      struct gs_err *err)
{
    bool seen[GS_CODEBOOK_KEYS] = {false};

    while (*text) {
        const char *word = text + 1;
        size_t n = strcspn(word, ":,"), key_n = strcspn(word, "=:,");
        if (key_n == n)
            return gs_fail(err, GS_E_ARG, "codebook %s: '%.*s' is no 'key=number'", kind->name,
                           shown(n), word);
        int i = find_key(kind, word, key_n, err);
        if (i < 0)
            return GS_E_ARG;
        if (seen[i])
            return gs_fail(err, GS_E_ARG, "codebook %s: %s: given twice", kind->name,
                           kind->keys[i].name);
        seen[i] = true;
        int rc = parse_number(kind, &kind->keys[i], word + key_n + 1, n - key_n - 1, &values[i],
                              err);
        if (rc)
            return rc;
        text = word + n;
    }
    return GS_OK;
}

/* What a member left 0: a code is one number, in as few bits as it needs. */
static void complete(struct gs_codebook *codebook, const struct gs_codebook_kind *kind,
                     const double *values)
{
    codebook->kind = kind;
    memcpy(codebook->values, values, sizeof codebook->values);
    codebook->dim = GS_MAX(codebook->dim, 1);
    codebook->pack_codes = GS_MAX(codebook->pack_codes, 1);
    if (!codebook->pack_bits)
        codebook->pack_bits = !codebook->states ? 64
            : codebook->states <= 2 ? 1
            : 64 - (unsigned)__builtin_clzll(codebook->states - 1);
    assert(codebook->dim <= GS_CODEBOOK_DIM && codebook->pack_bits <= 64);
}

int gs_codebook_create(const char *text, struct gs_codebook **out, struct gs_err *err)
{
    double values[GS_CODEBOOK_KEYS] = {0};
    size_t n = strcspn(text, ":,");
    int rc;

    *out = NULL;
    const struct gs_codebook_kind *kind = find_kind(text, n, err);
    if (!kind)
        return GS_E_ARG;
    for (size_t i = 0; key_name(kind, i); i++) {
        assert(i < GS_CODEBOOK_KEYS);
        values[i] = kind->keys[i].value;
    }
    if ((rc = parse_keys(kind, text + n, values, err)) ||
        (rc = kind->create(kind, values, out, err)))
        return rc;
    complete(*out, kind, values);
    return GS_OK;
}
