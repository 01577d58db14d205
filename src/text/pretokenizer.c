/* SPDX-License-Identifier: MIT
 * The patterns are those of the models' tokenizer.json files, which the `tokenizers`
 * library runs with Oniguruma. Two things are spelled out for PCRE2: SPACE is Unicode's
 * White_Space (PCRE2's \s has U+180E besides), and every gap between matches is a piece of
 * its own anyway, so that a final "|\s+" is only needed where it is not the whole gap. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretokenizer.h"

#include <pcre2.h>
#include <string.h>

#include "core/alloc.h"

#define SPACES "\\p{Z}\\x09-\\x0d\\x85" /* inside a class */
#define SPACE "[" SPACES "]"
#define NO_SPACE "[^" SPACES "]"
#define CLITICS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "|" SPACE "*[\\r\\n]+|" SPACE "+(?!" NO_SPACE ")|" SPACE "+"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+|" \
             SPACE "+(?!" NO_SPACE ")|" SPACE "+"
/* The family of cl100k: words keep one leading non-letter, digits come in groups. */
#define CL100K(digits) CLITICS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
                       "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n]*" TAIL
/* The family of o200k: words also break before a capital. */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define O200K(clitics, digits) LEAD UPPER "*" LOWER "+" clitics "|" LEAD UPPER "+" LOWER "*" \
                               clitics "|" digits "| ?[^" SPACES "\\p{L}\\p{N}]+[\\r\\n/]*" TAIL
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" \
                  "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL
#define BLOOM " ?[^()" SPACES "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c}]+"

static const struct gs_pretokenizer families[] = {
    {"default", {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false, false},
    {"gpt-2 phi-2 mpt jais exaone4 trillion granite-docling jina-es jina-de jina-v2-es "
     "jina-v2-de gigachat a.x-4.0 mellum modern-bert", {GPT2}, false, false, false},
    {"olmo gpt-neox", {GPT2}, false, false, true},
    {"llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2",
     {CL100K("\\p{N}{1,3}")}, true, true, false},
    {"dbrx smaug-bpe glm4 chatglm-bpe", {CL100K("\\p{N}{1,3}")}, false, false, false},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez", {CL100K("\\p{N}")}, false, false, true},
    {"stablelm2 hunyuan solar-open grok-2", {CL100K("\\p{N}")}, false, false, false},
    {"qwen35", {CLITICS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" SPACES
                "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL}, false, false, true},
    {"smollm starcoder refact codeshell exaone minerva-7b mellum2", {"\\p{N}", GPT2},
     false, false, false},
    {"command-r", {"\\p{N}", GPT2}, false, false, true},
    {"tekken", {O200K("", "\\p{N}")}, true, true, false},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", {O200K(CLITICS "?", "\\p{N}{1,3}")},
     false, false, false},
    {"falcon", {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false, false},
    {"deepseek-coder", {"[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+",
                        "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+",
                        "\\p{N}"}, false, false, false},
    {"deepseek-v3 hunyuan-dense joyai-llm",
     {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+", DEEPSEEK3},
     false, false, false},
    {"bloom poro-chat gpt3-finnish", {BLOOM}, false, false, false},
    {"viking", {BLOOM, "\\p{N}"}, false, false, false},
};

const struct gs_pretokenizer *gs_pretokenizer_at(size_t index)
{
    return index < GS_COUNT(families) ? &families[index] : NULL;
}

/* Whether `names`, separated by spaces, hold the name. */
static bool lists(const char *names, const char *name, size_t n)
{
    while (*names) {
        size_t len = strcspn(names, " ");
        if (len == n && !memcmp(names, name, n))
            return true;
        names += len + (names[len] == ' ');
    }
    return false;
}

const struct gs_pretokenizer *gs_pretokenizer_find(const char *name, size_t n)
{
    for (size_t i = 0; i < GS_COUNT(families); i++)
        if (lists(families[i].names, name, n))
            return &families[i];
    return NULL;
}

struct gs_splitter {
    pcre2_general_context *general;
    pcre2_code *codes[GS_MAX_SPLITS];
    size_t n;
};

static void *pcre_alloc(size_t n, void *ctx)
{
    (void)ctx;
    return gs_alloc(n, 1);
}

static void pcre_free(void *p, void *ctx)
{
    (void)ctx;
    gs_free(&p);
}

static int compile(struct gs_splitter *s, const char *pattern, struct gs_err *err)
{
    pcre2_compile_context *ctx = pcre2_compile_context_create(s->general);
    size_t at;
    int code;

    if (!ctx)
        return gs_fail_nomem(err, "pre-tokenizer");
    s->codes[s->n] = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &code, &at, ctx);
    pcre2_compile_context_free(ctx);
    if (!s->codes[s->n])
        return code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED
            ? gs_fail_nomem(err, "pre-tokenizer")
            : gs_fail(err, GS_E_UNSUPPORTED, "this PCRE2 library (error %d) cannot compile the "
                      "pre-tokenizer pattern %s", code, pattern);
    /* Where there is no JIT the interpreter serves, more slowly. */
    pcre2_jit_compile(s->codes[s->n], PCRE2_JIT_COMPLETE);
    s->n++;
    return GS_OK;
}

int gs_splitter_create(const struct gs_pretokenizer *family, struct gs_splitter **out,
                       struct gs_err *err)
{
    struct gs_splitter *s = gs_alloc(1, sizeof *s);
    int rc = GS_OK;

    *out = NULL;
    if (!s)
        return gs_fail_nomem(err, "pre-tokenizer");
    s->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    if (!s->general)
        rc = gs_fail_nomem(err, "pre-tokenizer");
    for (size_t i = 0; i < GS_MAX_SPLITS && family->patterns[i] && rc == GS_OK; i++)
        rc = compile(s, family->patterns[i], err);
    if (rc < 0)
        gs_splitter_destroy(&s);
    *out = s;
    return rc;
}

void gs_splitter_destroy(struct gs_splitter **splitter)
{
    struct gs_splitter *s = *splitter;

    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        pcre2_code_free(s->codes[i]);
    pcre2_general_context_free(s->general);
    gs_free(splitter);
}

/* One call of gs_splitter_run. */
struct run {
    const struct gs_splitter *s;
    pcre2_match_data *match;
    pcre2_match_context *context;
    gs_word_fn word;
    void *ctx;
    struct gs_err *err;
};

/* Bytes of the character at s: skips one where a pattern matched nothing. */
static size_t char_bytes(const char *s, size_t n)
{
    size_t len = 1;
    while (len < n && ((uint8_t)s[len] & 0xc0) == 0x80)
        len++;
    return len;
}

/* Cuts the piece with patterns level, level + 1 … Each is a separate text to the pattern:
 * looking ahead ends at the end of the piece. */
static int split(struct run *r, size_t level, const char *piece, size_t n)
{
    size_t at = 0, from = 0;

    if (level == r->s->n)
        return r->word(r->ctx, piece, n);
    while (from < n) {
        int found = pcre2_match(r->s->codes[level], (PCRE2_SPTR)piece, n, from,
                                PCRE2_NO_UTF_CHECK, r->match, r->context);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0)
            return found == PCRE2_ERROR_NOMEMORY || found == PCRE2_ERROR_HEAPLIMIT
                ? gs_fail_nomem(r->err, "pre-tokenizer")
                : gs_fail_at(r->err, GS_E_UNSUPPORTED, from, "the text cannot be split into "
                             "words: PCRE2 error %d at byte %zu", found, from);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(r->match);
        size_t start = span[0], end = span[1];
        if (end == start) {
            from = end < n ? end + char_bytes(piece + end, n - end) : n;
            continue;
        }
        int rc = start > at ? split(r, level + 1, piece + at, start - at) : GS_OK;
        if (rc >= 0) { /* the ovector is overwritten below: start and end are copies */
            rc = split(r, level + 1, piece + start, end - start);
            at = from = end;
        }
        if (rc < 0)
            return rc;
    }
    return at < n ? split(r, level + 1, piece + at, n - at) : GS_OK;
}

int gs_splitter_run(const struct gs_splitter *s, const char *text, size_t n, gs_word_fn word,
                    void *ctx, struct gs_err *err)
{
    struct run r = {.s = s, .word = word, .ctx = ctx, .err = err};
    uint32_t limit = (uint32_t)GS_MIN(10000000 + 16 * (uint64_t)n, UINT32_MAX);
    int rc;

    /* Every pattern of the list backtracks at most over one run of characters, so a linear
     * limit is never met; it is there so that no text can make a match take forever. */
    r.match = pcre2_match_data_create(1, s->general);
    r.context = pcre2_match_context_create(s->general);
    if (!r.match || !r.context) {
        rc = gs_fail_nomem(err, "pre-tokenizer");
        goto out;
    }
    pcre2_set_match_limit(r.context, limit);
    rc = split(&r, 0, text, n);
out:
    pcre2_match_context_free(r.context);
    pcre2_match_data_free(r.match);
    return rc;
}
