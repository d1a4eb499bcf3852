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
  const std::string message = error_of([&] { advantages_of({0, std::nan(""), 1}, {0, 0, 0}, {}); });
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

struct Rollout {
  std::vector<float> rewards, values, next_values;
  std::vector<std::uint8_t> terminated, truncated, stepped;

  std::vector<float> advantages(std::int64_t num_steps, std::int64_t num_envs) const {
    std::vector<float> result(rewards.size() + 1, 7.0f);
    gae<float>({num_steps, num_envs, rewards.data(), values.data(), next_values.data(),
                terminated.data(), truncated.data(), stepped.empty() ? nullptr : stepped.data()},
               0.5, 0.5, result.data());
    CHECK(result.back() == 7.0f);  // nothing is written past the end
    result.pop_back();
    return result;
  }
};

TEST(gae_by_hand) {
  const float nan = std::nanf("");
  // Two environments: the first is truncated in its first step, the second terminated there.
  const Rollout rollout{{1, 1, 1, 1}, {0, 0, 2, 2}, {2, nan, 4, 4}, {0, 1, 0, 0}, {2, 0, 0, 0}, {}};
  CHECK((rollout.advantages(2, 2) == std::vector<float>{2, 1, 1, 1}));
}

TEST(gae_passes_over_rows_that_are_no_steps) {
  const float nan = std::nanf("");
  const Rollout rollout{{1, nan, 1}, {0, nan, 1}, {0, nan, 0}, {0, 1, 0}, {0, 1, 0}, {1, 0, 1}};
  CHECK((rollout.advantages(3, 1) == std::vector<float>{1, 0, 0}));
  const Rollout none{{nan}, {nan}, {nan}, {0}, {0}, {0}};
  CHECK((none.advantages(1, 1) == std::vector<float>{0}));
}

TEST(gae_of_many_environments_is_that_of_each) {
  constexpr std::int64_t kSteps = 40, kEnvs = 2100;  // several pieces for the threads
  Rollout rollout;
  for (std::int64_t i = 0; i < kSteps * kEnvs; ++i) {
    rollout.rewards.push_back(static_cast<float>(i % 7));
    rollout.values.push_back(static_cast<float>(i % 5));
    rollout.next_values.push_back(static_cast<float>(i % 3));
    rollout.terminated.push_back(i % 11 == 0);
    rollout.truncated.push_back(i % 13 == 0);
    rollout.stepped.push_back(i % 17 != 0);
  }
  const std::vector<float> all = rollout.advantages(kSteps, kEnvs);
  for (const std::int64_t b : {std::int64_t{0}, std::int64_t{63}, std::int64_t{1024}, kEnvs - 1}) {
    Rollout one;
    std::vector<float> want;
    for (std::int64_t t = 0; t < kSteps; ++t) {
      const auto i = static_cast<std::size_t>(t * kEnvs + b);
      one.rewards.push_back(rollout.rewards[i]);
      one.values.push_back(rollout.values[i]);
      one.next_values.push_back(rollout.next_values[i]);
      one.terminated.push_back(rollout.terminated[i]);
      one.truncated.push_back(rollout.truncated[i]);
      one.stepped.push_back(rollout.stepped[i]);
      want.push_back(all[i]);
    }
    CHECK(one.advantages(kSteps, 1) == want);
  }
}

TEST(empty_batches) {
  gae<double>({}, 0.5, 0.5, nullptr);
  CHECK(advantages_of({}, {}, {.scale = RewardScale::kBatch}).empty());
  positive_amplification<float>(nullptr, nullptr, nullptr, 0, {}, nullptr);
}

}  // namespace
}  // namespace fastrl
