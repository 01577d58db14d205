/* SPDX-License-Identifier: MIT
 * E8P and the short vectors of E8: points and exact nearest points.
 *
 * Nearest in one coset D8 + ½ + shift, for y = x − shift. Most weights take the first way:
 *
 *   1. The nearest point of the whole coset: each coordinate to its nearest half-integer; if
 *      that sum is odd, the cheapest coordinate to its second nearest (Conway & Sloane, "Fast
 *      quantizing and decoding algorithms for lattice quantizers and codes", IEEE Trans. Inf.
 *      Theory 28, 1982, section V). If its pattern is among the 256, nothing is nearer.
 *   2. Else the best of the 256 patterns, with the best signs for each: those of y cost
 *      Σ h (|y_i| − p_i)²; where their sum has the wrong parity, one sign must change, for
 *      4 h_i p_i |y_i| more. Branch and bound over their digits looks at a tenth of them.
 *
 * The second way is taken for the coset whose nearest point is nearer, and for the other one
 * only if it still could win. */
#include "codebook/e8.h"

#include <math.h>
#include <string.h>

#include "core/half.h"

enum {
    SQUARE_MAX = 40, /* 4 · 10, the longest of the 227 */
    SQUARE_PAD = 48, /* 4 · 12 */
    FAR = 8,         /* beyond this, no coordinate is near a pattern's */
    PADS = 29, PADS_ALL = 56
};

/* 4 |v|² of a key, and whether it has the form of the longest patterns. */
static int square_of(unsigned key, bool *pad)
{
    int square = 0;

    *pad = true;
    for (unsigned i = 0; i < 8; i++, key >>= 2) {
        int twice = 2 * (int)(key & 3) + 1;
        square += twice * twice;
        *pad = *pad && twice <= 3;
    }
    *pad = *pad && square == SQUARE_PAD;
    return square;
}

/* |v|_i; coordinate 0 is highest in the key, so that keys order patterns as words. */
static float part_of(unsigned key, unsigned i)
{
    return (float)(key >> (14 - 2 * i) & 3) + 0.5f;
}

/* What neighbours in the order of digits share. */
static void link_patterns(struct gs_e8p *e)
{
    e->shared[0] = e->shared[GS_E8P_PATTERNS] = 0;
    for (unsigned j = 1; j < GS_E8P_PATTERNS; j++) {
        unsigned n = 0;
        while (!((e->key[j] ^ e->key[j - 1]) >> (14 - 2 * n)))
            n++;
        e->shared[j] = (uint8_t)n;
    }
    for (unsigned j = GS_E8P_PATTERNS; j-- > 0;)
        for (unsigned i = 0; i <= 8; i++)
            e->skip[j][i] = (uint16_t)(j + 1 < GS_E8P_PATTERNS && e->shared[j + 1] >= i
                                           ? e->skip[j + 1][i] : j + 1);
}

void gs_e8p_init(struct gs_e8p *e)
{
    unsigned n = 0, pads = 0;

    for (unsigned key = 0; key < 65536; key++) {
        bool pad;
        int square = square_of(key, &pad);
        /* Every PADS_ALL / PADS-th, in whole numbers. */
        bool taken = pad && pads++ * PADS % PADS_ALL < PADS;
        if (square > SQUARE_MAX && !taken)
            continue;
        float sum = 0;
        for (unsigned i = 0; i < 8; i++)
            sum += e->part[i][n] = part_of(key, i);
        e->odd[n] = (float)((int)sum & 1);
        e->key[n++] = (uint16_t)key;
    }
    link_patterns(e);
}

/* The pattern of this key, or −1. */
static int find_key(const struct gs_e8p *e, unsigned key)
{
    unsigned low = 0;

    for (unsigned half = GS_E8P_PATTERNS / 2; half; half /= 2)
        if (e->key[low + half] <= key)
            low += half;
    return e->key[low] == key ? (int)low : -1;
}

static bool is_negative(float x)
{
    return gs_f32_bits(x) >> 31;
}

static float weight(const float *h, unsigned i)
{
    return h ? h[i] : 1.0f;
}

static float distance(const float y[8], const float v[8], const float *h)
{
    float sum = 0;

    for (unsigned i = 0; i < 8; i++)
        sum += weight(h, i) * (y[i] - v[i]) * (y[i] - v[i]);
    return sum;
}

/* Way 1: v, the nearest point of D8 + ½ to y; *cost = Σ h (y − v)². Its pattern, or −1 where
 * that is not in the code. Far out there is no telling: cost 0. */
static int round_coset(const struct gs_e8p *e, const float y[8], const float *h, float v[8],
                       float *cost)
{
    float cheapest = INFINITY, digits = 0;
    unsigned at = 0, key = 0;
    int sum = 0;

    *cost = 0;
    for (unsigned i = 0; i < 8; i++) {
        if (!(fabsf(y[i]) <= FAR))
            return -1;
        int low = (int)(y[i] + FAR) - FAR;
        float extra = weight(h, i) * (1 - 2 * fabsf(y[i] - (float)low - 0.5f));
        v[i] = (float)low + 0.5f;
        sum += low;
        at = extra < cheapest ? i : at;
        cheapest = extra < cheapest ? extra : cheapest;
    }
    if (sum & 1)
        v[at] += y[at] < v[at] ? -1 : 1;
    *cost = distance(y, v, h);
    for (unsigned i = 0; i < 8; i++) {
        float size = fabsf(v[i]);
        digits = size > digits ? size : digits;
        key = key << 2 | ((unsigned)size & 3);
    }
    return digits < 4 ? find_key(e, key) : -1;
}

/* What coordinate i gains with digit k, |v|_i = k + ½, as way 2 looks at patterns. */
struct digits {
    float gain[8][4];    /* h_i (2 |y_i| |v|_i − |v|_i²) */
    float product[8][4]; /* h_i |y_i| |v|_i: a quarter of what a wrong sign costs */
    float bound[8][4];   /* the gain less λ |v|_i² */
    float rest[9];       /* what coordinates i … 7 add at most to the sum of bounds, and 12 λ */
    float slack;         /* more than roundings of a sum can be */
};

/* Any λ ≥ 0 will do: |v|² is 12 at most, so a gain is no more than its bound and 12 λ. This one
 * makes bounds tight, as they are largest near y / (1 + λ), which has about that length. */
static void make_digits(const float y[8], const float *h, struct digits *d)
{
    float square = 0, weights = 0, sizes = 0;

    for (unsigned i = 0; i < 8; i++) {
        square += y[i] * y[i];
        weights += weight(h, i);
    }
    float shrink = sqrtf(square * (1 / 11.0f)) - 1;
    float lambda = shrink > 0 ? shrink * weights * 0.125f : 0;
    for (unsigned i = 0; i < 8; i++) {
        float a = weight(h, i) * fabsf(y[i]), b = weight(h, i);
        for (unsigned k = 0; k < 4; k++) {
            float p = (float)k + 0.5f, t = a * p;
            d->product[i][k] = t;
            d->gain[i][k] = 2 * t - b * p * p;
            d->bound[i][k] = d->gain[i][k] - lambda * p * p;
        }
        sizes += 7 * a + 12.25f * b;
    }
    d->rest[8] = 12 * lambda;
    for (unsigned i = 8; i-- > 0;) {
        const float *f = d->bound[i];
        float low = f[0] > f[1] ? f[0] : f[1], high = f[2] > f[3] ? f[2] : f[3];
        d->rest[i] = d->rest[i + 1] + (low > high ? low : high);
    }
    d->slack = 1e-5f * (sizes + 110 * lambda);
}

/* The gain of a good pattern: the digits of the largest bounds, then smaller ones where that
 * costs least, until they are in the code. */
static float guess_gain(const struct gs_e8p *e, const struct digits *d, float is_odd)
{
    float gain = 0, product = INFINITY;
    unsigned digit[8], key = 0;
    int found;

    for (unsigned i = 0; i < 8; i++) {
        digit[i] = 0;
        for (unsigned k = 1; k < 4; k++)
            if (d->bound[i][k] > d->bound[i][digit[i]])
                digit[i] = k;
        key = key << 2 | digit[i];
    }
    while ((found = find_key(e, key)) < 0) {
        float least = INFINITY;
        unsigned at = 0;
        for (unsigned i = 0; i < 8; i++) {
            const float *bound = &d->bound[i][digit[i]];
            if (digit[i] > 0 && !(bound[0] - bound[-1] >= least)) {
                least = bound[0] - bound[-1];
                at = i;
            }
        }
        digit[at]--;
        key -= 1u << (14 - 2 * at);
    }
    for (unsigned i = 0; i < 8; i++) {
        float t = d->product[i][digit[i]];
        gain += d->gain[i][digit[i]];
        product = t < product ? t : product;
    }
    return gain - (is_odd != e->odd[found] ? 4 * product : 0);
}

/* Way 2: the best pattern with its best signs; the first of equals. Patterns are in the order of
 * their digits: those that begin alike share the sums over their first digits, and are passed
 * over together where no rest can make up for their beginning. */
static int scan_patterns(const struct gs_e8p *e, const float y[8], const float *h, float v[8],
                         float *cost)
{
    struct digits d;
    float gain[9] = {0}, bound[9] = {0}, least[9] = {INFINITY}, most = -INFINITY;
    unsigned minus = 0, best = 0, at = 0;

    for (unsigned i = 0; i < 8; i++)
        minus += is_negative(y[i]);
    make_digits(y, h, &d);
    /* Signs of y have the parity of Σ |v|_i where that is odd exactly if their number is. */
    float is_odd = (float)(minus & 1), bar = guess_gain(e, &d, is_odd) - d.slack;
    for (unsigned j = 0, i = 0; j < GS_E8P_PATTERNS;) {
        for (; i < 8 && bound[i] + d.rest[i] > bar; i++) {
            unsigned k = e->key[j] >> (14 - 2 * i) & 3;
            float t = d.product[i][k];
            gain[i + 1] = gain[i] + d.gain[i][k];
            bound[i + 1] = bound[i] + d.bound[i][k];
            least[i + 1] = t < least[i] ? t : least[i];
        }
        if (i == 8) {
            float all = gain[8] - (is_odd != e->odd[j] ? 4 * least[8] : 0);
            best = all > most ? j : best;
            most = all > most ? all : most;
            bar = most - d.slack > bar ? most - d.slack : bar;
        }
        j = e->skip[j][i];
        i = e->shared[j];
    }
    for (unsigned i = 0; i < 8; i++) {
        v[i] = is_negative(y[i]) ? -e->part[i][best] : e->part[i][best];
        if (weight(h, i) * fabsf(y[i]) * e->part[i][best] <
            weight(h, at) * fabsf(y[at]) * e->part[at][best])
            at = i;
    }
    if (is_odd != e->odd[best])
        v[at] = -v[at];
    *cost = distance(y, v, h);
    return (int)best;
}

unsigned gs_e8p_nearest(const struct gs_e8p *e, const float x[8], const float *h)
{
    float y[2][8], v[2][8], cost[2];
    int pattern[2];
    unsigned signs = 0;

    for (int minus = 0; minus < 2; minus++) {
        for (unsigned i = 0; i < 8; i++)
            y[minus][i] = x[i] - (minus ? -0.25f : 0.25f);
        pattern[minus] = round_coset(e, y[minus], h, v[minus], &cost[minus]);
    }
    /* Costs of the whole cosets are the least that those of the code can be. */
    unsigned best = cost[1] < cost[0];
    if (pattern[best] < 0) {
        pattern[best] = scan_patterns(e, y[best], h, v[best], &cost[best]);
        if (pattern[!best] < 0 && cost[!best] < cost[best])
            pattern[!best] = scan_patterns(e, y[!best], h, v[!best], &cost[!best]);
        best = cost[1] < cost[0];
    }
    for (unsigned i = 0; i < 8; i++)
        signs |= (unsigned)is_negative(v[best][i]) << i;
    signs ^= e->odd[pattern[best]] != 0 ? 0x80u : 0; /* now of even parity */
    return (unsigned)pattern[best] << 8 | (signs ^ best);
}

void gs_e8p_value(const struct gs_e8p *e, unsigned code, float y[8])
{
    unsigned pattern = code >> 8 & 255, signs = code & 255;
    unsigned minus = (unsigned)__builtin_parity(signs);
    float shift = minus ? -0.25f : 0.25f;

    signs ^= minus ^ (e->odd[pattern] != 0 ? 0x80u : 0);
    for (unsigned i = 0; i < 8; i++) {
        float p = e->part[i][pattern];
        y[i] = (signs >> i & 1 ? -p : p) + shift;
    }
}

/* ---- short vectors ------------------------------------------------------------------- */

enum { PAIRS = 128, ZERO = 240, TWOS = 241 };

/* Pairs i < j in the order of codes: (0,1) (0,2) (1,2) (0,3) … */
static unsigned pair_rank(unsigned i, unsigned j)
{
    return j * (j - 1) / 2 + i;
}

/* The best of (±½)^8; what it costs more than 0. */
static float nearest_halves(const float x[8], const float *h, unsigned *code)
{
    float cost = 0, least = INFINITY;
    unsigned signs = 0, at = 0;

    for (unsigned i = 0; i < 8; i++) {
        float a = weight(h, i) * fabsf(x[i]);
        cost += 0.25f * weight(h, i) - a;
        signs |= (unsigned)is_negative(x[i]) << i;
        if (a < least) {
            least = a;
            at = i;
        }
    }
    if (__builtin_parity(signs)) {
        signs ^= 1u << at;
        cost += 2 * least;
    }
    *code = signs & 127;
    return cost;
}

/* The best with ±1 at two places: the two that gain most. */
static float nearest_pair(const float x[8], const float *h, unsigned *code)
{
    float cost[8];
    unsigned first = 0, second = 1;

    for (unsigned i = 0; i < 8; i++)
        cost[i] = weight(h, i) * (1 - 2 * fabsf(x[i]));
    for (unsigned i = 1; i < 8; i++)
        if (cost[i] < cost[first]) {
            second = first;
            first = i;
        } else if (i == 1 || cost[i] < cost[second]) {
            second = i;
        }
    unsigned i = GS_MIN(first, second), j = GS_MAX(first, second);
    *code = PAIRS + 4 * pair_rank(i, j) + 2 * is_negative(x[j]) + is_negative(x[i]);
    return cost[i] + cost[j];
}

/* The best with ±2 at one place. */
static float nearest_two(const float x[8], const float *h, unsigned *code)
{
    float least = INFINITY;

    for (unsigned i = 0; i < 8; i++) {
        float a = i < 7 ? fabsf(x[i]) : x[i];
        float cost = 4 * weight(h, i) * (1 - a);
        if (cost < least) {
            least = cost;
            *code = TWOS + 2 * i + (i < 7 && is_negative(x[i]));
        }
    }
    return least;
}

unsigned gs_e8_short_nearest(const float x[8], const float *h)
{
    unsigned code[3], best = ZERO;
    float least = 0;
    const float cost[3] = {nearest_halves(x, h, &code[0]), nearest_pair(x, h, &code[1]),
                           nearest_two(x, h, &code[2])};

    for (int i = 0; i < 3; i++)
        if (cost[i] < least) {
            least = cost[i];
            best = code[i];
        }
    return best;
}

void gs_e8_short_value(unsigned code, float y[8])
{
    code &= 255;
    memset(y, 0, 8 * sizeof *y);
    if (code < PAIRS) {
        code |= (unsigned)__builtin_parity(code) << 7;
        for (unsigned i = 0; i < 8; i++)
            y[i] = code >> i & 1 ? -0.5f : 0.5f;
    } else if (code < ZERO) {
        unsigned rank = (code - PAIRS) / 4, j = 1;
        while (rank >= pair_rank(0, j + 1))
            j++;
        y[rank - pair_rank(0, j)] = code & 1 ? -1 : 1;
        y[j] = code & 2 ? -1 : 1;
    } else if (code >= TWOS) {
        y[(code - TWOS) / 2] = (code - TWOS) % 2 ? -2 : 2;
    }
}
