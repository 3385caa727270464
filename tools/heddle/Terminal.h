// What the tool prints with: tables, progress, sizes. Progress goes to stderr, results to stdout.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace heddle::tool {

/// Rows of text in aligned columns; numbers (cells that begin with a digit, '-' or '+') align
/// right.
class Table {
public:
  explicit Table(std::vector<std::string> header) : rows{std::move(header)} {}
  void add(std::vector<std::string> row) { rows.push_back(std::move(row)); }
  bool empty() const { return rows.size() == 1; }
  std::string text() const;

private:
  std::vector<std::vector<std::string>> rows;
};

/// A bar on a terminal; on anything else one line a tenth of the way. Silent when `quiet`.
class Progress {
public:
  Progress(std::string title, int64_t total, bool quiet);
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  void setTotal(int64_t newTotal) { total = newTotal < 1 ? 1 : newTotal; }
  /// `done` of the total are finished; `note` says what is going on, e.g. the best so far.
  void update(int64_t done, const std::string &note);

private:
  std::string title;
  int64_t total;
  bool quiet, terminal;
  int lastTenth = -1;
  bool drawn = false;
  std::chrono::steady_clock::time_point start, lastDraw;
};

/// "1.5 MiB"
std::string bytesText(double bytes);
/// "3.21 ms", "812 us"
std::string timeText(double milliseconds);

} // namespace heddle::tool
