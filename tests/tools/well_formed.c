/* SPDX-License-Identifier: MIT
 * well_formed <PAGE: exit code 0 if it is well-formed (tests/unit/well_formed.h), else 1 and
 * why. */
#include <stdlib.h>

#include "tests/unit/well_formed.h"

int main(void)
{
    size_t n = 0, capacity = 1u << 26;
    char *text = malloc(capacity + 1);
    struct well_formed w;

    if (!text)
        return 2;
    n = fread(text, 1, capacity, stdin);
    text[n] = 0;
    bool ok = n < capacity && well_formed(&w, text, n) && w.elements > 0;
    if (!ok)
        printf("not well-formed: %s\n", w.why);
    free(text);
    return ok ? 0 : 1;
}
