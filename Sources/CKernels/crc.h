// CRC-32 by carry-less products of whole registers, after Intel's "Fast CRC Computation Using PCLMULQDQ".
#pragma once
#include <stddef.h>
#include <stdint.h>

// Bytes that are folded at a time.
#define KERNELS_FOLD_BYTES 256

// Bytes of the widest register that folds here: 64, 32, or 0 for none. The operating system's consent included.
static inline int kernels_fold_width(void) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("vpclmulqdq")) return 0;
  return __builtin_cpu_supports("avx512f") ? 64 : 32;
#else
  return 0;
#endif
}

#if defined(__x86_64__)
// The first bit in the file is the highest power. 16 bytes are A x^64 + B, A the first 8 of them; 2048 bits before
// their place that is A x^2112 + B x^2048, modulo P the same as A (x^2080 mod P) x^32 + B (x^2016 mod P) x^32. The
// x^32 is what a product of reflected numbers gains, the factor in 32 bits moved up by one.
static const uint64_t kernels_fold_factors[8] = {
    0x11542778a, 0x1322d1430, 0x11542778a, 0x1322d1430, 0x11542778a, 0x1322d1430, 0x11542778a, 0x1322d1430};

// Makes `rounds` times 256 bytes, 1 or more, into 256 bytes with the same checksum, counted from a register of 0.
#define KERNELS_FOLD(width, features)                                                                \
  __attribute__((target(features), noinline)) static inline void kernels_fold##width(                \
      const void *from, size_t rounds, uint32_t inverted, void *to) {                                \
    typedef long long words __attribute__((__vector_size__(width)));                                 \
    enum { count = KERNELS_FOLD_BYTES / width };                                                     \
    const uint8_t *bytes = (const uint8_t *)from;                                                    \
    words factors, sums[count], next;                                                                \
    __builtin_memcpy(&factors, kernels_fold_factors, sizeof factors);                                \
    __builtin_memcpy(sums, bytes, sizeof sums);                                                      \
    sums[0][0] ^= inverted;                                                                          \
    while (--rounds > 0) {                                                                           \
      bytes += KERNELS_FOLD_BYTES;                                                                   \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < count; i++) {                           \
        __builtin_memcpy(&next, bytes + i * width, width);                                           \
        sums[i] = KERNELS_PRODUCTS##width(sums[i], factors, 0x00) ^ next                             \
            ^ KERNELS_PRODUCTS##width(sums[i], factors, 0x11);                                       \
      }                                                                                              \
    }                                                                                                \
    __builtin_memcpy(to, sums, sizeof sums);                                                         \
  }
// Of the first (0x00) or the second (0x11) 64 bits of each 128.
#define KERNELS_PRODUCTS64(a, b, which) ((words)__builtin_ia32_pclmulqdq512((a), (b), which))
#define KERNELS_PRODUCTS32(a, b, which) ((words)__builtin_ia32_pclmulqdq256((a), (b), which))
KERNELS_FOLD(64, "avx512f,vpclmulqdq")
KERNELS_FOLD(32, "avx2,vpclmulqdq")
#endif
