// Tables and progress bars.
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

namespace heddle::tool {
namespace {

/// Columns a UTF-8 text takes (code points; the tool prints no wide or combining characters).
size_t columns(const std::string &text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

bool looksNumeric(const std::string &cell) {
  return !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell[0])) ||
                           ((cell[0] == '-' || cell[0] == '+') && cell.size() > 1));
}

std::string padded(const std::string &cell, size_t width, bool right) {
  std::string space(width - std::min(width, columns(cell)), ' ');
  return right ? space + cell : cell + space;
}

} // namespace

std::string Table::text() const {
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto &row : rows)
    for (size_t c = 0; c < row.size() && c < widths.size(); ++c)
      widths[c] = std::max(widths[c], columns(row[c]));
  std::string out;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows[r].size() && c < widths.size(); ++c) {
      bool right = r == 0 ? rows.size() > 1 && c < rows[1].size() && looksNumeric(rows[1][c])
                          : looksNumeric(rows[r][c]);
      line += (c ? "  " : "") + padded(rows[r][c], widths[c], right);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

Progress::Progress(std::string title, int64_t total, bool quiet)
    : title(std::move(title)), total(std::max<int64_t>(total, 1)), quiet(quiet),
      terminal(isatty(STDERR_FILENO)), start(std::chrono::steady_clock::now()), lastDraw() {}

Progress::~Progress() {
  if (drawn && terminal)
    fmt::print(stderr, "\r\033[K");
}

void Progress::update(int64_t done, const std::string &note) {
  if (quiet)
    return;
  auto now = std::chrono::steady_clock::now();
  double fraction = std::min(1.0, static_cast<double>(done) / total);
  double seconds = std::chrono::duration<double>(now - start).count();
  std::string left =
      done > 0 && done < total ? fmt::format(", {:.0f} s left", seconds / fraction - seconds) : "";
  if (!terminal) {
    int tenth = static_cast<int>(fraction * 10);
    if (tenth == lastTenth)
      return;
    lastTenth = tenth;
    fmt::print(stderr, "{}: {}/{}{}{}{}\n", title, done, total, left, note.empty() ? "" : ", ",
               note);
    return;
  }
  if (drawn && done < total && now - lastDraw < std::chrono::milliseconds(50))
    return;
  lastDraw = now;
  drawn = true;
  constexpr int kWidth = 28;
  int filled = static_cast<int>(fraction * kWidth);
  fmt::print(stderr, "\r\033[K{} [{}{}] {}/{}{}{}{}", title, std::string(filled, '='),
             std::string(kWidth - filled, ' '), done, total, left, note.empty() ? "" : "  ", note);
  std::fflush(stderr);
}

std::string bytesText(double bytes) {
  const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit)
    bytes /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, units[unit]);
}

std::string timeText(double milliseconds) {
  if (milliseconds >= 1000)
    return fmt::format("{:.2f} s", milliseconds / 1000);
  if (milliseconds >= 1)
    return fmt::format("{:.2f} ms", milliseconds);
  return fmt::format("{:.1f} us", milliseconds * 1000);
}

} // namespace heddle::tool
