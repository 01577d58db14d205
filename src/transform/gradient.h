/* SPDX-License-Identifier: MIT
 * Gradients of transforms, for learning them (FlatQuant, SpinQuant, OSTQuant, SmoothQuant
 * and their like: docs/train.md). G is the gradient with respect to a result; every gradient
 * is added to what is there, NULL ones are left out. All in double, row-major: learned
 * transforms are small, and they are inverted and fused.
 *
 * A weight that is multiplied by a transform and an activation that is multiplied by its
 * inverse give two gradients to one parameter: call both functions. */
#ifndef GS_TRANSFORM_GRADIENT_H
#define GS_TRANSFORM_GRADIENT_H

#include "core/err.h"
#include "transform/transform.h"

/* Y = X diag(s), or X diag(1/s) if `inverse`; X (rows, n). */
void gs_diagonal_forward(const double *x, const double *s, bool inverse, size_t rows, size_t n,
                         double *y);
void gs_diagonal_backward(const double *x, const double *s, bool inverse, const double *G,
                          size_t rows, size_t n, double *dx, double *ds);

/* Y (rows, m) = X (rows, n) P (n, m): dX = G Pᵀ, dP = Xᵀ G. */
void gs_dense_forward(const double *x, const double *p, size_t rows, size_t n, size_t m,
                      double *y);
void gs_dense_backward(const double *x, const double *p, const double *G, size_t rows,
                       size_t n, size_t m, double *dx, double *dp);

/* B = P⁻¹ (n, n); GS_E_ARG if P is singular. dP = −Bᵀ G Bᵀ. */
int gs_inverse_forward(const double *p, size_t n, double *b, struct gs_err *err) GS_MUST_USE;
int gs_inverse_backward(const double *b, const double *G, size_t n, double *dp,
                        struct gs_err *err) GS_MUST_USE;

/* Each row of X as (a, b): Y = P₁ᵀ X P₂ with P₁ (a, a), P₂ (b, b); a row times P₁ ⊗ P₂. */
int gs_kronecker_forward(const double *x, const double *p1, const double *p2, size_t rows,
                         size_t a, size_t b, double *y, struct gs_err *err) GS_MUST_USE;
int gs_kronecker_backward(const double *x, const double *p1, const double *p2, const double *G,
                          size_t rows, size_t a, size_t b, double *dx, double *dp1,
                          double *dp2, struct gs_err *err) GS_MUST_USE;

/* P = U diag(s) Vᵀ and its dual P⁻ᵀ = U diag(1/s) Vᵀ, U and V orthogonal (n, n), from their
 * gradients G and G_dual (NULL: none). */
int gs_svd_form_forward(const double *u, const double *s, const double *v, bool dual, size_t n,
                        double *p, struct gs_err *err) GS_MUST_USE;
int gs_svd_form_backward(const double *u, const double *s, const double *v, const double *G,
                         const double *G_dual, size_t n, double *du, double *ds, double *dv,
                         struct gs_err *err) GS_MUST_USE;

/* The transforms of transform.h, T = M diag(f): from x (n), y = what `op` made of it, and G
 * of y: G becomes dx; df (n) is that of the factor (for Hadamard: of the signs). */
void gs_transform_backward(const struct gs_transform *t, enum gs_transform_op op,
                           const float *x, const float *y, float *G, float *df, void *work);

/* ---- orthogonal matrices ------------------------------------------------------------------ */

/* Cayley: Q = (I − A)(I + A)⁻¹ with A = (Θ − Θᵀ) / 2; any Θ (n, n) gives a rotation without
 * the eigenvalue −1, so plain optimizers stay on the manifold. With K = −(I + Q)ᵀ G (I + A)⁻ᵀ:
 * dΘ = (K − Kᵀ) / 2. */
int gs_cayley_forward(const double *theta, size_t n, double *q, struct gs_err *err) GS_MUST_USE;
int gs_cayley_backward(const double *theta, const double *q, const double *G, size_t n,
                       double *dtheta, struct gs_err *err) GS_MUST_USE;

/* One step of gradient descent on the orthogonal matrices (Li, Li & Todorovic,
 * arXiv:2002.01113; SpinQuant): R (n, n) moves along the Cayley curve of the skew part of its
 * gradient g, by lr or, if that is less, to where the curve still is near its tangent. The
 * system is solved, not iterated, and R orthonormalised after; on an error R is as it was.
 * momentum (n, n) or NULL. */
int gs_stiefel_step(double *r, const double *g, double *momentum, double beta, double lr,
                    size_t n, struct gs_err *err) GS_MUST_USE;

/* Rows of R (n, n) made orthonormal (modified Gram–Schmidt, twice). False if they are
 * dependent. */
bool gs_orthonormalise(double *r, size_t n) GS_MUST_USE;

#endif
