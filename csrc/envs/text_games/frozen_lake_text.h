// FrozenLakeText: walk over the ice to the goal; a hole ends the episode.
//
// Maps are drawn until the goal can be reached; where that fails kMaxDraws times, as it does with
// hardly any ice, a path is carved into the last one. On slippery ice a step goes where it was
// meant to with `success_rate`, otherwise to either side with equal probability; Gymnasium's
// FrozenLake is success_rate = 1/3. Actions have Gymnasium's order. The reward is 1 at the goal,
// else 0.
#pragma once

#include <array>
#include <cstdint>

#include "envs/bitboard.h"
#include "envs/environment.h"
#include "envs/grid.h"
#include "envs/level_text.h"

namespace fastrl {

struct FrozenLakeText {
  static constexpr const char* kId = "FrozenLakeText-v0";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr ObservationForm kDefaultForm = ObservationForm::kGrid;
  static constexpr int kMaxSize = 11;  // 121 cells fit a bitboard
  static constexpr int kMaxDraws = 2000;
  static constexpr std::array kMoves = {kLeft, kDown, kRight, kUp};

  struct Params {
    Grid grid;
    double frozen_probability;
    double success_rate;
    bool slippery;
    bool random_ends;
  };

  struct State {
    Bitboard holes;
    std::int32_t goal;
    std::int32_t player;
  };

  static Params parse(Options& options) {
    const auto size = static_cast<int>(options.integer("size", 4, 2, kMaxSize));
    const double frozen = options.number("frozen_probability", 0.8, 0.05, 1.0);
    const bool slippery = options.boolean("slippery", false);
    const double success_rate = options.number("success_rate", 1.0 / 3.0, 0.0, 1.0);
    if (!slippery) options.omit("success_rate");
    const bool random_ends = options.choice("ends", "random", {"corners", "random"}) == 1;
    return {.grid = {size, size},
            .frozen_probability = frozen,
            .success_rate = success_rate,
            .slippery = slippery,
            .random_ends = random_ends};
  }

  static int num_actions(const Params&) { return 4; }

  static std::int32_t action_token(const Params&, int action) {
    constexpr std::array kTokens = {word_token("Left"), word_token("Down"), word_token("Right"),
                                    word_token("Up")};
    return kTokens[static_cast<std::size_t>(action)];
  }

  static std::int32_t default_max_episode_steps(const Params& params) {
    return params.grid.size() <= 16 ? 100 : 200;
  }

  static std::int32_t max_observation_tokens(const Params& params, ObservationForm) {
    return params.grid.size() + params.grid.height - 1;
  }

  static void describe(const Params& params, Description& description) {
    description.grid_height = params.grid.height;
    description.grid_width = params.grid.width;
    description.add_label("goal");
    description.add_label("hole");
  }

  static State reset(const Params& params, RandomStream& level) {
    const int cells = params.grid.size();
    State state{};
    for (int draw = 0; draw < kMaxDraws; ++draw) {
      state = State{.holes = {}, .goal = cells - 1, .player = 0};
      if (params.random_ends) {
        state.player = below(level, cells);
        state.goal = below(level, cells - 1);
        if (state.goal >= state.player) ++state.goal;
      }
      for (int cell = 0; cell < cells; ++cell) {
        if (cell == state.player || cell == state.goal) continue;
        if (level.uniform() >= params.frozen_probability) state.holes.set(cell);
      }
      if (solve(params, state).distance >= 0) return state;
    }
    carve(params.grid, level, state);
    return state;
  }

  static StepResult step(const Params& params, State& state, RandomStream& random, int action) {
    if (action != kMalformedAction) {
      const Direction direction = params.slippery ? slip(params, random, action) : move(action);
      const int next = params.grid.neighbor(state.player, direction);
      if (next >= 0) state.player = next;
    }
    const bool success = state.player == state.goal;
    const bool fell = state.holes.test(state.player);
    return {.reward = success ? 1.0 : 0.0, .terminated = success || fell, .success = success};
  }

  // Grid: P player, _ ice, O hole, G goal, X player in a hole, * player on the goal. Compact: the
  // grid at first, then the player's row and column.
  static void observe(const Params& params, const State& state, int elapsed_steps,
                      ObservationForm form, TokenWriter& writer) {
    const int player = state.player;
    if (form == ObservationForm::kCompact && elapsed_steps > 0) {
      writer.put_coordinate(params.grid.row(player));
      writer.put_coordinate(params.grid.column(player));
      return;
    }
    for (int cell = 0; cell < params.grid.size(); ++cell) {
      if (cell > 0 && params.grid.column(cell) == 0) writer.put('\n');
      writer.put(content(state, cell));
    }
  }

  static void cells(const Params& params, const State& state, char* cells) {
    for (int cell = 0; cell < params.grid.size(); ++cell) cells[cell] = content(state, cell);
  }

  static std::uint64_t labels(const Params&, const State& state) {
    return (state.player == state.goal ? 1U : 0U) | (state.holes.test(state.player) ? 2U : 0U);
  }

  // The characters of the grid, with a way from P to G.
  static State parse_level(const Params& params, std::string_view text) {
    const LevelText level(text, params.grid.height, params.grid.width, "P_OG");
    level.require(1, "P", "player (P)");
    level.require(1, "G", "goal (G)");
    State state{};
    for (int cell = 0; cell < params.grid.size(); ++cell) {
      if (level[cell] == 'O') state.holes.set(cell);
      if (level[cell] == 'G') state.goal = cell;
      if (level[cell] == 'P') state.player = cell;
    }
    if (solve(params, state).distance < 0) fail_level("have a way to the goal", "none");
    return state;
  }

  // Breadth first, on ice that holds.
  static Solution solve(const Params& params, const State& state) {
    if (state.player == state.goal) return {.distance = 0};
    if (state.holes.test(state.player)) return {};
    struct Node {
      int cell;
      Solution path;
    };
    std::array<Node, Bitboard::kCapacity> queue;
    Bitboard seen = state.holes;
    seen.set(state.player);
    queue[0] = {state.player, {.distance = 0}};
    std::size_t size = 1;
    for (std::size_t head = 0; head < size; ++head) {
      const Node node = queue[head];
      for (int action = 0; action < 4; ++action) {
        const int next = params.grid.neighbor(node.cell, move(action));
        if (next < 0 || seen.test(next)) continue;
        seen.set(next);
        const Solution path{.distance = node.path.distance + 1,
                            .first_action = head == 0 ? action : node.path.first_action};
        if (next == state.goal) return path;
        queue[size++] = {next, path};
      }
    }
    return {};
  }

  static bool valid(const Params& params, const State& state, bool) {
    Bitboard cells;
    for (int cell = 0; cell < params.grid.size(); ++cell) cells.set(cell);
    const auto inside = [&](int cell) { return cell >= 0 && cell < params.grid.size(); };
    return state.holes.within(cells) && inside(state.goal) && inside(state.player);
  }

 private:
  static char content(const State& state, int cell) {
    const bool hole = state.holes.test(cell);
    const bool goal = cell == state.goal;
    if (cell == state.player) return hole ? 'X' : goal ? '*' : 'P';
    return hole ? 'O' : goal ? 'G' : '_';
  }

  // Freezes the holes on one of the shortest ways to the goal, each with the same probability.
  static void carve(const Grid& grid, RandomStream& level, State& state) {
    const auto draw = [&](int n) { return below(level, n); };
    walk_at_random(grid, state.player, state.goal, draw,
                   [&](int cell) { state.holes.clear(cell); });
  }

  static int below(RandomStream& random, int n) {
    return static_cast<int>(random.below(static_cast<std::uint32_t>(n)));
  }

  static Direction move(int action) { return kMoves[static_cast<std::size_t>(action)]; }

  static Direction slip(const Params& params, RandomStream& random, int action) {
    const double u = random.uniform();
    const double aside = (1.0 - params.success_rate) / 2.0;
    if (u < aside) return move((action + 3) % 4);
    return move(u < aside + params.success_rate ? action : (action + 1) % 4);
  }
};

static_assert(Environment<FrozenLakeText>);

}  // namespace fastrl
