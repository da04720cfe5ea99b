/// Reads JSON (RFC 8259) one value at a time, so that a header costs no more memory than its caller keeps.
///
/// Strict: no key twice in one object, no text after the value, no byte that is not UTF-8. What is nested more than
/// ``depthLimit`` deep is refused.
struct JSONReader {
  static let depthLimit = 64

  private let bytes: [UInt8]
  private let file: String
  /// Where the text stands in the file, for messages.
  private let base: Int
  private var position = 0
  private var depth = 0

  init(_ bytes: [UInt8], file: String, base: Int = 0) {
    self.bytes = bytes
    self.file = file
    self.base = base
  }

  func malformed(_ message: String) -> DumpError {
    DumpError(code: .malformed, file: file, at: .byte(base + position), message: "in the JSON text: \(message)")
  }

  /// What the next value is, by its first byte; nil at the end.
  mutating func peek() -> UInt8? {
    skipSpace()
    return position < bytes.count ? bytes[position] : nil
  }

  /// Only white space may follow.
  mutating func end() throws(DumpError) {
    guard peek() == nil else { throw malformed("something follows its end") }
  }

  /// Reads an object: `member` must read the value of each key.
  mutating func object(
    _ member: (inout JSONReader, String) throws(DumpError) -> Void
  ) throws(DumpError) {
    try enter("{", "an object")
    var keys: Set<String> = []
    if peek() != UInt8(ascii: "}") {
      while true {
        guard peek() == UInt8(ascii: "\"") else { throw malformed("a key should stand here") }
        let key = try string()
        guard keys.insert(key).inserted else { throw malformed("the key \(key.clipped) stands twice") }
        try expect(":")
        try member(&self, key)
        guard peek() == UInt8(ascii: ",") else { break }
        position += 1
      }
    }
    try expect("}")
    depth -= 1
  }

  /// Reads an array: `item` must read each value.
  mutating func array(_ item: (inout JSONReader) throws(DumpError) -> Void) throws(DumpError) {
    try enter("[", "an array")
    if peek() != UInt8(ascii: "]") {
      while true {
        try item(&self)
        guard peek() == UInt8(ascii: ",") else { break }
        position += 1
      }
    }
    try expect("]")
    depth -= 1
  }

  mutating func string() throws(DumpError) -> String {
    guard peek() == UInt8(ascii: "\"") else { throw malformed("a text should stand here") }
    position += 1
    var text: [UInt8] = []
    while true {
      guard position < bytes.count else { throw malformed("a text does not end") }
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""):
        guard let result = String(validating: text, as: UTF8.self) else { throw malformed("a text is not UTF-8") }
        position += 1
        return result
      case UInt8(ascii: "\\"):
        position += 1
        try escape(into: &text)
      case 0..<0x20: throw malformed("a control character stands in a text")
      default:
        text.append(byte)
        position += 1
      }
    }
  }

  /// A whole number, not negative.
  mutating func count() throws(DumpError) -> Int {
    skipSpace()
    let number: WholeNumber
    do {
      number = try WholeNumber(bytes, at: position)
    } catch {
      throw malformed(error.message)
    }
    position = number.end
    if position < bytes.count, [UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains(bytes[position]) {
      throw malformed("a whole number should stand here")
    }
    return number.value
  }

  /// Reads over any value.
  mutating func skip() throws(DumpError) {
    switch peek() {
    case UInt8(ascii: "{"): try object { (reader, _) throws(DumpError) in try reader.skip() }
    case UInt8(ascii: "["): try array { (reader) throws(DumpError) in try reader.skip() }
    case UInt8(ascii: "\""): _ = try string()
    default:
      for word in ["true", "false", "null"] where bytes[position...].starts(with: word.utf8) {
        position += word.utf8.count
        return
      }
      let start = position
      while position < bytes.count, bytes[position].isDigit || "+-.eE".utf8.contains(bytes[position]) { position += 1 }
      guard start < position, position - start <= 64,
        Double(String(decoding: bytes[start..<position], as: UTF8.self)) != nil
      else { throw malformed("a value should stand here") }
    }
  }

  /// A text, number, truth value or null; also `NaN`, `Infinity` and `-Infinity`, which Python writes and JSON forbids.
  mutating func scalar() throws(DumpError) -> Scalar {
    let words: [(word: String, value: Scalar)] = [
      ("true", .bool(true)), ("false", .bool(false)), ("null", .none), ("NaN", .double(.nan)),
      ("Infinity", .double(.infinity)), ("-Infinity", .double(-.infinity)),
    ]
    guard peek() != UInt8(ascii: "\"") else { return .string(try string()) }
    for (word, value) in words where bytes[position...].starts(with: word.utf8) {
      position += word.utf8.count
      return value
    }
    let start = position
    try skip()
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if let number = Int(text) { return .int(number) }
    guard let number = Double(text) else { throw malformed("a text, a number or a truth value should stand here") }
    return .double(number)
  }

  private mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
  }

  private mutating func enter(_ opening: Unicode.Scalar, _ what: String) throws(DumpError) {
    guard peek() == UInt8(ascii: opening) else { throw malformed("\(what) should stand here") }
    guard depth < Self.depthLimit else { throw malformed("it is nested more than \(Self.depthLimit) deep") }
    position += 1
    depth += 1
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(DumpError) {
    guard peek() == UInt8(ascii: character) else { throw malformed("\(character) should stand here") }
    position += 1
  }

  private mutating func escape(into text: inout [UInt8]) throws(DumpError) {
    guard position < bytes.count else { throw malformed("a text does not end") }
    let byte = bytes[position]
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      var code = UInt32(try unit())
      if code & 0xFC00 == 0xD800 {
        guard bytes[position...].starts(with: "\\u".utf8) else { throw malformed("half a surrogate pair") }
        position += 2
        let low = UInt32(try unit())
        guard low & 0xFC00 == 0xDC00 else { throw malformed("half a surrogate pair") }
        code = 0x10000 + (code & 0x3FF) << 10 + (low & 0x3FF)
      }
      guard let scalar = Unicode.Scalar(code) else { throw malformed("half a surrogate pair") }
      text.append(contentsOf: String(scalar).utf8)
    default: throw malformed("an unknown escape")
    }
  }

  private mutating func unit() throws(DumpError) -> UInt16 {
    guard bytes.count - position >= 4, bytes[position..<(position + 4)].allSatisfy(\.isHexadecimalDigit),
      let value = UInt16(String(decoding: bytes[position..<(position + 4)], as: UTF8.self), radix: 16)
    else { throw malformed("four hexadecimal digits should stand here") }
    position += 4
    return value
  }
}

extension UInt8 {
  /// An ASCII decimal digit.
  var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

  fileprivate var isHexadecimalDigit: Bool {
    isDigit || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(self | 0x20)
  }
}

extension String {
  /// Short enough for a message.
  var clipped: String { utf8.count > 200 ? "\(prefix(100))…" : self }
}
