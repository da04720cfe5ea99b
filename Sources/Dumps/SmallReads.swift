/// Serves small reads that lie near each other from a few blocks of a file: the records of a header stand together,
/// and a call costs more than the bytes.
struct SmallReads {
  let file: FileHandle
  /// What was read, oldest first.
  private var blocks: [(start: Int, bytes: [UInt8])] = []

  static let blockBytes = 4 << 10
  /// A torch file's directory, its first records, and one place more.
  private static let blockLimit = 3

  init(_ file: FileHandle) { self.file = file }

  /// `count` bytes from `offset`; as ``FileHandle/bytes(at:count:)``.
  mutating func bytes(at offset: Int, count: Int) throws(DumpError) -> [UInt8] {
    for block in blocks where offset >= block.start && count <= block.start + block.bytes.count - offset {
      return Array(block.bytes[(offset - block.start)..<(offset - block.start + count)])
    }
    guard offset >= 0, offset <= file.size, (1...Self.blockBytes).contains(count), count <= file.size - offset else {
      return try file.bytes(at: offset, count: count)
    }
    let block = try file.bytes(at: offset, count: min(Self.blockBytes, file.size - offset))
    if blocks.count == Self.blockLimit { blocks.removeFirst() }
    blocks.append((offset, block))
    return Array(block[..<count])
  }
}
