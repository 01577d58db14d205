/* SPDX-License-Identifier: MIT
 * The JSON of a comparison: all that the page shows, in the order of the work. */
#include <math.h>
#include <string.h>

#include "core/alloc.h"
#include "report/comparison.h"
#include "report/json_text.h"

#define DIGITS 10

/* Figures of struct gs_eval_result, by the keys that gosset eval has for them. */
static const struct { const char *key; size_t offset; } measures[] = {
#define R(field) {#field, offsetof(struct gs_eval_result, field)}
    R(ppl), R(ppl_sigma), R(ppl_ratio_ln), R(ppl_ratio_ln_sigma), R(kld_mean), R(kld_sigma),
    R(kld_median), R(kld_p90), R(kld_p95), R(kld_p99), R(kld_p999), R(kld_max), R(dp_mean),
    R(rms_dp), R(top1), R(top1_sigma),
#undef R
};

static void put_eval(struct gs_json_text *j, const struct gs_eval_result *e)
{
    for (size_t i = 0; i < GS_COUNT(measures); i++) {
        double value;
        memcpy(&value, (const char *)e + measures[i].offset, sizeof value);
        gs_json_number(j, measures[i].key, value, DIGITS);
    }
}

static void put_steps(struct gs_json_text *j, const struct gs_quantize_seconds *s)
{
    gs_json_begin(j, "cpu_seconds_by_step", '{');
    gs_json_number(j, "forward", s->forward, 6);
    gs_json_number(j, "moments", s->moments, 6);
    gs_json_number(j, "rounding", s->rounding, 6);
    gs_json_end(j, '}');
}

static void put_row(struct gs_json_text *j, const struct gs_comparison *c,
                    const struct gs_compared_row *row, bool front)
{
    const struct gs_compare_row *f = &row->facts;

    gs_json_begin(j, NULL, '{');
    gs_json_string(j, "recipe", f->recipe);
    gs_json_string(j, "paper", f->paper);
    gs_json_number(j, "budget", f->budget > 0 ? f->budget : NAN, DIGITS);
    gs_json_string(j, "failure", f->failure);
    if (!f->failure) {
        gs_json_number(j, "bpw", f->bpw, DIGITS);
        gs_json_number(j, "matrix_bpw", f->matrix_bpw, DIGITS);
        gs_json_number(j, "file_bpw", f->file_bpw, DIGITS);
        gs_json_count(j, "file_bytes", f->file_bytes);
        gs_json_bool(j, "front", front);
        put_eval(j, &f->eval);
        gs_json_number(j, "layer_error", f->layer_error, DIGITS);
        gs_json_count(j, "passes", f->passes);
        gs_json_number(j, "seconds", f->seconds, 6);
        gs_json_number(j, "cpu_seconds", f->cpu_seconds, 6);
        put_steps(j, &f->steps);
        gs_json_begin(j, "matrix_errors", '[');
        for (size_t i = 0; i < c->n_matrices; i++)
            gs_json_number(j, NULL, row->errors[i], 6);
        gs_json_end(j, ']');
    }
    gs_json_end(j, '}');
}

static void put_text(struct gs_json_text *j, const char *key, const struct gs_compared_text *t,
                     const char *how)
{
    gs_json_begin(j, key, '{');
    gs_json_string(j, "name", t->name);
    if (how)
        gs_json_string(j, "how", how);
    gs_json_count(j, "bytes", t->bytes);
    gs_json_count(j, "tokens", t->tokens);
    gs_json_hash(j, "hash", t->hash);
    gs_json_end(j, '}');
}

static void put_facts(struct gs_json_text *j, const struct gs_comparison *c)
{
    const struct gs_eval_result *r = &c->reference;

    gs_json_string(j, "version", GS_VERSION);
    gs_json_string(j, "command", c->command);
    gs_json_count(j, "started", (uint64_t)c->started);
    gs_json_number(j, "seconds", c->seconds, 6);
    gs_json_string(j, "cpu_level", c->level);
    gs_json_count(j, "threads", (uint64_t)c->threads);
    gs_json_begin(j, "model", '{');
    gs_json_string(j, "path", c->model_path);
    gs_json_string(j, "name", c->model_name);
    gs_json_string(j, "arch", c->arch);
    gs_json_count(j, "parameters", c->parameters);
    gs_json_count(j, "bytes", c->model_bytes);
    gs_json_number(j, "bpw", c->model_bpw, DIGITS);
    gs_json_hash(j, "hash", c->model_hash);
    gs_json_number(j, "ppl", r->ppl, DIGITS);
    gs_json_number(j, "ppl_sigma", r->ppl_sigma, DIGITS);
    gs_json_end(j, '}');
    put_text(j, "text", &c->text, NULL);
    gs_json_count(j, "ctx", c->ctx);
    gs_json_count(j, "chunks", r->chunks);
    gs_json_count(j, "scored_tokens", r->tokens);
    put_text(j, "calibration", &c->calib, c->calib_how);
    gs_json_begin(j, "matrices", '[');
    for (size_t i = 0; i < c->n_matrices; i++)
        gs_json_string(j, NULL, c->matrices[i].name);
    gs_json_end(j, ']');
    gs_json_begin(j, "activations_lost", '{'); /* of 8 bits a matrix's input makes zero */
    gs_json_begin(j, "by_token", '[');
    for (size_t i = 0; i < c->n_matrices; i++)
        gs_json_number(j, NULL, c->matrices[i].lost_by_token, 6);
    gs_json_end(j, ']');
    gs_json_begin(j, "crosswise", '[');
    for (size_t i = 0; i < c->n_matrices; i++)
        gs_json_number(j, NULL, c->matrices[i].lost_crosswise, 6);
    gs_json_end(j, ']');
    gs_json_end(j, '}');
}

int gs_comparison_text(const struct gs_comparison *c, char **text, size_t *n,
                       struct gs_err *err)
{
    struct gs_json_text j = {.more = false};
    bool *front = gs_alloc(c->n_rows, sizeof *front);

    *text = NULL;
    if (!front)
        return gs_fail_nomem(err, "a report");
    gs_comparison_front(c, front);
    gs_json_begin(&j, NULL, '{');
    put_facts(&j, c);
    gs_json_count(&j, "rows_planned", c->n_planned);
    gs_json_begin(&j, "rows", '[');
    for (size_t i = 0; i < c->n_rows; i++)
        put_row(&j, c, &c->rows[i], front[i]);
    gs_json_end(&j, ']');
    gs_json_end(&j, '}');
    gs_buffer_put(&j.out, "\n", 1);
    gs_free(&front);
    return gs_buffer_take(&j.out, text, n, err);
}
