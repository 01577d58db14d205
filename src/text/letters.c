/* SPDX-License-Identifier: MIT */
#include "text/letters.h"

#include <assert.h>

static bool is_printable(int byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

void gs_letters(uint16_t letter[256])
{
    int next = 256;

    for (int b = 0; b < 256; b++)
        letter[b] = (uint16_t)(is_printable(b) ? b : next++);
    assert(next == GS_LETTERS_END);
}
