import Crypto
import Dumps
import Foundation

/// What the files of one side are, told without opening them.
public struct DumpIdentity: Sendable, Hashable, Codable {
  public enum Kind: String, Sendable, Hashable, Codable {
    /// Paths and SHA-256 of the contents, from the store's manifest.
    case content
    /// Path, size, inode, modification and change time of each file: a plain directory has no hashes.
    case status
  }

  public var kind: Kind
  /// SHA-256 over the list, lower-case hex.
  public var digest: String
  public var fileCount: Int

  init(kind: Kind, lines: [String]) {
    self.kind = kind
    digest = hexDigest(Data(lines.joined(separator: "\n").utf8))
    fileCount = lines.count
  }
}

/// SHA-256 as lower-case hex.
func hexDigest(_ data: Data) -> String {
  SHA256.hash(data: data).map { byte in
    let text = String(byte, radix: 16)
    return byte < 16 ? "0" + text : text
  }.joined()
}

/// What measures depend on: equal keys, equal measures.
///
/// The judging rules (noise policy, thresholds, labels) are not in it; every other field of a request is, also those
/// that are added later.
public struct MeasureKey: Sendable, Hashable, Codable {
  /// Raise it whenever calls are chosen, ranks joined or tensors measured otherwise than before.
  static let currentVersion = 16

  public var version: Int
  public var reference: DumpIdentity
  public var target: DumpIdentity
  /// The rules by name: `selection`, `shardRule`, `target.startTime`, …
  public var rules: [String: String]

  public init(_ request: ComparisonRequest, reference: DumpIdentity, target: DumpIdentity) {
    version = Self.currentVersion
    self.reference = reference
    self.target = target
    var rules = Self.fields(of: request, except: ["reference", "target", "policy"])
    for (name, side) in [("reference", request.reference), ("target", request.target)] {
      rules["\(name).layout"] = side.set.layout.rawValue
      rules.merge(Self.fields(of: side, except: ["set", "label"]).map { ("\(name).\($0.key)", $0.value) }) { $1 }
    }
    self.rules = rules
  }

  private static func fields(of value: Any, except left: Set<String>) -> [String: String] {
    Dictionary(
      Mirror(reflecting: value).children.compactMap { child in
        child.label.flatMap { left.contains($0) ? nil : ($0, text(child.value)) }
      }, uniquingKeysWith: { $1 })
  }

  /// A value in words that are the same in every process.
  static func text(_ value: Any) -> String {
    let mirror = Mirror(reflecting: value)
    let parts = mirror.children.map { ($0.label.map { "\($0):" } ?? "") + text($0.value) }
    switch mirror.displayStyle {
    case .dictionary, .set: return "{" + parts.sorted().joined(separator: ",") + "}"
    case .enum: return parts.isEmpty ? ".\(value)" : "." + parts.joined(separator: ",")
    case .optional: return parts.first ?? "nil"
    case nil: return String(reflecting: value)
    default: return "(" + parts.joined(separator: ",") + ")"
    }
  }

  /// Why measures of another key do not serve, in words; nil where they do.
  public func difference(from stored: MeasureKey) -> String? {
    if self == stored { return nil }
    if version != stored.version { return "another version of rollcall measured them" }
    var changes: [String] = []
    let names = Set(rules.keys).union(stored.rules.keys).filter { rules[$0] != stored.rules[$0] }.sorted()
    if !names.isEmpty { changes.append("other \(names.joined(separator: ", "))") }
    if reference != stored.reference { changes.append("the reference's files changed") }
    if target != stored.target { changes.append("the target's files changed") }
    return changes.joined(separator: "; ")
  }
}
