// Draws of rows that are all equally likely.
#pragma once

#include <cstdint>

#include "core/random.h"
#include "replay/drawable_rows.h"
#include "replay/draws.h"
#include "replay/lanes.h"

namespace fastrl {

// Writes n slots, each drawable one with probability 1 / rows.count(); without replacement no two
// are the same. Stratified: one of each n-th of the rows; systematic: equally spaced ones; both in
// random order. Without replacement n must be at most rows.count(), which must not be 0.
void draw_uniform(const DrawableRows& rows, const Lanes& lanes, std::int64_t n, DrawScheme scheme,
                  RandomStream& random, std::int64_t* slots);

}  // namespace fastrl
