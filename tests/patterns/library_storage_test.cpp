// Storage: packed documents, pages, latent and quantised keys and values.
#include "tests/patterns/Library.h"
#include "tests/support/Test.h"

using namespace heddle;
using namespace heddle::test;

namespace {

bool causal(const Pair &at) { return at.j <= at.i; }

double scaled(const Problem &p, double dot) { return dot / std::sqrt(double(p.dim("D"))); }

/// Causal attention whose k and v are read by functions of the case.
Case storedCase(const std::string &name, std::function<void(Problem &)> more,
                std::function<void(const Problem &, Operands &)> operands) {
  return {name,
          [more](Problem &p, int64_t length) {
            attentionDims(p, length);
            more(p);
          },
          [operands](const Problem &p, Expected &expected) {
            Operands x = groupedOperands(p);
            operands(p, x);
            naiveSoftmax(p, expected, x, causal,
                         [&](const Pair &, double dot) { return scaled(p, dot); });
          }};
}

double code(const std::vector<int64_t> &n, int64_t low, int64_t high) {
  int64_t x = 17;
  for (int64_t i : n)
    x = (x * 31 + i * 7 + 3) % 1009;
  return double(low + x % (high - low + 1));
}

std::function<double(const std::vector<int64_t> &)> codes(int64_t low, int64_t high) {
  return [=](const std::vector<int64_t> &n) { return code(n, low, high); };
}

Case int8Case() {
  return storedCase(
      "kv_int8",
      [](Problem &p) {
        p.fillers["k"] = p.fillers["v"] = codes(-127, 127);
        p.fillers["k_scale"] = p.fillers["v_scale"] = [](const std::vector<int64_t> &n) {
          return 0.01 + 0.001 * double(n[1] + n[2]);
        };
      },
      [](const Problem &p, Operands &x) {
        int64_t group = p.dim("Hq") / p.dim("Hk");
        x.k = [&p, group](int64_t b, int64_t j, int64_t h, int64_t d) {
          return p.at("k", {b, j, h / group, d}) * p.at("k_scale", {b, j, h / group});
        };
        x.v = [&p, group](int64_t b, int64_t j, int64_t h, int64_t e) {
          return p.at("v", {b, j, h / group, e}) * p.at("v_scale", {b, j, h / group});
        };
      });
}

Case fp8Case() {
  return storedCase(
      "kv_fp8", [](Problem &) {},
      [](const Problem &p, Operands &x) {
        int64_t group = p.dim("Hq") / p.dim("Hk");
        x.k = [&p, group](int64_t b, int64_t j, int64_t h, int64_t d) {
          return p.at("k", {b, j, h / group, d}) * p.at("k_scale", {h / group});
        };
        x.v = [&p, group](int64_t b, int64_t j, int64_t h, int64_t e) {
          return p.at("v", {b, j, h / group, e}) * p.at("v_scale", {h / group});
        };
      });
}

/// Element f of a row packed two to a byte, with groups of three features.
double unpacked(const Problem &p, const std::string &name, int64_t b, int64_t j, int64_t h,
                int64_t f) {
  int64_t byte = int64_t(p.at(name, {b, j, h, f / 2}));
  int64_t nibble = f % 2 == 0 ? byte & 15 : byte >> 4;
  return (double(nibble) - p.at(name + "_zero", {b, j, h, f / 3})) *
         p.at(name + "_scale", {b, j, h, f / 3});
}

Case int4Case() {
  return storedCase(
      "kv_int4",
      [](Problem &p) {
        p.dims["D"] = 10;
        p.dims["Dv"] = 6;
        p.dims["PK"] = 5;
        p.dims["PV"] = 3;
        p.dims["NK"] = 4;
        p.dims["NV"] = 2;
        p.params = {{"g", 3.0}};
        p.fillers["k"] = p.fillers["v"] = codes(0, 255);
        p.fillers["k_zero"] = p.fillers["v_zero"] = codes(5, 9);
      },
      [](const Problem &p, Operands &x) {
        int64_t group = p.dim("Hq") / p.dim("Hk");
        x.k = [&p, group](int64_t b, int64_t j, int64_t h, int64_t d) {
          return unpacked(p, "k", b, j, h / group, d);
        };
        x.v = [&p, group](int64_t b, int64_t j, int64_t h, int64_t e) {
          return unpacked(p, "v", b, j, h / group, e);
        };
      });
}

/// Key j of sequence b is slot j % 2 of a page; the pages lie backwards in the pool.
Case pagedCase() {
  auto keys = [](int64_t b, int64_t length) { return std::max<int64_t>(length - 3 * b, 0); };
  return {"paged_kv",
          [keys](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims["Tq"] = 3;
            p.dims["page"] = 2;
            p.dims["M"] = (length + 1) / 2;
            p.dims["NP"] = 2 * p.dim("M") + 1;
            int64_t pages = p.dim("NP"), row = p.dim("M");
            p.fillers["table"] = [=](const std::vector<int64_t> &n) {
              return double(pages - 1 - n[0] * row - n[1]);
            };
            p.fillers["length"] = [=](const std::vector<int64_t> &n) {
              return double(keys(n[0], length));
            };
          },
          [keys](const Problem &p, Expected &expected) {
            int64_t length = p.dim("Tk"), group = p.dim("Hq") / p.dim("Hk");
            Operands x = groupedOperands(p);
            auto page = [&p](int64_t b, int64_t j) {
              return p.dim("NP") - 1 - b * p.dim("M") - j / 2;
            };
            x.k = [&, group](int64_t b, int64_t j, int64_t h, int64_t d) {
              return p.at("k", {page(b, j), j % 2, h / group, d});
            };
            x.v = [&, group](int64_t b, int64_t j, int64_t h, int64_t e) {
              return p.at("v", {page(b, j), j % 2, h / group, e});
            };
            naiveSoftmax(
                p, expected, x,
                [&](const Pair &at) {
                  int64_t known = keys(at.b, length);
                  return at.j < known && at.j <= at.row + known - p.dim("Tq");
                },
                [&](const Pair &, double dot) { return scaled(p, dot); });
          }};
}

/// Slot c of sequence b holds the newest key that belongs there; sequence 1 has not filled its ring
/// once the other has gone round it.
Case ringCase() {
  auto keys = [](int64_t b, int64_t length) { return b == 0 ? 3 * length + 2 : length; };
  return {"ring_kv",
          [keys](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims["Tq"] = length > 1 ? 3 : 1;
            p.dims["R"] = length + 2;
            p.params = {{"keep", 2.0}, {"W", double(std::max<int64_t>(length - 3, 1))}};
            p.fillers["length"] = [=](const std::vector<int64_t> &n) {
              return double(keys(n[0], length));
            };
          },
          [keys](const Problem &p, Expected &expected) {
            int64_t slots = p.dim("R"), length = slots - 2, group = p.dim("Hq") / p.dim("Hk");
            // The naive formula counts keys as if all were there: more than any sequence has.
            Problem whole = p;
            whole.dims["Tk"] = keys(0, length);
            auto slotOf = [=](int64_t j) { return j < 2 ? j : 2 + (j - 2) % (slots - 2); };
            Operands x = groupedOperands(p);
            x.k = [&, group](int64_t b, int64_t j, int64_t h, int64_t d) {
              return p.at("k", {b, slotOf(j), h / group, d});
            };
            x.v = [&, group](int64_t b, int64_t j, int64_t h, int64_t e) {
              return p.at("v", {b, slotOf(j), h / group, e});
            };
            naiveSoftmax(
                whole, expected, x,
                [&](const Pair &at) {
                  int64_t known = keys(at.b, length), i = at.row + known - p.dim("Tq");
                  bool kept = at.j < 2 || at.j >= known - (slots - 2);
                  bool seen = at.j < 2 || i - at.j < int64_t(p.param("W"));
                  return at.j < known && at.j <= i && kept && seen;
                },
                [&](const Pair &, double dot) { return scaled(p, dot); });
          }};
}

/// Three documents, the second without tokens; the last has more keys than queries.
Case varlenCase() {
  return {"varlen",
          [](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims.erase("Tq");
            p.dims.erase("Tk");
            p.dims.erase("B");
            int64_t first = length / 2, last = length - first;
            p.dims["N1"] = 4;
            p.dims["Nk"] = length;
            p.dims["Nq"] = first + (last + 1) / 2;
            int64_t queries = p.dim("Nq");
            p.fillers["cu_q"] = [=](const std::vector<int64_t> &n) {
              return double(n[0] == 0 ? 0 : n[0] == 3 ? queries : first);
            };
            p.fillers["cu_k"] = [=](const std::vector<int64_t> &n) {
              return double(n[0] == 0 ? 0 : n[0] == 3 ? length : first);
            };
          },
          [](const Problem &p, Expected &expected) {
            int64_t heads = p.dim("Hq"), group = heads / p.dim("Hk"), width = p.dim("Dv");
            Array o({p.dim("Nq"), heads, width}), lse({p.dim("Nq"), heads});
            for (int64_t n = 0; n < 3; ++n) {
              int64_t q0 = int64_t(p.at("cu_q", {n})), k0 = int64_t(p.at("cu_k", {n}));
              int64_t queries = int64_t(p.at("cu_q", {n + 1})) - q0;
              int64_t keys = int64_t(p.at("cu_k", {n + 1})) - k0;
              for (int64_t row = 0; row < queries; ++row)
                for (int64_t h = 0; h < heads; ++h) {
                  auto score = [&](int64_t j) {
                    double dot = 0;
                    for (int64_t d = 0; d < p.dim("D"); ++d)
                      dot += p.at("q", {q0 + row, h, d}) * p.at("k", {k0 + j, h / group, d});
                    return scaled(p, dot);
                  };
                  SoftmaxRow found = softmaxRow(
                      keys, width, [&](int64_t j) { return j <= row + keys - queries; }, score,
                      [&](int64_t j, int64_t e) { return p.at("v", {k0 + j, h / group, e}); });
                  lse({q0 + row, h}) = found.lse;
                  for (int64_t e = 0; e < width; ++e)
                    o({q0 + row, h, e}) = found.o[size_t(e)];
                }
            }
            expected.insert_or_assign("o", std::move(o));
            expected.insert_or_assign("lse", std::move(lse));
          }};
}

/// The expanded form: keys [Wuk c ; kr] and values Wuv c are written out for each head.
Case mlaCase() {
  return {"mla",
          [](Problem &p, int64_t length) {
            attentionDims(p, length);
            p.dims["Dc"] = 5;
            p.dims["Dr"] = 4;
            p.dims["D"] = 9;
            p.dims["Dn"] = 3;
            p.dims["Dv"] = 2;
            p.params = {{"base", 100.0}, {"mscale", 1.25}};
          },
          [](const Problem &p, Expected &expected) {
            int64_t nope = p.dim("Dn"), rope = p.dim("Dr"), latent = p.dim("Dc");
            int64_t off = p.dim("Tk") - p.dim("Tq");
            Operands x;
            x.width = nope + rope;
            x.valueWidth = p.dim("Dv");
            x.q = [=, &p](int64_t b, int64_t row, int64_t h, int64_t d) {
              if (d < nope)
                return p.at("q_nope", {b, row, h, d});
              auto part = [&](int64_t f) { return p.at("q_rope", {b, row, h, f}); };
              return rotatedNeighbours(part, d - nope, rope, 100.0, double(row + off));
            };
            x.k = [=, &p](int64_t b, int64_t j, int64_t h, int64_t d) {
              if (d >= nope)
                return p.at("cache", {b, j, 0, latent + d - nope});
              double sum = 0;
              for (int64_t c = 0; c < latent; ++c)
                sum += p.at("w_uk", {h, d, c}) * p.at("cache", {b, j, 0, c});
              return sum;
            };
            x.v = [=, &p](int64_t b, int64_t j, int64_t h, int64_t e) {
              double sum = 0;
              for (int64_t c = 0; c < latent; ++c)
                sum += p.at("w_uv", {h, e, c}) * p.at("cache", {b, j, 0, c});
              return sum;
            };
            naiveSoftmax(p, expected, x, causal, [&](const Pair &, double dot) {
              return dot * 1.25 * 1.25 / std::sqrt(double(nope + rope));
            });
          }};
}

Case mlaExpandedCase() {
  Case check = storedCase(
      "mla_expanded", [](Problem &p) { p.params = {{"mscale", 1.25}}; },
      [](const Problem &, Operands &) {});
  check.naive = [](const Problem &p, Expected &expected) {
    naiveSoftmax(p, expected, groupedOperands(p), causal,
                 [&](const Pair &, double dot) { return 1.5625 * scaled(p, dot); });
  };
  return check;
}

double bookEntry(const Problem &p, const std::string &name, const std::string &book,
                 std::initializer_list<int64_t> index) {
  return p.at(book, {int64_t(p.at(name, index))});
}

/// Keys and values are rebuilt in the original space: no rotated query, no rotated sum.
Case turboquantCase() {
  auto set = [](Problem &p) {
    p.dims["CK"] = 4;
    p.dims["CV"] = 8;
    p.fillers["k_code"] = codes(0, 3);
    p.fillers["v_code"] = codes(0, 7);
    p.fillers["k_sign"] = [](const std::vector<int64_t> &n) { return 2.0 * code(n, 0, 1) - 1.0; };
  };
  auto operands = [](const Problem &p, Operands &x) {
    int64_t group = p.dim("Hq") / p.dim("Hk"), width = p.dim("D"), values = p.dim("Dv");
    x.k = [=, &p](int64_t b, int64_t j, int64_t hq, int64_t d) {
      int64_t h = hq / group;
      double sum = 0;
      for (int64_t y = 0; y < width; ++y)
        sum += p.at("rotate", {y, d}) * bookEntry(p, "k_code", "k_book", {b, j, h, y}) +
               std::sqrt(std::acos(-1.0) / 2) / double(width) * p.at("k_gamma", {b, j, h}) *
                   p.at("sketch", {y, d}) * p.at("k_sign", {b, j, h, y});
      return sum * p.at("k_norm", {b, j, h});
    };
    x.v = [=, &p](int64_t b, int64_t j, int64_t hq, int64_t e) {
      int64_t h = hq / group;
      double sum = 0;
      for (int64_t y = 0; y < values; ++y)
        sum += p.at("v_rotate", {y, e}) * bookEntry(p, "v_code", "v_book", {b, j, h, y});
      return sum * p.at("v_norm", {b, j, h});
    };
  };
  return storedCase("kv_turboquant", set, operands);
}

} // namespace

std::vector<Case> heddle::test::storageCases() {
  return {varlenCase(), pagedCase(), ringCase(),        int8Case(),      fp8Case(),
          int4Case(),   mlaCase(),   mlaExpandedCase(), turboquantCase()};
}

TEST_CASE("storage: every file computes its naive formula") {
  for (const Case &check : storageCases())
    checkCase(check);
}
