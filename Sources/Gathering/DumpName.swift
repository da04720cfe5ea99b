/// What may be a dump file's name, and what it says.
enum DumpName {
  /// Why a path relative to `dumps/` is refused; nil where it is fine.
  static func refusal(of path: String) -> String? {
    if path.isEmpty { return "empty name" }
    if path.utf8.first == UInt8(ascii: "/") { return "absolute path" }
    if path.unicodeScalars.contains(where: isControl) { return "control character in the name" }
    if path.utf8.count > 4000 { return "name longer than 4000 bytes" }
    for component in path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
      if component.isEmpty { return "empty path component" }
      if component.elementsEqual(".".utf8) || component.elementsEqual("..".utf8) {
        return "`.` or `..` in the path"
      }
      if component.count > 255 { return "path component longer than 255 bytes" }
    }
    return nil
  }

  /// Whether a text may name one directory of the store.
  static func isComponent(_ text: String) -> Bool { refusal(of: text) == nil && !text.utf8.contains(UInt8(ascii: "/")) }

  /// The rank a path gives: the last `rank=3`, else the last `rank3`, else the last `rank_3`, in the last component that
  /// has one; else `TP3`.
  ///
  /// `tp_rank=3` and its like are ranks within a group, not the global one, and do not count. Letters before the
  /// word (`prank3`) make it another word.
  static func rank(of path: String) -> Int? {
    let components = path.utf8.split(separator: UInt8(ascii: "/")).map(Array.init)
    for component in components.reversed() {
      if let rank = number(after: "rank=", in: component, standsAlone: isOwnKey) { return rank }
      if let rank = number(after: "rank", in: component, standsAlone: isOwnWord) { return rank }
      if let rank = number(after: "rank_", in: component, standsAlone: isOwnWord) { return rank }
    }
    for component in components.reversed() {
      if let rank = number(after: "TP", in: component, ignoringCase: false, standsAlone: isOwnWord) { return rank }
    }
    return nil
  }

  /// The number after the last occurrence of a word, at most six digits.
  private static func number(
    after word: String, in name: [UInt8], ignoringCase: Bool = true,
    standsAlone: (ArraySlice<UInt8>) -> Bool
  ) -> Int? {
    let word = Array(word.utf8)
    guard name.count > word.count else { return nil }
    for start in stride(from: name.count - word.count - 1, through: 0, by: -1) {
      let matches = word.indices.allSatisfy { index in
        let byte = name[start + index]
        return byte == word[index] || (ignoringCase && lowercased(byte) == word[index])
      }
      guard matches, standsAlone(name[..<start]) else { continue }
      let digits = name[(start + word.count)...].prefix { isDigit($0) }
      if (1...6).contains(digits.count) {
        return digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
      }
    }
    return nil
  }

  private static func isOwnWord(after before: ArraySlice<UInt8>) -> Bool {
    before.last.map { !isLetterOrDigit($0) } ?? true
  }

  /// True at a name's start and after a separator; false after `tp_`.
  private static func isOwnKey(after before: ArraySlice<UInt8>) -> Bool {
    guard isOwnWord(after: before), before.last == UInt8(ascii: "_") else { return isOwnWord(after: before) }
    return before.dropLast().last.map { !isLetterOrDigit($0) } ?? true
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(lowercased(byte))
  }

  private static func lowercased(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte + 32 : byte
  }
}
