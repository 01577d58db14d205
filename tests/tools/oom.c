/* SPDX-License-Identifier: MIT
 * Out of memory at every place: lets the n-th allocation fail, for n = 1, 2, 3 … until a run
 * needs fewer than n, through each part of the public interface.
 *
 * A call must then return GS_E_NOMEM with a message, leave no object behind, and work when it
 * is tried again. Leaks show under `make asan`. Each part is run alone, so that the time is
 * the sum over parts of (allocations × time), not their product.
 *
 * usage: oom (expects make_tiny beside itself) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gosset.h"

#include "core/alloc.h"

static const char text[] = "Once upon a time there was a small model. It had few weights, but it "
                           "knew what to do with them, and so it went on: one, two, three.";

struct place {
    char folder[64], model[96], copy[96], tuned[96], delta[96];
};

/* One part of the interface. `open` of it what the part needs is opened before the failing
 * starts; run returns what the library returned. */
struct part {
    const char *name;
    bool needs_model;
    int (*run)(const struct place *place, struct gs_model *model, struct gs_err *err);
};

static int run_open(const struct place *place, struct gs_model *unused, struct gs_err *err)
{
    struct gs_model *model = NULL;
    const char *key, *type, *value;
    struct gs_model_info info;

    (void)unused;
    int rc = gs_model_open(place->model, &model, err);
    if (rc && model) {
        fprintf(stderr, "oom: a failed open left a model\n");
        exit(1);
    }
    if (!rc)
        gs_model_info(model, &info);
    for (size_t i = 0; !rc && i < info.n_meta; i++)
        rc = gs_model_meta(model, i, &key, &type, &value, err);
    gs_model_close(&model);
    return rc;
}

static int run_tokenize(const struct place *place, struct gs_model *model, struct gs_err *err)
{
    int32_t *tokens = NULL;

    (void)place;
    int64_t n = gs_tokenize(model, text, strlen(text), GS_TOKENIZE_BOS | GS_TOKENIZE_SPECIAL,
                            &tokens, err);
    gs_tokens_free(&tokens);
    return n < 0 ? (int)n : GS_OK;
}

static int run_chat(const struct place *place, struct gs_model *model, struct gs_err *err)
{
    const struct gs_chat_message messages[] = {{"system", "Be brief."}, {"user", "Hello"}};
    char *prompt = NULL;

    (void)place;
    int rc = gs_chat_format(model, messages, 2, true, &prompt, err);
    gs_text_free(&prompt);
    return rc;
}

static int run_generate(const struct place *place, struct gs_model *model, struct gs_err *err)
{
    const struct gs_session_options options = {.ctx = 64, .batch = 8, .threads = 2};
    const struct gs_sampling sampling = GS_SAMPLING_DEFAULT;
    struct gs_session *session = NULL;
    int32_t *tokens = NULL;

    (void)place;
    int64_t n = gs_tokenize(model, "Once upon", 9, GS_TOKENIZE_BOS, &tokens, err);
    int rc = n < 0 ? (int)n : gs_session_create(model, &options, &session, err);
    if (!rc)
        rc = gs_session_generate(session, tokens, (size_t)n, 3, &sampling, NULL, NULL, NULL, err);
    gs_session_destroy(&session);
    gs_tokens_free(&tokens);
    return rc;
}

static int run_eval(const struct place *place, struct gs_model *model, struct gs_err *err)
{
    const struct gs_eval_options options = {.ctx = 16, .chunks = 1, .batch = 16, .threads = 2};
    struct gs_eval_result result;

    (void)place;
    return gs_eval_text(model, model, text, strlen(text), &options, &result, err);
}

static int run_convert(const struct place *place, struct gs_model *unused, struct gs_err *err)
{
    const struct gs_convert_options options = {.type = "f16", .overwrite = true, .threads = 2};

    (void)unused;
    return gs_convert(place->model, place->copy, &options, NULL, err);
}

static int run_delta(const struct place *place, struct gs_model *unused, struct gs_err *err)
{
    const struct gs_delta_options options = {.overwrite = true, .threads = 2};

    (void)unused;
    return gs_delta(place->model, place->tuned, place->delta, &options, NULL, err);
}

/* After run_delta. */
static int run_open_delta(const struct place *place, struct gs_model *unused, struct gs_err *err)
{
    struct gs_model *model = NULL;

    (void)unused;
    int rc = gs_model_open_delta(place->model, place->delta, &model, err);
    if (!rc)
        rc = gs_model_runnable(model, err);
    gs_model_close(&model);
    return rc;
}

static int run_pack(const struct place *place, struct gs_model *unused, struct gs_err *err)
{
    const struct gs_pack_options options = {.overwrite = true, .threads = 2};

    (void)unused;
    remove(place->copy);
    int rc = gs_pack(place->model, place->copy, &options, NULL, err);
    return rc ? rc : gs_unpack(place->copy, place->tuned, &options, NULL, err);
}

static const struct part parts[] = {
    {"open", false, run_open},        {"tokenize", true, run_tokenize},
    {"chat", true, run_chat},         {"generate", true, run_generate},
    {"eval", true, run_eval},         {"convert", false, run_convert},
    {"delta", false, run_delta},      {"open a delta", false, run_open_delta},
    {"pack", false, run_pack},
};

/* One run of a part in which the n-th allocation fails (0: none does). */
static int run_part(const struct part *part, const struct place *place, uint64_t n,
                    uint64_t *allocations, struct gs_err *err)
{
    struct gs_model *model = NULL;

    if (part->needs_model && gs_model_open(place->model, &model, err))
        return err->code;
    uint64_t before = gs_alloc_count();
    gs_alloc_fail_at(n);
    int rc = part->run(place, model, err);
    gs_alloc_fail_at(0);
    *allocations = gs_alloc_count() - before;
    if (rc == GS_E_NOMEM) { /* the same objects must work now that there is memory */
        int again = part->run(place, model, NULL);
        if (again) {
            err->code = again;
            snprintf(err->msg, sizeof err->msg, "fails after memory came back");
            rc = again;
        }
    }
    gs_model_close(&model);
    return rc;
}

/* True if the part held for every n. */
static bool check_part(const struct part *part, const struct place *place)
{
    for (uint64_t n = 1;; n++) {
        struct gs_err err = {0};
        uint64_t allocations = 0;
        int rc = run_part(part, place, n, &allocations, &err);
        if (!rc && allocations < n) {
            printf("oom: %s: %llu allocations\n", part->name, (unsigned long long)allocations);
            return true;
        }
        if (rc != GS_E_NOMEM || err.code != GS_E_NOMEM || !err.msg[0]) {
            printf("oom: %s: allocation %llu failed, but the call returned %d: %s\n", part->name,
                   (unsigned long long)n, rc, err.msg);
            return false;
        }
    }
}

static bool make_model(const char *self, struct place *place)
{
    const char *slash = strrchr(self, '/');
    char command[1024];

    strcpy(place->folder, "/tmp/gosset-oom-XXXXXX");
    if (!mkdtemp(place->folder))
        return false;
    snprintf(place->model, sizeof place->model, "%s/model.gguf", place->folder);
    snprintf(place->copy, sizeof place->copy, "%s/copy.gguf", place->folder);
    snprintf(place->tuned, sizeof place->tuned, "%s/tuned.gguf", place->folder);
    snprintf(place->delta, sizeof place->delta, "%s/delta.gguf", place->folder);
    for (int seed = 1; seed <= 2; seed++) {
        snprintf(command, sizeof command, "'%.*s/make_tiny' llama '%s' %d",
                 slash ? (int)(slash - self) : 1, slash ? self : ".",
                 seed == 1 ? place->model : place->tuned, seed);
        if (system(command))
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct place place;
    int failed = 0;

    (void)argc;
    if (!make_model(argv[0], &place)) {
        fprintf(stderr, "oom: cannot make a model\n");
        return 1;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        failed += !check_part(&parts[i], &place);
    unlink(place.model);
    unlink(place.copy);
    unlink(place.tuned);
    unlink(place.delta);
    rmdir(place.folder);
    printf("%d passed, %d failed\n", (int)(sizeof parts / sizeof *parts) - failed, failed);
    return failed > 0;
}
