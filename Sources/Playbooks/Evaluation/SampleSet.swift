public import Foundation

/// One answer of an evaluation, as far as it is looked at.
public struct Sample: Sendable, Hashable, Codable {
  public var id: String
  public var category: String?
  /// What is right.
  public var reference: String?
  /// What came, at most `SampleSet.shownOutput` characters of it.
  public var output: String
  public var isCorrect: Bool
  /// What kind of answer it is.
  public var pattern: OutputPattern
  /// Characters of the prompt; nil: the file has no prompt.
  public var promptLength: Int?
  /// Tells whether two sides sent the same text.
  public var promptHash: UInt64?
}

/// The samples that one side of an evaluation wrote, one JSON object a line:
/// `{"id", "category", "prompt", "reference", "output", "correct"}`, `finish_reason` where the engine gives it.
public struct SampleSet: Sendable, Hashable, Codable {
  /// A line, from 1, that is no sample, or one that contradicts another.
  public struct Problem: Sendable, Hashable, Codable {
    public var line: Int
    public var message: String
  }

  public static let shownOutput = 160
  /// A larger file, and a longer list of problems, is not an evaluation's.
  public static let byteLimit = 1 << 30

  /// The file's name.
  public var name: String
  /// In the order of the file, each id once.
  public var samples: [Sample]
  /// Every line that is missing from `samples`.
  public var problems: [Problem]

  public init(name: String, samples: [Sample], problems: [Problem] = []) {
    self.name = name
    self.samples = samples
    self.problems = problems
  }

  public var score: Proportion { Proportion(count: samples.count { $0.isCorrect }, total: samples.count) }

  /// Reads the lines of a file; what is no sample becomes a problem with its line.
  public init(name: String, jsonLines bytes: Data, settings: EvaluationSettings = EvaluationSettings()) {
    var lines: [(line: Int, sample: SampleLine)] = []
    var problems: [Problem] = []
    var seen: [String: (line: Int, sample: SampleLine)] = [:]
    let decoder = JSONDecoder()
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      guard line.contains(where: { $0 > 0x20 }) else { continue }
      do {
        let sample = try decoder.decode(SampleLine.self, from: Data(line))
        if let earlier = seen[sample.id] {
          let kind = earlier.sample == sample ? "the same as" : "another answer than"
          problems.append(
            Problem(line: index + 1, message: "id \(shown(sample.id)) again, \(kind) line \(earlier.line); not counted")
          )
          continue
        }
        seen[sample.id] = (index + 1, sample)
        lines.append((index + 1, sample))
      } catch {
        problems.append(Problem(line: index + 1, message: SampleLine.reason(error)))
      }
    }
    let reader = PatternReader(
      corpus: lines.lazy.flatMap { [$0.sample.prompt, $0.sample.reference].compactMap(\.self) }, settings: settings)
    self.init(
      name: name,
      samples: lines.map { _, line in
        Sample(
          id: line.id, category: line.category, reference: line.reference,
          output: String(line.output.prefix(Self.shownOutput)), isCorrect: line.correct, pattern: reader.pattern(line),
          promptLength: line.prompt?.count, promptHash: line.prompt.map(Self.hash))
      }, problems: problems)
  }

  /// FNV-1a: the same in every process.
  private static func hash(_ text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }
}

func shown(_ text: String) -> String {
  let line = text.prefix(60).map { $0.isNewline || $0.unicodeScalars.contains { $0.value < 0x20 } ? " " : $0 }
  return "\"\(String(line))\(text.count > 60 ? "…" : "")\""
}

/// One line as it stands in the file.
struct SampleLine: Decodable, Hashable {
  var id: String
  var category: String?
  var prompt: String?
  var reference: String?
  var output: String
  var correct: Bool
  var finish: String?

  private enum Keys: String, CodingKey {
    case id, category, prompt, reference, output, correct
    case finish = "finish_reason"
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Keys.self)
    guard let id = try Self.text(values, .id), !id.isEmpty else {
      throw DecodingError.valueNotFound(
        String.self, .init(codingPath: [Keys.id], debugDescription: "an id must not be empty"))
    }
    self.id = id
    category = try Self.text(values, .category)
    prompt = try values.decodeIfPresent(String.self, forKey: .prompt)
    reference = try Self.text(values, .reference)
    guard values.contains(.output) else {
      throw DecodingError.keyNotFound(Keys.output, .init(codingPath: [], debugDescription: ""))
    }
    // null: nothing came.
    output = try Self.text(values, .output) ?? ""
    if let number = try? values.decode(Double.self, forKey: .correct) {
      guard number == 0 || number == 1 else {
        throw DecodingError.dataCorruptedError(forKey: .correct, in: values, debugDescription: "neither true nor false")
      }
      correct = number == 1
    } else {
      correct = try values.decode(Bool.self, forKey: .correct)
    }
    finish = try values.decodeIfPresent(String.self, forKey: .finish)
  }

  /// Text, or a number as text.
  private static func text(_ values: KeyedDecodingContainer<Keys>, _ key: Keys) throws -> String? {
    if let number = try? values.decodeIfPresent(Int.self, forKey: key) { return String(number) }
    if let number = try? values.decodeIfPresent(Double.self, forKey: key) { return String(number) }
    return try values.decodeIfPresent(String.self, forKey: key)
  }

  static func reason(_ error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, _): "lacks `\(key.stringValue)`; not counted"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
      context.codingPath.last.map { "`\($0.stringValue)` has another type than expected; not counted" }
        ?? "is no JSON object; not counted"
    case DecodingError.dataCorrupted(let context) where !context.codingPath.isEmpty:
      "`\(context.codingPath.last?.stringValue ?? "")`: \(context.debugDescription); not counted"
    default: "is no JSON (cut off?); not counted"
    }
  }
}
