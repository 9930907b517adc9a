/* Products of rows with weights laid out once: in float32, bias and GELU computed while the result is near, and of bytes with whole numbers
 * of 16 bits, exact in 32: AVX2's own product of bytes (vpmaddubsw) has no room for the sum of two.
 *
 * A panel is PANEL outputs of the weights, [inside, PANEL]. Six rows of a part of DEEP units against a panel's part are one tile; the part
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

/* As `multiply`, for two whole numbers of 16 bits in a unit, the sums in 32 bits. */
INLINE void multiply_wholes(const float *const *rows, const float *columns, long units, ints (*sums)[BLOCKS]) {
    for (long u = 0; u < units; u++) {
        ints column[BLOCKS];
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) column[b] = (ints)load(columns + u * PANEL + LANES * b);
        __builtin_prefetch(columns + u * PANEL + AHEAD);
#pragma GCC unroll 6
        for (int i = 0; i < TILE; i++) {
            __m256i row = _mm256_castps_si256(every(rows[i][u]));
#pragma GCC unroll 4
            for (int b = 0; b < BLOCKS; b++) sums[i][b] += (ints)_mm256_madd_epi16(row, (__m256i)column[b]);
        }
    }
}

/* One tile: `depth` numbers of each of `rows` against a panel's part, added to what is there unless it is the `first` part of them. With the
 * last comes the `bias`, else NULL, and of the rows `activated` go through GELU. */
INLINE void put_tile(const float *const *rows, const float *panel, long depth, const float *bias, int first, long activated,
                     float *const *to) {
    vec sums[TILE][BLOCKS];
    set_zero(sums, BLOCKS);
    multiply(rows, panel, PANEL, depth, BLOCKS, 0, AHEAD, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) {
            if (!first) sums[i][b] += load(to[i] + LANES * b);
            if (bias) sums[i][b] += load(bias + LANES * b);
        }
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) store(to[i] + LANES * b, sums[i][b]);
    for (long i = 0; i < activated; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) store(to[i] + LANES * b, exact_gelu(load(to[i] + LANES * b)));
}

/* The same of whole numbers, two in each of the `depth` units; with the last come the `steps`. */
INLINE void put_wholes(const float *const *rows, const float *panel, long depth, const float *steps, int first, float *const *to) {
    ints sums[TILE][BLOCKS];
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) sums[i][b] = every_int(0);
    multiply_wholes(rows, panel, depth, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) {
            if (!first) sums[i][b] += (ints)load(to[i] + LANES * b);
            if (steps) sums[i][b] = (ints)(_mm256_cvtepi32_ps((__m256i)sums[i][b]) * load(steps + LANES * b));
        }
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++) /* after all are loaded: a row may be there twice */
#pragma GCC unroll 4
        for (int b = 0; b < BLOCKS; b++) store(to[i] + LANES * b, (vec)sums[i][b]);
}

/* `inside` units of each of `rows` to `out` numbers; `last` [out] is the bias, or of whole numbers the steps. */
INLINE void product(const float *x, const float *panels, const float *last, long rows, long inside, long out, const int gelu,
                    const int wholes, float *to) {
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
                    const float *ending = u + depth == inside ? last + o : NULL;
                    const float *panel = panels + o * inside + u * PANEL;
                    if (wholes)
                        put_wholes(from, panel, depth, ending, u == 0, where);
                    else
                        put_tile(from, panel, depth, ending, u == 0, gelu && ending ? count : 0, where);
                }
        }
}

/* x [rows, inside] times the weights, plus bias [out], to `to` [rows, out]. */
SIMD void EXPORT(product_float32)(const float *x, const float *panels, const float *bias, long rows, long inside, long out, float *to) {
    product(x, panels, bias, rows, inside, out, 0, 0, to);
}

SIMD void EXPORT(product_gelu_float32)(const float *x, const float *panels, const float *bias, long rows, long inside, long out,
                                       float *to) {
    product(x, panels, bias, rows, inside, out, 1, 0, to);
}

/* Whole numbers [out, inside] to panels [out / PANEL, inside / 2, PANEL, 2]; `inside` is a multiple of 2. */
SIMD void EXPORT(pack_int16)(const int16_t *weights, long out, long inside, int16_t *panels) {
    for (long o = 0; o < out; o += PANEL)
        for (long u = 0; u < inside; u++)
            for (long j = 0; j < PANEL; j++) panels[o * inside + u / 2 * 2 * PANEL + 2 * j + u % 2] = weights[(o + j) * inside + u];
}

/* Sixteen bytes less `zero` as whole numbers of 16 bits. */
INLINE void widen(const uint8_t *from, int zero, float *to) {
    __m256i wide = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)from));
    store(to, (vec)_mm256_sub_epi16(wide, _mm256_set1_epi16((short)zero)));
}

/* x [rows, inside], bytes that stand for 0 at `zero`, times the weights, times `steps` [out], to `to` [rows, out]; `inside` is a multiple of
 * 16, and `scratch` has `room` for so many rows of `inside` / 2 units. */
SIMD void EXPORT(product_bytes)(const uint8_t *x, const float *panels, const float *steps, long rows, long inside, long out, int zero,
                               float *scratch, long room, float *to) {
    for (long begin = 0; begin < rows; begin += room) {
        long count = begin + room < rows ? room : rows - begin;
        for (long i = 0; i < count * inside; i += 16) widen(x + begin * inside + i, zero, scratch + i / 2);
        product(scratch, panels, steps, count, inside / 2, out, 0, 1, to + begin * out);
    }
}
