/// A regular expression for file names of the `custom` layout, with the named groups `rank`, `layer`, `stage` and
/// `call`, each of which may lack.
///
/// It must match the whole name of a file, or the whole path relative to the directory where it contains `/`. Ranks
/// default to 0; layer and stage to what the tensors' names say (``TensorPlace``), then to the path without what the
/// other groups matched.
public struct CustomPattern {
  private let regex: Regex<AnyRegexOutput>
  private let takesPath: Bool
  private static let groups = ["rank", "layer", "stage", "call"]

  init(_ pattern: String, directory: String) throws(DumpError) {
    do throws(Refusal) {
      regex = try Self.regex(pattern)
    } catch {
      throw DumpError(code: .unsupported, file: directory, message: "the pattern \(pattern.clipped) \(error.why)")
    }
    takesPath = pattern.contains("/")
  }

  private struct Refusal: Error {
    var why: String
  }

  private static func regex(_ pattern: String) throws(Refusal) -> Regex<AnyRegexOutput> {
    let regex: Regex<AnyRegexOutput>
    do {
      regex = try Regex(pattern)
      // Some are refused only when they are first used: those that look behind.
      _ = try regex.firstMatch(in: "")
    } catch {
      throw Refusal(why: "is no regular expression: \(error)")
    }
    guard groups.contains(where: regex.contains(captureNamed:)) else {
      throw Refusal(why: "has none of the named groups rank, layer, stage and call, such as (?<rank>[0-9]+)")
    }
    return regex
  }

  /// Why no files can be told by a pattern, as the rest of a sentence that begins with it; nil where they can.
  public static func refusal(of pattern: String) -> String? {
    do throws(Refusal) {
      _ = try regex(pattern)
      return nil
    } catch {
      return error.why
    }
  }

  /// - Returns: nil where it is none (``refusal(of:)``).
  public init?(_ pattern: String) {
    try? self.init(pattern, directory: "")
  }

  /// The rank of a file, by its path relative to the directory; nil where the pattern does not match it.
  public func rank(of path: String) -> Int? {
    name(ofPath: path, named: path.split(separator: "/").last.map(String.init) ?? path)?.rank
  }

  /// What the path says; nil where it does not match, or where rank, layer or call is no number.
  func name(of entry: DirectoryWalk.Entry) -> DumpFileName? { name(ofPath: entry.path, named: entry.name) }

  private func name(ofPath path: String, named last: String) -> DumpFileName? {
    let name = takesPath ? path : last
    guard let match = (try? regex.wholeMatch(in: name)) ?? nil else { return nil }
    let start = path.utf8.count - name.utf8.count
    var texts: [String: String] = [:]
    var numbers: [Range<Int>] = []
    for group in Self.groups where regex.contains(captureNamed: group) {
      guard let found = match[group], let range = found.range else { continue }
      texts[group] = String(name[range])
      if group == "stage" { continue }
      let lower = start + name.utf8.distance(from: name.startIndex, to: range.lowerBound)
      numbers.append(lower..<(lower + name.utf8.distance(from: range.lowerBound, to: range.upperBound)))
    }
    func number(_ group: String) -> Int?? {
      guard let text = texts[group] else { return .some(nil) }
      guard !text.isEmpty, text.utf8.allSatisfy(\.isDigit), let number = Int(text) else { return nil }
      return number
    }
    guard let rank = number("rank"), let layer = number("layer"), let call = number("call") else { return nil }
    return DumpFileName(
      rank: rank ?? 0, layer: layer, stage: texts["stage"] ?? "", call: call,
      tensors: .placed(
        stem: Self.stem(path.withoutExtension, without: numbers), isStageKnown: texts["stage"] != nil))
  }

  /// What all ranks, layers and calls of one stage share: the path without their numbers.
  ///
  /// A number that stands between separators takes one of them along. One that ``RankMark`` or ``TensorPlace`` takes
  /// out itself, with the word before it, is left to them.
  ///
  /// - Parameter numbers: where in the path's UTF-8 the groups matched digits.
  private static func stem(_ path: String, without numbers: [Range<Int>]) -> String {
    func stage(_ bytes: [UInt8]) -> String? {
      TensorPlace(stage: RankMark(String(decoding: bytes, as: UTF8.self)).rest).stage
    }
    let separators = "_-.".utf8
    let whole = Array(path.utf8)
    var bytes = whole
    for range in Set(numbers).sorted(by: { $0.lowerBound > $1.lowerBound }) where range.upperBound <= bytes.count {
      var other = whole
      for index in range { other[index] = UInt8(ascii: "0") + UInt8(ascii: "9") - other[index] }
      if stage(other) == stage(whole) { continue }
      var (head, tail) = (bytes[..<range.lowerBound], bytes[range.upperBound...])
      let isAlone = [head.last, tail.first].allSatisfy { $0.map { "_-./".utf8.contains($0) } ?? true }
      if isAlone, let last = head.last, separators.contains(last) {
        head = head.dropLast()
      } else if isAlone, let first = tail.first, separators.contains(first) {
        tail = tail.dropFirst()
      }
      bytes = Array(head + tail)
    }
    return RankMark(String(decoding: bytes, as: UTF8.self)).rest
  }
}

extension String {
  /// Without the last `.` of the last component and what follows.
  var withoutExtension: String {
    guard let dot = lastIndex(of: "."), !self[dot...].contains("/"), dot > startIndex else { return self }
    return String(self[..<dot])
  }
}
