/* SPDX-License-Identifier: MIT
 * The style and the script of a report: literals of comparison_page.c. */
#ifndef GS_REPORT_STYLE_H
#define GS_REPORT_STYLE_H

extern const char gs_report_style[];  /* CSS; text in it has no character that XML escapes */
extern const char gs_report_script[]; /* sorts a table by the column that is clicked on */

#endif
