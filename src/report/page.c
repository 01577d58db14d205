/* SPDX-License-Identifier: MIT
 * Names of elements and attributes are literals of this program; all else goes through
 * put_escaped. */
#include "report/page.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FORMATTED 1024

static void put(struct gs_page *p, const char *data, size_t n)
{
    gs_buffer_put(&p->out, data, n);
}

static void end_tag(struct gs_page *p)
{
    if (p->in_tag)
        put(p, ">", 1);
    p->in_tag = false;
}

void gs_page_raw(struct gs_page *p, const char *literal)
{
    end_tag(p);
    put(p, literal, strlen(literal));
}

/* ---- escaping ----------------------------------------------------------------------------- */

static void put_escaped(struct gs_page *p, const char *text)
{
    static const struct { char c; const char *entity; } entities[] = {
        {'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"},
    };

    while (*text) {
        size_t n = gs_character_bytes(text);
        const char *entity = n ? NULL : "\xef\xbf\xbd";
        for (size_t i = 0; i < GS_COUNT(entities); i++)
            if (*text == entities[i].c)
                entity = entities[i].entity;
        if (entity)
            put(p, entity, strlen(entity));
        else
            put(p, text, n);
        text += GS_MAX(n, 1);
    }
}

void gs_page_text(struct gs_page *p, const char *text)
{
    end_tag(p);
    put_escaped(p, text);
}

void gs_page_format(struct gs_page *p, const char *fmt, ...)
{
    char text[FORMATTED];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gs_page_text(p, text);
}

/* ---- elements ----------------------------------------------------------------------------- */

void gs_page_open(struct gs_page *p, const char *element)
{
    assert(p->depth < GS_PAGE_DEPTH);
    end_tag(p);
    put(p, "<", 1);
    put(p, element, strlen(element));
    p->open[p->depth++] = element;
    p->in_tag = true;
}

void gs_page_close(struct gs_page *p)
{
    assert(p->depth);
    const char *element = p->open[--p->depth];

    end_tag(p);
    put(p, "</", 2);
    put(p, element, strlen(element));
    put(p, ">", 1);
}

void gs_page_void(struct gs_page *p)
{
    assert(p->depth && p->in_tag);
    p->depth--;
    put(p, "/>", 2);
    p->in_tag = false;
}

void gs_page_element(struct gs_page *p, const char *element, const char *class,
                     const char *text)
{
    gs_page_open(p, element);
    gs_page_attr(p, "class", class);
    gs_page_text(p, text);
    gs_page_close(p);
}

void gs_page_attr(struct gs_page *p, const char *name, const char *value)
{
    assert(p->in_tag);
    if (!value)
        return;
    put(p, " ", 1);
    put(p, name, strlen(name));
    put(p, "=\"", 2);
    put_escaped(p, value);
    put(p, "\"", 1);
}

void gs_page_attr_format(struct gs_page *p, const char *name, const char *fmt, ...)
{
    char text[FORMATTED];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gs_page_attr(p, name, text);
}

/* ---- numbers ------------------------------------------------------------------------------ */

void gs_page_number(struct gs_page *p, double value, int decimals)
{
    char text[GS_NUMBER_TEXT];

    gs_number_text(value, decimals, false, text);
    gs_page_text(p, text);
}

void gs_page_digits(struct gs_page *p, double value, int digits)
{
    char text[GS_NUMBER_TEXT];

    gs_number_text(value, digits, true, text);
    gs_page_text(p, text);
}

void gs_page_attr_number(struct gs_page *p, const char *name, double value, int decimals)
{
    char text[GS_NUMBER_TEXT];

    gs_number_text(isfinite(value) ? value : 0, decimals, false, text);
    gs_page_attr(p, name, text);
}

int gs_page_take(struct gs_page *p, char **text, size_t *n, struct gs_err *err)
{
    assert(!p->depth);
    return gs_buffer_take(&p->out, text, n, err);
}
