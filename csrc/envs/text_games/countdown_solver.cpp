// All values of up to three numbers are tabulated. A target of more numbers is met from both sides:
// for each way to split them and each value of the smaller part, the other part must reach what
// remains.
#include "envs/text_games/countdown_solver.h"

#include <algorithm>
#include <array>
#include <bit>

#include "envs/text_games/rational.h"

namespace fastrl {
namespace {

using Subset = unsigned;  // a bit for each number

class Solver {
 public:
  void tabulate(std::span<const std::int32_t> numbers) {
    all_ = (1U << numbers.size()) - 1;
    for (Subset subset = 1; subset <= all_; ++subset) values_[subset].clear();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      values_[1U << i].add({numbers[i], 1});
    }
    for (const int count : {2, 3}) {
      for (Subset subset = 1; subset <= all_; ++subset) {
        if (std::popcount(subset) == count) tabulate(subset);
      }
    }
  }

  Subset all() const { return all_; }

  // Whether an expression that uses exactly these numbers has this value.
  bool reaches(Subset subset, const Rational& target) const {
    const int count = std::popcount(subset);
    if (count <= kTabulated) return values_[subset].contains(target);
    for (Subset part = (subset - 1) & subset; part != 0; part = (part - 1) & subset) {
      if (2 * std::popcount(part) > count) continue;
      const Subset rest = subset & ~part;
      for (const Rational& value : values_[part]) {
        if (reaches_with(rest, target, value)) return true;
      }
    }
    return false;
  }

 private:
  static constexpr int kTabulated = 3;

  class Table {
   public:
    void clear() { size_ = 0; }
    void add(const Rational& value) { values_[size_++] = value; }
    void sort() {
      std::sort(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size_));
      const auto last =
          std::unique(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size_));
      size_ = static_cast<std::size_t>(last - values_.begin());
    }
    bool contains(const Rational& value) const {
      return std::ranges::binary_search(begin(), end(), value);
    }
    const Rational* begin() const { return values_.data(); }
    const Rational* end() const { return values_.data() + size_; }

   private:
    // Three ways to split off one number, six values of the other two, six ways to combine.
    std::array<Rational, 3 * 6 * 6> values_;
    std::size_t size_ = 0;
  };

  void tabulate(Subset subset) {
    Table& table = values_[subset];
    for (Subset left = subset; left != 0; left &= left - 1) {
      const Subset one = left & (0U - left);
      const Subset rest = subset & ~one;
      // Of two numbers both splits are the same.
      if (std::popcount(rest) == 1 && rest < one) continue;
      const Rational a = *values_[one].begin();
      for (const Rational& b : values_[rest]) {
        table.add(a + b);
        table.add(a - b);
        table.add(b - a);
        table.add(a * b);
        if (!b.zero()) table.add(a / b);
        if (!a.zero()) table.add(b / a);
      }
    }
    table.sort();
  }

  // Whether `value` and something that `rest` reaches combine to the target.
  bool reaches_with(Subset rest, const Rational& target, const Rational& value) const {
    if (reaches(rest, target - value) || reaches(rest, value - target) ||
        reaches(rest, target + value)) {
      return true;
    }
    if (value.zero()) return target.zero();
    return reaches(rest, target / value) || reaches(rest, target * value) ||
           (!target.zero() && reaches(rest, value / target));
  }

  Subset all_ = 0;
  std::array<Table, 1U << kMaxCountdownNumbers> values_;
};

}  // namespace

bool countdown_solvable(std::span<const std::int32_t> numbers, std::int32_t target, bool use_all) {
  thread_local Solver solver;
  solver.tabulate(numbers);
  if (use_all) return solver.reaches(solver.all(), {target, 1});
  for (Subset subset = 1; subset <= solver.all(); ++subset) {
    if (solver.reaches(subset, {target, 1})) return true;
  }
  return false;
}

bool sums_to(std::span<const std::int32_t> numbers, std::int32_t target, bool use_all) {
  if (numbers.empty()) return target == 0;
  const auto rest = numbers.subspan(1);
  return sums_to(rest, target - numbers[0], use_all) ||
         sums_to(rest, target + numbers[0], use_all) ||
         (!use_all && sums_to(rest, target, use_all));
}

}  // namespace fastrl
