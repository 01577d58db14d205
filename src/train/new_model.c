/* SPDX-License-Identifier: MIT
 * A new model to train: sizes from a configuration, vocabulary from a model or the text.
 *
 *   # comments and empty lines
 *   n_embd = 256
 *   n_layer = 6          keys below; a file of lines, or the same pairs with commas */
#include "train/train.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "file/fresh.h"
#include "file/map.h"
#include "text/bpe_train.h"

#define CONFIG_MAX_BYTES 65536u
#define VOCAB_DEFAULT 4096u

struct config {
    struct gs_model_sizes sizes;
    uint32_t n_vocab, untied;
    char name[128];
};

static const struct key {
    const char *name;
    size_t offset;
    bool is_float;
} keys[] = {
    {"n_embd", offsetof(struct config, sizes.n_embd), false},
    {"n_layer", offsetof(struct config, sizes.n_layer), false},
    {"n_ff", offsetof(struct config, sizes.n_ff), false},
    {"n_ctx", offsetof(struct config, sizes.n_ctx), false},
    {"n_head", offsetof(struct config, sizes.n_head), false},
    {"n_head_kv", offsetof(struct config, sizes.n_head_kv), false},
    {"n_vocab", offsetof(struct config, n_vocab), false},
    {"untied", offsetof(struct config, untied), false},
    {"rope_base", offsetof(struct config, sizes.rope_base), true},
    {"norm_eps", offsetof(struct config, sizes.norm_eps), true},
};

/* One "key = value" of n bytes. */
static int set_pair(struct config *c, const char *where, unsigned line, const char *text,
                    size_t n, struct gs_err *err)
{
    char pair[160], *end, *value;

    while (n && isspace((unsigned char)text[n - 1]))
        n--;
    while (n && isspace((unsigned char)*text))
        text++, n--;
    if (!n || *text == '#')
        return GS_OK;
    if (n >= sizeof pair)
        return gs_fail(err, GS_E_ARG, "%s: line %u is too long", where, line);
    memcpy(pair, text, n);
    pair[n] = 0;
    value = strchr(pair, '=');
    if (!value)
        return gs_fail(err, GS_E_ARG, "%s: line %u: expected key = value", where, line);
    for (end = value; end > pair && isspace((unsigned char)end[-1]);)
        end--;
    *end = 0;
    for (value++; isspace((unsigned char)*value);)
        value++;
    if (!strcmp(pair, "name")) {
        snprintf(c->name, sizeof c->name, "%s", value);
        c->sizes.name = c->name;
        return GS_OK;
    }
    for (size_t i = 0; i < GS_COUNT(keys); i++) {
        if (strcmp(keys[i].name, pair))
            continue;
        double number = strtod(value, &end);
        if (end == value || *end || !(number >= 0 && number <= 4e9) ||
            (!keys[i].is_float && number != floor(number)))
            return gs_fail(err, GS_E_ARG, "%s: line %u: key %s: '%s' is not a number for it",
                           where, line, pair, value);
        if (keys[i].is_float)
            *(float *)(void *)((char *)c + keys[i].offset) = (float)number;
        else
            *(uint32_t *)(void *)((char *)c + keys[i].offset) = (uint32_t)number;
        return GS_OK;
    }
    return gs_fail(err, GS_E_ARG, "%s: line %u: unknown key '%s'", where, line, pair);
}

static int parse_config(struct config *c, const char *where, const char *text, size_t n,
                        char separator, struct gs_err *err)
{
    unsigned line = 1;
    int rc = GS_OK;

    for (const char *p = text, *end = text + n; !rc && p < end; line++) {
        const char *stop = memchr(p, separator, (size_t)(end - p));
        if (!stop)
            stop = end;
        rc = set_pair(c, where, line, p, (size_t)(stop - p), err);
        p = stop + (stop < end);
    }
    return rc;
}

static int read_config(struct config *c, const char *arg, struct gs_err *err)
{
    struct gs_map *map;

    if (strchr(arg, '='))
        return parse_config(c, "--config", arg, strlen(arg), ',', err);
    int rc = gs_map_open(arg, &map, err);
    if (rc)
        return rc;
    if (map->size > CONFIG_MAX_BYTES)
        rc = gs_fail(err, GS_E_ARG, "%s: is too large for a configuration", arg);
    else
        rc = parse_config(c, arg, (const char *)map->data, map->size, '\n', err);
    gs_map_close(&map);
    return rc;
}

/* What the configuration leaves open. */
static void complete(struct config *c)
{
    struct gs_model_sizes *s = &c->sizes;

    if (!s->n_head)
        s->n_head = GS_MAX(s->n_embd / 64, 1);
    if (!s->n_head_kv)
        s->n_head_kv = s->n_head;
    if (!s->n_ff)
        s->n_ff = (s->n_embd * 8 / 3 + 255) / 256 * 256;
    if (!s->n_ctx)
        s->n_ctx = 512;
    s->untied = c->untied;
}

static int train_vocabulary(const struct gs_train_options *o, uint32_t n_vocab,
                            struct gs_meta *meta, struct gs_err *err)
{
    struct gs_map **maps = gs_alloc(o->n_texts, sizeof(struct gs_map *));
    struct gs_str *texts = gs_alloc(o->n_texts, sizeof *texts);
    struct gs_bpe_options bpe = {.n_vocab = n_vocab ? n_vocab : VOCAB_DEFAULT};
    int rc = maps && texts ? GS_OK : gs_fail_nomem(err, "texts");

    for (size_t i = 0; !rc && i < o->n_texts; i++)
        if (!(rc = gs_map_open(o->texts[i], &maps[i], err)))
            texts[i] = (struct gs_str){(const char *)maps[i]->data, maps[i]->size};
    if (!rc)
        rc = gs_bpe_train(&bpe, texts, o->n_texts, meta, err);
    for (size_t i = 0; maps && i < o->n_texts; i++)
        gs_map_close(&maps[i]);
    gs_free(&maps);
    gs_free(&texts);
    return rc;
}

/* The vocabulary of a model, which has the size that the configuration may say. */
static int take_vocabulary(const struct gs_train_options *o, const struct config *c,
                           struct gs_store **model, struct gs_err *err)
{
    struct gs_array tokens = {0};
    int rc = gs_store_open(o->tokenizer, model, err);

    if (rc)
        return rc;
    rc = gs_meta_get_array(gs_store_meta(*model), "tokenizer.ggml.tokens", GS_VALUE_STRING,
                           &tokens, err);
    if (rc < 0)
        return rc;
    if (c->n_vocab && tokens.count != c->n_vocab)
        return gs_fail(err, GS_E_ARG, "%s: its vocabulary has %llu tokens, n_vocab is %u",
                       o->tokenizer, (unsigned long long)tokens.count, c->n_vocab);
    return GS_OK;
}

int gs_train_new_model(const struct gs_train_options *o, struct gs_store **out,
                       struct gs_err *err)
{
    struct gs_store *model = NULL;
    struct gs_meta *meta = NULL;
    struct config c = {0};
    int rc;

    *out = NULL;
    if ((rc = read_config(&c, o->config, err)))
        return rc;
    complete(&c);
    if (o->tokenizer) {
        if (!(rc = take_vocabulary(o, &c, &model, err)))
            rc = gs_model_create(&c.sizes, gs_store_meta(model), o->seed, out, err);
    } else if (!(rc = gs_meta_create(&meta, err)) &&
               !(rc = train_vocabulary(o, c.n_vocab, meta, err))) {
        rc = gs_model_create(&c.sizes, meta, o->seed, out, err);
    }
    gs_meta_destroy(&meta);
    gs_store_close(&model);
    return rc;
}
