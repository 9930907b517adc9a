/* The instructions of `csrc/avx512.c` in plain C, for processors without them: stands where the compiler's header of this name stands.
 * `ops/test-avx512` compiles with it. Semantics: Intel's Intrinsics Guide, for what `avx512.c` asks and no more.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

/* No function is compiled for another processor, and this one can do all that is asked. */
#define target(instructions)
#define __builtin_cpu_supports(instructions) 1

#define _MM_FROUND_TO_NEAREST_INT 0
#define _MM_FROUND_NO_EXC 8

typedef float __m512 __attribute__((vector_size(64), may_alias));
typedef int32_t __m512i __attribute__((vector_size(64), may_alias));
typedef int32_t __m256i __attribute__((vector_size(32), may_alias));
typedef int32_t __m128i __attribute__((vector_size(16), may_alias));
typedef __m512i __m512bh;
typedef uint16_t __mmask16;

#define LANE(i) for (int i = 0; i < 16; i++)
#define GIVES(type, name, arguments, each) \
    static inline type name arguments { \
        type to; \
        LANE(i) to[i] = each; \
        return to; \
    }

#define MEMORY(type, load, store) \
    static inline type load(const void *from) { \
        type to; \
        memcpy(&to, from, sizeof to); \
        return to; \
    } \
    static inline void store(void *to, type from) { memcpy(to, &from, sizeof from); }
MEMORY(__m512, _mm512_loadu_ps, _mm512_storeu_ps)
MEMORY(__m512i, load_512, _mm512_storeu_si512)
MEMORY(__m256i, _mm256_loadu_si256, store_256)
MEMORY(__m128i, load_128, _mm_storeu_si128)
static inline void _mm256_storeu_si256(void *to, __m256i from) { store_256(to, from); }

static inline int32_t whole(float x) { return fabsf(x) < 0x1p31f ? (int32_t)x : INT32_MIN; }
static inline float half(uint32_t bits) {
    float to;
    bits <<= 16;
    memcpy(&to, &bits, sizeof to);
    return to;
}
static inline uint16_t rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x))
        return bits >> 16 | 0x40;
    if (fabsf(x) < 0x1p-126f) /* below the normal numbers */
        return bits >> 16 & 0x8000;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

GIVES(__m512i, _mm512_maskz_loadu_epi32, (__mmask16 lanes, const void *from), lanes >> i & 1 ? ((const int32_t *)from)[i] : 0)
GIVES(__m512, _mm512_set1_ps, (float x), x)
GIVES(__m512i, _mm512_set1_epi32, (int x), x)
GIVES(__m512, _mm512_fmadd_ps, (__m512 a, __m512 b, __m512 c), fmaf(a[i], b[i], c[i]))
GIVES(__m512, _mm512_max_ps, (__m512 a, __m512 b), a[i] > b[i] ? a[i] : b[i])
GIVES(__m512, _mm512_min_ps, (__m512 a, __m512 b), a[i] < b[i] ? a[i] : b[i])
GIVES(__m512, _mm512_abs_ps, (__m512 x), fabsf(x[i]))
GIVES(__m512, _mm512_roundscale_ps, (__m512 x, int how), ((void)how, rintf(x[i])))
GIVES(__m512i, _mm512_cvtps_epi32, (__m512 x), whole(rintf(x[i])))
GIVES(__m512i, _mm512_cvttps_epi32, (__m512 x), whole(x[i]))
GIVES(__m512, _mm512_scalef_ps, (__m512 a, __m512 b), ldexpf(a[i], (int)fmaxf(fminf(floorf(b[i]), 1000), -1000)))
GIVES(__m512, _mm512_permutexvar_ps, (__m512i place, __m512 x), x[place[i] & 15])
GIVES(__m512, _mm512_dpbf16_ps, (__m512 c, __m512i a, __m512i b),
      c[i] + half((uint32_t)a[i] >> 16) * half((uint32_t)b[i] >> 16) + half(a[i] & 0xffff) * half(b[i] & 0xffff))

static inline float _mm512_reduce_add_ps(__m512 x) {
    float sum = 0;
    LANE(i) sum += x[i];
    return sum;
}
static inline float _mm512_reduce_max_ps(__m512 x) {
    float most = x[0];
    LANE(i) most = fmaxf(most, x[i]);
    return most;
}
static inline __m128i _mm512_cvtepi32_epi8(__m512i x) {
    uint8_t to[16];
    LANE(i) to[i] = (uint8_t)x[i];
    return load_128(to);
}
static inline __m512i _mm512_cvtepu16_epi32(__m256i x) {
    uint16_t from[16];
    __m512i to;
    store_256(from, x);
    LANE(i) to[i] = from[i];
    return to;
}
static inline __m256i _mm512_cvtneps_pbh(__m512 x) {
    uint16_t to[16];
    LANE(i) to[i] = rounded(x[i]);
    return _mm256_loadu_si256(to);
}

/* Lanes of 32 bits: quarter by quarter of 128 bits, `a` and `b` in turns. */
GIVES(__m512i, _mm512_unpacklo_epi32, (__m512i a, __m512i b), (i & 1 ? b : a)[(i & 12) + (i >> 1 & 1)])
GIVES(__m512i, _mm512_unpackhi_epi32, (__m512i a, __m512i b), (i & 1 ? b : a)[(i & 12) + 2 + (i >> 1 & 1)])
GIVES(__m512i, _mm512_unpacklo_epi64, (__m512i a, __m512i b), (i & 2 ? b : a)[(i & 12) + (i & 1)])
GIVES(__m512i, _mm512_unpackhi_epi64, (__m512i a, __m512i b), (i & 2 ? b : a)[(i & 12) + 2 + (i & 1)])
GIVES(__m512i, _mm512_shuffle_i32x4, (__m512i a, __m512i b, int which), (i & 8 ? b : a)[(which >> (i >> 2) * 2 & 3) * 4 + (i & 3)])
