/* SPDX-License-Identifier: MIT
 * Text of a page, as XML that is also HTML: every element that is opened is closed, in order,
 * and whatever comes from outside is escaped, because there is no other way to say it here.
 *
 *   gs_page_open(p, "td");
 *   gs_page_attr(p, "class", "number");      attributes come before all content
 *   gs_page_number(p, 1.25, 2);
 *   gs_page_close(p);                        <td class="number">1.25</td>
 *
 * Numbers have a point whatever the locale. Errors (memory) are remembered and told by
 * gs_page_take, so that nothing in between needs to look. */
#ifndef GS_REPORT_PAGE_H
#define GS_REPORT_PAGE_H

#include "report/buffer.h"

#define GS_PAGE_DEPTH 32

/* Zero-initialise. */
struct gs_page {
    struct gs_buffer out;
    bool in_tag;                      /* attributes may follow */
    const char *open[GS_PAGE_DEPTH];  /* names of elements, borrowed: literals */
    size_t depth;
};

void gs_page_open(struct gs_page *p, const char *element);
void gs_page_close(struct gs_page *p);
/* An element that holds nothing. */
void gs_page_void(struct gs_page *p);

/* Values are escaped; a NULL value gives no attribute. */
void gs_page_attr(struct gs_page *p, const char *name, const char *value);
void gs_page_attr_number(struct gs_page *p, const char *name, double value, int decimals);
void gs_page_attr_format(struct gs_page *p, const char *name, const char *fmt, ...)
    GS_PRINTF(3, 4);

/* Escaped text: bytes that are no UTF-8 and control characters, which XML does not know, become
 * U+FFFD. Formats must not have floating-point numbers, which follow the locale. */
void gs_page_text(struct gs_page *p, const char *text);
void gs_page_format(struct gs_page *p, const char *fmt, ...) GS_PRINTF(2, 3);

/* As text; "–" where it is not finite. Zeros at the end of a fraction stay. */
void gs_page_number(struct gs_page *p, double value, int decimals);
/* With so many significant digits. */
void gs_page_digits(struct gs_page *p, double value, int digits);

/* Open, text, close; class may be NULL. */
void gs_page_element(struct gs_page *p, const char *element, const char *class,
                     const char *text);

/* As it is: for literals of this program only. */
void gs_page_raw(struct gs_page *p, const char *literal);

/* The text as a C string for gs_free; n may be NULL. All elements must be closed. Ends the
 * page, also when it fails. */
int gs_page_take(struct gs_page *p, char **text, size_t *n, struct gs_err *err) GS_MUST_USE;

#endif
