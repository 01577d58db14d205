/* SPDX-License-Identifier: MIT
 * The store itself, the list of formats, and what other kinds of file people hand us.
 *
 *   tensors[i]   what callers see: name, type, shape, bytes
 *   sources[i]   where it comes from: a range of a map, perhaps with a recipe
 *   slots        hash of a name -> i + 1; open addressing, at most half full
 *   maps         every mapped file of the model, closed with the store
 *
 * A recipe's result is made once and kept; the pages that it was made from are dropped, so
 * a tensor is in memory once. */
#include "file/store_impl.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "core/alloc.h"
#include "core/hash.h"

static const struct gs_format *const formats[] = {
    &gs_format_gguf,
    &gs_format_hf,
    &gs_format_safetensors,
};

struct gs_store {
    char *path;
    const char *format;
    struct gs_meta *meta;
    struct gs_arena arena; /* names and the contexts of builds */
    struct gs_tensor *tensors;
    struct gs_source *sources;
    size_t count, capacity;
    uint32_t *slots;   /* hash of name -> index + 1 of a tensor, 0 = free */
    size_t slot_count; /* a power of two, twice the capacity */
    struct gs_map **maps;
    size_t n_maps, maps_capacity;
};

/* ---- tensors ------------------------------------------------------------------------ */

int gs_tensor_bytes(enum gs_type type, uint32_t n_dims, const uint64_t *dim, uint64_t *bytes,
                    struct gs_err *err)
{
    uint64_t elements = 1;

    for (uint32_t i = 0; i < n_dims; i++) {
        if (!dim[i])
            return gs_fail(err, GS_E_FORMAT, "dimension %" PRIu32 " is 0", i);
        if (!gs_mul_ok(elements, dim[i], &elements) || elements > INT64_MAX)
            return gs_fail(err, GS_E_FORMAT, "the number of elements overflows");
    }
    uint64_t row, rows = elements / dim[0];
    int rc = gs_type_row_bytes(type, dim[0], &row, err);
    if (rc)
        return rc;
    if (!gs_mul_ok(row, rows, bytes) || *bytes > INT64_MAX)
        return gs_fail(err, GS_E_FORMAT, "the number of bytes overflows");
    return GS_OK;
}

/* The slot of the name, or the free slot where it belongs. slot_count > 0. */
static size_t find_slot(const struct gs_store *store, const char *name, size_t n)
{
    size_t mask = store->slot_count - 1;
    size_t at = gs_hash(name, n) & mask;

    for (; store->slots[at]; at = (at + 1) & mask) {
        const char *have = store->tensors[store->slots[at] - 1].name;
        if (!strncmp(have, name, n) && !have[n])
            break;
    }
    return at;
}

/* Doubles the three tables together. On failure those already grown stay valid, since
 * capacity says how much of them counts. */
static bool grow(struct gs_store *store)
{
    size_t old = store->capacity, capacity = old ? 2 * old : 64;
    struct gs_tensor *tensors = gs_realloc(store->tensors, old * sizeof *tensors,
                                           capacity * sizeof *tensors);
    if (!tensors)
        return false;
    store->tensors = tensors;
    struct gs_source *sources = gs_realloc(store->sources, old * sizeof *sources,
                                           capacity * sizeof *sources);
    if (!sources)
        return false;
    store->sources = sources;
    uint32_t *slots = gs_alloc(2 * capacity, sizeof *slots);
    if (!slots)
        return false;
    gs_free(&store->slots);
    store->slots = slots;
    store->slot_count = 2 * capacity;
    store->capacity = capacity;
    for (size_t i = 0; i < store->count; i++) {
        const char *name = store->tensors[i].name;
        store->slots[find_slot(store, name, strlen(name))] = (uint32_t)(i + 1);
    }
    return true;
}

int gs_store_add(struct gs_store *store, struct gs_str name, enum gs_type type,
                 uint32_t n_dims, const uint64_t *dim, const struct gs_source *source,
                 struct gs_err *err)
{
    struct gs_tensor t = {.type = type, .n_dims = n_dims, .dim = {1, 1, 1, 1}};

    assert(n_dims >= 1 && n_dims <= 4);
    for (uint32_t i = 0; i < n_dims; i++)
        t.dim[i] = dim[i];
    int rc = gs_tensor_bytes(type, n_dims, dim, &t.bytes, err);
    if (rc)
        return rc;
    assert(source->build || source->bytes == t.bytes);
    if (store->count >= UINT32_MAX / 4 || (store->count == store->capacity && !grow(store)))
        return gs_fail_nomem(err, "tensors");
    size_t at = find_slot(store, name.data, name.size);
    if (store->slots[at])
        return gs_fail(err, GS_E_FORMAT, "a second tensor of this name (the first is in %s)",
                       store->tensors[store->slots[at] - 1].file);
    t.name = gs_arena_strndup(&store->arena, name.data, name.size);
    if (!t.name)
        return gs_fail_nomem(err, "tensors");
    t.file = source->map ? source->map->path : store->path;
    store->tensors[store->count] = t;
    store->sources[store->count] = *source;
    store->slots[at] = (uint32_t)++store->count;
    return GS_OK;
}

void gs_store_shift(struct gs_store *store, size_t first, uint64_t delta)
{
    for (size_t i = first; i < store->count; i++)
        store->sources[i].offset += delta;
}

size_t gs_store_count(const struct gs_store *store)
{
    return store->count;
}

const struct gs_tensor *gs_store_tensor(const struct gs_store *store, size_t index)
{
    assert(index < store->count);
    return store->tensors + index;
}

const struct gs_tensor *gs_store_find(const struct gs_store *store, const char *name)
{
    if (!store->count)
        return NULL;
    uint32_t slot = store->slots[find_slot(store, name, strlen(name))];
    return slot ? store->tensors + slot - 1 : NULL;
}

/* ---- data --------------------------------------------------------------------------- */

/* A file may place a tensor at any byte; kernels want their elements aligned. */
#define ADDRESS_ALIGNMENT 8u

static int make_copy(const struct gs_tensor *tensor, const struct gs_source *source, void *dst,
                     struct gs_err *err)
{
    (void)err;
    memcpy(dst, source->map->data + source->offset, tensor->bytes);
    return GS_OK;
}

static const struct gs_build build_copy = {"copy", make_copy};

int gs_store_data(struct gs_store *store, const struct gs_tensor *tensor, const void **data,
                  struct gs_err *err)
{
    size_t index = (size_t)(tensor - store->tensors);
    assert(index < store->count);
    struct gs_source *s = store->sources + index;
    const struct gs_build *build = s->build;

    if (!s->built && !build) {
        const uint8_t *p = s->map->data + s->offset;
        if ((uintptr_t)p % ADDRESS_ALIGNMENT == 0) {
            *data = p;
            return GS_OK;
        }
        build = &build_copy;
    }
    if (!s->built) {
        void *p = gs_alloc(tensor->bytes, 1);
        if (!p)
            return gs_fail_nomem(err, tensor->name);
        int rc = build->make(tensor, s, p, err);
        if (rc) {
            gs_free(&p);
            return rc;
        }
        s->built = p;
        if (s->map)
            gs_map_drop(s->map, s->offset, s->bytes);
    }
    *data = s->built;
    return GS_OK;
}

void gs_store_release(struct gs_store *store, const struct gs_tensor *tensor)
{
    size_t index = (size_t)(tensor - store->tensors);
    assert(index < store->count);
    struct gs_source *s = store->sources + index;

    gs_free(&s->built);
    if (s->map)
        gs_map_drop(s->map, s->offset, s->bytes);
}

void gs_store_expect(const struct gs_store *store)
{
    for (size_t i = 0; i < store->n_maps; i++)
        gs_map_expect(store->maps[i]);
}

/* ---- opening ------------------------------------------------------------------------ */

static int add_map(struct gs_store *store, struct gs_map *map, struct gs_err *err)
{
    if (store->n_maps == store->maps_capacity) {
        size_t old = store->maps_capacity, capacity = old ? 2 * old : 4;
        struct gs_map **maps = gs_realloc(store->maps, old * sizeof(struct gs_map *),
                                          capacity * sizeof(struct gs_map *));
        if (!maps)
            return gs_fail_nomem(err, map->path);
        store->maps = maps;
        store->maps_capacity = capacity;
    }
    store->maps[store->n_maps++] = map;
    return GS_OK;
}

int gs_store_map(struct gs_store *store, const char *path, const struct gs_map **out,
                 struct gs_err *err)
{
    struct gs_map *map;

    int rc = gs_map_open(path, &map, err);
    if (rc)
        return rc;
    rc = add_map(store, map, err);
    if (rc)
        gs_map_close(&map);
    *out = map;
    return rc;
}

struct gs_meta *gs_store_meta_edit(struct gs_store *store)
{
    return store->meta;
}

struct gs_arena *gs_store_arena(struct gs_store *store)
{
    return &store->arena;
}

static void clear(struct gs_store *store)
{
    for (size_t i = 0; i < store->count; i++)
        gs_free(&store->sources[i].built);
    for (size_t i = 0; i < store->n_maps; i++)
        gs_map_close(&store->maps[i]);
    gs_meta_destroy(&store->meta);
    gs_arena_clear(&store->arena);
    gs_free(&store->tensors);
    gs_free(&store->sources);
    gs_free(&store->slots);
    gs_free(&store->maps);
    store->count = store->capacity = store->slot_count = 0;
    store->n_maps = store->maps_capacity = 0;
}

int gs_store_reset(struct gs_store *store, struct gs_err *err)
{
    clear(store);
    return gs_meta_create(&store->meta, err);
}

void gs_store_close(struct gs_store **store)
{
    if (!*store)
        return;
    clear(*store);
    gs_free(&(*store)->path);
    gs_free(store);
}

/* What a file of no known format probably is. */
static const char *guess(const struct gs_map *map)
{
    static const struct {
        struct gs_str head;
        const char *what;
    } known[] = {
        {GS_STR("lmgg"), "a ggml file from before GGUF; convert the model anew"},
        {GS_STR("fmgg"), "a ggmf file from before GGUF; convert the model anew"},
        {GS_STR("tjgg"), "a ggjt file from before GGUF; convert the model anew"},
        {GS_STR("algg"), "a LoRA adapter in the old ggla format, not a model"},
        {GS_STR("FUGG"), "a big-endian GGUF file, which is not supported"},
        {GS_STR("PK\3\4"), "a PyTorch or zip archive; get the model as safetensors or GGUF"},
        {GS_STR("\x80\2"), "a pickled PyTorch file; get the model as safetensors or GGUF"},
        {GS_STR("version https://git-lfs"),
         "a Git LFS pointer, not the file itself; fetch it with git lfs pull"},
        {GS_STR("<!DOCTYPE"), "a web page, not a model: the download failed"},
        {GS_STR("<html"), "a web page, not a model: the download failed"},
        {GS_STR("\0\0\0\0\0\0\0\0"), "a file that begins with zeros: an unfinished write"},
    };

    if (!map->size)
        return "an empty file";
    for (size_t i = 0; i < GS_COUNT(known); i++)
        if (map->size >= known[i].head.size &&
            !memcmp(map->data, known[i].head.data, known[i].head.size))
            return known[i].what;
    return "neither GGUF nor safetensors";
}

/* The first that claims the path; the order of the list settles a tie. */
static const struct gs_format *find_format(const char *path, const struct gs_map *map)
{
    for (size_t i = 0; i < GS_COUNT(formats); i++)
        if (formats[i]->probe(path, map))
            return formats[i];
    return NULL;
}

int gs_store_create(const char *path, const char *format, struct gs_store **out,
                    struct gs_err *err)
{
    struct gs_store *store = gs_alloc(1, sizeof *store);

    *out = NULL;
    if (!store)
        return gs_fail_nomem(err, path);
    int rc = gs_store_reset(store, err);
    store->format = format;
    store->path = gs_strndup(path, strlen(path));
    if (!rc && !store->path)
        rc = gs_fail_nomem(err, path);
    if (rc)
        gs_store_close(&store);
    *out = store;
    return rc;
}

/* Takes *map (NULL for a folder) over. */
static int open_any(const char *path, struct gs_map **map, struct gs_store **out,
                    struct gs_err *err)
{
    const struct gs_map *m = *map;
    const struct gs_format *format = find_format(path, m);
    struct gs_store *store = NULL;
    int rc = format ? gs_store_create(path, format->name, &store, err)
                    : gs_fail(err, GS_E_FORMAT, "%s: %s", path, guess(m));

    if (!rc && m)
        rc = add_map(store, *map, err);
    if (rc)
        gs_map_close(map);
    *map = NULL;
    if (!rc)
        rc = format->open(store, store->path, m, err);
    if (rc)
        gs_store_close(&store);
    *out = store;
    return rc;
}

int gs_store_open_map(struct gs_map **map, struct gs_store **out, struct gs_err *err)
{
    char *path = gs_strndup((*map)->path, strlen((*map)->path));
    int rc;

    *out = NULL;
    if (path) {
        rc = open_any(path, map, out, err);
    } else {
        rc = gs_fail_nomem(err, (*map)->path);
        gs_map_close(map);
    }
    gs_free(&path);
    return rc;
}

int gs_store_open(const char *path, struct gs_store **out, struct gs_err *err)
{
    struct stat st;
    struct gs_map *map = NULL;

    *out = NULL;
    if (stat(path, &st))
        return gs_fail(err, GS_E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        int rc = gs_map_open(path, &map, err);
        if (rc)
            return rc;
    }
    return open_any(path, &map, out, err);
}

const char *gs_store_path(const struct gs_store *store)
{
    return store->path;
}

const char *gs_store_format(const struct gs_store *store)
{
    return store->format;
}

const struct gs_meta *gs_store_meta(const struct gs_store *store)
{
    return store->meta;
}

const char *gs_store_file(const struct gs_store *store, size_t index)
{
    return index < store->n_maps ? store->maps[index]->path : NULL;
}
