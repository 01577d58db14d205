/* SPDX-License-Identifier: MIT
 * The members of the list in codebook.c. */
#ifndef GS_CODEBOOK_MEMBERS_H
#define GS_CODEBOOK_MEMBERS_H

#include "codebook/codebook.h"

extern const struct gs_codebook_kind gs_codebook_uniform;

#endif
