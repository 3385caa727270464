// The table of feature maps and their text: features q [l2norm(eps = 1.0e-6), rope(dims = 64)].
// Arguments are expressions, but for pairing; constants that have a default are filled in, so that
// a consumer finds them always.
#include "ir/pattern/Features.h"

#include "ir/pattern/Check.h"

#include <fmt/format.h>

using namespace mlir;

namespace heddle::pattern {

namespace {

struct Argument {
  enum Kind { Integer, Real, Pairing } kind;
  const char *name;
  bool required = false;
  double initial = 0; ///< filled in if `filled`
  bool filled = false;
};

struct Feature {
  const char *name;
  const char *help;
  std::vector<Argument> arguments;
};

const std::vector<Feature> &table() {
  static const std::vector<Feature> kTable = {
      {"id", "x", {}},
      {"silu", "x * sigmoid(x)", {}},
      {"relu", "max(x, 0)", {}},
      {"elu1", "elu(x) + 1", {}},
      {"exp", "exp(x)", {}},
      {"l2norm", "x / sqrt(sum of squares + eps)", {{Argument::Real, "eps", false, 1e-6, true}}},
      {"scale", "by * x", {{Argument::Real, "by", true}}},
      {"append", "x with one more feature", {{Argument::Real, "value", false, 1.0, true}}},
      {"taylor2", "[1, c x, c^2 x x' / sqrt 2], c = scale", {{Argument::Real, "scale", true}}},
      {"spow", "symmetric power: products are p-th powers", {{Argument::Integer, "p", true}}},
      {"each", "each(expression of x and d), element by element", {{Argument::Real, "expr", true}}},
      {"rope",
       "rotates pairs of features by an angle",
       {{Argument::Real, "base", false, 10000.0, true},
        {Argument::Integer, "dims"},
        {Argument::Integer, "first", false, 0, true},
        {Argument::Pairing, "pairing"},
        {Argument::Integer, "offset"},
        {Argument::Real, "pos"},
        {Argument::Real, "freq"},
        {Argument::Real, "angle"},
        {Argument::Real, "factor", false, 1.0, true}}},
  };
  return kTable;
}

const Feature *findFeature(StringRef name) {
  for (const Feature &feature : table())
    if (name == feature.name)
      return &feature;
  return nullptr;
}

const Argument *findArgument(const Feature &feature, StringRef name) {
  for (const Argument &argument : feature.arguments)
    if (name == argument.name)
      return &argument;
  return nullptr;
}

std::vector<std::string> argumentWords(const Feature &feature) {
  std::vector<std::string> words;
  for (const Argument &argument : feature.arguments)
    words.push_back(argument.name);
  return words;
}

ExprAttr initialValue(MLIRContext *context, const Argument &argument) {
  return argument.kind == Argument::Integer ? makeInteger(context, int64_t(argument.initial))
                                            : makeFloat(context, argument.initial);
}

ExprType typeOfArgument(const Argument &argument) {
  return argument.kind == Argument::Integer ? ExprType::Integer : ExprType::Real;
}

std::vector<ContextName> argumentNames(const Feature &feature, bool query) {
  std::vector<ContextName> names = featureNames(query);
  if (StringRef(feature.name) == "rope")
    names.push_back({"f", ExprType::Integer});
  if (StringRef(feature.name) == "each") {
    names.push_back({"x", ExprType::Real});
    names.push_back({"d", ExprType::Integer});
  }
  return names;
}

class FeatureParser {
public:
  FeatureParser(OpReader &reader, bool query)
      : reader(reader), parser(reader.parser), query(query) {}

  ParseResult parse(Attribute &out) {
    SMLoc loc = parser.getCurrentLocation();
    StringRef word = peekWord(parser);
    const Feature *feature = findFeature(word);
    if (!feature)
      return unknown(loc, word);
    if (parser.parseKeyword(&word))
      return failure();
    if (peekText(parser, 1) == "(" &&
        parser.parseCommaSeparatedList(AsmParser::Delimiter::Paren,
                                       [&] { return parseArgument(*feature); }))
      return failure();
    return finish(*feature, loc, out);
  }

private:
  ParseResult unknown(SMLoc loc, StringRef word) {
    std::vector<std::string> names;
    for (const Feature &feature : table())
      names.push_back(feature.name);
    return reader.error(loc) << "unknown feature map '" << word << "'" << suggest(word, names);
  }

  ParseResult parseArgument(const Feature &feature) {
    SMLoc loc = parser.getCurrentLocation();
    std::string name = "expr";
    bool positional = StringRef(feature.name) == "each";
    if (!positional) {
      name = peekWord(parser).str();
      StringRef word;
      if (!findArgument(feature, name))
        return reader.error(loc) << feature.name << " has no argument '" << name << "'"
                                 << suggest(name, argumentWords(feature));
      if (parser.parseKeyword(&word) || parser.parseEqual())
        return failure();
    }
    if (arguments.get(name))
      return reader.error(loc) << "the argument '" << name << "' is repeated";
    const Argument &argument = *findArgument(feature, name);
    if (argument.kind == Argument::Pairing) {
      size_t index = 0;
      if (reader.word("pairing", {"half", "interleaved"}, index))
        return failure();
      arguments.set(name, StringAttr::get(reader.context, index ? "interleaved" : "half"));
      return success();
    }
    ExprAttr expr;
    if (reader.expr(argumentNames(feature, query), typeOfArgument(argument),
                    "the argument " + name + " of " + feature.name, expr))
      return failure();
    arguments.set(name, expr);
    return success();
  }

  ParseResult finish(const Feature &feature, SMLoc loc, Attribute &out) {
    for (const Argument &argument : feature.arguments) {
      if (arguments.get(argument.name))
        continue;
      if (argument.required)
        return reader.error(loc) << feature.name << " needs its argument '" << argument.name << "'";
      if (argument.filled)
        arguments.set(argument.name, initialValue(reader.context, argument));
      if (argument.kind == Argument::Pairing)
        arguments.set(argument.name, StringAttr::get(reader.context, "half"));
    }
    out = FeatureAttr::get(reader.context, StringAttr::get(reader.context, feature.name),
                           arguments.getDictionary(reader.context));
    return success();
  }

  OpReader &reader;
  OpAsmParser &parser;
  bool query;
  NamedAttrList arguments;
};

// True if an argument has the value it gets when left out.
bool isInitial(const Argument &argument, Attribute value) {
  if (auto word = dyn_cast<StringAttr>(value))
    return word.getValue() == "half";
  return argument.filled && value == initialValue(value.getContext(), argument);
}

} // namespace

std::vector<ContextName> featureNames(bool query) {
  std::vector<ContextName> names;
  for (const char *name : {"b", "h", "hk", "len_q", "len_k"})
    names.push_back({name, ExprType::Integer});
  for (const char *name : query ? std::vector{"i", "row"} : std::vector{"j"})
    names.push_back({name, ExprType::Integer});
  return names;
}

ParseResult parseFeatures(OpReader &reader, bool query, ArrayAttr &out) {
  SmallVector<Attribute> features;
  if (reader.parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, [&] {
        return FeatureParser(reader, query).parse(features.emplace_back());
      }))
    return failure();
  out = ArrayAttr::get(reader.context, features);
  return success();
}

void printFeatures(OpWriter &writer, ArrayAttr features) {
  OpAsmPrinter &printer = writer.printer;
  printer << "[";
  const char *separator = "";
  for (auto feature : features.getAsRange<FeatureAttr>()) {
    printer << separator << feature.getName().getValue();
    separator = ", ";
    const Feature &known = *findFeature(feature.getName().getValue());
    const char *between = "(";
    for (const Argument &argument : known.arguments) {
      Attribute value = feature.getArguments().get(argument.name);
      if (!value || isInitial(argument, value))
        continue;
      printer << between;
      between = ", ";
      if (StringRef(known.name) != "each")
        printer << argument.name << " = ";
      if (auto word = dyn_cast<StringAttr>(value))
        printer << word.getValue();
      else
        writer.expr(cast<ExprAttr>(value));
    }
    printer << (between[0] == ',' ? ")" : "");
  }
  printer << "]";
}

static LogicalResult checkArgument(Operation *op, TypeScope scope, const Feature &feature,
                                   NamedAttribute entry, bool query) {
  const Argument *argument = findArgument(feature, entry.getName());
  if (!argument)
    return op->emitError() << feature.name << " has no argument '" << entry.getName() << "'";
  if (argument->kind == Argument::Pairing) {
    auto word = dyn_cast<StringAttr>(entry.getValue());
    if (!word || (word.getValue() != "half" && word.getValue() != "interleaved"))
      return op->emitError() << "pairing is half or interleaved";
    return success();
  }
  auto expr = dyn_cast<ExprAttr>(entry.getValue());
  if (!expr)
    return op->emitError() << "the argument " << entry.getName() << " is no expression";
  for (const ContextName &name : argumentNames(feature, query))
    scope.names[name.name] = name.type;
  return checkExpr(op, scope, expr, typeOfArgument(*argument), entry.getName().getValue());
}

LogicalResult checkFeatures(Operation *op, const TypeScope &scope, ArrayAttr features, bool query) {
  for (auto attribute : features.getAsRange<FeatureAttr>()) {
    const Feature *feature = findFeature(attribute.getName().getValue());
    if (!feature)
      return op->emitError() << "unknown feature map '" << attribute.getName().getValue() << "'";
    for (NamedAttribute entry : attribute.getArguments())
      if (failed(checkArgument(op, scope, *feature, entry, query)))
        return failure();
    for (const Argument &argument : feature->arguments) {
      bool needed = argument.required || argument.filled || argument.kind == Argument::Pairing;
      if (needed && !attribute.getArguments().get(argument.name))
        return op->emitError() << feature->name << " needs its argument '" << argument.name << "'";
    }
  }
  return success();
}

std::vector<std::string> featureHelp() {
  std::vector<std::string> lines;
  for (const Feature &feature : table()) {
    std::string arguments;
    for (const Argument &argument : feature.arguments)
      arguments += (arguments.empty() ? "" : ", ") + std::string(argument.name);
    lines.push_back(fmt::format("{}{}: {}", feature.name,
                                arguments.empty() ? "" : "(" + arguments + ")", feature.help));
  }
  return lines;
}

} // namespace heddle::pattern
