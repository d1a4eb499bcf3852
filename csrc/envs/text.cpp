#include "envs/text.h"

#include <optional>
#include <string>

#include "envs/environment.h"

namespace fastrl {
namespace {

constexpr std::string_view kOpen = "<answer>";
constexpr std::string_view kClose = "</answer>";

// ASCII only: the result must not depend on the locale.
bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool equal_words(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

int action_named(std::string_view word, std::span<const std::string_view> names) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (equal_words(word, names[i])) return static_cast<int>(i);
  }
  return kMalformedAction;
}

// The first or the last whole word that is an action.
int find_action(std::string_view text, std::span<const std::string_view> names, bool first) {
  int found = kMalformedAction;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = begin;
    while (end < text.size() && is_word(text[end])) ++end;
    if (end > begin) {
      const int action = action_named(text.substr(begin, end - begin), names);
      if (action != kMalformedAction) {
        found = action;
        if (first) return found;
      }
    }
    begin = end + 1;
  }
  return found;
}

std::optional<std::string_view> last_answer(std::string_view text) {
  const std::size_t close = text.rfind(kClose);
  if (close == std::string_view::npos) return std::nullopt;
  const std::size_t open = text.substr(0, close).rfind(kOpen);
  if (open == std::string_view::npos) return std::nullopt;
  const std::size_t begin = open + kOpen.size();
  return text.substr(begin, close - begin);
}

}  // namespace

int parse_action(std::string_view text, std::span<const std::string_view> names) {
  if (const auto answer = last_answer(text)) return find_action(*answer, names, true);
  return find_action(text, names, false);
}

std::optional<std::string> spoken_text(std::span<const std::int32_t> tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token == kEndToken) break;
    if (token < 0 || token >= kVocabularySize) return std::nullopt;
    if (token >= kFirstWord) text += spelling(token);
  }
  return text;
}

}  // namespace fastrl
