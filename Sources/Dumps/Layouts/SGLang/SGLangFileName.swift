/// The tags in the name of one file of SGLang's dumper: `step=0___rank=1___dump_index=7___name=mlp_output___….pt`.
struct SGLangFileName: Hashable {
  var step: Int
  var rank: Int
  /// Counts the dumps of one process, from 1.
  var dumpIndex: Int
  var name: String
  /// `disabled`, `original` or `recompute`; nil for gradients, which have none.
  var recomputeStatus: String?
  /// The other tags in the order of their keys, as text: the caller's keywords and context.
  var tags: [String: String]
  /// The path before the name: one for each experiment and each rank's folder.
  var folder: String

  /// - Parameter path: relative, with `/`. A name that contains `/` made folders of its parts, so the tags begin at
  ///   the first component that starts with `step=`.
  ///
  /// Nil where one of the four tags that every file has lacks, or is no number that is due. A part without `=`
  /// belongs to the value before it, which contained `___`.
  init?(path: String) {
    guard path.hasSuffix(".pt") else { return nil }
    let components = path.dropLast(3).split(separator: "/")
    guard let start = components.firstIndex(where: { $0.hasPrefix("step=") }) else { return nil }
    folder = components[..<start].joined(separator: "/")
    var keys: [String] = []
    var values: [String: String] = [:]
    for part in Self.parts(components[start...].joined(separator: "/")) {
      if let equals = part.firstIndex(of: "="), equals > part.startIndex {
        let key = String(part[..<equals])
        // The last one counts, as in a dictionary.
        values[key] = String(part[part.index(after: equals)...])
        keys.append(key)
      } else if let last = keys.last {
        values[last, default: ""] += Self.separator + part
      } else {
        return nil
      }
    }
    guard let step = Self.number(values.removeValue(forKey: "step")),
      let rank = Self.number(values.removeValue(forKey: "rank")),
      let dumpIndex = Self.number(values.removeValue(forKey: "dump_index")),
      let name = values.removeValue(forKey: "name"), !name.isEmpty
    else { return nil }
    (self.step, self.rank, self.dumpIndex, self.name) = (step, rank, dumpIndex, name)
    recomputeStatus = values.removeValue(forKey: "recompute_status")
    tags = values
  }

  private static let separator = "___"

  /// As `str.split("___")` cuts it: from the left, so that of four underscores the first three go.
  private static func parts(_ text: String) -> [String] {
    var parts: [String] = []
    var current: [UInt8] = []
    var bytes = Array(text.utf8)[...]
    while let byte = bytes.first {
      if bytes.starts(with: separator.utf8) {
        parts.append(String(decoding: current, as: UTF8.self))
        current = []
        bytes = bytes.dropFirst(separator.utf8.count)
      } else {
        current.append(byte)
        bytes = bytes.dropFirst()
      }
    }
    return parts + [String(decoding: current, as: UTF8.self)]
  }

  private static func number(_ text: String?) -> Int? {
    guard let text, !text.isEmpty, text.utf8.allSatisfy(\.isDigit) else { return nil }
    return Int(text)
  }
}
