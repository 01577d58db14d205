/* SPDX-License-Identifier: MIT
 * The members of the list in optimizer.c. Private to src/train. */
#ifndef GS_TRAIN_MEMBERS_H
#define GS_TRAIN_MEMBERS_H

#include "train/optimizer.h"

extern const struct gs_optimizer_kind gs_optimizer_adamw, gs_optimizer_adamw8,
    gs_optimizer_adamw4, gs_optimizer_sgd;

#endif
