/// A run of pairs: neighbours of one row.
public struct PairRun {
  /// Elements as they stand in the file, at any alignment.
  public var target: UnsafeRawPointer
  public var reference: UnsafeRawPointer
  /// Values on each side.
  public var count: Int
  /// Lane of the first value, 0…31. Even for `LaneFormat.nibbleCodes`.
  public var lane: Int
  /// Bytes of an element, to count the unequal ones: 1, 2, 4, 8 or 16.
  public var elementBytes: Int
  /// What each code stands for: 256 numbers for `LaneFormat.byteCodes`, 16 for `LaneFormat.nibbleCodes`.
  public var table: UnsafePointer<Float>?

  public init(
    target: UnsafeRawPointer, reference: UnsafeRawPointer, count: Int, lane: Int = 0, elementBytes: Int,
    table: UnsafePointer<Float>? = nil
  ) {
    self.target = target
    self.reference = reference
    self.count = count
    self.lane = lane
    self.elementBytes = elementBytes
    self.table = table
  }
}
