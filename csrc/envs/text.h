// Writing observations and reading actions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "envs/vocabulary.h"

namespace fastrl {

// Writes an observation into its row of the batch. The row is long enough by
// max_observation_tokens.
class TokenWriter {
 public:
  explicit TokenWriter(std::int32_t* row) : row_(row), next_(row) {}

  void put(std::int32_t token) { *next_++ = token; }
  void put(char c) { *next_++ = character_token(c); }

  // One token: 0–9, then a, b, …
  void put_coordinate(int x) { put(static_cast<char>(x < 10 ? '0' + x : 'a' + (x - 10))); }

  void put_number(int x) {
    if (x >= 10) put_number(x / 10);
    put(static_cast<char>('0' + x % 10));
  }

  std::int32_t size() const { return static_cast<std::int32_t>(next_ - row_); }

  void pad(std::int32_t length) { std::fill(next_, row_ + length, kPadToken); }

 private:
  std::int32_t* row_;
  std::int32_t* next_;
};

// The action that a text names, or kMalformedAction. Actions are matched as whole words, in any
// case. The last complete <answer>…</answer> counts, and in it the first action ("Right || Up" is
// Right); a text without one counts by its last action.
int parse_action(std::string_view text, std::span<const std::string_view> names);

// What tokens say up to <end>, without other specials; nothing if one of them is no token.
std::optional<std::string> spoken_text(std::span<const std::int32_t> tokens);

}  // namespace fastrl
