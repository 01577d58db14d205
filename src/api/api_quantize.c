/* SPDX-License-Identifier: MIT
 * gosset.h: quantizing, which is a pipeline of recipe/ with a measurement of eval/ in it. */
#include "api/api.h"

#include "recipe/imatrix.h"
#include "recipe/mix.h"
#include "recipe/quantize.h"
#include "recipe/recipe.h"

#define MEASURE_CTX 512u

struct measure {
    const char *src;
    const struct gs_quantize_options *options;
};

static int measure_file(void *ctx, const char *path, const char *text, size_t n,
                        struct gs_eval_result *out, struct gs_err *err)
{
    const struct measure *m = ctx;
    struct gs_eval_options options = {.ctx = MEASURE_CTX, .threads = m->options->threads,
                                      .progress = m->options->progress,
                                      .progress_ctx = m->options->progress_ctx};
    struct gs_model *model = NULL, *ref = NULL;
    struct gs_model_info info;
    int rc = gs_model_open(path, &model, err);

    if (!rc)
        rc = gs_model_open(m->src, &ref, err);
    if (!rc) {
        gs_model_info(ref, &info);
        if (info.n_ctx_train && info.n_ctx_train < options.ctx)
            options.ctx = info.n_ctx_train;
        rc = gs_eval_text(model, ref, text, n, &options, out, err);
    }
    gs_model_close(&ref);
    gs_model_close(&model);
    return rc;
}

const char *gs_type_name(size_t index)
{
    const struct gs_mix *mix = gs_mix_at(index);

    return mix ? gs_mix_name(mix) : NULL;
}

int gs_recipe_info(size_t index, struct gs_recipe_info *out, struct gs_err *err)
{
    return gs_recipe_describe(index, out, err);
}

int gs_quantize(const char *src, const char *dst, const struct gs_quantize_options *options,
                struct gs_quantize_result *out, struct gs_err *err)
{
    struct measure m = {.src = src, .options = options};

    return gs_quantize_model(src, dst, options, measure_file, &m, out, err);
}

int gs_imatrix(const char *src, const char *dst, const struct gs_imatrix_options *options,
               struct gs_imatrix_result *out, struct gs_err *err)
{
    return gs_imatrix_make(src, dst, options, out, err);
}
