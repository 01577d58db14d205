/* SPDX-License-Identifier: MIT
 * gosset.h: training, which takes a model that is there or a new one. */
#include "api/api.h"

#include "train/train.h"

int gs_train(const char *dst, const struct gs_train_options *options,
             struct gs_train_result *out, struct gs_err *err)
{
    struct gs_store *store = NULL;
    int rc;

    if (!options->init == !options->config)
        return gs_fail(err, GS_E_ARG, "either a model to continue or the sizes of a new one");
    if (options->init && options->tokenizer)
        return gs_fail(err, GS_E_ARG, "a model that is continued keeps its vocabulary");
    if (!options->n_texts)
        return gs_fail(err, GS_E_ARG, "what to learn from? give a text");
    rc = options->init ? gs_store_open(options->init, &store, err)
                       : gs_train_new_model(options, &store, err);
    if (!rc)
        rc = gs_train_store(store, dst, options, out, err);
    gs_store_close(&store);
    return rc;
}
