/* What a row goes through between products, in one pass. Every width is a multiple of 16. A row is read from memory once: it stays in the
 * first-level cache while the passes over it are made. bfloat16 is uint16_t here; `half`: numbers are in it, else in float32.
 */

/* LANES numbers at `at`. */
INLINE vec get(const float *from, long at, const int half) {
    return half ? (vec)(load_halves((const uint16_t *)from + at) << 16) : load(from + at);
}

INLINE void put(float *to, long at, vec x, const int half) {
    if (half)
        store_halves((uint16_t *)to + at, x);
    else
        store(to + at, x);
}

/* --- bytes: x * factor + zero, rounded to the nearest, one step for the row --- */

INLINE void put_bytes(uint8_t *to, vec x, vec factor, ints zero) { store_bytes(to, nearest(x * factor) + zero); }

/* `row` times `scale` (NULL: one) as bytes around 128; returns the step. */
INLINE float signed_row(const float *row, const float *scale, long width, uint8_t *levels) {
    vec most = every(1e-12f);
    for (long j = 0; j < width; j += LANES) most = larger(most, size_of(scale ? load(row + j) * load(scale + j) : load(row + j)));
    float largest = largest_of(most);
    vec factor = every(127.0f / largest);
    ints zero = every_int(128);
    for (long j = 0; j < width; j += LANES) put_bytes(levels + j, scale ? load(row + j) * load(scale + j) : load(row + j), factor, zero);
    return largest / 127.0f;
}

SIMD void EXPORT(signed_float32)(const float *x, const float *scale, long rows, long width, uint8_t *levels, float *steps) {
    for (long i = 0; i < rows; i++) steps[i] = signed_row(x + i * width, scale, width, levels + i * width);
}

SIMD void EXPORT(signed_bfloat16)(const float *x, long rows, long width, float *scratch, uint8_t *levels, float *steps) {
    for (long i = 0; i < rows; i++) {
        for (long j = 0; j < width; j += LANES) store(scratch + j, get(x, i * width + j, 1));
        steps[i] = signed_row(scratch, NULL, width, levels + i * width);
    }
}

/* product * step + bias */
INLINE vec finished(const float *product, vec step, const float *bias) { return multiply_add(load(product), step, load(bias)); }

INLINE void finish(const float *product, const float *steps, const float *bias, long rows, long width, const int half, float *out) {
    for (long i = 0; i < rows; i++) {
        vec step = every(steps[i]);
        for (long j = 0; j < width; j += LANES) put(out, i * width + j, finished(product + i * width + j, step, bias + j), half);
    }
}

SIMD void EXPORT(finish_bfloat16)(const float *product, const float *steps, const float *bias, long rows, long width, float *out) {
    finish(product, steps, bias, rows, width, 1, out);
}

SIMD void EXPORT(finish_float32)(const float *product, const float *steps, const float *bias, long rows, long width, float *out) {
    finish(product, steps, bias, rows, width, 0, out);
}

/* --- LayerNorm, with the residual added on the way --- */

/* `row` holds the values and `sum` what they add up to by lane; the normed values take their place. */
INLINE void norm_row(float *row, vec sum, long width, const float *gain, const float *shift, float epsilon) {
    vec mean = every(sum_of(sum) / width), squares = every(0.0f);
    for (long j = 0; j < width; j += LANES) {
        vec x = load(row + j) - mean;
        squares = multiply_add(x, x, squares);
    }
    vec scale = every(1.0f / __builtin_sqrtf(sum_of(squares) / width + epsilon));
    for (long j = 0; j < width; j += LANES) store(row + j, multiply_add((load(row + j) - mean) * scale, load(gain + j), load(shift + j)));
}

SIMD void EXPORT(finish_norm)(float *x, const float *product, const float *steps, const float *bias, const float *gain, const float *shift,
                              float epsilon, long rows, long width) {
    for (long i = 0; i < rows; i++) {
        float *row = x + i * width;
        vec step = every(steps[i]), sum = every(0.0f);
        for (long j = 0; j < width; j += LANES) {
            vec value = finished(product + i * width + j, step, bias + j) + load(row + j);
            store(row + j, value);
            sum += value;
        }
        norm_row(row, sum, width, gain, shift, epsilon);
    }
}

/* `norm_row` of x + product, into `product`; `scratch`: a row of float32 where these are bfloat16. */
INLINE void sum_norm(const float *x, float *product, const float *gain, const float *shift, float epsilon, long rows, long width,
                     const int half, float *scratch) {
    for (long i = 0; i < rows; i++) {
        long at = i * width;
        float *row = half ? scratch : product + at;
        vec sum = every(0.0f);
        for (long j = 0; j < width; j += LANES) {
            vec value = get(product, at + j, half) + get(x, at + j, half);
            store(row + j, value);
            sum += value;
        }
        norm_row(row, sum, width, gain, shift, epsilon);
        if (half)
            for (long j = 0; j < width; j += LANES) put(product, at + j, load(row + j), half);
    }
}

SIMD void EXPORT(sum_norm_bfloat16)(const float *x, float *product, const float *gain, const float *shift, float epsilon, long rows,
                                    long width, float *scratch) {
    sum_norm(x, product, gain, shift, epsilon, rows, width, 1, scratch);
}

SIMD void EXPORT(sum_norm_float32)(const float *x, float *product, const float *gain, const float *shift, float epsilon, long rows,
                                   long width) {
    sum_norm(x, product, gain, shift, epsilon, rows, width, 0, NULL);
}

/* --- GELU, and what it leaves as bytes --- */

/* max(x, 0) - h(|x|) with h(t) = t (1 - Phi(t)), a parabola in each of 15 steps of 0.3 and 0 beyond: off by 1.1e-4 at most. */
INLINE vec gelu(vec x) {
    static const float constant[16] = {3.333575e-05f, 0.006834326f, 0.04608421f, 0.1369158f, 0.2627188f,  0.3755079f,  0.4285849f,   0.4061037f,
                                       0.3274044f,    0.228213f,    0.139087f,   0.07472482f, 0.03560641f, 0.01511867f, 0.005741426f, 0.0f};
    static const float linear[16] = {0.4983494f,  0.4564702f,  0.3274114f,   0.1254866f,   -0.08550585f, -0.2375553f,   -0.297839f,   -0.2771307f,
                                     -0.2117297f, -0.1381496f, -0.07854443f, -0.03937669f, -0.0175419f,  -0.006981653f, -0.00249219f, 0.0f};
    static const float square[16] = {-0.3882767f, -0.3229186f, -0.2163073f, -0.1038292f, -0.01525134f, 0.03602949f,   0.0531493f,    0.04838448f,
                                     0.03479294f, 0.0211441f,  0.01117652f, 0.00521667f, 0.002169394f, 0.0008084531f, 0.0002710621f, 0.0f};
    vec size = size_of(x);
    ints part = toward_zero(smaller(size * every(1 / 0.3f), every(15.0f)));
    vec low = multiply_add(look_up(square, part), size, look_up(linear, part));
    low = multiply_add(low, size, look_up(constant, part));
    return larger(x, every(0.0f)) - low;
}

INLINE void activate(const float *product, const float *steps, const float *bias, long rows, long width, const int half, float *out) {
    for (long i = 0; i < rows; i++) {
        vec step = every(steps[i]);
        for (long j = 0; j < width; j += LANES) put(out, i * width + j, gelu(finished(product + i * width + j, step, bias + j)), half);
    }
}

SIMD void EXPORT(gelu_bfloat16)(const float *product, const float *steps, const float *bias, long rows, long width, float *out) {
    activate(product, steps, bias, rows, width, 1, out);
}

SIMD void EXPORT(gelu_float32)(const float *product, const float *steps, const float *bias, long rows, long width, float *out) {
    activate(product, steps, bias, rows, width, 0, out);
}

SIMD void EXPORT(gelu_bytes)(float *product, const float *steps, const float *bias, long rows, long width, float smallest, int zero,
                             uint8_t *levels, float *found) {
    float room = 255.0f - zero;
    ints middle = every_int(zero);
    for (long i = 0; i < rows; i++) {
        float *row = product + i * width;
        vec step = every(steps[i]), most = every(smallest);
        for (long j = 0; j < width; j += LANES) {
            vec x = gelu(finished(row + j, step, bias + j));
            most = larger(most, x);
            store(row + j, x);
        }
        float largest = largest_of(most);
        vec factor = every(room / largest);
        for (long j = 0; j < width; j += LANES) put_bytes(levels + i * width + j, load(row + j), factor, middle);
        found[i] = largest / room;
    }
}
