/* SPDX-License-Identifier: MIT
 * The allocation as an integer program for GLPK: a 0/1 column for each option, a row for each
 * set (they add up to 1) and one for the bytes. Both sums are scaled to about 1. */
#include "recipe/allocate.h"

#ifdef GS_HAVE_GLPK
#include <glpk.h>

#include "core/alloc.h"

/* Calls of the search's hook after which the best answer so far counts: not a time, so that
 * the answer does not depend on the machine. */
#define CALLS_MAX 5000

/* Columns and rows; arrays count from 1. */
static void build(glp_prob *p, const struct gs_option_set *sets, size_t n, uint64_t budget,
                  int *rows, int *cols, double *values)
{
    double worst = 0;
    int column = 0, elements = 0;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sets[i].n; k++)
            worst = GS_MAX(worst, sets[i].options[k].damage);
    glp_set_obj_dir(p, GLP_MIN);
    glp_add_rows(p, (int)n + 1);
    glp_set_row_bnds(p, (int)n + 1, GLP_UP, 0, 1);
    for (size_t i = 0; i < n; i++) {
        glp_set_row_bnds(p, (int)i + 1, GLP_FX, 1, 1);
        glp_add_cols(p, (int)sets[i].n);
        for (size_t k = 0; k < sets[i].n; k++) {
            column++;
            glp_set_col_kind(p, column, GLP_BV);
            glp_set_obj_coef(p, column, worst > 0 ? sets[i].options[k].damage / worst : 0);
            elements++;
            rows[elements] = (int)i + 1;
            cols[elements] = column;
            values[elements] = 1;
            elements++;
            rows[elements] = (int)n + 1;
            cols[elements] = column;
            values[elements] = (double)sets[i].options[k].bytes / (double)budget;
        }
    }
    glp_load_matrix(p, elements, rows, cols, values);
}

static void count_calls(glp_tree *tree, void *calls)
{
    if (++*(int *)calls > CALLS_MAX)
        glp_ios_terminate(tree);
}

static bool solve(glp_prob *p)
{
    glp_iocp options;
    int calls = 0;

    glp_init_iocp(&options);
    options.presolve = GLP_ON;
    options.msg_lev = GLP_MSG_OFF;
    options.mip_gap = 1e-5;
    options.cb_func = count_calls;
    options.cb_info = &calls;
    glp_intopt(p, &options);
    int status = glp_mip_status(p);
    return status == GLP_OPT || status == GLP_FEAS;
}

bool gs_allocate_glpk(const struct gs_option_set *sets, size_t n, uint64_t budget,
                      size_t *chosen)
{
    size_t total = 0;
    bool found = false;

    for (size_t i = 0; i < n; i++)
        total += sets[i].n;
    int *rows = gs_alloc(2 * total + 1, sizeof *rows);
    int *cols = gs_alloc(2 * total + 1, sizeof *cols);
    double *values = gs_alloc(2 * total + 1, sizeof *values);
    if (rows && cols && values && budget && total < 1000000) {
        glp_term_out(GLP_OFF);
        glp_prob *p = glp_create_prob();
        build(p, sets, n, budget, rows, cols, values);
        found = solve(p);
        int column = 1;
        for (size_t i = 0; found && i < n; i++)
            for (size_t k = 0; k < sets[i].n; k++, column++)
                if (glp_mip_col_val(p, column) > 0.5)
                    chosen[i] = k;
        glp_delete_prob(p);
        glp_free_env();
    }
    gs_free(&rows);
    gs_free(&cols);
    gs_free(&values);
    return found;
}
#else
bool gs_allocate_glpk(const struct gs_option_set *sets GS_UNUSED, size_t n GS_UNUSED,
                      uint64_t budget GS_UNUSED, size_t *chosen GS_UNUSED)
{
    return false;
}
#endif
