// The chunked form: one kernel whose grid points walk the chunks of a head, the state carried from
// chunk to chunk. What a chunk does is ChunkBody's.
#include "compiler/forms/Chunked.h"

#include "compiler/forms/ChunkBody.h"
#include "compiler/forms/FormCost.h"
#include "compiler/forms/ScanFeatures.h"
#include "compiler/forms/ScanProgram.h"
#include "compiler/forms/ScanWalks.h"

namespace heddle::compiler {

using namespace mlir;

/// On a GPU as many tokens as shared memory usually holds, since a chunk's fixed work is shared by
/// its products; few where each feature has a decay of its own, whose pairs are no products. A
/// delta rule solves a system of a chunk's tokens: more of them than keys have features are
/// dependent, and the rounding of operands to 16 bits grows with the system; the more so where all
/// keys share a column.
static int64_t gpuChunk(const ScanProblem &scan, int64_t length) {
  const bool solves = scan.op().getUpdate() != pattern::UpdateKind::add;
  const bool alike = solves && appendsColumn(scan.op().getFeaturesK());
  int64_t tokens = alike || scan.decay == StateDecay::Feature ? 16 : 64;
  while (tokens > 16 && (tokens / 2 >= length || (solves && tokens / 2 >= scan.features)))
    tokens /= 2;
  return tokens;
}

bool writeOtherWalk(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef name,
                    int64_t chunk) {
  if (scan.polynomial.degree)
    writePowerChunks(program, scan, name, chunk);
  else if (scan.walk == ScanWalk::Segments)
    writeSegments(program, scan, name, chunk);
  else if (scan.walk == ScanWalk::Levels)
    writeLevels(program, scan, name, chunk);
  else if (scan.walk == ScanWalk::TwoWay)
    writeTwoWay(program, scan, name, chunk);
  else if (scan.walk == ScanWalk::Static)
    writeStatic(program, scan, name, chunk);
  else
    return false;
  return true;
}

static void writeChunks(ProgramWriter &program, const ScanProblem &scan, llvm::StringRef suffix,
                        int64_t tokens) {
  std::string name = ("chunks" + suffix).str();
  if (writeOtherWalk(program, scan, name, tokens))
    return;
  ChunkBody body(scan, program, name, tokens);
  KernelWriter &w = body.w;
  ScanState end = body.loop(
      w.constant(0), body.length, body.kernel.enter(), [&](Value t, const ScanState &state) {
        Chunk chunk = body.chunkAt(t, w.sub(body.length, t), state.S);
        body.readAll(chunk,
                     [&](const Reader &, Value Q) { return body.readState(chunk, state, Q); });
        return body.advance(chunk, state);
      });
  body.kernel.leave(end);
}

static std::string refuse(const ScanProblem &scan) {
  if (scan.decay == StateDecay::Channel)
    return "decay channel: the weight of a pair would depend on the value's feature; it has a "
           "recurrent form only";
  if (scan.walk == ScanWalk::Static)
    return "support true without a decay: one static state that every query reads; it has the "
           "recurrent form";
  if (scan.walk == ScanWalk::Tree)
    return "tree: chunks along a tree are not lowered; each node has a state in the recurrent form";
  if (scan.rowsPerToken > 1 && scan.op().getRead() == pattern::ReadKind::bonus)
    return "read bonus beside subtokens is not lowered in chunks";
  return "";
}

std::string refuseChunked(const FormRequest &request) {
  return refuseScans(request, MixAs::Chunks, refuse);
}

OwningOpRef<ModuleOp> buildChunked(const FormRequest &request) {
  auto chunk = request.schedule.find("CHUNK");
  int64_t given = chunk == request.schedule.end() ? 0 : chunk->second;
  return buildScans(request, MixAs::Chunks,
                    [&](ProgramWriter &program, const ScanProblem &scan, llvm::StringRef suffix) {
                      const int64_t length = nominalLength(request.request);
                      const bool gpu = request.request.target.starts_with("sm_");
                      MixSizes sizes = sizesOf(scan);
                      sizes.unit = hasMatrixUnit(request.request);
                      const int64_t tokens = given ? given
                                             : gpu ? gpuChunk(scan, length)
                                                   : bestChunk(sizes, length);
                      writeChunks(program, scan, suffix, tokens);
                    });
}

} // namespace heddle::compiler
