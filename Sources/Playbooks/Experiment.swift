public import Planning

/// One step of a playbook: a change of the job, and what it is to show. Each is one sweep, or one look at what is served.
public struct Experiment: Sendable, Hashable, Codable {
  /// What is looked at without a run: of a served model, or of what the step before it gathered.
  public enum Look: String, Sendable, Hashable, Codable {
    case completions
    case logs
    /// Embedding and lm_head.
    case ends = "embedding-and-lm-head"
    /// Weights, tensor by tensor.
    case schema
  }

  /// Letters, digits and dashes: names the step's note.
  public var step: String
  /// What is believed so far.
  public var hypothesis: String
  /// What is run, in words.
  public var design: String
  public var change: JobChange
  /// Taken in the place of a sweep; nil: it is a sweep.
  public var look: Look?

  public init(step: String, hypothesis: String, design: String, change: JobChange, look: Look? = nil) {
    self.look = look
    self.step = step
    self.hypothesis = hypothesis
    self.design = design
    self.change = change
  }
}
