/* SPDX-License-Identifier: MIT
 * The layout of a blob, from a spec or from a header. Every size is a checked product, and a
 * header is believed only if the blob has exactly the bytes that follow from it. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "part/members.h"

#define HEADER_BYTES 51u /* without the texts */

static uint64_t header_bytes(const struct gs_part_form *f)
{
    return HEADER_BYTES + 5 + strlen(f->text) + strlen(f->rule->name) + strlen(f->in->name) +
           strlen(f->out->name) + (f->rank ? strlen(f->factors->name) : 0) +
           (f->blocks ? 1 : 0);
}

static uint64_t low_rank_bytes(const struct gs_part_form *f)
{
    const struct gs_low_rank low = {.rows = f->rows, .cols = f->cols, .rank = f->rank,
                                    .format = f->factors};

    return f->rank ? gs_low_rank_bytes(&low) : 0;
}

/* Of a row of a layer's codes. */
static uint64_t layer_row_bytes(const struct gs_part_form *f, unsigned k)
{
    return ((uint64_t)f->cols * f->codebook->layer_bits[k] + 7) / 8;
}

uint64_t gs_part_piece_bytes(const struct gs_part_form *f, unsigned k)
{
    if (k == 0)
        return f->bytes;
    return f->blocks ? f->rows * f->row_bytes + low_rank_bytes(f)
                     : f->rows * layer_row_bytes(f, k);
}

/* Sections from rows, cols, codebook and groups. */
static int place_sections(struct gs_part_form *f, struct gs_err *err)
{
    uint64_t group_bits = 0, codes;

    f->row_bytes = f->cut ? layer_row_bytes(f, 0)
                          : (gs_codebook_code_bits(f->codebook, f->cols) + 7) / 8;
    f->shared_at = header_bytes(f);
    f->groups_at = f->shared_at + (f->codebook->shared_bits + 7) / 8;
    if ((!f->blocks && !gs_part_groups_bits(f, &group_bits)) ||
        !gs_mul_ok(f->row_bytes, f->rows, &codes) ||
        !gs_add_ok(f->groups_at, group_bits / 8 + 1, &f->codes_at) ||
        !gs_add_ok(f->codes_at, codes, &f->factor_at) ||
        !gs_add_ok(f->factor_at, 2 * (uint64_t)f->cols, &f->low_rank_at) ||
        f->low_rank_at >> 60)
        return gs_fail(err, GS_E_FORMAT, "%zu rows of %zu weights are too many", f->rows,
                       f->cols);
    f->codes_at = f->groups_at + (group_bits + 7) / 8;
    f->factor_at = f->codes_at + codes;
    f->low_rank_at = f->factor_at + (f->factor ? 2 * (uint64_t)f->cols : 0);
    f->bytes = f->low_rank_at + low_rank_bytes(f);
    f->pieces = f->blocks ? f->blocks : f->cut ? f->codebook->layers : 1;
    f->pieces_bytes = 0;
    for (unsigned k = 1; k < f->pieces; k++)
        f->pieces_bytes += gs_part_piece_bytes(f, k);
    return GS_OK;
}

/* Shape, codebook and groups go together. */
static int check_form(const struct gs_part_form *f, struct gs_err *err)
{
    const struct gs_codebook *c = f->codebook;

    if (!f->rows || !f->cols || f->rows > GS_PART_DIM_MAX || f->cols > GS_PART_DIM_MAX)
        return gs_fail(err, GS_E_FORMAT, "%zu rows of %zu weights", f->rows, f->cols);
    if (f->cols % c->dim)
        return gs_fail(err, GS_E_ARG, "codebook %s: rows of %zu weights are no whole number of "
                       "%u", c->kind->name, f->cols, c->dim);
    if (f->group_cols % c->dim)
        return gs_fail(err, GS_E_ARG, "codebook %s: groups of %zu columns are no whole number "
                       "of codes of %u", c->kind->name, f->group_cols, c->dim);
    if (f->blocks && (!f->rank || strcmp(c->kind->name, "binary") || f->factors->bits != 16 ||
                      f->sparse || f->factor || f->in->apply_f32 || f->out->apply_f32))
        return gs_fail(err, GS_E_ARG, "blocks are of codebook = binary with a low_rank in f16, "
                       "without outliers and transforms");
    if (!gs_codebook_group_bits(c, f->rule) &&
        (f->group_rows != f->rows || f->group_cols != f->cols))
        return gs_fail(err, GS_E_ARG, "codebook %s: groups have no numbers: scale = tensor",
                       c->kind->name);
    return GS_OK;
}

static void count_groups(struct gs_part_form *f)
{
    f->group_rows = GS_MIN(f->group_rows, f->rows);
    f->group_cols = GS_MIN(f->group_cols, f->cols);
    f->n_group_rows = (f->rows + f->group_rows - 1) / f->group_rows;
    f->n_group_cols = (f->cols + f->group_cols - 1) / f->group_cols;
    f->scale_group = GS_MIN(f->scale_group, f->n_group_rows);
}

int gs_part_form_create(const struct gs_part_spec *spec, size_t rows, size_t cols,
                        const char *transform_in, const char *transform_out, bool factor,
                        struct gs_part_form *out, struct gs_err *err)
{
    struct gs_part_form f = {.rows = rows, .cols = cols, .unit = 1, .factor = factor,
                             .rule = gs_scale_rule_find(spec->scale_format),
                             .scale_group = spec->scale_group ? (size_t)spec->scale_group : 1,
                             .scale_bits = (unsigned)spec->scale_bits,
                             .in = gs_transform_find(transform_in),
                             .out = gs_transform_find(transform_out),
                             .rank = GS_MIN((size_t)spec->low_rank, GS_MIN(rows, cols)),
                             .factors = gs_factor_format_find(spec->low_rank_format),
                             .sparse = strcmp(spec->sparse_by, "none") != 0};
    int rc = gs_codebook_create(spec->codebook, &f.codebook, err);

    f.blocks = (unsigned)spec->blocks;
    f.cut = !rc && !f.blocks && !f.sparse && f.codebook->layers > 1;
    strcpy(f.text, spec->codebook);
    if (!rc && rows && cols)
        gs_part_scale_find(spec->scale)->shape(rows, cols, (size_t)spec->group, &f.group_rows,
                                               &f.group_cols);
    if (!rc && rows && cols)
        count_groups(&f);
    if (!rc && !(rc = check_form(&f, err)))
        rc = place_sections(&f, err);
    if (rc)
        gs_part_form_clear(&f);
    *out = f;
    return rc;
}

void gs_part_form_clear(struct gs_part_form *form)
{
    gs_codebook_destroy(&form->codebook);
}

/* ---- bytes -------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * i);
    return p + bytes;
}

static uint8_t *put_text(uint8_t *p, const char *text)
{
    size_t n = strlen(text);

    *p++ = (uint8_t)n;
    memcpy(p, text, n);
    return p + n;
}

void gs_part_form_write(const struct gs_part_form *f, uint8_t *blob)
{
    uint32_t unit;
    uint8_t *p = put(blob, GS_PART_MAGIC, 4);

    memcpy(&unit, &f->unit, sizeof unit);
    p = put(p, GS_PART_VERSION, 2);
    p = put(p, (f->factor ? GS_PART_FLAG_FACTOR : 0) | (f->sparse ? GS_PART_FLAG_SPARSE : 0) |
                   (f->cut ? GS_PART_FLAG_LAYERS : 0) | (f->blocks ? GS_PART_FLAG_BLOCKS : 0), 2);
    p = put(p, f->rows, 4);
    p = put(p, f->cols, 4);
    p = put(p, f->group_rows, 4);
    p = put(p, f->group_cols, 4);
    p = put(p, f->scale_group, 4);
    p = put(p, f->scale_bits, 1);
    p = put(p, unit, 4);
    p = put(p, f->seed, 8);
    p = put(p, f->stream_in, 4);
    p = put(p, f->stream_out, 4);
    p = put(p, f->rank, 2);
    p = put_text(p, f->text);
    p = put_text(p, f->rule->name);
    p = put_text(p, f->in->name);
    p = put_text(p, f->out->name);
    p = put_text(p, f->rank ? f->factors->name : "");
    if (f->blocks)
        put(p, f->blocks, 1);
}

static bool read_text(struct gs_cursor *c, char out[GS_PART_TEXT])
{
    size_t n = gs_cursor_u8(c);
    const uint8_t *p = gs_cursor_bytes(c, n);

    if (!p || n >= GS_PART_TEXT || memchr(p, 0, n))
        return false;
    memcpy(out, p, n);
    out[n] = 0;
    return true;
}

static int read_kinds(struct gs_cursor *c, struct gs_part_form *f, struct gs_err *err)
{
    char text[GS_PART_TEXT];

    if (!read_text(c, f->text))
        return gs_fail(err, GS_E_FORMAT, "the name of the codebook is cut or too long");
    int rc = gs_codebook_create(f->text, &f->codebook, err);
    if (rc)
        return rc;
    f->rule = read_text(c, text) ? gs_scale_rule_find(text) : NULL;
    f->in = read_text(c, text) ? gs_transform_find(text) : NULL;
    f->out = read_text(c, text) ? gs_transform_find(text) : NULL;
    f->factors = read_text(c, text) ? gs_factor_format_find(text) : NULL;
    if (f->blocks)
        f->blocks = gs_cursor_u8(c);
    if (!f->rule || !f->in || !f->out || (f->rank && !f->factors))
        return gs_fail(err, GS_E_UNSUPPORTED, "a format or transform of an unknown kind");
    if (f->out->needs_fit || (f->in->needs_fit && !f->factor) ||
        (f->factor && !f->in->apply_f32))
        return gs_fail(err, GS_E_FORMAT, "its transform has no factors, or too many");
    return GS_OK;
}

int gs_part_form_read(const uint8_t *blob, uint64_t bytes, struct gs_part_form *out,
                      struct gs_err *err)
{
    struct gs_cursor c = gs_cursor_make(blob, bytes);
    struct gs_part_form f = {.rows = 0};
    uint32_t magic = gs_cursor_u32(&c);
    uint16_t version = gs_cursor_u16(&c), flags = gs_cursor_u16(&c);

    *out = f;
    f.rows = gs_cursor_u32(&c);
    f.cols = gs_cursor_u32(&c);
    f.group_rows = gs_cursor_u32(&c);
    f.group_cols = gs_cursor_u32(&c);
    f.scale_group = gs_cursor_u32(&c);
    f.scale_bits = gs_cursor_u8(&c);
    uint32_t unit = gs_cursor_u32(&c);
    memcpy(&f.unit, &unit, sizeof unit);
    f.seed = gs_cursor_u64(&c);
    f.stream_in = gs_cursor_u32(&c);
    f.stream_out = gs_cursor_u32(&c);
    f.rank = gs_cursor_u16(&c);
    f.factor = flags & GS_PART_FLAG_FACTOR;
    f.sparse = flags & GS_PART_FLAG_SPARSE;
    f.cut = flags & GS_PART_FLAG_LAYERS;
    f.blocks = flags & GS_PART_FLAG_BLOCKS ? 1 : 0;
    if (c.failed || magic != GS_PART_MAGIC)
        return gs_fail(err, GS_E_FORMAT, "is no matrix of parts");
    if (version != GS_PART_VERSION || flags > GS_PART_FLAGS)
        return gs_fail(err, GS_E_UNSUPPORTED, "version %u of a matrix of parts, known is %d",
                       version, GS_PART_VERSION);
    if (!f.rows || !f.cols || f.rows > GS_PART_DIM_MAX || f.cols > GS_PART_DIM_MAX ||
        !f.group_rows || !f.group_cols || !f.scale_group || f.scale_bits > 16 ||
        (f.scale_group > 1 && !f.scale_bits) || f.rank > GS_MIN(f.rows, f.cols) ||
        !(f.unit > 0) || !isfinite(f.unit))
        return gs_fail(err, GS_E_FORMAT, "a shape or unit that cannot be");
    int rc = read_kinds(&c, &f, err);
    if (!rc && ((flags & GS_PART_FLAG_BLOCKS && (!f.blocks || f.blocks > GS_PART_PIECES)) ||
                (f.cut && (f.codebook->layers < 2 || f.blocks || f.sparse))))
        rc = gs_fail(err, GS_E_FORMAT, "layers or blocks that cannot be");
    if (!rc)
        count_groups(&f);
    if (!rc && !(rc = check_form(&f, err)) && !(rc = place_sections(&f, err)) &&
        (f.bytes > bytes ||
         (!f.sparse && f.bytes != bytes && f.bytes + f.pieces_bytes != bytes)))
        rc = gs_fail(err, GS_E_FORMAT, "%" PRIu64 " bytes, expected %" PRIu64, bytes, f.bytes);
    if (rc)
        gs_part_form_clear(&f);
    else
        *out = f;
    return rc;
}

/* Bytes that 32 weights of so many bits take once they are stored (part_store.c), at most. */
static uint64_t stored_bytes(const struct gs_part_form *f, unsigned bits)
{
    bool even = f->cols % 32 == 0 && (f->group_cols % 32 == 0 || f->group_cols == f->cols) &&
                !strcmp(f->rule->name, "f16") && !f->rank && !f->in->apply_f32 &&
                !f->out->apply_f32 && !f->factor;

    return !f->cut || !even || bits > 8 ? 64 : bits <= 3 ? 18 : bits == 4 ? 22 : 34;
}

void gs_part_form_facts(const struct gs_part_form *f, struct gs_part_facts *out)
{
    uint64_t memory = 0;

    out->rows = f->rows;
    out->cols = f->cols;
    out->blocks = f->blocks > 0;
    out->pieces = f->pieces;
    for (unsigned k = 0; k < f->pieces; k++) {
        struct gs_part_piece *p = &out->piece[k];
        p->bytes = gs_part_piece_bytes(f, k);
        p->serves = f->cut ? f->codebook->layer_serves[k] : 0;
        memory += p->bytes;
        p->memory = f->blocks ? memory
                              : f->rows * ((f->cols * stored_bytes(f, p->serves) + 31) / 32);
    }
}

struct gs_part_source gs_part_source_of(const struct gs_part_form *f, const uint8_t *blob,
                                        uint64_t bytes)
{
    struct gs_part_source s = {.base_bytes = bytes, .pieces = 1};
    uint64_t at = f->bytes;

    s.piece[0] = blob;
    if (f->pieces < 2 || bytes != f->bytes + f->pieces_bytes)
        return s;
    s.base_bytes = f->bytes;
    for (s.pieces = 1; s.pieces < f->pieces; s.pieces++) {
        s.piece[s.pieces] = blob + at;
        at += gs_part_piece_bytes(f, s.pieces);
    }
    return s;
}
