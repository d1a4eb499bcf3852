#include "check.h"
#include "core/thread_pool.h"

int main() {
  for (const auto& test : fastrl::testing::cases()) {
    const int before = fastrl::testing::failures();
    test.body();
    std::printf("%s %s\n", before == fastrl::testing::failures() ? "ok  " : "FAIL", test.name);
  }
  fastrl::set_num_threads(1);  // joins the workers: leak checkers see a clean end
  std::printf("%zu tests, %d failed checks\n", fastrl::testing::cases().size(),
              fastrl::testing::failures());
  return fastrl::testing::failures() == 0 ? 0 : 1;
}
