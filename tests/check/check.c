/* SPDX-License-Identifier: MIT
 * The driver of check.h.  usage: check [--seed N] [--quick] [--bench] [--only NAME]
 *
 * For each level above scalar and each slot whose function differs from the level below:
 * sizes × fills × places, scalar against the level, memcmp. Results that are NaN need only
 * both be NaN. The last line is "N passed, M failed"; exit status 1 if M > 0. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/check/check.h"

#define FENCE_BYTES (1 << 19)

static uint64_t seed = 1;
static bool quick; /* products of matrices as if they were slow slots: for emulators */
static struct fence fences[4]; /* w, x, x2, out */
static uint8_t before[FENCE_BYTES], expected[FENCE_BYTES];
static float scratch[FENCE_BYTES / 4];
static sigjmp_buf fault_jump;

static const char *signal_name(int number)
{
    return number == SIGSEGV ? "SIGSEGV" : number == SIGBUS ? "SIGBUS" : "SIGILL";
}

static void on_fault(int number)
{
    siglongjmp(fault_jump, number);
}

static void catch_faults(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL};
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_fault;
    action.sa_flags = SA_NODEFER;
    for (size_t i = 0; i < GS_COUNT(numbers); i++)
        sigaction(numbers[i], &action, NULL);
}

/* Where a slot's function pointer differs between two tables. */
static bool differs(const struct slot *slot, const struct gs_kernels *a,
                    const struct gs_kernels *b)
{
    return memcmp((const uint8_t *)a + slot->offset, (const uint8_t *)b + slot->offset,
                  sizeof(gs_decode_fn)) != 0;
}

/* Places the job's arrays at the fences and fills the inputs. */
static void prepare(const struct slot *slot, struct job *job, size_t fill, enum place place,
                    const struct gs_kernels *scalar, struct gs_rng *rng)
{
    float spread = slot->spread > 0.0f ? slot->spread : 1.0f;
    size_t x_bytes = job->x_count * sizeof(float);
    size_t odd = slot->doubles ? 8 : 4;
    void *w = fence_place(&fences[0], place, job->w_bytes, slot->floats_w ? odd : 1);
    float *x = fence_place(&fences[1], place, x_bytes, odd);
    float *x2 = fence_place(&fences[2], place, x_bytes, odd);

    fill_floats(fill, spread, rng, x, job->x_count);
    fill_floats(fill, spread, rng, x2, job->x_count);
    if (slot->stored == STORED_BYTES) {
        fill_bytes(fill, rng, w, job->w_bytes);
    } else if (slot->stored == STORED_ENCODED) {
        const struct gs_type_info *info = gs_type_info(job->type);
        size_t n = job->w_bytes / info->bytes * info->block;
        fill_floats(fill, -spread, rng, scratch, n); /* of the other sign where it has one */
        scalar->encode[job->type](scratch, w, n);
    }
    job->w = w;
    job->x = x;
    job->x2 = x2;
    job->out = fence_place(&fences[3], place, job->out_bytes, slot->out_bytes_exact ? 1 : odd);
    job->a = fill == 0 ? 1.0f : 2.0f * gs_rng_f32(rng) - 1.0f;
    fill_bytes(0, rng, before, job->out_bytes);
    if (slot->out_from_x)
        memcpy(before, x, job->out_bytes);
}

/* Calls one kernel; 0 or the signal that it raised. */
static int guarded_call(const struct slot *slot, const struct gs_kernels *k, struct job *job)
{
    int fault = sigsetjmp(fault_jump, 1);

    if (fault)
        return fault;
    memcpy(job->out, before, job->out_bytes);
    job->result = 0.0f;
    slot->call(k, job);
    return 0;
}

static bool same_float(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool is_nan(const void *p, size_t size)
{
    double d;
    float f;

    if (size == sizeof d)
        memcpy(&d, p, size);
    else if (size == sizeof f)
        memcpy(&f, p, size), d = (double)f;
    else
        return false;
    return isnan(d);
}

/* Index of the first wrong element of out, or -1. */
static int64_t first_difference(const struct slot *slot, const struct job *job)
{
    const uint8_t *out = job->out;

    if (memcmp(out, expected, job->out_bytes) == 0)
        return -1;
    size_t size = slot->out_bytes_exact ? 1 : slot->doubles ? sizeof(double) : sizeof(float);
    for (size_t i = 0; i < job->out_bytes / size; i++)
        if (memcmp(out + i * size, expected + i * size, size) &&
            !(is_nan(out + i * size, size) && is_nan(expected + i * size, size)))
            return (int64_t)i;
    return -1;
}

static void describe(const struct slot *slot, const struct gs_kernels *k, const struct job *job,
                     size_t fill, enum place place)
{
    static const char *const places[PLACE_COUNT] = {"end", "begin", "odd"};

    printf("FAIL %s %s%s%s: n=%zu rows=%zu cols=%zu fill=%s place=%s: ", k->name, slot->name,
           slot->offset < offsetof(struct gs_kernels, mul_f32) ? " " : "",
           slot->offset < offsetof(struct gs_kernels, mul_f32) ? gs_type_info(job->type)->name
                                                               : "",
           job->n, job->rows, job->cols, fill_name(fill), places[place]);
}

/* One comparison; prints and returns false if it fails. */
static bool check_once(const struct slot *slot, const struct gs_kernels *scalar,
                       const struct gs_kernels *k, struct job *job, size_t fill,
                       enum place place, struct gs_rng *rng)
{
    slot->shape(job);
    prepare(slot, job, fill, place, scalar, rng);
    int fault = guarded_call(slot, scalar, job);
    if (fault) {
        describe(slot, scalar, job, fill, place);
        printf("%s in the scalar kernel\n", signal_name(fault));
        return false;
    }
    float want = job->result;
    memcpy(expected, job->out, job->out_bytes);
    fault = guarded_call(slot, k, job);
    int64_t where = fault ? -1 : first_difference(slot, job);
    if (!fault && where < 0 && same_float(want, job->result))
        return true;
    describe(slot, k, job, fill, place);
    if (fault)
        printf("%s\n", signal_name(fault));
    else if (where >= 0)
        printf("element %" PRId64 " differs\n", where);
    else
        printf("result %a, scalar %a\n", (double)job->result, (double)want);
    return false;
}

/* Sizes of vectors; in blocks for types that have them. */
static const size_t sizes[] = {0,  1,  2,  3,  5,  7,  8,   9,   15,  16,  17,  23,  31,  32, 33,
                               47, 63, 64, 65, 96, 97, 127, 128, 129, 191, 200, 256, 1000, 2049};
static const size_t power_sizes[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};
static const size_t block_sizes[] = {0, 1, 2, 3, 4, 5, 7, 8, 17};

/* All fills and places; the uniform fill more often. */
static bool check_fills(const struct slot *slot, const struct gs_kernels *scalar,
                        const struct gs_kernels *k, struct job job, struct gs_rng *rng)
{
    bool once = slot->slow || (quick && slot->matrix);

    for (size_t fill = 0; fill_name(fill); fill++)
        for (size_t place = 0; place < PLACE_COUNT; place++) {
            if (once && place != (fill + job.n) % PLACE_COUNT)
                continue;
            for (int again = 0; again < (fill == 0 && !once ? 3 : 1); again++)
                if (!check_once(slot, scalar, k, &job, fill, (enum place)place, rng))
                    return false;
        }
    return true;
}

static bool check_vector(const struct slot *slot, const struct gs_kernels *scalar,
                         const struct gs_kernels *k, struct job job, struct gs_rng *rng)
{
    size_t block = gs_type_info(job.type)->block;
    const size_t *list = slot->powers ? power_sizes : block > 1 ? block_sizes : sizes;
    size_t count = slot->powers ? GS_COUNT(power_sizes)
                   : block > 1  ? GS_COUNT(block_sizes)
                                : GS_COUNT(sizes);

    for (size_t i = 0; i < count; i++) {
        job.n = list[i] * block;
        if (!check_fills(slot, scalar, k, job, rng))
            return false;
    }
    return true;
}

/* Every shape of a tile with some sizes, then shapes beyond every blocking. */
static bool check_matrix(const struct slot *slot, const struct gs_kernels *scalar,
                         const struct gs_kernels *k, struct job job, struct gs_rng *rng)
{
    static const size_t n[] = {0, 1, 17, 64, 130, 199, 256, 257, 271, 312, 383, 449};
    static const size_t large[][3] = {{5, 7, 777}, {37, 8, 800}, {33, 4, 2111}, {2, 13, 4097}};

    for (job.rows = 1; job.rows <= 9; job.rows++)
        for (job.cols = 1; job.cols <= 9; job.cols++) {
            job.n = n[gs_rng_below(rng, GS_COUNT(n))];
            if (!check_fills(slot, scalar, k, job, rng))
                return false;
        }
    for (size_t i = 0; i < GS_COUNT(n); i++) {
        job.rows = 3;
        job.cols = 5;
        job.n = n[i];
        if (!check_fills(slot, scalar, k, job, rng))
            return false;
    }
    for (size_t i = 0; i < GS_COUNT(large); i++) {
        job.rows = large[i][0];
        job.cols = large[i][1];
        job.n = large[i][2];
        if (!check_fills(slot, scalar, k, job, rng))
            return false;
    }
    return true;
}

static bool check_slot(const struct slot *slot, const struct gs_kernels *scalar,
                       const struct gs_kernels *k)
{
    struct gs_rng rng;

    gs_rng_init(&rng, seed, slot->offset);
    for (int variant = 0; variant <= slot->variants; variant++) {
        struct job job = {.type = (enum gs_type)slot->type, .variant = variant, .rows = 1,
                          .cols = 1};
        if (!(slot->matrix ? check_matrix : check_vector)(slot, scalar, k, job, &rng))
            return false;
    }
    return true;
}

/* ---- speed ------------------------------------------------------------------------ */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call: the best of several batches of at least 0.2 ms. */
static double time_call(const struct slot *slot, const struct gs_kernels *k, struct job *job)
{
    double best = 1.0;
    int calls = 1;

    for (int round = 0; round < 12;) {
        double start = seconds();
        for (int i = 0; i < calls; i++)
            slot->call(k, job);
        double spent = seconds() - start;
        if (spent < 2e-4 && calls < 1 << 20) {
            calls *= 2;
            continue;
        }
        best = fmin(best, spent / calls);
        round++;
    }
    return best;
}

static void bench_slot(const struct slot *slot, const struct gs_kernels *scalar,
                       const struct gs_kernels *below, const struct gs_kernels *k)
{
    struct job job = {.type = (enum gs_type)slot->type, .n = 2048, .rows = 1, .cols = 1};
    struct gs_rng rng;
    char name[64];

    gs_rng_init(&rng, seed, 0);
    if (slot->matrix) {
        job.rows = 32;
        job.cols = 48;
    }
    slot->shape(&job);
    prepare(slot, &job, slot->stored == STORED_BYTES ? 1 : 0, PLACE_BEGIN, scalar, &rng);
    if (slot->stored == STORED_BYTES) /* every scale small and finite */
        memset(gs_unconst(job.w), 0x21, job.w_bytes);
    memcpy(job.out, before, job.out_bytes);
    double t0 = time_call(slot, scalar, &job), t1 = time_call(slot, below, &job);
    double t = time_call(slot, k, &job);
    bool by_type = slot->offset < offsetof(struct gs_kernels, mul_f32);
    snprintf(name, sizeof name, "%s %s", slot->name, by_type ? gs_type_info(job.type)->name : "");
    /* Elements or, for products, fused multiply-adds a second. */
    printf("%-8s %-18s %9.3f G/s  %7.2f x scalar  %6.2f x %s\n", k->name, name,
           1e-9 * (double)(job.n * job.rows * job.cols) / t, t0 / t, t1 / t, below->name);
}

/* ---- main ------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    const struct slot *list;
    size_t count = slots(&list), passed = 0, failed = 0;
    struct gs_kernels scalar, below, k;
    const char *only = NULL;
    bool bench = false;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench")) {
            bench = true;
        } else if (!strcmp(argv[i], "--quick")) {
            quick = true;
        } else if (!strcmp(argv[i], "--seed") && i + 1 < argc) {
            seed = strtoull(argv[++i], NULL, 0);
        } else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
            only = argv[++i];
        } else {
            fprintf(stderr, "usage: check [--seed N] [--quick] [--bench] [--only NAME]\n");
            return 2;
        }
    }
    for (size_t i = 0; i < GS_COUNT(fences); i++)
        if (!fence_make(&fences[i], FENCE_BYTES))
            return 2;
    catch_faults();
    printf("seed %" PRIu64 "\n", seed);
    gs_kernels_resolve(0, &scalar);
    for (size_t level = 1; gs_kernels_level(level); level++) {
        gs_kernels_resolve(level - 1, &below);
        if (!gs_kernels_resolve(level, &k)) {
            printf("%s: not on this processor, skipped\n", k.name);
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            if (!differs(&list[i], &below, &k) || (only && strcmp(only, list[i].name)))
                continue;
            if (bench)
                bench_slot(&list[i], &scalar, &below, &k);
            else if (check_slot(&list[i], &scalar, &k))
                passed++;
            else
                failed++;
        }
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed > 0;
}
