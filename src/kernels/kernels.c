/* SPDX-License-Identifier: MIT
 * The list of levels, inheritance and the choice of one.
 *
 * The table in use is made once, by the first caller of gs_kernels, into static memory;
 * readers see it through one atomic pointer. */
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/cpu.h"
#include "core/log.h"
#include "kernels/levels.h"

/* Weakest first. */
static const struct gs_kernels *const levels[] = {
    &gs_kernels_scalar,
#if defined(__x86_64__)
    &gs_kernels_avx2,
    &gs_kernels_avx512,
    &gs_kernels_avx512vbmi,
#elif defined(__aarch64__)
    &gs_kernels_neon,
    &gs_kernels_neondot,
#endif
};

static struct gs_kernels tables[GS_COUNT(levels)]; /* resolved levels */
static _Atomic(const struct gs_kernels *) selected;
static atomic_flag lock = ATOMIC_FLAG_INIT;

const struct gs_kernels *gs_kernels_level(size_t index)
{
    return index < GS_COUNT(levels) ? levels[index] : NULL;
}

/* Takes over every slot that `level` has; the rest of *out stays. */
static void overlay(struct gs_kernels *out, const struct gs_kernels *level)
{
    out->name = level->name;
    out->need |= level->need;
    for (int t = 0; t < GS_TYPE_COUNT; t++) {
        if (level->decode[t])
            out->decode[t] = level->decode[t];
        if (level->encode[t])
            out->encode[t] = level->encode[t];
        if (level->dot[t])
            out->dot[t] = level->dot[t];
        if (level->unpack[t])
            out->unpack[t] = level->unpack[t];
        if (level->codes_dot[t])
            out->codes_dot[t] = level->codes_dot[t];
    }
#define K(slot, type)                                                                          \
    if (level->slot)                                                                           \
        out->slot = level->slot;
#include "kernels/kernels.def"
#undef K
}

bool gs_kernels_resolve(size_t index, struct gs_kernels *out)
{
    if (index >= GS_COUNT(levels))
        return false;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i <= index; i++)
        overlay(out, levels[i]);
    return (out->need & ~gs_cpu_flags()) == 0;
}

/* The level of that name, any case; GS_COUNT(levels) if there is none. */
static size_t find(const char *name)
{
    size_t i = 0;

    while (i < GS_COUNT(levels) && strcasecmp(levels[i]->name, name))
        i++;
    return i;
}

static size_t strongest(void)
{
    size_t i = GS_COUNT(levels) - 1;
    struct gs_kernels table;

    while (i > 0 && !gs_kernels_resolve(i, &table))
        i--;
    return i;
}

/* The level that the environment asks for, else the strongest. */
static size_t first_choice(void)
{
    const char *name = getenv("GOSSET_CPU");
    size_t best = strongest();

    if (!name || !*name)
        return best;
    size_t asked = find(name);
    if (asked <= best)
        return asked;
    gs_log(GS_LOG_WARN, "GOSSET_CPU=%s: %s; using %s", name,
           asked == GS_COUNT(levels) ? "no such level" : "this processor lacks it",
           levels[best]->name);
    return best;
}

static void publish(size_t index)
{
    if (gs_kernels_resolve(index, &tables[index]))
        atomic_store_explicit(&selected, &tables[index], memory_order_release);
}

const struct gs_kernels *gs_kernels(void)
{
    const struct gs_kernels *k = atomic_load_explicit(&selected, memory_order_acquire);

    if (GS_LIKELY(k != NULL))
        return k;
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        ;
    if (!atomic_load_explicit(&selected, memory_order_relaxed))
        publish(first_choice());
    k = atomic_load_explicit(&selected, memory_order_relaxed);
    atomic_flag_clear_explicit(&lock, memory_order_release);
    return k;
}

int gs_kernels_select(const char *name, struct gs_err *err)
{
    size_t index = find(name);
    struct gs_kernels table;

    if (index == GS_COUNT(levels))
        return gs_fail(err, GS_E_ARG, "cpu level %s: no such level", name);
    if (!gs_kernels_resolve(index, &table))
        return gs_fail(err, GS_E_UNSUPPORTED, "cpu level %s: this processor lacks it", name);
    publish(index);
    return GS_OK;
}
