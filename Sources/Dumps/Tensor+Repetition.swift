extension Tensor {
  /// Refuses to read a view that repeats its storage beyond all use: some bytes may claim a year of reading.
  public func checkRepetition() throws(DumpError) {
    let (byteCount, overflow) = elementCount.multipliedReportingOverflow(by: dtype.byteCount)
    guard overflow || byteCount > 1 << 40, overflow || byteCount / max(storage.byteCount, 1) > 1024 else { return }
    throw DumpError(
      code: .limit, file: storage.path, at: .key(name),
      message:
        "the view repeats \(storage.byteCount) bytes to \(overflow ? "more than 2^63" : "\(byteCount)"), which is "
        + "not read")
  }
}
