// Runs the loops over the same pairs on every machine and prints the bits of each result.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int32_t value_bits(int32_t format);
void add_pairs(
    int32_t format, const void *target, const void *reference, intptr_t count, intptr_t lane, intptr_t cut,
    const float *table, double *results);

enum { MOST = 9001, RESULTS = 14 };
static uint64_t state;
static uint8_t target[8 * MOST], reference[8 * MOST];
static float table[256];

static uint64_t next(void) {
  uint64_t word = state += 0x9E3779B97F4A7C15u;
  word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9u;
  word = (word ^ word >> 27) * 0x94D049BB133111EBu;
  return word ^ word >> 31;
}

// Any bits, but of floating-point values only every 64th is what it may be: the sums of the others stay finite.
static void fill(int32_t format, int bits, int count, int has_special) {
  for (int i = 0; i < (count * bits + 7) / 8; i++) target[i] = (uint8_t)next();
  static const uint8_t exponents[4][2] = {{0x3F, 0xF0}, {0x3F, 0x80}, {0x3C, 0x00}, {0x3F, 0x80}};
  int size = bits / 8;
  for (int i = 0; format < 4 && i < count; i++) {
    if (has_special && next() % 64 == 0) continue;
    uint8_t *end = target + (i + 1) * size;
    end[-1] = (uint8_t)((end[-1] & 0x80) | exponents[format][0]);
    end[-2] = (uint8_t)((end[-2] & 0x0F) | exponents[format][1]);
  }
}

static void print(int32_t format, int count, int lane, int cut, const char *kind) {
  double results[RESULTS];
  add_pairs(format, target, reference, count, lane, cut, table, results);
  printf("%d %d %d %d %s:", format, count, lane, cut, kind);
  for (int i = 0; i < RESULTS; i++) {
    uint64_t bits = 0;
    // NaN has many patterns.
    if (!isnan(results[i])) memcpy(&bits, &results[i], sizeof bits);
    printf(" %016llx", (unsigned long long)bits);
  }
  putchar('\n');
}

int main(void) {
  static const int counts[] = {1, 2, 30, 32, 64, 66, 94, 1000, 4096, MOST - 1};
  for (int i = 0; i < 256; i++) table[i] = (float)((int64_t)(next() % 2001) - 1000) / 64;
  int bits;
  for (int32_t format = 0; (bits = value_bits(format)) > 0; format++) {
    for (unsigned c = 0; c < sizeof counts / sizeof *counts; c++) {
      int count = counts[c], size = (count * bits + 7) / 8;
      for (int lane = 0; lane < 32; lane += 14) {
        int cut = (count / 3) & ~1;
        for (int has_special = 0; has_special < 2; has_special++) {
          fill(format, bits, count, has_special);
          memcpy(reference, target, (size_t)size);
          print(format, count, lane, cut, has_special ? "special, equal" : "equal");
          reference[size / 2] ^= 1;
          print(format, count, lane, cut, has_special ? "special, one byte" : "one byte");
          fill(format, bits, count, has_special);
          print(format, count, lane, cut, has_special ? "special" : "different");
        }
      }
    }
  }
  return 0;
}
