/* SPDX-License-Identifier: MIT
 * Products with codes by the dot product instructions. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/dot4_neondot.h"
#include "kernels/viterbi.h"

#include "kernels/codes_neon.inc"
