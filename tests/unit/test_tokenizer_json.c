/* SPDX-License-Identifier: MIT
 * tokenizer.json to GGUF's vocabulary: each kind of model, the keys that come of it, and
 * every malformed file with its message. */
#include "tests/unit/vocab_fixture.h"

#include "core/json.h"
#include "text/tokenizer_json.h"

/* JSON with ' for ", for readability. */
static const char *quoted(const char *json)
{
    static char text[8192];
    size_t n = strlen(json);

    assert_true(n < sizeof text);
    for (size_t i = 0; i <= n; i++)
        text[i] = json[i] == '\'' ? '"' : json[i];
    return text;
}

static json_t *parsed(const char *json)
{
    json_t *v = NULL;

    if (!json)
        return NULL;
    const char *text = quoted(json);
    assert_int_equal(gs_json_parse(text, strlen(text), "test", &v, NULL), 0);
    return v;
}

/* The other files of the folder, as JSON; NULL where there is none. */
struct folder {
    const char *config, *generation, *model, *chat_template;
    uint64_t n_vocab;
};

static int translate(const char *json, const struct folder *f, struct gs_meta **meta,
                     struct gs_err *err)
{
    static const struct folder none;
    json_t *config, *generation, *model;

    f = f ? f : &none;
    config = parsed(f->config);
    generation = parsed(f->generation);
    model = parsed(f->model);
    const char *text = quoted(json);
    struct gs_hf_tokenizer in = {.text = text, .n = strlen(text), .path = "t.json",
                                 .config = config, .generation = generation, .model = model,
                                 .chat_template = f->chat_template, .n_vocab = f->n_vocab};
    assert_int_equal(gs_meta_create(meta, NULL), 0);
    int rc = gs_tokenizer_json_to_meta(&in, *meta, err);
    json_decref(config);
    json_decref(generation);
    json_decref(model);
    return rc;
}

static struct gs_meta *translated(const char *json, const struct folder *f)
{
    struct gs_meta *m = NULL;
    struct gs_err err = {0};

    if (translate(json, f, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static const char *str_of(const struct gs_meta *m, const char *key)
{
    static char text[600];
    struct gs_str s = {0};

    if (gs_meta_get_str(m, key, &s, NULL) != 1)
        return NULL;
    snprintf(text, sizeof text, "%.*s", (int)s.size, s.data);
    return text;
}

static int64_t uint_of(const struct gs_meta *m, const char *key)
{
    uint64_t u;
    return gs_meta_get_uint(m, key, &u, NULL) == 1 ? (int64_t)u : -1;
}

/* 1, 0, or -1 if absent. */
static int bool_of(const struct gs_meta *m, const char *key)
{
    bool b;
    return gs_meta_get_bool(m, key, &b, NULL) == 1 ? b : -1;
}

static int type_of(const struct gs_meta *m, uint64_t id)
{
    struct gs_array a;
    assert_int_equal(gs_meta_get_array(m, "tokenizer.ggml.token_type", GS_VALUE_I64, &a, NULL), 1);
    return (int)gs_array_int(&a, id);
}

#define BPE_MODEL "'model':{'type':'BPE','vocab':{'a':0,'b':1,'\xc4\xa0':2,'ab':3,'\xc4\xa0" \
                  "ab':4},'merges':['a b','\xc4\xa0 ab']}"
#define BYTE_LEVEL "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false}"

static void test_byte_level(void **state)
{
    static const char json[] = "{" BYTE_LEVEL "," BPE_MODEL ",'added_tokens':["
        "{'id':5,'content':'<|end|>','special':true},{'id':6,'content':'  ','special':false},"
        "{'id':7,'content':'<|look|>','special':false}]}";
    struct folder f = {.config = "{'eos_token':'<|end|>','bos_token':{'content':'<|look|>'}}",
                       .n_vocab = 10};
    struct gs_meta *m = translated(json, &f);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    (void)state;
    assert_string_equal(str_of(m, "tokenizer.ggml.model"), "gpt2");
    assert_string_equal(str_of(m, "tokenizer.ggml.pre"), "gpt-2");
    assert_null(gs_meta_find(m, "tokenizer.ggml.scores"));
    assert_int_equal(type_of(m, 0), 1);
    assert_int_equal(type_of(m, 5), 3);
    assert_int_equal(type_of(m, 6), 4);
    assert_int_equal(type_of(m, 7), 3); /* special by its looks */
    assert_int_equal(type_of(m, 9), 5); /* padding */
    assert_int_equal(gs_tokenizer_find(t, "[PAD9]", 6), 9);
    assert_int_equal(uint_of(m, "tokenizer.ggml.eos_token_id"), 5);
    assert_int_equal(uint_of(m, "tokenizer.ggml.bos_token_id"), 7);
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_bos_token"), -1);
    assert_tokens(t, "ab ab", 0, "3 4");
    assert_tokens(t, "a  b", 0, "0 6 1");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

/* Merges as pairs may hold spaces, which become letters. */
static void test_merge_pairs(void **state)
{
    struct gs_meta *m = translated("{" BYTE_LEVEL ",'model':{'vocab':{'a':0,'\xc4\xa0':1,"
                                   "'\xc4\xa0" "a':2},'merges':[[' ','a']]}}", NULL);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    (void)state;
    assert_tokens(t, "a a", 0, "0 2");
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

#define SPM_MODEL "'model':{'type':'BPE','byte_fallback':true,'unk_token':'<unk>','vocab':{" \
    "'<unk>':0,'<s>':1,'<0x21>':2,'a':3,'b':4,'\xe2\x96\x81':5,'ab':6,'\xe2\x96\x81" "a':7," \
    "'\xe2\x96\x81" "ab':8},'merges':['a b','\xe2\x96\x81 a','\xe2\x96\x81 ab']}"
#define SPM_ADDED "'added_tokens':[{'id':0,'content':'<unk>','special':true}," \
    "{'id':1,'content':'<s>','special':true},{'id':9,'content':'\xe2\x96\x81\xe2\x96\x81'," \
    "'special':false}]"

static void test_sentencepiece(void **state)
{
    static const char json[] = "{" SPM_MODEL "," SPM_ADDED ",'normalizer':{'type':'Sequence',"
        "'normalizers':[{'type':'Prepend','prepend':'\xe2\x96\x81'}]},'post_processor':{"
        "'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'<s>'}},{'Sequence':"
        "{'id':'A'}}]}}";
    struct folder f = {.config = "{'bos_token':'<s>','unk_token':'<unk>'}"};
    struct gs_meta *m = translated(json, &f);
    struct gs_tokenizer *t = fixture_tokenizer(m);

    (void)state;
    assert_string_equal(str_of(m, "tokenizer.ggml.model"), "llama");
    assert_string_equal(str_of(m, "tokenizer.ggml.pre"), "default");
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_space_prefix"), 1);
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_bos_token"), 1);
    assert_int_equal(type_of(m, 2), 6);
    assert_int_equal(type_of(m, 9), 4);
    assert_tokens(t, "ab", GS_TOKENIZE_BOS, "1 8");
    assert_tokens(t, "aab!", 0, "7 6 2"); /* a b before ▁ a before ▁ ab */
    assert_tokens(t, "a  b", 0, "7 9 5 4"); /* spaces, as typed */
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);

    m = translated("{" SPM_MODEL "}", NULL); /* as Gemma: no Prepend */
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_space_prefix"), 0);
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_bos_token"), -1);
    gs_meta_destroy(&m);

    m = translated("{" SPM_MODEL ",'pre_tokenizer':{'type':'Metaspace','prepend_scheme':"
                   "'first'}}", NULL);
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_space_prefix"), 1);
    gs_meta_destroy(&m);
}

static void test_unigram(void **state)
{
    static const char json[] = "{'model':{'type':'Unigram','unk_id':0,'vocab':[['<unk>',0],"
        "['a',-3],['b',-3.5],['ab',-1],['\xe2\x96\x81',-4]]}}";

    (void)state;
    gs_set_log(fixture_log, NULL);
    fixture_warnings = 0;
    struct gs_meta *m = translated(json, NULL);
    struct gs_tokenizer *t = fixture_tokenizer(m);
    assert_int_equal(fixture_warnings, 1);
    assert_string_equal(str_of(m, "tokenizer.ggml.model"), "llama");
    assert_int_equal(type_of(m, 0), 2);
    assert_int_equal(uint_of(m, "tokenizer.ggml.unknown_token_id"), 0);
    assert_tokens(t, "ab?", 0, "3 0"); /* there is no <0x3F> */
    gs_set_log(NULL, NULL);
    gs_tokenizer_destroy(&t);
    gs_meta_destroy(&m);
}

#define CL100K(d) "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" d \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(regex) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"}}," \
    "{\"type\":\"ByteLevel\",\"use_regex\":false}"

/* Written with ", because the regexes have '. */
static const struct {
    const char *steps, *normalizer, *model, *pre;
    int warnings;
} families[] = {
    {"{\"type\":\"ByteLevel\"}", "null", "", "gpt-2", 0},
    {"{\"type\":\"ByteLevel\"}", "{\"type\":\"NFC\"}", "", "olmo", 0},
    {"{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\"}", "null", "",
     "smollm", 0},
    {SPLIT(CL100K("\\\\p{N}{1,3}")), "null", "\"ignore_merges\":true,", "llama-bpe", 0},
    {SPLIT(CL100K("\\\\p{N}{1,3}")), "null", "", "smaug-bpe", 0},
    {SPLIT(CL100K("\\\\p{N}")), "{\"type\":\"NFC\"}", "", "qwen2", 0},
    {SPLIT(CL100K("\\\\p{N}{1,4}")), "null", "", "qwen2", 1},
    {SPLIT("\\\\p{N}{1,3}|foo"), "null", "", "llama-bpe", 1},
    {SPLIT("foo"), "null", "", "default", 1},
    {"{\"type\":\"Whitespace\"},{\"type\":\"ByteLevel\"}", "null", "", "gpt-2", 1},
};

static void test_families(void **state)
{
    (void)state;
    gs_set_log(fixture_log, NULL);
    for (size_t i = 0; i < GS_COUNT(families); i++) {
        char json[2048];
        struct gs_meta *m;
        int n = snprintf(json, sizeof json, "{\"pre_tokenizer\":{\"type\":\"Sequence\","
                         "\"pretokenizers\":[%s]},\"normalizer\":%s,\"model\":{%s\"type\":"
                         "\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", families[i].steps,
                         families[i].normalizer, families[i].model);
        struct gs_hf_tokenizer in = {.text = json, .n = (size_t)n, .path = "t.json"};
        struct gs_err err = {0};
        fixture_warnings = 0;
        assert_int_equal(gs_meta_create(&m, NULL), 0);
        if (gs_tokenizer_json_to_meta(&in, m, &err))
            fail_msg("%s", err.msg);
        assert_string_equal(str_of(m, "tokenizer.ggml.pre"), families[i].pre);
        assert_int_equal(fixture_warnings, families[i].warnings);
        gs_meta_destroy(&m);
    }
    gs_set_log(NULL, NULL);
}

#define TINY "{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':0,'<e>':1,'<t>':2,'<m>':3," \
             "'<|eom_id|>':4},'merges':[]}"

static void test_special_ids(void **state)
{
    struct folder f = {.config = "{'eos_token':'<e>','add_bos_token':false,'pad_token':null}",
                       .generation = "{'eos_token_id':[1,4,2],'bos_token_id':3}",
                       .model = "{'pad_token_id':2,'bos_token_id':0,'eos_token_id':77}"};
    struct gs_meta *m = translated(TINY "}", &f);

    (void)state;
    assert_int_equal(uint_of(m, "tokenizer.ggml.eos_token_id"), 1);
    assert_int_equal(uint_of(m, "tokenizer.ggml.bos_token_id"), 3); /* generation first */
    assert_int_equal(uint_of(m, "tokenizer.ggml.padding_token_id"), 2);
    assert_int_equal(uint_of(m, "tokenizer.ggml.unknown_token_id"), -1);
    assert_int_equal(uint_of(m, "tokenizer.ggml.eot_token_id"), 2);
    assert_int_equal(uint_of(m, "tokenizer.ggml.eom_token_id"), 4);
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_bos_token"), 0);
    gs_meta_destroy(&m);

    f = (struct folder){.model = "{'eos_token_id':77,'model_type':'llama'}", .n_vocab = 49152};
    m = translated(TINY "}", &f); /* SmolLM by its size; 77 is padding, but a token */
    assert_int_equal(uint_of(m, "tokenizer.ggml.eos_token_id"), 77);
    assert_int_equal(bool_of(m, "tokenizer.ggml.add_bos_token"), 0);
    gs_meta_destroy(&m);
}

static void test_chat_templates(void **state)
{
    struct folder f = {.config = "{'chat_template':'one'}", .chat_template = "file"};
    struct gs_meta *m = translated(TINY "}", &f);

    (void)state;
    assert_string_equal(str_of(m, "tokenizer.chat_template"), "one");
    gs_meta_destroy(&m);
    f.config = NULL;
    m = translated(TINY "}", &f);
    assert_string_equal(str_of(m, "tokenizer.chat_template"), "file");
    gs_meta_destroy(&m);
    f.config = "{'chat_template':[{'name':'tool_use','template':'two'},"
               "{'name':'default','template':'three'}]}";
    m = translated(TINY "}", &f);
    assert_string_equal(str_of(m, "tokenizer.chat_template"), "three");
    assert_string_equal(str_of(m, "tokenizer.chat_template.tool_use"), "two");
    gs_meta_destroy(&m);
}

/* A token beyond the model's vocabulary_size is left out, with a warning. */
static void test_beyond_vocab(void **state)
{
    struct folder f = {.n_vocab = 3};

    (void)state;
    gs_set_log(fixture_log, NULL);
    fixture_warnings = 0;
    struct gs_meta *m = translated(TINY "}", &f);
    assert_int_equal(fixture_warnings, 1);
    assert_int_equal(gs_meta_find(m, "tokenizer.ggml.tokens")->as.a.count, 3);
    gs_set_log(NULL, NULL);
    gs_meta_destroy(&m);
}

static const struct {
    const char *json, *message;
    int code;
} wrong[] = {
    {"", "t.json: line 1", GS_E_FORMAT},
    {"{'model':{'type':'BPE'", "t.json: line 1", GS_E_FORMAT},
    {"[1]", "t.json: line 1: must be an object", GS_E_FORMAT},
    {"{}", "t.json: model: must be an object", GS_E_FORMAT},
    {"{'model':{'type':'WordPiece','vocab':{}}}", "\"WordPiece\" is not supported",
     GS_E_UNSUPPORTED},
    {"{'model':{'type':'BPE','vocab':{'a':0},'merges':[]}}", "neither byte_fallback",
     GS_E_UNSUPPORTED},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{},'merges':[]}}",
     "model.vocab: there must be at least one token", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':'0'},'merges':[]}}",
     "model.vocab: ids must be non-negative integers", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':-1},'merges':[]}}",
     "model.vocab: ids must be non-negative integers", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':1,'b':1},'merges':[]}}",
     "\"a\" and \"b\" have the same id 1", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':4000000000},'merges':[]}}",
     "4000000001 tokens in all, but only 1 are named", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':9223372036854775807},'merges':[]}}",
     "9223372036854775808 tokens in all", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':0}}}",
     "model.merges: must be an array", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':0},'merges':['a a','aa']}}",
     "model.merges[1]: must be two tokens", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':0},'merges':[['a']]}}",
     "model.merges[0]: must be a string or a pair", GS_E_FORMAT},
    {"{" BYTE_LEVEL ",'model':{'type':'BPE','vocab':{'a':0},'merges':[['a','']]}}",
     "model.merges[0]: must be a string or a pair", GS_E_FORMAT},
    {"{'model':{'type':'Unigram','vocab':[['a',0],['b']]}}",
     "model.vocab[1]: must be a string and a number", GS_E_FORMAT},
    {"{'model':{'type':'Unigram','vocab':{'a':0}}}", "model.vocab: must be an array",
     GS_E_FORMAT},
    {"{'model':{'type':'BPE','byte_fallback':1,'vocab':{'a':0},'merges':[]}}",
     "\"byte_fallback\" must be true or false", GS_E_FORMAT},
    {TINY ",'added_tokens':{}}", "added_tokens: must be an array", GS_E_FORMAT},
    {TINY ",'added_tokens':[{'content':'x'}]}", "added_tokens[0]: \"id\"", GS_E_FORMAT},
    {TINY ",'added_tokens':[{'id':7}]}", "added_tokens[0]: \"content\"", GS_E_FORMAT},
    {TINY ",'added_tokens':[{'id':7,'content':'x','special':2}]}",
     "t.json: \"special\" must be true or false", GS_E_FORMAT},
};

static void test_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < GS_COUNT(wrong); i++) {
        struct gs_meta *m = NULL;
        struct gs_err err = {0};
        int rc = translate(wrong[i].json, NULL, &m, &err);
        if (rc != wrong[i].code || !strstr(err.msg, wrong[i].message) ||
            strncmp(err.msg, "t.json", 6))
            fail_msg("%zu: code %d, message \"%s\", not \"%s\"", i, rc, err.msg,
                     wrong[i].message);
        gs_meta_destroy(&m);
    }
}

static void test_bad_config(void **state)
{
    struct folder f = {.config = "{'add_bos_token':'yes'}"};
    struct gs_meta *m = NULL;
    struct gs_err err = {0};

    (void)state;
    assert_int_equal(translate(TINY "}", &f, &m, &err), GS_E_FORMAT);
    assert_string_equal(err.msg, "tokenizer_config.json: \"add_bos_token\" must be true or false");
    gs_meta_destroy(&m);
    f.config = "{'chat_template':[{'name':'x'}]}";
    err = (struct gs_err){0};
    assert_int_equal(translate(TINY "}", &f, &m, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "chat_template[0]"));
    gs_meta_destroy(&m);
    f = (struct folder){.n_vocab = 5000000};
    err = (struct gs_err){0};
    assert_int_equal(translate(TINY "}", &f, &m, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "5000000 tokens in all, but only 5 are named"));
    gs_meta_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),   cmocka_unit_test(test_merge_pairs),
        cmocka_unit_test(test_sentencepiece), cmocka_unit_test(test_unigram),
        cmocka_unit_test(test_families),     cmocka_unit_test(test_special_ids),
        cmocka_unit_test(test_chat_templates), cmocka_unit_test(test_beyond_vocab),
        cmocka_unit_test(test_malformed),    cmocka_unit_test(test_bad_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
