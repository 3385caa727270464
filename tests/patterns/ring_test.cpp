// A ring cache step by step, as native code: each key takes the slot of the oldest one that leaves,
// the query reads what is there. Over several turns of the ring every step equals the interpreter
// on all keys with a window and the first few.
#include "tests/patterns/CompiledFile.h"
#include "tests/support/PatternInputs.h"

using namespace heddle;
using namespace heddle::test;

namespace {

constexpr int64_t kHeads = 4, kKeyHeads = 2, kWidth = 24, kValues = 9;

/// Causal attention over the keys that a ring of `slots` still has, and that a window lets see.
PatternRun whole() {
  return PatternRun::text(
      "pattern.def @whole(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>, "
      "keep = 1, W = 1) {\n  %o, %lse = mix %q, %k, %v\n"
      "    support (i, j) { j <= i and (j < keep or i - j < W) }\n    weight exp norm sum\n"
      "  return %o, %lse\n}\n");
}

/// The file's kernel for rings of `slots`, and the tensors of a step in its order.
class Ring {
public:
  Ring(int64_t slots, int64_t queries, int64_t keep)
      : file("ring_kv"), device(std::move(*openDevice("cpu", 1))), slots(slots), keep(keep),
        q({1, queries, kHeads, kWidth}), k({1, slots, kKeyHeads, kWidth}, NAN),
        v({1, slots, kKeyHeads, kValues}, NAN), o({1, queries, kHeads, kValues}),
        lse({1, queries, kHeads}) {
    Extents extents{{"B", 1}, {"Tq", queries}, {"R", slots}, {"Hq", kHeads}, {"Hk", kKeyHeads}};
    extents["D"] = kWidth, extents["Dv"] = kValues;
    Result<Artifact> artifact =
        compiler::compile(requestOf(file, extents, {{"keep", double(keep)}}, DType::F32, *device));
    INFO((artifact ? "" : artifact.error().toString()));
    REQUIRE(artifact.ok());
    kernel = *Kernel::load(*artifact, {}, device);
  }

  /// Key `j` of the sequence goes to its slot.
  void put(const Inputs &all, int64_t j) {
    int64_t slot = j < keep ? j : keep + (j - keep) % (slots - keep);
    for (auto [from, to] : {std::pair(&all.at("k"), &k), std::pair(&all.at("v"), &v)}) {
      int64_t row = to->shape[2] * to->shape[3];
      std::copy_n(from->data.begin() + j * row, row, to->data.begin() + slot * row);
    }
  }

  void launch(int64_t length, double window) {
    std::vector<std::vector<float>> held;
    std::vector<TensorView> views;
    for (const Tensor *tensor : {&q, &k, &v, &o, &lse}) {
      held.emplace_back(tensor->data.begin(), tensor->data.end());
      views.push_back(tensor->view());
      views.back().dtype = DType::F32;
      views.back().data = held.back().data();
    }
    int32_t lengths[] = {int32_t(length)};
    TensorView known;
    known.dtype = DType::I32;
    known.rank = 1;
    known.shape[0] = known.strides[0] = 1;
    known.data = lengths;
    views.insert(views.begin() + 3, known);
    ParameterValue parameters[] = {{"W", window}};
    Result<AlignedBuffer> workspace =
        AlignedBuffer::allocate(*kernel->workspaceBytes(views, parameters));
    Status status = kernel->launch(views, parameters, workspace->workspace());
    INFO((status ? "" : status.error().toString()));
    REQUIRE(status.ok());
    o.data.assign(held[3].begin(), held[3].end());
    lse.data.assign(held[4].begin(), held[4].end());
  }

  File file;
  std::shared_ptr<Device> device;
  std::shared_ptr<const Kernel> kernel;
  int64_t slots, keep;
  Tensor q, k, v, o, lse;
};

} // namespace

TEST_CASE("a ring cache over its wraps is a window and the first keys", "[storage]") {
  struct Setting {
    int64_t slots, queries, keep, window;
  };
  // The last queries of a step find that keys of the first ones have gone: W + Tq - 1 slots.
  for (const Setting &s : {Setting{11, 1, 4, 7}, Setting{9, 1, 0, 9}, Setting{40, 3, 5, 33}}) {
    INFO(s.slots << " slots, " << s.queries << " queries a step");
    const int64_t length = s.queries * (3 * s.slots / s.queries + 1);
    Random random(uint64_t(s.slots));
    Inputs all{{"q", random.tensor({1, length, kHeads, kWidth})},
               {"k", random.tensor({1, length, kKeyHeads, kWidth})},
               {"v", random.tensor({1, length, kKeyHeads, kValues})}};
    for (auto &[name, tensor] : all)
      for (double &x : tensor.data)
        x = float(x);
    PatternRun run = whole();
    auto expected = run(all, {{"keep", double(s.keep)}, {"W", double(s.window)}});
    Ring ring(s.slots, s.queries, s.keep);
    for (int64_t t = 0; t < length; t += s.queries) {
      INFO("tokens from " << t);
      for (int64_t j = t; j < t + s.queries; ++j)
        ring.put(all, j);
      ring.q = slice(all.at("q"), 1, t, t + s.queries);
      ring.launch(t + s.queries, double(s.window));
      requireSame(ring.o, slice(expected.at("o"), 1, t, t + s.queries), 1e-5);
      requireSame(ring.lse, slice(expected.at("lse"), 1, t, t + s.queries), 1e-5);
    }
  }
}
