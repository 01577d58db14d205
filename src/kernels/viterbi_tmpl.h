/* SPDX-License-Identifier: MIT
 * Viterbi search in 16-bit lanes: the body that the AVX2 and AVX-512 files instantiate.
 *
 * The including file defines `vec`, LANES and the v_ operations. A vector holds 2^s states
 * of LANES / 2^s tiles: s = 0 for short windows (only vertical operations, many tiles at
 * once), all lanes for L = 16 (one tile, whose 65536 costs fill the second-level cache).
 *
 * Costs stay in place. Think of a state's bits as a ring of L positions: bit i of the state
 * stands at position (r + i) % L, and the positions' value is the address of its cost (low s
 * positions: lane, the others: vector). A step of b bits forgets the b oldest bits, at
 * positions r … r + b − 1, and puts the b new ones into the same places; then r moves on by
 * b. So the 2^b predecessors of a set of 2^b successors lie exactly where the successors go:
 *
 *     read 2^b costs ─▶ tag with j, minimum ─▶ choice bits
 *                             │
 *     write 2^b costs ◀─ add distance of each successor's index
 *
 * Where forgotten bits are lane positions, the minimum also goes across lanes, and all lanes
 * of the set get it. Distances: one vector for each of the 2^q indexes that the vector
 * positions can give (lane positions are folded into the vector).
 *
 * Steps touch few positions, so when the costs do not fit the first-level cache, a round of
 * several steps goes over them block by block: a block is all values of the positions that
 * the round's steps touch. */

enum {
    PERIOD_MAX = 8 * 16,    /* steps after which r and b repeat */
    BLOCK_BYTES = 1 << 14,  /* of costs, where they are many */
    ROUND_MAX = 4           /* steps; their distances share the cache with the block */
};

/* One step of the period. */
struct plan {
    uint8_t new_bits;        /* b */
    uint8_t before, after;   /* r */
    uint8_t vector_bits;     /* forgotten bits at vector positions */
    uint8_t lane_bits;       /* and at lane positions: */
    uint8_t lane_at[5];      /* which */
    uint8_t pack;            /* choices in a 16-bit word */
    uint8_t round;           /* steps of the round that begins here, 0 within one */
    uint32_t inner, outer;   /* vector positions of the group in the block, of the block */
    uint32_t groups, blocks; /* sets of predecessors in a block; blocks */
    uint32_t offset[32];     /* of predecessor and successor, in vectors */
    vec tag[32];             /* j of the predecessor there */
    uint16_t *group_at;      /* [groups] address of a group in the block, in vectors */
    uint16_t *block_at;      /* [blocks] */
    uint16_t *place;         /* [groups][2^vector_bits] byte offset of the distance… */
    uint16_t *block_place;   /* [blocks] …xor this */
};

struct search {
    const struct gs_trellis *t;
    unsigned split;          /* s */
    unsigned vectors;        /* 2^(L − s) */
    unsigned period;
    vec *cost;               /* [vectors] */
    vec *distance;           /* [ROUND_MAX][2^q] for the weights of the round */
    vec *value;              /* [r][2^q], 128 · value for the lanes' part of the index */
    vec *target;             /* [256] */
    struct plan *plan;       /* [period] */
    vec *choice;             /* [256 steps], each at choice_at, [blocks][groups / pack] */
    uint32_t choice_at[GS_TRELLIS_TILE];
};

static const uint8_t choices_packed[6] = {0, 16, 8, 4, 4, 2};

static const struct plan *plan_of(const struct search *s, unsigned n)
{
    return &s->plan[n % s->period];
}

/* Index of the state whose only set bit stands at `position` when the rotation is r. */
static unsigned index_at(const struct gs_trellis *t, unsigned r, unsigned position)
{
    return t->column[(position + t->window - r) % t->window];
}

/* Lists what every value of the positions in `mask` adds to an address and to the byte offset
 * of a distance (by linearity: each further position doubles the list). */
static void list_positions(const struct search *s, unsigned r, uint32_t mask, uint16_t *at,
                           uint16_t *place)
{
    size_t n = 1;

    at[0] = 0;
    place[0] = 0;
    for (unsigned p = 0; mask >> p; p++) {
        if (!(mask >> p & 1))
            continue;
        uint16_t one = (uint16_t)(index_at(s->t, r, s->split + p) * sizeof(vec));
        for (size_t i = 0; i < n; i++) {
            at[n + i] = (uint16_t)(at[i] | 1u << p);
            place[n + i] = place[i] ^ one;
        }
        n *= 2;
    }
}

/* The positions that the step at rotation r forgets: returns those in vectors as a mask. */
static uint32_t find_forgotten(const struct search *s, struct plan *p)
{
    unsigned bit_of_lane[5], bit_at[16] = {0};
    uint32_t mask = 0;
    uint16_t tag[LANES];

    p->lane_bits = p->vector_bits = 0;
    for (unsigned i = 0; i < p->new_bits; i++) {
        unsigned at = (p->before + i) % s->t->window;
        if (at < s->split) {
            bit_of_lane[p->lane_bits] = i;
            p->lane_at[p->lane_bits++] = (uint8_t)at;
        } else {
            bit_at[at - s->split] = i;
            mask |= 1u << (at - s->split);
            p->vector_bits++;
        }
    }
    for (unsigned c = 0; c < 1u << p->vector_bits; c++) {
        unsigned j = 0, k = 0;
        p->offset[c] = 0;
        for (unsigned at = 0; mask >> at; at++)
            if (mask >> at & 1 && c >> k++ & 1) {
                p->offset[c] |= 1u << at;
                j |= 1u << bit_at[at];
            }
        for (unsigned lane = 0; lane < LANES; lane++) {
            tag[lane] = (uint16_t)j;
            for (unsigned i = 0; i < p->lane_bits; i++)
                tag[lane] |= (uint16_t)((lane >> p->lane_at[i] & 1) << bit_of_lane[i]);
        }
        p->tag[c] = v_load(tag);
    }
    return mask;
}

/* Cuts the 8 steps from p on into rounds: as many steps as touch one block's positions.
 * Sets round, outer and inner. */
static void cut_rounds(const struct search *s, struct plan *p, const uint32_t *forgotten)
{
    unsigned positions = s->t->window - s->split, block = 0;

    while ((sizeof(vec) << block) < BLOCK_BYTES && block < positions)
        block++;
    if (positions <= block + 1) /* all costs in the first-level cache: one block */
        block = positions;
    for (unsigned first = 0, n; first < 8; first += n) {
        uint32_t touched = 0;
        for (n = 0; first + n < 8 && n < ROUND_MAX; n++) {
            uint32_t more = touched | forgotten[first + n];
            if (n > 0 && (block == positions ||
                          (unsigned)__builtin_popcount(more) > block))
                break;
            touched = more;
        }
        /* Low positions, which make runs in memory, fill up the block. */
        for (uint32_t bit = 1; (unsigned)__builtin_popcount(touched) < block; bit <<= 1)
            touched |= bit;
        for (unsigned i = 0; i < n; i++) {
            p[first + i].round = (uint8_t)(i ? 0 : n);
            p[first + i].outer = (s->vectors - 1) & ~touched;
            p[first + i].inner = touched & ~forgotten[first + i];
        }
    }
}

/* Steps, their geometry and tables; returns where the tables end. */
static uint16_t *make_plan(struct search *s, uint16_t *next)
{
    const struct gs_trellis *t = s->t;
    uint32_t forgotten[PERIOD_MAX];
    uint16_t ignored[32];

    for (unsigned n = 0, r = 0; n < s->period; n++) {
        struct plan *p = &s->plan[n];
        p->new_bits = t->step[n % 8];
        p->before = (uint8_t)r;
        r = (r + p->new_bits) % t->window;
        p->after = (uint8_t)r;
        p->pack = choices_packed[p->new_bits];
        forgotten[n] = find_forgotten(s, p);
    }
    for (unsigned n = 0; n < s->period; n += 8)
        cut_rounds(s, s->plan + n, forgotten + n);
    for (unsigned n = 0; n < s->period; n++) {
        struct plan *p = &s->plan[n];
        uint16_t change[32], part[BLOCK_BYTES / 16];
        p->groups = 1u << __builtin_popcount(p->inner);
        p->blocks = 1u << __builtin_popcount(p->outer);
        p->group_at = next, next += p->groups;
        p->block_at = next, next += p->blocks;
        p->block_place = next, next += p->blocks;
        p->place = next, next += p->groups << p->vector_bits;
        list_positions(s, p->after, p->outer, p->block_at, p->block_place);
        list_positions(s, p->after, p->inner, p->group_at, part);
        list_positions(s, p->after, forgotten[n], ignored, change);
        for (uint32_t i = 0; i < p->groups; i++)
            for (uint32_t c = 0; c < 1u << p->vector_bits; c++)
                p->place[i << p->vector_bits | c] = part[i] ^ change[c];
    }
    return next;
}

static void make_values(struct search *s)
{
    const struct gs_trellis *t = s->t;
    unsigned sign = 1u << (t->index_bits - 1);
    int16_t lanes[LANES];

    for (unsigned r = 0; r < t->window; r++) {
        unsigned lane_index[LANES] = {0};
        for (unsigned lane = 0; lane < LANES; lane++)
            for (unsigned p = 0; p < s->split; p++)
                lane_index[lane] ^= (lane >> p & 1) * index_at(t, r, p);
        for (unsigned u = 0; u < 2 * sign; u++) {
            for (unsigned lane = 0; lane < LANES; lane++) {
                unsigned index = lane_index[lane] ^ u;
                int m = t->magnitude[index & (sign - 1)] * GS_VITERBI_UNIT;
                lanes[lane] = (int16_t)(index & sign ? -m : m);
            }
            s->value[2 * sign * r + u] = v_load(lanes);
        }
    }
}

/* Lays out the scratch and makes everything that depends on the code only. */
static void prepare(struct search *s, const struct gs_trellis *t, unsigned split, void *work)
{
    size_t indexes = (size_t)1 << t->index_bits;
    unsigned r = 0;
    vec *next = work;

    s->t = t;
    s->split = split;
    s->vectors = 1u << (t->window - split);
    s->period = 0;
    do { /* B bits further with every 8 steps */
        s->period += 8;
        r = (r + t->rate) % t->window;
    } while (r);
    s->cost = next, next += s->vectors;
    s->distance = next, next += ROUND_MAX * indexes;
    s->value = next, next += t->window * indexes;
    s->target = next, next += GS_TRELLIS_TILE;
    s->plan = (struct plan *)next;
    make_values(s);
    uintptr_t end = (uintptr_t)make_plan(s, (uint16_t *)(s->plan + s->period));
    s->choice = (vec *)work + (end - (uintptr_t)work + sizeof(vec) - 1) / sizeof(vec);
    for (unsigned n = 0, at = 0; n < GS_TRELLIS_TILE; n++) {
        const struct plan *p = plan_of(s, n);
        s->choice_at[n] = at;
        at += p->blocks * (p->groups / p->pack);
    }
}

/* distance[u] = D(target, value of index u) in every lane, for rotation r. */
static void make_distances(const struct search *s, vec target, unsigned r, vec *distance)
{
    unsigned indexes = 1u << s->t->index_bits;
    const vec *value = s->value + (size_t)r * indexes;
    vec keep = v_set((int16_t)~((1u << s->t->tag_bits) - 1));

    for (unsigned u = 0; u < indexes; u++) {
        vec d = v_distance(target, value[u]);
        for (unsigned i = 0; i < s->t->gain; i++)
            d = v_adds(d, d);
        distance[u] = v_and(v_mulhi(d, d), keep);
    }
}

/* One step of one block; vector_bits and lanes are constants to the compiler. */
static GS_ALWAYS_INLINE void block_step(const struct plan *p, vec *block, uint32_t block_place,
                                        const vec *distance, vec tag_mask, vec base,
                                        vec *choice, unsigned vector_bits, bool lanes)
{
    const unsigned count = 1u << vector_bits;
    const char *distances = (const char *)distance;
    const uint16_t *place = p->place;
    unsigned new_bits = p->new_bits, pack = p->pack;
    vec bit_mask = v_set((int16_t)((1u << new_bits) - 1));
    vec tag[32], swap[5]; /* copies, which no store to a cost can change */
    size_t offset[32];
    unsigned lane_bits = lanes ? p->lane_bits : 0;

    for (unsigned j = 0; j < count; j++) {
        tag[j] = p->tag[j];
        offset[j] = p->offset[j];
    }
    for (unsigned j = 0; j < lane_bits; j++)
        swap[j] = v_make_swap(p->lane_at[j]);
    for (const uint16_t *at = p->group_at, *end = at + p->groups; at < end;) {
        vec packed = v_set(0);
        for (unsigned e = pack; e > 0; e--, at++) {
            vec *cost = block + *at;
            vec best = lanes ? v_or(cost[0], tag[0]) : cost[0];

            for (unsigned j = 1; j < count; j++)
                best = v_min(best, v_or(cost[offset[j]], tag[j]));
            for (unsigned j = 0; j < lane_bits; j++)
                best = v_min(best, v_swap(best, swap[j], p->lane_at[j]));
            packed = v_or(v_shift_left(packed, new_bits), v_and(best, bit_mask));
            best = v_subs(v_andnot(tag_mask, best), base);
            for (unsigned c = 0; c < count; c++) {
                const vec *d = (const vec *)(distances + (*place++ ^ block_place));
                cost[offset[c]] = v_adds(best, *d);
            }
        }
        *choice++ = packed;
    }
}

static void step(const struct search *s, const struct plan *p, uint32_t o, const vec *distance,
                 vec base, vec *choice)
{
    vec *block = s->cost + p->block_at[o];
    uint32_t block_place = p->block_place[o];
    vec tag_mask = v_set((int16_t)((1u << s->t->tag_bits) - 1));

    choice += o * (p->groups / p->pack);
#define CASE(bits, lanes)                                                                      \
    case 2 * (bits) + (lanes):                                                                 \
        block_step(p, block, block_place, distance, tag_mask, base, choice, bits, lanes);      \
        break;
    switch (2 * p->vector_bits + (p->lane_bits > 0)) {
        CASE(0, 1) CASE(1, 0) CASE(1, 1) CASE(2, 0) CASE(2, 1) CASE(3, 0)
        CASE(3, 1) CASE(4, 0) CASE(4, 1) CASE(5, 0)
    }
#undef CASE
}

/* The least cost of each tile, in all of its lanes. */
static vec least(const struct search *s)
{
    vec min = s->cost[0];

    for (unsigned v = 1; v < s->vectors; v++)
        min = v_min(min, s->cost[v]);
    for (unsigned p = 0; p < s->split; p++)
        min = v_min(min, v_swap(min, v_make_swap(p), p));
    return min;
}

/* A pass: all weights, beginning with `first`. */
static void run(const struct search *s, unsigned first)
{
    size_t indexes = (size_t)1 << s->t->index_bits;

    for (unsigned n = 0, steps; n < GS_TRELLIS_TILE; n += steps) {
        vec base = n % 8 ? v_set(0) : least(s);
        steps = plan_of(s, n)->round;
        for (unsigned i = 0; i < steps; i++)
            make_distances(s, s->target[(first + n + i) % GS_TRELLIS_TILE],
                           plan_of(s, n + i)->after, s->distance + i * indexes);
        for (uint32_t o = 0; o < plan_of(s, n)->blocks; o++)
            for (unsigned i = 0; i < steps; i++)
                step(s, plan_of(s, n + i), o, s->distance + i * indexes,
                     i ? v_set(0) : base, s->choice + s->choice_at[n + i]);
    }
}

/* Address of a state's cost when the rotation is r; with r = L − r', the way back. */
static unsigned rotate(unsigned state, unsigned r, unsigned window)
{
    return (state << r | state >> (window - r)) & ((1u << window) - 1);
}

/* The state before the n-th step of a pass on the best path to `state` after it. */
static unsigned back(const struct search *s, unsigned n, unsigned tile, unsigned state)
{
    const struct plan *p = plan_of(s, n);
    unsigned at = rotate(state, p->after, s->t->window);
    unsigned vector = at >> s->split, lane = at & ((1u << s->split) - 1);
    unsigned group = v_extract_bits(vector, p->inner);
    unsigned o = v_extract_bits(vector, p->outer);
    const uint16_t *words = (const uint16_t *)(s->choice + s->choice_at[n] +
                                               (o * p->groups + group) / p->pack);
    unsigned j = words[tile << s->split | lane] >>
                 p->new_bits * (p->pack - 1 - group % p->pack);
    unsigned mask = (1u << p->new_bits) - 1;

    return (state << p->new_bits & ((1u << s->t->window) - 1)) | (j & mask);
}

/* The cheapest state of a tile after a pass; the lowest of equals. */
static unsigned cheapest(const struct search *s, unsigned tile)
{
    const uint16_t *cost = (const uint16_t *)s->cost + ((size_t)tile << s->split);
    unsigned window = s->t->window, split = s->split, low = (1u << split) - 1;
    unsigned turned = plan_of(s, GS_TRELLIS_TILE - 1)->after;
    unsigned min = UINT32_MAX, state = 0;

    for (unsigned at = 0; at < 1u << window; at++) {
        unsigned c = cost[(size_t)(at >> split) * LANES + (at & low)];
        if (c > min)
            continue;
        unsigned other = rotate(at, window - turned, window);
        state = c < min ? other : GS_MIN(state, other);
        min = c;
    }
    return state;
}

/* Pass 1 for all tiles of the batch. */
static void find_closing(struct search *s, unsigned tiles, unsigned *closing)
{
    for (unsigned v = 0; v < s->vectors; v++)
        s->cost[v] = v_set(0);
    run(s, 128);
    for (unsigned i = 0; i < tiles; i++) {
        closing[i] = cheapest(s, i);
        for (unsigned n = 255; n >= 128; n--)
            closing[i] = back(s, n, i, closing[i]);
    }
}

/* Pass 2. */
static void find_codes(struct search *s, unsigned tiles, const unsigned *closing,
                       uint8_t *codes, size_t codes_stride)
{
    const struct gs_trellis *t = s->t;
    uint16_t *cost = (uint16_t *)s->cost;

    for (unsigned v = 0; v < s->vectors; v++)
        s->cost[v] = v_set(-1);
    for (unsigned i = 0; i < tiles; i++) { /* the rotation is 0: the address is the state */
        unsigned lane = i << s->split | (closing[i] & ((1u << s->split) - 1));
        cost[(size_t)(closing[i] >> s->split) * LANES + lane] = 0;
    }
    run(s, 0);
    for (unsigned i = 0; i < tiles; i++) {
        uint8_t *tile = codes + i * codes_stride;
        unsigned state = closing[i];

        for (size_t j = 0; j < gs_trellis_tile_bytes(t); j++)
            tile[j] = 0;
        for (unsigned n = GS_TRELLIS_TILE; n-- > 0;) {
            gs_viterbi_put(t, tile, n, state >> (t->window - t->step[n % 8]));
            state = back(s, n, i, state);
        }
    }
}

static void viterbi(const struct gs_trellis *t, const float *x, size_t tiles, uint8_t *codes,
                    size_t codes_stride, void *work, unsigned split)
{
    struct search s;
    size_t batch = LANES >> split;
    unsigned closing[LANES];

    prepare(&s, t, split, work);
    for (size_t done = 0; done < tiles; done += batch) {
        unsigned n = (unsigned)GS_MIN(batch, tiles - done);
        int16_t *target = (int16_t *)s.target;

        for (unsigned lane = 0; lane < LANES; lane++) {
            /* Lanes without a tile repeat the last one. */
            const float *from = x + (done + GS_MIN(lane >> split, n - 1)) * GS_TRELLIS_TILE;
            for (unsigned i = 0; i < GS_TRELLIS_TILE; i++)
                target[i * LANES + lane] = gs_viterbi_target(t, from[i]);
        }
        find_closing(&s, n, closing);
        find_codes(&s, n, closing, codes + done * codes_stride, codes_stride);
    }
}
