/* SPDX-License-Identifier: MIT
 * 8-bit activations in NEON (int8.h), and products without dot product instructions. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/dot4_neon.h"
#include "kernels/viterbi.h"

#include "kernels/tile_neon.inc"
