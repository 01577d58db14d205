/* SPDX-License-Identifier: MIT
 * Chat prompts by family. A family is one row: what its Jinja templates contain, and the
 * texts that stand around a message of each role. A prompt is then
 *
 *     before[role] content after[role]  …  generation
 *
 * The rows reproduce what the templates themselves render (tests/unit/test_chat.c has the
 * renderings); where a family has no system role, the system message goes into the user
 * message that its templates choose. */
#include "text/chat.h"

#include <string.h>

#include "core/alloc.h"
#include "core/log.h"

/* In the texts below: the model's BOS and EOS as text. A BOS at the very beginning is left
 * out, since the tokenizer adds it. */
#define BOS "\x01"
#define EOS "\x02"

enum role { SYSTEM, USER, ASSISTANT, N_ROLES };
static const char *const role_names[N_ROLES] = {"system", "user", "assistant"};

enum system_place {
    OWN_TURN,
    IN_FIRST_USER, /* of those that follow it */
    IN_LAST_USER
};

enum trim {
    NO_TRIM,
    TRIM,      /* white space around the content goes, for user and assistant */
    TRIM_ASSISTANT,
    TRIM_ALL,  /* and for system */
    TRIM_TURN  /* as TRIM, but what a system text stands before is trimmed at its end only */
};

struct family {
    const char *name;
    const char *contains[3], *lacks; /* recognises a template; NULL: no (more) conditions */
    const char *before[N_ROLES], *after[N_ROLES];
    const char *generation;
    enum system_place system;
    enum trim trim;
    const char *trim_if;  /* trim only where the template contains this */
    const char *preface;  /* of the system turn, which is then always there */
    bool default_system;  /* the template may hold a system message for chats without one */
};

#define ROLE_TAGS(open, close) {open "system" close, open "user" close, open "assistant" close}
#define SAME(text) {text, text, text}
#define LLAMA2(name, bos, ...) \
    {name, {"[INST]", __VA_ARGS__}, NULL, {"<<SYS>>\n", bos "[INST] ", " "}, \
     {"\n<</SYS>>\n\n", " [/INST]", " " EOS}, "", IN_FIRST_USER, TRIM_TURN, ".strip()", NULL, \
     false}
#define LLAMA3(name, preface, ...) \
    {name, {"<|start_header_id|>", __VA_ARGS__}, NULL, \
     ROLE_TAGS("<|start_header_id|>", "<|end_header_id|>\n\n"), SAME("<|eot_id|>"), \
     "<|start_header_id|>assistant<|end_header_id|>\n\n", OWN_TURN, TRIM_ALL, NULL, preface, \
     false}
#define ZEPHYR(end, ...) \
    {"zephyr", {"<|user|>", __VA_ARGS__}, "if not loop.last", ROLE_TAGS("<|", "|>\n"), \
     SAME(end "\n"), "<|assistant|>\n", OWN_TURN, NO_TRIM, NULL, NULL, false}

/* The first that fits; the special before the general. */
static const struct family families[] = {
    {"chatml", {"<|im_start|>"}, "<|im_sep|>", ROLE_TAGS("<|im_start|>", "\n"),
     SAME("<|im_end|>\n"), "<|im_start|>assistant\n", OWN_TURN, NO_TRIM, NULL, NULL, true},
    {"mistral-v7", {"[INST]", "[SYSTEM_PROMPT] "}, NULL, {"[SYSTEM_PROMPT] ", "[INST] ", " "},
     {"[/SYSTEM_PROMPT]", "[/INST]", EOS}, "", OWN_TURN, NO_TRIM, NULL, NULL, false},
    {"mistral-v7-tekken", {"[INST]", "[SYSTEM_PROMPT]"}, NULL,
     {"[SYSTEM_PROMPT]", "[INST]", ""}, {"[/SYSTEM_PROMPT]", "[/INST]", EOS}, "", OWN_TURN,
     NO_TRIM, NULL, NULL, false},
    {"mistral-v1", {"' [INST] ' + system_message"}, NULL, {"", " [INST] ", " "},
     {"\n\n", " [/INST]", EOS}, "", IN_FIRST_USER, NO_TRIM, NULL, NULL, false},
    {"mistral-v3-tekken", {"[AVAILABLE_TOOLS]", "\"[INST]\""}, NULL, {"", "[INST]", ""},
     {"\n\n", "[/INST]", EOS}, "", IN_LAST_USER, NO_TRIM, NULL, NULL, false},
    {"mistral-v3", {"[INST]", "[AVAILABLE_TOOLS]"}, NULL, {"", "[INST] ", " "},
     {"\n\n", "[/INST]", EOS}, "", IN_LAST_USER, TRIM_ASSISTANT,
     "|trim + eos_token", NULL, false},
    LLAMA2("llama-2", BOS, "<<SYS>>", "bos_token + '[INST]"),
    LLAMA2("llama-2", "", "<<SYS>>"),
    {"mistral-v0.1", {"[INST]", "eos_token + ' '"}, NULL, {"", "[INST] ", ""},
     {"\n\n", " [/INST]", EOS " "}, "", IN_FIRST_USER, NO_TRIM, NULL, NULL, false},
    {"mistral-v0.1", {"[INST]"}, NULL, {"", "[INST] ", ""}, {"\n\n", " [/INST]", EOS}, "",
     IN_FIRST_USER, NO_TRIM, NULL, NULL, false},
    {"phi-4-mini", {"'|>' + message['content'] + '<|end|>'"}, NULL, ROLE_TAGS("<|", "|>"),
     SAME("<|end|>"), "<|assistant|>", OWN_TURN, NO_TRIM, NULL, NULL, false},
    {"phi-3", {"<|assistant|>", "<|end|>"}, NULL, ROLE_TAGS("<|", "|>\n"), SAME("<|end|>\n"),
     "<|assistant|>\n", OWN_TURN, NO_TRIM, NULL, NULL, false},
    ZEPHYR("<|endoftext|>", "<|endoftext|>"),
    ZEPHYR(EOS, "message['content'] + eos_token"),
    {"gemma", {"<start_of_turn>"}, NULL,
     {"", "<start_of_turn>user\n", "<start_of_turn>model\n"},
     {"\n\n", "<end_of_turn>\n", "<end_of_turn>\n"}, "<start_of_turn>model\n", IN_FIRST_USER,
     TRIM, NULL, NULL, false},
    /* The date is the one that the templates fall back on: a prompt must not depend on when
     * it was made. */
    LLAMA3("llama-3.1", "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n",
           "Cutting Knowledge Date: December 2023"),
    LLAMA3("llama-3", NULL, "<|end_header_id|>"),
};

/* ---- recognising -------------------------------------------------------------------------- */

/* Where `word` begins in s, or NULL. */
static const char *find(struct gs_str s, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= s.size; i++) {
        const char *at = memchr(s.data + i, word[0], s.size - n + 1 - i);
        if (!at)
            return NULL;
        if (!memcmp(at, word, n))
            return at;
        i = (size_t)(at - s.data);
    }
    return NULL;
}

static bool fits(const struct family *f, struct gs_str chat_template)
{
    for (size_t i = 0; i < GS_COUNT(f->contains) && f->contains[i]; i++)
        if (!find(chat_template, f->contains[i]))
            return false;
    return !f->lacks || !find(chat_template, f->lacks);
}

static const struct family *recognise(struct gs_str chat_template)
{
    for (size_t i = 0; i < GS_COUNT(families); i++)
        if (fits(&families[i], chat_template))
            return &families[i];
    return NULL;
}

const char *gs_chat_family(struct gs_str chat_template)
{
    const struct family *f = recognise(chat_template);
    return f ? f->name : NULL;
}

/* ---- rendering ---------------------------------------------------------------------------- */

/* A growing text; after a failed allocation it stays as it is and `failed` is set. */
struct text {
    char *data;
    size_t n, room;
    bool failed;
};

struct render {
    const struct family *family;
    bool trim;
    struct gs_str chat_template, bos, eos;
    struct text out;
};

static void put(struct text *t, const char *s, size_t n)
{
    if (t->failed || n >= SIZE_MAX / 4 - t->n) {
        t->failed = true;
        return;
    }
    if (t->n + n + 1 > t->room) {
        size_t room = 2 * (t->n + n) + 64;
        char *grown = gs_realloc(t->data, t->room, room);
        if (!grown) {
            t->failed = true;
            return;
        }
        t->data = grown;
        t->room = room;
    }
    memcpy(t->data + t->n, s, n);
    t->n += n;
}

/* One of a family's texts, with BOS and EOS filled in. */
static void put_mark(struct render *r, const char *mark)
{
    for (; *mark; mark++) {
        struct gs_str s = {mark, 1};
        if (*mark == BOS[0])
            s = r->out.n ? r->bos : (struct gs_str){"", 0};
        else if (*mark == EOS[0])
            s = r->eos;
        put(&r->out, s.data, s.size);
    }
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void put_content(struct render *r, const char *s, bool trim_start, bool trim_end)
{
    size_t n = strlen(s);

    for (; trim_start && n > 0 && is_space(*s); n--)
        s++;
    while (trim_end && n > 0 && is_space(s[n - 1]))
        n--;
    put(&r->out, s, n);
}

/* A whole turn. `system`, not NULL, is put in front of the content. */
static void put_turn(struct render *r, enum role role, const char *content, const char *system)
{
    const struct family *f = r->family;
    bool trim = r->trim && (role == ASSISTANT || f->trim == TRIM_ALL ||
                            (role == USER && f->trim != TRIM_ASSISTANT));

    put_mark(r, f->before[role]);
    if (role == SYSTEM && f->preface)
        put_mark(r, f->preface);
    if (system) {
        put_mark(r, f->before[SYSTEM]);
        put(&r->out, system, strlen(system));
        put_mark(r, f->after[SYSTEM]);
    }
    put_content(r, content, trim && !(system && f->trim == TRIM_TURN), trim);
    put_mark(r, f->after[role]);
}

/* "<|im_start|>system\nYou are …<|im_end|>" in a string of the template, for chats that have
 * no system message. Both a line feed and its escape "\n" occur. */
static void put_default_system(struct render *r)
{
    static const char start[] = "<|im_start|>system", end[] = "<|im_end|>";
    struct gs_str s = r->chat_template;
    const char *at;

    while ((at = find(s, start))) {
        s.size -= (size_t)(at - s.data) + sizeof start - 1;
        s.data = at + sizeof start - 1;
        size_t line = s.size >= 2 && !memcmp(s.data, "\\n", 2) ? 2 : s.size && *s.data == '\n';
        const char *stop = find(s, end);
        if (!line || !stop)
            continue;
        struct gs_str text = {s.data + line, (size_t)(stop - s.data) - line};
        /* A quote or brace would mean that code stands between. */
        if (!text.size || memchr(text.data, '\'', text.size) ||
            memchr(text.data, '"', text.size) || memchr(text.data, '{', text.size))
            continue;
        put_mark(r, r->family->before[SYSTEM]);
        for (size_t i = 0; i < text.size; i++) {
            bool escape = text.data[i] == '\\' && i + 1 < text.size && text.data[i + 1] == 'n';
            put(&r->out, escape ? "\n" : text.data + i, 1);
            i += escape;
        }
        put_mark(r, r->family->after[SYSTEM]);
        return;
    }
}

static int role_of(const struct gs_chat_message *m, size_t index, enum role *role,
                   struct gs_err *err)
{
    for (int i = 0; i < N_ROLES; i++) {
        if (m->role && !strcmp(m->role, role_names[i])) {
            *role = (enum role)i;
            return GS_OK;
        }
    }
    return gs_fail(err, GS_E_ARG, "message %zu: the role must be system, user or assistant, "
                   "not \"%.32s\"", index, m->role ? m->role : "");
}

/* A system message waiting for its user message. Two in a row become one text. */
static void hold_back(struct text *held, const char *content)
{
    if (held->n)
        put(held, "\n\n", 2);
    put(held, content, strlen(content) + 1); /* its NUL is kept, but not counted */
    held->n -= !held->failed;
}

/* Whether message i, a user's, is where a held system text belongs. */
static bool takes_system(const struct family *f, const struct gs_chat_message *messages,
                         size_t n, size_t i)
{
    if (f->system != IN_LAST_USER)
        return true;
    for (size_t k = i + 1; k < n; k++)
        if (messages[k].role && !strcmp(messages[k].role, role_names[USER]))
            return false;
    return true;
}

static int render(struct render *r, const struct gs_chat_message *messages, size_t n,
                  struct gs_err *err)
{
    const struct family *f = r->family;
    struct text held = {0};
    int rc = GS_OK;

    for (size_t i = 0; i < n && rc == GS_OK; i++) {
        const char *content = messages[i].content ? messages[i].content : "";
        enum role role = USER;
        rc = role_of(&messages[i], i, &role, err);
        if (rc < 0)
            break;
        if (i == 0 && role != SYSTEM && f->preface)
            put_turn(r, SYSTEM, "", NULL);
        if (i == 0 && role != SYSTEM && f->default_system)
            put_default_system(r);
        if (role == SYSTEM && f->system != OWN_TURN) {
            hold_back(&held, content);
            continue;
        }
        bool system = role == USER && held.n && takes_system(f, messages, n, i);
        put_turn(r, role, content, system ? held.data : NULL);
        if (system)
            held.n = 0;
    }
    if (rc == GS_OK && held.n) /* no user message came: the text must not be lost */
        put_turn(r, USER, "", held.data);
    if (held.failed)
        r->out.failed = true;
    gs_free(&held.data);
    return rc;
}

/* ---- the model's part --------------------------------------------------------------------- */

/* The text of a token that the metadata names by id, or `preset`. */
static struct gs_str token_text(const struct gs_meta *meta, const char *key, const char *preset)
{
    struct gs_str s = {preset, strlen(preset)};
    struct gs_array tokens;
    uint64_t id;

    if (gs_meta_get_uint(meta, key, &id, NULL) > 0 &&
        gs_meta_get_array(meta, "tokenizer.ggml.tokens", GS_VALUE_STRING, &tokens, NULL) > 0 &&
        id < tokens.count)
        s = gs_array_str(&tokens, id);
    return s;
}

static int choose(struct render *r, const struct gs_meta *meta, struct gs_err *err)
{
    int rc = gs_meta_get_str(meta, "tokenizer.chat_template", &r->chat_template, err);

    if (rc < 0)
        return rc;
    r->family = recognise(r->chat_template);
    if (!r->family) {
        r->family = &families[0];
        gs_log(GS_LOG_WARN, "the model's chat template is %s: using ChatML",
               rc ? "not one that is known" : "missing");
    }
    const char *trim_if = r->family->trim_if;
    r->trim = r->family->trim != NO_TRIM && (!trim_if || find(r->chat_template, trim_if));
    r->bos = token_text(meta, "tokenizer.ggml.bos_token_id", "<s>");
    r->eos = token_text(meta, "tokenizer.ggml.eos_token_id", "</s>");
    return GS_OK;
}

int gs_chat_render(const struct gs_meta *meta, const struct gs_chat_message *messages,
                   size_t n_messages, bool add_generation_prompt, char **text,
                   struct gs_err *err)
{
    struct render r = {.chat_template = {"", 0}};
    int rc = choose(&r, meta, err);

    *text = NULL;
    if (rc == GS_OK)
        rc = render(&r, messages, n_messages, err);
    if (rc == GS_OK && add_generation_prompt)
        put_mark(&r, r.family->generation);
    put(&r.out, "", 1);
    if (rc == GS_OK && r.out.failed)
        rc = gs_fail_nomem(err, "chat prompt");
    if (rc < 0)
        gs_free(&r.out.data);
    *text = r.out.data;
    return rc;
}
