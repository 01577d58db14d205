/* SPDX-License-Identifier: MIT
 * gosset compare: recipes on equal footing, a table and a page. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

#define COMMAND_BYTES 4096

/* The parts of "a,b,c" as C strings in one copy. */
struct list {
    char *copy;
    const char **item;
    size_t count;
};

static void list_free(struct list *list)
{
    free(list->copy);
    free(list->item);
}

/* Cuts at commas. With `pairs` a part with '=' belongs to the one before it, so that
 * "rtn,gptq,seed=7" are two recipes. */
static bool list_split(const char *text, bool pairs, struct list *out)
{
    size_t n = strlen(text);

    *out = (struct list){.copy = malloc(n + 1), .item = calloc(n / 2 + 2, sizeof *out->item)};
    if (!out->copy || !out->item)
        return false;
    memcpy(out->copy, text, n + 1);
    for (char *p = out->copy, *comma; *p; p = comma) {
        comma = p + strcspn(p, ",");
        const char *equals = memchr(p, '=', (size_t)(comma - p));
        bool more = *comma != 0;
        if (pairs && equals && out->count)
            p[-1] = ','; /* again */
        else if (comma > p)
            out->item[out->count++] = p;
        *comma = 0;
        comma += more;
    }
    return true;
}

static int parse_bits(const struct list *list, double *bits)
{
    for (size_t i = 0; i < list->count; i++) {
        char *end;
        bits[i] = strtod(list->item[i], &end);
        if (end == list->item[i] || *end || !(bits[i] >= 0.1 && bits[i] <= 64))
            return usage_error("compare", "option --bpw: '%s' is not a number within 0.1 to 64",
                               list->item[i]);
    }
    return EXIT_OK;
}

/* ---- the table ---------------------------------------------------------------------------- */

static void print_head(void)
{
    printf("%-24s %8s %8s %11s %10s %9s %8s %9s %9s %12s\n", "recipe", "bits", "matrices",
           "perplexity", "mean KL", "\xc2\xb1" "        ", "same top", "layers", "CPU s", "bytes");
}

static int print_row(void *ctx, const struct gs_compare_row *row)
{
    const struct settings *s = ctx;
    char name[128];

    progress_clear();
    if (s->json)
        return interrupted();
    if (row->budget > 0)
        snprintf(name, sizeof name, "%s %g", row->recipe, row->budget);
    else
        snprintf(name, sizeof name, "%s", row->recipe);
    char *clean = clean_text(name, strlen(name), false);
    printf("%-24s ", clean ? clean : "?");
    free(clean);
    if (row->failure) {
        print_clean(row->failure);
        putchar('\n');
    } else {
        printf("%8.4f %8.4f %11.4f %10.6f %8.6f %7.2f%% %9.6f %9.1f %12" PRIu64 "\n", row->bpw,
               row->matrix_bpw, row->eval.ppl, row->eval.kld_mean, row->eval.kld_sigma,
               100 * row->eval.top1, row->layer_error, row->cpu_seconds, row->file_bytes);
    }
    return !flush_output() || interrupted();
}

/* ---- running ------------------------------------------------------------------------------ */

/* Adds " --name value", quoted for a shell where it needs that. */
static void add_option(char *text, const char *name, const char *value)
{
    size_t used = strlen(text);
    bool plain = *value && !value[strcspn(value, " \t\n'\"\\$`*?[](){}<>|&;#~!")];

    snprintf(text + used, COMMAND_BYTES - used, plain ? "%s%s %s" : "%s%s '%s'",
             *name ? " --" : "", name, value);
}

static void add_count(char *text, const char *name, uint64_t value)
{
    char number[24];

    snprintf(number, sizeof number, "%" PRIu64, value);
    if (value)
        add_option(text, name, number);
}

/* The command line that gives this report, for the page. */
static void tell_command(const struct settings *s, char text[COMMAND_BYTES])
{
    strcpy(text, "gosset compare");
    add_option(text, "", s->argument[0]);
    add_option(text, "recipes", s->recipes);
    if (s->bpw_list)
        add_option(text, "bpw", s->bpw_list);
    add_option(text, "text", s->text_file);
    for (size_t i = 0; i < s->calib.count; i++)
        add_option(text, "calib", s->calib.path[i]);
    add_count(text, "tokens", s->tokens);
    add_count(text, "chunks", s->chunks);
    add_count(text, "ctx", s->ctx);
    add_option(text, "report", s->report);
    if (s->keep_files)
        add_option(text, "keep-files", s->keep_files);
}

static int show_end(const struct settings *s, const struct gs_comparison *c)
{
    struct gs_err err = {0};
    size_t n = gs_comparison_rows(c), done = 0;
    char *text;

    for (size_t i = 0; i < n; i++)
        done += !gs_comparison_row(c, i)->failure;
    if (s->json) {
        if (gs_comparison_json(c, &text, &err))
            return failure(&err);
        fputs(text, stdout);
        gs_text_free(&text);
    }
    note("%s: %zu results, %zu failed", s->report, done, n - done);
    return done ? EXIT_OK : failure_text("no recipe gave a result");
}

static int compare(const struct settings *s, const struct list *recipes, const struct list *bpw)
{
    char command[COMMAND_BYTES];
    bool all = recipes->count == 1 && !strcmp(recipes->item[0], "all");
    struct gs_compare_options options = {
        .recipes = recipes->item, .n_recipes = all ? 0 : recipes->count, .n_bpw = bpw->count,
        .text = s->text_file, .calib = s->calib.path, .n_calib = s->calib.count,
        .tokens = s->tokens, .ctx = s->ctx, .chunks = s->chunks, .report = s->report,
        .keep = s->keep_files, .command = command, .overwrite = s->overwrite,
        .allow_requantize = s->allow_requantize, .threads = s->threads, .row = print_row,
        .progress = progress};
    struct settings copy = *s;
    struct gs_comparison *comparison = NULL;
    struct gs_err err = {0};
    double *bits = calloc(bpw->count + 1, sizeof *bits);
    int code = bits ? parse_bits(bpw, bits) : failure_text("out of memory");

    if (!code) {
        options.bpw = bits;
        options.row_ctx = &copy;
        tell_command(s, command);
        if (!s->json)
            print_head();
        code = gs_compare(s->argument[0], &options, &comparison, &err)
                   ? failure(&err) : show_end(s, comparison);
    }
    gs_comparison_destroy(&comparison);
    free(bits);
    return code;
}

static int run(const struct settings *s)
{
    struct list recipes = {0}, bpw = {0};
    int code;

    if (!s->recipes || !s->text_file || !s->report)
        return usage_error("compare", "give --recipes LIST, --text FILE and --report FILE");
    if (!list_split(s->recipes, true, &recipes) ||
        !list_split(s->bpw_list ? s->bpw_list : "", false, &bpw))
        code = failure_text("out of memory");
    else if (!recipes.count)
        code = usage_error("compare", "option --recipes: names no recipe");
    else
        code = compare(s, &recipes, &bpw);
    list_free(&recipes);
    list_free(&bpw);
    return code;
}

static const struct option options[] = {
    {0, "recipes", "LIST", "recipes with commas, as for quantize, pairs behind a name: "
     "rtn,gptq,seed=7; stock:Q4_K_M for a stock type; all", &kind_string,
     offsetof(struct settings, recipes), 0, 0},
    {'b', "bpw", "LIST", "budgets, bits a weight of all tensors, with commas; without it as the "
     "recipes say, 4 where they leave it open", &kind_string,
     offsetof(struct settings, bpw_list), 0, 0},
    {0, "text", "FILE", "what the results are measured on", &kind_string,
     offsetof(struct settings, text_file), 0, 0},
    {0, "calib", "FILE", "calibration text, or JSONL with a member text; may be repeated; without "
     "it the end of --text, which is then not measured on", &kind_files,
     offsetof(struct settings, calib), 0, 0},
    {0, "tokens", "N", "tokens of calibration; 0 = 32768", &kind_u64,
     offsetof(struct settings, tokens), 0, 0},
    {'c', "ctx", "N", "tokens a chunk that is measured on; 0 = 512", &kind_u32,
     offsetof(struct settings, ctx), 0, 1 << 30},
    {0, "chunks", "N", "measure on at most N chunks; 0 = all", &kind_u32,
     offsetof(struct settings, chunks), 0, UINT32_MAX},
    {0, "report", "FILE", "the page to write, and beside it FILE with .json for .html",
     &kind_string, offsetof(struct settings, report), 0, 0},
    {0, "keep-files", "FOLDER", "keep the quantized files there", &kind_string,
     offsetof(struct settings, keep_files), 0, 0},
    {0, "allow-requantize", NULL, "accept a source that is quantized already", &kind_flag,
     offsetof(struct settings, allow_requantize), 0, 0},
    {0, "overwrite", NULL, "replace the report, and files in FOLDER", &kind_flag,
     offsetof(struct settings, overwrite), 0, 0},
};
static const struct option_group group = {"Comparing", options, COUNT(options)};

const struct command command_compare = {
    .name = "compare",
    .summary = "recipes on equal footing: a table, and a page with plots",
    .arguments = "MODEL",
    .details = "Every recipe quantizes MODEL with the same calibration text and is measured "
               "against\n"
               "it on the same other text. The page is one file that needs nothing else; it is\n"
               "written anew after every recipe, so an interrupted run leaves what it found.\n",
    .examples = "  gosset compare model.gguf --recipes rtn,gptq,quip --bpw 2,3,4 "
                "--text wiki.txt \\\n"
                "      --chunks 8 --report out.html\n"
                "  gosset compare model.gguf --recipes all,stock:Q4_K_M --text wiki.txt "
                "--report out.html\n",
    .n_arguments = 1,
    .groups = {&group, &group_compute, &group_output},
    .run = run,
};
