// The text of one measurement, as the store keeps it.
#pragma once

#include "autotune/Tuner.h"

namespace heddle::autotune {

/// "timing MEDIAN MIN SPREAD SAMPLES RATIO" or "refused REASON".
std::string formatRecord(const Candidate &candidate);

/// Fills timing or refusal; false (and nothing changed) if the text is no record.
bool parseRecord(const std::string &text, Candidate &candidate);

} // namespace heddle::autotune
