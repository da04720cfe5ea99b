import Alignment

/// How the values of a tensor are cut into token rows and chunks; a function of the shape alone.
///
/// A chunk is as many whole rows as fit, or, where a row is longer than that, a piece of one row.
struct ChunkGrid: Sendable {
  /// Values of a chunk at most: 2 MiB of bfloat16 a side. A multiple of the 32 lanes.
  static let chunkValues = 1 << 20

  let rowCount: Int
  /// Values of one row.
  let rowLength: Int
  /// Values of all rows.
  private let count: Int
  /// Values of as many whole rows as fit one chunk; 0 where none does.
  private let wholeRows: Int

  init(shape: [Int], valuesPerElement: Int) {
    let tokens = TokenRows(shape: shape)
    rowCount = max(tokens.count, 1)
    rowLength = tokens.length * valuesPerElement
    count = rowCount * rowLength
    wholeRows = rowLength > 0 ? Self.chunkValues / rowLength * rowLength : 0
  }

  /// Where the chunk of value `position` ends.
  func chunkEnd(after position: Int) -> Int {
    if wholeRows > 0 { return min(count, (position / wholeRows + 1) * wholeRows) }
    let inRow = position % rowLength
    return position - inRow + min(rowLength, (inRow / Self.chunkValues + 1) * Self.chunkValues)
  }

  /// Rows that end in the chunk that begins at value `position`.
  func rowsOfChunk(at position: Int) -> Int {
    guard rowLength > 0, position < count else { return 0 }
    return chunkEnd(after: position) / rowLength - position / rowLength
  }

  var chunks: [Range<Int>] {
    var result: [Range<Int>] = []
    var position = 0
    while position < count {
      let end = chunkEnd(after: position)
      result.append(position..<end)
      position = end
    }
    return result
  }
}
