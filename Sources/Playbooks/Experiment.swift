public import Planning

/// One step of a playbook: a change of the job, and what it is to show. Each is one sweep.
public struct Experiment: Sendable, Hashable, Codable {
  /// Letters, digits and dashes: names the step's note.
  public var step: String
  /// What is believed so far.
  public var hypothesis: String
  /// What is run, in words.
  public var design: String
  public var change: JobChange

  public init(step: String, hypothesis: String, design: String, change: JobChange) {
    self.step = step
    self.hypothesis = hypothesis
    self.design = design
    self.change = change
  }
}
