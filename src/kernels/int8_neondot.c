/* SPDX-License-Identifier: MIT
 * Products with 8-bit activations (int8.h) by the dot product instructions. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/dot4_neondot.h"
#include "kernels/viterbi.h"

#include "kernels/tile_neon.inc"
