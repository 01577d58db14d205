/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HELP_COLUMN 27
#define HELP_WIDTH 90
#define AT(field) offsetof(struct settings, field)

/* ---- kinds ---------------------------------------------------------------------- */

static bool out_of_range(const struct option *option, const char *text, char *why, size_t size)
{
    snprintf(why, size, "%s is not within %.10g to %.10g", text, option->min, option->max);
    return false;
}

static bool parse_integer(const struct option *option, const char *text, int64_t *out,
                          char *why, size_t size)
{
    char *end;

    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || isspace((unsigned char)*text)) {
        snprintf(why, size, "'%s' is not a whole number", text);
        return false;
    }
    if (errno == ERANGE || (double)v < option->min || (double)v > option->max)
        return out_of_range(option, text, why, size);
    *out = v;
    return true;
}

static bool parse_flag(const struct option *option, const char *text, void *field, char *why,
                       size_t size)
{
    (void)option, (void)text, (void)why, (void)size;
    *(bool *)field = true;
    return true;
}

static bool parse_string(const struct option *option, const char *text, void *field, char *why,
                         size_t size)
{
    (void)option, (void)why, (void)size;
    *(const char **)field = text;
    return true;
}

static bool parse_int(const struct option *option, const char *text, void *field, char *why,
                      size_t size)
{
    int64_t v;

    if (!parse_integer(option, text, &v, why, size))
        return false;
    *(int *)field = (int)v;
    return true;
}

static bool parse_u32(const struct option *option, const char *text, void *field, char *why,
                      size_t size)
{
    int64_t v;

    if (!parse_integer(option, text, &v, why, size))
        return false;
    *(uint32_t *)field = (uint32_t)v;
    return true;
}

static bool parse_i64(const struct option *option, const char *text, void *field, char *why,
                      size_t size)
{
    return parse_integer(option, text, field, why, size);
}

/* The whole range of 64 bits; min and max do not apply. */
static bool parse_u64(const struct option *option, const char *text, void *field, char *why,
                      size_t size)
{
    char *end;

    (void)option;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || errno == ERANGE) {
        snprintf(why, size, "'%s' is not a whole number from 0 to 2^64 - 1", text);
        return false;
    }
    *(uint64_t *)field = v;
    return true;
}

static bool parse_float(const struct option *option, const char *text, void *field, char *why,
                        size_t size)
{
    char *end;
    double v = strtod(text, &end);

    if (end == text || *end || isspace((unsigned char)*text) || !isfinite(v)) {
        snprintf(why, size, "'%s' is not a number", text);
        return false;
    }
    if (v < option->min || v > option->max)
        return out_of_range(option, text, why, size);
    *(float *)field = (float)v;
    return true;
}

/* Bytes: a number and a unit. KB, MB and GB are powers of 1000, with an i powers of 1024. */
static bool parse_bytes(const struct option *option, const char *text, void *field, char *why,
                        size_t size)
{
    static const struct { const char *unit; double bytes; } units[] = {
        {"", 1},     {"B", 1},          {"KB", 1e3},        {"MB", 1e6},      {"GB", 1e9},
        {"TB", 1e12}, {"KiB", 0x1p10},  {"MiB", 0x1p20},    {"GiB", 0x1p30},  {"TiB", 0x1p40},
    };
    char *end;
    double v = strtod(text, &end);

    (void)option;
    for (size_t i = 0; isdigit((unsigned char)*text) && i < COUNT(units); i++)
        if (!strcasecmp(end, units[i].unit) && v * units[i].bytes < 0x1p62) {
            *(uint64_t *)field = (uint64_t)(v * units[i].bytes);
            return true;
        }
    snprintf(why, size, "'%s' is no size such as 700MB or 3.5GiB", text);
    return false;
}

static bool parse_files(const struct option *option, const char *text, void *field, char *why,
                        size_t size)
{
    struct files *files = field;

    (void)option;
    if (files->count == MAX_FILES) {
        snprintf(why, size, "is given more than %d times", MAX_FILES);
        return false;
    }
    files->path[files->count++] = text;
    return true;
}

static void show_nothing(const void *field, char *out, size_t size)
{
    (void)field, (void)size;
    *out = 0;
}

static void show_int(const void *field, char *out, size_t size)
{
    snprintf(out, size, "%d", *(const int *)field);
}

static void show_u32(const void *field, char *out, size_t size)
{
    snprintf(out, size, "%" PRIu32, *(const uint32_t *)field);
}

static void show_u64(const void *field, char *out, size_t size)
{
    snprintf(out, size, "%" PRIu64, *(const uint64_t *)field);
}

static void show_i64(const void *field, char *out, size_t size)
{
    snprintf(out, size, "%" PRId64, *(const int64_t *)field);
}

static void show_float(const void *field, char *out, size_t size)
{
    snprintf(out, size, "%g", (double)*(const float *)field);
}

const struct option_kind kind_flag = {false, parse_flag, show_nothing};
const struct option_kind kind_string = {true, parse_string, show_nothing};
const struct option_kind kind_int = {true, parse_int, show_int};
const struct option_kind kind_u32 = {true, parse_u32, show_u32};
const struct option_kind kind_u64 = {true, parse_u64, show_u64};
const struct option_kind kind_i64 = {true, parse_i64, show_i64};
const struct option_kind kind_float = {true, parse_float, show_float};
const struct option_kind kind_files = {true, parse_files, show_nothing};
const struct option_kind kind_bytes = {true, parse_bytes, show_nothing};

/* ---- shared groups ----------------------------------------------------------------- */

static const struct option output_options[] = {
    {0, "json", NULL, "print the result as one line of JSON", &kind_flag, AT(json), 0, 0},
    {'q', "quiet", NULL, "no progress and no notes on stderr; warnings and errors stay",
     &kind_flag, AT(quiet), 0, 0},
    {'h', "help", NULL, "this text", &kind_flag, AT(help), 0, 0},
};

static const struct option compute_options[] = {
    {'t', "threads", "N", "threads to use; 0 = one a core; results do not depend on it",
     &kind_int, AT(threads), 0, 1024},
    {0, "cpu", "LEVEL", "use kernels up to LEVEL (scalar, avx2, avx512, avx512vbmi; on ARM "
     "scalar, neon, neondot); same results, slower",
     &kind_string, AT(cpu), 0, 0},
};

static const struct option context_options[] = {
    {0, "delta", "FILE", "run the model with this delta (gosset delta) applied", &kind_string,
     AT(delta), 0, 0},
    {'c', "ctx", "N", "positions of the context; 0 = as many as the model was trained with, "
     "at most 4096", &kind_u32, AT(ctx), 0, 1 << 30},
    {0, "batch", "N", "most tokens in a forward pass; 0 = 512", &kind_u32, AT(batch), 0, 65536},
    LOAD_OPTIONS,
    {0, "kv-f32", NULL, "keep the KV cache in f32 instead of f16", &kind_flag, AT(kv_f32), 0, 0},
    {0, "exact", NULL, "multiply in f32 instead of integers: slower", &kind_flag,
     AT(exact), 0, 0},
};

static const struct option sampling_options[] = {
    {'n', "n-predict", "N", "generate at most N tokens; -1 = until the text or the context ends",
     &kind_i64, AT(n_predict), -1, INT32_MAX},
    {0, "temp", "T", "temperature; 0 = always the most likely token", &kind_float,
     AT(sampling.temp), 0, 100},
    {0, "top-k", "K", "draw from the K most likely tokens; 0 = off", &kind_int,
     AT(sampling.top_k), 0, INT32_MAX},
    {0, "top-p", "P", "draw from the smallest set with probability P; 1 = off", &kind_float,
     AT(sampling.top_p), 0, 1},
    {0, "min-p", "P", "drop tokens less likely than P times the likeliest; 0 = off", &kind_float,
     AT(sampling.min_p), 0, 1},
    {0, "repeat-penalty", "R", "penalty on recent tokens; 1 = off", &kind_float,
     AT(sampling.repeat_penalty), 0.01, 100},
    {0, "repeat-last-n", "N", "how many tokens are recent", &kind_int,
     AT(sampling.repeat_last_n), 0, 65536},
    {0, "seed", "N", "seed of the random numbers", &kind_u64, AT(sampling.seed), 0, 0},
};

const struct option_group group_output = {"Output", output_options, COUNT(output_options)};
const struct option_group group_compute = {"Computing", compute_options, COUNT(compute_options)};
const struct option_group group_context = {"Context", context_options, COUNT(context_options)};
const struct option_group group_sampling = {"Sampling", sampling_options,
                                            COUNT(sampling_options)};

void settings_default(struct settings *settings)
{
    *settings = (struct settings){.n_predict = -1, .sampling = GS_SAMPLING_DEFAULT,
                                  .lr = 1e-3f, .least_lr = -1, .decay = 0.1f, .beta1 = 0.9f,
                                  .beta2 = 0.95f, .clip = 1};
}

/* ---- looking up ---------------------------------------------------------------------- */

int edit_distance(const char *a, const char *b, int limit)
{
    enum { LONGEST = 31 };
    int row[3][LONGEST + 1];
    int n = (int)strlen(a), m = (int)strlen(b);

    if (n > LONGEST || m > LONGEST)
        return limit;
    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3], *above = row[(i + 2) % 3], *above2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                above2[j - 2] + 1 < best)
                best = above2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m] < limit ? row[n % 3][m] : limit;
}

static const struct option *find_letter(const struct command *command, char letter)
{
    for (int g = 0; g < MAX_GROUPS && command->groups[g]; g++)
        for (size_t i = 0; i < command->groups[g]->count; i++)
            if (command->groups[g]->options[i].letter == letter)
                return &command->groups[g]->options[i];
    return NULL;
}

/* The option of n letters, or NULL and then the closest one in *near (NULL if none is). */
static const struct option *find_name(const struct command *command, const char *name, size_t n,
                                      const struct option **near)
{
    char typed[32] = "";
    int nearest = 4;

    *near = NULL;
    if (n < sizeof typed)
        memcpy(typed, name, n);
    for (int g = 0; g < MAX_GROUPS && command->groups[g]; g++)
        for (size_t i = 0; i < command->groups[g]->count; i++) {
            const struct option *option = &command->groups[g]->options[i];
            if (strlen(option->name) == n && !memcmp(option->name, name, n))
                return option;
            int d = edit_distance(typed, option->name, nearest);
            if (*typed && d < nearest && (size_t)d * 2 <= n) {
                nearest = d;
                *near = option;
            }
        }
    return NULL;
}

int usage_error(const char *command, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "gosset%s%s: ", command ? " " : "", command ? command : "");
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nTry: gosset%s%s --help\n", command ? " " : "", command ? command : "");
    return EXIT_USAGE;
}

/* ---- parsing ---------------------------------------------------------------------------- */

static int set_option(const struct command *command, const struct option *option,
                      const char *text, struct settings *settings)
{
    char why[160];

    if (option->kind->parse(option, text, (char *)settings + option->offset, why, sizeof why))
        return EXIT_OK;
    return usage_error(command->name, "option --%s: %s", option->name, why);
}

/* "--name", "--name=value" or "--name value"; *i moves on when the value is the next word. */
static int parse_long(const struct command *command, int argc, char **argv, int *i,
                      struct settings *settings)
{
    const struct option *near;
    const char *name = argv[*i] + 2, *value = strchr(name, '=');
    size_t n = value ? (size_t)(value - name) : strlen(name);
    const struct option *option = find_name(command, name, n, &near);

    if (!option && near)
        return usage_error(command->name, "unknown option --%.*s; did you mean --%s?", (int)n,
                           name, near->name);
    if (!option)
        return usage_error(command->name, "unknown option --%.*s", (int)n, name);
    if (!option->kind->takes_value) {
        if (value)
            return usage_error(command->name, "option --%s takes no value", option->name);
        return set_option(command, option, NULL, settings);
    }
    if (value)
        return set_option(command, option, value + 1, settings);
    if (*i + 1 >= argc)
        return usage_error(command->name, "option --%s needs a value: %s", option->name,
                           option->value);
    return set_option(command, option, argv[++*i], settings);
}

/* "-q", "-n 5", "-n5", "-qn5" */
static int parse_short(const struct command *command, int argc, char **argv, int *i,
                       struct settings *settings)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct option *option = find_letter(command, *p);
        int rc;
        if (!option)
            return usage_error(command->name, "unknown option -%c", *p);
        if (option->kind->takes_value) {
            if (p[1])
                return set_option(command, option, p + 1, settings);
            if (*i + 1 >= argc)
                return usage_error(command->name, "option -%c needs a value: %s", *p,
                                   option->value);
            return set_option(command, option, argv[++*i], settings);
        }
        if ((rc = set_option(command, option, NULL, settings)))
            return rc;
    }
    return EXIT_OK;
}

int options_parse(const struct command *command, int argc, char **argv,
                  struct settings *settings)
{
    bool only_arguments = false;
    int rc = EXIT_OK;

    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_arguments && !strcmp(word, "--"))
            only_arguments = true;
        else if (!only_arguments && word[0] == '-' && word[1] == '-')
            rc = parse_long(command, argc, argv, &i, settings);
        else if (!only_arguments && word[0] == '-' && word[1])
            rc = parse_short(command, argc, argv, &i, settings);
        else if (settings->n_arguments == command->n_arguments + command->n_optional)
            return usage_error(command->name, "unexpected argument '%s'", word);
        else
            settings->argument[settings->n_arguments++] = word;
        if (rc)
            return rc;
        if (settings->help)
            return EXIT_OK;
    }
    if (settings->n_arguments < command->n_arguments)
        return usage_error(command->name, "missing argument: %s", command->arguments);
    return EXIT_OK;
}

/* ---- help ------------------------------------------------------------------------------- */

/* Words from `column` on, wrapped and indented to HELP_COLUMN. */
static void print_wrapped(const char *text, int column)
{
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column + 1 + n > HELP_WIDTH) {
            printf("\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            putchar(' ');
            column++;
        }
        printf("%.*s", n, text);
        column += n;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_option(const struct option *option, const struct settings *defaults)
{
    char left[64], value[40], text[256], letter[5] = "    ";

    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
    printf("%-*s", HELP_COLUMN, left);
    option->kind->show((const char *)defaults + option->offset, value, sizeof value);
    if (!strcmp(value, "0") && strstr(option->help, "0 = "))
        *value = 0; /* the text has said it */
    snprintf(text, sizeof text, *value ? "%s [%s]" : "%s", option->help, value);
    print_wrapped(text, HELP_COLUMN);
}

void options_help(const struct command *command)
{
    struct settings defaults;

    settings_default(&defaults);
    printf("gosset %s: %s\n\nUsage: gosset %s [OPTIONS]%s%s\n", command->name, command->summary,
           command->name, *command->arguments ? " " : "", command->arguments);
    if (*command->details)
        printf("\n%s", command->details);
    for (int g = 0; g < MAX_GROUPS && command->groups[g]; g++) {
        printf("\n%s\n", command->groups[g]->title);
        for (size_t i = 0; i < command->groups[g]->count; i++)
            print_option(&command->groups[g]->options[i], &defaults);
    }
    printf("\nExamples\n%s", command->examples);
}
