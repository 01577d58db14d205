/* SPDX-License-Identifier: MIT
 * Multiplying trellis tiles with the dot product instructions. */
#include "kernels/trellis_neon.h"

#include "kernels/dot4_neondot.h"
#include "kernels/trellis_neon.inc"
