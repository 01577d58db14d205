/* SPDX-License-Identifier: MIT
 * The pieces that stay keep their order, which is by what their bytes are worth. */
#include "recipe/slice.h"

#include <string.h>

#include "core/alloc.h"
#include "model/model.h"
#include "model/part_file.h"

struct gs_slice {
    struct gs_part_file *file; /* with the choice */
    size_t kept;               /* pieces */
    uint64_t bytes;            /* of them */
};

/* The choice of a run on a decoder of the session's size. */
static int choose(struct gs_store *store, const struct gs_load_options *options,
                  struct gs_team *team, struct gs_part_file **out, struct gs_err *err)
{
    static const struct gs_session_options defaults;
    struct gs_decoder_options run = {.team = team};
    const struct gs_lm_options o = {.bits = options->bits, .memory = options->memory,
                                    .run = &run, .team = team};
    struct gs_config config;
    int rc = gs_config_read(gs_store_meta(store), gs_store_path(store), &config, err);

    if (rc)
        return rc;
    gs_decoder_for_session(options->session ? options->session : &defaults, config.n_ctx_train,
                           &run);
    return gs_lm_choose(store, &o, out, err);
}

int gs_slice_create(struct gs_store *store, const struct gs_load_options *options,
                    struct gs_team *team, struct gs_slice **out, struct gs_err *err)
{
    struct gs_slice *s = *out = gs_alloc(1, sizeof *s);
    int rc = s ? choose(store, options, team, &s->file, err) : gs_fail_nomem(err, "a slice");
    size_t n = !rc && s->file ? gs_part_file_pieces(s->file) : 0;

    if (!rc && !n)
        rc = gs_fail(err, GS_E_ARG, "%s: the file is not in pieces that could be left out",
                     gs_store_path(store));
    for (size_t i = 0; i < n; i++) {
        struct gs_part_place place = gs_part_file_place(s->file, i);
        s->kept += place.chosen;
        s->bytes += place.chosen ? place.bytes : 0;
    }
    if (rc || s->kept == n)
        gs_slice_destroy(out);
    return rc;
}

void gs_slice_destroy(struct gs_slice **slice)
{
    if (!*slice)
        return;
    gs_part_file_close(&(*slice)->file);
    gs_free(slice);
}

bool gs_slice_cuts(const struct gs_slice *s, const struct gs_tensor *t)
{
    return s && gs_part_file_is_side(s->file, t);
}

uint64_t gs_slice_bytes(const struct gs_slice *s)
{
    return s->bytes;
}

bool gs_slice_drops(const struct gs_slice *s, const char *key)
{
    static const char *const beginnings[] = {GS_KEY_PART "pieces", "gosset.eval.",
                                             "gosset.round."};

    for (size_t i = 0; s && i < GS_COUNT(beginnings); i++)
        if (!strncmp(key, beginnings[i], strlen(beginnings[i])))
            return true;
    return false;
}

int gs_slice_set_meta(const struct gs_slice *s, struct gs_meta *meta, struct gs_err *err)
{
    uint32_t *of = gs_alloc(s->kept, sizeof *of);
    size_t n = 0;
    int rc = GS_OK;

    if (!of)
        return gs_fail_nomem(err, "metadata");
    for (size_t i = 0; i < gs_part_file_pieces(s->file); i++) {
        struct gs_part_place place = gs_part_file_place(s->file, i);
        if (place.chosen)
            of[n++] = place.matrix;
    }
    if (n)
        rc = gs_meta_set_array(meta, GS_KEY_PART "pieces", GS_VALUE_U32, of, n, err);
    gs_free(&of);
    return rc;
}

int gs_slice_write(const struct gs_slice *s, gs_recode_sink_fn sink, void *ctx,
                   struct gs_err *err)
{
    int rc = GS_OK;

    for (size_t i = 0; !rc && i < gs_part_file_pieces(s->file); i++) {
        struct gs_part_place place = gs_part_file_place(s->file, i);
        if (place.chosen)
            rc = sink(ctx, place.data, place.bytes, place.bytes, err);
    }
    return rc;
}
