// Mixes whose keys a list names: the walker on what the attention form makes of them, before and
// after the passes, against the interpreter. Lists of keys and of blocks, of all heads, of a group
// and of one head; joined with a window; longer than the keys; one query row.
#include "tests/compiler/FormSupport.h"
#include "tests/compiler/ListCases.h"

using namespace heddle;
using namespace heddle::test;

namespace {

FormCase formCase(const ListCase &c) {
  FormCase form;
  form.text = listPattern(c);
  form.dims = {{"B", 2},     {"Tq", c.Tq}, {"Tk", c.Tk}, {"Hq", c.Hq},
               {"Hk", c.Hk}, {"D", 6},     {"Dv", 5}};
  return form;
}

} // namespace

TEST_CASE("lists of keys: walker equals interpreter before and after the passes") {
  for (const ListCase &c : kListCases)
    for (Upto upto : {Upto::Form, Upto::SimplifyMaps}) {
      INFO(c.what);
      FormRun(formCase(c)).check(upto);
    }
}

TEST_CASE("where keys are chosen, no kernel looks at all of them") {
  for (const ListCase &c : {kListCases[0], kListCases[6]}) {
    INFO(c.what);
    FormRun run(formCase(c));
    auto module = run.build(Upto::Form);
    bool found = false;
    module->walk([&](tile::KernelOp kernel) {
      if (kernel.getSymName() != "queries")
        return;
      found = true;
      bool list = false;
      kernel.walk([&](tile::ViewOp view) { list |= view.getName() == "best"; });
      CHECK(list);
    });
    CHECK(found);
  }
}

TEST_CASE("scores that are products of rows and candidates are products of tiles") {
  auto products = [](const ListCase &c) {
    FormRun run(formCase(c));
    auto module = run.build(Upto::Form);
    int64_t count = 0;
    module->walk([&](tile::KernelOp kernel) {
      if (kernel.getSymName() == "choose_best")
        kernel.walk([&](tile::MmaOp) { ++count; });
    });
    return count;
  };
  CHECK(products({"keys", kKeys, "(row, j) { j in best[row] }", 19, 19, 4, 2}) == 1);
  CHECK(products({"indexer", kIndexer, "(row, j) { j in best[row] }", 19, 19, 4, 2}) == 1);
  CHECK(products({"no product", kSmallBlocks, "(row, j) { j div 4 in best[row] }", 9, 9, 2, 2}) ==
        0);
  // A product of one row has nothing to share.
  CHECK(products({"one row", kMany, "(row, j) { j in best[row] }", 1, 77, 4, 2}) == 0);
}
