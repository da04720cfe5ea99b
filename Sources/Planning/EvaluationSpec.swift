/// `playbook.evaluation`: the evaluation that a job's runs make, and how it is set up.
public struct EvaluationSpec: Sendable, Hashable, Codable {
  public enum Task: String, Sendable, Hashable, Codable, CaseIterable {
    /// A letter or a word: MMLU.
    case classification
    /// A chain of reasoning, then the answer: GSM8K.
    case generation
  }

  /// Name of the file of samples, relative to the dump directory; one JSON object a line.
  public var samples: String
  public var task: Task?
  /// Answers to choose from; nil: told by the right answers.
  public var choices: Int?
  /// The score, 0…1, that the reference is known to have.
  public var expected: Double?
  /// A drop by less than this is no bug worth looking for.
  public var margin: Double
  /// Examples before each question.
  public var fewshot: Int?
  public var isChatModel: Bool?
  public var appliesChatTemplate: Bool?
  public var fewshotAsMultiturn: Bool?
  public var maxTokens: Int?

  public init(
    samples: String = "samples.jsonl", task: Task? = nil, choices: Int? = nil, expected: Double? = nil,
    margin: Double = 0.05, fewshot: Int? = nil, isChatModel: Bool? = nil, appliesChatTemplate: Bool? = nil,
    fewshotAsMultiturn: Bool? = nil, maxTokens: Int? = nil
  ) {
    self.samples = samples
    self.task = task
    self.choices = choices
    self.expected = expected
    self.margin = margin
    self.fewshot = fewshot
    self.isChatModel = isChatModel
    self.appliesChatTemplate = appliesChatTemplate
    self.fewshotAsMultiturn = fewshotAsMultiturn
    self.maxTokens = maxTokens
  }
}
