/* SPDX-License-Identifier: MIT */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

static double constant(double done GS_UNUSED)
{
    return 1;
}

static double linear(double done)
{
    return 1 - done;
}

static double cosine(double done)
{
    return 0.5 * (1 + cos(PI * done));
}

static const struct gs_schedule_kind kinds[] = {
    {"cosine", cosine},
    {"linear", linear},
    {"constant", constant},
};

const struct gs_schedule_kind *gs_schedule_kind_at(size_t index)
{
    return index < GS_COUNT(kinds) ? &kinds[index] : NULL;
}

const struct gs_schedule_kind *gs_schedule_kind_find(const char *name)
{
    for (size_t i = 0; i < GS_COUNT(kinds); i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    return NULL;
}

double gs_schedule_lr(const struct gs_schedule *s, uint64_t step)
{
    if (step <= s->warmup)
        return s->lr * (double)step / (double)s->warmup;
    if (s->steps <= s->warmup)
        return s->lr;
    double done = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    return s->least + (s->lr - s->least) * s->kind->share(fmin(done, 1));
}
