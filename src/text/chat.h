/* SPDX-License-Identifier: MIT
 * Chat prompts. The model's Jinja template is recognised by what it contains, not executed:
 * families are one list (chatml, llama-2, llama-3, gemma, mistral, zephyr, phi). */
#ifndef GS_TEXT_CHAT_H
#define GS_TEXT_CHAT_H

#include "gosset.h"

#include "core/meta.h"

/* Renders the conversation; *text is gs_alloc'd. An unknown template falls back to ChatML
 * with a warning in the log, as does a model without one. BOS is not part of the text (the
 * tokenizer adds it). */
int gs_chat_render(const struct gs_meta *meta, const struct gs_chat_message *messages,
                   size_t n_messages, bool add_generation_prompt, char **text,
                   struct gs_err *err) GS_MUST_USE;

/* The family's name for a template text, or NULL. */
const char *gs_chat_family(struct gs_str chat_template);

#endif
