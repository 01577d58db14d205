/* SPDX-License-Identifier: MIT
 * Is a page well-formed, as XML demands it: elements closed in order, attributes quoted and told
 * once, entities known, no bare '<' or '&'? For pages that this program writes; no doctype's
 * inner part, no comments, no CDATA. */
#ifndef GS_TEST_WELL_FORMED_H
#define GS_TEST_WELL_FORMED_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define WELL_FORMED_DEPTH 64
#define WELL_FORMED_ATTRIBUTES 16

struct well_formed {
    const char *p, *end;
    const char *open[WELL_FORMED_DEPTH];
    size_t length[WELL_FORMED_DEPTH], depth;
    size_t elements;
    char why[160];
};

static inline bool wf_fail(struct well_formed *w, const char *why)
{
    int n = w->end - w->p < 40 ? (int)(w->end - w->p) : 40;

    snprintf(w->why, sizeof w->why, "%s at '%.*s'", why, n, w->p);
    return false;
}

static inline size_t wf_name(const struct well_formed *w)
{
    size_t n = 0;

    while (w->p + n < w->end && (isalnum((unsigned char)w->p[n]) || strchr("-_:", w->p[n])))
        n++;
    return n;
}

/* Text up to `stop`, its entities looked at. */
static inline bool wf_text(struct well_formed *w, const char *stop)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};

    for (; w->p < w->end && !strchr(stop, *w->p); w->p++) {
        bool known = *w->p != '&';
        for (size_t i = 0; i < 5; i++)
            known |= !strncmp(w->p, entities[i], strlen(entities[i]));
        if (!known)
            return wf_fail(w, "bare &");
        if (*w->p == '<' || ((unsigned char)*w->p < 32 && *w->p != '\n' && *w->p != '\t'))
            return wf_fail(w, "a character that text cannot have");
    }
    return true;
}

static inline bool wf_attributes(struct well_formed *w)
{
    const char *seen[WELL_FORMED_ATTRIBUTES];
    size_t length[WELL_FORMED_ATTRIBUTES], count = 0;

    while (w->p < w->end && *w->p == ' ') {
        w->p++;
        size_t n = wf_name(w);
        if (!n || w->end - w->p < (ptrdiff_t)n + 2 || strncmp(w->p + n, "=\"", 2))
            return wf_fail(w, "no attribute");
        for (size_t i = 0; i < count; i++)
            if (length[i] == n && !memcmp(seen[i], w->p, n))
                return wf_fail(w, "an attribute twice");
        if (count == WELL_FORMED_ATTRIBUTES)
            return wf_fail(w, "many attributes");
        seen[count] = w->p;
        length[count++] = n;
        w->p += n + 2;
        if (!wf_text(w, "\""))
            return false;
        if (w->p++ == w->end)
            return wf_fail(w, "an attribute without an end");
    }
    return true;
}

static inline bool wf_tag(struct well_formed *w)
{
    bool closes = w->p[1] == '/';

    w->p += 1 + closes;
    const char *name = w->p;
    size_t n = wf_name(w);
    if (!n)
        return wf_fail(w, "no tag");
    w->p += n;
    if (closes) {
        if (!w->depth || w->length[w->depth - 1] != n || memcmp(w->open[w->depth - 1], name, n))
            return wf_fail(w, "closes what is not open");
        w->depth--;
    } else if (!wf_attributes(w)) {
        return false;
    }
    bool empty = !closes && w->p < w->end && *w->p == '/';
    w->p += empty;
    if (w->p == w->end || *w->p != '>')
        return wf_fail(w, "a tag without an end");
    w->p++;
    if (!closes && !empty) {
        if (w->depth == WELL_FORMED_DEPTH)
            return wf_fail(w, "too deep");
        w->open[w->depth] = name;
        w->length[w->depth++] = n;
    }
    w->elements += !closes;
    return true;
}

/* text is a C string of n bytes; false and w->why. */
static inline bool well_formed(struct well_formed *w, const char *text, size_t n)
{
    static const char doctype[] = "<!DOCTYPE html>";

    *w = (struct well_formed){.p = text, .end = text + n};
    if (strlen(text) != n)
        return wf_fail(w, "a NUL");
    if (!strncmp(text, doctype, strlen(doctype)))
        w->p += strlen(doctype);
    while (w->p < w->end)
        if (*w->p == '<' ? !wf_tag(w) : !wf_text(w, "<"))
            return false;
    return w->depth ? wf_fail(w, "an element without an end") : true;
}

#endif
