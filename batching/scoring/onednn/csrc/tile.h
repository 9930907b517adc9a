/* The inner loop of attention and of products: TILE rows times a few registers of columns, all sums in registers. */

INLINE void set_zero(vec (*sums)[BLOCKS], const int blocks) {
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) sums[i][b] = every(0.0f);
}

/* To sums[i][b] comes the sum over `units` of what `rows[i]` has there, times its line of `columns` (`stride` apart), in bfloat16 where
 * `half`. `ahead`: columns are fetched so many numbers before they are needed; 0: they are near.
 */
INLINE void multiply(const float *const *rows, const float *columns, long stride, long units, const int blocks, const int half,
                     const long ahead, vec (*sums)[BLOCKS]) {
    for (long u = 0; u < units; u++) {
        vec column[BLOCKS];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) column[b] = load(columns + u * stride + LANES * b);
        if (ahead) __builtin_prefetch(columns + u * stride + ahead);
#pragma GCC unroll 6
        for (int i = 0; i < TILE; i++) {
            vec row = every(rows[i][u]);
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++)
                sums[i][b] = half ? multiply_add_pairs(row, column[b], sums[i][b]) : multiply_add(row, column[b], sums[i][b]);
        }
    }
}
