// Layout attributes: lanes and pairs name dimensions, dist and mem wrap the algebra of ir/layout.
//   #tile.dist<"((4,8),(2,2)):((32,1),(16,8))"> of a 16x8 tile in reg: 32 threads x 4 values
//   #tile.mem<"(64,72):(88,1)"> of a 64x72 tile in smem: rows padded to 88 elements
#include "ir/tile/TileLayouts.h"

using namespace mlir;

namespace heddle::tile {
namespace {

using EmitError = llvm::function_ref<InFlightDiagnostic()>;

/// The largest dimension that a layout names; -1 if it names none.
int64_t lastDim(Attribute layout) {
  if (LanesAttr lanes = dyn_cast<LanesAttr>(layout))
    return lanes.getDim();
  if (PairsAttr pairs = dyn_cast<PairsAttr>(layout))
    return std::max(pairs.getLanes(), pairs.getPacked());
  return -1;
}

/// Each element once, apart from replicas.
LogicalResult verifyCover(EmitError emitError, ArrayRef<int64_t> shape, DistAttr dist) {
  int64_t elements = 1;
  for (int64_t extent : shape)
    elements *= extent;
  layout::Layout once = layout::dropReplication(dist.getLayout());
  if (once.size() == elements && layout::isBijective(once))
    return success();
  return emitError() << "layout " << dist << " covers " << once.size() << " elements"
                     << (layout::isInjective(once) ? "" : ", some of them twice,")
                     << " of a tile of " << elements << ", expected each once";
}

/// A mode for each dimension, and no offset twice.
LogicalResult verifyOffsets(EmitError emitError, ArrayRef<int64_t> shape, MemAttr mem) {
  layout::Layout offsets = mem.getLayout().layout;
  bool fits =
      shape.empty() ? offsets.size() == 1 : offsets.rank() == static_cast<int64_t>(shape.size());
  for (size_t dim = 0; fits && dim < shape.size(); ++dim)
    fits = offsets.mode(dim).size() == shape[dim];
  if (!fits)
    return emitError() << "layout " << mem
                       << " does not have the tile's extents, expected a mode for each dimension";
  if (!layout::isInjective(offsets))
    return emitError() << "layout " << mem << " gives two elements one offset";
  return success();
}

/// The string of `<"text">`, in the spelling that `canonical` gives it.
template <typename Canonical>
FailureOr<std::string> parseText(AsmParser &parser, Canonical canonical) {
  std::string text;
  llvm::SMLoc loc;
  if (parser.parseLess())
    return failure();
  loc = parser.getCurrentLocation();
  if (parser.parseString(&text) || parser.parseGreater())
    return failure();
  layout::Expected<std::string> spelling = canonical(text);
  if (!spelling)
    return parser.emitError(loc) << spelling.text();
  return *spelling;
}

layout::Expected<std::string> canonicalLayout(std::string_view text) {
  layout::Expected<layout::Layout> parsed = layout::parseLayout(text);
  if (!parsed)
    return layout::Failure{parsed.text()};
  return layout::print(*parsed);
}

layout::Expected<std::string> canonicalSwizzled(std::string_view text) {
  layout::Expected<layout::SwizzledLayout> parsed = layout::parseSwizzledLayout(text);
  if (!parsed)
    return layout::Failure{parsed.text()};
  return layout::print(*parsed);
}

LogicalResult verifyText(EmitError emitError, StringRef text,
                         layout::Expected<std::string> canonical) {
  if (!canonical)
    return emitError() << canonical.text();
  if (*canonical != text)
    return emitError() << "layout '" << text << "' is spelled otherwise, expected '" << *canonical
                       << "'";
  return success();
}

} // namespace

LogicalResult verifyLayout(EmitError emitError, ArrayRef<int64_t> shape, Attribute layout,
                           Space space) {
  // A tile of rank 0 is one element, whatever dimension its lanes name.
  if (lastDim(layout) >= std::max<int64_t>(shape.size(), 1))
    return emitError() << "layout " << layout << " names dimension " << lastDim(layout)
                       << " of a tile of rank " << shape.size();
  if (isa<StridedAttr>(layout) != (space == Space::Global))
    return emitError() << "#tile.strided and space global belong together: the tile stays where "
                          "its view has it";
  if (DistAttr dist = dyn_cast<DistAttr>(layout)) {
    if (space != Space::Reg && space != Space::Tmem)
      return emitError() << "layout " << dist << " distributes over threads, space "
                         << stringifySpace(space) << " is not theirs; expected reg or tmem";
    return verifyCover(emitError, shape, dist);
  }
  if (MemAttr mem = dyn_cast<MemAttr>(layout)) {
    if (space != Space::Smem && space != Space::Local)
      return emitError() << "layout " << mem << " gives offsets in memory, space "
                         << stringifySpace(space) << " has none; expected smem or local";
    return verifyOffsets(emitError, shape, mem);
  }
  return success();
}

LogicalResult LanesAttr::verify(EmitError emitError, int64_t dim, int64_t width) {
  if (dim < 0 || width <= 0)
    return emitError() << "lanes along dimension " << dim << " of width " << width
                       << ", expected a dimension from 0 on and a positive width";
  return success();
}

LogicalResult PairsAttr::verify(EmitError emitError, int64_t lanes, int64_t width, int64_t packed,
                                int64_t count) {
  if (lanes < 0 || packed < 0 || lanes == packed || width <= 0 || count <= 1)
    return emitError() << "pairs need two different dimensions, a positive width and a count of at "
                          "least 2";
  return success();
}

DistAttr DistAttr::get(MLIRContext *context, const layout::Layout &layout) {
  return get(context, StringRef(layout::print(layout)));
}
layout::Layout DistAttr::getLayout() const { return *layout::parseLayout(getText()); }

LogicalResult DistAttr::verify(EmitError emitError, StringRef text) {
  return verifyText(emitError, text, canonicalLayout(text));
}

Attribute DistAttr::parse(AsmParser &parser, Type) {
  FailureOr<std::string> text = parseText(parser, canonicalLayout);
  return succeeded(text) ? get(parser.getContext(), StringRef(*text)) : DistAttr();
}

void DistAttr::print(AsmPrinter &printer) const { printer << "<\"" << getText() << "\">"; }

MemAttr MemAttr::get(MLIRContext *context, const layout::SwizzledLayout &layout) {
  return get(context, StringRef(layout::print(layout)));
}
layout::SwizzledLayout MemAttr::getLayout() const {
  return *layout::parseSwizzledLayout(getText());
}

LogicalResult MemAttr::verify(EmitError emitError, StringRef text) {
  return verifyText(emitError, text, canonicalSwizzled(text));
}

Attribute MemAttr::parse(AsmParser &parser, Type) {
  FailureOr<std::string> text = parseText(parser, canonicalSwizzled);
  return succeeded(text) ? get(parser.getContext(), StringRef(*text)) : MemAttr();
}

void MemAttr::print(AsmPrinter &printer) const { printer << "<\"" << getText() << "\">"; }

ScratchShape scratchShapeOf(TileType type) {
  constexpr int64_t kLine = 64, kFewSets = 256;
  SmallVector<int64_t> shape(type.getShape());
  int64_t inner = 0,
          width = std::max<int64_t>(type.getElementType().getIntOrFloatBitWidth(), 8) / 8;
  if (auto pairs = dyn_cast<PairsAttr>(type.getLayout())) {
    inner = pairs.getLanes();
    shape[inner] = llvm::alignTo(shape[inner], pairs.getWidth());
    shape[pairs.getPacked()] = llvm::divideCeil(shape[pairs.getPacked()], pairs.getCount());
    width *= pairs.getCount();
  } else if (auto lanes = dyn_cast<LanesAttr>(type.getLayout()); lanes && !shape.empty()) {
    inner = lanes.getDim();
    shape[inner] = llvm::alignTo(shape[inner], lanes.getWidth());
  }
  int64_t row = shape.empty() ? width : shape[inner] * width;
  bool walkedInPieces = row > kFewSets || inner == 1;
  if (shape.size() == 2 && row % kFewSets == 0 && walkedInPieces)
    shape[inner] += kLine / width;
  ScratchShape result;
  if (shape.size() == 2)
    result.strides[1 - inner] = shape[inner];
  result.bytes = width;
  for (int64_t extent : shape)
    result.bytes *= extent;
  return result;
}

} // namespace heddle::tile
