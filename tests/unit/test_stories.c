/* SPDX-License-Identifier: MIT
 * stories260K ($GOSSET_DATA/stories260K, converted by tests/tools/llama2c): its published
 * validation loss is 1.2968 natural units a token. Here: 60 stories of the same collection,
 * each behind BOS, every token scored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/alloc.h"
#include "model/model.h"
#include "text/tokenizer.h"

#define STORIES 60
#define CTX 512u

static char self[1024];

/* The data folder's file as a string, or NULL. */
static char *read_text(const char *folder, const char *name, size_t most)
{
    char path[1200];
    char *text = calloc(most + 1, 1);

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (f) {
        text[fread(text, 1, most, f)] = 0;
        fclose(f);
        return text;
    }
    free(text);
    return NULL;
}

static double log_sum_exp(const float *x, size_t n)
{
    double max = x[0], sum = 0;

    for (size_t i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

/* Sum of −ln p over the tokens of one story; *n counts them. */
static double score(struct gs_decoder *decoder, const struct gs_tokenizer *tokenizer,
                    uint32_t n_vocab, const char *story, size_t size, size_t *n)
{
    struct gs_tokens tokens = {0};
    double sum = 0;

    assert_int_equal(gs_tokenizer_encode(tokenizer, story, size, GS_TOKENIZE_BOS, &tokens, NULL),
                     0);
    size_t count = GS_MIN(tokens.count, CTX);
    float *logits = malloc(count * n_vocab * sizeof *logits);
    gs_decoder_rewind(decoder, 0);
    assert_int_equal(gs_decoder_forward(decoder, tokens.data, count, NULL), 0);
    gs_decoder_logits(decoder, 0, count, logits);
    for (size_t i = 0; i + 1 < count; i++, ++*n) {
        const float *row = logits + i * n_vocab;
        sum += log_sum_exp(row, n_vocab) - (double)row[tokens.data[i + 1]];
    }
    free(logits);
    gs_tokens_clear(&tokens);
    return sum;
}

static double loss(const char *model, const char *stories)
{
    const char mark[] = "<|endoftext|>";
    struct gs_decoder_options options = {.ctx = CTX, .batch = CTX};
    struct gs_store *store;
    struct gs_tokenizer *tokenizer;
    struct gs_decoder *decoder;
    struct gs_lm *lm;
    double sum = 0;
    size_t n = 0;

    assert_int_equal(gs_store_open(model, &store, NULL), 0);
    assert_int_equal(gs_tokenizer_create(gs_store_meta(store), model, &tokenizer, NULL), 0);
    assert_int_equal(gs_lm_open(store, &lm, NULL), 0);
    assert_int_equal(gs_decoder_create(lm, &options, &decoder, NULL), 0);
    for (int i = 0; i < STORIES; i++) {
        const char *end = strstr(stories, mark);
        size_t size = (size_t)(end - stories);
        assert_non_null(end);
        while (size && stories[size - 1] == '\n')
            size--;
        sum += score(decoder, tokenizer, gs_lm_config(lm)->n_vocab, stories, size, &n);
        stories = end + strlen(mark);
        stories += strspn(stories, "\n");
    }
    gs_decoder_destroy(&decoder);
    gs_lm_close(&lm);
    gs_tokenizer_destroy(&tokenizer);
    gs_store_close(&store);
    print_message("%zu tokens, loss %.5f\n", n, sum / (double)n);
    return sum / (double)n;
}

static void published_loss(void **state)
{
    const char *folder = getenv("GOSSET_DATA");
    char *stories = folder ? read_text(folder, "text/tinystories_sample_2MiB.txt", 200000) : NULL;
    char model[] = "/tmp/gosset-stories-XXXXXX", command[4096];
    (void)state;

    if (!stories)
        skip();
    close(mkstemp(model));
    snprintf(command, sizeof command,
             "'%s/../tools/llama2c' '%s/stories260K/stories260K.bin' "
             "'%s/stories260K/tok512.bin' '%s'", self, folder, folder, model);
    assert_int_equal(system(command), 0);
    double l = loss(model, stories);
    unlink(model);
    free(stories);
    assert_true(fabs(l - 1.2968) < 0.01);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_loss)};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    snprintf(self, sizeof self, "%.*s", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
