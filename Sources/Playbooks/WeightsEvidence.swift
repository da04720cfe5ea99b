/// What two sides' weights are to one another: by names, then bytes, then the slices that ranks hold.
public struct WeightsEvidence: Sendable, Hashable, Codable {
  public struct Finding: Sendable, Hashable, Codable {
    public enum Confidence: String, Sendable, Hashable, Codable {
      case certain, likely
      /// It may be what the engine means to do.
      case possible
    }

    /// Id of the signature table.
    public var cause: String
    public var confidence: Confidence
    public var tensors: [String]
    /// Of a shuffle: whether it is the target that is shuffled.
    public var isInTarget: Bool?
    public var summary: String
    public var next: String

    public init(
      cause: String, confidence: Confidence, tensors: [String], isInTarget: Bool? = nil, summary: String, next: String
    ) {
      self.isInTarget = isInTarget
      self.cause = cause
      self.confidence = confidence
      self.tensors = tensors
      self.summary = summary
      self.next = next
    }
  }

  /// Why nothing could be compared.
  public var problem: String?
  /// Names that one side lacks, and shapes that differ: a sentence each.
  public var schema: [String] = []
  /// What only the reference has, and nobody dumped on the other side: a sentence a group.
  public var notLookedAt: [String] = []
  public var common = 0
  public var byteEqual: [String] = []
  /// Of another type, without any loss.
  public var equalAfterCast: [String] = []
  public var unequal: [String] = []
  /// Unequal, and no finding says why.
  public var unexplained: [String] = []
  /// `column`, `row`, `replicated`, `blocks`, … → how many tensors ranks hold so, by their bytes.
  public var slices: [String: Int] = [:]
  public var findings: [Finding] = []
  public var unreadable: [String] = []

  public init(problem: String? = nil) { self.problem = problem }

  /// The layer that a weight's name tells, as in `model.layers.3.mlp.gate.weight`.
  public static func layer(of name: String) -> Int? {
    name.firstMatch(of: /\blayers?\.(\d+)\b/).flatMap { Int($0.1) }
  }

  /// For a note.
  var lines: [String] {
    if let problem { return [problem] }
    var lines = ["Schema: \(common) names on both sides" + (schema.isEmpty ? "." : ", and:")] + schema.prefix(20)
    if schema.count > 20 { lines.append("… and \(schema.count - 20) more") }
    lines += notLookedAt
    lines.append(
      "Bytes: \(byteEqual.count) equal, \(equalAfterCast.count) equal as another type, \(unequal.count) unequal"
        + (unequal.isEmpty ? "." : ": " + unequal.prefix(8).joined(separator: ", ") + (unequal.count > 8 ? ", …" : "")))
    if !slices.isEmpty {
      let kinds = slices.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      lines.append("Slices: " + kinds.joined(separator: ", ") + ".")
    }
    lines += findings.map { "[\($0.cause), \($0.confidence.rawValue)] \($0.summary)" }
    return lines + unreadable
  }
}
