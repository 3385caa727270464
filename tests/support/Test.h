// What every test includes: Catch2 2.13 and HEDDLE_SKIP, which Catch2 2 lacks.
#pragma once

#include <catch2/catch.hpp>

#include <string>

namespace heddle::test {

/// Notes that the running test case was skipped and why; counted apart from passes.
void noteSkip(const std::string &reason);

} // namespace heddle::test

/// Ends the running test case as skipped. Use for what this machine lacks, never for a failure.
#define HEDDLE_SKIP(reason)                                                                        \
  do {                                                                                             \
    ::heddle::test::noteSkip(reason);                                                              \
    return;                                                                                        \
  } while (false)
