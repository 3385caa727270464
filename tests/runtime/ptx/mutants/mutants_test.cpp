// Does the PTX machine notice? Instructions of our own kernels are made wrong, one at a time; the
// checker or the numbers have to tell.
#include "compiler/targets/cuda/Nvrtc.h"
#include "tests/runtime/ptx/mutants/Mutate.h"
#include "tests/runtime/ptx/mutants/Subject.h"
#include "tests/support/Test.h"
#include "tests/support/Tier.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

using namespace heddle;
using namespace heddle::test;

namespace {

// Small, with tails along every axis, more tiles than a ring has stages, and blocks that see no
// key. The last number is the key bound of a block: what it must not read is NaN.
constexpr LibraryKernel kKernels[] = {
    {"causal_softmax", "B=1,Hq=2,Hk=1,Tq=180,Tk=110,D=64", "bf16", "sm_80", "auto",
     "WARPS=4,BM=64,BN=32,STAGES=2", 32, 58},
    {"causal_softmax", "B=1,Hq=2,Hk=2,Tq=90,Tk=70,D=72", "f16", "sm_80", "auto",
     "WARPS=4,BM=64,BN=32,STAGES=3", 32, 44},
    {"sliding_window", "B=1,Hq=1,Hk=1,T=200,D=64", "bf16", "sm_90", "auto",
     "WARPS=4,BM=64,BN=32,STAGES=2,RESCALE=1", 32, 128},
    {"causal_softmax", "B=1,Hq=2,Hk=1,Tq=1,Tk=700,D=64", "bf16", "sm_80", "auto",
     "SPLIT=256,BN=32"},
    {"retnet", "B=1,H=1,T=130,K=64,V=64", "bf16", "sm_80", "chunked"},
    {"gla", "B=1,H=1,T=70,K=64,V=64", "bf16", "sm_80", "chunked"},
    {"gated_deltanet", "B=1,Hk=1,Hv=1,T=70,K=64,V=64", "bf16", "sm_90", "chunked", "CHUNK=32"},
    {"retnet", "B=1,H=1,T=9,K=64,V=64", "bf16", "sm_80", "recurrent"},
    {"deltanet", "B=1,H=1,T=9,K=64,V=64", "bf16", "sm_80", "recurrent"},
};

/// Survivors that compute the same for a reason that no probe shows: at most `lines` lines of the
/// kernels of a pattern, and only if every result is the same bit by bit.
struct Argued {
  const char *pattern, *kind;
  size_t lines;
  const char *why;
};
constexpr Argued kArgued[] = {
    {"causal_softmax", "barrier removed", 2,
     "before rows of o are turned in shared memory: a warp writes where it alone has read"},
    {"sliding_window", "barrier removed", 1, "the same"},
    {"gla", "barrier removed", 3, "a thread reads the 16 bytes that it copied itself"},
    {"gated_deltanet", "barrier removed", 1, "the same"},
    {"gla", "mask always on", 4, "exponents above the diagonal: their products are masked again"},
    {"gated_deltanet", "swizzle on one side", 2,
     "a sum of squares: the order of a row's chunks does not matter"},
    {"causal_softmax", "copy's tail not cut", 4, "keys behind a block's bound: masked as scores"},
    {"causal_softmax", "bound off by one", 4, "the same"},
    {"causal_softmax", "mask dropped", 4, "the same: bounds of blocks that see no key"},
    {"causal_softmax", "maximum dropped", 4,
     "any maximum will do that leaves the exponentials finite"},
    {"sliding_window", "maximum dropped", 4, "the same"},
    {"causal_softmax", "commit removed", 2,
     "values of the tile after the last: one full tile a block here, and no wait follows it"},
    {"causal_softmax", "copy's source off by its width", 1,
     "rows behind a block's bound: copies of no bytes"},
    {"causal_softmax", "mask always on", 2,
     "a base of -inf is of a row that sees no key: another mask makes its result 0"},
    {"sliding_window", "mask always on", 2, "the same"},
    {"retnet", "scale alone", 2, "whole turns of an angle: sine and cosine are the same without"},
};

enum class Fate : uint8_t { Caught, Idle, Equivalent, Survived };

struct Drawn {
  const Subject *subject;
  Mutant mutant;
  Fate fate = Fate::Caught;
  std::string verdict;
  double distance = 0; ///< of a survivor
};

/// All mutants of executed lines: kinds in turn, of each kind the kernels as the seed says.
std::vector<Drawn> drawAll(const std::vector<Subject> &subjects, unsigned seed) {
  std::mt19937 random(seed);
  std::map<std::string, std::vector<Drawn>> byKind;
  for (const Subject &subject : subjects)
    for (Mutant &mutant : mutantsOf(subject.ptx))
      if (subject.executed.count(mutant.line))
        byKind[mutant.kind].push_back({&subject, std::move(mutant), Fate::Caught, "", 0});
  for (auto &[kind, all] : byKind)
    for (size_t i = all.size(); i > 1; --i)
      std::swap(all[i - 1], all[random() % i]);
  std::vector<Drawn> drawn;
  for (bool any = true; any;) {
    any = false;
    for (auto &[kind, all] : byKind)
      if (!all.empty()) {
        drawn.push_back(std::move(all.back()));
        all.pop_back();
        any = true;
      }
  }
  return drawn;
}

void judge(Drawn &one) {
  one.verdict = one.subject->judge(withLine(one.subject->ptx, one.mutant.line, one.mutant.after));
  one.fate = !one.verdict.empty()                       ? Fate::Caught
             : !one.subject->matters(one.mutant)        ? Fate::Idle
             : !one.subject->reachesResults(one.mutant) ? Fate::Equivalent
                                                        : Fate::Survived;
  if (one.fate == Fate::Survived)
    one.distance =
        one.subject->distance(withLine(one.subject->ptx, one.mutant.line, one.mutant.after));
}

/// Judges mutants in their order, on every core, until `count` are found that are not idle. Returns
/// those that were judged.
std::vector<Drawn> judgeSome(std::vector<Drawn> drawn, size_t count) {
  std::mutex mutex;
  size_t next = 0, wanted = count;
  const auto work = [&] {
    std::unique_lock lock(mutex);
    while (wanted > 0 && next < drawn.size()) {
      Drawn &one = drawn[next++];
      --wanted;
      lock.unlock();
      judge(one);
      lock.lock();
      wanted += one.fate == Fate::Idle;
    }
  };
  std::vector<std::thread> others;
  for (unsigned n = 1; n < std::thread::hardware_concurrency(); ++n)
    others.emplace_back(work);
  work();
  for (std::thread &other : others)
    other.join();
  while (wanted > 0 && next < drawn.size()) // the last ones were idle
    work();
  drawn.resize(next);
  return drawn;
}

/// Survivors that kArgued speaks of become equivalent.
void argue(std::vector<Drawn> &judged) {
  std::map<const Argued *, std::set<std::pair<const Subject *, int>>> lines;
  for (Drawn &one : judged)
    for (const Argued &row : kArgued) {
      if (one.fate != Fate::Survived || one.distance > 0 ||
          row.kind != std::string(one.mutant.kind) || !one.subject->name.starts_with(row.pattern))
        continue;
      auto &known = lines[&row];
      known.insert({one.subject, one.mutant.line});
      if (known.size() <= row.lines) {
        one.fate = Fate::Equivalent;
        one.verdict = row.why;
      }
    }
}

struct Score {
  size_t fates[4] = {};
  size_t of(Fate fate) const { return fates[static_cast<size_t>(fate)]; }
  void add(const Drawn &one) { ++fates[static_cast<size_t>(one.fate)]; }
  size_t mutants() const { return of(Fate::Caught) + of(Fate::Equivalent) + of(Fate::Survived); }
  std::string toString() const {
    return fmt::format("{:4} mutants, {:4} caught, {:3} equivalent, {:3} survived ({} idle)",
                       mutants(), of(Fate::Caught), of(Fate::Equivalent), of(Fate::Survived),
                       of(Fate::Idle));
  }
};

void print(const Drawn &one) {
  constexpr const char *kFates[] = {"caught", "idle", "equivalent", "SURVIVED"};
  fmt::print("{}: {}, line {}: {}\n    {}\n    {}\n    {}\n", kFates[static_cast<size_t>(one.fate)],
             one.subject->name, one.mutant.line, one.mutant.kind, one.mutant.before,
             one.mutant.after,
             one.fate == Fate::Survived
                 ? fmt::format("results differ by {:.1e} of the largest number", one.distance)
                 : one.verdict);
}

/// A number that the environment may change, for more of them by hand.
unsigned setting(const char *name, unsigned otherwise) {
  const char *text = std::getenv(name);
  return text ? static_cast<unsigned>(std::atoi(text)) : otherwise;
}

} // namespace

TEST_CASE("mutants of our own kernels are caught", "[ptx][mutants]") {
  if (const auto nvrtc = compiler::cuda::Nvrtc::load(); !nvrtc.ok())
    HEDDLE_SKIP(nvrtc.error().message);
  std::vector<Subject> subjects;
  for (const LibraryKernel &kernel : kKernels) {
    Result<Subject> subject = librarySubject(kernel);
    INFO(kernel.toString() << (subject ? "" : ": " + subject.error().toString()));
    REQUIRE(subject.ok());
    subjects.push_back(std::move(*subject));
  }
  Result<Subject> product = tensorCopySubject();
  INFO((product ? "" : product.error().toString()));
  REQUIRE(product.ok());
  subjects.push_back(std::move(*product));
  const bool all = wholeTier();
  std::map<std::string, Score> scores;
  Score total;
  for (unsigned seed = 1; seed <= (all ? 2 : 1); ++seed) {
    std::vector<Drawn> judged = judgeSome(drawAll(subjects, setting("HEDDLE_MUTANTS_SEED", seed)),
                                          setting("HEDDLE_MUTANTS", all ? 250 : 100));
    argue(judged);
    for (const Drawn &one : judged) {
      scores[one.mutant.kind].add(one);
      total.add(one);
      if (one.fate == Fate::Survived || std::getenv("HEDDLE_MUTANTS_VERBOSE"))
        print(one);
    }
  }
  for (const auto &[kind, score] : scores)
    fmt::print("{:34} {}\n", kind, score.toString());
  fmt::print("{:34} {}\n", "all", total.toString());
  // A hundred mutants are too few to tell 1 % from 3 %.
  CHECK((all ? 50 : 25) * total.of(Fate::Survived) <= total.mutants());
  CHECK(20 * total.of(Fate::Equivalent) <= total.mutants());
}
