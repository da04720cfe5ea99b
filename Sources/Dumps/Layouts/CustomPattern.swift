/// A regular expression for file names of the `custom` layout, with the named groups `rank`, `layer`, `stage` and
/// `call`, each of which may lack.
///
/// It must match the whole name of a file, or the whole path relative to the directory where it contains `/`. Ranks
/// default to 0; layer and stage to what the tensors' names say (``TensorPlace``), then to the file's name.
struct CustomPattern {
  private let regex: Regex<AnyRegexOutput>
  private let takesPath: Bool
  private static let groups = ["rank", "layer", "stage", "call"]

  init(_ pattern: String, directory: String) throws(DumpError) {
    func refuse(_ message: String) -> DumpError {
      DumpError(code: .unsupported, file: directory, message: "the pattern \(pattern.clipped) \(message)")
    }
    do {
      regex = try Regex(pattern)
    } catch {
      throw refuse("is no regular expression: \(error)")
    }
    guard Self.groups.contains(where: regex.contains(captureNamed:)) else {
      throw refuse("has none of the named groups rank, layer, stage and call, such as (?<rank>[0-9]+)")
    }
    takesPath = pattern.contains("/")
  }

  /// What the path says; nil where it does not match, or where rank, layer or call is no number.
  func name(of entry: DirectoryWalk.Entry) -> DumpFileName? {
    guard let match = (try? regex.wholeMatch(in: takesPath ? entry.path : entry.name)) ?? nil else { return nil }
    var texts: [String: String] = [:]
    for group in Self.groups where regex.contains(captureNamed: group) {
      if let text = match[group]?.substring { texts[group] = String(text) }
    }
    func number(_ group: String) -> Int?? {
      guard let text = texts[group] else { return .some(nil) }
      guard !text.isEmpty, text.utf8.allSatisfy(\.isDigit), let number = Int(text) else { return nil }
      return number
    }
    guard let rank = number("rank"), let layer = number("layer"), let call = number("call") else { return nil }
    let stem = RankMark(entry.path.withoutExtension).rest
    return DumpFileName(
      rank: rank ?? 0, layer: layer, stage: texts["stage"] ?? "", call: call,
      tensors: .placed(stem: stem, isStageKnown: texts["stage"] != nil))
  }
}

extension String {
  /// Without the last `.` of the last component and what follows.
  var withoutExtension: String {
    guard let dot = lastIndex(of: "."), !self[dot...].contains("/"), dot > startIndex else { return self }
    return String(self[..<dot])
  }
}
