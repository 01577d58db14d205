/* SPDX-License-Identifier: MIT
 * gosset.h: measuring and converting, which are calls of eval/ and recipe/. */
#include "api/api.h"

#include "recipe/convert.h"

static struct gs_load_options load_options(const struct gs_eval_options *o)
{
    return (struct gs_load_options){.threads = o ? o->threads : 0, .exact = o && o->exact};
}

int gs_eval_text(const struct gs_model *model, const struct gs_model *ref, const char *text,
                 size_t n, const struct gs_eval_options *options, struct gs_eval_result *out,
                 struct gs_err *err)
{
    struct gs_load_options load = load_options(options);
    struct gs_subject subject, ref_subject;
    int rc;

    if ((rc = gs_api_subject(model, &load, &subject, err)))
        return rc;
    load.exact = true;
    if (ref && (rc = gs_api_subject(ref, &load, &ref_subject, err)))
        return rc;
    return gs_eval_perplexity(&subject, ref ? &ref_subject : NULL, text, n, options, out, err);
}

int gs_eval_task(const struct gs_model *model, const char *path, uint64_t limit,
                 const struct gs_eval_options *options, struct gs_task_result *out,
                 struct gs_err *err)
{
    const struct gs_load_options load = load_options(options);
    struct gs_subject subject;
    int rc;

    if ((rc = gs_api_subject(model, &load, &subject, err)))
        return rc;
    return gs_eval_tasks(&subject, path, limit, options, out, err);
}

int gs_convert(const char *src, const char *dst, const struct gs_convert_options *options,
               struct gs_convert_result *out, struct gs_err *err)
{
    return gs_convert_model(src, dst, options, out, err);
}
