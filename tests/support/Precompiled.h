// What nearly every test includes, compiled once for the tests that do not reuse the compiler's
// precompiled header. Included by the build alone; sources still include what they use.
#pragma once
#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>
