// The CPU's own kernels for decoding: products of a few rows with packed weights, and attention over a paged cache.
//
// XLA's products of 32 rows read the weights in an order that suits no cache and multiply bfloat16 at half the rate of
// float32 where the CPU has no better instruction (kernels.h says how it is done here).
//
// A row's result depends on that row alone, bit for bit: sums run over the depth in one order whatever the other rows
// are. Rows that are not active cost nothing and come back as zeros.
#include "kernels.h"

namespace {

// ---- products

template <typename Kind>
void MultiplyAll(ffi::ThreadPool& pool, const uint16_t* x, const char* w, const bool* active, float* y, int64_t m,
                 int64_t depth, int64_t units, int64_t panels) {
  static constexpr auto kBlocks = Blocks<Kind>(std::make_integer_sequence<int, kRows>());
  thread_local std::vector<float> scratch;
  const int64_t width = panels * kPanel, row_words = units * Kind::kWords;
  std::vector<const uint16_t*> from;
  std::vector<float*> to;
  for (int64_t r = 0; r < m; ++r) {
    if (active[r]) {
      from.push_back(x + r * depth), to.push_back(y + r * width);
    } else {
      std::memset(y + r * width, 0, width * sizeof(float));
    }
  }
  const int64_t rows = from.size(), groups = (rows + kRows - 1) / kRows;
  if (rows == 0) return;
  if (int64_t(scratch.size()) < rows * row_words) scratch.resize(rows * row_words);
  float* const packed = scratch.data();
  const auto begin = [=](int64_t group) { return group * rows / groups; };
  ParallelFor(pool, groups, [&](int64_t group) {
    const int64_t first = begin(group);
    Pack<Kind>(&from[first], begin(group + 1) - first, depth, units, packed + first * row_words);
  });
  const int64_t block = std::clamp<int64_t>(panels / (8 * pool.num_threads()), 1, 8);
  ParallelFor(pool, (panels + block - 1) / block, [&](int64_t task) {
    const int64_t last = std::min(panels, (task + 1) * block);
    for (int64_t u = 0; u < units; u += kDepth / kUnit) {
      const int64_t count = std::min(kDepth / kUnit, units - u);
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t first = begin(group), size = begin(group + 1) - first;
        const float* rows_at = packed + first * row_words + u * Kind::kWords * size;
        for (int64_t panel = task * block; panel < last; ++panel) {
          float* columns[kRows];
          for (int64_t r = 0; r < size; ++r) columns[r] = to[first + r] + panel * kPanel;
          kBlocks[size - 1](rows_at, w + (panel * units + u) * Kind::kBytes, count, columns, u == 0);
        }
      }
    }
  });
}

// x [m, depth] of bfloat16, w packed, active [m] -> y [m, panels * kPanel] of float32.
ffi::Error Matmul(ffi::ThreadPool pool, ffi::Buffer<ffi::BF16> x, ffi::AnyBuffer w, ffi::Buffer<ffi::PRED> active,
                  ffi::ResultBuffer<ffi::F32> y, bool dot) {
  const int64_t m = x.dimensions()[0], depth = x.dimensions()[1], panels = w.dimensions()[0];
  const bool int8 = w.element_type() == ffi::S8;
  const int64_t units = w.dimensions()[1] * w.dimensions()[3] / kUnit;
  if (w.dimensions()[2] != kPanel || units != (depth + kUnit - 1) / kUnit) {
    return ffi::Error::InvalidArgument("the weights were packed for another depth or another machine");
  }
  const auto run = [&](auto kind) {
    MultiplyAll<decltype(kind)>(pool, reinterpret_cast<const uint16_t*>(x.untyped_data()),
                                static_cast<const char*>(w.untyped_data()), active.typed_data(), y->typed_data(), m,
                                depth, units, panels);
  };
  if (int8) {
    run(Int8{});
#ifdef __AVX512BF16__
  } else if (dot) {
    run(Bfloat16Dot{});
#endif
  } else {
    run(Bfloat16{});
  }
  return ffi::Error::Success();
}

// ---- attention

inline Heads LoadHeads(const float* from) { return Load<Heads>(from); }
inline Heads LoadHeads(const uint16_t* from) {
  return (Heads)(__builtin_convertvector(Load<HeadShorts>(from), HeadWords) << 16);
}

// sums[g] += weight[key][g] * value[key][0 .. kHeads) over the keys, for G heads.
template <typename T, int G>
void WeighValues(const T* const* values, int64_t keys, const Heads* weights, Heads* sums) {
  Heads sum[G] = {};
  for (int64_t key = 0; key < keys; ++key) {
    const Heads value = LoadHeads(values[key]);
    for (int g = 0; g < G; ++g) sum[g] += weights[key][g] * value;
  }
  std::memcpy(sums, sum, sizeof sum);
}

template <typename T, int... G>
constexpr auto Weighers(std::integer_sequence<int, G...>) {
  using F = void (*)(const T* const*, int64_t, const Heads*, Heads*);
  return std::array<F, sizeof...(G)>{&WeighValues<T, G + 1>...};
}

struct Scratch {
  std::vector<float> key;
  std::vector<Heads> query, score;
};

// One token's heads [heads, h] over `keys` keys; values stand h numbers after their key. out [heads, h].
template <typename T>
void AttendHeads(const float* q, int64_t heads, int64_t h, const T* const* rows, int64_t keys, float scale,
                 Scratch& scratch, float* out) {
  static constexpr auto kWeighers = Weighers<T>(std::make_integer_sequence<int, kHeads>());
  scratch.query.assign(h, Heads{});
  for (int64_t g = 0; g < heads; ++g) {
    for (int64_t d = 0; d < h; ++d) scratch.query[d][g] = q[g * h + d] * scale;
  }
  if (int64_t(scratch.score.size()) < keys) scratch.score.resize(keys);
  Heads* const score = scratch.score.data();
  Heads top = Heads{} - std::numeric_limits<float>::infinity();
  constexpr int64_t kTogether = 4;
  scratch.key.resize(kTogether * h);
  for (int64_t first = 0; first < keys; first += kTogether) {
    const int64_t count = std::min(kTogether, keys - first);
    for (int64_t i = 0; i < kTogether; ++i) {  // past the end the last one again: computed, not stored
      const T* const row = rows[first + std::min(i, count - 1)];
      for (int64_t d = 0; d < h; ++d) scratch.key[i * h + d] = Widen(row[d]);
    }
    Heads sum[kTogether] = {};
    for (int64_t d = 0; d < h; ++d) {
      for (int64_t i = 0; i < kTogether; ++i) sum[i] += scratch.key[i * h + d] * scratch.query[d];
    }
    for (int64_t i = 0; i < count; ++i) {
      score[first + i] = sum[i];
      top = sum[i] > top ? sum[i] : top;
    }
  }
  Heads total = {};
  for (int64_t key = 0; key < keys; ++key) total += score[key] = Exp(score[key] - top);
  thread_local std::vector<const T*> values;
  thread_local std::vector<T> tail;  // the last h % kHeads numbers of each value, padded
  values.resize(keys);
  for (int64_t d = 0; d < h; d += kHeads) {
    const int64_t width = std::min<int64_t>(kHeads, h - d);
    if (width < kHeads) tail.assign(keys * kHeads, T{});
    for (int64_t key = 0; key < keys; ++key) {
      values[key] = rows[key] + h + d;
      if (width < kHeads) {
        std::memcpy(&tail[key * kHeads], values[key], width * sizeof(T));
        values[key] = &tail[key * kHeads];
      }
    }
    Heads sums[kHeads];
    kWeighers[heads - 1](values.data(), keys, score, sums);
    for (int64_t g = 0; g < heads; ++g) {
      for (int64_t i = 0; i < width; ++i) out[g * h + d + i] = sums[g][i] / total[g];
    }
  }
}

struct Shapes {
  int64_t s, t, n, h, c, j, i;  // rows, tokens, query heads, head dim, cells of a page, K and V heads, pages of a row
};

template <typename T>
void WriteAndAttend(ffi::ThreadPool& pool, const Shapes& z, const float* q, const T* kv, T* pages, const int32_t* table,
                    const int32_t* position, const bool* active, float scale, int64_t window, float* out) {
  const auto cell = [&](int64_t row, int64_t at) {
    return pages + (int64_t(table[row * z.i + at / z.c]) * z.c + at % z.c) * z.j * z.h;
  };
  for (int64_t row = 0; row < z.s; ++row) {
    for (int64_t at = 0; at < z.t; ++at) {
      if (!active[row * z.t + at]) continue;
      std::memcpy(cell(row, position[row] + at), kv + (row * z.t + at) * z.j * z.h, z.j * z.h * sizeof(T));
    }
  }
  const int64_t heads = z.j / 2, group = z.n / heads;
  ParallelFor(pool, z.s * heads, [&](int64_t task) {
    thread_local Scratch scratch;
    thread_local std::vector<const T*> rows;
    const int64_t row = task / heads, head = task % heads;
    rows.clear();
    for (int64_t at = 0; at < z.t; ++at) {
      float* const to = out + ((row * z.t + at) * z.n + head * group) * z.h;
      if (!active[row * z.t + at]) {
        std::memset(to, 0, group * z.h * sizeof(float));
        continue;
      }
      const int64_t last = position[row] + at, first = std::max<int64_t>(0, last - window + 1);
      for (int64_t key = rows.size(); key <= last; ++key) rows.push_back(cell(row, key) + 2 * head * z.h);
      for (int64_t g = 0; g < group; g += kHeads) {
        const float* query = q + ((row * z.t + at) * z.n + head * group + g) * z.h;
        AttendHeads(query, std::min<int64_t>(kHeads, group - g), z.h, &rows[first], last - first + 1, scale, scratch,
                    to + g * z.h);
      }
    }
  });
}

// q [s, t, n, h] of float32; kv [s, t, j, h] and pages [p, c, j, h] of one type; table [s, i]; position [s];
// active [s, t] -> out [s, t, n, h] of float32, and the pages with the active tokens' keys and values.
ffi::Error Attend(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q, ffi::AnyBuffer kv, ffi::AnyBuffer pages,
                  ffi::Buffer<ffi::S32> table, ffi::Buffer<ffi::S32> position, ffi::Buffer<ffi::PRED> active,
                  ffi::ResultBuffer<ffi::F32> out, ffi::Result<ffi::AnyBuffer> pages_out, float scale, int64_t window) {
  const auto qs = q.dimensions(), ps = pages.dimensions();
  const Shapes z{qs[0], qs[1], qs[2], qs[3], ps[1], ps[2], table.dimensions()[1]};
  for (int64_t row = 0; row < z.s; ++row) {
    for (int64_t at = 0; at < z.t; ++at) {
      const int64_t cell = position.typed_data()[row] + at;
      if (!active.typed_data()[row * z.t + at]) continue;
      if (cell < 0 || cell >= z.c * z.i) {
        return ffi::Error::InvalidArgument("a token's position lies outside of its row's pages: row " +
                                           std::to_string(row) + ", position " + std::to_string(cell));
      }
      const int32_t page = table.typed_data()[row * z.i + cell / z.c];
      if (page < 0 || page >= ps[0]) {
        return ffi::Error::InvalidArgument("a row's table names a page that is not there: row " +
                                           std::to_string(row) + ", page " + std::to_string(page));
      }
    }
  }
  if (pages_out->untyped_data() != pages.untyped_data()) {
    std::memcpy(pages_out->untyped_data(), pages.untyped_data(), pages.size_bytes());
  }
  const auto run = [&](auto number) {
    using T = decltype(number);
    WriteAndAttend<T>(pool, z, q.typed_data(), static_cast<const T*>(kv.untyped_data()),
                      static_cast<T*>(pages_out->untyped_data()), table.typed_data(), position.typed_data(),
                      active.typed_data(), scale, window, out->typed_data());
  };
  if (pages.element_type() == ffi::BF16) {
    run(uint16_t{});
  } else if (pages.element_type() == ffi::F32) {
    run(float{});
  } else {
    return ffi::Error::InvalidArgument("the cache must be bfloat16 or float32");
  }
  return ffi::Error::Success();
}

// Copies pages from[0 .. s) to to[0 .. s), all of them read before any is written; 0 to 0 is nothing.
ffi::Error CopyPages(ffi::AnyBuffer pages, ffi::Buffer<ffi::S32> from, ffi::Buffer<ffi::S32> to,
                     ffi::Result<ffi::AnyBuffer> pages_out) {
  const size_t size = pages.size_bytes() / pages.dimensions()[0];
  char* const all = static_cast<char*>(pages_out->untyped_data());
  if (all != pages.untyped_data()) std::memcpy(all, pages.untyped_data(), pages.size_bytes());
  const int64_t count = from.element_count();
  std::vector<char> read(count * size);
  const auto idle = [&](int64_t i) { return from.typed_data()[i] == to.typed_data()[i]; };
  for (int64_t i = 0; i < count; ++i) {
    if (!idle(i)) std::memcpy(&read[i * size], all + from.typed_data()[i] * size, size);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (!idle(i)) std::memcpy(all + to.typed_data()[i] * size, &read[i * size], size);
  }
  return ffi::Error::Success();
}

}  // namespace

// Outputs in a panel, which decides how weights are packed.
extern "C" int acecoder_panel() { return kPanel; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(acecoder_matmul, Matmul,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::BF16>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<bool>("dot"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(acecoder_attend, Attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<float>("scale")
                                  .Attr<int64_t>("window"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(acecoder_copy_pages, CopyPages,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::AnyBuffer>());
