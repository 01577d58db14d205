/* SPDX-License-Identifier: MIT
 * Names beside the points of a plot, none over another or over what is drawn. */
#ifndef GS_REPORT_LABELS_H
#define GS_REPORT_LABELS_H

#include "core/err.h"

struct gs_box {
    double x, y, width, height; /* x, y: the upper left corner */
};

struct gs_segment {
    double x0, y0, x1, y1;
};

/* What is in the way: fixed boxes and lines first, then the labels that were placed. */
struct gs_labels {
    struct gs_box bounds;       /* labels stay within */
    struct gs_box *boxes;
    struct gs_segment *segments;
    size_t n_boxes, n_segments, box_capacity, segment_capacity;
};

/* Room for so many in all, placed labels and their leaders included. */
int gs_labels_create(const struct gs_box *bounds, size_t boxes, size_t segments,
                     struct gs_labels *out, struct gs_err *err) GS_MUST_USE;
void gs_labels_clear(struct gs_labels *labels);

void gs_labels_add_box(struct gs_labels *labels, struct gs_box box);
void gs_labels_add_segment(struct gs_labels *labels, struct gs_segment segment);

/* Finds a place for a label of this size near the point (x, y), whose mark has `radius`. True:
 * *box is free and now taken, and where it is so far off that a line must lead to it, *leader is
 * that line (else all zero). False: there is no free place. */
bool gs_labels_place(struct gs_labels *labels, double x, double y, double radius, double width,
                     double height, struct gs_box *box, struct gs_segment *leader);

bool gs_boxes_overlap(const struct gs_box *a, const struct gs_box *b);
bool gs_segment_meets(const struct gs_segment *s, const struct gs_box *box);

#endif
