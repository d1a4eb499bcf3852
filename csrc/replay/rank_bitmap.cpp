#include "replay/rank_bitmap.h"

#include <bit>

namespace fastrl {

RankBitmap::RankBitmap(MemoryParts& parts, const std::string& name, std::int64_t size) {
  const std::int64_t num_pages = size / kPage + 1;
  words_ = parts.take<std::uint64_t>(name + ".words", num_pages * (kPage / kWord));
  lines_ = parts.take<std::uint16_t>(name + ".lines", num_pages * (kPage / kLine));
  pages_ = parts.take<std::uint32_t>(name + ".pages", num_pages);
  total_ = parts.take<std::int64_t>(name + ".total", 1);
}

std::int64_t RankBitmap::rank(std::int64_t i) const {
  std::int64_t below = 0;
  const std::int64_t page = i / kPage;
  for (std::int64_t p = 0; p < page; ++p) below += pages_[p];
  const std::int64_t line = i / kLine;
  for (std::int64_t l = page * (kPage / kLine); l < line; ++l) below += lines_[l];
  const std::int64_t word = i / kWord;
  for (std::int64_t w = line * (kLine / kWord); w < word; ++w) below += std::popcount(words_[w]);
  const std::uint64_t before = (std::uint64_t{1} << (i % kWord)) - 1;
  return below + std::popcount(words_[word] & before);
}

std::int64_t RankBitmap::select(std::int64_t k) const {
  std::int64_t page = 0;
  for (; k >= pages_[page]; ++page) k -= pages_[page];
  std::int64_t line = page * (kPage / kLine);
  for (; k >= lines_[line]; ++line) k -= lines_[line];
  std::int64_t word = line * (kLine / kWord);
  for (int n = std::popcount(words_[word]); k >= n; n = std::popcount(words_[word])) {
    k -= n;
    ++word;
  }
  std::uint64_t bits = words_[word];
  for (; k > 0; --k) bits &= bits - 1;
  return word * kWord + std::countr_zero(bits);
}

}  // namespace fastrl
