#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "check.h"
#include "core/random.h"
#include "replay/checksum.h"

namespace fastrl {
namespace {

TEST(crc32c_has_the_published_values_on_every_instruction_set) {
  // RFC 3720, appendix B.4.
  const std::vector<std::byte> zeros(32);
  const std::vector<std::byte> ones(32, std::byte{0xff});
  CHECK(crc32c(zeros) == 0x8a9136aa);
  CHECK(crc32c(ones) == 0x62a8ab43);
  CHECK(crc32c(std::as_bytes(std::span("123456789", 9))) == 0xe3069283);
  CHECK(crc32c({}) == 0);

  std::vector<std::byte> bytes(20000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(mix64(i));
  for (const std::size_t size :
       std::vector<std::size_t>{0, 1, 7, 8, 9, 1023, 3071, 3072, 3073, 6144, 9999, 20000}) {
    for (const std::size_t start : std::vector<std::size_t>{0, 1, 5}) {
      const auto part =
          std::span(bytes).subspan(std::min(start, size)).first(size - std::min(start, size));
      const std::uint32_t whole = crc32c(InstructionSet::kPortable, part);
      CHECK(whole == crc32c(instruction_set(), part));
      const auto head = part.first(part.size() / 3);
      CHECK(whole == crc32c(part.subspan(head.size()), crc32c(head)));
    }
  }
}

}  // namespace
}  // namespace fastrl
