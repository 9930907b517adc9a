/* `rows.h` and `attention.h` with registers of sixteen numbers: AVX-512 and its bfloat16. */
#if defined(__x86_64__)
#include <immintrin.h>

#define SIMD __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
#define EXPORT(name) avx512_##name
#define LANES 16
/* Registers of keys beside TILE rows of queries: 24 of the 32 hold sums. */
#define BLOCKS 4

#include "vector.h"

int avx512_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
}

INLINE vec load(const float *from) { return _mm512_loadu_ps(from); }
INLINE void store(float *to, vec x) { _mm512_storeu_ps(to, x); }
INLINE vec load_part(const float *from, unsigned lanes) { return (vec)_mm512_maskz_loadu_epi32((__mmask16)lanes, from); }
INLINE vec every(float x) { return _mm512_set1_ps(x); }
INLINE ints every_int(int x) { return (ints)_mm512_set1_epi32(x); }
INLINE vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vec larger(vec a, vec b) { return _mm512_max_ps(a, b); }
INLINE vec smaller(vec a, vec b) { return _mm512_min_ps(a, b); }
INLINE vec size_of(vec x) { return _mm512_abs_ps(x); }
INLINE float sum_of(vec x) { return _mm512_reduce_add_ps(x); }
INLINE float largest_of(vec x) { return _mm512_reduce_max_ps(x); }
INLINE vec whole_part(vec x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE ints nearest(vec x) { return (ints)_mm512_cvtps_epi32(x); }
INLINE ints toward_zero(vec x) { return (ints)_mm512_cvttps_epi32(x); }
INLINE vec times_power(vec x, vec whole) { return _mm512_scalef_ps(x, whole); }
INLINE vec look_up(const float *table, ints place) { return _mm512_permutexvar_ps((__m512i)place, load(table)); }
INLINE void store_bytes(uint8_t *to, ints x) { _mm_storeu_si128((void *)to, _mm512_cvtepi32_epi8((__m512i)x)); }
INLINE ints load_halves(const void *from) { return (ints)_mm512_cvtepu16_epi32(_mm256_loadu_si256(from)); }
INLINE void store_halves(uint16_t *to, vec x) { _mm256_storeu_si256((void *)to, (__m256i)_mm512_cvtneps_pbh(x)); }
INLINE vec multiply_add_pairs(vec a, vec b, vec c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }

INLINE void turn(const vec *rows, float *to, long stride) {
    __m512i a[16], b[16];
    const __m512i *in = (const __m512i *)rows;
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

#include "rows.h"

#include "tile.h"

#include "attention.h"
#endif
