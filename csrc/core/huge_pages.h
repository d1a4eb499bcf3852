// Memory that is about to be written for the first time, in large pages.
#pragma once

#include <cstdint>

namespace fastrl {

// Advises the system to back this fresh memory with huge pages where it can: the first write to
// 268 MB of 4 KB pages costs 65,536 page faults, several times the writing itself. Only advice:
// memory below 4 MB, other systems and refusals are passed over.
void prefer_huge_pages(void* data, std::int64_t bytes);

}  // namespace fastrl
