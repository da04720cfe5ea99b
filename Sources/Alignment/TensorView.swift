public import Dumps

/// Other views of the same bytes: nothing is read or copied.
extension Tensor {
  /// `count` indices of one dimension; nil where they are not there.
  public func narrowed(axis: Int, start: Int, count: Int) -> Tensor? {
    guard shape.indices.contains(axis), start >= 0, count >= 0, count <= shape[axis], start <= shape[axis] - count
    else { return nil }
    if !pieces.isEmpty {
      return axis == 0
        ? rows(start..<(start + count)) : joined { $0.narrowed(axis: axis, start: start, count: count) }
    }
    var result = self
    result.shape[axis] = count
    result.storageOffset += start * strides[axis]
    return result
  }

  /// The dimensions in another order; `order[i]` is the dimension that becomes the i-th.
  public func permuted(_ order: [Int]) -> Tensor? {
    guard order.sorted() == Array(shape.indices) else { return nil }
    if !pieces.isEmpty { return order.first == 0 ? joined { $0.permuted(order) } : nil }
    var result = self
    result.shape = order.map { shape[$0] }
    result.strides = order.map { strides[$0] }
    return result
  }

  /// Without a dimension of size 1.
  func squeezed(_ axis: Int) -> Tensor? {
    guard shape.indices.contains(axis), shape[axis] == 1 else { return nil }
    if !pieces.isEmpty { return axis == 0 ? nil : joined { $0.squeezed(axis) } }
    var result = self
    result.shape.remove(at: axis)
    result.strides.remove(at: axis)
    return result
  }

  /// Neighbouring dimensions as one; nil where their elements do not lie evenly spaced.
  func flattened(_ axes: Range<Int>) -> Tensor? {
    guard axes.count > 1, axes.lowerBound >= 0, axes.upperBound <= shape.count else { return nil }
    if !pieces.isEmpty { return axes.contains(0) ? nil : joined { $0.flattened(axes) } }
    for axis in axes.dropLast() where shape[axis] > 1 && strides[axis] != strides[axis + 1] * shape[axis + 1] {
      return nil
    }
    var result = self
    result.shape.replaceSubrange(axes, with: [shape[axes].reduce(1, *)])
    result.strides.replaceSubrange(axes, with: [strides[axes.upperBound - 1]])
    return result
  }

  /// Of a joined tensor the same view of each piece, joined; dimension 0 must stay the rows.
  private func joined(_ view: (Tensor) -> Tensor?) -> Tensor? {
    let views = pieces.compactMap(view)
    return views.count == pieces.count ? Tensor.joined(views) : nil
  }
}
