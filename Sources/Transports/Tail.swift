/// The last `limit` bytes of what was appended.
struct Tail: Sendable {
  private(set) var bytes: [UInt8] = []
  let limit: Int

  init(limit: Int = 65_536) {
    self.limit = limit
  }

  mutating func append(_ piece: [UInt8]) {
    bytes += piece
    // Cut in big steps, so that appending stays cheap.
    if bytes.count > 2 * limit { bytes.removeFirst(bytes.count - limit) }
  }

  /// At most `limit` bytes.
  var value: [UInt8] { bytes.count > limit ? Array(bytes.suffix(limit)) : bytes }
}
