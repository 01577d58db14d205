/* SPDX-License-Identifier: MIT */
#include "compare/compare.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compare/probe.h"
#include "compare/texts.h"
#include "core/alloc.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/log.h"
#include "eval/eval.h"
#include "file/out.h"
#include "recipe/mix.h"
#include "recipe/quantize.h"
#include "recipe/recipe.h"

#define ROWS_MAX 4096u
#define TOKENS_DEFAULT 32768u
#define CTX_DEFAULT 512u
#define BPW_DEFAULT 4.0
#define STOCK "stock:"

struct comparing {
    const char *src;
    const struct gs_compare_options *options; /* with defaults filled in */
    struct gs_comparison *c;
    double start;
    char *folder;         /* for files that are removed, and for the piece of the text */
    char *json;           /* path beside the report */
    struct gs_store *store;
    struct gs_tokenizer *tokenizer;
    struct gs_lm *lm;
    struct gs_team *team;
    struct gs_subject subject;
    struct gs_compare_texts texts;
    struct gs_probe *probe;
    struct gs_reference *reference;
};

/* ---- the report --------------------------------------------------------------------------- */

static int write_file(const char *path, const char *text, size_t n, bool overwrite,
                      struct gs_err *err)
{
    struct gs_out *out;
    int rc = gs_out_create(path, overwrite, n, &out, err);

    if (!rc && (rc = gs_out_write(out, text, n, err)))
        gs_out_abort(&out);
    return rc ? rc : gs_out_commit(&out, err);
}

/* Page and JSON with what is known so far. What this run has written it may replace. */
static int write_report(struct comparing *w, bool overwrite, struct gs_err *err)
{
    char *text = NULL;
    size_t n = 0;
    int rc;

    w->c->seconds = gs_seconds() - w->start;
    if (!(rc = gs_comparison_page(w->c, &text, &n, err)))
        rc = write_file(w->options->report, text, n, overwrite, err);
    gs_free(&text);
    if (!rc && !(rc = gs_comparison_text(w->c, &text, &n, err)))
        rc = write_file(w->json, text, n, overwrite, err);
    gs_free(&text);
    return rc;
}

static int exists_already(const char *path, struct gs_err *err)
{
    struct stat st;

    return stat(path, &st) ? GS_OK : gs_fail(err, GS_E_IO, "%s: exists already", path);
}

/* Paths of the JSON and of the folder for files that do not stay. */
static int make_places(struct comparing *w, struct gs_err *err)
{
    const struct gs_compare_options *o = w->options;
    const char *report = o->report;
    size_t n = report ? strlen(report) : 0;
    struct stat st;
    int rc = GS_OK;

    if (!n)
        return gs_fail(err, GS_E_ARG, "where does the report go? give a file");
    w->json = gs_alloc(n + 8, 1);
    w->folder = gs_alloc(n + 40, 1);
    if (!w->json || !w->folder)
        return gs_fail_nomem(err, report);
    bool html = n > 5 && !strcasecmp(report + n - 5, ".html");
    snprintf(w->json, n + 8, "%.*s.json", (int)(html ? n - 5 : n), report);
    if (!o->overwrite &&
        ((rc = exists_already(report, err)) || (rc = exists_already(w->json, err)))) {
        w->folder[0] = 0;
        return rc;
    }
    snprintf(w->folder, n + 40, "%s.%ld.work", report, (long)getpid());
    if (mkdir(w->folder, 0777)) {
        rc = gs_fail(err, GS_E_IO, "%s: cannot create: %s", w->folder, strerror(errno));
        w->folder[0] = 0;
    }
    if (!rc && o->keep && (stat(o->keep, &st) || !S_ISDIR(st.st_mode)))
        rc = gs_fail(err, GS_E_IO, "%s: there is no such folder", o->keep);
    return rc;
}

/* ---- once --------------------------------------------------------------------------------- */

static const char *copy(struct gs_comparison *c, const char *text)
{
    return gs_arena_strndup(&c->arena, text, strlen(text));
}

static int hash_tensors(struct comparing *w, struct gs_err *err)
{
    struct gs_comparison *c = w->c;
    int rc;

    for (size_t i = 0; i < gs_store_count(w->store); i++) {
        const struct gs_tensor *t = gs_store_tensor(w->store, i);
        const void *data;
        if ((rc = gs_store_data(w->store, t, &data, err)))
            return rc;
        c->model_hash = gs_fingerprint(c->model_hash, t->name, strlen(t->name));
        c->model_hash = gs_fingerprint(c->model_hash, data, t->bytes);
        c->model_bytes += t->bytes;
        c->parameters += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
        gs_store_release(w->store, t);
    }
    c->model_bpw = c->parameters ? 8 * (double)c->model_bytes / (double)c->parameters : 0;
    return GS_OK;
}

static const char *meta_text(struct gs_comparison *c, const struct gs_meta *meta,
                             const char *key)
{
    struct gs_str s = GS_STR("");

    if (gs_meta_get_str(meta, key, &s, NULL) < 0)
        s = GS_STR("");
    return gs_arena_strndup(&c->arena, s.data, s.size);
}

static int describe_model(struct comparing *w, struct gs_err *err)
{
    const struct gs_meta *meta = gs_store_meta(w->store);
    const struct gs_compare_options *o = w->options;
    struct gs_comparison *c = w->c;

    c->model_path = copy(c, w->src);
    c->model_name = meta_text(c, meta, "general.name");
    c->arch = meta_text(c, meta, "general.architecture");
    c->command = o->command ? copy(c, o->command) : NULL;
    c->level = copy(c, gs_kernels()->name);
    c->threads = gs_team_size(w->team);
    if (!c->model_path || !c->model_name || !c->arch || !c->level || (o->command && !c->command))
        return gs_fail_nomem(err, w->src);
    return hash_tensors(w, err);
}

static int open_source(struct comparing *w, struct gs_err *err)
{
    uint32_t trained;
    int rc;

    if ((rc = gs_store_open(w->src, &w->store, err)) ||
        (rc = gs_lm_open(w->store, &w->lm, err)) ||
        (rc = gs_tokenizer_create(gs_store_meta(w->store), w->src, &w->tokenizer, err)) ||
        (rc = gs_team_create(w->options->threads, &w->team, err)) ||
        (rc = describe_model(w, err)))
        return rc;
    w->subject = (struct gs_subject){.lm = w->lm, .tokenizer = w->tokenizer, .name = w->src};
    trained = gs_lm_config(w->lm)->n_ctx_train;
    w->c->ctx = w->options->ctx ? w->options->ctx : CTX_DEFAULT;
    if (!w->options->ctx && trained && trained < w->c->ctx)
        w->c->ctx = trained;
    return GS_OK;
}

static struct gs_eval_options eval_options(const struct comparing *w)
{
    const struct gs_compare_options *o = w->options;

    return (struct gs_eval_options){.ctx = w->c->ctx, .chunks = o->chunks, .threads = o->threads,
                                    .progress = o->progress, .progress_ctx = o->progress_ctx};
}

static int run_source(struct comparing *w, struct gs_err *err)
{
    const struct gs_eval_options options = eval_options(w);
    const float *hidden;
    size_t n;
    int rc;

    if ((rc = gs_compare_texts_open(w->options, w->tokenizer, w->folder, w->c, &w->texts,
                                    err)) ||
        (rc = gs_probe_create(w->lm, &w->probe, err)) ||
        (rc = gs_probe_list(w->probe, w->c, err)) ||
        (rc = gs_eval_reference(&w->subject, w->texts.text, w->texts.bytes, &options,
                                gs_probe_tap, w->probe, &w->reference, &w->c->reference, err)))
        return rc;
    w->c->text.tokens = w->c->reference.chunks * w->c->ctx;
    hidden = gs_reference_hidden(w->reference, &n);
    gs_probe_head(w->probe, hidden, n);
    gs_probe_shares(w->probe, w->c);
    return GS_OK;
}

/* ---- a row -------------------------------------------------------------------------------- */

/* What a plan says of the matrices that are rounded. */
struct told {
    struct comparing *w;
    const struct gs_compare_row *row, *same; /* the row in work; an earlier one with this plan */
    uint64_t weights, bytes;
};

static bool is_rounded(const struct gs_plan_tensor *t)
{
    static const char *const floats[] = {"F64", "F32", "F16", "BF16"};

    for (size_t i = 0; i < GS_COUNT(floats); i++)
        if (!strcmp(t->type, floats[i]))
            return false;
    return true;
}

/* The earlier row of the same recipe whose file has these bits too: a recipe offers whole numbers
 * of bits, or one only. */
static const struct gs_compare_row *find_same(const struct gs_comparison *c,
                                              const struct gs_compare_row *row, double bpw)
{
    for (size_t i = 0; i < c->n_rows; i++) {
        const struct gs_compare_row *other = &c->rows[i].facts;
        if (!other->failure && !strcmp(other->recipe, row->recipe) && other->bpw == bpw)
            return other;
    }
    return NULL;
}

static int take_plan(void *ctx, const struct gs_plan_info *plan)
{
    struct told *told = ctx;

    for (size_t i = 0; i < plan->n_tensors; i++)
        if (is_rounded(&plan->tensors[i])) {
            told->weights += plan->tensors[i].parameters;
            told->bytes += plan->tensors[i].bytes;
        }
    if (plan->calib_tokens)
        told->w->c->calib.tokens = plan->calib_tokens;
    told->same = find_same(told->w->c, told->row, plan->bpw);
    return told->same != NULL;
}

static int quantize(struct comparing *w, struct gs_compare_row *row, const char *path,
                    struct gs_err *err)
{
    const struct gs_compare_options *o = w->options;
    bool stock = !strncmp(row->recipe, STOCK, strlen(STOCK));
    struct told told = {.w = w, .row = row};
    struct gs_quantize_options q = {.bpw = row->budget, .recipe = stock ? NULL : row->recipe,
                                    .type = stock ? row->recipe + strlen(STOCK) : NULL,
                                    .calib = w->texts.calib, .n_calib = w->texts.n_calib,
                                    .tokens = o->tokens, .no_eval = true,
                                    .allow_requantize = o->allow_requantize,
                                    .overwrite = o->overwrite || !o->keep,
                                    .threads = o->threads, .plan = take_plan, .plan_ctx = &told,
                                    .progress = o->progress, .progress_ctx = o->progress_ctx};
    double start = gs_seconds(), cpu = gs_cpu_seconds();
    struct gs_quantize_result result;
    int rc = gs_quantize_model(w->src, path, &q, NULL, NULL, &result, err);

    if (told.same) {
        *err = (struct gs_err){0};
        return gs_fail(err, GS_E_ARG, "the same file as for %.3g bits", told.same->budget);
    }
    if (rc)
        return rc;
    row->seconds = gs_seconds() - start;
    row->cpu_seconds = gs_cpu_seconds() - cpu;
    row->steps = result.cpu_seconds;
    row->passes = result.cpu_seconds.forward > 0 ? 2 : 0;
    row->bpw = result.bpw;
    row->file_bytes = result.file_bytes;
    row->file_bpw = 8 * (double)result.file_bytes / (double)result.parameters;
    row->matrix_bpw = told.weights ? 8 * (double)told.bytes / (double)told.weights : NAN;
    return GS_OK;
}

static int measure(struct comparing *w, struct gs_compared_row *row, const char *path,
                   struct gs_err *err)
{
    struct gs_tokenizer *tokenizer = NULL;
    struct gs_store *store = NULL;
    struct gs_lm *lm = NULL;
    int rc;

    if (!(rc = gs_store_open(path, &store, err)) && !(rc = gs_lm_open(store, &lm, err)) &&
        !(rc = gs_tokenizer_create(gs_store_meta(store), path, &tokenizer, err))) {
        const struct gs_subject subject = {.lm = lm, .tokenizer = tokenizer, .name = path};
        rc = gs_eval_against(&subject, w->reference, &row->facts.eval, err);
    }
    if (!rc)
        rc = gs_probe_measure(w->probe, lm, w->team, row->errors, &row->facts.layer_error, err);
    gs_tokenizer_destroy(&tokenizer);
    gs_lm_close(&lm);
    gs_store_close(&store);
    return rc;
}

static void remove_with(const char *path, const char *suffix)
{
    char *name = gs_alloc(strlen(path) + strlen(suffix) + 1, 1);

    if (name) {
        sprintf(name, "%s%s", path, suffix);
        unlink(name);
    }
    gs_free(&name);
}

/* FOLDER/gptq-3.gguf; what a file name should not have becomes '_'. For gs_free. */
static char *file_path(const struct comparing *w, const struct gs_compare_row *row)
{
    const char *folder = w->options->keep ? w->options->keep : w->folder;
    size_t n = strlen(folder) + strlen(row->recipe) + 48, at;
    char *path = gs_alloc(n, 1);

    if (!path)
        return NULL;
    at = (size_t)snprintf(path, n, "%s/", folder);
    for (const char *p = row->recipe; *p; p++)
        path[at++] = isalnum((unsigned char)*p) || strchr("-.", *p) ? *p : '_';
    if (row->budget > 0) /* thousandths: without a locale's point */
        snprintf(path + at, n - at, "-%u.%03u.gguf", (unsigned)row->budget,
                 (unsigned)(row->budget * 1000) % 1000);
    else
        strcpy(path + at, ".gguf");
    return path;
}

/* A failure becomes the row's reason; only what stops the work is returned. */
static int run_row(struct comparing *w, struct gs_compared_row *row, struct gs_err *err)
{
    struct gs_compare_row *facts = &row->facts;
    struct gs_err why = {0};
    char *path = file_path(w, facts);
    int rc = path ? GS_OK : gs_fail_nomem(err, facts->recipe);

    if (rc)
        return rc;
    gs_log(GS_LOG_INFO, "%zu of %zu: %s", w->c->n_rows + 1, w->c->n_planned, facts->recipe);
    row->errors = gs_arena_alloc(&w->c->arena, w->c->n_matrices, sizeof *row->errors);
    if (!row->errors)
        rc = gs_fail_nomem(&why, facts->recipe);
    bool wrote = !rc && !(rc = quantize(w, facts, path, &why));
    if (!rc)
        rc = measure(w, row, path, &why);
    if (rc) { /* no work of this row stays */
        remove_with(path, ".work");
        remove_with(path, ".draft");
    }
    if (wrote && (rc || !w->options->keep))
        unlink(path);
    gs_free(&path);
    if (rc == GS_E_STOPPED)
        return gs_fail(err, rc, "%s: stopped; the report has what was found so far",
                       facts->recipe);
    if (rc && !(facts->failure = copy(w->c, why.msg)))
        return gs_fail_nomem(err, "a report");
    return GS_OK;
}

/* ---- all rows ----------------------------------------------------------------------------- */

static const char *recipe_at(const struct gs_compare_options *o, size_t i)
{
    const struct gs_recipe_file *file;

    if (o->n_recipes)
        return i < o->n_recipes ? o->recipes[i] : NULL;
    return (file = gs_recipe_at(i)) ? file->name : NULL;
}

/* A recipe at each budget, into rows of the comparison; those are counted in n_planned. */
static int plan_recipe(struct comparing *w, const char *name, struct gs_err *err)
{
    const struct gs_compare_options *o = w->options;
    struct gs_comparison *c = w->c;
    bool stock = !strncmp(name, STOCK, strlen(STOCK));
    struct gs_recipe recipe;

    gs_recipe_default(&recipe);
    /* One that cannot be read says why when its turn comes. */
    bool read = !stock && !gs_recipe_read(&recipe, name, NULL);
    bool open = read && !gs_recipe_has_codebook(&recipe);
    size_t n = stock || !o->n_bpw ? 1 : o->n_bpw;

    for (size_t i = 0; i < n; i++) {
        if (c->n_planned == ROWS_MAX)
            return gs_fail(err, GS_E_ARG, "more than %u rows", ROWS_MAX);
        struct gs_compare_row *row = &c->rows[c->n_planned++].facts;
        *row = (struct gs_compare_row){.recipe = copy(c, name), .paper = copy(c, recipe.paper)};
        if (!row->recipe || !row->paper)
            return gs_fail_nomem(err, "a report");
        if (!stock)
            row->budget = o->n_bpw ? o->bpw[i] : open ? BPW_DEFAULT : 0;
    }
    return GS_OK;
}

static int plan_rows(struct comparing *w, struct gs_err *err)
{
    const struct gs_compare_options *o = w->options;
    const char *name;
    size_t n = 0;
    int rc = GS_OK;

    while (recipe_at(o, n))
        n++;
    w->c->rows = gs_arena_alloc(&w->c->arena, GS_MIN(n, ROWS_MAX) * GS_MAX(o->n_bpw, 1),
                                sizeof *w->c->rows);
    if (!w->c->rows)
        return gs_fail_nomem(err, "a report");
    for (size_t i = 0; !rc && (name = recipe_at(o, i)); i++)
        rc = plan_recipe(w, name, err);
    return rc;
}

static int run_rows(struct comparing *w, struct gs_err *err)
{
    const struct gs_compare_options *o = w->options;
    struct gs_comparison *c = w->c;
    bool written = false;
    int rc = GS_OK;

    while (!rc && c->n_rows < c->n_planned) {
        struct gs_compared_row *row = &c->rows[c->n_rows];
        if ((rc = run_row(w, row, err)))
            break;
        c->n_rows++;
        rc = write_report(w, written || o->overwrite, err);
        written = !rc;
        if (!rc && o->row && o->row(o->row_ctx, &row->facts))
            rc = gs_fail(err, GS_E_STOPPED, "stopped after %zu rows", c->n_rows);
    }
    return rc;
}

static void clear(struct comparing *w)
{
    gs_reference_destroy(&w->reference);
    gs_probe_destroy(&w->probe);
    gs_compare_texts_close(&w->texts);
    gs_team_destroy(&w->team);
    gs_tokenizer_destroy(&w->tokenizer);
    gs_lm_close(&w->lm);
    gs_store_close(&w->store);
    if (w->folder && *w->folder)
        rmdir(w->folder);
    gs_free(&w->folder);
    gs_free(&w->json);
}

int gs_compare_run(const char *src, const struct gs_compare_options *options,
                   struct gs_comparison **out, struct gs_err *err)
{
    struct gs_compare_options o = *options;
    struct comparing w = {.src = src, .options = &o, .c = gs_alloc(1, sizeof *w.c),
                          .start = gs_seconds()};
    int rc = w.c ? GS_OK : gs_fail_nomem(err, src);

    *out = NULL;
    if (!o.tokens)
        o.tokens = TOKENS_DEFAULT;
    if (!rc && !o.text)
        rc = gs_fail(err, GS_E_ARG, "what is it measured on? give a text");
    for (size_t i = 0; !rc && i < o.n_bpw; i++)
        if (!(o.bpw[i] > 0 && o.bpw[i] <= 64))
            rc = gs_fail(err, GS_E_ARG, "%g bits a weight: give a number from 1 on", o.bpw[i]);
    if (!rc)
        w.c->started = time(NULL);
    if (!rc && !(rc = make_places(&w, err)) && !(rc = open_source(&w, err)) &&
        !(rc = plan_rows(&w, err)) && !(rc = run_source(&w, err)))
        rc = run_rows(&w, err);
    clear(&w);
    if (rc && rc != GS_E_STOPPED)
        gs_compare_destroy(&w.c);
    *out = w.c;
    return rc;
}

void gs_compare_destroy(struct gs_comparison **c)
{
    if (!*c)
        return;
    gs_arena_clear(&(*c)->arena);
    gs_free(c);
}
