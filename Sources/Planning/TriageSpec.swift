/// `playbook.triage`: a served model and what it should answer.
public struct TriageSpec: Sendable, Hashable, Codable {
  /// A prompt with known answers.
  public struct Prompt: Sendable, Hashable, Codable {
    public var prompt: String
    /// One of these stands in the answer; empty: any text that is no garbage.
    public var expected: [String]
    /// Whether the answer begins with it, white space aside.
    public var isFirst: Bool

    public init(_ prompt: String, expected: [String] = [], isFirst: Bool = true) {
      self.prompt = prompt
      self.expected = expected
      self.isFirst = isFirst
    }
  }

  /// Where the model is served: `http://host:port`.
  public var url: String
  public var model: String
  /// A build that is known to be right, serving the same model.
  public var referenceURL: String?
  /// Beside the four of the method.
  public var prompts: [Prompt]
  /// Logs of the server, absolute or relative to the job file.
  public var logs: [String]
  /// Seconds until the server must be healthy.
  public var wait: Double
  public var maxTokens: Int
  /// Directory of dumps of the embedding and of the head, and its layout.
  public var dumps: String?
  public var layout: String
  /// The checkpoint: a safetensors file, or a directory with its index.
  public var weights: String?

  public init(
    url: String, model: String, referenceURL: String? = nil, prompts: [Prompt] = [], logs: [String] = [],
    wait: Double = 600, maxTokens: Int = 30, dumps: String? = nil, layout: String = "atom", weights: String? = nil
  ) {
    self.url = url
    self.model = model
    self.referenceURL = referenceURL
    self.prompts = prompts
    self.logs = logs
    self.wait = wait
    self.maxTokens = maxTokens
    self.dumps = dumps
    self.layout = layout
    self.weights = weights
  }
}
