// The attention form: one pass over the keys of each tile of rows. Weight exp with the running
// maximum (online softmax), or sigmoid, relu and id without; any support and any score expression
// over scores, positions, heads, run-time scalars and tensor elements at those positions.
#pragma once

#include "compiler/forms/Form.h"

namespace heddle::compiler {

std::string refuseAttention(const FormRequest &request);

/// Kernel `attn`: grid (row tile, query head, batch), BM rows and BN keys a tile. Where the
/// request's class says there is one query row: kernels `split` (grid: key range of SPLIT keys, key
/// head, batch; the rows are the query heads of a key head) and `merge` (ascending, so the bits do
/// not depend on who computed which range).
mlir::OwningOpRef<mlir::ModuleOp> buildAttention(const FormRequest &request);

} // namespace heddle::compiler
