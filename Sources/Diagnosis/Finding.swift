/// A named cause with its evidence (`cause` is an id of the signature table: `double-reduce`, `rank-absent`, …).
public struct Finding: Sendable, Hashable, Codable {
  public enum Confidence: String, Sendable, Hashable, Codable {
    case certain
    case likely
    case possible
  }

  public var cause: String
  public var layer: Int?
  public var stage: String?
  public var ranks: [Int]
  public var tokens: [Int]
  public var confidence: Confidence
  /// Named figures, for instance `alpha`, `residual`, `world_size`.
  public var evidence: [String: Double]
  /// One sentence: what was seen.
  public var summary: String
  /// One sentence: what to do next, in the words of the method.
  public var next: String

  public init(
    cause: String, layer: Int?, stage: String?, ranks: [Int] = [], tokens: [Int] = [], confidence: Confidence,
    evidence: [String: Double], summary: String, next: String
  ) {
    self.cause = cause
    self.layer = layer
    self.stage = stage
    self.ranks = ranks
    self.tokens = tokens
    self.confidence = confidence
    self.evidence = evidence
    self.summary = summary
    self.next = next
  }
}
