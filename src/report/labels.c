/* SPDX-License-Identifier: MIT
 * Places are tried in rings around a point, the nearest first, each ring in the order of
 * the numbers; the first that is free is taken. Greedy, so the order of the calls is the order of
 * importance. Per label: places tried · things in the way.
 *
 *     4  6  1          ring 0 touches the mark; from ring 1 on a thin line leads there
 *     2  •  0
 *     5  7  3 */
#include "report/labels.h"

#include <assert.h>
#include <math.h>

#include "core/alloc.h"

#define RINGS 7u
#define RING_STEP 9.0
#define LEADER_RING 1u

static const struct { double dx, dy; } directions[] = {
    {1, 0}, {0.8, -0.8}, {-1, 0}, {0.8, 0.8}, {-0.8, 0.8}, {-0.8, -0.8}, {0, -1}, {0, 1},
};

int gs_labels_create(const struct gs_box *bounds, size_t boxes, size_t segments,
                     struct gs_labels *out, struct gs_err *err)
{
    *out = (struct gs_labels){.bounds = *bounds, .box_capacity = boxes,
                              .segment_capacity = segments};
    out->boxes = gs_alloc(boxes, sizeof *out->boxes);
    out->segments = gs_alloc(segments, sizeof *out->segments);
    if (out->boxes && out->segments)
        return GS_OK;
    gs_labels_clear(out);
    return gs_fail_nomem(err, "labels");
}

void gs_labels_clear(struct gs_labels *labels)
{
    gs_free(&labels->boxes);
    gs_free(&labels->segments);
}

void gs_labels_add_box(struct gs_labels *labels, struct gs_box box)
{
    assert(labels->n_boxes < labels->box_capacity);
    labels->boxes[labels->n_boxes++] = box;
}

void gs_labels_add_segment(struct gs_labels *labels, struct gs_segment segment)
{
    assert(labels->n_segments < labels->segment_capacity);
    labels->segments[labels->n_segments++] = segment;
}

bool gs_boxes_overlap(const struct gs_box *a, const struct gs_box *b)
{
    return a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height &&
           b->y < a->y + a->height;
}

/* Narrows *low … *high to the part of the segment p + t·d that is within from … to. */
static bool clip(double p, double d, double from, double to, double *low, double *high)
{
    if (d == 0)
        return p > from && p < to;
    double a = (from - p) / d, b = (to - p) / d;
    *low = fmax(*low, fmin(a, b));
    *high = fmin(*high, fmax(a, b));
    return *low < *high;
}

bool gs_segment_meets(const struct gs_segment *s, const struct gs_box *box)
{
    double low = 0, high = 1;

    return clip(s->x0, s->x1 - s->x0, box->x, box->x + box->width, &low, &high) &&
           clip(s->y0, s->y1 - s->y0, box->y, box->y + box->height, &low, &high);
}

static bool is_free(const struct gs_labels *l, const struct gs_box *box)
{
    const struct gs_box *b = &l->bounds;

    if (box->x < b->x || box->y < b->y || box->x + box->width > b->x + b->width ||
        box->y + box->height > b->y + b->height)
        return false;
    for (size_t i = 0; i < l->n_boxes; i++)
        if (gs_boxes_overlap(box, &l->boxes[i]))
            return false;
    for (size_t i = 0; i < l->n_segments; i++)
        if (gs_segment_meets(&l->segments[i], box))
            return false;
    return true;
}

/* A leader may pass near points, but not through a name. Boxes of marks come first and are as
 * small as marks, so all are asked; its own mark is left by `radius`. */
static bool leads_freely(const struct gs_labels *l, const struct gs_segment *leader)
{
    for (size_t i = 0; i < l->n_boxes; i++)
        if (gs_segment_meets(leader, &l->boxes[i]))
            return false;
    return true;
}

/* From the mark's edge to the nearest place of the box. */
static struct gs_segment lead(double x, double y, double radius, const struct gs_box *box)
{
    double to_x = fmin(fmax(x, box->x), box->x + box->width);
    double to_y = fmin(fmax(y, box->y), box->y + box->height);
    double dx = to_x - x, dy = to_y - y, length = fmax(hypot(dx, dy), 1e-9);

    return (struct gs_segment){x + dx / length * (radius + 1.5), y + dy / length * (radius + 1.5),
                               to_x, to_y};
}

bool gs_labels_place(struct gs_labels *l, double x, double y, double radius, double width,
                     double height, struct gs_box *box, struct gs_segment *leader)
{
    for (size_t i = 0; i < RINGS * GS_COUNT(directions); i++) {
        size_t ring = i / GS_COUNT(directions), at = i % GS_COUNT(directions);
        double off = radius + 2 + RING_STEP * (double)ring;
        double dx = directions[at].dx, dy = directions[at].dy;
        *box = (struct gs_box){x + off * dx - (dx > 0 ? 0 : dx < 0 ? width : width / 2),
                               y + off * dy - (dy > 0 ? 0 : dy < 0 ? height : height / 2), width,
                               height};
        if (!is_free(l, box))
            continue;
        *leader = (struct gs_segment){0};
        if (ring >= LEADER_RING) {
            *leader = lead(x, y, radius, box);
            if (!leads_freely(l, leader))
                continue;
            gs_labels_add_segment(l, *leader);
        }
        gs_labels_add_box(l, *box);
        return true;
    }
    return false;
}
