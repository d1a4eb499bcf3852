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

  void put_number(std::int64_t x) {
    if (x < 0) {
      put('-');
      x = -x;
    }
    if (x >= 10) put_number(x / 10);
    put(static_cast<char>('0' + x % 10));
  }

  // A text of printable ASCII and newlines, as it is tokenized. Words must not run on into what is
  // written next to it.
  void put(std::string_view text) {
    while (!text.empty()) {
      const std::int32_t token = first_token(text);
      put(token);
      const bool is_word = token < kNewlineToken;
      text.remove_prefix(is_word ? kWords[static_cast<std::size_t>(token - kFirstWord)].size() : 1);
    }
  }

  std::int32_t size() const { return static_cast<std::int32_t>(next_ - row_); }

  void pad(std::int32_t length) { std::fill(next_, row_ + length, kPadToken); }

 private:
  std::int32_t* row_;
  std::int32_t* next_;
};

// ASCII only: what is read must not depend on the locale.
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_word(char c) {
  return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
constexpr bool equal_words(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

// `text` without spaces and newlines around it.
std::string_view trimmed(std::string_view text);

// The part of a text that says the action.
struct Answer {
  std::string_view text;
  bool marked;  // by tags or brackets; if not, it is the whole text
};

// What the last complete <answer>…</answer> or <action>…</action> encloses.
Answer answer_in_tags(std::string_view text);

// The same, and inside of it the first [ … ]; in a text without tags the last [ … ].
Answer answer_in_brackets(std::string_view text);

// Reads as many whole numbers as there is room for: the first ones of a marked answer, the last
// ones of a text that is not. False if there are fewer. A number with a fraction or of more than
// nine digits counts as a word.
bool read_numbers(const Answer& answer, std::span<std::int32_t> numbers);

// The action that a text names, or kMalformedAction. Actions are matched as whole words, in any
// case: the first one of an answer in tags ("Right || Up" is Right), the last one of other texts.
int parse_action(std::string_view text, std::span<const std::string_view> names);

// What tokens say up to <end>, without other specials; nothing if one of them is no token.
std::optional<std::string> spoken_text(std::span<const std::int32_t> tokens);

}  // namespace fastrl
