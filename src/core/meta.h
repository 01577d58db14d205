/* SPDX-License-Identifier: MIT
 * Metadata of a model: an ordered map of GGUF-typed values.
 *
 * GGUF's keys are our internal vocabulary: the GGUF reader fills a map from a file,
 * the Hugging Face reader translates config.json and tokenizer.json into the same
 * keys, and tokenizer, model and writer read only this. A value may borrow its bytes
 * (a memory-mapped file must then outlive the map) or be copied in. */
#ifndef GS_CORE_META_H
#define GS_CORE_META_H

#include "core/arena.h"
#include "core/err.h"

/* The numbers are GGUF's. */
enum gs_value_type {
    GS_VALUE_U8, GS_VALUE_I8, GS_VALUE_U16, GS_VALUE_I16, GS_VALUE_U32, GS_VALUE_I32,
    GS_VALUE_F32, GS_VALUE_BOOL, GS_VALUE_STRING, GS_VALUE_ARRAY, GS_VALUE_U64,
    GS_VALUE_I64, GS_VALUE_F64, GS_VALUE_COUNT
};

struct gs_str {
    const char *data; /* not NUL-terminated, may contain NUL */
    size_t size;
};

#define GS_STR(literal) ((struct gs_str){literal, sizeof(literal) - 1})

struct gs_array {
    enum gs_value_type type; /* never GS_VALUE_ARRAY */
    uint64_t count;
    const void *data; /* struct gs_str[count], else packed little-endian, unaligned */
};

struct gs_value {
    enum gs_value_type type;
    union {
        uint64_t u;  /* U8 U16 U32 U64 BOOL */
        int64_t i;   /* I8 I16 I32 I64 */
        double f;    /* F32 F64 */
        struct gs_str s;
        struct gs_array a;
    } as;
};

struct gs_meta;

int gs_meta_create(struct gs_meta **out, struct gs_err *err) GS_MUST_USE;
void gs_meta_destroy(struct gs_meta **meta);

/* Entries in order of insertion. */
size_t gs_meta_count(const struct gs_meta *meta);
const char *gs_meta_key(const struct gs_meta *meta, size_t index);
const struct gs_value *gs_meta_value(const struct gs_meta *meta, size_t index);

/* NULL if absent. */
const struct gs_value *gs_meta_find(const struct gs_meta *meta, const char *key);

/* Adds or replaces; the key is copied, the value's bytes are borrowed. */
int gs_meta_set(struct gs_meta *meta, struct gs_str key, const struct gs_value *value,
                struct gs_err *err) GS_MUST_USE;

/* Adds or replaces, copying everything. Integers are stored as U32 (U64 if larger). */
int gs_meta_set_str(struct gs_meta *meta, const char *key, struct gs_str s,
                    struct gs_err *err) GS_MUST_USE;
int gs_meta_set_uint(struct gs_meta *meta, const char *key, uint64_t u,
                     struct gs_err *err) GS_MUST_USE;
int gs_meta_set_f32(struct gs_meta *meta, const char *key, double f,
                    struct gs_err *err) GS_MUST_USE;
int gs_meta_set_bool(struct gs_meta *meta, const char *key, bool b,
                     struct gs_err *err) GS_MUST_USE;
/* `data` as in struct gs_array; strings and their bytes are copied. */
int gs_meta_set_array(struct gs_meta *meta, const char *key, enum gs_value_type type,
                      const void *data, uint64_t count, struct gs_err *err) GS_MUST_USE;

void gs_meta_remove(struct gs_meta *meta, const char *key);

/* The map's own arena, for values built in place. */
struct gs_arena *gs_meta_arena(struct gs_meta *meta);

/* Typed getters: 1 and *out if present, 0 (and *out untouched) if absent, a negative
 * code if the value is of another kind or out of range; the message names the key.
 * Integers are accepted in any width and sign that holds the value. Floats accept
 * integers. Strings are borrowed. */
int gs_meta_get_uint(const struct gs_meta *meta, const char *key, uint64_t *out,
                     struct gs_err *err) GS_MUST_USE;
int gs_meta_get_float(const struct gs_meta *meta, const char *key, double *out,
                      struct gs_err *err) GS_MUST_USE;
int gs_meta_get_bool(const struct gs_meta *meta, const char *key, bool *out,
                     struct gs_err *err) GS_MUST_USE;
int gs_meta_get_str(const struct gs_meta *meta, const char *key, struct gs_str *out,
                    struct gs_err *err) GS_MUST_USE;
/* An array whose elements are strings, numbers (any numeric type, see
 * gs_array_int/float), as `type` says: GS_VALUE_STRING, GS_VALUE_I64 for any integer,
 * GS_VALUE_F64 for any float. */
int gs_meta_get_array(const struct gs_meta *meta, const char *key, enum gs_value_type type,
                      struct gs_array *out, struct gs_err *err) GS_MUST_USE;

/* Element i of a numeric array, i < count. */
int64_t gs_array_int(const struct gs_array *array, uint64_t i);
double gs_array_float(const struct gs_array *array, uint64_t i);
static inline struct gs_str gs_array_str(const struct gs_array *array, uint64_t i)
{
    return ((const struct gs_str *)array->data)[i];
}

/* Bytes of one element as packed in a file; 0 for strings and arrays. */
uint32_t gs_value_bytes(enum gs_value_type type);
/* "u32", "string"… */
const char *gs_value_type_name(enum gs_value_type type);

bool gs_str_equal(struct gs_str a, const char *b);

#endif
