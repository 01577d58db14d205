/* SPDX-License-Identifier: MIT
 * A transformer bound to its weights (struct gs_lm) and the state of one run of it
 * (struct gs_decoder: KV cache, activations, threads). */
#ifndef GS_MODEL_MODEL_H
#define GS_MODEL_MODEL_H

#include "gosset.h"

#include "core/team.h"
#include "file/store.h"
#include "model/config.h"

struct gs_lm;

struct gs_decoder_options;

/* How weights that are decoded when a model is opened are held, and how many of them
 * (model/part_file.h). */
struct gs_lm_options {
    bool exact;           /* F32 where an integer type does not hold them exactly, else F16 */
    uint32_t bits;        /* precision of a file that has several; 0 = the highest */
    uint64_t memory;      /* bytes that weights and a decoder may take; 0 = no limit */
    const struct gs_decoder_options *run; /* with memory: that decoder's */
    struct gs_team *team; /* decodes; borrowed for the call; NULL = this thread only */
};

/* Reads the configuration, finds every tensor and checks its shape and type. The store is
 * borrowed and must outlive the model. */
int gs_lm_open_with(struct gs_store *store, const struct gs_lm_options *options,
                    struct gs_lm **out, struct gs_err *err) GS_MUST_USE;
/* With exact weights, decoded by this thread. */
int gs_lm_open(struct gs_store *store, struct gs_lm **out, struct gs_err *err) GS_MUST_USE;
void gs_lm_close(struct gs_lm **lm);

/* What of a file in pieces gs_lm_open_with would load by bits, memory and run, with nothing
 * loaded: for gs_part_file_close. NULL for a file without such matrices. */
struct gs_part_file;
int gs_lm_choose(struct gs_store *store, const struct gs_lm_options *options,
                 struct gs_part_file **out, struct gs_err *err) GS_MUST_USE;

const struct gs_config *gs_lm_config(const struct gs_lm *lm);

struct gs_decoder;

struct gs_decoder_options {
    uint32_t ctx;         /* positions in the cache, > 0 */
    uint32_t batch;       /* most tokens a forward pass, > 0 */
    bool kv_f32;          /* cache in f32, else f16 */
    bool native;          /* room for native matrices though the model has none */
    bool exact;           /* products in f32; else quantized matrices round their inputs to
                             8 bits */
    struct gs_team *team; /* borrowed; NULL = this thread only */
};

/* What a session's options ask for, gaps filled as gosset.h says; `trained` positions the model
 * knows, 0: it does not say. team and native stay. */
void gs_decoder_for_session(const struct gs_session_options *session, uint32_t trained,
                            struct gs_decoder_options *out);

/* Bytes that a decoder would take; of lm only the configuration counts and whether there are
 * native matrices. */
uint64_t gs_decoder_need(const struct gs_lm *lm, const struct gs_decoder_options *options);

/* All memory of a run is taken here; forward and logits allocate nothing. */
int gs_decoder_create(struct gs_lm *lm, const struct gs_decoder_options *options,
                      struct gs_decoder **out, struct gs_err *err) GS_MUST_USE;
void gs_decoder_destroy(struct gs_decoder **decoder);

uint32_t gs_decoder_ctx(const struct gs_decoder *d);
uint32_t gs_decoder_pos(const struct gs_decoder *d);
/* Forgets positions from n on; n <= pos. Returns the position that it is at then: n, or 0
 * where layers with a window no longer have what a token at n would see, and all tokens must
 * be fed again. Up to a batch can always be taken back after it. */
uint32_t gs_decoder_rewind(struct gs_decoder *d, uint32_t n);

/* Appends n tokens (0 < n <= batch, pos + n <= ctx; ids are checked): attention is causal,
 * the final hidden states (n, C) stay in the decoder until the next call. */
int gs_decoder_forward(struct gs_decoder *d, const int32_t *tokens, size_t n,
                       struct gs_err *err) GS_MUST_USE;

/* out (count, V): logits of the tokens first … first+count-1 of the last forward batch.
 * The same bits however the batch was split. */
void gs_decoder_logits(struct gs_decoder *d, size_t first, size_t count, float *out);

/* Bytes of the KV cache, and of all that the decoder holds. */
uint64_t gs_decoder_kv_bytes(const struct gs_decoder *d);
uint64_t gs_decoder_bytes(const struct gs_decoder *d);

#endif
