/* What the files of one processor each (`avx512.c`, `avx2.c`) say to the text that they share (`rows.h`, `tile.h`, `attention.h`).
 *
 * Before this: SIMD, an attribute; EXPORT(name), a public name; LANES, numbers in a register; BLOCKS. After it, on registers: load, store,
 * load_part (the lanes of a bit mask, zeros in the others), every, every_int, multiply_add (a b + c), larger, smaller, size_of (|x|), sum_of,
 * largest_of, whole_part and nearest (to the nearest, ties to even), toward_zero, times_power (x 2^whole), look_up (in a table of sixteen),
 * store_bytes (whole numbers from 0 to 255), load_halves (bfloat16, in the lower half of each lane), store_halves, multiply_add_pairs
 * (c + the two products of bfloat16 in each lane), turn (LANES rows of LANES units to columns, `stride` apart). Arithmetic is C's own.
 */
#include <stdint.h>
#include <string.h>

#define INLINE SIMD static inline __attribute__((always_inline))
#define ALL_LANES ((1u << LANES) - 1)
/* Rows of attention's queries that are computed together. */
#define TILE 6

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
