/* Products of float32 rows with weights laid out once, bias and GELU computed while the result is near.
 *
 * A panel is PANEL outputs of the weights, [inside, PANEL]. Six rows of a part of DEEP numbers against a panel's part are one tile; the part
 * of the panel stays in the caches while PART rows go over it, and the rows while all panels do. Sums of at most DEEP numbers at a time are
 * nearer to the truth than one long sum: as near as oneDNN's, or nearer.
 */
#define PANEL (BLOCKS * LANES)
#define PART 192
#define DEEP 384
#define AHEAD (8 * PANEL)

/* Weights [out, inside] to panels [out / PANEL, inside, PANEL]; `out` is a multiple of PANEL. */
SIMD void EXPORT(pack_float32)(const float *weights, long out, long inside, float *panels) {
    for (long o = 0; o < out; o += PANEL)
        for (long u = 0; u < inside; u++)
            for (long j = 0; j < PANEL; j++) panels[o * inside + u * PANEL + j] = weights[(o + j) * inside + u];
}

/* max(x, 0) - |x| (1 - erf(|x| / sqrt 2)) / 2, the error function as x P(x^2) / Q(x^2), fitted to it up to 5.6: with its rounding off by
 * 8e-7 at most. */
INLINE vec exact_gelu(vec x) {
    vec size = smaller(size_of(x), every(5.6f)), square = size * size;
    vec above = multiply_add(every(4.3421426e-08f), square, every(1.3180043e-05f));
    vec below = multiply_add(every(1.1851148e-06f), square, every(8.09991e-05f));
    above = multiply_add(above, square, every(3.8024873e-04f));
    below = multiply_add(below, square, every(2.0031868e-03f));
    above = multiply_add(above, square, every(9.610475e-03f));
    below = multiply_add(below, square, every(2.9802369e-02f));
    above = multiply_add(above, square, every(7.168899e-02f));
    below = multiply_add(below, square, every(2.5651157e-01f));
    above = multiply_add(above, square, every(7.978838e-01f));
    below = multiply_add(below, square, every(1.0f));
    vec half = size * every(0.5f);
    return larger(x, every(0.0f)) - multiply_add(-half, size * above / below, half);
}

/* One tile: `depth` numbers of each of `rows` against a panel's part, added to what is there unless it is the `first` part of them. With the
 * `last` comes the bias, and of the rows `activated` go through GELU. */
INLINE void put_tile(const float *const *rows, const float *panel, long depth, const float *bias, int first, int last, long activated,
                     float *const *to) {
    vec sums[TILE][BLOCKS];
    set_zero(sums, BLOCKS);
    multiply(rows, panel, PANEL, depth, BLOCKS, 0, AHEAD, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) {
            if (!first) sums[i][b] += load(to[i] + LANES * b);
            if (last) sums[i][b] += load(bias + LANES * b);
        }
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) store(to[i] + LANES * b, sums[i][b]);
    for (long i = 0; i < activated; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) store(to[i] + LANES * b, exact_gelu(load(to[i] + LANES * b)));
}

INLINE void product(const float *x, const float *panels, const float *bias, long rows, long inside, long out, const int gelu, float *to) {
    for (long part = 0; part < rows; part += PART)
        for (long u = 0; u < inside; u += DEEP) {
            long end = part + PART < rows ? part + PART : rows, depth = inside - u < DEEP ? inside - u : DEEP;
            for (long o = 0; o < out; o += PANEL)
                for (long begin = part; begin < end; begin += TILE) {
                    long count = begin + TILE < end ? TILE : end - begin;
                    const float *from[TILE];
                    float *where[TILE];
                    for (long i = 0; i < TILE; i++) { /* where fewer than six are left, the last one again */
                        long at = i < count ? begin + i : end - 1;
                        from[i] = x + at * inside + u;
                        where[i] = to + at * out + o;
                    }
                    int last = u + depth == inside;
                    put_tile(from, panels + o * inside + u * PANEL, depth, bias + o, u == 0, last, gelu && last ? count : 0, where);
                }
        }
}

/* x [rows, inside] times the weights, plus bias [out], to `to` [rows, out]. */
SIMD void EXPORT(product_float32)(const float *x, const float *panels, const float *bias, long rows, long inside, long out, float *to) {
    product(x, panels, bias, rows, inside, out, 0, to);
}

SIMD void EXPORT(product_gelu_float32)(const float *x, const float *panels, const float *bias, long rows, long inside, long out,
                                       float *to) {
    product(x, panels, bias, rows, inside, out, 1, to);
}
