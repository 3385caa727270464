// Which schedules a sweep tries, and in which order.
#pragma once

#include "autotune/Tuner.h"

#include <vector>

namespace heddle::autotune {

/// The legal schedules (the default first) as a sweep tries them: the default, then those that
/// differ from it in one knob, then in two, ...; equals in the order they had. At most `budget` of
/// them, all if it is 0. The order is also that of ties, so the winner stays as near to the default
/// as it can.
std::vector<Schedule> orderByDistance(const std::vector<Schedule> &legal, int64_t budget);

} // namespace heddle::autotune
