#include "replay/top_k.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/instruction_set.h"
#include "core/thread_pool.h"

namespace fastrl {
namespace {

constexpr int kLanes = 8;
constexpr std::int64_t kBlock = 32;    // keys that stay in the nearest cache for all queries
constexpr std::int64_t kChunk = 4096;  // keys of one piece of work

struct Match {
  double score;
  std::int64_t row;
};

// The first of these is the worst match in a heap.
bool better(const Match& a, const Match& b) {
  return a.score > b.score || (a.score == b.score && a.row < b.row);
}

// scores[m] of `count` keys.
FASTRL_INLINE void dot_products(const float* query, const float* keys, std::int64_t count,
                                std::int64_t dim, double* scores) {
  for (std::int64_t m = 0; m < count; ++m) {
    const float* key = keys + m * dim;
    double lanes[kLanes] = {};
    std::int64_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) {
      for (int l = 0; l < kLanes; ++l) {
        lanes[l] += static_cast<double>(query[d + l]) * static_cast<double>(key[d + l]);
      }
    }
    for (int l = 0; d < dim; ++d, ++l) {
      lanes[l] += static_cast<double>(query[d]) * static_cast<double>(key[d]);
    }
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    }
    scores[m] = lanes[0];
  }
}

// The best matches of one query so far, a heap with the worst on top.
void offer(std::vector<Match>& best, std::size_t k, Match match) {
  if (best.size() == k) {
    if (!better(match, best.front())) return;
    std::ranges::pop_heap(best, better);
    best.back() = match;
  } else {
    best.push_back(match);
  }
  std::ranges::push_heap(best, better);
}

}  // namespace

void top_k(const TopKInput& input, std::int64_t k, std::int64_t* rows, double* scores) {
  const auto num_queries = static_cast<std::size_t>(input.num_queries);
  const auto wanted = static_cast<std::size_t>(k);
  const std::int64_t num_chunks = (input.num_keys + kChunk - 1) / kChunk;
  using Best = std::vector<std::vector<Match>>;  // of each query
  std::vector<Best> found(static_cast<std::size_t>(num_chunks), Best(num_queries));
  const auto dot = Compiled<&dot_products>::for_this_processor();
  parallel_for(input.num_keys, kChunk, [&](std::int64_t begin, std::int64_t end) {
    Best& best = found[static_cast<std::size_t>(begin / kChunk)];
    double products[kBlock];
    for (std::int64_t first = begin; first < end; first += kBlock) {
      const std::int64_t count = std::min(kBlock, end - first);
      for (std::size_t q = 0; q < num_queries; ++q) {
        const float* query = input.queries + static_cast<std::int64_t>(q) * input.dim;
        dot(query, input.keys + first * input.dim, count, input.dim, products);
        for (std::int64_t m = 0; m < count; ++m) {
          if (input.valid != nullptr && input.valid[first + m] == 0) continue;
          offer(best[q], wanted, {products[m], first + m});
        }
      }
    }
  });
  for (std::size_t q = 0; q < num_queries; ++q) {
    std::vector<Match> best;
    for (const Best& part : found) best.insert(best.end(), part[q].begin(), part[q].end());
    std::ranges::sort(best, better);
    best.resize(wanted, {-std::numeric_limits<double>::infinity(), -1});
    for (std::size_t i = 0; i < wanted; ++i) {
      rows[q * wanted + i] = best[i].row;
      scores[q * wanted + i] = best[i].score;
    }
  }
}

}  // namespace fastrl
