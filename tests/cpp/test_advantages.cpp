#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "ops/advantages.h"

namespace fastrl {
namespace {

std::vector<double> advantages_of(const std::vector<double>& rewards,
                                  const std::vector<std::int64_t>& ids,
                                  GroupAdvantageOptions options) {
  std::vector<double> advantages(rewards.size() + 1, 7.0);
  group_advantages(rewards.data(), ids.data(), static_cast<std::int64_t>(rewards.size()), options,
                   advantages.data());
  CHECK(advantages.back() == 7.0);  // nothing is written past the end
  advantages.pop_back();
  return advantages;
}

TEST(group_advantages_of_interleaved_groups) {
  const std::int64_t far = std::numeric_limits<std::int64_t>::min();
  const auto advantages =
      advantages_of({1, 4, 3, 8, 5}, {far, 0, far, 0, far}, {.scale = RewardScale::kNone});
  CHECK((advantages == std::vector<double>{-2, -2, 0, 2, 2}));
}

TEST(group_advantages_leave_one_out) {
  const auto advantages =
      advantages_of({1, 2, 6, 5}, {3, 3, 3, 9},
                    {.baseline = Baseline::kLeaveOneOut, .scale = RewardScale::kNone});
  CHECK((advantages == std::vector<double>{-3, -1.5, 4.5, 5}));
}

TEST(group_advantages_with_many_groups) {
  std::vector<double> rewards;
  std::vector<std::int64_t> ids;
  for (int i = 0; i < 3000; ++i) {
    rewards.push_back(i % 2);
    ids.push_back((i % 1000) * (std::int64_t{1} << 32));
  }
  for (const double advantage : advantages_of(rewards, ids, {})) CHECK(advantage == 0.0);
}

TEST(group_advantages_names_the_reward_that_is_not_finite) {
  std::string message;
  try {
    advantages_of({0, std::nan(""), 1}, {0, 0, 0}, {});
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  CHECK(message == "group_advantages: `rewards` must be finite, got nan at index 1");
}

TEST(positive_amplification_by_threshold_and_by_group) {
  const std::vector<float> advantages{-0.5f, 0.25f, 0.5f, 2.0f};
  const std::vector<float> rewards{0, 0.5f, 1, 2};
  const std::vector<std::int64_t> ids{1, 1, 2, 2};
  std::vector<float> amplified(4);
  positive_amplification<float>(advantages.data(), rewards.data(), nullptr, 4, {},
                                amplified.data());
  CHECK((amplified == std::vector<float>{-0.5f, 0.75f, 3, 6}));
  const AmplificationOptions paper{.success_is_alpha = false, .success_value = 9};
  positive_amplification<float>(advantages.data(), rewards.data(), ids.data(), 4, paper,
                                amplified.data());
  CHECK((amplified == std::vector<float>{-0.5f, 9, 1.5f, 9}));
}

TEST(empty_batches) {
  CHECK(advantages_of({}, {}, {.scale = RewardScale::kBatch}).empty());
  positive_amplification<float>(nullptr, nullptr, nullptr, 0, {}, nullptr);
}

}  // namespace
}  // namespace fastrl
