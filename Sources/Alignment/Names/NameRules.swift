import Dumps

/// One rule that joins names of the reference with names of the target.
public struct NameRule: Sendable, Hashable, Codable {
  /// One pattern; several for tensors that the other side has fused along dimension 0 (q, k and v; gate and up), in
  /// their order there.
  public let reference: [NamePattern]
  public let target: [NamePattern]
  /// Names that it takes on one side only are no loss, as long as it joins none like them in other layers.
  public let isOptional: Bool
  /// For messages: `rule 2`, `preset atom-sglang`.
  public var title: String

  /// - Throws: `AlignmentError` with `malformed-names` where the patterns do not fit each other.
  public init(
    reference: [NamePattern], target: [NamePattern], isOptional: Bool = false, title: String
  ) throws(AlignmentError) {
    func malformed(_ message: String) -> AlignmentError {
      AlignmentError(code: .malformedNames, place: title, message: message)
    }
    guard let first = reference.first, !target.isEmpty else {
      throw malformed("needs a pattern for the reference and one for the target")
    }
    guard reference.count == 1 || target.count == 1 else {
      throw malformed("has several patterns on both sides; only one side can be the fused one's parts")
    }
    for pattern in reference + target where pattern.names != first.names {
      let odd = pattern.names.symmetricDifference(first.names).sorted().map { "{\($0)}" }.joined(separator: ", ")
      throw malformed(
        "\(odd) is not in every pattern (“\(first)”, “\(pattern)”); what one side alone has is taken without a name, "
          + "{:expression}")
    }
    self.reference = reference
    self.target = target
    self.isOptional = isOptional
    self.title = title
  }
}

/// How names of two formats are joined, in the order in which rules are tried.
public struct NameRules: Sendable, Hashable, Codable {
  public enum Entry: Sendable, Hashable, Codable {
    case preset(NamePreset)
    case rule(NameRule)
  }

  public var entries: [Entry]

  public init(_ entries: [Entry] = []) {
    self.entries = entries
  }

  public var isEmpty: Bool { entries.isEmpty }

  /// The rules for dumps of these layouts, and what is wrong with the choice of presets.
  func resolved(reference: DumpLayout, target: DumpLayout) -> (rules: [NameRule], problems: [String]) {
    var rules: [NameRule] = []
    var problems: [String] = []
    for entry in entries {
      switch entry {
      case .rule(let rule): rules.append(rule)
      case .preset(let preset):
        do throws(AlignmentError) {
          rules += try preset.rules(reference: reference, target: target)
        } catch {
          problems.append(error.message)
        }
      }
    }
    return (rules, problems)
  }
}
