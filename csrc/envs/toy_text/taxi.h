// Taxi: fetch the passenger from one of four places and bring them to another. Bit for bit
// Gymnasium's Taxi-v4; Taxi-v3 is the same where neither option is set. Dietterich, "Hierarchical
// reinforcement learning with the MAXQ value function decomposition", 2000.
//
// In the rain a move goes where it was meant to with `rainy_probability`, otherwise to either side
// with equal probability. A fickle passenger changes the destination in an episode with
// `fickle_probability`, once, when the taxi first moves with them inside.
//
// Observation  ((row * 5 + column) * 5 + passenger) * 4 + destination; passenger 4: in the taxi
// Action       0 south, 1 north, 2 east, 3 west, 4 pick up, 5 drop off
// Reward       -1; -10 for picking up or dropping off in vain; 20 at the destination
// End          the passenger is at the destination; truncated after 200 steps
// Infos        prob: the probability of what happened; action_mask: what is not in vain
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/numpy_random.h"
#include "envs/environment.h"
#include "envs/toy_text/categorical.h"

namespace fastrl {

struct Taxi {
  using Random = NumpyRandom;

  static constexpr const char* kId = "Taxi-v4";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr int kInTaxi = 4;
  static constexpr int kPickUp = 4;
  static constexpr int kDropOff = 5;

  struct Position {
    std::int32_t row;
    std::int32_t column;
    friend constexpr bool operator==(const Position&, const Position&) = default;
  };

  static constexpr std::array<Position, 4> kPlaces = {{{0, 0}, {0, 4}, {4, 0}, {4, 3}}};

  static constexpr int kMapHeight = 7;
  static constexpr int kMapWidth = 11;
  static constexpr char kMap[kMapHeight][kMapWidth + 1] = {
      "+---------+",  //
      "|R: | : :G|",  //
      "| : | : : |",  //
      "| : : : : |",  //
      "| | : | : |",  //
      "|Y| : |B: |",  //
      "+---------+",
  };

  struct Params {
    bool rainy;
    bool fickle;
    double rainy_probability;
    double aside_probability;  // to each side, in the rain
    double fickle_probability;
  };

  struct State {
    Position taxi;
    std::int32_t passenger;
    std::int32_t destination;
    std::int32_t fickle;  // whether the passenger is yet to change the destination
  };

  struct Result : StepResult {
    double probability;
  };

  static Params parse(Options& options) {
    Params params{};
    params.rainy = options.boolean("is_rainy", false);
    params.fickle = options.boolean("fickle_passenger", false);
    params.rainy_probability = options.number("rainy_probability", 0.8, 0.0, 1.0);
    params.fickle_probability = options.number("fickle_probability", 0.3, 0.0, 1.0);
    if (!params.rainy) options.omit("rainy_probability");
    if (!params.fickle) options.omit("fickle_probability");
    params.aside_probability = (1.0 - params.rainy_probability) / 2.0;
    return params;
  }

  static void describe(const Params&, Description& description) {
    description.add_observation(discrete(500));
    description.set_action(discrete(6));
    description.add_info("prob", box<double>({}, 0.0, 1.0), true);
    description.add_info("action_mask", box<std::int8_t>({6}, 0.0, 1.0), true);
    description.max_episode_steps = 200;
    description.add_label("at_passenger");
    description.add_label("in_taxi");
    description.add_label("at_destination");
    description.add_label("delivered");
    description.grid_height = kMapHeight;
    description.grid_width = kMapWidth;
  }

  static State reset(const Params& params, NumpyRandom& random) {
    State state = start(random.random());
    state.fickle = params.fickle && random.random() < params.fickle_probability ? 1 : 0;
    return state;
  }

  static Result step(const Params& params, State& state, NumpyRandom& random, int action) {
    const double u = random.random();
    Result result{};
    result.reward = -1.0;
    result.probability = 1.0;
    if (action == kPickUp) {
      if (at_passenger(state)) {
        state.passenger = kInTaxi;
      } else {
        result.reward = -10.0;
      }
    } else if (action == kDropOff) {
      drop_off(state, result);
    } else {
      const Position next = params.rainy ? moved_in_rain(params, state, action, u, result)
                                         : moved(state.taxi, action);
      if (state.fickle != 0 && state.passenger == kInTaxi && next != state.taxi) {
        state.fickle = 0;
        const auto other = static_cast<std::int32_t>(random.below(kPlaces.size() - 1));
        state.destination = other < state.destination ? other : other + 1;
      }
      state.taxi = next;
    }
    return result;
  }

  static void observe(const Params&, const State& state, const Rows& rows) {
    *rows.at<std::int64_t>(0) =
        ((state.taxi.row * 5 + state.taxi.column) * 5 + state.passenger) * 4 + state.destination;
  }

  static void inform(const Params&, const State& state, const Result* result, const Rows& rows) {
    *rows.at<double>(0) = result != nullptr ? result->probability : 1.0;
    auto* mask = rows.at<std::int8_t>(1);
    for (int action = 0; action < kPickUp; ++action) {
      mask[action] = moved(state.taxi, action) != state.taxi;
    }
    mask[kPickUp] = at_passenger(state);
    mask[kDropOff] = state.passenger == kInTaxi && place_at(state.taxi) >= 0;
  }

  // A passenger who is at the destination without having been brought there is possible: see start.
  static bool valid(const Params& params, const State& state, bool) {
    const auto below = [](std::int32_t x, std::int32_t n) { return x >= 0 && x < n; };
    return below(state.taxi.row, 5) && below(state.taxi.column, 5) &&
           below(state.passenger, kInTaxi + 1) && below(state.destination, 4) &&
           below(state.fickle, params.fickle ? 2 : 1);
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return (at_passenger(state) ? 1u : 0u) | (state.passenger == kInTaxi ? 2u : 0u) |
           (state.taxi == place(state.destination) ? 4u : 0u) |
           (state.passenger == state.destination ? 8u : 0u);
  }

  // # wall, A taxi, F taxi with the passenger, p passenger, d destination; the other places have
  // their letters.
  static void cells(const Params&, const State& state, char* to) {
    const auto cell = [&](Position at) -> char& {
      return to[(at.row + 1) * kMapWidth + 2 * at.column + 1];
    };
    for (int i = 0; i < kMapHeight * kMapWidth; ++i) {
      const char letter = kMap[i / kMapWidth][i % kMapWidth];
      const bool wall = letter == '+' || letter == '-' || letter == '|';
      to[i] = wall ? '#' : letter == ':' ? ' ' : letter;
    }
    cell(place(state.destination)) = 'd';
    if (state.passenger != kInTaxi) cell(place(state.passenger)) = 'p';
    cell(state.taxi) = state.passenger == kInTaxi ? 'F' : 'A';
  }

 private:
  static constexpr int kNumStarts = 300;

  // Running sums of the starts' equal probabilities, as NumPy adds them.
  static constexpr std::array<double, kNumStarts> kStartSums = [] {
    std::array<double, kNumStarts> sums{};
    double sum = 0.0;
    for (double& to : sums) to = sum += 1.0 / kNumStarts;
    return sums;
  }();

  static constexpr Position place(std::int32_t i) { return kPlaces[static_cast<std::size_t>(i)]; }

  static int place_at(Position taxi) {
    for (std::int32_t i = 0; i < 4; ++i) {
      if (place(i) == taxi) return i;
    }
    return -1;
  }

  static bool at_passenger(const State& state) {
    return state.passenger != kInTaxi && state.taxi == place(state.passenger);
  }

  // Any cell, any place for the passenger, any other for the destination. Where rounding leaves the
  // whole sum below u, Gymnasium takes the first of all observations, whose passenger has arrived.
  static State start(double u) {
    auto i = std::min(static_cast<int>(u * kNumStarts), kNumStarts - 1);
    const auto sum = [](int k) { return kStartSums[static_cast<std::size_t>(k)]; };
    while (i > 0 && sum(i - 1) > u) --i;
    while (i < kNumStarts && sum(i) <= u) ++i;
    if (i == kNumStarts) return {};
    const int passenger = i / 3 % 4;
    const int other = i % 3;
    return {.taxi = {i / 60, i / 12 % 5},
            .passenger = passenger,
            .destination = other < passenger ? other : other + 1,
            .fickle = 0};
  }

  // To the south, north, east or west; the same where a wall or the border is in between.
  static Position moved(Position from, int action) {
    const char* row = kMap[from.row + 1];
    const int middle = 2 * from.column + 1;
    switch (action) {
      case 0:
        return {std::min(from.row + 1, 4), from.column};
      case 1:
        return {std::max(from.row - 1, 0), from.column};
      case 2:
        return {from.row, from.column + (row[middle + 1] == ':' ? 1 : 0)};
      default:
        return {from.row, from.column - (row[middle - 1] == ':' ? 1 : 0)};
    }
  }

  // Nobody drifts aside who cannot go ahead.
  static Position moved_in_rain(const Params& params, const State& state, int action, double u,
                                Result& result) {
    constexpr int kOutcomes[4][3] = {{0, 2, 3}, {1, 3, 2}, {2, 1, 0}, {3, 0, 1}};
    const double rates[] = {params.rainy_probability, params.aside_probability,
                            params.aside_probability};
    const int outcome = categorical(rates, u);
    result.probability = rates[outcome];
    const Position ahead = moved(state.taxi, action);
    return ahead == state.taxi ? ahead : moved(state.taxi, kOutcomes[action][outcome]);
  }

  static void drop_off(State& state, Result& result) {
    const int here = place_at(state.taxi);
    if (state.passenger != kInTaxi || here < 0) {
      result.reward = -10.0;
      return;
    }
    state.passenger = here;
    result.terminated = here == state.destination;
    if (result.terminated) result.reward = 20.0;
  }
};

// What Taxi-v4 was called before its options were mended.
struct TaxiV3 : Taxi {
  static constexpr const char* kId = "Taxi-v3";
};

static_assert(Environment<Taxi>);
static_assert(Environment<TaxiV3>);

}  // namespace fastrl
