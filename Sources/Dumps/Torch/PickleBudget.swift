/// What a pickle may make its reader keep in memory, names and tables and copies included.
///
/// The bound is 64 MiB and sixteen times the pickle's own size, itself included: a large state dictionary needs some
/// twelve times its pickle, and references of two bytes could ask for any amount. Nothing is given back before the file
/// is read, so that what the allocator keeps is counted, too.
struct PickleBudget {
  static let fixedPart = 64 << 20
  static let factor = 16

  private(set) var left = fixedPart

  /// Bytes of the pickle were read: each allows for more, and stands in memory itself.
  mutating func earn(_ byteCount: Int) { left += (Self.factor - 1) * byteCount }

  /// A small thing is taken first and asked about later (``isSpent``).
  mutating func take(_ byteCount: Int) { left -= byteCount }

  var isSpent: Bool { left < 0 }

  /// Makes room for `count` more in `table`; false, and nothing done, where the budget lacks the memory.
  mutating func makeRoom<Item>(in table: inout [Item], for count: Int = 1) -> Bool {
    let capacity = table.capacity
    guard capacity - table.count < count else { return true }
    let stride = MemoryLayout<Item>.stride
    let (needed, overflow) = table.count.addingReportingOverflow(count)
    let wanted = max(needed, capacity * 2)
    // While items move, the old table stands beside the new one.
    guard !overflow, wanted <= left / stride else { return false }
    take((wanted - capacity) * stride + (capacity == 0 ? Self.allocation : 0))
    table.reserveCapacity(wanted)
    return true
  }

  /// Room for one more, asked about later.
  mutating func take<Item>(roomFor table: inout [Item]) {
    if !makeRoom(in: &table) { left = -1 }
  }

  /// What an allocation costs beside its contents.
  static let allocation = 48

  /// An array of its own, or a text of more than 15 bytes.
  mutating func take(array count: Int, stride: Int) { if count > 0 { take(Self.allocation + count * stride) } }

  mutating func take(text byteCount: Int) { if byteCount > 15 { take(Self.allocation + byteCount) } }

  static let refusal =
    "reading this pickle would take more memory than \(fixedPart >> 20) MiB and \(factor) times its size; no dump of "
    + "tensors needs that"
}
