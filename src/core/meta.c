/* SPDX-License-Identifier: MIT
 * Entries lie in one growing array; an open-addressing table of indices finds a key.
 * Removal is rare (a writer drops a key) and rebuilds the table. */
#include "core/meta.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "core/alloc.h"
#include "core/cursor.h"
#include "core/hash.h"

struct entry {
    const char *key;
    struct gs_value value;
};

struct gs_meta {
    struct gs_arena arena;
    struct entry *entries;
    size_t count, capacity;
    uint32_t *slots; /* index + 1 of an entry, 0 = free */
    size_t slot_count; /* a power of two, at least twice the capacity */
};

static const struct {
    const char *name;
    uint32_t bytes;
} value_types[GS_VALUE_COUNT] = {
    [GS_VALUE_U8] = {"u8", 1},         [GS_VALUE_I8] = {"i8", 1},
    [GS_VALUE_U16] = {"u16", 2},       [GS_VALUE_I16] = {"i16", 2},
    [GS_VALUE_U32] = {"u32", 4},       [GS_VALUE_I32] = {"i32", 4},
    [GS_VALUE_F32] = {"f32", 4},       [GS_VALUE_BOOL] = {"bool", 1},
    [GS_VALUE_STRING] = {"string", 0}, [GS_VALUE_ARRAY] = {"array", 0},
    [GS_VALUE_U64] = {"u64", 8},       [GS_VALUE_I64] = {"i64", 8},
    [GS_VALUE_F64] = {"f64", 8},
};

uint32_t gs_value_bytes(enum gs_value_type type)
{
    return type < GS_VALUE_COUNT ? value_types[type].bytes : 0;
}

const char *gs_value_type_name(enum gs_value_type type)
{
    return type < GS_VALUE_COUNT ? value_types[type].name : "unknown";
}

bool gs_str_equal(struct gs_str a, const char *b)
{
    return a.size == strlen(b) && (!a.size || !memcmp(a.data, b, a.size));
}

int gs_meta_create(struct gs_meta **out, struct gs_err *err)
{
    *out = gs_alloc(1, sizeof **out);
    return *out ? GS_OK : gs_fail_nomem(err, "metadata");
}

void gs_meta_destroy(struct gs_meta **meta)
{
    if (!*meta)
        return;
    gs_arena_clear(&(*meta)->arena);
    gs_free(&(*meta)->entries);
    gs_free(&(*meta)->slots);
    gs_free(meta);
}

size_t gs_meta_count(const struct gs_meta *meta)
{
    return meta->count;
}

const char *gs_meta_key(const struct gs_meta *meta, size_t index)
{
    assert(index < meta->count);
    return meta->entries[index].key;
}

const struct gs_value *gs_meta_value(const struct gs_meta *meta, size_t index)
{
    assert(index < meta->count);
    return &meta->entries[index].value;
}

struct gs_arena *gs_meta_arena(struct gs_meta *meta)
{
    return &meta->arena;
}

/* The slot of the key, or the free slot where it belongs. slot_count > 0. */
static size_t find_slot(const struct gs_meta *meta, const char *key, size_t n)
{
    size_t mask = meta->slot_count - 1;
    size_t at = gs_hash(key, n) & mask;

    for (; meta->slots[at]; at = (at + 1) & mask) {
        const char *have = meta->entries[meta->slots[at] - 1].key;
        if (strlen(have) == n && !memcmp(have, key, n))
            break;
    }
    return at;
}

static void rebuild(struct gs_meta *meta)
{
    memset(meta->slots, 0, meta->slot_count * sizeof *meta->slots);
    for (size_t i = 0; i < meta->count; i++) {
        const char *key = meta->entries[i].key;
        meta->slots[find_slot(meta, key, strlen(key))] = (uint32_t)(i + 1);
    }
}

static bool grow(struct gs_meta *meta)
{
    size_t capacity = meta->capacity ? 2 * meta->capacity : 32;
    uint32_t *slots = gs_alloc(4 * capacity, sizeof *slots);
    struct entry *entries = slots ? gs_realloc(meta->entries,
                                               meta->capacity * sizeof *entries,
                                               capacity * sizeof *entries) : NULL;
    if (!entries) {
        gs_free(&slots);
        return false;
    }
    gs_free(&meta->slots);
    meta->slots = slots;
    meta->slot_count = 4 * capacity;
    meta->entries = entries;
    meta->capacity = capacity;
    rebuild(meta);
    return true;
}

const struct gs_value *gs_meta_find(const struct gs_meta *meta, const char *key)
{
    if (!meta->count)
        return NULL;
    uint32_t slot = meta->slots[find_slot(meta, key, strlen(key))];
    return slot ? &meta->entries[slot - 1].value : NULL;
}

int gs_meta_set(struct gs_meta *meta, struct gs_str key, const struct gs_value *value,
                struct gs_err *err)
{
    if (!key.size)
        key.data = ""; /* may be NULL, which memchr and memcmp do not take */
    if (memchr(key.data, 0, key.size))
        return gs_fail(err, GS_E_FORMAT, "a metadata key contains a NUL byte");
    if (meta->count == meta->capacity && !grow(meta))
        return gs_fail_nomem(err, "metadata");
    size_t at = find_slot(meta, key.data, key.size);
    if (meta->slots[at]) {
        meta->entries[meta->slots[at] - 1].value = *value;
        return GS_OK;
    }
    char *copy = gs_arena_strndup(&meta->arena, key.data, key.size);
    if (!copy)
        return gs_fail_nomem(err, "metadata");
    meta->entries[meta->count] = (struct entry){copy, *value};
    meta->slots[at] = (uint32_t)++meta->count;
    return GS_OK;
}

static struct gs_str key_str(const char *key)
{
    return (struct gs_str){key, strlen(key)};
}

int gs_meta_set_str(struct gs_meta *meta, const char *key, struct gs_str s,
                    struct gs_err *err)
{
    char *copy = gs_arena_strndup(&meta->arena, s.data, s.size);
    if (!copy)
        return gs_fail_nomem(err, "metadata");
    struct gs_value v = {.type = GS_VALUE_STRING, .as.s = {copy, s.size}};
    return gs_meta_set(meta, key_str(key), &v, err);
}

int gs_meta_set_uint(struct gs_meta *meta, const char *key, uint64_t u, struct gs_err *err)
{
    struct gs_value v = {.type = u <= UINT32_MAX ? GS_VALUE_U32 : GS_VALUE_U64, .as.u = u};
    return gs_meta_set(meta, key_str(key), &v, err);
}

int gs_meta_set_f32(struct gs_meta *meta, const char *key, double f, struct gs_err *err)
{
    struct gs_value v = {.type = GS_VALUE_F32, .as.f = f};
    return gs_meta_set(meta, key_str(key), &v, err);
}

int gs_meta_set_bool(struct gs_meta *meta, const char *key, bool b, struct gs_err *err)
{
    struct gs_value v = {.type = GS_VALUE_BOOL, .as.u = b};
    return gs_meta_set(meta, key_str(key), &v, err);
}

static bool copy_strings(struct gs_arena *arena, struct gs_str *to, const struct gs_str *from,
                         uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        char *copy = gs_arena_strndup(arena, from[i].data, from[i].size);
        if (!copy)
            return false;
        to[i] = (struct gs_str){copy, from[i].size};
    }
    return true;
}

int gs_meta_set_array(struct gs_meta *meta, const char *key, enum gs_value_type type,
                      const void *data, uint64_t count, struct gs_err *err)
{
    bool strings = type == GS_VALUE_STRING;
    size_t size = strings ? sizeof(struct gs_str) : gs_value_bytes(type);

    assert(size > 0);
    void *copy = gs_arena_alloc(&meta->arena, count, size);
    if (!copy)
        return gs_fail_nomem(err, "metadata");
    if (strings && !copy_strings(&meta->arena, copy, data, count))
        return gs_fail_nomem(err, "metadata");
    if (!strings && count)
        memcpy(copy, data, count * size);
    struct gs_value v = {.type = GS_VALUE_ARRAY, .as.a = {type, count, copy}};
    return gs_meta_set(meta, key_str(key), &v, err);
}

void gs_meta_remove(struct gs_meta *meta, const char *key)
{
    for (size_t i = 0; i < meta->count; i++) {
        if (strcmp(meta->entries[i].key, key))
            continue;
        memmove(meta->entries + i, meta->entries + i + 1,
                (meta->count - i - 1) * sizeof *meta->entries);
        meta->count--;
        rebuild(meta);
        return;
    }
}

static bool is_unsigned(enum gs_value_type t)
{
    return t == GS_VALUE_U8 || t == GS_VALUE_U16 || t == GS_VALUE_U32 || t == GS_VALUE_U64;
}

static bool is_signed(enum gs_value_type t)
{
    return t == GS_VALUE_I8 || t == GS_VALUE_I16 || t == GS_VALUE_I32 || t == GS_VALUE_I64;
}

static bool is_float(enum gs_value_type t)
{
    return t == GS_VALUE_F32 || t == GS_VALUE_F64;
}

static int wrong_kind(const char *key, const char *want, const struct gs_value *have,
                      struct gs_err *err)
{
    return gs_fail(err, GS_E_FORMAT, "metadata key %s must be %s, is %s", key, want,
                   gs_value_type_name(have->type));
}

int gs_meta_get_uint(const struct gs_meta *meta, const char *key, uint64_t *out,
                     struct gs_err *err)
{
    const struct gs_value *v = gs_meta_find(meta, key);

    if (!v)
        return 0;
    if (is_signed(v->type) && v->as.i < 0)
        return gs_fail(err, GS_E_FORMAT, "metadata key %s must not be negative, is %" PRId64,
                       key, v->as.i);
    if (is_signed(v->type))
        *out = (uint64_t)v->as.i;
    else if (is_unsigned(v->type))
        *out = v->as.u;
    else
        return wrong_kind(key, "an integer", v, err);
    return 1;
}

int gs_meta_get_float(const struct gs_meta *meta, const char *key, double *out,
                      struct gs_err *err)
{
    const struct gs_value *v = gs_meta_find(meta, key);

    if (!v)
        return 0;
    if (is_float(v->type))
        *out = v->as.f;
    else if (is_unsigned(v->type))
        *out = (double)v->as.u;
    else if (is_signed(v->type))
        *out = (double)v->as.i;
    else
        return wrong_kind(key, "a number", v, err);
    return 1;
}

int gs_meta_get_bool(const struct gs_meta *meta, const char *key, bool *out,
                     struct gs_err *err)
{
    const struct gs_value *v = gs_meta_find(meta, key);

    if (!v)
        return 0;
    if (v->type != GS_VALUE_BOOL)
        return wrong_kind(key, "a bool", v, err);
    *out = v->as.u != 0;
    return 1;
}

int gs_meta_get_str(const struct gs_meta *meta, const char *key, struct gs_str *out,
                    struct gs_err *err)
{
    const struct gs_value *v = gs_meta_find(meta, key);

    if (!v)
        return 0;
    if (v->type != GS_VALUE_STRING)
        return wrong_kind(key, "a string", v, err);
    *out = v->as.s;
    return 1;
}

int gs_meta_get_array(const struct gs_meta *meta, const char *key, enum gs_value_type type,
                      struct gs_array *out, struct gs_err *err)
{
    const struct gs_value *v = gs_meta_find(meta, key);

    if (!v)
        return 0;
    if (v->type != GS_VALUE_ARRAY)
        return wrong_kind(key, "an array", v, err);
    enum gs_value_type have = v->as.a.type;
    bool integers = is_unsigned(have) || is_signed(have);
    if (type == GS_VALUE_I64 ? !integers : type == GS_VALUE_F64 ? !is_float(have) : have != type)
        return gs_fail(err, GS_E_FORMAT, "metadata key %s must be an array of %s, is of %s",
                       key, gs_value_type_name(type), gs_value_type_name(have));
    *out = v->as.a;
    return 1;
}

int64_t gs_array_int(const struct gs_array *array, uint64_t i)
{
    assert(i < array->count);
    const uint8_t *p = (const uint8_t *)array->data + i * gs_value_bytes(array->type);
    switch (array->type) {
    case GS_VALUE_U8: case GS_VALUE_BOOL: return *p;
    case GS_VALUE_I8: return (int8_t)*p;
    case GS_VALUE_U16: return gs_load_u16(p);
    case GS_VALUE_I16: return (int16_t)gs_load_u16(p);
    case GS_VALUE_U32: return gs_load_u32(p);
    case GS_VALUE_I32: return (int32_t)gs_load_u32(p);
    case GS_VALUE_U64: case GS_VALUE_I64: return (int64_t)gs_load_u64(p);
    default: assert(!"integer array"); return 0;
    }
}

double gs_array_float(const struct gs_array *array, uint64_t i)
{
    assert(i < array->count);
    const uint8_t *p = (const uint8_t *)array->data + i * gs_value_bytes(array->type);
    if (array->type == GS_VALUE_F32)
        return (double)gs_load_f32(p);
    if (array->type == GS_VALUE_F64)
        return gs_load_f64(p);
    return (double)gs_array_int(array, i);
}
