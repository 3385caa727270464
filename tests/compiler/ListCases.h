// Patterns whose supports name keys by lists, for tests of the form and of targets.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>

namespace heddle::test {

struct ListCase {
  const char *what;
  const char *select, *support;
  int64_t Tq, Tk, Hq, Hk;
};

inline constexpr const char *kKeys = "%best = select top(5) (row, j) in (Tq, Tk)"
                                     "  score { sum[d < D] { q[row, 0, d] * k[j, 0, d] } }"
                                     "  visible { j <= row + Tk - Tq }";
inline constexpr const char *kMany = "%best = select top(40) (row, j) in (Tq, Tk)"
                                     "  score { sum[d < D] { q[row, 0, d] * k[j, 0, d] } }";
inline constexpr const char *kEqual = "%best = select top(20) (row, j) in (Tq, Tk)"
                                      "  score { float((j * 7 + row) mod 4 - 2) }"
                                      "  visible { j <= row * 9 + 8 }";
inline constexpr const char *kIndexer =
    "%best = select top(3) (row, j) in (Tq, Tk)"
    "  score { sum[a < 2] { q[row, a, 0] * relu(sum[d < D] { q[row, a, d] * k[j, 0, d] }) } }"
    "  visible { j <= row + Tk - Tq }";
inline constexpr const char *kHeadBlocks =
    "%best = select top(2) (row, h, n) in (Tq, Hq, cdiv(Tk, 16))"
    "  score { sum[d < D] { q[row, h, d] * k[n * 16, 0, d] } }"
    "  visible { n * 16 <= row + Tk - Tq }"
    "  forced { n == (row + Tk - Tq) div 16 }";
inline constexpr const char *kGroupBlocks =
    "%best = select top(1) (row, hk, n) in (Tq, Hk, cdiv(Tk, 16))"
    "  score { sum[d < D] { q[row, hk, d] * k[n * 16, hk, d] } }"
    "  visible { n * 16 <= row + Tk - Tq }";
inline constexpr const char *kSmallBlocks = "%best = select top(3) (row, n) in (Tq, cdiv(Tk, 4))"
                                            "  score { k[n * 4, 0, 0] }";

inline constexpr ListCase kListCases[] = {
    {"keys", kKeys, "(row, j) { j in best[row] }", 19, 19, 4, 2},
    {"keys and a window", kKeys, "(row, i, j) { j <= i and (j in best[row] or i - j < 4) }", 23, 23,
     2, 2},
    {"equal scores", kEqual, "(row, j) { j in best[row] }", 9, 90, 2, 1},
    {"keys of later rows", kKeys, "(row, j) { j in best[row] }", 7, 30, 4, 1},
    {"more than there are keys", kMany, "(row, j) { j in best[row] }", 9, 9, 2, 1},
    {"one query row", kMany, "(row, j) { j in best[row] }", 1, 77, 4, 2},
    {"one query row and a window", kKeys, "(row, i, j) { j in best[row] or i - j < 3 }", 1, 50, 4,
     2},
    {"blocks of a head", kHeadBlocks, "(row, h, i, j) { j <= i and j div 16 in best[row, h] }", 400,
     400, 2, 1},
    {"blocks of a head, few keys", kHeadBlocks,
     "(row, h, i, j) { j <= i and j div 16 in best[row, h] }", 40, 40, 4, 2},
    {"blocks of a group and a window", kGroupBlocks,
     "(row, hk, i, j) { j <= i and (j div 16 in best[row, hk] or i - j < 7) }", 200, 200, 4, 2},
    {"one query row, blocks of a group", kGroupBlocks,
     "(row, hk, i, j) { j <= i and j div 16 in best[row, hk] }", 1, 200, 4, 2},
    {"an indexer of two heads", kIndexer, "(row, j) { j in best[row] }", 37, 90, 2, 1},
    {"small blocks", kSmallBlocks, "(row, i, j) { j <= i and j div 4 in best[row] }", 21, 21, 2, 2},
};

inline std::string listPattern(const ListCase &c) {
  return fmt::format("pattern.def @p(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, "
                     "%v: seq<Tk x Hk x Dv>) {{\n  {}\n  %o, %lse = mix %q, %k, %v\n"
                     "    support {}\n    weight exp  norm sum\n  return %o, %lse\n}}\n",
                     c.select, c.support);
}

} // namespace heddle::test
