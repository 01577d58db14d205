/* SPDX-License-Identifier: MIT
 * The texts lie sorted, which makes the list its own trie: the texts that begin with the
 * bytes read so far are a range, and the next byte narrows it by binary search. Few places
 * of a text get further than the table of first bytes. */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"

struct entry {
    struct gs_str text;
    int32_t id;
    bool user;
};

struct gs_special {
    struct entry *entries;
    size_t n;
    bool starts[2][256]; /* [control][byte]: some text to be found begins so */
};

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = memcmp(x->text.data, y->text.data, GS_MIN(x->text.size, y->text.size));

    if (order)
        return order;
    return (x->text.size > y->text.size) - (x->text.size < y->text.size);
}

static bool is_special(const struct gs_vocab *v, uint32_t id)
{
    uint8_t type = v->type[id];
    return v->text[id].size && (type == GS_TOKEN_USER || type == GS_TOKEN_CONTROL ||
                                type == GS_TOKEN_UNKNOWN);
}

int gs_special_create(const struct gs_vocab *v, struct gs_special **out, struct gs_err *err)
{
    struct gs_special *s = gs_alloc(1, sizeof *s);
    size_t n = 0;

    *out = NULL;
    for (uint32_t id = 0; id < v->n; id++)
        n += is_special(v, id);
    if (s)
        s->entries = gs_alloc(n, sizeof *s->entries);
    if (!s || !s->entries) {
        gs_special_destroy(&s);
        return gs_fail_nomem(err, "special tokens");
    }
    for (uint32_t id = 0; id < v->n; id++) {
        if (!is_special(v, id))
            continue;
        bool user = v->type[id] == GS_TOKEN_USER;
        uint8_t first = (uint8_t)v->text[id].data[0];
        s->entries[s->n++] = (struct entry){v->text[id], (int32_t)id, user};
        s->starts[1][first] = true;
        s->starts[0][first] |= user;
    }
    if (n)
        qsort(s->entries, n, sizeof *s->entries, compare);
    *out = s;
    return GS_OK;
}

void gs_special_destroy(struct gs_special **special)
{
    if (*special)
        gs_free(&(*special)->entries);
    gs_free(special);
}

/* First entry of [low, high), texts longer than `depth`, whose byte there is >= c. */
static size_t lower_bound(const struct gs_special *s, size_t low, size_t high, size_t depth,
                          unsigned c)
{
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if ((uint8_t)s->entries[mid].text.data[depth] < c)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The longest special token that the n bytes begin with. */
static size_t match(const struct gs_special *s, const char *text, size_t n, bool control,
                    int32_t *id)
{
    size_t low = 0, high = s->n, best = 0;

    for (size_t depth = 0; depth < n; depth++) {
        unsigned c = (uint8_t)text[depth];
        low = lower_bound(s, low, high, depth, c);
        high = lower_bound(s, low, high, depth, c + 1);
        if (low == high)
            break;
        /* Sorted: the text that ends here, if there is one, comes first. */
        if (s->entries[low].text.size != depth + 1)
            continue;
        if (control || s->entries[low].user) {
            best = depth + 1;
            *id = s->entries[low].id;
        }
        low++;
    }
    return best;
}

size_t gs_special_find(const struct gs_special *s, const char *text, size_t n, bool control,
                       size_t *at, int32_t *id)
{
    const bool *starts = s->starts[control];

    if (!s->n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (!starts[(uint8_t)text[i]])
            continue;
        size_t len = match(s, text + i, n - i, control, id);
        if (len) {
            *at = i;
            return len;
        }
    }
    return 0;
}
