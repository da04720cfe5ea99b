/// A JSON document whose objects keep the order of their keys.
///
/// Only for writing: records are read with Foundation's decoder. Keys stand in the order of the contract, so two
/// writings of one report are the same bytes and the schema stands first.
enum JSONValue {
  case null
  case bool(Bool)
  case int(Int)
  /// A number that is not finite is written as `null`.
  case double(Double)
  case string(String)
  case array([JSONValue])
  /// An array of objects, so many, each made when it is written: a report has rows without number.
  case rows(Int, (Int) -> JSONValue)
  case object(KeyValuePairs<String, JSONValue>)
  /// The same for keys that are not always there.
  case members([(String, JSONValue)])
  /// Names that come from data: written in order of the key.
  case sorted([String: JSONValue])

  static func optional(_ value: Int?) -> JSONValue { value.map { .int($0) } ?? .null }
  static func optional(_ value: Double?) -> JSONValue { value.map { .double($0) } ?? .null }
  static func optional(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }
  static func strings(_ values: [String]) -> JSONValue { .array(values.map { .string($0) }) }
  static func ints(_ values: [Int]) -> JSONValue { .array(values.map { .int($0) }) }

  /// The document as text: on one line, or indented by two spaces with a final newline.
  func text(pretty: Bool) -> String {
    var writer = Writer(pretty: pretty)
    writer.write(self)
    if pretty { writer.output.append(0x0A) }
    return String(decoding: writer.output, as: UTF8.self)
  }

  /// The same in UTF-8, piece by piece: `sink` takes each piece, in order.
  func write(pretty: Bool, to sink: @escaping ([UInt8]) -> Void) {
    var writer = Writer(pretty: pretty, sink: sink)
    writer.write(self)
    if pretty { writer.output.append(0x0A) }
    sink(writer.output)
  }

  private struct Writer {
    var output: [UInt8] = []
    var depth = 0
    let pretty: Bool
    /// Takes what was written; without it all stays in `output`.
    let sink: (([UInt8]) -> Void)?

    private static let pieceBytes = 64 << 10

    init(pretty: Bool, sink: (([UInt8]) -> Void)? = nil) {
      self.pretty = pretty
      self.sink = sink
    }

    mutating func write(_ value: JSONValue) {
      if let sink, output.count >= Self.pieceBytes {
        sink(output)
        output.removeAll(keepingCapacity: true)
      }
      switch value {
      case .null: append("null")
      case .bool(let flag): append(flag ? "true" : "false")
      case .int(let number): append(String(number))
      case .double(let number): append(number.isFinite ? number.description : "null")
      case .string(let text): quote(text)
      case .array(let values):
        // Arrays of numbers stay on one line: shapes, ranks, one figure a token.
        let isFlat = values.allSatisfy(\.isNumber)
        enclose("[", "]", count: values.count, flat: isFlat) { writer, index in writer.write(values[index]) }
      case .rows(let count, let row):
        enclose("[", "]", count: count, flat: false) { writer, index in writer.write(row(index)) }
      case .object(let pairs):
        enclose("{", "}", count: pairs.count, flat: false) { writer, index in
          writer.member(pairs[index].key, pairs[index].value)
        }
      case .members(let pairs):
        enclose("{", "}", count: pairs.count, flat: false) { writer, index in
          writer.member(pairs[index].0, pairs[index].1)
        }
      case .sorted(let members):
        let pairs = members.sorted { $0.key < $1.key }
        enclose("{", "}", count: pairs.count, flat: false) { writer, index in
          writer.member(pairs[index].key, pairs[index].value)
        }
      }
    }

    mutating func member(_ key: String, _ value: JSONValue) {
      quote(key)
      append(pretty ? ": " : ":")
      write(value)
    }

    mutating func enclose(
      _ open: String, _ close: String, count: Int, flat: Bool, element: (inout Writer, Int) -> Void
    ) {
      append(open)
      let broken = pretty && !flat && count > 0
      depth += 1
      for index in 0..<count {
        if index > 0 { append(pretty && flat ? ", " : ",") }
        if broken { newline() }
        element(&self, index)
      }
      depth -= 1
      if broken { newline() }
      append(close)
    }

    mutating func newline() {
      output.append(0x0A)
      output.append(contentsOf: repeatElement(0x20, count: 2 * depth))
    }

    mutating func append(_ text: String) { output.append(contentsOf: text.utf8) }

    mutating func quote(_ text: String) {
      output.append(UInt8(ascii: "\""))
      for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
          output.append(UInt8(ascii: "\\"))
          output.append(byte)
        case 0x0A: append("\\n")
        case 0x0D: append("\\r")
        case 0x09: append("\\t")
        case 0..<0x20, 0x7F:
          append(byte < 0x10 ? "\\u000" : "\\u00")
          append(String(byte, radix: 16))
        default: output.append(byte)
        }
      }
      output.append(UInt8(ascii: "\""))
    }
  }

  private var isNumber: Bool {
    switch self {
    case .null, .int, .double: true
    default: false
    }
  }
}
