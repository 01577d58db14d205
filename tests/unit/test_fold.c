/* SPDX-License-Identifier: MIT
 * Folded transforms: whatever the architecture and the slot, the folded file computes what the
 * source computes; slots are refused for a reason; scales and rotations are found where they
 * help; decisions are the same for any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "core/rng.h"
#include "recipe/fold.h"
#include "recipe/quantize.h"
#include "tiny.h"

#define CTX 32
#define SEQUENCES 16
#define TOKENS 24

static struct gs_err err;
static int32_t tokens[SEQUENCES * CTX];

/* A source, opened, and what folding it takes. */
struct source {
    struct gs_store *store;
    struct gs_lm *lm;
    struct gs_team *team;
    struct gs_decoder *decoder;
    struct gs_calib calib;
    int types[256];
};

static void check(int rc)
{
    if (rc)
        fail_msg("%s", err.msg);
}

static void source_open(struct source *s, struct gs_store *store, int threads)
{
    const struct gs_decoder_options options = {.ctx = CTX, .batch = CTX, .exact = true};

    err = (struct gs_err){0};
    s->store = store;
    check(gs_lm_open(store, &s->lm, &err));
    check(gs_team_create(threads, &s->team, &err));
    check(gs_decoder_create(s->lm, &options, &s->decoder, &err));
    s->calib = (struct gs_calib){.tokens = tokens, .sequences = SEQUENCES, .ctx = CTX};
    for (size_t i = 0; i < gs_store_count(store); i++) {
        const struct gs_tensor *t = gs_store_tensor(store, i);
        s->types[i] = t->n_dims == 2 && t->dim[0] % 32 == 0 ? GS_TYPE_Q4_0 : -1;
    }
}

static void source_close(struct source *s)
{
    gs_decoder_destroy(&s->decoder);
    gs_team_destroy(&s->team);
    gs_lm_close(&s->lm);
    gs_store_close(&s->store);
}

static int fold(struct source *s, const char *list, bool calibrated, struct gs_fold **out)
{
    const struct gs_fold_options o = {.list = list, .seed = 3, .damping = 0.01, .team = s->team,
                                      .calib = calibrated ? &s->calib : NULL,
                                      .decoder = s->decoder, .types = s->types};

    err = (struct gs_err){0};
    return gs_fold_create(s->lm, &o, out, &err);
}

/* Logits of TOKENS tokens, cache in f32. */
static float *logits_of(struct gs_store *store, size_t *n)
{
    const struct gs_decoder_options options = {.ctx = TOKENS, .batch = TOKENS, .kv_f32 = true,
                                               .exact = true};
    struct gs_decoder *d;
    struct gs_lm *lm;

    check(gs_lm_open(store, &lm, &err));
    check(gs_decoder_create(lm, &options, &d, &err));
    check(gs_decoder_forward(d, tokens, TOKENS, &err));
    *n = TOKENS * (size_t)gs_lm_config(lm)->n_vocab;
    float *out = gs_alloc(*n, sizeof *out);
    assert_non_null(out);
    gs_decoder_logits(d, 0, TOKENS, out);
    gs_decoder_destroy(&d);
    gs_lm_close(&lm);
    return out;
}

/* The folded file's logits against the source's, over their root mean square. */
static double distance(struct source *s, const struct gs_fold *fold, size_t *tensors)
{
    struct gs_store *folded;
    size_t n, m;
    float *want = logits_of(s->store, &n);
    double squares = 0, most = 0;

    check(gs_fold_open(fold, tiny_path("folded"), &folded, NULL, &err));
    float *got = logits_of(folded, &m);
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        squares += (double)want[i] * (double)want[i];
        most = fmax(most, fabs((double)want[i] - (double)got[i]));
    }
    *tensors = gs_store_count(folded);
    gs_free(&want);
    gs_free(&got);
    gs_store_close(&folded);
    return most / sqrt(squares / (double)n);
}

/* Random scales from 1/8 to 8, everywhere where the slot puts any. */
static void put_scales(struct gs_fold *f, enum gs_fold_id id)
{
    const struct gs_config *c = &f->lm->config;
    const struct {
        enum gs_fold_id id;
        size_t n;
    } scales[GS_SCALE_COUNT] = {
        [GS_SCALE_ATTN_NORM] = {GS_FOLD_SCALE_NORMS, c->n_embd},
        [GS_SCALE_VALUES] = {GS_FOLD_SCALE_VALUES, (size_t)c->n_head_kv * c->head_v},
        [GS_SCALE_FFN_NORM] = {GS_FOLD_SCALE_NORMS, c->n_embd},
        [GS_SCALE_FFN] = {GS_FOLD_SCALE_FFN, c->n_ff}};
    struct gs_rng rng;

    gs_rng_init(&rng, 5, id);
    for (uint32_t il = 0; il < c->n_layer; il++)
        for (size_t k = 0; k < GS_SCALE_COUNT; k++) {
            if (scales[k].id != id)
                continue;
            float *s = gs_arena_alloc(&f->arena, scales[k].n, sizeof *s);
            assert_non_null(s);
            for (size_t i = 0; i < scales[k].n; i++)
                s[i] = (float)exp2(6 * gs_rng_f64(&rng) - 3);
            f->layers[il].scale[k] = s;
        }
}

/* Every variant of every architecture with every slot that it accepts. */
static void test_invariance(void **state)
{
    size_t done[GS_FOLD_COUNT] = {0};

    (void)state;
    for (size_t v = 0; v < tiny_n_variants; v++)
        for (int id = 0; id < GS_FOLD_COUNT; id++) {
            const struct gs_fold_slot *slot = gs_fold_slot((enum gs_fold_id)id);
            const unsigned both = 1u << GS_FOLD_UNTIE | 1u << GS_FOLD_ROTATE_RESIDUAL;
            struct source s;
            struct gs_fold *f;
            size_t tensors;
            source_open(&s, tiny_open(tiny_variants[v]), 1);
            const unsigned wanted = id == GS_FOLD_UNTIE ? both : 1u << id;
            bool refused = slot->refuse && slot->refuse(s.lm, wanted);
            if (id == GS_FOLD_UNTIE)
                refused |= gs_fold_slot(GS_FOLD_ROTATE_RESIDUAL)->refuse(s.lm, wanted) != NULL;
            if (!refused) {
                check(fold(&s, slot->fitted ? "rotate-values"
                               : id == GS_FOLD_UNTIE ? "untie,rotate-residual" : slot->name,
                           false, &f));
                if (slot->fitted)
                    put_scales(f, (enum gs_fold_id)id);
                double far = distance(&s, f, &tensors);
                if (far > 1e-5 || isnan(far))
                    fail_msg("%s, %s: %g", tiny_variants[v], slot->name, far);
                assert_int_equal(tensors, gs_store_count(s.store) + (id == GS_FOLD_UNTIE));
                done[id]++;
                gs_fold_destroy(&f);
            }
            source_close(&s);
        }
    /* untie: those that are tied and have RMS norms and no post-norms; and so on. */
    assert_true(done[GS_FOLD_UNTIE] >= 10 && done[GS_FOLD_ROTATE_RESIDUAL] >= 8);
    assert_int_equal(done[GS_FOLD_ROTATE_VALUES], tiny_n_variants);
    assert_int_equal(done[GS_FOLD_SCALE_NORMS], tiny_n_variants);
    assert_true(done[GS_FOLD_SCALE_FFN] == tiny_n_variants - 4);
}

static void test_reasons(void **state)
{
    static const struct {
        const char *variant, *list, *why;
        int code;
    } bad[] = {
        {"llama", "rotate-residual", "untie gives the head", GS_E_UNSUPPORTED},
        {"llama:untied", "untie,rotate-residual", "a matrix of its own", GS_E_UNSUPPORTED},
        {"llama", "untie", "only serves", GS_E_UNSUPPORTED},
        {"gpt2:untied", "rotate-residual", "subtract the mean", GS_E_UNSUPPORTED},
        {"gptneox", "rotate-residual", "subtract the mean", GS_E_UNSUPPORTED},
        {"gemma3", "untie,rotate-residual", "norms weigh", GS_E_UNSUPPORTED},
        {"gpt2", "scale-ffn", "no gate", GS_E_UNSUPPORTED},
        {"llama", "scale-norms", "calibration text", GS_E_ARG},
        {"llama", "auto", "calibration text", GS_E_ARG},
        {"llama", "rotate", "rotate-residual, rotate-values", GS_E_ARG},
        {"llama", "rotate-values,,", "rotate-values, scale", GS_E_ARG},
        {"llama", "", "empty", GS_E_ARG},
    };

    (void)state;
    for (size_t i = 0; i < GS_COUNT(bad); i++) {
        struct source s;
        struct gs_fold *f;
        source_open(&s, tiny_open(bad[i].variant), 1);
        assert_int_equal(fold(&s, bad[i].list, strcmp(bad[i].list, "scale-ffn") == 0, &f),
                         bad[i].code);
        assert_null(f);
        if (!strstr(err.msg, bad[i].why))
            fail_msg("%s lacks %s", err.msg, bad[i].why);
        source_close(&s);
    }
}

/* Rows of ffn_up, columns of ffn_down: factors that cancel, from 1/16 to 16. */
static bool unbalance(void *ctx, struct gs_tensor *t, const void **data)
{
    bool up = strstr(t->name, "ffn_up.weight"), down = strstr(t->name, "ffn_down.weight");

    (void)ctx;
    if (up || down) {
        const float *in = *data;
        float *out = malloc(t->bytes);
        struct gs_rng rng;
        double factors[512];
        gs_rng_init(&rng, 7, 0);
        for (size_t i = 0; i < t->dim[up ? 1 : 0]; i++)
            factors[i] = exp2(8 * gs_rng_f64(&rng) - 4);
        for (size_t i = 0; i < t->dim[0] * t->dim[1]; i++)
            out[i] = in[i] * (float)(up ? factors[i / t->dim[0]] : 1 / factors[i % t->dim[0]]);
        *data = out;
    }
    return true;
}

static void test_fit(void **state)
{
    struct gs_store *plain = tiny_open("llama:untied");
    uint64_t hash = 0;

    (void)state;
    for (int threads = 1; threads <= 2; threads++) {
        struct source s;
        struct gs_fold *f;
        size_t tensors;
        source_open(&s, tiny_copy(plain, NULL, unbalance, NULL), threads);
        check(fold(&s, "auto", true, &f));
        const struct gs_fold_outcome *ffn = &f->outcomes[GS_FOLD_SCALE_FFN];
        assert_int_equal(ffn->sites, 2);
        assert_int_equal(ffn->on, 2);
        assert_true(ffn->log_gain / (double)ffn->matrices > 0.3);
        assert_true(f->on >> GS_FOLD_SCALE_FFN & 1);
        assert_non_null(strstr(f->names, "scale-ffn"));
        assert_non_null(strstr(f->text, "fold scale-ffn: in 2 of 2 places, layer errors are 0."));
        assert_non_null(strstr(f->text, "fold rotate-residual: o"));
        assert_null(strstr(f->text, "untie"));
        assert_true(distance(&s, f, &tensors) < 1e-5);
        assert_true(threads == 1 || hash == f->hash);
        hash = f->hash;
        gs_fold_destroy(&f);
        source_close(&s);
    }
    gs_store_close(&plain);
}

/* What cannot be is left out with its reason, all else is tried. */
static void test_auto_left_out(void **state)
{
    struct source s;
    struct gs_fold *f;

    (void)state;
    source_open(&s, tiny_open("gpt2"), 1);
    check(fold(&s, "auto", true, &f));
    assert_non_null(strstr(f->text, "fold rotate-residual: off, its norms subtract"));
    assert_non_null(strstr(f->text, "fold scale-ffn: off, its FFN has no gate"));
    assert_int_equal(f->outcomes[GS_FOLD_ROTATE_VALUES].sites, 2);
    assert_int_equal(f->outcomes[GS_FOLD_SCALE_NORMS].sites, 4);
    assert_true((f->on == 0) == (f->hash == 0));
    gs_fold_destroy(&f);
    source_close(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invariance),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_auto_left_out),
    };
    struct gs_rng rng;

    (void)argc;
    gs_rng_init(&rng, 1, 0);
    for (size_t i = 0; i < GS_COUNT(tokens); i++)
        tokens[i] = (int32_t)(gs_rng_u64(&rng) % 320);
    tiny_init(argv[0]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tiny_exit();
    return failed;
}
