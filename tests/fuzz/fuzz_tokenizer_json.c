/* SPDX-License-Identifier: MIT
 * A Hugging Face folder's tokenizer files. The input is up to four files with a line "----"
 * between them: tokenizer.json, tokenizer_config.json, generation_config.json, config.json.
 * What can be translated becomes a tokenizer, which must then encode, decode and render. */
#include <stdlib.h>
#include <string.h>

#include "core/alloc.h"
#include "core/json.h"
#include "text/chat.h"
#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES 4
static const char separator[] = "\n----\n";

/* Cuts the input into files; returns their number. */
static size_t cut(const char *text, size_t n, struct gs_str files[FILES])
{
    size_t count = 0, start = 0, len = sizeof separator - 1;

    for (size_t i = 0; i + len <= n && count < FILES - 1; i++) {
        if (memcmp(text + i, separator, len))
            continue;
        files[count++] = (struct gs_str){text + start, i - start};
        start = i + len;
    }
    files[count++] = (struct gs_str){text + start, n - start};
    return count;
}

static void use(const struct gs_meta *meta)
{
    static const char text[] = "<s>[INST] Hello,  wo\xcc\x81rld 123\n\xff\xe2\x82 'll </s>";
    static const struct gs_chat_message chat[] = {{"system", "S"}, {"user", text}};
    struct gs_tokenizer *t = NULL;
    struct gs_tokens tokens = {0};
    char *back = NULL;
    size_t n = 0;

    if (gs_tokenizer_create(meta, "fuzz", &t, NULL) == GS_OK) {
        if (gs_tokenizer_encode(t, text, sizeof text - 1,
                                GS_TOKENIZE_BOS | GS_TOKENIZE_SPECIAL, &tokens, NULL) < 0)
            abort();
        for (size_t i = 0; i < tokens.count; i++)
            if (tokens.data[i] < 0 || (uint32_t)tokens.data[i] >= gs_tokenizer_n_vocab(t))
                abort();
        if (gs_tokenizer_decode(t, tokens.data, tokens.count, true, &back, &n, NULL) < 0)
            abort();
        gs_free(&back);
    }
    if (gs_chat_render(meta, chat, 2, true, &back, NULL) == GS_OK)
        gs_free(&back);
    gs_tokens_clear(&tokens);
    gs_tokenizer_destroy(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gs_str files[FILES] = {{"", 0}};
    struct gs_meta *meta = NULL;
    json_t *json[FILES] = {NULL};
    size_t count = cut((const char *)data, size, files);

    for (size_t i = 1; i < count; i++)
        if (gs_json_parse(files[i].data, files[i].size, "fuzz", &json[i], NULL) < 0)
            json[i] = NULL;
    struct gs_hf_tokenizer in = {.text = files[0].data, .n = files[0].size, .path = "fuzz",
                                 .config = json[1], .generation = json[2], .model = json[3]};
    uint64_t n_vocab = 0;
    if (gs_json_get_uint(json[3], "vocab_size", &n_vocab, NULL) > 0 && n_vocab < 4096)
        in.n_vocab = n_vocab;
    if (gs_meta_create(&meta, NULL) == GS_OK &&
        gs_tokenizer_json_to_meta(&in, meta, NULL) == GS_OK)
        use(meta);
    gs_meta_destroy(&meta);
    for (size_t i = 1; i < FILES; i++)
        json_decref(json[i]);
    return 0;
}
