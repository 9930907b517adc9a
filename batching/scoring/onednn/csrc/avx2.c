/* `rows.h` and `attention.h` with registers of eight numbers: AVX2 and FMA, which x86 processors have had since 2013 (Intel) and 2017 (AMD). */
#if defined(__x86_64__)
#include <immintrin.h>

#define SIMD __attribute__((target("avx2,fma")))
#define EXPORT(name) avx2_##name
#define LANES 8
/* Registers of keys beside TILE rows of queries: 12 of the 16 hold sums. */
#define BLOCKS 2

#include "vector.h"

int avx2_supported(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

INLINE vec load(const float *from) { return _mm256_loadu_ps(from); }
INLINE void store(float *to, vec x) { _mm256_storeu_ps(to, x); }
INLINE vec every(float x) { return _mm256_set1_ps(x); }
INLINE ints every_int(int x) { return (ints)_mm256_set1_epi32(x); }
/* All sizes being multiples of eight units, all lanes are there. */
INLINE vec load_part(const float *from, unsigned lanes) { return lanes == ALL_LANES ? load(from) : every(0.0f); }
INLINE vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vec larger(vec a, vec b) { return _mm256_max_ps(a, b); }
INLINE vec smaller(vec a, vec b) { return _mm256_min_ps(a, b); }
INLINE vec size_of(vec x) { return _mm256_andnot_ps(every(-0.0f), x); }
INLINE vec whole_part(vec x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE ints nearest(vec x) { return (ints)_mm256_cvtps_epi32(x); }
INLINE ints toward_zero(vec x) { return (ints)_mm256_cvttps_epi32(x); }
INLINE vec times_power(vec x, vec whole) { return x * (vec)((nearest(whole) + every_int(127)) << 23); }
INLINE ints load_halves(const void *from) { return (ints)_mm256_cvtepu16_epi32(_mm_loadu_si128(from)); }

INLINE float sum_of(vec x) {
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float largest_of(vec x) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* The lower eight of the table or the upper: by the third bit of `place`, moved to the sign. */
INLINE vec look_up(const float *table, ints place) {
    vec low = _mm256_permutevar8x32_ps(load(table), (__m256i)place), high = _mm256_permutevar8x32_ps(load(table + 8), (__m256i)place);
    return _mm256_blendv_ps(low, high, (vec)(place << 28));
}

INLINE void store_bytes(uint8_t *to, ints x) {
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    _mm_storel_epi64((void *)to, _mm_packus_epi16(words, words));
}

/* To the nearest, ties to even; NaN stays one. */
INLINE void store_halves(uint16_t *to, vec x) {
    ints bits = (ints)x, odd = (ints)_mm256_srli_epi32((__m256i)x, 16) & every_int(1);
    ints rounded = (ints)_mm256_srli_epi32((__m256i)(bits + every_int(0x7fff) + odd), 16);
    vec is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    rounded = (ints)_mm256_blendv_ps((vec)rounded, (vec)every_int(0x7fc0), is_nan);
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)rounded), _mm256_extracti128_si256((__m256i)rounded, 1));
    _mm_storeu_si128((void *)to, words);
}

/* Without an instruction for it; a forward in bfloat16 runs only where there is one. */
INLINE vec multiply_add_pairs(vec a, vec b, vec c) {
    ints upper = every_int((int)0xffff0000), x = (ints)a, y = (ints)b;
    return multiply_add((vec)(x & upper), (vec)(y & upper), multiply_add((vec)(x << 16), (vec)(y << 16), c));
}

INLINE void turn(const vec *in, float *to, long stride) {
    vec a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(in[2 * i], in[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        store(to + i * stride, _mm256_permute2f128_ps(b[i], b[4 + i], 0x20));
        store(to + (4 + i) * stride, _mm256_permute2f128_ps(b[i], b[4 + i], 0x31));
    }
}

#include "rows.h"

#include "tile.h"

#include "attention.h"

#include "product.h"
#endif
