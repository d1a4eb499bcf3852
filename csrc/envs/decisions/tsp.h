// TSP: visit n cities, each once, on a short closed tour.
//
// Observation   dict of cities (float32 [n, 2], in the unit square), visited (n bits) and current,
//               the city of the agent (-1 before the first step).
// Action        the next city; the first one only says where the tour starts.
// Reward        minus the distance traveled; the last step closes the tour, so a return is minus
//               its length. -n √2, which no tour is worse than, for a city that was visited before.
// End           terminated after n steps, or at once by a city that was visited before.
// Infos         action_mask: int8 [n], 1 for the cities to come.
// Level         cities, independent and uniform. A level can be written as n lines of "x y".
//
// Success is a whole tour. Bello et al., "Neural Combinatorial Optimization with Reinforcement
// Learning", 2016; the first step and the penalty are those of Jumanji's TSP.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <string_view>

#include "envs/bitboard.h"
#include "envs/bits.h"
#include "envs/decisions/number_reader.h"
#include "envs/environment.h"

namespace fastrl {

struct TSP {
  static constexpr const char* kId = "TSP-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kMaxCities = Bitboard::kCapacity;

  struct Params {
    int num_cities;
  };

  struct State {
    float cities[kMaxCities][2];
    Bitboard visited;
    std::int32_t first;  // -1 before the first step
    std::int32_t current;
  };

  static Params parse(Options& options) {
    return {.num_cities = static_cast<int>(options.integer("num_cities", 20, 2, kMaxCities))};
  }

  static void describe(const Params& params, Description& description) {
    const int n = params.num_cities;
    description.add_observation("cities", box<float>({n, 2}, 0.0, 1.0));
    description.add_observation("visited", multi_binary(n));
    description.add_observation("current", discrete(n + 1, -1));
    description.set_action(discrete(n));
    description.add_info("action_mask", multi_binary(n), true);
    description.max_episode_steps = n;
    description.reports_success = 1;
    description.add_label("tour");
  }

  static State reset(const Params& params, RandomStream& level) {
    State state{};
    for (int city = 0; city < params.num_cities; ++city) {
      for (float& x : state.cities[city]) x = level.uniform();
    }
    state.first = state.current = -1;
    return state;
  }

  static StepResult step(const Params& params, State& state, int action) {
    if (state.visited.test(action)) {
      return {.reward = -std::numbers::sqrt2 * params.num_cities, .terminated = true};
    }
    double traveled = 0.0;
    if (state.current < 0) {
      state.first = action;
    } else {
      traveled = distance(state, state.current, action);
    }
    state.visited.set(action);
    state.current = action;
    const bool complete = is_complete(params, state);
    if (complete) traveled += distance(state, action, state.first);
    return {.reward = -traveled, .terminated = complete, .success = complete};
  }

  static void observe(const Params& params, const State& state, const Rows& rows) {
    const auto n = static_cast<std::size_t>(params.num_cities);
    std::memcpy(rows.at<float>(0), state.cities, n * sizeof(state.cities[0]));
    write_bits(state.visited, params.num_cities, rows.at<std::int8_t>(1));
    *rows.at<std::int64_t>(2) = state.current;
  }

  static void inform(const Params& params, const State& state, const StepResult*,
                     const Rows& rows) {
    const Bitboard to_come{{~state.visited.words[0], ~state.visited.words[1]}};
    write_bits(to_come, params.num_cities, rows.at<std::int8_t>(0));
  }

  static std::uint64_t labels(const Params& params, const State& state) {
    return is_complete(params, state) ? 1 : 0;
  }

  static State parse_level(const Params& params, std::string_view text) {
    NumberReader numbers(text, concat(params.num_cities, " pairs of numbers from 0 to 1"));
    State state{};
    for (int city = 0; city < params.num_cities; ++city) {
      for (float& x : state.cities[city]) x = static_cast<float>(numbers.next(0.0, 1.0));
    }
    numbers.finish();
    state.first = state.current = -1;
    return state;
  }

  static bool valid(const Params& params, const State& state, bool running) {
    const int n = params.num_cities;
    for (int city = 0; city < kMaxCities; ++city) {
      for (const float x : state.cities[city]) {
        if (city < n ? !(x >= 0.0F && x <= 1.0F) : x != 0.0F) return false;
      }
    }
    if (!state.visited.within(all_bits(n))) return false;
    const int count = state.visited.count();
    if (count == 0) return state.first == -1 && state.current == -1;
    const auto was_visited = [&](int city) {
      return city >= 0 && city < n && state.visited.test(city);
    };
    return was_visited(state.first) && was_visited(state.current) &&
           (state.first == state.current) == (count == 1) && !(running && count == n);
  }

 private:
  static bool is_complete(const Params& params, const State& state) {
    return state.visited.count() == params.num_cities;
  }

  static double distance(const State& state, int a, int b) {
    const double dx = double{state.cities[a][0]} - double{state.cities[b][0]};
    const double dy = double{state.cities[a][1]} - double{state.cities[b][1]};
    return std::sqrt(dx * dx + dy * dy);
  }
};

static_assert(Environment<TSP>);

}  // namespace fastrl
