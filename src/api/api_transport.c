/* SPDX-License-Identifier: MIT
 * gosset.h: packs. */
#include "transport/transport.h"

static const struct gs_pack_options defaults;

int gs_pack(const char *src, const char *dst, const struct gs_pack_options *options,
            struct gs_pack_result *out, struct gs_err *err)
{
    return gs_pack_file(src, dst, options ? options : &defaults, out, err);
}

int gs_unpack(const char *src, const char *dst, const struct gs_pack_options *options,
              struct gs_pack_result *out, struct gs_err *err)
{
    return gs_unpack_file(src, dst, options ? options : &defaults, out, err);
}
