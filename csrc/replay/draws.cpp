#include "replay/draws.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/instruction_set.h"
#include "core/thread_pool.h"
#include "replay/power.h"

namespace fastrl {
namespace {

constexpr std::int64_t kGrain = 128;  // draws that are worth a thread
constexpr std::int64_t kBatch = 256;  // even, so that batches take whole blocks of random numbers

FASTRL_INLINE void fill_blocks(std::uint64_t key, std::uint64_t stream, std::uint64_t first_block,
                               std::int64_t num_blocks, std::uint64_t* bits) {
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    const Philox4 x = philox4x32(key, first_block + static_cast<std::uint64_t>(block), stream);
    bits[block * 2] = std::uint64_t{x[0]} << 32 | x[1];
    bits[block * 2 + 1] = std::uint64_t{x[2]} << 32 | x[3];
  }
}

// floor((k + u) · total / n) for k = 0, 1, … in turn, exactly: (k · total + u · total) / n.
class Strata {
 public:
  Strata(std::uint64_t total, std::int64_t n)
      : n_(static_cast<std::uint64_t>(n)), quotient_(total / n_), remainder_(total % n_) {}

  std::uint64_t next(std::uint64_t offset) {
    const std::uint64_t rest = offset % n_ + start_rest_;
    const std::uint64_t mass = start_ + offset / n_ + (rest >= n_ ? 1 : 0);
    start_ += quotient_;
    start_rest_ += remainder_;
    if (start_rest_ >= n_) {
      start_rest_ -= n_;
      ++start_;
    }
    return mass;
  }

 private:
  std::uint64_t n_, quotient_, remainder_;
  std::uint64_t start_ = 0, start_rest_ = 0;  // k · total = start · n + start_rest
};

void shuffle(RandomStream& random, std::int64_t n, std::int64_t* slots, double* probabilities) {
  std::array<std::uint64_t, kBatch> bits;
  std::size_t used = bits.size();
  for (std::int64_t i = n - 1; i > 0; --i) {
    if (used == bits.size()) {
      fill_random(random, std::span(bits.data(), static_cast<std::size_t>(std::min(i, kBatch))));
      used = 0;
    }
    const std::uint64_t other = scale_fraction(bits[used++], static_cast<std::uint64_t>(i) + 1);
    std::swap(slots[i], slots[other]);
    std::swap(probabilities[i], probabilities[other]);
  }
}

void draw_with_replacement(const WeightedSlots& from, std::int64_t n, DrawScheme scheme,
                           RandomStream& random, std::int64_t* slots, double* probabilities) {
  // Masses lie where their slots will.
  auto* masses = reinterpret_cast<std::uint64_t*>(slots);
  const std::uint64_t total = from.total();
  Strata strata(total, n);
  std::uint64_t common = 0;
  if (scheme == DrawScheme::kSystematic) {
    fill_random(random, std::span(&common, 1));
    common = scale_fraction(common, total);
  }
  for (std::int64_t begin = 0; begin < n; begin += kBatch) {
    const std::span batch(masses + begin, static_cast<std::size_t>(std::min(kBatch, n - begin)));
    if (scheme != DrawScheme::kSystematic) {
      fill_random(random, batch);
      for (std::uint64_t& mass : batch) mass = scale_fraction(mass, total);
    }
    if (scheme == DrawScheme::kStratified) {
      for (std::uint64_t& mass : batch) mass = strata.next(mass);
    } else if (scheme == DrawScheme::kSystematic) {
      for (std::uint64_t& mass : batch) mass = strata.next(common);
    }
  }
  parallel_for(n, kGrain, [&](std::int64_t first, std::int64_t last) {
    std::array<std::uint64_t, kBatch> batch;
    for (auto begin = first; begin < last; begin += kBatch) {
      const auto size = static_cast<std::size_t>(std::min(kBatch, last - begin));
      std::copy_n(masses + begin, size, batch.begin());
      from.find({batch.data(), size}, slots + begin);
      from.weights({slots + begin, size}, batch.data());
      for (std::size_t k = 0; k < size; ++k) {
        probabilities[static_cast<std::size_t>(begin) + k] =
            static_cast<double>(batch[k]) / static_cast<double>(total);
      }
    }
  });
  if (scheme != DrawScheme::kIndependent) shuffle(random, n, slots, probabilities);
}

// The slots that a draw has taken, as gaps in the line of masses.
class Gaps {
 public:
  // Adds these slots, which have not been taken before.
  void add(const WeightedSlots& from, std::span<const std::int64_t> slots,
           std::span<const std::uint64_t> weights) {
    for (std::size_t k = 0; k < slots.size(); ++k) {
      gaps_.push_back({from.prefix(slots[k]), weights[k], 0});
    }
    std::ranges::sort(gaps_, {}, &Gap::start);
    std::uint64_t before = 0;
    for (Gap& gap : gaps_) {
      gap.start_of_rest = gap.start - before;
      before += gap.size;
    }
  }

  // Where this mass of what is left lies in the whole line.
  std::uint64_t skip(std::uint64_t mass) const {
    const auto after = std::ranges::upper_bound(gaps_, mass, {}, &Gap::start_of_rest);
    if (after == gaps_.begin()) return mass;
    const Gap& gap = *(after - 1);
    return mass - gap.start_of_rest + gap.start + gap.size;
  }

 private:
  struct Gap {
    std::uint64_t start, size;
    std::uint64_t start_of_rest;  // in the line without the gaps before it
  };
  std::vector<Gap> gaps_;
};

// A set of slots that knows at most n.
class SlotSet {
 public:
  explicit SlotSet(std::int64_t n)
      : places_(std::bit_ceil(static_cast<std::size_t>(n) * 2), std::int64_t{-1}) {}

  // False if it was there.
  bool insert(std::int64_t slot) {
    const std::size_t mask = places_.size() - 1;
    for (auto at = static_cast<std::size_t>(mix64(static_cast<std::uint64_t>(slot))) & mask;;
         at = (at + 1) & mask) {
      if (places_[at] == slot) return false;
      if (places_[at] < 0) {
        places_[at] = slot;
        return true;
      }
    }
  }

 private:
  std::vector<std::int64_t> places_;
};

// The time of the (n+1)-th of the exponential clocks, given the weights of the first n in order.
double clock_after(std::uint64_t total, std::span<const std::uint64_t> weights,
                   RandomStream& random) {
  std::vector<std::uint64_t> bits(weights.size() + 1);
  fill_random(random, bits);
  std::uint64_t left = total;
  double time = 0.0;
  for (std::size_t k = 0;; ++k) {
    if (left == 0) return std::numeric_limits<double>::infinity();
    const double u = (static_cast<double>(bits[k] >> 11) + 0.5) * 0x1p-53;
    time += -natural_log(u) / static_cast<double>(left);
    if (k == weights.size()) return time;
    left -= weights[k];
  }
}

double draw_without_replacement(const WeightedSlots& from, std::int64_t n, RandomStream& random,
                                std::int64_t* slots, double* probabilities) {
  const auto size = static_cast<std::size_t>(n);
  std::vector<std::uint64_t> masses(size);
  std::vector<std::uint64_t> weights(size);
  std::vector<std::int64_t> found(size);
  SlotSet taken(n);
  Gaps gaps;
  std::uint64_t left = from.total();
  std::size_t num_taken = 0;
  for (;;) {
    const std::span round(masses.data(), size - num_taken);
    fill_random(random, round);
    for (std::uint64_t& mass : round) mass = gaps.skip(scale_fraction(mass, left));
    from.find(round, found.data());
    const std::size_t before = num_taken;
    for (std::size_t k = 0; k < round.size(); ++k) {
      if (taken.insert(found[k])) slots[num_taken++] = found[k];
    }
    const std::span added(slots + before, num_taken - before);
    from.weights(added, weights.data() + before);
    if (num_taken == size) break;
    const std::span added_weights(weights.data() + before, num_taken - before);
    gaps.add(from, added, added_weights);
    for (const std::uint64_t weight : added_weights) left -= weight;
  }
  const double tau = clock_after(from.total(), weights, random);
  for (std::size_t k = 0; k < size; ++k) {
    probabilities[k] = draw_probability(weights[k], from.total(), n, tau);
  }
  return tau;
}

}  // namespace

void fill_random(RandomStream& random, std::span<std::uint64_t> bits) {
  if (bits.empty()) return;
  const std::uint64_t first_block = (random.position + 3) / 4;
  const auto whole = static_cast<std::int64_t>(bits.size() / 2);
  Compiled<&fill_blocks>::run(random.key, random.stream, first_block, whole, bits.data());
  if (bits.size() % 2 != 0) {
    std::array<std::uint64_t, 2> last;
    Compiled<&fill_blocks>::run(random.key, random.stream,
                                first_block + static_cast<std::uint64_t>(whole), 1, last.data());
    bits.back() = last[0];
  }
  random.position = (first_block + (bits.size() + 1) / 2) * 4;
}

double draw_probability(std::uint64_t weight, std::uint64_t total, std::int64_t n, double tau) {
  const auto w = static_cast<double>(weight);
  if (tau == 0.0) return w / static_cast<double>(total);
  return one_minus_exponential(w * tau) / static_cast<double>(n);
}

double draw(const char* function, const WeightedSlots& from, std::int64_t n, DrawScheme scheme,
            RandomStream& random, std::int64_t* slots, double* probabilities) {
  if (n < 1) fail_value(function, "n", "be at least 1", concat(n));
  if (from.count() == 0) {
    throw std::invalid_argument(
        concat(function, ": nothing can be drawn: no item has a priority above 0"));
  }
  if (scheme != DrawScheme::kWithoutReplacement) {
    draw_with_replacement(from, n, scheme, random, slots, probabilities);
    return 0.0;
  }
  if (n > from.count()) {
    fail_value(
        function, "n",
        concat("be at most the number of drawable items without replacement, ", from.count()),
        concat(n));
  }
  return draw_without_replacement(from, n, random, slots, probabilities);
}

}  // namespace fastrl
