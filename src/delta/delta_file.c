/* SPDX-License-Identifier: MIT */
#include "delta/delta_file.h"

#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "kernels/kernels.h"

bool gs_delta_is_matrix(const struct gs_tensor *t, bool all)
{
    return t->n_dims == 2 && gs_kernels()->decode[t->type] &&
           (t->type < GS_TYPE_I8 || t->type > GS_TYPE_I64) &&
           (all || !strncmp(t->name, "blk.", 4));
}

int gs_delta_name(const char *name, const char *tail, char *out, struct gs_err *err)
{
    if ((size_t)snprintf(out, GS_DELTA_NAME_MAX, "%s.%s", name, tail) >= GS_DELTA_NAME_MAX)
        return gs_fail(err, GS_E_UNSUPPORTED, "tensor %.64s…: the name is too long", name);
    return GS_OK;
}

int gs_delta_fingerprint(struct gs_store *store, uint64_t *out, struct gs_err *err)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < gs_store_count(store); i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        const void *data;
        int rc = gs_store_data(store, t, &data, err);
        if (rc)
            return rc;
        sum += gs_fingerprint(gs_fingerprint(0, t->name, strlen(t->name)), data, t->bytes);
        gs_store_release(store, t);
    }
    *out = sum;
    return GS_OK;
}

int gs_delta_check_stock(const struct gs_store *store, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(store);

    for (size_t i = 0; i < gs_meta_count(meta); i++)
        if (!strncmp(gs_meta_key(meta, i), "gosset.native.", 14) ||
            !strncmp(gs_meta_key(meta, i), "gosset.part.", 12))
            return gs_fail(err, GS_E_UNSUPPORTED,
                           "%s: holds matrices in a format of gosset's own; deltas are taken of "
                           "and applied to stock files", gs_store_path(store));
    return GS_OK;
}

void gs_delta_decode(const struct gs_tensor *t, const void *data, uint64_t first, uint64_t n,
                     float *dst)
{
    const struct gs_type_info *info = gs_type_info(t->type);
    uint64_t row_bytes = t->dim[0] / info->block * info->bytes;

    gs_kernels()->decode[t->type]((const uint8_t *)data + first * row_bytes, dst,
                                  n * t->dim[0]);
}
