// One sweep over pairs of floating-point values where all 32 lanes of five sums fit the registers.
//
// It gives the same bits as the loops over expanded values (PairLoops.swift): value i goes to lane i mod 32, and only
// exact products are fused with their sum.
#pragma once
#include "lanes.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define KERNELS_SWEEPS 1
#else
#define KERNELS_SWEEPS 0
#endif

// What a sweep found beside its sums.
typedef struct {
  // max|a-b|; NaN is passed over.
  double largest;
  // The largest code of b, sign aside: its largest magnitude, or NaN.
  uint32_t peak;
  // That are the same bits.
  uint64_t equal_bytes;
  uint64_t equal_elements;
} kernels_found;

#if KERNELS_SWEEPS
typedef double kernels_eight __attribute__((ext_vector_type(8)));
typedef float kernels_eight_floats __attribute__((ext_vector_type(8)));
typedef struct { kernels_eight part[4]; } kernels_32;

// Of bfloat16, even and odd values part from each other without a shuffle: parts 0 and 1 hold the even lanes, 2 and 3
// the odd ones. Other formats have their lanes in order.
KERNELS_INLINE kernels_32 kernels_lanes_apart(kernels_32 lanes, int even_odd) {
  kernels_32 apart = lanes;
  if (even_odd) {
    for (int i = 0; i < 2; i++) {
      kernels_eight a = lanes.part[2 * i], b = lanes.part[2 * i + 1];
      apart.part[i] = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
      apart.part[2 + i] = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
    }
  }
  return apart;
}
KERNELS_INLINE kernels_32 kernels_lanes_joined(kernels_32 apart, int even_odd) {
  kernels_32 lanes = apart;
  if (even_odd) {
    for (int i = 0; i < 2; i++) {
      kernels_eight a = apart.part[i], b = apart.part[2 + i];
      lanes.part[2 * i] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
      lanes.part[2 * i + 1] = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    }
  }
  return lanes;
}

// 32 values.
KERNELS_INLINE kernels_32 kernels_32_bfloat16(const void *from) {
  kernels_words16 pairs;
  __builtin_memcpy(&pairs, from, sizeof pairs);
  kernels_words16 patterns[2] = {pairs << 16, pairs & 0xFFFF0000};
  kernels_32 values;
  for (int i = 0; i < 2; i++) {
    kernels_floats16 floats;
    __builtin_memcpy(&floats, &patterns[i], sizeof floats);
    values.part[2 * i] = __builtin_convertvector(floats.lo, kernels_eight);
    values.part[2 * i + 1] = __builtin_convertvector(floats.hi, kernels_eight);
  }
  return values;
}
KERNELS_INLINE kernels_32 kernels_32_float16(const void *from) {
  typedef _Float16 sources __attribute__((ext_vector_type(8)));
  kernels_32 values;
  for (int i = 0; i < 4; i++) {
    sources halves;
    __builtin_memcpy(&halves, (const uint8_t *)from + 16 * i, sizeof halves);
    values.part[i] = __builtin_convertvector(__builtin_convertvector(halves, kernels_eight_floats), kernels_eight);
  }
  return values;
}
KERNELS_INLINE kernels_32 kernels_32_float32(const void *from) {
  kernels_32 values;
  for (int i = 0; i < 4; i++) {
    kernels_eight_floats floats;
    __builtin_memcpy(&floats, (const uint8_t *)from + 32 * i, sizeof floats);
    values.part[i] = __builtin_convertvector(floats, kernels_eight);
  }
  return values;
}

// Equal elements of 64 bytes, by type.
#define KERNELS_EQUAL(bits, count, mask)                                                                               \
  KERNELS_INLINE uint64_t kernels_equal##bits(kernels_bytes left, kernels_bytes right) {                               \
    typedef uint##bits##_t elements __attribute__((ext_vector_type(count)));                                           \
    typedef _Bool flags __attribute__((ext_vector_type(count)));                                                       \
    elements a, b;                                                                                                     \
    __builtin_memcpy(&a, &left, sizeof a);                                                                             \
    __builtin_memcpy(&b, &right, sizeof b);                                                                            \
    flags equal = __builtin_convertvector(a == b, flags);                                                              \
    mask word;                                                                                                         \
    __builtin_memcpy(&word, &equal, sizeof word);                                                                      \
    return (uint64_t)__builtin_popcountll(word);                                                                       \
  }
KERNELS_EQUAL(8, 64, uint64_t)
KERNELS_EQUAL(16, 32, uint32_t)
KERNELS_EQUAL(32, 16, uint16_t)

KERNELS_INLINE kernels_32 kernels_load(const void *from, int even_odd) {
  kernels_32 lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return kernels_lanes_apart(lanes, even_odd);
}
KERNELS_INLINE void kernels_store(kernels_32 apart, int even_odd, void *to) {
  kernels_32 lanes = kernels_lanes_joined(apart, even_odd);
  __builtin_memcpy(to, &lanes, sizeof lanes);
}

#define KERNELS_UNROLLED _Pragma("clang loop unroll(full)")
#define KERNELS_SWEEP(format, bits, even_odd)                                                                          \
  typedef uint##bits##_t kernels_codes_##format __attribute__((ext_vector_type(512 / bits)));                          \
  KERNELS_INLINE kernels_codes_##format kernels_raise_##format(kernels_bytes from, kernels_codes_##format peak) {      \
    kernels_codes_##format codes;                                                                                      \
    __builtin_memcpy(&codes, &from, sizeof codes);                                                                     \
    codes &= (kernels_codes_##format)(uint##bits##_t)(((uint64_t)1 << (bits - 1)) - 1);                                \
    return codes > peak ? codes : peak;                                                                                \
  }                                                                                                                    \
                                                                                                                       \
  /* Adds `groups` of 32 pairs. */                                                                                     \
  __attribute__((noinline)) static inline kernels_found kernels_sweep_##format(                                        \
      const void *target, const void *reference, uint64_t groups, void *dot, void *target_sum, void *reference_sum,    \
      void *difference_sum, void *magnitude_sum) {                                                                     \
    _Pragma("clang fp contract(off)");                                                                                 \
    kernels_32 dots = kernels_load(dot, even_odd);                                                                     \
    kernels_32 targets = kernels_load(target_sum, even_odd);                                                           \
    kernels_32 references = kernels_load(reference_sum, even_odd);                                                     \
    kernels_32 squares = kernels_load(difference_sum, even_odd);                                                       \
    kernels_32 magnitudes = kernels_load(magnitude_sum, even_odd);                                                     \
    kernels_eight largest[2] = {0, 0};                                                                                 \
    kernels_codes_##format peak = 0;                                                                                   \
    kernels_found found = {0, 0, 0, 0};                                                                                \
    const uint8_t *left = (const uint8_t *)target, *right = (const uint8_t *)reference;                                \
    for (uint64_t group = 0; group < groups; group++) {                                                                \
      KERNELS_UNROLLED for (int i = 0; i < bits / 16; i++) {                                                           \
        kernels_bytes a, b;                                                                                            \
        __builtin_memcpy(&a, left + 64 * i, sizeof a);                                                                 \
        __builtin_memcpy(&b, right + 64 * i, sizeof b);                                                                \
        found.equal_bytes += kernels_equal8(a, b);                                                                     \
        found.equal_elements += kernels_equal##bits(a, b);                                                             \
        peak = kernels_raise_##format(b, peak);                                                                        \
      }                                                                                                                \
      kernels_32 a = kernels_32_##format(left), b = kernels_32_##format(right);                                        \
      KERNELS_UNROLLED for (int i = 0; i < 4; i++) {                                                                   \
        kernels_eight x = a.part[i], y = b.part[i];                                                                    \
        dots.part[i] = __builtin_elementwise_fma(x, y, dots.part[i]);                                                  \
        targets.part[i] = __builtin_elementwise_fma(x, x, targets.part[i]);                                            \
        references.part[i] = __builtin_elementwise_fma(y, y, references.part[i]);                                      \
        kernels_eight difference = x - y;                                                                              \
        squares.part[i] += difference * difference;                                                                    \
        difference = __builtin_elementwise_abs(difference);                                                            \
        magnitudes.part[i] += difference;                                                                              \
        largest[i & 1] = KERNELS_LARGER(difference, largest[i & 1]);                                                   \
      }                                                                                                                \
      left += 4 * bits;                                                                                                \
      right += 4 * bits;                                                                                               \
    }                                                                                                                  \
    found.largest = __builtin_reduce_max(KERNELS_LARGER(largest[0], largest[1]));                                      \
    found.peak = __builtin_reduce_max(peak);                                                                           \
    kernels_store(dots, even_odd, dot);                                                                                \
    kernels_store(targets, even_odd, target_sum);                                                                      \
    kernels_store(references, even_odd, reference_sum);                                                                \
    kernels_store(squares, even_odd, difference_sum);                                                                  \
    kernels_store(magnitudes, even_odd, magnitude_sum);                                                                \
    return found;                                                                                                      \
  }                                                                                                                    \
                                                                                                                       \
  /* Adds the squares of `groups` of 32 values of b to `sum`, where a is the same bytes: then the result is 1. */      \
  __attribute__((noinline)) static inline int kernels_sweep_equal_##format(                                            \
      const void *target, const void *reference, uint64_t groups, void *sum, uint32_t *peak) {                         \
    kernels_32 squares = kernels_load(sum, even_odd);                                                                  \
    kernels_codes_##format codes = 0;                                                                                  \
    kernels_bytes difference = 0;                                                                                      \
    const uint8_t *left = (const uint8_t *)target, *right = (const uint8_t *)reference;                                \
    for (uint64_t group = 0; group < groups; group++) {                                                                \
      KERNELS_UNROLLED for (int i = 0; i < bits / 16; i++) {                                                           \
        kernels_bytes b;                                                                                               \
        __builtin_memcpy(&b, right + 64 * i, sizeof b);                                                                \
        difference = kernels_add_difference(left + 64 * i, right + 64 * i, difference);                                \
        codes = kernels_raise_##format(b, codes);                                                                      \
      }                                                                                                                \
      kernels_32 b = kernels_32_##format(right);                                                                       \
      KERNELS_UNROLLED for (int i = 0; i < 4; i++) {                                                                   \
        squares.part[i] = __builtin_elementwise_fma(b.part[i], b.part[i], squares.part[i]);                            \
      }                                                                                                                \
      left += 4 * bits;                                                                                                \
      right += 4 * bits;                                                                                               \
    }                                                                                                                  \
    if (!kernels_is_zero(difference)) return 0;                                                                        \
    kernels_store(squares, even_odd, sum);                                                                             \
    *peak = __builtin_reduce_max(codes);                                                                               \
    return 1;                                                                                                          \
  }                                                                                                                    \
                                                                                                                       \
  /* The first of `groups` of 32 pairs with this |a-b|. */                                                             \
  __attribute__((noinline)) static inline uint64_t kernels_seek_##format(                                              \
      const void *target, const void *reference, uint64_t groups, double wanted) {                                     \
    const uint8_t *left = (const uint8_t *)target, *right = (const uint8_t *)reference;                                \
    uint64_t group = 0;                                                                                                \
    for (; group < groups; group++) {                                                                                  \
      kernels_32 a = kernels_32_##format(left + group * 4 * bits);                                                     \
      kernels_32 b = kernels_32_##format(right + group * 4 * bits);                                                    \
      kernels_eight largest = 0;                                                                                       \
      KERNELS_UNROLLED for (int i = 0; i < 4; i++) {                                                                   \
        kernels_eight difference = __builtin_elementwise_abs(a.part[i] - b.part[i]);                                   \
        largest = KERNELS_LARGER(difference, largest);                                                                 \
      }                                                                                                                \
      if (__builtin_reduce_max(largest) >= wanted) break;                                                              \
    }                                                                                                                  \
    return group;                                                                                                      \
  }
#else
// For the compiler alone: nothing calls these.
#define KERNELS_SWEEP(format, bits, even_odd)                                                                          \
  KERNELS_INLINE kernels_found kernels_sweep_##format(                                                                 \
      const void *target, const void *reference, uint64_t groups, void *dot, void *target_sum, void *reference_sum,    \
      void *difference_sum, void *magnitude_sum) {                                                                     \
    return (kernels_found){0, 0, 0, 0};                                                                                \
  }                                                                                                                    \
  KERNELS_INLINE int kernels_sweep_equal_##format(                                                                     \
      const void *target, const void *reference, uint64_t groups, void *sum, uint32_t *peak) {                         \
    return 0;                                                                                                          \
  }                                                                                                                    \
  KERNELS_INLINE uint64_t kernels_seek_##format(                                                                       \
      const void *target, const void *reference, uint64_t groups, double wanted) {                                     \
    return 0;                                                                                                          \
  }
#endif
KERNELS_SWEEP(bfloat16, 16, 1)
KERNELS_SWEEP(float16, 16, 0)
KERNELS_SWEEP(float32, 32, 0)
