// What a step does to the counters, sums and flags of a range of environments.
#pragma once

#include <cstdint>

namespace fastrl {

// Arrays in which place k is environment k.
struct Episodes {
  const std::uint8_t* run;      // 1 where an environment was stepped
  const std::uint8_t* pending;  // 1 where an episode is to begin
  std::uint8_t* phases;
  std::int32_t* elapsed_steps;
  double* returns;
  double* rewards;
  std::uint8_t* terminated;
  std::uint8_t* truncated;
  std::uint8_t* stepped;
  std::uint8_t* informed;
};

// Counts steps and sums rewards of those that ran, clears what the others left in their rows, sets
// all flags and moves phases on. Says whether any episode ended.
bool keep_episodes(const Episodes& episodes, std::int64_t begin, std::int64_t end,
                   std::int32_t limit);

}  // namespace fastrl
