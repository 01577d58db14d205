/* SPDX-License-Identifier: MIT
 * Hugging Face folders that are wrong: the index of shards, folders that are something else,
 * configs and tensors that lie. */
#include "tests/unit/hf_case.h"

#include "core/alloc.h"
#include "core/rng.h"
#include "file/hf_folder.h"

/* ---- shards --------------------------------------------------------------------------------- */

static void write_shard(const char *file, const char *tensor)
{
    st_begin(&s);
    add(tensor, "BF16", 8, 0);
    st_end(&s, &b);
    write_file(folder, file, b.data, b.size);
}

static int open_index(const char *index, struct gs_store **store)
{
    write_file(folder, "model.safetensors.index.json", index, strlen(index));
    err = (struct gs_err){0};
    return gs_store_open(folder, store, &err);
}

static void index_refused(const char *index, int code, const char *message)
{
    struct gs_store *store;
    int rc = open_index(index, &store);
    assert_null(store);
    if (rc != code || !strstr(err.msg, message))
        fail_msg("code %d, expected %d with \"%s\": %s", rc, code, message, err.msg);
}

#define NORM "\"model.norm.weight\":"
#define NORM2 "\"" LAYER "input_layernorm.weight\":"

static void sharded(void **state)
{
    struct gs_store *store;
    char path[200];
    (void)state;

    begin(LLAMA(""));
    write_shard("a.safetensors", "model.norm.weight");
    write_shard("b.safetensors", LAYER "input_layernorm.weight");
    assert_int_equal(open_index("{\"weight_map\":{" NORM "\"a.safetensors\"," NORM2
                                "\"b.safetensors\"}}", &store), 0);
    assert_int_equal(gs_store_count(store), 2);
    const struct gs_tensor *t = gs_store_find(store, "blk.0.attn_norm.weight");
    assert_non_null(strstr(t->file, "/b.safetensors"));
    gs_store_close(&store);
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    assert_int_equal(gs_store_open(path, &store, &err), 0); /* its folder is meant */
    assert_int_equal(gs_store_count(store), 2);
    gs_store_close(&store);

    index_refused("{\"weight_map\":{" NORM "\"a.safetensors\"," NORM2 "\"a.safetensors\"}}",
                  GS_E_FORMAT, "a.safetensors has no tensor " LAYER "input_layernorm.weight");
    index_refused("{\"weight_map\":{" NORM "\"c.safetensors\"}}", GS_E_IO,
                  "/c.safetensors: No such file or directory");
    index_refused("{\"weight_map\":{" NORM "\"../a.safetensors\"}}", GS_E_FORMAT,
                  "is said to be in \"../a.safetensors\", which is no file of this folder");
    index_refused("{\"weight_map\":{" NORM "\"/etc/passwd\"}}", GS_E_FORMAT, "no file of this");
    index_refused("{\"weight_map\":{" NORM "\"..\"}}", GS_E_FORMAT, "no file of this folder");
    index_refused("{\"weight_map\":{" NORM "7}}", GS_E_FORMAT, "(not a string)");
    index_refused("{\"weight_map\":{}}", GS_E_FORMAT, "\"weight_map\" is missing or empty");
    index_refused("{}", GS_E_FORMAT, "\"weight_map\" is missing or empty");
    index_refused("{", GS_E_FORMAT, "index.json: line 1");
    write_shard("b.safetensors", "model.norm.weight");
    index_refused("{\"weight_map\":{" NORM "\"a.safetensors\",\"x\":\"b.safetensors\"}}",
                  GS_E_FORMAT, "tensor model.norm.weight is also in");
    clean();
}

/* ---- folders that are something else --------------------------------------------------------- */

static void folder_refused(int code, const char *message)
{
    struct gs_store *store;
    err = (struct gs_err){0};
    int rc = gs_store_open(folder, &store, &err);
    assert_null(store);
    if (rc != code || strncmp(err.msg, folder, strlen(folder)) || !strstr(err.msg, message))
        fail_msg("code %d, expected %d with \"%s\": %s", rc, code, message, err.msg);
    clean();
}

static void wrong_kind_of_folder(void **state)
{
    (void)state;
    begin(NULL);
    folder_refused(GS_E_FORMAT, "no config.json: not a Hugging Face model folder");
    begin(NULL);
    write_file(folder, "adapter_config.json", "{}", 2);
    folder_refused(GS_E_UNSUPPORTED, "a LoRA adapter; merge it into its base model first");
    begin(LLAMA(""));
    write_file(folder, "adapter_model.safetensors", "", 0);
    folder_refused(GS_E_UNSUPPORTED, "a LoRA adapter");
    begin(LLAMA(""));
    write_file(folder, "pytorch_model.bin", "PK", 2);
    folder_refused(GS_E_UNSUPPORTED, "only PyTorch weights; save the model as safetensors");
    begin(LLAMA(""));
    folder_refused(GS_E_FORMAT, "neither model.safetensors nor model.safetensors.index.json");
    begin(LLAMA(""));
    write_file(folder, "tokenizer.model", "x", 1);
    folder_refused(GS_E_UNSUPPORTED, "tokenizer.model without tokenizer.json");
}

static void config_refused(const char *config, int code, const char *message)
{
    struct gs_store *store;

    begin(config);
    int rc = finish(&store);
    assert_null(store);
    if (rc != code || !strstr(err.msg, "/config.json") || !strstr(err.msg, message))
        fail_msg("code %d, expected %d with \"%s\": %s", rc, code, message, err.msg);
    clean();
}

static void config_lies(void **state)
{
    (void)state;
    config_refused("[]", GS_E_FORMAT, "not a JSON object");
    config_refused("{\"a\":", GS_E_FORMAT, "not valid JSON");
    config_refused("{}", GS_E_FORMAT, "\"architectures\" names no model class");
    config_refused("{\"architectures\":[\"MambaForCausalLM\"]}", GS_E_UNSUPPORTED,
                   "model class MambaForCausalLM is not supported");
    config_refused("{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":8,"
                   "\"num_attention_heads\":2}", GS_E_FORMAT,
                   "\"num_hidden_layers\" is missing or 0");
    config_refused("{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":1,"
                   "\"hidden_size\":8,\"num_attention_heads\":0}", GS_E_FORMAT,
                   "\"num_attention_heads\" is missing or 0");
    config_refused("{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":1e3}",
                   GS_E_FORMAT, "\"num_hidden_layers\" must be a non-negative integer");
    config_refused("{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":1,"
                   "\"hidden_size\":9000000000000}", GS_E_FORMAT, "the limit is 2147483647");
    config_refused(LLAMA(",\"head_dim\":1000000"), GS_E_FORMAT, "of size 1000000 are not possible");
    config_refused(LLAMA(",\"quantization_config\":{\"quant_method\":\"gptq\"}"),
                   GS_E_UNSUPPORTED, "the model is already quantized (gptq)");
    config_refused(LLAMA(",\"rope_scaling\":{\"type\":\"spiral\"}"), GS_E_UNSUPPORTED,
                   "RoPE scaling \"spiral\" is not supported");
    config_refused(LLAMA(",\"rope_scaling\":7"), GS_E_FORMAT, "\"rope_scaling\" must be an object");
    config_refused(LLAMA(",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":0}"), GS_E_FORMAT,
                   "must be positive");
}

static void tensor_refused(int code, const char *message)
{
    struct gs_store *store;
    int rc = finish(&store);
    assert_null(store);
    if (rc != code || !strstr(err.msg, "model.safetensors: tensor ") || !strstr(err.msg, message))
        fail_msg("code %d, expected %d with \"%s\": %s", rc, code, message, err.msg);
    clean();
}

static void tensors_lie(void **state)
{
    uint8_t data[64] = {0};
    (void)state;
    begin(LLAMA("")), add("model.surprise.weight", "F32", 2, 2);
    tensor_refused(GS_E_UNSUPPORTED, "model.surprise.weight: a llama model has no such tensor");
    begin(LLAMA("")), add("model.layers.1.mlp.up_proj.weight", "F32", 2, 2);
    tensor_refused(GS_E_UNSUPPORTED, "it is in layer 1, the model has 1");
    begin(LLAMA("")), add(LAYER "mlp.up_proj.scales", "F32", 2, 2);
    tensor_refused(GS_E_UNSUPPORTED, "has no such tensor");
    begin(LLAMA("")), add(LAYER "self_attn.q_proj.weight", "F32", 6, 2);
    tensor_refused(GS_E_FORMAT, "6 rows are no multiple of 2 times 2 heads");
    begin(LLAMA("")), st_add(&s, LAYER "mlp.up_proj.weight", "I32", "[2,2]", data, 16);
    tensor_refused(GS_E_UNSUPPORTED, "I32 is no type for weights");
    begin(LLAMA("")), st_add(&s, LAYER "mlp.up_proj.weight", "F8_E4M3", "[2,2]", data, 4);
    tensor_refused(GS_E_UNSUPPORTED, "dtype F8_E4M3 is not supported");
}

/* Seeded damage to config.json: an error, or a store that can be read to its last byte. */
static void damaged_config(void **state)
{
    static const char config[] =
        LLAMA(",\"rope_theta\":1e4,\"head_dim\":4,\"rope_scaling\":{\"factor\":8,\"rope_type\":"
              "\"llama3\",\"low_freq_factor\":1},\"tie_word_embeddings\":false");
    char text[sizeof config];
    struct gs_rng rng;
    unsigned opened = 0, refused = 0;
    (void)state;

    st_begin(&s);
    add_llama();
    st_end(&s, &b);
    gs_rng_init(&rng, 17, 0);
    for (unsigned i = 0; i < 4000; i++) {
        struct gs_map *config_map, *weights;
        struct gs_hf hf = {.folder = "mem"};
        memcpy(text, config, sizeof config);
        for (uint64_t n = 1 + gs_rng_below(&rng, 3); n; n--)
            text[gs_rng_below(&rng, sizeof config - 1)] =
                "0123456789-.e[]{}\",:ntf"[gs_rng_below(&rng, 23)];
        err = (struct gs_err){0};
        assert_int_equal(gs_map_memory(text, sizeof config - 1, "config", &config_map, &err), 0);
        assert_int_equal(gs_map_memory(b.data, b.size, "weights", &weights, &err), 0);
        assert_int_equal(gs_store_create("mem", "safetensors", &hf.store, &err), 0);
        assert_int_equal(gs_st_read(weights, &hf.st, NULL, &err), 0);
        hf.config_text = config_map;
        if (gs_hf_fill(&hf, &err)) {
            refused++;
            assert_true(err.code < 0 && err.msg[0]);
        } else {
            opened++;
            for (size_t j = 0; j < gs_store_count(hf.store); j++) {
                const void *data;
                assert_int_equal(gs_store_data(hf.store, gs_store_tensor(hf.store, j), &data,
                                               &err), 0);
            }
        }
        gs_hf_clear(&hf);
        gs_store_close(&hf.store);
        gs_map_close(&config_map);
        gs_map_close(&weights);
    }
    assert_true(opened > 200 && refused > 1000);
}

/* Each allocation fails once: an error, no crash, no leak (the sanitizer watches). */
static void out_of_memory(void **state)
{
    struct gs_store *store;
    uint64_t n = 1;
    (void)state;

    begin(LLAMA(",\"rope_scaling\":{\"rope_type\":\"llama3\"}"));
    write_shard("a.safetensors", "model.norm.weight");
    static const char index[] = "{\"weight_map\":{" NORM "\"a.safetensors\"}}";
    write_file(folder, "model.safetensors.index.json", index, sizeof index - 1);
    for (;; n++) {
        err = (struct gs_err){0};
        gs_alloc_fail_at(n);
        int rc = gs_store_open(folder, &store, &err);
        if (!rc)
            break;
        assert_int_equal(rc, GS_E_NOMEM);
        assert_null(store);
        assert_true(n < 1000);
    }
    gs_alloc_fail_at(0);
    gs_store_close(&store);
    assert_true(n > 20);
    clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sharded),
        cmocka_unit_test(wrong_kind_of_folder),
        cmocka_unit_test(config_lies),
        cmocka_unit_test(tensors_lie),
        cmocka_unit_test(damaged_config),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
