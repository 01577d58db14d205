/* SPDX-License-Identifier: MIT
 * gosset.h: deltas of fine-tuned models. */
#include "api/api.h"

#include "recipe/convert.h"

int gs_delta(const char *base, const char *tuned, const char *dst,
             const struct gs_delta_options *options, struct gs_delta_result *out,
             struct gs_err *err)
{
    static const struct gs_delta_options defaults;
    const struct gs_delta_options *o = options ? options : &defaults;
    struct gs_store *b = NULL, *t = NULL;
    int rc;

    if (!(rc = gs_store_open(base, &b, err)) && !(rc = gs_store_open(tuned, &t, err)) &&
        !(rc = gs_convert_check_output(b, dst, o->overwrite, err)) &&
        !(rc = gs_convert_check_output(t, dst, o->overwrite, err)))
        rc = gs_delta_make(b, t, dst, o, out, err);
    gs_store_close(&t);
    gs_store_close(&b);
    return rc;
}

int gs_delta_apply(const char *base, const char *delta, const char *dst,
                   const struct gs_convert_options *options, struct gs_convert_result *out,
                   struct gs_err *err)
{
    bool overwrite = options && options->overwrite;
    struct gs_overlay overlay;
    int rc = gs_overlay_open(base, delta, &overlay, err);

    if (!rc && !(rc = gs_convert_check_output(overlay.base, dst, overwrite, err)) &&
        !(rc = gs_convert_check_output(overlay.delta, dst, overwrite, err)))
        rc = gs_convert_store(overlay.store, dst, options, out, err);
    gs_overlay_close(&overlay);
    return rc;
}
