/* SPDX-License-Identifier: MIT
 * Power exponent: rounding evenly after w → sign(w) |w|^a (PowerQuant, NUPES), that is, points
 *
 *     ŵ = s · sign(k) |k / K|^(1/a),     k = −K … K − 1,  K = 2^(b−1)
 *
 * a = 1 is uniform; smaller a puts more points near zero. The paper finds one a for a model by
 * Nelder and Mead's search; here each matrix gets its own, by golden section on the weighted
 * error of groups with their best scales. It is stored in 8 bits as a · 128. */
#include <math.h>

#include "codebook/gaussian.h"
#include "codebook/members.h"
#include "codebook/sample.h"
#include "codebook/scalar.h"
#include "core/alloc.h"

enum { KEY_BITS, KEY_POWER, KEY_GROUP };

static const struct gs_codebook_key power_keys[] = {
    {"bits", "bits of a code", 2, 8, 4, true},
    {"power", "a; 0: searched for each matrix", 0, 1, 0, false},
    {"group", "columns of a group in the search; 0: a row", 0, 65536, 128, true},
    {0},
};

/* The least and the largest a, in 128ths; how many weights the search looks at. */
enum { LEAST = 32, MOST = 128, SAMPLE = 1 << 16 };

static void set_points(struct gs_points *points, unsigned bits, double a)
{
    unsigned n = 1u << bits;
    float value[GS_POINTS];

    for (unsigned i = 0; i < n; i++) {
        double k = ((double)i - n / 2) / (n / 2);
        value[i] = gs_computed_point(copysign(pow(fabs(k), 1 / a), k));
    }
    gs_points_set(points, value, n);
}

static void set_power(struct gs_scalar *self, unsigned a)
{
    set_points(&self->points, (unsigned)self->base.values[KEY_BITS], a / 128.0);
    self->base.gaussian_mse = gs_points_gaussian_mse(&self->points, GS_ZERO_NONE);
}

static int power_create(const struct gs_codebook_kind *kind, const double *values,
                        struct gs_codebook **out, struct gs_err *err)
{
    struct gs_points points;
    double a = values[KEY_POWER];

    if (a != 0 && a < LEAST / 128.0)
        return gs_fail(err, GS_E_ARG, "codebook %s: power: %g is not within %g to 1, and not 0",
                       kind->name, a, LEAST / 128.0);
    set_points(&points, (unsigned)values[KEY_BITS], a != 0 ? a : 0.75);
    int rc = gs_scalar_create(points.of, points.states, GS_ZERO_NONE, out, err);
    if (!rc && a == 0) {
        (*out)->shared_bits = 8;
        ((struct gs_scalar *)*out)->learned = 96; /* before anything is */
    }
    return rc;
}

/* ---- the search --------------------------------------------------------------------------- */

struct trial {
    const struct gs_sample *sample;
    struct gs_points points;
    double *errors; /* of the pieces */
};

static void measure_pieces(void *ctx, size_t begin, size_t end, int worker)
{
    struct trial *trial = ctx;

    (void)worker;
    for (size_t i = begin; i < end; i++) {
        struct gs_piece piece = gs_sample_at(trial->sample, i);
        struct gs_group group;
        trial->errors[i] = gs_points_fit(&trial->points, GS_ZERO_NONE, gs_scale_rule_find("f32"),
                                         piece.x, piece.h, piece.n, &group);
    }
}

static double measure(struct trial *trial, unsigned bits, unsigned a)
{
    double sum = 0;

    set_points(&trial->points, bits, a / 128.0);
    gs_team_run(trial->sample->data->team, trial->sample->count, 8, measure_pieces, trial);
    for (size_t i = 0; i < trial->sample->count; i++)
        sum += trial->errors[i];
    return sum;
}

/* Golden section over whole 128ths; 2 ≤ distances. */
static unsigned search(struct trial *trial, unsigned bits)
{
    unsigned low = LEAST, high = MOST;
    unsigned left = low + (unsigned)((high - low) * 0.382), right = low + high - left;
    double left_error = measure(trial, bits, left), right_error = measure(trial, bits, right);

    while (high - low > 3) {
        if (left_error <= right_error) {
            high = right;
            right = left;
            right_error = left_error;
            left = GS_MAX(low + high - right, low + 1);
            if (left >= right)
                break;
            left_error = measure(trial, bits, left);
        } else {
            low = left;
            left = right;
            left_error = right_error;
            right = GS_MIN(low + high - left, high - 1);
            if (right <= left)
                break;
            right_error = measure(trial, bits, right);
        }
    }
    return left_error <= right_error ? left : right;
}

static int power_learn(struct gs_codebook *codebook, const struct gs_codebook_data *data,
                       struct gs_err *err)
{
    struct gs_sample sample;
    struct trial trial = {.sample = &sample};

    if (codebook->values[KEY_POWER] != 0)
        return GS_OK;
    gs_sample_init(&sample, data, (size_t)codebook->values[KEY_GROUP], SAMPLE);
    if (!(trial.errors = gs_alloc(sample.count, sizeof *trial.errors)))
        return gs_fail_nomem(err, "the search of an exponent");
    unsigned a = search(&trial, (unsigned)codebook->values[KEY_BITS]);
    gs_free(&trial.errors);
    ((struct gs_scalar *)codebook)->learned = a;
    set_power((struct gs_scalar *)codebook, a);
    return GS_OK;
}

static void power_write(const struct gs_codebook *codebook, uint8_t *dst)
{
    if (codebook->shared_bits)
        dst[0] = (uint8_t)((const struct gs_scalar *)codebook)->learned;
}

static int power_read(struct gs_codebook *codebook, const uint8_t *src, struct gs_err *err)
{
    if (!codebook->shared_bits)
        return GS_OK;
    if (src[0] < LEAST || src[0] > MOST)
        return gs_fail(err, GS_E_FORMAT, "codebook power: an exponent of %u/128 is not within "
                       "%d/128 to 1", src[0], LEAST);
    ((struct gs_scalar *)codebook)->learned = src[0];
    set_power((struct gs_scalar *)codebook, src[0]);
    return GS_OK;
}

const struct gs_codebook_kind gs_codebook_power = {
    .name = "power",
    .paper = "Yvinec et al., PowerQuant, arXiv:2301.09858; NUPES, arXiv:2308.05600",
    .keys = power_keys,
    .create = power_create,
    .learn = power_learn,
    .write = power_write,
    .read = power_read,
    .fit = gs_scalar_fit,
    .nearest = gs_scalar_nearest,
    .value = gs_scalar_value,
};
