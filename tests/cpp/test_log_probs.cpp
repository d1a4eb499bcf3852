#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "core/huge_pages.h"
#include "core/random.h"
#include "core/thread_pool.h"
#include "ops/lanes.h"
#include "ops/log_probs.h"

namespace fastrl {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Problem {
  std::vector<float> logits;
  std::vector<std::int64_t> ids;
  std::vector<std::uint8_t> mask;
  std::vector<float> stats[5];
  std::vector<float> upstream[3];
  std::int64_t rows;
  std::int64_t size;

  Problem(std::int64_t num_rows, std::int64_t vocab_size) : rows(num_rows), size(vocab_size) {
    auto random = RandomStream::seeded(11, 0);
    logits.resize(index(rows * size));
    for (auto& x : logits) x = 8.0f * random.uniform() - 4.0f;
    for (std::int64_t r = 0; r < rows; ++r) {
      ids.push_back(random.below(static_cast<std::uint32_t>(size)));
      mask.push_back(r % 3 != 1);
      for (auto& gradient : upstream) gradient.push_back(random.uniform() - 0.5f);
    }
    for (auto& values : stats) values.assign(index(rows), -7.0f);
  }

  LogitsView view() const {
    return {logits.data(), FloatType::kFloat32, rows, size, {rows, 0, size}, 0.8f, 0.0f};
  }
  void forward() {
    token_log_probs(
        view(), {ids.data(), mask.data()},
        {stats[0].data(), stats[1].data(), stats[2].data(), stats[3].data(), stats[4].data()});
  }
  void backward(float* gradient) {
    token_log_probs_backward(view(), {ids.data(), mask.data()},
                             {upstream[0].data(), upstream[1].data(), upstream[2].data(),
                              stats[1].data(), stats[3].data(), stats[4].data()},
                             gradient, {rows, 0, size});
  }
};

TEST(log_probs_equal_a_plain_loop) {
  set_num_threads(2);
  for (const std::int64_t size : {1, 7, 64, 2049}) {
    Problem problem(5, size);
    problem.forward();
    std::vector<float> gradient(index(problem.rows * size), -7.0f);
    problem.backward(gradient.data());
    for (std::int64_t r = 0; r < problem.rows; ++r) {
      const float* x = &problem.logits[index(r * size)];
      if (problem.mask[index(r)] == 0) {
        for (const auto& values : problem.stats) CHECK(values[index(r)] == 0.0f);
        for (std::int64_t j = 0; j < size; ++j) CHECK(gradient[index(r * size + j)] == 0.0f);
        continue;
      }
      double sum = 0, entropy = 0, certainty = 0;
      for (std::int64_t j = 0; j < size; ++j) sum += std::exp(x[j] / 0.8);
      for (std::int64_t j = 0; j < size; ++j) {
        const double log_p = x[j] / 0.8 - std::log(sum);
        entropy -= std::exp(log_p) * log_p;
        certainty -= (log_p + std::log(size)) / static_cast<double>(size);
      }
      const double own = x[problem.ids[index(r)]] / 0.8 - std::log(sum);
      CHECK(std::abs(problem.stats[0][index(r)] - own) < 2e-6);
      CHECK(std::abs(problem.stats[1][index(r)] - entropy) < 2e-6);
      CHECK(std::abs(problem.stats[2][index(r)] - certainty) < 2e-6);
      for (std::int64_t j = 0; j < size; ++j) {
        const double log_p = x[j] / 0.8 - std::log(sum);
        const double p = std::exp(log_p);
        const double want =
            (problem.upstream[0][index(r)] * ((j == problem.ids[index(r)]) - p) -
             problem.upstream[1][index(r)] * p * (log_p + entropy) +
             problem.upstream[2][index(r)] * (p - 1.0 / static_cast<double>(size))) /
            0.8;
        CHECK(std::abs(gradient[index(r * size + j)] - want) < 1e-6);
      }
    }
  }
}

TEST(log_probs_do_not_depend_on_the_number_of_threads) {
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    Problem problem(300, 4001);  // several chunks of rows
    problem.forward();
    problem.backward(problem.logits.data());  // in place
    std::vector<float> all = problem.logits;
    for (const auto& values : problem.stats) all.insert(all.end(), values.begin(), values.end());
    if (first.empty()) first = all;
    CHECK(std::memcmp(first.data(), all.data(), all.size() * sizeof(float)) == 0);
  }
}

TEST(the_first_token_outside_is_found) {
  const std::vector<std::int64_t> ids = {0, -100, 4, 5, -1};
  const std::vector<std::uint8_t> mask = {1, 0, 1, 1, 1};
  CHECK(first_token_outside({ids.data(), nullptr}, 5, 5) == 1);
  CHECK(first_token_outside({ids.data(), mask.data()}, 5, 5) == 3);
  CHECK(first_token_outside({ids.data(), mask.data()}, 3, 5) == -1);
  CHECK(first_token_outside({ids.data(), mask.data()}, 5, 6) == 4);
}

template <int kDegree>
double worst_exp2_error() {
  double worst = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const float x = -125.0f * static_cast<float>(i) / 1e6f;
    PortableLanes::Floats lanes = PortableLanes::Floats{} + x;
    PortableLanes::Floats power;
    PortableLanes::exp2<kDegree>(lanes, power);
    const double want = std::exp2(static_cast<double>(x));
    worst = std::max(worst, std::abs(power[0] - want) / want);
  }
  return worst;
}

TEST(exp2_is_as_exact_as_it_says) {
  CHECK(worst_exp2_error<5>() < 0x1p-22);
  CHECK(worst_exp2_error<6>() < 0x1p-23);
  for (const float x : {0.0f, -127.0f, -1e30f, -kInfinity}) {
    PortableLanes::Floats lanes = PortableLanes::Floats{} + x;
    PortableLanes::Floats power;
    PortableLanes::exp2<6>(lanes, power);
    CHECK(power[0] == (x == 0.0f ? 1.0f : 0.0f));
  }
}

TEST(tanh_is_exact_to_two_units) {
  double worst = 0;
  for (int i = -1'000'000; i <= 1'000'000; ++i) {
    const float x = 12.0f * static_cast<float>(i) / 1e6f;
    PortableLanes::Floats lanes = PortableLanes::Floats{} + x;
    PortableLanes::tanh(lanes);
    const double want = std::tanh(static_cast<double>(x));
    if (x != 0.0f) worst = std::max(worst, std::abs((lanes[0] - want) / want));
  }
  CHECK(worst < 2 * 0x1p-23);
}

// The nearest half, ties to even, by comparing neighbors.
TEST(halves_survive_the_round_trip_and_round_to_even) {
  for (std::uint32_t bits = 0; bits < 0x10000; bits += 8) {
    std::uint16_t in[8];
    std::uint16_t out[8];
    for (std::uint32_t i = 0; i < 8; ++i) in[i] = static_cast<std::uint16_t>(bits + i);
    PortableLanes::Floats even, odd;
    Float16::load<PortableLanes>(in, even, odd);
    Float16::store<PortableLanes>(even, odd, out);
    for (int i = 0; i < 8; ++i) {
      const bool nan = (in[i] & 0x7fff) > 0x7c00;
      CHECK(nan ? (out[i] & 0x7fff) > 0x7c00 : in[i] == out[i]);
    }
  }
  const struct {
    float value;
    std::uint16_t half;
  } cases[] = {{1.0f + 0x1p-11f, 0x3c00}, {1.0f + 3 * 0x1p-11f, 0x3c02},
               {65519.0f, 0x7bff},        {65520.0f, 0x7c00},
               {0x1p-25f, 0x0000},        {0x1.8p-24f, 0x0002},
               {-0x1p-24f, 0x8001},       {1e30f, 0x7c00},
               {-kInfinity, 0xfc00},      {0x1.ffep-15f, 0x0400}};
  for (const auto& [value, half] : cases) {
    std::uint16_t out[8];
    const PortableLanes::Floats lanes = PortableLanes::Floats{} + value;
    Float16::store<PortableLanes>(lanes, lanes, out);
    CHECK(out[0] == half);
    CHECK(out[1] == half);
  }
}

TEST(bfloat16_rounds_to_even) {
  const struct {
    float value;
    std::uint16_t bits;
  } cases[] = {{1.0f + 0x1p-8f, 0x3f80},
               {1.0f + 3 * 0x1p-8f, 0x3f82},
               {-1.0f, 0xbf80},
               {kInfinity, 0x7f80},
               {std::numeric_limits<float>::max(), 0x7f80}};
  for (const auto& [value, bits] : cases) {
    std::uint16_t out[8];
    const PortableLanes::Floats lanes = PortableLanes::Floats{} + value;
    BFloat16::store<PortableLanes>(lanes, lanes, out);
    CHECK(out[0] == bits);
    CHECK(out[1] == bits);
  }
}

TEST(advice_on_pages_takes_any_address) {
  std::vector<char> memory(9 << 20);
  prefer_huge_pages(memory.data() + 3, 8 << 20);
  prefer_huge_pages(memory.data(), 100);
  prefer_huge_pages(nullptr, 0);
  memory[5 << 20] = 1;
  CHECK(memory[5 << 20] == 1);
}

}  // namespace
}  // namespace fastrl
