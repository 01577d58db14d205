/* SPDX-License-Identifier: MIT
 * Products with codes in NEON without dot product instructions. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/dot4_neon.h"
#include "kernels/viterbi.h"

#include "kernels/codes_neon.inc"
