#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "core/exponential.h"
#include "core/thread_pool.h"
#include "ops/policy_losses.h"

namespace fastrl {
namespace {

TEST(exponential_is_accurate_and_exact_at_zero) {
  double worst = 0;
  double worst_minus_one = 0;
  const auto relative = [](float got, double want) {
    return std::abs(static_cast<double>(got) - want) / std::abs(want);
  };
  for (int i = -80000; i <= 80000; ++i) {
    const float x = static_cast<float>(i) * 0.001f + 1e-6f;
    const Exponential e = exponential(x);
    worst = std::max(worst, relative(e.value, std::exp(static_cast<double>(x))));
    worst_minus_one =
        std::max(worst_minus_one, relative(e.minus_one, std::expm1(static_cast<double>(x))));
  }
  CHECK(worst <= 2 * 0x1p-23);
  CHECK(worst_minus_one <= 2 * 0x1p-23);
  CHECK(exponential(0.0f).value == 1.0f);
  CHECK(exponential(0.0f).minus_one == 0.0f);
}

TEST(exponential_of_special_values) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  CHECK(exponential(kInfinity).value == kInfinity);
  CHECK(exponential(kInfinity).minus_one == kInfinity);
  CHECK(exponential(88.8f).value == kInfinity);
  CHECK(std::isfinite(exponential(88.7f).value));
  CHECK(exponential(-kInfinity).value == 0.0f);
  CHECK(exponential(-kInfinity).minus_one == -1.0f);
  CHECK(exponential(-100.0f).value > 0.0f);  // subnormal
  CHECK(std::isnan(exponential(std::nanf("")).value));
  CHECK(std::isnan(exponential(std::nanf("")).minus_one));
}

// A batch with its outputs, which have a guard behind their end.
struct Batch {
  static constexpr float kGuard = -77.0f;

  Batch(std::int64_t num_tokens, std::int64_t num_sequences) {
    const auto n = static_cast<std::size_t>(num_tokens);
    for (std::size_t t = 0; t < n; ++t) {
      const auto x = static_cast<float>(t % 97) / 97.0f;
      log_probs.push_back(-x);
      old_log_probs.push_back(-x + 0.5f - static_cast<float>(t % 31) / 31.0f);
      advantages.push_back(static_cast<float>(t % 7) - 3.0f);
      mask.push_back(t % 5 != 0);
    }
    log_prob_gradients.assign(n + 1, kGuard);
    entropy_gradients.assign(n + 1, kGuard);
    inputs.log_probs = log_probs.data();
    inputs.old_log_probs = old_log_probs.data();
    inputs.advantages = advantages.data();
    inputs.mask = mask.data();
    inputs.num_tokens = num_tokens;
    inputs.num_sequences = num_sequences;
    inputs.advantages_per_token = true;
  }

  void run() {
    policy_loss(
        inputs, options,
        {&loss, statistics.data(), &scale, log_prob_gradients.data(), entropy_gradients.data()});
  }

  // The message of the error that run() must end in.
  std::string error() {
    return error_of([&] { run(); });
  }

  std::vector<float> log_probs, old_log_probs, advantages, log_prob_gradients, entropy_gradients;
  std::vector<std::uint8_t> mask;
  PolicyLossInputs inputs{};
  PolicyLossOptions options{"token", "ppo", "none", {0.2f, 0.2f, 1.0f, 0.0f, 0.5f},
                            true,    false, 3.0};
  float loss = 0;
  float scale = 0;
  std::array<float, kNumPolicyLossStatistics> statistics{};
};

TEST(policy_loss_of_three_tokens) {
  Batch batch(3, 1);
  batch.log_probs = {-1.0f, -2.0f, std::nanf("")};
  batch.old_log_probs = {-1.0f, -2.0f, 0.0f};
  batch.advantages = {1.0f, 2.0f, std::nanf("")};
  batch.mask = {1, 255, 0};
  batch.options.mean_over_sequence = false;
  batch.options.count_tokens = true;
  batch.options.denominator = 1.0;
  batch.run();
  CHECK(batch.loss == -1.5f);
  CHECK(batch.scale == 0.5f);
  CHECK(batch.statistics[kTokens] == 2.0f);
  CHECK(batch.statistics[kRatio] == 1.0f);
  CHECK((batch.log_prob_gradients == std::vector<float>{-1.0f, -2.0f, 0.0f, Batch::kGuard}));
  CHECK((batch.entropy_gradients == std::vector<float>{-0.5f, -0.5f, 0.0f, Batch::kGuard}));
}

TEST(policy_loss_shows_a_log_prob_that_is_not_finite) {
  for (const float bad : {std::nanf(""), -std::numeric_limits<float>::infinity()}) {
    for (const char* ratio : {"token", "none"}) {
      Batch batch(300, 1);
      batch.inputs.old_log_probs = nullptr;
      batch.options.ratio = ratio;
      batch.log_probs[0] = bad;  // masked
      batch.run();
      CHECK(std::isfinite(batch.loss));
      batch.log_probs[1] = bad;
      batch.run();
      CHECK(std::isnan(batch.loss));
      CHECK(std::isnan(batch.log_prob_gradients[1]));
      CHECK(batch.log_prob_gradients[0] == 0.0f);
      CHECK(std::isfinite(batch.log_prob_gradients[2]));
    }
  }
}

TEST(policy_loss_with_a_bad_denominator_is_nan_unless_there_are_no_tokens) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(), 0.0, -1.0}) {
    Batch batch(10, 2);
    batch.options.denominator = bad;
    batch.run();
    CHECK(std::isnan(batch.loss));
    CHECK(std::isnan(batch.scale));
    batch.mask.assign(10, 0);
    batch.run();
    CHECK(batch.loss == 0.0f);
    CHECK(batch.scale == 0.0f);
  }
}

TEST(policy_loss_does_not_depend_on_the_number_of_threads) {
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    Batch batch(60001, 3);
    const std::array<std::int32_t, 4> cu_seqlens = {0, 20, 20, 60001};
    batch.inputs.cu_seqlens = cu_seqlens.data();
    batch.run();
    CHECK(batch.log_prob_gradients.back() == Batch::kGuard);
    CHECK(batch.entropy_gradients.back() == Batch::kGuard);
    results.push_back(batch.log_prob_gradients);
    results.back().insert(results.back().end(), batch.statistics.begin(), batch.statistics.end());
  }
  for (const auto& result : results) CHECK(result == results.front());
}

TEST(policy_loss_rejects_what_its_tables_do_not_hold) {
  Batch batch(4, 2);
  batch.options.surrogate = "magic";
  CHECK(batch.error().starts_with("policy_loss: `surrogate` must be one of 'reinforce', 'opmd'"));
  CHECK(batch.error().ends_with("got 'magic'"));
  batch.options.surrogate = "ppo";
  batch.options.kl = "k4";
  CHECK(batch.error() == "policy_loss: `kl` must be one of 'none', 'k1', 'k2', 'k3', got 'k4'");
}

TEST(policy_loss_rejects_sequences_that_are_no_partition) {
  Batch batch(4, 2);
  std::array<std::int32_t, 3> cu_seqlens = {0, 5, 4};
  batch.inputs.cu_seqlens = cu_seqlens.data();
  CHECK(batch.error() ==
        "policy_loss: `cu_seqlens` must start at 0, never decrease and end at N = 4, got 4 after 5 "
        "at index 2");
  CHECK(batch.log_prob_gradients.front() == Batch::kGuard);  // nothing was written
  cu_seqlens = {0, 4, 4};
  CHECK(batch.error().empty());
}

}  // namespace
}  // namespace fastrl
