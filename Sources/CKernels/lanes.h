// Conversions between vectors that Swift's SIMD types make one by one, and what the processor can do.
//
// All inline: each importing target compiles them with its own instruction set. `from` and `to`
// stand at any alignment.
#pragma once
#include <stdint.h>

// Vectors wider than the registers are passed to inlined functions only.
#pragma clang diagnostic ignored "-Wpsabi"

#define KERNELS_INLINE static inline __attribute__((always_inline))

// Lanes that one sweep carries: six sums of so many doubles fit the registers.
#if defined(__AVX512F__)
#define KERNELS_LANES 16
#elif defined(__AVX2__) || defined(__aarch64__)
#define KERNELS_LANES 8
#else
#define KERNELS_LANES 4
#endif

typedef double kernels_lanes __attribute__((ext_vector_type(KERNELS_LANES)));
typedef float kernels_lane_floats __attribute__((ext_vector_type(KERNELS_LANES)));
typedef double kernels_doubles16 __attribute__((ext_vector_type(16)));
typedef float kernels_floats16 __attribute__((ext_vector_type(16)));
typedef uint32_t kernels_words16 __attribute__((ext_vector_type(16)));

KERNELS_INLINE kernels_lanes kernels_widen(const void *from) {
  kernels_lane_floats values;
  __builtin_memcpy(&values, from, sizeof values);
  return __builtin_convertvector(values, kernels_lanes);
}

KERNELS_INLINE kernels_doubles16 kernels_widen16(const void *from) {
  kernels_floats16 values;
  __builtin_memcpy(&values, from, sizeof values);
  return __builtin_convertvector(values, kernels_doubles16);
}

KERNELS_INLINE kernels_lanes kernels_magnitude(kernels_lanes values) { return __builtin_elementwise_abs(values); }

KERNELS_INLINE kernels_floats16 kernels_magnitude16(kernels_floats16 values) {
  return __builtin_elementwise_abs(values);
}

// The largest lane; none is NaN.
#define KERNELS_LARGER(a, b) ((a) > (b) ? (a) : (b))
KERNELS_INLINE float kernels_largest_float(kernels_floats16 values) {
  typedef float eight __attribute__((ext_vector_type(8)));
  typedef float four __attribute__((ext_vector_type(4)));
  eight a = KERNELS_LARGER(values.lo, values.hi);
  four b = KERNELS_LARGER(a.lo, a.hi);
  return KERNELS_LARGER(KERNELS_LARGER(b.x, b.y), KERNELS_LARGER(b.z, b.w));
}
KERNELS_INLINE double kernels_largest(kernels_lanes values) {
  typedef double four __attribute__((ext_vector_type(4)));
#if KERNELS_LANES == 16
  typedef double eight __attribute__((ext_vector_type(8)));
  eight a = KERNELS_LARGER(values.lo, values.hi);
  four b = KERNELS_LARGER(a.lo, a.hi);
#elif KERNELS_LANES == 8
  four b = KERNELS_LARGER(values.lo, values.hi);
#else
  four b = values;
#endif
  return KERNELS_LARGER(KERNELS_LARGER(b.x, b.y), KERNELS_LARGER(b.z, b.w));
}

// 64 bytes of lanes, whose width the functions choose.
typedef uint8_t kernels_bytes __attribute__((ext_vector_type(64)));

// Counts of equal bytes and of equal elements; a lane of bytes holds up to 255.
#define KERNELS_COUNT(bits, lanes)                                                              \
  KERNELS_INLINE kernels_bytes kernels_add_equal##bits(                                        \
      const void *left, const void *right, kernels_bytes counts) {                             \
    typedef uint##bits##_t elements __attribute__((ext_vector_type(lanes)));                    \
    elements a, b, sum;                                                                         \
    __builtin_memcpy(&a, left, sizeof a);                                                       \
    __builtin_memcpy(&b, right, sizeof b);                                                      \
    __builtin_memcpy(&sum, &counts, sizeof sum);                                                \
    /* A lane that is equal is all ones: -1. */                                                 \
    sum -= (elements)(a == b);                                                                  \
    __builtin_memcpy(&counts, &sum, sizeof sum);                                                \
    return counts;                                                                              \
  }                                                                                             \
  KERNELS_INLINE uint64_t kernels_total##bits(kernels_bytes counts) {                          \
    typedef uint##bits##_t elements __attribute__((ext_vector_type(lanes)));                    \
    typedef uint32_t wide __attribute__((ext_vector_type(lanes)));                              \
    elements sum;                                                                               \
    __builtin_memcpy(&sum, &counts, sizeof sum);                                                \
    return __builtin_reduce_add(__builtin_convertvector(sum, wide));                            \
  }
KERNELS_COUNT(8, 64)
KERNELS_COUNT(16, 32)
KERNELS_COUNT(32, 16)
KERNELS_COUNT(64, 8)

// Gathers the bits in which 64 bytes of both sides differ.
KERNELS_INLINE kernels_bytes kernels_add_difference(const void *left, const void *right, kernels_bytes sum) {
  kernels_bytes a, b;
  __builtin_memcpy(&a, left, sizeof a);
  __builtin_memcpy(&b, right, sizeof b);
  return sum | (a ^ b);
}
KERNELS_INLINE int kernels_is_zero(kernels_bytes values) {
  typedef uint64_t words __attribute__((ext_vector_type(8)));
  words bits;
  __builtin_memcpy(&bits, &values, sizeof bits);
  return __builtin_reduce_or(bits) == 0;
}

// The largest code, sign aside, of 32 and of those before: of a 16-bit float the largest magnitude, or NaN.
KERNELS_INLINE kernels_bytes kernels_add_peak(const void *from, kernels_bytes peak) {
  typedef int16_t codes __attribute__((ext_vector_type(32)));
  codes values, known;
  __builtin_memcpy(&values, from, sizeof values);
  __builtin_memcpy(&known, &peak, sizeof known);
  values &= 0x7FFF;
  known = values > known ? values : known;
  __builtin_memcpy(&peak, &known, sizeof known);
  return peak;
}

KERNELS_INLINE uint16_t kernels_largest_code(kernels_bytes peak) {
  typedef int16_t codes __attribute__((ext_vector_type(32)));
  codes values;
  __builtin_memcpy(&values, &peak, sizeof values);
  return (uint16_t)__builtin_reduce_max(values);
}

// sum + a·b where the product is exact, so that fusing changes no bit.
#if defined(__FMA__)
KERNELS_INLINE kernels_lanes kernels_add_exact(kernels_lanes a, kernels_lanes b, kernels_lanes sum) {
  return __builtin_elementwise_fma(a, b, sum);
}
KERNELS_INLINE kernels_doubles16 kernels_add_exact16(kernels_doubles16 a, kernels_doubles16 b, kernels_doubles16 sum) {
  return __builtin_elementwise_fma(a, b, sum);
}
#else
KERNELS_INLINE kernels_lanes kernels_add_exact(kernels_lanes a, kernels_lanes b, kernels_lanes sum) {
  return sum + a * b;
}
KERNELS_INLINE kernels_doubles16 kernels_add_exact16(kernels_doubles16 a, kernels_doubles16 b, kernels_doubles16 sum) {
  return sum + a * b;
}
#endif

// 16 integers.
#define KERNELS_CONVERT(name, source, result)                                                   \
  KERNELS_INLINE void kernels_##name(const void *from, result *to) {                            \
    typedef source sources __attribute__((ext_vector_type(16)));                                \
    typedef result results __attribute__((ext_vector_type(16)));                                \
    sources values;                                                                             \
    __builtin_memcpy(&values, from, sizeof values);                                             \
    results converted = __builtin_convertvector(values, results);                               \
    __builtin_memcpy(to, &converted, sizeof converted);                                         \
  }
KERNELS_CONVERT(int8, int8_t, float)
KERNELS_CONVERT(uint8, uint8_t, float)
KERNELS_CONVERT(int16, int16_t, float)
KERNELS_CONVERT(uint16, uint16_t, float)
KERNELS_CONVERT(int32, int32_t, double)
KERNELS_CONVERT(uint32, uint32_t, double)
KERNELS_CONVERT(int64, int64_t, double)
KERNELS_CONVERT(uint64, uint64_t, double)

// 16 bfloat16 values: the upper halves of float32 patterns.
KERNELS_INLINE kernels_floats16 kernels_floats_bfloat16(const void *from) {
  typedef uint16_t sources __attribute__((ext_vector_type(16)));
  sources codes;
  __builtin_memcpy(&codes, from, sizeof codes);
  kernels_words16 patterns = __builtin_convertvector(codes, kernels_words16) << 16;
  kernels_floats16 values;
  __builtin_memcpy(&values, &patterns, sizeof values);
  return values;
}

// 16 values of IEEE half precision.
KERNELS_INLINE kernels_floats16 kernels_floats_float16(const void *from) {
#if defined(__F16C__) || defined(__aarch64__)
  typedef _Float16 sources __attribute__((ext_vector_type(16)));
  sources values;
  __builtin_memcpy(&values, from, sizeof values);
  return __builtin_convertvector(values, kernels_floats16);
#else
  // By integer operations: without F16C a conversion is a call.
  typedef uint16_t sources __attribute__((ext_vector_type(16)));
  sources codes;
  __builtin_memcpy(&codes, from, sizeof codes);
  kernels_words16 wide = __builtin_convertvector(codes, kernels_words16);
  // Exponent and fraction in place; the product moves the bias from 15 to 127 and is exact, below normal, too.
  kernels_words16 bits = (wide & 0x7FFF) << 13;
  kernels_floats16 values;
  __builtin_memcpy(&values, &bits, sizeof values);
  values *= 0x1p112f;
  // What comes out at 2^16 or more had the exponent of infinity and NaN.
  kernels_words16 special = (kernels_words16)(values >= 0x1p16f) & 0x7F800000;
  __builtin_memcpy(&bits, &values, sizeof bits);
  bits |= special | (wide & 0x8000) << 16;
  __builtin_memcpy(&values, &bits, sizeof values);
  return values;
#endif
}

KERNELS_INLINE void kernels_bfloat16(const void *from, float *to) {
  kernels_floats16 values = kernels_floats_bfloat16(from);
  __builtin_memcpy(to, &values, sizeof values);
}
KERNELS_INLINE void kernels_float16(const void *from, float *to) {
  kernels_floats16 values = kernels_floats_float16(from);
  __builtin_memcpy(to, &values, sizeof values);
}

// 16 values widened.
KERNELS_INLINE kernels_doubles16 kernels_wide_bfloat16(const void *from) {
  return __builtin_convertvector(kernels_floats_bfloat16(from), kernels_doubles16);
}
KERNELS_INLINE kernels_doubles16 kernels_wide_float16(const void *from) {
  return __builtin_convertvector(kernels_floats_float16(from), kernels_doubles16);
}

// Expands groups of 16 one-byte codes by a table of 256 numbers; gives how many groups it did, from the first on: 0
// where the instruction set has no look-up in registers, or where a number has more bits than bfloat16, which holds
// every 8-bit float.
#if defined(__AVX512BW__)
KERNELS_INLINE uint64_t kernels_expand_codes(const void *from, uint64_t groups, const float *table, float *to) {
  typedef uint8_t sources __attribute__((ext_vector_type(32)));
  typedef uint16_t codes __attribute__((ext_vector_type(32)));
  typedef short registers __attribute__((__vector_size__(64)));
  typedef uint32_t words __attribute__((ext_vector_type(32)));
  registers entries[8];
  words lower = 0;
  _Pragma("clang loop unroll(full)") for (int i = 0; i < 8; i++) {
    words patterns;
    __builtin_memcpy(&patterns, table + 32 * i, sizeof patterns);
    lower |= patterns & 0xFFFF;
    codes upper = __builtin_convertvector(patterns >> 16, codes);
    __builtin_memcpy(&entries[i], &upper, sizeof upper);
  }
  if (__builtin_reduce_or(lower) != 0) return 0;
  for (uint64_t group = 0; group + 1 < groups; group += 2) {
    sources bytes;
    __builtin_memcpy(&bytes, (const uint8_t *)from + 16 * group, sizeof bytes);
    codes code = __builtin_convertvector(bytes, codes), found[4];
    registers index = (registers)code;
    // A look-up goes by the lower six bits.
    _Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++) {
      found[i] = (codes)__builtin_ia32_vpermi2varhi512(entries[2 * i], index, entries[2 * i + 1]);
    }
    codes low = (code & 0x40) != 0 ? found[1] : found[0];
    codes high = (code & 0x40) != 0 ? found[3] : found[2];
    words patterns = __builtin_convertvector((code & 0x80) != 0 ? high : low, words) << 16;
    __builtin_memcpy(to + 16 * group, &patterns, sizeof patterns);
  }
  return groups & ~(uint64_t)1;
}
#else
KERNELS_INLINE uint64_t kernels_expand_codes(const void *from, uint64_t groups, const float *table, float *to) {
  return 0;
}
#endif

// One value.
KERNELS_INLINE double kernels_value_bfloat16(const void *from) {
  uint16_t codes[16] = {0};
  __builtin_memcpy(codes, from, 2);
  return kernels_floats_bfloat16(codes)[0];
}
KERNELS_INLINE double kernels_value_float16(const void *from) {
  uint16_t codes[16] = {0};
  __builtin_memcpy(codes, from, 2);
  return kernels_floats_float16(codes)[0];
}

// Calls `body` with memory of its own on the stack, of 64 bytes' alignment: from the heap it would cost more than a
// short row.
#define KERNELS_SCRATCH_BYTES 16384
static inline void kernels_with_scratch(void (*body)(void *context, void *scratch), void *context) {
  _Alignas(64) uint8_t scratch[KERNELS_SCRATCH_BYTES];
  body(context, scratch);
}

// 2: AVX-512 as x86-64-v4 has it; 1: AVX2, FMA and F16C; 0: neither. The operating system's consent included.
static inline int kernels_cpu_level(void) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return 0;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd")
      && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") ? 2 : 1;
#else
  return 0;
#endif
}
