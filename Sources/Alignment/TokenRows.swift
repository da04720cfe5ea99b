/// How tokens lie in a tensor of this shape: the rows that are judged one by one.
///
/// A row is an index of the first dimension; of a batch of one, `[1, tokens, hidden]`, of the first that is no 1. The
/// last dimension is never the rows', so fewer than two dimensions are one row.
public struct TokenRows: Sendable, Hashable {
  /// Rows; 0 where the dimension has no element.
  public var count: Int
  /// Elements of one row.
  public var length: Int

  public init(shape: [Int]) {
    let axis = shape.dropLast().firstIndex { $0 != 1 } ?? max(0, shape.count - 2)
    count = shape.count >= 2 ? shape[axis] : 1
    length = count > 0 ? shape.reduce(1, *) / count : 0
  }
}
