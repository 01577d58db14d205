/* SPDX-License-Identifier: MIT
 * gosset.h: text to tokens and back, conversations to prompts. */
#include "api/api.h"

#include "core/alloc.h"
#include "text/chat.h"

int64_t gs_tokenize(const struct gs_model *model, const char *text, size_t n, int flags,
                    int32_t **tokens, struct gs_err *err)
{
    const struct gs_tokenizer *tokenizer;
    struct gs_tokens list = {0};
    int rc;

    *tokens = NULL;
    if ((rc = gs_api_tokenizer(model, &tokenizer, err)))
        return rc;
    if ((rc = gs_tokenizer_encode(tokenizer, text, n, flags, &list, err))) {
        gs_tokens_clear(&list);
        return rc;
    }
    *tokens = list.data; /* from gs_alloc, so gs_tokens_free may free it */
    return (int64_t)list.count;
}

void gs_tokens_free(int32_t **tokens)
{
    gs_free(tokens);
}

int64_t gs_token_bytes(const struct gs_model *model, int32_t token, bool special, char *out,
                       size_t capacity)
{
    const struct gs_tokenizer *tokenizer;
    int rc;

    if ((rc = gs_api_tokenizer(model, &tokenizer, NULL)))
        return rc;
    if (token < 0 || (uint32_t)token >= gs_tokenizer_n_vocab(tokenizer))
        return GS_E_ARG;
    return (int64_t)gs_tokenizer_bytes(tokenizer, token, special, out, capacity);
}

int gs_chat_format(const struct gs_model *model, const struct gs_chat_message *messages,
                   size_t n_messages, bool add_generation_prompt, char **text,
                   struct gs_err *err)
{
    return gs_chat_render(gs_store_meta(model->store), messages, n_messages,
                          add_generation_prompt, text, err);
}

void gs_text_free(char **text)
{
    gs_free(text);
}
