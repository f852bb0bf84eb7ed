// What the CPU's kernels share: the threads of XLA, products of a few rows of bfloat16 with weights in panels, e^x.
//
// Weights lie in panels, in the order in which they are read, and a panel is widened in registers: 2 bytes a weight from
// memory, float32 arithmetic (a product of two bfloat16 numbers is exact in float32). The blocking is that of Goto and
// van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kRows = 6;
#else
constexpr int kLanes = 4, kRows = 12;  // NEON: 32 registers of 4 floats
#endif
constexpr int64_t kPanel = 2 * kLanes;  // outputs that are computed together
constexpr int64_t kUnit = 4;            // the depth is a multiple of it
constexpr int64_t kDepth = 512;         // of a block: a panel's block and a group of rows fit the first-level cache
constexpr int64_t kAhead = 4096;        // bytes of weights that are fetched ahead

using Floats = float __attribute__((vector_size(4 * kLanes)));
using Words = uint32_t __attribute__((vector_size(4 * kLanes)));
using Ints = int32_t __attribute__((vector_size(4 * kLanes)));

template <typename V>
V Load(const void* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline float Widen(uint16_t bits16) {
  const uint32_t bits = uint32_t(bits16) << 16;
  return Load<float>(&bits);
}
inline float Widen(float value) { return value; }

inline uint16_t Narrow(float value) {  // to the nearest bfloat16, to the even one of two
  const uint32_t bits = Load<uint32_t>(&value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(bits >> 16) | 0x40;
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

// Calls body(0) ... body(n - 1) on the threads of XLA; the caller works too, so it never waits for a free thread.
void ParallelFor(ffi::ThreadPool& pool, int64_t n, std::function<void(int64_t)> body) {
  struct State {
    std::function<void(int64_t)> body;
    int64_t n;
    std::atomic<int64_t> next{0}, done{0};
    void Work() {
      for (int64_t i; (i = next.fetch_add(1)) < n; done.fetch_add(1)) body(i);
    }
  };
  auto state = std::make_shared<State>();
  state->body = std::move(body);
  state->n = n;
  for (int64_t helpers = std::min(pool.num_threads(), n) - 1; helpers > 0; --helpers) {
    pool.Schedule([state] { state->Work(); });
  }
  state->Work();
  while (state->done.load() < n) {
  }
}

// ---- products

// How a unit of depth is read and multiplied. kBytes of a panel's weights and kWords of each row a unit.
struct Bfloat16 {  // weights [panel, depth / 2, output, 2]
  static constexpr int64_t kBytes = kUnit * kPanel * 2, kWords = kUnit;
  template <int R>
  static void Step(const float* x, const char* w, Floats (&y)[R][2]) {
    for (int pair = 0; pair < 2; ++pair, x += 2 * R, w += kBytes / 2) {
      const Words w0 = Load<Words>(w), w1 = Load<Words>(w + sizeof(Words));
      const Floats even0 = (Floats)(w0 << 16), even1 = (Floats)(w1 << 16);
      for (int r = 0; r < R; ++r) y[r][0] += x[r] * even0, y[r][1] += x[r] * even1;
      const Floats odd0 = (Floats)(w0 & 0xffff0000u), odd1 = (Floats)(w1 & 0xffff0000u);
      for (int r = 0; r < R; ++r) y[r][0] += x[R + r] * odd0, y[r][1] += x[R + r] * odd1;
    }
  }
};

struct Int8 {  // weights [panel, depth / 4, output, 4]
  static constexpr int64_t kBytes = kUnit * kPanel, kWords = kUnit;
  template <int R>
  static void Step(const float* x, const char* w, Floats (&y)[R][2]) {
    const Words w0 = Load<Words>(w), w1 = Load<Words>(w + sizeof(Words));
    for (int at = 0; at < kUnit; ++at, x += R) {
      const int shift = 24 - 8 * at;
      const Floats a = __builtin_convertvector((Ints)(w0 << shift) >> 24, Floats);
      const Floats b = __builtin_convertvector((Ints)(w1 << shift) >> 24, Floats);
      for (int r = 0; r < R; ++r) y[r][0] += x[r] * a, y[r][1] += x[r] * b;
    }
  }
};

#ifdef __AVX512BF16__
struct Bfloat16Dot {  // the same weights; two products and their sums in one instruction
  static constexpr int64_t kBytes = kUnit * kPanel * 2, kWords = kUnit / 2;
  template <int R>
  static void Step(const float* x, const char* w, Floats (&y)[R][2]) {
    for (int pair = 0; pair < 2; ++pair, x += R, w += kBytes / 2) {
      const __m512bh w0 = Load<__m512bh>(w), w1 = Load<__m512bh>(w + sizeof(Words));
      for (int r = 0; r < R; ++r) {
        const __m512bh both = (__m512bh)_mm512_set1_ps(x[r]);
        y[r][0] = (Floats)_mm512_dpbf16_ps((__m512)y[r][0], both, w0);
        y[r][1] = (Floats)_mm512_dpbf16_ps((__m512)y[r][1], both, w1);
      }
    }
  }
};
#endif

using Block = void (*)(const float* x, const char* w, int64_t units, float* const* y, bool first);

// R rows by one panel by `units` of depth, added to y[row][0 .. kPanel).
template <typename Kind, int R>
void Multiply(const float* x, const char* w, int64_t units, float* const* y, bool first) {
  Floats sum[R][2];
  for (int r = 0; r < R; ++r) {
    for (int half = 0; half < 2; ++half) sum[r][half] = first ? Floats{} : Load<Floats>(y[r] + half * kLanes);
  }
  for (int64_t u = 0; u < units; ++u, x += Kind::kWords * R, w += Kind::kBytes) {
    for (int64_t line = 0; line < Kind::kBytes; line += 64) __builtin_prefetch(w + kAhead + line);
    Kind::Step(x, w, sum);
  }
  for (int r = 0; r < R; ++r) std::memcpy(y[r], sum[r], sizeof sum[r]);
}

template <typename Kind, int... R>
constexpr std::array<Block, sizeof...(R)> Blocks(std::integer_sequence<int, R...>) {
  return {&Multiply<Kind, R + 1>...};
}

// A group's rows side by side: [depth][row], in float32 or in pairs of bfloat16, zeros past the end of the depth.
template <typename Kind>
void Pack(const uint16_t* const* rows, int64_t count, int64_t depth, int64_t units, float* to) {
  constexpr int64_t kStep = kUnit / Kind::kWords;  // numbers in a word
  int64_t word = 0;
  for (; kStep == 2 && word < depth / 2; ++word) {
    for (int64_t r = 0; r < count; ++r, ++to) std::memcpy(to, rows[r] + 2 * word, sizeof *to);
  }
  for (; word < units * Kind::kWords; ++word) {
    for (int64_t r = 0; r < count; ++r, ++to) {
      uint32_t bits = 0;
      for (int64_t at = 0; at < kStep; ++at) {
        const int64_t k = word * kStep + at;
        if (k < depth) bits |= uint32_t(rows[r][k]) << (kStep == 1 ? 16 : 16 * at);
      }
      std::memcpy(to, &bits, sizeof bits);
    }
  }
}

// ---- numbers of bfloat16, and e^x

constexpr int kHeads = 16;  // query heads of one KV head that are computed together, a lane each
using Heads = float __attribute__((vector_size(4 * kHeads)));
using HeadInts = int32_t __attribute__((vector_size(4 * kHeads)));
using HeadWords = uint32_t __attribute__((vector_size(4 * kHeads)));
using HeadShorts = uint16_t __attribute__((vector_size(2 * kHeads)));

// e^x for x <= 0: 2^n times a polynomial in the rest (Cephes' expf).
inline Heads Exp(Heads x) {
  constexpr float kRound = 12582912.f;  // 1.5 * 2^23: adding it rounds to a whole number
  x = x < -87.f ? Heads{} - 87.f : x;
  const Heads n = (x * 1.44269504f + kRound) - kRound;
  const Heads r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Heads p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  return p * (Heads)((__builtin_convertvector(n, HeadInts) + 127) << 23);
}

inline HeadShorts Narrow(Heads value) {  // to the nearest bfloat16, to the even one of two; for numbers
  const HeadWords bits = (HeadWords)value;
  return __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16, HeadShorts);
}

}  // namespace
