// Attention over whole rows of tokens in bfloat16, forward and backward: blocks of keys that no query of a tile sees are
// passed over, so that packed sequences and the branches of a prompt cost little more than they would alone.
//
// Scores exist a tile at a time and are taken again for the derivatives (Dao et al. 2022, arXiv 2205.14135; Dao 2023,
// arXiv 2307.08691). The derivatives by queries and by keys are two passes: no two tasks add to the same numbers, and a
// result does not depend on the threads.
#include "kernels.h"

namespace {

constexpr int64_t kTaskRows = 256;     // rows of a product that a task works on, at most: a query for each of its heads
constexpr int64_t kKeyRows = 128;      // keys of a task of the derivatives by them
constexpr int64_t kBlock = 4 * kPanel;  // tokens of the other side whose scores exist at once
constexpr float kMasked = -1e30f;

struct Shape {
  int64_t b, t, s, n, k, h;  // rows, queries, keys, query heads, KV heads, head dim
  float scale;
  int32_t window;
  int64_t Group() const { return n / k; }
  int64_t Width() const { return (h + kPanel - 1) / kPanel * kPanel; }
};

// ---- which token sees which

struct Places {
  const int32_t *segment, *position, *branch;
  Places From(int64_t token) const { return {segment + token, position + token, branch + token}; }
};

// The least and the greatest number of some tokens.
struct Range {
  int32_t low, high;
  Range(const int32_t* from, int64_t count) : low(*from), high(*from) {
    for (int64_t i = 0; i < count; ++i) low = std::min(low, from[i]), high = std::max(high, from[i]);
  }
  bool Meets(const Range& other) const { return low <= other.high && other.low <= high; }
};

// Whether some query may see some key: false only where none does.
bool MayMeet(const Places& queries, int64_t tokens, const Places& keys, int64_t count) {
  if (!Range(queries.segment, tokens).Meets(Range(keys.segment, count))) return false;
  if (Range(keys.position, count).low > Range(queries.position, tokens).high) return false;
  const Range branch(keys.branch, count);
  return branch.low <= 0 || branch.Meets(Range(queries.branch, tokens));
}

// seen[row][column]: -1 where the query of the two sees the key, as models/attention/places.py's mask has it, else 0.
// False where there is no -1.
template <bool kRowsAreQueries>
bool FindSeen(const Places& rows, int64_t count, const Places& columns, int64_t width, int32_t window,
              int32_t (*seen)[kBlock]) {
  if (kRowsAreQueries ? !MayMeet(rows, count, columns, width) : !MayMeet(columns, width, rows, count)) return false;
  int32_t any = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t segment = rows.segment[i], position = rows.position[i], branch = rows.branch[i];
    for (int64_t j = 0; j < width; ++j) {
      const int32_t other = columns.branch[j], key_branch = kRowsAreQueries ? other : branch;
      const int32_t age = kRowsAreQueries ? position - columns.position[j] : columns.position[j] - position;
      const bool sees = (columns.segment[j] == segment) & (segment != 0) & (age >= 0) & (age < window) &
                        ((key_branch == 0) | (branch == other));
      any |= seen[i][j] = -int32_t(sees);
    }
    for (int64_t j = width; j < kBlock; ++j) seen[i][j] = 0;
  }
  return any != 0;
}

// ---- products

// A head's numbers [tokens, h], its tokens `stride` apart, as panels: of kPanel tokens and depth h, or of kPanel of the h
// and depth tokens. Zeros stand past the end.
struct Panels {
  std::vector<uint16_t> numbers;
  int64_t size = 0;  // of a panel

  void OfTokens(const uint16_t* x, int64_t stride, int64_t tokens, int64_t h) {
    const int64_t depth = (h + kUnit - 1) / kUnit * kUnit;
    size = kPanel * depth;
    Resize((tokens + kBlock - 1) / kBlock * kBlock * depth, tokens % kBlock == 0 && depth == h);
    for (int64_t i = 0; i < tokens; ++i, x += stride) {
      uint16_t* const to = &numbers[i / kPanel * size + i % kPanel * 2];
      for (int64_t d = 0; d + 1 < h; d += 2) std::memcpy(to + d * kPanel, x + d, 2 * sizeof *x);
      if (h % 2) to[(h - 1) * kPanel] = x[h - 1];
    }
  }
  void OfDepth(const uint16_t* x, int64_t stride, int64_t tokens, int64_t h) {
    size = (tokens + kBlock - 1) / kBlock * kBlock * kPanel;
    Resize((h + kPanel - 1) / kPanel * size, tokens % kBlock == 0 && h % kPanel == 0);
    for (int64_t i = 0; i < tokens; i += 2, x += 2 * stride) {
      const uint16_t* const next = i + 1 < tokens ? x + stride : nullptr;
      for (int64_t first = 0; first < h; first += kPanel) {
        uint16_t* const to = &numbers[first / kPanel * size + i * kPanel];
        const int64_t count = std::min(kPanel, h - first);
        for (int64_t d = 0; d < count; ++d) {
          to[2 * d] = x[first + d], to[2 * d + 1] = next ? next[first + d] : 0;
        }
      }
    }
  }
  // Memory is kept from call to call: fresh pages cost more than what is written to them.
  void Resize(int64_t count, bool full) {
    if (full) {
      numbers.resize(count);
    } else {
      numbers.assign(count, 0);
    }
  }
  // The panels of the block of tokens that begins with this one; the part of each panel that belongs to it.
  const uint16_t* TokensFrom(int64_t token) const { return &numbers[token / kPanel * size]; }
  const uint16_t* DepthFrom(int64_t token) const { return &numbers[token * kPanel]; }
};

// Rows of a product, packed once for all panels that they are multiplied with.
template <typename Kind>
struct PackedRows {
  std::vector<float> words;
  int64_t count = 0, units = 0;

  template <typename RowAt>
  void Take(int64_t rows, int64_t depth, RowAt row_at) {
    count = rows, units = (depth + kUnit - 1) / kUnit;
    words.resize(std::max<size_t>(words.size(), count * units * Kind::kWords));
    for (int64_t first = 0; first < count; first += kRows) {
      const uint16_t* rows_at[kRows];
      const int64_t size = std::min<int64_t>(kRows, count - first);
      for (int64_t r = 0; r < size; ++r) rows_at[r] = row_at(first + r);
      Pack<Kind>(rows_at, size, depth, units, words.data() + first * units * Kind::kWords);
    }
  }
  // y[row][width], to which is added unless `fresh`.
  void Multiply(const uint16_t* panels, int64_t panel_size, std::vector<float>& y, int64_t width, bool fresh) const {
    static constexpr auto kBlocks = Blocks<Kind>(std::make_integer_sequence<int, kRows>());
    for (int64_t first = 0; first < count; first += kRows) {
      const int64_t size = std::min<int64_t>(kRows, count - first);
      const float* const from = words.data() + first * units * Kind::kWords;
      for (int64_t panel = 0; panel < width / kPanel; ++panel) {
        float* columns[kRows];
        for (int64_t r = 0; r < size; ++r) columns[r] = &y[(first + r) * width + panel * kPanel];
        kBlocks[size - 1](from, reinterpret_cast<const char*>(panels + panel * panel_size), units, columns, fresh);
      }
    }
  }
};

// What a thread works with. narrow: a block's weights or slopes in bfloat16.
template <typename Kind>
struct Scratch {
  PackedRows<Kind> first, second, block;
  std::vector<float> scores, slopes, sums, more_sums, top, total;
  std::vector<uint16_t> narrow, more_narrow;
  std::vector<int32_t> seen;
  int32_t (*Seen(int64_t rows))[kBlock] {
    seen.resize(rows * kBlock);
    return reinterpret_cast<int32_t(*)[kBlock]>(seen.data());
  }
};

void Store(const float* from, float by, int64_t h, uint16_t* to) {
  for (int64_t d = 0; d < h; ++d) to[d] = Narrow(from[d] * by);
}

inline void Store(Heads from, uint16_t* to) {
  const HeadShorts narrow = Narrow(from);
  std::memcpy(to, &narrow, sizeof narrow);
}

// ---- forward

// A row's scores of a block become weights e^(score - top); its top, total and sums so far follow (the softmax as it
// goes on: Milakov and Gimelshein 2018, arXiv 1805.02867).
void Weigh(const float* scores, const int32_t* seen, float scale, float& top, float& total, float* sums, int64_t width,
           uint16_t* weights) {
  Heads best = Heads{} + top;
  for (int64_t j = 0; j < kBlock; j += kHeads) {
    const Heads x = Load<HeadInts>(seen + j) ? Load<Heads>(scores + j) * scale : Heads{} + kMasked;
    best = x > best ? x : best;
  }
  float now = top;
  for (int64_t i = 0; i < kHeads; ++i) now = std::max(now, best[i]);
  Heads added = {};
  for (int64_t j = 0; j < kBlock; j += kHeads) {
    const HeadInts sees = Load<HeadInts>(seen + j);
    const Heads x = sees ? Load<Heads>(scores + j) * scale : Heads{} + now;
    const Heads weight = sees ? Exp(x - now) : Heads{};
    added += weight;
    Store(weight, weights + j);
  }
  if (now != top) {
    const float shrink = Exp(Heads{} + (top - now))[0];
    total *= shrink;
    for (int64_t d = 0; d < width; ++d) sums[d] *= shrink;
    top = now;
  }
  for (int64_t i = 0; i < kHeads; ++i) total += added[i];
}

// A tile: `tokens` queries with their heads of one KV head. q and out [tokens, n, h] and norm [tokens, n] begin at the
// first query's first of these heads.
template <typename Kind>
void AttendTile(const Shape& z, const uint16_t* q, int64_t tokens, const Places& queries, const Panels& keys_by_token,
                const Panels& values_by_depth, const Places& keys, Scratch<Kind>& scratch, uint16_t* out, float* norm) {
  const int64_t group = z.Group(), rows = tokens * group, width = z.Width();
  const auto at = [&](int64_t r) { return r / group * z.n + r % group; };
  auto* const seen = scratch.Seen(tokens);
  scratch.scores.resize(rows * kBlock), scratch.narrow.resize(rows * kBlock);
  scratch.sums.assign(rows * width, 0), scratch.top.assign(rows, kMasked), scratch.total.assign(rows, 0);
  scratch.first.Take(rows, z.h, [&](int64_t r) { return q + at(r) * z.h; });
  for (int64_t s = 0; s < z.s; s += kBlock) {
    if (!FindSeen<true>(queries, tokens, keys.From(s), std::min(kBlock, z.s - s), z.window, seen)) continue;
    scratch.first.Multiply(keys_by_token.TokensFrom(s), keys_by_token.size, scratch.scores, kBlock, true);
    for (int64_t r = 0; r < rows; ++r) {
      Weigh(&scratch.scores[r * kBlock], seen[r / group], z.scale, scratch.top[r], scratch.total[r],
            &scratch.sums[r * width], width, &scratch.narrow[r * kBlock]);
    }
    scratch.block.Take(rows, kBlock, [&](int64_t r) { return &scratch.narrow[r * kBlock]; });
    scratch.block.Multiply(values_by_depth.DepthFrom(s), values_by_depth.size, scratch.sums, width, false);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const float total = scratch.total[r];
    Store(&scratch.sums[r * width], total == 0 ? 0.f : 1 / total, z.h, out + at(r) * z.h);
    norm[at(r)] = total == 0 ? 0.f : scratch.top[r] + std::log(total);
  }
}

template <typename Kind>
void Attend(ffi::ThreadPool& pool, const Shape& z, const uint16_t* q, const uint16_t* k, const uint16_t* v,
            const Places& queries, const Places& keys, uint16_t* out, float* norm) {
  const int64_t heads = z.b * z.k;
  thread_local std::vector<Panels> keys_kept, values_kept;  // the caller's: helpers have them by reference
  auto &keys_by_token = keys_kept, &values_by_depth = values_kept;
  keys_by_token.resize(heads), values_by_depth.resize(heads);
  ParallelFor(pool, heads, [&](int64_t i) {
    const int64_t at = (i / z.k * z.s * z.k + i % z.k) * z.h;
    keys_by_token[i].OfTokens(k + at, z.k * z.h, z.s, z.h);
    values_by_depth[i].OfDepth(v + at, z.k * z.h, z.s, z.h);
  });
  const int64_t tokens = std::max<int64_t>(1, kTaskRows / z.Group()), tiles = (z.t + tokens - 1) / tokens;
  ParallelFor(pool, heads * tiles, [&](int64_t task) {
    thread_local Scratch<Kind> scratch;
    const int64_t i = task % heads, b = i / z.k;
    const int64_t start = (tiles - 1 - task / heads) * tokens;  // the last ones see most: they go first
    const int64_t row = b * z.t + start, at = row * z.n + i % z.k * z.Group();
    AttendTile<Kind>(z, q + at * z.h, std::min(tokens, z.t - start), queries.From(row), keys_by_token[i],
                     values_by_depth[i], keys.From(b * z.s), scratch, out + at * z.h, norm + at);
  });
}

// ---- backward

// A row's slopes of a block: weight (dweight - delta) scale, in bfloat16; and its weights, where they are wanted. norm and
// delta are of the row, or (kEach) one for each column.
template <bool kEach>
void Slope(const float* scores, const float* dweights, const int32_t* seen, float scale, const float* norm,
           const float* delta, uint16_t* slopes, uint16_t* weights) {
  for (int64_t j = 0; j < kBlock; j += kHeads) {
    const HeadInts sees = Load<HeadInts>(seen + j);
    const Heads its_norm = kEach ? Load<Heads>(norm + j) : Heads{} + *norm;
    const Heads its_delta = kEach ? Load<Heads>(delta + j) : Heads{} + *delta;
    const Heads x = sees ? Load<Heads>(scores + j) * scale - its_norm : Heads{};
    const Heads weight = sees ? Exp(x) : Heads{};
    Store(weight * (Load<Heads>(dweights + j) - its_delta) * scale, slopes + j);
    if (kEach) Store(weight, weights + j);
  }
}

// All that the derivatives need of one query head, or of one KV head, of a row.
struct QueryHead {
  Panels q_by_token, q_by_depth, g_by_token, g_by_depth;
  std::vector<float> norm, delta;  // zeros past the end
};
struct KeyHead {
  Panels k_by_token, k_by_depth, v_by_token;
};

// The derivative by the queries of a tile. q, g and dq begin at the first query's first head of this KV head; heads are
// its query heads, start the tile's first token.
template <typename Kind>
void QuerySlopes(const Shape& z, const uint16_t* q, const uint16_t* g, int64_t start, int64_t tokens,
                 const QueryHead* heads, const Places& queries, const KeyHead& kv, const Places& keys,
                 Scratch<Kind>& scratch, uint16_t* dq) {
  const int64_t group = z.Group(), rows = tokens * group, width = z.Width();
  const auto at = [&](int64_t r) { return (r / group * z.n + r % group) * z.h; };
  auto* const seen = scratch.Seen(tokens);
  scratch.scores.resize(rows * kBlock), scratch.slopes.resize(rows * kBlock), scratch.narrow.resize(rows * kBlock);
  scratch.sums.assign(rows * width, 0);
  scratch.first.Take(rows, z.h, [&](int64_t r) { return q + at(r); });
  scratch.second.Take(rows, z.h, [&](int64_t r) { return g + at(r); });
  for (int64_t s = 0; s < z.s; s += kBlock) {
    if (!FindSeen<true>(queries, tokens, keys.From(s), std::min(kBlock, z.s - s), z.window, seen)) continue;
    scratch.first.Multiply(kv.k_by_token.TokensFrom(s), kv.k_by_token.size, scratch.scores, kBlock, true);
    scratch.second.Multiply(kv.v_by_token.TokensFrom(s), kv.v_by_token.size, scratch.slopes, kBlock, true);
    for (int64_t r = 0; r < rows; ++r) {
      const QueryHead& head = heads[r % group];
      Slope<false>(&scratch.scores[r * kBlock], &scratch.slopes[r * kBlock], seen[r / group], z.scale,
                   &head.norm[start + r / group], &head.delta[start + r / group], &scratch.narrow[r * kBlock], nullptr);
    }
    scratch.block.Take(rows, kBlock, [&](int64_t r) { return &scratch.narrow[r * kBlock]; });
    scratch.block.Multiply(kv.k_by_depth.DepthFrom(s), kv.k_by_depth.size, scratch.sums, width, false);
  }
  for (int64_t r = 0; r < rows; ++r) Store(&scratch.sums[r * width], 1, z.h, dq + at(r));
}

// The derivatives by the keys and values of a tile. k, v, dk and dv begin at its first token of this KV head.
template <typename Kind>
void KeySlopes(const Shape& z, const uint16_t* k, const uint16_t* v, int64_t rows, const QueryHead* heads,
               const Places& queries, const Places& keys, Scratch<Kind>& scratch, uint16_t* dk, uint16_t* dv) {
  const int64_t stride = z.k * z.h, width = z.Width();
  auto* const seen = scratch.Seen(rows);
  scratch.scores.resize(rows * kBlock), scratch.slopes.resize(rows * kBlock);
  scratch.narrow.resize(rows * kBlock), scratch.more_narrow.resize(rows * kBlock);
  scratch.sums.assign(rows * width, 0), scratch.more_sums.assign(rows * width, 0);
  scratch.first.Take(rows, z.h, [&](int64_t r) { return k + r * stride; });
  scratch.second.Take(rows, z.h, [&](int64_t r) { return v + r * stride; });
  for (int64_t t = 0; t < z.t; t += kBlock) {
    if (!FindSeen<false>(keys, rows, queries.From(t), std::min(kBlock, z.t - t), z.window, seen)) continue;
    for (const QueryHead* head = heads; head != heads + z.Group(); ++head) {
      scratch.first.Multiply(head->q_by_token.TokensFrom(t), head->q_by_token.size, scratch.scores, kBlock, true);
      scratch.second.Multiply(head->g_by_token.TokensFrom(t), head->g_by_token.size, scratch.slopes, kBlock, true);
      for (int64_t r = 0; r < rows; ++r) {
        Slope<true>(&scratch.scores[r * kBlock], &scratch.slopes[r * kBlock], seen[r], z.scale, &head->norm[t],
                    &head->delta[t], &scratch.narrow[r * kBlock], &scratch.more_narrow[r * kBlock]);
      }
      scratch.block.Take(rows, kBlock, [&](int64_t r) { return &scratch.narrow[r * kBlock]; });
      scratch.block.Multiply(head->q_by_depth.DepthFrom(t), head->q_by_depth.size, scratch.sums, width, false);
      scratch.block.Take(rows, kBlock, [&](int64_t r) { return &scratch.more_narrow[r * kBlock]; });
      scratch.block.Multiply(head->g_by_depth.DepthFrom(t), head->g_by_depth.size, scratch.more_sums, width, false);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    Store(&scratch.sums[r * width], 1, z.h, dk + r * stride);
    Store(&scratch.more_sums[r * width], 1, z.h, dv + r * stride);
  }
}

void Prepare(const Shape& z, int64_t b, int64_t n, const uint16_t* q, const uint16_t* out, const uint16_t* g,
             const float* norm, QueryHead& head) {
  const int64_t stride = z.n * z.h, at = (b * z.t * z.n + n) * z.h, padded = (z.t + kBlock - 1) / kBlock * kBlock;
  head.q_by_token.OfTokens(q + at, stride, z.t, z.h), head.q_by_depth.OfDepth(q + at, stride, z.t, z.h);
  head.g_by_token.OfTokens(g + at, stride, z.t, z.h), head.g_by_depth.OfDepth(g + at, stride, z.t, z.h);
  head.norm.assign(padded, 0), head.delta.assign(padded, 0);
  for (int64_t t = 0; t < z.t; ++t) {
    head.norm[t] = norm[(b * z.t + t) * z.n + n];
    for (int64_t d = 0; d < z.h; ++d) head.delta[t] += Widen(out[at + t * stride + d]) * Widen(g[at + t * stride + d]);
  }
}

template <typename Kind>
void Differentiate(ffi::ThreadPool& pool, const Shape& z, const uint16_t* q, const uint16_t* k, const uint16_t* v,
                   const uint16_t* out, const uint16_t* g, const float* norm, const Places& queries, const Places& keys,
                   uint16_t* dq, uint16_t* dk, uint16_t* dv) {
  const int64_t heads = z.b * z.k;
  thread_local std::vector<QueryHead> query_heads_kept;  // the caller's: helpers have them by reference
  thread_local std::vector<KeyHead> key_heads_kept;
  auto& query_heads = query_heads_kept;
  auto& key_heads = key_heads_kept;
  query_heads.resize(z.b * z.n), key_heads.resize(heads);
  const auto kv_at = [&](int64_t i) { return (i / z.k * z.s * z.k + i % z.k) * z.h; };
  ParallelFor(pool, z.b * z.n + heads, [&](int64_t task) {
    if (task < z.b * z.n) {
      Prepare(z, task / z.n, task % z.n, q, out, g, norm, query_heads[task]);
      return;
    }
    const int64_t i = task - z.b * z.n;
    key_heads[i].k_by_token.OfTokens(k + kv_at(i), z.k * z.h, z.s, z.h);
    key_heads[i].k_by_depth.OfDepth(k + kv_at(i), z.k * z.h, z.s, z.h);
    key_heads[i].v_by_token.OfTokens(v + kv_at(i), z.k * z.h, z.s, z.h);
  });
  const int64_t tokens = std::max<int64_t>(1, kTaskRows / z.Group()), tiles = (z.t + tokens - 1) / tokens;
  const int64_t key_tiles = (z.s + kKeyRows - 1) / kKeyRows;
  ParallelFor(pool, heads * (key_tiles + tiles), [&](int64_t task) {
    thread_local Scratch<Kind> scratch;
    const int64_t i = task % heads, b = i / z.k, tile = task / heads;
    const QueryHead* const its_heads = &query_heads[b * z.n + i % z.k * z.Group()];
    if (tile < key_tiles) {  // the first keys are seen most, and go first
      const int64_t start = tile * kKeyRows, at = kv_at(i) + start * z.k * z.h;
      KeySlopes<Kind>(z, k + at, v + at, std::min(kKeyRows, z.s - start), its_heads, queries.From(b * z.t),
                      keys.From(b * z.s + start), scratch, dk + at, dv + at);
      return;
    }
    const int64_t start = (key_tiles + tiles - 1 - tile) * tokens, row = b * z.t + start;
    const int64_t at = (row * z.n + i % z.k * z.Group()) * z.h;
    QuerySlopes<Kind>(z, q + at, g + at, start, std::min(tokens, z.t - start), its_heads, queries.From(row),
                      key_heads[i], keys.From(b * z.s), scratch, dq + at);
  });
}

// ---- what XLA calls

using Narrows = ffi::Buffer<ffi::BF16>;

const uint16_t* Data(Narrows& buffer) { return reinterpret_cast<const uint16_t*>(buffer.untyped_data()); }
uint16_t* Data(ffi::ResultBuffer<ffi::BF16>& buffer) { return reinterpret_cast<uint16_t*>(buffer->untyped_data()); }

Shape ShapeOf(const Narrows& q, const Narrows& k, const ffi::Buffer<ffi::S32>& window, float scale) {
  const auto qs = q.dimensions(), ks = k.dimensions();
  return {qs[0], qs[1], ks[1], qs[2], ks[2], qs[3], scale, *window.typed_data()};
}

Places PlacesOf(const ffi::Buffer<ffi::S32>& places) {
  const int64_t tokens = places.element_count() / 3;
  return {places.typed_data(), places.typed_data() + tokens, places.typed_data() + 2 * tokens};
}

template <typename Run>
ffi::Error ByKind(bool dot, Run run) {
#ifdef __AVX512BF16__
  if (dot) {
    run(Bfloat16Dot{});
    return ffi::Error::Success();
  }
#endif
  run(Bfloat16{});
  return ffi::Error::Success();
}

// q [b, t, n, h], k and v [b, s, k, h]; segment, position and branch of the queries [3, b, t] and of the keys
// [3, b, s]; window [] -> out [b, t, n, h], and the log of each softmax' sum [b, t, n]; zeros where nothing is seen.
ffi::Error AttendRows(ffi::ThreadPool pool, Narrows q, Narrows k, Narrows v, ffi::Buffer<ffi::S32> queries,
                      ffi::Buffer<ffi::S32> keys, ffi::Buffer<ffi::S32> window, ffi::ResultBuffer<ffi::BF16> out,
                      ffi::ResultBuffer<ffi::F32> norm, float scale, bool dot) {
  return ByKind(dot, [&](auto kind) {
    Attend<decltype(kind)>(pool, ShapeOf(q, k, window, scale), Data(q), Data(k), Data(v), PlacesOf(queries),
                           PlacesOf(keys), Data(out), norm->typed_data());
  });
}

// The same, what it gave, and the derivative by that -> the derivatives by q, k and v.
ffi::Error AttendRowsBackward(ffi::ThreadPool pool, Narrows q, Narrows k, Narrows v, ffi::Buffer<ffi::S32> queries,
                              ffi::Buffer<ffi::S32> keys, ffi::Buffer<ffi::S32> window, Narrows out,
                              ffi::Buffer<ffi::F32> norm, Narrows g, ffi::ResultBuffer<ffi::BF16> dq,
                              ffi::ResultBuffer<ffi::BF16> dk, ffi::ResultBuffer<ffi::BF16> dv, float scale, bool dot) {
  return ByKind(dot, [&](auto kind) {
    Differentiate<decltype(kind)>(pool, ShapeOf(q, k, window, scale), Data(q), Data(k), Data(v), Data(out), Data(g),
                                  norm.typed_data(), PlacesOf(queries), PlacesOf(keys), Data(dq), Data(dk), Data(dv));
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(acecoder_attend_rows, AttendRows,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Narrows>()
                                  .Arg<Narrows>()
                                  .Arg<Narrows>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<Narrows>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<float>("scale")
                                  .Attr<bool>("dot"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(acecoder_attend_rows_backward, AttendRowsBackward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Narrows>()
                                  .Arg<Narrows>()
                                  .Arg<Narrows>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<Narrows>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<Narrows>()
                                  .Ret<Narrows>()
                                  .Ret<Narrows>()
                                  .Ret<Narrows>()
                                  .Attr<float>("scale")
                                  .Attr<bool>("dot"));
