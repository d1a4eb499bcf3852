#include "envs/vocabulary.h"

#include "core/check.h"

namespace fastrl {
namespace {

// "\n !\"#…~": what single-character tokens are spelled with.
constexpr auto kCharacters = [] {
  std::array<char, kVocabularySize - kNewlineToken> characters{};
  characters[0] = '\n';
  for (std::size_t i = 1; i < characters.size(); ++i) {
    characters[i] = static_cast<char>(' ' + static_cast<int>(i) - 1);
  }
  return characters;
}();

}  // namespace

std::string_view spelling(std::int32_t token) {
  if (token < kFirstWord) return kSpecials[static_cast<std::size_t>(token)];
  if (token < kNewlineToken) return kWords[static_cast<std::size_t>(token - kFirstWord)];
  return {&kCharacters[static_cast<std::size_t>(token - kNewlineToken)], 1};
}

std::vector<std::int32_t> tokenize(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~')) {
      fail_value("tokenize", "text", "hold printable ASCII and newlines only",
                 concat("byte ", static_cast<int>(static_cast<unsigned char>(text[i])),
                        " at position ", i));
    }
  }
  std::vector<std::int32_t> tokens;
  tokens.reserve(text.size());
  while (!text.empty()) {
    tokens.push_back(first_token(text));
    text.remove_prefix(spelling(tokens.back()).size());
  }
  return tokens;
}

std::string detokenize(std::span<const std::int32_t> tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= kVocabularySize) {
      fail_value("detokenize", "tokens", concat("be from 0 to ", kVocabularySize - 1),
                 concat(token));
    }
    if (token != kPadToken) text += spelling(token);
  }
  return text;
}

}  // namespace fastrl
