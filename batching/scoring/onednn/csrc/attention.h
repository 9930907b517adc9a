/* Attention without a copy: keys of one head turned, then six queries at a time. `half`: bfloat16, in pairs of neighbours; both kinds come
 * in units of 4 bytes, and all strides are in these. Head sizes are multiples of 16.
 */

/* 2^x for x <= 0: to 3e-6 of it where it becomes bfloat16, else to float32's own rounding. */
INLINE vec exp2_below(vec x, const int half) {
    x = larger(x, every(-126.0f));
    vec whole = whole_part(x), rest = x - whole, power;
    if (half) {
        power = multiply_add(every(0.00957012f), rest, every(0.05591792f));
        power = multiply_add(power, rest, every(0.24024745f));
        power = multiply_add(power, rest, every(0.69312181f));
        power = multiply_add(power, rest, every(0.99999926f));
    } else {
        power = multiply_add(every(1.53533695e-4f), rest, every(1.33988772e-3f));
        power = multiply_add(power, rest, every(9.61843735e-3f));
        power = multiply_add(power, rest, every(5.55033246e-2f));
        power = multiply_add(power, rest, every(0.240226479f));
        power = multiply_add(power, rest, every(0.693147203f));
        power = multiply_add(power, rest, every(1.0f));
    }
    return times_power(power, whole);
}

/* Keys [length, units] to [units, room], zero beyond the last key. */
INLINE void turn_keys(const float *keys, long stride, long length, long room, long units, float *to) {
    for (long k = 0; k < length; k += LANES)
        for (long u = 0; u < units; u += LANES) {
            unsigned there = units - u >= LANES ? ALL_LANES : ALL_LANES >> LANES / 2;
            vec rows[LANES];
            for (long i = 0; i < LANES; i++)
                rows[i] = k + i < length ? load_part(keys + (k + i) * stride + u, there) : every(0.0f);
            if (there == ALL_LANES) {
                turn(rows, to + u * room + k, room);
            } else { /* with sixteen lanes a head of 16 in bfloat16, or an odd multiple of it: half of the columns exist */
                float square[LANES * LANES];
                turn(rows, square, LANES);
                for (long i = 0; i < LANES / 2; i++) memcpy(to + (u + i) * room + k, square + i * LANES, sizeof(float) * LANES);
            }
        }
}

/* Values [length, size] end to end: rows a page apart fall into the same few sets of the cache. */
INLINE void copy_values(const float *values, long stride, long length, long size, float *to) {
    for (long k = 0; k < length; k++)
        for (long d = 0; d < size; d += LANES) store(to + k * size + d, load(values + k * stride + d));
}

/* bfloat16 values [length, size] to units of two keys each [(length + 1) / 2, size]. */
INLINE void pair_values(const float *values, long stride, long length, long size, float *to) {
    for (long k = 0; k < length; k += 2)
        for (long d = 0; d < size; d += LANES) {
            const float *from = values + k * stride + d / 2;
            ints both = load_halves(from);
            if (k + 1 < length) both |= load_halves(from + stride) << 16;
            store(to + k / 2 * size + d, (vec)both);
        }
}

INLINE void put_logits(const float *const *queries, const float *keys, long room, long units, const int blocks, const int half, float *to) {
    vec sums[TILE][BLOCKS];
    set_zero(sums, blocks);
    multiply(queries, keys, room, units, blocks, half, 0, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) store(to + i * room + LANES * b, sums[i][b]);
}

INLINE void put_weighted(const float *const *weights, const float *values, const float *shares, long units, long size, const int blocks,
                         const int half, float *const *to, long at) {
    vec sums[TILE][BLOCKS];
    set_zero(sums, blocks);
    multiply(weights, values + at, size, units, blocks, half, 0, sums);
#pragma GCC unroll 6
    for (int i = 0; i < TILE; i++)
#pragma GCC unroll 4
        for (int b = 0; b < blocks; b++) put(to[i], at + LANES * b, sums[i][b] * every(shares[i]), half);
}

/* Logits to 2^(logit - largest), as good as zero beyond the last key; returns one over their sum. `to` may be `logits` in float32. */
INLINE float soften(float *logits, long length, long room, const int half, float *to) {
    for (long k = length; k < room; k++) logits[k] = -__builtin_inff();
    vec most = every(-__builtin_inff()), sum = every(0.0f);
    for (long k = 0; k < room; k += LANES) most = larger(most, load(logits + k));
    vec largest = every(largest_of(most));
    for (long k = 0; k < room; k += LANES) {
        vec weight = exp2_below(load(logits + k) - largest, half);
        sum += weight;
        put(to, k, weight, half);
    }
    return 1.0f / sum_of(sum);
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
SIMD void EXPORT(attend_bfloat16)(const float *queries, long query_stride, const int64_t *firsts, const int64_t *counts, const float *keys,
                                  const float *values, long stride, const int64_t *starts, const int64_t *lengths, long sequences,
                                  long heads, long size, float *scratch, float *out) {
    attend(queries, query_stride, firsts, counts, keys, values, stride, starts, lengths, sequences, heads, size, 1, scratch, out);
}

SIMD void EXPORT(attend_float32)(const float *queries, long query_stride, const int64_t *firsts, const int64_t *counts, const float *keys,
                                 const float *values, long stride, const int64_t *starts, const int64_t *lengths, long sequences,
                                 long heads, long size, float *scratch, float *out) {
    attend(queries, query_stride, firsts, counts, keys, values, stride, starts, lengths, sequences, heads, size, 0, scratch, out);
}
