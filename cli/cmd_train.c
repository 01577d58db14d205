/* SPDX-License-Identifier: MIT
 * gosset train: from text to a model. */
#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "terminal.h"

#define AT(field) offsetof(struct settings, field)

static int show(const struct settings *s, const struct gs_train_result *r)
{
    char size[32], count[32];

    if (s->json) {
        json_t *root = json_object();
        json_put(root, "file", json_text(s->output, strlen(s->output)));
        json_put(root, "parameters", json_count(r->parameters));
        json_put(root, "steps", json_count(r->steps));
        json_put(root, "tokens", json_count(r->tokens));
        json_put(root, "text_tokens", json_count(r->text_tokens));
        json_put(root, "text_bytes", json_count(r->text_bytes));
        json_put(root, "file_bytes", json_count(r->file_bytes));
        json_put(root, "loss", json_number(r->loss));
        json_put(root, "valid_loss", json_number(r->valid_loss));
        json_put(root, "seconds", json_number(r->seconds));
        json_put(root, "tokens_per_second", json_number(r->tokens_per_second));
        return print_json(root);
    }
    format_bytes(r->file_bytes, size, sizeof size);
    format_count(r->parameters, count, sizeof count);
    print_clean(s->output);
    printf(": %s parameters, %s\n", count, size);
    printf("%" PRIu64 " steps, %" PRIu64 " tokens (%.2f times the text), %.0f s, %.0f tokens/s\n",
           r->steps, r->tokens, (double)r->tokens / (double)r->text_tokens, r->seconds,
           r->tokens_per_second);
    printf("loss %.4f nats a token", r->loss);
    if (s->valid)
        printf(", %.4f on the validation text", r->valid_loss);
    putchar('\n');
    return EXIT_OK;
}

static int check_usage(const struct settings *s)
{
    if (!s->output)
        return usage_error("train", "where to? give --output FILE");
    if (!s->texts.count)
        return usage_error("train", "what to learn from? give --text FILE");
    if (!s->steps)
        return usage_error("train", "how long? give --steps N");
    if (!s->init == !s->config)
        return usage_error("train", "give --init MODEL or --config SIZES, one of them");
    if (s->init && s->tokenizer)
        return usage_error("train", "--tokenizer belongs to --config");
    return EXIT_OK;
}

static int run(const struct settings *s)
{
    struct gs_train_options options = {
        .init = s->init, .config = s->config, .tokenizer = s->tokenizer,
        .texts = s->texts.path, .n_texts = s->texts.count, .valid = s->valid,
        .steps = s->steps, .ctx = s->ctx, .batch = s->batch, .accumulate = s->accumulate,
        .optimizer = s->optimizer, .schedule = s->schedule, .lr = (double)s->lr,
        .least_lr = s->least_lr < 0 ? 0 : s->least_lr > 0 ? (double)s->least_lr : -1,
        .decay = (double)s->decay, .beta1 = (double)s->beta1, .beta2 = (double)s->beta2,
        .clip = (double)s->clip, .warmup = s->warmup, .seed = s->seed,
        .checkpoint = s->checkpoint, .type = s->type, .log = s->log,
        .overwrite = s->overwrite, .resume = s->resume, .threads = s->threads,
        .progress = progress};
    struct gs_train_result result = {0};
    struct gs_err err = {0};
    int code;

    if ((code = check_usage(s)))
        return code;
    int rc = gs_train(s->output, &options, &result, &err);
    progress_clear();
    return rc ? failure(&err) : show(s, &result);
}

static const struct option model_options[] = {
    {0, "init", "MODEL", "the model to continue", &kind_string, AT(init), 0, 0},
    {0, "config", "SIZES", "sizes of a new model: a file, or pairs such as "
     "n_embd=256,n_layer=6,n_vocab=4096", &kind_string, AT(config), 0, 0},
    {0, "tokenizer", "MODEL", "whose vocabulary the new model takes; without it one is made "
     "from the text", &kind_string, AT(tokenizer), 0, 0},
    {'o', "output", "FILE", "the GGUF file to write", &kind_string, AT(output), 0, 0},
    {0, "type", "TYPE", "type of the matrices in FILE: f16, bf16 or f32; without it f16",
     &kind_string, AT(type), 0, 0},
    {0, "overwrite", NULL, "replace FILE and begin anew", &kind_flag, AT(overwrite), 0, 0},
    {0, "resume", NULL, "go on from FILE.ckpt", &kind_flag, AT(resume), 0, 0},
};

static const struct option learn_options[] = {
    {'f', "text", "FILE", "text to learn from; may be repeated", &kind_files, AT(texts), 0, 0},
    {0, "valid", "FILE", "text to measure the loss on at every checkpoint", &kind_string,
     AT(valid), 0, 0},
    {0, "steps", "N", "steps in all", &kind_u64, AT(steps), 0, 0},
    {'c', "ctx", "N", "tokens a text; 0 = 512, or what the model knows", &kind_u32, AT(ctx), 0,
     1 << 24},
    {0, "batch", "N", "texts in a pass; 0 = 8", &kind_u32, AT(batch), 0, 65536},
    {0, "accumulate", "N", "passes in a step; 0 = 1", &kind_u32, AT(accumulate), 0, 65536},
    {0, "seed", "N", "seed of weights and order", &kind_u64, AT(seed), 0, 0},
    {0, "checkpoint", "N", "steps between checkpoints; 0 = 250", &kind_u64, AT(checkpoint), 0,
     0},
    {0, "log", "FILE", "one line of JSON a step; without it FILE.jsonl", &kind_string, AT(log),
     0, 0},
};

static const struct option rate_options[] = {
    {0, "optimizer", "NAME", "adamw, adamw8 or adamw4 (states of 8 and 4 bits), sgd; without "
     "it adamw", &kind_string, AT(optimizer), 0, 0},
    {0, "lr", "R", "learning rate", &kind_float, AT(lr), 0, 100},
    {0, "least-lr", "R", "learning rate at the end; -1 = a tenth of --lr", &kind_float,
     AT(least_lr), -1, 100},
    {0, "schedule", "NAME", "cosine, linear or constant; without it cosine", &kind_string,
     AT(schedule), 0, 0},
    {0, "warmup", "N", "steps over which the rate rises", &kind_u64, AT(warmup), 0, 0},
    {0, "decay", "R", "weight decay of matrices", &kind_float, AT(decay), 0, 100},
    {0, "beta1", "R", "decay of the first moment; of sgd: momentum", &kind_float, AT(beta1), 0,
     0.9999999},
    {0, "beta2", "R", "decay of the second moment", &kind_float, AT(beta2), 0, 0.9999999},
    {0, "clip", "R", "largest norm of a gradient; 0 = any", &kind_float, AT(clip), 0, 1e9},
};

static const struct option_group model_group = {"Model", model_options, COUNT(model_options)};
static const struct option_group learn_group = {"Learning", learn_options,
                                                COUNT(learn_options)};
static const struct option_group rate_group = {"Optimizer", rate_options, COUNT(rate_options)};

const struct command command_train = {
    .name = "train",
    .summary = "a model from text",
    .arguments = "--text FILE --steps N -o FILE",
    .details = "Weights are f32 while they learn. At every checkpoint FILE.ckpt and FILE are\n"
               "written anew, FILE as a model that can be tried; a run that was interrupted goes\n"
               "on with --resume to the same bits. FILE.jsonl logs loss, rate and speed.\n",
    .examples = "  gosset train --config n_embd=256,n_layer=6,n_ff=768,n_vocab=4096 \\\n"
                "      --text stories.txt --steps 5000 --warmup 100 -o small.gguf\n"
                "  gosset train --init model.gguf --text letters.txt --steps 200 --lr 1e-5 \\\n"
                "      -o tuned.gguf\n",
    .n_arguments = 0,
    .groups = {&model_group, &learn_group, &rate_group, &group_compute, &group_output},
    .run = run,
};
