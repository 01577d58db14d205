/* SPDX-License-Identifier: MIT
 * Which family of pretokenizer.c a tokenizer.json means. The stock converter tokenizes a test
 * text and looks its hash up in a list of known models; we read what the file says. Its
 * pre_tokenizer is flattened into one line a step,
 *
 *     Digits 1            single digits
 *     Split REGEX         isolate the matches
 *     ByteLevel           GPT-2's pattern
 *
 * and compared with the rows below. */
#include <string.h>

#include "core/alloc.h"
#include "core/log.h"
#include "text/hf.h"

#define MAX_DEPTH 8       /* of Sequences in Sequences */
#define STEPS_BYTES 4096  /* longer than any row */

/* Regexes as the models' files write them. */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CLITICS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define CL100K(digits) CLITICS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits \
                       "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define O200K(clitics, digits) LEAD UPPER "*" LOWER "+" clitics "|" LEAD UPPER "+" LOWER "*" \
                               clitics "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL
#define QWEN35 CLITICS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}" \
               "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" TAIL
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|" \
                  "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|" \
                  "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
#define HAN_KANA "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+"
#define HAN_HANGUL "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+"

/* The first row that fits; nfc and ignore_merges are asked only where they differ. */
static const struct {
    const char *steps, *pre;
    int nfc, ignore_merges; /* 0, 1 or -1: either */
} known[] = {
    {"ByteLevel\n", "olmo", 1, -1},
    {"ByteLevel\n", "gpt-2", 0, -1},
    {"Split " GPT2 "\n", "olmo", 1, -1},
    {"Split " GPT2 "\n", "gpt-2", 0, -1},
    {"Digits 1\nByteLevel\n", "command-r", 1, -1},
    {"Digits 1\nByteLevel\n", "smollm", 0, -1},
    {"Split " CL100K("\\p{N}{1,3}") "\n", "llama-bpe", -1, 1},
    {"Split " CL100K("\\p{N}{1,3}") "\n", "smaug-bpe", -1, 0},
    {"Split " CL100K("\\p{N}") "\n", "qwen2", 1, -1},
    {"Split " CL100K("\\p{N}") "\n", "stablelm2", 0, -1},
    {"Split " QWEN35 "\n", "qwen35", -1, -1},
    {"Split " O200K("", "\\p{N}") "\n", "tekken", -1, -1},
    {"Split " O200K(CLITICS "?", "\\p{N}{1,3}") "\n", "gpt-4o", -1, -1},
    {"Punctuation\nByteLevel\nDigits 0\nSplit [0-9][0-9][0-9]\n", "falcon", -1, -1},
    {"Split [\r\n]\nSplit \\s?\\p{L}+\nSplit \\s?\\p{P}+\nSplit " HAN_HANGUL "\nDigits 1\n",
     "deepseek-coder", -1, -1},
    {"Split \\p{N}{1,3}\nSplit " HAN_KANA "\nSplit " DEEPSEEK3 "\n", "deepseek-v3", -1, -1},
};

/* Where no row fits: what the steps contain, most telling first. */
static const struct {
    const char *part, *pre;
} similar[] = {
    {"\\p{Lu}", "gpt-4o"},         {"\\p{N}{1,3}", "llama-bpe"}, {"[^\\r\\n\\p{L}", "qwen2"},
    {"Digits 1\nByteLevel", "smollm"}, {"ByteLevel", "gpt-2"},
};

/* A growing text of fixed room; what does not fit is left out (no row is that long). */
struct steps {
    char text[STEPS_BYTES];
    size_t n;
};

static void put(struct steps *s, const char *text)
{
    size_t n = strlen(text);

    if (n >= STEPS_BYTES - s->n)
        return;
    memcpy(s->text + s->n, text, n + 1);
    s->n += n;
}

const char *gs_hf_type(const json_t *component)
{
    const char *type = json_string_value(json_object_get(component, "type"));
    return type ? type : "";
}

static bool flag(const json_t *component, const char *key, bool preset)
{
    const json_t *v = json_object_get(component, key);
    return json_is_boolean(v) ? json_is_true(v) : preset;
}

static void flatten(const json_t *component, struct steps *s, int depth)
{
    const char *type = gs_hf_type(component);

    if (!strcmp(type, "Sequence") && depth < MAX_DEPTH) {
        const json_t *list = json_object_get(component, "pretokenizers");
        for (size_t i = 0; i < json_array_size(list); i++)
            flatten(json_array_get(list, i), s, depth + 1);
    } else if (!strcmp(type, "Split")) {
        const json_t *pattern = json_object_get(component, "pattern");
        const char *regex = json_string_value(json_object_get(pattern, "Regex"));
        put(s, "Split ");
        put(s, regex ? regex : "a string");
        put(s, "\n");
    } else if (!strcmp(type, "Digits")) {
        put(s, flag(component, "individual_digits", false) ? "Digits 1\n" : "Digits 0\n");
    } else if (!strcmp(type, "ByteLevel")) {
        if (flag(component, "use_regex", true))
            put(s, "ByteLevel\n");
    } else if (*type) {
        put(s, type);
        put(s, "\n");
    }
}

/* Whether a component of that type is in the tree of Sequences (`list` names their member). */
static const json_t *find_type(const json_t *component, const char *type, const char *list,
                               int depth)
{
    if (!strcmp(gs_hf_type(component), type))
        return component;
    const json_t *members = depth < MAX_DEPTH ? json_object_get(component, list) : NULL;
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *found = find_type(json_array_get(members, i), type, list, depth + 1);
        if (found)
            return found;
    }
    return NULL;
}

bool gs_hf_is_byte_level(const json_t *root)
{
    return find_type(json_object_get(root, "pre_tokenizer"), "ByteLevel", "pretokenizers", 0) ||
           find_type(json_object_get(root, "decoder"), "ByteLevel", "decoders", 0);
}

static const char *choose(const struct gs_hf *hf, const struct steps *s)
{
    const json_t *normalizer = json_object_get(hf->root, "normalizer");
    bool nfc = find_type(normalizer, "NFC", "normalizers", 0) != NULL;
    bool ignore = flag(hf->model, "ignore_merges", false);

    for (size_t i = 0; i < GS_COUNT(known); i++)
        if (!strcmp(s->text, known[i].steps) && (known[i].nfc < 0 || known[i].nfc == nfc) &&
            (known[i].ignore_merges < 0 || known[i].ignore_merges == ignore))
            return known[i].pre;
    const char *pre = "default";
    for (size_t i = GS_COUNT(similar); i-- > 0;)
        if (strstr(s->text, similar[i].part))
            pre = similar[i].pre;
    gs_log(GS_LOG_WARN, "%s: pre_tokenizer: not one that is known: using '%s', quality may be "
           "degraded", hf->in->path, pre);
    return pre;
}

/* A space before the first word: by the old normalizer (Prepend) or by Metaspace. */
static bool has_space_prefix(const struct gs_hf *hf)
{
    const json_t *normalizer = json_object_get(hf->root, "normalizer");
    const json_t *metaspace = find_type(json_object_get(hf->root, "pre_tokenizer"), "Metaspace",
                                        "pretokenizers", 0);
    const char *scheme = json_string_value(json_object_get(metaspace, "prepend_scheme"));

    if (find_type(normalizer, "Prepend", "normalizers", 0))
        return true;
    if (!metaspace)
        return false;
    return scheme ? strcmp(scheme, "never") != 0 : flag(metaspace, "add_prefix_space", true);
}

int gs_hf_pretokenizer(const struct gs_hf *hf, struct gs_err *err)
{
    const char *pre = "default";
    int rc = GS_OK;

    if (hf->sentencepiece) {
        rc = gs_meta_set_bool(hf->meta, "tokenizer.ggml.add_space_prefix",
                              has_space_prefix(hf), err);
    } else {
        struct steps *s = gs_alloc(1, sizeof *s);
        if (!s)
            return gs_fail_nomem(err, "pre-tokenizer");
        flatten(json_object_get(hf->root, "pre_tokenizer"), s, 0);
        pre = choose(hf, s);
        gs_free(&s);
    }
    if (rc < 0)
        return rc;
    return gs_meta_set_str(hf->meta, "tokenizer.ggml.pre", (struct gs_str){pre, strlen(pre)},
                           err);
}
