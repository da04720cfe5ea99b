/// Shape and strides as a reader needs them: dimensions of one element dropped, neighbours that lie behind one
/// another in memory merged. Outermost dimension first; a 0-dimensional or one-element view has no dimension.
struct StridedView {
  struct Dimension {
    var count: Int
    var stride: Int
  }

  private(set) var dimensions: [Dimension] = []
  /// Elements of the view.
  let elementCount: Int
  /// Largest element offset from the first element; 0 for an empty view.
  let lastOffset: Int

  /// Nil where counts or strides are negative, differ in number, or overflow.
  init?(shape: [Int], strides: [Int]) {
    guard shape.count == strides.count, shape.allSatisfy({ $0 >= 0 }), strides.allSatisfy({ $0 >= 0 }) else {
      return nil
    }
    // The other counts of an empty view must be sound too: people multiply them.
    guard shape.reduce(1, { Self.product($0, max($1, 1)) }) != nil else { return nil }
    if shape.contains(0) {
      (elementCount, lastOffset) = (0, 0)
      return
    }
    var elements = 1
    var last = 0
    for (count, stride) in zip(shape, strides) where count > 1 {
      let product = elements.multipliedReportingOverflow(by: count)
      let reach = stride.multipliedReportingOverflow(by: count - 1)
      let sum = last.addingReportingOverflow(reach.partialValue)
      guard !product.overflow, !reach.overflow, !sum.overflow else { return nil }
      (elements, last) = (product.partialValue, sum.partialValue)
      if let outer = dimensions.last, !stride.multipliedReportingOverflow(by: count).overflow,
        outer.stride == stride * count
      {
        dimensions[dimensions.count - 1] = Dimension(count: outer.count * count, stride: stride)
      } else {
        dimensions.append(Dimension(count: count, stride: stride))
      }
    }
    (elementCount, lastOffset) = (elements, last)
  }

  private static func product(_ a: Int?, _ b: Int) -> Int? {
    guard let (product, overflow) = a?.multipliedReportingOverflow(by: b), !overflow else { return nil }
    return product
  }

  /// True where element i stands at offset i.
  var isContiguous: Bool {
    switch dimensions.count {
    case 0: true
    case 1: dimensions[0].stride == 1
    default: false
    }
  }
}

extension Tensor {
  /// The view, after a check that every element it reaches lies inside the storage and the storage's end does
  /// not overflow.
  func checkedView() throws(DumpError) -> StridedView {
    func refuse(_ message: String) -> DumpError {
      DumpError(code: .malformed, file: storage.path, at: .key(name), message: message)
    }
    guard let view = StridedView(shape: shape, strides: strides) else {
      throw refuse("shape \(shape) with strides \(strides) is impossible")
    }
    guard storage.offset >= 0, storage.byteCount >= 0, storageOffset >= 0,
      !storage.offset.addingReportingOverflow(storage.byteCount).overflow
    else { throw refuse("its storage has an impossible place") }
    // Bytes, not only elements, must be countable: a stride of 0 makes a view larger than its storage.
    guard !view.elementCount.multipliedReportingOverflow(by: dtype.byteCount).overflow else {
      throw refuse("shape \(shape) is too large")
    }
    if view.elementCount > 0 {
      let last = storageOffset.addingReportingOverflow(view.lastOffset)
      guard !last.overflow, last.partialValue < storage.byteCount / dtype.byteCount else {
        throw refuse(
          "the view (shape \(shape), strides \(strides), offset \(storageOffset)) reaches beyond its storage "
            + "of \(storage.byteCount) bytes")
      }
    }
    return view
  }
}
