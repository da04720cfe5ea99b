public import Planning

/// What a triage saw of a served model, its logs and its dumps.
public struct TriageEvidence: Sendable, Hashable, Codable {
  /// What came to one prompt.
  public struct Answer: Sendable, Hashable, Codable {
    public var prompt: TriageSpec.Prompt
    /// nil: no answer; `problem` says why.
    public var text: String?
    public var problem: String?
    /// The same prompt gave another text the second time.
    public var isUnstable: Bool
    /// Of the reference; nil where there is none.
    public var referenceText: String?
    public var referenceProblem: String?

    public init(
      prompt: TriageSpec.Prompt, text: String?, problem: String? = nil, isUnstable: Bool = false,
      referenceText: String? = nil, referenceProblem: String? = nil
    ) {
      self.prompt = prompt
      self.text = text
      self.problem = problem
      self.isUnstable = isUnstable
      self.referenceText = referenceText
      self.referenceProblem = referenceProblem
    }
  }

  /// A part of the model held against the checkpoint.
  public struct Part: Sendable, Hashable, Codable {
    public enum State: String, Sendable, Hashable, Codable {
      case right
      case wrong
      case nonFinite = "non-finite"
      /// It could not be looked at; `detail` says why.
      case unknown
    }

    public var state: State
    public var detail: String

    public init(_ state: State, _ detail: String) {
      self.state = state
      self.detail = detail
    }
  }

  /// nil: healthy; else why not.
  public var healthProblem: String?
  public var answers: [Answer]
  public var logs: LogScan
  public var embedding: Part
  public var head: Part

  public init(
    healthProblem: String? = nil, answers: [Answer] = [], logs: LogScan = LogScan(),
    embedding: Part = Part(.unknown, "No dumps were named."), head: Part = Part(.unknown, "No dumps were named.")
  ) {
    self.healthProblem = healthProblem
    self.answers = answers
    self.logs = logs
    self.embedding = embedding
    self.head = head
  }
}

/// What a server's logs say of itself.
public struct LogScan: Sendable, Hashable, Codable {
  public enum Rule: String, Sendable, Hashable, Codable, CaseIterable {
    case failedJIT = "failed-jit-build"
    case fallback
    case nonFinite = "non-finite"
    case error
  }

  public struct Hit: Sendable, Hashable, Codable {
    public var rule: Rule
    public var file: String
    /// From 1.
    public var line: Int
    public var text: String
  }

  /// The first of each rule and text; `counts` has all.
  public var hits: [Hit] = []
  public var counts: [String: Int] = [:]
  /// Logs that could not be read.
  public var problems: [String] = []

  static let shownHits = 40

  public init() {}

  public mutating func scan(_ text: String, file: String) {
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      guard let rule = Self.rule(of: line.prefix(4_000)) else { continue }
      counts[rule.rawValue, default: 0] += 1
      let text = String(line.prefix(200)).trimmingSpaces
      guard hits.count < Self.shownHits, !hits.contains(where: { $0.rule == rule && $0.text == text }) else { continue }
      hits.append(Hit(rule: rule, file: file, line: index + 1, text: text))
    }
  }

  private static func rule(of line: Substring) -> Rule? {
    let line = line.lowercased()
    if line.contains(/(failed|failure|error|unable).{0,40}\bjit\b|\bjit\b.{0,60}(fail|error|unable)/) {
      return .failedJIT
    }
    // "no fallback" and "fallback: disabled" say that there is none.
    if line.contains(/fall(ing|s|en)?[ -_]?back/),
      !line.contains(/\b(no|without|disabl\w+) fall|fallback\S* ?[=:] ?(0|no|none|false|off|disabled)\b/)
    {
      return .fallback
    }
    if line.contains(/\b(nan|inf)s?\b.{0,40}(detect|found|in )|(detect|found|contains).{0,40}\b(nan|inf)s?\b/) {
      return .nonFinite
    }
    if line.contains(/\berror\b|traceback \(most recent/), !line.contains(/\b(0|no) errors?\b/) { return .error }
    return nil
  }

  /// What takes another path than the one that is tested.
  var fallbacks: [Hit] { hits.filter { $0.rule == .failedJIT || $0.rule == .fallback } }
}

extension String {
  fileprivate var trimmingSpaces: String {
    String(drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
  }
}
