// Selections of linear cost: routes of queries against keys, by buckets or by a tree of means.
//
//   bucket   each key goes to its best centroid; what buckets hold is kept once a `refresh` keys;
//            a query looks through the buckets of its best centroids
//   tree     means of runs of keys are differences of prefix sums; a beam of nodes is opened level
//            by level, a launch each
//
// A query knows the keys before refresh * floor(i / refresh).
#include "compiler/forms/GraphReader.h"

#include <limits>

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

namespace {

/// A node of the tree in one number: its first block times this, plus its level.
constexpr int64_t kLevels = 32;

class RouteReader {
public:
  RouteReader(GraphReader &reader, pattern::SelectOp op)
      : reader(reader), graph(reader.graph), context(reader.context), op(op),
        list(pattern::valueName(op.getList()).str()) {}

  Status run() {
    if (op.getVars().size() != 2 || !pattern::arrayType(op.getList()).getBatched())
      return unsupported("select by routes has one query index and one key index, and a batch");
    HEDDLE_CHECK(constant("the number of chosen", op.getCountAttr(), 1, count));
    HEDDLE_CHECK(constant("refresh", op.getRefreshAttr(), 64, refresh));
    Tq = graph.extentOf(cast<Expr>(op.getExtents()[0]));
    Tk = graph.extentOf(cast<Expr>(op.getExtents()[1]));
    width = graph.lengthExpr(graph.find(name("route"))->shape.back());
    bool bucket = op.getStrategy() == pattern::SelectStrategy::bucket;
    graph.chosen[list] = count;
    return bucket ? readBuckets() : readTree();
  }

private:
  Status constant(const char *what, Expr expr, int64_t otherwise, int64_t &value) {
    value = otherwise;
    Expr known = expr ? graph.specialise(expr) : expr;
    if (known && (!known.is(ExprKind::Integer) || known.integer() < 1))
      return unsupported("{} of a select by routes is {}, expected a constant of 1 or more", what,
                         known.str());
    if (known)
      value = known.integer();
    return {};
  }

  // ---- short names ----
  std::string name(const char *role) { return pattern::valueName(op.input(role)).str(); }
  Expr number(int64_t n) { return makeInteger(context, n); }
  Expr var(const char *name) { return makeVar(context, name); }
  Expr row() { return var("t'"); }
  Expr candidate() { return var("n'"); }
  Expr quotient(Expr x, int64_t n) { return makeBinary(ExprKind::FloorDiv, x, number(n)); }
  Expr rest(Expr x, int64_t n) { return makeBinary(ExprKind::Mod, x, number(n)); }
  Expr both(Expr a, Expr b) { return makeBinary(ExprKind::And, a, b); }
  Expr less(Expr a, Expr b) { return makeBinary(ExprKind::Lt, a, b); }
  Expr some(Expr entry) { return makeBinary(ExprKind::Ge, entry, number(0)); }
  Expr choose(Expr condition, Expr yes, Expr no) { return call("select", {condition, yes, no}); }
  Expr none() { return pattern::makeFloat(context, -std::numeric_limits<double>::infinity()); }
  /// sum over the route's width of x(y) z(y).
  Expr product(llvm::function_ref<Expr(Expr)> x, llvm::function_ref<Expr(Expr)> z) {
    Expr y = var("y'");
    return pattern::makeReduction(ExprKind::Sum, "y'", number(0), width, times(x(y), z(y)));
  }
  std::string buffer(const char *what) { return reader.freshName(list + "_" + what); }
  Status add(const std::string &name, std::vector<Extent> shape, bool real = false) {
    Type type = real ? Type(Float32Type::get(context)) : Type(IntegerType::get(context, 32));
    return graph.find(name) ? Status() : reader.addBuffer(name, true, std::move(shape), type);
  }
  Extent fixed(int64_t n) { return {n, "", {}}; }

  Status addChoice(const std::string &name, const Extent &rows, int64_t count,
                   const Extent &candidates, Expr score, Expr id, const char *why,
                   const std::string &scores = "") {
    HEDDLE_CHECK(add(name, {rows, fixed(count)}));
    if (!scores.empty())
      HEDDLE_CHECK(add(scores, {rows, fixed(count)}, true));
    graph.stages.push_back(ChooseStage{name,
                                       scores,
                                       {"t'", "n'"},
                                       candidates,
                                       graph.specialise(score),
                                       id ? graph.specialise(id) : id,
                                       why});
    return {};
  }

  /// Position of the row, or 0 where it stands before all keys.
  Expr position() {
    Expr off = minus(graph.lengthExpr(Tk), graph.lengthExpr(Tq));
    return call("max", {sumOf(row(), off), number(0)});
  }

  // ---- buckets ----

  Status readBuckets() {
    int64_t visit, capacity;
    HEDDLE_CHECK(constant("visit", op.getVisitAttr(), 1, visit));
    HEDDLE_CHECK(constant("capacity", op.getCapacityAttr(), 64, capacity));
    std::string route = name("route"), key = name("key"), table = name("centroids");
    const ProblemTensor &centroids = *graph.find(table);
    Extent M = centroids.dim(0);
    auto toCentroid = [&](const std::string &from) {
      return product([&](Expr y) { return read(from, {row(), y}); },
                     [&](Expr y) { return read(table, {candidate(), y}); });
    };
    std::string bucket = buffer("bucket"), salience = buffer("salience"), kept = buffer("kept");
    HEDDLE_CHECK(
        addChoice(bucket, Tk, 1, M, toCentroid(key), {}, "the bucket of each key", salience));
    Extent snapshots = graph.extentOf(call("cdiv", {graph.lengthExpr(Tk), number(refresh)}));
    HEDDLE_CHECK(add(kept, {snapshots, M, fixed(capacity)}));
    graph.stages.push_back(BucketStage{kept, bucket, salience, Tk, refresh});
    std::string visited = buffer("visited"), found = buffer("found");
    HEDDLE_CHECK(addChoice(visited, Tq, visit, M, toCentroid(route), {},
                           "the buckets that each query visits"));
    HEDDLE_CHECK(add(found, {Tq, fixed(visit * capacity)}));
    Expr which = read(visited, {row(), quotient(candidate(), capacity)});
    Expr entry = read(kept, {quotient(position(), refresh), which, rest(candidate(), capacity)});
    graph.stages.push_back(MapStage{found,
                                    {"t'", "n'"},
                                    graph.specialise(choose(some(which), entry, number(-1))),
                                    "the keys in them"});
    Expr mine = read(found, {row(), candidate()});
    Expr score = product([&](Expr y) { return read(route, {row(), y}); },
                         [&](Expr y) { return read(key, {mine, y}); });
    return addChoice(list, Tq, count, fixed(visit * capacity), score, mine,
                     "the best keys of each query");
  }

  // ---- trees ----

  /// Blocks that a tree may have: its levels are code (dependsOnBounds in Compiler.cpp).
  int64_t mostBlocks() {
    constexpr int64_t kLongest = int64_t(1) << 29, kBounds[] = {1, 16, 64, 4096, kLongest};
    int64_t keys = kLongest;
    if (Tk.fixed)
      keys = *Tk.fixed;
    else if (auto found = reader.request.request.extents.find(Tk.name);
             found != reader.request.request.extents.end())
      keys = kBounds[found->second.bound];
    return keys / block;
  }

  /// fanout^level of a level that is an expression.
  Expr sizeOf(Expr level) {
    Expr size = number(1);
    int64_t power = 1;
    for (int64_t l = 1; l < levels; ++l) {
      power *= fanout;
      size = choose(makeBinary(ExprKind::Ge, level, number(l)), number(power), size);
    }
    return size;
  }
  Expr firstOf(Expr node) { return quotient(node, kLevels); }
  Expr levelOf(Expr node) { return rest(node, kLevels); }

  /// The mean of route . key over the keys of a node: a difference of prefix sums, each of which is
  /// two numbers; what lies before the first key reads as 0.
  Expr score(Expr node) {
    Expr keys = times(sizeOf(levelOf(node)), number(block));
    Expr first = times(firstOf(node), number(block));
    Expr before = minus(first, number(1)), last = minus(sumOf(first, keys), number(1));
    std::string route = name("route");
    Expr sum = product([&](Expr y) { return read(route, {row(), y}); },
                       [&](Expr y) {
                         return sumOf(minus(read(high, {last, y}), read(high, {before, y})),
                                      minus(read(low, {last, y}), read(low, {before, y})));
                       });
    return choose(some(node), makeBinary(ExprKind::Div, sum, keys), none());
  }

  /// Complete nodes without a complete parent: digit l of the number of blocks in base `fanout`
  /// counts those of level l.
  Expr root() {
    Expr blocks = quotient(times(quotient(position(), refresh), number(refresh)), block);
    Expr level = quotient(candidate(), fanout - 1), nth = rest(candidate(), fanout - 1);
    Expr node = number(-1);
    int64_t size = 1;
    for (int64_t l = 0; l < levels; ++l, size *= fanout) {
      Expr digit = rest(quotient(blocks, size), fanout);
      Expr first = sumOf(times(quotient(blocks, size * fanout), number(size * fanout)),
                         times(nth, number(size)));
      Expr own =
          choose(less(nth, digit), sumOf(times(first, number(kLevels)), number(l)), number(-1));
      node = choose(makeBinary(ExprKind::Eq, level, number(l)), own, node);
    }
    return node;
  }

  /// Child number n' mod fanout of a node; a block stays, once.
  Expr child(const std::string &frontier) {
    Expr parent = read(frontier, {row(), quotient(candidate(), fanout)});
    Expr nth = rest(candidate(), fanout), level = minus(levelOf(parent), number(1));
    Expr first = sumOf(firstOf(parent), times(nth, sizeOf(level)));
    Expr opened = sumOf(times(first, number(kLevels)), level);
    Expr block = choose(makeBinary(ExprKind::Eq, nth, number(0)), parent, number(-1));
    Expr leaf = makeBinary(ExprKind::Lt, level, number(0));
    return choose(some(parent), choose(leaf, block, opened), number(-1));
  }

  Status readTree() {
    int64_t beam;
    HEDDLE_CHECK(constant("block", op.getBlockAttr(), 64, block));
    HEDDLE_CHECK(constant("fanout", op.getFanoutAttr(), 8, fanout));
    HEDDLE_CHECK(constant("beam", op.getBeamAttr(), 1, beam));
    if (fanout < 2)
      return Error{ErrorCode::InvalidArgument, "the fanout of a tree is 1, expected 2 or more"};
    if (mostBlocks() > (int64_t(1) << 26))
      return unsupported("a tree of blocks of {} keys may have too many nodes, take 8 or more",
                         block);
    for (int64_t size = fanout; size <= mostBlocks(); size *= fanout)
      ++levels;
    constexpr int64_t kMostLevels = 12;
    if (levels > kMostLevels)
      return unsupported("a tree of up to {} levels takes a launch each, at most {}: take larger "
                         "blocks or a larger fanout, or fix the number of keys",
                         levels, kMostLevels);
    high = buffer("sum"), low = buffer("sum_rest");
    const ProblemTensor &key = *graph.find(name("key"));
    Extent R = key.shape.back();
    HEDDLE_CHECK(add(high, {Tk, R}, true));
    HEDDLE_CHECK(add(low, {Tk, R}, true));
    graph.stages.push_back(PrefixStage{name("key"), high, low});
    std::string frontier = buffer("level" + std::to_string(levels - 1));
    HEDDLE_CHECK(addChoice(frontier, Tq, beam, fixed(levels * (fanout - 1)), score(root()), root(),
                           "the best nodes without a parent"));
    for (int64_t level = levels - 1; level-- > 0;) {
      std::string next = buffer("level" + std::to_string(level));
      HEDDLE_CHECK(addChoice(next, Tq, beam, fixed(beam * fanout), score(child(frontier)),
                             child(frontier), "the best of them and of their children"));
      frontier = next;
    }
    Expr node = read(frontier, {row(), candidate()});
    return addChoice(list, Tq, count, fixed(beam), score(node),
                     choose(some(node), firstOf(node), number(-1)), "the best blocks");
  }

  std::string buffer(const std::string &what) { return buffer(what.c_str()); }

  GraphReader &reader;
  Graph &graph;
  MLIRContext *context;
  pattern::SelectOp op;
  std::string list, high, low;
  Extent Tq, Tk;
  Expr width;
  int64_t count = 0, refresh = 0, block = 0, fanout = 0, levels = 1;
};

} // namespace

Status GraphReader::readRoutes(pattern::SelectOp op) { return RouteReader(*this, op).run(); }

} // namespace heddle::compiler
