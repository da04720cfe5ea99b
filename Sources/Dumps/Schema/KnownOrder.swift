/// An order in which engines lay out weights or scales for a kernel: the same elements, cut into tiles whose
/// dimensions change places.
///
/// Facts from AITER (`ops/shuffle.py`, `utility/fp4_utils.py`).
struct KnownOrder: Hashable {
  /// In the words of the engines: `(16, 16)`.
  let name: String
  let isScale: Bool
  /// Elements of the last two dimensions that make a tile, each cut into factors, outermost first. A factor of 0
  /// stands for how often the tile repeats.
  private let rows: [Int]
  private let columns: [Int]
  /// Positions in `rows + columns`.
  private let permutation: [Int]

  /// The orders that a tensor of this type may be in.
  static func orders(of dtype: DType) -> [KnownOrder] {
    let size = dtype.byteCount
    var orders: [KnownOrder] = []
    if size <= 2 {
      // Runs of 16 bytes, over 16 (or 32) rows by 32 elements.
      let run = 16 / size
      orders = [16, 32].map { rows in
        KnownOrder(
          name: "(\(rows), 16)", isScale: false, rows: [0, rows], columns: [0, 32 / run, run],
          permutation: [0, 2, 3, 1, 4])
      }
    }
    if dtype == .float8E8M0FNU || dtype == .uint8 {
      orders.append(
        KnownOrder(
          name: "e8m0 tiles of 32 by 8", isScale: true, rows: [0, 2, 16], columns: [0, 2, 4],
          permutation: [0, 3, 5, 2, 4, 1]))
    }
    return orders
  }

  /// `tensor` read in this order: element i of the view is what stands at place i after the kernel's layout was made.
  /// Nil where the shape does not divide.
  func applied(to tensor: Tensor) -> Tensor? {
    guard let cut = cut(tensor) else { return nil }
    return tensor.view(
      shape: cut.lead.shape + permutation.map { cut.tile.shape[$0] },
      strides: cut.lead.strides + permutation.map { cut.tile.strides[$0] })
  }

  /// What `tensor` was before this order was applied to it; nil where the shape does not divide, or the tensor does
  /// not lie in memory row by row.
  func undone(on tensor: Tensor) -> Tensor? {
    guard tensor.strides == StridedView.contiguousStrides(of: tensor.shape), let cut = cut(tensor) else { return nil }
    let tile = permutation.map { cut.tile.shape[$0] }
    guard let all = StridedView.contiguousStrides(of: cut.lead.shape + tile) else { return nil }
    let strides = Array(all.dropFirst(cut.lead.shape.count))
    var (shape, back) = (tile, strides)
    for (place, source) in permutation.enumerated() {
      (shape[source], back[source]) = (tile[place], strides[place])
    }
    return tensor.view(shape: cut.lead.shape + shape, strides: Array(all.prefix(cut.lead.shape.count)) + back)
  }

  private struct Cut {
    var lead: (shape: [Int], strides: [Int])
    var tile: (shape: [Int], strides: [Int])
  }

  private func cut(_ tensor: Tensor) -> Cut? {
    let count = tensor.shape.count
    guard count >= 2 else { return nil }
    var tile: (shape: [Int], strides: [Int]) = ([], [])
    for (factors, dimension) in [(rows, count - 2), (columns, count - 1)] {
      let size = factors.reduce(1) { $0 * max($1, 1) }
      guard tensor.shape[dimension] > 0, tensor.shape[dimension].isMultiple(of: size) else { return nil }
      let shape = factors.map { $0 == 0 ? tensor.shape[dimension] / size : $0 }
      var strides = [Int](repeating: tensor.strides[dimension], count: shape.count)
      for i in shape.indices.dropLast().reversed() { strides[i] = strides[i + 1] &* shape[i + 1] }
      tile.shape += shape
      tile.strides += strides
    }
    return Cut(lead: (Array(tensor.shape.dropLast(2)), Array(tensor.strides.dropLast(2))), tile: tile)
  }
}

extension Tensor {
  /// Another view of the same storage. Strides of an empty view mean nothing and may wrap; readers check the result.
  func view(shape: [Int], strides: [Int], offset: Int = 0) -> Tensor {
    var view = self
    (view.shape, view.strides, view.storageOffset) = (shape, strides, storageOffset &+ offset)
    return view
  }

  /// The last two dimensions exchanged.
  var transposed: Tensor? {
    guard shape.count >= 2 else { return nil }
    var view = self
    view.shape.swapAt(shape.count - 1, shape.count - 2)
    view.strides.swapAt(shape.count - 1, shape.count - 2)
    return view
  }

  /// `count` elements of an axis from `start`. The caller has checked that they are there.
  func narrowed(_ axis: Int, _ start: Int, _ count: Int) -> Tensor {
    var shape = shape
    shape[axis] = count
    return view(shape: shape, strides: strides, offset: start &* strides[axis])
  }

  /// Whether two tensors of one type hold the same bytes in the order of their elements, whatever their shapes.
  ///
  /// - Parameter read: is given each block of them, until one differs.
  func hasBytes(of other: Tensor, read: ([UInt8]) -> Void = { _ in }) throws(DumpError) -> Bool {
    try checkRepetition()
    let (left, right) = (try TensorReader(self), try TensorReader(other))
    guard dtype == other.dtype, left.elementCount == right.elementCount else { return false }
    let step = TensorReader.blockBytes / dtype.byteCount
    var (leftBytes, rightBytes): ([UInt8], [UInt8]) = ([], [])
    var start = 0
    while start < left.elementCount {
      let end = min(start + step, left.elementCount)
      try left.read(start..<end, into: &leftBytes)
      try right.read(start..<end, into: &rightBytes)
      read(leftBytes)
      guard leftBytes == rightBytes else { return false }
      start = end
    }
    return true
  }
}
