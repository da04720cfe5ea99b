/// Parses the Python literal of an `.npy` header: a dictionary of `descr`, `fortran_order` and `shape`, no more.
struct NPYLiteral {
  private let bytes: [UInt8]
  private let file: String
  /// Where the text stands in the file, for messages.
  private let base: Int
  private var position = 0

  init(_ bytes: [UInt8], file: String, base: Int) {
    self.bytes = bytes
    self.file = file
    self.base = base
  }

  func malformed(_ message: String) -> DumpError {
    DumpError(code: .malformed, file: file, at: .byte(base + position), message: "in the .npy header: \(message)")
  }

  /// Reads the whole text: `member` must read the value of each key, of which none may lack or stand twice.
  mutating func dictionary(
    _ member: (inout NPYLiteral, String) throws(DumpError) -> Void
  ) throws(DumpError) {
    try expect("{")
    var keys: Set<String> = []
    while peek() != UInt8(ascii: "}") {
      let key = try string()
      guard keys.insert(key).inserted else { throw malformed("the key \(key.clipped) stands twice") }
      try expect(":")
      try member(&self, key)
      guard peek() == UInt8(ascii: ",") else { break }
      position += 1
    }
    try expect("}")
    guard peek() == nil else { throw malformed("something follows its end") }
    guard keys.count == 3 else { throw malformed("descr, fortran_order or shape is missing") }
  }

  mutating func bool() throws(DumpError) -> Bool {
    for (word, value) in [("True", true), ("False", false)] where peek() != nil {
      if bytes[position...].starts(with: word.utf8) {
        position += word.utf8.count
        return value
      }
    }
    throw malformed("True or False should stand here")
  }

  /// The dtype; a list is that of a structured array.
  mutating func descr() throws(DumpError) -> String {
    guard let first = peek(), first == UInt8(ascii: "[") || first == UInt8(ascii: "(") else { return try string() }
    // Objects may hide in a field, so the reason names both.
    let text = String(decoding: bytes[position...].prefix(80), as: UTF8.self)
    throw DumpError(
      code: .unsupported, file: file, at: .byte(base + position),
      message: "the array is structured (\(text)…), not a tensor; save each field as an array of its own")
  }

  /// `(3, 4)`, `(3,)` or `()`.
  mutating func shape(limit: Int) throws(DumpError) -> [Int] {
    var shape: [Int] = []
    var endsWithComma = true
    try expect("(")
    while peek() != UInt8(ascii: ")") {
      guard endsWithComma else { throw malformed(", should stand here") }
      guard shape.count < limit else { throw malformed("more than \(limit) dimensions") }
      shape.append(try count())
      endsWithComma = peek() == UInt8(ascii: ",")
      if endsWithComma { position += 1 }
    }
    guard shape.count != 1 || endsWithComma else { throw malformed("a tuple of one number needs a comma") }
    try expect(")")
    return shape
  }

  private mutating func count() throws(DumpError) -> Int {
    _ = peek()
    let number: WholeNumber
    do {
      number = try WholeNumber(bytes, at: position)
    } catch {
      throw malformed(error.message)
    }
    position = number.end
    // Python 2 wrote 3L.
    if position < bytes.count, bytes[position] == UInt8(ascii: "L") { position += 1 }
    return number.value
  }

  private mutating func string() throws(DumpError) -> String {
    guard let quote = peek(), quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"") else {
      throw malformed("a text should stand here")
    }
    guard let end = bytes[(position + 1)...].firstIndex(of: quote) else { throw malformed("a text does not end") }
    guard let text = String(validating: bytes[(position + 1)..<end], as: UTF8.self), !text.utf8.contains(0x5C) else {
      throw malformed("a text is not plain")
    }
    position = end + 1
    return text
  }

  /// The next byte that is no white space; nil at the end.
  private mutating func peek() -> UInt8? {
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
    return position < bytes.count ? bytes[position] : nil
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(DumpError) {
    guard peek() == UInt8(ascii: character) else { throw malformed("\(character) should stand here") }
    position += 1
  }
}
