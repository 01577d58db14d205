/* SPDX-License-Identifier: MIT
 * Chat prompts. The expected texts are what the families' real Jinja templates render (jinja2
 * with trim_blocks and lstrip_blocks, as transformers does), less the BOS at the beginning;
 * what is said of a template here is the part of it that tells the family. */
#include "tests/unit/vocab_fixture.h"

#include "core/alloc.h"
#include "text/chat.h"

static const struct gs_chat_message chat[] = {
    {"system", "Be brief. "}, {"user", " Hi\n"}, {"assistant", " Hello! "}, {"user", "Bye"},
};

#define SYS_TEMPLATE "<<SYS>>\\n' + system_message + '\\n<</SYS>>"
#define SMOLLM2_SYSTEM "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

static const struct {
    const char *chat_template, *family, *with_system, *without;
} goldens[] = {
    {"{{ '<|im_start|>system\n" SMOLLM2_SYSTEM "<|im_end|>\n' }}", "chatml", /* SmolLM2 */
     "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n"
     "<|im_start|>assistant\n Hello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n",
     "<|im_start|>system\n" SMOLLM2_SYSTEM "<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n"
     "<|im_start|>assistant\n Hello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"{{- '<|im_start|>system\\n' }}{{- '<|im_start|>system\\n' + x + '<|im_end|>\\n' }}"
     "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
     "assistant.<|im_end|>\\n' }}", "chatml", /* Qwen2.5 */
     "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n"
     "<|im_start|>assistant\n Hello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
     "<|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Hello! <|im_end|>"
     "\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {"{{- '<|im_start|>' + message.role + '\\n' }}", "chatml", /* Qwen3 */
     "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\n Hi\n<|im_end|>\n"
     "<|im_start|>assistant\n Hello! <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n",
     "<|im_start|>user\n Hi\n<|im_end|>\n<|im_start|>assistant\n Hello! <|im_end|>\n"
     "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"},
    {SYS_TEMPLATE "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}", "llama-2",
     "[INST] <<SYS>>\nBe brief. \n<</SYS>>\n\n Hi [/INST] Hello! </s><s>[INST] Bye [/INST]",
     "[INST] Hi [/INST] Hello! </s><s>[INST] Bye [/INST]"},
    {SYS_TEMPLATE "{{ '[INST] ' + content.strip() + ' [/INST]' }}", "llama-2",
     "[INST] <<SYS>>\nBe brief. \n<</SYS>>\n\n Hi [/INST] Hello! </s>[INST] Bye [/INST]",
     "[INST] Hi [/INST] Hello! </s>[INST] Bye [/INST]"},
    {"{{- bos_token + '[INST] ' + x }}'[INST] <<SYS>>\\n'", "llama-2", /* no strip */
     "[INST] <<SYS>>\nBe brief. \n<</SYS>>\n\n Hi\n [/INST]  Hello!  </s><s>[INST] Bye [/INST]",
     "[INST]  Hi\n [/INST]  Hello!  </s><s>[INST] Bye [/INST]"},
    {"<|start_header_id|>' + message['role'] + '<|end_header_id|>", "llama-3",
     "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"<|start_header_id|>{{- \"Cutting Knowledge Date: December 2023\\n\" }}<|end_header_id|>",
     "llama-3.1",
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
     "Today Date: 26 Jul 2024\n\nBe brief.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
     "Today Date: 26 Jul 2024\n\n<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"{{ '<start_of_turn>' + role + '\n' + message['content'] | trim }}", "gemma",
     "<start_of_turn>user\nBe brief. \n\nHi<end_of_turn>\n<start_of_turn>model\nHello!"
     "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
     "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello!"
     "<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"},
    {"{{- ' [INST] ' + system_message + '\\n\\n' }}", "mistral-v1",
     " [INST] Be brief. \n\n Hi\n [/INST]  Hello! </s> [INST] Bye [/INST]",
     " [INST]  Hi\n [/INST]  Hello! </s> [INST] Bye [/INST]"},
    {"{{- \"[AVAILABLE_TOOLS] [\" }}\"[INST] \"{{- \" \" + x|trim + eos_token}}", "mistral-v3",
     "[INST]  Hi\n[/INST] Hello!</s>[INST] Be brief. \n\nBye[/INST]",
     "[INST]  Hi\n[/INST] Hello!</s>[INST] Bye[/INST]"},
    {"{{- \"[AVAILABLE_TOOLS][\" }}{{- \"[INST]\" + x }}", "mistral-v3-tekken",
     "[INST] Hi\n[/INST] Hello! </s>[INST]Be brief. \n\nBye[/INST]",
     "[INST] Hi\n[/INST] Hello! </s>[INST]Bye[/INST]"},
    {"{{ '[SYSTEM_PROMPT] ' + x }}{{ '[INST] ' + x }}", "mistral-v7",
     "[SYSTEM_PROMPT] Be brief. [/SYSTEM_PROMPT][INST]  Hi\n[/INST]  Hello! </s>[INST] Bye"
     "[/INST]",
     "[INST]  Hi\n[/INST]  Hello! </s>[INST] Bye[/INST]"},
    {"{{ '[INST] ' + message['content'] + ' [/INST]' }}", "mistral-v0.1",
     "[INST] Be brief. \n\n Hi\n [/INST] Hello! </s>[INST] Bye [/INST]",
     "[INST]  Hi\n [/INST] Hello! </s>[INST] Bye [/INST]"},
    {"{{ '<|user|>\n' + message['content'] + eos_token }}", "zephyr",
     "<|system|>\nBe brief. </s>\n<|user|>\n Hi\n</s>\n<|assistant|>\n Hello! </s>\n"
     "<|user|>\nBye</s>\n<|assistant|>\n",
     "<|user|>\n Hi\n</s>\n<|assistant|>\n Hello! </s>\n<|user|>\nBye</s>\n<|assistant|>\n"},
    {"{{ '<|user|>\n' + message['content'] + '<|endoftext|>' }}", "zephyr",
     "<|system|>\nBe brief. <|endoftext|>\n<|user|>\n Hi\n<|endoftext|>\n<|assistant|>\n Hello! "
     "<|endoftext|>\n<|user|>\nBye<|endoftext|>\n<|assistant|>\n",
     "<|user|>\n Hi\n<|endoftext|>\n<|assistant|>\n Hello! <|endoftext|>\n<|user|>\nBye"
     "<|endoftext|>\n<|assistant|>\n"},
    {"'<|user|>\n' + message['content'] + '<|end|>\n'{{'<|assistant|>\n'}}", "phi-3",
     "<|system|>\nBe brief. <|end|>\n<|user|>\n Hi\n<|end|>\n<|assistant|>\n Hello! <|end|>\n"
     "<|user|>\nBye<|end|>\n<|assistant|>\n",
     "<|user|>\n Hi\n<|end|>\n<|assistant|>\n Hello! <|end|>\n<|user|>\nBye<|end|>\n"
     "<|assistant|>\n"},
    {"{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}", "phi-4-mini",
     "<|system|>Be brief. <|end|><|user|> Hi\n<|end|><|assistant|> Hello! <|end|><|user|>Bye"
     "<|end|><|assistant|>",
     "<|user|> Hi\n<|end|><|assistant|> Hello! <|end|><|user|>Bye<|end|><|assistant|>"},
};

static struct gs_meta *meta_with(const char *chat_template)
{
    struct gs_meta *m = NULL;

    assert_int_equal(gs_meta_create(&m, NULL), 0);
    if (chat_template)
        set_str(m, "tokenizer.chat_template", chat_template);
    return m;
}

static void check(const struct gs_meta *m, const struct gs_chat_message *messages, size_t n,
                  bool generation, const char *want)
{
    struct gs_err err = {0};
    char *text = NULL;

    if (gs_chat_render(m, messages, n, generation, &text, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(text, want);
    gs_free(&text);
}

static void test_goldens(void **state)
{
    (void)state;
    gs_set_log(fixture_log, NULL);
    fixture_warnings = 0;
    for (size_t i = 0; i < GS_COUNT(goldens); i++) {
        struct gs_meta *m = meta_with(goldens[i].chat_template);
        struct gs_str s = {goldens[i].chat_template, strlen(goldens[i].chat_template)};
        assert_string_equal(gs_chat_family(s), goldens[i].family);
        check(m, chat, 4, true, goldens[i].with_system);
        check(m, chat + 1, 3, true, goldens[i].without);
        gs_meta_destroy(&m);
    }
    assert_int_equal(fixture_warnings, 0);
    gs_set_log(NULL, NULL);
}

#define CHATML "<|im_start|>user\nBye<|im_end|>\n"

static void test_unknown(void **state)
{
    (void)state;
    gs_set_log(fixture_log, NULL);
    fixture_warnings = 0;
    struct gs_meta *m = meta_with("{{ '### Human: ' + message['content'] }}");
    assert_null(gs_chat_family(GS_STR("{{ '### Human: ' + message['content'] }}")));
    check(m, chat + 3, 1, true, CHATML "<|im_start|>assistant\n");
    assert_int_equal(fixture_warnings, 1);
    assert_non_null(strstr(fixture_warning, "not one that is known: using ChatML"));
    gs_meta_destroy(&m);
    m = meta_with(NULL);
    check(m, chat + 3, 1, false, CHATML);
    assert_int_equal(fixture_warnings, 2);
    assert_non_null(strstr(fixture_warning, "missing: using ChatML"));
    gs_meta_destroy(&m);
    gs_set_log(NULL, NULL);
}

/* BOS and EOS are the model's own texts. */
static void test_bos_and_eos(void **state)
{
    static const struct gs_str tokens[] = {{"<B>", 3}, {"<E>", 3}};
    struct gs_meta *m = meta_with(SYS_TEMPLATE "{{ bos_token + '[INST] ' + content.strip() }}");

    (void)state;
    set_array(m, "tokenizer.ggml.tokens", GS_VALUE_STRING, tokens, 2);
    set_uint(m, "tokenizer.ggml.bos_token_id", 0);
    set_uint(m, "tokenizer.ggml.eos_token_id", 1);
    check(m, chat + 1, 3, true, "[INST] Hi [/INST] Hello! <E><B>[INST] Bye [/INST]");
    set_uint(m, "tokenizer.ggml.eos_token_id", 2); /* beyond the vocabulary */
    check(m, chat + 1, 3, true, "[INST] Hi [/INST] Hello! </s><B>[INST] Bye [/INST]");
    gs_meta_destroy(&m);
}

static void test_odd_chats(void **state)
{
    static const struct gs_chat_message two_systems[] = {
        {"system", "A"}, {"system", "B"}, {"user", "Hi"}};
    static const struct gs_chat_message late_system[] = {
        {"user", "Hi"}, {"assistant", NULL}, {"system", "A"}};
    static const struct gs_chat_message bad[] = {{"user", "Hi"}, {"tool", "x"}};
    struct gs_meta *m = meta_with("<start_of_turn>");
    struct gs_err err = {0};
    char *text;

    (void)state;
    check(m, NULL, 0, false, "");
    check(m, NULL, 0, true, "<start_of_turn>model\n");
    check(m, two_systems, 3, false, "<start_of_turn>user\nA\n\nB\n\nHi<end_of_turn>\n");
    check(m, late_system, 3, false, "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
          "<end_of_turn>\n<start_of_turn>user\nA\n\n<end_of_turn>\n");
    assert_int_equal(gs_chat_render(m, bad, 2, true, &text, &err), GS_E_ARG);
    assert_null(text);
    assert_string_equal(err.msg, "message 1: the role must be system, user or assistant, not "
                        "\"tool\"");
    gs_meta_destroy(&m);
    m = meta_with(NULL);
    set_uint(m, "tokenizer.chat_template", 1);
    err = (struct gs_err){0};
    assert_int_equal(gs_chat_render(m, chat, 1, true, &text, &err), GS_E_FORMAT);
    assert_non_null(strstr(err.msg, "tokenizer.chat_template must be a string"));
    gs_meta_destroy(&m);
}

static void test_out_of_memory(void **state)
{
    struct gs_meta *m = meta_with("<start_of_turn>");
    bool done = false;

    (void)state;
    for (uint64_t k = 1; !done && k < 100; k++) {
        struct gs_err err = {0};
        char *text = NULL;
        gs_alloc_fail_at(k);
        int rc = gs_chat_render(m, chat, 4, true, &text, &err);
        gs_alloc_fail_at(0);
        done = rc == GS_OK;
        if (!done) {
            assert_int_equal(rc, GS_E_NOMEM);
            assert_null(text);
        }
        gs_free(&text);
    }
    assert_true(done);
    gs_meta_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),   cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_bos_and_eos), cmocka_unit_test(test_odd_chats),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
