// Reads pattern files and the fields of their head comments.
#include "tools/heddle/Library.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

namespace fs = std::filesystem;

namespace heddle::tool {
namespace {

constexpr std::string_view kEnding = ".heddle";
/// No pattern is larger; what is, is some other file.
constexpr uintmax_t kMostBytes = 1 << 20;

int editDistance(const std::string &a, const std::string &b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      int replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

Result<PatternFile> readPattern(const fs::path &path) {
  std::error_code problem;
  if (!fs::is_regular_file(path, problem))
    return Error{ErrorCode::NotFound,
                 fmt::format("found no file '{}', expected a pattern", path.string())};
  if (fs::file_size(path, problem) > kMostBytes)
    return Error{ErrorCode::InvalidPattern,
                 fmt::format("'{}' is larger than {} bytes, expected a pattern's text",
                             path.string(), kMostBytes)};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file)
    return Error{ErrorCode::IoError, fmt::format("cannot read '{}'", path.string())};

  PatternFile pattern{path.stem().string(), path.string(), "", "", "", std::move(text).str()};
  std::istringstream lines(pattern.text);
  for (std::string line; std::getline(lines, line) && line.starts_with("//");) {
    std::string words = line.substr(std::min(line.find_first_not_of("/ "), line.size()));
    if (words.starts_with("Source:"))
      pattern.source = words.substr(std::min<size_t>(8, words.size()));
    else if (words.starts_with("Forms:"))
      pattern.forms = words.substr(std::min<size_t>(7, words.size()));
    else if (pattern.title.empty())
      pattern.title = words;
  }
  return pattern;
}

} // namespace

Result<std::string> libraryFolder() {
  std::vector<fs::path> places;
  if (const char *given = std::getenv("HEDDLE_PATTERNS"))
    places = {given};
  else {
    std::error_code problem;
    fs::path program = fs::read_symlink("/proc/self/exe", problem).parent_path();
    places = {program / "../share/heddle/patterns", program / "../../patterns"};
  }
  for (const fs::path &place : places) {
    std::error_code problem;
    if (fs::is_directory(place, problem))
      return fs::weakly_canonical(place).string();
  }
  return Error{ErrorCode::NotFound,
               fmt::format("found no pattern library in '{}', expected a folder of .heddle files",
                           places[0].string()),
               "",
               {"set HEDDLE_PATTERNS to the folder, or give the path of a pattern file"}};
}

Result<std::vector<PatternFile>> listPatterns() {
  HEDDLE_TRY(folder, libraryFolder());
  std::vector<PatternFile> patterns;
  for (const fs::directory_entry &entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != kEnding)
      continue;
    HEDDLE_TRY(pattern, readPattern(entry.path()));
    patterns.push_back(std::move(pattern));
  }
  std::sort(patterns.begin(), patterns.end(),
            [](const PatternFile &a, const PatternFile &b) { return a.name < b.name; });
  return patterns;
}

std::vector<std::string> nearestNames(const std::string &name,
                                      const std::vector<std::string> &known) {
  std::vector<std::pair<int, std::string>> ranked;
  for (const std::string &candidate : known) {
    int distance = editDistance(name, candidate);
    bool contains = name.size() > 2 && candidate.find(name) != std::string::npos;
    if (contains || distance <= static_cast<int>(name.size()) / 2)
      ranked.emplace_back(contains ? 0 : distance, candidate);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> names;
  for (size_t n = 0; n < ranked.size() && n < 3; ++n)
    names.push_back(ranked[n].second);
  return names;
}

Result<PatternFile> findPattern(const std::string &nameOrPath) {
  if (nameOrPath.find('/') != std::string::npos || nameOrPath.ends_with(kEnding))
    return readPattern(nameOrPath);
  HEDDLE_TRY(folder, libraryFolder());
  fs::path path = fs::path(folder) / (nameOrPath + std::string(kEnding));
  std::error_code problem;
  if (fs::is_regular_file(path, problem))
    return readPattern(path);

  HEDDLE_TRY(patterns, listPatterns());
  std::vector<std::string> names;
  for (const PatternFile &pattern : patterns)
    names.push_back(pattern.name);
  Error error{ErrorCode::NotFound,
              fmt::format("found no pattern '{}' in the library, expected one of "
                          "its {} names or a path to a .heddle file",
                          nameOrPath, names.size())};
  for (const std::string &near : nearestNames(nameOrPath, names))
    error.notes.push_back(fmt::format("did you mean '{}'?", near));
  error.notes.push_back("`heddle patterns` lists them");
  return error;
}

} // namespace heddle::tool
