extension Tensor {
  /// Refuses to read a view that repeats its storage beyond all use: some bytes may claim a year of reading.
  public func checkRepetition() throws(DumpError) {
    let (byteCount, overflow) = elementCount.multipliedReportingOverflow(by: dtype.byteCount)
    guard overflow || RepetitionBudget.isBeyondUse(byteCount, of: storage.byteCount) else { return }
    throw DumpError(
      code: .limit, file: storage.path, at: .key(name),
      message:
        "the view repeats \(storage.byteCount) bytes to \(overflow ? "more than 2^63" : "\(byteCount)"), which is "
        + "not read")
  }
}

/// What the tensors of one file claim together: a thousand views may repeat what one alone may not.
struct RepetitionBudget {
  private var claimed = 0
  private var stored = 0
  private var storages: Set<StorageRegion> = []

  /// - Throws: where this tensor, or all up to it, repeat their bytes beyond all use.
  mutating func take(_ tensor: Tensor) throws(DumpError) {
    try tensor.checkRepetition()
    let (sum, overflow) = claimed.addingReportingOverflow(tensor.elementCount * tensor.dtype.byteCount)
    if storages.insert(tensor.storage).inserted { stored += min(tensor.storage.byteCount, .max - stored) }
    guard overflow || Self.isBeyondUse(sum, of: stored) else {
      claimed = sum
      return
    }
    throw DumpError(
      code: .limit, file: tensor.storage.path, at: .key(tensor.name),
      message: "with it the tensors of this file repeat \(stored) bytes to more than 2^40, which is not read")
  }

  fileprivate static func isBeyondUse(_ byteCount: Int, of stored: Int) -> Bool {
    byteCount > 1 << 40 && byteCount / max(stored, 1) > 1024
  }
}
