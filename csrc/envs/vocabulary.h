// The vocabulary that all text environments share: special tokens, the words that actions and
// advice are made of, and single characters for everything else.
//
// Any text of printable ASCII and newlines has exactly one tokenization (greedy, longest match),
// and `detokenize` gives the text back. Special tokens never come out of `tokenize`.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fastrl {

enum SpecialToken : std::int32_t {
  kPadToken = 0,
  kStartToken,
  kObservationToken,
  kActionToken,
  kEndToken,
  kGuidanceToken,
};

inline constexpr std::array<std::string_view, 6> kSpecials = {
    "<pad>", "<start>", "<observation>", "<action>", "<end>", "<guidance>"};

inline constexpr std::array<std::string_view, 20> kWords = {
    "Up",    "Down", "Left", "Right", "avoid", "try",  "turn",  "instead", "first",    "then",
    "wrong", "push", "box",  "digit", "hole",  "goal", "stuck", "after",   "<answer>", "</answer>"};

inline constexpr std::int32_t kFirstWord = kSpecials.size();
inline constexpr std::int32_t kNewlineToken = kFirstWord + kWords.size();
inline constexpr std::int32_t kFirstCharacter = kNewlineToken + 1;  // the token of ' '
inline constexpr std::int32_t kVocabularySize = kFirstCharacter + ('~' - ' ' + 1);
static_assert(kVocabularySize <= 128);

constexpr std::int32_t character_token(char c) {
  return c == '\n' ? kNewlineToken : kFirstCharacter + (c - ' ');
}

consteval std::int32_t word_token(std::string_view word) {
  for (std::size_t i = 0; i < kWords.size(); ++i) {
    if (kWords[i] == word) return kFirstWord + static_cast<std::int32_t>(i);
  }
  throw std::invalid_argument("not a word of the vocabulary");
}

namespace detail {

// Bit i of entry c: word i begins with character c.
inline constexpr auto kWordsByFirstCharacter = [] {
  std::array<std::uint32_t, 256> words{};
  for (std::size_t i = 0; i < kWords.size(); ++i) {
    words[static_cast<unsigned char>(kWords[i][0])] |= 1U << i;
  }
  return words;
}();

}  // namespace detail

// The token at the start of a text that is not empty: the longest word there, or a character.
constexpr std::int32_t first_token(std::string_view text) {
  std::int32_t best = character_token(text[0]);
  std::size_t best_size = 1;
  const auto first = static_cast<unsigned char>(text[0]);
  for (std::uint32_t left = detail::kWordsByFirstCharacter[first]; left != 0; left &= left - 1) {
    const auto i = static_cast<std::size_t>(std::countr_zero(left));
    if (kWords[i].size() > best_size && text.starts_with(kWords[i])) {
      best = kFirstWord + static_cast<std::int32_t>(i);
      best_size = kWords[i].size();
    }
  }
  return best;
}

// How a token is written; specials by their name. `token` is in [0, kVocabularySize).
std::string_view spelling(std::int32_t token);

// Throws std::invalid_argument at a character that is neither printable ASCII nor a newline.
std::vector<std::int32_t> tokenize(std::string_view text);

// Padding is written as nothing, other specials by their name. Throws std::invalid_argument at a
// number that is no token.
std::string detokenize(std::span<const std::int32_t> tokens);

}  // namespace fastrl
