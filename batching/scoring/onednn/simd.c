/* What lies between oneDNN's products, in one pass each, and attention without a copy: for x86 processors with AVX-512 and its bfloat16.
 *
 * `simd.py` calls these through ctypes and says what each is given; a build without them, or a processor they don't know, does the same
 * in torch (`passes.py`, `attention.py`). Every width and head size is a multiple of 16. A row is read from memory once: it stays in the
 * first-level cache while the passes over it are made. bfloat16 is uint16_t here.
 */
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define SIMD __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define INLINE SIMD static inline __attribute__((always_inline))

/* Rows of attention's queries that are computed together: with 4 vectors of keys, 24 sums in registers. */
#define TILE 6
#define LANES 16
#define BLOCKS 4

int simd_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
}

INLINE __m512 widen(const uint16_t *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from)), 16));
}

INLINE void narrow(uint16_t *to, __m512 x) { _mm256_storeu_si256((void *)to, (__m256i)_mm512_cvtneps_pbh(x)); }

/* Sixteen numbers at `at`, in bfloat16 where `half`. */
INLINE __m512 get(const float *from, long at, const int half) {
    return half ? widen((const uint16_t *)from + at) : _mm512_loadu_ps(from + at);
}

INLINE void put(float *to, long at, __m512 x, const int half) {
    if (half)
        narrow((uint16_t *)to + at, x);
    else
        _mm512_storeu_ps(to + at, x);
}

/* --- bytes: x * factor + zero, rounded to the nearest, one step for the row --- */

INLINE void put_bytes(uint8_t *to, __m512 x, __m512 factor, __m512i zero) {
    __m512i level = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, factor)), zero);
    _mm_storeu_si128((void *)to, _mm512_cvtepi32_epi8(level));
}

/* `row` times `scale` (NULL: one) as bytes around 128; returns the step. */
INLINE float signed_row(const float *row, const float *scale, long width, uint8_t *levels) {
    __m512 most = _mm512_set1_ps(1e-12f);
    for (long j = 0; j < width; j += LANES) {
        __m512 x = _mm512_loadu_ps(row + j);
        if (scale) x = _mm512_mul_ps(x, _mm512_loadu_ps(scale + j));
        most = _mm512_max_ps(most, _mm512_abs_ps(x));
    }
    float largest = _mm512_reduce_max_ps(most);
    __m512 factor = _mm512_set1_ps(127.0f / largest);
    __m512i zero = _mm512_set1_epi32(128);
    for (long j = 0; j < width; j += LANES) {
        __m512 x = _mm512_loadu_ps(row + j);
        if (scale) x = _mm512_mul_ps(x, _mm512_loadu_ps(scale + j));
        put_bytes(levels + j, x, factor, zero);
    }
    return largest / 127.0f;
}

SIMD void simd_signed_float32(const float *x, const float *scale, long rows, long width, uint8_t *levels, float *steps) {
    for (long i = 0; i < rows; i++) steps[i] = signed_row(x + i * width, scale, width, levels + i * width);
}

SIMD void simd_signed_bfloat16(const uint16_t *x, long rows, long width, float *scratch, uint8_t *levels, float *steps) {
    for (long i = 0; i < rows; i++) {
        for (long j = 0; j < width; j += LANES) _mm512_storeu_ps(scratch + j, widen(x + i * width + j));
        steps[i] = signed_row(scratch, NULL, width, levels + i * width);
    }
}

/* product * step + bias */
INLINE __m512 finished(const float *product, __m512 step, const float *bias) {
    return _mm512_fmadd_ps(_mm512_loadu_ps(product), step, _mm512_loadu_ps(bias));
}

SIMD void simd_finish(const float *product, const float *steps, const float *bias, long rows, long width, uint16_t *out) {
    for (long i = 0; i < rows; i++) {
        __m512 step = _mm512_set1_ps(steps[i]);
        for (long j = 0; j < width; j += LANES) narrow(out + i * width + j, finished(product + i * width + j, step, bias + j));
    }
}

/* --- LayerNorm, with the residual added on the way --- */

/* `row` holds the values and `sum` what they add up to by lane; the normed values take their place. */
INLINE void norm_row(float *row, __m512 sum, long width, const float *gain, const float *shift, float epsilon) {
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width), squares = _mm512_setzero_ps();
    for (long j = 0; j < width; j += LANES) {
        __m512 x = _mm512_sub_ps(_mm512_loadu_ps(row + j), mean);
        squares = _mm512_fmadd_ps(x, x, squares);
    }
    __m512 scale = _mm512_set1_ps(1.0f / __builtin_sqrtf(_mm512_reduce_add_ps(squares) / width + epsilon));
    for (long j = 0; j < width; j += LANES) {
        __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + j), mean), scale);
        _mm512_storeu_ps(row + j, _mm512_fmadd_ps(x, _mm512_loadu_ps(gain + j), _mm512_loadu_ps(shift + j)));
    }
}

SIMD void simd_finish_norm(float *x, const float *product, const float *steps, const float *bias, const float *gain, const float *shift,
                           float epsilon, long rows, long width) {
    for (long i = 0; i < rows; i++) {
        float *row = x + i * width;
        __m512 step = _mm512_set1_ps(steps[i]), sum = _mm512_setzero_ps();
        for (long j = 0; j < width; j += LANES) {
            __m512 value = _mm512_add_ps(finished(product + i * width + j, step, bias + j), _mm512_loadu_ps(row + j));
            _mm512_storeu_ps(row + j, value);
            sum = _mm512_add_ps(sum, value);
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
        __m512 sum = _mm512_setzero_ps();
        for (long j = 0; j < width; j += LANES) {
            __m512 value = _mm512_add_ps(get(product, at + j, half), get(x, at + j, half));
            _mm512_storeu_ps(row + j, value);
            sum = _mm512_add_ps(sum, value);
        }
        norm_row(row, sum, width, gain, shift, epsilon);
        if (half)
            for (long j = 0; j < width; j += LANES) put(product, at + j, _mm512_loadu_ps(row + j), half);
    }
}

SIMD void simd_sum_norm_bfloat16(const float *x, float *product, const float *gain, const float *shift, float epsilon, long rows,
                                 long width, float *scratch) {
    sum_norm(x, product, gain, shift, epsilon, rows, width, 1, scratch);
}

SIMD void simd_sum_norm_float32(const float *x, float *product, const float *gain, const float *shift, float epsilon, long rows,
                                long width) {
    sum_norm(x, product, gain, shift, epsilon, rows, width, 0, NULL);
}

/* --- GELU, and what it leaves as bytes --- */

/* max(x, 0) - h(|x|) with h(t) = t (1 - Phi(t)), a parabola in each of 15 steps of 0.3 and 0 beyond: off by 1.1e-4 at most. */
INLINE __m512 gelu(__m512 x) {
    const __m512 constant = _mm512_setr_ps(3.333575e-05f, 0.006834326f, 0.04608421f, 0.1369158f, 0.2627188f, 0.3755079f, 0.4285849f,
                                           0.4061037f, 0.3274044f, 0.228213f, 0.139087f, 0.07472482f, 0.03560641f, 0.01511867f,
                                           0.005741426f, 0.0f);
    const __m512 linear = _mm512_setr_ps(0.4983494f, 0.4564702f, 0.3274114f, 0.1254866f, -0.08550585f, -0.2375553f, -0.297839f,
                                         -0.2771307f, -0.2117297f, -0.1381496f, -0.07854443f, -0.03937669f, -0.0175419f, -0.006981653f,
                                         -0.00249219f, 0.0f);
    const __m512 square = _mm512_setr_ps(-0.3882767f, -0.3229186f, -0.2163073f, -0.1038292f, -0.01525134f, 0.03602949f, 0.0531493f,
                                         0.04838448f, 0.03479294f, 0.0211441f, 0.01117652f, 0.00521667f, 0.002169394f, 0.0008084531f,
                                         0.0002710621f, 0.0f);
    __m512 size = _mm512_abs_ps(x);
    __m512i part = _mm512_cvttps_epi32(_mm512_min_ps(_mm512_mul_ps(size, _mm512_set1_ps(1 / 0.3f)), _mm512_set1_ps(15.0f)));
    __m512 low = _mm512_fmadd_ps(_mm512_permutexvar_ps(part, square), size, _mm512_permutexvar_ps(part, linear));
    low = _mm512_fmadd_ps(low, size, _mm512_permutexvar_ps(part, constant));
    return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), low);
}

SIMD void simd_gelu_bfloat16(const float *product, const float *steps, const float *bias, long rows, long width, uint16_t *out) {
    for (long i = 0; i < rows; i++) {
        __m512 step = _mm512_set1_ps(steps[i]);
        for (long j = 0; j < width; j += LANES) narrow(out + i * width + j, gelu(finished(product + i * width + j, step, bias + j)));
    }
}

SIMD void simd_gelu_bytes(float *product, const float *steps, const float *bias, long rows, long width, float smallest, int zero,
                          uint8_t *levels, float *found) {
    float room = 255.0f - zero;
    __m512i middle = _mm512_set1_epi32(zero);
    for (long i = 0; i < rows; i++) {
        float *row = product + i * width;
        __m512 step = _mm512_set1_ps(steps[i]), most = _mm512_set1_ps(smallest);
        for (long j = 0; j < width; j += LANES) {
            __m512 x = gelu(finished(row + j, step, bias + j));
            most = _mm512_max_ps(most, x);
            _mm512_storeu_ps(row + j, x);
        }
        float largest = _mm512_reduce_max_ps(most);
        __m512 factor = _mm512_set1_ps(room / largest);
        for (long j = 0; j < width; j += LANES) put_bytes(levels + i * width + j, _mm512_loadu_ps(row + j), factor, middle);
        found[i] = largest / room;
    }
}

/* --- attention: keys of one head turned, then six queries at a time. `half`: bfloat16, in pairs of neighbours; both kinds come in units
 * of 4 bytes, and all strides are in these. --- */

/* 2^x for x <= 0: to 3e-6 of it where it becomes bfloat16, else to float32's own rounding. */
INLINE __m512 exp2_below(__m512 x, const int half) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-126.0f));
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_sub_ps(x, whole), power;
    if (half) {
        power = _mm512_fmadd_ps(_mm512_set1_ps(0.00957012f), rest, _mm512_set1_ps(0.05591792f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.24024745f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.69312181f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.99999926f));
    } else {
        power = _mm512_fmadd_ps(_mm512_set1_ps(1.53533695e-4f), rest, _mm512_set1_ps(1.33988772e-3f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(9.61843735e-3f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(5.55033246e-2f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.240226479f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.693147203f));
        power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.0f));
    }
    return _mm512_scalef_ps(power, whole);
}

/* Sixteen rows of sixteen units, turned. */
INLINE void turn(const __m512i *in, float *to, long stride) {
    __m512i a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        a[8 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        a[12 + i] = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        _mm512_storeu_si512(to + i * stride, _mm512_shuffle_i32x4(a[i], a[8 + i], 0x88));
        _mm512_storeu_si512(to + (8 + i) * stride, _mm512_shuffle_i32x4(a[i], a[8 + i], 0xdd));
    }
}

/* Keys [length, units] to [units, room], zero beyond the last key. */
INLINE void turn_keys(const float *keys, long stride, long length, long room, long units, float *to) {
    for (long k = 0; k < length; k += LANES)
        for (long u = 0; u < units; u += LANES) {
            __mmask16 there = units - u >= LANES ? 0xffff : 0xff;
            __m512i rows[LANES];
            for (long i = 0; i < LANES; i++)
                rows[i] = k + i < length ? _mm512_maskz_loadu_epi32(there, keys + (k + i) * stride + u) : _mm512_setzero_si512();
            if (there == 0xffff) {
                turn(rows, to + u * room + k, room);
            } else { /* a head of 16 in bfloat16, or an odd multiple of it: eight of the sixteen columns exist */
                float square[LANES * LANES];
                turn(rows, square, LANES);
                for (long i = 0; i < LANES / 2; i++) memcpy(to + (u + i) * room + k, square + i * LANES, sizeof(float) * LANES);
            }
        }
}

/* Values [length, size] end to end: rows a page apart fall into the same few sets of the cache. */
INLINE void copy_values(const float *values, long stride, long length, long size, float *to) {
    for (long k = 0; k < length; k++)
        for (long d = 0; d < size; d += LANES) _mm512_storeu_ps(to + k * size + d, _mm512_loadu_ps(values + k * stride + d));
}

/* bfloat16 values [length, size] to units of two keys each [(length + 1) / 2, size]. */
INLINE void pair_values(const float *values, long stride, long length, long size, float *to) {
    for (long k = 0; k < length; k += 2)
        for (long d = 0; d < size; d += LANES) {
            const float *from = values + k * stride + d / 2;
            __m512i both = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from));
            if (k + 1 < length) {
                __m512i odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(from + stride)));
                both = _mm512_or_si512(both, _mm512_slli_epi32(odd, 16));
            }
            _mm512_storeu_si512(to + k / 2 * size + d, both);
        }
}

/* sums[i][b] = the sum over `units` of what `rows[i]` has there, times its line of `columns` (`stride` apart). */
INLINE void multiply(const float *const *rows, const float *columns, long stride, long units, const int blocks, const int half,
                     __m512 (*sums)[BLOCKS]) {
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) sums[i][b] = _mm512_setzero_ps();
    for (long u = 0; u < units; u++) {
        __m512 column[BLOCKS];
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) column[b] = _mm512_loadu_ps(columns + u * stride + LANES * b);
#pragma GCC unroll 6
        for (int i = 0; i < TILE; i++) {
            __m512 row = _mm512_set1_ps(rows[i][u]);
#pragma GCC unroll 4
            for (int b = 0; b < blocks; b++)
                sums[i][b] = half ? _mm512_dpbf16_ps(sums[i][b], (__m512bh)row, (__m512bh)column[b])
                                  : _mm512_fmadd_ps(row, column[b], sums[i][b]);
        }
    }
}

INLINE void put_logits(const float *const *queries, const float *keys, long room, long units, const int blocks, const int half, float *to) {
    __m512 sums[TILE][BLOCKS];
    multiply(queries, keys, room, units, blocks, half, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) _mm512_storeu_ps(to + i * room + LANES * b, sums[i][b]);
}

INLINE void put_weighted(const float *const *weights, const float *values, const float *shares, long units, long size, const int blocks,
                         const int half, float *const *to, long at) {
    __m512 sums[TILE][BLOCKS];
    multiply(weights, values + at, size, units, blocks, half, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) put(to[i], at + LANES * b, _mm512_mul_ps(sums[i][b], _mm512_set1_ps(shares[i])), half);
}

/* Logits to 2^(logit - largest), as good as zero beyond the last key; returns one over their sum. `to` may be `logits` in float32. */
INLINE float soften(float *logits, long length, long room, const int half, float *to) {
    for (long k = length; k < room; k++) logits[k] = -__builtin_inff();
    __m512 most = _mm512_set1_ps(-__builtin_inff()), sum = _mm512_setzero_ps();
    for (long k = 0; k < room; k += LANES) most = _mm512_max_ps(most, _mm512_loadu_ps(logits + k));
    __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (long k = 0; k < room; k += LANES) {
        __m512 weight = exp2_below(_mm512_sub_ps(_mm512_loadu_ps(logits + k), largest), half);
        sum = _mm512_add_ps(sum, weight);
        put(to, k, weight, half);
    }
    return 1.0f / _mm512_reduce_add_ps(sum);
}

/* One head of one sequence: `queries` of them over `length` keys and values; where fewer than six queries are left, the last one again. */
INLINE void attend_head(const float *query, long query_stride, long queries, const float *key, const float *value, long stride, long length,
                        long size, const int half, float *scratch, float *out, long out_stride) {
    long units = half ? size / 2 : size, room = (length + LANES - 1) / LANES * LANES;
    float *keys = scratch, *values = keys + units * room, *logits = values + units * room;
    float *weights = half ? logits + TILE * room : logits;
    long weights_stride = half ? room / 2 : room, lines = half ? (length + 1) / 2 : length;
    turn_keys(key, stride, length, room, units, keys);
    if (half)
        pair_values(value, stride, length, size, values);
    else
        copy_values(value, stride, length, size, values);
    for (long begin = 0; begin < queries; begin += TILE) {
        const float *from[TILE], *rows[TILE];
        float *to[TILE], shares[TILE];
        for (long i = 0; i < TILE; i++) {
            long at = begin + i < queries ? begin + i : queries - 1;
            from[i] = query + at * query_stride;
            rows[i] = weights + i * weights_stride;
            to[i] = out + at * out_stride;
        }
        long k = 0, d = 0;
        for (; k + BLOCKS * LANES <= room; k += BLOCKS * LANES) put_logits(from, keys + k, room, units, BLOCKS, half, logits + k);
        for (; k < room; k += LANES) put_logits(from, keys + k, room, units, 1, half, logits + k);
        for (long i = 0; i < TILE; i++) shares[i] = soften(logits + i * room, length, room, half, weights + i * weights_stride);
        for (; d + BLOCKS * LANES <= size; d += BLOCKS * LANES) put_weighted(rows, values, shares, lines, size, BLOCKS, half, to, d);
        for (; d + 2 * LANES <= size; d += 2 * LANES) put_weighted(rows, values, shares, lines, size, 2, half, to, d);
        for (; d < size; d += LANES) put_weighted(rows, values, shares, lines, size, 1, half, to, d);
    }
}

INLINE void attend(const float *queries, long query_stride, const int64_t *firsts, const int64_t *counts, const float *keys,
                   const float *values, long stride, const int64_t *starts, const int64_t *lengths, long sequences, long heads, long size,
                   const int half, float *scratch, float *out) {
    long head = half ? size / 2 : size, width = heads * head;
    for (long s = 0; s < sequences; s++)
        for (long h = 0; h < heads; h++) {
            long query = firsts[s] * query_stride + h * head, key = starts[s] * stride + h * head;
            attend_head(queries + query, query_stride, counts[s], keys + key, values + key, stride, lengths[s], size, half, scratch,
                        out + firsts[s] * width + h * head, width);
        }
}

/* Sequence s has counts[s] queries from row firsts[s] on, in `queries` and in `out` [rows, heads * size], and lengths[s] keys and values
 * from row starts[s] on. `scratch` has room for 2 * size + 9 units for every key of the longest sequence, rounded up to 16. */
SIMD void simd_attend_bfloat16(const float *queries, long query_stride, const int64_t *firsts, const int64_t *counts, const float *keys,
                               const float *values, long stride, const int64_t *starts, const int64_t *lengths, long sequences, long heads,
                               long size, float *scratch, float *out) {
    attend(queries, query_stride, firsts, counts, keys, values, stride, starts, lengths, sequences, heads, size, 1, scratch, out);
}

SIMD void simd_attend_float32(const float *queries, long query_stride, const int64_t *firsts, const int64_t *counts, const float *keys,
                              const float *values, long stride, const int64_t *starts, const int64_t *lengths, long sequences, long heads,
                              long size, float *scratch, float *out) {
    attend(queries, query_stride, firsts, counts, keys, values, stride, starts, lengths, sequences, heads, size, 0, scratch, out);
}

#else

int simd_supported(void) { return 0; }

#endif
