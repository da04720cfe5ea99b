/// What one plain attempt needs, as it goes from a launcher to the supervisor on this machine.
///
/// A message is a list of fields; texts have their length before them.
struct SupervisorOrder: Equatable {
  var id: String
  var token: String
  /// Seconds.
  var limit: Int
  /// For `/bin/sh -c`.
  var command: String
  /// `spec.json`.
  var specification: [UInt8]
  /// Of the commit that the job file stands at; may be empty.
  var jobCommit: String
  var environment: [AttemptSpec.EnvironmentEntry]
  var files: [ShippedFile]

  /// A message is never larger.
  static let mostBytes = 256 << 20

  /// A message with its length before it: what files hold, each text once, then the orders; nil where it would be too
  /// large.
  static func message(_ orders: [SupervisorOrder], limit: Int = mostBytes) -> [UInt8]? {
    // By size: of many that are equal, a hash of each would cost more than a comparison.
    var known: [Int: [(contents: [UInt8], number: Int)]] = [:]
    var contents = Writer()
    var contentCount = 0
    var writer = Writer()
    writer.add(orders.count)
    for order in orders {
      for text in [order.id, order.token, order.command, order.jobCommit] { writer.add(Array(text.utf8)) }
      writer.add(order.limit)
      writer.add(order.specification)
      writer.add(order.environment.count)
      for entry in order.environment {
        writer.add(Array(entry.name.utf8))
        writer.add(Array(entry.value.utf8))
      }
      writer.add(order.files.count)
      for file in order.files {
        let size = file.contents.count
        let same = known[size]?.first { $0.contents == file.contents }
        if same == nil {
          known[size, default: []].append((file.contents, contentCount))
          contents.add(file.contents)
          contentCount += 1
        }
        writer.add(Array(file.name.utf8))
        writer.add(file.isExecutable ? 1 : 0)
        writer.add(same?.number ?? contentCount - 1)
      }
      guard contents.bytes.count + writer.bytes.count <= limit - 4 else { return nil }
    }
    let message = Writer.number(contentCount) + contents.bytes + writer.bytes
    return Writer.number(message.count) + message
  }

  /// Reads a message without its length; nil where it is none.
  static func read(_ message: ArraySlice<UInt8>) -> [SupervisorOrder]? {
    var reader = Reader(rest: message)
    guard let contentCount = reader.number() else { return nil }
    var contents: [[UInt8]] = []
    for _ in 0..<contentCount {
      guard let bytes = reader.bytes() else { return nil }
      contents.append(bytes)
    }
    guard let count = reader.number() else { return nil }
    var orders: [SupervisorOrder] = []
    for _ in 0..<count {
      guard let id = reader.text(), let token = reader.text(), let command = reader.text(),
        let jobCommit = reader.text(), let limit = reader.number(), let specification = reader.bytes(),
        let entryCount = reader.number()
      else { return nil }
      var order = SupervisorOrder(
        id: id, token: token, limit: limit, command: command, specification: specification, jobCommit: jobCommit,
        environment: [], files: [])
      for _ in 0..<entryCount {
        guard let name = reader.text(), let value = reader.text() else { return nil }
        order.environment.append(AttemptSpec.EnvironmentEntry(name: name, value: value))
      }
      guard let fileCount = reader.number() else { return nil }
      for _ in 0..<fileCount {
        guard let name = reader.text(), let isExecutable = reader.number(), let number = reader.number(),
          contents.indices.contains(number)
        else { return nil }
        order.files.append(ShippedFile(name: name, contents: contents[number], isExecutable: isExecutable == 1))
      }
      orders.append(order)
    }
    return reader.rest.isEmpty ? orders : nil
  }

  private struct Writer {
    var bytes: [UInt8] = []

    /// Four bytes, the least first.
    static func number(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }

    mutating func add(_ value: Int) { bytes += Self.number(value) }
    mutating func add(_ field: [UInt8]) {
      add(field.count)
      bytes += field
    }
  }

  private struct Reader {
    var rest: ArraySlice<UInt8>

    mutating func number() -> Int? {
      guard rest.count >= 4 else { return nil }
      defer { rest = rest.dropFirst(4) }
      return rest.prefix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    mutating func bytes() -> [UInt8]? {
      guard let count = number(), count <= rest.count else { return nil }
      defer { rest = rest.dropFirst(count) }
      return Array(rest.prefix(count))
    }

    mutating func text() -> String? { bytes().map { String(decoding: $0, as: UTF8.self) } }
  }

  /// The length that stands before a message; nil where it cannot be one.
  static func byteCount(_ header: ArraySlice<UInt8>) -> Int? {
    var reader = Reader(rest: header)
    return reader.number().flatMap { $0 <= mostBytes ? $0 : nil }
  }
}
