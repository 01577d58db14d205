/* SPDX-License-Identifier: MIT
 * Matrices stored on a grid of ours, in a GGUF file that any reader can open:
 *
 *     W = T_out⁻¹ · (scale ∘ grid[codes]) · T_in        y = T_out⁻¹(scale ∘ Ŵ (T_in x))
 *
 *   NAME.weight       I8, [bytes of a block row, block rows]: the codes (grid/grid.h); a stock
 *                     runtime stops at the shape instead of computing nonsense
 *   NAME.scale        F16 (rows): scales, in units of a power of two
 *   NAME.factor       F16 (cols): the diagonal of T_in, shared by matrices of one input
 *   NAME.table        I8 [64], or none: the magnitudes of a trellis grid instead of its own, in
 *                     the same unit; those that the rate has no index for are not read
 *
 * and arrays of the metadata with one element a matrix, in any order of matrices:
 *
 *   gosset.native.names string   grids string    rates u32 (bits per 8 weights)
 *                 rows u32       cols u32        units f32 (of the scales)
 *                 in string, in_factors string ("" = signs from seed and stream), in_streams u32
 *                 out string     out_streams u32
 *   gosset.seed   u64: random signs that no tensor holds are drawn from it (transform/)
 *
 * Everything is used as it lies in the mapped file but for scales and factors, which become
 * f32. Whatever a file says is checked here; any bytes are valid codes. */
#ifndef GS_MODEL_NATIVE_H
#define GS_MODEL_NATIVE_H

#include "file/store.h"
#include "grid/grid.h"
#include "transform/transform.h"

#define GS_NATIVE_VERSION 1
#define GS_NATIVE_VERSION_TABLES 2 /* of a file with .table: who knows 1 only must not run it */
#define GS_NATIVE_VERSION_PIECES 3 /* of a file with matrices that are cut (part_file.h) */
#define GS_KEY_VERSION "gosset.version"
#define GS_KEY_SEED "gosset.seed"
#define GS_KEY_NATIVE "gosset.native." /* then: */
#define GS_NATIVE_SCALE ".scale"
#define GS_NATIVE_FACTOR ".factor"
#define GS_NATIVE_TABLE ".table"
#define GS_NATIVE_TABLE_BYTES 64u

/* Rows that are decoded together are a multiple of this; blocks of every grid divide it. */
#define GS_NATIVE_ROWS 16u

/* One matrix, ready to multiply. All borrowed. */
struct gs_native {
    const struct gs_codec *codec;
    const struct gs_transform *in, *out; /* sizes cols and rows; NULL = identity */
    const uint8_t *codes;
    size_t codes_stride, rows, cols;
    const float *scales; /* (rows) */
};

/* What the metadata says of one matrix. */
struct gs_native_facts {
    const struct gs_tensor *codes, *scale;
    const struct gs_tensor *factor, *table; /* NULL = none in the file */
    const struct gs_grid *grid;
    unsigned rate;
    size_t rows, cols;
    const struct gs_transform_kind *in, *out;
    uint32_t in_stream, out_stream;
    float unit;
};

struct gs_natives;

/* Reads and checks the metadata; *out is NULL for a file without native matrices. */
int gs_natives_open(struct gs_store *store, struct gs_natives **out, struct gs_err *err)
    GS_MUST_USE;
/* Makes codecs, transforms and scales; to be called once, before gs_natives_matrix. */
int gs_natives_load(struct gs_natives *natives, struct gs_err *err) GS_MUST_USE;
void gs_natives_close(struct gs_natives **natives);

/* NULL if the tensor holds no native matrix; natives may be NULL. */
const struct gs_native_facts *gs_natives_facts(const struct gs_natives *natives,
                                               const struct gs_tensor *tensor);
const struct gs_native *gs_natives_matrix(const struct gs_natives *natives,
                                          const struct gs_tensor *tensor);

/* Tensors that hold scales, factors and tables: no weights of their own. */
bool gs_natives_is_side(const struct gs_natives *natives, const struct gs_tensor *tensor);
size_t gs_natives_sides(const struct gs_natives *natives);

/* Ŵ times its scales, rows first … first+n-1 (first a multiple of the grid's block_rows):
 * y rounded up to whole block rows, cols floats a row. */
void gs_native_decode(const struct gs_native *w, size_t first, size_t n, float *y);

#endif
