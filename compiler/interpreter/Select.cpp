// Evaluates select: for each query the indices of the best candidates, ascending, padded with -1.
// Example: top 2 of scores (0.5, 0.9, 0.9, 0.1), candidate 3 forced: 3 comes first, then 1 (the
// smaller of two equals); the list is 1, 3.
#include "compiler/interpreter/Graph.h"
#include "ir/pattern/ExprUtils.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace heddle::compiler {

using pattern::ExprKind;

namespace {

struct Candidate {
  int64_t index;
  double score;
  bool forced = false;
};

bool better(const Candidate &a, const Candidate &b) {
  if (a.forced != b.forced)
    return a.forced;
  return a.score != b.score ? a.score > b.score : a.index < b.index;
}

/// Writes the best `count` in ascending order; what has score -inf or NaN is never taken.
void writeBest(std::vector<Candidate> &candidates, int64_t count, double *out) {
  std::erase_if(candidates, [](const Candidate &c) { return !c.forced && !(c.score > -INFINITY); });
  std::sort(candidates.begin(), candidates.end(), better);
  candidates.resize(std::min<size_t>(candidates.size(), count));
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate &a, const Candidate &b) { return a.index < b.index; });
  for (int64_t n = 0; n < count; ++n)
    out[n] = n < int64_t(candidates.size()) ? double(candidates[n].index) : -1;
}

// ---- top: candidates by expressions

class TopSelect {
public:
  TopSelect(pattern::SelectOp op, Environment &environment, const RowSelection &rows)
      : op(op), environment(environment) {
    if (rows.all() || !readByOwnRow())
      return;
    for (const Row &row : rows.rows)
      wanted.insert({row.b, row.row});
  }

  Status run() {
    HEDDLE_CHECK(compile());
    HEDDLE_TRY(count, environment.extent(op.getCountAttr()));
    HEDDLE_TRY(candidateCount, environment.extent(extentAttr(op.getExtents().size() - 1)));
    HEDDLE_TRY(shape, environment.shapeOf(pattern::arrayType(op.getList())));
    Value list = Value::make(shape);
    std::vector<int64_t> extents(shape.begin(), shape.end() - 1);
    if (!pattern::arrayType(op.getList()).getBatched())
      extents.insert(extents.begin(), 1);
    int64_t queries =
        std::accumulate(extents.begin(), extents.end(), int64_t(1), std::multiplies<>());
    std::vector<double> lanes(candidateCount), scores(candidateCount, 0.0),
        visible(candidateCount, 1.0), forced(candidateCount, 0.0);
    std::iota(lanes.begin(), lanes.end(), 0.0);
    int64_t perRow =
        extents.size() < 2 || extents[1] == 0
            ? 1
            : std::max<int64_t>(1, queries / std::max<int64_t>(1, extents[0]) / extents[1]);
    for (int64_t query = 0; query < queries; ++query) {
      int64_t row = query / perRow;
      if (!wanted.empty() && !wanted.contains({row / extents[1], row % extents[1]})) {
        std::fill_n(list.data() + query * count, count, -1.0);
        continue;
      }
      setQuery(query, extents);
      evaluate(score, lanes, scores);
      evaluate(visibility, lanes, visible);
      evaluate(force, lanes, forced);
      std::vector<Candidate> candidates;
      for (int64_t n = 0; n < candidateCount; ++n)
        if (visible[n] != 0)
          candidates.push_back({n, scores[n], forced[n] != 0});
      writeBest(candidates, count, list.data() + query * count);
    }
    environment.define(op.getList(), list);
    return {};
  }

private:
  pattern::ExprAttr extentAttr(size_t n) {
    return mlir::cast<pattern::ExprAttr>(op.getExtents()[n]);
  }

  Status compile() {
    ExprScope scope = environment.scope(op.getReads(), op.getReadNames());
    scope.variables.push_back({"b", false});
    for (mlir::Attribute name : op.getVars())
      scope.variables.push_back({mlir::cast<mlir::StringAttr>(name).str(), false});
    scope.variables.back().lanes = true;
    lane = static_cast<int>(scope.variables.size()) - 1;
    for (auto [expr, out] :
         {std::pair{op.getScoreAttr(), &score}, std::pair{op.getVisibleAttr(), &visibility},
          std::pair{op.getForcedAttr(), &force}}) {
      if (!expr)
        continue;
      HEDDLE_TRY(program, ExprProgram::compile(expr, scope));
      *out = std::move(program);
    }
    return {};
  }

  /// True if every support reads the list at the row it is asked for: list[row, ..].
  bool readByOwnRow() {
    for (mlir::Operation *user : op.getList().getUsers()) {
      auto mix = mlir::dyn_cast<pattern::MixOp>(user);
      if (!mix || op.getVars().size() < 2)
        return false;
      bool own = true;
      pattern::walk(pattern::expandLets(mix.getSupportAttr()), [&](pattern::ExprAttr e) {
        if (e.is(ExprKind::Read) && mix.read(e.getName()) == op.getList())
          own &= e.size() > 0 && e[0].is(ExprKind::Var) && e[0].getName() == "row";
        return true;
      });
      if (!own)
        return false;
    }
    return true;
  }

  void setQuery(int64_t query, const std::vector<int64_t> &extents) {
    for (int d = static_cast<int>(extents.size()) - 1; d >= 0; --d) {
      for (auto *program : {&score, &visibility, &force})
        if (*program)
          (*program)->set(d, static_cast<double>(query % extents[d]));
      query /= extents[d];
    }
  }

  void evaluate(std::optional<ExprProgram> &program, const std::vector<double> &lanes,
                std::vector<double> &out) {
    if (!program)
      return;
    if (!program->varies()) {
      std::fill(out.begin(), out.end(), program->scalar());
      return;
    }
    LaneInput input[] = {{lane, lanes.data()}};
    program->run(input, int64_t(lanes.size()), out.data());
  }

  pattern::SelectOp op;
  Environment &environment;
  std::optional<ExprProgram> score, visibility, force;
  int lane = 0;
  std::set<std::pair<int64_t, int64_t>> wanted; ///< batch and row; empty: all
};

// ---- bucket and tree: route vectors against keys

double innerProduct(const double *x, const double *y, int64_t count) {
  return std::inner_product(x, x + count, y, 0.0);
}

/// What both strategies read, one batch element at a time.
class RouteSelect {
public:
  RouteSelect(pattern::SelectOp op, Environment &environment) : op(op), environment(environment) {}

  Status run() {
    if (op.getVars().size() != 2)
      return Error{ErrorCode::Unsupported,
                   "select bucket and tree have one query index and one key index; give one list "
                   "for all heads"};
    HEDDLE_CHECK(readArguments());
    HEDDLE_TRY(shape, environment.shapeOf(pattern::arrayType(op.getList())));
    Value list = Value::make(shape);
    int64_t batches = pattern::arrayType(op.getList()).getBatched() ? environment.batch() : 1;
    for (int64_t b = 0; b < batches; ++b) {
      routes = matrix("route", b, queryCount);
      keys = matrix("key", b, keyCount);
      double *out = list.data() + b * queryCount * count;
      if (op.getStrategy() == pattern::SelectStrategy::bucket)
        runBuckets(b, out);
      else
        runTree(out);
    }
    environment.define(op.getList(), list);
    return {};
  }

private:
  struct Entry {
    int64_t key;
    double salience;
  };

  Status readArguments() {
    auto read = [&](pattern::ExprAttr expr, int64_t otherwise, int64_t &out) -> Status {
      out = otherwise;
      if (!expr)
        return {};
      HEDDLE_TRY(value, environment.extent(expr));
      if (value == 0)
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("{} of a select is 0, expected 1 or more", expr.str())};
      out = value;
      return {};
    };
    HEDDLE_CHECK(read(op.getCountAttr(), 1, count));
    HEDDLE_CHECK(read(op.getVisitAttr(), 1, visit));
    HEDDLE_CHECK(read(op.getCapacityAttr(), 64, capacity));
    HEDDLE_CHECK(read(op.getBlockAttr(), 64, block));
    HEDDLE_CHECK(read(op.getFanoutAttr(), 8, fanout));
    HEDDLE_CHECK(read(op.getBeamAttr(), 1, beam));
    HEDDLE_CHECK(read(op.getRefreshAttr(), 64, refresh));
    if (fanout < 2)
      return Error{ErrorCode::InvalidArgument, "the fanout of a tree is 1, expected 2 or more"};
    HEDDLE_TRY(queries, environment.extent(mlir::cast<pattern::ExprAttr>(op.getExtents()[0])));
    HEDDLE_TRY(keyExtent, environment.extent(mlir::cast<pattern::ExprAttr>(op.getExtents()[1])));
    queryCount = queries, keyCount = keyExtent;
    return {};
  }

  /// [rows, width] of a batch element.
  std::vector<double> matrix(llvm::StringRef role, int64_t b, int64_t rows) {
    const Value &value = environment.value(op.input(role));
    bool batched = pattern::arrayType(op.input(role)).getBatched();
    int dim = batched ? 1 : 0;
    width = value.extent(dim + 1);
    std::vector<double> out(rows * width);
    for (int64_t r = 0; r < rows; ++r)
      value.gather((batched ? b * value.stride(0) : 0) + r * value.stride(dim),
                   value.stride(dim + 1), width, out.data() + r * width);
    return out;
  }

  const double *route(int64_t row) const { return routes.data() + row * width; }
  const double *keyRow(int64_t key) const { return keys.data() + key * width; }
  int64_t position(int64_t row) const { return row + keyCount - queryCount; }
  /// Keys that the snapshot of a query at p knows: those before refresh * floor(p / refresh).
  int64_t known(int64_t p) const { return p < 0 ? 0 : p / refresh * refresh; }

  void runBuckets(int64_t b, double *out) {
    const Value &table = environment.value(op.input("centroids"));
    bool shared = !pattern::arrayType(op.input("centroids")).getBatched();
    int64_t bucketCount = table.extent(shared ? 0 : 1);
    std::vector<double> centroids = matrix("centroids", shared ? 0 : b, bucketCount);
    std::vector<std::vector<Entry>> buckets(bucketCount);
    int64_t inserted = 0;
    for (int64_t row = 0; row < queryCount; ++row) { // positions ascend with rows
      for (; inserted < known(position(row)); ++inserted)
        insert(inserted, centroids, buckets);
      std::vector<Candidate> order = byScore(route(row), centroids, bucketCount), found;
      for (int64_t n = 0; n < std::min(visit, bucketCount); ++n)
        for (const Entry &entry : buckets[order[n].index])
          if (entry.key <= position(row))
            found.push_back({entry.key, innerProduct(route(row), keyRow(entry.key), width)});
      writeBest(found, count, out + row * count);
    }
  }

  std::vector<Candidate> byScore(const double *x, const std::vector<double> &rows,
                                 int64_t n) const {
    std::vector<Candidate> order;
    for (int64_t r = 0; r < n; ++r)
      order.push_back({r, innerProduct(x, rows.data() + r * width, width)});
    std::sort(order.begin(), order.end(), better);
    return order;
  }

  /// The key goes to its best bucket; an overfull bucket loses its least salient, then oldest.
  void insert(int64_t key, const std::vector<double> &centroids,
              std::vector<std::vector<Entry>> &buckets) const {
    Candidate best = byScore(keyRow(key), centroids, int64_t(buckets.size())).front();
    std::vector<Entry> &bucket = buckets[best.index];
    bucket.push_back({key, best.score});
    if (int64_t(bucket.size()) > capacity)
      bucket.erase(std::min_element(bucket.begin(), bucket.end(), [](auto &a, auto &b) {
        return a.salience != b.salience ? a.salience < b.salience : a.key < b.key;
      }));
  }

  // A node of the tree is a run of blocks [first, first + size), size a power of the fanout.
  struct Node {
    int64_t first, size;
    double score;
  };

  Node node(int64_t first, int64_t size, int64_t row) const {
    double sum = 0;
    for (int64_t j = first * block; j < (first + size) * block; ++j)
      sum += innerProduct(route(row), keyRow(j), width);
    return {first, size, sum / double(size * block)};
  }

  /// Beam search from every complete node without a complete parent; each round keeps the best
  /// `beam` nodes and opens those that are not leaves.
  void runTree(double *out) {
    for (int64_t row = 0; row < queryCount; ++row) {
      int64_t blocks = known(position(row)) / block, size = 1;
      while (size * fanout <= blocks)
        size *= fanout;
      std::vector<Node> frontier;
      for (int64_t first = 0; first < blocks; first += size) {
        while (first + size > blocks)
          size /= fanout;
        frontier.push_back(node(first, size, row));
      }
      keepBest(frontier);
      while (std::any_of(frontier.begin(), frontier.end(), [](auto &n) { return n.size > 1; })) {
        std::vector<Node> opened;
        for (const Node &parent : frontier)
          if (parent.size == 1)
            opened.push_back(parent);
          else
            for (int64_t child = 0; child < fanout; ++child)
              opened.push_back(
                  node(parent.first + child * (parent.size / fanout), parent.size / fanout, row));
        frontier = std::move(opened);
        keepBest(frontier);
      }
      std::vector<Candidate> leaves;
      for (const Node &leaf : frontier)
        leaves.push_back({leaf.first, leaf.score});
      writeBest(leaves, count, out + row * count);
    }
  }

  void keepBest(std::vector<Node> &frontier) const {
    std::sort(frontier.begin(), frontier.end(), [](const Node &a, const Node &b) {
      return a.score != b.score ? a.score > b.score : a.first < b.first;
    });
    if (int64_t(frontier.size()) > beam)
      frontier.resize(beam);
  }

  pattern::SelectOp op;
  Environment &environment;
  int64_t count = 0, visit = 0, capacity = 0, block = 0, fanout = 0, beam = 0, refresh = 0;
  int64_t queryCount = 0, keyCount = 0, width = 0;
  std::vector<double> routes, keys;
};

} // namespace

Status runSelect(pattern::SelectOp op, Environment &environment, const RowSelection &rows) {
  if (op.getStrategy() == pattern::SelectStrategy::top)
    return TopSelect(op, environment, rows).run();
  return RouteSelect(op, environment).run();
}

} // namespace heddle::compiler
